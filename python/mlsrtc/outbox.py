"""What leaves a session: requests, and the one queue they wait in until the state that contains them is saved.

A request is *drafted*, then *released* by the checkpoint that contains it, then *answered*: nothing leaves that a restart
would not remember (docs/design.md, promise 10). Knows no clock and no socket.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SendState:
    """PUT a state event."""

    id: str
    type: str
    state_key: str
    content: Json


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
    """PUT a to-device event to one device, in the clear."""

    id: str
    type: str
    user_id: str
    device_id: str
    content: Json


@dataclass(frozen=True, slots=True)
class ScheduleLeave:
    """MSC4140: an event that the homeserver sends after `delay_ms` unless it is restarted. State if `state_key`."""

    id: str
    delay_ms: int
    type: str
    state_key: str | None
    content: Json
    sticky_ms: int | None = None


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


Request: TypeAlias = (
    SendState
    | SendEvent
    | SendToDevice
    | ScheduleLeave
    | RestartLeave
    | CancelLeave
    | FetchAttachment
    | FetchRelations
    | QueryKeys
)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The homeserver took it. `event_id` of what was sent, `delay_id` of what was scheduled, where there is one."""

    event_id: str | None = None
    delay_id: str | None = None


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
