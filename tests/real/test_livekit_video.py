"""Pictures in a call with media: what one device shows, the others decode, whatever epoch they are in."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest
import sfu  # noqa: F401 - skips what needs LiveKit where it is not installed
from blocks import NUMBERS, Colour, Eye, Seen, near, showing
from seats import PITCHES, Seat, all_hear, seats

from mlsrtc import Policy, SendKeySwitched
from mlsrtc.adapters.livekit import MediaRefused
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

RED, GREEN, BLUE = (220, 40, 40), (40, 200, 40), (40, 60, 230)
ENOUGH = 20  # pictures, as a busy machine decodes them in ten seconds
LONGEST = 3.0  # seconds without a picture


def _steps(seen: list[Seen]) -> list[int]:
    """From each picture to the next one."""
    return [(later.number - one.number) % NUMBERS for one, later in pairwise(seen)]


def _moves(seen: list[Seen], colour: Colour) -> bool:
    """Whether it is the sender's picture, and the next one is always a later one."""
    return all(near(one.colour, colour) for one in seen) and all(0 < step < NUMBERS // 2 for step in _steps(seen))


async def _switch(seat: Seat) -> None:
    """Waits until it sends under another key."""
    before = len(seat.notices(SendKeySwitched))
    await seat.until(lambda: len(seat.notices(SendKeySwitched)) > before)


async def _through_switches(seat: Seat, shown: Seat) -> list[Seen]:
    """What one of two sees of the other, from before three switches until after the last of them."""
    async with Eye(await seat.picture(shown)) as eye:
        await eye.more(ENOUGH)
        for _ in range(3):
            await _switch(shown)
            await eye.more(ENOUGH)
    return eye.seen


@pytest.mark.slow
async def test_pictures_are_decoded_through_switches_of_the_epoch(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice], record_property: Callable[[str, object], None]
) -> None:
    policy = Policy(rekey_interval=3.0)
    async with seats(synapse, livekit, three, 2, policy=policy) as (_, (one, other)), AsyncExitStack() as stack:
        await stack.enter_async_context(showing(one.media, RED))
        await stack.enter_async_context(showing(other.media, GREEN))
        both = await asyncio.gather(_through_switches(one, other), _through_switches(other, one))
        for seen, colour in zip(both, (GREEN, RED), strict=True):
            assert _moves(seen, colour)
            gap = max(later.time - earlier.time for earlier, later in pairwise(seen))
            assert gap < LONGEST
            record_property("pictures decoded", len(seen))
            record_property("pictures missed", sum(_steps(seen)) - len(seen) + 1)
            record_property("longest gap, ms", round(1000 * gap))
        assert await all_hear([one, other]), "and sound goes beside it"
        assert one.notices(MediaRefused) == other.notices(MediaRefused) == []


@pytest.mark.slow
async def test_who_joins_late_sees_all_and_is_seen(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2) as (room, seated), AsyncExitStack() as stack:
        for seat, colour in zip(seated, (RED, GREEN), strict=True):
            await stack.enter_async_context(showing(seat.media, colour))
        third = await stack.enter_async_context(room.seat(three[2], PITCHES[2]))
        await stack.enter_async_context(showing(third.media, BLUE))
        everybody = list(zip([*seated, third], (RED, GREEN, BLUE), strict=True))

        async def sees(seat: Seat, shown: Seat, colour: Colour) -> bool:
            async with Eye(await seat.picture(shown)) as eye:
                await eye.more(ENOUGH)
            return _moves(eye.seen, colour)

        pairs = ((seat, *other) for seat, _ in everybody for other in everybody if other[0] is not seat)
        assert all(await asyncio.gather(*(sees(*pair) for pair in pairs)))
