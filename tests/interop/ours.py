"""Our own clients as a peer: the protocol of `peers.py` on the public door `mlsrtc.mls`, in this process."""

import time
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from typing import Any

from peers import TIMED, Fields, PeerError

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import (
    Client,
    Commit,
    KeyPackage,
    Limits,
    Observer,
    Proposal,
    Secret,
    SigningKey,
    required_capabilities,
    suites,
)

DAY = 24 * 3600

EXTENSION, CUSTOM = 0xF0F0, 0xF0F1
"""The extension and the proposal that the application makes up, where the histories play such ones."""

PRIVATE, PROPOSAL, COMMIT = 2, 2, 3
"""Wire format and content types (RFC 9420 section 6)."""

EXTERNAL_SENDERS = 5
"""The extension (section 17.3)."""


class Ours:
    name = "mlsrtc"

    def __init__(self) -> None:
        self.version = version("mlsrtc")
        self.suites = suites(post_quantum=True)
        self.unsupported = {"tree_in_welcome": "a Welcome never carries the tree: a commit gives it apart"}
        self.clients: dict[str, _Client] = {}

    def call(self, op: str, **fields: Any) -> Fields:
        name = fields.pop("client")
        if op == "client":
            self.clients[name] = _Client(**fields)
            return {}
        if op == "drop":
            del self.clients[name]
            return {}
        began = time.perf_counter_ns()
        try:
            answer: Fields = getattr(self.clients[name], op)(**fields)
            if op in TIMED:
                answer["ns"] = time.perf_counter_ns() - began
        except (LocalProtocolError, RemoteProtocolError) as error:
            raise PeerError(self.name, op, f"{type(error).__name__}: {error}") from error
        return answer

    def call_all(self, requests: Iterable[tuple[str, Fields]]) -> list[Fields | PeerError]:
        def answer(op: str, fields: Fields) -> Fields | PeerError:
            try:
                return self.call(op, **fields)
            except PeerError as error:
                return error

        return [answer(op, fields) for op, fields in requests]

    def close(self) -> None:
        self.clients.clear()


def content(message: bytes) -> str:
    """What a member's message is: PublicMessage and PrivateMessage both begin with the group and the epoch."""
    wire_format, length = message[3], message[4]
    at = 5 + length + 8
    if wire_format != PRIVATE:  # a sender and authenticated data come before the type
        at += 5 if message[at] in (1, 2) else 1
        size = message[at] if message[at] < 64 else int.from_bytes(message[at : at + 2]) & 0x3FFF
        at += size + (1 if message[at] < 64 else 2)
    return {1: "application", PROPOSAL: "proposal", COMMIT: "commit"}[message[at]]


def opaque(value: bytes) -> bytes:
    """``opaque value<V>`` of fewer than 16,384 bytes (RFC 9420 section 2.1.2)."""
    size = len(value)
    return (bytes([size]) if size < 64 else (size | 0x4000).to_bytes(2)) + value


def proposed(kind: str, **fields: Any) -> Proposal:
    """A proposal from a request's fields."""
    match kind:
        case "add":
            return Proposal.add(fields["key_package"])
        case "remove":
            return Proposal.remove(fields["leaf"])
        case "update":
            return Proposal.update()
        case "psk":
            return Proposal.psk(fields["id"])
        case "custom":
            return Proposal.custom(CUSTOM, fields["data"])
    senders = [(EXTERNAL_SENDERS, opaque(fields["sender"]))] if fields["sender"] else []
    # OpenMLS takes an extension that it does not know only where it is required of all.
    required = required_capabilities(extensions=[EXTENSION])
    return Proposal.context_extensions([(EXTENSION, fields["data"]), required, *senders])


