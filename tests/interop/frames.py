"""LiveKit's encrypted frame, written down for the tests: who agrees with this agrees with LiveKit.

A clear head, which the tag covers ‖ ciphertext and tag (AES-128-GCM) ‖ IV ‖ its length ‖ key index.
"""

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

CLEAR = {"audio": 1, "key": 10, "delta": 3}
"""Bytes of the head: Opus, a key frame of VP8, and its other frames."""

IV = 12
OVERHEAD = 16 + IV + 2


def cipher(secret: bytes) -> AESGCM:
    """What a sender encrypts with whose key is `secret`, of any length."""
    return AESGCM(HKDF(SHA256(), 16, b"LKFrameEncryptionKey", bytes(128)).derive(secret))


def encrypt(secret: bytes, index: int, kind: str, frame: bytes, iv: bytes) -> bytes:
    head, rest = frame[: CLEAR[kind]], frame[CLEAR[kind] :]
    return head + cipher(secret).encrypt(iv, rest, head) + iv + bytes([len(iv), index])


def decrypt(secret: bytes, kind: str, frame: bytes) -> bytes:
    """Raises InvalidTag if another key, head or frame was meant."""
    end = len(frame) - 2
    start = end - frame[end]
    head, sealed, iv = frame[: CLEAR[kind]], frame[CLEAR[kind] : start], frame[start:end]
    return head + cipher(secret).decrypt(iv, sealed, head)


def index(frame: bytes) -> int:
    """Under which index of the sender's key ring a frame is encrypted."""
    return frame[-1]
