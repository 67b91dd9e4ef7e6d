"""A call with clients that speak the dart SDK's format, on a real Synapse: who sees whom, and keys in both directions.

The peers are no SDK (`dart_peer`): what they read and write is what its source says.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

import pytest
from dart_peer import KEYS, MEMBER, REQUEST, DartPeer
from rooms import enter, make_room
from sharing import Ring
from test_key_sharing import calling, until

from mlsrtc import AUTO, CannotSend, MembershipFormat, Policy, Trust
from mlsrtc.adapters.focus import present_memberships
from mlsrtc.sharing_session import SharingSession
from mlsrtc.testing.devices import TestDevice, nio_client
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire.membership import Transport

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

OURS: dict[str, Any] = {
    "membership": MembershipFormat.FAMEDLY,
    "policy": Policy.famedly(trust=Trust.ANY_DEVICE, leave_debounce=0.5, key_use_delay=0.5, join_throttle=2.0),
}


@asynccontextmanager
async def peers(synapse: Synapse, room_id: str, *devices: TestDevice) -> AsyncIterator[list[DartPeer]]:
    """So many of the SDK's clients that watch the room."""
    async with AsyncExitStack() as stack:
        made = [DartPeer(synapse, device, room_id) for device in devices]
        yield [await stack.enter_async_context(peer.running()) for peer in made]


async def second_device(synapse: Synapse, device: TestDevice, name: str) -> TestDevice:
    """Another client of the same user."""
    account = await synapse.login(device.account, device_id=name)
    return TestDevice(account, nio_client(synapse, account), device.signing)


def opens(ring: Ring, peer: DartPeer) -> bool:
    """Whether we open what a peer sends now."""
    mine = peer.keys.get(peer.me, {})
    return peer.index in mine and any(
        place[:2] == peer.me and held.get(peer.index) == peer.key  # type: ignore[call-overload]
        for place, held in ring.keys.items()
    )


def is_opened(ring: Ring, peer: DartPeer) -> bool:
    """Whether a peer opens what we send now."""
    return ring.sending is not None and peer.keys.get(ring.own, {}).get(ring.sending) == ring.sent_under()


def hear_each_other(ring: Ring, *others: DartPeer) -> bool:
    return all(opens(ring, peer) and is_opened(ring, peer) for peer in others)


async def standing(synapse: Synapse, device: TestDevice, room_id: str) -> list[str]:
    """The devices in the event of a user."""
    key = quote(device.account.user_id, safe="")
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/state/{MEMBER}/{key}"
    body = await synapse.demand("GET", path, token=device.account.access_token)
    return [entry["device_id"] for entry in body["memberships"]]


