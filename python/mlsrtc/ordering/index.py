"""E, the set of checked values, sorted into what the head rule looks up. Adds and never judges.

Beside E stands what grows with it and costs nothing to keep: T (`tree`), D, who is stale. Whose word may have changed
since it was last asked is noted, so that nobody else's is worked out again.

Users get a bit each, in the order in which they are first named, so that sets of them are whole numbers; no answer
depends on which bit somebody got.
"""

from bisect import insort
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import TypeAlias, TypeVar

from mlsrtc.evidence import Committed, Joined, Leaf, Left, Refusal, Spoken
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering.tree import Tree

Evidence: TypeAlias = Joined | Left | Committed | Spoken
Claim: TypeAlias = tuple[int, EpochId, tuple[bytes, str]]
"""−n, id, and the refused id with the reason (or two empty values): the least that holds is the word."""

_Value = TypeVar("_Value", Joined, Left, Spoken)


class Index:
    """E. `add` says whether it has grown."""

    def __init__(self) -> None:
        self.joins: dict[MemberId, set[Joined]] = {}
        self.leaves: dict[MemberId, set[Left]] = {}
        self.words: dict[MemberId, set[Spoken]] = {}
        # An id has one content: its SHA-256, what its commit says of its parent and the judge see to that. Should
        # two ever come, the first of the sorted list counts, so that every member takes the same one.
        self.commits: dict[EpochId, list[Committed]] = {}
        self.claims: dict[MemberId, list[Claim]] = {}
        self.heads: dict[MemberId, EpochId | bytes] = {}  # the least head of each one's J, b"" for null
        self.leaf: dict[MemberId, Leaf] = {}
        self.tree = Tree()
        self.departed: set[MemberId] = set()  # D
        self.departing: list[MemberId] = []  # those who came into it since somebody took them
        self.stale: set[MemberId] = set()
        self.here: set[MemberId] = set()  # those with a J who are neither in D nor stale
        self.now: int | None = None  # now(E)
        self.touched: set[MemberId] = set()  # whose word may have changed
        self.users: list[UserId] = []
        self.user_bit: dict[UserId, int] = {}
        self._until: dict[MemberId, int] = {}  # the latest of each
        self._expiries: list[tuple[int, MemberId]] = []  # a heap of all of them
        self._named: dict[EpochId, set[MemberId]] = {}  # whose joins, commits and words name an epoch
        self._replaced: dict[MemberId, list[Leaf]] = {}  # by whom, or so they say

    def add(self, value: Evidence) -> bool:
        """Puts one value into E. False if it was there already; then nothing has changed."""
        match value:
            case Joined():
                if grown := _add_once(self.joins, value.leaf.member_id, value):
                    self._join(value)
            case Left():
                if grown := _add_once(self.leaves, value.member_id, value):
                    self._depart(value.member_id)
            case Spoken():
                if grown := _add_once(self.words, value.member_id, value):
                    self._claim(value.member_id, value.n, value.id, value.refuse)
            case Committed():
                if grown := value not in self.commits.get(value.id, ()):
                    self._commit(value)
        return grown

    def users_of(self, mask: int) -> frozenset[UserId]:
        """The users of a mask."""
        users = []
        while mask:
            bit = mask.bit_length() - 1
            users.append(self.users[bit])
            mask ^= 1 << bit
        return frozenset(users)

    def __iter__(self) -> Iterator[Evidence]:
        for joins in self.joins.values():
            yield from joins
        for leaves in self.leaves.values():
            yield from leaves
        for bodies in self.commits.values():
            yield from bodies
        for words in self.words.values():
            yield from words

    # -- what follows from one more value ------------------------------------------------------------------------------

    def _join(self, join: Joined) -> None:
        member_id = join.leaf.member_id
        self._know(join.leaf)
        head = join.head or b""
        self.heads[member_id] = min(head, self.heads.get(member_id, head))
        if join.head is not None:
            self._named.setdefault(join.head, set()).add(member_id)
        for old in join.replaces:
            self._replaced.setdefault(old, []).append(join.leaf)
            self._replace(old)
        self._until[member_id] = max(join.until_ts, self._until.get(member_id, join.until_ts))
        heappush(self._expiries, (join.until_ts, member_id))
        self.now = max(join.from_ts, self.now if self.now is not None else join.from_ts)
        self._place(member_id)
        while self._expiries and self._expiries[0][0] < self.now:
            self._place(heappop(self._expiries)[1])

    def _place(self, member_id: MemberId) -> None:
        """Whether somebody with a J is stale, and whether they are here."""
        assert self.now is not None
        is_stale = self._until[member_id] < self.now
        (self.stale.add if is_stale else self.stale.discard)(member_id)
        (self.here.discard if is_stale or member_id in self.departed else self.here.add)(member_id)
        self.touched.add(member_id)

    def _depart(self, member_id: MemberId) -> None:
        if member_id not in self.departed:
            self.departed.add(member_id)
            self.departing.append(member_id)
            self.here.discard(member_id)
            self.touched.add(member_id)

    def _replace(self, old: MemberId) -> None:
        """`replaces` acts only on members of the same user, device and device key (section 1)."""
        leaf = self.leaf.get(old)
        if leaf is not None and any(new.device_identity == leaf.device_identity for new in self._replaced.get(old, ())):
            self._depart(old)

    def _commit(self, commit: Committed) -> None:
        bodies = self.commits.setdefault(commit.id, [])
        bodies.append(commit)
        if len(bodies) > 1:
            bodies.sort(key=_content)
        self._know(commit.author)
        for leaf in commit.leaves.values():
            self._know(leaf)
        for member_id in commit.left:
            self._depart(member_id)
        self._claim(commit.author.member_id, commit.n, commit.id, commit.refuse)
        if len(bodies) == 1:
            for node in self.tree.add(commit):
                self.touched |= self.tree.entering(node) | self._named.get(node.id, set())
                self.touched.add(node.commit.author.member_id)
        elif bodies[0] is commit:
            self.tree = Tree(bodies[0] for bodies in self.commits.values())
            self.touched |= self.leaf.keys()

    def _claim(self, member_id: MemberId, n: int, id: EpochId, refuse: Refusal | None) -> None:
        refused = (refuse.id, refuse.why) if refuse else (b"", "")
        insort(self.claims.setdefault(member_id, []), (-n, id, refused))
        self._named.setdefault(id, set()).add(member_id)
        self.touched.add(member_id)

    def _know(self, leaf: Leaf) -> None:
        if leaf.member_id not in self.leaf:
            self.leaf[leaf.member_id] = leaf
            if leaf.user_id not in self.user_bit:
                self.user_bit[leaf.user_id] = len(self.users)
                self.users.append(leaf.user_id)
            self.touched.add(leaf.member_id)
            self._replace(leaf.member_id)


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
