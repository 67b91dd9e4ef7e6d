"""Says what a message of MLS, or an event of a call, is: read from its bytes alone, without keys.

Reads a file (or `-`): a Matrix event of a call as JSON (a membership, commit, word, need or have; without a `type`, the
content of a commit), or an MLSMessage as raw bytes or base64. Nothing is checked but the form.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlsrtc import _core
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.wire import names
from mlsrtc.wire.block import Block, ForeignBlock, JoinBlock
from mlsrtc.wire.commit import decode_commit, decode_word
from mlsrtc.wire.commit_data import decode_commit_data
from mlsrtc.wire.encoding import decode_base64, encode_base64
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import RtcErased, RtcMembership, RtcRoll, RtcSealed, decode_membership
from mlsrtc.wire.to_device import decode_have, decode_need

HELP = "say what a membership, commit, word, GroupInfo, KeyPackage or Welcome says"
MEMBERSHIPS = names.MEMBER_TYPES | {names.ENCRYPTED}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `mlsrtc inspect`."""
    parser.add_argument("file", help="a file, or - for standard input")


def run(options: argparse.Namespace) -> int:
    """Print what the bytes say as JSON. Returns 1 if they are nothing of ours, 2 if there is nothing to read."""
    try:
        data = sys.stdin.buffer.read() if options.file == "-" else Path(options.file).read_bytes()
    except OSError as error:
        print(f"cannot read {options.file}: {error.strerror}", file=sys.stderr)
        return 2
    try:
        print(json.dumps(describe(data), indent=2))
    except RemoteProtocolError as error:
        print(f"not readable: {error}", file=sys.stderr)
        return 1
    return 0


def describe(data: bytes) -> dict[str, Any]:
    """What the bytes say. Raises RemoteProtocolError if they are no MLSMessage and no event of a call."""
    try:
        event = json.loads(data)
    except ValueError:
        event = None
    except RecursionError:
        raise RemoteProtocolError("bad_json", "nested too deeply") from None
    if isinstance(event, dict):
        return _event(event)
    try:
        data = decode_base64("".join(data.decode("ascii").split()).rstrip("="))
    except (UnicodeDecodeError, RemoteProtocolError):
        pass
    return _message(data)


def _event(event: dict[str, Any]) -> dict[str, Any]:
    kind = Field(event.get("type"), "type").optional(Field.text)
    content = Field(event.get("content", {} if kind else event)).object()
    match kind:
        case None | names.COMMIT:
            return _commit_event(content)
        case names.WORD:
            return _word(content)
        case names.NEED:
            return _need(content)
        case names.HAVE:
            return _have(content)
        case _ if kind in MEMBERSHIPS:
            return _membership(kind, event, content)
        case _:
            raise RemoteProtocolError("unknown_type", "no event of a call", where="type")


def _commit_event(content: Mapping[str, Any]) -> dict[str, Any]:
    commit = decode_commit(content)
    parts = {"commit": commit.commit, "welcome": commit.welcome, "group_info": commit.group_info}
    return {
        "kind": "commit event",
        "id": commit.id.hex(),
        "parent": _hex(commit.parent),
        "root": commit.root.hex(),
        **{name: _message(part) for name, part in parts.items() if isinstance(part, bytes)},
    }


def _word(content: Mapping[str, Any]) -> dict[str, Any]:
    word = decode_word(content)
    return {
        "kind": "word",
        "slot_id": word.slot_id,
        "root": word.root.hex(),
        "member_id": word.member_id,
        "n": word.n,
        "id": word.id.hex(),
        "refuses": None if word.refuse is None else {"id": word.refuse[0].hex(), "reason": word.refuse[1]},
    }


def _need(content: Mapping[str, Any]) -> dict[str, Any]:
    need = decode_need(content)
    return {
        "kind": "need",
        "room_id": need.room_id,
        "slot_id": need.slot_id,
        "member_id": need.member_id,
        "id": _hex(need.id),
        "asks_for": "tree" if need.tree else "events",
    }


def _have(content: Mapping[str, Any]) -> dict[str, Any]:
    have = decode_have(content)
    return {
        "kind": "have",
        "room_id": have.room_id,
        "slot_id": have.slot_id,
        "id": _hex(have.id),
        "events": [{"type": e.type, "sender": e.sender, "event_id": e.event_id} for e in have.events],
        "tree_bytes": None if have.tree is None else len(have.tree),
        "in_a_file": have.file is not None,
    }


def _membership(kind: str, event: dict[str, Any], content: Mapping[str, Any]) -> dict[str, Any]:
    where_from: dict[str, Any] = {
        name: event.get(name) for name in ("sender", "event_id", "origin_server_ts", "state_key")
    }
    said = decode_membership(RoomEvent(type=kind, content=content, **where_from))
    match said:
        case None:
            raise RemoteProtocolError("unknown_type", "encrypted, and no block of ours beside it", where="content")
        case RtcSealed():
            return {"kind": "encrypted membership", "user_id": said.user_id, "block": _block(said.block)}
        case RtcErased():
            return {"kind": "membership overwritten by another user", "user_id": said.user_id, "by": said.by}
        case RtcRoll():
            return {
                "kind": "memberships of a user" if said.memberships else "end of the memberships of a user",
                "format": said.format.value,
                "user_id": said.user_id,
                "memberships": [{**_facts(one), "expires_ts": one.expires_ts} for one in said.memberships],
                "refused": [{"reason": reason, "where": where} for reason, where in said.refused],
            }
        case RtcMembership():
            facts = _facts(said)
        case _:
            facts = {}
    return {
        "kind": "membership" if facts else "end of a membership",
        "format": said.format.value,
        "user_id": said.user_id,
        **facts,
        "block": None if said.block is None else _block(said.block),
    }


def _facts(membership: RtcMembership) -> dict[str, Any]:
    return {
        "device_id": membership.device_id,
        "slot_id": membership.slot_id,
        "rtc_member_id": membership.rtc_member_id,
        "created_ts": membership.created_ts,
        "application": membership.application,
        "intent": membership.intent,
    }


def _block(block: Block) -> dict[str, Any]:
    if isinstance(block, ForeignBlock):
        return {"kind": "of another version", "version": block.version}
    facts = {
        "suite": block.suite,
        "slot_id": block.slot_id,
        "device_id": block.device_id,
        "member_id": block.member_id,
        "leaf_key": encode_base64(block.leaf_key),
    }
    if not isinstance(block, JoinBlock):
        return {"kind": "leave", **facts, "device_key": encode_base64(block.device_key)}
    return {
        "kind": "join",
        **facts,
        "device_key": encode_base64(block.binding.device_key),
        "replaces": list(block.replaces),
        "head": _hex(block.head),
        "from_ts": block.from_ts,
        "until_ts": block.until_ts,
        "master_key": None if block.chain is None else encode_base64(block.chain.master_key),
        "key_package": _message(block.key_package),
    }


def _hex(identifier: bytes | None) -> str | None:
    return None if identifier is None else identifier.hex()


def _message(data: bytes) -> dict[str, Any]:
    """The four kinds are told apart by their wire format, RFC 9420 section 6."""
    readers = (_commit, _group_info, _key_package, _welcome)
    failures: list[RemoteProtocolError] = []
    for reader in readers:
        try:
            return reader(data)
        except RemoteProtocolError as error:
            failures.append(error)
    raise next((error for error in failures if error.reason != "wrong_message_type"), failures[0])


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
        "parent": None if said is None else _hex(said.parent),
        "n": None if said is None else said.n,
        "left": [] if said is None else sorted(said.left),
        "guests": [] if said is None else [" ".join(guest) for guest in said.guests],
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
