"""One call of one device, without I/O: Matrix events in, requests out, media keys told. Only this module wires stages.

Level-triggered: `receive` takes in what is evidence, `tick` asks again what follows from all of it: where is the
head, do we stand there, is it our turn, which keys may be used. So the order of events changes nothing, and a restart
replays evidence and not decisions. The clock is an argument; nothing leaves before the checkpoint that holds it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from mlsrtc import checkpoint, participants, saved
from mlsrtc.attendance import Attendance, Device, Phase, is_leave
from mlsrtc.committing import Committing
from mlsrtc.desk import Desk
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.exchange import Exchange
from mlsrtc.footing import Footing
from mlsrtc.identifiers import DeviceId, EpochId, EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.inquiry import Inquiry
from mlsrtc.keying import Keying
from mlsrtc.knowledge import Knowledge
from mlsrtc.notices import EventRefused, KeyNotice, Left, Notice, RequestRefused
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    Outcome,
    QueryKeys,
    RateLimited,
    Refused,
    Request,
    RestartLeave,
    SendEvent,
)
from mlsrtc.participants import CallMember, Participants
from mlsrtc.policy import Policy
from mlsrtc.trust import Pins
from mlsrtc.wire import names
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    DevicesChanged,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    Incoming,
    Now,
    RoomEvent,
    ToDevice,
    claimed_id,
)
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, Transport

T = TypeVar("T")


class Session:
    """One call of one device. The verbs are those of docs/design.md section 3; all of them are cheap to call again.

    intent: "audio" or "video", shown to the others. sticky: write the membership as a sticky event (MSC4354).
    records: what a store kept of this call; the session goes on with it. Raises StoreError if it cannot be read, and
    LocalProtocolError if another version of the schema wrote it, or if room, slot or intent would be refused by others.
    """

    def __init__(
        self,
        device: Device,
        room_id: RoomId,
        slot_id: SlotId,
        *,
        now: Now,
        policy: Policy | None = None,
        intent: str = "audio",
        sticky: bool = False,
        records: saved.Records | None = None,
    ) -> None:
        self.room_id = _given("room_id", room_id, Field.room_id)
        self.slot_id = _given("slot_id", slot_id, Field.slot_id)
        self.policy = policy or Policy()
        self._desk = Desk(now)
        self._attendance = Attendance(
            device,
            self.policy,
            _given("intent", intent, Field.text),
            MembershipFormat.STICKY if sticky else MembershipFormat.STATE,
        )
        self.known = Knowledge(room_id, slot_id, self.policy, self._attendance.device_identity)
        self._footing = Footing(room_id, slot_id, self.policy)
        self._committing = Committing(self.policy)
        self._exchange = Exchange(self.policy)
        self._inquiry = Inquiry(UserId(device.user_id))
        self._keying = Keying(self.policy)
        self._participants = Participants()
        self._stages = checkpoint.Stages(
            self._desk, self.known, self._attendance, self._footing, self._committing, self._keying
        )
        self._phase = Phase.LOBBY
        self._complete = False  # the room's past was read, and no gap is open
        self._stirred = True
        self._told: list[Notice] = []
        self._pins = self.known.keyring.pins  # as the store has them
        if records:
            self._pins = saved.load_pins(records)
            self.known.keyring.share(self._pins)
            self._phase = checkpoint.restore(records, self._stages)

    # -- verbs: in -----------------------------------------------------------------------------------------------------

    def join(self, now: Now) -> None:
        """Enter the call, as soon as `ready`. Nothing if we are in it, as after a restart; a leave that is still on its
        way is overtaken by a new participation.

        Raises CannotSend if the room's power levels are known and do not let us, LocalProtocolError if the call is
        over.
        """
        if self._phase is Phase.OVER:
            raise LocalProtocolError("cannot join: the call is over for this session")
        if self._phase in (Phase.ENTERING, Phase.INSIDE):
            return
        if self._complete:
            self._attendance.check_power(self.known)
        self._attendance.withdraw_leave(self._desk)
        self._phase = Phase.ENTERING
        self._desk.touch()
        self._stir(now)

    def leave(self, now: Now) -> None:
        """Leave the call: withdraw our membership with a signed leave. `Left` is told when the homeserver has it."""
        self._stir(now)
        if self._phase in (Phase.LOBBY, Phase.ENTERING):
            self._end("left")
        elif self._phase is Phase.INSIDE:
            self._phase = Phase.LEAVING
            self._attendance.leave(self._desk)
            self._keying.stop(self._desk)

    def close(self, reason: str) -> None:
        """The transport is gone for good (logged out, closed): the call is over for us."""
        if self._phase is not Phase.OVER:
            self._end(reason)

    def receive(self, incoming: Incoming, now: Now) -> None:
        """Take in what came; `tick` is due at once and acts on it.

        Raises RemoteProtocolError if it does not hold: nothing is changed then. An answer about our own keys that does
        not hold is told (`KeysUnreadable`) and asked for again instead. When the call is over nothing is taken in.
        """
        if self._phase is Phase.OVER:
            return
        match incoming:
            case RoomEvent():
                self.known.room_event(incoming, now)
            case ToDevice():
                inside = self._phase is Phase.INSIDE
                self._exchange.to_device(self._desk, self.known, self._attendance, incoming, now, inside=inside)
            case HistoryComplete():
                self._complete = True
            case GapOpened():
                self._complete = False
            case HistoryRefused():
                self._exchange.unreadable = True
            case DeviceKeys():
                self._device_keys(incoming, now)
            case DevicesChanged():
                self._inquiry.changed(incoming.user_ids, self.known)
            case Attachment():
                self._exchange.attachment(self.known, incoming, now)
        self._stir(now)

    def tick(self, now: Now) -> None:
        """Do what follows from all that is known, and what is due."""
        self._settle(now)

    def next_timer(self) -> float | None:
        """When `tick` has something to do, in seconds of the monotonic clock."""
        if self._stirred:
            return self._desk.now.monotonic
        own = (self._keying.table.next_timer(), self._footing.epochs.next_timer(), self._desk.outbox.next_timer())
        return min((timer for timer in (*self._desk.timers, *own) if timer is not None), default=None)

    # -- verbs: out ----------------------------------------------------------------------------------------------------

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        """Hand everything that changed to `save`; requests and notices are released only if it returns.

        `save` takes records by key, None for one to delete, and must write them all or none.
        """
        desk = self._desk
        if changes := checkpoint.changes(self._phase, self._stages):
            save(changes)
        desk.records.clear()
        desk.touched = False
        self.known.fresh.clear()
        desk.outbox.release()
        self._told += desk.notices
        desk.notices.clear()

    def outgoing(self) -> Sequence[Request]:
        """The released requests whose moment has come; each is handed out once per try.

        Before the room's past is read, and while a gap is open, nothing leaves that others would see in the room, but
        our own leave.
        """
        into_room = self._complete or self._phase is Phase.LEAVING
        return self._desk.outbox.take(self._desk.now.monotonic, into_room=into_room)

    def mark_sent(self, request_id: str, outcome: Outcome, now: Now) -> None:
        """What became of a request. An unknown id is ignored: the request was withdrawn meanwhile."""
        request = self._desk.outbox.get(request_id)
        if isinstance(request, RestartLeave) and isinstance(outcome, Accepted):
            # Every few seconds, for as long as the call lasts: nothing follows from it.
            self._desk.forget(request_id)
            return
        self._stir(now)
        if request is None:
            return
        if isinstance(request, QueryKeys):
            self._desk.forget(request_id)
            self._inquiry.outcome(request_id, outcome, self.known, now.monotonic)
            if isinstance(outcome, Refused):
                self._keys_refused(request, outcome)
            return
        match outcome:
            case Accepted():
                self._desk.forget(request_id)
                self._attendance.accepted(self._desk, request, outcome)
                if self._phase is Phase.LEAVING and is_leave(request):
                    self._end("left")
            case RateLimited(retry_after_ms):
                until = now.monotonic + retry_after_ms / 1000
                self._desk.outbox.postpone(request_id, until)
                if isinstance(request, SendEvent) and request.type == names.COMMIT:
                    self._committing.limited_until = until
            case Refused():
                self._desk.forget(request_id)
                self._refused(request, outcome)

    def notices(self) -> Sequence[Notice]:
        """What is to be told to the application, oldest first; each is given once."""
        told, self._told = self._told, []
        return told

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def user_id(self) -> UserId:
        """Our Matrix user."""
        return self._attendance.user_id

    @property
    def device_id(self) -> DeviceId:
        """Our Matrix device."""
        return self._attendance.device_id

    @property
    def phase(self) -> Phase:
        """How far our own part in the call is."""
        return self._phase

    @property
    def ready(self) -> bool:
        """Whether enough is known to enter: the room's past was read and our own cross-signing keys are here."""
        return self._complete and self.known.keyring.knows_keys_of(self.user_id)

    @property
    def entered(self) -> bool:
        """Whether the homeserver has taken our membership."""
        return self._phase is Phase.INSIDE and self._attendance.taken

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation."""
        return self._attendance.member_id

    @property
    def epoch_id(self) -> EpochId | None:
        """The epoch we stand on."""
        return self._footing.epochs.stand

    @property
    def safety_code(self) -> str | None:
        """30 digits that are equal for everybody on our epoch, or None before the first."""
        return self._footing.safety_code

    def epoch_authenticator(self) -> bytes | None:
        """RFC 9420 section 8.7 of the epoch we stand on, 32 bytes: equal for everybody who stands on it."""
        group = self._footing.epochs.group
        return None if group is None else group.epoch_authenticator().expose()

    @property
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call: device, whether it has a leaf in our epoch, and why it gets none."""
        return participants.members(self.known, self._desk.now, self.epoch_id)

    @property
    def memberships(self) -> Sequence[RtcMembership]:
        """Every membership of this call that stands, with MLS and without, oldest first: where media is published."""
        return self.known.memberships(self._desk.now)

    def key_notices(self) -> Sequence[KeyNotice]:
        """The notices that tell the media keys of this moment: for a key ring that begins in the midst of the call."""
        return self._keying.standing()

    def announce(self, transports: Sequence[Transport], now: Now) -> None:
        """Say in our membership where we publish media; nothing if it says so already.

        In the membership of the next participations too, until something else is announced.
        """
        self._attendance.announce(tuple(transports), now.monotonic)
        self._stir(now)

    def accept_master_key(self, user_id: UserId, key: bytes, now: Now, *, verified: bool = False) -> None:
        """The application says that `key` (Ed25519, 32 bytes) is the user's master key, whatever was pinned before.

        Raises LocalProtocolError if it is none, or `user_id` is no user; nothing is changed then.
        """
        self.known.keyring.accept(user_id, key, verified=verified)
        self._desk.touch()
        self._stir(now)

    def share_pins(self, records: saved.Records, now: Now) -> None:
        """Another call of our user has saved these records of pinned master keys (`saved.PIN`): they hold here as well.

        What is not saved here yet goes first. Raises StoreError if a record cannot be read.
        """
        stored = {**dict(saved.changed_pins(Pins(), self._pins)), **records}
        unsaved = dict(saved.changed_pins(self._pins, self.known.keyring.pins))
        pins = saved.load_pins({**stored, **unsaved})
        self._pins = saved.load_pins(stored)
        self.known.keyring.share(pins)
        self._stir(now)

    # -- settling ------------------------------------------------------------------------------------------------------

    def _stir(self, now: Now) -> None:
        """Something changed: the next `tick` asks everything again."""
        self._desk.now, self._stirred = now, True

    def _settle(self, now: Now) -> None:
        desk = self._desk
        desk.now, self._stirred = now, False
        desk.timers.clear()
        if self._phase is Phase.OVER:
            return
        self.known.tick(now)
        desk.at(self.known.next_timer(now))
        if (reason := self.known.expelled(self.user_id)) is not None:
            self._end(reason)
            return
        if self._phase is Phase.ENTERING and self.ready:
            self._attendance.check_power(self.known)
            self._enter()
        if self._phase is Phase.INSIDE:
            self._take_part()
        self._inquiry.settle(desk, self.known, self.member_id)
        self._footing.prune(desk, self.known, self._attendance)
        for event_id in self.known.prune(now):
            desk.drop(f"event/{event_id}")
        self._drop_refused_events()
        self._participants.settle(desk, self.known)
        if self._phase is Phase.INSIDE:
            self._keying.settle(desk, self.known, self._footing.epochs, removes=self._footing.removes)
        if self.known.keyring.pins is not self._pins:
            desk.records.update(saved.changed_pins(self._pins, self.known.keyring.pins))
            self._pins = self.known.keyring.pins

    def _take_part(self) -> None:
        """Membership, stand, turn, questions: each is asked with what the one before has made of things."""
        desk, known, attendance = self._desk, self.known, self._attendance
        reason = attendance.settle(desk, known, ready=self.ready)
        if self._complete:
            reason = reason or self._footing.settle(desk, known, attendance, self._exchange)
            closed = self._keying.table.closed
            reason = reason or self._committing.settle(
                desk, known, attendance, self._footing, self._exchange, closed=closed
            )
            unanswered = self._exchange.settle(desk, known, attendance)
            reason = reason or unanswered
        if reason is not None and attendance.rejoin(desk, known, reason):
            self._forget_participation()

    def _enter(self) -> None:
        self._phase = Phase.INSIDE
        self._attendance.enter(self._desk, self.known)
        self._forget_participation()

    def _forget_participation(self) -> None:
        self._footing.forget(self._desk)
        self._committing.forget(self._desk)

    def _end(self, reason: str, detail: str = "") -> None:
        desk = self._desk
        self._keying.stop(desk)
        self._phase = Phase.OVER
        self._forget_participation()
        for request in desk.outbox.waiting():
            if not isinstance(request, CancelLeave):
                desk.withdraw(request.id)
        desk.drop("participation")
        desk.drop("key_package")
        for event_id in self.known.events:
            desk.drop(f"event/{event_id}")
        self.known.fresh.clear()
        desk.tell(Left(reason, detail))

    def _device_keys(self, keys: DeviceKeys, now: Now) -> None:
        own = keys.user_id == self.user_id
        try:
            self.known.device_keys(keys, now, own=own)
        except RemoteProtocolError as error:
            if not own:
                raise
            self._desk.now = now
            if not self._inquiry.unreadable(self._desk, error) and self._waits_for_keys:
                self._end("keys_unreadable", str(error))
        else:
            self._inquiry.answered(UserId(keys.user_id))

    @property
    def _waits_for_keys(self) -> bool:
        """Without our own chain nobody would add us: better an end than to wait for ever."""
        entering = self._phase in (Phase.LOBBY, Phase.ENTERING)
        return entering and not self.known.keyring.knows_keys_of(self.user_id)

    def _keys_refused(self, request: QueryKeys, outcome: Refused) -> None:
        if self._waits_for_keys:
            self._end("keys_refused", f"{outcome.status} {outcome.errcode}")
        else:
            self._desk.tell(RequestRefused(request.id, outcome.status, outcome.errcode))

    def _refused(self, request: Request, outcome: Refused) -> None:
        if isinstance(request, FetchAttachment):
            self._exchange.fetch_failed(request.uri)
        elif self._phase is Phase.LEAVING and is_leave(request):
            self._end("left")
        elif self._phase is Phase.INSIDE and self._attendance.turned_away(request):
            self._end("join_refused", f"{outcome.status} {outcome.errcode}")
        elif not self._attendance.refused(self._desk, request):
            self._desk.tell(RequestRefused(request.id, outcome.status, outcome.errcode))

    def _drop_refused_events(self) -> None:
        for refusal in self.known.take_refusals():
            event, error = refusal.event, refusal.error
            self._desk.drop(f"event/{event.event_id}")
            event_id = EventId(claimed_id(event.event_id))
            self._desk.tell(EventRefused(event_id, UserId(event.sender), error.reason, error.where))


def _given(name: str, value: object, read: Callable[[Field], T]) -> T:
    """What the caller gave, read as strictly as what others send."""
    try:
        return read(Field(value, name))
    except RemoteProtocolError as error:
        raise LocalProtocolError(str(error)) from None


__all__ = ["CallMember", "Device", "Phase", "Session"]
