"""Sticky memberships and encrypted rooms over the nio transport, on a real Synapse."""

import asyncio
from urllib.parse import quote

import nio
import pytest
from rooms import (
    BLOCK,
    SLOT,
    STICKY,
    WORD,
    enter,
    events,
    has,
    history,
    in_room,
    make_room,
    say,
    until,
)

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.outbox import (
    Accepted,
    SendEvent,
)
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]


async def test_room_send_encrypts_every_type_so_commits_and_words_go_by_raw_put(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    async with in_room(room_id, *three[:2]) as (ours, theirs):
        await history(ours)
        await history(theirs)
        by_nio = await three[0].client.room_send(room_id, WORD, {"n": 0}, ignore_unverified_devices=True)
        assert isinstance(by_nio, nio.RoomSendResponse)
        outcome = await ours.send(SendEvent("w1", WORD, {"slot_id": SLOT, "n": 1}))
        assert isinstance(outcome, Accepted)
        got = await until(theirs, has(WORD))
        assert [event.content["n"] for event in events(got, WORD)] == [1]
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/event/{by_nio.event_id}"
        raw = await synapse.demand("GET", path, token=three[0].account.access_token)
        assert raw["type"] == "m.room.encrypted"


async def test_an_encrypted_sticky_membership_is_read_with_its_block_in_the_clear(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, encrypted=True)
    async with in_room(room_id, *three) as channels:
        for channel in channels:
            await history(channel)
        content = {"slot_id": SLOT, "member": {"id": "m"}, "dev.mlsrtc.mls": {"version": 99}}
        sent = await channels[0].send(
            SendEvent("st1", STICKY, content, sticky_ms=60_000, encrypt=True, clear={"dev.mlsrtc.mls": BLOCK})
        )
        assert isinstance(sent, Accepted)
        for channel in channels:
            got = await until(channel, has(STICKY))
            event = events(got, STICKY)[-1]
            assert event.decrypted
            assert event.content == {"slot_id": SLOT, "member": {"id": "m"}, "dev.mlsrtc.mls": BLOCK}
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/event/{quote(str(sent.event_id))}"
        raw = await synapse.demand("GET", path, token=three[0].account.access_token)
        assert raw["type"] == "m.room.encrypted"
        assert raw["content"]["dev.mlsrtc.mls"] == BLOCK
        assert "member" not in raw["content"]


async def test_a_block_counts_for_who_cannot_decrypt_the_membership(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three, encrypted=True, join=2)
    async with in_room(room_id, three[0]) as (ours,):
        await history(ours)
        clear = {"dev.mlsrtc.mls": BLOCK}
        content = {"slot_id": SLOT, "member": {"id": "m"}}
        request = SendEvent("st1", STICKY, content, sticky_ms=60_000, encrypt=True, clear=clear)
        assert isinstance(await ours.send(request), Accepted)
        await enter(synapse, three[2], room_id)
        async with in_room(room_id, three[2]) as (late,):
            [event] = events(await history(late), "m.room.encrypted")
            assert not event.decrypted
            assert event.content["dev.mlsrtc.mls"] == BLOCK


async def test_device_keys_are_on_the_server_before_anyone_sends_a_membership(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """There is no re-share later."""
    room_id = await make_room(synapse, three, encrypted=True)
    account = await synapse.login(three[1].account)
    from mlsrtc.testing.devices import nio_client

    fresh = nio_client(synapse, account)
    try:
        assert fresh.should_upload_keys
        async with NioTransport(fresh, sync=False) as transport, transport.subscribe(room_id, SLOT):
            body = {"device_keys": {account.user_id: []}}
            answer = await synapse.demand(
                "POST", "/_matrix/client/v3/keys/query", token=account.access_token, body=body
            )
            assert account.device_id in answer["device_keys"][account.user_id]
    finally:
        await fresh.close()


async def test_a_sticky_event_comes_and_is_kept_for_a_call_entered_later(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """nio knows no sticky section; the server does not repeat an event that is in the timeline."""
    room_id = await make_room(synapse, three, visibility="joined", join=2)
    content = {"slot_id": SLOT, "dev.mlsrtc.mls": BLOCK, "msc4354_sticky_key": "k"}
    async with NioTransport(three[2].client) as late, in_room(room_id, *three[:2]) as (ours, theirs):
        await history(theirs)
        sent = await ours.send(SendEvent("st1", STICKY, content, sticky_ms=60_000))
        assert isinstance(sent, Accepted)
        [event] = events(await until(theirs, has(STICKY)), STICKY)
        assert (event.event_id, event.content, event.sticky_ms) == (sent.event_id, content, 60_000)
        for n in range(30):
            await say(synapse, three[1], room_id, n, "m.room.message", msgtype="m.text", body="x")
        # History is closed to who joins now, but sticky events are shown, in their own section and once.
        await enter(synapse, three[2], room_id)
        for _ in range(100):
            if sent.event_id in late._sticky.get(room_id, {}):
                break
            await asyncio.sleep(0.05)
        async with late.subscribe(room_id, SLOT) as channel:
            assert [e.event_id for e in events(await history(channel), STICKY)] == [sent.event_id]
