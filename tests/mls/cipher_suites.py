"""The cipher suites of RFC 9420 section 17.1 and the post-quantum one, on `cryptography`: what each computes.

For tests only. Keys, private ones too, are bytes as the standard writes them. HPKE (RFC 9180) is written out here:
that of `cryptography` has no X448, and no exporter, from which an external commit takes its secret.
"""

import hashlib
import hmac
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, x448, x25519
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from presentation import OPAQUE, U16
from twins import HPKECiphertext

# -- keys ----------------------------------------------------------------------------------------------------


def kept(load: Callable[[Any, bytes], Any]) -> Callable[[Any, bytes], Any]:
    """Keeps the keys that were loaded last: to load one takes longer than to use it."""
    return lru_cache(maxsize=256)(load)


@dataclass(frozen=True)
class Octets:
    """Keys of X25519, X448, Ed25519 and Ed448, which are bytes as they stand (RFC 7748, RFC 8032)."""

    private_type: type
    public_type: type
    size: int

    @kept
    def load(self, private: bytes) -> Any:
        return self.private_type.from_private_bytes(private)

    def load_public(self, public: bytes) -> Any:
        return self.public_type.from_public_bytes(public)

    def public(self, private: bytes) -> bytes:
        return self.load(private).public_key().public_bytes_raw()

    def generate(self) -> bytes:
        return self.private_type.generate().private_bytes_raw()

    def exchange(self, private: bytes, public: bytes) -> bytes:
        return self.load(private).exchange(self.load_public(public))

    def derive(self, expand: Callable[[bytes, bytes, int], bytes]) -> bytes:
        """DeriveKeyPair (RFC 9180 section 7.1.3); `expand` takes a label, an info and a length."""
        return expand(b"sk", b"", self.size)


@dataclass(frozen=True)
class Point:
    """Keys on a NIST curve: a number, and a point that is not compressed (RFC 9180 section 7.1.1)."""

    curve: ec.EllipticCurve

    @property
    def size(self) -> int:
        return (self.curve.key_size + 7) // 8

    @kept
    def load(self, private: bytes) -> Any:
        return ec.derive_private_key(int.from_bytes(private), self.curve)

    def load_public(self, public: bytes) -> Any:
        return ec.EllipticCurvePublicKey.from_encoded_point(self.curve, public)

    def public(self, private: bytes) -> bytes:
        return self.load(private).public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)

    def generate(self) -> bytes:
        return ec.generate_private_key(self.curve).private_numbers().private_value.to_bytes(self.size)

    def exchange(self, private: bytes, public: bytes) -> bytes:
        return self.load(private).exchange(ec.ECDH(), self.load_public(public))

    def derive(self, expand: Callable[[bytes, bytes, int], bytes]) -> bytes:
        """DeriveKeyPair (RFC 9180 section 7.1.3): the first candidate below the order."""
        for counter in range(256):
            candidate = bytearray(expand(b"candidate", bytes([counter]), self.size))
            candidate[0] &= 0x01 if self.curve.key_size == 521 else 0xFF
            if 0 < int.from_bytes(candidate) < self.curve.group_order:
                return bytes(candidate)
        raise AssertionError("no candidate below the order")


P256, P384, P521 = Point(ec.SECP256R1()), Point(ec.SECP384R1()), Point(ec.SECP521R1())
X25519 = Octets(x25519.X25519PrivateKey, x25519.X25519PublicKey, 32)
X448 = Octets(x448.X448PrivateKey, x448.X448PublicKey, 56)


# -- signatures ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Signature:
    """A signature scheme; `how` is what ECDSA is told beside the data."""

    keys: Octets | Point
    how: tuple[ec.ECDSA, ...] = ()

    @classmethod
    def ecdsa(cls, keys: Point, hash: hashes.HashAlgorithm) -> Self:
        return cls(keys, (ec.ECDSA(hash),))

    @property
    def repeats(self) -> bool:
        """Whether the same bytes are signed in one way only."""
        return not self.how

    def sign(self, private: bytes, data: bytes) -> bytes:
        return self.keys.load(private).sign(data, *self.how)

    def verify(self, public: bytes, signature: bytes, data: bytes) -> None:
        """Raises InvalidSignature."""
        self.keys.load_public(public).verify(signature, data, *self.how)


