"""The key schedule (RFC 9420 section 8) and the secret tree (section 9) of one epoch.

For tests only: it serves to make messages that are wrong in one thing and right in all others.
"""

from dataclasses import dataclass

from cipher_suites import CipherSuite
from presentation import OPAQUE, U16, U32, Reader
from twins import (
    APPLICATION,
    COMMIT,
    CONTENTS,
    MEMBER,
    FramedContent,
    GroupContext,
    PreSharedKeyID,
    PrivateMessage,
    PublicMessage,
    Sender,
    SenderData,
)

EXTERNAL_INIT_LABEL = b"MLS 1.0 external init secret"


def psk_secret(suite: CipherSuite, psks: list[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """Section 8.4."""
    secret = suite.zero
    for index, (psk, value) in enumerate(psks):
        label = psk.encode() + U16.write(index) + U16.write(len(psks))
        secret = suite.extract(suite.derive_secret(suite.extract(suite.zero, value), "derived psk", label), secret)
    return secret


def confirmed_transcript_hash(suite: CipherSuite, interim: bytes, wire_format: int, commit: PublicMessage) -> bytes:
    """After a commit, from the interim transcript hash before it (section 8.2)."""
    covered = U16.write(wire_format) + commit.content.encode() + OPAQUE.write(commit.signature)
    return suite.digest(interim + covered)


def interim_transcript_hash(suite: CipherSuite, confirmed: bytes, confirmation_tag: bytes) -> bytes:
    """Section 8.2."""
    return suite.digest(confirmed + OPAQUE.write(confirmation_tag))


@dataclass
class Secrets:
    """The secrets of one epoch, from its joiner secret."""

    suite: CipherSuite
    joiner: bytes
    psk: bytes
    context: bytes

    @staticmethod
    def after(suite: CipherSuite, init: bytes, commit: bytes, psk: bytes, context: GroupContext) -> "Secrets":
        joiner = suite.derive_secret(suite.extract(init, commit), "joiner", context.encode())
        return Secrets(suite, joiner, psk, context.encode())

    @property
    def _member(self) -> bytes:
        return self.suite.extract(self.joiner, self.psk)

    def of(self, label: str) -> bytes:
        """One of the secrets of table 4, by its label, or "init"."""
        return self.suite.derive_secret(self.suite.derive_secret(self._member, "epoch", self.context), label)

    def welcome(self) -> bytes:
        return self.suite.derive_secret(self._member, "welcome")

    def welcome_key(self) -> tuple[bytes, bytes]:
        """The key and the nonce that a Welcome's GroupInfo is sealed with (section 12.4.3.1)."""
        return self.suite.key_and_nonce(self.welcome())

    def external(self) -> bytes:
        """The private key that external commits are made to."""
        return self.suite.kem.derive(self.of("external"))

    def export(self, label: str, context: bytes, length: int) -> bytes:
        """Section 8.5."""
        secret = self.suite.derive_secret(self.of("exporter"), label)
        return self.suite.expand_with_label(secret, "exported", self.suite.digest(context), length)

    def confirmation_tag(self, confirmed_transcript_hash: bytes) -> bytes:
        return self.suite.mac(self.of("confirm"), confirmed_transcript_hash)

    def membership_tag(self, message: PublicMessage, context: bytes) -> bytes:
        """Section 6.2; `context` is the encoded GroupContext."""
        return self.suite.mac(self.of("membership"), message.to_be_tagged(context))

    def ratchet_key(self, leaf: int, leaves: int, kind: str, generation: int) -> tuple[bytes, bytes]:
        """Key and nonce of one message; kind: "handshake" or "application" (section 9.1)."""
        secret, low, high = self.of("encryption"), 0, leaves
        while high - low > 1:
            middle = (low + high) // 2
            side = b"left" if leaf < middle else b"right"
            low, high = (low, middle) if leaf < middle else (middle, high)
            secret = self.suite.derive_secret(secret, "tree", side)
        secret = self.suite.derive_secret(secret, kind)
        for position in range(generation):
            secret = self.suite.derive_secret(secret, "secret", U32.write(position))
        return self.suite.key_and_nonce(secret, U32.write(generation))

    def sender_data_key(self, ciphertext: bytes) -> tuple[bytes, bytes]:
        """Section 6.3.2."""
        return self.suite.key_and_nonce(self.of("sender data"), ciphertext[: self.suite.size])

    def decrypt(self, message: PrivateMessage, leaves: int) -> PublicMessage:
        """What a PrivateMessage says (section 6.3), as the content of a PublicMessage; `leaves` are the tree's."""
        suite = self.suite
        key, nonce = self.sender_data_key(message.ciphertext)
        sender = SenderData.decode(suite.aead.open(key, nonce, message.encrypted_sender_data, message.place))
        kind = "application" if message.content_type == APPLICATION else "handshake"
        key, nonce = self.ratchet_key(sender.leaf_index, leaves, kind, sender.generation)
        additional = message.place + OPAQUE.write(message.authenticated_data)
        plain = Reader(suite.aead.open(key, sender.guarded(nonce), message.ciphertext, additional))
        content = FramedContent(
            group_id=message.group_id,
            epoch=message.epoch,
            sender=Sender(MEMBER, sender.leaf_index),
            authenticated_data=message.authenticated_data,
            content_type=message.content_type,
            body=CONTENTS[message.content_type].read(plain),
        )
        found = PublicMessage(content, OPAQUE.read(plain))
        if message.content_type == COMMIT:
            found.confirmation_tag = OPAQUE.read(plain)
        assert not any(plain.take(plain.rest))  # the padding
        return found
