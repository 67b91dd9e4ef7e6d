"""Why media could not be moved."""

from mlsrtc.errors import MlsrtcError


class MediaError(MlsrtcError):
    """Media could not be moved.

    reason: connect (the server cannot be reached, or does not take the token), publish (the server did not take a track
    or a packet), not_encrypted and no_cryptor (it would have gone out as it is), muted (there is no epoch that we may
    send under), no_epochs (a data packet, in a call that hands its keys out), not_connected (the connection is gone,
    and will come back or not).
    """

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}")
