"""The media of a call, over one connection to LiveKit after another: what an application uses."""

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from livekit import rtc

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.focus import CallFocus
from mlsrtc.adapters.livekit import audio
from mlsrtc.adapters.livekit.errors import MediaError
from mlsrtc.adapters.livekit.further import Further
from mlsrtc.adapters.livekit.granter import Follower, Granter, Spread
from mlsrtc.adapters.livekit.handles import Playing, Recording
from mlsrtc.adapters.livekit.link import FINAL, Link, in_any_case
from mlsrtc.adapters.livekit.notices import (
    MediaConnected,
    MediaLost,
    MediaMoved,
    MediaNotMoved,
    RecordingFailed,
    TrackWithdrawn,
)
from mlsrtc.adapters.livekit.published import Published
from mlsrtc.adapters.livekit.seal import DataSeal
from mlsrtc.adapters.livekit.trying import Trying
from mlsrtc.errors import LocalProtocolError
from mlsrtc.media.keys import livekit_identity
from mlsrtc.notices import Notice, Rejoining

LOGGER = logging.getLogger("mlsrtc")
MOVE_PAUSE = 5.0  # seconds between two moves: who names one server after another moves us no more often


class LiveKitMedia:
    """The media of one call: `async with LiveKitMedia.connect(call) as media: ...`, inside the call's own block. Or
    both in one: `async with LiveKitMedia.join(transport.call(room_id)) as media: ...`.

    Keys need no hand: what the call tells is in place before the application reads it. A connection that is lost is
    made again, and our tracks are published anew; `TrackWithdrawn` tells of one that is not. Where the call meets at
    another server, we move there (`MediaMoved`). What others publish is told among the call's notices (`TrackReady`).
    """

    def __init__(self, call: Call, granter: Granter) -> None:
        self._call = call
        self._granter = granter
        self._link: Link | None = None
        self._seal = DataSeal(call.session)
        self._further = Further(call, self._seal, granter, self._last) if isinstance(granter, Spread) else None
        self._published: list[Published] = []
        self._jobs: set[asyncio.Task[None]] = set()

    @classmethod
    def connect(cls, call: Call, *, focus: Granter | None = None) -> Self:
        """The media of `call`, connected while the block is open. focus: who gives tokens; by default the call's own
        focus is found (`CallFocus`, which says what it raises)."""
        return cls(call, CallFocus(call) if focus is None else focus)

    @classmethod
    @asynccontextmanager
    async def join(cls, call: Call, *, focus: Granter | None = None) -> AsyncIterator[Self]:
        """A call that was not entered, and its media, in one block. Our first membership says where we connect; that of
        a call whose media are connected later is written again then. focus: as for `connect`.

        Raises what entering the call raises, and what connecting does: then the call is left.
        """
        granter = CallFocus(call) if focus is None else focus
        if isinstance(granter, Follower):
            call.ahead(granter.foresee)
        async with call, cls.connect(call, focus=granter) as media:
            yield media

    @property
    def call(self) -> Call:
        """Whose media these are."""
        return self._call

    async def __aenter__(self) -> Self:
        """Raises MediaError if the server cannot be reached or refuses us, and what the focus raises for a token."""
        if self._link is not None:
            raise LocalProtocolError("media are connected once: make another")
        self._call.attach(self._seal)
        try:
            await self._open()
        except BaseException:
            self._call.detach(self._seal)
            raise
        self._call.attach(self)
        self._start(self._stay_connected())
        if self._further is not None:
            self._start(self._further.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends what is published, finishes what is recorded, and disconnects. A connection that is being made comes
        about first, or is given up after half a minute: the SDK ends the process if that is cut short."""
        self._call.detach(self)
        jobs = tuple(self._jobs)
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
        await asyncio.gather(*(one.stop() for one in self._published), return_exceptions=True)
        if self._link is not None:
            await self._link.close()
        self._call.detach(self._seal)

    @property
    def room(self) -> rtc.Room:
        """The SDK's room of the present connection. Raises MediaError while there is none.

        Its text and byte streams and its remote calls have no seal: the SDK takes them in clear from the server.
        """
        return self._present.room

    async def publish(self, frames: AsyncIterable[rtc.AudioFrame], *, name: str = "audio") -> Playing:
        """Publish sound, and feed it as fast as it is heard, until `frames` ends; `tone` and `wav` give some.

        All frames have the rate and the channels of the first. Raises MediaError as `publish_track` does,
        LocalProtocolError if there is no frame, and what `frames` raises for its first one; what it raises later ends
        it (`TrackWithdrawn`). A generator is closed when the track ends or could not be published.
        """
        feed = await audio.Feed.begin(frames)
        track = rtc.LocalAudioTrack.create_audio_track(name, feed.source)
        one = Published(track, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE), feed)
        try:
            await self._publish(one)
        except BaseException:
            await feed.close()
            raise
        one.feeding = self._start(self._feed(one, feed))
        return Playing(track, feed, self.unpublish)

    async def publish_track(
        self, track: rtc.LocalTrack, options: rtc.TrackPublishOptions | None = None
    ) -> rtc.LocalTrackPublication:
        """Publish any track of the SDK: video, a screen. Feed it when this has returned, not before: until then it is
        not sure that it is encrypted. Raises MediaError if it would not be, if we may not publish, or if the connection
        is gone; LocalProtocolError if the track is published.

        A track that was withdrawn before the server had anything of it, a moment after its publication, may be refused
        (`publish`, after ten seconds): then another one is to be made. That is the server's own fault.
        """
        return await self._publish(Published(track, options or rtc.TrackPublishOptions()))

    async def unpublish(self, track: rtc.LocalTrack) -> None:
        """Withdraw a track, and feed it no more if `publish` did; nothing if it is not published."""
        withdrawn = [one for one in self._published if one.track is track]
        self._published = [one for one in self._published if one.track is not track]
        for one in withdrawn:
            await one.stop()
        link = self._link
        # What has ended by itself is being withdrawn already, and the SDK fails the second who asks.
        if withdrawn and link is not None and not link.over.is_set():
            try:
                await link.unpublish(track)
            except MediaError:
                if not link.over.is_set():
                    raise

    async def send_data(self, data: bytes, *, topic: str = "", reliable: bool = True) -> None:
        """Send a packet, encrypted, to everybody in the room: at most 60,000 bytes. The others are told it as
        `DataReceived`, if they are on this adapter: it is sealed once more than LiveKit seals it. Whoever does not have
        our key yet when it comes, because our join is still on its way there, is not told.

        Raises MediaError while there is no epoch that we may send under (`muted`), or if the connection is gone.
        """
        await self._present.send_data(data, topic=topic, reliable=reliable)

    def record(self, track: rtc.Track, path: str | Path) -> Recording:
        """Write what is heard on an audio track into a WAV file, until it is stopped, or the track or this block ends.
        `RecordingFailed` tells if that cannot be done."""
        return Recording(Path(path), self._start(self._record(track, Path(path))))

    def tell(self, notice: Notice) -> None:
        """What the call says. A new participation has a new name in Matrix 2.0 mode: we connect anew under it."""
        if not isinstance(notice, Rejoining) or self._link is None or self._link.over.is_set():
            return
        if not self._is_for_all(self._link):
            self._start(self._link.close())
            if self._further is not None:
                self._start(self._further.renew())

    @property
    def _present(self) -> Link:
        if self._link is None or self._link.over.is_set():
            raise MediaError("not_connected", "there is no connection to the media server now")
        return self._link

    def _last(self) -> Link:
        assert self._link is not None
        return self._link

    async def _publish(self, one: Published) -> rtc.LocalTrackPublication:
        if any(other.track is one.track for other in self._published):
            raise LocalProtocolError(f"the track {one.track.name} is published")
        while True:
            link = self._present
            try:
                publication = await link.publish(one.track, one.options)
                if link is self._link:
                    self._published.append(one)
                    return publication
            except MediaError:
                if link is self._link:
                    raise
            await link.over.wait()  # we have moved meanwhile

    async def _feed(self, one: Published, feed: audio.Feed) -> None:
        try:
            await feed.run()
        except Exception as error:
            LOGGER.error("the track %s ends: what feeds it has failed: %s", one.track.name, error, exc_info=error)
            feed.error = error
            self._call.tell(TrackWithdrawn(one.track, "source", str(error)))
        await self.unpublish(one.track)

    async def _record(self, track: rtc.Track, path: Path) -> None:
        try:
            await audio.record(track, path)
        except Exception as error:
            LOGGER.warning("the recording %s ends: %s", path, error)
            self._call.tell(RecordingFailed(track, path, str(error)))

    async def _open(self) -> None:
        """Connect where the call is, and only then leave where we were; then publish what was published there."""
        before, link = self._link, await self._connected()
        self._link = link
        if before is not None:
            await in_any_case(before.close())
        if isinstance(self._granter, Follower):
            self._granter.arrived()
        if self._further is not None:
            self._further.moved()
        try:
            for one in tuple(self._published):
                await self._publish_anew(link, one)
        except BaseException:
            await link.close()
            raise

    async def _connected(self) -> Link:
        """A connection under the name of our present participation, also if that has begun meanwhile."""
        while True:
            member_id = self._call.session.member_id
            grant = await self._granter.grant()
            link = Link(self._call, self._seal)
            await link.open(grant.url, grant.token)
            if member_id == self._call.session.member_id or self._is_for_all(link):
                return link
            await link.close()

    def _is_for_all(self, link: Link) -> bool:
        """Whether our name there is the same in each participation."""
        session = self._call.session
        return link.identity == livekit_identity(session.user_id, session.device_id)

    async def _publish_anew(self, link: Link, one: Published) -> None:
        """What one track is refused for, on a connection that stands, does not keep the others down. One that is
        withdrawn meanwhile stays so."""
        if one not in self._published:
            return
        try:
            await link.publish(one.track, one.options)
            if one not in self._published:
                await link.unpublish(one.track)
        except MediaError as error:
            if not link.stands:
                raise
            if one not in self._published:
                return
            LOGGER.warning("the track %s is not published anew: %s", one.track.name, error)
            self._published.remove(one)
            await one.stop()
            self._call.tell(TrackWithdrawn(one.track, error.reason, str(error)))

    async def _stay_connected(self) -> None:
        moving, pause = Trying("media cannot be moved"), 0.0
        while True:
            assert self._link is not None
            link = self._link
            if await self._elsewhere(link, pause):
                pause = MOVE_PAUSE
                try:
                    await self._open()
                except Exception as error:
                    pause = max(pause, moving.failed(error))
                    if not link.over.is_set() and (reason := moving.news(error)) is not None:
                        self._call.tell(MediaNotMoved(reason))
                    link.reason = None  # if it is over: perhaps by the connection that was tried, under our own name
                else:
                    moving = Trying("media cannot be moved")
                    self._call.tell(MediaMoved(self._link.url))
                continue
            await link.close()
            reason = "closed" if link.reason is None else rtc.DisconnectReason.Name(link.reason).lower()
            retried = link.reason not in FINAL or await self._was_us(link)
            self._call.tell(MediaLost(reason, retried))
            if not retried:
                return
            await self._open_again(reason)
            self._call.tell(MediaConnected())

    async def _was_us(self, link: Link) -> bool:
        """Whether another connection of this call has taken our place: not somebody to fight with."""
        return self._further is not None and await self._further.took(link)

    async def _elsewhere(self, link: Link, pause: float) -> bool:
        """Waits until the call meets elsewhere, but so many seconds at least: True. False if the connection ends."""

        async def moved() -> None:
            await asyncio.sleep(pause)
            if isinstance(self._granter, Follower):
                await self._granter.moved()
            else:
                await asyncio.Event().wait()

        waiting = asyncio.ensure_future(link.over.wait()), asyncio.ensure_future(moved())
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            return not link.over.is_set()
        finally:
            for one in waiting:
                one.cancel()

    async def _open_again(self, lost: str) -> None:
        trying = Trying("media cannot be connected", told=lost)
        while True:
            try:
                return await self._open()
            except Exception as error:
                pause = trying.failed(error)
                if (reason := trying.news(error)) is not None:
                    self._call.tell(MediaLost(reason, retried=True))
                await asyncio.sleep(pause)

    def _start(self, job: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        def done(task: asyncio.Task[None]) -> None:
            self._jobs.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                LOGGER.error("media: %s", error, exc_info=error)

        task = asyncio.create_task(job)
        self._jobs.add(task)
        task.add_done_callback(done)
        return task
