"""One room as one homeserver sees it: its timeline in order of arrival, its state, who may do and read what.

Knows the rules of Matrix rooms that a call can feel (authorization, last writer per state key, history
visibility, redaction, soft failure), and nothing of the network, of clients or of MLS. A room graph is not
kept: an event carries what its own server knew of the state it replaces, which decides the same conflicts.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.names import POWER_LEVELS, ROOM_CREATE, ROOM_MEMBER

StateKey = tuple[str, str]
DeviceName = tuple[str, str]
"""(user_id, device_id)"""

HISTORY_VISIBILITY = "m.room.history_visibility"
REDACTION = "m.room.redaction"

CREATORS_VERSION = "12"
ABOVE_ALL = 2**53  # beyond the integers that canonical JSON allows in power levels
OWNED_STATE_VERSION = "org.matrix.msc3757."  # state keys `@user:server_...` are that user's (MSC3757)

# What a redaction leaves of the content, by type (room version 11); everything else loses all of it.
_SURVIVES = {
    ROOM_MEMBER: ("membership",),
    POWER_LEVELS: (
        "ban",
        "events",
        "events_default",
        "invite",
        "kick",
        "redact",
        "state_default",
        "users",
        "users_default",
    ),
    HISTORY_VISIBILITY: ("history_visibility",),
    "m.room.join_rules": ("join_rule",),
}


@dataclass(frozen=True, slots=True, eq=False)
class StoredEvent:
    """An event as the homeservers pass it among each other. The same object lies in every server's room."""

    event: RoomEvent
    origin: str  # the server that made it
    size: int = 0  # bytes of its content
    device: DeviceName | None = None  # who is shown the transaction id
    transaction_id: str | None = None
    replaces: frozenset[str] = frozenset()  # ids of all earlier state under this key that its origin knew
    authority: "StoredEvent | None" = None  # the membership that allowed its sender to send
    sticky_until_ms: int | None = None
    ciphertext: RoomEvent | None = None  # what those without the Megolm session see
    readers: frozenset[DeviceName] = frozenset()  # the devices that got the Megolm session

    def shown_to(self, viewer: DeviceName) -> RoomEvent:
        """The event as this device is shown it: with its own transaction id, decrypted if it has the
        session."""
        event = self.event
        if self.ciphertext is not None and viewer not in self.readers:
            event = self.ciphertext
        if self.transaction_id is not None and viewer == self.device:
            event = replace(event, transaction_id=self.transaction_id)
        return event


