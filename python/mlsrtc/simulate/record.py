"""What happened in one run of one scheme, as everybody's keys: who sends under which key from when, who can open it
from when, and what that took. Decides nothing.

A key is a name: any hashable value. A key of a whole group has one name for all its senders.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

Key = Hashable
CLEAR: Key = "clear"
"""Not a key: what is sent under it is not encrypted, and everybody can open it."""
COUNTS = ("to_device", "room_events", "requests", "memberships", "bytes_up", "bytes_down")
"""What is counted: messages to one device, events of the room (among them memberships, which are told apart), requests
to a server that takes part, and bytes of content."""
Operation = tuple[str, int]
"""What was computed, and for a group how large it was (else 0)."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What was counted up to some moment."""

    counts: Counter[str]
    operations: Counter[Operation]
    session_seconds: float | None
    homeserver_seconds: float


@dataclass(slots=True)
class Record:
    """One run. Stays are numbered as in the trace; times are seconds of the trace.

    `switches`: for each stay, when it began to send under which key; None: it sends nothing. `held`: for each key, from
    when each stay can open it. A stay that is over is taken to keep all it had, and to get what is still sent to it.
    `members`: the stays that a group's key was made for, whether they took it or not.
    """

    switches: dict[int, list[tuple[float, Key | None]]] = field(default_factory=lambda: defaultdict(list))
    held: dict[Key, dict[int, float]] = field(default_factory=lambda: defaultdict(dict))
    members: dict[Key, frozenset[int]] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)  # see COUNTS
    operations: Counter[Operation] = field(default_factory=Counter)
    marks: list[Costs] = field(default_factory=list)
    homeserver_seconds: float = 0.0
    session_seconds: float | None = None  # processor time of real sessions, everything included

    def sends(self, stay: int, key: Key | None, time: float) -> None:
        """From now on a stay sends under this key."""
        switches = self.switches[stay]
        if not switches or switches[-1][1] != key:
            switches.append((time, key))

    def holds(self, stay: int, key: Key, time: float) -> None:
        """From now on a stay can open what is sent under this key."""
        self.held[key].setdefault(stay, time)

    def made_for(self, key: Key, stays: Iterable[int]) -> None:
        """A group's key belongs to these stays."""
        if key not in self.members:
            self.members[key] = frozenset(stays)

    def opens(self, stay: int, key: Key) -> bool:
        """Whether a stay can ever open this key."""
        return key == CLEAR or stay in self.held.get(key, ()) or stay in self.members.get(key, ())

    def count(self, name: str, number: float = 1) -> None:
        """Adds to a count."""
        self.counts[name] += number  # type: ignore[assignment]

    def computed(self, what: str, times: int = 1, size: int = 0) -> None:
        """Something was computed so many times, in a group of this size."""
        self.operations[what, size] += times

    def mark(self, homeserver_seconds: float) -> None:
        """Puts down what was counted up to now, and how long homeservers have worked."""
        counted = self.counts.copy(), self.operations.copy()
        self.marks.append(Costs(*counted, self.session_seconds, homeserver_seconds))
