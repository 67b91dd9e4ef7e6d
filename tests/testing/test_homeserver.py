"""The homeserver in memory shows what a real one does, and lies when told to: one behaviour a test."""

import time
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any, TypeVar

import pytest

from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    FetchRelations,
    Outcome,
    QueryKeys,
    RateLimited,
    Refused,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
    SendToDevice,
)
from mlsrtc.testing import Answer, Connection, Hostility, Limits, RoomSettings, Twins, World
from mlsrtc.testing.connection import ANSWER_TIMEOUT, Arrival
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    RoomEvent,
    ToDevice,
)
from mlsrtc.wire.names import COMMIT, ENCRYPTED, ROOM_MEMBER, STATE_MEMBER, STICKY_MEMBER, TOMBSTONE

ALICE = ("@alice:one.test", "PHONE")
ALICE_DESK = ("@alice:one.test", "DESK")
BOB = ("@bob:one.test", "PHONE")
CAROL = ("@carol:two.test", "PHONE")
NEWCOMER = ("@newcomer:one.test", "PHONE")
DAVE = ("@dave:three.test", "PHONE")
KEY = "_@alice:one.test_PHONE_m.call"

T = TypeVar("T")


def make_world(**settings: object) -> World:
    return World(Random(1), **({"limits": Limits.generous()} | settings))  # type: ignore[arg-type]


def enter(world: World, *devices: tuple[str, str]) -> list[Connection]:
    """Devices in the room, with all that was before behind them."""
    for device in devices:
        world.log_in(device)
    connections = [world.connect(device) for device in devices]
    world.run(2)
    for connection in connections:
        connection.take()
    return connections


def events(arrivals: Sequence[Arrival], type: str | None = None) -> list[RoomEvent]:
    return [a for a in arrivals if isinstance(a, RoomEvent) and type in (None, a.type)]


def of(arrivals: Sequence[Arrival], kind: type[T]) -> list[T]:
    return [arrival for arrival in arrivals if isinstance(arrival, kind)]


def ask(world: World, connection: Connection, request: Request, seconds: float = 1.0) -> tuple[Outcome, list[Arrival]]:
    """The outcome of a request, and all that arrived meanwhile."""
    connection.send(request)
    world.run(seconds)
    arrived = connection.take()
    (answer,) = [a for a in arrived if isinstance(a, Answer) and a.request_id == request.id]
    return answer.outcome, arrived


def member(id: str, content: Mapping[str, object], key: str = KEY) -> SendState:
    return SendState(id, STATE_MEMBER, key, content)


# -- sync --


def test_an_event_reaches_everybody_and_the_sender_sees_its_echo() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, desk, carol = enter(world, ALICE, ALICE_DESK, CAROL)
    outcome, arrived = ask(world, alice, SendEvent("t1", COMMIT, {"n": 1}))
    (echo,) = events(arrived)
    assert outcome == Accepted(event_id=echo.event_id)
    assert (echo.sender, echo.content, echo.transaction_id) == (ALICE[0], {"n": 1}, "t1")
    for other in (desk, carol):
        (seen,) = events(other.take())
        assert (seen.event_id, seen.transaction_id, seen.origin_server_ts) == (
            echo.event_id,
            None,
            echo.origin_server_ts,
        )


def test_the_first_sync_brings_state_then_ten_events_then_the_rest_by_filter() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    ask(world, alice, member("t0", {"device_id": "PHONE"}))
    sent = [ask(world, alice, SendEvent(f"t{n}", COMMIT, {"n": n}), 0.1)[0] for n in range(1, 30)]
    world.chatter(15)
    world.log_in(BOB)
    bob = world.connect(BOB)
    world.run(0.2)
    arrived = bob.take()
    assert arrived[0] == GapOpened()
    assert arrived[-1] == HistoryComplete()
    section, rest = arrived[1:-1], []
    while section and not (isinstance(section[0], RoomEvent) and section[0].type == "m.room.message"):
        rest.append(section.pop(0))
    assert {event.type for event in events(rest)} >= {STATE_MEMBER, "m.room.create", "m.room.power_levels"}
    window = events(section)[:10]
    assert [event.type for event in window] == ["m.room.message"] * 9 + [ROOM_MEMBER]
    filled = events(section)[10:]
    assert [event.event_id for event in filled if event.type == COMMIT] == [
        outcome.event_id for outcome in sent if isinstance(outcome, Accepted)
    ]
    assert not [event for event in filled if event.type == "m.room.message"]


def test_a_gap_of_forty_comes_as_ten_and_is_filled_before_history_is_complete() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    bob.pause()
    commits = [ask(world, alice, SendEvent(f"t{n}", COMMIT, {"n": n}), 0.1)[0] for n in range(20)]
    ask(world, alice, member("m", {"device_id": "PHONE"}))
    world.chatter(20)
    bob.resume()
    world.run(0.5)
    arrived = bob.take()
    assert arrived[0] == GapOpened()
    assert arrived[-1] == HistoryComplete()
    assert len(of(arrived, GapOpened)) == len(of(arrived, HistoryComplete)) == 1
    state, window, filled = events(arrived)[:1], events(arrived)[1:11], events(arrived)[11:]
    assert [event.type for event in state] == [STATE_MEMBER]
    assert [event.type for event in window] == ["m.room.message"] * 10
    assert [event.type for event in filled] == [COMMIT] * 20 + [STATE_MEMBER]
    assert [event.event_id for event in filled[:20]] == [o.event_id for o in commits if isinstance(o, Accepted)]