ED25519 = Signature(Octets(ed25519.Ed25519PrivateKey, ed25519.Ed25519PublicKey, 32))
ED448 = Signature(Octets(ed448.Ed448PrivateKey, ed448.Ed448PublicKey, 57))


# -- the parts of HPKE ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kdf:
    """HKDF with a hash; `number` is its KDF identifier (RFC 9180 section 7.2)."""

    number: int
    hash: hashes.HashAlgorithm

    @property
    def size(self) -> int:
        return self.hash.digest_size

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt, ikm, self.hash.name)

    def expand(self, secret: bytes, info: bytes, length: int) -> bytes:
        return HKDFExpand(self.hash, length, info).derive(secret)

    def labeled_extract(self, suite: bytes, salt: bytes, label: bytes, ikm: bytes) -> bytes:
        """RFC 9180 section 4, as the next."""
        return self.extract(salt, b"HPKE-v1" + suite + label + ikm)

    def labeled_expand(self, suite: bytes, secret: bytes, label: bytes, info: bytes, length: int) -> bytes:
        return self.expand(secret, U16.write(length) + b"HPKE-v1" + suite + label + info, length)


HKDF_SHA256, HKDF_SHA384, HKDF_SHA512 = Kdf(1, hashes.SHA256()), Kdf(2, hashes.SHA384()), Kdf(3, hashes.SHA512())


@dataclass(frozen=True)
class Aead:
    """`number` is its AEAD identifier (RFC 9180 section 7.3)."""

    number: int
    cipher: type
    key_size: int
    nonce_size: int = 12

    def seal(self, key: bytes, nonce: bytes, plaintext: bytes, additional: bytes = b"") -> bytes:
        return self.cipher(key).encrypt(nonce, plaintext, additional)

    def open(self, key: bytes, nonce: bytes, ciphertext: bytes, additional: bytes = b"") -> bytes:
        """Raises InvalidTag."""
        return self.cipher(key).decrypt(nonce, ciphertext, additional)


AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305 = Aead(1, AESGCM, 16), Aead(2, AESGCM, 32), Aead(3, ChaCha20Poly1305, 32)


@dataclass(frozen=True)
class DhKem:
    """DHKEM (RFC 9180 section 4.1); `number` is its KEM identifier (section 7.1)."""

    number: int
    kdf: Kdf
    keys: Octets | Point

    @property
    def _suite(self) -> bytes:
        return b"KEM" + U16.write(self.number)

    def load(self, private: bytes) -> Any:
        return self.keys.load(private)

    def public(self, private: bytes) -> bytes:
        return self.keys.public(private)

    def generate(self) -> bytes:
        return self.keys.generate()

    def derive(self, ikm: bytes) -> bytes:
        """DeriveKeyPair."""
        secret = self.kdf.labeled_extract(self._suite, b"", b"dkp_prk", ikm)
        return self.keys.derive(partial(self.kdf.labeled_expand, self._suite, secret))

    def encap(self, receiver: bytes) -> tuple[bytes, bytes]:
        """The KEM output and the shared secret."""
        ephemeral = self.generate()
        output = self.public(ephemeral)
        return output, self._shared(self.keys.exchange(ephemeral, receiver), output, receiver)

    def decap(self, private: bytes, output: bytes) -> bytes:
        return self._shared(self.keys.exchange(private, output), output, self.public(private))

    def _shared(self, dh: bytes, output: bytes, receiver: bytes) -> bytes:
        secret = self.kdf.labeled_extract(self._suite, b"", b"eae_prk", dh)
        return self.kdf.labeled_expand(self._suite, secret, b"shared_secret", output + receiver, self.kdf.size)


