"""What a session does however the call is keyed: the verbs, the phases, the checkpoint, questions about device keys.

Level-triggered: `receive` takes in what is evidence, `tick` asks again what follows from all of it. So the order of
events changes nothing, and a restart replays evidence and not decisions. The clock is an argument; nothing leaves
before the checkpoint that holds it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from mlsrtc import saved
from mlsrtc.desk import Desk
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.inquiry import Inquiry
from mlsrtc.notices import KeyNotice, Left, Notice, RequestRefused
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    Outcome,
    QueryKeys,
    RateLimited,
    Refused,
    Request,
    RestartLeave,
)
from mlsrtc.participants import CallMember
from mlsrtc.policy import Encryption, Policy
from mlsrtc.recovery import Bucket
from mlsrtc.trust import Pins
from mlsrtc.upkeep import Device, Phase, Upkeep, is_leave
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import (
    DeviceKeys,
    GapOpened,
    HistoryComplete,
    Incoming,
    Now,
)
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, Transport

T = TypeVar("T")


class PinBoard(Protocol):
    """The master keys that we hold users to, and what keys/query has said of our own."""

    pins: Pins

    def accept(self, user: UserId, key: bytes, *, verified: bool) -> None:
        """The application says that this is the user's master key. Raises LocalProtocolError."""

    def share(self, pins: Pins) -> None:
        """The pins as all calls of our user have them, or as the store has them."""

    def knows_keys_of(self, user: UserId) -> bool:
        """Whether keys/query has answered for this user."""


