"""The head rule a second time, written from the text of docs/protocol.md ("Which branch", section 2; and 3.0).

It shares no code with `mlsrtc.ordering`, uses plain sets and starts from all events each time. Slow on
purpose: whoever reads it beside the text should find sentence after sentence.
"""

import hashlib
from collections.abc import Container, Iterable

from mlsrtc.evidence import Committed, Joined, Left, Spoken

NULL = bytes(32)


def lp(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


class Naive:
    def __init__(self, events: Iterable[object]) -> None:
        events = list(events)
        self.joined = [e for e in events if isinstance(e, Joined)]
        self.left = [e for e in events if isinstance(e, Left)]
        self.spoken = [e for e in events if isinstance(e, Spoken)]
        self.commits = [e for e in events if isinstance(e, Committed)]
        self.members = {j.leaf.member_id for j in self.joined}
        for c in self.commits:
            self.members |= {leaf.member_id for leaf in c.leaves.values()} | {c.author.member_id}
        self._t = self._connected()
        self._eq = self._equivocators()
        self._d = self._departed()

    # T = valid commits connected to a root, keyed by id
    def _connected(self) -> list[Committed]:
        connected: list[Committed] = []
        while True:
            more = [
                c
                for c in self.commits
                if c not in connected
                and (c.parent is None or any(p.id == c.parent and p.epoch + 1 == c.epoch for p in connected))
            ]
            if not more:
                return connected
            for c in more:
                if c not in connected:
                    connected.append(c)

    def ids(self) -> set[bytes]:
        return {c.id for c in self._t}

    def by_id(self, id: bytes) -> Committed:
        return next(c for c in self._t if c.id == id)

    def children(self, id: bytes | None) -> set[bytes]:
        return {c.id for c in self._t if c.parent == id}

    def at_or_below(self, id: bytes) -> set[bytes]:
        found = {id}
        for child in self.children(id):
            found |= self.at_or_below(child)
        return found

    # D = every m with a valid L(m), alone or inside a commit, or named in `replaces` by the same device
    def _departed(self) -> set[str]:
        departed: set[str] = {e.member_id for e in self.left}
        for c in self.commits:
            departed |= c.left
        leaves = [j.leaf for j in self.joined] + [c.author for c in self.commits]
        for c in self.commits:
            leaves += c.leaves.values()
        for j in self.joined:
            for old in leaves:
                same_device = (
                    old.user_id == j.leaf.user_id
                    and old.device_id == j.leaf.device_id
                    and old.device_key == j.leaf.device_key
                )
                if old.member_id in j.replaces and same_device:
                    departed.add(old.member_id)
        return departed

    def departed(self) -> set[str]:
        return self._d

    # eq = authors of two commits with different ids on one parent
    def _equivocators(self) -> set[str]:
        return {
            a.author.member_id
            for a in self._t
            for b in self._t
            if a.author.member_id == b.author.member_id and a.parent == b.parent and a.id != b.id
        }

    def equivocators(self) -> set[str]:
        return self._eq

    # m is stale if until(m) < now(E), the greatest `from` in E
    def stale(self, m: str) -> bool:
        untils = [j.until_ts for j in self.joined if j.leaf.member_id == m]
        return bool(untils) and max(untils) < max(j.from_ts for j in self.joined)

    def has_leaf(self, id: bytes, m: str) -> bool:
        return any(leaf.member_id == m for leaf in self.by_id(id).leaves.values())

    # word(m): (n, id, refuse) or None
    def word(self, m: str) -> tuple[int, bytes, tuple[bytes, str] | None] | None:
        if m in self.departed() or m in self.equivocators() or self.stale(m):
            return None
        said = [(w.n, w.id, w.refuse) for w in self.spoken if w.member_id == m]
        said += [(c.n, c.id, c.refuse) for c in self.commits if c.author.member_id == m]
        candidates: list[tuple[int, bytes, tuple[bytes, str] | None]] = [
            (n, id, (refuse.id, refuse.why) if refuse else None)
            for n, id, refuse in said
            if id in self.ids() and self.has_leaf(id, m)
        ]
        heads = [j.head or b"" for j in self.joined if j.leaf.member_id == m]
        if heads and b"" not in heads:  # the least head: null is less than any
            head = min(heads)
            if head in self.ids() and any(self.has_leaf(id, m) for id in self.at_or_below(head)):
                candidates.append((0, head, None))
        if not candidates:
            return None
        greatest = max(n for n, _, _ in candidates)
        return min(
            (word for word in candidates if word[0] == greatest),
            key=lambda word: (word[1], word[2] or (b"", "")),
        )

    def user(self, m: str) -> str:
        for j in self.joined:
            if j.leaf.member_id == m:
                return j.leaf.user_id
        for c in self.commits:
            for leaf in (c.author, *c.leaves.values()):
                if leaf.member_id == m:
                    return leaf.user_id
        raise AssertionError(m)

    def words(self) -> dict[str, tuple[int, bytes, tuple[bytes, str] | None]]:
        return {m: word for m in self.members if (word := self.word(m)) is not None}

    # head(E)
    def head(self) -> bytes | None:
        return self.head_past(set())

    def head_past(self, roots: set[bytes]) -> bytes | None:
        words = self.words()
        here: bytes | None = None
        while True:
            ranked = []
            for k in self.children(here):
                if here is None and (k in roots or not self.considered(k)):
                    continue
                below = self.at_or_below(k)
                support = {self.user(m) for m, (_, id, _) in words.items() if id in below}
                refused = {self.user(m) for m, (_, _, r) in words.items() if r and r[0] == k} - support
                if len(refused) > len(support):
                    continue
                commit = self.by_id(k)
                label, parent, author = b"mlsrtc order 1", here or NULL, commit.author.user_id.encode()
                static = hashlib.sha256(lp(label) + lp(parent) + lp(author)).digest()
                ranked.append((-len(support), 0 if commit.left & commit.removed else 1, static, k))
            if not ranked:
                return here
            here = min(ranked)[3]

    # a root below which no leaf has a J that is neither in D nor stale is skipped
    def considered(self, root: bytes) -> bool:
        return any(
            self.has_leaf(id, j.leaf.member_id)
            for id in self.at_or_below(root)
            for j in self.joined
            if j.leaf.member_id not in self.departed() and not self.stale(j.leaf.member_id)
        )

    # 3.0: past roots that lead to an epoch without a leaf of anybody in R; head(E) if there is no other root
    def head_among(self, r: Container[str]) -> bytes | None:
        past: set[bytes] = set()
        while (head := self.head_past(past)) is not None:
            if any(leaf.member_id in r for leaf in self.by_id(head).leaves.values()):
                return head
            past |= {root for root in self.children(None) if head in self.at_or_below(root)}
        return self.head()


def naive_head(events: Iterable[object]) -> bytes | None:
    return Naive(events).head()
