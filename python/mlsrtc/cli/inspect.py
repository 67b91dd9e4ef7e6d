"""Says what a message of MLS, or an event of a call, is: read from its bytes alone, without keys.

Reads a file (or `-`): a Matrix event of a call as JSON, or an MLSMessage as raw bytes or base64.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from mlsrtc import _core
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.wire.commit import decode_commit
from mlsrtc.wire.commit_data import decode_commit_data
from mlsrtc.wire.encoding import decode_base64, encode_base64

HELP = "say what a commit, GroupInfo, KeyPackage, Welcome or call event says"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mlsrtc inspect`."""
    parser.add_argument("file", help="a file, or - for standard input")


def run(options: argparse.Namespace) -> int:
    """Print what the bytes say as JSON. Returns 1 if they are nothing of ours."""
    data = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    try:
        print(json.dumps(describe(data), indent=2))
    except RemoteProtocolError as error:
        print(f"not readable: {error}", file=sys.stderr)
        return 1
    return 0


def describe(data: bytes) -> dict[str, Any]:
    """What the bytes say. Raises RemoteProtocolError if they are no MLSMessage and no commit event."""
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    if isinstance(event, dict):
        return _event(event)
    try:
        data = decode_base64(data.decode("ascii").strip().rstrip("="))
    except (UnicodeDecodeError, RemoteProtocolError):
        pass
    return _message(data)


def _event(event: dict[str, Any]) -> dict[str, Any]:
    content = event.get("content", event)
    commit = decode_commit(content if isinstance(content, dict) else {})
    parts = {"commit": commit.commit, "welcome": commit.welcome, "group_info": commit.group_info}
    return {
        "kind": "commit event",
        "id": commit.id.hex(),
        "parent": None if commit.parent is None else commit.parent.hex(),
        "root": commit.root.hex(),
        **{name: _message(part) for name, part in parts.items() if isinstance(part, bytes)},
    }


def _message(data: bytes) -> dict[str, Any]:
    """The four kinds are told apart by their wire format, RFC 9420 section 6."""
    readers = (_commit, _group_info, _key_package, _welcome)
    failures: list[RemoteProtocolError] = []
    for reader in readers:
        try:
            return reader(data)
        except RemoteProtocolError as error:
            failures.append(error)
    raise next((error for error in failures if error.reason != "wrong_wire_format"), failures[0])


def _commit(data: bytes) -> dict[str, Any]:
    facts = _core.inspect_commit(data)
    try:
        said = decode_commit_data(facts.authenticated_data)
    except RemoteProtocolError:
        said = None
    return {
        "kind": "commit",
        "bytes": len(data),
        "group_id": facts.group_id.hex(),
        "epoch": facts.epoch,
        "sender": "external" if facts.external else facts.sender,
        "adds": [_leaf(leaf) for leaf in facts.adds],
        "removes": list(facts.removes),
        "other_proposals": list(facts.other_proposals),
        "path_nodes": facts.path_nodes,
        "parent": None if said is None or said.parent is None else said.parent.hex(),
        "n": None if said is None else said.n,
        "left": [] if said is None else sorted(said.left),
        "authenticated_data": encode_base64(facts.authenticated_data),
    }


def _group_info(data: bytes) -> dict[str, Any]:
    facts = _core.inspect_group_info(data)
    return {
        "kind": "GroupInfo",
        "bytes": len(data),
        "suite": facts.suite,
        "group_id": facts.group_id.hex(),
        "epoch": facts.epoch,
        "tree_hash": facts.tree_hash.hex(),
        "signer": facts.signer,
        "joinable_from_outside": facts.external_pub is not None,
    }


def _key_package(data: bytes) -> dict[str, Any]:
    return {"kind": "KeyPackage", "bytes": len(data), **_leaf(_core.inspect_key_package(data))}


def _welcome(data: bytes) -> dict[str, Any]:
    facts = _core.inspect_welcome(data)
    references = [reference.hex() for reference in facts.references]
    return {"kind": "Welcome", "bytes": len(data), "suite": facts.suite, "key_packages": references}


def _leaf(leaf: _core.LeafFacts) -> dict[str, Any]:
    return {
        "identity": None if leaf.identity is None else encode_base64(leaf.identity),
        "signature_key": encode_base64(leaf.signature_key),
        "extensions": [kind for kind, _ in leaf.extensions],
    }
