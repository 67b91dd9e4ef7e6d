"""Who is in the call does not depend on the order in which it was told, nor on how often."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samples
from mlsrtc import trust
from mlsrtc.errors import LocalProtocolError
from mlsrtc.evidence import Joined, Left
from mlsrtc.identifiers import MemberId, UserId
from mlsrtc.policy import Policy
from mlsrtc.roster import NotAddable, Roster, merge_joins
from mlsrtc.seats import Seats
from mlsrtc.wire import names
from mlsrtc.wire.block import JoinBlock, encode_block
from mlsrtc.wire.famedly import GRACE_MS
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import RtcErased, RtcMembership, decode_membership, state_key
from mlsrtc.wire.room import RoomMember
from people import ANNA, ANNA_AGAIN, ANNA_PHONE, BERT, HOUR, NOW, ROOM, Device, epoch

EVE = UserId("@eve:three.example")


def joined(device: Device, **options: object) -> Joined:
    return trust.verify_join(ROOM, device.user, device.join_block(**options))  # type: ignore[arg-type]


def state_event(
    device: Device, ts: int = NOW, *, sender: UserId | None = None, block: bool = True, leave: bool = False
) -> RoomEvent:
    content = {} if leave else samples.without(samples.state_join(), names.BLOCK)
    if not leave:
        content |= {"device_id": device.device, "created_ts": NOW}
    if not leave and block:
        content[names.BLOCK] = encode_block(device.join_block())
    return samples.event(
        content,
        sender=sender or device.user,
        state_key=state_key(device.user, device.device, device.slot),
        ts=ts,
        event_id=f"${device.m}{ts}{sender}",
    )


def told(roster: Roster, event: RoomEvent) -> Roster:
    """As a session would: the statement in the block if there is one, then the event around it."""
    membership = decode_membership(event)
    assert membership is not None
    m = None
    if isinstance(membership, RtcMembership) and isinstance(membership.block, JoinBlock):
        join = trust.verify_join(ROOM, membership.user_id, membership.block)
        roster, m = roster.with_join(join), join.leaf.member_id
    return roster.with_membership(membership, m)


def heard(events: list[Joined | Left], policy: Policy | None = None) -> Roster:
    roster = Roster(seats=Seats(policy or Policy()))
    for event in events:
        roster = roster.with_left([event.member_id]) if isinstance(event, Left) else roster.with_join(event)
    return roster


# -- what follows from the events alone ----------------------------------------------------------------------

JOINS = st.builds(
    lambda device, until, head, replaces, suite: replace(
        joined(device), until_ts=until, head=head, replaces=replaces, suite=suite, from_ts=until - HOUR
    ),
    st.sampled_from([ANNA, ANNA_AGAIN, ANNA_PHONE, BERT]),
    st.integers(NOW, NOW + 4).map(lambda until: until + HOUR),
    st.none() | st.sampled_from([epoch("a"), epoch("b")]),
    st.frozensets(st.sampled_from([ANNA.m, ANNA_PHONE.m, BERT.m, MemberId("unknown")])),
    st.integers(1, 2),
)


@pytest.mark.parametrize("limit", [1, 4])
@given(joins=st.lists(JOINS, max_size=8), left=st.sets(st.sampled_from([ANNA.m, BERT.m])), data=st.data())
def test_joins_and_leaves_are_order_blind(
    limit: int, joins: list[Joined], left: set[MemberId], data: st.DataObject
) -> None:
    policy = Policy(joins_per_device=limit, devices_per_user=limit)
    events: list[Joined | Left] = [*joins, *(Left(m, b"") for m in left)]
    again = data.draw(st.lists(st.sampled_from(events))) if events else []
    one, other = heard(events, policy), heard(data.draw(st.permutations(events + again)), policy)
    assert one == other
    assert one.with_nobody_left() == heard(joins, policy)
    assert one.count(NOW + HOUR) == other.count(NOW + HOUR)


EVENTS = st.builds(
    lambda device, ts, kind: state_event(
        device,
        NOW + ts,
        sender=EVE if kind == "erased" else None,
        block=kind == "join",
        leave=kind in ("leave", "erased"),
    ),
    st.sampled_from([ANNA, ANNA_PHONE, BERT]),
    st.integers(0, 3),
    st.sampled_from(["join", "guest", "leave", "erased"]),
)


def in_two_orders(events: list[RoomEvent], data: st.DataObject) -> tuple[Roster, Roster]:
    """What follows from these events as they are, and in another order with some of them twice."""
    # Two different events never share an id.
    events = list({event.event_id: event for event in events}.values())
    more = data.draw(st.lists(st.sampled_from(events))) if events else []
    one, other = Roster(), Roster()
    for event in events:
        one = told(one, event)
    for event in data.draw(st.permutations(events + more)):
        other = told(other, event)
    return one, other


@given(st.lists(EVENTS, max_size=8), st.data())
def test_memberships_are_order_blind(events: list[RoomEvent], data: st.DataObject) -> None:
    one, other = in_two_orders(events, data)
    assert one == other
    for now in (NOW, NOW + 2, NOW + HOUR + 1):
        assert one.count(now).away == other.count(now).away
        assert one.guests(now) == other.guests(now)
        assert one.not_addable(now, suite=1, refused={}) == other.not_addable(now, suite=1, refused={})


Change = Callable[[Roster], Roster]
CHANGES: st.SearchStrategy[Change] = st.one_of(
    EVENTS.map(lambda event: lambda roster: told(roster, event)),
    JOINS.map(lambda join: lambda roster: roster.with_join(join)),
    st.sampled_from([ANNA.m, BERT.m]).map(lambda m: lambda roster: roster.with_left([m])),
    st.tuples(st.sampled_from([ANNA.user, BERT.user]), st.sampled_from(["join", "leave", "ban"])).map(
        lambda told: lambda roster: roster.with_room_member(RoomMember(*told, EVE))
    ),
    st.tuples(st.sampled_from([ANNA_PHONE.m, BERT.m]), st.booleans()).map(
        lambda told: lambda roster: roster.with_revoked([told[0]] if told[1] else [], listed=[told[0]])
    ),
)


def why_away(roster: Roster, m: MemberId, now: int) -> str | None:
    """X, from everything that came in and nothing that is kept beside it."""
    erased = {p for p, event in roster.places.items() if isinstance(event, RtcErased) and event.stamp.ts <= now}
    reasons = [
        "revoked" if m in roster.revoked else None,
        roster.expelled(roster.joins[m].leaf.user_id),
        "expired" if roster.joins[m].until_ts < now else None,
        "erased" if m in roster.standing_at and roster.standing_at[m] <= erased else None,
    ]
    return next(filter(None, reasons), None)


@given(st.lists(CHANGES, max_size=12), st.integers(NOW - 3, NOW + 5), st.data())
def test_what_is_kept_from_change_to_change_is_what_all_of_them_give(
    changes: list[Change], now: int, data: st.DataObject
) -> None:
    roster = Roster()
    for change in changes:
        roster = change(roster)
    now = data.draw(st.sampled_from([now, now + HOUR]))
    asked = {m: why_away(roster, m, now) for m in roster.joins if m not in roster.left}
    count = roster.count(now)
    assert count.away == {m: reason for m, reason in asked.items() if reason is not None}
    here = {m for m, reason in asked.items() if reason is None and roster.joins[m].from_ts <= now}
    assert count.present == {m: roster.joins[m] for m in here}
    memberships = {p: event for p, event in roster.places.items() if isinstance(event, RtcMembership)}
    assert roster.guests_at == {p: event for p, event in memberships.items() if not isinstance(event.block, JoinBlock)}
    # It holds for as long as it says.
    later = data.draw(st.sampled_from([now, now + 1, now + 2, now + 3, now + HOUR]))
    if count.holds_at(later):
        again = roster.count(later)
        assert (again.present, again.away) == (count.present, count.away)
    assert not count.holds_at(now - 1)


@given(JOINS, JOINS, JOINS)
def test_merging_is_associative_commutative_and_idempotent(a: Joined, b: Joined, c: Joined) -> None:
    b, c = replace(b, leaf=a.leaf), replace(c, leaf=a.leaf)
    key_package = dict.fromkeys((a, b, c), a.key_package)
    a, b, c = (replace(join, key_package=key_package[join]) for join in (a, b, c))
    assert merge_joins(a, a) == a
    assert merge_joins(a, b) == merge_joins(b, a)
    assert merge_joins(merge_joins(a, b), c) == merge_joins(a, merge_joins(b, c))


def test_joins_of_one_m_merge() -> None:
    first = joined(ANNA, head=epoch("a"), replaces=frozenset({ANNA_AGAIN.m}))
    second = joined(ANNA, from_ts=NOW + 5, until_ts=NOW + 2 * HOUR, head=None, replaces=frozenset({BERT.m}))
    merged = merge_joins(first, second)
    assert (merged.from_ts, merged.until_ts, merged.head) == (NOW + 5, NOW + 2 * HOUR, None)
    assert merged.replaces == {ANNA_AGAIN.m, BERT.m}
    third = joined(ANNA, head=epoch("b"))
    assert merge_joins(first, third).head == min(epoch("a"), epoch("b"))
    with pytest.raises(LocalProtocolError):
        merge_joins(first, joined(BERT))


def test_who_joins_in_the_future_is_not_here_yet() -> None:
    roster = Roster().with_join(joined(ANNA)).with_join(joined(BERT, from_ts=NOW + 2 * HOUR, until_ts=NOW + 3 * HOUR))
    assert roster.count(NOW).present.keys() == {ANNA.m}
    assert roster.count(NOW, skew_ms=2 * HOUR).present.keys() == {ANNA.m, BERT.m}


def test_a_leave_is_never_undone() -> None:
    roster = Roster().with_left([ANNA.m]).with_join(joined(ANNA))
    assert roster.count(NOW).present == roster.count(NOW).away == {}
    assert roster.with_join(joined(ANNA, until_ts=NOW + 2 * HOUR)).count(NOW).present == {}


# -- what our own roster says --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("membership", "by", "reason"),
    [
        ("leave", ANNA.user, "left_room"),
        ("leave", EVE, "kicked"),
        ("ban", EVE, "banned"),
        ("join", ANNA.user, None),
    ],
)
def test_who_is_not_in_the_room_is_gone(membership: str, by: UserId, reason: str | None) -> None:
    roster = Roster().with_join(joined(ANNA)).with_room_member(RoomMember(ANNA.user, membership, by))
    assert roster.count(NOW).away == ({} if reason is None else {ANNA.m: reason})
    back = roster.with_room_member(RoomMember(ANNA.user, "join", ANNA.user))
    assert back.count(NOW).away == {}


def test_who_is_expired_by_our_clock_is_gone() -> None:
    roster = Roster().with_join(joined(ANNA))
    assert roster.count(NOW + HOUR).away == {}
    assert roster.count(NOW + HOUR + 1).away == {ANNA.m: "expired"}
    assert roster.with_join(joined(ANNA, until_ts=NOW + 2 * HOUR)).count(NOW + HOUR + 1).away == {}


def test_a_revoked_device_is_gone() -> None:
    roster = Roster().with_revoked([ANNA.m]).with_join(joined(ANNA)).with_join(joined(ANNA_PHONE))
    assert roster.count(NOW).away == {ANNA.m: "revoked"}
    assert roster.with_revoked([], listed=[ANNA.m]).count(NOW).away == {}
    assert roster.count(NOW).present.keys() == {ANNA_PHONE.m}


def test_a_membership_erased_by_another_is_gone_until_its_owner_writes_it_again() -> None:
    roster = told(Roster(), state_event(ANNA))
    erased = told(roster, state_event(ANNA, NOW + 1, sender=EVE, leave=True))
    assert erased.count(NOW + 1).away == {ANNA.m: "erased"}
    assert erased.count(NOW).away == {}  # An event of the future erases nothing yet.
    assert erased.count(NOW, skew_ms=1).away == {ANNA.m: "erased"}
    assert told(erased, state_event(ANNA, NOW + 2)).count(NOW + 2).away == {}
    assert told(erased, state_event(ANNA_PHONE)).count(NOW + 1).present.keys() == {ANNA_PHONE.m}


# -- without MLS, and not addable ----------------------------------------------------------------------------


def test_participants_without_mls() -> None:
    roster = told(Roster(), state_event(BERT, block=False))
    (guest,) = roster.guests(NOW).values()
    assert (guest.membership.user_id, guest.membership.device_id, guest.reason) == (
        BERT.user,
        BERT.device,
        "no_mls",
    )
    assert told(roster, state_event(BERT, NOW + 1, leave=True)).guests(NOW) == {}
    assert roster.guests(NOW + 5 * HOUR) == {}
    assert roster.with_room_member(RoomMember(BERT.user, "ban", EVE)).guests(NOW) == {}


def test_a_device_once_seen_with_mls_is_never_one_without() -> None:
    roster = told(told(Roster(), state_event(BERT)), state_event(BERT, NOW + 1, block=False))
    assert [guest.reason for guest in roster.guests(NOW + 1).values()] == ["was_mls"]
    phone = Device(user=BERT.user, device=ANNA_PHONE.device)
    assert [g.reason for g in told(roster, state_event(phone, block=False)).guests(NOW).values()] == ["no_mls"]


def test_who_cannot_be_added_and_why() -> None:
    roster = told(told(Roster(), state_event(ANNA)), state_event(ANNA_PHONE))
    roster = told(roster, state_event(BERT, block=False)).with_join(joined(ANNA_AGAIN, suite=3))
    found = roster.not_addable(NOW, suite=1, refused={ANNA.m: "no_chain"}, spoilt=[ANNA_PHONE.m])
    assert sorted(item.reason for item in found.values()) == [
        "bad_key_package",
        "no_chain",
        "no_mls",
        "suite",
    ]
    assert found[ANNA.m] == NotAddable(ANNA.user, ANNA.device, ANNA.m, "no_chain")
    later = roster.not_addable(NOW + HOUR + 1, suite=1, refused={ANNA.m: "no_chain"})
    assert {item.reason for item in later.values()} == {"expired_key", "no_mls"}
    assert roster.with_left([ANNA.m]).not_addable(NOW, suite=1, refused={ANNA.m: "x"}).keys().isdisjoint({ANNA.m})


def test_who_has_more_joins_than_seats_is_told_and_the_newest_are_here() -> None:
    joins = [joined(Device(join=number), from_ts=NOW - 10 + number) for number in range(6)]
    roster = heard([*joins, joined(BERT)])
    newest = [join.leaf.member_id for join in joins[-Policy().joins_per_device :]]
    assert roster.count(NOW).present.keys() == {*newest, BERT.m}
    assert roster.count(NOW).away == {}
    told = list(roster.not_addable(NOW, suite=1, refused={}).values())
    assert told == [NotAddable(ANNA.user, ANNA.device, None, "crowded")]
    left = roster.with_left(newest[:2])
    assert left.count(NOW).present.keys() == {*(join.leaf.member_id for join in joins[:2]), *newest[2:], BERT.m}
    assert left.not_addable(NOW, suite=1, refused={}) == {}
    banned = roster.with_room_member(RoomMember(ANNA.user, "ban", EVE))
    assert banned.not_addable(NOW, suite=1, refused={}) == {}


def test_another_version_of_the_block_cannot_be_added() -> None:
    event = state_event(BERT, block=False)
    content = {**event.content, names.BLOCK: {"version": 9}}
    roster = told(Roster(), replace(event, content=content))
    assert [item.reason for item in roster.not_addable(NOW, suite=1, refused={}).values()] == ["version"]


# -- several devices in one event ----------------------------------------------------------------------------

EXPIRY = 360_000  # ms from the writing of an entry to its `expires_ts`


def roll_event(
    *devices: str, ts: int = NOW, user: UserId = ANNA.user, key: str | None = None, session: str = "session"
) -> RoomEvent:
    """As the dart SDK writes it: who of a user's devices is in the call."""
    (entry, _) = samples.famedly()["memberships"]
    change = {"expires_ts": ts + EXPIRY, "membershipID": session}
    content = {"memberships": [{**entry, **change, "device_id": device} for device in devices]}
    return samples.event(
        content,
        names.FAMEDLY_MEMBER,
        sender=user,
        state_key=key or ANNA.user,
        ts=ts,
        event_id=f"${user}{ts}{devices}{key}",
    )


