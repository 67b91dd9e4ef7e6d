"""livekit-client in headless Chromium as a member of a call: it sees what the others send, epoch after epoch, as long
as it is in the call, and is seen. The others are Python, on a real Synapse and a real SFU; its keys are a session's.

MLSRTC_SCREENSHOT=docs/images/browser.png has the first test draw the page.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from urllib.parse import quote

import pytest
from browser import Page, PageKeys, Video
from picture import WIDTH, frames, showing
from rooms import alive
from seats import Seat, Stage, stage

from mlsrtc import MLS, Policy, SendKeySwitched
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import RemoteTrack, TrackReady
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

COLOURS = ((176, 58, 46), (31, 97, 141))
ENOUGH = 20  # frames
SOON = 10.0  # seconds
AT_MOST = 1000.0  # milliseconds without a new frame
WAIT = 0.1  # seconds between two looks


class Viewer:
    """The member whose media a page has, and the two others that are seen there. `paused`: the longest pause that was
    seen in one of their videos, in milliseconds."""

    def __init__(self, page: Page, call: Call, keys: PageKeys, others: list[Seat]) -> None:
        self.page, self.call, self.keys, self.others = page, call, keys, others
        self.paused = 0.0

    async def videos(self) -> list[Video]:
        """What came of the others' videos, in their order; nothing yet of one that is missing."""
        videos = await self.page.videos()
        seen = [videos.get(_identity(one), Video(0, 0, 0, 0, 0.0)) for one in self.others]
        self.paused = max(self.paused, *(video.paused for video in seen))
        return seen

    async def more(self, before: list[Video], enough: int, seconds: float = SOON) -> list[Video]:
        """Waits until so many more frames of each are shown."""
        async with asyncio.timeout(seconds):
            while True:
                now = await self.videos()
                if all(two.shown - one.shown >= enough for one, two in zip(before, now, strict=True)):
                    return now
                await asyncio.sleep(WAIT)


@asynccontextmanager
async def viewing(
    synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], policy: Policy
) -> AsyncIterator[tuple[Stage, Viewer]]:
    """A call of three: two show themselves, the third has a page."""
    async with Page() as page, stage(synapse, livekit, devices) as room, AsyncExitStack() as stack:
        others = []
        for device, colour in zip(devices[:2], COLOURS, strict=True):
            seat = await stack.enter_async_context(room.seat(device, None, policy=policy))
            await stack.enter_async_context(showing(seat.media, colour))
            others.append(seat)
        transport = await stack.enter_async_context(NioTransport(devices[2].client))
        call = await stack.enter_async_context(transport.call(room.room_id, encryption=MLS, policy=policy))
        ticket = await room.door(call).grant()
        await page.connect(ticket.url, ticket.token)
        keys = PageKeys(page, call)
        call.attach(keys)
        yield room, Viewer(page, call, keys, others)


async def test_a_page_sees_the_others_through_three_epochs_and_is_seen(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice], record_property: Callable[[str, object], None]
) -> None:
    async with viewing(synapse, livekit, three, Policy(rekey_interval=2.5)) as (_, viewer):
        first, *_ = viewer.others
        await viewer.call.keyed(SOON)
        await viewer.more(await viewer.videos(), 1, 20)
        seen = await viewer.more(await viewer.videos(), ENOUGH)
        assert {video.width for video in seen} == {WIDTH}

        assert await viewer.page.publish()
        viewer.paused, before = 0.0, len(first.notices(SendKeySwitched))
        for number in range(1, 4):
            await first.until(lambda number=number: len(first.notices(SendKeySwitched)) >= before + number)  # type: ignore[misc]
            seen = await viewer.more(await viewer.videos(), ENOUGH)
        record_property("longest pause, ms", round(viewer.paused))
        assert viewer.paused < AT_MOST
        switches = first.notices(SendKeySwitched)[before:]
        assert all(one.index != two.index for one, two in pairwise(switches))

        tracks = await asyncio.gather(*(_track(one, viewer.call) for one in viewer.others))
        async with asyncio.timeout(SOON):
            assert await asyncio.gather(*(frames(track, ENOUGH) for track in tracks)) == [ENOUGH, ENOUGH]
        if path := os.environ.get("MLSRTC_SCREENSHOT"):
            await viewer.page.screenshot(Path(path))


async def test_a_page_whose_device_is_removed_sees_nothing_more_with_all_keys_that_it_had(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice], record_property: Callable[[str, object], None]
) -> None:
    async with viewing(synapse, livekit, three, Policy()) as (room, viewer):
        first, second = viewer.others
        await viewer.more(await viewer.videos(), 1, 20)
        await viewer.more(await viewer.videos(), ENOUGH)
        viewer.call.detach(viewer.keys)  # its ring stays as it is
        switched = [len(one.notices(SendKeySwitched)) for one in viewer.others]
        await _kick(synapse, room, three[0], three[2])
        for one, count in zip(viewer.others, switched, strict=True):
            await one.until(lambda one=one, count=count: len(one.notices(SendKeySwitched)) > count)  # type: ignore[misc]
        await asyncio.sleep(2)
        before = await viewer.videos()
        goes_on = await asyncio.gather(*(_frames_of(one, other) for one, other in ((first, second), (second, first))))
        after = await viewer.videos()
        assert goes_on == [3 * ENOUGH, 3 * ENOUGH]
        both = list(zip(before, after, strict=True))
        for then, now in both:
            assert (now.decoded, now.shown) == (then.decoded, then.shown)
            assert now.packets > then.packets + ENOUGH, "it is in the room, and is sent everything"
        record_property("packets sent to it since", sum(now.packets - then.packets for then, now in both))
        record_property("pictures decoded of them", sum(now.decoded - then.decoded for then, now in both))


async def test_no_browser_outlives_the_process_that_drives_it() -> None:
    async with Page() as page:
        children = page.children()
        assert len(children) > 1
        assert all(alive(pid) for pid in children)
        page.kill()
        for _ in range(100):
            if not any(alive(pid) for pid in children):
                return
            await asyncio.sleep(WAIT)
    raise AssertionError("the browser goes on")


def _identity(seat: Seat) -> str:
    return livekit_identity(seat.call.session.user_id, seat.call.session.device_id)


async def _track(seat: Seat, call: Call) -> RemoteTrack:
    """The track of the member whose call this is."""
    us = call.session.user_id
    await seat.until(lambda: any(told.member.user_id == us for told in seat.notices(TrackReady)))
    return seat.pictures[us]


async def _frames_of(seat: Seat, other: Seat) -> int:
    async with asyncio.timeout(SOON):
        return await frames(await seat.picture(other), 3 * ENOUGH)


async def _kick(synapse: Synapse, room: Stage, owner: TestDevice, other: TestDevice) -> None:
    path = f"/_matrix/client/v3/rooms/{quote(room.room_id)}/kick"
    await synapse.demand("POST", path, token=owner.account.access_token, body={"user_id": other.account.user_id})
