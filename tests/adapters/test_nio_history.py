"""How far back a call reaches, and what a homeserver's limits and refusals do to a back-fill."""

from collections.abc import Sequence
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from scripted import Scripted, error

from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.history import PAGES, REACH_MS, ROOTS, TOO_LONG, Reach, may_be_hidden
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.outbox import Accepted, FetchRelations
from mlsrtc.wire.incoming import GapOpened, HistoryComplete, HistoryRefused, Incoming, RoomEvent

SLOT = "m.call#ROOM"
NOW = 100 * REACH_MS
HOUR = 3600 * 1000


def commit(
    event_id: str, root: str, ts: int, *, parent: str | None = "p", slot: str = SLOT, sender: str = "@b:localhost"
) -> dict[str, Any]:
    content: dict[str, Any] = {"slot_id": slot, "root": root, "parent": parent}
    if parent is not None:
        content["m.relates_to"] = {"rel_type": "m.reference", "event_id": f"${root}"}
    return {
        "type": "dev.mlsrtc.commit",
        "event_id": event_id,
        "sender": sender,
        "origin_server_ts": ts,
        "content": content,
    }


def member(event_id: str, ts: int, content: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "type": "org.matrix.msc3401.call.member",
        "state_key": "_@b:localhost_D_m.call",
        "event_id": event_id,
        "sender": "@b:localhost",
        "origin_server_ts": ts,
        "content": content or {},
    }


def test_an_old_page_without_a_call_is_far_enough() -> None:
    reach = Reach(SLOT, NOW)
    assert not reach.look([member("$1", NOW - HOUR)])
    assert reach.look([member("$2", NOW - 5 * HOUR)])


def test_a_root_that_was_named_is_read_back_to_however_old_and_its_joins_with_it() -> None:
    reach = Reach(SLOT, NOW)
    assert not reach.look([commit("$c", "R", NOW - HOUR)])
    assert not reach.look([member("$m", NOW - 9 * HOUR)])
    assert not reach.look([commit("$R", "R", NOW - 10 * HOUR, parent=None)])
    assert reach.complete
    assert not reach.look([member("$n", NOW - 13 * HOUR)])
    assert reach.look([member("$o", NOW - 15 * HOUR)])
    assert reach.root_events() == ["$R"]


def test_calls_that_follow_each_other_do_not_lead_ever_further_back() -> None:
    reach = Reach(SLOT, NOW)
    pages = 0
    for call in range(60):
        start = NOW - 3 * HOUR * (call + 1)
        pages += 1
        if reach.look([commit(f"$c{call}", f"R{call}", start + HOUR), commit("", f"R{call}", start, parent=None)]):
            break
    assert pages < 6


def test_junk_of_one_user_crowds_out_no_root_that_another_names() -> None:
    reach = Reach(SLOT, NOW)
    junk = [commit(f"$j{n}", f"J{n}", NOW - n, sender="@eve:localhost") for n in range(3 * ROOTS)]
    reach.look([*junk, commit("$c", "R", NOW - HOUR), member("$m", NOW - HOUR)])
    assert reach.root_events()[0] == "$R"
    insider = {**member("$e", NOW - HOUR), "sender": "@eve:localhost"}
    reach.look([insider])
    assert "$R" in reach.root_events()[:2]
    assert len(reach.root_events()) == 3 * ROOTS + 1


def test_one_event_with_an_invented_old_time_does_not_end_the_reading() -> None:
    reach = Reach(SLOT, NOW)
    assert not reach.look([member("$forged", 0), member("$1", NOW - HOUR)])


