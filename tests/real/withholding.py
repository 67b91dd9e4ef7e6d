"""A transport from which somebody withholds what others say about the epochs, until it is let through."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Incoming, RoomEvent, ToDevice


class Withholding(NioTransport):
    """`withheld`: commits and words of others, and what they send to the device, wait while this is set."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.withheld = False
        self.let = asyncio.Event()

    def let_through(self) -> None:
        """Everything comes now, what has waited first."""
        self.withheld = False
        self.let.set()

    @asynccontextmanager
    async def subscribe(self, room_id: str, slot_id: str) -> AsyncIterator[Any]:
        async with super().subscribe(room_id, slot_id) as channel:
            yield _Channel(self, channel)

    def holds(self, value: Incoming) -> bool:
        """Whether this one waits."""
        if isinstance(value, ToDevice):
            return self.withheld
        of_others = isinstance(value, RoomEvent) and value.sender != self.user_id
        return self.withheld and of_others and value.type in (names.COMMIT, names.WORD)


class _Channel:
    def __init__(self, transport: Withholding, channel: NioChannel) -> None:
        self._transport = transport
        self._channel = channel
        self._waiting: list[Incoming] = []
        self._reading: asyncio.Future[Sequence[Incoming]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def receive(self, timeout: float | None = None) -> Sequence[Incoming]:
        """`Channel.receive`, without a timeout: a driver gives none."""
        letting = asyncio.ensure_future(self._transport.let.wait())
        try:
            while True:
                self._reading = self._reading or asyncio.ensure_future(self._channel.receive())
                await asyncio.wait({self._reading, letting}, return_when=asyncio.FIRST_COMPLETED)
                come: list[Incoming] = []
                if self._reading.done():
                    values, self._reading = self._reading.result(), None
                    come = [value for value in values if not self._transport.holds(value)]
                    self._waiting += [value for value in values if self._transport.holds(value)]
                if not self._transport.withheld:
                    come, self._waiting = [*self._waiting, *come], []
                if come:
                    return come
                if letting.done():
                    letting = asyncio.ensure_future(asyncio.Event().wait())  # once
        except asyncio.CancelledError:
            if self._reading is not None:
                self._reading.cancel()
            raise
        finally:
            letting.cancel()
