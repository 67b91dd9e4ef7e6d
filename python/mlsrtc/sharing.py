"""Our key handed out and theirs taken in: `keyshare`'s machines wired, and what of it is told.

Knows the desk, and who is in the call device by device; knows no membership and no MLS.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mlsrtc.desk import Desk
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.keyshare import inbox
from mlsrtc.keyshare.audience import Guest
from mlsrtc.keyshare.delivery import Delivery, Trouble
from mlsrtc.keyshare.inbox import Inbox
from mlsrtc.keyshare.rotation import Holder, OwnKey, Rotation
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.mls import Secret
from mlsrtc.notices import KeyMissing, KeyNotice, KeyUndelivered, MediaKeysChanged, Muted, SendKeySwitched
from mlsrtc.outbox import Accepted, HandOver, Outcome, RateLimited
from mlsrtc.policy import Policy
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Now, ToDevice
from mlsrtc.wire.key_event import (
    IndexedKey,
    KeyEvent,
    KeyFormat,
    KeyRequest,
    decode_key_event,
    decode_key_request,
)


@dataclass(frozen=True, slots=True)
class Ourselves:
    """Who we are in the call: as the others' key rings name us, and the call as key events name it."""

    room_id: RoomId
    slot_id: SlotId
    user_id: UserId
    device_id: DeviceId
    member_id: MemberId

    def sender(self, index: KeyIndex) -> Sender:
        """Whose our key is."""
        return Sender(self.member_id, self.user_id, self.device_id, None, index)


