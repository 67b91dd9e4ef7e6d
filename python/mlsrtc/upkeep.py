"""Our own membership kept up over time: written, renewed, and withdrawn, by us or by the homeserver if we crash.

Knows the desk and how we show in the room; knows neither who else is in the call nor how it is keyed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Generic, Protocol, TypeVar

from mlsrtc.desk import Desk
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.outbox import Accepted, CancelLeave, Request, RestartLeave, ScheduleLeave
from mlsrtc.policy import Policy
from mlsrtc.presence import MEMBER_TYPES, REFRESH_SECONDS, PlainPresence
from mlsrtc.room_state import RoomState
from mlsrtc.wire.membership import MembershipFormat, Transport

REFRESH_PAUSE = 5.0  # seconds at least between two refreshes of a membership that somebody keeps erasing
LEAVE = "leave"  # the kind of the request that withdraws our membership

P = TypeVar("P", bound=PlainPresence)


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
class Upkeep(Generic[P]):
    """Our membership. `presence` is None until we enter. Times are monotonic seconds."""

    device: Device
    policy: Policy
    intent: str
    format: MembershipFormat
    presence: P | None = None
    delay_id: str | None = None
    scheduling: str | None = None  # the request that schedules our delayed leave
    joining: str | None = None  # the newest request that writes our membership
    taken: bool = False  # the homeserver has taken the membership of this participation
    transports: tuple[Transport, ...] = ()  # where we publish media
    _refresh_at: float | None = field(default=None, init=False)
    _refreshed_at: float = field(default=-math.inf, init=False)
    _restart_at: float | None = field(default=None, init=False)

    @property
    def user_id(self) -> UserId:
        """Our Matrix user."""
        return UserId(self.device.user_id)

    @property
    def device_id(self) -> DeviceId:
        """Our Matrix device."""
        return DeviceId(self.device.device_id)

    def check_membership_power(self, room: RoomState) -> None:
        """Raises CannotSend if the room's power levels do not let us write a membership."""
        state = self.format is not MembershipFormat.STICKY
        room.check_membership_power(self.user_id, MEMBER_TYPES[self.format], state=state)

    def show(self, desk: Desk, presence: P) -> None:
        """Enter with this presence, in place of any that this device had."""
        self.presence, self.taken = presence, False
        if self.joining is not None:
            # One that has not left would be of the same moment: which of two stands is chance then.
            desk.withdraw(self.joining)
        self._cancel_delayed_leave(desk)
        self._schedule_leave(desk)
        self._send_membership(desk)

    def keep_up(self, desk: Desk, *, ready: bool, away: bool) -> None:
        """Do what is due. `away`: the others take us for gone, and a refresh would bring us back."""
        now = desk.now.monotonic
        if away and self._refresh_at is not None:
            # Somebody with the power overwrote it, or our clock was set.
            self._refresh_at = min(self._refresh_at, max(now, self._refreshed_at + REFRESH_PAUSE))
        if ready and self._refresh_at is not None and self._refresh_at <= now:
            self._send_membership(desk)
        if self.delay_id is not None and self._restart_at is not None and self._restart_at <= now:
            desk.draft(RestartLeave(desk.new_id("restart"), self.delay_id))
            self._restart_at = now + self.policy.delayed_leave_restart
        if ready:
            desk.at(self._refresh_at)
        if self.delay_id is not None:
            desk.at(self._restart_at)

    def announce(self, transports: tuple[Transport, ...], now: float) -> None:
        """Say in our membership where we publish media: in the next one, which is due if we are in the call."""
        if transports == self.transports:
            return
        self.transports = transports
        if self.presence is not None:
            self.presence = replace(self.presence, transports=transports)
            self._refresh_at = now

    def schedule_anew(self, desk: Desk) -> None:
        """What a crash of ours is to leave behind is not what it was: another device of our user came or went."""
        self._cancel_delayed_leave(desk)
        self._schedule_leave(desk)

    def leave(self, desk: Desk) -> None:
        """Withdraw the membership."""
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

    def go_on(self, desk: Desk, presence: P, delay_id: str | None) -> None:
        """Go on with a presence out of the store: renew it as soon as the room's past is read."""
        self.presence, self.delay_id = presence, delay_id
        self.scheduling = next((r.id for r in desk.outbox.waiting() if isinstance(r, ScheduleLeave)), None)
        self._restart_at = self._refresh_at = desk.now.monotonic

    def _send_membership(self, desk: Desk) -> None:
        assert self.presence is not None
        self.joining = desk.new_id("join")
        desk.draft(self.presence.join(self.joining, desk.now.wall_ms, self.policy))
        self._refreshed_at = desk.now.monotonic
        self._refresh_at = self._refreshed_at + min(self.policy.membership_refresh, REFRESH_SECONDS[self.format])

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
