"""Engines behind pipes, timed one operation after the other in the group of `door_group.py`.

Every engine measures itself: its answers say how long the engine took, without the pipe (`tests/interop/peers.py`).
"""

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Timer
from typing import Any

from dave import CHANNEL, Gateway, vector
from door_group import Host, package
from engines import MEASURED
from ours import Ours
from peers import Fields, Peer, PeerError, Process

from mlsrtc.mls import external_senders, inspect_commit, inspect_group_info

OPERATIONS = ("create", "join", "process a removal", "process an add", "remove", "add", "export", "export all", "save")

ENGINES = ("mlsrtc", "rine-mls", "rfc9420", "davey", "ts-mls", "OpenMLS", "mls-rs")
LACKING: Mapping[str, Mapping[str, str]] = {
    "OpenMLS": {"save": "it stores what it has to keep in the course of each operation"},
    "davey": {"save": "it has no way to save"},
}
"""What a peer lacks and need not say in histories."""

VICTIM = 1
"""The leaf that is removed, again and again, and given to somebody new in between. It is far from all others."""

ROUNDS, PATIENCE, LIMIT = 15, 4.0, 60.0
"""An operation is timed in so many rounds after a first one, or until they have taken so many seconds. What takes
longer than the limit, in seconds, is stopped."""

LABEL, CONTEXT = "benchmark", b"door"