def test_of_present_state_the_newest_is_told_last_whatever_a_back_fill_shows() -> None:
    world = make_world()
    _alice, bob, _newcomer = enter(world, ALICE, BOB, NEWCOMER)
    bob.pause()
    world.kick(NEWCOMER[0])
    world.enter(NEWCOMER[0])
    world.chatter(20)
    world.kick(NEWCOMER[0])
    bob.resume()
    world.run(1)
    arrived = bob.take()
    told = [event.content["membership"] for event in events(arrived, ROOM_MEMBER) if event.state_key == NEWCOMER[0]]
    assert told == ["join", "leave", "leave", "join", "leave"]  # state, timeline, back-fill, and the newest again
    assert arrived[-1] == HistoryComplete()


def open_gap(world: World, bob: Connection) -> None:
    """Alice sends more than one sync brings, and Bob has just been told so."""
    bob.pause()
    for n in range(40):
        world.act(ALICE, SendEvent(f"a{n}", COMMIT, {"n": n}))
    bob.resume()
    while not of(bob.take(), GapOpened):
        world.network.step()


def test_a_second_gap_while_the_first_is_filled_is_complete_once() -> None:
    world = make_world(limits=Limits(message_rate=None, page=5))
    _alice, bob = enter(world, ALICE, BOB)
    open_gap(world, bob)
    for n in range(40):
        world.act(ALICE, SendEvent(f"b{n}", COMMIT, {"n": n}))
    world.run(3)
    arrived = bob.take()
    assert len(of(arrived, GapOpened)) == 1
    assert of(arrived, HistoryComplete) == [HistoryComplete()]
    assert arrived[-1] == HistoryComplete()


def test_ten_events_are_no_gap() -> None:
    world = make_world()
    _, bob = enter(world, ALICE, BOB)
    bob.pause()
    world.chatter(10)
    bob.resume()
    world.run(1)
    arrived = bob.take()
    assert len(events(arrived)) == len(arrived) == 10


def test_a_connection_goes_on_from_a_token_and_says_when_it_knows_all() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    token = bob.token
    bob.close()
    ask(world, alice, SendEvent("t1", COMMIT, {}))
    again = world.connect(BOB, since=token)
    world.run(1)
    arrived = again.take()
    assert [type(arrival) for arrival in arrived] == [RoomEvent, HistoryComplete]


def test_a_token_stands_before_a_gap_until_it_is_filled() -> None:
    world = make_world(limits=Limits(message_rate=None, page=5))
    _alice, bob = enter(world, ALICE, BOB)
    open_gap(world, bob)
    token = bob.token
    bob.close()
    again = world.connect(BOB, since=token)
    world.run(3)
    assert len({event.event_id for event in events(again.take(), COMMIT)}) == 40


# -- state and history --


def test_state_keeps_the_last_writer_and_newcomers_get_that() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, member("t1", {"device_id": "PHONE"}))
    ask(world, bob, SendState("t2", STATE_MEMBER, "_@bob:one.test_PHONE_m.call", {"device_id": "PHONE"}))
    ask(world, alice, member("t3", {}))
    world.chatter(20)
    world.log_in(NEWCOMER)
    newcomer = world.connect(NEWCOMER)
    newcomer.history_types = frozenset()
    world.run(1)
    assert {event.sender: event.content for event in events(newcomer.take(), STATE_MEMBER)} == {
        BOB[0]: {"device_id": "PHONE"},
        ALICE[0]: {},
    }


def test_with_shared_history_a_newcomer_reads_overwritten_memberships_from_the_timeline() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    for content in ({"device_id": "PHONE"}, {}):
        ask(world, alice, member(f"t{len(content)}", content))
    world.chatter(20)
    world.log_in(BOB)
    bob = world.connect(BOB)
    world.run(1)
    arrived = bob.take()
    assert {"device_id": "PHONE"} in [event.content for event in events(arrived, STATE_MEMBER)]
    assert not of(arrived, HistoryRefused)


def test_a_newcomer_without_history_gets_state_and_a_refusal() -> None:
    world = make_world(room=RoomSettings(history_visibility="joined"))
    (alice,) = enter(world, ALICE)
    root, _ = ask(world, alice, SendEvent("t1", COMMIT, {"n": 1}))
    ask(world, alice, member("t2", {}))
    ask(world, alice, member("t3", {"device_id": "PHONE"}))
    world.log_in(BOB, join=False)
    world.enter(BOB[0])
    bob = world.connect(BOB)
    world.run(1)
    arrived = bob.take()
    assert arrived[0] == GapOpened()
    assert arrived[-2:] == [HistoryRefused("M_FORBIDDEN"), HistoryComplete()]
    assert not events(arrived, COMMIT)
    assert [event.content for event in events(arrived, STATE_MEMBER)] == [{"device_id": "PHONE"}]
    assert isinstance(root, Accepted)
    outcome, arrived = ask(world, bob, FetchRelations("r", str(root.event_id)))
    assert outcome == Refused(403, "M_FORBIDDEN")
    assert arrived[0] == HistoryRefused("M_FORBIDDEN")
    ask(world, alice, SendEvent("t4", COMMIT, {"n": 2}))
    assert [event.content for event in events(bob.take())] == [{"n": 2}]


def test_state_of_a_fork_is_settled_alike_everywhere_whatever_arrives_first() -> None:
    world = make_world(servers=("one.test", "two.test", "three.test"))
    _alice, _carol, _ = enter(world, ALICE, CAROL, DAVE)
    world.partition({"one.test"}, {"two.test", "three.test"})
    world.act(world.moderator, SendState("x", "m.topic", "", {"by": "moderator 1"}))
    world.run(0.5)
    world.moderate("m.room.power_levels", "", {"users": {CAROL[0]: 100, world.moderator[0]: 100}})
    world.heal()
    world.run(6)
    world.partition({"one.test"}, {"two.test", "three.test"})
    world.act(world.moderator, SendState("y", "m.topic", "", {"by": "moderator 2"}))
    world.run(0.5)
    world.act(CAROL, SendState("z", "m.topic", "", {"by": "carol"}))
    world.run(1)
    topics = [str(s.room.state["m.topic", ""].event.content["by"]) for s in world.servers.values()]
    assert topics == ["moderator 2", "carol", "carol"]
    world.heal()
    world.run(6)
    assert {s.room.state["m.topic", ""].event.content["by"] for s in world.servers.values()} == {"carol"}


