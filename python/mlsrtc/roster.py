"""Who is in the call, from memberships alone. Pure and immutable: every event gives a new roster, the clock
is an argument.

It says what only our own roster says (docs/protocol.md, "Which branch"): *X*, who is gone by our clock, by the
room's members, by revocation, or because somebody overwrote the membership; *R*, who is here; and the
participants that know no MLS. X and R never enter the head. *D*, who has left for good, is the ordering's to
know and is told here.
"""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from typing import TypeGuard, TypeVar

from mlsrtc.errors import LocalProtocolError
from mlsrtc.evidence import Joined
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.policy import Policy
from mlsrtc.seats import Seats
from mlsrtc.wire.block import ForeignBlock
from mlsrtc.wire.membership import (
    MembershipFormat,
    RtcErased,
    RtcEvent,
    RtcLeave,
    RtcMembership,
    RtcRoll,
    RtcSealed,
    Stamp,
    memberships_of,
)
from mlsrtc.wire.room import RoomMember

K = TypeVar("K")
T = TypeVar("T")

Place = tuple[MembershipFormat, UserId, str]
"""Where a membership stands: a later event at the same place takes an earlier one's."""

Crowd = tuple[UserId, DeviceId | None]
"""A device with more joins than seats, or a user with more devices than that."""


def merge_joins(one: Joined, other: Joined) -> Joined:
    """Several joins of one m are one: the latest `until`, the union of `replaces`, the least `head` (null is
    least), the latest `from`. Associative, commutative and idempotent.

    Raises LocalProtocolError if they are of different members.
    """
    if one.leaf != other.leaf:
        raise LocalProtocolError("joins of different members do not merge")
    # The KeyPackage and suite of the latest. `from` is merged for itself and so cannot break a tie here.
    latest = max(one, other, key=lambda join: (join.until_ts, join.suite, join.key_package))
    heads = [join.head for join in (one, other)]
    return replace(
        latest,
        replaces=one.replaces | other.replaces,
        head=None if None in heads else min(head for head in heads if head is not None),
        from_ts=max(one.from_ts, other.from_ts),
    )


@dataclass(frozen=True, slots=True)
class Guest:
    """A participant without a join of ours that counts. `reason`: no_mls, version, or was_mls (its device
    once joined with MLS and is never served without)."""

    membership: RtcMembership
    reason: str


@dataclass(frozen=True, slots=True)
class NotAddable:
    """A device that is in the call and gets no leaf, and why: suite, version, expired_key, bad_key_package,
    crowded (for some of its joins), or the reason of its trust verdict."""

    user_id: UserId
    device_id: DeviceId | None
    member_id: MemberId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Headcount:
    """Who is here. `present`: R. `away`: X, and why: kicked, banned, left_room, expired, revoked or erased. Both hold
    from `since` until `until` (milliseconds of our wall clock; None: for ever) if nothing is received.
    """

    present: Mapping[MemberId, Joined]
    away: Mapping[MemberId, str]
    since: int
    until: int | None

    def holds_at(self, now_ms: int) -> bool:
        """Whether it is still so, or already."""
        return self.since <= now_ms and (self.until is None or now_ms < self.until)


