"""The container that a session feeds and asks. Adds nothing to the rule (`rule`): it keeps its last view."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from mlsrtc.evidence import Committed, Leaf
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering.index import Evidence, Index
from mlsrtc.ordering.rule import View, Word, descend, latest_from, look


@dataclass(frozen=True, slots=True)
class Fork:
    """Where two paths part: the last epoch they share, and the first one after it on either side.

    base: None if the paths start from different roots. ours, theirs: None if that path ends at `base`.
    """

    base: EpochId | None
    ours: EpochId | None
    theirs: EpochId | None


class Ordering:
    """E, and what follows from it. Unknown ids and members are answered with None or with nothing."""

    def __init__(self, evidence: Iterable[Evidence] = ()) -> None:
        self._index = Index()
        self._view: View | None = None
        for value in evidence:
            self.add(value)

    def add(self, value: Evidence) -> bool:
        """Puts one checked value into E. True if E has grown, False if the value was in it already."""
        grown = self._index.add(value)
        if grown:
            self._view = None
        return grown

    def evidence(self) -> Iterator[Evidence]:
        """Everything in E, in no particular order."""
        return iter(self._index)

    def head(self) -> EpochId | None:
        """head(E): the epoch that is the call; None without a root, or with roots of earlier calls only."""
        path = self._look().path
        return path[-1] if path else None

    def head_path(self) -> tuple[EpochId, ...]:
        """From the root to the head, both included; empty if the head is null."""
        return self._look().path

    def path_among(self, here: Container[MemberId]) -> tuple[EpochId, ...]:
        """The way from the root on which a member goes that counts on `here` (section 3.0): that of the first root
        which leads to an epoch with a leaf of one of them. The head path if no root does.
        """
        view = self._look()
        others = (descend((root,)) for root in view.roots if root.present)
        return next((path for path in chain((view.path,), others) if self._ends_among(path, here)), view.path)

    @property
    def departed(self) -> frozenset[MemberId]:
        """D: who has left or was replaced by its own device. Only grows."""
        return self._look().departed

    @property
    def equivocators(self) -> frozenset[MemberId]:
        """eq: authors of two commits with different ids on one parent (null counts as one). Only grows."""
        return self._look().equivocators

    @property
    def stale(self) -> frozenset[MemberId]:
        """Members whose latest `until` lies before now(E)."""
        return self._look().stale

    @property
    def now(self) -> int | None:
        """now(E) in milliseconds since the epoch: the greatest `from` of any join."""
        return latest_from(self._index)

    def word(self, member_id: MemberId) -> Word | None:
        """word(m), or None: departed, stale, an equivocator, or nowhere in T."""
        return self._look().words.get(member_id)

    def standing(self, member_id: MemberId) -> EpochId | None:
        """The epoch that word(m) names."""
        word = self.word(member_id)
        return word.id if word else None

    def support(self, id: EpochId) -> frozenset[UserId]:
        """S(id): the users with a word at `id` or below."""
        node = self._look().nodes.get(id)
        return self._index.users(node.support if node else 0)

    def refusers(self, id: EpochId) -> frozenset[UserId]:
        """F(id): the other users, those with a word that refuses `id`."""
        node = self._look().nodes.get(id)
        return self._index.users(node.refusers if node else 0)

    def commit(self, id: EpochId) -> Committed | None:
        """The commit that made `id`, if it is in T."""
        node = self._look().nodes.get(id)
        return node.commit if node else None

    def children(self, id: EpochId | None) -> tuple[EpochId, ...]:
        """The commits of T on `id`, in the order of the head rule. For None all roots, skipped ones too."""
        view = self._look()
        if id is None:
            return tuple(node.id for node in view.roots)
        node = view.nodes.get(id)
        return tuple(child.id for child in node.children) if node else ()

    @property
    def roots(self) -> tuple[EpochId, ...]:
        """The roots that the head rule considers, best first; those of earlier calls are skipped."""
        return tuple(node.id for node in self._look().roots if node.present)

    def path(self, id: EpochId) -> tuple[EpochId, ...]:
        """From the root to `id`, both included; empty if not in T."""
        path: list[EpochId] = []
        node = self._look().nodes.get(id)
        while node:
            path.append(node.id)
            node = node.parent
        return tuple(reversed(path))

    def is_below(self, lower: EpochId, upper: EpochId) -> bool:
        """Whether `lower` descends from `upper`. An epoch is not below itself."""
        nodes = self._look().nodes
        below, above = nodes.get(lower), nodes.get(upper)
        return bool(below and above and below.ancestors >> above.number & 1)

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
        view = self._look()
        levels = [self.roots, *(self.children(id) for id in view.path)]
        beside = (view.nodes[id] for level in levels for id in level if id not in view.on_path)
        return tuple(node.id for node in beside if node.support)

    @property
    def conflict(self) -> bool:
        """Whether some user's latest word stands anywhere but on the head path: the head is contested."""
        return bool(self.rivals)

    @property
    def missing(self) -> frozenset[EpochId]:
        """Parents that commits in E name and that are not in T."""
        nodes = self._look().nodes
        parents = (body.commit.parent for bodies in self._index.commits.values() for body in bodies)
        return frozenset(parent for parent in parents if parent is not None and parent not in nodes)

    def leaf(self, member_id: MemberId) -> Leaf | None:
        """The leaf of a member, if a join or a commit of E has named it."""
        return self._index.leaf.get(member_id)

    def _ends_among(self, path: tuple[EpochId, ...], members: Container[MemberId]) -> bool:
        leaves = self._look().nodes[path[-1]].commit.leaves.values() if path else ()
        return any(leaf.member_id in members for leaf in leaves)

    def _look(self) -> View:
        if self._view is None:
            self._view = look(self._index)
        return self._view
