"""The key table: when keys are installed, when the sender switches, what is kept and what is never done twice."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, UserId
from mlsrtc.media.gate import Blocked, Doubts, may_begin
from mlsrtc.media.keys import EpochKeys, MediaKey
from mlsrtc.media.table import Effect, Installed, KeyTable, Retired, Silenced, Stand, Switched
from mlsrtc.mls import Secret
from mlsrtc.policy import Policy
from mlsrtc.wire import encoding

POLICY = Policy()
GONE = Blocked("gone", (MemberId("z"),))
SURE = Doubts(frozenset(), frozenset())


def epoch_id(number: int, branch: int = 0) -> EpochId:
    return EpochId(bytes([branch % 16]) + number.to_bytes(4, "big") + bytes(27))


def keys_of(number: int, branch: int = 0) -> EpochKeys:
    identifier = epoch_id(number, branch)
    index = encoding.key_index(number, identifier)
    secret = Secret(identifier)
    key = MediaKey(MemberId("m"), UserId("@a:b"), DeviceId("D"), LeafIndex(0), index, secret)
    return EpochKeys(identifier, number, index, {MemberId("m"): key})


def stand(number: int, branch: int = 0, *, removes: bool = False, blocked: Blocked | None = None) -> Stand:
    return Stand(epoch_id(number, branch), number, removes, blocked, lambda: keys_of(number, branch))


def test_first_epoch_is_installed_and_sent_under_at_once() -> None:
    table = KeyTable(POLICY)
    effects = table.settle(0.0, stand(1), None, SURE)
    assert [type(effect) for effect in effects] == [Installed, Switched]
    assert table.in_use == epoch_id(1)
    assert table.begun == {epoch_id(1)}


@pytest.mark.parametrize(("removes", "delay"), [(False, POLICY.switch_delay_add), (True, POLICY.switch_delay_remove)])
def test_sender_switches_after_the_delay_and_receivers_install_at_once(removes: bool, delay: float) -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    assert [type(effect) for effect in table.settle(5.0, stand(2, removes=removes), None, SURE)] == [Installed]
    assert table.next_timer() == pytest.approx(5.0 + delay)
    assert table.settle(5.0 + delay - 0.01, stand(2, removes=removes), None, SURE) == []
    assert table.settle(5.0 + delay, stand(2, removes=removes), None, SURE) == [
        Switched(epoch_id(2), 2, encoding.key_index(2, epoch_id(2)))
    ]


def test_a_stream_of_epochs_does_not_postpone_the_switch() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    switched = []
    for step in range(2, 8):
        effects = table.settle(step * 0.4, stand(step), None, SURE)
        switched += [effect.epoch for effect in effects if isinstance(effect, Switched)]
    assert switched
    assert switched[0] in {4, 5}


def test_a_removal_hurries_a_switch_that_an_add_had_scheduled() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    table.settle(1.0, stand(2), None, SURE)
    table.settle(1.1, stand(3, removes=True), None, SURE)
    assert table.next_timer() == pytest.approx(1.6)


def test_those_who_go_on_leaving_do_not_postpone_the_switch() -> None:
    """A commit every 0.4 s, and a leave 0.1 s before the delay after it is over."""
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    table.settle(5.0, stand(1, blocked=GONE), GONE, SURE)
    for number, moment in ((2, 5.3), (3, 5.7), (4, 6.1)):
        table.settle(moment, stand(number, removes=True), GONE, SURE)
        table.settle(moment + 0.3, stand(number, removes=True, blocked=GONE), GONE, SURE)
        assert table.in_use == epoch_id(1)
    limit = 5.0 + POLICY.batch_limit + POLICY.switch_delay_remove
    table.settle(6.45, stand(5, removes=True), GONE, SURE)
    assert table.next_timer() == pytest.approx(limit)
    table.settle(6.48, stand(5, removes=True, blocked=GONE), GONE, SURE)
    effects = table.settle(6.9, stand(6, removes=True), GONE, SURE)
    assert [type(effect) for effect in effects] == [Installed, Switched], "past the limit at once"


def test_old_keys_stay_for_the_grace_period_and_are_wiped_after_it() -> None:
    table = KeyTable(POLICY)
    first = keys_of(1)
    table.settle(0.0, Stand(epoch_id(1), 1, False, None, lambda: first), None, SURE)
    table.settle(1.0, stand(2), None, SURE)
    table.settle(2.0, stand(2), None, SURE)
    assert epoch_id(1) in table.installed()
    effects = table.settle(11.0, stand(2), None, SURE)
    assert effects == [Retired(epoch_id(1), encoding.key_index(1, epoch_id(1)))]
    with pytest.raises(Exception, match="wiped"):
        first.keys[MemberId("m")].secret.expose()


def test_an_epoch_that_a_leaver_reads_is_received_but_not_begun() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    effects = table.settle(1.0, stand(2, blocked=GONE), None, SURE)
    assert [type(effect) for effect in effects] == [Installed]
    assert table.settle(9.0, stand(2, blocked=GONE), None, SURE) == []
    assert table.in_use == epoch_id(1)
    assert epoch_id(1) in table.installed(), "an old key is only superseded by a clean epoch"


def test_the_epoch_in_use_is_left_ten_seconds_after_somebody_who_reads_it_has_left() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    assert table.settle(5.0, stand(1, blocked=GONE), GONE, SURE) == []
    assert table.next_timer() == pytest.approx(15.0)
    assert table.settle(14.9, stand(1, blocked=GONE), GONE, SURE) == []
    assert table.settle(15.0, stand(1, blocked=GONE), GONE, SURE) == [Silenced("gone")]
    assert table.in_use is None
    assert table.settle(16.0, stand(1, blocked=GONE), GONE, SURE) == [], "it is told once"
    effects = table.settle(17.0, stand(2, removes=True), None, SURE)
    assert [type(effect) for effect in effects] == [Installed, Switched]


@pytest.mark.parametrize("reason", ["removed", "refused"])
def test_the_epoch_in_use_is_left_when_the_others_have_gone_on_to_one_that_we_alone_may_not_begin(reason: str) -> None:
    table = KeyTable(POLICY)
    ours = Blocked(reason, (MemberId("z"),))
    table.settle(0.0, stand(1), None, SURE)
    table.settle(1.0, stand(2, blocked=ours), None, SURE)
    assert table.settle(5.0, stand(3, blocked=ours), None, SURE)[1:] == [], "a further one does not postpone it"
    assert table.next_timer() == pytest.approx(1.0 + POLICY.old_media_key_seconds)
    assert table.settle(10.9, stand(3, blocked=ours), None, SURE) == []
    assert table.in_use == epoch_id(1)
    assert table.settle(11.0, stand(3, blocked=ours), None, SURE) == [Silenced(reason)]
    assert table.in_use is None
    assert epoch_id(1) in table.installed(), "whoever else could not go on is still heard"
    assert table.settle(12.0, stand(3, blocked=ours), None, SURE) == [], "it is told once"
    assert table.next_timer() is None
    assert [type(effect) for effect in table.settle(13.0, stand(4), None, SURE)] == [Installed, Switched]


def test_the_epoch_in_use_is_kept_while_nobody_may_begin_the_next() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    table.settle(1.0, stand(2, blocked=GONE), None, SURE)
    assert table.settle(60.0, stand(2, blocked=GONE), None, SURE) == []
    assert table.in_use == epoch_id(1)


def test_what_made_us_stay_behind_counts_only_while_it_lasts() -> None:
    table = KeyTable(POLICY)
    refused = Blocked("refused", (MemberId("z"),))
    table.settle(0.0, stand(1), None, SURE)
    table.settle(1.0, stand(2, blocked=refused), None, SURE)
    table.settle(8.0, stand(1), None, SURE)
    table.settle(9.0, stand(2, blocked=refused), None, SURE)
    assert table.settle(18.9, stand(2, blocked=refused), None, SURE) == []
    assert table.settle(19.0, stand(2, blocked=refused), None, SURE) == [Silenced("refused")]


def test_index_that_is_held_makes_a_rival_wait() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1, 3), None, SURE)
    rival_id = EpochId(bytes([3]) + b"r" * 31)
    rival = Stand(rival_id, 1, False, None, lambda: EpochKeys(rival_id, 1, encoding.key_index(1, rival_id), {}))
    assert encoding.key_index(1, rival_id) == encoding.key_index(1, epoch_id(1, 3))
    assert table.settle(1.0, rival, None, SURE) == []
    assert table.in_use == epoch_id(1, 3)


def test_epoch_is_begun_once_per_process() -> None:
    table = KeyTable(POLICY)
    table.settle(0.0, stand(1), None, SURE)
    table.settle(1.0, stand(2), None, SURE)
    table.settle(2.0, stand(2), None, SURE)
    # The head goes back to another branch's epoch while its keys are held: the same key object goes on.
    assert [type(effect) for effect in table.settle(3.0, stand(1), None, SURE)] == []
    assert [type(effect) for effect in table.settle(4.0, stand(1), None, SURE)] == [Switched]
    table.settle(5.0, stand(2), None, SURE)
    table.settle(6.0, stand(2), None, SURE)
    table.settle(20.0, stand(2), None, SURE)
    assert epoch_id(1) in table.closed
    effects = table.settle(21.0, stand(1), None, SURE)
    assert [type(effect) for effect in effects] == [Installed]
    assert all(not isinstance(effect, Switched) for effect in table.settle(30.0, stand(1), None, SURE))


def test_closed_epoch_of_an_earlier_process_is_told_and_not_begun() -> None:
    table = KeyTable(POLICY, closed={epoch_id(1)})
    effects = table.settle(0.0, stand(1), None, SURE)
    assert [type(effect) for effect in effects] == [Installed, Silenced]
    assert effects[-1] == Silenced("begun_before")


def test_clear_wipes_everything() -> None:
    table = KeyTable(POLICY)
    keys = keys_of(1)
    table.settle(0.0, Stand(epoch_id(1), 1, False, None, lambda: keys), None, SURE)
    assert table.clear() == [Retired(epoch_id(1), keys.index)]
    assert table.in_use is None
    assert table.installed() == {}


def senders(number: int, names: str) -> EpochKeys:
    """The keys of an epoch with so many leaves."""
    one = keys_of(number)
    keys = {
        MemberId(name): MediaKey(
            MemberId(name), UserId(f"@{name}:b"), DeviceId("D"), LeafIndex(place), one.index, Secret(name.encode())
        )
        for place, name in enumerate(names)
    }
    return EpochKeys(one.id, number, one.index, keys)


def doubts(refused: str, flagged: str = "") -> Doubts:
    return Doubts(frozenset(map(MemberId, refused)), frozenset(map(MemberId, flagged)))


def told(effects: list[Effect]) -> list[tuple[int, str, str]]:
    """The epochs of which keys are told, whose, and whose are withdrawn."""
    return [
        (effect.epoch, "".join(key.member_id for key in effect.keys), "".join(s.member_id for s in effect.withdrawn))
        for effect in effects
        if isinstance(effect, Installed)
    ]


def test_of_every_epoch_that_is_held_the_keys_of_those_who_are_not_refused_are_told() -> None:
    table = KeyTable(POLICY)
    first, second = (Stand(epoch_id(n), n, False, None, lambda n=n: senders(n, "abc")) for n in (1, 2))  # type: ignore[misc]
    assert told(table.settle(0.0, first, None, doubts("bz"))) == [(1, "ac", "")]
    assert told(table.settle(1.0, first, None, doubts("by"))) == [], "who is no leaf makes no difference"
    assert told(table.settle(2.0, second, None, doubts("b"))) == [(2, "ac", "")]
    assert told(table.settle(3.0, second, None, doubts(""))) == [(1, "abc", ""), (2, "abc", "")]
    assert told(table.settle(4.0, second, None, doubts("ac"))) == [(1, "b", "ac"), (2, "b", "ac")]
    assert told(table.settle(5.0, second, None, doubts("ac"))) == []
    assert told(table.settle(6.0, second, None, doubts("c", "a"))) == [(1, "ab", ""), (2, "ab", "")]
    assert told(table.settle(13.0, second, None, doubts(""))) == [(2, "abc", "")]


def test_keys_are_told_before_they_are_sent_under_and_a_change_of_heart_is_told_again() -> None:
    table = KeyTable(POLICY)
    stand = Stand(epoch_id(1), 1, False, None, lambda: senders(1, "ab"))
    assert [type(effect) for effect in table.settle(0.0, stand, None, doubts("b"))] == [Installed, Switched]
    (flagged,) = table.settle(1.0, stand, None, doubts("", "b"))
    assert isinstance(flagged, Installed)
    assert flagged.flagged == {MemberId("b")}


@dataclass
class Watcher:
    """What a receiver and the nonce counter would see of one table."""

    ring: dict[int, EpochId] = field(default_factory=dict)
    sent_under: list[EpochId] = field(default_factory=list)


@given(
    st.lists(
        st.tuples(st.floats(0.05, 6.0), st.integers(0, 5), st.integers(0, 2), st.booleans(), st.booleans()),
        max_size=40,
    )
)
def test_one_index_never_names_two_held_epochs_and_no_closed_epoch_is_sent_under(
    steps: list[tuple[float, int, int, bool, bool]],
) -> None:
    table = KeyTable(POLICY)
    watcher = Watcher()
    now, number = 0.0, 1
    for pause, advance, branch, removes, blocked in steps:
        now += pause
        number += advance
        closed = frozenset(table.closed)
        target = stand(number, branch, removes=removes, blocked=GONE if blocked else None)
        for effect in table.settle(now, target, GONE if blocked else None, SURE):
            match effect:
                case Installed(identifier, _, (key,)):
                    assert key.index not in watcher.ring
                    watcher.ring[key.index] = identifier
                case Retired(identifier, index):
                    assert watcher.ring.pop(index) == identifier
                case Switched(identifier, _, index):
                    assert watcher.ring[index] == identifier
                    assert identifier not in closed
                    assert not blocked
                case Silenced():
                    assert table.in_use is None


@given(st.integers(0, 10_000), st.binary(min_size=32, max_size=32))
def test_key_index_is_never_zero_and_fourteen_epochs_in_a_row_differ(epoch: int, seed: bytes) -> None:
    indexes = [encoding.key_index(epoch + step, EpochId(bytes([seed[step]]) + seed[1:])) for step in range(14)]
    assert all(1 <= index <= 255 for index in indexes)
    assert len(set(indexes)) == 14


def test_gate_names_the_first_reason_and_whom() -> None:
    a, b, c = MemberId("a"), MemberId("b"), MemberId("c")
    assert may_begin([a, b], set(), set(), set()) is None
    assert may_begin([a, b], {b, c}, {a}, set()) == Blocked("gone", (b,))
    assert may_begin([a, b], set(), {a}, {b}) == Blocked("removed", (a,))
    assert may_begin([a, b], set(), set(), {b}) == Blocked("refused", (b,))
