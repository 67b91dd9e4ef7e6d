"""Virtual time and the links between homeservers: partitions, latency, order, duplicates, loss.

Knows callables and a heap, nothing of rooms or MLS. No real clock is read: the same `Random` gives the
same run.
"""

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from random import Random

from mlsrtc.wire.incoming import Now

Action = Callable[[], None]

# A date for the wall clock to start at: 2026-01-01T00:00:00Z. Nothing may depend on it.
START_MS = 1_767_225_600_000


@dataclass(frozen=True, slots=True)
class Latency:
    """One-way delays in seconds, drawn evenly from each range.

    The defaults lie near what was measured on Synapse: a state event 66 ms to a local and 248 ms to a
    federated client.
    """

    client: tuple[float, float] = (0.015, 0.045)  # device to homeserver, and back
    federation: tuple[float, float] = (0.08, 0.25)  # homeserver to homeserver
    healing: tuple[float, float] = (0.5, 4.0)  # until a link tries again after a cut; Synapse needs 3.9-5.5 s


@dataclass(slots=True)
class Hostility:
    """How badly the world behaves, as probabilities per message (0..1) and as seconds. All zero: an honest
    world.

    It may be changed while the world runs.
    """

    duplicate: float = 0.0  # a federation message arrives twice, or a sync answer is handed over twice
    reorder: float = 0.0  # messages on one link, and requests, overtake each other by up to so many seconds
    to_device_loss: float = 0.0
    to_device_delay: float = 0.0  # up to this many seconds more
    answer_loss: float = 0.0  # the homeserver did what was asked, but its answer never arrives
    failure: float = 0.0  # the homeserver answers 502 and did nothing


class Work(Enum):
    """What a homeserver is busy with. An honest one of a test takes no time for any of it; see `Network.serve`."""

    EVENT = "event"  # takes in a room event of its own client
    STATE = "state"  # takes in a state event of its own client
    FEDERATED = "federated"  # takes in an event of another server
    TO_DEVICE = "to_device"  # takes in a request with to-device messages
    OTHER = "other"  # answers any other request
    SYNC_EVENT = "sync_event"  # answers a sync with news of the room
    SYNC_STATE = "sync_state"  # answers a sync that brings state
    SYNC_TO_DEVICE = "sync_to_device"  # answers a sync with to-device messages only


@dataclass(slots=True)
class _Link:
    cut: bool = False
    last_arrival: float = 0.0
    waiting: list[Action] = field(default_factory=list)


class Network:
    """A heap of what is going to happen, and the links between the homeservers that joined it.

    `random` is the only source of chance. `time` is seconds since the start, `wall_ms` milliseconds since
    the epoch.
    """

    def __init__(self, random: Random, *, latency: Latency | None = None, hostility: Hostility | None = None) -> None:
        self.random = random
        self.latency = latency or Latency()
        self.hostility = hostility or Hostility()
        self.time = 0.0
        self._heap: list[tuple[float, int, Action]] = []
        self._count = 0
        self._links: dict[tuple[str, str], _Link] = {}
        self._latencies: dict[tuple[str, str], tuple[float, float]] = {}

    @property
    def wall_ms(self) -> int:
        """The true time of day, in milliseconds since the epoch."""
        return START_MS + round(self.time * 1000)

    @property
    def now(self) -> Now:
        """The true time on both clocks."""
        return Now(self.time, self.wall_ms)

    # -- the heap --

    def after(self, delay: float, action: Action) -> None:
        """Does `action` in `delay` seconds of virtual time, after what was asked earlier for the same
        moment."""
        self.at(self.time + max(delay, 0.0), action)

    def at(self, moment: float, action: Action) -> None:
        """Does `action` at `moment` (seconds since the start), or at once if that has passed."""
        self._count += 1
        heapq.heappush(self._heap, (max(moment, self.time), self._count, action))

    def next_moment(self) -> float | None:
        """When the next thing happens, or None if nothing is due ever."""
        return self._heap[0][0] if self._heap else None

    def step(self) -> bool:
        """Lets the next thing happen. False if there is none."""
        if not self._heap:
            return False
        self.time, _, action = heapq.heappop(self._heap)
        action()
        return True

    def run_to(self, moment: float) -> None:
        """Lets everything happen that is due up to `moment`; the clock then stands there."""
        while self._heap and self._heap[0][0] <= moment:
            self.step()
        self.time = max(self.time, moment)

    def run(self, seconds: float) -> None:
        """Lets `seconds` of virtual time pass."""
        self.run_to(self.time + seconds)

    # -- homeservers at work --

    def serve(self, server: str, work: Work, messages: int, action: Action) -> None:
        """Does `action` when a homeserver has done this work: at once here. A simulation of slow homeservers overrides
        it. `messages`: to-device messages in the request."""
        action()

    # -- chance --

    def draw(self, bounds: tuple[float, float]) -> float:
        """A delay out of a range, in seconds."""
        return bounds[0] + (bounds[1] - bounds[0]) * self.random.random()

    def chance(self, probability: float) -> bool:
        """True with the given probability. A probability of zero costs no draw, so honest worlds stay
        comparable."""
        return probability > 0.0 and self.random.random() < probability

    # -- links --

    def set_latency(self, source: str, target: str, bounds: tuple[float, float]) -> None:
        """Gives one direction of one link its own range of one-way delays, in seconds."""
        self._latencies[source, target] = bounds

    def carry(self, source: str, target: str, action: Action) -> None:
        """Carries something from one homeserver to another: `action` is its arrival.

        A link keeps its order unless `hostility.reorder` says otherwise; over a cut link it waits for the
        healing.
        """
        link = self._link(source, target)
        if link.cut:
            link.waiting.append(action)
            return
        moment = self.time + self.draw(self._latencies.get((source, target), self.latency.federation))
        if self.hostility.reorder > 0.0:
            moment += self.hostility.reorder * self.random.random()
        else:
            moment = link.last_arrival = max(moment, link.last_arrival)
        self.at(moment, action)
        if self.chance(self.hostility.duplicate):
            self.at(moment + self.draw(self.latency.federation), action)

    def partition(self, *groups: Iterable[str]) -> None:
        """Cuts every link between servers of different groups; links inside a group, or of servers in
        none, stay."""
        place = {server: number for number, group in enumerate(groups) for server in group}
        for source, here in place.items():
            for target, there in place.items():
                if here != there:
                    self._link(source, target).cut = True

    def heal(self) -> None:
        """Mends every link. What waited arrives after the healing time, in its order or shuffled
        (`reorder`)."""
        for (source, target), link in sorted(self._links.items()):
            if not link.cut:
                continue
            link.cut = False
            waiting, link.waiting = link.waiting, []
            self.after(self.draw(self.latency.healing), self._resend(source, target, waiting))

    def is_cut(self, source: str, target: str) -> bool:
        """Whether nothing gets from source to target at present."""
        return source != target and self._link(source, target).cut

    def _resend(self, source: str, target: str, waiting: list[Action]) -> Action:
        def resend() -> None:
            for action in waiting:
                self.carry(source, target, action)

        return resend

    def _link(self, source: str, target: str) -> _Link:
        link = self._links.get((source, target))
        if link is None:
            link = self._links[source, target] = _Link()
        return link
