"""LiveKit's encrypted frame, written down for the tests: who agrees with this agrees with LiveKit.

A clear head, which the tag covers ‖ ciphertext and tag (AES-128-GCM) ‖ IV ‖ its length ‖ key index.
"""

import hashlib
from functools import cache

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CLEAR = {"audio": 1, "key": 10, "delta": 3}
"""Bytes of the head: Opus, a key frame of VP8, and its other frames."""

IV = 12
OVERHEAD = 16 + IV + 2


SALT = b"LKFrameEncryptionKey"


def cipher(secret: bytes) -> AESGCM:
    """What a sender encrypts with whose key is `secret`, of any length."""
    return AESGCM(HKDF(SHA256(), 16, SALT, bytes(128)).derive(secret))


@cache
def by_passphrase(passphrase: str) -> AESGCM:
    """What all encrypt with who share a passphrase."""
    return AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), SALT, 100_000, 16))


def encrypt(secret: bytes | AESGCM, index: int, kind: str, frame: bytes, iv: bytes) -> bytes:
    """By a sender's key, or what it encrypts with."""
    head, rest = frame[: CLEAR[kind]], frame[CLEAR[kind] :]
    return head + _cipher(secret).encrypt(iv, rest, head) + iv + bytes([len(iv), index])


def decrypt(secret: bytes | AESGCM, kind: str, frame: bytes) -> bytes:
    """Raises InvalidTag if another key, head or frame was meant."""
    end = len(frame) - 2
    start = end - frame[end]
    head, sealed, iv = frame[: CLEAR[kind]], frame[CLEAR[kind] : start], frame[start:end]
    return head + _cipher(secret).decrypt(iv, sealed, head)


def index(frame: bytes) -> int:
    """Under which index of the sender's key ring a frame is encrypted."""
    return frame[-1]


def _cipher(secret: bytes | AESGCM) -> AESGCM:
    return secret if isinstance(secret, AESGCM) else cipher(secret)
