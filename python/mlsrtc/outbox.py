"""What leaves a session: requests, and the one queue they wait in until the state that contains them is saved.

A request is *drafted*, then *released* by the checkpoint that contains it, then *answered*: nothing leaves that a
restart would not remember (docs/design.md, promise 10). Knows no clock and no socket.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from mlsrtc.errors import LocalProtocolError
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.wire.key_event import KeyEvent, KeyRequest

Json: TypeAlias = Mapping[str, Any]
"""An object of JSON, to be sent as it is."""


@dataclass(frozen=True, slots=True)
class SendState:
    """PUT a state event.

    `entry`: what is sent is no more than the entry of one device in one call (device, call_id) of an event that other
    devices of our user write as well. The transport reads what stands right before, and replaces that entry alone
    (`wire.famedly.amended`).
    """

    id: str
    type: str
    state_key: str
    content: Json
    entry: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class SendEvent:
    """PUT a room event under transaction id `id`; in the clear unless `encrypt`.

    `sticky_ms`: MSC4354. `clear`: fields that stand beside the Megolm payload when `encrypt` (our block).
    `attachments`: field of `content` -> ciphertext to upload first; the transport puts the media URI into
    `content[field]["url"]`.
    """

    id: str
    type: str
    content: Json
    sticky_ms: int | None = None
    encrypt: bool = False
    clear: Json = field(default_factory=dict)
    attachments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SendToDevice:
    """PUT a to-device event to one device, in the clear. `attachments` as in `SendEvent`."""

    id: str
    type: str
    user_id: str
    device_id: str
    content: Json
    attachments: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HandOver:
    """Encrypt a key, or a request for one, to each of these devices with Olm, and PUT them in one request.

    A device is its user, its name and its Ed25519 key (32 bytes): one that has another key is not written to. The bytes
    are made when they are sent, and no store keeps them: after a restart there is another key.
    """

    id: str
    event: KeyEvent | KeyRequest
    devices: tuple[DeviceIdentity, ...]


@dataclass(frozen=True, slots=True)
class PostKey:
    """PUT a key as one room event under transaction id `id`: encrypted with Megolm if `encrypt`, else in the clear.

    `devices`: those that have to be able to read it; the Megolm session is shared with whoever of them lacks it. As
    with `HandOver`, no store keeps it.
    """

    id: str
    event: KeyEvent
    devices: tuple[DeviceIdentity, ...]
    encrypt: bool = True


@dataclass(frozen=True, slots=True)
class ScheduleLeave:
    """MSC4140: an event that the homeserver sends after `delay_ms` unless it is restarted. State if `state_key`.
    `entry` as in `SendState`, by what stands when it is scheduled."""

    id: str
    delay_ms: int
    type: str
    state_key: str | None
    content: Json
    sticky_ms: int | None = None
    entry: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class RestartLeave:
    """MSC4140: start the delay of a scheduled event again."""

    id: str
    delay_id: str


@dataclass(frozen=True, slots=True)
class CancelLeave:
    """MSC4140: forget a scheduled event."""

    id: str
    delay_id: str


@dataclass(frozen=True, slots=True)
class FetchAttachment:
    """Download `uri` (mxc://) from the media repository; answered by `Attachment`."""

    id: str
    uri: str


@dataclass(frozen=True, slots=True)
class FetchRelations:
    """All events that refer to `event_id` with m.reference; answered by the events themselves."""

    id: str
    event_id: str


@dataclass(frozen=True, slots=True)
class QueryKeys:
    """keys/query; answered by one `DeviceKeys` per user."""

    id: str
    user_ids: tuple[str, ...]


Handed: TypeAlias = HandOver | PostKey
"""What has a media key in it."""

Request: TypeAlias = (
    SendState
    | SendEvent
    | SendToDevice
    | HandOver
    | PostKey
    | ScheduleLeave
    | RestartLeave
    | CancelLeave
    | FetchAttachment
    | FetchRelations
    | QueryKeys
)
"""Everything that `Session.outgoing` gives."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The homeserver took it. `event_id` of what was sent, `delay_id` of what was scheduled, where there is one.

    `failures`: of a `HandOver`, the devices that were not written to, and of a `PostKey` those that cannot read it; and
    why: a reason of `KeyUndelivered`, or that our homeserver asks for patience.
    """

    event_id: str | None = None
    delay_id: str | None = None
    failures: "Mapping[DeviceIdentity, str | RateLimited]" = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class RateLimited:
    """429, 5xx or no answer: the same bytes may be sent again after `retry_after_ms`."""

    retry_after_ms: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The homeserver will not take it: `status` is HTTP's, `errcode` Matrix's."""

    status: int
    errcode: str


Outcome: TypeAlias = Accepted | RateLimited | Refused
"""What became of a request, for `Session.mark_sent`."""


class Outbox:
    """Drafted requests wait here for the checkpoint that saves them; released ones for the transport and its answer."""

    def __init__(self) -> None:
        self._drafted: dict[str, Request] = {}
        self._released: dict[str, Request] = {}
        self._in_flight: set[str] = set()
        self._not_before: dict[str, float] = {}  # monotonic seconds, after a RateLimited

    def draft(self, request: Request) -> None:
        """Put a request in the queue. It leaves only after `release`."""
        if request.id in self._drafted or request.id in self._released:
            raise LocalProtocolError(f"request {request.id} was drafted before")
        self._drafted[request.id] = request

    def restore(self, requests: Iterable[Request]) -> None:
        """Take back what a store held: it was released before the restart and its fate is not known."""
        self._released.update({request.id: request for request in requests})

    def drafted(self) -> tuple[Request, ...]:
        """What the next checkpoint has to contain."""
        return tuple(self._drafted.values())

    def release(self) -> None:
        """The checkpoint that contains every drafted request is saved: they may leave."""
        self._released.update(self._drafted)
        self._drafted.clear()

    def take(self, now: float, *, into_room: bool = True) -> list[Request]:
        """The released requests whose moment has come, each handed out once per try.

        into_room: False keeps back what others would see in the room, but no key: they need it now.
        """
        ready = [
            request
            for request in self._released.values()
            if request.id not in self._in_flight
            and self._not_before.get(request.id, now) <= now
            and (into_room or not isinstance(request, SendEvent | SendState))
        ]
        for request in ready:
            self._in_flight.add(request.id)
            self._not_before.pop(request.id, None)
        return ready

    def postpone(self, request_id: str, until: float) -> None:
        """The homeserver did not take it: the same bytes go out again, not before `until` (monotonic seconds)."""
        self._in_flight.discard(request_id)
        self._not_before[request_id] = until

    def withdraw(self, request_id: str) -> bool:
        """Nobody wants it any more: it is not sent. False if it is on its way already: its fate will be told."""
        if request_id in self._in_flight:
            return False
        self.settle(request_id)
        return True

    def settle(self, request_id: str) -> Request | None:
        """Its fate is known: forget it. None if it is not in the queue."""
        self._in_flight.discard(request_id)
        self._not_before.pop(request_id, None)
        drafted = self._drafted.pop(request_id, None)
        return self._released.pop(request_id, None) or drafted

    def get(self, request_id: str) -> Request | None:
        """The request with this id, drafted or released."""
        return self._released.get(request_id) or self._drafted.get(request_id)

    def waiting(self) -> tuple[Request, ...]:
        """Everything whose fate is not known yet."""
        return (*self._released.values(), *self._drafted.values())

    def next_timer(self) -> float | None:
        """When the first postponed request may leave, in monotonic seconds."""
        times = [self._not_before[key] for key in self._released if key in self._not_before]
        return min(times, default=None)
