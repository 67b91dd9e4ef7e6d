"""MLS ordered by a server: it keeps the first commit of each epoch and tells all. How Discord (DAVE), Webex, Wire and
Cloudflare's Orange Meets differ is who commits, for how many at once, and when senders move.
"""

from collections.abc import Callable, Sequence

from mlsrtc.simulate.constants import Constant, assumed
from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Peer, key_name
from mlsrtc.simulate.schemes.ordering import Committed, Conflict, Execute, Info, Proposed, Server, Settings, Who
from mlsrtc.simulate.schemes.scheme import Model


class Member(Peer):
    """One device."""

    def __init__(self, hall: Hall, me: int, server: Server, settings: Settings) -> None:
        super().__init__(hall, me)
        self.server = server
        self.settings = settings
        self.inside = False
        self.epoch = -1
        self.group: frozenset[int] = frozenset()
        self._sent = -1  # the epoch that our commit is out for
        self._first = 0  # the epoch that we came in with
        self._sending = -1

    def join(self) -> None:
        """With an external commit, ask what it needs."""
        self.inside = True
        if self.settings.who is Who.JOINER:
            self._ask()

    def settled(self) -> None:
        """All are in one group."""
        everybody = self.others | {self.me}
        self.server.settle(sorted(everybody))
        self.inside, self.epoch, self.group = True, 0, frozenset(everybody)
        key = key_name(-1, 0)
        self.hall.record.made_for(key, everybody)
        self.hall.record.holds(self.me, key, -1.0)
        self._move(0)

    def changed(self, joined: Sequence[int], left: Sequence[int]) -> None:
        """The oldest commits."""
        self._look()

    def said(self, sender: int, what: object) -> None:
        """A commit, proposals, or the word to move."""
        match what:
            case Committed():
                self._take(what)
            case Proposed(epoch, added, removed) if epoch == self.epoch:
                self._commit(self.group - removed | added)
            case Execute(epoch):
                self._move(epoch)
            case _:
                pass

    def received(self, messages: Sequence[tuple[int, object]]) -> None:
        """What the server answers."""
        for _, what in messages:
            match what:
                case Info(epoch) if self.epoch < 0:
                    self._join_external(epoch)
                case Conflict():
                    self._sent = -1
                    if self.epoch < 0 and self.settings.who is Who.JOINER:
                        self._ask()
                    self._look()

    # -- committing --

    def _look(self) -> None:
        if not self.inside or self.epoch < 0 or self._sent == self.epoch or self.settings.who is Who.ALL:
            return
        there = self.others | {self.me}
        if min(self.group & there, default=-1) != self.me:
            return
        removed = self.group - there
        added = frozenset() if self.settings.who is Who.JOINER else there - self.group
        if self.settings.one_joiner:
            added = frozenset(sorted(added)[:1])
        if added or removed:
            self._commit(frozenset(self.group - removed | added))

    def _commit(self, members: frozenset[int]) -> None:
        epoch, added = self.epoch, members - self.group
        self._sent = epoch
        removes = bool(self.group - members)
        self.hall.record.computed(
            f"commit, {'remove' if removes else 'add'}, {self.settings.tree} tree", 1, len(self.group)
        )
        size = self.server.bytes(f"commit, {'remove' if removes else 'add'}")
        size += (len(added) - (not removes)) * self.server.bytes("key package") if added else 0
        size += self.server.bytes("welcome") if added else 0
        self.hall.ask(self.me, lambda: self.server.commit(self.me, epoch, members, size), size)

    def _ask(self) -> None:
        small = self.hall.primitives.size("small")

        self.hall.ask(self.me, lambda: self.server.inform(self.me), small)

    def _join_external(self, epoch: int) -> None:
        self.hall.record.computed(f"external join, {self.settings.tree} tree", 1, max(2, len(self.server.members)))
        size = self.server.bytes("external commit")

        def arrive() -> None:
            self.server.commit(self.me, epoch, self.server.members | {self.me}, size)

        self.hall.ask(self.me, arrive, size)

    # -- epochs --

    def _take(self, made: Committed) -> None:
        record, key = self.hall.record, key_name(-1, made.epoch)
        if not self.inside or self.me not in made.members:
            return
        if made.by != self.me:
            if self.epoch < 0:
                record.computed(f"join, {self.settings.tree} tree", 1, len(made.members))
            elif made.epoch == self.epoch + 1:
                kind = "add" if made.added else "remove"
                record.computed(f"process, {kind}, {self.settings.tree} tree", 1, len(made.members))
        elif made.epoch != self.epoch + 1 and self.epoch >= 0:
            return
        if self.epoch < 0:
            self._first = made.epoch
        alone = len(made.members) == 1
        self.epoch, self.group = made.epoch, made.members
        record.computed(f"export, {self.settings.tree} tree", 1, len(made.members))
        record.holds(self.me, key, self.hall.now)
        if self.settings.wait is None or alone:
            self._move(self.epoch)
        else:
            small = self.hall.primitives.size("small")
            self.hall.ask(self.me, lambda: self.server.ready(self.me, made.epoch), small)
        self._look()

    def _move(self, epoch: int) -> None:
        if self._first <= epoch <= self.epoch and epoch > self._sending:
            self._sending = epoch
            self.send_under(key_name(-1, epoch))


