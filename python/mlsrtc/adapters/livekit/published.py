"""A track of ours: what it is, and what feeds it, over one connection after another."""

import asyncio
from dataclasses import dataclass

from livekit import rtc

from mlsrtc.adapters.livekit import audio


@dataclass(slots=True, eq=False)
class Published:
    """A track, how it is published, and what feeds it, if `LiveKitMedia.publish` does."""

    track: rtc.LocalTrack
    options: rtc.TrackPublishOptions
    feed: audio.Feed | None = None
    feeding: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Feed it no more."""
        if self.feeding is not None and self.feeding is not asyncio.current_task():
            self.feeding.cancel()
            await asyncio.wait([self.feeding])
        if self.feed is not None:
            await self.feed.close()
