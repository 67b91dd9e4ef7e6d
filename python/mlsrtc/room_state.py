"""The room's own rules: who may send what, whether it is encrypted, has a slot for calls, and is still in use.

Pure and immutable: every state event gives a new value. Who is in the room is the roster's to know.
"""

from collections.abc import Container, Iterable
from dataclasses import dataclass, replace

from mlsrtc.identifiers import SlotId, UserId
from mlsrtc.wire import names
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.room import (
    NO_POWER_LEVELS,
    Creation,
    PowerLevels,
    Slot,
    decode_create,
    decode_encryption,
    decode_power_levels,
    decode_slot,
)


@dataclass(frozen=True, slots=True)
class RoomState:
    """What of the room's state a call in one slot depends on. `slot`: its event, if there was one; where there is none,
    as in today's rooms, a call may be held."""

    slot_id: SlotId
    levels: PowerLevels = NO_POWER_LEVELS
    creation: Creation | None = None
    encrypted: bool = False
    slot: Slot | None = None
    tombstoned: bool = False

    def with_event(self, event: RoomEvent) -> "RoomState":
        """The state after one more state event; any other event changes nothing. Raises RemoteProtocolError."""
        if event.type in names.SLOT_TYPES and event.state_key == self.slot_id:
            return replace(self, slot=decode_slot(event))
        if event.state_key != "":
            return self
        match event.type:
            case names.POWER_LEVELS:
                return replace(self, levels=decode_power_levels(event.content))
            case names.ROOM_CREATE:
                return replace(self, creation=decode_create(event))
            case names.ROOM_ENCRYPTION:
                # Once encrypted, a room stays so.
                return replace(self, encrypted=self.encrypted or decode_encryption(event.content) is not None)
            case names.TOMBSTONE:
                return replace(self, tombstoned=True)
            case _:
                return self

    def closed(self, encryption: Container[str]) -> str | None:
        """Why no call that is keyed so may be held: room_closed, slot_closed or slot_encryption (the slot's is none of
        these); None if one may."""
        if self.tombstoned:
            return "room_closed"
        if self.slot is not None and not self.slot.open:
            return "slot_closed"
        if self.slot is not None and self.slot.encryption is not None and self.slot.encryption not in encryption:
            return "slot_encryption"
        return None

    def committers(self, users: Iterable[UserId]) -> frozenset[UserId]:
        """Those of the users that the power levels let send commits."""
        return self.levels.senders(users, names.COMMIT, state=False, creation=self.creation)

    def check_membership_power(self, user: UserId, membership_type: str, *, state: bool) -> None:
        """Raises CannotSend if the room does not let this user write a membership."""
        self.levels.check(user, membership_type, state=state, creation=self.creation)

    def check_key_power(self, user: UserId) -> None:
        """Raises CannotSend if the room does not let this user hand out keys as room events."""
        kind = names.ENCRYPTED if self.encrypted else names.KEYS_ELEMENT
        self.levels.check(user, kind, state=False, creation=self.creation)

    def check_commit_power(self, user: UserId) -> None:
        """Raises CannotSend if the room does not let this user take part in a call with MLS."""
        for kind in (names.COMMIT, names.WORD):
            self.levels.check(user, kind, state=False, creation=self.creation)
