"""What RFC 9420 computes with secrets, for suite 1 (X25519, AES-128-GCM, SHA-256, Ed25519), on `cryptography`.

For tests only: it serves to make messages that are wrong in one thing and right in all others.
"""

import hashlib
import hmac
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from presentation import OPAQUE, U16, U32
from twins import GroupContext, HPKECiphertext, PreSharedKeyID

NH, NK, NN = 32, 16, 12


def digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def mac(key: bytes, data: bytes) -> bytes:
    return hmac.digest(key, data, "sha256")


def extract(salt: bytes, ikm: bytes) -> bytes:
    return mac(salt, ikm)


def expand(secret: bytes, info: bytes, length: int) -> bytes:
    return HKDFExpand(SHA256(), length, info).derive(secret)


def expand_with_label(secret: bytes, label: str, context: bytes, length: int) -> bytes:
    """Section 8."""
    return expand(
        secret, U16.write(length) + OPAQUE.write(b"MLS 1.0 " + label.encode()) + OPAQUE.write(context), length
    )


def derive_secret(secret: bytes, label: str) -> bytes:
    return expand_with_label(secret, label, b"", NH)


def sign_with_label(key: Ed25519PrivateKey, label: str, content: bytes) -> bytes:
    """Section 5.1.2."""
    return key.sign(OPAQUE.write(b"MLS 1.0 " + label.encode()) + OPAQUE.write(content))


def reference(label: str, value: bytes) -> bytes:
    """RefHash of a KeyPackage or a Proposal (section 5.2)."""
    return digest(OPAQUE.write(f"MLS 1.0 {label} Reference".encode()) + OPAQUE.write(value))


# -- HPKE, mode base, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-128-GCM (RFC 9180) ------------------------

KEM_SUITE = b"KEM" + U16.write(0x20)
HPKE_SUITE = b"HPKE" + U16.write(0x20) + U16.write(1) + U16.write(1)


