"""What of the room's own state a call depends on: slot, power levels, members, encryption, tombstone. JSON ->
values.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsrtc.errors import CannotSend
from mlsrtc.identifiers import SlotId, UserId
from mlsrtc.wire.encoding import check_user_id
from mlsrtc.wire.fields import INTEGER_LIMIT, Field, refuse
from mlsrtc.wire.incoming import RoomEvent

USERS_LIMIT = 5000
EVENTS_LIMIT = 1000
OWNED_STATE = "msc3757"  # in the name of the room versions that have it: org.matrix.msc3757.11
CREATOR_VERSION = 12  # from this room version on, creators stand above every power level (MSC4289)

MEMBERSHIPS = frozenset({"join", "leave", "invite", "ban", "knock"})


@dataclass(frozen=True, slots=True)
class Slot:
    """The slot event of MSC4143: whether a call may be held, and how it is keyed."""

    slot_id: SlotId
    open: bool
    application: str | None = None
    encryption: str | None = None  # ``dev.mlsrtc.mls``, ``m.per_member`` or another


@dataclass(frozen=True, slots=True)
class RoomMember:
    """The membership of a user in the room, and who set it."""

    user_id: UserId
    membership: str  # join, leave, invite, ban, knock
    by: UserId

    @property
    def present(self) -> bool:
        """Whether the user is in the room."""
        return self.membership == "join"


@dataclass(frozen=True, slots=True)
class Creation:
    """m.room.create: who made the room, and its version."""

    creators: frozenset[UserId]
    version: str

    @property
    def creators_stand_above(self) -> bool:
        """Whether creators may do everything whatever the power levels say (room version 12 on)."""
        return not self.version.isdecimal() or int(self.version[:9]) >= CREATOR_VERSION

    @property
    def owned_state(self) -> bool:
        """Whether state keys that begin with a user's id and an underscore are that user's own (MSC3757)."""
        return OWNED_STATE in self.version


@dataclass(frozen=True, slots=True)
class PowerLevels:
    """m.room.power_levels with the specification's defaults; `PowerLevels()` is that of an event without
    fields.
    """

    users: Mapping[UserId, int] = field(default_factory=dict)
    users_default: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    events_default: int = 0
    state_default: int = 50

    def level_of(self, user_id: UserId) -> int:
        """The user's power level."""
        return self.users.get(user_id, self.users_default)

    def needed(self, event_type: str, *, state: bool) -> int:
        """The power level that sending the event needs."""
        return self.events.get(event_type, self.state_default if state else self.events_default)

    def may_send(self, user_id: UserId, event_type: str, *, state: bool, creation: Creation | None = None) -> bool:
        """Whether the user may send the event."""
        return user_id in self.senders((user_id,), event_type, state=state, creation=creation)

    def senders(
        self, users: Iterable[UserId], event_type: str, *, state: bool, creation: Creation | None = None
    ) -> frozenset[UserId]:
        """Those of the users who may send the event."""
        above: frozenset[UserId] = frozenset()
        if creation is not None and creation.creators_stand_above:
            above = creation.creators
        needed, users = self.needed(event_type, state=state), frozenset(users)
        high = {user for user, level in self.users.items() if level >= needed} | above
        return users - (self.users.keys() - high) if self.users_default >= needed else users & high

    def check(self, user_id: UserId, event_type: str, *, state: bool, creation: Creation | None = None) -> None:
        """Raises CannotSend if the user may not send the event."""
        if not self.may_send(user_id, event_type, state=state, creation=creation):
            raise CannotSend(event_type, self.needed(event_type, state=state), self.level_of(user_id))


NO_POWER_LEVELS = PowerLevels(state_default=0)
"""A room without power levels: everybody may send everything, but its creator has 100 (Matrix
specification).
"""


def decode_slot(event: RoomEvent) -> Slot:
    """Raises RemoteProtocolError with the reasons of `Field`. A slot without content, or not ``open``, is
    closed.
    """
    slot_id = Field(event.state_key, "state_key").slot_id()
    content = Field(event.content)
    if content["status"].optional(Field.text) != "open":
        return Slot(slot_id, open=False)
    return Slot(
        slot_id,
        open=True,
        application=content["application"]["type"].text() if "application" in content else None,
        encryption=content["encryption"]["type"].text() if "encryption" in content else None,
    )


def decode_power_levels(content: Mapping[str, Any]) -> PowerLevels:
    """Raises RemoteProtocolError with the reasons of `Field`. Levels must be integers, as in room version 10
    on.
    """
    root = Field(content)
    users, events = root["users"], root["events"]
    return PowerLevels(
        users={}
        if users.absent
        else {check_user_id(name, where=users.where): _level(item) for name, item in users.items(USERS_LIMIT)},
        users_default=_level_or(root["users_default"], 0),
        events={} if events.absent else {name: _level(item) for name, item in events.items(EVENTS_LIMIT)},
        events_default=_level_or(root["events_default"], 0),
        state_default=_level_or(root["state_default"], 50),
    )


def decode_create(event: RoomEvent) -> Creation:
    """Raises RemoteProtocolError with the reasons of `Field`."""
    content = Field(event.content)
    creators = {Field(event.sender, "sender").user_id()}
    if "additional_creators" in content:
        creators |= {item.user_id() for item in content["additional_creators"].list(USERS_LIMIT)}
    return Creation(frozenset(creators), content["room_version"].optional(Field.text) or "1")


def decode_room_member(event: RoomEvent) -> RoomMember:
    """Raises RemoteProtocolError with the reasons of `Field`, and unknown_membership."""
    user_id = Field(event.state_key, "state_key").user_id()
    membership = Field(event.content)["membership"].text()
    if membership not in MEMBERSHIPS:
        refuse("unknown_membership", "content.membership")
    return RoomMember(user_id, membership, Field(event.sender, "sender").user_id())


def decode_encryption(content: Mapping[str, Any]) -> str | None:
    """The algorithm of m.room.encryption. Once a room has had one it stays encrypted, whatever comes
    after.
    """
    return Field(content)["algorithm"].optional(Field.text)


def _level(item: Field) -> int:
    return item.integer(-INTEGER_LIMIT)


def _level_or(item: Field, default: int) -> int:
    return default if item.absent else _level(item)
