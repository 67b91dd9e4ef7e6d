"""Why media could not be moved."""

from mlsrtc.errors import MlsrtcError

DETAIL_LIMIT = 200  # characters


class MediaError(MlsrtcError):
    """Media could not be moved.

    reason: connect (the server cannot be reached, or does not take the token), publish (the server did not take a track
    or a packet), not_permitted (the token lets us receive only), not_encrypted and no_cryptor (it would have gone out
    as it is), muted (there is no key that we may send under), passphrase (a data packet, in a call whose key is one),
    not_connected (the connection is gone, and will come back or not).
    detail: in words, partly the server's: no more than a line of it, and nothing that a terminal would obey.
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        self.detail = "".join(one if one.isprintable() else " " for one in detail[:DETAIL_LIMIT])
        super().__init__(f"{reason}: {self.detail}")
