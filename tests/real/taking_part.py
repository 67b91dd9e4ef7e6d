"""We in the call of Element Calls, by the public API alone: what we send, and what each sees and hears of the other."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy
import picture
from element_call import ElementCall, Shown, Window, until
from livekit import rtc

from mlsrtc import Encryption, Mixed, Policy, SharedKey, Trust
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import LiveKitMedia, TrackEnded, TrackReady, tone
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.sound import heard
from mlsrtc.testing.synapse import Synapse

ENOUGH = 20  # frames
MORE = 60  # the same where keys are new: a new one is used a second later
SOON = 10.0  # seconds
PATIENCE = 180.0
LOUD = 300  # of 32767; each page beeps once a second
COLOUR = (31, 97, 141)
POLICY = Policy(trust=Trust.ANY_DEVICE, mixed=True)  # nobody has signed the devices of these pages

_numbers = count()


@dataclass
class Us:
    """One participation of ours: what we send, what has come of each user, and all that was told."""

    call: Call
    media: LiveKitMedia
    tracks: dict[tuple[str, type[rtc.Track]], rtc.Track] = field(default_factory=dict)
    notices: list[object] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        async for notice in self.call.notices():
            self.notices.append(notice)
            match notice:
                case TrackReady(member=member, track=track):
                    self.tracks[member.user_id, type(track)] = track
                    self.told.set()
                case TrackEnded(member=member, track=track):
                    if self.tracks.get((member.user_id, type(track))) is track:
                        del self.tracks[member.user_id, type(track)]
                        self.told.set()
                case _:
                    pass

    @property
    def mixed(self) -> Sequence[tuple[str, str]]:
        """Who takes part without MLS, as it was told last."""
        return next((told.devices for told in reversed(self.notices) if isinstance(told, Mixed)), ())

    @property
    def user_id(self) -> str:
        return self.call.session.user_id

    @property
    def identity(self) -> str:
        return self.media.room.local_participant.identity

    async def sees_and_hears(self, other: "Window | Us", enough: int = ENOUGH) -> None:
        """Waits until so many frames of somebody's picture are decoded, and its sound is heard."""
        await asyncio.gather(self.sees(other, enough), self.hears(other))

    async def sees(self, other: "Window | Us", enough: int = ENOUGH) -> None:
        """Waits until so many frames of somebody's picture are decoded."""
        came = 0

        async def look(track: rtc.Track) -> None:
            nonlocal came
            async with aclosing(rtc.VideoStream(track)) as stream:
                async for _ in stream:
                    came += 1
                    if came >= enough:
                        return

        await self._patiently(look, other, rtc.RemoteVideoTrack, lambda: f"{came} frames came")

    async def hears(self, other: "Window | Us") -> None:
        """Waits until somebody's sound is heard."""
        loudest = came = 0

        async def listen(track: rtc.Track) -> None:
            nonlocal loudest, came
            async with heard(track) as sound:
                async for samples in sound:
                    loudest, came = max(loudest, int(numpy.abs(samples.astype(int)).max())), came + len(samples)
                    if loudest > LOUD:
                        return

        await self._patiently(
            listen, other, rtc.RemoteAudioTrack, lambda: f"{came} samples came, the loudest of {loudest}"
        )

    async def _patiently(
        self,
        job: Callable[[rtc.Track], Coroutine[Any, Any, None]],
        other: "Window | Us",
        kind: type[rtc.Track],
        how: Callable[[], str],
    ) -> None:
        """Has it done with somebody's track, and again with the next one where that ends before."""
        track = None
        try:
            async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
                while True:
                    track = await self._track(other.user_id, kind)
                    doing = group.create_task(job(track))
                    ending = group.create_task(self._until(other.user_id, kind, lambda now, one=track: now is not one))
                    await asyncio.wait([doing, ending], return_when=asyncio.FIRST_COMPLETED)
                    ending.cancel()
                    if doing.done():
                        return
                    doing.cancel()
        except TimeoutError:
            stats = [] if track is None else await track.get_stats()
            known = [str(one.inbound_rtp) for one in stats if one.HasField("inbound_rtp")]
            raise AssertionError(
                f"{self.user_id} waited in vain for {kind.__name__} of {other.user_id}: {how()}; "
                f"{known}; {self.call.members}; {self.notices}"
            ) from None

    async def _track(self, user_id: str, kind: type[rtc.Track]) -> rtc.Track:
        return await self._until(user_id, kind, lambda now: now is not None)

    async def _until(self, user_id: str, kind: type[rtc.Track], holds: Callable[[rtc.Track | None], bool]) -> Any:
        """Somebody's track, as soon as this holds of it."""
        while not holds(now := self.tracks.get((user_id, kind))):
            self.told.clear()
            await self.told.wait()
        return now

    async def is_seen_and_heard(self, window: Window, enough: int = ENOUGH) -> Shown:
        """Waits until a page shows our picture, and that it then decodes so much more and hears us."""
        sids = set(self.media.room.local_participant.track_publications)

        def frames(now: Shown) -> int:
            return sum(tile.frames for tile in now.others if tile.track in sids)

        def energy(now: Shown) -> float:
            return sum(track.energy for sid, track in now.media.items() if sid in sids)

        before = await until(window, lambda now: frames(now) > 0, PATIENCE)
        return await until(
            window, lambda now: frames(now) >= frames(before) + enough and energy(now) > energy(before), SOON
        )


@asynccontextmanager
async def taking_part(
    device: TestDevice, room_id: str, encryption: Encryption | SharedKey, colour: tuple[int, int, int] = COLOUR
) -> AsyncIterator[Us]:
    """A device of ours in the call, with a tone and a picture on a ground of this colour."""
    async with (
        NioTransport(device.client) as transport,
        LiveKitMedia.join(transport.call(room_id, encryption=encryption, policy=POLICY)) as media,
        asyncio.TaskGroup() as group,
    ):
        us = Us(media.call, media)
        following = group.create_task(us.follow())
        await media.publish(tone(440.0))
        async with picture.showing(media, colour):
            yield us
        following.cancel()


@asynccontextmanager
async def pages(synapse: Synapse, *names: str) -> AsyncIterator[list[Window]]:
    """Users in the lobby of nothing yet."""
    async with ElementCall() as browser:
        yield [browser.window(await synapse.register(f"{name}us{next(_numbers)}")) for name in names]


async def all_see_and_hear(ours: Iterable[Us], windows: Iterable[Window], enough: int = ENOUGH) -> None:
    """Waits until each of us sees and hears everybody else, and is seen and heard by every page. Says of all who do not
    what came."""
    ours, windows = tuple(ours), tuple(windows)
    pairs = [(us, other) for us in ours for other in (*windows, *ours) if other is not us]
    ended = await asyncio.gather(
        *(us.is_seen_and_heard(window, enough) for us in ours for window in windows),
        *(us.sees(other, enough) for us, other in pairs),
        *(us.hears(other) for us, other in pairs),
        return_exceptions=True,
    )
    if failed := [one for one in ended if isinstance(one, Exception)]:
        raise ExceptionGroup("not all see and hear", failed)
