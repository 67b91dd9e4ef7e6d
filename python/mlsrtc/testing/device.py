"""One device of a party: its process lives and dies, its store stays. It drives one session over one
connection.

Knows a session only by `SessionLike`. The order is the driver's: receive, tick, checkpoint, send; a crash
can strike at each seam (`CrashPoint`).
"""

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from mlsrtc.adapters.store import Store
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.outbox import Outcome, Request
from mlsrtc.testing.connection import Answer, Connection, SyncToken
from mlsrtc.testing.identities import LabDevice
from mlsrtc.testing.world import World
from mlsrtc.wire.incoming import Incoming, Now

SCOPE = "call"
SHORTEST_TIMER = 0.001  # seconds; an overdue timer is asked again after this long
OVERDUE_LIMIT = 2000  # timers in a row that are overdue right after `tick`: the session does not get on


class SessionLike(Protocol):
    """The verbs of a session, as the driver uses them (docs/design.md, "The house")."""

    def join(self, now: Now) -> None:
        """Enters the call."""

    def leave(self, now: Now) -> None:
        """Leaves the call."""

    def receive(self, incoming: Incoming, now: Now) -> None:
        """Takes in what the homeserver gave. Raises RemoteProtocolError, and is then unchanged."""

    def tick(self, now: Now) -> None:
        """Does what is due."""

    def next_timer(self) -> float | None:
        """When `tick` is due, in seconds of the monotonic clock."""

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        """Calls `save` with what changed, and releases the requests if that returns."""

    def outgoing(self) -> Sequence[Request]:
        """The released requests that have no outcome yet."""

    def mark_sent(self, request_id: str, outcome: Outcome, now: Now) -> None:
        """What became of a request."""

    def notices(self) -> Sequence[Any]:
        """What is to be told to the application; each is given once."""


class CrashPoint(Enum):
    """Where a process dies."""

    NOW = "now"
    BEFORE_SAVE = "before save"  # the next checkpoint that has something to save does not get written
    AFTER_SAVE = "after save, before send"  # the next requests were saved, and never sent
    AFTER_SEND = "after send, before mark_sent"  # the next request was sent, and its answer reaches nobody


class _Died(Exception):
    """The process died inside a verb."""