def _labeled_extract(suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
    return extract(salt, b"HPKE-v1" + suite + label + ikm)


def _labeled_expand(suite: bytes, key: bytes, label: bytes, info: bytes, length: int) -> bytes:
    return expand(key, U16.write(length) + b"HPKE-v1" + suite + label + info, length)


def key_pair(ikm: bytes) -> X25519PrivateKey:
    """DeriveKeyPair (RFC 9180 section 7.1.3)."""
    secret = _labeled_extract(KEM_SUITE, b"", b"dkp_prk", ikm)
    return X25519PrivateKey.from_private_bytes(_labeled_expand(KEM_SUITE, secret, b"sk", b"", 32))


def public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


@dataclass(frozen=True)
class Hpke:
    """One HPKE context, for one message."""

    key: bytes
    nonce: bytes
    exporter_secret: bytes

    @staticmethod
    def _of(dh: bytes, kem_output: bytes, receiver: bytes, info: bytes) -> "Hpke":
        secret = _labeled_extract(KEM_SUITE, b"", b"eae_prk", dh)
        shared = _labeled_expand(KEM_SUITE, secret, b"shared_secret", kem_output + receiver, 32)
        context = (
            b"\0"
            + _labeled_extract(HPKE_SUITE, b"", b"psk_id_hash", b"")
            + _labeled_extract(HPKE_SUITE, b"", b"info_hash", info)
        )
        secret = _labeled_extract(HPKE_SUITE, shared, b"secret", b"")
        return Hpke(
            _labeled_expand(HPKE_SUITE, secret, b"key", context, NK),
            _labeled_expand(HPKE_SUITE, secret, b"base_nonce", context, NN),
            _labeled_expand(HPKE_SUITE, secret, b"exp", context, NH),
        )

    @staticmethod
    def to(receiver: bytes, info: bytes) -> tuple[bytes, "Hpke"]:
        """SetupBaseS: the KEM output and the context."""
        ephemeral = X25519PrivateKey.generate()
        dh = ephemeral.exchange(X25519PublicKey.from_public_bytes(receiver))
        return public(ephemeral), Hpke._of(dh, public(ephemeral), receiver, info)

    @staticmethod
    def at(key: X25519PrivateKey, kem_output: bytes, info: bytes) -> "Hpke":
        """SetupBaseR."""
        dh = key.exchange(X25519PublicKey.from_public_bytes(kem_output))
        return Hpke._of(dh, kem_output, public(key), info)

    def export(self, context: bytes) -> bytes:
        return _labeled_expand(HPKE_SUITE, self.exporter_secret, b"sec", context, NH)


def _encrypt_context(label: str, context: bytes) -> bytes:
    return OPAQUE.write(b"MLS 1.0 " + label.encode()) + OPAQUE.write(context)


def encrypt_with_label(receiver: bytes, label: str, context: bytes, plaintext: bytes) -> HPKECiphertext:
    """Section 5.1.3."""
    kem_output, hpke = Hpke.to(receiver, _encrypt_context(label, context))
    return HPKECiphertext(kem_output, AESGCM(hpke.key).encrypt(hpke.nonce, plaintext, b""))


def decrypt_with_label(key: X25519PrivateKey, label: str, context: bytes, sealed: HPKECiphertext) -> bytes:
    hpke = Hpke.at(key, sealed.kem_output, _encrypt_context(label, context))
    return AESGCM(hpke.key).decrypt(hpke.nonce, sealed.ciphertext, b"")


# -- the key schedule (section 8) and the secret tree (section 9) --------------------------------------------

EXTERNAL_INIT_LABEL = b"MLS 1.0 external init secret"


def psk_secret(psks: list[tuple[PreSharedKeyID, bytes]]) -> bytes:
    """Section 8.4."""
    secret = bytes(NH)
    for index, (psk, value) in enumerate(psks):
        label = psk.encode() + U16.write(index) + U16.write(len(psks))
        secret = extract(expand_with_label(extract(bytes(NH), value), "derived psk", label, NH), secret)
    return secret


@dataclass
class Secrets:
    """The secrets of one epoch, from its joiner secret."""

    joiner: bytes
    psk: bytes
    context: bytes

    @staticmethod
    def after(init: bytes, commit: bytes, psk: bytes, context: GroupContext) -> "Secrets":
        joiner = expand_with_label(extract(init, commit), "joiner", context.encode(), NH)
        return Secrets(joiner, psk, context.encode())

    @property
    def _member(self) -> bytes:
        return extract(self.joiner, self.psk)

    def of(self, label: str) -> bytes:
        """One of the secrets of table 4, by its label, or "init"."""
        return derive_secret(expand_with_label(self._member, "epoch", self.context, NH), label)

    def welcome_key(self) -> tuple[AESGCM, bytes]:
        """The AEAD and the nonce that a Welcome's GroupInfo is sealed with (section 12.4.3.1)."""
        secret = derive_secret(self._member, "welcome")
        return AESGCM(expand_with_label(secret, "key", b"", NK)), expand_with_label(secret, "nonce", b"", NN)

    def external(self) -> X25519PrivateKey:
        return key_pair(self.of("external"))

    def confirmation_tag(self, confirmed_transcript_hash: bytes) -> bytes:
        return mac(self.of("confirm"), confirmed_transcript_hash)

    def ratchet_key(self, leaf: int, leaves: int, kind: str, generation: int) -> tuple[bytes, bytes]:
        """Key and nonce of one message; kind: "handshake" or "application" (section 9.1)."""
        secret, low, high = self.of("encryption"), 0, leaves
        while high - low > 1:
            middle = (low + high) // 2
            side = b"left" if leaf < middle else b"right"
            low, high = (low, middle) if leaf < middle else (middle, high)
            secret = expand_with_label(secret, "tree", side, NH)
        secret = expand_with_label(secret, kind, b"", NH)
        for position in range(generation):
            secret = expand_with_label(secret, "secret", U32.write(position), NH)
        place = U32.write(generation)
        return expand_with_label(secret, "key", place, NK), expand_with_label(secret, "nonce", place, NN)

    def sender_data_key(self, ciphertext: bytes) -> tuple[bytes, bytes]:
        """Section 6.3.2."""
        secret, sample = self.of("sender data"), ciphertext[:NH]
        return expand_with_label(secret, "key", sample, NK), expand_with_label(secret, "nonce", sample, NN)