# -- power, membership of the room --


def test_an_ordinary_user_cannot_set_state_that_needs_power() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    outcome, _ = ask(world, alice, SendState("t", "m.room.topic", "", {"topic": "x"}))
    assert outcome == Refused(403, "M_FORBIDDEN")
    assert world.moderate("m.room.topic", "", {"topic": "x"}).outcome != outcome


def test_power_for_an_event_type_is_the_rooms() -> None:
    world = make_world(room=RoomSettings(power_levels={"events": {COMMIT: 50}, "users": {"@bob:one.test": 50}}))
    alice, bob = enter(world, ALICE, BOB)
    assert ask(world, alice, SendEvent("t", COMMIT, {}))[0] == Refused(403, "M_FORBIDDEN")
    assert isinstance(ask(world, bob, SendEvent("t", COMMIT, {}))[0], Accepted)


def test_a_state_key_that_is_a_user_is_that_users() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    own = SendState("t", STATE_MEMBER, ALICE[0], {})
    assert isinstance(ask(world, alice, own)[0], Accepted)
    assert ask(world, bob, own)[0] == Refused(403, "M_FORBIDDEN")
    assert world.moderate(STATE_MEMBER, ALICE[0], {"x": 1}).outcome == Refused(403, "M_FORBIDDEN")


def test_owned_state_in_the_rooms_that_have_it() -> None:
    own = SendState("t", STATE_MEMBER, f"{ALICE[0]}_PHONE_m.call", {})
    for version, taken in (("11", False), ("org.matrix.msc3757.11", True)):
        world = make_world(room=RoomSettings(version=version))
        alice, bob = enter(world, ALICE, BOB)
        assert isinstance(ask(world, alice, own)[0], Accepted) == taken
        assert ask(world, bob, own)[0] == Refused(403, "M_FORBIDDEN")


def test_in_room_version_12_the_creator_is_above_the_power_levels() -> None:
    world = make_world(room=RoomSettings(version="12"))
    enter(world, ALICE)
    levels = events(_connected(world, ALICE), "m.room.power_levels")
    assert levels[0].content["users"] == {}
    assert isinstance(world.moderate("m.room.topic", "", {"topic": "x"}).outcome, Accepted)
    assert isinstance(world.kick(ALICE[0]).outcome, Accepted)


def test_anyone_with_the_power_overwrites_anothers_membership() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, member("t", {"device_id": "PHONE"}))
    bob.take()
    (reply,) = world.erase_memberships(ALICE[0])
    assert isinstance(reply.outcome, Accepted)
    world.run(1)
    (erased,) = events(bob.take(), STATE_MEMBER)
    assert (erased.sender, erased.state_key, erased.content) == (world.moderator[0], KEY, {})


@pytest.mark.parametrize("how", ["kick", "ban"])
def test_who_is_removed_sees_that_and_nothing_more(how: str) -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    (world.kick if how == "kick" else world.ban)(BOB[0])
    world.run(1)
    (gone,) = events(bob.take())
    assert gone.content == {"membership": "leave" if how == "kick" else "ban"}
    ask(world, alice, SendEvent("t", COMMIT, {}))
    assert bob.take() == []
    assert ask(world, bob, SendEvent("t", COMMIT, {}))[0] == Refused(403, "M_FORBIDDEN")
    back = world.enter(BOB[0]).outcome
    assert (back == Refused(403, "M_FORBIDDEN")) == (how == "ban")


def test_who_leaves_and_comes_back_syncs_the_room_anew() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    outcome, _ = ask(world, bob, SendState("t", ROOM_MEMBER, BOB[0], {"membership": "leave"}))
    assert isinstance(outcome, Accepted)
    ask(world, alice, SendEvent("t", COMMIT, {"n": 1}))
    assert events(bob.take(), COMMIT) == []
    world.enter(BOB[0])
    world.run(1)
    arrived = bob.take()
    assert [event.content for event in events(arrived, COMMIT)] == [{"n": 1}]
    assert arrived[-1] == HistoryComplete()


def test_an_ordinary_user_kicks_nobody() -> None:
    world = make_world()
    alice, _ = enter(world, ALICE, BOB)
    kick = SendState("t", ROOM_MEMBER, BOB[0], {"membership": "leave"})
    assert ask(world, alice, kick)[0] == Refused(403, "M_FORBIDDEN")


def test_what_a_banned_user_sent_elsewhere_is_soft_failed() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    world.partition({"one.test"}, {"two.test"})
    world.ban(CAROL[0])
    outcome, _ = ask(world, carol, SendEvent("t", COMMIT, {}))
    assert isinstance(outcome, Accepted)
    world.heal()
    world.run(6)
    assert events(alice.take(), COMMIT) == []
    assert events(carol.take(), ROOM_MEMBER)[-1].content == {"membership": "ban"}


