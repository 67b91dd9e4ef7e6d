"""Keys as room events on a real Synapse: among ourselves, and with the last matrix-js-sdk that wrote them."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import pytest
from js_sdk import ROOM_KEYS
from js_sdk import calling as calling_js
from rooms import enter, make_room
from test_key_sharing import calling, is_opened, opens, until

from mlsrtc import KeyRefused, KeyTransport, LocalProtocolError, Policy, Trust
from mlsrtc.adapters.driver import Call
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire import names
from mlsrtc.wire.membership import MembershipFormat

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

POSTED = Policy(key_transport=KeyTransport.ROOM)
IN_CLEAR = Policy(key_transport=KeyTransport.ROOM_CLEAR)


async def events(synapse: Synapse, device: TestDevice, room_id: str) -> list[dict[str, Any]]:
    """The newest of the room, as the homeserver has them."""
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=100"
    found = await synapse.demand("GET", path, token=device.account.access_token)
    chunk: list[dict[str, Any]] = found["chunk"]
    return chunk


async def refusals(call: Call, into: list[str]) -> None:
    async for notice in call.notices():
        if isinstance(notice, KeyRefused):
            into.append(notice.reason)


@pytest.mark.parametrize("sticky", [False, True])
async def test_two_hear_each_other_by_one_encrypted_event_each_and_a_late_joiner_hears_both(
    synapse: Synapse, three: list[TestDevice], sticky: bool
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    async with AsyncExitStack() as stack:
        options: dict[str, Any] = {
            "policy": POSTED,
            "membership": MembershipFormat.STICKY if sticky else MembershipFormat.STATE,
        }
        calls = [await stack.enter_async_context(calling(room_id, device, **options)) for device in three[:2]]
        one, other = (ring for _, ring in calls)
        await until(lambda: one.opens(other) and other.opens(one))
        types = [event["type"] for event in await events(synapse, three[0], room_id)]
        assert names.KEYS_ELEMENT not in types
        if not sticky:  # else the memberships are encrypted too
            assert types.count(names.ENCRYPTED) == 2
        async with calling(room_id, three[2], **options) as (_, late):
            await until(lambda: all(late.opens(ring) and ring.opens(late) for ring in (one, other)))
            held = [key for ring in late.keys.values() for key in ring.values()]
        await until(lambda: all(ring.sent_under() not in held for ring in (one, other)))
        await until(lambda: one.opens(other) and other.opens(one))


async def test_who_comes_into_the_room_after_the_key_was_posted_is_posted_one(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """Its device did not exist for the Megolm session that was there."""
    room_id = await make_room(synapse, three, encrypted=True, join=2)
    async with (
        calling(room_id, three[0], policy=POSTED) as (_, one),
        calling(room_id, three[1], policy=POSTED) as (_, two),
    ):
        await until(lambda: one.opens(two) and two.opens(one))
        await enter(synapse, three[2], room_id)
        async with calling(room_id, three[2], policy=POSTED) as (_, late):
            await until(lambda: all(late.opens(ring) and ring.opens(late) for ring in (one, two)))


async def test_keys_are_read_whichever_way_they_come(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    async with AsyncExitStack() as stack:
        policies = (POSTED, Policy(), POSTED)
        calls = [
            await stack.enter_async_context(calling(room_id, device, policy=policy))
            for device, policy in zip(three, policies, strict=True)
        ]
        rings = [ring for _, ring in calls]
        await until(lambda: all(one.opens(other) for one in rings for other in rings if one is not other))


async def test_a_key_that_somebody_writes_into_the_room_in_the_clear_is_refused(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    async with AsyncExitStack() as stack:
        calls = [await stack.enter_async_context(calling(room_id, device, policy=POSTED)) for device in three[:2]]
        (call, one), (_, other) = calls
        await until(lambda: one.opens(other) and other.opens(one))
        before = {place: dict(ring) for place, ring in one.keys.items()}
        refused: list[str] = []
        task = asyncio.create_task(refusals(call, refused))
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/{names.KEYS_ELEMENT}/forged"
        key = {"index": 9, "key": "A" * 43}
        body = {"keys": [key], "call_id": "", "device_id": three[1].account.device_id, "sent_ts": 1}
        await synapse.demand("PUT", path, token=three[1].account.access_token, body=body)
        await until(lambda: refused)
        assert refused == ["not_encrypted"]
        assert one.keys == before
        task.cancel()


async def test_in_a_room_that_is_not_encrypted_only_if_the_policy_asks_for_it(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    with pytest.raises(LocalProtocolError) as caught:
        async with calling(room_id, three[0], policy=POSTED):
            pass
    assert caught.value.reason == "room_not_encrypted"
    async with (
        calling(room_id, three[0], policy=IN_CLEAR) as (_, one),
        calling(room_id, three[1], policy=IN_CLEAR) as (_, two),
    ):
        await until(lambda: one.opens(two) and two.opens(one))
    assert names.KEYS_ELEMENT in [event["type"] for event in await events(synapse, three[0], room_id)]


@pytest.mark.slow
async def test_an_older_matrix_js_sdk_and_we_hear_each_other_through_a_join_a_leave_and_a_rotation(
    synapse: Synapse, onlooker: TestDevice
) -> None:
    policy = Policy(trust=Trust.ANY_DEVICE, key_transport=KeyTransport.ROOM)  # the peers have no cross-signing
    async with calling_js(synapse, onlooker, "ada", "ben", folder=ROOM_KEYS) as (room_id, [ada, ben]):
        assert ada.version.startswith("37.")
        await ada.join("state")
        await until(lambda: ada.members)
        async with calling(room_id, onlooker, policy=policy) as (_, ring):
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
            await ben.join("state")
            await until(lambda: opens(ring, ben) and is_opened(ring, onlooker, ben))
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
            before = ring.sent_under(), ada.newest(ada)
            await ben.leave()
            await until(lambda: ring.sent_under() != before[0] and ada.newest(ada) != before[1])
            await until(lambda: opens(ring, ada) and is_opened(ring, onlooker, ada))
