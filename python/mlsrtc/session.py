"""One call keyed by MLS, without I/O: Matrix events in, requests out, media keys told. Only this module wires stages.

`tick` asks again what follows from all that is known: where is the head, do we stand there, is it our turn, which keys
may be used. What a session does however the call is keyed is `base_session`'s.
"""

from collections.abc import Mapping, Sequence

from mlsrtc import checkpoint, participants, saved
from mlsrtc.attendance import Attendance
from mlsrtc.base_session import BaseSession
from mlsrtc.committing import Committing
from mlsrtc.errors import LocalProtocolError
from mlsrtc.exchange import Exchange
from mlsrtc.footing import Footing
from mlsrtc.handing import Handing, Ourselves
from mlsrtc.identifiers import EpochId, EventId, MemberId, UserId
from mlsrtc.inquiry import MemberInquiry
from mlsrtc.keying import Keying
from mlsrtc.keyring import Keyring
from mlsrtc.keyshare.audience import Audience
from mlsrtc.knowledge import Knowledge
from mlsrtc.mixing import Mixing
from mlsrtc.notices import EventRefused, KeyNotice
from mlsrtc.outbox import FetchAttachment, Handed, Outcome, Refused, Request, SendEvent
from mlsrtc.participants import CallMember, Participants
from mlsrtc.policy import Encryption
from mlsrtc.upkeep import Device, Phase
from mlsrtc.wire import names
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    DevicesChanged,
    HistoryRefused,
    Incoming,
    Now,
    PostedKey,
    RoomEvent,
    ToDevice,
    Unopened,
    claimed_id,
)
from mlsrtc.wire.membership import MembershipFormat, RtcMembership

KEY_EVENTS = names.KEY_TYPES | {names.REQUEST_FAMEDLY, names.DUMMY}
"""To-device events that calls in which keys are handed out read."""