def _maker(settings: Settings) -> Callable[[Hall], Callable[[int], Peer]]:
    def build(hall: Hall) -> Callable[[int], Peer]:
        server = Server(hall, settings)
        return lambda me: Member(hall, me, server, settings)

    return build


BLANK = assumed(0, "nodes set", "the tree of a call in which always the same member commits: nearly no node is set")
SET = assumed(1, "", "the tree of a call in which different members commit: the nodes are set")
DAVE_SOURCE = "Discord, DAVE protocol, version 1.1"
DAVE_CONSTANTS: dict[str, Constant] = {
    "who commits": Constant(1, "", DAVE_SOURCE + ": all members commit the gateway's proposals, it keeps the first"),
    "wait": assumed(2.0, "s", "members tell when they are ready; the gateway waits for all, or this long"),
    "tree": SET,
}
WEBEX_CONSTANTS: dict[str, Constant] = {
    "who commits": assumed(
        1, "", "the member that is there the longest, for all at once; Webex publishes that it is MLS"
    ),
    "tree": BLANK,
}
WIRE_CONSTANTS: dict[str, Constant] = {
    "who commits": Constant(1, "", "Wire: sub-conversation, joined by external commit"),
    "who removes": assumed(1, "", "the member that is there the longest commits the removal"),
    "wait": Constant(60.0, "s", "Wire: senders move when all have the epoch, or after this long"),
    "tree": SET,
}
CLOUDFLARE_CONSTANTS: dict[str, Constant] = {
    "who commits": Constant(1, "", "Cloudflare, Orange Meets: the oldest member is the designated committer"),
    "joiners": Constant(1, "joiner a commit", "Cloudflare, Orange Meets"),
    "tree": BLANK,
}

DAVE = Model(
    "dave",
    "Discord (MLS)",
    "DAVE: the gateway proposes, every member commits, the first counts; senders move together",
    DAVE_CONSTANTS,
    _maker(Settings(Who.ALL, DAVE_CONSTANTS["wait"].value, tree="set")),
)
WEBEX = Model(
    "webex",
    "Webex (MLS)",
    "one member commits for all; nobody waits for anybody. What it does beyond MLS is not published",
    WEBEX_CONSTANTS,
    _maker(Settings(Who.OLDEST, None)),
)
WIRE = Model(
    "wire",
    "Wire (MLS)",
    "who joins commits itself; senders move when all have the epoch, at the latest after a minute",
    WIRE_CONSTANTS,
    _maker(Settings(Who.JOINER, WIRE_CONSTANTS["wait"].value, tree="set")),
)
CLOUDFLARE = Model(
    "cloudflare",
    "Cloudflare (MLS)",
    "Orange Meets: the oldest member commits one joiner after another",
    CLOUDFLARE_CONSTANTS,
    _maker(Settings(Who.OLDEST, None, one_joiner=True)),
)
