"""What a call without MLS does however it is keyed: our membership as every client writes it, and who else has one.

Nothing of a call is kept but its requests: after a restart the device enters anew. How it is keyed its subclasses know.
"""

import math
from abc import abstractmethod
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from mlsrtc import saved
from mlsrtc.base_session import BaseSession
from mlsrtc.handing import Ourselves
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.inquiry import Inquiry
from mlsrtc.keyshare.audience import Audience
from mlsrtc.keyshare.entry import OwnEntry
from mlsrtc.keyshare.room import PlainRoom
from mlsrtc.mls import random_bytes
from mlsrtc.participants import Told
from mlsrtc.presence import PlainPresence, shown_member_id
from mlsrtc.room_state import RoomState
from mlsrtc.upkeep import REFRESH_PAUSE, Device, Phase, Upkeep
from mlsrtc.wire.encoding import encode_base64url
from mlsrtc.wire.incoming import Now, RoomEvent
from mlsrtc.wire.membership import MembershipFormat, RtcEvent, RtcMembership, RtcRoll, Transport


class PlainSession(BaseSession):
    """As `Session`, with the same arguments, verbs and notices: there are no epochs and no safety code.

    slot_types: what the slot of the room may say of how the call is keyed.
    """

    slot_types: Container[str]

    def _build(self, device: Device, intent: str, form: MembershipFormat) -> None:
        self._own: Upkeep[PlainPresence] = Upkeep(device, self.policy, intent, form)
        self._audience = Audience(self.policy, (UserId(device.user_id), DeviceId(device.device_id), device.device_key))
        self._questions = Inquiry(UserId(device.user_id))
        self._room = PlainRoom(RoomState(self.slot_id))
        self._told_of = Told()
        self._back_at = -math.inf  # our membership is not written anew before
        self._entry = OwnEntry(UserId(device.user_id), DeviceId(device.device_id), self.slot_id)

    # -- what a way of keying brings -----------------------------------------------------------------------------------

    @abstractmethod
    def _look(self, memberships: Sequence[RtcMembership]) -> None:
        """See who is here."""

    @abstractmethod
    def _settle_keys(self) -> None:
        """Bring the keys to who is here, and to how far our own part in the call is."""

    @abstractmethod
    def _begin_keys(self) -> None:
        """Our membership is about to be written."""

    def _renew_keys(self) -> None:
        """Our membership was gone and comes back."""

    @property
    def _last_index(self) -> KeyIndex:
        """That of the newest key that this device made in this call, in any process."""
        return KeyIndex(0)

    def _restore_index(self, index: KeyIndex) -> None:
        """As `_last_index` was in an earlier process."""

    # -- our membership ------------------------------------------------------------------------------------------------

    def _draw(self) -> Ourselves:
        """Who we are in the next participation: each has a name of its own (MSC4143: `member.id` is new for each)."""
        own = self._own
        self._rtc_member_id = encode_base64url(random_bytes(32).expose())
        shown = shown_member_id(own.format, own.user_id, own.device_id, self._rtc_member_id)
        return Ourselves(self.room_id, self.slot_id, own.user_id, own.device_id, MemberId(shown))

    @property
    def _upkeep(self) -> Upkeep[PlainPresence]:
        return self._own

    @property
    def _board(self) -> Audience:
        return self._audience

    @property
    def _inquiry(self) -> Inquiry:
        return self._questions

    def _check_power(self) -> None:
        self._own.check_membership_power(self._room.state)

    def _enter(self) -> None:
        self._phase = Phase.INSIDE
        creation = self._room.state.creation
        presence = PlainPresence(
            slot_id=self.slot_id,
            user_id=self.user_id,
            device_id=self.device_id,
            rtc_member_id=self._rtc_member_id,
            format=self._own.format,
            encrypted=self._room.state.encrypted,
            intent=self._own.intent,
            created_ts=self._desk.now.wall_ms,
            transports=self._own.transports or self._their_transports(),
            owned_state=creation is not None and creation.owned_state,
        )
        self._show(presence)
        self._begin_keys()

    def _come_back(self) -> None:
        """Our membership is gone though we are here: it was erased, or our homeserver took us for dead. The others have
        taken it for a leave, so it is written as another participation."""
        now = self._desk.now.monotonic
        if now < self._back_at:
            self._desk.at(self._back_at)
            return
        self._back_at = now + REFRESH_PAUSE
        presence = self._own.presence
        assert presence is not None
        self._show(replace(presence, created_ts=self._desk.now.wall_ms))
        self._renew_keys()

    def _show(self, presence: PlainPresence) -> None:
        self._own.show(self._desk, presence)
        self._entry.write(self._rtc_member_id, self._event_of_ours())

    def _their_transports(self) -> tuple[Transport, ...]:
        """Where a call of the dart SDK's clients is: all who are in it name the same place, and who names none is not
        seen by them."""
        if self._own.format is not MembershipFormat.FAMEDLY:
            return ()
        theirs = (one.transports for one in self.memberships if one.format is MembershipFormat.FAMEDLY)
        return next(filter(None, theirs), ())

    def _is_away(self) -> bool:
        """Whether our membership stands no more: somebody overwrote it, or it has expired. What our clock says of its
        stamp does not count."""
        event = self._event_of_ours()
        if not self._own.taken or event is None:
            return False
        if isinstance(event, RtcRoll):
            if self._entry.is_lost(event):
                return True
            event = self._entry.standing(event)
            if event is None:
                return False  # What stood there before we joined.
        expired = isinstance(event, RtcMembership) and (event.expires_ts or math.inf) < self._desk.now.wall_ms
        return expired or not isinstance(event, RtcMembership)

    def _event_of_ours(self) -> RtcEvent | None:
        """What stands where our membership is written."""
        presence = self._own.presence
        assert presence is not None
        return self._room.roster.places.get((presence.format, self.user_id, presence.key))

    def _room_event(self, event: RoomEvent) -> None:
        """Take in an event of the room. Raises RemoteProtocolError; nothing is changed then."""
        self._room = self._room.with_event(event)
        self._entry.see(event)

    # -- what is kept --------------------------------------------------------------------------------------------------

    def _restore(self, records: saved.Records) -> Phase:
        meta = saved.load_sharing(records)
        if meta is None:
            return Phase.LOBBY
        with saved.reading(saved.SHARING):
            phase = Phase(meta.phase)
        desk = self._desk
        desk.tag, desk.numbers = meta.tag, meta.numbers
        desk.outbox.restore(saved.load_requests(records))
        if self._own.format is not MembershipFormat.STICKY:
            self._own.delay_id = meta.delay_id
        # A sticky membership of before has another key than the next one will have: its delayed leave is to fire.
        self._restore_index(KeyIndex(meta.last_index))
        if phase is Phase.INSIDE:
            return Phase.ENTERING
        return Phase.LOBBY if phase is Phase.OVER else phase

    def _changes(self) -> Mapping[str, bytes | None]:
        desk = self._desk
        records = dict(desk.records) | dict(saved.drafted(desk.outbox.drafted()))
        if not (records or desk.notices or desk.touched):
            return {}
        meta = saved.SharingMeta(self._phase.value, desk.tag, desk.numbers, self._own.delay_id, self._last_index)
        return records | {saved.SHARING: saved.dump_sharing(meta)}

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation, as its membership names it."""
        presence = self._own.presence
        return None if presence is None else MemberId(presence.shown_member_id)

    @property
    def memberships(self) -> Sequence[RtcMembership]:
        """Every membership of this call that stands, oldest first: where media is published."""
        return self._room.memberships(self.policy, self._desk.now)

    # -- settling ------------------------------------------------------------------------------------------------------

    def _settle(self, now: Now) -> None:
        desk = self._desk
        reason = self._room.state.closed(self.slot_types) or self._room.roster.expelled(self.user_id)
        if reason is not None:
            self._end(reason)
            return
        memberships = self.memberships
        self._look(memberships)
        if self._phase is Phase.ENTERING and self.ready:
            self._check_power()
            self._enter()
        if self._phase is Phase.INSIDE:
            if self._is_away() and self.ready:
                self._come_back()
            self._own.keep_up(desk, ready=self.ready, away=False)
            if self._entry.others_changed(self._event_of_ours()):
                self._own.schedule_anew(desk)
        self._settle_keys()
        expires = min((one.expires_ts for one in memberships if one.expires_ts is not None), default=None)
        if expires is not None:
            desk.at(now.monotonic_at(expires + 1))
        self._keep_pins()
