"""One call keyed by keys that are handed out (`m.per_member`), without I/O. Only this module wires its stages.

The verbs and the notices are those of a call with MLS. Nothing of a call is kept but its requests and the index of our
last key: after a restart the device enters anew, since nobody would hand it the keys again that it had.
"""

from collections.abc import Mapping, Sequence

from mlsrtc import participants
from mlsrtc.errors import LocalProtocolError
from mlsrtc.handing import Handing
from mlsrtc.identifiers import KeyIndex, MemberId
from mlsrtc.keyshare.audience import Guest
from mlsrtc.notices import KeyNotice
from mlsrtc.outbox import Handed, Outcome, Request
from mlsrtc.participants import CallMember
from mlsrtc.plain_session import PlainSession
from mlsrtc.policy import Encryption, KeyTransport
from mlsrtc.sharing import Sharing
from mlsrtc.upkeep import Device, Phase
from mlsrtc.wire import names
from mlsrtc.wire.incoming import DeviceKeys, DevicesChanged, Incoming, Now, PostedKey, RoomEvent, ToDevice, Unopened
from mlsrtc.wire.membership import MembershipFormat, RtcMembership


class SharingSession(PlainSession):
    """One call of one device, keyed by per-participant keys. As `Session`, with the same arguments, verbs and notices:
    there are no epochs and no safety code, and an index belongs to one sender alone.

    A device gets our key, and is listened to, if keys/query answers for it and our trust policy accepts it.
    """

    encryption = Encryption.PER_MEMBER
    slot_types = names.PER_MEMBER_TYPES

    def _build(self, device: Device, intent: str, form: MembershipFormat) -> None:
        super()._build(device, intent, form)
        self._sharing = Sharing(self.policy, Handing(self.policy, self._draw(), self._budget))
        self._guests: list[Guest] = []

    @property
    def _last_index(self) -> KeyIndex:
        return self._sharing.rotation.last_index

    def _restore_index(self, index: KeyIndex) -> None:
        self._sharing.rotation.last_index = index

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call but ourselves: device, whether we have its key, and why it gets none of ours."""
        return participants.listed(participants.guests(self._sharing.handing, self._guests))

    def mark_heard(self, member_id: MemberId, now: Now, *, heard: bool) -> None:
        """A media adapter says whether a member's frames open with the keys that were told. If they do not for a while,
        its key is taken for missing: `KeyMissing` is told, and it is asked for where the client can be asked."""
        self._sharing.handing.mark_heard(member_id, heard=heard)
        self._stir(now)

    def key_notices(self) -> Sequence[KeyNotice]:
        """The notices that tell the media keys of this moment: for a key ring that begins in the midst of the call."""
        return self._sharing.standing()

    # -- taking in -----------------------------------------------------------------------------------------------------

    def _take_in(self, incoming: Incoming, now: Now) -> None:
        match incoming:
            case RoomEvent():
                self._room_event(incoming)
            case ToDevice():
                self._sharing.handing.to_device(incoming, now)
            case PostedKey():
                self._sharing.handing.posted(incoming, now)
            case Unopened():
                self._sharing.handing.not_opened(incoming)
            case DevicesChanged():
                self._questions.changed(incoming.user_ids, {guest.user_id for guest in self._guests})
            case _:
                pass

    def _know_keys(self, keys: DeviceKeys, now: Now, *, own: bool) -> None:
        self._audience.device_keys(keys)

    def _answered(self, request: Request, outcome: Outcome) -> bool:
        if isinstance(request, Handed):
            self._sharing.handing.outcome(self._desk, request, outcome)
            return True
        return False

    # -- settling ------------------------------------------------------------------------------------------------------

    def _look(self, memberships: Sequence[RtcMembership]) -> None:
        self._guests = self._audience.guests(memberships)
        if self.ready:  # before that the room may be an encrypted one that we do not know yet
            wants_clear = self.policy.key_transport is KeyTransport.ROOM_CLEAR
            self._sharing.clear(wants_clear and not self._room.state.encrypted)
        self._told_of.members(self._desk, participants.ids(self._guests))
        self._told_of.refused(self._desk, participants.refusals(self._guests) | participants.nobodys(memberships))
        self._told_of.strange_master(self._desk, self._audience.strange_master)

    def _settle_keys(self) -> None:
        if self._phase in (Phase.LOBBY, Phase.ENTERING, Phase.INSIDE):
            lobby = self._phase is not Phase.INSIDE and self.ready and self._may_enter()
            self._sharing.settle(self._desk, self._guests, inside=self._phase is Phase.INSIDE, lobby=lobby)
        self._questions.attend(self._desk, self._guests)
        self._questions.settle(self._desk)

    def _check_power(self) -> None:
        super()._check_power()
        transport, state = self.policy.key_transport, self._room.state
        if not state.encrypted and transport is not KeyTransport.ROOM_CLEAR:
            # Element Call hands no keys out there, and sends its media in the clear.
            raise LocalProtocolError("keys are handed out in encrypted rooms only", reason="room_not_encrypted")
        if transport is not KeyTransport.TO_DEVICE:
            state.check_key_power(self.user_id)

    def _may_enter(self) -> bool:
        try:
            self._check_power()
        except LocalProtocolError:
            return False
        return True

    def _begin_keys(self) -> None:
        self._sharing.begin(self._desk.now, self._guests)

    def _renew_keys(self) -> None:
        self._sharing.renew(self._desk.now)

    def _stop_keys(self) -> None:
        self._sharing.stop(self._desk, self._draw())