@dataclass(frozen=True, slots=True)
class Roster:
    """`joins`: merged, by member_id; `open`: those who have not left for good (`left`); `seated`: those of them that
    have a seat, the only ones that are looked through; `crowded`: who has more joins than seats. `places`: the latest
    membership event at each place; `guests_at` and `erased_at`: those of participants without our block, and those by
    which somebody overwrote another's. `absent`: users who are in the room no more, as the homeserver tells its present
    state, and why; who was never told of has sent into the room, so it is there as far as we know."""

    joins: Mapping[MemberId, Joined] = field(default_factory=dict)
    open: Mapping[MemberId, Joined] = field(default_factory=dict)
    seats: Seats = field(default_factory=lambda: Seats(Policy()))
    seated: Mapping[MemberId, Joined] = field(default_factory=dict)
    crowded: frozenset[Crowd] = frozenset()
    left: frozenset[MemberId] = frozenset()
    places: Mapping[Place, RtcEvent] = field(default_factory=dict)
    guests_at: Mapping[Place, RtcMembership] = field(default_factory=dict)
    erased_at: Mapping[Place, RtcErased] = field(default_factory=dict)
    standing_at: Mapping[MemberId, frozenset[Place]] = field(default_factory=dict)
    joined_devices: frozenset[tuple[UserId, DeviceId]] = frozenset()
    absent: Mapping[UserId, str] = field(default_factory=dict)
    revoked: frozenset[MemberId] = frozenset()

    # -- what comes in --

    def with_join(self, joined: Joined) -> "Roster":
        """A join or a refresh that was checked (`trust.verify_join`)."""
        m = joined.leaf.member_id
        known = self.joins.get(m)
        merged = joined if known is None else merge_joins(known, joined)
        if merged == known:
            return self
        device = joined.leaf.user_id, joined.leaf.device_id
        roster = replace(
            self,
            joins={**self.joins, m: merged},
            joined_devices=self.joined_devices if device in self.joined_devices else self.joined_devices | {device},
        )
        return roster if m in self.left else roster._opened(merged)

    def with_nobody_left(self) -> "Roster":
        """D is not what it was: it is to be told anew."""
        seats = Seats(self.seats.policy)
        roster = replace(self, left=frozenset(), open={}, seats=seats, seated={}, crowded=frozenset())
        for joined in self.joins.values():
            roster = roster._opened(joined)
        return roster

    def with_left(self, members: Iterable[MemberId]) -> "Roster":
        """These have left for good: D, as the ordering knows it."""
        left = self.left.union(members)
        if len(left) == len(self.left):
            return self
        gone = [joined for m in left - self.left if (joined := self.open.get(m)) is not None]
        if not gone:
            return replace(self, left=left)
        opened, seats = dict(self.open), self.seats
        for joined in gone:
            del opened[joined.leaf.member_id]
            seats = seats.without(joined)
        return replace(self, left=left, open=opened)._with_seats(seats, {joined.leaf.user_id for joined in gone})

    def with_membership(self, event: RtcEvent, joined: MemberId | None = None) -> "Roster":
        """The event around a join or leave, or one without our block. `joined`: the m of its block if that
        was checked.

        At one place the event with the greatest (origin_server_ts, event id) stands.
        """
        if isinstance(event, RtcSealed):
            return self
        place = _place(event)
        roster = self
        if joined is not None:
            places = self.standing_at.get(joined, frozenset())
            if place not in places:
                roster = replace(roster, standing_at={**self.standing_at, joined: places | {place}})
        known = self.places.get(place)
        if known is not None and _order(known.stamp) >= _order(event.stamp):
            return roster
        if isinstance(event, RtcRoll):
            event = _continued(event, known)
        before, after = _guests_of(known), _guests_of(event)
        if before or after:
            others = {place: guest for place, guest in self.guests_at.items() if place not in before}
            roster = replace(roster, guests_at=others | after)
        return replace(
            roster,
            places={**self.places, place: event},
            erased_at=_put(self.erased_at, place, event if isinstance(event, RtcErased) else None),
        )

    def with_room_member(self, member: RoomMember) -> "Roster":
        """The present membership of a user in the room. The order of these is the homeserver's: the last one
        told holds, since a forged time must not undo a ban."""
        user = member.user_id
        why = None
        if not member.present:
            why = "banned" if member.membership == "ban" else "left_room" if member.by == user else "kicked"
        return self if self.absent.get(user) == why else replace(self, absent=_put(self.absent, user, why))

    def with_revoked(self, member_ids: Iterable[MemberId], *, listed: Iterable[MemberId] = ()) -> "Roster":
        """Leaves whose Matrix device was logged out or replaced. A new login is a new device key, so this
        stays, unless the homeserver was late and lists the same device again.
        """
        revoked = (self.revoked - frozenset(listed)) | frozenset(member_ids)
        return self if revoked == self.revoked else replace(self, revoked=revoked)

    # -- what our own roster says --

    def count(self, now_ms: int, skew_ms: int = 0) -> Headcount:
        """Who is here and who is away. `now_ms`: our wall clock; `skew_ms`: joins from further in the future than that
        do not count yet, and events erase nothing yet."""
        present: dict[MemberId, Joined] = {}
        away: dict[MemberId, str] = {}
        latest = now_ms + skew_ms
        changes = [event.stamp.ts - skew_ms for event in self.erased_at.values() if event.stamp.ts > latest]
        erased = {place for place, event in self.erased_at.items() if event.stamp.ts <= latest}
        for m, joined in self.seated.items():
            if m in self.revoked:
                away[m] = "revoked"
            elif joined.leaf.user_id in self.absent:
                away[m] = self.absent[joined.leaf.user_id]
            elif joined.until_ts < now_ms:
                away[m] = "expired"
            elif erased and (places := self.standing_at.get(m)) and places <= erased:
                away[m] = "erased"
            elif joined.from_ts <= latest:
                present[m] = joined
            else:
                changes.append(joined.from_ts - skew_ms)
            if joined.until_ts >= now_ms:
                changes.append(joined.until_ts + 1)
        return Headcount(present, away, now_ms, min(changes, default=None))

    def expelled(self, user_id: UserId) -> str | None:
        """Why a user is in the room no more: banned, kicked or left_room; None if it is there."""
        return self.absent.get(user_id)

    def memberships(self, now_ms: int, skew_ms: int = 0) -> list[RtcMembership]:
        """Every membership that stands, with our block or without, of those who are in the room: oldest first."""
        latest, absent = now_ms + skew_ms, self.absent
        standing = [
            membership
            for event in self.places.values()
            for membership in memberships_of(event)
            if (membership.expires_ts is None or membership.expires_ts >= now_ms)
            and membership.stamp.ts <= latest
            and membership.user_id not in absent
        ]
        return sorted(standing, key=lambda one: (one.created_ts, one.user_id, one.key))

    def guests(self, now_ms: int, skew_ms: int = 0) -> dict[Place, Guest]:
        """Participants without MLS, or with another version of it, whose membership stands and who are in the
        room.
        """
        return {
            place: Guest(event, self._guest_reason(event))
            for place, event in self.guests_at.items()
            if (event.expires_ts is None or event.expires_ts >= now_ms)
            and event.stamp.ts <= now_ms + skew_ms
            and self.expelled(event.user_id) is None
        }

    def not_addable(
        self,
        now_ms: int,
        *,
        suite: int,
        refused: Mapping[MemberId, str],
        skew_ms: int = 0,
        spoilt: Collection[MemberId] = (),
    ) -> dict[MemberId | Place | Crowd, NotAddable]:
        """Who is here and cannot be added. `suite`: the root's. `refused`: by trust, and why. `spoilt`: whose
        KeyPackage does not hold. Joins that expired are told as expired_key while their membership event
        still stands. Of joins without a seat no one is told by itself.
        """
        found: dict[MemberId | Place | Crowd, NotAddable] = {
            crowd: NotAddable(*crowd, None, "crowded") for crowd in self.crowded if self.expelled(crowd[0]) is None
        }
        doubtful = {
            m: joined
            for m, joined in self.seated.items()
            if joined.suite != suite or m in refused or m in spoilt or joined.until_ts < now_ms
        }
        away = self.count(now_ms, skew_ms).away if doubtful else {}
        for m, joined in doubtful.items():
            if away.get(m, "expired") != "expired":
                continue
            if m in away:
                reason = "expired_key" if self._stands(m) else None
            elif joined.suite != suite:
                reason = "suite"
            elif m in refused:
                reason = refused[m]
            else:
                reason = "bad_key_package" if m in spoilt else None
            if reason is not None:
                found[m] = NotAddable(joined.leaf.user_id, joined.leaf.device_id, m, reason)
        for place, guest in self.guests(now_ms, skew_ms).items():
            found[place] = NotAddable(guest.membership.user_id, guest.membership.device_id, None, guest.reason)
        return found

    # -- parts --

    def _opened(self, joined: Joined) -> "Roster":
        m = joined.leaf.member_id
        seats = self.seats.with_join(joined, self.open.get(m))
        return replace(self, open={**self.open, m: joined})._with_seats(seats, {joined.leaf.user_id})

    def _with_seats(self, seats: Seats, users: Set[UserId]) -> "Roster":
        """Other seats for these users; `open` is what it is to be."""
        seated, crowded = dict(self.seated), self.crowded
        for user in users:
            for m in self.seats.of(user):
                del seated[m]
            seated |= {m: self.open[m] for m in seats.of(user)}
            before, after = self.seats.crowded(user), seats.crowded(user)
            crowded = crowded if before == after else crowded - before | after
        return replace(self, seats=seats, seated=seated, crowded=crowded)

    def _stands(self, m: MemberId) -> bool:
        return any(isinstance(self.places[place], RtcMembership) for place in self.standing_at.get(m, frozenset()))

    def _guest_reason(self, membership: RtcMembership) -> str:
        if membership.block is not None:
            return "version"
        user, device = membership.user_id, membership.device_id
        # A membership that tells no device may be any of its user's.
        if device is None:
            was_mls = any(user == one for one, _ in self.joined_devices)
        else:
            was_mls = (user, device) in self.joined_devices
        return "was_mls" if was_mls else "no_mls"


