"""E, the set of checked values, sorted into what the head rule looks up. Adds and never judges.

Members and users get a bit each, in the order in which they are first named, so that sets of them are whole
numbers; no answer depends on which bit somebody got.
"""

from bisect import insort
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from mlsrtc.evidence import Committed, Joined, Leaf, Left, Refusal, Spoken
from mlsrtc.identifiers import EpochId, MemberId, UserId

Evidence: TypeAlias = Joined | Left | Committed | Spoken
Claim: TypeAlias = tuple[int, EpochId, tuple[bytes, str]]
"""−n, id, and the refused id with the reason (or two empty values): the least that holds is the word."""

_Value = TypeVar("_Value", Joined, Left, Spoken)


@dataclass(frozen=True, slots=True)
class Body:
    """A commit and its leaves as a mask of members."""

    commit: Committed
    leaves: int


class Index:
    """E. `add` says whether it has grown."""

    def __init__(self) -> None:
        self.joins: dict[MemberId, set[Joined]] = {}
        self.leaves: dict[MemberId, set[Left]] = {}
        self.words: dict[MemberId, set[Spoken]] = {}
        # An id has one content: its SHA-256, what its commit says of its parent and the judge see to that. Should
        # two ever come, the first of the sorted list counts, so that every member takes the same one.
        self.commits: dict[EpochId, list[Body]] = {}
        self.claims: dict[MemberId, list[Claim]] = {}
        self.leaf: dict[MemberId, Leaf] = {}
        self.member_bit: dict[MemberId, int] = {}
        self.user_bit: dict[UserId, int] = {}

    def add(self, value: Evidence) -> bool:
        """Puts one value into E. False if it was there already; then nothing has changed."""
        match value:
            case Joined():
                grown = _add_once(self.joins, value.leaf.member_id, value)
                self._know(value.leaf)
            case Left():
                grown = _add_once(self.leaves, value.member_id, value)
            case Spoken():
                grown = _add_once(self.words, value.member_id, value)
                if grown:
                    self._claim(value.member_id, value.n, value.id, value.refuse)
            case Committed():
                grown = self._add_commit(value)
        return grown

    def _add_commit(self, commit: Committed) -> bool:
        bodies = self.commits.setdefault(commit.id, [])
        if any(body.commit == commit for body in bodies):
            return False
        for leaf in (commit.author, *commit.leaves.values()):
            self._know(leaf)
        leaves = 0
        for leaf in commit.leaves.values():
            leaves |= 1 << self.member_bit[leaf.member_id]
        bodies.append(Body(commit, leaves))
        bodies.sort(key=lambda body: _content(body.commit))
        self._claim(commit.author.member_id, commit.n, commit.id, commit.refuse)
        return True

    def _claim(self, member_id: MemberId, n: int, id: EpochId, refuse: Refusal | None) -> None:
        refused = (refuse.id, refuse.why) if refuse else (b"", "")
        insort(self.claims.setdefault(member_id, []), (-n, id, refused))

    def _know(self, leaf: Leaf) -> None:
        if leaf.member_id not in self.leaf:
            self.leaf[leaf.member_id] = leaf
            self.member_bit[leaf.member_id] = len(self.member_bit)
            self.user_bit.setdefault(leaf.user_id, len(self.user_bit))

    def users(self, mask: int) -> frozenset[UserId]:
        """The users of a mask."""
        return frozenset(user for user, bit in self.user_bit.items() if mask >> bit & 1)

    def __iter__(self) -> Iterator[Evidence]:
        for joins in self.joins.values():
            yield from joins
        for leaves in self.leaves.values():
            yield from leaves
        for bodies in self.commits.values():
            yield from (body.commit for body in bodies)
        for words in self.words.values():
            yield from words


def _add_once(kept: dict[MemberId, set[_Value]], member_id: MemberId, value: _Value) -> bool:
    values = kept.setdefault(member_id, set())
    if value in values:
        return False
    values.add(value)
    return True


def _content(commit: Committed) -> tuple[object, ...]:
    """An order among commits of one id."""
    refuse = (commit.refuse.id, commit.refuse.why) if commit.refuse else (b"", "")
    leaves = sorted((index, leaf.member_id) for index, leaf in commit.leaves.items())
    changes = sorted(commit.left), sorted(commit.removed), sorted(commit.added)
    return commit.epoch, commit.parent or b"", commit.author.member_id, commit.n, refuse, leaves, *changes, commit.root
