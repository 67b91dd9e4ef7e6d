"""Encrypted attachments of the media repository (Matrix specification, "Sending encrypted attachments",
version v2).

AES-256 in counter mode under a fresh key, SHA-256 over the ciphertext. What a commit puts there stands under
a key in a clear event: it gives integrity, no secrecy. Knows no event, no network and no randomness: that is
an argument.
"""

import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.wire.encoding import decode_base64url, encode_base64, encode_base64url
from mlsrtc.wire.fields import Field, refuse

KEY_SIZE = 32
IV_SIZE = 16
URI_LIMIT = 255
ATTACHMENT_LIMIT = 8 * 1024 * 1024
"""Bytes of an attachment that is still read: the tree of 1,000 members has about 0.3 MB, with X-Wing 4 MB."""

RandomBytes = Callable[[int], bytes]
"""The MLS crypto provider's generator."""


@dataclass(frozen=True, slots=True)
class EncryptedFile:
    """Where the ciphertext is and how to open it. `url` is empty until it has been uploaded."""

    url: str
    key: bytes = field(repr=False)
    iv: bytes = field(repr=False)
    sha256: bytes


def encrypt_attachment(plaintext: bytes, random_bytes: RandomBytes) -> tuple[EncryptedFile, bytes]:
    """The file without its url, and the ciphertext to upload."""
    key, iv = random_bytes(KEY_SIZE), random_bytes(IV_SIZE // 2) + bytes(IV_SIZE // 2)
    if len(key) != KEY_SIZE or len(iv) != IV_SIZE:
        raise LocalProtocolError("the generator gave another number of bytes than it was asked for")
    ciphertext = _apply(key, iv, plaintext)
    return EncryptedFile("", key, iv, hashlib.sha256(ciphertext).digest()), ciphertext


def decrypt_attachment(file: EncryptedFile, ciphertext: bytes, *, where: str = "attachment") -> bytes:
    """The plaintext. Raises RemoteProtocolError: oversized (8 MiB), wrong_hash."""
    if len(ciphertext) > ATTACHMENT_LIMIT:
        raise RemoteProtocolError("oversized", where=where)
    if not hmac.compare_digest(hashlib.sha256(ciphertext).digest(), file.sha256):
        raise RemoteProtocolError("wrong_hash", where=where)
    return _apply(file.key, file.iv, ciphertext)


def _apply(key: bytes, iv: bytes, data: bytes) -> bytes:
    context = Cipher(AES256(key), CTR(iv)).encryptor()
    return context.update(data) + context.finalize()


def decode_file(content: Field) -> EncryptedFile:
    """An EncryptedFile of an event. Raises RemoteProtocolError with the reasons of `Field`, and
    unknown_version (not v2), unknown_algorithm, bad_uri, bad_base64."""
    if content["v"].text() != "v2":
        refuse("unknown_version", f"{content.where}.v")
    url = content["url"].text(URI_LIMIT)
    server, slash, media_id = url.removeprefix("mxc://").partition("/")
    if not (url.startswith("mxc://") and server and slash and media_id) or "/" in media_id:
        refuse("bad_uri", f"{content.where}.url")
    key = content["key"]
    if key["kty"].text() != "oct" or key["alg"].text() != "A256CTR":
        refuse("unknown_algorithm", f"{content.where}.key")
    secret = decode_base64url(key["k"].text(), where=f"{content.where}.key.k")
    if len(secret) != KEY_SIZE:
        refuse("wrong_size", f"{content.where}.key.k")
    return EncryptedFile(url, secret, content["iv"].base64(size=IV_SIZE), content["hashes"]["sha256"].base64(size=32))


def encode_file(file: EncryptedFile) -> dict[str, Any]:
    """The JSON of an EncryptedFile."""
    return {
        "v": "v2",
        "url": file.url,
        "key": {
            "kty": "oct",
            "key_ops": ["encrypt", "decrypt"],
            "alg": "A256CTR",
            "k": encode_base64url(file.key),
            "ext": True,
        },
        "iv": encode_base64(file.iv),
        "hashes": {"sha256": encode_base64(file.sha256)},
    }


def with_url(file: EncryptedFile, url: str) -> EncryptedFile:
    """The same file, uploaded to `url`."""
    return replace(file, url=url)
