"""The server that orders commits: it keeps the first of each epoch and tells all.

It is a part of the first homeserver: it sees memberships as they come in, and takes as long as that does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Gone, Joined, RoomNews, key_name
from mlsrtc.testing.network import Work


class Who(Enum):
    """Who commits."""

    ALL = "all"  # every member, and the server keeps the first
    OLDEST = "oldest"  # the member that is there the longest
    JOINER = "joiner"  # who joins, by an external commit; for who leaves, the oldest


@dataclass(frozen=True, slots=True)
class Settings:
    """`wait`: senders move when all have said that they have the epoch, or after so long; None: each at once."""

    who: Who
    wait: float | None
    one_joiner: bool = False
    tree: str = "blank"


@dataclass(frozen=True, slots=True)
class Committed:
    epoch: int
    by: int
    members: frozenset[int]
    added: frozenset[int]


@dataclass(frozen=True, slots=True)
class Proposed:
    epoch: int
    added: frozenset[int]
    removed: frozenset[int]


@dataclass(frozen=True, slots=True)
class Execute:
    epoch: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """Another commit was first."""


@dataclass(frozen=True, slots=True)
class Info:
    """What an external commit needs."""

    epoch: int


class Server:
    """Keeps one commit for each epoch; counts who is ready."""

    def __init__(self, hall: Hall, settings: Settings) -> None:
        self.hall = hall
        self.settings = settings
        self.epoch = 0
        self.members: frozenset[int] = frozenset()
        self.present: dict[int, None] = {}  # in the order of their joins
        self._proposed = -1  # the epoch that proposals are out for
        self._executed = 0
        self._ready: dict[int, set[int]] = {}
        self._waiting: list[int] = []  # for a group to come in to
        hall.on_room = self.news

    def settle(self, members: Sequence[int]) -> None:
        """The group has stood for long."""
        self.members = frozenset(members)
        self.present = dict.fromkeys(sorted(members))

    def bytes(self, what: str) -> int:
        """A message's size in the group as it is now."""
        return self.hall.primitives.size(f"{what}, {self.settings.tree} tree", max(2, len(self.members)))

    def news(self, news: RoomNews) -> None:
        """A membership began or ended."""
        match news:
            case Joined(stay):
                self.present[stay] = None
            case Gone(stay, next_stay):
                self.present.pop(stay, None)
                for ready in self._ready.values():
                    ready.discard(stay)
                if next_stay is not None:
                    self.present[next_stay] = None
            case _:
                return
        self.look()

    def look(self) -> None:
        """Whether anything is to be done about who is there."""
        if not self.members & self.present.keys():
            if self.present:
                self._found()
        elif self.settings.who is Who.ALL:
            self._propose()
        self._look_at_ready()

    def _found(self) -> None:
        """Nobody of the group is there: whoever has joined first begins a new one."""
        first = next(iter(self.present))
        self._accept(Committed(self.epoch + 1, first, frozenset([first]), frozenset([first])), 0)

    def _propose(self) -> None:
        added = frozenset(self.present.keys() - self.members)
        removed = frozenset(self.members - self.present.keys())
        if (added or removed) and self._proposed != self.epoch:
            self._proposed = self.epoch
            size = len(added) * self.bytes("key package") + len(removed) * self.hall.primitives.size("small")
            self.hall.announce(Proposed(self.epoch, added, removed), size, work=Work.OTHER)

    def inform(self, stay: int) -> None:
        """Somebody wants to commit itself in: tells it the group as it is, or as soon as there is one."""
        if self.members & self.present.keys() - {stay}:
            self.hall.reply(stay, Info(self.epoch), self.bytes("group info"))
        else:
            self._waiting.append(stay)

    def commit(self, by: int, epoch: int, members: frozenset[int], size: int) -> None:
        """A commit has come."""
        if epoch != self.epoch or by not in self.present:
            self.hall.reply(by, Conflict(), self.hall.primitives.size("small"))
            return
        self._accept(Committed(epoch + 1, by, members, members - self.members), size)

    def _accept(self, made: Committed, size: int) -> None:
        self.epoch, self.members = made.epoch, made.members
        self.hall.record.made_for(key_name(-1, made.epoch), made.members)
        self.hall.announce(made, size)
        if self.settings.wait is not None:
            self._ready[made.epoch] = set()
            self.hall.network.after(self.settings.wait, lambda: self._execute(made.epoch))
        waiting, self._waiting = self._waiting, []
        for stay in waiting:
            self.inform(stay)
        self.look()

    def ready(self, by: int, epoch: int) -> None:
        """A member says that it has an epoch, and so all before it."""
        for waiting, ready in self._ready.items():
            if waiting <= epoch:
                ready.add(by)
        self._look_at_ready()

    def _look_at_ready(self) -> None:
        there = self.members & self.present.keys()
        for epoch in [epoch for epoch, ready in self._ready.items() if there <= ready]:
            self._execute(epoch)

    def _execute(self, epoch: int) -> None:
        if self._ready.pop(epoch, None) is not None and epoch > self._executed:
            self._executed = epoch
            self.hall.announce(Execute(epoch), self.hall.primitives.size("small"), work=Work.OTHER)
