"""What a driver needs from a homeserver: a feed of one room, and requests carried out. Shapes, no socket.

A transport never retries and never waits for a rate limit: it tells the outcome, and the session decides
whether the bytes are still worth sending (docs/protocol.md, "Commit"). It judges nothing it hands over.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from mlsrtc.errors import MlsrtcError
from mlsrtc.outbox import Outcome, Request
from mlsrtc.wire.incoming import Incoming, RoomEvent


class TransportClosed(MlsrtcError):
    """The feed has ended and will bring nothing more.

    reason: ``logged_out`` (the homeserver no longer knows the access token), ``sync_stopped`` (the sync loop
    ended with an error, which is the cause of this exception) or ``closed`` (our own side left).
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        super().__init__(f"{reason}: {detail}" if detail else reason)


class TransportError(MlsrtcError):
    """The homeserver could not be asked just now; it may be tried again."""


class Channel(Protocol):
    """One room, as one call sees it: what comes in, and a way out.

    Order-blind events (memberships, commits, words, to-device) come at least once, in any order. Of current
    state (power levels, room members, slot ...) the last one handed over is the newest. `HistoryComplete`
    says that everything the homeserver shows us was handed over; from `GapOpened` until the next one,
    something is missing. A channel begins with the room's present state, memberships among it: what a session knew of
    those without MLS it does not keep.
    """

    @property
    def room_id(self) -> str:
        """The room this channel is for."""

    async def receive(self, timeout: float | None = None) -> Sequence[Incoming]:
        """All that has come in since the last call, oldest first; waits for the first one.

        timeout: seconds to wait; None waits for ever, 0 only looks. Nothing came: an empty sequence.
        Raises TransportClosed when the feed has ended and everything before its end was handed out.
        """

    def __aiter__(self) -> AsyncIterator[Incoming]:
        """The feed, one value at a time, until it is closed. Not to be mixed with `receive`."""

    async def send(self, request: Request) -> Outcome:
        """Carry out one request, once.

        What a fetch or a query brings is in the feed before its outcome is returned. 429, 5xx and no answer
        are `RateLimited`; every other error of the homeserver is `Refused`. A bad network raises nothing.
        """

    async def state(self) -> Sequence[RoomEvent]:
        """The room's present state of the types a call reads, with m.room.create and m.room.power_levels.

        The feed brings the same at its start. Raises TransportError if it cannot be read.
        """


class Transport(Protocol):
    """A logged-in Matrix device that can serve many calls at once."""

    @property
    def user_id(self) -> str:
        """Our Matrix user."""

    @property
    def device_id(self) -> str:
        """Our Matrix device."""

    def subscribe(self, room_id: str, slot_id: str) -> AbstractAsyncContextManager[Channel]:
        """A channel for one call. Entering starts the back-fill; leaving ends the feed and sends nothing."""