@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "type": st.sampled_from(["dev.mlsrtc.commit", "dev.mlsrtc.word"]) | st.none(),
                "event_id": st.sampled_from(["$a", "$b"]) | st.integers(),
                "origin_server_ts": st.integers() | st.sampled_from(["1", None]),
                "content": st.none()
                | st.fixed_dictionaries(
                    {},
                    optional={
                        "slot_id": st.just(SLOT) | st.lists(st.none()),
                        "root": st.sampled_from(["R", "Q"]) | st.lists(st.none()),
                        "parent": st.sampled_from([None, "R", 3]),
                        "m.relates_to": st.none() | st.dictionaries(st.just("event_id"), st.integers()),
                    },
                ),
            },
        )
    )
)
def test_no_event_breaks_the_reading(page: Sequence[dict[str, Any]]) -> None:
    reach = Reach(SLOT, NOW)
    assert reach.look(page) in (True, False)
    assert all(isinstance(event_id, str) for event_id in reach.root_events())


@pytest.mark.parametrize(
    ("visibility", "creator", "before", "hidden"),
    [
        ("joined", "@x:h", None, True),
        ("invited", "@x:h", "invite", True),
        ("joined", "@x:h", "join", False),  # a changed display name
        ("joined", "@me:h", None, False),
        ("shared", "@x:h", None, False),
        ("world_readable", "@x:h", None, False),
    ],
)
def test_when_history_may_be_hidden(visibility: str, creator: str, before: str | None, hidden: bool) -> None:
    own: dict[str, Any] = {"type": "m.room.member", "state_key": "@me:h", "content": {"membership": "join"}}
    if before is not None:
        own["unsigned"] = {"prev_content": {"membership": before}}
    present = [
        {"type": "m.room.create", "sender": creator, "content": {}},
        {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}},
        own,
    ]
    assert may_be_hidden("@me:h", present) is hidden


# ---- the channel over a scripted homeserver ----


async def _history(channel: NioChannel) -> list[Incoming]:
    got: list[Incoming] = []
    while HistoryComplete() not in got:
        values = await channel.receive(5)
        assert values, got
        got += values
    return got


def _room(messages: Any, state: Any = ()) -> Any:
    def answer(method: str, path: str, query: dict[str, str]) -> web.Response:
        if path.endswith("/messages"):
            result = messages(query) if callable(messages) else messages
            return result if isinstance(result, web.Response) else web.json_response(result)
        if path.endswith("/state"):
            return web.json_response(list(state))
        return error(404, "M_NOT_FOUND")

    return answer


async def test_a_limit_in_the_middle_of_a_back_fill_is_kept_and_nothing_is_lost(scripted: Scripted) -> None:
    limits = iter([error(429, "M_LIMIT_EXCEEDED", retry_after_ms=1), web.Response(status=502)])
    now = _wall()

    def messages(query: dict[str, str]) -> Any:
        if query.get("from") == "older":
            if (limit := next(limits, None)) is not None:
                return limit
            return {"chunk": [commit("$R", "R", now - 2, parent=None)]}
        return {"chunk": [commit("$c", "R", now - 1)], "end": "older"}

    scripted.answer = _room(messages)
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    got = await _history(channel)
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == ["$R", "$c"]
    assert not [value for value in got if isinstance(value, HistoryRefused)]
    await channel.close(TransportClosed("closed"))


async def test_a_bogus_root_costs_a_bounded_number_of_pages(scripted: Scripted) -> None:
    now = _wall()
    page = {"chunk": [commit("$c", "nowhere", now)], "end": "on"}
    scripted.answer = _room(page)
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    got = await _history(channel)
    assert sum(path.endswith("/messages") for path in scripted.paths()) == PAGES
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == ["$c"]
    assert HistoryRefused(TOO_LONG) in got
    await channel.close(TransportClosed("closed"))


@pytest.mark.parametrize(("sender", "told"), [("@b:localhost", True), ("@eve:localhost", False)])
async def test_a_root_that_a_member_names_and_nobody_shows_is_told(scripted: Scripted, sender: str, told: bool) -> None:
    """The reading reaches past all joins that may count: only what a member builds on can be missed."""
    now = _wall()
    first = [commit("$c", "nowhere", now, sender=sender), member("$m", now)]

    def messages(query: dict[str, str]) -> Any:
        return {"chunk": [member("$old", now - 9 * HOUR)] if query.get("from") else first, "end": "on"}

    scripted.answer = _room(messages)
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    assert (HistoryRefused(TOO_LONG) in await _history(channel)) is told
    await channel.close(TransportClosed("closed"))


