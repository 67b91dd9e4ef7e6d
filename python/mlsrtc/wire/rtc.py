"""MatrixRTC memberships as values, whatever event they were read from. No JSON, no state, no trust."""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.wire.block import Block, ForeignBlock, JoinBlock, LeftBlock
from mlsrtc.wire.foci import Transport
from mlsrtc.wire.key_event import KeyFormat


class MembershipFormat(Enum):
    """Which event a membership is written as, and so who sees it.

    `STATE`: ``org.matrix.msc3401.call.member``, one for each device, on every homeserver; Element Call's. `STICKY`:
    MSC4143's, over MSC4354. `FAMEDLY`: ``com.famedly.call.member``, one for each user; the dart SDK's, without MLS.
    """

    STATE = "state"
    STICKY = "sticky"
    FAMEDLY = "famedly"


@dataclass(frozen=True, slots=True)
class Stamp:
    """When and as what an event was sent: a later one under the same key takes an earlier one's place."""

    ts: int  # origin_server_ts, milliseconds: a claim of the sender's homeserver
    event_id: str


@dataclass(frozen=True, slots=True)
class RtcMembership:
    """A device that says it takes part. `block` is our join (or one of an unknown version), None without
    MLS.
    """

    format: MembershipFormat
    user_id: UserId
    device_id: DeviceId | None  # None: MSC4143's newest form, which does not tell it
    slot_id: SlotId
    key: str  # state key or sticky key: what a later event of the same device, or of its user, replaces
    rtc_member_id: str  # `membershipID` or `member.id`; not our member_id in the state format
    stamp: Stamp
    created_ts: int  # ms; stays the same when a membership is refreshed (Famedly's: as far as the roster has seen)
    expires_ts: int | None
    application: str = "m.call"
    intent: str | None = None
    transports: tuple[Transport, ...] = ()
    focus_selection: str | None = None  # state format
    can_subscribe: tuple[str, ...] = ()  # sticky format
    block: JoinBlock | ForeignBlock | None = None
    key_format: KeyFormat = KeyFormat.ELEMENT
    """How the device takes keys that are handed to it, as far as its membership shows."""


@dataclass(frozen=True, slots=True)
class RtcLeave:
    """The end of a membership. `block` is our signed leave; without it the leave says nothing about a
    member_id.
    """

    format: MembershipFormat
    user_id: UserId
    key: str
    stamp: Stamp
    block: LeftBlock | None = None


@dataclass(frozen=True, slots=True)
class RtcErased:
    """A state membership overwritten by somebody else than its owner: neither a join nor a leave
    (docs/protocol.md).
    """

    user_id: UserId  # the owner
    key: str
    stamp: Stamp
    by: UserId
    format: MembershipFormat = MembershipFormat.STATE


@dataclass(frozen=True, slots=True)
class RtcRoll:
    """Every device of one user that says it takes part, in one event (Famedly): whoever is not in it does no more.

    refused: why entries that do not hold were left out, and where each is wrong.
    """

    format: MembershipFormat
    user_id: UserId
    key: str
    stamp: Stamp
    memberships: tuple[RtcMembership, ...]
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class RtcSealed:
    """A Megolm-encrypted membership that we could not open: only the block in the clear."""

    user_id: UserId
    stamp: Stamp
    block: Block


RtcEvent: TypeAlias = RtcMembership | RtcLeave | RtcErased | RtcRoll | RtcSealed


def memberships_of(event: RtcEvent | None) -> tuple[RtcMembership, ...]:
    """Whom an event shows as taking part: several devices, one, or nobody."""
    if isinstance(event, RtcRoll):
        return event.memberships
    return (event,) if isinstance(event, RtcMembership) else ()
