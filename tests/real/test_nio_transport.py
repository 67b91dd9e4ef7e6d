"""The nio transport against a real Synapse: three devices, an encrypted room, gaps, limits, crashes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import quote

import nio
import pytest
from canonicaljson import encode_canonical_json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rooms import COMMIT, MEMBER, SLOT, STICKY, WORD, enter, events, history, make_room, say, until
from unpaddedbase64 import decode_base64, encode_base64

from mlsrtc.adapters.nio import NioTransport, device_for
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    FetchRelations,
    QueryKeys,
    RateLimited,
    Refused,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
    SendToDevice,
)
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire.chain import decode_keys_query
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    RoomEvent,
    ToDevice,
)

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

BLOCK = {"version": 1, "member_id": "m" * 43}


@asynccontextmanager
async def in_room(room_id: str, *devices: TestDevice) -> AsyncIterator[list[NioChannel]]:
    """One transport and one channel for each device."""
    async with AsyncExitStack() as stack:
        channels = []
        for device in devices:
            transport = await stack.enter_async_context(NioTransport(device.client))
            channels.append(await stack.enter_async_context(transport.subscribe(room_id, SLOT)))
        yield channels


def _has(kind: str) -> Any:
    return lambda got: bool(events(got, kind))


async def test_a_state_event_reaches_the_others_and_its_echo_carries_no_secret_of_ours(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    key = f"_{three[0].account.user_id}_{three[0].account.device_id}_m.call"
    async with in_room(room_id, *three) as channels:
        for channel in channels:
            await history(channel)
        outcome = await channels[0].send(SendState("s1", MEMBER, key, {"application": "m.call"}))
        assert isinstance(outcome, Accepted)
        for channel in channels:
            [event] = events(await until(channel, _has(MEMBER)), MEMBER)
            assert (event.event_id, event.sender) == (outcome.event_id, three[0].account.user_id)
            assert (event.state_key, event.content) == (key, {"application": "m.call"})


async def test_own_echo_carries_transaction_id(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, *three[:2]) as (ours, theirs):
        await history(ours)
        await history(theirs)
        content = {"slot_id": SLOT, "root": "r", "parent": None}
        first = await ours.send(SendEvent("txn-1", COMMIT, content))
        again = await ours.send(SendEvent("txn-1", COMMIT, content))
        assert isinstance(first, Accepted)
        assert first == again
        [echo] = events(await until(ours, _has(COMMIT)), COMMIT)
        assert echo.transaction_id == "txn-1"
        [seen] = events(await until(theirs, _has(COMMIT)), COMMIT)
        assert seen.transaction_id is None
        assert seen.content == content


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
        got = await until(theirs, _has(WORD))
        assert [event.content["n"] for event in events(got, WORD)] == [1]
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/event/{by_nio.event_id}"
        raw = await synapse.demand("GET", path, token=three[0].account.access_token)
        assert raw["type"] == "m.room.encrypted"


async def test_a_sync_gap_of_40_events_is_filled_before_history_is_complete(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """nio gets 10 of them with `limited`."""
    room_id = await make_room(synapse, three)
    client = three[1].client
    async with NioTransport(client, sync=False) as transport, transport.subscribe(room_id, SLOT) as channel:
        await client.run_response_callbacks([await client.sync()])
        await history(channel)
        sent = [await say(synapse, three[0], room_id, n, COMMIT, slot_id=SLOT, n=n) for n in range(40)]
        key = f"_{three[0].account.user_id}_X_m.call"
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/state/{MEMBER}/{quote(key)}"
        for n in range(3):
            token = three[0].account.access_token
            await synapse.demand("PUT", path, token=token, body={"n": n})
        for n in range(40, 48):
            await say(synapse, three[0], room_id, n, "m.room.message", msgtype="m.text", body="chat")
        response = await client.sync()
        assert response.rooms.join[room_id].timeline.limited
        assert len(response.rooms.join[room_id].timeline.events) < 40
        await client.run_response_callbacks([response])
        got = await history(channel)
        assert got.index(GapOpened()) < got.index(HistoryComplete())
        commits = events(got, COMMIT)
        assert [event.event_id for event in commits] == sent
        members = events(got, MEMBER)
        assert {event.content["n"] for event in members} == {0, 1, 2}
        assert members[-1].content == {"n": 2}


async def test_a_first_sync_after_the_back_fill_opens_a_gap_and_closes_it(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    sent = [await say(synapse, three[0], room_id, n, WORD, slot_id=SLOT, n=n) for n in range(5)]
    client = three[1].client
    async with NioTransport(client, sync=False) as transport, transport.subscribe(room_id, SLOT) as channel:
        before = events(await history(channel), WORD)
        assert [event.event_id for event in before] == sent
        missed = [await say(synapse, three[0], room_id, n, WORD, slot_id=SLOT, n=n) for n in range(5, 25)]
        await client.run_response_callbacks([await client.sync()])
        got = await history(channel)
        assert sorted(event.event_id for event in events(got, WORD)) == sorted(missed)


async def test_back_fill_reaches_the_root_through_a_chat_and_follows_its_relations(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    root = await say(synapse, three[0], room_id, 0, COMMIT, slot_id=SLOT, root="R", parent=None)
    relates = {"rel_type": "m.reference", "event_id": root}
    expected = [root]
    for n in range(1, 4):
        for chat in range(15):
            await say(
                synapse, three[2], room_id, 100 * n + chat, "m.room.message", msgtype="m.text", body="x"
            )
        content = {"slot_id": SLOT, "root": "R", "parent": "R", "m.relates_to": relates}
        expected.append(await say(synapse, three[1], room_id, n, COMMIT, **content))
    expected.append(
        await say(synapse, three[1], room_id, 9, WORD, slot_id=SLOT, root="R", **{"m.relates_to": relates})
    )
    async with in_room(room_id, three[2]) as (channel,):
        got = await history(channel)
        found = [e.event_id for e in got if isinstance(e, RoomEvent) and e.type in (COMMIT, WORD)]
        assert found == expected
        assert not events(got, "m.room.message")
        outcome = await channel.send(FetchRelations("f1", root))
        assert outcome == Accepted()
        assert await channel.receive(0) == ()


async def test_relations_bring_what_was_not_seen_yet(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[0]) as (channel,):
        await history(channel)
        client = three[0].client
        # The homeserver has the events and our sync has not brought them: the loop is held for a moment.
        channel_sync, channel.on_sync = channel.on_sync, lambda *a, **k: None  # type: ignore[method-assign]
        root = await say(synapse, three[1], room_id, 0, COMMIT, slot_id=SLOT, root="R", parent=None)
        relates = {"rel_type": "m.reference", "event_id": root}
        words = [
            await say(synapse, three[1], room_id, n, WORD, slot_id=SLOT, **{"m.relates_to": relates})
            for n in range(1, 8)
        ]
        assert await channel.send(FetchRelations("f1", root)) == Accepted()
        got = await channel.receive(0)
        assert [e.event_id for e in got if isinstance(e, RoomEvent)] == [root, *words]
        channel.on_sync = channel_sync  # type: ignore[method-assign]
        assert client.logged_in


async def test_history_visibility_joined_is_history_refused(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """A newcomer sees nothing older, and /relations is 403."""
    room_id = await make_room(synapse, three, visibility="joined", join=2)
    root = await say(synapse, three[0], room_id, 0, COMMIT, slot_id=SLOT, root="R", parent=None)
    await enter(synapse, three[2], room_id)
    async with in_room(room_id, three[2]) as (channel,):
        got = await history(channel)
        assert HistoryRefused("M_FORBIDDEN") in got
        assert got.index(HistoryRefused("M_FORBIDDEN")) < got.index(HistoryComplete())
        assert not events(got, COMMIT)
        refused = await channel.send(FetchRelations("f1", root))
        assert isinstance(refused, Refused)
        assert refused.status in (403, 404)
        assert [type(value) for value in await channel.receive(0)] == [HistoryRefused]
        relates = {"rel_type": "m.reference", "event_id": root}
        content = {"slot_id": SLOT, "root": "R", "parent": "R", "m.relates_to": relates}
        await say(synapse, three[0], room_id, 1, COMMIT, **content)
        assert len(events(await until(channel, _has(COMMIT)), COMMIT)) == 1


async def test_who_sees_everything_is_not_told_that_history_is_refused(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, visibility="joined")
    async with in_room(room_id, three[0]) as (channel,):
        got = await history(channel)
        assert not [value for value in got if isinstance(value, HistoryRefused)]


async def test_429_is_told_and_not_slept_on(limited_synapse: Synapse) -> None:
    """nio's own methods retry a 429 by sleeping and send late."""
    async with cross_signed_devices(limited_synapse, ["ada"]) as devices:
        room_id = await make_room(limited_synapse, devices)
        async with in_room(room_id, *devices) as (channel,):
            await history(channel)
            outcomes = []
            started = time.monotonic()
            for n in range(20):
                outcomes.append(await channel.send(SendEvent(f"w{n}", WORD, {"slot_id": SLOT, "n": n})))
                if isinstance(outcomes[-1], RateLimited):
                    break
            assert time.monotonic() - started < 3
            limited = outcomes[-1]
            assert isinstance(limited, RateLimited)
            assert 0 < limited.retry_after_ms <= 6000
            accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
            got = await until(channel, lambda got: len(events(got, WORD)) == accepted)
            assert [event.content["n"] for event in events(got, WORD)] == list(range(accepted))