async def test_a_root_behind_a_past_too_long_to_read_is_found_by_its_relations(scripted: Scripted) -> None:
    """Junk of an outsider is newer, and names more roots than are asked for."""
    now = _wall()
    junk = [commit(f"$j{n}", f"J{n}", now, sender="@eve:localhost") for n in range(3 * ROOTS)]
    first = [*junk, commit("$c", "R", now - 1), member("$m", now - 2)]
    root = commit("$R", "R", now - 10 * HOUR, parent=None)

    def answer(method: str, path: str, query: dict[str, str]) -> web.Response:
        if path.endswith("/messages"):
            return web.json_response(
                {"chunk": [member("$old", now - 15 * HOUR)] if query.get("from") else first, "end": "on"}
            )
        if path.endswith("/state"):
            return web.json_response([])
        if path.endswith("/event/$R"):
            return web.json_response(root)
        return web.json_response({"chunk": []}) if "/relations/$R/" in path else error(404, "M_NOT_FOUND")

    scripted.answer = answer
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    got = await _history(channel)
    assert "$R" in [event.event_id for event in got if isinstance(event, RoomEvent)]
    assert HistoryRefused(TOO_LONG) not in got
    await channel.close(TransportClosed("closed"))


async def test_a_root_under_an_id_that_is_no_text_ends_no_reading(scripted: Scripted) -> None:
    """Anybody in the room can name one, and it has no form in an address."""
    bogus = commit("$c", "R", _wall())
    bogus["content"]["m.relates_to"]["event_id"] = "$\ud800"
    scripted.answer = _room({"chunk": [bogus]})
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    got = await _history(channel)
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == ["$c"]
    await channel.close(TransportClosed("closed"))


async def test_a_root_that_is_of_no_type_ends_no_reading(scripted: Scripted) -> None:
    room = _room({"chunk": [commit("$c", "R", _wall())]})
    root = {**commit("$R", "R", _wall(), parent=None), "type": []}

    def answer(method: str, path: str, query: dict[str, str]) -> web.Response:
        if "/relations/" in path:
            return web.json_response({"chunk": []})
        return web.json_response(root) if "/event/" in path else room(method, path, query)

    scripted.answer = answer
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    got = await _history(channel)
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == ["$c"]
    await channel.close(TransportClosed("closed"))


def _endless_relations(first: list[dict[str, Any]], older: dict[str, Any] | None) -> Any:
    """A room whose /messages give these and then what is older, or end; any root of it has relations without end."""
    numbers = iter(range(10 * PAGES))
    junk = {"type": "m.room.message", "sender": "@eve:localhost", "origin_server_ts": _wall(), "content": {}}

    def answer(method: str, path: str, query: dict[str, str]) -> web.Response:
        if path.endswith("/messages"):
            following = {"chunk": first} | ({"end": "on"} if older is not None else {})
            return web.json_response({"chunk": [older], "end": "on"} if query.get("from") else following)
        if path.endswith("/state"):
            return web.json_response([])
        if "/relations/" in path:
            return web.json_response({"chunk": [{**junk, "event_id": f"${next(numbers)}"}], "next_batch": "on"})
        return error(404, "M_NOT_FOUND")

    return answer


@pytest.mark.parametrize(
    ("older", "told"),
    [(member("$old", 0), True), (None, False)],
    ids=["a root that nobody shows", "a room that was read to its end"],
)
async def test_relations_without_end_cost_a_bounded_number_of_pages_and_are_told_if_anything_may_be_missing(
    scripted: Scripted, older: dict[str, Any] | None, told: bool
) -> None:
    first = [commit("$c", "R", _wall() - 1), member("$m", _wall() - 2)]
    scripted.answer = _endless_relations(first, older)
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    assert (HistoryRefused(TOO_LONG) in await _history(channel)) is told
    assert sum("/relations/" in path for path in scripted.paths()) == PAGES
    await channel.close(TransportClosed("closed"))