def _is_guest(event: RtcEvent) -> TypeGuard[RtcMembership]:
    return isinstance(event, RtcMembership) and (event.block is None or isinstance(event.block, ForeignBlock))


def _guests_of(event: RtcEvent | None) -> dict[Place, RtcMembership]:
    """Those of an event who know no MLS, each at a place of its own."""
    if isinstance(event, RtcRoll):
        return {(one.format, one.user_id, f"{one.key} {one.device_id} {one.slot_id}"): one for one in event.memberships}
    return {_place(event): event} if event is not None and _is_guest(event) else {}


def _continued(roll: RtcRoll, known: RtcEvent | None) -> RtcRoll:
    """The roll, with what the one before it tells: since when each has been in it without a break. The event itself
    does not, and the SDK keeps its `membershipID` when it leaves and comes back."""
    since = {
        (one.device_id, one.slot_id, one.rtc_member_id): one.created_ts
        for one in (known.memberships if isinstance(known, RtcRoll) else ())
        if one.expires_ts is None or one.expires_ts >= roll.stamp.ts
    }
    return replace(
        roll,
        memberships=tuple(
            replace(one, created_ts=since.get((one.device_id, one.slot_id, one.rtc_member_id), one.created_ts))
            for one in roll.memberships
        ),
    )


def _put(mapping: Mapping[K, T], key: K, value: T | None) -> Mapping[K, T]:
    """The mapping with this value for a key, or with none."""
    if value is not None:
        return {**mapping, key: value}
    return {other: kept for other, kept in mapping.items() if other != key} if key in mapping else mapping


def _place(event: RtcMembership | RtcLeave | RtcErased | RtcRoll) -> Place:
    return event.format, event.user_id, event.key


def _order(stamp: Stamp) -> tuple[int, str]:
    return stamp.ts, stamp.event_id
