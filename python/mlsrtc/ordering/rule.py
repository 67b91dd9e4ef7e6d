"""The definitions of docs/protocol.md ("Which branch", section 2), from top to bottom, over one set E.

`look` works out all of them in one pass; its answers hold until the set grows. Sets of users and members are
masks (`index`). Nothing here can become false when E grows, but for words, S, F and the head themselves.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlsrtc.evidence import Committed, Refusal
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering.index import Index
from mlsrtc.wire.encoding import order_hash


@dataclass(frozen=True, slots=True)
class Word:
    """word(m): where m last said it stands, by its join (n = 0), a commit of its own, or a word."""

    member_id: MemberId
    user_id: UserId
    n: int
    id: EpochId
    refuse: Refusal | None


@dataclass(slots=True, eq=False)
class Node:
    """One commit of T. Masks: `leaves`, `leaves_below` of members; `support` (S), `refusers` (F) of users."""

    id: EpochId
    number: int
    commit: Committed
    leaves: int
    leaves_below: int = field(init=False)  # here or in any descendant
    ancestors: int = 0  # by number
    support: int = 0
    refusers: int = 0
    present: bool = False  # somebody who is here has a leaf here or below (earlier calls in the slot)
    parent: "Node | None" = None  # None: a root
    children: list["Node"] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.leaves_below = self.leaves


@dataclass(frozen=True, slots=True)
class View:
    """Everything that follows from one set. `roots` and the children of nodes stand best first."""

    nodes: dict[EpochId, Node]
    roots: tuple[Node, ...]
    path: tuple[EpochId, ...]  # root to head
    on_path: frozenset[EpochId]
    departed: frozenset[MemberId]
    stale: frozenset[MemberId]
    equivocators: frozenset[MemberId]
    words: dict[MemberId, Word]


def look(index: Index) -> View:
    """All definitions of section 2 for the present E."""
    nodes = _connect(index)
    departed, stale, equivocators = _departed(index), _stale(index), _equivocators(nodes)
    words = _words(index, nodes, silent=departed | stale | equivocators)
    _count(index, nodes, words)
    roots = _sort(nodes, _present(index, departed | stale))
    path = descend(root for root in roots if root.present)
    return View(nodes, roots, path, frozenset(path), departed, stale, equivocators, words)


def latest_from(index: Index) -> int | None:
    """now(E), milliseconds since the epoch: the greatest `from` of any join."""
    return max((join.from_ts for joins in index.joins.values() for join in joins), default=None)


def _connect(index: Index) -> dict[EpochId, Node]:
    """T, parents before children: commits that reach a root, each one epoch after its parent.

    Epoch and parent are inside the id, so nothing can be its own ancestor, and each has one parent.
    """
    nodes: dict[EpochId, Node] = {}
    first = (bodies[0] for bodies in index.commits.values())
    for body in sorted(first, key=lambda body: (body.commit.epoch, body.commit.id)):
        commit, parent = body.commit, None
        if commit.parent is not None:
            parent = nodes.get(commit.parent)
            if parent is None or parent.commit.epoch + 1 != commit.epoch:
                continue
        node = nodes[commit.id] = Node(commit.id, len(nodes), commit, body.leaves, parent=parent)
        if parent:
            node.ancestors = parent.ancestors | 1 << parent.number
            parent.children.append(node)
    for node in reversed(nodes.values()):
        if node.parent:
            node.parent.leaves_below |= node.leaves_below
    return nodes


def _departed(index: Index) -> frozenset[MemberId]:
    """D: every valid L, alone or inside a commit, and what a J of the same device replaces."""
    departed = set(index.leaves)
    for bodies in index.commits.values():
        for body in bodies:
            departed |= body.commit.left
    for joins in index.joins.values():
        for join in joins:
            # `replaces` acts only on members of the same user, device and device key (section 1).
            own = join.leaf.device_identity
            departed.update(
                old for old in join.replaces if (leaf := index.leaf.get(old)) and leaf.device_identity == own
            )
    return frozenset(departed)


def _stale(index: Index) -> frozenset[MemberId]:
    """Members whose latest `until` lies before now(E): an expiry that needs no clock."""
    now = latest_from(index)
    return frozenset(
        member_id
        for member_id, joins in index.joins.items()
        if now is not None and max(join.until_ts for join in joins) < now
    )


def _equivocators(nodes: dict[EpochId, Node]) -> frozenset[MemberId]:
    """eq: authors of two commits with different ids on one parent; null counts as a parent."""
    made = Counter((node.commit.author.member_id, node.commit.parent) for node in nodes.values())
    return frozenset(member_id for (member_id, _), ids in made.items() if ids > 1)


def _words(index: Index, nodes: dict[EpochId, Node], *, silent: frozenset[MemberId]) -> dict[MemberId, Word]:
    """word(m): the greatest n whose target is in T and has m as a leaf; of n = 0 some descendant has."""
    words: dict[MemberId, Word] = {}
    for member_id, leaf in index.leaf.items():
        if member_id in silent:
            continue
        bit = index.member_bit[member_id]
        for negative_n, id, (refused, why) in index.claims.get(member_id, ()):
            node = nodes.get(id)
            if node and node.leaves >> bit & 1:
                refuse = Refusal(EpochId(refused), why) if refused else None
                words[member_id] = Word(member_id, leaf.user_id, -negative_n, id, refuse)
                break
        else:
            # Several J of one m count as one with the least head (section 1); null is the least of all.
            heads = (join.head or b"" for join in index.joins.get(member_id, ()))
            node = nodes.get(EpochId(min(heads, default=b"")))
            if node and node.leaves_below >> bit & 1:
                words[member_id] = Word(member_id, leaf.user_id, 0, node.id, None)
    return words


def _count(index: Index, nodes: dict[EpochId, Node], words: dict[MemberId, Word]) -> None:
    """S and F: users with a word at a commit or below, and the others whose word refuses it."""
    refusers: dict[EpochId, int] = {}
    for word in words.values():
        user = 1 << index.user_bit[word.user_id]
        nodes[word.id].support |= user
        if word.refuse:
            refusers[word.refuse.id] = refusers.get(word.refuse.id, 0) | user
    for node in reversed(nodes.values()):
        if node.parent:
            node.parent.support |= node.support
        node.refusers = refusers.get(node.id, 0) & ~node.support


def _present(index: Index, absent: frozenset[MemberId]) -> int:
    """The members that have a J and are neither in D nor stale."""
    present = 0
    for member_id in index.joins:
        if member_id not in absent:
            present |= 1 << index.member_bit[member_id]
    return present


def _sort(nodes: dict[EpochId, Node], present: int) -> tuple[Node, ...]:
    """Puts all siblings in order and gives the roots; says below which nodes somebody is present."""
    for node in nodes.values():
        node.present = bool(node.leaves_below & present)
        if len(node.children) > 1:
            keys = {child.id: _order(node.id, child) for child in node.children}
            node.children.sort(key=lambda child, keys=keys: keys[child.id])  # type: ignore[misc]
    return tuple(sorted((n for n in nodes.values() if n.parent is None), key=lambda root: _order(None, root)))


def _order(parent: EpochId | None, child: Node) -> tuple[int, int, bytes, EpochId]:
    """Most users; then a removal of somebody with that one's L inside; then a static hash; then the id."""
    user: UserId = child.commit.author.user_id
    return (
        -child.support.bit_count(),
        0 if child.commit.left else 1,
        order_hash(parent, user),
        child.id,
    )


def descend(level: Iterable[Node]) -> tuple[EpochId, ...]:
    """From siblings, best first, down to the head below them: each time the best that no more users refuse than
    support. Empty if there is none.
    """
    path: list[EpochId] = []
    while best := next((n for n in level if n.refusers.bit_count() <= n.support.bit_count()), None):
        path.append(best.id)
        level = best.children
    return tuple(path)
