"""The definitions of docs/protocol.md ("Which branch", section 2), from top to bottom, over one set E.

T, D and who is stale come with E (`index`, `tree`). What stands here may change either way when E grows: words, S, F
and the head. `look` works it out, and asks only those whose word may have changed for their word again.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from mlsrtc.evidence import Refusal
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering.index import Index
from mlsrtc.ordering.tree import Node


@dataclass(frozen=True, slots=True)
class Word:
    """word(m): where m last said it stands, by its join (n = 0), a commit of its own, or a word."""

    member_id: MemberId
    user_id: UserId
    n: int
    id: EpochId
    refuse: Refusal | None


@dataclass(slots=True)
class View:
    """What follows from one set. `roots`: those that the head rule considers, best first. Masks are of users."""

    index: Index
    words: Mapping[MemberId, Word]
    refusals: Mapping[EpochId, int]  # the users with a word that refuses it, those in S too
    roots: tuple[Node, ...] = ()
    head: Node | None = None

    def support(self, node: Node) -> int:
        """S(c): users with any word at c or below."""
        if node.place == 0:
            return node.run.support
        nodes, bits = self.index.tree.nodes, self.index.user_bit
        support = 0
        for word in self.words.values():
            if nodes[word.id].is_within(node):
                support |= 1 << bits[word.user_id]
        return support

    def refusers(self, node: Node) -> int:
        """F(c): the other users with a word that refuses c."""
        refused = self.refusals.get(node.id, 0)
        return refused & ~self.support(node) if refused else 0

    def ranked(self, siblings: Iterable[Node]) -> tuple[Node, ...]:
        """Children of one parent, best first: most users; then a removal of somebody with that one's L inside; then a
        static hash; then the id."""
        return tuple(sorted(siblings, key=lambda node: (-node.run.support.bit_count(), node.tie)))


def look(index: Index, words: dict[MemberId, Word]) -> View:
    """All of it for the present E. `words` is what the last look left there; it is brought up to date."""
    for member_id in index.touched:
        word = word_of(index, member_id)
        if word is not None:
            words[member_id] = word
        else:
            words.pop(member_id, None)
    index.touched.clear()
    view = View(index, words, _count(index, words))
    view.roots = view.ranked(root for root in index.tree.roots if not index.here.isdisjoint(root.ever))
    view.head = descend(view, view.roots)
    return view


def word_of(index: Index, member_id: MemberId) -> Word | None:
    """word(m): the greatest n whose target is in T and has m as a leaf; of n = 0 some descendant has."""
    leaf, tree = index.leaf.get(member_id), index.tree
    if leaf is None or any(member_id in silent for silent in (index.departed, index.stale, tree.equivocators)):
        return None
    for negative_n, id, (refused, why) in index.claims.get(member_id, ()):
        node = tree.nodes.get(id)
        if node is not None and member_id in node.commit.members:
            refuse = Refusal(EpochId(refused), why) if refused else None
            return Word(member_id, leaf.user_id, -negative_n, id, refuse)
    # Several J of one m count as one with the least head (section 1); null is the least of all.
    node = tree.nodes.get(EpochId(index.heads.get(member_id, b"")))
    if node is not None and tree.holds_within(node, member_id):
        return Word(member_id, leaf.user_id, 0, node.id, None)
    return None


def _count(index: Index, words: Mapping[MemberId, Word]) -> dict[EpochId, int]:
    """S of the first commit of every run, and which users refuse what."""
    nodes, bits = index.tree.nodes, index.user_bit
    refusals: dict[EpochId, int] = {}
    for run in index.tree.runs:
        run.support = 0
    for word in words.values():
        user = 1 << bits[word.user_id]
        nodes[word.id].run.support |= user
        if word.refuse is not None:
            refusals[word.refuse.id] = refusals.get(word.refuse.id, 0) | user
    for run in reversed(index.tree.runs):
        above = run.nodes[0].parent
        if above is not None:
            above.run.support |= run.support
    return refusals


def descend(view: View, level: Iterable[Node]) -> Node | None:
    """From siblings, best first, down to the head below them: each time to the best that no more users refuse than
    support. None if there is none.
    """
    refused = (view.index.tree.nodes.get(id) for id in view.refusals)
    passed = [n for n in refused if n and view.refusers(n).bit_count() > view.support(n).bit_count()]
    head = None
    while best := next((node for node in level if node not in passed), None):
        end = min((node.place for node in passed if node.run is best.run), default=len(best.run.nodes))
        head = best.run.nodes[end - 1]
        if end < len(best.run.nodes):
            break
        level = view.ranked(head.children)
    return head
