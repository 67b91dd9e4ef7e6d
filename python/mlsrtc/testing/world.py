"""A world: homeservers that federate over a network, one room, and the connections of devices to it.

The door to the homeserver in memory. Deterministic: everything follows from the `Random` it is given.

    world = World(Random(1), servers=("one.test", "two.test"))
    world.log_in(("@alice:one.test", "PHONE"))
    alice = world.connect(("@alice:one.test", "PHONE"))
    alice.send(SendEvent("txn", "m.room.message", {"body": "hello"}))
    world.run(1.0)
    alice.take()          # what arrived: events, `HistoryComplete`, and the `Answer`
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from mlsrtc.outbox import Request, SendEvent, SendState
from mlsrtc.testing.accounts import Accounts
from mlsrtc.testing.connection import Connection, SyncToken
from mlsrtc.testing.homeserver import Homeserver, Reply
from mlsrtc.testing.limits import Limits
from mlsrtc.testing.network import Hostility, Latency, Network
from mlsrtc.testing.room import CREATORS_VERSION, DeviceName, StoredEvent
from mlsrtc.wire.incoming import Now, RoomEvent
from mlsrtc.wire.names import FAMEDLY_MEMBER, ROOM_MEMBER, STATE_MEMBER, STICKY_MEMBER

# State events that a call sends and that its room must let everybody send.
CALL_STATE = (STATE_MEMBER, STICKY_MEMBER, FAMEDLY_MEMBER)


@dataclass(frozen=True, slots=True)
class RoomSettings:
    """The room at its creation. `moderator` creates it, has power level 100 and is no participant."""

    room_id: str = "!room:one.test"
    version: str = "11"  # 12: the creator is in no power levels; org.matrix.msc3757.11: owned state
    moderator: str = "moderator"  # localpart, on the first server
    history_visibility: str = "shared"
    encrypted: bool = False
    power_levels: Mapping[str, Any] = field(default_factory=dict)  # added to the defaults


class World:
    """Homeservers with one room. `servers`: their names; the first one made the room. `network`: one of your own, in
    place of `latency` and `hostility`."""

    def __init__(
        self,
        random: Random,
        *,
        servers: Sequence[str] = ("one.test",),
        limits: Limits | None = None,
        latency: Latency | None = None,
        hostility: Hostility | None = None,
        room: RoomSettings | None = None,
        network: Network | None = None,
    ) -> None:
        self.network = network or Network(random, latency=latency, hostility=hostility)
        self.settings = room or RoomSettings()
        self.room_id = self.settings.room_id
        directory: dict[str, dict[str, Any]] = {}
        self.servers = {
            name: Homeserver(name, self.network, limits or Limits(), Accounts(directory)) for name in servers
        }
        for name, server in self.servers.items():
            server.peers = {other: peer for other, peer in self.servers.items() if other != name}
        self.connections: dict[DeviceName, Connection] = {}
        self.moderator: DeviceName = (f"@{self.settings.moderator}:{servers[0]}", "MODERATOR")
        self._ready: dict[Connection, None] = {}
        self._requests = 0
        self._create_room()

    # -- time --

    @property
    def now(self) -> Now:
        """The true time on both clocks; no device need have it."""
        return self.network.now

    def run(self, seconds: float) -> None:
        """Lets virtual time pass."""
        self.network.run(seconds)

    def ready(self) -> list[Connection]:
        """The connections at which something arrived since the last call, in the order of arrival."""
        found = list(self._ready)
        self._ready.clear()
        return found

    # -- people --

    def server_of(self, user_id: str) -> Homeserver:
        """The homeserver of a user, by the name in the user id."""
        return self.servers[user_id.partition(":")[2]]

    def log_in(self, device: DeviceName, *, keys: Mapping[str, Any] | None = None, join: bool = True) -> None:
        """Makes a device. `keys`: all of its user's keys, as in `DeviceKeys`. `join`: its user is a member of
        the room, at once and everywhere; else it can enter with `enter`."""
        self.server_of(device[0]).accounts.log_in(device, keys)
        self._devices_changed(device[0])
        if join and self.server_of(device[0]).room.membership(device[0]) != "join":
            self._establish(device[0], ROOM_MEMBER, device[0], {"membership": "join"})

    def connect(self, device: DeviceName, *, since: SyncToken | None = None) -> Connection:
        """Opens the connection of a device that is logged in; an older one is closed."""
        older = self.connections.get(device)
        if older is not None:
            older.close()
        connection = Connection(self.server_of(device[0]), device, since=since, ready=self._note)
        self.connections[device] = connection
        return connection

    def log_out(self, device: DeviceName) -> None:
        """Ends a device at its homeserver. What it scheduled still happens."""
        self.server_of(device[0]).accounts.log_out(device)
        self._devices_changed(device[0])

    # -- acts of others, done at once at the homeserver of who acts --

    def act(self, device: DeviceName, request: Request) -> Reply:
        """Does a request at once, without a connection."""
        return self.server_of(device[0]).handle(device, request)

    def moderate(self, type: str, state_key: str, content: Mapping[str, Any]) -> Reply:
        """The moderator sets a state: erases a membership, changes power, tombstones the room."""
        self._requests += 1
        return self.act(self.moderator, SendState(f"moderator {self._requests}", type, state_key, content))

    def enter(self, user_id: str) -> Reply:
        """A user joins the room, by an event like any other."""
        return self._set_membership((user_id, self._any_device(user_id)), user_id, "join")

    def kick(self, user_id: str) -> Reply:
        """The moderator removes a user from the room."""
        return self._set_membership(self.moderator, user_id, "leave")

    def ban(self, user_id: str) -> Reply:
        """The moderator bans a user."""
        return self._set_membership(self.moderator, user_id, "ban")

    def redact(self, event_id: str) -> Reply:
        """The moderator takes the content out of an event."""
        self._requests += 1
        content = {"redacts": event_id}
        return self.act(self.moderator, SendEvent(f"moderator {self._requests}", "m.room.redaction", content))

    def tombstone(self, replacement: str = "!other:one.test") -> Reply:
        """The moderator closes the room in favour of another one."""
        return self.moderate("m.room.tombstone", "", {"body": "moved", "replacement_room": replacement})

    def erase_memberships(self, user_id: str) -> list[Reply]:
        """The moderator overwrites every call membership that a user has in the room's state, as any
        client with the power level can. It also cancels that user's delayed leaves."""
        room = self.server_of(self.moderator[0]).room
        mine = [
            key
            for key, stored in room.state.items()
            if key[0] in CALL_STATE and stored.event.sender == user_id and stored.event.content
        ]
        return [self.moderate(type, state_key, {}) for type, state_key in mine]

    def chatter(self, messages: int, *, user_id: str | None = None) -> None:
        """People talk: so many messages at once, that no rate limit holds up. Makes gaps in the sync of
        who is away."""
        sender = user_id or self.moderator[0]
        server = self.server_of(sender)
        for _ in range(messages):
            self._requests += 1
            event = RoomEvent(
                type="m.room.message",
                sender=sender,
                event_id=f"$chatter{self._requests}",
                origin_server_ts=self.network.wall_ms,
                content={"msgtype": "m.text", "body": f"message {self._requests}"},
            )
            server.inject(event, federate=True)

    def partition(self, *groups: Iterable[str]) -> None:
        """Cuts the links between groups of servers; see `Network.partition`."""
        self.network.partition(*groups)

    def heal(self) -> None:
        """Mends all links; what waited arrives some seconds later."""
        self.network.heal()

    def sent(self) -> Counter[str]:
        """How many events clients sent on all servers, by type."""
        return sum((server.events for server in self.servers.values()), Counter())

    # -- inside --

    def _devices_changed(self, user_id: str) -> None:
        for connection in self.connections.values():
            connection.devices_changed(user_id)

    def _note(self, connection: Connection) -> None:
        self._ready[connection] = None

    def _any_device(self, user_id: str) -> str:
        return next(device for user, device in self.server_of(user_id).accounts.mailboxes if user == user_id)

    def _set_membership(self, by: DeviceName, user_id: str, membership: str) -> Reply:
        self._requests += 1
        content = {"membership": membership}
        return self.act(by, SendState(f"membership {self._requests}", ROOM_MEMBER, user_id, content))

    def _create_room(self) -> None:
        moderator = self.moderator[0]
        self.server_of(moderator).accounts.log_in(self.moderator)
        levels: dict[str, Any] = {
            "users": {} if self.settings.version == CREATORS_VERSION else {moderator: 100},
            "users_default": 0,
            "state_default": 50,
            "events_default": 0,
            "kick": 50,
            "ban": 50,
            "redact": 50,
            "invite": 0,
            "events": dict.fromkeys(CALL_STATE, 0),
        }
        levels |= self.settings.power_levels
        self._establish(moderator, "m.room.create", "", {"room_version": self.settings.version})
        self._establish(moderator, ROOM_MEMBER, moderator, {"membership": "join"})
        self._establish(moderator, "m.room.power_levels", "", levels)
        self._establish(moderator, "m.room.join_rules", "", {"join_rule": "public"})
        visibility = {"history_visibility": self.settings.history_visibility}
        self._establish(moderator, "m.room.history_visibility", "", visibility)
        if self.settings.encrypted:
            self._establish(moderator, "m.room.encryption", "", {"algorithm": "m.megolm.v1.aes-sha2"})

    def _establish(self, sender: str, type: str, state_key: str, content: Mapping[str, Any]) -> None:
        """State that stands everywhere at once, as if it had been there for long."""
        self._requests += 1
        event = RoomEvent(
            type=type,
            sender=sender,
            event_id=f"$established{self._requests}",
            origin_server_ts=self.network.wall_ms,
            content=content,
            state_key=state_key,
        )
        origin = self.server_of(sender)
        stored = StoredEvent(event, origin.name, replaces=origin.room.history_of((type, state_key)))
        for server in self.servers.values():
            server.take_in(stored)
