"""Who says where media are connected, and lets us in there: what `LiveKitMedia` asks of it. Connects nowhere."""

from typing import Protocol


class Grant(Protocol):
    """Where to connect, and the token that lets us in: `mlsrtc.adapters.focus.Grant` is one."""

    @property
    def url(self) -> str:
        """Of the SFU: ``wss:``."""

    @property
    def token(self) -> str:
        """A LiveKit token, a secret."""


class Granter(Protocol):
    """Who gives tokens: `mlsrtc.adapters.focus.CallFocus`, or your own."""

    async def grant(self) -> Grant:
        """A token for now. Raises MlsrtcError if there is none to be had; if that has a number `retry_after`, it is
        asked again so many seconds later, or more."""