def test_redaction_takes_the_content_from_later_readers_only() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    outcome, _ = ask(world, alice, SendEvent("t", COMMIT, {"n": 1}))
    assert isinstance(outcome, Accepted)
    assert events(bob.take(), COMMIT)[0].content == {"n": 1}
    redaction = SendEvent("r", "m.room.redaction", {"redacts": outcome.event_id})
    assert ask(world, bob, redaction)[0] == Refused(403, "M_FORBIDDEN")
    assert isinstance(world.redact(str(outcome.event_id)).outcome, Accepted)
    world.run(1)
    assert [event.type for event in events(bob.take())] == ["m.room.redaction"]
    world.log_in(NEWCOMER)
    later = world.connect(NEWCOMER)
    world.run(1)
    assert [event.content for event in events(later.take(), COMMIT)] == [{}]


def test_redacted_state_is_empty_but_stands() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    outcome, _ = ask(world, alice, member("t", {"device_id": "PHONE"}))
    assert isinstance(outcome, Accepted)
    assert isinstance(ask(world, alice, SendEvent("r", "m.room.redaction", {"redacts": outcome.event_id}))[0], Accepted)
    current = world.servers["one.test"].room.current(STATE_MEMBER, KEY)
    assert current is not None
    assert (current.event_id, current.content) == (outcome.event_id, {})


def test_a_tombstone_is_told() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    world.tombstone("!new:one.test")
    world.run(1)
    assert [event.content["replacement_room"] for event in events(alice.take(), TOMBSTONE)] == ["!new:one.test"]


# -- sending --


def test_429_says_when_and_the_same_request_then_passes() -> None:
    world = make_world(limits=Limits())
    (alice,) = enter(world, ALICE)
    outcomes = [ask(world, alice, SendEvent(f"t{n}", COMMIT, {}), 0.1)[0] for n in range(11)]
    assert all(isinstance(outcome, Accepted) for outcome in outcomes[:10])
    assert isinstance(outcomes[10], RateLimited)
    assert 3800 <= outcomes[10].retry_after_ms <= 5000
    world.run(outcomes[10].retry_after_ms / 1000)
    assert isinstance(ask(world, alice, SendEvent("t10", COMMIT, {}))[0], Accepted)
    assert isinstance(ask(world, alice, SendEvent("t11", COMMIT, {}), 0.1)[0], RateLimited)


def test_the_rate_limit_is_per_user_and_not_for_to_device() -> None:
    world = make_world(limits=Limits(message_burst=1))
    alice, desk, bob = enter(world, ALICE, ALICE_DESK, BOB)
    assert isinstance(ask(world, alice, SendEvent("t", COMMIT, {}), 0.1)[0], Accepted)
    assert isinstance(ask(world, desk, SendEvent("t", COMMIT, {}), 0.1)[0], RateLimited)
    assert isinstance(ask(world, bob, SendEvent("t", COMMIT, {}), 0.1)[0], Accepted)
    assert isinstance(ask(world, alice, SendToDevice("d", "x", *BOB, {}), 0.1)[0], Accepted)


def test_413_above_the_limit_of_content() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    assert isinstance(ask(world, alice, SendEvent("t1", COMMIT, {"x": "a" * 60 * 1024}))[0], Accepted)
    assert ask(world, alice, SendEvent("t2", COMMIT, {"x": "a" * 63 * 1024}))[0] == Refused(413, "M_TOO_LARGE")
    sealed = SendEvent("t3", STICKY_MEMBER, {"x": "a" * 50 * 1024}, encrypt=True)
    assert ask(world, alice, sealed)[0] == Refused(413, "M_TOO_LARGE")


def test_a_transaction_id_has_one_effect_for_a_device() -> None:
    world = make_world()
    alice, desk, bob = enter(world, ALICE, ALICE_DESK, BOB)
    first, _ = ask(world, alice, SendEvent("t", COMMIT, {"n": 1}))
    assert ask(world, alice, SendEvent("t", COMMIT, {"n": 1}))[0] == first
    assert ask(world, desk, SendEvent("t", COMMIT, {"n": 1}))[0] != first
    assert len(events(bob.take())) == 2
    for _ in range(2):
        ask(world, alice, SendToDevice("t", "x", *BOB, {}))
    # One store for both kinds would make the to-device event vanish behind the room event of that id.
    assert len(of(bob.take(), ToDevice)) == 1


def test_a_refused_transaction_may_be_tried_again() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    world.kick(ALICE[0])
    assert ask(world, alice, SendEvent("t", COMMIT, {}))[0] == Refused(403, "M_FORBIDDEN")
    world.enter(ALICE[0])
    assert isinstance(ask(world, alice, SendEvent("t", COMMIT, {}))[0], Accepted)


def test_the_same_state_again_is_no_new_event() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    first, _ = ask(world, alice, member("t1", {"device_id": "PHONE"}))
    assert ask(world, alice, member("t2", {"device_id": "PHONE"}))[0] == first
    assert len(events(bob.take())) == 1
    echoes = events(ask(world, alice, member("t3", {}))[1])
    assert echoes[0].transaction_id is None


def test_an_answer_that_gets_lost_leaves_one_event_behind() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    world.network.hostility.answer_loss = 1.0
    outcome, _ = ask(world, alice, SendEvent("t", COMMIT, {}), ANSWER_TIMEOUT + 1)
    assert outcome == RateLimited(1000)
    world.network.hostility.answer_loss = 0.0
    again, _ = ask(world, alice, SendEvent("t", COMMIT, {}))
    assert [event.event_id for event in events(bob.take())] == [getattr(again, "event_id", None)]


def test_a_failing_server_did_nothing() -> None:
    world = make_world(hostility=Hostility(failure=1.0))
    alice, bob = enter(world, ALICE, BOB)
    assert ask(world, alice, SendEvent("t", COMMIT, {}))[0] == RateLimited(1000)
    assert bob.take() == []


