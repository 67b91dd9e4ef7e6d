"""A homeserver in memory that shows a client what a real one does, and lies when it is told to.

Knows Matrix and the requests of `mlsrtc.outbox`, and nothing of MLS or of a session: contents are opaque
JSON. Everything is deterministic: the clock is virtual and chance comes from the network's `Random`.
Contents are shared between all who read them and must not be changed.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canonicaljson import encode_canonical_json

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    FetchRelations,
    HandOver,
    Outcome,
    PostKey,
    QueryKeys,
    RateLimited,
    Refused,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
    SendToDevice,
)
from mlsrtc.testing.accounts import Accounts
from mlsrtc.testing.delayed import DelayedEvents
from mlsrtc.testing.limits import Bucket, Limits
from mlsrtc.testing.network import Network, Work
from mlsrtc.testing.room import DeviceName, Room, StoredEvent
from mlsrtc.wire.famedly import amended
from mlsrtc.wire.incoming import Attachment, HistoryRefused, Incoming, RoomEvent, ToDevice
from mlsrtc.wire.key_event import encode_handed, encode_room_key_event
from mlsrtc.wire.names import ENCRYPTED, KEYS_ELEMENT, ROOM_MEMBER

RETRY_MS = 1000  # what a client is advised when a server or a link gave no answer

Rewrite = Callable[[RoomEvent, DeviceName], Iterable[RoomEvent]]
"""What this homeserver shows a device in place of an event: none, one or several events."""

Predicate = Callable[[RoomEvent], bool]


@dataclass(frozen=True, slots=True)
class Reply:
    """What comes back for a request: what a driver would hand to `receive` first, then the outcome."""

    outcome: Outcome
    incoming: tuple[Incoming, ...] = ()


@dataclass(frozen=True, slots=True)
class _Withheld:
    predicate: Predicate
    until: float
    outbound: bool


class Homeserver:
    """One homeserver and its view of the room. Made by `World`.

    `rewrite`: set it to lie to this server's own clients. `accounts.forged`: answers of keys/query that it
    makes up. `media`: what it holds; take something out and it is gone.
    """

    def __init__(self, name: str, network: Network, limits: Limits, accounts: Accounts) -> None:
        self.name = name
        self.limits = limits
        self.network = network
        self.accounts = accounts
        self.peers: dict[str, Homeserver] = {}
        self.room = Room()
        self.rewrite: Rewrite | None = None
        self.media: dict[str, bytes] = {}
        self.events: Counter[str] = Counter()  # events that clients of this server sent, by type
        self.delayed = DelayedEvents(network, self._fire)
        self._buckets: dict[str, Bucket] = {}
        self._transactions: dict[tuple[DeviceName, str, str], Outcome] = {}
        self._withheld: list[_Withheld] = []
        self._count = 0

    # -- hostile hooks --

    def withhold(self, predicate: Predicate, seconds: float, *, outbound: bool = False) -> None:
        """Keeps matching events that come from now on away from this server's clients, for so long; they
        then stand at the end of its timeline. `outbound`: and from the other servers, if they were sent
        here."""
        self._withheld.append(_Withheld(predicate, self.network.time + seconds, outbound))

    def inject(self, event: RoomEvent, *, federate: bool = False) -> None:
        """Puts an event into the room that nobody sent: no check of sender or power.

        `federate`: other servers get it too, as a real server could do for its own users only.
        """
        replaces: frozenset[str] = frozenset()
        if event.state_key is not None:
            replaces = self.room.history_of((event.type, event.state_key))
        stored = StoredEvent(event, self.name, len(encode_canonical_json(event.content)), replaces=replaces)
        self.take_in(stored)
        if federate:
            self._federate(stored)

    # -- what a client asks --

    def handle(self, device: DeviceName, request: Request) -> Reply:
        """Answers one request as the client-server API does."""
        if device not in self.accounts.mailboxes:
            return Reply(Refused(401, "M_UNKNOWN_TOKEN"))
        match request:
            case SendState():
                return Reply(self._send_state(device, request))
            case SendEvent():
                return Reply(self._once((device, "send", request.id), lambda: self._send_event(device, request)))
            case SendToDevice():
                key = device, f"to-device {request.type}", request.id
                return Reply(self._once(key, lambda: self._send_to_device(device, request)))
            case HandOver():
                return Reply(self._once((device, "hand over", request.id), lambda: self._hand_over(device, request)))
            case PostKey():
                return Reply(self._once((device, "send", request.id), lambda: self._post_key(device, request)))
            case ScheduleLeave(state_key=None):
                return Reply(self._once((device, "send", request.id), lambda: self._schedule(device, request)))
            case ScheduleLeave():
                # A state PUT has no transaction id: a second try schedules a second event.
                return Reply(self._schedule(device, request))
            case RestartLeave():
                return Reply(_found(self.delayed.restart(request.delay_id)))
            case CancelLeave():
                return Reply(_found(self.delayed.cancel(request.delay_id)))
            case FetchRelations():
                return self._relations(device, request.event_id)
            case QueryKeys():
                return Reply(Accepted(), tuple(map(self.accounts.device_keys, request.user_ids)))
            case FetchAttachment():
                return self._fetch(request.uri)

    def _once(self, key: tuple[DeviceName, str, str], do: Callable[[], Outcome]) -> Outcome:
        """A transaction id is good for one effect of a device at one endpoint. Only what succeeded is
        remembered (Synapse's transaction cache)."""
        outcome = self._transactions.get(key)
        if outcome is None:
            outcome = do()
            if isinstance(outcome, Accepted):
                self._transactions[key] = outcome
        return outcome

    def _send_state(self, device: DeviceName, request: SendState) -> Outcome:
        stored = self.room.state.get((request.type, request.state_key))
        content = self.content_of(request)
        if stored and stored.event.sender == device[0] and stored.event.content == content:
            # The same user's same content again is not a new event (Synapse: deduplicate_state_event).
            wait = self._limited(device[0])
            return wait or Accepted(event_id=stored.event.event_id)
        return self._send(device, request.type, content, state_key=request.state_key)

    def content_of(self, request: SendState | ScheduleLeave) -> Mapping[str, Any]:
        """What a transport makes of a request: where only an entry of a state event is ours, with what stands now."""
        if request.entry is None or request.state_key is None:
            return request.content
        standing = self.room.current(request.type, request.state_key)
        return amended({} if standing is None else standing.content, request.content, request.entry)

    def _send_event(self, device: DeviceName, request: SendEvent) -> Outcome:
        content = self._with_uploads(request)
        if content is None:
            return Refused(413, "M_TOO_LARGE")
        clear = dict(request.clear) if request.encrypt else None
        return self._send(
            device, request.type, content, transaction_id=request.id, sticky_ms=request.sticky_ms, clear=clear
        )

    def _with_uploads(self, request: SendEvent | SendToDevice) -> dict[str, Any] | None:
        """The content with the addresses of its attachments, which a transport uploads first; None: too large."""
        content = dict(request.content)
        for name, data in request.attachments.items():
            if len(data) > self.limits.upload_bytes:
                return None
            content[name] = {**content.get(name, {}), "url": self._upload(data)}
        return content

    def _upload(self, data: bytes) -> str:
        uri = f"mxc://{self.name}/{self._opaque('media')[:24]}"
        self.media[uri] = data
        return uri

    def _send(
        self,
        device: DeviceName,
        type: str,
        content: Mapping[str, Any],
        *,
        state_key: str | None = None,
        transaction_id: str | None = None,
        sticky_ms: int | None = None,
        clear: Mapping[str, Any] | None = None,
        unreached: Collection[DeviceName] = (),
    ) -> Outcome:
        """Checks an event and puts it into the room, here at once and elsewhere over the links."""
        sender = device[0]
        wait = self._limited(sender)
        if wait is not None:
            return wait
        encoded = encode_canonical_json(content)
        # A Megolm payload is base64 of the plain one, inside the event beside what stays clear.
        size = len(encoded) if clear is None else len(encoded) * 4 // 3 + len(encode_canonical_json(clear)) + 300
        if size > self.limits.content_bytes:
            return Refused(413, "M_TOO_LARGE")
        event = RoomEvent(
            type=type,
            sender=sender,
            event_id="$" + self._opaque(type, sender, state_key or "", encoded),
            origin_server_ts=self.network.wall_ms,
            content=content,
            state_key=state_key,
            decrypted=clear is not None,
        )
        if not self.room.allows(event):
            return Refused(403, "M_FORBIDDEN")
        stored = StoredEvent(event, self.name, size, device, transaction_id)
        if state_key is not None:
            stored = replace(stored, replaces=self.room.history_of((type, state_key)))
        if not (type == ROOM_MEMBER and state_key == sender):
            stored = replace(stored, authority=self.room.state[ROOM_MEMBER, sender])
        if sticky_ms is not None and self.limits.sticky:
            until = event.origin_server_ts + min(sticky_ms, self.limits.max_sticky_ms)
            stored = replace(stored, sticky_until_ms=until)
        if clear is not None:
            sealed = {
                "algorithm": "m.megolm.v1.aes-sha2",
                "ciphertext": hashlib.sha256(encoded).hexdigest(),
                **clear,
            }
            cipher = replace(event, type=ENCRYPTED, content=sealed, decrypted=False)
            servers = (self, *self.peers.values())
            mailboxes = (name for server in servers for name in server.accounts.mailboxes)
            readers = frozenset(mailboxes) - frozenset(unreached)
            stored = replace(
                stored,
                event=replace(event, content={**content, **clear}),
                ciphertext=cipher,
                readers=readers,
            )
        self.events[type] += 1
        self.take_in(stored)
        self._federate(stored)
        return Accepted(event_id=event.event_id)

    def _limited(self, user_id: str) -> RateLimited | None:
        if self.limits.message_rate is None:
            return None
        bucket = self._buckets.get(user_id)
        if bucket is None:
            bucket = self._buckets[user_id] = Bucket(self.limits.message_rate, self.limits.message_burst)
        wait = bucket.take(self.network.time)
        return RateLimited(round(wait * 1000) + 1) if wait else None

    # -- between servers --

    def take_in(self, stored: StoredEvent) -> None:
        """An event that is in the room now, from here or from another server: shown to all here, unless withheld."""
        for rule in self._withheld:
            if self.network.time < rule.until and rule.predicate(stored.event):
                self.network.at(rule.until, lambda: self.take_in(stored))
                return
        length = len(self.room.timeline)
        self.room.add(stored)
        for added in self.room.timeline[length:]:
            event = added.event
            if event.state_key is not None and self.room.state[event.type, event.state_key] is added:
                self.delayed.state_changed(event)
        if len(self.room.timeline) > length:
            self.accounts.wake_all()

    def take_in_later(self, stored: StoredEvent) -> None:
        """An event of another server, which is taken in when this one has checked it."""
        self.network.serve(self.name, Work.FEDERATED, 0, lambda: self.take_in(stored))

    def _federate(self, stored: StoredEvent) -> None:
        delay = 0.0
        for rule in self._withheld:
            if rule.outbound and self.network.time < rule.until and rule.predicate(stored.event):
                delay = max(delay, rule.until - self.network.time)
        if delay:
            self.network.after(delay, lambda: self._federate_now(stored))
        else:
            self._federate_now(stored)

    def _federate_now(self, stored: StoredEvent) -> None:
        for name, peer in self.peers.items():
            self.network.carry(self.name, name, lambda peer=peer: peer.take_in_later(stored))  # type: ignore[misc]

    # -- to-device --

    def _send_to_device(self, device: DeviceName, request: SendToDevice) -> Outcome:
        content = self._with_uploads(request)
        if content is None:
            return Refused(413, "M_TOO_LARGE")
        self._carry(request.user_id, request.device_id, ToDevice(request.type, device[0], content))
        return Accepted()

    def _hand_over(self, device: DeviceName, request: HandOver) -> Outcome:
        """What Olm does is done for the client: nobody but the addressee reads it, and it says who wrote it."""
        type, content = encode_handed(request.event)
        message = ToDevice(type, device[0], content, device[1], self.accounts.device_key(device))
        failures: dict[DeviceIdentity, str | RateLimited] = {}
        for addressee in request.devices:
            name = addressee[0], addressee[1]
            if self.accounts.device_key(name) != addressee[2]:
                failures[addressee] = "unknown_device"
            elif name in self.accounts.drained:
                failures[addressee] = "no_one_time_key"
            else:
                self._carry(*name, message)
        return Accepted(failures=failures)

    def _post_key(self, device: DeviceName, request: PostKey) -> Outcome:
        """What Megolm does is done for the client: whoever has a session is shown what it says, and whose it is."""
        failures = {one: reason for one in request.devices if (reason := self._unreadable(one)) is not None}
        mailboxes = (name for server in (self, *self.peers.values()) for name in server.accounts.mailboxes)
        outside = {name for name in mailboxes if self.room.membership(name[0]) != "join"}
        outcome = self._send(
            device,
            KEYS_ELEMENT,
            encode_room_key_event(request.event),
            transaction_id=request.id,
            clear={} if request.encrypt else None,
            unreached=outside | self.accounts.drained,
        )
        return replace(outcome, failures=failures) if isinstance(outcome, Accepted) and request.encrypt else outcome

    def _unreadable(self, device: DeviceIdentity) -> str | None:
        """Why a device gets no Megolm session."""
        if self.accounts.device_key(device[:2]) != device[2]:
            return "unknown_device"
        return "no_one_time_key" if device[:2] in self.accounts.drained else None

    def _carry(self, user_id: str, device_id: str, message: ToDevice) -> None:
        target = self.server_of(user_id)
        if target is not None and not self.network.chance(self.network.hostility.to_device_loss):
            delay = self.network.hostility.to_device_delay
            late = self.network.random.random() * delay if delay else 0.0

            def arrive() -> None:
                target.accounts.post(user_id, device_id, message)

            if target is self:
                self.network.after(late, arrive)
            else:
                self.network.after(late, lambda: self.network.carry(self.name, target.name, arrive))
        self.events[message.type] += 1

    def server_of(self, user_id: str) -> "Homeserver | None":
        """The homeserver of a user, if it is one of this world's."""
        name = user_id.partition(":")[2]
        return self if name == self.name else self.peers.get(name)

    # -- delayed events (MSC4140) --

    def _schedule(self, device: DeviceName, request: ScheduleLeave) -> Outcome:
        wait = self._limited(device[0])
        if wait is not None:
            return wait
        if self.limits.max_delay_ms is None:
            return Refused(403, "M_FORBIDDEN")
        if request.delay_ms > self.limits.max_delay_ms:
            return Refused(400, "ORG.MATRIX.MSC4140_DELAY_TOO_LARGE")
        delay_id = "delay_" + self._opaque("delay")[:20]
        self.delayed.schedule(delay_id, device, replace(request, content=self.content_of(request)))
        return Accepted(delay_id=delay_id)

    def _fire(self, owner: DeviceName, request: ScheduleLeave) -> Outcome:
        """It is sent like any event of its owner, rate limit included, whether the device still exists or
        not."""
        return self._send(
            owner,
            request.type,
            request.content,
            state_key=request.state_key,
            sticky_ms=request.sticky_ms,
        )

    # -- reading --

    def show(self, stored: StoredEvent, viewer: DeviceName) -> Sequence[RoomEvent]:
        """What a device is shown of an event: the event, or what `rewrite` makes of it."""
        event = stored.shown_to(viewer)
        return (event,) if self.rewrite is None else tuple(self.rewrite(event, viewer))

    def _relations(self, device: DeviceName, event_id: str) -> Reply:
        """/event and /relations of it (m.reference), oldest first."""
        root = self.room.find(event_id)
        if root is None:
            return Reply(Refused(404, "M_NOT_FOUND"))
        if not self.room.visible(device[0], self.room.position(event_id)):
            return Reply(Refused(403, "M_FORBIDDEN"), (HistoryRefused("M_FORBIDDEN"),))
        found = [root]
        for position, stored in enumerate(self.room.timeline):
            relation = stored.event.content.get("m.relates_to")
            if (
                isinstance(relation, Mapping)
                and relation.get("rel_type") == "m.reference"
                and relation.get("event_id") == event_id
                and self.room.visible(device[0], position)
            ):
                found.append(stored)
        return Reply(Accepted(), tuple(event for stored in found for event in self.show(stored, device)))

    @staticmethod
    def work_of(request: Request) -> tuple[Work, int]:
        """What a request makes a homeserver do, and how many to-device messages are in it."""
        match request:
            case SendEvent() | PostKey():
                return Work.EVENT, 0
            case SendState():
                return Work.STATE, 0
            case SendToDevice():
                return Work.TO_DEVICE, 1
            case HandOver():
                return Work.TO_DEVICE, len(request.devices)
            case _:
                return Work.OTHER, 0

    def detour(self, request: Request) -> float:
        """Seconds that a request takes longer because another server has to be asked."""
        far = isinstance(request, FetchAttachment) and not request.uri.startswith(f"mxc://{self.name}/")
        bounds = self.network.latency.federation
        return self.network.draw(bounds) + self.network.draw(bounds) if far else 0.0

    def _fetch(self, uri: str) -> Reply:
        name = uri.removeprefix("mxc://").partition("/")[0]
        if self.network.is_cut(self.name, name) or self.network.is_cut(name, self.name):
            return Reply(RateLimited(RETRY_MS))
        origin = self if name == self.name else self.peers.get(name)
        data = None if origin is None else origin.media.get(uri)
        return Reply(Accepted(), (Attachment(uri, data),))

    def _opaque(self, *parts: str | bytes) -> str:
        """43 characters that name a new thing of this server."""
        self._count += 1
        digest = hashlib.sha256(f"{self.name} {self._count}".encode())
        for part in parts:
            digest.update(b"\0" + (part.encode() if isinstance(part, str) else part))
        return base64.urlsafe_b64encode(digest.digest()).decode().rstrip("=")


def _found(known: bool) -> Outcome:
    return Accepted() if known else Refused(404, "M_NOT_FOUND")