@dataclass(frozen=True)
class XWing:
    """ML-KEM-768 and X25519 in one (draft-connolly-cfrg-xwing-kem)."""

    number: int = 0x647A

    def _keys(self, private: bytes) -> tuple[MLKEM768PrivateKey, x25519.X25519PrivateKey]:
        expanded = hashlib.shake_256(private).digest(96)
        return MLKEM768PrivateKey.from_seed_bytes(expanded[:64]), X25519.load(expanded[64:])

    def load(self, private: bytes) -> Any:
        return MLKEM768X25519PrivateKey(*self._keys(private))

    def public(self, private: bytes) -> bytes:
        return b"".join(key.public_key().public_bytes_raw() for key in self._keys(private))

    def generate(self) -> bytes:
        return os.urandom(32)

    def derive(self, ikm: bytes) -> bytes:
        return hashlib.shake_256(ikm).digest(32)

    def encap(self, receiver: bytes) -> tuple[bytes, bytes]:
        shared, sealed = MLKEM768PublicKey.from_public_bytes(receiver[:1184]).encapsulate()
        ephemeral = X25519.generate()
        output = X25519.public(ephemeral)
        return sealed + output, self._shared(shared, X25519.exchange(ephemeral, receiver[1184:]), output, receiver)

    def decap(self, private: bytes, output: bytes) -> bytes:
        lattice, curve = self._keys(private)
        dh = curve.exchange(X25519.load_public(output[1088:]))
        return self._shared(lattice.decapsulate(output[:1088]), dh, output[1088:], self.public(private))

    def _shared(self, shared: bytes, dh: bytes, output: bytes, receiver: bytes) -> bytes:
        return hashlib.sha3_256(shared + dh + output + receiver[1184:] + b"\\.//^\\").digest()


# -- suites --------------------------------------------------------------------------------------------------


def labelled(label: str, content: bytes) -> bytes:
    """SignContent and EncryptContext (RFC 9420 sections 5.1.2 and 5.1.3)."""
    return OPAQUE.write(b"MLS 1.0 " + label.encode()) + OPAQUE.write(content)


@dataclass(frozen=True)
class CipherSuite:
    """RFC 9420 section 5.1."""

    number: int
    kem: DhKem | XWing
    kdf: Kdf
    aead: Aead
    signature: Signature

    def __deepcopy__(self, _: object) -> Self:
        return self

    @property
    def size(self) -> int:
        """Of a digest, and of a secret (KDF.Nh), in bytes."""
        return self.kdf.size

    @property
    def zero(self) -> bytes:
        """A secret where there is none."""
        return bytes(self.size)

    def digest(self, data: bytes) -> bytes:
        return hashlib.new(self.kdf.hash.name, data).digest()

    def mac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.kdf.hash.name)

    def reference(self, label: str, value: bytes) -> bytes:
        """RefHash (section 5.2)."""
        return self.digest(OPAQUE.write(label.encode()) + OPAQUE.write(value))

    def extract(self, salt: bytes, ikm: bytes) -> bytes:
        return self.kdf.extract(salt, ikm)

    def expand_with_label(self, secret: bytes, label: str, context: bytes, length: int) -> bytes:
        """Section 8."""
        return self.kdf.expand(secret, U16.write(length) + labelled(label, context), length)

    def derive_secret(self, secret: bytes, label: str, context: bytes = b"") -> bytes:
        """DeriveSecret, or with a context ExpandWithLabel to the same size."""
        return self.expand_with_label(secret, label, context, self.size)

    def key_and_nonce(self, secret: bytes, context: bytes = b"") -> tuple[bytes, bytes]:
        """What the AEAD takes, by the labels "key" and "nonce"."""
        key = self.expand_with_label(secret, "key", context, self.aead.key_size)
        return key, self.expand_with_label(secret, "nonce", context, self.aead.nonce_size)

    def sign_with_label(self, private: bytes, label: str, content: bytes) -> bytes:
        """Section 5.1.2."""
        return self.signature.sign(private, labelled(label, content))

    def verify_with_label(self, public: bytes, signature: bytes, label: str, content: bytes) -> None:
        """Raises InvalidSignature."""
        self.signature.verify(public, signature, labelled(label, content))

    def encrypt_with_label(self, receiver: bytes, label: str, context: bytes, plaintext: bytes) -> HPKECiphertext:
        """Section 5.1.3."""
        output, hpke = Hpke.to(self, receiver, labelled(label, context))
        return HPKECiphertext(output, self.aead.seal(hpke.key, hpke.nonce, plaintext))

    def decrypt_with_label(self, private: bytes, label: str, context: bytes, sealed: HPKECiphertext) -> bytes:
        """Raises InvalidTag."""
        hpke = Hpke.at(self, private, sealed.kem_output, labelled(label, context))
        return self.aead.open(hpke.key, hpke.nonce, sealed.ciphertext)


