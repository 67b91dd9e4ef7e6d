"""Element Call itself in headless Chromium, as our counterpart: two of them in the call of an encrypted room, on a real
Synapse, token service and SFU, and what each then shows of the other.

MLSRTC_SCREENSHOT=element-call.png has the first test draw one page.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from element_call import ElementCall, Shown, Window, until
from rooms import MEMBER, make_room

from mlsrtc.testing.synapse import Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

ENOUGH = 20  # frames
SOON = 10.0  # seconds

_numbers = count()


@dataclass(frozen=True)
class Pair:
    """Two users' pages in the call. seconds: from the start of the browser until both see the other."""

    synapse: Synapse
    room_id: str
    ada: Window
    ben: Window
    seconds: float


@asynccontextmanager
async def pair(synapse: Synapse) -> AsyncIterator[Pair]:
    began = time.monotonic()
    async with ElementCall() as browser:
        ada, ben = [browser.window(await synapse.register(f"{name}{next(_numbers)}")) for name in ("ada", "ben")]
        room_id = await make_room(synapse, [ada, ben], encrypted=True)
        await asyncio.gather(*(one.enter(synapse.base_url, room_id) for one in (ada, ben)))
        await asyncio.gather(*(until(one, _sees_one) for one in (ada, ben)))
        yield Pair(synapse, room_id, ada, ben, time.monotonic() - began)


async def test_two_see_and_hear_each_other_in_an_encrypted_room(
    announcing: tuple[Synapse, TokenService], record_property: Callable[[str, object], None]
) -> None:
    async with pair(announcing[0]) as call:
        record_property("seconds from the start until both see the other", round(call.seconds, 1))
        for one, other in ((call.ada, call.ben), (call.ben, call.ada)):
            before = await one.shown()
            assert other.identity in before.keys, "what is seen is encrypted"

            def more(now: Shown, before: Shown = before) -> bool:
                return _frames(now) >= _frames(before) + ENOUGH and _energy(now) > _energy(before)

            after = await until(one, more, SOON)
            assert {member.identity for member in after.members} >= {other.identity}
            assert [tile.width > 0 for tile in after.others] == [True]
        if path := os.environ.get("MLSRTC_SCREENSHOT"):
            await call.ada.screenshot(Path(path))


async def test_what_it_writes_into_the_room_and_that_it_makes_a_new_key_when_one_leaves(
    announcing: tuple[Synapse, TokenService],
) -> None:
    synapse, service = announcing
    async with pair(synapse) as call:
        ada = call.ada.account
        content = await _membership(call, call.ada)
        assert content.pop("expires") > 0
        assert content == {
            "application": "m.call",
            "call_id": "",
            "scope": "m.room",
            "device_id": ada.device_id,
            "membershipID": call.ada.identity,
            "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
            "foci_preferred": [
                {"type": "livekit", "livekit_service_url": service.url, "livekit_alias": call.room_id},
            ],
        }
        known = (await call.ada.shown()).keys[call.ada.identity]
        await call.ben.leave()
        await until(call.ada, lambda now: not now.others and now.keys[call.ada.identity] != known)
        assert await _membership(call, call.ben) == {}


def _sees_one(now: Shown) -> bool:
    return any(tile.frames > 0 for tile in now.others)


def _frames(now: Shown) -> int:
    return sum(tile.frames for tile in now.others)


def _energy(now: Shown) -> float:
    return sum(track.energy for track in now.media.values())


async def _membership(call: Pair, window: Window) -> dict[str, Any]:
    """What stands in the room of a user's participation."""
    account = window.account
    key = quote(f"_{account.user_id}_{account.device_id}_m.call", safe="")
    path = f"/_matrix/client/v3/rooms/{quote(call.room_id)}/state/{MEMBER}/{key}"
    return await call.synapse.demand("GET", path, token=account.access_token)