def test_a_logged_out_device_gets_401_and_no_news() -> None:
    world = make_world()
    world.log_in(ALICE, keys={"device_keys": {ALICE[0]: {"PHONE": {}, "DESK": {}}}})
    alice, bob = enter(world, ALICE, BOB)
    world.log_out(ALICE)
    assert ask(world, alice, SendEvent("t", COMMIT, {}))[0] == Refused(401, "M_UNKNOWN_TOKEN")
    ask(world, bob, SendEvent("t", COMMIT, {}))
    assert alice.take() == []
    _, arrived = ask(world, bob, QueryKeys("k", (ALICE[0],)))
    assert of(arrived, DeviceKeys) == [DeviceKeys(ALICE[0], {"device_keys": {ALICE[0]: {"DESK": {}}}})]


def test_a_client_that_is_cut_off_times_out_and_catches_up() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    bob.cut()
    ask(world, alice, SendEvent("t", COMMIT, {}))
    outcome, arrived = ask(world, bob, SendEvent("t", COMMIT, {}), ANSWER_TIMEOUT + 1)
    assert outcome == RateLimited(1000)
    assert events(arrived) == []
    bob.mend()
    world.run(1)
    assert len(events(bob.take())) == 1


# -- delayed events (MSC4140) --


def leave_after(delay_ms: int = 8000, id: str = "leave") -> ScheduleLeave:
    return ScheduleLeave(id, delay_ms, STATE_MEMBER, KEY, {})


def scheduled(world: World, alice: Connection, request: ScheduleLeave) -> str:
    outcome, _ = ask(world, alice, request, 0.2)
    assert isinstance(outcome, Accepted)
    assert outcome.delay_id is not None
    return outcome.delay_id


def test_a_delayed_leave_fires_when_its_device_is_gone() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, member("t", {"device_id": "PHONE"}))
    scheduled(world, alice, leave_after())
    bob.take()
    alice.close()
    world.run(7)
    assert bob.take() == []
    world.run(2)
    (leave,) = events(bob.take())
    assert (leave.sender, leave.state_key, leave.content) == (ALICE[0], KEY, {})


def test_restarting_a_delayed_leave_puts_it_off_and_cancelling_ends_it() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    delay_id = scheduled(world, alice, leave_after())
    for n in range(4):
        world.run(4)
        assert ask(world, alice, RestartLeave(f"r{n}", delay_id))[0] == Accepted()
    world.run(6)
    assert bob.take() == []
    assert ask(world, alice, CancelLeave("c", delay_id))[0] == Accepted()
    world.run(20)
    assert bob.take() == []
    assert ask(world, alice, CancelLeave("d", delay_id))[0] == Refused(404, "M_NOT_FOUND")
    assert ask(world, alice, RestartLeave("r", delay_id))[0] == Refused(404, "M_NOT_FOUND")


def test_a_fired_leave_cannot_be_restarted() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    delay_id = scheduled(world, alice, leave_after(500))
    world.run(1)
    assert ask(world, alice, RestartLeave("r", delay_id))[0] == Refused(404, "M_NOT_FOUND")


def test_renewing_a_membership_does_not_cancel_its_delayed_leave() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    scheduled(world, alice, leave_after())
    ask(world, alice, member("t", {"device_id": "PHONE"}))
    world.run(9)
    assert [event.content for event in events(bob.take())] == [{"device_id": "PHONE"}, {}]


def test_anothers_event_under_the_same_key_cancels_it() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, member("t", {"device_id": "PHONE"}))
    scheduled(world, alice, leave_after())
    world.erase_memberships(ALICE[0])
    world.run(1)
    ask(world, alice, member("t2", {"device_id": "PHONE", "again": 1}))
    bob.take()
    world.run(20)
    assert bob.take() == []


def test_it_fires_after_logout() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, member("t", {"device_id": "PHONE"}))
    scheduled(world, alice, leave_after())
    world.log_out(ALICE)
    bob.take()
    world.run(9)
    assert [event.content for event in events(bob.take())] == [{}]


def test_what_fires_against_rate_limit_or_power_is_lost() -> None:
    world = make_world(limits=Limits(message_rate=0.01, message_burst=2))
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, member("t", {"device_id": "PHONE"}))
    scheduled(world, alice, leave_after())
    bob.take()
    world.run(200)
    assert bob.take() == []
    assert len(world.servers["one.test"].delayed) == 0


def test_a_scheduled_state_event_is_scheduled_twice_by_a_retry_and_a_sticky_one_is_not() -> None:
    world = make_world()
    (alice,) = enter(world, ALICE)
    assert scheduled(world, alice, leave_after()) != scheduled(world, alice, leave_after())
    sticky = ScheduleLeave("s", 8000, STICKY_MEMBER, None, {}, sticky_ms=60_000)
    assert scheduled(world, alice, sticky) == scheduled(world, alice, sticky)


def test_delays_are_limited_or_not_offered() -> None:
    world = make_world(limits=Limits(message_rate=None, max_delay_ms=1000))
    (alice,) = enter(world, ALICE)
    too_long = Refused(400, "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE")
    assert ask(world, alice, leave_after(1001))[0] == too_long
    world = make_world(limits=Limits(message_rate=None, max_delay_ms=None))
    (alice,) = enter(world, ALICE)
    assert ask(world, alice, leave_after(1000))[0] == Refused(403, "M_FORBIDDEN")


# -- sticky events (MSC4354) --


def test_sticky_events_reach_newcomers_whatever_the_history_and_expire() -> None:
    world = make_world(room=RoomSettings(history_visibility="joined"))
    (alice,) = enter(world, ALICE)
    ask(world, alice, SendEvent("short", STICKY_MEMBER, {"n": 1}, sticky_ms=10_000))
    ask(world, alice, SendEvent("long", STICKY_MEMBER, {"n": 2}, sticky_ms=60_000))
    ask(world, alice, SendEvent("none", STICKY_MEMBER, {"n": 3}))
    world.run(15)
    world.log_in(BOB, join=False)
    world.enter(BOB[0])
    bob = world.connect(BOB)
    world.run(1)
    assert [event.content for event in events(bob.take(), STICKY_MEMBER)] == [{"n": 2}]