async def test_no_answer_is_told_as_a_limit(three: list[TestDevice]) -> None:
    client = nio.AsyncClient("http://127.0.0.1:1", three[0].account.user_id)
    client.restore_login(three[0].account.user_id, "D", "token")
    try:
        channel = NioChannel(client, "!r:localhost", SLOT, attachment_limit=10)
        assert isinstance(await channel.send(SendEvent("w", WORD, {})), RateLimited)
        assert isinstance(await channel.send(FetchAttachment("a", "mxc://localhost/x")), RateLimited)
    finally:
        await client.close()


async def test_a_delayed_leave_fires_after_a_crash(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    account = three[0].account
    key = f"_{account.user_id}_{account.device_id}_m.call"
    async with in_room(room_id, three[1]) as (watcher,):
        await history(watcher)
        async with in_room(room_id, three[0]) as (crashing,):
            await history(crashing)
            await crashing.send(SendState("s1", MEMBER, key, {"application": "m.call"}))
            leave = await crashing.send(ScheduleLeave("l1", 1500, MEMBER, key, {"left": "signed"}))
            assert isinstance(leave, Accepted)
            assert leave.delay_id is not None
            await asyncio.sleep(1.0)
            assert await crashing.send(RestartLeave("r1", leave.delay_id)) == Accepted()
        # Its client has stopped: nothing restarts the leave any more.
        crashed = time.monotonic()
        got = await until(watcher, lambda got: len(events(got, MEMBER)) == 2)
        assert 1.0 < time.monotonic() - crashed < 6.0
        assert [event.content for event in events(got, MEMBER)] == [
            {"application": "m.call"},
            {"left": "signed"},
        ]


async def test_a_cancelled_leave_does_not_fire_and_an_unknown_one_is_refused(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[0]) as (channel,):
        await history(channel)
        leave = await channel.send(ScheduleLeave("l1", 500, MEMBER, "_k", {"left": "x"}))
        assert isinstance(leave, Accepted)
        assert leave.delay_id is not None
        assert await channel.send(CancelLeave("c1", leave.delay_id)) == Accepted()
        assert await channel.send(RestartLeave("r1", leave.delay_id)) == Refused(404, "M_NOT_FOUND")
        assert await channel.receive(1.2) == ()


async def test_a_membership_overwritten_by_another_user_cancels_its_delayed_leave(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    """Anyone with the power level may write any state key that does not begin with an @."""
    room_id = await make_room(synapse, three)
    account = three[0].account
    key = f"_{account.user_id}_{account.device_id}_m.call"
    async with in_room(room_id, *three[:2]) as (victim, other):
        await history(victim)
        await history(other)
        await victim.send(SendState("s1", MEMBER, key, {"application": "m.call"}))
        leave = await victim.send(ScheduleLeave("l1", 800, MEMBER, key, {"left": "x"}))
        assert isinstance(leave, Accepted)
        assert leave.delay_id is not None
        assert isinstance(await other.send(SendState("s2", MEMBER, key, {})), Accepted)
        got = await until(victim, lambda got: len(events(got, MEMBER)) == 2)
        assert [event.sender for event in events(got, MEMBER)] == [
            account.user_id,
            three[1].account.user_id,
        ]
        assert await victim.send(RestartLeave("r1", leave.delay_id)) == Refused(404, "M_NOT_FOUND")


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
        [event] = events(await until(theirs, _has(STICKY)), STICKY)
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
            got = await until(channel, _has(STICKY))
            event = events(got, STICKY)[-1]
            assert event.decrypted
            assert event.content == {"slot_id": SLOT, "member": {"id": "m"}, "dev.mlsrtc.mls": BLOCK}
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/event/{quote(str(sent.event_id))}"
        raw = await synapse.demand("GET", path, token=three[0].account.access_token)
        assert raw["type"] == "m.room.encrypted"
        assert raw["content"]["dev.mlsrtc.mls"] == BLOCK
        assert "member" not in raw["content"]


async def test_a_block_counts_for_who_cannot_decrypt_the_membership(
    synapse: Synapse, three: list[TestDevice]
) -> None:
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


async def test_media_goes_up_with_the_event_and_comes_down_within_the_limit(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    ciphertext = bytes(range(256)) * 300
    async with in_room(room_id, *three[:2]) as (ours, theirs):
        await history(theirs)
        request = SendEvent(
            "c1",
            COMMIT,
            {"slot_id": SLOT, "tree_file": {"v": "v2", "iv": "A"}},
            attachments={"tree_file": ciphertext},
        )
        assert isinstance(await ours.send(request), Accepted)
        assert "url" not in request.content["tree_file"]
        [event] = events(await until(theirs, _has(COMMIT)), COMMIT)
        uri = event.content["tree_file"]["url"]
        assert event.content["tree_file"] == {"v": "v2", "iv": "A", "url": uri}
        assert await theirs.send(FetchAttachment("a1", uri)) == Accepted()
        assert Attachment(uri, ciphertext) in await theirs.receive(0)
        small = NioChannel(three[1].client, room_id, SLOT, attachment_limit=len(ciphertext) - 1)
        for name in (uri, "mxc://localhost/notthere", "https://localhost/x", "mxc://a/b/c", "mxc://"):
            assert await small.send(FetchAttachment("a", name)) == Accepted()
            assert list(await small.receive(0)) == [Attachment(name, None)]


async def test_keys_query_brings_signatures_that_verify_down_from_the_master_key(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    user_id, device_id = three[1].account.user_id, three[1].account.device_id
    async with in_room(room_id, three[0]) as (channel,):
        await history(channel)
        users = (user_id, three[2].account.user_id)
        assert await channel.send(QueryKeys("q1", users)) == Accepted()
        answers = [value for value in await channel.receive(0) if isinstance(value, DeviceKeys)]
        assert [answer.user_id for answer in answers] == list(users)
        keys = answers[0].response
        [master] = keys["master_keys"][user_id]["keys"].values()
        assert master == three[1].signing.master_key
        [self_signing] = keys["self_signing_keys"][user_id]["keys"].values()
        _verify(keys["self_signing_keys"][user_id], user_id, master)
        _verify(keys["device_keys"][user_id][device_id], user_id, self_signing)
        device = device_for(three[1].client)
        own = keys["device_keys"][user_id][device_id]["keys"][f"ed25519:{device_id}"]
        assert decode_base64(own) == device.device_key
        Ed25519PublicKey.from_public_bytes(device.device_key).verify(device.sign("text"), b"text")
        queried = decode_keys_query(UserId(user_id), keys)
        chain = queried.devices[DeviceId(device_id)].chain
        assert chain is not None
        assert encode_base64(chain.master_key) == master


def _verify(value: dict[str, Any], user_id: str, key: str) -> None:
    signature = value["signatures"][user_id][f"ed25519:{key}"]
    signed = {name: part for name, part in value.items() if name not in ("signatures", "unsigned")}
    public = Ed25519PublicKey.from_public_bytes(decode_base64(key))
    public.verify(decode_base64(signature), encode_canonical_json(signed))


async def test_power_levels_and_room_state_are_read_at_the_start(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[1]) as (channel,):
        got = await history(channel)
        [levels] = events(got, "m.room.power_levels")
        assert levels.content["events"][MEMBER] == 0
        [create] = events(got, "m.room.create")
        assert create.sender == three[0].account.user_id
        joined = {e.state_key for e in events(got, "m.room.member") if e.content["membership"] == "join"}
        assert joined == {device.account.user_id for device in three}
        assert {event.type for event in await channel.state()} >= {"m.room.power_levels", "m.room.create"}
        refused = await channel.send(SendState("s", "m.room.power_levels", "", dict(levels.content)))
        assert refused == Refused(403, "M_FORBIDDEN")


async def test_a_to_device_event_goes_in_the_clear_and_comes_without_an_authenticated_device(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, *three[:2]) as (ours, theirs):
        await history(theirs)
        other = three[1].account
        content = {"room_id": room_id, "id": "x"}
        request = SendToDevice("n1", "dev.mlsrtc.need", other.user_id, other.device_id, content)
        assert await ours.send(request) == Accepted()
        got = await until(theirs, lambda got: any(isinstance(value, ToDevice) for value in got))
        [need] = [value for value in got if isinstance(value, ToDevice)]
        assert need == ToDevice("dev.mlsrtc.need", three[0].account.user_id, content, None)


async def test_a_kick_reaches_the_one_who_was_kicked(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[1]) as (channel,):
        await history(channel)
        kicked = three[1].account.user_id
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/kick"
        token = three[0].account.access_token
        await synapse.demand("POST", path, token=token, body={"user_id": kicked})
        got = await until(channel, _has("m.room.member"))
        event = events(got, "m.room.member")[-1]
        assert (event.state_key, event.content["membership"]) == (kicked, "leave")


async def test_a_logout_ends_the_feed(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[1]) as (channel,):
        await history(channel)
        token = three[1].account.access_token
        await synapse.demand("POST", "/_matrix/client/v3/logout", token=token, body={})
        with pytest.raises(TransportClosed) as closed:
            await until(channel, lambda got: False)
        assert closed.value.reason == "logged_out"


async def test_sync_false_hooks_the_loop_of_the_application_and_lets_go_of_it(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    client = three[0].client
    loop = asyncio.create_task(client.sync_forever(timeout=1000))
    try:
        async with NioTransport(client, sync=False) as transport:
            async with transport.subscribe(room_id, SLOT) as channel:
                await history(channel)
                await say(synapse, three[1], room_id, 0, WORD, slot_id=SLOT)
                await until(channel, _has(WORD))
            with pytest.raises(TransportClosed):
                await channel.receive()
        assert client.response_callbacks == []
        assert not loop.done()
    finally:
        loop.cancel()
        await asyncio.gather(loop, return_exceptions=True)


async def test_two_calls_share_one_client(synapse: Synapse, three: list[TestDevice]) -> None:
    rooms = [await make_room(synapse, three[:2]) for _ in range(2)]
    async with NioTransport(three[0].client) as transport, AsyncExitStack() as stack:
        first, second = [
            await stack.enter_async_context(transport.subscribe(room_id, SLOT)) for room_id in rooms
        ]
        await history(first)
        await history(second)
        await say(synapse, three[1], rooms[1], 0, WORD, slot_id=SLOT, n=2)
        await until(second, _has(WORD))
        assert await first.receive(0) == ()


async def test_nothing_secret_is_logged(
    synapse: Synapse, three: list[TestDevice], caplog: pytest.LogCaptureFixture
) -> None:
    room_id = await make_room(synapse, three)
    caplog.set_level(logging.DEBUG, logger="mlsrtc")
    async with in_room(room_id, three[0]) as (channel,):
        await history(channel)
        await channel.send(SendEvent("w", WORD, {"slot_id": SLOT}))
    assert three[0].account.access_token not in caplog.text
