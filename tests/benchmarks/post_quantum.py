"""What the post-quantum suite costs beside suites 1 and 3: bytes, time, and when an event of a call must use a file.

    PYTHONPATH=python:tests python tests/benchmarks/post_quantum.py

Devices have bindings in their leaves, as in a call. Bytes are of MLS messages; base64 takes a third more in an event.
Times are the least of several tries, in one thread of a release build.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from forging import SLOT, Device
from mlsrtc import drafts, mls
from mlsrtc.drafts import Place
from mlsrtc.group import epoch_of
from mlsrtc.identifiers import EventId, LeafIndex, MemberId
from mlsrtc.outbox import SendEvent
from mlsrtc.policy import Policy
from mlsrtc.wire.commit_data import CommitData
from mlsrtc.wire.fitting import size_of

SUITES = (1, 3, 0x4D)
MEMBERS = (10, 50)
LIMIT = Policy().content_limit


@dataclass(frozen=True)
class Joiner:
    """A device, and the KeyPackage in its join."""

    client: mls.Client
    package: mls.KeyPackage


def joiner(suite: int, number: int) -> Joiner:
    client = Device.new(f"u{number}", signing_key=mls.SigningKey.generate(suite)).client
    return Joiner(client, client.key_package())


@dataclass(frozen=True)
class Stage:
    """How the founder of a group and another member stand."""

    founder: mls.Group
    other: mls.Group


@cache
def stage(suite: int, members: int, *, populated: bool) -> Stage:
    """populated: each member has committed once, so that no node of the tree is blank. Else nobody has since the root,
    and all are."""
    joiners = [joiner(suite, number) for number in range(members)]
    alone = joiners[0].client.create_group(b"call")
    root = alone.commit(add=[each.package.public for each in joiners[1:]])
    assert root.welcome is not None
    needed = joiners[1:] if populated else joiners[1:2]
    groups = [root.group, *(each.client.join(root.welcome, each.package, tree=root.tree) for each in needed)]
    for author in range(members if populated else 0):
        made = groups[author].commit()
        groups = [made.group if group is groups[author] else group.stage(made.message).apply() for group in groups]
    return Stage(groups[0], groups[1])


# -- bytes -------------------------------------------------------------------------------------------------------------


def sizes(suite: int) -> dict[str, int]:
    new = joiner(suite, 0)
    found = {"KeyPackage": len(new.package.public), "private part of it, saved": len(new.package.save())}
    for members in MEMBERS:
        of = stage(suite, members, populated=True)
        add, update = of.founder.commit(add=[new.package.public]), of.founder.commit()
        found |= {
            f"tree, n={members}": len(add.tree),
            f"commit that adds one, n={members}": len(add.message),
            f"Welcome for one, n={members}": len(add.welcome or b""),
            f"GroupInfo, n={members}": len(add.group_info),
            f"commit that rekeys, n={members}": len(update.message),
            f"commit that removes one, n={members}": len(of.founder.commit(remove=[members - 1]).message),
            f"group, saved, n={members}": len(of.founder.save()),
        }
    return found


# -- the limit of an event ---------------------------------------------------------------------------------------------


Make = Callable[[int, int, int], SendEvent]
"""A commit's event of a suite, for a number of members or joiners, with a limit of bytes."""


def event(
    group: mls.Group, limit: int, *, add: Sequence[bytes] = (), remove: Sequence[int] = (), root: bool = False
) -> SendEvent:
    """The event of a commit, as a call makes it."""
    parent = None if root else epoch_of(group)
    place = Place(SLOT, parent, parent, None if root else EventId("$" + "r" * 43), limit)
    left = {} if not remove else {MemberId("m" * 43): bytes(64)}
    leaves = [LeafIndex(leaf) for leaf in remove]
    return drafts.commit(group, place, CommitData(parent, 1, left), add=add, remove=leaves, path=False)[1]


def root(suite: int, joiners: int, limit: int) -> SendEvent:
    packages = [joiner(suite, number).package.public for number in range(joiners)]
    return event(joiner(suite, joiners).client.create_group(b"call"), limit, add=packages, root=True)


def one_more(suite: int, members: int, limit: int) -> SendEvent:
    return event(stage(suite, members, populated=True).founder, limit, add=[joiner(suite, 0).package.public])


def one_less(suite: int, members: int, limit: int) -> SendEvent:
    return event(stage(suite, members, populated=False).founder, limit, remove=[members - 1])


def first_in_file(suite: int, make: Make) -> str:
    """The least number for which a part of the event is in a file, and which part that is."""
    # Sizes grow evenly, more or less: two of them tell about where to look.
    few, more = (size_of(make(suite, number, 1 << 30).content) for number in (8, 16))
    about = 8 + 8 * (LIMIT - few) / (more - few)
    low, high = int(0.7 * about), int(1.4 * about)
    assert make(suite, high, LIMIT).attachments
    assert not make(suite, low, LIMIT).attachments
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if make(suite, middle, LIMIT).attachments else (middle, high)
    parts = sorted(name.removesuffix("_file") for name in make(suite, high, LIMIT).attachments)
    return f"{high} ({', '.join(parts)})"


# -- time --------------------------------------------------------------------------------------------------------------


def least(act: Callable[[], object]) -> float:
    """Milliseconds, the least of some tries."""
    found = []
    for _ in range(30):
        began = time.perf_counter()
        act()
        found.append(time.perf_counter() - began)
    return 1e3 * min(found)


def times(suite: int) -> dict[str, float]:
    new = joiner(suite, 0)
    found = {"make a KeyPackage": least(new.client.key_package)}
    for members in MEMBERS:
        of = stage(suite, members, populated=True)
        add, update = of.founder.commit(add=[new.package.public]), of.founder.commit()
        found |= {
            f"commit that adds one, n={members}": least(lambda of=of: of.founder.commit(add=[new.package.public])),
            f"commit that rekeys, n={members}": least(of.founder.commit),
            f"commit that removes one, n={members}": least(lambda of=of, n=members: of.founder.commit(remove=[n - 1])),
            f"process a rekey, n={members}": least(lambda of=of, made=update: of.other.stage(made.message).apply()),
            f"join, n={members}": least(lambda made=add: new.client.join(made.welcome, new.package, tree=made.tree)),
        }
    return found


def printed(title: str, columns: Sequence[dict[str, object]], form: str) -> None:
    print(f"\n| {title} | " + " | ".join(f"suite {suite:#06x}" for suite in SUITES) + " |")
    print("| --- " * (len(SUITES) + 1) + "|")
    for name in columns[0]:
        print(f"| {name} | " + " | ".join(format(column[name], form) for column in columns) + " |")


def main() -> None:
    printed("bytes", [sizes(suite) for suite in SUITES], ",")
    limits: dict[str, Make] = {
        "joiners in a root": root,
        "members when one joins, every node populated": one_more,
        "members when one is removed, no node populated": one_less,
    }
    printed(
        f"first with a part in a file (limit {LIMIT:,} bytes)",
        [{name: first_in_file(suite, make) for name, make in limits.items()} for suite in SUITES],
        "",
    )
    printed("milliseconds", [times(suite) for suite in SUITES], ".2f")


if __name__ == "__main__":
    main()
