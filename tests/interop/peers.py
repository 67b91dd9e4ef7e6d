"""Members of a mixed group: clients of `mlsrtc.mls` in this process, and other people's engines in theirs.

All speak one protocol. A request is a JSON object on one line, an answer another; binary is padded base64. A
process holds any number of clients, each with at most one group, and what a client commits or proposes takes
effect there at once: the caller orders everything. `op` is one of

    hello                                              -> peer, version, suites, unsupported {feature: reason}
    client        client, suite, identity, private        makes one; `private`: its handshake is encrypted
    drop          client
    key_package   client                               -> key_package
    create        client, group_id
    join          client, welcome, tree?
    join_external client, group_info, tree?, resync, psk  -> commit; `resync`: our old leaf is removed
    psk           client, id, secret                      stores an external PSK
    propose       client, kind, key_package | leaf | id | epoch  -> proposal; kind is add, remove, update or psk
    commit        client, add [key package], remove [leaf], psk [{id} | {epoch}], path, tree_in_welcome
                                                       -> commit, welcome? or welcomes (one for each), tree?;
                                                          what was proposed is in it too; proposals?: to be
                                                          delivered before it, where there are no others
    process       client, message                      -> kind (proposal, commit, application), data?,
                                                          by_value? [kind]: what a commit has by value (ours alone)
    encrypt       client, data, authenticated_data     -> message
    group_info    client, with_tree                    -> group_info, tree?
    reveal        client                               -> init_priv, encryption_priv, signature_priv (OpenMLS alone)
    export        client, label, context, times        exports 32 bytes, as often as that
    save          client, times                        writes down what a client needs to go on
    state         client, label, context               -> epoch, leaf, authenticator?, exporter?, tree_hash?,
                                                          confirmation_tag?, group_info?

and, where a client is made with `custom`, which not every engine takes,

    propose          kind is context_extensions or custom; with data, and for the former sender?
    commit           by_value [{kind, data, sender?}]  the same proposals, in the commit itself
    propose_join     client, group_id, epoch, group_info   asks to be added, with the newest key package -> proposal
    propose_outside  client, group_id, epoch, group_info, kind, key_package | leaf | data, sender?
                                                       as the group's only external sender -> proposal
    sender           client                            -> sender: its ExternalSender structure

The answers to create, join, commit, process, export and save, and of a davey to propose, have `ns` too: how long the
engine took, in nanoseconds, without the pipe and the encodings of this protocol.

An answer with `error` says that the request failed. What a peer lacks altogether stands in `unsupported`, by the
names in FEATURES.
"""

import base64
import json
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

REPOSITORY = Path(__file__).resolve().parents[2]
INTEROP = REPOSITORY / "interop"

FEATURES = {
    "create", "join", "tree_apart", "tree_in_welcome", "add", "remove", "remove_several", "update",
    "external_join", "external_join_psk", "resync", "follow_external", "group_info",
    "psk", "resumption",
    "propose_add", "propose_remove", "propose_update", "propose_psk", "by_reference", "commit_proposals",
    "custom", "context_extensions", "commit_context_extensions",
    "encrypt", "decrypt", "out_of_order", "late", "private",
    "epoch_authenticator", "exporter",
}  # fmt: skip
"""What a peer may say it cannot do. `follow_external`, `by_reference`, `psk`, `resumption`, `custom`,
`context_extensions` and `decrypt` are about following what others do as well; the last two only keep a peer's state
from being compared in full."""

BINARY = frozenset(
    {"key_package", "commit", "welcome", "welcomes", "tree", "proposals", "group_info", "proposal", "message", "data"}
    | {"authenticator", "exporter", "tree_hash", "confirmation_tag", "init_priv", "encryption_priv", "signature_priv"}
    | {"sender"}
)

TIMED = frozenset({"create", "join", "commit", "process", "export", "save"})

Fields = dict[str, Any]


class PeerError(Exception):
    """A peer refused a request, or died over it."""

    def __init__(self, peer: str, operation: str, text: str) -> None:
        super().__init__(f"{peer} cannot {operation}: {text}")
        self.peer, self.operation, self.text = peer, operation, text


class Peer(Protocol):
    name: str
    version: str
    suites: Sequence[int]
    unsupported: dict[str, str]

    def call(self, op: str, **fields: Any) -> Fields: ...

    def call_all(self, requests: Iterable[tuple[str, Fields]]) -> "list[Fields | PeerError]":
        """The same for several requests, in order; an error is returned in its place."""
        ...

    def close(self) -> None: ...


def encoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: encoded(item) for name, item in value.items()}
    return [encoded(item) for item in value] if isinstance(value, list | tuple) else value


def decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [decoded(item) for item in value]
    return base64.b64decode(value) if value is not None else None


class Process:
    """A peer behind a pipe."""

    def __init__(self, command: Sequence[str | Path]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.name = str(command[0])
        hello = self.call("hello")
        self.name, self.version = hello["peer"], hello["version"]
        self.suites: Sequence[int] = hello["suites"]
        self.unsupported: dict[str, str] = hello["unsupported"]
        assert self.unsupported.keys() <= FEATURES

    def call(self, op: str, **fields: Any) -> Fields:
        answer = self.call_all([(op, fields)])[0]
        if isinstance(answer, PeerError):
            raise answer
        return answer

    def call_all(self, requests: Iterable[tuple[str, Fields]]) -> list[Fields | PeerError]:
        requests = list(requests)
        assert self.process.stdin is not None
        lines = [json.dumps(encoded({"op": op, **fields})) + "\n" for op, fields in requests]
        try:
            self.process.stdin.write("".join(lines).encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self.name, requests[0][0], "its process is gone") from None
        return [self._answer(op) for op, _ in requests]

    def _answer(self, op: str) -> Fields | PeerError:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise PeerError(self.name, op, f"its process ended with {self.process.wait()}")
        answer: Fields = json.loads(line)
        if "error" in answer:
            return PeerError(self.name, op, answer["error"])
        return {name: decoded(value) if name in BINARY else value for name, value in answer.items()}

    def close(self) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)
