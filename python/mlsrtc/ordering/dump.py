"""E as plain JSON values and back, for `mlsrtc inspect` and for bug reports. Nothing in it is secret.

The text is canonical: equal sets give equal dumps, whatever order they came in. Ids and keys are hexadecimal.
"""

from collections.abc import Callable, Mapping
from typing import Any

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Committed, Joined, Leaf, Left, Refusal, Spoken
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, UserId
from mlsrtc.ordering.ordering import Ordering

VERSION = 1


def dump(ordering: Ordering) -> dict[str, Any]:
    """All of E, and the answers a reader wants first. JSON-able; `replay` reads the evidence back."""
    leaves: dict[MemberId, Leaf] = {}
    joins, left, commits, words = [], [], [], []
    for value in ordering.evidence():
        match value:
            case Joined():
                leaves[value.leaf.member_id] = value.leaf
                joins.append(_dump_join(value))
            case Left():
                left.append({"member_id": value.member_id, "signature": value.signature.hex()})
            case Spoken():
                words.append(_dump_word(value))
            case Committed():
                for leaf in (value.author, *value.leaves.values()):
                    leaves[leaf.member_id] = leaf
                commits.append(_dump_commit(value))
    return {
        "version": VERSION,
        "head": _hex(ordering.head()),
        "head_path": [id.hex() for id in ordering.head_path()],
        "departed": sorted(ordering.departed),
        "equivocators": sorted(ordering.equivocators),
        "stale": sorted(ordering.stale),
        "standing": {m: _hex(ordering.standing(m)) for m in sorted(leaves) if ordering.standing(m)},
        "leaves": {m: _dump_leaf(leaves[m]) for m in sorted(leaves)},
        "joins": sorted(joins, key=repr),
        "left": sorted(left, key=repr),
        "commits": sorted(commits, key=lambda commit: (commit["epoch"], commit["id"], repr(commit))),
        "words": sorted(words, key=lambda word: (word["member_id"], word["n"], repr(word))),
    }


def replay(dumped: Mapping[str, Any]) -> Ordering:
    """The set that `dump` wrote. Raises RemoteProtocolError("bad_dump") for anything else."""
    try:
        if dumped["version"] != VERSION:
            raise RemoteProtocolError("bad_dump", "unknown version", where="version")
        leaves = {MemberId(str(m)): _read_leaf(str(m), value) for m, value in dumped["leaves"].items()}
        ordering = Ordering()
        readers: dict[str, Callable[[Any], Joined | Left | Committed | Spoken]] = {
            "joins": lambda value: _read_join(value, leaves),
            "left": lambda value: Left(MemberId(value["member_id"]), bytes.fromhex(value["signature"])),
            "commits": lambda value: _read_commit(value, leaves),
            "words": _read_word,
        }
        for name, read in readers.items():
            for value in dumped[name]:
                ordering.add(read(value))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RemoteProtocolError("bad_dump", type(error).__name__) from None
    return ordering


def _hex(id: EpochId | None) -> str | None:
    return id.hex() if id is not None else None


def _read_id(text: str) -> EpochId:
    return EpochId(bytes.fromhex(text))


def _read_optional(text: str | None) -> EpochId | None:
    return None if text is None else _read_id(text)


def _dump_leaf(leaf: Leaf) -> dict[str, str]:
    return {
        "user_id": leaf.user_id,
        "device_id": leaf.device_id,
        "device_key": leaf.device_key.hex(),
        "signature_key": leaf.signature_key.hex(),
    }


def _read_leaf(member_id: str, value: Mapping[str, str]) -> Leaf:
    return Leaf(
        MemberId(member_id),
        UserId(value["user_id"]),
        DeviceId(value["device_id"]),
        bytes.fromhex(value["device_key"]),
        bytes.fromhex(value["signature_key"]),
    )


def _dump_join(join: Joined) -> dict[str, Any]:
    return {
        "member_id": join.leaf.member_id,
        "suite": join.suite,
        "key_package": join.key_package.hex(),
        "replaces": sorted(join.replaces),
        "head": _hex(join.head),
        "from": join.from_ts,
        "until": join.until_ts,
    }


def _read_join(value: Mapping[str, Any], leaves: Mapping[MemberId, Leaf]) -> Joined:
    return Joined(
        leaf=leaves[value["member_id"]],
        suite=int(value["suite"]),
        key_package=bytes.fromhex(value["key_package"]),
        replaces=_read_members(value["replaces"]),
        head=_read_optional(value["head"]),
        from_ts=int(value["from"]),
        until_ts=int(value["until"]),
    )


def _dump_refusal(refuse: Refusal | None) -> list[str] | None:
    return [refuse.id.hex(), refuse.why] if refuse else None


def _read_refusal(value: list[str] | None) -> Refusal | None:
    if value is None:
        return None
    id, why = value
    return Refusal(_read_id(id), str(why))


def _dump_word(word: Spoken) -> dict[str, Any]:
    return {
        "member_id": word.member_id,
        "user_id": word.user_id,
        "root": word.root.hex(),
        "n": word.n,
        "id": word.id.hex(),
        "refuse": _dump_refusal(word.refuse),
    }


def _read_word(value: Mapping[str, Any]) -> Spoken:
    return Spoken(
        member_id=MemberId(value["member_id"]),
        user_id=UserId(value["user_id"]),
        root=_read_id(value["root"]),
        n=int(value["n"]),
        id=_read_id(value["id"]),
        refuse=_read_refusal(value["refuse"]),
    )


def _dump_commit(commit: Committed) -> dict[str, Any]:
    return {
        "id": commit.id.hex(),
        "parent": _hex(commit.parent),
        "root": commit.root.hex(),
        "epoch": commit.epoch,
        "group_id": commit.group_id.hex(),
        "author": commit.author.member_id,
        "n": commit.n,
        "leaves": [[index, commit.leaves[index].member_id] for index in sorted(commit.leaves)],
        "added": sorted(commit.added),
        "removed": sorted(commit.removed),
        "left": sorted(commit.left),
        "has_path": commit.has_path,
        "external": commit.external,
        "guests": [list(guest) for guest in commit.guests],
        "refuse": _dump_refusal(commit.refuse),
    }


def _read_commit(value: Mapping[str, Any], leaves: Mapping[MemberId, Leaf]) -> Committed:
    return Committed(
        id=_read_id(value["id"]),
        parent=_read_optional(value["parent"]),
        root=_read_id(value["root"]),
        epoch=int(value["epoch"]),
        group_id=bytes.fromhex(value["group_id"]),
        author=leaves[value["author"]],
        n=int(value["n"]),
        leaves={LeafIndex(int(index)): leaves[m] for index, m in value["leaves"]},
        added=_read_members(value["added"]),
        removed=_read_members(value["removed"]),
        left=_read_members(value["left"]),
        has_path=bool(value["has_path"]),
        external=bool(value["external"]),
        guests=tuple((str(u), str(d), str(m)) for u, d, m in value.get("guests", ())),
        refuse=_read_refusal(value["refuse"]),
    )


def _read_members(value: list[str]) -> frozenset[MemberId]:
    return frozenset(MemberId(str(member_id)) for member_id in value)
