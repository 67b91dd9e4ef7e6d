"""Element Call and we in one call, we by the public API alone: what each shows of the other, through new keys of both.

MLSRTC_SCREENSHOT=element-call.png draws what Element Call shows of us.
"""

import asyncio
import os
import signal
import sys
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy
import picture
import pytest
from element_call import ElementCall, Shown, Window, until
from livekit import rtc
from rooms import heed_interrupts, make_room

from mlsrtc import AUTO, PER_MEMBER, Encryption, Policy, SharedKey, Trust
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import LiveKitMedia, TrackReady, tone
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.sound import heard
from mlsrtc.testing.synapse import Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ENOUGH = 20  # frames
MORE = 60  # the same where keys are new: a new one is used a second later
SOON = 10.0  # seconds
PATIENCE = 180.0
LOUD = 300  # of 32767; each page beeps once a second
EXAMPLE = Path(__file__).parents[2] / "examples" / "element_call.py"
COLOUR = (31, 97, 141)

_numbers = count()


@dataclass
class Us:
    """Our participation: what we send, and what has come of each user."""

    call: Call
    media: LiveKitMedia
    tracks: dict[tuple[str, type[rtc.Track]], rtc.Track] = field(default_factory=dict)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        async for notice in self.call.notices():
            if isinstance(notice, TrackReady):
                self.tracks[notice.member.user_id, type(notice.track)] = notice.track
                self.told.set()

    @property
    def identity(self) -> str:
        return self.media.room.local_participant.identity

    async def sees_and_hears(self, window: Window, enough: int = ENOUGH) -> None:
        """Waits until so many frames of a page are decoded, and its sound."""
        await asyncio.gather(self._sees(window.account.user_id, enough), self._hears(window.account.user_id))

    async def _sees(self, user_id: str, enough: int) -> None:
        track = await self._track(user_id, rtc.RemoteVideoTrack)
        assert await asyncio.wait_for(picture.frames(track, enough), PATIENCE) == enough

    async def _hears(self, user_id: str) -> None:
        track = await self._track(user_id, rtc.RemoteAudioTrack)
        async with asyncio.timeout(PATIENCE), heard(track) as sound:
            async for samples in sound:
                if numpy.abs(samples.astype(int)).max() > LOUD:
                    return

    async def _track(self, user_id: str, kind: type[rtc.Track]) -> rtc.Track:
        async with asyncio.timeout(PATIENCE):
            while (user_id, kind) not in self.tracks:
                self.told.clear()
                await self.told.wait()
        return self.tracks[user_id, kind]

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
async def taking_part(device: TestDevice, room_id: str, encryption: Encryption | SharedKey) -> AsyncIterator[Us]:
    async with (
        NioTransport(device.client) as transport,
        # Nobody has signed the devices of these pages.
        transport.call(room_id, encryption=encryption, policy=Policy(trust=Trust.ANY_DEVICE)) as call,
        LiveKitMedia.connect(call) as media,
        asyncio.TaskGroup() as group,
    ):
        us = Us(call, media)
        following = group.create_task(us.follow())
        await media.publish(tone(440.0))
        async with picture.showing(media, COLOUR):
            yield us
        following.cancel()


@asynccontextmanager
async def pages(synapse: Synapse, *names: str) -> AsyncIterator[list[Window]]:
    """Users in the lobby of nothing yet."""
    async with ElementCall() as browser:
        yield [browser.window(await synapse.register(f"{name}us{next(_numbers)}")) for name in names]


async def test_we_see_and_hear_each_other_through_new_keys_of_both_and_after_we_come_back(
    announcing: tuple[Synapse, TokenService],
) -> None:
    synapse, _ = announcing
    async with (
        cross_signed_devices(synapse, [f"cem{next(_numbers)}"]) as [cem],
        pages(synapse, "ada", "ben") as [ada, ben],
    ):
        room_id = await make_room(synapse, [cem, ada, ben], encrypted=True)
        async with taking_part(cem, room_id, PER_MEMBER) as us:
            await ada.enter(synapse.base_url, room_id)
            await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))
            if path := os.environ.get("MLSRTC_SCREENSHOT"):
                await ada.screenshot(Path(path))
            await ben.enter(synapse.base_url, room_id)
            await asyncio.gather(us.is_seen_and_heard(ben), us.sees_and_hears(ben))
            known = (await us.is_seen_and_heard(ada)).keys
            await ben.leave()
            both = us.identity, ada.identity
            await until(ada, lambda now: all(now.keys[one][-1] != known[one][-1] for one in both))
            await asyncio.gather(us.is_seen_and_heard(ada, MORE), us.sees_and_hears(ada, MORE))
        await until(ada, lambda now: not now.others)
        async with taking_part(cem, room_id, AUTO) as us:
            assert us.call.session.encryption is PER_MEMBER, "nobody there has MLS"
            await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))


@pytest.mark.parametrize("encrypted", [False, True])
async def test_with_the_password_of_a_link_we_see_and_hear_each_other(
    announcing: tuple[Synapse, TokenService], encrypted: bool
) -> None:
    """Frames of ours, by LiveKit's native SDK, open in livekit-client's worker, and the other way round."""
    synapse, _ = announcing
    async with cross_signed_devices(synapse, [f"cem{next(_numbers)}"]) as [cem], pages(synapse, "ada") as [ada]:
        room_id = await make_room(synapse, [cem, ada], encrypted=encrypted)
        password = "cGFzc3dvcmRfb2ZfYV9saW5r"
        async with taking_part(cem, room_id, SharedKey(password)) as us:
            await ada.enter(synapse.base_url, room_id, password)
            shown, _ = await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))
            assert us.identity not in shown.keys, "we have handed it none"


async def test_the_bot_of_the_examples_is_heard_and_records(
    announcing: tuple[Synapse, TokenService], tmp_path: Path
) -> None:
    synapse, _ = announcing
    async with pages(synapse, "ada") as [ada]:
        room_id = await make_room(synapse, [ada], encrypted=True)
        bot = await synapse.register(f"guest{next(_numbers)}")
        await ada.enter(synapse.base_url, room_id)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLE), synapse.base_url, bot.user_id, room_id, str(tmp_path)),
            *("--trust", "any_device"),
            env=os.environ | {"MLSRTC_PASSWORD": bot.password},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=heed_interrupts,
        )
        assert process.stdout is not None
        try:
            told = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert told.decode() == f"records {ada.account.user_id}\n"
            await until(ada, lambda now: sum(track.energy for track in now.media.values()) > 0.05)
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (process.returncode, out) == (0, b""), err.decode()
        assert b"Traceback" not in err
        assert loudness_in(tmp_path) > LOUD


def loudness_in(directory: Path) -> int:
    """The greatest sample of the one recording that is there."""
    (file,) = directory.glob("*.wav")
    with wave.open(str(file)) as recording:
        samples = numpy.frombuffer(recording.readframes(recording.getnframes()), dtype=numpy.int16)
    return int(numpy.abs(samples.astype(int)).max())
