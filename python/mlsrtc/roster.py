"""Who is in the call, from memberships alone. Pure and immutable: every event gives a new roster, the clock
is an argument.

What it gains from joins and leaves only grows, so it is the same whatever the order of the events
(docs/protocol.md, "Which branch"): *D*, who has left for good, and *now*, the latest `from`. Beside it stands
what only our own roster says: *X*, who is gone by our clock, by the room's members, by revocation, or because
somebody overwrote the membership; *R*, who is here; and the participants that know no MLS. X and R never
enter the head.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from mlsrtc.errors import LocalProtocolError
from mlsrtc.evidence import Joined, Leaf, Left
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.wire.block import ForeignBlock
from mlsrtc.wire.membership import (
    MembershipFormat,
    RtcErased,
    RtcEvent,
    RtcLeave,
    RtcMembership,
    RtcSealed,
    Stamp,
)
from mlsrtc.wire.room import RoomMember

Place = tuple[MembershipFormat, UserId, str]
"""Where a membership stands: a later event at the same place takes an earlier one's."""


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
    or the reason of its trust verdict."""

    user_id: UserId
    device_id: DeviceId | None
    member_id: MemberId | None
    reason: str


@dataclass(frozen=True, slots=True)
class Roster:
    """`joins`: merged, by member_id. `left`: who has said so. `places`: the latest membership event at each
    place. `members`: of the room, by user, as the homeserver tells its present state."""

    joins: Mapping[MemberId, Joined] = field(default_factory=dict)
    left: frozenset[MemberId] = frozenset()
    places: Mapping[Place, RtcEvent] = field(default_factory=dict)
    standing_at: Mapping[MemberId, frozenset[Place]] = field(default_factory=dict)
    joined_devices: frozenset[tuple[UserId, DeviceId]] = frozenset()
    members: Mapping[UserId, RoomMember] = field(default_factory=dict)
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
        return replace(self, joins={**self.joins, m: merged}, joined_devices=self.joined_devices | {device})

    def with_left(self, left: Left) -> "Roster":
        """A leave that was checked (`trust.verify_left`, or inside a valid commit)."""
        return replace(self, left=self.left | {left.member_id})

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
            places = self.standing_at.get(joined, frozenset()) | {place}
            roster = replace(roster, standing_at={**self.standing_at, joined: places})
        known = self.places.get(place)
        if known is not None and _order(known.stamp) >= _order(event.stamp):
            return roster
        return replace(roster, places={**self.places, place: event})

    def with_room_member(self, member: RoomMember) -> "Roster":
        """The present membership of a user in the room. The order of these is the homeserver's: the last one
        told holds, since a forged time must not undo a ban."""
        return replace(self, members={**self.members, member.user_id: member})

    def with_revoked(self, member_ids: Iterable[MemberId], *, listed: Iterable[MemberId] = ()) -> "Roster":
        """Leaves whose Matrix device was logged out or replaced. A new login is a new device key, so this
        stays, unless the homeserver was late and lists the same device again.
        """
        return replace(self, revoked=(self.revoked - frozenset(listed)) | frozenset(member_ids))

    # -- what follows from the events alone --

    def dead(self, leaves: Iterable[Leaf] = ()) -> frozenset[MemberId]:
        """D: who has left, or was replaced by a join of the same user, device and device key. `leaves`: of
        trees, for members whose join was never seen."""
        known = {leaf.member_id: leaf for leaf in leaves}
        known |= {m: joined.leaf for m, joined in self.joins.items()}
        replaced = {
            old
            for joined in self.joins.values()
            for old in joined.replaces
            if old in known and known[old].device_identity == joined.leaf.device_identity
        }
        return self.left | replaced

    def now(self, latest_from: int) -> int:
        """now(E): the greatest `from` of the joins, those after `latest_from` waiting outside (our clock + 5
        minutes).
        """
        return max((j.from_ts for j in self.joins.values() if j.from_ts <= latest_from), default=0)

    def stale(self, latest_from: int) -> frozenset[MemberId]:
        """Whose `until` is before now(E)."""
        now = self.now(latest_from)
        return frozenset(m for m, joined in self.joins.items() if joined.until_ts < now)

    # -- what our own roster says --

    def gone(self, now_ms: int, skew_ms: int = 0) -> dict[MemberId, str]:
        """X, and why: kicked, banned, left_room, expired, revoked or erased. `now_ms`: our wall clock;
        `skew_ms`: events from further in the future than that erase nothing yet."""
        reasons: dict[MemberId, str] = {}
        erased = self._erased(now_ms + skew_ms)
        for m, joined in self.joins.items():
            reason = self.expelled(joined.leaf.user_id)
            if reason is None and joined.until_ts < now_ms:
                reason = "expired"
            if reason is None and m in erased:
                reason = "erased"
            if reason is not None:
                reasons[m] = reason
        return reasons | dict.fromkeys(self.revoked & self.joins.keys(), "revoked")

    def expelled(self, user_id: UserId) -> str | None:
        """Why a user is in the room no more: banned, kicked or left_room; None if it is there."""
        member = self.members.get(user_id)
        if member is None or member.present:
            return None  # Who was never told of has sent into the room, so it is there as far as we know.
        if member.membership == "ban":
            return "banned"
        return "left_room" if member.by == user_id else "kicked"

    def present(self, now_ms: int, skew_ms: int = 0) -> dict[MemberId, Joined]:
        """R: joined, neither in D nor in X, and not from further in the future than `skew_ms`."""
        away = self.dead() | self.gone(now_ms, skew_ms).keys()
        return {m: joined for m, joined in self.joins.items() if m not in away and joined.from_ts <= now_ms + skew_ms}

    def guests(self, now_ms: int, skew_ms: int = 0) -> dict[Place, Guest]:
        """Participants without MLS, or with another version of it, whose membership stands and who are in the
        room.
        """
        return {
            place: Guest(event, self._guest_reason(event))
            for place, event in self.places.items()
            if isinstance(event, RtcMembership)
            and (event.block is None or isinstance(event.block, ForeignBlock))
            and (event.expires_ts is None or event.expires_ts >= now_ms)
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
    ) -> dict[MemberId | Place, NotAddable]:
        """Who is here and cannot be added. `suite`: the root's. `refused`: by trust, and why. `spoilt`: whose
        KeyPackage does not hold. Joins that expired are told as expired_key while their membership event
        still stands.
        """
        found: dict[MemberId | Place, NotAddable] = {}
        doubtful = {
            m: joined
            for m, joined in self.joins.items()
            if joined.suite != suite or m in refused or m in spoilt or joined.until_ts < now_ms
        }
        gone = self.gone(now_ms, skew_ms) if doubtful else {}
        dead = self.dead() if doubtful else frozenset()
        for m, joined in doubtful.items():
            if m in dead or gone.get(m, "expired") != "expired":
                continue
            if gone.get(m) == "expired":
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

    def _erased(self, latest: int) -> frozenset[MemberId]:
        """Those of whose memberships every place was overwritten by somebody else since."""
        erased = {
            place for place, event in self.places.items() if isinstance(event, RtcErased) and event.stamp.ts <= latest
        }
        if not erased:  # as nearly always, and this is asked at every step
            return frozenset()
        return frozenset(m for m, places in self.standing_at.items() if places and places <= erased)

    def _stands(self, m: MemberId) -> bool:
        return any(isinstance(self.places[place], RtcMembership) for place in self.standing_at.get(m, frozenset()))

    def _guest_reason(self, membership: RtcMembership) -> str:
        if membership.block is not None:
            return "version"
        devices = {device for user, device in self.joined_devices if user == membership.user_id}
        # A membership that tells no device may be any of its user's.
        was_mls = bool(devices) if membership.device_id is None else membership.device_id in devices
        return "was_mls" if was_mls else "no_mls"


def _place(event: RtcMembership | RtcLeave | RtcErased) -> Place:
    format = MembershipFormat.STATE if isinstance(event, RtcErased) else event.format
    return format, event.user_id, event.key


def _order(stamp: Stamp) -> tuple[int, str]:
    return stamp.ts, stamp.event_id