async def test_we_hear_each_other_through_joins_leaves_rotations_and_a_request(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    us, ada, ben = three
    room_id = await make_room(synapse, three, encrypted=True)
    async with peers(synapse, room_id, ada, ben) as (one, two):
        await one.enter()
        async with calling(room_id, us, **OURS) as (call, ring):
            await until(lambda: hear_each_other(ring, one))
            assert {kind for kind, _ in one.received} == {KEYS}
            (member,) = (
                call.memberships[1:] if call.memberships[0].user_id == us.account.user_id else call.memberships[:1]
            )
            assert member.transports == (Transport("livekit", "https://focus.test", room_id),)
            await two.enter()
            await until(lambda: hear_each_other(ring, one, two))
            before, theirs = ring.sent_under(), one.key
            await two.leave()
            await until(lambda: ring.sent_under() != before and one.key != theirs)
            await until(lambda: hear_each_other(ring, one))
            assert before in two.keys[ring.own].values()
            assert ring.sent_under() not in two.keys[ring.own].values(), "who has left is locked out"
            one.keys[ring.own].clear()
            await one.request_key(ring.own)
            await until(lambda: is_opened(ring, one))
            await asyncio.sleep(2.0)  # the window in which who joins is handed the key that is there
            await two.enter()
            await until(lambda: hear_each_other(ring, one, two))
            assert ring.sent_under() not in (before, theirs)
        await until(lambda: not any(user == us.account.user_id for user, _ in one.participants))


async def test_auto_goes_by_them_and_whoever_writes_another_membership_is_not_seen_by_them(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    us, ada, _ = three
    room_id = await make_room(synapse, three, encrypted=True)
    async with peers(synapse, room_id, ada) as (peer,):
        await peer.enter()
        async with calling(room_id, us, encryption=AUTO, policy=OURS["policy"]) as (call, ring):
            assert isinstance(call.session, SharingSession)
            assert [(one.user_id, one.device_id) for one in call.memberships][:1] == [peer.me]
            await until(lambda: any(kind == KEYS for kind, _ in peer.received))
            await asyncio.sleep(1.0)
            assert peer.participants == {peer.me}
            assert not opens(ring, peer)
    found = await present_memberships(us.client, room_id, "m.call#ROOM")
    assert [(one.device_id, one.format) for one in found] == [(peer.me[1], MembershipFormat.FAMEDLY)]


async def test_whose_key_we_lack_is_asked_for_it_and_answers(synapse: Synapse, three: list[TestDevice]) -> None:
    us, ada, _ = three
    room_id = await make_room(synapse, three, encrypted=True)
    policy = Policy(trust=Trust.ANY_DEVICE, key_wanted_after=1.0)
    async with peers(synapse, room_id, ada) as (peer,):
        await peer.enter()
        peer.silent = True
        async with calling(room_id, us, membership=MembershipFormat.FAMEDLY, policy=policy) as (_, ring):
            await until(lambda: REQUEST in [kind for kind, _ in peer.received])
            await until(lambda: opens(ring, peer))


async def test_two_clients_of_one_user_keep_each_other_s_entries(synapse: Synapse, three: list[TestDevice]) -> None:
    us, ada, _ = three
    room_id = await make_room(synapse, three, encrypted=True)
    phone = await second_device(synapse, us, "PHONE")
    mine = us.account.device_id
    async with AsyncExitStack() as stack:
        stack.push_async_callback(phone.client.close)
        watching, sibling = await stack.enter_async_context(peers(synapse, room_id, ada, phone))
        await watching.enter()
        await sibling.enter()
        async with calling(room_id, us, **OURS) as (_, ring):
            assert sorted(await standing(synapse, us, room_id)) == sorted([mine, "PHONE"])
            await until(lambda: hear_each_other(ring, watching, sibling))
            await sibling.send_member_event()
            assert sorted(await standing(synapse, us, room_id)) == sorted([mine, "PHONE"])
            await sibling.leave()
            assert await standing(synapse, us, room_id) == [mine]
            await sibling.enter()
            await until(lambda: hear_each_other(ring, watching, sibling))
            await sibling._put([])  # as a client would that had not seen us when it left
            await until(lambda: ring.own not in watching.participants)
            await until(lambda: ring.own in watching.participants)
            await sibling.enter()
            await until(lambda: hear_each_other(ring, watching, sibling))
        assert await standing(synapse, us, room_id) == ["PHONE"]


async def test_clients_of_one_user_that_join_at_the_same_time_are_all_in_the_end(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """Each has read the event before another has written it."""
    us, ada, _ = three
    room_id = await make_room(synapse, [us, ada], encrypted=True)
    others = [await second_device(synapse, us, name) for name in ("TWO", "THREE")]
    async with AsyncExitStack() as stack:
        for other in others:
            stack.push_async_callback(other.client.close)
        (watching,) = await stack.enter_async_context(peers(synapse, room_id, ada))
        await watching.enter()
        devices = [us, *others]
        entered = await asyncio.gather(
            *(stack.enter_async_context(calling(room_id, device, **OURS)) for device in devices)
        )
        rings = [ring for _, ring in entered]
        names = sorted(device.account.device_id for device in devices)
        await until(lambda: len(watching.participants) == 4)
        await until(lambda: all(hear_each_other(ring, watching) for ring in rings))
        await until(lambda: all(one.opens(other) for one in rings for other in rings if one is not other))
        assert sorted(await standing(synapse, us, room_id)) == names


async def test_the_homeserver_withdraws_us_alone_if_we_crash(synapse: Synapse, three: list[TestDevice]) -> None:
    us, ada, _ = three
    room_id = await make_room(synapse, three, encrypted=True)
    phone = await second_device(synapse, us, "PHONE")
    policy = Policy(trust=Trust.ANY_DEVICE, delayed_leave=3.0, delayed_leave_restart=1.0)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(phone.client.close)
        watching, sibling = await stack.enter_async_context(peers(synapse, room_id, ada, phone))
        await watching.enter()
        call, ring = await stack.enter_async_context(
            calling(room_id, us, membership=MembershipFormat.FAMEDLY, policy=policy)
        )
        await until(lambda: hear_each_other(ring, watching))
        await sibling.enter()  # after our leave was scheduled
        await until(lambda: hear_each_other(ring, watching, sibling))
        await asyncio.sleep(1.5)
        await call.crash()
        await until(lambda: ring.own not in watching.participants)
        assert await standing(synapse, us, room_id) == ["PHONE"]


async def test_a_room_that_does_not_let_us_write_it(synapse: Synapse, three: list[TestDevice]) -> None:
    owner, us, _ = three
    body = {
        "preset": "public_chat",
        "initial_state": [{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
    }
    answer = await synapse.demand("POST", "/_matrix/client/v3/createRoom", token=owner.account.access_token, body=body)
    room_id: str = answer["room_id"]
    await enter(synapse, us, room_id)
    with pytest.raises(CannotSend) as caught:
        async with calling(room_id, us, **OURS):
            pass
    assert MEMBER in str(caught.value)