@dataclass(slots=True)
class Sharing:
    """The keys of one session."""

    policy: Policy
    ourselves: Ourselves
    rotation: Rotation = field(init=False)
    _delivery: Delivery = field(init=False)
    _inbox: Inbox = field(init=False)
    _told: dict[int, MediaKey] = field(default_factory=dict)  # our own keys, by generation
    _sending: int | None = None  # the generation that we send under, as told
    _guests: Mapping[DeviceIdentity, Guest] = field(default_factory=dict)
    _silent: dict[DeviceIdentity, float] = field(default_factory=dict)  # whose key has not come, since when
    _missed: set[DeviceIdentity] = field(default_factory=set)  # the part of them that was told

    def __post_init__(self) -> None:
        self.rotation = Rotation(self.policy)
        self._delivery = Delivery(self.policy)
        self._inbox = Inbox(self.policy)

    # -- what comes in -------------------------------------------------------------------------------------------------

    def to_device(self, event: ToDevice, now: Now) -> None:
        """A key, or a request for ours. Raises RemoteProtocolError if it does not hold; nothing is changed then.

        Nothing is believed of what the event claims about its sender: only what the envelope authenticates counts.
        """
        room_id, slot_id = self.ourselves.room_id, self.ourselves.slot_id
        if event.type == names.REQUEST_FAMEDLY:
            request = decode_key_request(event.content)
            if (request.room_id, request.slot_id) == (room_id, slot_id):
                self._delivery.asked(_sender_of(event, request.device_id), now.monotonic)
        elif event.type in names.KEY_TYPES:
            said = decode_key_event(event.type, event.content)
            if said.room_id != room_id or said.slot_id not in (None, slot_id):
                return
            device = _sender_of(event, said.device_id)
            # Where the membership is a state event its id is the device's own name, and says no more than that.
            named = None if said.rtc_member_id == f"{device[0]}:{device[1]}" else said.rtc_member_id
            self._inbox.take(device, named, said.keys, now.monotonic, sent_ts=said.sent_ts)

    # -- settling ------------------------------------------------------------------------------------------------------

    def settle(self, desk: Desk, guests: Collection[Guest], *, inside: bool, lobby: bool = False) -> None:
        """Bring the keys to who is here. `inside`: we are in the call; else we watch. `lobby`: we are about to join,
        and our policy says whether that is the time to hand out our key."""
        now = desk.now.monotonic
        self._look(guests)
        if inside:
            self.rotation.settle(now, self._holders())
        elif lobby and self.policy.share_in_lobby:
            self.rotation.prepare(now, self._holders())
        if inside:
            # Before we are in the call nobody would hear of a key that is told: it waits.
            ids = {device: guest.member_ids for device, guest in self._guests.items()}
            around = [(guest.user_id, guest.device_id) for guest in guests]
            self._tell(desk, self._inbox.settle(now, ids, around))
            self._look_for_silent(desk)
            desk.at(self._inbox.next_timer())
        self._hand_out(desk)
        for timer in (self.rotation.next_timer(), self._delivery.next_timer()):
            desk.at(timer)

    def begin(self, now: Now, guests: Collection[Guest]) -> None:
        """We are about to be in the call: what was handed out in the lobby is begun, and handed out again if the others
        may have thrown it away meanwhile."""
        self._look(guests)
        self._delivery.renew(now.monotonic, older_than=self.policy.keys_waiting_seconds / 2)
        self.rotation.begin(now.monotonic, self._holders())

    def renew(self, now: Now) -> None:
        """Our membership was gone and comes back: the others may have thrown our key away."""
        self._delivery.renew(now.monotonic, older_than=0.0)

    def stop(self, desk: Desk) -> None:
        """Forget every key: we are in the call no more."""
        withdrawn = [*_withdrawn(self._inbox.stop()), *(key.sender for key in self._told.values())]
        self.rotation.stop()
        self._delivery.settle(desk.now.monotonic, {}, ())
        for request in desk.outbox.waiting():
            if isinstance(request, HandOver) and desk.withdraw(request.id):
                _wipe(request)
        if self._sending is not None:
            desk.tell(Muted("left"))
        if withdrawn:
            desk.tell(MediaKeysChanged(None, None, (), tuple(withdrawn)))
        self._told.clear()
        self._silent.clear()
        self._missed.clear()
        self._sending = None

    def outcome(self, desk: Desk, request: HandOver, outcome: Outcome) -> None:
        """What became of keys on their way. What did not arrive is drafted anew and not sent again as it is: there may
        be another key by then."""
        now = desk.now.monotonic
        desk.forget(request.id)
        _wipe(request)
        troubles: list[Trouble] = []
        match outcome:
            case Accepted(failures=failures):
                troubles = self._delivery.sent(request.id, failures, now)
            case RateLimited():
                troubles = self._delivery.failed(request.id, outcome, now)
            case _:
                troubles = self._delivery.failed(request.id, "refused", now)
        for trouble in troubles:
            desk.tell(KeyUndelivered(trouble.device[0], trouble.device[1], trouble.reason))

    def standing(self) -> list[KeyNotice]:
        """The notices that tell the keys of this moment to who has heard none before."""
        keys = (*_installed(self._inbox.standing()), *self._told.values())
        notices: list[KeyNotice] = [MediaKeysChanged(None, None, keys, (), self._flagged())] if keys else []
        if self._sending is not None:
            notices.append(SendKeySwitched(None, None, self._told[self._sending].index))
        return notices

    def hears(self, device: DeviceIdentity | None) -> bool:
        """Whether we hold a key of a device."""
        return device is not None and not self._inbox.lacks(device)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _look(self, guests: Collection[Guest]) -> None:
        self._guests = {device: guest for guest in guests if (device := guest.device) is not None}

    def _tell(self, desk: Desk, heard: Collection[inbox.Effect]) -> None:
        """Our own: install, switch, then withdraw, so that nothing is sent under a slot that is empty. Of the others,
        as the notice says: withdraw, then install, since an index may have another key than it had."""
        ours = self.ourselves
        installed, over = _installed(heard), _withdrawn(heard)
        for key in self.rotation.keys:
            if key.generation not in self._told:
                self._told[key.generation] = _media_key(ours.sender(key.index), key)
                installed.append(self._told[key.generation])
        if installed or over:
            desk.tell(MediaKeysChanged(None, None, tuple(installed), tuple(over), self._flagged()))
        current = self.rotation.current
        if current is not None and self._sending != current.generation:
            self._sending = current.generation
            desk.tell(SendKeySwitched(None, None, current.index))
        live = {key.generation: key.index for key in self.rotation.keys}
        withdrawn = []
        for generation in self._told.keys() - live.keys():
            sender = self._told.pop(generation).sender
            if sender.index not in live.values():  # A ratcheted key has taken its place already.
                withdrawn.append(sender)
        if withdrawn:
            desk.tell(MediaKeysChanged(None, None, (), tuple(withdrawn), self._flagged()))

    def _hand_out(self, desk: Desk) -> None:
        ours = self.ourselves
        formats = {guest.holder: guest.format for guest in self._guests.values()}
        wanted = {
            key: {holder: formats[holder] for holder in sorted(self.rotation.handed(key)) if holder in formats}
            for key in self.rotation.keys
        }
        heard = [device for device in self._guests if self._inbox.holds(device)]
        for batch in self._delivery.settle(desk.now.monotonic, wanted, heard):
            event = KeyEvent(
                batch.format,
                ours.room_id,
                ours.slot_id,
                ours.device_id,
                ours.member_id,
                # A copy: the key may be over while the request is on its way.
                (IndexedKey(batch.index, Secret(batch.secret.expose())),),
                # When the key was made: sent again, it is no newer than the one after it.
                desk.now.wall_ms - round((desk.now.monotonic - batch.made_at) * 1000),
            )
            request_id = desk.new_id("key")
            self._delivery.sending(batch, request_id)
            desk.draft(HandOver(request_id, event, batch.devices))

    def _look_for_silent(self, desk: Desk) -> None:
        """Whose key has not come: told, and asked for where the client can be asked."""
        now, ours = desk.now.monotonic, self.ourselves
        silent = [device for device in self._guests if self._inbox.lacks(device)]
        self._silent = {device: self._silent.get(device, now) for device in silent}
        self._missed &= self._silent.keys()
        for device, since in self._silent.items():
            if device in self._missed:
                continue
            if (due := since + self.policy.key_wanted_after) > now:
                desk.at(due)
                continue
            self._missed.add(device)
            desk.tell(KeyMissing(device[0], device[1]))
            if self._guests[device].format is KeyFormat.FAMEDLY:
                request = KeyRequest(ours.room_id, ours.slot_id, ours.device_id)
                desk.draft(HandOver(desk.new_id("ask"), request, (device,)))

    def _holders(self) -> list[Holder]:
        return [holder for guest in self._guests.values() if (holder := guest.holder) is not None]

    def _flagged(self) -> frozenset[MemberId]:
        return frozenset(member for guest in self._guests.values() if guest.flagged for member in guest.member_ids)


def _sender_of(event: ToDevice, claimed: DeviceId | None) -> DeviceIdentity:
    """The device that the envelope authenticates. Raises RemoteProtocolError: not_encrypted, wrong_device."""
    if event.sender_device is None or event.sender_key is None:
        raise RemoteProtocolError("not_encrypted", where="type")
    if claimed not in (None, event.sender_device):
        raise RemoteProtocolError("wrong_device", "not the device that encrypted it", where="content")
    return UserId(event.sender), DeviceId(event.sender_device), event.sender_key


def _wipe(request: HandOver) -> None:
    """The copies of our key that a request holds."""
    if isinstance(request.event, KeyEvent):
        for key in request.event.keys:
            key.secret.wipe()


def _installed(effects: Iterable[inbox.Effect]) -> list[MediaKey]:
    return [key for effect in effects if isinstance(effect, inbox.Installed) for key in effect.keys]


def _withdrawn(effects: Iterable[inbox.Effect]) -> list[Sender]:
    return [sender for effect in effects if isinstance(effect, inbox.Withdrawn) for sender in effect.senders]


def _media_key(sender: Sender, key: OwnKey) -> MediaKey:
    return MediaKey(sender.member_id, sender.user_id, sender.device_id, None, sender.index, key.secret)
