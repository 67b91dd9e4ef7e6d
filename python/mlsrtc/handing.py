"""Our keys handed to participants without MLS, and theirs taken in: `keyshare`'s delivery and inbox wired.

Knows the desk, and who is in the call device by device; knows no membership and no MLS, and not where our keys come
from: what is to be handed to whom is an argument.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mlsrtc.desk import Desk
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.keyshare import inbox
from mlsrtc.keyshare.audience import Guest
from mlsrtc.keyshare.delivery import Delivery, Trouble, jitter, pause_after
from mlsrtc.keyshare.inbox import Inbox
from mlsrtc.keyshare.posting import Posting
from mlsrtc.keyshare.rotation import Holder, OwnKey
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.mls import Secret
from mlsrtc.notices import KeyMissing, KeyUndelivered, MediaKeysChanged, MessageNotOpened
from mlsrtc.outbox import Accepted, Handed, HandOver, Outcome, PostKey, RateLimited
from mlsrtc.policy import KeyTransport, Policy
from mlsrtc.recovery import Bucket
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Now, PostedKey, ToDevice, Unopened
from mlsrtc.wire.key_event import (
    IndexedKey,
    KeyEvent,
    KeyFormat,
    KeyRequest,
    decode_key_event,
    decode_key_request,
    decode_room_key_event,
)

NOBODYS_WORD = b""
"""In place of the Ed25519 key of a device that nothing authenticates: where keys go in the clear."""


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
class _Silence:
    """A device whose key has not come, or does not open what it sends."""

    since: float
    told: bool = False
    request: str | None = None  # it is being asked
    tries: int = 0  # how often it was
    asked: int = 0  # how often the homeserver took it
    due: float = 0.0


@dataclass(slots=True)
class Handing:
    """What goes to and comes from the participants without MLS of one call. `guests`: those we deal with.

    `clear`: the room is not encrypted, and our policy hands keys out in the clear there: who claims to be a device is
    taken for it.
    """

    policy: Policy
    ourselves: Ourselves
    budget: Bucket = field(default_factory=Bucket)  # of the whole device
    clear: bool = field(default=False, init=False)
    guests: Mapping[DeviceIdentity, Guest] = field(default_factory=dict, init=False)
    _delivery: Delivery | Posting = field(init=False)
    _inbox: Inbox = field(init=False)
    holders: frozenset[Holder] = field(default=frozenset(), init=False)  # those who may be handed our key
    _around: Collection[Guest] = field(default=(), init=False)  # all of them, whatever we think of them
    _unheard: set[DeviceIdentity] = field(default_factory=set, init=False)  # whose frames do not open, as media say
    _names: frozenset[tuple[UserId, DeviceId]] = field(default=frozenset(), init=False)  # of all of them
    _ids: Mapping[DeviceIdentity, frozenset[MemberId]] = field(default_factory=dict, init=False)
    _listened: tuple[object, bool, bool] | None = field(default=None, init=False)  # guests, `clear`, and if inside
    _addressed: dict[OwnKey, dict[Holder, KeyFormat]] = field(default_factory=dict, init=False)  # who is to hold which
    _wanted: list[tuple[OwnKey, frozenset[Holder]]] | None = field(default=None, init=False)  # what that follows from
    _silent: dict[DeviceIdentity, _Silence] = field(default_factory=dict, init=False)
    _asking: dict[DeviceIdentity, Bucket] = field(default_factory=dict, init=False)  # that was asked for its key
    _unopened: dict[tuple[UserId, str], MessageNotOpened] = field(default_factory=dict, init=False)
    _lamented: set[tuple[UserId, str]] = field(default_factory=set, init=False)  # the part of them that was told

    def __post_init__(self) -> None:
        by_device = self.policy.key_transport is KeyTransport.TO_DEVICE
        self._delivery = (Delivery if by_device else Posting)(self.policy, self.budget)
        self._inbox = Inbox(self.policy)

    # -- what comes in -------------------------------------------------------------------------------------------------

    def to_device(self, event: ToDevice, now: Now) -> None:
        """A key, or what asks for ours. Raises RemoteProtocolError if it does not hold; nothing is changed then.

        Nothing is believed of what the event claims about its sender: only what the envelope authenticates counts.
        """
        room_id, slot_id = self.ourselves.room_id, self.ourselves.slot_id
        if event.type == names.REQUEST_FAMEDLY:
            request = decode_key_request(event.content)
            if (request.room_id, request.slot_id) == (room_id, slot_id):
                self._delivery.asked(_sender_of(event, request.device_id), now.monotonic)
        elif event.type == names.DUMMY and isinstance(self._delivery, Delivery):
            # It has begun a new Olm session since something by the one before did not open: our key, it may be.
            self._delivery.asked(_sender_of(event, None), now.monotonic)
        elif event.type in names.KEY_TYPES:
            said = decode_key_event(event.type, event.content)
            if said.room_id != room_id or said.slot_id not in (None, slot_id):
                return
            device = _sender_of(event, said.device_id)
            # Where the membership is a state event its id is the device's own name, and says no more than that.
            named = None if said.rtc_member_id == f"{device[0]}:{device[1]}" else said.rtc_member_id
            self._inbox.take(self._known_as(device), named, said.keys, now.monotonic, sent_ts=said.sent_ts)
            self._reached_by(device[0])

    def posted(self, event: PostedKey, now: Now) -> None:
        """A key in a room event. As `to_device`: only the device whose Megolm session brought it counts."""
        ours = self.ourselves
        said = decode_room_key_event(ours.room_id, event.content)
        if said.slot_id != ours.slot_id:
            return
        if self.clear and not event.encrypted:
            assert said.device_id is not None
            device = UserId(event.sender), said.device_id, NOBODYS_WORD
        else:
            device = _sender_of(event, said.device_id)
        if device[:2] != (ours.user_id, ours.device_id):  # else it is our own, come back
            self._inbox.take(self._known_as(device), None, said.keys, now.monotonic, sent_ts=said.sent_ts)
            self._reached_by(device[0])

    def not_opened(self, event: Unopened) -> None:
        """A message that may have been a key is lost: told if its sender is in the call."""
        user, device = UserId(event.sender), event.sender_device
        told = MessageNotOpened(user, None if device is None else DeviceId(device), event.reason)
        self._unopened.setdefault((user, event.reason), told)
        while len(self._unopened) > self.policy.keys_waiting:
            oldest = next(iter(self._unopened))
            del self._unopened[oldest]
            self._lamented.discard(oldest)

    def mark_heard(self, member: MemberId, *, heard: bool) -> None:
        """Whether the frames of a participant open with the keys that we have of its device."""
        for device, guest in self.guests.items():
            if member in guest.member_ids:
                (self._unheard.discard if heard else self._unheard.add)(device)

    # -- settling ------------------------------------------------------------------------------------------------------

    def look(self, guests: Collection[Guest]) -> None:
        """Who is in the call without MLS. The same list again says that it is as it was."""
        if guests is not self._around:
            self._around = guests
            self.guests = {device: guest for guest in guests if (device := guest.device) is not None}
            self.holders = frozenset(holder for guest in self.guests.values() if (holder := guest.holder) is not None)
            self._wanted = None

    def listen(self, desk: Desk, *, inside: bool = True) -> None:
        """Tell the keys of the others, and whose has not come. Only once we are `inside` the call: before that nobody
        would hear of a key that is told, so it waits, and a stranger's no longer than it may."""
        before, self._listened = self._listened, (self.guests, self.clear, inside)
        anew = before is None or before[0] is not self.guests or before[1:] != self._listened[1:]
        if anew:
            self._ids = {self._known_as(device): guest.member_ids for device, guest in self.guests.items()}
            self._names = frozenset((guest.user_id, guest.device_id) for guest in self._around)
        heard = self._inbox.settle(desk.now.monotonic, self._ids, self._names, telling=inside)
        desk.at(self._inbox.next_timer())
        if not inside:
            return
        installed, over = _installed(heard), _withdrawn(heard)
        if installed or over:
            desk.tell(MediaKeysChanged(None, None, tuple(installed), tuple(over), self.flagged))
        users = {user for user, _ in self._names} if self._unopened else set()
        for place, lost in self._unopened.items():
            if place[0] in users and place not in self._lamented:
                self._lamented.add(place)
                desk.tell(lost)
        if anew or over or self._silent or self._unheard:
            self._look_for_silent(desk)

    def hand_out(self, desk: Desk, wanted: Mapping[OwnKey, Collection[Holder]]) -> None:
        """Hand over what has not got there. `wanted`: who is to hold which key of ours, older keys first."""
        ours = self.ourselves
        now_wanted = [(key, frozenset(holders)) for key, holders in wanted.items()]
        if now_wanted != self._wanted:
            formats = {guest.holder: guest.format for guest in self.guests.values()}
            self._addressed = {
                key: {holder: formats[holder] for holder in sorted(holders) if holder in formats}
                for key, holders in now_wanted
            }
            self._wanted = now_wanted
        heard = [
            device
            for device, guest in self.guests.items()
            if self._inbox.holds(self._known_as(device), guest.member_ids)
        ]
        for batch in self._delivery.settle(desk.now.monotonic, self._addressed, heard):
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
            if isinstance(self._delivery, Posting):
                desk.draft(PostKey(request_id, event, batch.devices, encrypt=not self.clear))
            else:
                desk.draft(HandOver(request_id, event, batch.devices))
        desk.at(self._delivery.next_timer())

    def renew(self, now: Now, *, older_than: float) -> None:
        """Hand over again what was handed over so long ago (seconds): the others may have thrown it away."""
        self._delivery.renew(now.monotonic, older_than=older_than)

    def outcome(self, desk: Desk, request: Handed, outcome: Outcome) -> None:
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
        if isinstance(request.event, KeyRequest):
            self._asked(request.id, now, taken=isinstance(outcome, Accepted) and not outcome.failures)

    def stop(self, desk: Desk) -> tuple[Sender, ...]:
        """Forget every key: we are in the call no more. Returns whose were told."""
        withdrawn = _withdrawn(self._inbox.stop())
        self._delivery.settle(desk.now.monotonic, {}, ())
        for request in desk.outbox.waiting():
            if isinstance(request, Handed) and desk.withdraw(request.id):
                _wipe(request)
        self._unheard.clear()
        self._silent.clear()
        self._unopened.clear()
        self._lamented.clear()
        return tuple(withdrawn)

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    def standing(self) -> tuple[MediaKey, ...]:
        """The keys of the others that were told."""
        return tuple(_installed(self._inbox.standing()))

    def hears(self, device: DeviceIdentity | None, member: MemberId) -> bool:
        """Whether we hold a key of a device, for this participation."""
        return device is not None and not self._inbox.lacks(self._known_as(device), (member,))

    @property
    def flagged(self) -> frozenset[MemberId]:
        """Whom `Trust.ANY_DEVICE` alone lets in."""
        return frozenset(member for guest in self.guests.values() if guest.flagged for member in guest.member_ids)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _reached_by(self, user: UserId) -> None:
        """A key of this user has come: what was lost before counts no more."""
        for place in [place for place in self._unopened if place[0] == user]:
            del self._unopened[place]
            self._lamented.discard(place)

    def _known_as(self, device: DeviceIdentity) -> DeviceIdentity:
        """By what the inbox knows a device."""
        return (*device[:2], NOBODYS_WORD) if self.clear else device

    def _look_for_silent(self, desk: Desk) -> None:
        """Whose key has not come, or does not open what it sends: told, and asked for where the client can be asked."""
        now = desk.now.monotonic
        self._unheard &= self.guests.keys()
        self._asking = {device: bucket for device, bucket in self._asking.items() if device in self.guests}
        silent = [
            device
            for device, guest in self.guests.items()
            if device in self._unheard or self._inbox.lacks(self._known_as(device), guest.member_ids)
        ]
        self._silent = {device: self._silent.get(device) or _Silence(now) for device in silent}
        for device, silence in self._silent.items():
            if (due := silence.since + self.policy.key_wanted_after) > now:
                desk.at(due)
                continue
            if not silence.told:
                silence.told = True
                desk.tell(KeyMissing(device[0], device[1]))
            if self.guests[device].format is KeyFormat.FAMEDLY:
                self._ask(desk, device, silence)

    def _ask(self, desk: Desk, device: DeviceIdentity, silence: _Silence) -> None:
        """Ask a device for its key, now or when it is time: as often as we would answer it, within the budget."""
        now, ours = desk.now.monotonic, self.ourselves
        if silence.request is not None or silence.asked >= self.policy.key_requests_per_device:
            return
        bucket = self._asking.setdefault(device, Bucket(self.policy.key_requests_per_device))
        due = max(silence.due, bucket.next_at(now), self.budget.next_at(now))
        if due > now:
            desk.at(due)
            return
        bucket.take(now)
        self.budget.take(now)
        silence.request = desk.new_id("ask")
        desk.draft(HandOver(silence.request, KeyRequest(ours.room_id, ours.slot_id, ours.device_id), (device,)))

    def _asked(self, request_id: str, now: float, *, taken: bool) -> None:
        """What became of asking a device, which may be silent no more. What was taken may still be lost, or the answer
        to it: it is asked again at growing distances."""
        for silence in self._silent.values():
            if silence.request == request_id:
                silence.request, silence.due = None, now + pause_after(silence.tries, self.policy, jitter())
                silence.tries += 1
                silence.asked += taken


def _sender_of(event: ToDevice | PostedKey, claimed: DeviceId | None) -> DeviceIdentity:
    """The device that the envelope authenticates. Raises RemoteProtocolError: not_encrypted, not_authenticated,
    wrong_device."""
    if event.sender_device is None or event.sender_key is None:
        sealed = isinstance(event, PostedKey) and event.encrypted
        raise RemoteProtocolError("not_authenticated" if sealed else "not_encrypted", where="type")
    if claimed not in (None, event.sender_device):
        raise RemoteProtocolError("wrong_device", "not the device that encrypted it", where="content")
    return UserId(event.sender), DeviceId(event.sender_device), event.sender_key


def _wipe(request: Handed) -> None:
    """The copies of our key that a request holds."""
    if isinstance(request.event, KeyEvent):
        for key in request.event.keys:
            key.secret.wipe()


def _installed(effects: Iterable[inbox.Effect]) -> list[MediaKey]:
    return [key for effect in effects if isinstance(effect, inbox.Installed) for key in effect.keys]


def _withdrawn(effects: Iterable[inbox.Effect]) -> list[Sender]:
    return [sender for effect in effects if isinstance(effect, inbox.Withdrawn) for sender in effect.senders]
