"""The room as a call without MLS sees it: its own rules, and the memberships as every client writes them.

Pure and immutable: every event gives a new value. Knows no key and no trust.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from mlsrtc.policy import Policy
from mlsrtc.room_state import RoomState
from mlsrtc.roster import Roster
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Now, RoomEvent
from mlsrtc.wire.membership import RtcMembership, decode_membership
from mlsrtc.wire.room import decode_room_member


@dataclass(frozen=True, slots=True)
class PlainRoom:
    """One room, about one slot."""

    state: RoomState
    roster: Roster = field(default_factory=Roster)

    def with_event(self, event: RoomEvent) -> "PlainRoom":
        """The room after one more event. Raises RemoteProtocolError."""
        if event.type == names.ROOM_MEMBER:
            return replace(self, roster=self.roster.with_room_member(decode_room_member(event)))
        if event.type in names.MEMBER_TYPES:
            decoded = decode_membership(event)
            return self if decoded is None else replace(self, roster=self.roster.with_membership(decoded))
        return replace(self, state=self.state.with_event(event))

    def memberships(self, policy: Policy, now: Now) -> Sequence[RtcMembership]:
        """Those of the slot that stand, oldest first."""
        standing = self.roster.memberships(now.wall_ms, int(policy.clock_skew * 1000))
        return [membership for membership in standing if membership.slot_id == self.state.slot_id]