def test_sticky_events_in_a_gap_come_at_once_and_not_twice_in_one_sync() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    bob.history_types = frozenset()
    bob.pause()
    ask(world, alice, SendEvent("old", STICKY_MEMBER, {"n": 1}, sticky_ms=60_000))
    world.chatter(20)
    ask(world, alice, SendEvent("new", STICKY_MEMBER, {"n": 2}, sticky_ms=60_000))
    bob.resume()
    world.run(1)
    assert [event.content for event in events(bob.take(), STICKY_MEMBER)] == [{"n": 1}, {"n": 2}]


def test_more_sticky_events_than_fit_come_page_by_page() -> None:
    world = make_world(limits=Limits(message_rate=None, sticky_page=7))
    (_alice,) = enter(world, ALICE)
    for n in range(30):
        world.act(ALICE, SendEvent(f"t{n}", STICKY_MEMBER, {"n": n}, sticky_ms=3_600_000))
    world.chatter(10)
    world.log_in(BOB)
    bob = world.connect(BOB)
    bob.history_types = frozenset()
    world.run(2)
    assert [event.content["n"] for event in events(bob.take(), STICKY_MEMBER)] == list(range(30))


def test_stickiness_is_an_hour_at_most_and_nothing_where_it_is_unknown() -> None:
    for limits, expected in ((Limits(message_rate=None), 1), (Limits(message_rate=None, sticky=False), 0)):
        world = make_world(limits=limits, room=RoomSettings(history_visibility="joined"))
        (alice,) = enter(world, ALICE)
        ask(world, alice, SendEvent("t", STICKY_MEMBER, {}, sticky_ms=10**9))
        found = []
        for number, wait in enumerate((3590, 20)):
            world.run(wait)
            world.log_in(late := (f"@late{number}:one.test", "PHONE"), join=False)
            world.enter(late[0])
            connection = world.connect(late)
            world.run(0.5)
            found.append(len(events(connection.take(), STICKY_MEMBER)))
        assert found == [expected, 0]


def test_a_delayed_sticky_leave_is_sticky() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    scheduled(world, alice, ScheduleLeave("s", 1000, STICKY_MEMBER, None, {"leave": 1}, sticky_ms=60_000))
    world.run(2)
    assert [(event.content, event.state_key) for event in events(bob.take())] == [({"leave": 1}, None)]
    assert len(world.servers["one.test"].room.sticky) == 1


def test_an_encrypted_sticky_event_is_read_by_those_who_were_there_and_shows_its_clear_part_to_all() -> None:
    world = make_world(room=RoomSettings(encrypted=True))
    alice, bob = enter(world, ALICE, BOB)
    request = SendEvent("t", STICKY_MEMBER, {"secret": 1}, sticky_ms=60_000, encrypt=True, clear={"block": 2})
    _, arrived = ask(world, alice, request)
    for seen in (*events(arrived), *events(bob.take())):
        assert (seen.type, seen.content, seen.decrypted) == (STICKY_MEMBER, {"secret": 1, "block": 2}, True)
    world.log_in(NEWCOMER)
    late = world.connect(NEWCOMER)
    world.run(1)
    (sealed,) = events(late.take(), ENCRYPTED)
    assert sealed.content["block"] == 2
    assert "secret" not in sealed.content
    assert not sealed.decrypted


# -- to-device, keys, media, relations --


def test_to_device_events_wait_for_their_device_in_order() -> None:
    world = make_world(servers=("one.test", "two.test"))
    (alice,) = enter(world, ALICE)
    world.log_in(CAROL)
    world.log_in(carol_desk := (CAROL[0], "DESK"))
    for n in range(5):
        ask(world, alice, SendToDevice(f"t{n}", "x", *CAROL, {"n": n}))
    ask(world, alice, SendToDevice("all", "x", CAROL[0], "*", {"n": 5}))
    world.run(1)
    assert [m.content["n"] for m in of(_connected(world, CAROL), ToDevice)] == [0, 1, 2, 3, 4, 5]
    (only,) = of(_connected(world, carol_desk), ToDevice)
    assert only == ToDevice("x", ALICE[0], {"n": 5}, sender_device=None)


def _connected(world: World, device: tuple[str, str]) -> list[Arrival]:
    connection = world.connect(device)
    world.run(1)
    return connection.take()


def test_to_device_events_are_given_again_to_who_died_before_asking_for_more() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    ask(world, alice, SendToDevice("t1", "x", *BOB, {"n": 1}))
    assert len(of(bob.take(), ToDevice)) == 1
    bob.close()
    again = world.connect(BOB)
    world.run(1)
    assert len(of(again.take(), ToDevice)) == 1
    ask(world, alice, SendToDevice("t2", "x", *BOB, {"n": 2}))
    assert [message.content for message in of(again.take(), ToDevice)] == [{"n": 2}]


def test_to_device_events_can_be_lost_and_late() -> None:
    world = make_world(hostility=Hostility(to_device_loss=0.5))
    alice, bob = enter(world, ALICE, BOB)
    for n in range(40):
        outcome, _ = ask(world, alice, SendToDevice(f"t{n}", "x", *BOB, {"n": n}), 0.1)
        assert outcome == Accepted()
    world.run(1)
    assert 10 <= len(of(bob.take(), ToDevice)) <= 30
    world.network.hostility.to_device_loss = 0.0
    world.network.hostility.to_device_delay = 30.0
    for n in range(10):
        ask(world, alice, SendToDevice(f"u{n}", "x", *BOB, {"n": n}), 0.1)
    assert len(of(bob.take(), ToDevice)) < 10
    world.run(31)
    assert bob.take()


