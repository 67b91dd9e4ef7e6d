"""The cipher suites of SFrame (RFC 9605 section 4.5) on the `cryptography` library. Knows no header and no counter."""

import hmac
from enum import IntEnum
from typing import NoReturn, Protocol, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256, SHA512, HashAlgorithm
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mlsrtc.errors import LocalProtocolError

NONCE_SIZE = 12
AES_128_KEY = 16

Data: TypeAlias = bytes | bytearray | memoryview


def octets(data: Data) -> Data:
    """The same as a row of bytes. Raises TypeError if it is no buffer, or one of something else."""
    if isinstance(data, bytes | bytearray):
        return data
    view = memoryview(data)
    if view.itemsize != 1:
        raise TypeError(f"a buffer of bytes is needed, not of items of {view.itemsize} bytes")
    return view.cast("B")


class Suite(IntEnum):
    """A cipher suite (RFC 9605 section 8.1). The last number of its name is the size of its tag in bits.

    Tags of 32 and 64 bits can be guessed by who may send many frames: section 7.5.
    """

    AES_128_CTR_HMAC_SHA256_80 = 1
    AES_128_CTR_HMAC_SHA256_64 = 2
    AES_128_CTR_HMAC_SHA256_32 = 3
    AES_128_GCM_SHA256_128 = 4
    AES_256_GCM_SHA512_128 = 5

    @classmethod
    def _missing_(cls, value: object) -> NoReturn:
        raise LocalProtocolError(f"{value!r} is no cipher suite of SFrame")

    @property
    def key_size(self) -> int:
        """Nk: bytes of the derived key, and of the base key that an MLS group exports."""
        return _SIZES[self][0]

    @property
    def tag_size(self) -> int:
        """Nt: bytes that a frame grows by, besides its header."""
        return _SIZES[self][1]


_SIZES = {
    Suite.AES_128_CTR_HMAC_SHA256_80: (48, 10),
    Suite.AES_128_CTR_HMAC_SHA256_64: (48, 8),
    Suite.AES_128_CTR_HMAC_SHA256_32: (48, 4),
    Suite.AES_128_GCM_SHA256_128: (16, 16),
    Suite.AES_256_GCM_SHA512_128: (32, 16),
}


class Aead(Protocol):
    """Authenticated encryption under one key. `open` raises InvalidTag; what it is given has a tag."""

    def seal(self, nonce: bytes, data: Data, authenticated: bytes) -> bytes: ...
    def open(self, nonce: bytes, sealed: Data, authenticated: bytes) -> bytes: ...


class Gcm:
    """AES-GCM."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, data: Data, authenticated: bytes) -> bytes:
        return self._cipher.encrypt(nonce, data, authenticated)

    def open(self, nonce: bytes, sealed: Data, authenticated: bytes) -> bytes:
        return self._cipher.decrypt(nonce, sealed, authenticated)


class CtrHmac:
    """AES-CTR, and HMAC cut to `tag_size` bytes (RFC 9605 section 4.5.1)."""

    __slots__ = ("_authentication", "_cipher", "_tag_size")

    def __init__(self, key: bytes, tag_size: int) -> None:
        self._cipher, self._authentication, self._tag_size = AES128(key[:AES_128_KEY]), key[AES_128_KEY:], tag_size

    def seal(self, nonce: bytes, data: Data, authenticated: bytes) -> bytes:
        inner = self._crypt(nonce, data)
        return inner + self._tag(nonce, inner, authenticated)

    def open(self, nonce: bytes, sealed: Data, authenticated: bytes) -> bytes:
        inner, tag = sealed[: -self._tag_size], sealed[-self._tag_size :]
        if not hmac.compare_digest(tag, self._tag(nonce, inner, authenticated)):
            raise InvalidTag
        return self._crypt(nonce, inner)

    def _crypt(self, nonce: bytes, data: Data) -> bytes:
        context = Cipher(self._cipher, CTR(nonce + bytes(4))).encryptor()
        return context.update(data) + context.finalize()

    def _tag(self, nonce: bytes, inner: Data, authenticated: bytes) -> bytes:
        sizes = (len(authenticated), len(inner), self._tag_size)
        text = b"".join((*(size.to_bytes(8, "big") for size in sizes), nonce, authenticated, inner))
        return hmac.digest(self._authentication, text, "sha256")[: self._tag_size]


def derive(suite: Suite, base_key: bytes, kid: int) -> tuple[Aead, int]:
    """The AEAD under `sframe_key`, and `sframe_salt` as a number (RFC 9605 section 4.4.2)."""
    place = kid.to_bytes(8, "big") + suite.to_bytes(2, "big")
    key = _expand(suite, base_key, b"SFrame 1.0 Secret key " + place, suite.key_size)
    salt = _expand(suite, base_key, b"SFrame 1.0 Secret salt " + place, NONCE_SIZE)
    return under(suite, key), int.from_bytes(salt, "big")


def under(suite: Suite, key: bytes) -> Aead:
    """The suite's AEAD under `sframe_key`."""
    if suite >= Suite.AES_128_GCM_SHA256_128:
        return Gcm(key)
    return CtrHmac(key, suite.tag_size)


def _expand(suite: Suite, base_key: bytes, label: bytes, size: int) -> bytes:
    algorithm: HashAlgorithm = SHA512() if suite is Suite.AES_256_GCM_SHA512_128 else SHA256()
    return HKDF(algorithm, size, salt=None, info=label).derive(base_key)