@dataclass(frozen=True)
class Hpke:
    """One context of HPKE, mode base, for one message (RFC 9180 section 5.1)."""

    suite: CipherSuite
    key: bytes
    nonce: bytes
    exporter_secret: bytes

    @staticmethod
    def _id(suite: CipherSuite) -> bytes:
        return b"HPKE" + b"".join(U16.write(one.number) for one in (suite.kem, suite.kdf, suite.aead))

    @staticmethod
    def _of(suite: CipherSuite, shared: bytes, info: bytes) -> "Hpke":
        kdf, aead, name = suite.kdf, suite.aead, Hpke._id(suite)
        hashes = (
            kdf.labeled_extract(name, b"", b"psk_id_hash", b""),
            kdf.labeled_extract(name, b"", b"info_hash", info),
        )
        secret, context = kdf.labeled_extract(name, shared, b"secret", b""), b"\0" + b"".join(hashes)
        expand = partial(kdf.labeled_expand, name, secret)
        return Hpke(
            suite,
            expand(b"key", context, aead.key_size),
            expand(b"base_nonce", context, aead.nonce_size),
            expand(b"exp", context, kdf.size),
        )

    @staticmethod
    def to(suite: CipherSuite, receiver: bytes, info: bytes) -> tuple[bytes, "Hpke"]:
        """SetupBaseS: the KEM output and the context."""
        output, shared = suite.kem.encap(receiver)
        return output, Hpke._of(suite, shared, info)

    @staticmethod
    def at(suite: CipherSuite, private: bytes, output: bytes, info: bytes) -> "Hpke":
        """SetupBaseR."""
        return Hpke._of(suite, suite.kem.decap(private, output), info)

    def export(self, context: bytes) -> bytes:
        kdf = self.suite.kdf
        return kdf.labeled_expand(self._id(self.suite), self.exporter_secret, b"sec", context, kdf.size)


DHKEM_P256 = DhKem(0x10, HKDF_SHA256, P256)
DHKEM_P384 = DhKem(0x11, HKDF_SHA384, P384)
DHKEM_P521 = DhKem(0x12, HKDF_SHA512, P521)
DHKEM_X25519 = DhKem(0x20, HKDF_SHA256, X25519)
DHKEM_X448 = DhKem(0x21, HKDF_SHA512, X448)

SUITES = {
    suite.number: suite
    for suite in (
        CipherSuite(1, DHKEM_X25519, HKDF_SHA256, AES_128_GCM, ED25519),
        CipherSuite(2, DHKEM_P256, HKDF_SHA256, AES_128_GCM, Signature.ecdsa(P256, hashes.SHA256())),
        CipherSuite(3, DHKEM_X25519, HKDF_SHA256, CHACHA20_POLY1305, ED25519),
        CipherSuite(4, DHKEM_X448, HKDF_SHA512, AES_256_GCM, ED448),
        CipherSuite(5, DHKEM_P521, HKDF_SHA512, AES_256_GCM, Signature.ecdsa(P521, hashes.SHA512())),
        CipherSuite(6, DHKEM_X448, HKDF_SHA512, CHACHA20_POLY1305, ED448),
        CipherSuite(7, DHKEM_P384, HKDF_SHA384, AES_256_GCM, Signature.ecdsa(P384, hashes.SHA384())),
        CipherSuite(0x4D, XWing(), HKDF_SHA256, CHACHA20_POLY1305, ED25519),
    )
}
