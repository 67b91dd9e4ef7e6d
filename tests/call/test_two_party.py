"""A call of two, through the session's verbs: what it costs, how long it takes, what each of the two is told."""

from collections import Counter

import pytest

from mlsrtc.errors import LocalProtocolError
from mlsrtc.notices import (
    EpochChanged,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    MembersChanged,
    Muted,
    SendKeySwitched,
)
from mlsrtc.policy import Policy
from mlsrtc.session import Phase
from mlsrtc.testing import CrashPoint, Latency, RoomSettings
from mlsrtc.wire import names
from watching import Watch

STEADY = Latency(client=(0.03, 0.03))
ROUND_TRIP = 0.06  # seconds from sending an event until a sync brings it, under STEADY
SLACK = 0.015  # `run_until` looks every 10 ms, timers of a device ring on the millisecond


def two(seed: int = 1, **settings: object) -> Watch:
    """Two devices that have read the room and have not joined."""
    watch = Watch(2, seed, latency=STEADY, **settings)  # type: ignore[arg-type]
    watch.party.start(0)
    watch.party.start(1)
    watch.party.run(1)
    return watch


def keyed(seed: int = 1, **settings: object) -> Watch:
    """Two devices in a call, quiet for a while."""
    watch = two(seed, **settings)
    watch.party.join(0)
    watch.party.run(2)
    watch.party.join(1)
    watch.until_agreed(2)
    watch.party.run(2)
    return watch


def test_a_call_of_one_sends_its_membership_and_nothing_else() -> None:
    watch = two()
    watch.party.join(0)
    watch.party.run(120)
    assert watch.world.sent() == {names.STATE_MEMBER: 1}
    assert watch.ledgers[0].notices(EpochChanged) == []
    assert watch.ledgers[0].muted
    assert len(watch.session(0).members) == 1


def test_a_lone_join_costs_one_room_event_besides_the_membership() -> None:
    watch = two()
    watch.party.join(0)
    watch.party.run(5)
    before = watch.world.sent()
    watch.party.join(1)
    watch.party.run(60)
    assert watch.world.sent() - before == Counter({names.STATE_MEMBER: 1, names.COMMIT: 1})


def test_a_lone_join_is_keyed_within_two_event_round_trips() -> None:
    watch = two()
    watch.party.join(0)
    watch.party.run(5)
    watch.party.join(1)
    took = watch.party.run_until(lambda: not watch.ledgers[1].muted, timeout=5)
    assert took <= 2 * ROUND_TRIP + SLACK


def test_both_get_the_same_keys_and_the_same_code() -> None:
    watch = keyed()
    watch.check()
    one, other = watch.ledgers
    (epoch,) = one.epochs
    assert one.keys == other.keys
    assert set(one.keys[epoch]) == {watch.member(0), watch.member(1)}
    assert watch.session(0).safety_code == watch.session(1).safety_code
    assert [member.keyed for member in watch.session(0).members.values()] == [True, True]


def test_notices_come_in_an_order_that_can_be_acted_on() -> None:
    watch = keyed()
    kinds = [type(notice) for _, notice in watch.ledgers[1].told if not isinstance(notice, MembersChanged)]
    assert kinds == [EpochChanged, MediaKeysChanged, SendKeySwitched]


def test_who_is_left_behind_has_keys_that_the_leaver_has_not() -> None:
    watch = Watch(3, latency=STEADY)
    watch.join_all()
    watch.party.run(5)
    watch.party.leave(0)
    took = watch.until_agreed(2, timeout=5)
    watch.check()
    assert watch.session(0).phase is Phase.OVER
    assert [notice.reason for notice in watch.ledgers[0].notices(Left)] == ["left"]
    assert watch.ledgers[0].muted
    assert watch.ledgers[0].held == {}
    now = watch.session(1).epoch_id
    assert now not in watch.ledgers[0].keys
    assert took <= 2 * ROUND_TRIP + Policy().switch_delay_remove + SLACK


def test_who_is_alone_again_goes_on_alone() -> None:
    watch = keyed()
    watch.party.leave(0)
    watch.party.run(5)
    assert watch.session(0).phase is Phase.OVER
    assert set(watch.session(1).members) == {watch.member(1)}
    last = watch.ledgers[1].notices(EpochChanged)[-1]
    assert last.members == (watch.member(1),)
    watch.check()


def test_a_leaver_comes_back_as_somebody_else() -> None:
    watch = keyed()
    first = watch.member(0)
    watch.party.leave(0)
    watch.party.run(5)
    watch.party.join(0)
    watch.until_agreed(2)
    assert watch.member(0) != first
    watch.check()


def test_leave_and_join_in_one_moment() -> None:
    watch = keyed()
    first = watch.member(0)
    watch.party.leave(0)
    watch.party.join(0, after=0.001)
    watch.party.run(0.1)
    watch.until_agreed(2)
    watch.party.run(30)
    assert watch.agreed(2)
    assert watch.member(0) != first
    watch.check()


