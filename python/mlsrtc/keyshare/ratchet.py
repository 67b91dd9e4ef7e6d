"""LiveKit's ratchet: the next key at the same index, which every holder of this one can work out, and nobody back."""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mlsrtc.mls import Secret

SALT = b"LKFrameEncryptionKey"
INFO = bytes(128)
BYTES = 32


def ratcheted(secret: Secret) -> Secret:
    """The key that follows: HKDF-SHA256 with LiveKit's salt and 128 zero bytes of info, 32 bytes.

    As livekit-client and the native SDKs do it where the key was imported for HKDF.
    """
    return Secret(HKDF(SHA256(), BYTES, SALT, INFO).derive(secret.expose()))
