"""A call of ten on three homeservers: bursts, leaves, crashes, rejoins, a cut, a rekey; one case that stays open."""

from collections import Counter
from typing import Any

import pytest

from mlsrtc.notices import EpochChanged, Left, Muted, Rejoining, Stranded
from mlsrtc.policy import Policy
from mlsrtc.session import Phase
from mlsrtc.testing import Limits
from mlsrtc.wire import names
from mlsrtc.wire.encoding import order_hash
from watching import Watch

TEN = 10


def ten(seed: int = 1, **settings: Any) -> Watch:
    return Watch(TEN, seed, servers=3, **settings)


def quiet(watch: Watch) -> bool:
    """Nobody rejoined, nobody was mute, nobody was stranded."""
    return not any(ledger.notices(kind) for ledger in watch.ledgers for kind in (Rejoining, Muted, Stranded))


@pytest.mark.parametrize("seed", range(5))
def test_a_burst_of_ten_is_one_call_after_few_commits(seed: int) -> None:
    watch = ten(seed)
    watch.join_all(within=2.0)
    assert watch.world.sent() == Counter({names.STATE_MEMBER: TEN, names.COMMIT: watch.world.sent()[names.COMMIT]})
    assert watch.world.sent()[names.COMMIT] <= 6
    assert quiet(watch)
    watch.check()


def test_all_at_once() -> None:
    watch = ten(limits=Limits())
    watch.join_all(within=0.0)
    assert watch.world.sent()[names.COMMIT] <= 4
    watch.check()


def test_one_after_another_leaves_and_who_stays_has_keys_that_no_leaver_has() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(5)
    for index in range(TEN - 2):
        watch.party.leave(index)
        watch.until_agreed(TEN - 1 - index, timeout=5)
        watch.party.run(1)
    last = watch.session(TEN - 1).epoch_id
    for index in range(TEN - 2):
        assert [notice.reason for notice in watch.ledgers[index].notices(Left)] == ["left"]
        assert last not in watch.ledgers[index].epochs
        assert watch.session(index).phase is Phase.OVER
    assert quiet(watch)
    watch.check()


def test_half_of_them_leave_in_one_moment() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(5)
    before = watch.world.sent()[names.COMMIT]
    for index in range(5):
        watch.party.leave(index)
    watch.until_agreed(5, timeout=10)
    assert watch.world.sent()[names.COMMIT] - before <= 4
    watch.check()


def test_three_crash_and_are_out_and_two_of_them_come_back() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(5)
    for index in (1, 4, 7):
        watch.party.crash(index)
    watch.until_agreed(7, timeout=Policy().delayed_leave + 15)
    for index in (1, 4):
        watch.party.restart(index)
    watch.until_agreed(9, timeout=20)
    watch.check()


def test_all_crash_at_once_and_all_come_back() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(5)
    members = {watch.member(index) for index in range(TEN)}
    for index in range(TEN):
        watch.party.crash(index)
        watch.party.restart(index, after=2 + index / 10)
    watch.party.run(3.5)
    watch.until_agreed(TEN, timeout=30)
    assert {watch.member(index) for index in range(TEN)} == members
    watch.check()


def test_everybody_leaves_and_the_next_call_in_the_slot_is_another() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(3)
    first = set(watch.ledgers[0].epochs)
    for index in range(TEN):
        watch.party.leave(index, after=index / 20)
    watch.party.run(10)
    assert all(watch.session(index).phase is Phase.OVER for index in range(TEN))
    for index in range(TEN):
        watch.party.join(index, after=index / 5)
    watch.party.run(2)
    watch.until_agreed(TEN, timeout=30)
    again = watch.ledgers[0].notices(EpochChanged)[-1]
    assert again.id not in first
    watch.check()


def test_a_cut_is_healed() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(5)
    watch.world.partition({"one.test"}, {"two.test", "three.test"})
    watch.party.leave(0)
    watch.party.leave(1)
    watch.party.run(45)
    watch.world.heal()
    watch.until_agreed(8, timeout=60)
    watch.check()


def test_ten_rekey_once_in_five_minutes() -> None:
    watch = ten()
    watch.join_all()
    watch.party.run(5)
    before = watch.world.sent()[names.COMMIT]
    watch.party.run(2 * Policy().rekey_interval + 30)
    assert watch.world.sent()[names.COMMIT] - before == 2
    assert quiet(watch)
    assert watch.agreed(TEN)
    watch.check()


def test_everybody_stands_on_one_authenticator() -> None:
    watch = ten()
    watch.join_all()
    assert len({watch.session(index).epoch_authenticator() for index in range(TEN)}) == 1
    assert len({watch.session(index).safety_code for index in range(TEN)}) == 1


def test_clients_that_come_and_go_for_a_while() -> None:
    """Two minutes in which somebody comes or goes every second."""
    watch = ten()
    watch.join_all()
    for second in range(120):
        index = second * 7 % TEN
        (watch.party.leave if watch.party[index].joined else watch.party.join)(index)
        watch.party.run(1)
    watch.until_agreed(len(watch.party.present()), timeout=30)
    assert not any(ledger.notices(Stranded) for ledger in watch.ledgers)
    watch.check()


def test_a_kicked_creators_word_does_not_hold_up_the_next_call() -> None:
    """The first call's creator is kicked: it has no leave, its join holds for hours, its word stays at its root.
    Everybody else leaves. Nobody who comes then can enter that group, whose only leaf has left. A new root has one word
    at first, as the old one has, whose hash is the least."""
    watch = Watch(4)
    by_hash = sorted(range(4), key=lambda index: order_hash(None, watch.party.users[index].user_id))  # type: ignore[arg-type]
    creator, guest, *later = by_hash
    watch.party.join(creator)
    watch.party.join(guest, after=2)
    watch.party.run(2)
    watch.until_agreed(2)
    watch.world.kick(watch.party[creator].matrix.user_id)
    watch.party.run(5)
    watch.party.leave(guest)
    watch.party.run(5)
    watch.party.crash(creator)
    for index in later:
        watch.party.join(index)
    watch.until_agreed(2, timeout=3)


def test_a_commit_that_one_homeserver_alone_shows_does_not_divide_the_call() -> None:
    """The kick crosses a commit of the kicked one, which adds a device of its own homeserver. That device goes on from
    there, and so does the next; the other one sees their commits, and never the one that they are built on."""
    watch = Watch(6, servers=2)
    other, kicked, joiner, next_joiner = 0, 1, 3, 5
    watch.party.join(kicked)
    watch.party.join(other, after=2)
    watch.party.run(3)
    watch.until_agreed(2)
    watch.world.partition({"one.test"}, {"two.test"})
    watch.world.kick(watch.party[kicked].matrix.user_id)
    watch.party.join(joiner)
    watch.party.join(next_joiner, after=8)
    watch.party.run(16)
    watch.world.heal()
    watch.party.run(5)
    watch.party.crash(kicked)
    watch.until_agreed(3, timeout=60)
