"""The group that engines are measured in. It is the same for all of them, and so are the messages that they are given.

Its members are ours. In a *set* tree each joined from outside, so that no node is blank but those that nobody sits
below; in a *blank* one a single commit added them all, so that every node is, and no commit could be larger. The host
is one of the members. It lets an engine in, makes the commits that the engine processes, and follows those that it
makes. A host is a value: whatever an engine did, the next one finds the group as it was.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import count

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from presentation import OPAQUE
from schedule import NH, Secrets, reference
from twins import (
    RATCHET_TREE,
    EncryptedGroupSecrets,
    Extension,
    GroupInfo,
    GroupSecrets,
    HPKECiphertext,
    MLSMessage,
    Welcome,
    message,
)

from mlsrtc.mls import Client, Commit, Group, SigningKey

SET, BLANK = "set", "blank"
DAY = 24 * 3600
NUMBERS = count(1)


def newcomer(suite: int) -> Client:
    """Somebody with an identity of eight bytes, as DAVE wants it."""
    return Client(next(NUMBERS).to_bytes(8), SigningKey.generate(suite))


def package(suite: int) -> bytes:
    """A KeyPackage of somebody who will never join."""
    now = int(time.time())
    # OpenMLS takes no leaf that is valid for more than 84 days and an hour.
    return newcomer(suite).key_package(not_before=now - 3600, not_after=now + 80 * DAY).public


@dataclass(frozen=True)
class Invitation:
    """What lets one newcomer in. The tree is in the Welcome, or beside it."""

    welcome: bytes
    tree: bytes | None


@dataclass(frozen=True)
class Host:
    """A member of the group at one epoch."""

    client: Client
    group: Group

    @staticmethod
    def of(
        tree: str, suite: int, members: int, group_id: bytes, extensions: Iterable[tuple[int, bytes]] = ()
    ) -> "Host":
        """In a `set` tree the host is the last of so many leaves, in a `blank` one the first."""
        client = newcomer(suite)
        group = client.create_group(group_id, extensions=list(extensions))
        if tree == BLANK:
            return Host(client, group.commit(add=[package(suite) for _ in range(members - 1)]).group)
        for _ in range(members - 1):
            client = newcomer(suite)
            group = client.join_external(group.group_info(), tree=group.tree()).group
        return Host(client, group)

    def commit(self, *, add: Iterable[bytes] = (), remove: Iterable[int] = ()) -> tuple["Host", bytes]:
        made = self.group.commit(add=list(add), remove=list(remove))
        return replace(self, group=made.group), made.message

    def knows(self, proposal: bytes) -> "Host":
        return replace(self, group=self.group.with_proposal(proposal))

    def follow(self, commit: bytes) -> "Host":
        return replace(self, group=self.group.stage(commit).apply())

    def admit(self, package: bytes, *, tree_in_welcome: bool) -> tuple["Host", Invitation]:
        """Adds the one whose KeyPackage this is, and a witness."""
        witness = Witness.new(self.group.suite)
        made = self.group.commit(add=[package, witness.package])
        assert made.welcome is not None
        after = replace(self, group=made.group)
        if not tree_in_welcome:
            return after, Invitation(made.welcome, made.tree)
        return after, Invitation(witness.rewritten(made, package, self.client.signing_key), None)


@dataclass(frozen=True)
class Kem:
    """HPKE of a suite, with the size of what stands before a ciphertext."""

    hpke: Suite
    size: int

    @staticmethod
    def of(suite: int) -> "Kem":
        if suite == 1:
            return Kem(Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_128_GCM), 32)
        return Kem(Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_128_GCM), 65)

    def generate(self) -> x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey:
        return x25519.X25519PrivateKey.generate() if self.size == 32 else ec.generate_private_key(ec.SECP256R1())

    def public(self, key: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
        if isinstance(key, x25519.X25519PrivateKey):
            return key.public_key().public_bytes_raw()
        return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def seal(self, public: bytes, info: bytes, plaintext: bytes) -> HPKECiphertext:
        key: x25519.X25519PublicKey | ec.EllipticCurvePublicKey
        if self.size == 32:
            key = x25519.X25519PublicKey.from_public_bytes(public)
        else:
            key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), public)
        sealed = self.hpke.encrypt(plaintext, key, info=info)
        return HPKECiphertext(sealed[: self.size], sealed[self.size :])

    def open(
        self, key: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey, info: bytes, sealed: HPKECiphertext
    ) -> bytes:
        return self.hpke.decrypt(sealed.kem_output + sealed.ciphertext, key, info=info)


def labelled(label: str, content: bytes) -> bytes:
    """SignContent and EncryptContext (RFC 9420 sections 5.1.2 and 5.1.3)."""
    return OPAQUE.write(b"MLS 1.0 " + label.encode()) + OPAQUE.write(content)


@dataclass(frozen=True)
class Witness:
    """Whoever is added can open the Welcome and write it anew, and this one is in our hands. Some engines take the tree
    from the Welcome alone, and ours carry none."""

    kem: Kem
    init_key: x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
    package: bytes

    @staticmethod
    def new(suite: int) -> "Witness":
        kem, client = Kem.of(suite), newcomer(suite)
        init_key = kem.generate()
        draft = MLSMessage.decode(client.key_package().public).body
        draft.init_key = kem.public(init_key)
        signed = draft.encode()[: -len(OPAQUE.write(draft.signature))]
        draft.signature = client.signing_key.sign(labelled("KeyPackageTBS", signed))
        return Witness(kem, init_key, message(draft))

    def rewritten(self, commit: Commit, package: bytes, key: SigningKey) -> bytes:
        """The Welcome of a commit that added both, with the tree in it, for the other one; `key` is the author's."""
        welcome = MLSMessage.decode(commit.welcome or b"").body
        ours = reference("KeyPackage", self.package[4:])
        sealed = next(one.encrypted_group_secrets for one in welcome.secrets if one.new_member == ours)
        secrets = self.kem.open(self.init_key, labelled("Welcome", welcome.encrypted_group_info), sealed)
        seal, nonce = Secrets(GroupSecrets.decode(secrets).joiner_secret, bytes(NH), b"").welcome_key()

        info = GroupInfo.decode(seal.decrypt(nonce, welcome.encrypted_group_info, b""))
        info.extensions.append(Extension(RATCHET_TREE, commit.tree))
        signed = info.encode()[: -len(OPAQUE.write(info.signature))]
        info.signature = key.sign(labelled("GroupInfoTBS", signed))
        encrypted = seal.encrypt(nonce, info.encode(), b"")

        init_key = MLSMessage.decode(package).body.init_key
        sealed = self.kem.seal(init_key, labelled("Welcome", encrypted), secrets)
        joiner = EncryptedGroupSecrets(reference("KeyPackage", package[4:]), sealed)
        return message(Welcome(cipher_suite=welcome.cipher_suite, secrets=[joiner], encrypted_group_info=encrypted))
