"""The keys of the others: whose they are, when they are told, and when they are over."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.keyshare.inbox import AWAY_SECONDS, KEYS_OF_ONE, OTHERS_DELAY, Inbox, Installed, Withdrawn
from mlsrtc.mls import Secret
from mlsrtc.policy import Policy
from mlsrtc.wire.key_event import IndexedKey

ANNA: DeviceIdentity = (UserId("@anna:one.test"), DeviceId("ANNA"), bytes(32))
EVE: DeviceIdentity = (UserId("@anna:one.test"), DeviceId("ANNA"), bytes([1]) * 32)  # a new login of the same name
IDS = frozenset({MemberId("m1")})
HERE = {ANNA: IDS}
POLICY = Policy()
GRACE = OTHERS_DELAY + POLICY.old_media_key_seconds


def key(index: int, value: int = 0) -> IndexedKey:
    return IndexedKey(KeyIndex(index), Secret(bytes([value or index]) * 32))


class Ear:
    """An inbox, and the ring that follows from what it tells."""

    def __init__(self) -> None:
        self.inbox = Inbox(POLICY)
        self.ring: dict[tuple[str, KeyIndex], bytes] = {}

    def settle(self, now: float, members: Mapping[DeviceIdentity, frozenset[MemberId]] = HERE) -> list[int]:
        for effect in self.inbox.settle(now, members):
            match effect:
                case Installed(keys):
                    self.ring |= {(key.member_id, key.index): key.secret.expose() for key in keys}
                case Withdrawn(senders):
                    for sender in senders:
                        del self.ring[sender.member_id, sender.index]
        return sorted(index for _, index in self.ring)


def test_a_key_of_who_is_here_is_told_at_once() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(0)], 1.0)
    assert ear.settle(1.0) == [0]


def test_a_key_waits_for_the_membership() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(3)], 1.0)
    assert ear.settle(1.0, {}) == []
    assert ear.settle(1.0 + POLICY.keys_waiting_seconds - 1) == [3]


def test_it_does_not_wait_for_ever() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(3)], 1.0)
    ear.settle(1.0, {})
    assert ear.inbox.next_timer() == 1.0 + POLICY.keys_waiting_seconds
    ear.settle(1.0 + POLICY.keys_waiting_seconds, {})
    assert ear.settle(100.0) == []
    assert ear.inbox.next_timer() is None


def test_where_nothing_is_told_yet_the_keys_of_strangers_wait_no_longer_and_those_of_members_stay() -> None:
    inbox, late = Inbox(POLICY), 10 * POLICY.keys_waiting_seconds
    for device in (ANNA, EVE):
        inbox.take(device, None, [key(3)], 1.0)
    assert inbox.settle(1.0, HERE, telling=False) == []
    assert inbox.next_timer() == 1.0 + POLICY.keys_waiting_seconds
    assert inbox.settle(late, HERE, telling=False) == []
    assert (inbox.holds(ANNA, IDS), inbox.holds(EVE, IDS)) == (True, False)
    assert inbox.next_timer() is None
    (told,) = inbox.settle(late, HERE)
    assert isinstance(told, Installed)


def test_only_so_many_wait_and_the_newest_stay() -> None:
    ear = Ear()
    strangers = [(UserId(f"@user{n}:one.test"), DeviceId("D"), bytes(32)) for n in range(POLICY.keys_waiting + 10)]
    for moment, stranger in enumerate(strangers):
        ear.inbox.take(stranger, None, [key(1)], float(moment) / 100)
    waiting = [stranger for stranger in strangers if ear.inbox.holds(stranger, IDS)]
    assert waiting == strangers[10:]


def test_strangers_push_out_nobody_who_is_here() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 0.0)
    ear.settle(0.0)
    for n in range(POLICY.keys_waiting + 10):
        ear.inbox.take((UserId(f"@user{n}:one.test"), DeviceId("D"), bytes(32)), None, [key(1)], 1.0)
    assert ear.settle(2.0) == [1]


def test_a_key_that_names_another_member_is_not_told() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, "m2", [key(1)], 1.0)
    assert ear.settle(1.0) == []
    assert ear.settle(2.0, {ANNA: frozenset({MemberId("m2")})}) == [1]


def test_a_device_of_the_same_name_with_another_key_is_another_device() -> None:
    ear = Ear()
    ear.inbox.take(EVE, None, [key(1)], 1.0)
    assert ear.settle(1.0) == []


def test_who_was_here_and_comes_back_is_heard_again_without_handing_its_key_over_anew() -> None:
    """A membership that was erased, or that the homeserver ended because it thought the device dead."""
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    ear.settle(1.0)
    assert ear.settle(500.0, {}) == []
    assert ear.settle(900.0) == [1]
    ear.settle(1000.0, {})
    assert ear.inbox.next_timer() == 1000.0 + AWAY_SECONDS
    ear.settle(1000.0 + AWAY_SECONDS, {})
    assert not ear.inbox.holds(ANNA, IDS)


def test_who_has_a_membership_is_not_pushed_out_before_it_is_known_whether_to_trust_it() -> None:
    ear = Ear()
    others = [(UserId(f"@user{n}:one.test"), DeviceId("D"), bytes(32)) for n in range(POLICY.keys_waiting + 20)]
    ear.inbox.settle(0.0, {}, [other[:2] for other in others])
    for other in others:
        ear.inbox.take(other, None, [key(1)], 1.0)
    assert all(ear.inbox.holds(other, IDS) for other in others)


def test_who_is_gone_is_heard_no_more() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    ear.settle(1.0)
    assert ear.settle(2.0, {}) == []


def test_an_old_key_is_kept_until_its_sender_has_gone_on_and_then_over() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    ear.inbox.take(ANNA, None, [key(2)], 10.0)
    assert ear.settle(10.0) == [1, 2]
    assert ear.inbox.next_timer() == 10.0 + GRACE
    assert ear.settle(10.0 + GRACE) == [2]


def test_the_same_key_again_says_nothing_new() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    ear.settle(1.0)
    ear.inbox.take(ANNA, None, [key(1)], 2.0)
    assert ear.inbox.settle(2.0, HERE) == []
    assert ear.inbox.next_timer() is None


def test_a_key_that_is_handed_over_again_counts_again() -> None:
    ear = Ear()
    for moment, index in ((1.0, 2), (2.0, 1), (3.0, 2)):
        ear.inbox.take(ANNA, None, [key(index)], moment)
    ear.settle(3.0)
    assert ear.settle(3.0 + GRACE) == [2]


def test_another_key_at_the_same_place_takes_it() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1, 7)], 1.0)
    ear.settle(1.0)
    ear.inbox.take(ANNA, None, [key(1, 8)], 2.0)
    ear.settle(2.0)
    assert ear.ring == {("m1", 1): bytes([8]) * 32}


def test_a_key_that_was_overtaken_by_a_newer_one_ends_it_not() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(2)], 1.0, sent_ts=2000)
    ear.inbox.take(ANNA, None, [key(1)], 2.0, sent_ts=1000)
    ear.settle(2.0)
    assert ear.settle(2.0 + GRACE) == [1, 2], "which of them is in use its sender alone knows"
    ear.inbox.take(ANNA, None, [key(3)], 30.0, sent_ts=3000)
    ear.settle(30.0)
    assert ear.settle(30.0 + GRACE) == [3]


def test_a_sender_whose_clock_is_set_back_is_heard_on() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0, sent_ts=3_600_000)
    ear.inbox.take(ANNA, None, [key(2)], 20.0, sent_ts=1000)
    ear.settle(20.0)
    assert 2 in ear.settle(20.0 + GRACE)
    ear.inbox.take(ANNA, None, [key(3)], 50.0, sent_ts=2000)
    ear.settle(50.0)
    assert ear.settle(50.0 + GRACE) == [1, 3]


def test_no_device_fills_our_memory() -> None:
    ear = Ear()
    for index in range(100):
        ear.inbox.take(ANNA, None, [key(index, 1 + index)], 1.0)
    assert ear.settle(1.0) == list(range(100 - KEYS_OF_ONE, 100))


def test_a_ring_that_begins_late_is_told_what_stands() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    ear.settle(1.0)
    (standing,) = ear.inbox.standing()
    assert isinstance(standing, Installed)
    assert [(one.member_id, one.index) for one in standing.keys] == [("m1", 1)]


def test_at_the_end_every_key_is_withdrawn_and_wiped() -> None:
    ear = Ear()
    given = key(1)
    ear.inbox.take(ANNA, None, [given], 1.0)
    ear.settle(1.0)
    (effect,) = ear.inbox.stop()
    assert isinstance(effect, Withdrawn)
    assert not given.secret
    assert ear.inbox.lacks(ANNA, IDS)


@pytest.mark.parametrize("late", [True, False])
def test_one_key_serves_both_memberships_of_a_device(late: bool) -> None:
    ear = Ear()
    both = {ANNA: frozenset({MemberId("m1"), MemberId("m2")})}
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    if late:
        ear.settle(1.0)
    ear.settle(2.0, both)
    assert sorted(ear.ring) == [("m1", 1), ("m2", 1)]


def test_a_key_for_one_participation_says_nothing_of_the_next_one() -> None:
    ear, next_one = Ear(), frozenset({MemberId("m2")})
    ear.inbox.take(ANNA, "m1", [key(1)], 0.0)
    ear.settle(0.0, {ANNA: IDS | next_one})
    assert (ear.inbox.lacks(ANNA, IDS), ear.inbox.holds(ANNA, IDS)) == (False, True)
    assert (ear.inbox.lacks(ANNA, next_one), ear.inbox.holds(ANNA, next_one)) == (True, False)
    ear.inbox.take(ANNA, None, [key(2)], 1.0)
    ear.settle(1.0, {ANNA: IDS | next_one})
    assert (ear.inbox.lacks(ANNA, next_one), ear.inbox.holds(ANNA, next_one)) == (False, True)


STEPS = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.1, GRACE, POLICY.keys_waiting_seconds, AWAY_SECONDS]),
        st.sampled_from([None, (ANNA, None, 1), (ANNA, None, 2), (ANNA, "m1", 1), (EVE, None, 1)]),
        st.sampled_from(
            [{}, HERE, {ANNA: frozenset({MemberId("m1"), MemberId("m2")})}, HERE | {EVE: frozenset({MemberId("m9")})}]
        ),
    ),
    max_size=12,
)


@given(STEPS)
def test_what_may_have_changed_is_looked_through_and_nothing_is_missed(
    steps: list[tuple[float, Any, Any]],
) -> None:
    ear, thorough, now = Ear(), Ear(), 0.0
    for pause, came, members in steps:
        now += pause
        if came is not None:
            device, named, index = came
            for one in (ear, thorough):
                one.inbox.take(device, named, [key(index)], now)
        thorough.inbox._fresh |= thorough.inbox._held.keys()
        assert ear.settle(now, members) == thorough.settle(now, members)
        assert ear.ring == thorough.ring
        assert ear.inbox._held.keys() == thorough.inbox._held.keys()
        timer = ear.inbox.next_timer()
        assert timer == thorough.inbox.next_timer()
        assert timer is None or timer > now


def test_one_user_with_many_devices_pushes_out_its_own_keys_alone() -> None:
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(1)], 1.0)
    for number in range(2 * POLICY.keys_waiting):
        ear.inbox.take((UserId("@crowd:two.test"), DeviceId(f"D{number}"), bytes(32)), None, [key(1)], 2.0)
    assert ear.settle(3.0) == [1]


@pytest.mark.parametrize(("overtaken", "newer"), [(7, 8), (255, 1)])
def test_a_key_that_was_overtaken_by_the_one_after_it_does_not_end_that(overtaken: int, newer: int) -> None:
    """The sender's clock was set back in between, so that the time which it writes says the contrary."""
    ear = Ear()
    ear.inbox.take(ANNA, None, [key(newer)], 1.0, sent_ts=100)
    ear.inbox.take(ANNA, None, [key(overtaken)], 2.0, sent_ts=200)
    assert newer in ear.settle(2.0 + 2 * GRACE)