@dataclass
class Times:
    """Nanoseconds, one for each round; or why there are none."""

    rounds: list[int] = field(default_factory=list)
    gap: str = ""
    notes: set[str] = field(default_factory=set)

    @property
    def median(self) -> float | None:
        """Of all rounds but the first, in which an engine warms up, unless there is no other."""
        taken = sorted(self.rounds[1:] or self.rounds)
        return None if self.gap or not taken else (taken[(len(taken) - 1) // 2] + taken[len(taken) // 2]) / 2


def rounds() -> Iterator[int]:
    began = time.monotonic()
    for number in range(ROUNDS + 1):
        yield number
        if time.monotonic() - began > PATIENCE:
            return


class Engine:
    """One engine, in processes of its own, in groups of so many members."""

    suite = 1
    group_id = b"a group"
    extensions: Sequence[tuple[int, bytes]] = ()

    def __init__(self, name: str, members: int, host: Host, packages: Sequence[bytes]) -> None:
        self.name, self.members, self.host, self.packages = name, members, host, packages
        self.peer: Peer = MEASURED[name]()
        self.lacking = self.peer.unsupported | LACKING.get(name, {})
        self.times = {operation: Times() for operation in OPERATIONS}

    def measure(self) -> dict[str, Times]:
        # What takes too long ends the process, so that what comes after has another one.
        for part, operations in ((self._create, OPERATIONS[:1]), (self._belong, OPERATIONS[1:])):
            try:
                part()
            except PeerError as error:
                slow = isinstance(self.peer, Process) and self.peer.process.poll() is not None
                missing = [one for one in operations if not self.times[one].rounds and not self.times[one].gap]
                for number, one in enumerate(missing):
                    why = f"more than {LIMIT:.0f} s" if slow else error.text
                    self.times[one].gap = why if number == 0 else f"not reached ({missing[0]}: {why})"
                if slow:
                    self.peer = MEASURED[self.name]()
        self.peer.close()
        return self.times

    def call(self, op: str, **fields: Any) -> Fields:
        """An answer that comes in time."""
        if not isinstance(self.peer, Process):
            return self.peer.call(op, **fields)
        guard = Timer(LIMIT, self.peer.process.kill)
        guard.start()
        try:
            return self.peer.call(op, **fields)
        finally:
            guard.cancel()

    def lacks(self, feature: str, *operations: str) -> bool:
        for operation in operations:
            self.times[operation].gap = self.lacking.get(feature, "")
        return feature in self.lacking

    # -- what an operation is ------------------------------------------------------------------------------------------

    def newcomer(self, name: str) -> None:
        self.call("client", client=name, suite=self.suite, identity=name.encode(), private=False)

    def _create(self) -> None:
        """A group, and one commit that adds all the others."""
        for number in rounds():
            name = f"founder {number}"
            self.newcomer(name)
            began = self.call("create", client=name, group_id=self.group_id)["ns"]
            self.times["create"].rounds.append(began + self._commits(name, add=self.packages)["ns"])
            self.call("drop", client=name)

    def _commits(self, name: str, *, add: Sequence[bytes] = (), remove: Sequence[int] = ()) -> Fields:
        in_welcome = "tree_in_welcome" not in self.lacking and "tree_apart" in self.lacking
        return self.call("commit", client=name, add=add, remove=remove, psk=[], path=False, tree_in_welcome=in_welcome)

    def _belong(self) -> None:
        """As a member of the group."""
        host = self._export(self._process(self._join()))
        self._agree(self._commit(host))

    def _join(self) -> Host:
        """Each client of the engine is let in by a commit of its own, a rival of the others'. The first one goes on."""
        first = None
        for number in rounds():
            self.newcomer(f"member {number}")
            package = self.call("key_package", client=f"member {number}")["key_package"]
            after, invitation = self.host.admit(package, tree_in_welcome="tree_apart" in self.lacking)
            self.times["join"].rounds.append(self._joins(f"member {number}", invitation.welcome, invitation.tree))
            first = first or after
            if number:
                self.call("drop", client=f"member {number}")
        assert first is not None
        return first

    def _joins(self, name: str, welcome: bytes, tree: bytes | None) -> int:
        ns: int = self.call("join", client=name, welcome=welcome, tree=tree)["ns"]
        return ns

    def _process(self, host: Host) -> Host:
        for _ in rounds():
            host, message = self._by_host(host, remove=VICTIM)
            self.times["process a removal"].rounds.append(self._processes(message))
            host, message = self._by_host(host, add=package(self.suite))
            self.times["process an add"].rounds.append(self._processes(message))
        return host

    def _by_host(self, host: Host, *, add: bytes | None = None, remove: int | None = None) -> tuple[Host, bytes]:
        return host.commit(add=[] if add is None else [add], remove=[] if remove is None else [remove])

    def _processes(self, message: bytes) -> int:
        ns: int = self.call("process", client="member 0", message=message)["ns"]
        return ns

    def _export(self, host: Host) -> Host:
        if not self.lacks("exporter", "export", "export all"):
            once = self._exports(1)
            times = max(1, min(1000, int(2e8 / once)))
            self.times["export"].rounds = [self._exports(times) // times for _ in range(6)]
            self.times["export all"].rounds = [self._exports_all() for _ in rounds()]
        if not self.lacks("save", "save"):
            self.times["save"].rounds = [self.call("save", client="member 0", times=1)["ns"] for _ in rounds()]
        return host

    def _exports(self, times: int) -> int:
        ns: int = self.call("export", client="member 0", label=LABEL, context=CONTEXT, times=times)["ns"]
        return ns

    def _exports_all(self) -> int:
        return self._exports(self.members)

    def _commit(self, host: Host) -> Host:
        can_remove = not self.lacks("remove", "remove")
        for _ in rounds():
            if can_remove:
                host = self._by_engine(host, "remove", remove=VICTIM)
            else:
                host, message = self._by_host(host, remove=VICTIM)
                self._processes(message)
            host = self._by_engine(host, "add", add=package(self.suite))
        return host

    def _by_engine(self, host: Host, operation: str, *, add: bytes | None = None, remove: int | None = None) -> Host:
        made = self._commits("member 0", add=[add] if add else [], remove=[] if remove is None else [remove])
        for proposal in made.get("proposals", []):
            host = host.knows(proposal)
        self.times[operation].rounds.append(made["ns"])
        if add is not None and inspect_commit(made["commit"]).path_leaf is not None:
            self.times[operation].notes.add("with a path")
        return host.follow(made["commit"])

    def _agree(self, host: Host) -> None:
        """It has done what it was asked, or it would not stand where the host stands."""
        state = self.call("state", client="member 0", label=LABEL, context=CONTEXT)
        if state["authenticator"] is not None:
            assert state["authenticator"] == host.group.epoch_authenticator().expose()
        else:
            assert inspect_group_info(state["group_info"]).confirmation_tag == host.group.confirmation_tag


class OurEngine(Engine):
    """Ours has one call for the keys of all senders."""

    def _exports_all(self) -> int:
        assert isinstance(self.peer, Ours)
        group = self.peer.clients["member 0"].group
        infos = sender_infos(self.members)
        began = time.perf_counter_ns()
        group.sender_keys(LABEL, CONTEXT, infos)
        return time.perf_counter_ns() - began


def sender_infos(members: int) -> list[bytes]:
    """About as long as those of a call (docs/protocol.md)."""
    return [number.to_bytes(2) * 55 for number in range(members)]


class Davey(Engine):
    """DAVE: a gateway outside proposes, every client makes a commit of what it proposed, and one of these is taken.

    So `add` and `remove` are: take the proposal, make the commit, and process one's own."""

    suite, group_id = 2, CHANNEL
    gateway = Gateway()
    extensions = (external_senders([(b"gateway", gateway.key.public)]),)

    def newcomer(self, name: str) -> None:
        identity = (1 << 32 | abs(hash(name)) % (1 << 32)).to_bytes(8)
        self.call(
            "client", client=name, suite=self.suite, identity=identity, group_id=CHANNEL, data=self.gateway.sender
        )

    def _create(self) -> None:
        for number in rounds():
            name = f"founder {number}"
            self.newcomer(name)
            proposals = [self.gateway.propose(0, b"\0\1" + package[4:]) for package in self.packages]
            made = self.call("propose", client=name, data=vector(b"".join(proposals)))
            own = self.call("process", client=name, message=made["commit"])
            self.times["create"].rounds.append(made["ns"] + own["ns"])
            self.call("drop", client=name)

    def _joins(self, name: str, welcome: bytes, tree: bytes | None) -> int:
        ns: int = self.call("join", client=name, welcome=welcome)["ns"]
        return ns

    def _asked(self, host: Host, add: bytes | None, remove: int | None) -> tuple[Host, Fields]:
        proposal = b"\0\1" + add[4:] if add is not None else b"\0\3" + struct.pack(">I", remove)
        message = self.gateway.propose(host.group.epoch, proposal)
        return host.knows(message), self.call("propose", client="member 0", data=vector(message))

    def _by_host(self, host: Host, *, add: bytes | None = None, remove: int | None = None) -> tuple[Host, bytes]:
        return self._asked(host, add, remove)[0].commit()

    def _export(self, host: Host) -> Host:
        self.lacks("exporter", "export", "export all")
        self.lacks("save", "save")
        return host

    def _commit(self, host: Host) -> Host:
        for _ in rounds():
            host = self._by_engine(host, "remove", remove=VICTIM)
            host = self._by_engine(host, "add", add=package(self.suite))
        return host

    def _by_engine(self, host: Host, operation: str, *, add: bytes | None = None, remove: int | None = None) -> Host:
        host, made = self._asked(host, add, remove)
        own = self.call("process", client="member 0", message=made["commit"])
        self.times[operation].rounds.append(made["ns"] + own["ns"])
        return host.follow(made["commit"])

    def _agree(self, host: Host) -> None:
        assert self.call("state", client="member 0")["authenticator"] == host.group.epoch_authenticator().expose()


KINDS: Mapping[str, type[Engine]] = {"mlsrtc": OurEngine, "davey": Davey}


def measured(
    tree: str, members: int, names: Sequence[str], tell: Callable[[str], None] = lambda text: None
) -> dict[str, dict[str, Times]]:
    """By engine and operation, in groups of so many."""
    hosts: dict[int, Host] = {}
    packages: dict[int, list[bytes]] = {}
    found = {}
    for name in names:
        kind = KINDS.get(name, Engine)
        if kind.suite not in hosts:
            # The engine and a witness come later.
            hosts[kind.suite] = Host.of(tree, kind.suite, members - 2, kind.group_id, kind.extensions)
            packages[kind.suite] = [package(kind.suite) for _ in range(members - 1)]
        began = time.monotonic()
        found[name] = kind(name, members, hosts[kind.suite], packages[kind.suite]).measure()
        tell(f"{tree} tree, {members} members, {name}: {time.monotonic() - began:.0f} s")
    return found
