"""Random histories of DAVE groups, in which davey and our own clients are members.

A gateway outside the group, an external sender (RFC 9420 section 12.1.8.1), proposes to add and to remove; a member
commits what it proposed. A davey founds the group, and a davey commits what adds another, since a davey takes the tree
from the Welcome alone and ours carry none. After every commit all epoch authenticators are equal."""

import random
import struct
from collections import Counter
from dataclasses import dataclass

from peers import Peer

from mlsrtc.mls import Client, Group, KeyPackage, SigningKey

SUITE = 2
CHANNEL = (7).to_bytes(8)


def vector(data: bytes) -> bytes:
    """A vector of variable size (RFC 9420 section 2.1.2)."""
    size = len(data)
    if size < 1 << 6:
        return bytes([size]) + data
    return (struct.pack(">H", 1 << 14 | size) if size < 1 << 14 else struct.pack(">I", 1 << 31 | size)) + data


class Gateway:
    """Knows the group's id and epoch and nothing else, so it writes its proposals by hand."""

    def __init__(self) -> None:
        self.key = SigningKey.generate(SUITE)
        self.sender = vector(self.key.public) + b"\0\1" + vector(b"gateway")

    def propose(self, epoch: int, proposal: bytes) -> bytes:
        content = vector(CHANNEL) + struct.pack(">QBI", epoch, 2, 0) + vector(b"") + b"\2" + proposal
        signed = vector(b"MLS 1.0 FramedContentTBS") + vector(b"\0\1\0\1" + content)
        return b"\0\1\0\1" + content + vector(self.key.sign(signed))


@dataclass(eq=False)
class Member:
    name: bytes
    dave: bool
    group: Group | None = None  # ours


class Call:
    def __init__(self, davey: Peer, seed: int) -> None:
        self.davey, self.source = davey, random.Random(seed)
        self.gateway = Gateway()
        self.epoch = self.users = self.largest = 0
        self.operations: Counter[str] = Counter()
        self.commits: Counter[str] = Counter()
        self.members = [self._davey()]

    def _user(self) -> bytes:
        self.users += 1
        return self.users.to_bytes(8)

    def _davey(self) -> Member:
        member = Member(self._user(), True)
        fields = {"suite": SUITE, "identity": member.name, "group_id": CHANNEL, "data": self.gateway.sender}
        self.davey.call("client", client=member.name.hex(), **fields)
        return member

    def step(self) -> None:
        """One proposal of the gateway, and its commit."""
        if len(self.members) == 1 or (len(self.members) < 12 and self.source.random() < 0.6):
            self._add(self.source.random() < 0.4)
        else:
            self._remove(self.source.choice(self.members))
        self.largest = max(self.largest, len(self.members))

    def _add(self, dave: bool) -> None:
        if dave:
            added = self._davey()
            package = self.davey.call("key_package", client=added.name.hex())["key_package"]
        else:
            added = Member(self._user(), False)
            client = Client(added.name, SigningKey.generate(SUITE))
            own: KeyPackage = client.key_package()
            package = own.public
        committers = [member for member in self.members if member.dave or not dave]
        if not committers:
            return
        proposal = b"\0\1" + package[4:]
        welcome, tree = self._commit(proposal, self.source.choice(committers), self.members)
        if dave:
            self.davey.call("join", client=added.name.hex(), welcome=welcome)
        else:
            added.group = client.join(welcome, own, tree=tree)
        self.members.append(added)
        self._agree()
        self.operations[f"add {'davey' if dave else 'mlsrtc'}"] += 1

    def _remove(self, removed: Member) -> None:
        staying = [member for member in self.members if member is not removed]
        ours = next((member.group for member in self.members if member.group is not None), None)
        if ours is None or not any(member.dave for member in staying):
            return  # no davey tells a leaf, and without one nobody could add another
        leaf = next(member.leaf for member in ours.members() if member.identity == removed.name)
        self._commit(b"\0\3" + struct.pack(">I", leaf), self.source.choice(staying), staying)
        self.members = staying
        self._agree()
        self.operations[f"remove {'davey' if removed.dave else 'mlsrtc'}"] += 1

    def _commit(self, proposal: bytes, author: Member, followers: list[Member]) -> tuple[bytes, bytes | None]:
        message = self.gateway.propose(self.epoch, proposal)
        made: dict[Member, dict[str, bytes | None]] = {}
        for member in followers:
            if member.group is not None:
                member.group = member.group.with_proposal(message)
            else:
                made[member] = self.davey.call("propose", client=member.name.hex(), data=vector(message))
        if author.group is not None:
            done = author.group.commit()
            assert not done.left_out
            author.group, commit, welcome, tree = done.group, done.message, done.welcome, done.tree
        else:
            commit, welcome, tree = made[author]["commit"], made[author]["welcome"], None
        for member in followers:
            if member.group is None:
                self.davey.call("process", client=member.name.hex(), message=commit)
            elif member is not author:
                member.group = member.group.stage(commit).apply()
        self.epoch += 1
        self.commits["davey" if author.dave else "mlsrtc"] += 1
        return welcome or b"", tree

    def _agree(self) -> None:
        told = set()
        for member in self.members:
            if member.group is not None:
                told.add((member.group.epoch, member.group.epoch_authenticator().expose()))
            else:
                state = self.davey.call("state", client=member.name.hex())
                told.add((state["epoch"], state["authenticator"]))
        assert len(told) == 1, told
        assert next(iter(told))[0] == self.epoch
