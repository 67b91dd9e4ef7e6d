"""The queue between the sync loop and one call. Bounded by nothing, so a slow call stalls no one else."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence

from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.wire.incoming import Incoming


class Feed:
    """What has come in for one call and was not taken yet."""

    def __init__(self) -> None:
        self._waiting: list[Incoming] = []
        self._stirred = asyncio.Event()
        self._end: TransportClosed | None = None

    def put(self, values: Iterable[Incoming]) -> None:
        """Add values at the end. After `close` they are dropped."""
        if self._end is None:
            self._waiting.extend(values)
            if self._waiting:
                self._stirred.set()

    def close(self, end: TransportClosed) -> None:
        """Nothing more comes; the first reason stays."""
        if self._end is None:
            self._end = end
            self._stirred.set()

    async def receive(self, timeout: float | None) -> Sequence[Incoming]:
        """`Channel.receive`."""
        if not self._waiting and self._end is None:
            try:
                async with asyncio.timeout(timeout):
                    await self._stirred.wait()
            except TimeoutError:
                return ()
        if self._waiting:
            taken, self._waiting = self._waiting, []
            if self._end is None:
                self._stirred.clear()
            return taken
        if self._end is not None:
            raise self._end
        return ()

    async def iterate(self) -> AsyncIterator[Incoming]:
        """One value at a time, until the feed is closed by our own side; another end is raised."""
        while True:
            try:
                values = await self.receive(None)
            except TransportClosed as end:
                if end.reason == "closed":
                    return
                raise
            for value in values:
                yield value
