"""A room as one server sees it: its state follows from the set of events, whatever came first."""

from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from mlsrtc.testing.room import Room, StoredEvent
from mlsrtc.wire.incoming import RoomEvent


@st.composite
def forked_states(draw: st.DrawFn) -> list[StoredEvent]:
    """States under one key as several servers made them: each knows some of those before it."""
    made: list[StoredEvent] = []
    for number in range(draw(st.integers(1, 7))):
        known = draw(st.sets(st.sampled_from(made))) if made else set()
        replaces = frozenset().union(*({s.event.event_id} | s.replaces for s in known))
        event = RoomEvent("m.topic", "@a:one.test", f"${number}", draw(st.integers(0, 3)), {"n": number}, state_key="")
        made.append(StoredEvent(event, "one.test", replaces=replaces))
    return made


def settled(events: Sequence[StoredEvent]) -> str:
    room = Room()
    for stored in events:
        room.add(stored)
    return room.state["m.topic", ""].event.event_id


@settings(deadline=None)
@given(forked_states(), st.integers())
def test_state_does_not_depend_on_the_order_of_arrival_or_on_duplicates(events: list[StoredEvent], seed: int) -> None:
    shuffled = events + events
    Random(seed).shuffle(shuffled)
    assert settled(shuffled) == settled(events)


@settings(deadline=None)
@given(forked_states())
def test_the_state_is_one_that_no_other_replaces(events: list[StoredEvent]) -> None:
    winner = settled(events)
    assert not [stored for stored in events if winner in stored.replaces]


def test_of_a_fork_the_latest_wins_and_then_the_greater_id() -> None:
    def rival(event_id: str, moment: int) -> StoredEvent:
        return StoredEvent(RoomEvent("m.topic", "@a:one.test", event_id, moment, {}, state_key=""), "one.test")

    assert settled([rival("$z", 1), rival("$a", 2)]) == "$a"
    assert settled([rival("$z", 2), rival("$a", 2)]) == "$z"