def test_a_crashed_device_is_out_when_its_delayed_leave_fires() -> None:
    watch = Watch(3, latency=STEADY)
    watch.join_all()
    watch.party.run(6)
    crashed = watch.member(1)
    watch.party.crash(1)
    watch.party.run(Policy().delayed_leave - Policy().delayed_leave_restart - 1)
    assert crashed in watch.session(0).members
    took = watch.until_agreed(2, timeout=10)
    assert took <= Policy().delayed_leave_restart + 3
    assert crashed not in watch.session(0).members
    watch.check()


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("index", [0, 1])
def test_who_restarts_in_time_stays_and_begins_no_epoch_again(index: int, resume: bool) -> None:
    watch = keyed()
    member = watch.member(index)
    watch.party.crash(index)
    watch.party.restart(index, resume=resume, after=3)
    watch.party.run(3.01)
    muted = [notice.reason for notice in watch.ledgers[index].notices(Muted)]
    assert muted in ([], ["begun_before"])
    watch.until_agreed(2, timeout=10)
    assert watch.member(index) == member
    watch.party.run(30)
    assert watch.agreed(2)
    watch.check()


def test_who_restarts_after_its_delayed_leave_comes_back_under_a_new_name() -> None:
    watch = keyed()
    member = watch.member(1)
    watch.party.crash(1)
    watch.party.run(30)
    watch.party.restart(1)
    watch.until_agreed(2, timeout=15)
    assert watch.member(1) != member
    watch.check()


def test_restarting_twice_in_a_row_opens_the_call_again() -> None:
    """The second time its own commit would be the second in a row that changes nothing, which is not valid."""
    watch = keyed()
    for _ in range(2):
        watch.party.crash(1)
        watch.party.restart(1, after=0.1)
        watch.party.run(0.2)
        watch.until_agreed(2, timeout=15)
    watch.check()


@pytest.mark.parametrize("at", [CrashPoint.BEFORE_SAVE, CrashPoint.AFTER_SAVE, CrashPoint.AFTER_SEND])
def test_a_join_survives_a_crash_at_every_seam(at: CrashPoint) -> None:
    watch = two()
    watch.party.join(0)
    watch.party.run(2)
    watch.party.crash(1, at)
    watch.party.join(1)
    watch.party.run(0.5)
    assert not watch.party[1].running
    watch.party.restart(1)
    watch.until_agreed(2, timeout=15)
    watch.check()


def test_a_join_that_waits_for_the_room_survives_a_crash() -> None:
    watch = Watch(2, latency=STEADY)
    watch.party.join(0)
    watch.party.run(3)
    watch.party.join(1)
    watch.party.run(0.02)
    assert watch.session(1).phase is Phase.ENTERING
    watch.party.crash(1)
    watch.party.restart(1)
    watch.until_agreed(2, timeout=10)


def test_join_again_does_nothing_and_after_the_end_it_is_refused() -> None:
    watch = keyed()
    member = watch.member(0)
    watch.session(0).join(watch.party[0].now)
    watch.party.run(2)
    assert watch.member(0) == member
    watch.party.leave(0)
    watch.party.run(2)
    with pytest.raises(LocalProtocolError):
        watch.session(0).join(watch.party[0].now)


def test_a_rekey_comes_after_its_interval_and_only_once() -> None:
    watch = keyed()
    epochs = len(watch.ledgers[0].epochs)
    watch.party.run(Policy().rekey_interval - 10)
    assert len(watch.ledgers[0].epochs) == epochs
    watch.party.run(20)
    assert len(watch.ledgers[0].epochs) == epochs + 1
    assert watch.agreed(2)
    watch.party.run(Policy().rekey_interval)
    assert len(watch.ledgers[0].epochs) == epochs + 2
    assert watch.world.sent()[names.COMMIT] == epochs + 2
    watch.check()


def test_old_keys_are_retired_after_their_grace_and_not_before() -> None:
    watch = Watch(3, latency=STEADY)
    for index in (0, 1):
        watch.party.join(index)
    watch.until_agreed(2)
    watch.party.run(5)
    (old,) = watch.ledgers[0].keys
    watch.party.join(2)
    watch.until_agreed(3)
    watch.party.run(Policy().old_media_key_seconds - 2)
    assert watch.ledgers[0].notices(MediaKeysRetired) == []
    watch.party.run(4)
    assert [notice.id for notice in watch.ledgers[0].notices(MediaKeysRetired)] == [old]
    watch.check()


def test_a_long_call_keeps_its_memberships_and_its_keys() -> None:
    """Five hours: the memberships are refreshed before they expire, and nobody leaves or rejoins."""
    watch = keyed()
    members = {watch.member(0), watch.member(1)}
    watch.party.run(5 * 3600)
    assert watch.agreed(2)
    assert {watch.member(0), watch.member(1)} == members
    assert watch.world.sent()[names.STATE_MEMBER] == 2 * (1 + 5)
    watch.check()


@pytest.mark.parametrize("encrypted", [False, True])
def test_the_same_over_sticky_events(encrypted: bool) -> None:
    watch = keyed(sticky=True, room=RoomSettings(encrypted=encrypted))
    assert watch.world.sent() == {names.STICKY_MEMBER: 2, names.COMMIT: 1}
    watch.party.leave(0)
    watch.party.run(5)
    assert watch.session(0).phase is Phase.OVER
    assert set(watch.session(1).members) == {watch.member(1)}
    watch.check()
