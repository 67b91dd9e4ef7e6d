"""The public ratchet tree of RFC 9420 section 7, on twins: a list of nodes of full length, None where blank.

Leaf i is node 2i (appendix C).
"""

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass
from typing import Self

from cipher_suites import CipherSuite
from presentation import OPAQUE, U8, U32, optional, struct
from twins import FROM_COMMIT, LEAF, PARENT, RATCHET_TREE_NODES, LeafNode, Node, ParentNode, UpdatePath, decode_tree


def level(node: int) -> int:
    """0 for leaves: the number of low bits that are set."""
    return (~node & (node + 1)).bit_length() - 1


def children(node: int) -> tuple[int, int]:
    half = 1 << level(node) - 1
    return node - half, node + half


def parent(node: int) -> int:
    height = level(node)
    return (node | 1 << height) & ~(1 << height + 1)


@dataclass
class Tree:
    nodes: list[LeafNode | ParentNode | None]
    suite: CipherSuite

    @classmethod
    def decode(cls, suite: CipherSuite, data: bytes) -> Self:
        nodes = [None if one is None else one.body for one in decode_tree(data)]
        size = 1
        while size < len(nodes):
            size = 2 * size + 1
        return cls(nodes + [None] * (size - len(nodes)), suite)

    def encode(self) -> bytes:
        """The ratchet_tree extension's content: without the blanks at the end (section 12.4.3.3)."""
        last = max(place for place, one in enumerate(self.nodes) if one is not None)
        return RATCHET_TREE_NODES.write(
            [
                None if one is None else Node(LEAF if isinstance(one, LeafNode) else PARENT, one)
                for one in self.nodes[: last + 1]
            ]
        )

    @property
    def root(self) -> int:
        return len(self.nodes) // 2

    @property
    def leaves(self) -> int:
        return len(self.nodes) // 2 + 1

    def leaf(self, index: int) -> LeafNode:
        leaf = self.nodes[2 * index]
        assert isinstance(leaf, LeafNode)
        return leaf

    def parent_node(self, node: int) -> ParentNode:
        found = self.nodes[node]
        assert isinstance(found, ParentNode)
        return found

    def members(self) -> list[int]:
        return [place // 2 for place in range(0, len(self.nodes), 2) if self.nodes[place] is not None]

    def path(self, node: int) -> list[int]:
        """The direct path, without the node itself, up to the root."""
        found = []
        while node != self.root:
            node = parent(node)
            found.append(node)
        return found

    def under(self, node: int) -> range:
        """The nodes of the subtree."""
        reach = (1 << level(node)) - 1
        return range(node - reach, node + reach + 1)

    def sibling(self, node: int) -> int:
        left, right = children(parent(node))
        return right if node == left else left

    def resolution(self, node: int, without: frozenset[int] = frozenset()) -> list[int]:
        """Section 4.1.1; `without` are leaf indexes left out (section 7.6)."""
        found = self.nodes[node]
        if isinstance(found, ParentNode):
            return [node] + [2 * leaf for leaf in found.unmerged_leaves if leaf not in without]
        if found is not None:
            return [] if node // 2 in without else [node]
        if level(node) == 0:
            return []
        left, right = children(node)
        return self.resolution(left, without) + self.resolution(right, without)

    def keys(self, nodes: Iterable[int]) -> list[bytes]:
        """Their public keys."""
        return [node.encryption_key for node in (self.nodes[place] for place in nodes) if node is not None]

    def filtered(self, leaf: int) -> list[tuple[int, int]]:
        """The filtered direct path, each node with its child on the copath (section 4.1.2)."""
        below, found = 2 * leaf, []
        for node in self.path(below):
            other = self.sibling(below)
            if self.resolution(other):
                found.append((node, other))
            below = node
        return found

    # -- hashes ------------------------------------------------------------------------------------------

    def tree_hash(self, node: int | None = None, without: frozenset[int] = frozenset()) -> bytes:
        """Section 7.8; `without` are leaves blanked and taken out of unmerged_leaves (section 7.9)."""
        node = self.root if node is None else node
        found = self.nodes[node]
        if level(node) == 0:
            content = None if node // 2 in without else found
            return self.suite.digest(U8.write(LEAF) + U32.write(node // 2) + optional(struct(LeafNode)).write(content))
        if without and isinstance(found, ParentNode):
            found = deepcopy(found)
            found.unmerged_leaves = [leaf for leaf in found.unmerged_leaves if leaf not in without]
        hashes = b"".join(OPAQUE.write(self.tree_hash(child, without)) for child in children(node))
        return self.suite.digest(U8.write(PARENT) + optional(struct(ParentNode)).write(found) + hashes)

    def parent_hash(self, node: int, copath_child: int) -> bytes:
        """Section 7.9."""
        found = self.parent_node(node)
        original = self.tree_hash(copath_child, frozenset(found.unmerged_leaves))
        return self.suite.digest(
            OPAQUE.write(found.encryption_key) + OPAQUE.write(found.parent_hash) + OPAQUE.write(original)
        )

    def vouched(self, node: int) -> bool:
        """Whether a parent is what a node below it says, and nobody came there since but its unmerged leaves
        (section 7.9.2)."""
        left, right = children(node)
        unmerged = {2 * leaf for leaf in self.parent_node(node).unmerged_leaves}
        for child, other in ((left, right), (right, left)):
            said, below = self.parent_hash(node, other), set(self.resolution(child))
            for one in below:
                if self._says(one) == said and below - {one} == unmerged & set(self.under(child)):
                    return True
        return False

    def _says(self, node: int) -> bytes | None:
        """The parent hash in a node."""
        found = self.nodes[node]
        if isinstance(found, ParentNode):
            return found.parent_hash
        return found.body if found is not None and found.source == FROM_COMMIT else None

    # -- changes -----------------------------------------------------------------------------------------

    def blank_path(self, leaf: int) -> None:
        for node in self.path(2 * leaf):
            self.nodes[node] = None

    def set_path(self, leaf: int, keys: Iterable[bytes]) -> bytes:
        """Gives the nodes of the filtered direct path these keys, from the leaf up, and their parent hashes (sections
        7.5 and 7.9); returns the parent hash for the leaf."""
        steps, above = self.filtered(leaf), b""
        self.blank_path(leaf)
        for (node, _), key in zip(steps, keys, strict=True):
            self.nodes[node] = ParentNode(key)
        for node, other in reversed(steps):
            self.parent_node(node).parent_hash = above
            above = self.parent_hash(node, other)
        return above

    def merge(self, leaf: int, path: UpdatePath) -> None:
        """A path that somebody sent (section 7.5), whose leaf must vouch for its nodes."""
        self.nodes[2 * leaf] = path.leaf_node
        assert path.leaf_node.body == self.set_path(leaf, [one.encryption_key for one in path.nodes])

    def add(self, leaf: LeafNode) -> int:
        """Section 12.1.1: the leftmost empty leaf, or a tree twice as large. Returns the leaf index."""
        places = (place for place in range(0, len(self.nodes), 2) if self.nodes[place] is None)
        place = next(places, None)
        if place is None:
            place = len(self.nodes) + 1
            self.nodes += [None] * (len(self.nodes) + 1)
        for node in self.path(place):
            found = self.nodes[node]
            if isinstance(found, ParentNode):
                found.unmerged_leaves = sorted({*found.unmerged_leaves, place // 2})
        self.nodes[place] = leaf
        return place // 2

    def remove(self, leaf: int) -> None:
        """Section 12.1.3."""
        self.nodes[2 * leaf] = None
        self.blank_path(leaf)
        while len(self.nodes) > 1 and not any(one is not None for one in self.nodes[self.root + 1 :: 2]):
            del self.nodes[self.root :]
