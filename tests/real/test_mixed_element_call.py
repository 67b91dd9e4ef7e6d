"""A call of both kinds with media: two devices with MLS and two Element Calls, on a real Synapse and a real SFU.

A campaign: four who send pictures are more than two cores carry beside other tests, so it runs by itself:

    MLSRTC_CAMPAIGN=2 interop/livekit/alone .venv/bin/pytest tests/real/test_mixed_element_call.py

MLSRTC_SCREENSHOT=mixed.png draws what an Element Call shows of the four.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import pytest
from element_call import Shown, until
from rooms import make_room
from taking_part import Us, all_see_and_hear, pages, taking_part

from mlsrtc import MLS
from mlsrtc.testing.devices import cross_signed_devices
from mlsrtc.testing.synapse import Synapse
from mlsrtc.testing.token_service import TokenService
from searching import CAMPAIGN

pytestmark = [
    pytest.mark.real,
    pytest.mark.media,
    pytest.mark.slow,
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.skipif(CAMPAIGN == 1, reason="a campaign, for a machine that does nothing else: MLSRTC_CAMPAIGN=2"),
]

GREEN = (30, 132, 73)
LATER = 40  # frames; of these, 15 may be under the keys before

_numbers = count()


async def test_two_with_mls_and_two_element_calls_see_and_hear_each_other_through_leaves_and_a_return(
    announcing: tuple[Synapse, TokenService], record_property: Callable[[str, object], None]
) -> None:
    synapse, _ = announcing

    @contextmanager
    def timed(what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        record_property(f"seconds from {what}", round(time.monotonic() - began, 1))

    async with (
        cross_signed_devices(synapse, [f"{name}mixed{next(_numbers)}" for name in ("cem", "dan")]) as [cem, dan],
        pages(synapse, "ada", "ben") as [ada, ben],
    ):
        room_id = await make_room(synapse, [cem, dan, ada, ben], encrypted=True)
        with timed("the start of two pages until one is in the call"):
            await asyncio.gather(ada.enter(synapse.base_url, room_id), ben.open(synapse.base_url, room_id))
        async with taking_part(cem, room_id, MLS) as one:
            async with taking_part(dan, room_id, MLS, GREEN) as two:
                with timed("the second join with MLS until all see and hear"):
                    await all_see_and_hear([one, two], [ada])
                assert kinds(one) == kinds(two) == {one.user_id: True, two.user_id: True, ada.user_id: False}
                with timed("the join of another page until all see and hear"):
                    await ben.join()
                    await all_see_and_hear([one, two], [ada, ben])
                assert guests(one) == guests(two) == {ada.user_id, ben.user_id}
                if path := os.environ.get("MLSRTC_SCREENSHOT"):
                    await ada.screenshot(Path(path))
                before = await ada.shown()
                with timed("its leave until all have new keys"):
                    await ben.leave()
                    await until(ada, renewed(before, one.identity, two.identity, ada.identity))
                await all_see_and_hear([one, two], [ada], LATER)
                assert guests(one) == guests(two) == {ada.user_id}
                before = await ada.shown()
            with timed("a leave with MLS until all have new keys"):
                await until(ada, renewed(before, one.identity, ada.identity))
            await all_see_and_hear([one], [ada], LATER)
            async with taking_part(dan, room_id, MLS, GREEN) as two:
                with timed("the return with MLS until all see and hear"):
                    await all_see_and_hear([one, two], [ada])
                await ada.leave()
                await all_see_and_hear([one, two], [], LATER)
                assert guests(one) == guests(two) == set()


def renewed(before: Shown, *whose: str) -> Callable[[Shown], bool]:
    """Whether a page has a newer key of each of these."""
    return lambda now: all(now.keys[who][-1] != before.keys[who][-1] for who in whose)


def kinds(us: Us) -> dict[str, bool]:
    """Everybody in the call, and whether with MLS."""
    assert all(member.keyed for member in us.call.members.values())
    return {member.user_id: member.mls for member in us.call.members.values()}


def guests(us: Us) -> set[str]:
    """The users without MLS whom the call is said to be mixed for."""
    return {user for user, _ in us.mixed}
