"""Our membership where it is one entry of an event that our user's other devices write as well. Sends nothing.

Whoever writes such an event brings along what stood in it, so one that does not hold our entry may be older than our
own, or be from a device that did not know of it yet: only after the room has shown ours does its absence mean that it
is gone.
"""

from dataclasses import dataclass
from typing import TypeAlias

from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.wire import names
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import RtcEvent, RtcMembership, RtcRoll, decode_membership

Other: TypeAlias = tuple[DeviceId | None, SlotId, str]
"""Another device of our user in one participation, or this one in another call."""


@dataclass(slots=True)
class OwnEntry:
    """Our entry: of this device in this call, under the id of the present participation."""

    user_id: UserId
    device_id: DeviceId
    slot_id: SlotId
    rtc_member_id: str = ""
    _shown: bool = False  # the room has shown it since it was written
    _others: frozenset[Other] = frozenset()

    def write(self, rtc_member_id: str, event: RtcEvent | None) -> None:
        """It is written, for the first time or anew. `event`: what stands there at this moment."""
        self.rtc_member_id, self._shown = rtc_member_id, False
        self._others = self._beside(event)

    def see(self, event: RoomEvent) -> None:
        """An event of the room, one that holds."""
        if event.type == names.FAMEDLY_MEMBER and event.sender == self.user_id and not self._shown:
            decoded = decode_membership(event)
            self._shown = isinstance(decoded, RtcRoll) and self.standing(decoded) is not None

    def others_changed(self, event: RtcEvent | None) -> bool:
        """Whether others stand beside our entry than when this was asked last."""
        before, self._others = self._others, self._beside(event)
        return self._others != before

    def standing(self, roll: RtcRoll) -> RtcMembership | None:
        """Our entry; None if there is none."""
        return next((one for one in roll.memberships if one.rtc_member_id == self.rtc_member_id), None)

    def is_lost(self, roll: RtcRoll) -> bool:
        """Whether it was there, and is no more."""
        return self._shown and self.standing(roll) is None

    def _beside(self, event: RtcEvent | None) -> frozenset[Other]:
        return frozenset(
            (one.device_id, one.slot_id, one.rtc_member_id)
            for one in (event.memberships if isinstance(event, RtcRoll) else ())
            if (one.device_id, one.slot_id) != (self.device_id, self.slot_id)
        )
