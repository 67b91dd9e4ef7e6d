"""Promise 2: the same set of events, in any order and with any duplicates, ends in the same head."""

from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import RoomId
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.testing import Twins
from mlsrtc.testing.schedule import Step, make_peace, play
from mlsrtc.wire.incoming import DeviceKeys, HistoryComplete, Incoming, Now, RoomEvent
from searching import any_schedule, searched
from watching import SLOT, Watch

DEVICES, SERVERS = 4, 2


def shown(watch: Watch) -> list[Incoming]:
    """Every event that any homeserver ever showed, the garbled twins among them, and everybody's keys."""
    garble = Twins(fields=("commit", "welcome", "tree", "group_info"))
    events: dict[tuple[str, int], RoomEvent] = {}
    for server in watch.world.servers.values():
        for stored in server.room.timeline:
            for place, event in enumerate(garble(stored.event, ("", ""))):
                events[stored.event.event_id, place] = event
    keys = [DeviceKeys(user.user_id, user.keys()) for user in watch.party.users]
    return [*events.values(), *keys]


def fresh(watch: Watch, incoming: Iterable[Incoming], now: Now) -> Session:
    """A session that has only just started and is handed all of it."""
    session = Session(watch.party[0].matrix, RoomId(watch.world.room_id), SLOT, now=now)
    for item in (*incoming, HistoryComplete()):
        try:
            session.receive(item, now)
        except RemoteProtocolError:
            continue
        session.tick(now)
    return session


def view(session: Session) -> tuple[object, ...]:
    """What follows from the set alone: head, way, who has left, whose word stands where."""
    ordering = session.known.ordering
    words = {member: ordering.standing(member) for member in session.known.roster.joins}
    return ordering.head_path(), ordering.departed, ordering.equivocators, words


@searched(60)
@given(any_schedule(DEVICES, SERVERS, 25), st.integers(0, 2**32))
def test_any_order_with_any_duplicates_ends_in_the_same_head(schedule: list[Step], seed: int) -> None:
    watch = Watch(DEVICES, seed, servers=SERVERS)
    play(watch.party, schedule)
    make_peace(watch.party)
    watch.party.run(30)
    incoming, now = shown(watch), watch.world.now
    expected = view(fresh(watch, incoming, now))
    random = Random(seed)
    for _ in range(6):
        shuffled = incoming + random.choices(incoming, k=len(incoming) // 2)
        random.shuffle(shuffled)
        assert view(fresh(watch, shuffled, now)) == expected
    for device in watch.party.present():  # A session that is over follows no clock any more.
        assert view(watch.session(device.index))[0] == expected[0]


@pytest.mark.parametrize("backwards", [False, True])
def test_a_past_of_hundreds_of_commits_is_read_in_either_direction(backwards: bool) -> None:
    """A back-fill brings the newest first: whatever waits for its parent must not be dropped."""
    watch = Watch(2, policy=Policy(rekey_interval=1.0, bodies_kept=10_000.0))
    watch.join_all()
    watch.party.run_until(lambda: len(watch.ledgers[0].epochs) >= 300, timeout=600)
    incoming, now = shown(watch), watch.world.now
    session = fresh(watch, reversed(incoming) if backwards else incoming, now)
    assert session.known.ordering.head() == watch.session(0).known.ordering.head()
    assert len(session.known.ordering.head_path()) >= 300