def devices(roster: Roster, now: int = NOW) -> list[str | None]:
    assert {guest.membership.device_id for guest in roster.guests(now).values()} == {
        one.device_id for one in roster.memberships(now)
    }
    return sorted(str(one.device_id) for one in roster.memberships(now))


def test_one_event_says_it_of_all_devices_of_a_user() -> None:
    roster = told(Roster(), roll_event("PHONE", "LAPTOP"))
    assert devices(roster) == ["LAPTOP", "PHONE"]
    found = roster.not_addable(NOW, suite=1, refused={}).values()
    assert {(one.device_id, one.reason) for one in found} == {("PHONE", "no_mls"), ("LAPTOP", "no_mls")}
    roster = told(roster, roll_event("LAPTOP", ts=NOW + 1))
    assert devices(roster, NOW + 1) == ["LAPTOP"]
    assert devices(told(roster, roll_event(ts=NOW + 2)), NOW + 2) == []


def test_an_entry_counts_for_six_minutes_past_its_expiry() -> None:
    roster = told(Roster(), roll_event("PHONE"))
    assert devices(roster, NOW + EXPIRY + GRACE_MS) == ["PHONE"]
    assert devices(roster, NOW + EXPIRY + GRACE_MS + 1) == []


def test_whoever_is_banned_is_there_with_none_of_its_devices() -> None:
    roster = told(Roster(), roll_event("PHONE", "LAPTOP"))
    assert devices(roster.with_room_member(RoomMember(ANNA.user, "ban", EVE))) == []