class PartyDevice:
    """A device of a party. `session` and `connection` are None while its process is not running.

    `notices`: all that its sessions told, over all its lives. `refused`: what its sessions raised about
    bad input. `lives`: how often its process started.
    """

    def __init__(self, index: int, matrix: LabDevice, world: World, store: Store, factory: "SessionFactory") -> None:
        self.index = index
        self.matrix = matrix
        self.world = world
        self.store = store
        self.session: SessionLike | None = None
        self.connection: Connection | None = None
        self.notices: list[Any] = []
        self.refused: list[RemoteProtocolError] = []
        self.lives = 0
        self.joined = False  # whether the application wants to be in the call
        self.left = False  # whether it wanted to be, and then to leave
        self.last_request = 0.0  # virtual seconds at which it last sent something
        self.wall_skew_ms = 0
        self._factory = factory
        self._monotonic_origin = 0.0
        self._token: SyncToken | None = None
        self._in_flight: set[str] = set()
        self._crash_at: CrashPoint | None = None
        self._alarm: float | None = None
        self._overdue = 0

    def __repr__(self) -> str:
        state = "running" if self.running else "down"
        return f"PartyDevice({self.index}, {self.matrix.user_id}, {self.matrix.device_id}, {state})"

    @property
    def running(self) -> bool:
        """Whether its process runs."""
        return self.session is not None

    @property
    def now(self) -> Now:
        """The time on this device's own clocks. The monotonic one starts anywhere with each process."""
        network = self.world.network
        return Now(network.time - self._monotonic_origin, network.wall_ms + self.wall_skew_ms)

    # -- its life --

    def start(self, *, resume: bool = False) -> None:
        """Starts its process: a session out of the store, and a connection. Nothing if it runs. `resume`:
        the sync goes on where it stood at the last checkpoint; else it starts anew."""
        if self.running:
            return
        network = self.world.network
        self.lives += 1
        self._monotonic_origin = network.time - network.draw((0.0, 1000.0))
        self._in_flight.clear()
        self._crash_at = self._alarm = None
        saved = self.store.load(SCOPE)
        self.session = self._factory(self, saved, self.now)
        self.connection = self.world.connect(self.matrix.name, since=self._token if resume else None)
        # The session knows itself whether it was in the call, unless the process died before that was saved: the
        # application says every time what it wants.
        if self.joined:
            self.session.join(self.now)
        elif self.left:
            self.session.leave(self.now)
        self.pump()

    def crash(self, at: CrashPoint = CrashPoint.NOW) -> None:
        """Kills its process, now or at the next seam of that kind."""
        if not self.running:
            return
        if at is CrashPoint.NOW:
            self._die()
        else:
            self._crash_at = at

    def join(self) -> None:
        """The application joins the call. Nothing if it has. After a leave it is a new call of the application: a new
        process, since a session that is over stays over."""
        if self.session is None or self.joined:
            return
        again, self.joined, self.left = self.left, True, False
        if again:
            self._die()
            self.start()
        else:
            self.session.join(self.now)
            self.pump()

    def leave(self) -> None:
        """The application leaves the call. The process goes on. Nothing if it had not joined."""
        if self.session is not None and self.joined:
            self.joined, self.left = False, True
            self.session.leave(self.now)
            self.pump()

    def step_clock(self, milliseconds: int) -> None:
        """Somebody sets its wall clock. Timers do not feel it."""
        self.wall_skew_ms += milliseconds

    # -- the driver's round --

    def pump(self) -> None:
        """One round: hands over what arrived, ticks, checkpoints, sends. Does nothing if the process is
        down."""
        if self.session is None:
            return
        try:
            self._round(self.session)
        except _Died:
            self._die()

    def _round(self, session: SessionLike) -> None:
        connection = self.connection
        assert connection is not None
        now = self.now
        token = connection.token
        for arrival in connection.take():
            if isinstance(arrival, Answer):
                self._in_flight.discard(arrival.request_id)
                session.mark_sent(arrival.request_id, arrival.outcome, now)
            else:
                try:
                    session.receive(arrival, now)
                except RemoteProtocolError as error:
                    self.refused.append(error)
        self._tick(session, now)
        session.checkpoint(self._save)
        self.notices.extend(session.notices())
        self._token = token
        self._send(session, connection)
        self._set_alarm(session)

    def _tick(self, session: SessionLike, now: Now) -> None:
        due = session.next_timer()
        if due is None or due > now.monotonic:
            self._overdue = 0
            return
        session.tick(now)
        due = session.next_timer()
        self._overdue = self._overdue + 1 if due is not None and due <= now.monotonic else 0
        if self._overdue > OVERDUE_LIMIT:
            raise AssertionError(f"{self!r}: next_timer stays in the past however often it is ticked")

    def _save(self, changes: Mapping[str, bytes | None]) -> None:
        if self._crash_at is CrashPoint.BEFORE_SAVE and changes:
            raise _Died
        self.store.save({SCOPE: changes})

    def _send(self, session: SessionLike, connection: Connection) -> None:
        for request in session.outgoing():
            if request.id in self._in_flight:
                continue
            if self._crash_at is CrashPoint.AFTER_SAVE:
                raise _Died
            self._in_flight.add(request.id)
            self.last_request = self.world.network.time
            connection.send(request)
            if self._crash_at is CrashPoint.AFTER_SEND:
                raise _Died

    def _set_alarm(self, session: SessionLike) -> None:
        due = session.next_timer()
        if due is None:
            return
        network = self.world.network
        moment = max(due + self._monotonic_origin, network.time + SHORTEST_TIMER)
        if self._alarm is not None and network.time < self._alarm <= moment:
            return
        self._alarm = moment
        life = self.lives

        def ring() -> None:
            if self._alarm == moment and self.lives == life:
                self._alarm = None
                self.pump()

        network.at(moment, ring)

    def _die(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.session = self.connection = None
        self._crash_at = self._alarm = None


SessionFactory = Callable[[PartyDevice, Mapping[str, bytes], Now], SessionLike]
"""Makes a device's session: who it is (`device.matrix`, `device.world.room_id`), what its store holds, its
time."""
