"""LiveKit's ratchet: the next key at the same index, which every holder of this one can work out.

Nobody works out the key before; but LiveKit derives the key of the frames from a key in the same way, with 16 bytes
instead of 32, so the frame key of the key before *is* the first half of the ratcheted one. Whoever is handed a
ratcheted key opens all that was sent under the one before it, however old.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mlsrtc.mls import Secret

SALT = b"LKFrameEncryptionKey"
INFO = bytes(128)
BYTES = 32
FRAME_KEY_BYTES = 16  # AES-128-GCM


def ratcheted(secret: Secret) -> Secret:
    """The key that follows: HKDF-SHA256 with LiveKit's salt and 128 zero bytes of info, 32 bytes.

    As livekit-client and the native SDKs do it where the key was imported for HKDF.
    """
    return Secret(HKDF(SHA256(), BYTES, SALT, INFO).derive(secret.expose()))
