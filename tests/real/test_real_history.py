"""Back-fill, gaps, relations and history visibility over the nio transport, on a real Synapse."""

import asyncio
from urllib.parse import quote

import pytest
from rooms import COMMIT, MEMBER, SLOT, WORD, enter, events, has, history, in_room, make_room, say, until

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.outbox import (
    Accepted,
    FetchRelations,
    Refused,
    SendState,
)
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire.incoming import (
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    RoomEvent,
)

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]


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


async def test_a_burst_of_40_events_leaves_no_gap_in_a_sync_of_our_own(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three)
    async with in_room(room_id, three[1]) as (channel,):
        await history(channel)
        sent = await asyncio.gather(*(say(synapse, three[0], room_id, n, WORD, slot_id=SLOT, n=n) for n in range(40)))
        got = await until(channel, lambda got: len(events(got, WORD)) == 40)
        assert {event.event_id for event in events(got, WORD)} == set(sent)
        assert GapOpened() not in got


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
            await say(synapse, three[2], room_id, 100 * n + chat, "m.room.message", msgtype="m.text", body="x")
        content = {"slot_id": SLOT, "root": "R", "parent": "R", "m.relates_to": relates}
        expected.append(await say(synapse, three[1], room_id, n, COMMIT, **content))
    expected.append(await say(synapse, three[1], room_id, 9, WORD, slot_id=SLOT, root="R", **{"m.relates_to": relates}))
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
    # Nobody runs this client's sync: only what is asked for comes.
    client = three[0].client
    async with NioTransport(client, sync=False) as transport, transport.subscribe(room_id, SLOT) as channel:
        await history(channel)
        root = await say(synapse, three[1], room_id, 0, COMMIT, slot_id=SLOT, root="R", parent=None)
        relates = {"rel_type": "m.reference", "event_id": root}
        words = [
            await say(synapse, three[1], room_id, n, WORD, slot_id=SLOT, **{"m.relates_to": relates})
            for n in range(1, 8)
        ]
        assert await channel.send(FetchRelations("f1", root)) == Accepted()
        got = await channel.receive(0)
        assert [e.event_id for e in got if isinstance(e, RoomEvent)] == [root, *words]


async def test_history_visibility_joined_is_history_refused(synapse: Synapse, three: list[TestDevice]) -> None:
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
        assert refused == Refused(403, "M_FORBIDDEN")
        assert [type(value) for value in await channel.receive(0)] == [HistoryRefused]
        relates = {"rel_type": "m.reference", "event_id": root}
        content = {"slot_id": SLOT, "root": "R", "parent": "R", "m.relates_to": relates}
        await say(synapse, three[0], room_id, 1, COMMIT, **content)
        assert len(events(await until(channel, has(COMMIT)), COMMIT)) == 1


async def test_who_sees_everything_is_not_told_that_history_is_refused(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    room_id = await make_room(synapse, three, visibility="joined")
    async with in_room(room_id, three[0]) as (channel,):
        got = await history(channel)
        assert not [value for value in got if isinstance(value, HistoryRefused)]


async def test_power_levels_and_room_state_are_read_at_the_start(synapse: Synapse, three: list[TestDevice]) -> None:
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
