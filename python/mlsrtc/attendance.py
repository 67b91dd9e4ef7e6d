"""Our own membership over time: entering, renewing, the leave that the homeserver keeps for us, rejoining, leaving.

Knows the desk and what is known of the call; knows no group. One participation follows another under a fresh member_id;
`n`, the count of its commits and words, is part of it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol

from mlsrtc import saved
from mlsrtc.desk import Desk
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.group import Participation, participate
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, UserId
from mlsrtc.knowledge import Knowledge
from mlsrtc.notices import Rejoining
from mlsrtc.outbox import Accepted, CancelLeave, Request, RestartLeave, ScheduleLeave
from mlsrtc.policy import Policy
from mlsrtc.presence import Presence
from mlsrtc.wire import names
from mlsrtc.wire.membership import MembershipFormat, Transport

REFRESH_PAUSE = 5.0  # seconds at least between two refreshes of a membership that somebody keeps erasing
REJOIN_PAUSE = 0.5  # seconds between rejoins, doubled each time
REJOIN_DOUBLINGS = 6
REJOIN_QUIET = 60.0  # seconds after which a rejoin counts as the first again
LEAVE = "leave"  # the kind of the request that withdraws our membership


class Phase(Enum):
    """How far our own part in the call is."""

    LOBBY = "lobby"  # we watch
    ENTERING = "entering"  # join was asked for; the room's past or our own keys are not here yet
    INSIDE = "inside"  # our membership is on its way, or there
    LEAVING = "leaving"  # our leave is on its way
    OVER = "over"


class Device(Protocol):
    """The Matrix device that takes part: its names, its Ed25519 key (32 bytes) and its signature over ASCII text."""

    @property
    def user_id(self) -> str:
        """The Matrix user."""

    @property
    def device_id(self) -> str:
        """The device of that user."""

    @property
    def device_key(self) -> bytes:
        """Its Ed25519 public key, 32 bytes."""

    @property
    def sign(self) -> Callable[[str], bytes]:
        """From ASCII text to the 64 bytes of its Ed25519 signature by that key."""


@dataclass(slots=True)
class Attendance:
    """Our part in the room. `presence` is None until we enter. Times are monotonic seconds."""

    device: Device
    policy: Policy
    intent: str
    format: MembershipFormat
    presence: Presence | None = None
    n: int = 0  # commits and words of this participation
    joined_at: float | None = None  # when our own join came back
    delay_id: str | None = None
    scheduling: str | None = None  # the request that schedules our delayed leave
    joining: str | None = None  # the newest request that writes our membership
    taken: bool = False  # the homeserver has taken the membership of this participation
    transports: tuple[Transport, ...] = ()  # where we publish media
    _refresh_at: float | None = None
    _refreshed_at: float = -math.inf
    _restart_at: float | None = None
    _rejoins: int = 0
    _rejoin_at: float = field(default=0.0)

    @property
    def user_id(self) -> UserId:
        """Our Matrix user."""
        return UserId(self.device.user_id)

    @property
    def device_id(self) -> DeviceId:
        """Our Matrix device."""
        return DeviceId(self.device.device_id)

    @property
    def device_identity(self) -> DeviceIdentity:
        """Our Matrix device, as `Leaf.device_identity` says it."""
        return self.user_id, self.device_id, self.device.device_key

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation."""
        return None if self.presence is None else self.presence.participation.leaf.member_id

    @property
    def holds_key_package(self) -> bool:
        """Whether we hold the private halves of our KeyPackage."""
        return self.presence is not None and self.presence.participation.key_package is not None

    def forget_key_package(self, desk: Desk) -> None:
        """Delete the private halves of our KeyPackage, here and in the store (RFC 9420 section 16.8)."""
        assert self.presence is not None
        participation = replace(self.presence.participation, key_package=None)
        self.presence = replace(self.presence, participation=participation)
        desk.drop("key_package")

    def check_power(self, known: Knowledge) -> None:
        """Raises CannotSend if the room's power levels do not let us take part."""
        state = self.format is MembershipFormat.STATE
        known.room.check_power(self.user_id, names.STATE_MEMBER if state else names.STICKY_MEMBER, state=state)

    def enter(self, desk: Desk, known: Knowledge) -> None:
        """A fresh participation, in place of any that this device had."""
        participation = participate(
            known.room_id,
            known.slot_id,
            self.user_id,
            self.device_id,
            device_key=self.device.device_key,
            sign=self.device.sign,
            suite=known.suite(desk.now),
        )
        own = participation.leaf.device_identity
        replaces = {member for member, joined in known.roster.joins.items() if joined.leaf.device_identity == own}
        self._show(
            known,
            participation,
            head=known.head(desk.now),
            replaces=frozenset(replaces - known.ordering.departed),
            created_ts=desk.now.wall_ms,
        )
        self.joined_at, self.n, self.taken = None, 0, False
        desk.keep("participation", saved.dump_participation(participation))
        assert participation.key_package is not None
        desk.keep("key_package", participation.key_package.save().expose())
        self._cancel_delayed_leave(desk)
        self._schedule_leave(desk)
        self._send_membership(desk)

    def settle(self, desk: Desk, known: Knowledge, *, ready: bool) -> str | None:
        """Do what is due for our membership. Returns why we must rejoin, if we must."""
        assert self.presence is not None
        now = desk.now.monotonic
        member = self.presence.participation.leaf.member_id
        if member in known.ordering.departed:
            # A delayed leave fired while we lived, or our homeserver sent it: rule section 1.
            return "left_seen"
        join = known.roster.joins.get(member)
        if self.joined_at is None and join is not None:
            self.joined_at = now
        if join is not None and known.is_early(join, desk.now):
            # Our clock was wrong when we joined: nobody counts us in before that moment comes.
            return "clock"
        if known.is_away(member, desk.now) and self._refresh_at is not None:
            # Somebody with the power overwrote it, or our clock was set: the others take us for gone.
            self._refresh_at = min(self._refresh_at, max(now, self._refreshed_at + REFRESH_PAUSE))
        if ready and self._refresh_at is not None and self._refresh_at <= now:
            chain = known.keyring.chain_of(self.user_id, self.device_id)
            self.presence = replace(self.presence, chain=chain or self.presence.chain)
            self._send_membership(desk)
        if self.delay_id is not None and self._restart_at is not None and self._restart_at <= now:
            desk.draft(RestartLeave(desk.new_id("restart"), self.delay_id))
            self._restart_at = now + self.policy.delayed_leave_restart
        if ready:
            desk.at(self._refresh_at)
        if self.delay_id is not None:
            desk.at(self._restart_at)
        return None

    def announce(self, transports: tuple[Transport, ...], now: float) -> None:
        """Say in our membership where we publish media: in the next one, which is due if we are in the call."""
        if transports == self.transports:
            return
        self.transports = transports
        if self.presence is not None:
            self.presence = replace(self.presence, transports=transports)
            self._refresh_at = now

    def rejoin(self, desk: Desk, known: Knowledge, reason: str) -> bool:
        """Enter again under a fresh member_id, at growing distances if once is not enough. False: not yet."""
        now = desk.now.monotonic
        if not known.keyring.knows_keys_of(self.user_id):
            return False  # Without our chain nobody would add us; the answer of keys/query brings us here again.
        if now < self._rejoin_at:
            desk.at(self._rejoin_at)
            return False
        quiet = now > self._rejoin_at + REJOIN_QUIET
        self._rejoins = 1 if quiet else self._rejoins + 1
        self._rejoin_at = now + REJOIN_PAUSE * 2 ** min(self._rejoins, REJOIN_DOUBLINGS)
        desk.tell(Rejoining(reason))
        self.enter(desk, known)
        return True

    def leave(self, desk: Desk) -> None:
        """Withdraw the membership with a signed leave."""
        assert self.presence is not None
        desk.draft(self.presence.leave(desk.new_id(LEAVE)))
        self._cancel_delayed_leave(desk)

    def withdraw_leave(self, desk: Desk) -> None:
        """A leave that has not left: sent late, it would overwrite the membership that is about to be written."""
        for request in desk.outbox.waiting():
            if is_leave(request):
                desk.withdraw(request.id)

    def accepted(self, desk: Desk, request: Request, accepted: Accepted) -> None:
        """The homeserver took one of our requests."""
        self.taken = self.taken or request.id == self.joining
        if not isinstance(request, ScheduleLeave):
            return
        if request.id != self.scheduling:
            # It withdraws a membership that we have ended ourselves since.
            if accepted.delay_id is not None:
                desk.draft(CancelLeave(desk.new_id("cancel"), accepted.delay_id))
            return
        self.scheduling, self.delay_id = None, accepted.delay_id
        if self.delay_id is not None:
            self._restart_at = desk.now.monotonic + self.policy.delayed_leave_restart
        desk.touch()

    def turned_away(self, request: Request) -> bool:
        """Whether a refused request was to write a membership that the homeserver has never taken."""
        return request.id == self.joining and not self.taken

    def refused(self, desk: Desk, request: Request) -> bool:
        """The homeserver refused one of our requests. True if that is no news for the application."""
        match request:
            case ScheduleLeave():
                self.scheduling = None  # No MSC4140 here: a crash is only seen at the membership's expiry.
            case RestartLeave() | CancelLeave():
                if self.delay_id == request.delay_id:
                    # It fired, or somebody's overwriting cancelled it; our own leave shows which.
                    self.delay_id = self._restart_at = None
                    self._schedule_leave(desk)
            case _:
                return False
        return True

    def resume(self, desk: Desk, known: Knowledge, participation: Participation, meta: saved.Meta) -> None:
        """Go on with a participation out of the store: renew it as soon as the room's past is read."""
        self._show(known, participation, head=meta.head, replaces=meta.replaces, created_ts=meta.created_ts)
        self.n, self.delay_id = meta.n, meta.delay_id
        self.scheduling = next((r.id for r in desk.outbox.waiting() if isinstance(r, ScheduleLeave)), None)
        self._restart_at = self._refresh_at = desk.now.monotonic

    def _show(
        self,
        known: Knowledge,
        participation: Participation,
        *,
        head: EpochId | None,
        replaces: frozenset[MemberId],
        created_ts: int,
    ) -> None:
        self.presence = Presence(
            room_id=known.room_id,
            slot_id=known.slot_id,
            participation=participation,
            sign=self.device.sign,
            format=self.format,
            encrypted=known.room.encrypted,
            intent=self.intent,
            chain=known.keyring.chain_of(self.user_id, self.device_id),
            head=head,
            replaces=replaces,
            created_ts=created_ts,
            transports=self.transports,
        )

    def _send_membership(self, desk: Desk) -> None:
        assert self.presence is not None
        self.joining = desk.new_id("join")
        desk.draft(self.presence.join(self.joining, desk.now.wall_ms, self.policy))
        self._refreshed_at = desk.now.monotonic
        self._refresh_at = self._refreshed_at + self.policy.membership_refresh

    def _schedule_leave(self, desk: Desk) -> None:
        if self.scheduling is None and self.presence is not None:
            self.scheduling = desk.new_id("delay")
            desk.draft(self.presence.leave_later(self.scheduling, self.policy))

    def _cancel_delayed_leave(self, desk: Desk) -> None:
        if self.delay_id is not None:
            desk.draft(CancelLeave(desk.new_id("cancel"), self.delay_id))
        if self.scheduling is not None:
            desk.withdraw(self.scheduling)
        self.scheduling = self.delay_id = self._restart_at = None


def is_leave(request: Request) -> bool:
    """Whether a request withdraws our membership."""
    return f".{LEAVE}." in request.id
