"""Our own clients as a peer: the protocol of `peers.py` on the public door `mlsrtc.mls`, in this process."""

import time
from collections.abc import Iterable
from importlib.metadata import version
from typing import Any

from peers import Fields, PeerError

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Client, Commit, KeyPackage, Secret, SigningKey, suites

DAY = 24 * 3600


class Ours:
    name = "mlsrtc"

    def __init__(self) -> None:
        self.version = version("mlsrtc")
        self.suites = suites()
        self.unsupported: dict[str, str] = {}
        self.clients: dict[str, _Client] = {}

    def call(self, op: str, **fields: Any) -> Fields:
        name = fields.pop("client")
        if op == "client":
            self.clients[name] = _Client(**fields)
            return {}
        if op == "drop":
            del self.clients[name]
            return {}
        try:
            answer: Fields = getattr(self.clients[name], op)(**fields)
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


class _Client:
    """One member: state in, state out, with the newest state kept here. The methods are the operations."""

    def __init__(self, suite: int, identity: bytes, private: bool) -> None:
        self.client = Client(identity, SigningKey.generate(suite))
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

    def join(self, welcome: bytes, tree: bytes | None = None) -> Fields:
        self.group = self.client.join(welcome, self.packages, tree=tree, psks=self.psks)
        return {}

    def join_external(self, group_info: bytes, resync: bool, psk: list[Fields], tree: bytes | None = None) -> Fields:
        remove = self.group.own_leaf if resync else None
        return self._committed(self.client.join_external(group_info, tree=tree, remove=remove))

    def psk(self, id: bytes, secret: bytes) -> Fields:
        self.psks[id] = Secret(secret)
        return {}

    def commit(
        self, add: list[bytes], remove: list[int], psk: list[Fields], path: bool, tree_in_welcome: bool
    ) -> Fields:
        return self._committed(self.group.commit(add=add, remove=remove, path=path))

    def _committed(self, commit: Commit) -> Fields:
        self.group = commit.group
        return {"commit": commit.message, "welcome": commit.welcome, "tree": commit.tree}

    def process(self, message: bytes) -> Fields:
        self.group = self.group.stage(message, psks=self.psks).apply()
        return {"kind": "commit"}

    def group_info(self, with_tree: bool) -> Fields:
        tree = None if with_tree else self.group.tree()
        return {"group_info": self.group.group_info(with_tree=with_tree), "tree": tree}

    def state(self, label: str, context: bytes) -> Fields:
        group = self.group
        return {
            "epoch": group.epoch,
            "leaf": group.own_leaf,
            "authenticator": group.epoch_authenticator().expose(),
            "exporter": group.export(label, context, 32).expose(),
            "tree_hash": group.tree_hash,
        }