async def test_relations_that_a_session_asks_for_and_that_have_no_end_are_told(scripted: Scripted) -> None:
    scripted.answer = _endless_relations([], None)
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    await _history(channel)
    assert await channel.send(FetchRelations("id", "$R")) == Accepted()
    assert HistoryRefused(TOO_LONG) in await channel.receive(5)
    assert sum("/relations/" in path for path in scripted.paths()) == PAGES
    await channel.close(TransportClosed("closed"))


@pytest.mark.parametrize("since", ["s0", None])
async def test_a_gap_that_is_too_long_to_read_is_told(scripted: Scripted, since: str | None) -> None:
    now = _wall()
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    scripted.answer = _room({"chunk": []})
    channel.open([])
    await _history(channel)
    numbers = iter(range(10 * PAGES))
    scripted.answer = _room(lambda query: {"chunk": [commit(f"${next(numbers)}", "R", now)], "end": "on"})
    channel.on_sync({"timeline": {"limited": True, "prev_batch": "p", "events": []}}, since, joined=True)
    got = await _history(channel)
    assert got[0] == GapOpened()
    assert HistoryRefused(TOO_LONG) in got
    assert got[-1] == HistoryComplete()
    assert next(numbers) == PAGES
    await channel.close(TransportClosed("closed"))


async def test_what_has_no_id_ends_no_reading_of_a_gap(scripted: Scripted) -> None:
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    scripted.answer = _room({"chunk": [commit("$c", "R", _wall())]})
    channel.open([])
    await _history(channel)
    scripted.answer = _room({"chunk": [{**member("", _wall()), "event_id": []}, member("$m", _wall())]})
    channel.on_sync({"timeline": {"limited": True, "prev_batch": "p", "events": []}}, None, joined=True)
    assert [event.event_id for event in await _history(channel) if isinstance(event, RoomEvent)] == ["$m"]
    await channel.close(TransportClosed("closed"))


async def test_a_room_that_refuses_everything_is_history_refused(scripted: Scripted) -> None:
    scripted.answer = lambda *_: error(403, "M_FORBIDDEN")
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    channel.open([])
    assert await _history(channel) == [HistoryRefused("M_FORBIDDEN"), HistoryComplete()]


async def test_of_each_state_the_last_one_told_is_the_newest(scripted: Scripted) -> None:
    """A live state event that comes while history is read is told again after it."""
    now = _wall()
    old, new = member("$old", now - 2, {"n": 1}), member("$new", now - 1, {"n": 2})
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)

    def messages(query: dict[str, str]) -> Any:
        channel.on_sync({"timeline": {"events": [new]}}, "s1", joined=True)
        return {"chunk": [old]}

    scripted.answer = _room(messages, state=[old])
    channel.open([])
    got = await _history(channel)
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == [
        "$new",
        "$old",
        "$old",
        "$new",
    ]
    assert got[-1] == HistoryComplete()


async def test_two_gaps_are_closed_before_history_is_complete(scripted: Scripted) -> None:
    now = _wall()
    channel = NioChannel(scripted.client, "!r:localhost", SLOT, olm=OlmDoor(scripted.client, print), attachment_limit=1)
    scripted.answer = _room({"chunk": []})
    channel.open([])
    await _history(channel)

    def messages(query: dict[str, str]) -> Any:
        if query["from"] == "p1":
            limited = {"limited": True, "prev_batch": "p2", "events": []}
            channel.on_sync({"timeline": limited}, "s2", joined=True)
        return {"chunk": [commit(f"${query['from']}{query['to']}", "R", now)]}

    scripted.answer = _room(messages)
    channel.on_sync({"timeline": {"limited": True, "prev_batch": "p1", "events": []}}, "s1", joined=True)
    got = await _history(channel)
    assert got.count(GapOpened()) == 2
    assert got.count(HistoryComplete()) == 1
    assert got[-1] == HistoryComplete()
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == ["$p1s1", "$p2s2"]


def _wall() -> int:
    import time

    return time.time_ns() // 1_000_000