class _Client:
    """One member: state in, state out, with the newest state kept here. The methods are the operations."""

    def __init__(self, suite: int, identity: bytes, private: bool, custom: bool = False) -> None:
        self.client = Client(
            identity,
            SigningKey.generate(suite),
            extension_types=[EXTENSION] if custom else [],
            proposal_types=[CUSTOM] if custom else [],
            limits=Limits(past_epochs=5),
        )
        self.private = private
        self.packages: list[KeyPackage] = []
        self.psks: dict[bytes, Secret] = {}

    def key_package(self) -> Fields:
        now = int(time.time())
        # OpenMLS takes no leaf that is valid for more than 84 days and an hour.
        package = self.client.key_package(not_before=now - 3600, not_after=now + 80 * DAY)
        self.packages.append(package)
        return {"key_package": package.public}

    def create(self, group_id: bytes) -> Fields:
        self.group = self.client.create_group(group_id)
        return {}

    def join(self, welcome: bytes, tree: bytes | None) -> Fields:
        self.group = self.client.join(welcome, self.packages, tree=tree, psks=self.psks)
        return {}

    def join_external(self, group_info: bytes, tree: bytes | None, resync: bool, psk: list[Fields]) -> Fields:
        remove = self.group.own_leaf if resync else None
        psks = {one["id"]: self.psks[one["id"]] for one in psk}
        return self._committed(self.client.join_external(group_info, tree=tree, remove=remove, psks=psks))

    def psk(self, id: bytes, secret: bytes) -> Fields:
        self.psks[id] = Secret(secret)
        return {}

    def propose(self, kind: str, **fields: Any) -> Fields:
        made = self.group.propose(proposed(kind, **fields), private=self.private)
        self.group = made.group
        return {"proposal": made.message}

    def propose_join(self, group_info: bytes, **_: Any) -> Fields:
        return {"proposal": self.client.propose_join(group_info, self.packages[-1])}

    def propose_outside(self, kind: str, group_info: bytes, group_id: bytes, epoch: int, **fields: Any) -> Fields:
        group = Observer.observe(group_info, sender=self.client)
        return {"proposal": group.propose(proposed(kind, **fields))}

    def sender(self) -> Fields:
        key, identity = self.client.signing_key.public, self.client.identity
        return {"sender": opaque(key) + b"\0\1" + opaque(identity)}

    def commit(
        self,
        add: list[bytes],
        remove: list[int],
        psk: list[Fields],
        path: bool,
        tree_in_welcome: bool,
        by_value: Sequence[Fields] = (),
    ) -> Fields:
        proposals = [Proposal.psk(one["id"]) if "id" in one else Proposal.resumption_psk(one["epoch"]) for one in psk]
        proposals += [proposed(**one) for one in by_value]
        made = self.group.commit(
            add=add, remove=remove, proposals=proposals, psks=self.psks, path=path, private=self.private
        )
        return self._committed(made)

    def _committed(self, commit: Commit) -> Fields:
        self.group = commit.group
        return {"commit": commit.message, "welcome": commit.welcome, "tree": commit.tree}

    def process(self, message: bytes) -> Fields:
        kind = content(message)
        if kind == "application":
            received = self.group.decrypt(message)
            self.group = received.group
            return {"kind": kind, "data": received.data}
        if kind == "proposal":
            self.group = self.group.with_proposal(message)
        else:
            staged = self.group.stage(message, psks=self.psks)
            self.group = staged.apply()
            by_value = [one.proposal.kind for one in staged.proposals if one.reference is None]
            return {"kind": kind, "by_value": [one.removeprefix("group_") for one in by_value]}
        return {"kind": kind}

    def encrypt(self, data: bytes, authenticated_data: bytes) -> Fields:
        made = self.group.encrypt(data, authenticated_data=authenticated_data)
        self.group = made.group
        return {"message": made.message}

    def group_info(self, with_tree: bool) -> Fields:
        tree = None if with_tree else self.group.tree()
        return {"group_info": self.group.group_info(with_tree=with_tree), "tree": tree}

    def export(self, label: str, context: bytes, times: int) -> Fields:
        for _ in range(times):
            self.group.export(label, context, 32)
        return {}

    def save(self, times: int) -> Fields:
        for _ in range(times):
            self.group.save()
        return {}

    def state(self, label: str, context: bytes) -> Fields:
        group = self.group
        return {
            "epoch": group.epoch,
            "leaf": group.own_leaf,
            "authenticator": group.epoch_authenticator().expose(),
            "exporter": group.export(label, context, 32).expose(),
            "tree_hash": group.tree_hash,
            "confirmation_tag": group.confirmation_tag,
        }
