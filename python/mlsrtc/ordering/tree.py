"""T of docs/protocol.md ("Which branch", section 2): the commits that reach a root, each one epoch after its parent.

Only grows, and keeps its commits in *runs*, so that a question about it costs what its forks cost and not its length:
a call of a day has thousands of epochs and few forks.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mlsrtc.evidence import Committed
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.wire.encoding import order_hash


@dataclass(slots=True, eq=False)
class Run:
    """Commits in a row: each is the only child of the one before. `support`: S of the first, a mask of users."""

    nodes: list["Node"] = field(default_factory=list)
    support: int = 0


@dataclass(slots=True, eq=False)
class Node:
    """One commit of T. `place`: in its run. `ever`: all who have a leaf in some epoch of its group; one set for all."""

    commit: Committed
    parent: "Node | None"  # None: a root
    run: Run
    place: int
    ever: set[MemberId]
    children: list["Node"] = field(default_factory=list)
    _tie: tuple[int, bytes, EpochId] | None = None

    @property
    def id(self) -> EpochId:
        """The epoch it makes."""
        return self.commit.id

    @property
    def tie(self) -> tuple[int, bytes, EpochId]:
        """What decides among siblings with equal support: a removal with that one's L inside, a static hash, the id."""
        if self._tie is None:
            parent = None if self.parent is None else self.parent.id
            static = order_hash(parent, self.commit.author.user_id)
            self._tie = (0 if self.commit.left else 1, static, self.id)
        return self._tie

    def is_within(self, upper: "Node") -> bool:
        """Whether it is `upper` or descends from it."""
        node: Node | None = self
        while node is not None and node.run is not upper.run:
            node = node.run.nodes[0].parent
        return node is not None and node.place >= upper.place


class Tree:
    """T. `runs`: parents before children. `equivocators`: authors of two commits with different ids on one parent."""

    def __init__(self, commits: Iterable[Committed] = ()) -> None:
        self.nodes: dict[EpochId, Node] = {}
        self.roots: list[Node] = []
        self.runs: list[Run] = []
        self.equivocators: set[MemberId] = set()
        self._entries: dict[MemberId, list[Node]] = {}  # where a member has a leaf and has none in the parent
        self._made: set[tuple[MemberId, EpochId | None]] = set()  # who has committed on what
        self._waiting: dict[EpochId, list[Committed]] = {}  # by the parent that is not in T
        for commit in commits:
            self.add(commit)

    def add(self, commit: Committed) -> list[Node]:
        """Takes one more commit, of an id that it does not know. Returns what came into T by it, parents first."""
        if commit.parent is not None and commit.parent not in self.nodes:
            self._waiting.setdefault(commit.parent, []).append(commit)
            return []
        connected, ready = [], [commit]
        while ready:
            node = self._connect(ready.pop())
            if node is not None:
                connected.append(node)
                ready += self._waiting.pop(node.id, ())
        return connected

    def entering(self, node: Node) -> frozenset[MemberId]:
        """Who has a leaf there and has none in its parent."""
        return node.commit.members if node.parent is None else node.commit.members - node.parent.commit.members

    def holds_within(self, upper: Node, member_id: MemberId) -> bool:
        """Whether a member has a leaf at `upper` or in any descendant."""
        entries = self._entries.get(member_id, ())
        return member_id in upper.commit.members or any(node.is_within(upper) for node in entries)

    def _connect(self, commit: Committed) -> Node | None:
        parent = None if commit.parent is None else self.nodes[commit.parent]
        if parent is not None and parent.commit.epoch + 1 != commit.epoch:
            return None
        run = self._run_after(parent)
        ever = set() if parent is None else parent.ever
        node = self.nodes[commit.id] = Node(commit, parent, run, len(run.nodes), ever)
        run.nodes.append(node)
        (self.roots if parent is None else parent.children).append(node)
        for member_id in self.entering(node):
            ever.add(member_id)
            self._entries.setdefault(member_id, []).append(node)
        made = commit.author.member_id, commit.parent
        if made in self._made:
            self.equivocators.add(commit.author.member_id)
        self._made.add(made)
        return node

    def _run_after(self, parent: Node | None) -> Run:
        """The run of a new child: its parent's, unless it forks there."""
        if parent is not None and not parent.children:
            return parent.run
        if parent is not None and parent is not parent.run.nodes[-1]:
            upper, lower = parent.run, Run(parent.run.nodes[parent.place + 1 :])
            del upper.nodes[parent.place + 1 :]
            for place, node in enumerate(lower.nodes):
                node.run, node.place = lower, place
            self.runs.insert(self.runs.index(upper) + 1, lower)
        self.runs.append(Run())
        return self.runs[-1]
