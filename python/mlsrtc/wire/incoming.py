"""What a transport hands to `Session.receive`: Matrix events and answers as the homeserver gave them. Values only.

Nothing in here was checked. `mlsrtc.wire` decodes the contents, `mlsrtc.trust` and `mlsrtc.judge` check them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Mapping[str, Any]
"""An object of JSON, as it was parsed."""


@dataclass(frozen=True, slots=True)
class Now:
    """One moment on both clocks: timers use the first, lifetimes and expiry the second."""

    monotonic: float  # seconds, from any origin, never goes back
    wall_ms: int  # milliseconds since the epoch

    def monotonic_at(self, wall_ms: int) -> float:
        """When the wall clock will show this, on the other one."""
        return self.monotonic + (wall_ms - self.wall_ms) / 1000


@dataclass(frozen=True, slots=True)
class RoomEvent:
    """A timeline, state, sticky or back-filled event of the room."""

    type: str
    sender: str
    event_id: str
    origin_server_ts: int  # milliseconds
    content: Json
    state_key: str | None = None
    transaction_id: str | None = None  # `unsigned.transaction_id`: the event is our own echo
    decrypted: bool = False
    """The transport Megolm-decrypted the content. Our block is then the one that stood in the clear beside the payload,
    put into `content` under its name; one from inside the payload is dropped (docs/protocol.md, "Membership")."""
    sticky_ms: int | None = None  # MSC4354: for how long after origin_server_ts the event is sticky


@dataclass(frozen=True, slots=True)
class ToDevice:
    """A to-device event. `sender_device` is the device that Olm authenticated, and `sender_key` its Ed25519 key (32
    bytes); both are None for an event in the clear."""

    type: str
    sender: str
    content: Json = field(repr=False)  # it may hold a media key
    sender_device: str | None = None
    sender_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class PostedKey:
    """A room event of the type `names.KEYS_ELEMENT`: a media key for everybody in the room.

    `sender_device` is the device whose Megolm session it came by, as the Olm envelope that brought the session
    authenticated it, and `sender_key` its Ed25519 key (32 bytes). Both are None for an event in the clear (`encrypted`
    is False), and where nobody can say whose the session is.
    """

    sender: str
    event_id: str
    content: Json = field(repr=False)  # it holds a media key
    encrypted: bool = False
    sender_device: str | None = None
    sender_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Unopened:
    """An Olm-encrypted to-device event that the transport could not open, or not believe, and that may have held a
    media key. `sender` is whom the homeserver names, `sender_device` the device with the key in the envelope, if it is
    known. `reason`: as `notices.MessageNotOpened` has it."""

    sender: str
    reason: str
    sender_device: str | None = None


@dataclass(frozen=True, slots=True)
class HistoryComplete:
    """Every event that the room shows us has been handed over: the first back-fill is done and no gap is open."""


@dataclass(frozen=True, slots=True)
class GapOpened:
    """A limited sync left a gap: the head is not asked before the next `HistoryComplete`."""


@dataclass(frozen=True, slots=True)
class HistoryRefused:
    """The homeserver does not let us read back (history visibility), or the past was too long to be read whole."""

    errcode: str


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The answer of keys/query, as the server gave it: `device_keys`, `master_keys`, `self_signing_keys`, by user."""

    user_id: str
    response: Json


@dataclass(frozen=True, slots=True)
class DevicesChanged:
    """`device_lists` of a sync: these users have new devices, or fewer, or none that we would be told of. Users outside
    the call may be among them."""

    user_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a `FetchAttachment` brought, still encrypted; `data` is None if it is not there or too large."""

    uri: str
    data: bytes | None


Incoming: TypeAlias = (
    RoomEvent
    | ToDevice
    | PostedKey
    | Unopened
    | HistoryComplete
    | GapOpened
    | HistoryRefused
    | DeviceKeys
    | DevicesChanged
    | Attachment
)
"""Everything that `Session.receive` takes."""


# -- what another member told --------------------------------------------------------------------------------

TOLD = "told/"


def told_id(digest: str, claimed: str) -> str:
    """The id under which an event from another member's answer is kept: of its content, so that it can take no other
    event's place, whatever id it claims. No event of a room has such an id: those begin with ``$``."""
    return f"{TOLD}{digest}/{claimed}"


def claimed_id(event_id: str) -> str:
    """The id that a told event claims; that of an event of the room is its own."""
    return event_id.removeprefix(TOLD).partition("/")[2] if event_id.startswith(TOLD) else event_id
