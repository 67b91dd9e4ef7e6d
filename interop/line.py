"""The line protocol of `tests/interop/peers.py`, as every peer in Python reads and writes it."""

import base64
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

BINARY = frozenset(
    {"identity", "group_id", "welcome", "tree", "group_info", "id", "secret", "key_package", "message", "data"}
    | {"authenticated_data", "context"}
)

TIMED = frozenset({"create", "join", "propose", "commit", "process", "export", "save"})


def read(value: dict[str, Any]) -> dict[str, Any]:
    fields = {
        name: base64.b64decode(item) if name in BINARY and isinstance(item, str) else item
        for name, item in value.items()
    }
    if "add" in fields:
        fields["add"] = [base64.b64decode(item) for item in fields["add"]]
    if "psk" in fields:
        fields["psk"] = [read(item) for item in fields["psk"]]
    return fields


def written(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return {name: written(item) for name, item in value.items()}
    return [written(item) for item in value] if isinstance(value, list) else value


def serve(hello: Mapping[str, Any], make: Callable[..., Any]) -> None:
    """`make` gives a client, whose methods are the operations. Answers line by line until the input ends."""
    clients: dict[str, Any] = {}
    for line in sys.stdin:
        fields = read(json.loads(line))
        operation, name = fields.pop("op"), fields.pop("client", None)
        try:
            match operation:
                case "hello":
                    answer = hello
                case "client":
                    clients[name] = make(**fields)
                    answer = {}
                case "drop":
                    del clients[name]
                    answer = {}
                case _:
                    began = time.perf_counter_ns()
                    answer = getattr(clients[name], operation)(**fields)
                    if operation in TIMED:
                        answer["ns"] = time.perf_counter_ns() - began
        except BaseException as error:  # an engine may raise anything, a panic of Rust too
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(written(answer)), flush=True)
