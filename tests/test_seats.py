"""Who has a seat is a function of the joins that there are, and the newest have one."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.evidence import DeviceIdentity, Joined, Leaf
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.policy import Policy
from mlsrtc.seats import Seats

JOINS, DEVICES = 2, 3
EMPTY = Seats(Policy(joins_per_device=JOINS, devices_per_user=DEVICES))
ANNA, BERT = UserId("@anna:hs"), UserId("@bert:hs")


def joined(user: UserId, device: int, number: int, from_ts: int) -> Joined:
    """A join; its member_id follows from user, device and number."""
    leaf = Leaf(MemberId(f"{user}/{device}/{number}"), user, DeviceId(f"D{device}"), bytes([device]), b"")
    return Joined(leaf, 1, b"", frozenset(), None, from_ts, from_ts + 1)


def told(joins: Sequence[Joined], seats: Seats = EMPTY) -> Seats:
    """The seats once these have come one after the other, refreshes of one another among them."""
    latest: dict[MemberId, Joined] = {}
    for join in joins:
        before = latest.get(join.leaf.member_id)
        if before is None or join.from_ts > before.from_ts:
            seats = seats.with_join(join, before)
            latest[join.leaf.member_id] = join
    return seats


def expected(joins: Sequence[Joined], user: UserId) -> frozenset[MemberId]:
    """The same in the plainest way."""
    ages: dict[MemberId, tuple[int, MemberId]] = {}
    devices: dict[DeviceIdentity, set[MemberId]] = {}
    for join in joins:
        member = join.leaf.member_id
        if join.leaf.user_id == user:
            ages[member] = max(ages.get(member, (0, member)), (join.from_ts, member))
            devices.setdefault(join.leaf.device_identity, set()).add(member)
    newest = sorted(devices.values(), key=lambda members: max(ages[member] for member in members))[-DEVICES:]
    return frozenset(member for members in newest for member in sorted(members, key=ages.__getitem__)[-JOINS:])


EVERY = st.lists(
    st.builds(joined, st.sampled_from([ANNA, BERT]), st.integers(0, 5), st.integers(0, 4), st.integers(1, 6)),
    max_size=40,
)


@given(EVERY, st.data())
def test_seats_are_order_blind_and_the_newest_have_them(joins: list[Joined], data: st.DataObject) -> None:
    one, other = told(joins), told(data.draw(st.permutations(joins + joins[::2])))
    for user in (ANNA, BERT):
        assert one.of(user) == other.of(user) == expected(joins, user)
        assert one.crowded(user) == other.crowded(user)


@given(EVERY, st.data())
def test_who_has_left_makes_room_as_if_it_had_never_come(joins: list[Joined], data: st.DataObject) -> None:
    members = sorted({join.leaf.member_id for join in joins})
    left = data.draw(st.sets(st.sampled_from(members))) if members else set()
    seats = told(joins)
    for member in data.draw(st.permutations(sorted(left))):
        own = [join for join in joins if join.leaf.member_id == member]
        seats = seats.without(max(own, key=lambda join: join.from_ts))
    stayed = [join for join in joins if join.leaf.member_id not in left]
    assert seats == told(stayed)


def test_any_number_of_joins_takes_a_bounded_number_of_seats_and_the_genuine_one_keeps_its_own() -> None:
    genuine = joined(ANNA, 0, 0, 1_000)
    seats = told([genuine, *(joined(ANNA, 1, number, 2_000 + number) for number in range(500))])
    assert len(seats.of(ANNA)) == 1 + JOINS
    assert genuine.leaf.member_id in seats.of(ANNA)
    assert seats.crowded(ANNA) == {(ANNA, DeviceId("D1"))}
    assert seats.of(BERT) == frozenset()
    seats = told([joined(BERT, number, 0, number) for number in range(200)], seats=seats)
    assert len(seats.of(BERT)) == DEVICES
    assert seats.crowded(BERT) == {(BERT, None)}


def test_a_refresh_makes_a_join_the_newest() -> None:
    joins = [joined(ANNA, 0, number, 10 + number) for number in range(JOINS + 1)]
    first = joins[0].leaf.member_id
    assert first not in told(joins).of(ANNA)
    assert first in told([*joins, replace(joins[0], from_ts=99)]).of(ANNA)
