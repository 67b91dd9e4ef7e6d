"""What an application holds of the sound that it has begun to play or to record."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from livekit import rtc

from mlsrtc.adapters.livekit.audio import Feed


class Playing:
    """Sound that `LiveKitMedia.publish` plays.

    track: ours, in the SDK. Its `mute()` holds until it is published anew, on a new connection: who must not be heard
    stops, or gives silence.
    """

    def __init__(
        self, track: rtc.LocalAudioTrack, feed: Feed, withdraw: Callable[[rtc.LocalTrack], Awaitable[None]]
    ) -> None:
        self.track = track
        self._feed = feed
        self._withdraw = withdraw

    async def ended(self) -> None:
        """Wait until all of it was played, or the track is withdrawn. Raises what the frames have raised."""
        await self._feed.over.wait()
        if self._feed.error is not None:
            raise self._feed.error

    def flush(self) -> None:
        """Drop what was taken of the frames and is not played yet, at most a tenth of a second. What the frames give
        from now on is played."""
        if not self._feed.over.is_set():
            self._feed.source.clear_queue()

    async def stop(self) -> None:
        """Fall silent at once, and withdraw the track; nothing if it has ended."""
        self.flush()
        await self._withdraw(self.track)


class Recording:
    """A track on its way into the file at `path`."""

    def __init__(self, path: Path, writing: asyncio.Task[None]) -> None:
        self.path = path
        self._writing = writing

    async def stop(self) -> None:
        """Write no more. The file is whole when this returns; nothing if it is already."""
        self._writing.cancel()
        await asyncio.wait([self._writing])
