"""How a call is keyed, where the application leaves it to the room (`AUTO`)."""

from collections.abc import Iterable
from contextlib import suppress

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.keyshare.room import PlainRoom
from mlsrtc.policy import MLS, PER_MEMBER, Encryption, Policy
from mlsrtc.room_state import RoomState
from mlsrtc.wire import names
from mlsrtc.wire.block import JoinBlock, LeftBlock
from mlsrtc.wire.incoming import Incoming, Now, RoomEvent
from mlsrtc.wire.membership import decode_membership


def choose(
    incoming: Iterable[Incoming], slot_id: SlotId, own: tuple[UserId, DeviceId], policy: Policy, now: Now
) -> Encryption:
    """What the slot says. Where it says nothing: `PER_MEMBER` if others are in the call and none of them has MLS; but
    MLS if the room shows that our own device was in the call with it, since nobody serves it without any more.

    incoming: all that the room has shown. own: our user and device.
    """
    room, had_mls = PlainRoom(RoomState(slot_id)), False
    for event in incoming:
        if isinstance(event, RoomEvent):
            with suppress(RemoteProtocolError):  # The session tells it.
                room = room.with_event(event)
                had_mls = had_mls or _is_of(event, slot_id, own)
    slot = room.state.slot
    if slot is not None and slot.open and slot.encryption is not None:
        return PER_MEMBER if slot.encryption in names.PER_MEMBER_TYPES else MLS
    if had_mls:
        return MLS
    others = [one for one in room.memberships(policy, now) if (one.user_id, one.device_id) != own]
    return MLS if any(isinstance(one.block, JoinBlock) for one in others) or not others else PER_MEMBER


def _is_of(event: RoomEvent, slot_id: SlotId, device: tuple[UserId, DeviceId]) -> bool:
    """Whether a membership shows that this device came with MLS, or left."""
    block = (
        getattr(decode_membership(event), "block", None)
        if event.type in names.MEMBER_TYPES | {names.ENCRYPTED}
        else None
    )
    if not isinstance(block, JoinBlock | LeftBlock):
        return False
    return block.slot_id == slot_id and (UserId(event.sender), block.device_id) == device
