"""The container that a session feeds and asks. Adds nothing to the rule (`rule`): it keeps its last view."""

from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from itertools import chain

from mlsrtc.evidence import Committed, Leaf
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering.index import Evidence, Index
from mlsrtc.ordering.rule import View, Word, descend, look
from mlsrtc.ordering.tree import Node


@dataclass(frozen=True, slots=True)
class Fork:
    """Where two paths part: the last epoch they share, and the first one after it on either side.

    base: None if the paths start from different roots. ours, theirs: None if that path ends at `base`.
    """

    base: EpochId | None
    ours: EpochId | None
    theirs: EpochId | None


class Ordering:
    """E, and what follows from it. Unknown ids and members are answered with None or with nothing.

    The sets that it gives grow with E.
    """

    def __init__(self, evidence: Iterable[Evidence] = ()) -> None:
        self._index = Index()
        self._words: dict[MemberId, Word] = {}
        self._view: View | None = None
        self._path: tuple[EpochId, ...] = ()  # to the head, when it was last asked for
        self.size = 0
        """How many values are in E: equal answers are given as long as it is the same."""
        for value in evidence:
            self.add(value)

    def add(self, value: Evidence) -> bool:
        """Puts one checked value into E. True if E has grown, False if the value was in it already."""
        grown = self._index.add(value)
        if grown:
            self.size += 1
            self._view = None
        return grown

    def evidence(self) -> Iterator[Evidence]:
        """Everything in E, in no particular order."""
        return iter(self._index)

    def head(self) -> EpochId | None:
        """head(E): the epoch that is the call; None without a root, or with roots of earlier calls only."""
        head = self._look().head
        return None if head is None else head.id

    def head_path(self) -> tuple[EpochId, ...]:
        """From the root to the head, both included; empty if the head is null."""
        head = self._look().head
        if head is None:
            return ()
        if not self._path or self._path[-1] != head.id:
            # Nearly always the head has moved on by one commit.
            goes_on = head.parent is not None and self._path[-1:] == (head.parent.id,)
            self._path = (*self._path, head.id) if goes_on else _path(head)
        return self._path

    def path_among(self, here: AbstractSet[MemberId]) -> tuple[EpochId, ...]:
        """The way from the root on which a member goes that counts on `here` (section 3.0): that of the first root
        which leads to an epoch with a leaf of one of them. The head path if no root does.
        """
        view = self._look()
        for end in chain((view.head,), (descend(view, (root,)) for root in view.roots)):
            if end is not None and not end.commit.members.isdisjoint(here):
                return self.head_path() if end is view.head else _path(end)
        return self.head_path()

    @property
    def departed(self) -> AbstractSet[MemberId]:
        """D: who has left or was replaced by its own device. Only grows."""
        return self._index.departed

    def take_departed(self) -> list[MemberId]:
        """Those who came into D since the last call."""
        taken, self._index.departing = self._index.departing, []
        return taken

    @property
    def equivocators(self) -> AbstractSet[MemberId]:
        """eq: authors of two commits with different ids on one parent (null counts as one). Only grows."""
        return self._index.tree.equivocators

    @property
    def stale(self) -> AbstractSet[MemberId]:
        """Members whose latest `until` lies before now(E)."""
        return self._index.stale

    @property
    def now(self) -> int | None:
        """now(E) in milliseconds since the epoch: the greatest `from` of any join."""
        return self._index.now

    def word(self, member_id: MemberId) -> Word | None:
        """word(m), or None: departed, stale, an equivocator, or nowhere in T."""
        return self._look().words.get(member_id)

    def standing(self, member_id: MemberId) -> EpochId | None:
        """The epoch that word(m) names."""
        word = self.word(member_id)
        return word.id if word else None

    def support(self, id: EpochId) -> frozenset[UserId]:
        """S(id): the users with a word at `id` or below."""
        view, node = self._look(), self._node(id)
        return self._index.users_of(view.support(node) if node else 0)

    def refusers(self, id: EpochId) -> frozenset[UserId]:
        """F(id): the other users, those with a word that refuses `id`."""
        view, node = self._look(), self._node(id)
        return self._index.users_of(view.refusers(node) if node else 0)

    def refused_on_path(self, id: EpochId) -> tuple[EpochId, ...]:
        """Of the path to `id` those with refusers (F), from the root."""
        view, end = self._look(), self._node(id)
        refused = [node for other in view.refusals if (node := self._node(other)) is not None and view.refusers(node)]
        above = [node for node in refused if end is not None and end.is_within(node)]
        return tuple(node.id for node in sorted(above, key=lambda node: node.commit.epoch))

    def commit(self, id: EpochId) -> Committed | None:
        """The commit that made `id`, if it is in T."""
        node = self._node(id)
        return node.commit if node else None

    def children(self, id: EpochId | None) -> tuple[EpochId, ...]:
        """The commits of T on `id`, in the order of the head rule. For None all roots, skipped ones too."""
        node = None if id is None else self._node(id)
        children = self._index.tree.roots if id is None else node.children if node else ()
        return tuple(child.id for child in self._look().ranked(children))

    @property
    def roots(self) -> tuple[EpochId, ...]:
        """The roots that the head rule considers, best first; those of earlier calls are skipped."""
        return tuple(node.id for node in self._look().roots)

    def path(self, id: EpochId) -> tuple[EpochId, ...]:
        """From the root to `id`, both included; empty if not in T."""
        path, node = self.head_path(), self._node(id)
        if node is None:
            return ()
        return path if path[-1:] == (id,) else _path(node)

    def is_below(self, lower: EpochId, upper: EpochId) -> bool:
        """Whether `lower` descends from `upper`. An epoch is not below itself."""
        below, above = self._node(lower), self._node(upper)
        return below is not None and above is not None and below is not above and below.is_within(above)

    def fork(self, ours: EpochId, theirs: EpochId) -> Fork:
        """Where the paths to two epochs of T part."""
        mine, other = self.path(ours), self.path(theirs)
        shared = 0
        while shared < min(len(mine), len(other)) and mine[shared] == other[shared]:
            shared += 1
        return Fork(
            base=mine[shared - 1] if shared else None,
            ours=mine[shared] if shared < len(mine) else None,
            theirs=other[shared] if shared < len(other) else None,
        )

    @property
    def rivals(self) -> tuple[EpochId, ...]:
        """Commits beside the head path, or refused below the head, that some user stands on."""
        path = self.head_path()
        levels = [self.roots, *(self.children(id) for id in path)]
        beside = (id for level in levels for id in level if id not in path)
        return tuple(id for id in beside if self.support(id))

    @property
    def missing(self) -> frozenset[EpochId]:
        """Parents that commits in E name and that are not in T."""
        nodes = self._index.tree.nodes
        parents = (commit.parent for bodies in self._index.commits.values() for commit in bodies)
        return frozenset(parent for parent in parents if parent is not None and parent not in nodes)

    def leaf(self, member_id: MemberId) -> Leaf | None:
        """The leaf of a member, if a join or a commit of E has named it."""
        return self._index.leaf.get(member_id)

    def _node(self, id: EpochId) -> Node | None:
        return self._index.tree.nodes.get(id)

    def _look(self) -> View:
        if self._view is None:
            self._view = look(self._index, self._words)
        return self._view


def _path(node: Node | None) -> tuple[EpochId, ...]:
    path: list[EpochId] = []
    while node is not None:
        path.append(node.id)
        node = node.parent
    return tuple(reversed(path))