@dataclass(slots=True)
class Room:
    """The room of one homeserver. Positions are places in its timeline; they never change."""

    timeline: list[StoredEvent] = field(default_factory=list)
    state: dict[StateKey, StoredEvent] = field(default_factory=dict)
    sticky: list[StoredEvent] = field(default_factory=list)  # the sticky stream, in order of arrival
    _known: dict[str, StoredEvent] = field(default_factory=dict)
    _position: dict[str, int] = field(default_factory=dict)
    _rivals: dict[StateKey, list[StoredEvent]] = field(default_factory=dict)
    _redactions: dict[str, str] = field(default_factory=dict)
    _stays: dict[str, list[list[int]]] = field(default_factory=dict)  # user -> [first, last] positions of each stay

    # -- what arrives --

    def add(self, stored: StoredEvent) -> bool:
        """Takes an event in. False if it was known, or soft-failed: its sender is no room member here by now.

        A soft-failed event is kept for reference and shown to nobody, as the server-server specification
        demands.
        """
        event_id = stored.event.event_id
        if event_id in self._known:
            return False
        if stored.authority is not None:
            # A real server fetches the authorizing events it has not got before it judges an event.
            self.add(stored.authority)
        event = stored.event
        if event_id in self._redactions:
            stored = replace(stored, event=_pruned(event), ciphertext=None)
        self._known[event_id] = stored
        enters = event.type == ROOM_MEMBER and event.state_key == event.sender
        if stored.authority is not None and not enters and self.membership(event.sender) != "join":
            return False
        self._position[event_id] = len(self.timeline)
        self.timeline.append(stored)
        if stored.sticky_until_ms is not None:
            self.sticky.append(stored)
        if event.state_key is not None:
            self._resolve((event.type, event.state_key), stored)
        if event.type == REDACTION:
            self._redact(str(event.content.get("redacts")), event_id)
        return True

    def _resolve(self, key: StateKey, stored: StoredEvent) -> None:
        """The state under one key: the event that nothing else replaces; of several (a fork) the latest by
        its own timestamp, then by id. A function of the set of events, whatever their order of arrival."""
        rivals = self._rivals.setdefault(key, [])
        event_id = stored.event.event_id
        if any(event_id in rival.replaces for rival in rivals):
            return
        rivals[:] = [rival for rival in rivals if rival.event.event_id not in stored.replaces]
        rivals.append(stored)
        current = max(rivals, key=lambda rival: (rival.event.origin_server_ts, rival.event.event_id))
        self.state[key] = current
        if key[0] == ROOM_MEMBER:
            self._track(key[1], current.event.content.get("membership") == "join")

    def _track(self, user_id: str, joined: bool) -> None:
        stays = self._stays.setdefault(user_id, [])
        here = len(self.timeline) - 1
        inside = bool(stays) and stays[-1][1] < 0
        if joined and not inside:
            stays.append([here, -1])
        elif not joined and inside:
            stays[-1][1] = here

    def _redact(self, target: str, redaction: str) -> None:
        self._redactions[target] = redaction
        stored = self._known.get(target)
        if stored is None:
            return
        pruned = replace(stored, event=_pruned(stored.event), ciphertext=None)
        self._known[target] = pruned
        if target in self._position:
            self.timeline[self._position[target]] = pruned
        for holder in (*self._rivals.values(), self.sticky):
            holder[:] = [pruned if held is stored else held for held in holder]
        for key, held in self.state.items():
            if held is stored:
                self.state[key] = pruned

    # -- what is known --

    def find(self, event_id: str) -> StoredEvent | None:
        """An event of the timeline by its id; None if it is unknown or soft-failed."""
        return self._known[event_id] if event_id in self._position else None

    def position(self, event_id: str) -> int:
        """Where an event of the timeline stands."""
        return self._position[event_id]

    def current(self, type: str, state_key: str = "") -> RoomEvent | None:
        """The current state event under a key."""
        stored = self.state.get((type, state_key))
        return None if stored is None else stored.event

    def history_of(self, key: StateKey) -> frozenset[str]:
        """What a new event under this key replaces: the present state and all that went before it."""
        return frozenset().union(*({r.event.event_id} | r.replaces for r in self._rivals.get(key, ())))

    def membership(self, user_id: str) -> str:
        """`join`, `leave`, `ban`, `invite` or `knock`; `leave` for whom the room has never seen."""
        event = self.current(ROOM_MEMBER, user_id)
        return "leave" if event is None else str(event.content.get("membership", "leave"))

    def members(self) -> Iterator[str]:
        """The users who have joined."""
        for (type, state_key), stored in self.state.items():
            if type == ROOM_MEMBER and stored.event.content.get("membership") == "join":
                yield state_key

    # -- who may do what --

    def power(self, user_id: str) -> int:
        """The power level of a user. From room version 12 on the creator's is above every number."""
        create = self.current(ROOM_CREATE)
        if create is not None and create.sender == user_id and self._version() == CREATORS_VERSION:
            return ABOVE_ALL
        levels = self._levels()
        return int(levels.get("users", {}).get(user_id, levels.get("users_default", 0)))

    def need(self, type: str, *, state: bool) -> int:
        """The power level that sending an event of this type takes."""
        levels = self._levels()
        default = levels.get("state_default", 50) if state else levels.get("events_default", 0)
        return int(levels.get("events", {}).get(type, default))

    def _version(self) -> str:
        create = self.current(ROOM_CREATE)
        return "" if create is None else str(create.content.get("room_version"))

    def _levels(self) -> Mapping[str, Any]:
        event = self.current(POWER_LEVELS)
        return {} if event is None else event.content

    def allows(self, event: RoomEvent) -> bool:
        """Whether the room's state authorizes this event (the authorization rules, as far as a call meets
        them)."""
        if event.type == ROOM_MEMBER and event.state_key is not None:
            return self._allows_membership(event.sender, event.state_key, str(event.content.get("membership")))
        if self.membership(event.sender) != "join":
            return False
        state_key = event.state_key
        if state_key is not None and state_key.startswith("@") and state_key != event.sender:
            owned = state_key.startswith(event.sender + "_") and self._version().startswith(OWNED_STATE_VERSION)
            if not owned:
                return False
        if self.power(event.sender) < self.need(event.type, state=state_key is not None):
            return False
        if event.type == REDACTION:
            target = self.find(str(event.content.get("redacts")))
            own = target is not None and target.event.sender == event.sender
            return own or self.power(event.sender) >= int(self._levels().get("redact", 50))
        return True

    def _allows_membership(self, sender: str, target: str, membership: str) -> bool:
        was, levels, power = self.membership(target), self._levels(), self.power(sender)
        if sender == target:
            if membership == "join":
                return was != "ban"
            return membership == "leave" and was in ("join", "invite")
        if self.membership(sender) != "join":
            return False
        if membership == "invite":
            return was not in ("join", "ban") and power >= int(levels.get("invite", 0))
        level = "kick" if membership == "leave" and was != "ban" else "ban"
        return membership in ("leave", "ban") and power >= int(levels.get(level, 50)) and power > self.power(target)

    # -- who may read what --

    def visible(self, user_id: str, position: int) -> bool:
        """Whether the user may read the event at this position (history visibility, by its present
        setting)."""
        stays = self._stays.get(user_id)
        if not stays:
            return False
        setting = self.current(HISTORY_VISIBILITY)
        if setting is None or setting.content.get("history_visibility") in ("shared", "world_readable"):
            return stays[-1][1] < 0 or position <= stays[-1][1]
        return any(first <= position and (last < 0 or position <= last) for first, last in stays)

    def first_of_stay(self, user_id: str) -> int:
        """The position at which the user's last stay began; the user must have joined."""
        return self._stays[user_id][-1][0]


def _pruned(event: RoomEvent) -> RoomEvent:
    kept = _SURVIVES.get(event.type, ())
    return replace(event, content={name: event.content[name] for name in kept if name in event.content})
