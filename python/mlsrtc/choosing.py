"""How a call is keyed, where the application leaves it to the room (`AUTO`)."""

from collections.abc import Iterable
from contextlib import suppress

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.policy import MLS, PER_MEMBER, Encryption, Policy
from mlsrtc.room_state import RoomState
from mlsrtc.roster import Roster
from mlsrtc.wire import names
from mlsrtc.wire.block import JoinBlock
from mlsrtc.wire.incoming import Incoming, Now, RoomEvent
from mlsrtc.wire.membership import decode_membership
from mlsrtc.wire.room import decode_room_member

MEMBERSHIP_TYPES = frozenset({names.STATE_MEMBER}) | names.STICKY_MEMBER_TYPES


def choose(
    incoming: Iterable[Incoming], slot_id: SlotId, own: tuple[UserId, DeviceId], policy: Policy, now: Now
) -> Encryption:
    """What the slot says. Where it says nothing: `PER_MEMBER` if others are in the call and none of them has MLS.

    incoming: all that the room has shown. own: our user and device, whose membership of an earlier time says nothing.
    """
    room, roster = RoomState(slot_id), Roster()
    for event in incoming:
        if isinstance(event, RoomEvent):
            with suppress(RemoteProtocolError):  # The session tells it.
                if event.type == names.ROOM_MEMBER:
                    roster = roster.with_room_member(decode_room_member(event))
                elif event.type not in MEMBERSHIP_TYPES:
                    room = room.with_event(event)
                elif (membership := decode_membership(event)) is not None:
                    roster = roster.with_membership(membership)
    if room.slot is not None and room.slot.open and room.slot.encryption is not None:
        return PER_MEMBER if room.slot.encryption in names.PER_MEMBER_TYPES else MLS
    others = [
        one
        for one in roster.memberships(now.wall_ms, int(policy.clock_skew * 1000))
        if one.slot_id == slot_id and (one.user_id, one.device_id) != own
    ]
    return MLS if any(isinstance(one.block, JoinBlock) for one in others) or not others else PER_MEMBER
