"""The nio transport against a real Synapse: what it sends, its feeds, limits, crashes."""

import asyncio
import logging
import time
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import quote

import nio
import pytest
from canonicaljson import encode_canonical_json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rooms import (
    COMMIT,
    MEMBER,
    SLOT,
    WORD,
    events,
    has,
    history,
    in_room,
    make_room,
    say,
    until,
)
from unpaddedbase64 import decode_base64, encode_base64

from mlsrtc.adapters.nio import NioTransport, device_for
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.http import ask
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
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
    ToDevice,
)

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]


async def test_a_state_event_reaches_everyone(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    key = f"_{three[0].account.user_id}_{three[0].account.device_id}_m.call"
    async with in_room(room_id, *three) as channels:
        for channel in channels:
            await history(channel)
        outcome = await channels[0].send(SendState("s1", MEMBER, key, {"application": "m.call"}))
        assert isinstance(outcome, Accepted)
        for channel in channels:
            [event] = events(await until(channel, has(MEMBER)), MEMBER)
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
        [echo] = events(await until(ours, has(COMMIT)), COMMIT)
        assert echo.transaction_id == "txn-1"
        [seen] = events(await until(theirs, has(COMMIT)), COMMIT)
        assert seen.transaction_id is None
        assert seen.content == content


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
        channel = NioChannel(client, "!r:localhost", SLOT, olm=OlmDoor(client, print), attachment_limit=10)
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
        [event] = events(await until(theirs, has(COMMIT)), COMMIT)
        uri = event.content["tree_file"]["url"]
        assert event.content["tree_file"] == {"v": "v2", "iv": "A", "url": uri}
        assert await theirs.send(FetchAttachment("a1", uri)) == Accepted()
        assert Attachment(uri, ciphertext) in await theirs.receive(0)
        small = NioChannel(
            three[1].client,
            room_id,
            SLOT,
            olm=OlmDoor(three[1].client, print),
            attachment_limit=len(ciphertext) - 1,
        )
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
        got = await until(channel, has("m.room.member"))
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
                await until(channel, has(WORD))
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
        first, second = [await stack.enter_async_context(transport.subscribe(room_id, SLOT)) for room_id in rooms]
        await history(first)
        await history(second)
        await say(synapse, three[1], rooms[1], 0, WORD, slot_id=SLOT, n=2)
        await until(second, has(WORD))
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


async def test_synapse_takes_60_kib_of_content_and_refuses_63(synapse: Synapse, three: list[TestDevice]) -> None:
    """A join block with chain is 2.6 kB, a commit with 11 adds about 16 kB: both are far below."""
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[0]) as (channel,):
        fits = SendEvent("c1", COMMIT, {"slot_id": SLOT, "commit": "x" * (60 * 1024 - 60)})
        assert isinstance(await channel.send(fits), Accepted)
        too_long = SendEvent("c2", COMMIT, {"slot_id": SLOT, "commit": "x" * (64 * 1024)})
        assert await channel.send(too_long) == Refused(413, "M_TOO_LARGE")


async def test_client_send_adds_no_token_by_itself(synapse: Synapse, three: list[TestDevice]) -> None:
    client = three[0].client
    async with await client.send("GET", "/_matrix/client/v3/account/whoami") as bare:
        assert bare.status == 401
    assert (await ask(client, "GET", "/_matrix/client/v3/account/whoami")).body["device_id"]
