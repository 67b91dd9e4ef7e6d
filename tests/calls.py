"""Calls of real groups, and the one that forged commits are set into."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from forging import (
    EXTERNAL_INIT,
    Device,
    Forged,
    add,
    candidate,
    leaf_node,
    remove,
)
from mlsrtc import mls
from mlsrtc.identifiers import EpochId
from mlsrtc.judge import Candidate, Judged, judge
from mlsrtc.wire import encoding
from mlsrtc.wire.commit_data import CommitData


class Call:
    """A call of real groups: who stands where, and the verdict on the newest commit."""

    def __init__(self, creator: Device, joiners: list[Device]) -> None:
        self.groups = {creator.member_id: creator.create()}
        self.devices = {creator.member_id: creator}
        info_0 = self.groups[creator.member_id].group_info(with_tree=True)
        self.judged: Judged | None = None
        self.candidates: list[Candidate] = []
        self.commit(creator, joiners, group_info_0=info_0)

    def commit(
        self,
        author: Device,
        joiners: Sequence[Device] = (),
        leavers: Sequence[Device] = (),
        group_info_0: bytes | None = None,
        **data: Any,
    ) -> Judged:
        group = self.groups[author.member_id]
        index = {member.signature_key: member.leaf for member in group.members()}
        packages = {device: device.client.key_package() for device in joiners}
        said = CommitData(self.parent, n=data.pop("n", 1), left={m.member_id: m.left() for m in leavers}, **data)
        made = group.commit(
            add=[package.public for package in packages.values()],
            remove=[index[leaver.signing_key.public] for leaver in leavers],
            authenticated_data=said.encode(),
        )
        for leaver in leavers:
            del self.groups[leaver.member_id]
        self.devices |= {joiner.member_id: joiner for joiner in joiners}
        self._arrive(author, made, said, group_info_0)
        for device, package in packages.items():
            assert made.welcome is not None
            self.groups[device.member_id] = device.client.join(made.welcome, package, tree=made.tree)
        assert self.judged is not None
        return self.judged

    def join_external(self, joiner: Device, replaces: Device | None = None) -> Judged:
        host = next(iter(self.groups.values()))
        index = {member.signature_key: member.leaf for member in host.members()}
        said = CommitData(self.parent, 1)
        made = joiner.client.join_external(
            host.group_info(with_tree=True),
            remove=None if replaces is None else index[replaces.signing_key.public],
            authenticated_data=said.encode(),
        )
        if replaces is not None:
            self.groups.pop(replaces.member_id, None)
        self.devices[joiner.member_id] = joiner
        self._arrive(joiner, made, said, None)
        assert self.judged is not None
        return self.judged

    @property
    def parent(self) -> EpochId | None:
        """The newest epoch, which the next commit names as its parent."""
        return None if self.judged is None else self.judged.committed.id

    def _arrive(self, author: Device, made: mls.Commit, said: CommitData, group_info_0: bytes | None) -> None:
        event = candidate(author, made.message, made.group_info, self.judged, said, group_info_0)
        self.judged = judge(event, self.judged)
        self.candidates.append(event)
        for name, group in self.groups.items():
            if name != author.member_id:
                self.groups[name] = group.stage(made.message).apply()
        self.groups[author.member_id] = made.group
        self.agrees(made.group)

    def agrees(self, group: mls.Group) -> None:
        """The verdict says of the newest epoch what a member knows of it."""
        judged = self.judged
        assert judged is not None
        committed = judged.committed
        assert committed.id == encoding.epoch_id(group.context, group.confirmation_tag)
        assert judged.context == group.context
        assert judged.tree_hash == group.tree_hash
        assert committed.epoch == group.epoch
        assert {index: leaf.signature_key for index, leaf in committed.leaves.items()} == {
            member.leaf: member.signature_key for member in group.members()
        }
        assert all(leaf == self.devices[leaf.member_id].leaf for leaf in committed.leaves.values())


def devices(names: str) -> list[Device]:
    return [Device.new(name) for name in names.split()]


def party() -> tuple[Device, list[Device]]:
    first, *others = devices("first second third")
    return first, others


class Scene:
    """A call of first (leaf 0), second (1) and third (2), whose last commit was an empty one by second."""

    def __init__(self) -> None:
        self.first, self.second, self.third = devices("first second third")
        self.guest, self.stranger = devices("guest stranger")
        self.call = Call(self.first, [self.second, self.third])
        root = self.call.judged
        judged = self.call.commit(self.second)
        assert root is not None
        self.root: Judged = root
        self.judged: Judged = judged
        self.group_id = judged.committed.group_id

    def forged(self, **changes: Any) -> Forged:
        """A valid commit by first that adds the guest, but for the changes."""
        base = Forged(self.first, 0, self.judged, proposals=[add(self.guest)])
        return replace(base, **changes)

    def idle(self, **changes: Any) -> Forged:
        return self.forged(proposals=[], path=True, **changes)

    def external(self, joiner: Device, **changes: Any) -> Forged:
        return Forged(joiner, None, self.judged, **{"proposals": [EXTERNAL_INIT], "path": True, "place": 3} | changes)

    def removal(self, **changes: Any) -> Forged:
        return self.forged(**{"proposals": [remove(2)], "path": True} | changes)

    def path_leaf(self, index: int = 0, device: Device | None = None, **changes: Any) -> bytes:
        return leaf_node(device or self.first, "commit", (self.group_id, index), **changes)


@cache
def scene() -> Scene:
    return Scene()
