"""Why there is no focus, or no token for it."""

from mlsrtc.errors import MlsrtcError


class FocusError(MlsrtcError):
    """No focus, or no token for it. An answer that makes no sense is a `RemoteProtocolError` instead.

    reason: ``no_focus`` (nobody announces a service that we can use), ``homeserver_unavailable`` or
    ``service_unavailable`` (no connection, no answer in time, 429 or 5xx), ``homeserver_refused`` (it gives no OpenID
    token, or does not let us read the room), ``token_refused`` (the service does not let us in) or ``not_offered`` (the
    service has no such endpoint).
    detail: what a person may want to know beside it.
    retry_after: seconds to wait, or None where nobody named any.
    """

    def __init__(self, reason: str, detail: str = "", *, retry_after: float | None = None) -> None:
        self.reason = reason
        self.detail = detail
        self.retry_after = retry_after
        super().__init__(f"{reason}: {detail}" if detail else reason)

    @property
    def temporary(self) -> bool:
        """Whether the same may go well when it is tried again."""
        return self.reason in ("homeserver_unavailable", "service_unavailable")