def test_an_event_under_a_device_s_key_stands_beside_that_of_the_user() -> None:
    roster = told(told(Roster(), roll_event("PHONE")), roll_event("LAPTOP", key=f"LAPTOP_{ANNA.user}"))
    assert devices(roster) == ["LAPTOP", "PHONE"]
    erased = told(roster, roll_event(ts=NOW + 1, user=EVE, key=f"LAPTOP_{ANNA.user}"))
    assert devices(erased, NOW + 1) == ["PHONE"]


def test_since_when_a_device_is_there_without_a_break() -> None:
    """The event itself does not tell, and the SDK keeps its `membershipID` when it leaves and comes back."""

    def since(roster: Roster) -> list[int]:
        return [one.created_ts for one in roster.memberships(NOW + 10)]

    roster = told(told(Roster(), roll_event("PHONE")), roll_event("PHONE", ts=NOW + 5))
    assert since(roster) == [NOW]
    assert since(told(roster, roll_event("PHONE", ts=NOW + 6, session="another"))) == [NOW + 6]
    assert since(told(told(roster, roll_event(ts=NOW + 6)), roll_event("PHONE", ts=NOW + 7))) == [NOW + 7]
    long_after = NOW + 5 + EXPIRY + GRACE_MS + 1
    roster = told(roster, roll_event("PHONE", ts=long_after))
    assert [one.created_ts for one in roster.memberships(long_after)] == [long_after]


ROLLS = st.builds(
    lambda devices, ts, key: roll_event(*sorted(devices), ts=NOW + ts, key=key),
    st.sets(st.sampled_from(["PHONE", "LAPTOP", "TABLET"])),
    st.integers(0, 3),
    st.sampled_from([ANNA.user, None]),
)


@given(st.lists(ROLLS, max_size=8), st.data())
def test_who_is_there_by_such_events_is_order_blind(events: list[RoomEvent], data: st.DataObject) -> None:
    one, other = in_two_orders(events, data)
    assert devices(one, NOW + 3) == devices(other, NOW + 3)
