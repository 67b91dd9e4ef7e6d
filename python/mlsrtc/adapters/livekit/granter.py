"""Who says where media are connected, and lets us in there: what `LiveKitMedia` asks of it. Connects nowhere."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable


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
        """A token for now. Asked for each connection that is tried: give none that the server may have refused before.

        Raises MlsrtcError if there is none to be had; if that has a number `retry_after`, it is asked again so many
        seconds later, or more."""


@runtime_checkable
class Follower(Granter, Protocol):
    """A granter that knows where the call is, as `CallFocus` does: who is connected elsewhere moves there."""

    async def foresee(self) -> None:
        """Before we join: have our first membership say where we are going to connect, if that can be known soon. Must
        not raise."""

    def arrived(self) -> None:
        """We are connected by the last token."""

    async def moved(self) -> None:
        """Returns when the call meets elsewhere than where we have arrived last. What it raises is a fault."""


@runtime_checkable
class Spread(Granter, Protocol):
    """A granter that knows where members publish beside where we do, as `CallFocus` does: they are heard there."""

    def further(self) -> Sequence[str]:
        """The services, other than that of the last token that we are connected by, at whose servers others publish."""

    async def grant_at(self, service_url: str) -> Grant:
        """A token for one of them. Raises as `grant`."""

    async def changed(self) -> None:
        """Returns when `further` may be others than before."""