def test_keys_are_those_uploaded_or_those_forged() -> None:
    world = make_world(servers=("one.test", "two.test"))
    keys = {"device_keys": {CAROL[0]: {"PHONE": {"a": 1}}}, "master_keys": {CAROL[0]: {"m": 1}}}
    world.log_in(CAROL, keys=keys)
    (alice,) = enter(world, ALICE)
    outcome, arrived = ask(world, alice, QueryKeys("k", (CAROL[0], "@nobody:two.test")))
    assert outcome == Accepted()
    assert of(arrived, DeviceKeys) == [
        DeviceKeys(CAROL[0], keys),
        DeviceKeys("@nobody:two.test", {"device_keys": {"@nobody:two.test": {}}}),
    ]
    forged: dict[str, Any] = {"device_keys": {CAROL[0]: {"GHOST": {}}}}
    world.servers["one.test"].accounts.forged[CAROL[0]] = forged
    _, arrived = ask(world, alice, QueryKeys("k", (CAROL[0],)))
    assert of(arrived, DeviceKeys)[0].response == forged


def test_attachments_are_uploaded_first_and_fetched_by_uri() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    ask(world, alice, SendEvent("t", COMMIT, {"tree_file": {"iv": "x"}}, attachments={"tree_file": b"sealed"}))
    file = events(carol.take())[0].content["tree_file"]
    assert file["iv"] == "x"
    assert file["url"].startswith("mxc://one.test/")
    for device in (alice, carol):
        outcome, arrived = ask(world, device, FetchAttachment("f", file["url"]))
        assert outcome == Accepted()
        assert of(arrived, Attachment) == [Attachment(file["url"], b"sealed")]
    del world.servers["one.test"].media[file["url"]]
    assert of(ask(world, carol, FetchAttachment("g", file["url"]))[1], Attachment) == [Attachment(file["url"], None)]


def test_media_of_a_server_that_is_cut_off_may_be_asked_for_later() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    ask(world, alice, SendEvent("t", COMMIT, {}, attachments={"file": b"sealed"}))
    uri = events(carol.take())[0].content["file"]["url"]
    world.partition({"one.test"}, {"two.test"})
    outcome, arrived = ask(world, carol, FetchAttachment("f", uri))
    assert isinstance(outcome, RateLimited)
    assert of(arrived, Attachment) == []


def test_an_upload_that_is_too_large_is_413() -> None:
    world = make_world(limits=Limits(message_rate=None, upload_bytes=10))
    (alice,) = enter(world, ALICE)
    request = SendEvent("t", COMMIT, {}, attachments={"file": bytes(11)})
    assert ask(world, alice, request)[0] == Refused(413, "M_TOO_LARGE")


def test_relations_bring_an_event_and_what_refers_to_it() -> None:
    world = make_world()
    alice, bob = enter(world, ALICE, BOB)
    root, _ = ask(world, alice, SendEvent("root", COMMIT, {"n": 0}))
    assert isinstance(root, Accepted)
    for n in range(1, 4):
        relation = {"rel_type": "m.reference", "event_id": root.event_id}
        ask(world, alice, SendEvent(f"t{n}", COMMIT, {"n": n, "m.relates_to": relation}))
    ask(world, alice, SendEvent("other", COMMIT, {"n": 9, "m.relates_to": "junk"}))
    bob.take()
    outcome, arrived = ask(world, bob, FetchRelations("f", str(root.event_id)))
    assert outcome == Accepted()
    assert [event.content["n"] for event in events(arrived)] == [0, 1, 2, 3]
    assert ask(world, bob, FetchRelations("g", "$nothing"))[0] == Refused(404, "M_NOT_FOUND")


# -- several servers --


def test_a_cut_forks_the_order_and_healing_shows_everything_to_everybody() -> None:
    world = make_world(servers=("one.test", "two.test", "three.test"))
    alice, carol, dave = enter(world, ALICE, CAROL, DAVE)
    world.partition({"one.test"}, {"two.test", "three.test"})
    ask(world, alice, SendEvent("a", COMMIT, {"by": "alice"}))
    ask(world, carol, SendEvent("c", COMMIT, {"by": "carol"}))
    world.run(30)
    assert [event.content["by"] for event in events(dave.take())] == ["carol"]
    assert world.servers["one.test"].room.timeline[-1].event.content == {"by": "alice"}
    world.heal()
    world.run(6)
    assert [event.content["by"] for event in events(dave.take())] == ["alice"]
    order = {
        name: [stored.event.content.get("by") for stored in server.room.timeline[-2:]]
        for name, server in world.servers.items()
    }
    assert order == {
        "one.test": ["alice", "carol"],
        "two.test": ["carol", "alice"],
        "three.test": ["carol", "alice"],
    }


def test_links_have_their_own_latency_and_keep_order() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    world.network.set_latency("one.test", "two.test", (5.0, 6.0))
    for n in range(10):
        world.act(ALICE, SendEvent(f"t{n}", COMMIT, {"n": n}))
    world.run(4.9)
    assert carol.take() == []
    world.run(2)
    assert [event.content["n"] for event in events(carol.take())] == list(range(10))
    world.act(CAROL, SendEvent("t", COMMIT, {}))
    world.run(0.5)
    assert len(events(alice.take(), COMMIT)) == 11


