"""Evidence made of names instead of bytes, for tests of ordering, turns and standing."""

import hashlib
import random
from collections.abc import Iterable

from mlsrtc.evidence import Committed, Joined, Leaf, Left, Refusal, Spoken
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, UserId

FAR = 10**9


def fake_id(name: str) -> EpochId:
    """An epoch id that reads in a failure message: the name, filled up with dots to 32 bytes."""
    return EpochId(name.encode().ljust(32, b"."))


def fake_leaf(member: str, *, user: str | None = None, device: str = "DEV", key: str = "") -> Leaf:
    """`alice.1` is a member of `@alice:hs` on the device `DEV` with that device's key."""
    owner = user or f"@{member.split('.', maxsplit=1)[0]}:hs"
    return Leaf(
        member_id=MemberId(member),
        user_id=UserId(owner),
        device_id=DeviceId(device),
        device_key=hashlib.sha256(f"{owner} {device} {key}".encode()).digest(),
        signature_key=hashlib.sha256(member.encode()).digest(),
    )


def fake_join(
    leaf: Leaf, *, head: EpochId | None = None, replaces: Iterable[str] = (), start: int = 0, until: int = FAR
) -> Joined:
    return Joined(leaf, 1, b"key package", frozenset(map(MemberId, replaces)), head, start, until)


def fake_commit(
    id: EpochId,
    parent: Committed | None,
    author: Leaf,
    *,
    n: int = 1,
    add: Iterable[Leaf] = (),
    remove: Iterable[str] = (),
    left: Iterable[str] = (),
    refuse: Refusal | None = None,
) -> Committed:
    """A commit on `parent`. An author without a leaf there comes in externally; a root's is leaf 0."""
    leaves = dict(parent.leaves) if parent else {LeafIndex(0): author}
    held = {leaf.member_id for leaf in leaves.values()}
    external = author.member_id not in held
    for index in [index for index, leaf in leaves.items() if leaf.member_id in set(remove)]:
        del leaves[index]
    added = [*add, author] if external else [*add]
    for leaf in added:
        leaves[next(LeafIndex(i) for i in range(len(leaves) + 1) if LeafIndex(i) not in leaves)] = leaf
    return Committed(
        id=id,
        parent=parent.id if parent else None,
        root=parent.root if parent else id,
        epoch=parent.epoch + 1 if parent else 1,
        group_id=parent.group_id if parent else hashlib.sha256(author.member_id.encode()).digest(),
        author=author,
        n=n,
        leaves=leaves,
        added=frozenset(leaf.member_id for leaf in added),
        removed=frozenset(map(MemberId, remove)),
        left=frozenset(map(MemberId, left)),
        has_path=bool(tuple(remove)) or not added,
        external=external,
        refuse=refuse,
    )


def fake_word(leaf: Leaf, n: int, commit: Committed, refuse: EpochId | None = None, why: str = "unopened") -> Spoken:
    refusal = Refusal(refuse, why) if refuse else None
    return Spoken(leaf.member_id, leaf.user_id, commit.root, n, commit.id, refusal)


Evidence = Joined | Left | Committed | Spoken


def random_evidence(rng: random.Random) -> list[Evidence]:
    """A small set with everything in it that the head rule knows, in the order in which it was made up."""
    leaves = [
        fake_leaf(
            f"m{number}",
            user=f"@{rng.choice('abcdef')}:hs",
            device=rng.choice(["X", "Y"]),
            key=rng.choice(["", "", "", "other"]),
        )
        for number in range(rng.randint(2, 9))
    ]
    counts = dict.fromkeys((leaf.member_id for leaf in leaves), 0)

    def id(number: int) -> EpochId:
        return EpochId(hashlib.sha256(f"{rng.randrange(1 << 30)} {number}".encode()).digest())

    def refusal() -> Refusal | None:
        if not commits or rng.random() < 0.55:
            return None
        return Refusal(rng.choice(commits).id, rng.choice(["unopened", "bad_tree"]))

    def count(member: MemberId) -> int:
        counts[member] += rng.choice([0, 1, 1, 1, 1, 2])
        return max(counts[member], 1)

    commits: list[Committed] = []
    for number in range(rng.randint(1, 10)):
        parent = rng.choice(commits) if commits and rng.random() < 0.85 else None
        held = list(parent.leaves.values()) if parent else []
        others = [leaf for leaf in leaves if leaf not in held]
        author = rng.choice(held if held and rng.random() < 0.9 else others or held)
        removable = [leaf.member_id for leaf in held if leaf != author]
        remove = rng.sample(removable, rng.randint(0, min(2, len(removable)))) if rng.random() < 0.4 else []
        fresh = [leaf for leaf in others if leaf != author]
        commits.append(
            fake_commit(
                id(number),
                parent,
                author,
                n=count(author.member_id),
                add=rng.sample(fresh, rng.randint(0, len(fresh))),
                remove=remove,
                left=[member for member in remove if rng.random() < 0.6],
                refuse=refusal(),
            )
        )
    evidence: list[Evidence] = list(commits)
    for leaf in leaves:
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            start = rng.randint(0, 100)
            evidence.append(
                fake_join(
                    leaf,
                    head=rng.choice(commits).id if rng.random() < 0.6 else None,
                    replaces=[o.member_id for o in leaves if o != leaf and rng.random() < 0.1],
                    start=start,
                    until=start + rng.choice([10, 60, 200, FAR]),
                )
            )
        if rng.random() < 0.1:
            evidence.append(Left(leaf.member_id, b"signature"))
    for _ in range(rng.randint(0, 24)):
        target = rng.choice(commits)
        leaf = rng.choice(leaves if rng.random() < 0.2 else list(target.leaves.values()))
        refuse = refusal()
        near = [c for c in commits if c.parent in (target.id, target.parent) and c.id != target.id]
        if near and rng.random() < 0.6:
            refuse = Refusal(rng.choice(near).id, "unopened")
        evidence.append(Spoken(leaf.member_id, leaf.user_id, target.root, count(leaf.member_id), target.id, refuse))
    return [value for value in evidence if not (isinstance(value, Committed) and rng.random() < 0.05)]
