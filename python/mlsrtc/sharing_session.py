"""One call keyed by keys that are handed out (`m.per_member`), without I/O. Only this module wires its stages.

The verbs and the notices are those of a call with MLS. Nothing of a call is kept but its requests and the index of our
last key: after a restart the device enters anew, since nobody would hand it the keys again that it had.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlsrtc import participants, saved
from mlsrtc.base_session import BaseSession
from mlsrtc.errors import LocalProtocolError
from mlsrtc.handing import Handing, Ourselves
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.inquiry import Inquiry
from mlsrtc.keyshare.audience import Audience, Guest
from mlsrtc.keyshare.room import PlainRoom
from mlsrtc.mls import random_bytes
from mlsrtc.notices import KeyNotice, MembersChanged, NotAddable, OwnMasterKeyChanged
from mlsrtc.outbox import Handed, Outcome, Request
from mlsrtc.participants import CallMember
from mlsrtc.policy import Encryption, KeyTransport
from mlsrtc.presence import PlainPresence, shown_member_id
from mlsrtc.room_state import RoomState
from mlsrtc.sharing import Sharing
from mlsrtc.upkeep import REFRESH_PAUSE, Device, Phase, Upkeep
from mlsrtc.wire import names
from mlsrtc.wire.encoding import encode_base64url
from mlsrtc.wire.incoming import DeviceKeys, DevicesChanged, Incoming, Now, PostedKey, RoomEvent, ToDevice
from mlsrtc.wire.membership import MembershipFormat, RtcMembership


class SharingSession(BaseSession):
    """One call of one device, keyed by per-participant keys. As `Session`, with the same arguments, verbs and notices:
    there are no epochs and no safety code, and an index belongs to one sender alone.

    A device gets our key, and is listened to, if keys/query answers for it and our trust policy accepts it.
    """

    encryption = Encryption.PER_MEMBER

    def _build(self, device: Device, intent: str, form: MembershipFormat) -> None:
        self._own: Upkeep[PlainPresence] = Upkeep(device, self.policy, intent, form)
        identity = UserId(device.user_id), DeviceId(device.device_id), device.device_key
        self._audience = Audience(self.policy, identity)
        self._questions = Inquiry(UserId(device.user_id))
        self._sharing = Sharing(self.policy, Handing(self.policy, self._draw()))
        self._room = PlainRoom(RoomState(self.slot_id))
        self._guests: list[Guest] = []
        self._known: frozenset[MemberId] = frozenset()  # those whose coming was told
        self._told_refused: dict[tuple[UserId, DeviceId], str] = {}
        self._strange: bytes | None = None
        self._back_at = -math.inf  # our membership is not written anew before

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
        if self._own.format is MembershipFormat.STATE:
            self._own.delay_id = meta.delay_id
        # A sticky membership of before has another key than the next one will have: its delayed leave is to fire.
        self._sharing.rotation.last_index = KeyIndex(meta.last_index)
        if phase is Phase.INSIDE:
            return Phase.ENTERING
        return Phase.LOBBY if phase is Phase.OVER else phase

    def _changes(self) -> Mapping[str, bytes | None]:
        desk = self._desk
        records = dict(desk.records) | dict(saved.drafted(desk.outbox.drafted()))
        if not (records or desk.notices or desk.touched):
            return {}
        meta = saved.SharingMeta(
            self._phase.value, desk.tag, desk.numbers, self._own.delay_id, self._sharing.rotation.last_index
        )
        return records | {saved.SHARING: saved.dump_sharing(meta)}

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation, as its membership names it."""
        presence = self._own.presence
        return None if presence is None else MemberId(presence.shown_member_id)

    @property
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call but ourselves: device, whether we have its key, and why it gets none of ours."""
        return participants.guests(self._sharing.handing, self._guests)

    @property
    def memberships(self) -> Sequence[RtcMembership]:
        """Every membership of this call that stands, oldest first: where media is published."""
        return self._room.memberships(self.policy, self._desk.now)

    def key_notices(self) -> Sequence[KeyNotice]:
        """The notices that tell the media keys of this moment: for a key ring that begins in the midst of the call."""
        return self._sharing.standing()

    # -- taking in -----------------------------------------------------------------------------------------------------

    def _take_in(self, incoming: Incoming, now: Now) -> None:
        match incoming:
            case RoomEvent():
                self._room = self._room.with_event(incoming)
            case ToDevice():
                self._sharing.to_device(incoming, now)
            case PostedKey():
                self._sharing.posted(incoming, now)
            case DevicesChanged():
                self._questions.changed(incoming.user_ids, {guest.user_id for guest in self._guests})
            case _:
                pass

    def _know_keys(self, keys: DeviceKeys, now: Now, *, own: bool) -> None:
        self._audience.device_keys(keys)

    # -- settling ------------------------------------------------------------------------------------------------------

    def _settle(self, now: Now) -> None:
        desk = self._desk
        reason = self._room.state.closed(names.PER_MEMBER_TYPES) or self._room.roster.expelled(self.user_id)
        if reason is not None:
            self._end(reason)
            return
        memberships = self.memberships
        self._guests = self._audience.guests(memberships)
        if self.ready:  # before that the room may be an encrypted one that we do not know yet
            wants_clear = self.policy.key_transport is KeyTransport.ROOM_CLEAR
            self._sharing.handing.clear = wants_clear and not self._room.state.encrypted
        self._tell_guests()
        if self._phase is Phase.ENTERING and self.ready:
            self._check_power()
            self._enter()
        if self._phase is Phase.INSIDE:
            if self._is_away() and self.ready:
                self._come_back()
            self._own.keep_up(desk, ready=self.ready, away=False)
        if self._phase in (Phase.LOBBY, Phase.ENTERING, Phase.INSIDE):
            lobby = self._phase is not Phase.INSIDE and self.ready and self._may_enter()
            self._sharing.settle(desk, self._guests, inside=self._phase is Phase.INSIDE, lobby=lobby)
        self._questions.attend(desk, self._guests)
        self._questions.settle(desk)
        for membership in memberships:
            if membership.expires_ts is not None:
                desk.at(now.monotonic + (membership.expires_ts + 1 - now.wall_ms) / 1000)
        self._keep_pins()

    def _answered(self, request: Request, outcome: Outcome) -> bool:
        if isinstance(request, Handed):
            self._sharing.outcome(self._desk, request, outcome)
            return True
        return False

    def _check_power(self) -> None:
        self._own.check_membership_power(self._room.state)
        transport, state = self.policy.key_transport, self._room.state
        if not state.encrypted and transport is not KeyTransport.ROOM_CLEAR:
            # Element Call hands no keys out there, and sends its media in the clear.
            raise LocalProtocolError("keys are handed out in encrypted rooms only", reason="room_not_encrypted")
        if transport is not KeyTransport.TO_DEVICE:
            state.check_key_power(self.user_id)

    def _enter(self) -> None:
        self._phase = Phase.INSIDE
        presence = PlainPresence(
            slot_id=self.slot_id,
            user_id=self.user_id,
            device_id=self.device_id,
            rtc_member_id=self._rtc_member_id,
            format=self._own.format,
            encrypted=self._room.state.encrypted,
            intent=self._own.intent,
            created_ts=self._desk.now.wall_ms,
            transports=self._own.transports,
        )
        self._own.show(self._desk, presence)
        self._sharing.begin(self._desk.now, self._guests)

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
        self._own.show(self._desk, replace(presence, created_ts=self._desk.now.wall_ms))
        self._sharing.renew(self._desk.now)

    def _may_enter(self) -> bool:
        try:
            self._check_power()
        except LocalProtocolError:
            return False
        return True

    def _stop_keys(self) -> None:
        self._sharing.stop(self._desk, self._draw())

    def _is_away(self) -> bool:
        """Whether our membership stands no more: somebody overwrote it, or it has expired. What our clock says of its
        stamp does not count."""
        presence = self._own.presence
        assert presence is not None
        event = self._room.roster.places.get((presence.format, self.user_id, presence.key))
        if not self._own.taken or event is None:
            return False
        expired = isinstance(event, RtcMembership) and (event.expires_ts or math.inf) < self._desk.now.wall_ms
        return expired or not isinstance(event, RtcMembership)

    def _tell_guests(self) -> None:
        desk = self._desk
        present = frozenset(member for guest in self._guests for member in guest.member_ids)
        if present != self._known:
            joined, left = tuple(sorted(present - self._known)), tuple(sorted(self._known - present))
            desk.tell(MembersChanged(joined, left))
            self._known = present
        refused = {
            (guest.user_id, guest.device_id): guest.reason
            for guest in self._guests
            if guest.reason is not None and guest.reason != "unasked"
        }
        for (user, device), reason in refused.items():
            if self._told_refused.get((user, device)) != reason:
                desk.tell(NotAddable(user, device, reason))
        self._told_refused = refused
        strange = self._audience.strange_master
        if strange is not None and strange != self._strange:
            desk.tell(OwnMasterKeyChanged(strange))
        self._strange = strange
