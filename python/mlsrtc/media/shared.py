"""One key for everybody in a call, as the application has it from elsewhere."""

from mlsrtc.errors import LocalProtocolError
from mlsrtc.media.keys import Derivation
from mlsrtc.mls import Secret

LEAST_BYTES, MOST_BYTES = 16, 64
MOST_TEXT = 1024  # bytes of a passphrase


class SharedKey:
    """The key of a call in which all send under one: `transport.call(room_id, encryption=SharedKey("..."))`.

    key: a passphrase, as Element Call has it in its links (`password=`), or 16 to 64 random bytes. The two differ in
    how LiveKit derives from them what frames are encrypted with, and everybody in the call must have the same. The key
    is in no `repr`, and no store keeps it. Raises LocalProtocolError if it is empty, or of another size.
    """

    __slots__ = ("derivation", "secret")

    derivation: Derivation
    secret: Secret

    def __init__(self, key: str | bytes) -> None:
        if isinstance(key, str):
            try:
                given = key.encode()
            except UnicodeEncodeError:
                raise LocalProtocolError("a passphrase is text without lone surrogates") from None
            if not 1 <= len(given) <= MOST_TEXT:
                raise LocalProtocolError(f"a passphrase has 1 to {MOST_TEXT} bytes")
            self.derivation = Derivation.PBKDF2
        else:
            given = bytes(key)
            if not LEAST_BYTES <= len(given) <= MOST_BYTES:
                raise LocalProtocolError(f"a shared key has {LEAST_BYTES} to {MOST_BYTES} bytes")
            self.derivation = Derivation.HKDF
        self.secret = Secret(given)

    def __repr__(self) -> str:
        return f"SharedKey(<{self.derivation.value}>)"
