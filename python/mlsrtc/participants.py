"""Everybody in the call as the application sees them: who came and went, and who gets no keys and why.

Knows the desk and what is known of the call. A change is told once.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from mlsrtc.desk import Desk
from mlsrtc.handing import Handing
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, UserId
from mlsrtc.keyshare.audience import Guest
from mlsrtc.knowledge import Knowledge, View
from mlsrtc.notices import MembersChanged, NotAddable, OwnMasterKeyChanged
from mlsrtc.wire.incoming import Now
from mlsrtc.wire.membership import RtcMembership


@dataclass(frozen=True, slots=True)
class CallMember:
    """Somebody in the call. `keyed`: it has a leaf in the epoch we stand on. `reason`: why it gets no keys, or None.
    `flagged`: `Trust.ANY_DEVICE` lets it in, and a stricter policy would not. `mls`: False for a participant without
    it, which is `keyed` if we have its key; `member_id` is the id of its membership then."""

    member_id: MemberId
    user_id: UserId
    device_id: DeviceId
    keyed: bool
    reason: str | None = None
    flagged: bool = False
    mls: bool = True


@dataclass(slots=True)
class Told:
    """What the application was told of the others, however the call is keyed."""

    _present: frozenset[MemberId] = frozenset()
    _refused: Mapping[tuple[UserId, DeviceId | None], str] = field(default_factory=dict)
    _strange_master: bytes | None = None

    def members(self, desk: Desk, present: frozenset[MemberId]) -> None:
        """Who is in the call."""
        if present != self._present:
            joined, left = tuple(sorted(present - self._present)), tuple(sorted(self._present - present))
            desk.tell(MembersChanged(joined, left))
            self._present = present

    def refused(self, desk: Desk, refused: Mapping[tuple[UserId, DeviceId | None], str]) -> None:
        """Who gets no keys, and why."""
        for device, reason in refused.items():
            if self._refused.get(device) != reason:
                desk.tell(NotAddable(*device, reason))
        self._refused = refused

    def strange_master(self, desk: Desk, key: bytes | None) -> None:
        """The master key that keys/query names for our own user, if another one is pinned."""
        if key is not None and key != self._strange_master:
            desk.tell(OwnMasterKeyChanged(key))
        self._strange_master = key


@dataclass(slots=True)
class Participants:
    """What the application is told of the others in a call with MLS."""

    _told: Told = field(default_factory=Told)
    _of: tuple[View, int, bool] | None = None  # what members and refusals follow from

    def settle(self, desk: Desk, known: Knowledge, guests: Collection[Guest], *, complete: bool) -> None:
        """Tell what has changed. `guests`: participants without MLS, in a call that may be mixed. `complete`: nothing
        of the room is left to read; before that nobody knows who gets no keys."""
        view, before = known.look(desk.now), self._of
        self._of = view, known.suite(desk.now), complete
        if self._of != before or view.roster.guests_at:  # Time alone shows guests, or ends what they are.
            self._told.members(desk, view.members | ids(guests))
            if complete:
                served = {(guest.user_id, guest.device_id) for guest in guests}
                others = {device: why for device, why in known.not_addable(desk.now).items() if device not in served}
                self._told.refused(desk, others | refusals(guests))
        self._told.strange_master(desk, known.keyring.strange_master)


def ids(guests: Iterable[Guest]) -> frozenset[MemberId]:
    """By which the memberships of those without MLS name them."""
    return frozenset(member for guest in guests for member in guest.member_ids)


def refusals(guests: Iterable[Guest]) -> dict[tuple[UserId, DeviceId | None], str]:
    """Those without MLS who get no key, and why, as far as keys/query has answered."""
    return {
        (guest.user_id, guest.device_id): guest.reason
        for guest in guests
        if guest.reason is not None and guest.reason != "unasked"
    }


def nobodys(memberships: Iterable[RtcMembership]) -> dict[tuple[UserId, DeviceId | None], str]:
    """Users with a membership that does not tell whose device it is: nobody knows where to send a key."""
    return {(one.user_id, None): "no_device" for one in memberships if one.device_id is None}


def members(known: Knowledge, now: Now, stand: EpochId | None) -> Mapping[MemberId, CallMember]:
    """Everybody in the call. `stand`: the epoch we stand on."""
    keyed = frozenset() if stand is None else known.archive.judged[stand].committed.members
    view = known.look(now)
    flagged = known.flagged(view.present)
    return {
        member: CallMember(
            member,
            joined.leaf.user_id,
            joined.leaf.device_id,
            keyed=member in keyed,
            reason=view.refused.get(member),
            flagged=member in flagged,
        )
        for member, joined in view.present.items()
    }


def guests(handing: Handing, guests: Collection[Guest]) -> list[CallMember]:
    """Those without MLS."""
    return [
        CallMember(
            member,
            guest.user_id,
            guest.device_id,
            keyed=handing.hears(guest.device, member),
            reason=guest.reason,
            flagged=guest.flagged,
            mls=False,
        )
        for guest in guests
        for member in sorted(guest.member_ids)
    ]


def listed(
    without_mls: Iterable[CallMember], members: Mapping[MemberId, CallMember] = MappingProxyType({})
) -> Mapping[MemberId, CallMember]:
    """Everybody by member id, `members` with MLS among them.

    Without MLS anybody may write any id, another's too, and is to take nobody's place by it: where several devices
    have one, it is that of the device whose own name it is, else of the first, and the others stand under it with their
    device's name behind.
    """
    found = dict(members)
    for one in sorted(without_mls, key=lambda one: one.member_id != f"{one.user_id}:{one.device_id}"):
        taken = one.member_id in found
        found[MemberId(f"{one.member_id} {one.user_id}:{one.device_id}") if taken else one.member_id] = one
    return found
