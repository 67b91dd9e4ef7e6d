"""How many operations of the provider a step needs, by RFC 9420 and the shape of the tree: so, how long it must take.

The shape is followed through the history of `door_group.py`: who sits where, which parents are set, and which leaves
are unmerged below them. What an implementation does besides, like copying and encoding, is not in the floor.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from door_engines import VICTIM
from door_group import BLANK

Counts = Counter[str]
"""How often each primitive of `rust/core/benches/door.rs` is used."""

EPOCH = Counter({"extract": 2, "expand": 11, "mac": 2, "hash": 2})
"""Every new epoch: the key schedule (section 8: joiner and epoch secret, and nine that are derived), the confirmation
tag and the membership tag (sections 6.1, 6.2), the transcript hashes (section 8.2)."""

WELCOME = Counter({"expand": 3, "encrypt": 1})
"""The key and nonce of the GroupInfo in a Welcome, and its one encryption (section 12.4.3.1)."""


def level(node: int) -> int:
    return (~node & node + 1).bit_length() - 1


def children(node: int) -> tuple[int, int]:
    half = 1 << level(node) - 1
    return node - half, node + half


@dataclass
class Shape:
    """A ratchet tree without its keys. Leaf i is node 2i (appendix C)."""

    width: int = 1
    leaves: set[int] = field(default_factory=lambda: {0})
    parents: dict[int, set[int]] = field(default_factory=dict)
    """Those that are set, and the leaves that are unmerged below them."""

    def ancestors(self, leaf: int) -> list[int]:
        """The direct path, from below (section 4.1.1)."""
        return [((leaf >> up) << up + 1) + (1 << up) - 1 for up in range(1, self.width.bit_length())]

    def resolution(self, node: int) -> list[int]:
        """Section 4.1.1, as nodes."""
        if level(node) == 0:
            return [node] if node // 2 in self.leaves else []
        if node in self.parents:
            return [node, *(2 * leaf for leaf in sorted(self.parents[node]))]
        return [one for child in children(node) for one in self.resolution(child)]

    def add(self) -> int:
        """The leftmost empty leaf (section 7.7)."""
        leaf = next(leaf for leaf in range(self.width + 1) if leaf not in self.leaves)
        if leaf == self.width:
            self.width *= 2
        self.leaves.add(leaf)
        for node in self.ancestors(leaf):
            if node in self.parents:
                self.parents[node].add(leaf)
        return leaf

    def remove(self, leaf: int) -> None:
        self.leaves.remove(leaf)
        for node in self.ancestors(leaf):
            self.parents.pop(node, None)
        assert max(self.leaves) >= self.width // 2, "no tree here gets narrower"

    def path(self, author: int, new: Iterable[int] = ()) -> list[tuple[int, int]]:
        """The nodes of a commit's path, and to how many keys each secret is sealed (section 7.5). Sets them."""
        new_nodes = {2 * leaf for leaf in new}
        made, below = [], 2 * author
        for node in self.ancestors(author):
            beside = next(child for child in children(node) if child != below)
            resolution = self.resolution(beside)
            if resolution:  # else it is left out (section 7.4)
                made.append((node, len(set(resolution) - new_nodes)))
            below = node
        for node in self.ancestors(author):
            self.parents.pop(node, None)
        self.parents |= {node: set[int]() for node, _ in made}
        return made


@dataclass(frozen=True)
class History:
    """The shape when an engine and a witness have just come in, and who is who."""

    shape: Shape
    host: int
    engine: int

    @staticmethod
    def of(tree: str, members: int) -> "History":
        shape = Shape()
        for _ in range(members - 3):
            leaf = shape.add()
            if tree != BLANK:
                shape.path(leaf)
        engine = shape.add()
        shape.add()
        return History(shape, 0 if tree == BLANK else members - 3, engine)

    def steady(self, author: int) -> list[tuple[int, int]]:
        """The path of a removal when the author has removed and added before, as in all rounds that count."""
        for _ in range(2):
            self.shape.remove(VICTIM)
            path = self.shape.path(author)
            self.shape.add()
        return path


def sealed(path: Iterable[tuple[int, int]]) -> int:
    return sum(seals for _, seals in path)


def _tree(shape: Shape, path: int, changed: Iterable[int]) -> Counts:
    """Tree hashes of what has changed: these leaves and all above (section 7.8). Parent hashes of the path (7.9)."""
    above = {node for leaf in changed for node in shape.ancestors(leaf)}
    return Counter({"hash": len(above) + len(list(changed)) + path})


def counts(tree: str, members: int) -> Mapping[str, Counts]:
    """By operation. Signatures: of the commit and of a leaf, of a KeyPackage and its leaf, of a GroupInfo."""
    by_engine, by_host, entered = (History.of(tree, members) for _ in range(3))
    made, met = by_engine.steady(by_engine.engine), by_host.steady(by_host.host)
    shape, engine = by_engine.shape, by_engine.engine
    shared = set(by_host.shape.ancestors(by_host.engine))
    derived = sum(node in shared for node, _ in met)
    full = 2 * shape.width - 1

    add = EPOCH + _tree(shape, 0, [VICTIM])
    return {
        "create": EPOCH
        + EPOCH
        + WELCOME
        + Counter({"key pair": 1, "sign": 3, "verify": 2 * (members - 1), "seal": members - 1})
        + Counter({"hash": full + members - 1}),
        "join": EPOCH
        + WELCOME
        + Counter({"open": 1, "verify": members + 1, "hash": full + len(entered.shape.parents)}),
        "process a removal": EPOCH
        + _tree(shape, len(met), [VICTIM, by_host.host])
        + Counter({"verify": 2, "open": 1, "key pair": derived, "expand": 2 * derived}),
        "process an add": add + Counter({"verify": 3}),
        "remove": EPOCH
        + _tree(shape, len(made), [VICTIM, engine])
        + Counter({"sign": 2, "key pair": len(made) + 1, "expand": 2 * len(made), "seal": sealed(made)}),
        "add": add + WELCOME + Counter({"verify": 2, "sign": 2, "seal": 1, "hash": 1}),
        "export": Counter({"expand": 2, "hash": 1}),
        "export all": Counter({"expand": 2 + members, "hash": 1}),
    }


def floor(counted: Counts, primitives: Mapping[str, int]) -> float:
    """Nanoseconds, on one core."""
    return sum(times * primitives[name] for name, times in counted.items())