def test_reordering_between_servers() -> None:
    world = make_world(servers=("one.test", "two.test"), hostility=Hostility(reorder=5.0))
    _, carol = enter(world, ALICE, CAROL)
    for n in range(10):
        world.act(ALICE, SendEvent(f"t{n}", COMMIT, {"n": n}))
    world.run(10)
    seen = [event.content["n"] for event in events(carol.take())]
    assert sorted(seen) == list(range(10)) != seen


def test_duplicates_between_servers_are_dropped_and_those_of_a_sync_are_not() -> None:
    world = make_world(servers=("one.test", "two.test"), hostility=Hostility(duplicate=1.0))
    _, carol = enter(world, ALICE, CAROL)
    world.act(ALICE, SendEvent("t", COMMIT, {}))
    world.run(10)
    assert len(events(carol.take(), COMMIT)) == 2
    assert len([s for s in world.servers["two.test"].room.timeline if s.event.type == COMMIT]) == 1


# -- lies --


def test_a_garbled_twin_comes_first_under_another_id() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    world.servers["two.test"].rewrite = Twins()
    content = {"commit": "A" * 400, "id": "B" * 43}
    _, arrived = ask(world, alice, SendEvent("t", COMMIT, content))
    (genuine,) = events(arrived)
    twin, original = events(carol.take())
    assert original.event_id == genuine.event_id != twin.event_id
    assert twin.content["commit"] != genuine.content["commit"]
    assert len(twin.content["commit"]) == 400
    assert twin.content["id"] == genuine.content["id"]
    assert original.content == genuine.content
    carol.close()
    again = events(_connected(world, CAROL), COMMIT)
    assert [event.event_id for event in again] == [twin.event_id, genuine.event_id]


def test_a_twin_may_differ_in_the_membership_tag_only_and_stand_alone() -> None:
    world = make_world()
    world.servers["one.test"].rewrite = Twins(tail=32, alone=True)
    alice, bob = enter(world, ALICE, BOB)
    for n in range(8):
        ask(world, alice, SendEvent(f"t{n}", COMMIT, {"commit": "A" * 400}))
    twins = events(bob.take())
    assert len({twin.event_id for twin in twins}) == 8
    for twin in twins:
        text = twin.content["commit"]
        assert text[:356] == "A" * 356 != text[-44:]


def test_what_is_withheld_arrives_late_at_that_servers_clients_only() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, bob, carol = enter(world, ALICE, BOB, CAROL)
    world.servers["one.test"].withhold(lambda event: event.type == COMMIT, 10)
    outcome, arrived = ask(world, alice, SendEvent("t", COMMIT, {}))
    assert isinstance(outcome, Accepted)
    assert events(arrived) == []
    assert len(events(carol.take())) == 1
    world.chatter(1)
    world.run(5)
    assert [event.type for event in events(bob.take())] == ["m.room.message"]
    world.run(5)
    assert [event.type for event in events(bob.take())] == [COMMIT]
    ask(world, alice, SendEvent("u", COMMIT, {}))
    assert len(events(bob.take())) == 1


def test_what_is_withheld_outbound_is_late_everywhere() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    world.servers["one.test"].withhold(lambda event: event.type == COMMIT, 10, outbound=True)
    ask(world, alice, SendEvent("t", COMMIT, {}), 9)
    assert carol.take() == []
    world.run(2)
    assert len(events(carol.take())) == 1


def test_an_injected_event_needs_no_sender() -> None:
    world = make_world(servers=("one.test", "two.test"))
    alice, carol = enter(world, ALICE, CAROL)
    ghost = RoomEvent(STATE_MEMBER, "@ghost:one.test", "$ghost", 0, {"device_id": "X"}, state_key="_@ghost:one.test_X")
    world.servers["one.test"].inject(ghost)
    world.run(1)
    assert events(alice.take()) == [ghost]
    assert carol.take() == []
    assert world.servers["one.test"].room.current(STATE_MEMBER, "_@ghost:one.test_X") == ghost
    world.servers["two.test"].inject(ghost, federate=True)
    world.run(1)
    assert events(carol.take()) == [ghost]


# -- the whole --


def transcript(seed: int) -> list[object]:
    """All that four devices are told in a busy minute."""
    world = World(
        Random(seed),
        servers=("one.test", "two.test"),
        hostility=Hostility(duplicate=0.1, reorder=0.5, to_device_loss=0.1, answer_loss=0.1, failure=0.1),
    )
    connections = enter(world, ALICE, BOB, CAROL, ("@dan:two.test", "DESK"))
    told: list[object] = []
    for n in range(60):
        if n == 20:
            world.partition({"one.test"}, {"two.test"})
        if n == 40:
            world.heal()
        sender = connections[n % 4]
        sender.send(SendEvent(f"t{n}", COMMIT, {"n": n}))
        sender.send(SendToDevice(f"d{n}", "x", *BOB, {"n": n}))
        world.run(1)
        told += [(world.network.time, connection.device, connection.take()) for connection in connections]
    return told


def test_the_same_seed_gives_the_same_transcript() -> None:
    first = transcript(3)
    assert first == transcript(3)
    assert first != transcript(4)


def test_fifty_joins_cost_the_homeserver_little() -> None:
    """Measured 0.02 s on two cores; the bound leaves room for a slow and busy machine."""
    began = time.process_time()
    world = make_world()
    connections = enter(world, *((f"@user{n}:one.test", "PHONE") for n in range(50)))
    for n, connection in enumerate(connections):
        key = f"_{connection.device[0]}_PHONE_m.call"
        connection.send(SendState(f"j{n}", STATE_MEMBER, key, {"block": "a" * 2600}))
        connection.send(SendEvent(f"c{n}", COMMIT, {"commit": "a" * 16000}))
        world.run(0.04)
    world.run(2)
    assert all(len({e.event_id for e in events(c.take())}) == 100 for c in connections)
    assert time.process_time() - began < 1.0