class Session(BaseSession):
    """One call of one device, keyed by MLS. The verbs are those of docs/design.md section 3; all of them are cheap to
    call again.

    intent: "audio" or "video", shown to the others. membership: which event our membership is written as; that of
    Famedly's clients has no place for MLS.
    records: what a store kept of this call; the session goes on with it. budget: one for all calls of the device, which
    keys that are handed out are sent within. Raises StoreError if the records cannot be read, and LocalProtocolError if
    another version of the schema wrote them, or if room, slot or intent would be refused by others.
    """

    encryption = Encryption.MLS

    def _build(self, device: Device, intent: str, form: MembershipFormat) -> None:
        if form is MembershipFormat.FAMEDLY:
            # An entry that another client of our user writes again loses what that client does not know.
            raise LocalProtocolError("a membership of Famedly's form has no place for MLS: encryption is PER_MEMBER")
        self._attendance = Attendance(device, self.policy, intent, form)
        self.known = Knowledge(self.room_id, self.slot_id, self.policy, self._attendance.device_identity)
        self._footing = Footing(self.room_id, self.slot_id, self.policy)
        self._committing = Committing(self.policy)
        self._exchange = Exchange(self.policy)
        self._questions = MemberInquiry(UserId(device.user_id))
        self._keying = Keying(self.policy)
        self._mixing = self._mix()
        self._participants = Participants()
        self._resumed = False  # a process before us was in the call, and we have not looked who else is
        self._stages = checkpoint.Stages(
            self._desk, self.known, self._attendance, self._footing, self._committing, self._keying
        )

    def _mix(self) -> Mixing:
        own = self._attendance.device_identity
        ourselves = Ourselves(self.room_id, self.slot_id, own[0], own[1], MemberId(""))
        return Mixing(self.policy, Audience(self.policy, own), Handing(self.policy, ourselves, self._budget))

    @property
    def _upkeep(self) -> Attendance:
        return self._attendance

    @property
    def _board(self) -> Keyring:
        return self.known.keyring

    @property
    def _inquiry(self) -> MemberInquiry:
        return self._questions

    def _restore(self, records: saved.Records) -> Phase:
        phase = checkpoint.restore(records, self._stages)
        self._resumed = phase is Phase.INSIDE
        return phase

    def _changes(self) -> Mapping[str, bytes | None]:
        return checkpoint.changes(self._phase, self._stages)

    def _saved(self) -> None:
        self.known.fresh.clear()

    def _check_power(self) -> None:
        self._attendance.check_power(self.known)

    # -- what can be asked at any time ---------------------------------------------------------------------------------

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
        """Everybody in the call: device, whether it has a leaf in our epoch, and why it gets none. In a call that may
        be mixed those without MLS too, and whether we hold their key."""
        mixing = self._mixing
        members = participants.members(self.known, self._desk.now, self.epoch_id)
        return participants.listed(participants.guests(mixing.handing, mixing.guests), members)

    @property
    def memberships(self) -> Sequence[RtcMembership]:
        """Every membership of this call that stands, with MLS and without, oldest first: where media is published."""
        return self.known.memberships(self._desk.now)

    def mark_heard(self, member_id: MemberId, now: Now, *, heard: bool) -> None:
        """A media adapter says whether a member's frames open with the keys that were told. Of a participant without
        MLS, the key is taken for missing if they do not for a while; that of a member follows from the epoch."""
        self._mixing.handing.mark_heard(member_id, heard=heard)
        self._stir(now)

    def key_notices(self) -> Sequence[KeyNotice]:
        """The notices that tell the media keys of this moment: for a key ring that begins in the midst of the call."""
        return [*self._mixing.standing(), *self._keying.standing()]

    # -- taking in -----------------------------------------------------------------------------------------------------

    def _take_in(self, incoming: Incoming, now: Now) -> None:
        match incoming:
            case RoomEvent():
                self.known.room_event(incoming, now)
            case ToDevice(type=kind) if kind in KEY_EVENTS:
                self._mixing.to_device(incoming, now)
            case PostedKey():
                self._mixing.posted(incoming, now)
            case Unopened():
                self._mixing.handing.not_opened(incoming)
            case ToDevice():
                inside = self._phase is Phase.INSIDE
                self._exchange.to_device(self._desk, self.known, self._attendance, incoming, now, inside=inside)
            case HistoryRefused():
                self._exchange.unreadable = True
            case DevicesChanged():
                in_call = {joined.leaf.user_id for joined in self.known.roster.seated.values()}
                guests = {guest.user_id for guest in self._mixing.guests}
                self._questions.changed(incoming.user_ids, in_call | guests)
            case Attachment():
                self._exchange.attachment(self.known, incoming, now)
            case _:
                pass

    def _know_keys(self, keys: DeviceKeys, now: Now, *, own: bool) -> None:
        self.known.device_keys(keys, now, own=own)
        self._mixing.device_keys(keys)

    # -- settling ------------------------------------------------------------------------------------------------------

    def _settle(self, now: Now) -> None:
        desk = self._desk
        self.known.tick(now)
        desk.at(self.known.next_timer(now))
        if (reason := self.known.expelled(self.user_id)) is not None:
            self._end(reason)
            return
        if self._phase is Phase.ENTERING and self.ready:
            self._check_power()
            self._enter()
        self._mixing.look(desk, self.known, inside=self._phase is Phase.INSIDE)
        if self._phase is Phase.INSIDE:
            self._take_part()
        self._questions.attend(desk, self._mixing.guests)
        self._questions.look(desk, self.known, self.member_id)
        self._questions.settle(desk)
        self._footing.prune(desk, self.known, self._attendance)
        for event_id in self.known.prune(now):
            desk.drop(f"event/{event_id}")
        self._drop_refused_events()
        self._participants.settle(desk, self.known, self._mixing.guests, complete=self._complete)
        if self._phase is Phase.INSIDE:
            epochs, spoilt = self._footing.epochs, self._mixing.spoilt
            self._keying.settle(desk, self.known, epochs, removes=self._footing.removes, spoilt=spoilt)
            self._hand_over()
        else:
            self._mixing.wait(desk)
        self._keep_pins()

    def _timers(self) -> Sequence[float | None]:
        return self._keying.table.next_timer(), self._footing.epochs.next_timer()

    def _take_part(self) -> None:
        """Membership, stand, turn, questions: each is asked with what the one before has made of things."""
        desk, known, attendance = self._desk, self.known, self._attendance
        reason = attendance.settle(desk, known, ready=self.ready)
        if self._complete:
            reason = reason or self._footing.settle(desk, known, attendance, self._exchange)
            closed = self._keying.table.closed
            reason = reason or self._committing.settle(
                desk, known, attendance, self._footing, self._exchange, mixing=self._mixing, closed=closed
            )
            unanswered = self._exchange.settle(desk, known, attendance)
            reason = reason or unanswered or self._lost_keys()
        if reason is not None and attendance.rejoin(desk, known, reason):
            self._forget_participation()

    def _lost_keys(self) -> str | None:
        """What participants without MLS handed to an earlier process is gone, and nobody hands it twice to one
        participation."""
        if self._resumed and all(guest.reason not in (None, "unasked") for guest in self._mixing.guests):
            self._resumed = False
        served = any(guest.reason is None for guest in self._mixing.guests)
        return "keys_lost" if self._resumed and served else None

    def _enter(self) -> None:
        self._phase = Phase.INSIDE
        self._attendance.enter(self._desk, self.known)
        self._forget_participation()

    def _hand_over(self) -> None:
        presence = self._attendance.presence
        assert presence is not None
        self._mixing.settle(
            self._desk,
            self.known,
            self._keying.table,
            stand=self._footing.epochs.stand,
            me=presence.participation.leaf.member_id,
            shown=MemberId(presence.shown_member_id),
        )

    def _stop_keys(self) -> None:
        self._mixing.stop(self._desk)
        self._keying.stop(self._desk)

    def _answered(self, request: Request, outcome: Outcome) -> bool:
        if isinstance(request, Handed):
            self._mixing.outcome(self._desk, request, outcome)
            return True
        return False

    def _forget_participation(self) -> None:
        self._resumed = False
        self._mixing.renew(self._desk.now)
        self._footing.forget(self._desk)
        self._committing.forget(self._desk)

    def _forget(self) -> None:
        desk = self._desk
        self._forget_participation()
        desk.drop("participation")
        desk.drop("key_package")
        for event_id in self.known.events:
            desk.drop(f"event/{event_id}")
        self.known.fresh.clear()

    def _postponed(self, request: Request, until: float) -> None:
        super()._postponed(request, until)
        if isinstance(request, SendEvent) and request.type == names.COMMIT:
            self._committing.limited_until = until

    def _refused(self, request: Request, outcome: Refused) -> None:
        if isinstance(request, FetchAttachment):
            self._exchange.fetch_failed(request.uri)
        else:
            super()._refused(request, outcome)

    def _drop_refused_events(self) -> None:
        for refusal in self.known.take_refusals():
            event, error = refusal.event, refusal.error
            self._desk.drop(f"event/{event.event_id}")
            event_id = EventId(claimed_id(event.event_id))
            self._desk.tell(EventRefused(event_id, UserId(event.sender), error.reason, error.where))


__all__ = ["CallMember", "Device", "Phase", "Session"]
