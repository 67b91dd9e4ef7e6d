"""One call in which everybody sends under one key that the application gives, without I/O.

Nothing is agreed and nothing is sent: whoever knows the key takes part, and nobody can be locked out. So nobody's
device is asked for, and no trust policy is: what a membership says of itself is all that is known of who is here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from mlsrtc import participants
from mlsrtc.handing import Ourselves
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.media.shared import SharedKey
from mlsrtc.mls import Secret
from mlsrtc.notices import KeyNotice, MediaKeysChanged, Muted, SendKeySwitched
from mlsrtc.participants import CallMember
from mlsrtc.plain_session import PlainSession
from mlsrtc.policy import Encryption
from mlsrtc.upkeep import Device, Phase
from mlsrtc.wire.incoming import DeviceKeys, Incoming, Now, RoomEvent
from mlsrtc.wire.membership import MembershipFormat, RtcMembership

INDEX = KeyIndex(0)
"""Where livekit-client has a shared key: Element Call names no other."""


class SharedKeySession(PlainSession):
    """One call of one device, keyed by one key for all. As `Session`, with the same arguments, verbs and notices, and
    `key`: the key. There are no epochs and no safety code; every sender has the same key, at index 0, for ever.
    """

    encryption = Encryption.SHARED_KEY
    slot_types = frozenset()  # a slot that says how its call is keyed says something else

    def __init__(self, *arguments: Any, key: SharedKey, **options: Any) -> None:
        self.key = key
        super().__init__(*arguments, **options)

    def _build(self, device: Device, intent: str, form: MembershipFormat) -> None:
        super()._build(device, intent, form)
        self._ourselves: Ourselves = self._draw()
        self._secret: Secret | None = None  # a copy of the key, while we are in the call
        self._given: dict[Sender, MediaKey] = {}
        self._others: Mapping[MemberId, CallMember] = {}

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether enough is known to enter: the room's past was read."""
        return self._complete

    @property
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call but ourselves. `flagged`: nobody has asked whose device it is."""
        return self._others

    def mark_heard(self, member_id: MemberId, now: Now, *, heard: bool) -> None:
        """Nobody hands a key out: there is none to be asked for."""

    def key_notices(self) -> Sequence[KeyNotice]:
        """The notices that tell the media keys of this moment: for a key ring that begins in the midst of the call."""
        if not self._given:
            return []
        told = MediaKeysChanged(None, None, tuple(self._given.values()), (), self._flagged)
        return [told, SendKeySwitched(None, None, INDEX)]

    # -- taking in and settling ----------------------------------------------------------------------------------------

    @property
    def _waits_for_keys(self) -> bool:
        return False

    def _take_in(self, incoming: Incoming, now: Now) -> None:
        if isinstance(incoming, RoomEvent):
            self._room_event(incoming)

    def _know_keys(self, keys: DeviceKeys, now: Now, *, own: bool) -> None:
        pass

    def _look(self, memberships: Sequence[RtcMembership]) -> None:
        others = (member for one in memberships if (member := _member(one)) and not self._is_ours(member))
        self._others = participants.listed(others)
        self._told_of.members(self._desk, frozenset(self._others))

    @property
    def _flagged(self) -> frozenset[MemberId]:
        return frozenset(one.member_id for one in self._others.values())

    def _is_ours(self, member: CallMember) -> bool:
        return (member.user_id, member.device_id) == (self.user_id, self.device_id)

    def _settle_keys(self) -> None:
        if self._phase is not Phase.INSIDE or self._secret is None:
            return
        ours = self._ourselves.sender(INDEX)
        here = {Sender(one.member_id, one.user_id, one.device_id, None, INDEX) for one in self._others.values()} | {
            ours
        }
        begins = ours not in self._given
        withdrawn = tuple(sorted(self._given.keys() - here, key=_order))
        for sender in withdrawn:
            del self._given[sender]
        new = [_key(sender, self.key, self._secret) for sender in sorted(here - self._given.keys(), key=_order)]
        self._given |= {key.sender: key for key in new}
        if new or withdrawn:
            self._desk.tell(MediaKeysChanged(None, None, tuple(new), withdrawn, self._flagged))
        if begins:
            self._desk.tell(SendKeySwitched(None, None, INDEX))

    def _begin_keys(self) -> None:
        self._secret = Secret(self.key.secret.expose())

    def _stop_keys(self) -> None:
        if self._given:
            self._desk.tell(Muted("left"))
            self._desk.tell(MediaKeysChanged(None, None, (), tuple(sorted(self._given, key=_order))))
        self._given.clear()
        if self._secret is not None:
            self._secret.wipe()
        self._secret, self._ourselves = None, self._draw()


def _member(membership: RtcMembership) -> CallMember | None:
    """Whoever a membership says it is of; None if it names no device."""
    device = membership.device_id
    member, user = MemberId(membership.rtc_member_id), UserId(membership.user_id)
    return None if device is None else CallMember(member, user, DeviceId(device), keyed=True, flagged=True, mls=False)


def _key(sender: Sender, key: SharedKey, secret: Secret) -> MediaKey:
    name = sender.member_id, sender.user_id, sender.device_id
    return MediaKey(*name, None, sender.index, secret, key.derivation)


def _order(sender: Sender) -> tuple[str, str, str]:
    return sender.member_id, sender.user_id, sender.device_id