class BaseSession(ABC):
    """One call of one device. The verbs are those of docs/design.md section 3; all of them are cheap to call again.

    intent: "audio" or "video", shown to the others. membership: which event our membership is written as.
    records: what a store kept of this call; the session goes on with it. budget: one for all calls of the device, which
    keys that are handed out are sent within. Raises StoreError if the records cannot be read, and LocalProtocolError if
    another version of the schema wrote them, or if room, slot or intent would be refused by others.
    """

    encryption: Encryption

    def __init__(
        self,
        device: Device,
        room_id: RoomId,
        slot_id: SlotId,
        *,
        now: Now,
        policy: Policy | None = None,
        intent: str = "audio",
        membership: MembershipFormat = MembershipFormat.STATE,
        records: saved.Records | None = None,
        budget: Bucket | None = None,
    ) -> None:
        self.room_id = _given("room_id", room_id, Field.room_id)
        self.slot_id = _given("slot_id", slot_id, Field.slot_id)
        self.policy = policy or Policy()
        self._budget = budget or Bucket()
        self._desk = Desk(now)
        self._phase = Phase.LOBBY
        self._complete = False  # the room's past was read, and no gap is open
        self._stirred = True
        self._told: list[Notice] = []
        self._build(device, _given("intent", intent, Field.text), membership)
        self._pins = self._board.pins  # as the store has them
        if records:
            self._pins = saved.load_pins(records)
            self._board.share(self._pins)
            self._phase = self._restore(records)

    # -- what a way of keying brings -----------------------------------------------------------------------------------

    @abstractmethod
    def _build(self, device: Device, intent: str, form: MembershipFormat) -> None:
        """Make the stages."""

    @property
    @abstractmethod
    def _upkeep(self) -> Upkeep[Any]:
        """Our own membership."""

    @property
    @abstractmethod
    def _board(self) -> PinBoard:
        """Whom we trust."""

    @property
    @abstractmethod
    def _inquiry(self) -> Inquiry:
        """Our questions about device keys."""

    @abstractmethod
    def _restore(self, records: saved.Records) -> Phase:
        """Go on with what a store kept. Raises StoreError."""

    @abstractmethod
    def _changes(self) -> Mapping[str, bytes | None]:
        """What a checkpoint has to write, by key."""

    def _saved(self) -> None:  # noqa: B027
        """It was written."""

    @abstractmethod
    def _check_power(self) -> None:
        """Raises CannotSend if the room's power levels do not let us take part."""

    @abstractmethod
    def _enter(self) -> None:
        """Our membership is to be written: the first of it, or another."""

    @abstractmethod
    def _stop_keys(self) -> None:
        """Forget every media key: we are in the call no more."""

    def _forget(self) -> None:  # noqa: B027
        """The call is over: drop what only a call that goes on needs."""

    @abstractmethod
    def _take_in(self, incoming: Incoming, now: Now) -> None:
        """Take in what came. Raises RemoteProtocolError; nothing is changed then."""

    @abstractmethod
    def _know_keys(self, keys: DeviceKeys, now: Now, *, own: bool) -> None:
        """Take in what keys/query says of one user. Raises RemoteProtocolError; nothing is changed then."""

    @abstractmethod
    def _settle(self, now: Now) -> None:
        """Do what follows from all that is known, and what is due, while the call goes on."""

    def _timers(self) -> Sequence[float | None]:
        """When the stages have something to do, beside the desk's timers and the outbox."""
        return ()

    def _answered(self, request: Request, outcome: Outcome) -> bool:
        """An outcome that only this way of keying knows what to do with. False if it is for the rest."""
        return False

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
            self._check_power()
        self._upkeep.withdraw_leave(self._desk)
        self._phase = Phase.ENTERING
        self._desk.touch()
        self._stir(now)

    def leave(self, now: Now) -> None:
        """Leave the call: withdraw our membership. `Left` is told when the homeserver has it."""
        self._stir(now)
        if self._phase in (Phase.LOBBY, Phase.ENTERING):
            self._end("left")
        elif self._phase is Phase.INSIDE:
            self._phase = Phase.LEAVING
            self._upkeep.leave(self._desk)
            self._stop_keys()

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
            case HistoryComplete():
                self._complete = True
            case GapOpened():
                self._complete = False
            case DeviceKeys():
                self._device_keys(incoming, now)
            case _:
                self._take_in(incoming, now)
        self._stir(now)

    def tick(self, now: Now) -> None:
        """Do what follows from all that is known, and what is due."""
        self._desk.now, self._stirred = now, False
        self._desk.timers.clear()
        if self._phase is not Phase.OVER:
            self._settle(now)

    def next_timer(self) -> float | None:
        """When `tick` has something to do, in seconds of the monotonic clock."""
        if self._stirred:
            return self._desk.now.monotonic
        timers = (*self._desk.timers, *self._timers(), self._desk.outbox.next_timer())
        return min((timer for timer in timers if timer is not None), default=None)

    # -- verbs: out ----------------------------------------------------------------------------------------------------

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        """Hand everything that changed to `save`; requests and notices are released only if it returns.

        `save` takes records by key, None for one to delete, and must write them all or none.
        """
        desk = self._desk
        if changes := self._changes():
            save(changes)
        desk.records.clear()
        desk.touched = False
        self._saved()
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
        desk = self._desk
        request = desk.outbox.get(request_id)
        if isinstance(request, RestartLeave) and isinstance(outcome, Accepted):
            # Every few seconds, for as long as the call lasts: nothing follows from it.
            desk.forget(request_id)
            return
        self._stir(now)
        if request is None or self._answered(request, outcome):
            return
        if isinstance(request, QueryKeys):
            desk.forget(request_id)
            knows_own = self._board.knows_keys_of(self.user_id)
            self._inquiry.outcome(request_id, outcome, now.monotonic, knows_own=knows_own)
            if isinstance(outcome, Refused):
                self._keys_refused(request, outcome)
            return
        match outcome:
            case Accepted():
                desk.forget(request_id)
                self._upkeep.accepted(desk, request, outcome)
                if self._phase is Phase.LEAVING and is_leave(request):
                    self._end("left")
            case RateLimited(retry_after_ms):
                self._postponed(request, now.monotonic + retry_after_ms / 1000)
            case Refused():
                desk.forget(request_id)
                self._refused(request, outcome)

    def notices(self) -> Sequence[Notice]:
        """What is to be told to the application, oldest first; each is given once."""
        told, self._told = self._told, []
        return told

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def user_id(self) -> UserId:
        """Our Matrix user."""
        return self._upkeep.user_id

    @property
    def device_id(self) -> DeviceId:
        """Our Matrix device."""
        return self._upkeep.device_id

    @property
    def pins(self) -> Pins:
        """The master keys that users are held to."""
        return self._board.pins

    @property
    def phase(self) -> Phase:
        """How far our own part in the call is."""
        return self._phase

    @property
    def ready(self) -> bool:
        """Whether enough is known to enter: the room's past was read and our own cross-signing keys are here."""
        return self._complete and self._board.knows_keys_of(self.user_id)

    @property
    def entered(self) -> bool:
        """Whether the homeserver has taken our membership."""
        return self._phase is Phase.INSIDE and self._upkeep.taken

    @property
    @abstractmethod
    def member_id(self) -> MemberId | None:
        """Our present participation."""

    @property
    def epoch_id(self) -> EpochId | None:
        """The epoch we stand on; None before the first, and where there are none."""
        return None

    @property
    def safety_code(self) -> str | None:
        """30 digits that are equal for everybody on our epoch; None before the first, and where there are none."""
        return None

    @property
    @abstractmethod
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call: device, whether it has our keys, and why it gets none."""

    @property
    @abstractmethod
    def memberships(self) -> Sequence[RtcMembership]:
        """Every membership of this call that stands, with MLS and without, oldest first: where media is published."""

    @abstractmethod
    def key_notices(self) -> Sequence[KeyNotice]:
        """The notices that tell the media keys of this moment: for a key ring that begins in the midst of the call."""

    def announce(self, transports: Sequence[Transport], now: Now) -> None:
        """Say in our membership where we publish media; nothing if it says so already.

        In the membership of the next participations too, until something else is announced.
        """
        self._upkeep.announce(tuple(transports), now.monotonic)
        self._stir(now)

    @abstractmethod
    def mark_heard(self, member_id: MemberId, now: Now, *, heard: bool) -> None:
        """A media adapter says whether a member's frames open with the keys that were told."""

    def accept_master_key(self, user_id: UserId, key: bytes, now: Now, *, verified: bool = False) -> None:
        """The application says that `key` (Ed25519, 32 bytes) is the user's master key, whatever was pinned before.

        Raises LocalProtocolError if it is none, or `user_id` is no user; nothing is changed then.
        """
        self._board.accept(user_id, key, verified=verified)
        self._desk.touch()
        self._stir(now)

    def share_pins(self, records: saved.Records, now: Now) -> None:
        """Another call of our user has saved these records of pinned master keys (`saved.PIN`): they hold here as well.

        What is not saved here yet goes first. Raises StoreError if a record cannot be read.
        """
        stored = {**dict(saved.changed_pins(Pins(), self._pins)), **records}
        unsaved = dict(saved.changed_pins(self._pins, self._board.pins))
        pins = saved.load_pins({**stored, **unsaved})
        self._pins = saved.load_pins(stored)
        self._board.share(pins)
        self._stir(now)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _stir(self, now: Now) -> None:
        """Something changed: the next `tick` asks everything again."""
        self._desk.now, self._stirred = now, True

    def _keep_pins(self) -> None:
        """Pinned master keys that are new are written at the next checkpoint."""
        if self._board.pins is not self._pins:
            self._desk.records.update(saved.changed_pins(self._pins, self._board.pins))
            self._pins = self._board.pins

    def _end(self, reason: str, detail: str = "") -> None:
        desk = self._desk
        self._stop_keys()
        self._phase = Phase.OVER
        self._forget()
        for request in desk.outbox.waiting():
            if not isinstance(request, CancelLeave):
                desk.withdraw(request.id)
        desk.tell(Left(reason, detail))

    def _postponed(self, request: Request, until: float) -> None:
        self._desk.outbox.postpone(request.id, until)

    def _device_keys(self, keys: DeviceKeys, now: Now) -> None:
        own = keys.user_id == self.user_id
        try:
            self._know_keys(keys, now, own=own)
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
        """Without our own chain nobody would let us in: better an end than to wait for ever."""
        entering = self._phase in (Phase.LOBBY, Phase.ENTERING)
        return entering and not self._board.knows_keys_of(self.user_id)

    def _keys_refused(self, request: QueryKeys, outcome: Refused) -> None:
        if self._waits_for_keys:
            self._end("keys_refused", f"{outcome.status} {outcome.errcode}")
        else:
            self._desk.tell(RequestRefused(request.id, outcome.status, outcome.errcode))

    def _refused(self, request: Request, outcome: Refused) -> None:
        if self._phase is Phase.LEAVING and is_leave(request):
            self._end("left")
        elif self._phase is Phase.INSIDE and self._upkeep.turned_away(request):
            self._end("join_refused", f"{outcome.status} {outcome.errcode}")
        elif not self._upkeep.refused(self._desk, request):
            self._desk.tell(RequestRefused(request.id, outcome.status, outcome.errcode))


def _given(name: str, value: object, read: Callable[[Field], T]) -> T:
    """What the caller gave, read as strictly as what others send."""
    try:
        return read(Field(value, name))
    except RemoteProtocolError as error:
        raise LocalProtocolError(str(error)) from None
