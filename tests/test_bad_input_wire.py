"""A table of malformed input and the exact refusal that each gets: reason, and the JSON path or structure at
fault.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import samples
from mlsrtc import trust
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire import names
from mlsrtc.wire.attachment import decode_file, decrypt_attachment, encode_file
from mlsrtc.wire.binding import decode_binding, verify_binding
from mlsrtc.wire.block import JoinBlock, LeftBlock, encode_block
from mlsrtc.wire.chain import decode_chain, decode_keys_query
from mlsrtc.wire.commit import decode_commit, decode_word
from mlsrtc.wire.commit_data import CommitData, decode_commit_data
from mlsrtc.wire.encoding import decode_identity, encode_base64, lp
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import RtcLeave, RtcMembership, RtcRoll, decode_membership
from mlsrtc.wire.room import decode_power_levels, decode_room_member, decode_slot
from mlsrtc.wire.to_device import decode_have, decode_need
from people import ANNA, ANNA_AGAIN, BERT, HOUR, NOW, ROOM, SLOT, epoch
from samples import spoilt, without

B = names.BLOCK
OTHER_ROOM = RoomId("!other:one.example")
EVE = UserId("@eve:three.example")
LONG = encode_base64(bytes(70_000))

Case = tuple[str, Callable[[], object], str, str]


def state(content: Any, room: RoomId = ROOM, sender: UserId = ANNA.user) -> object:
    """Decodes a state membership and checks what its block states, as a session does."""
    return checked(decode_membership(samples.event(content, sender=sender)), room, sender)


def checked(found: object, room: RoomId, sender: UserId) -> object:
    if isinstance(found, RtcMembership) and isinstance(found.block, JoinBlock):
        return trust.verify_join(room, sender, found.block)
    if isinstance(found, RtcLeave) and isinstance(found.block, LeftBlock):
        return trust.verify_left(room, sender, found.block)
    return found


def join(*path: str, to: Any) -> Callable[[], object]:
    return lambda: state(spoilt(samples.state_join(), path, to))


def join_without(*path: str) -> Callable[[], object]:
    return lambda: state(without(samples.state_join(), *path))


def leave(*path: str, to: Any) -> Callable[[], object]:
    return lambda: state(spoilt(samples.state_leave(), path, to))


def sticky(change: Callable[[dict[str, Any]], Any]) -> Callable[[], object]:
    return lambda: decode_membership(samples.event(change(samples.sticky_join()), names.STICKY_MEMBER))


def famedly(*path: str | int, to: Any, key: str | None = ANNA.user) -> Callable[[], object]:
    content = spoilt(samples.famedly(), path, to) if path else to
    event = RoomEvent(names.FAMEDLY_MEMBER, ANNA.user, "$event", NOW, content, key)

    def decode() -> object:
        found = decode_membership(event)
        if isinstance(found, RtcRoll) and found.refused:
            [(reason, where)] = found.refused
            raise RemoteProtocolError(reason, where=where)
        return found

    return decode


def commit(*path: str, to: Any) -> Callable[[], object]:
    return lambda: decode_commit(spoilt(samples.child_commit(), path, to))


def word(*path: str, to: Any) -> Callable[[], object]:
    return lambda: decode_word(spoilt(samples.word(), path, to))


def chain(*path: str, to: Any) -> Callable[[], object]:
    return lambda: decode_chain(Field(spoilt(ANNA.chain_content(), path, to), "chain"))


def from_another(path: tuple[str, ...]) -> Callable[[], object]:
    """A join of ours with one part of somebody else's."""
    content = samples.state_join()
    other = {B: encode_block(BERT.join_block())}
    for name in path:
        other = other[name]
    return lambda: state(spoilt(content, path, other))


E = "content.memberships[0]"

FAMEDLY: list[Case] = [
    ("Famedly: content is a list", famedly(to=[]), "wrong_type", "content"),
    ("Famedly: memberships are an object", famedly("memberships", to={}), "wrong_type", "content.memberships"),
    ("Famedly: 257 memberships", famedly("memberships", to=[{}] * 257), "oversized", "content.memberships"),
    ("Famedly: a membership is text", famedly("memberships", 0, to="x"), "wrong_type", E),
    ("Famedly: no device", famedly("memberships", 0, "device_id", to=None), "missing_field", f"{E}.device_id"),
    ("Famedly: device is a number", famedly("memberships", 0, "device_id", to=1), "wrong_type", f"{E}.device_id"),
    (
        "Famedly: device with a control character",
        famedly("memberships", 0, "device_id", to="DEV\n"),
        "bad_device_id",
        f"{E}.device_id",
    ),
    ("Famedly: no call", famedly("memberships", 0, "call_id", to=None), "missing_field", f"{E}.call_id"),
    ("Famedly: call is a number", famedly("memberships", 0, "call_id", to=0), "wrong_type", f"{E}.call_id"),
    (
        "Famedly: application is a list",
        famedly("memberships", 0, "application", to=[]),
        "wrong_type",
        f"{E}.application",
    ),
    ("Famedly: scope is true", famedly("memberships", 0, "scope", to=True), "wrong_type", f"{E}.scope"),
    ("Famedly: no expiry", famedly("memberships", 0, "expires_ts", to=None), "missing_field", f"{E}.expires_ts"),
    ("Famedly: expiry is text", famedly("memberships", 0, "expires_ts", to="1"), "wrong_type", f"{E}.expires_ts"),
    ("Famedly: expiry is a float", famedly("memberships", 0, "expires_ts", to=1.0), "wrong_type", f"{E}.expires_ts"),
    ("Famedly: expiry is negative", famedly("memberships", 0, "expires_ts", to=-1), "out_of_range", f"{E}.expires_ts"),
    ("Famedly: expiry past 2^53", famedly("memberships", 0, "expires_ts", to=2**53), "out_of_range", f"{E}.expires_ts"),
    ("Famedly: no foci", famedly("memberships", 0, "foci_active", to=None), "missing_field", f"{E}.foci_active"),
    ("Famedly: foci are an object", famedly("memberships", 0, "foci_active", to={}), "wrong_type", f"{E}.foci_active"),
    (
        "Famedly: a focus without type",
        famedly("memberships", 0, "foci_active", to=[{}]),
        "missing_field",
        f"{E}.foci_active[0].type",
    ),
    (
        "Famedly: an alias is a number",
        famedly("memberships", 0, "foci_active", 0, "livekit_alias", to=1),
        "wrong_type",
        f"{E}.foci_active[0].livekit_alias",
    ),
    (
        "Famedly: a service of 3 kB",
        famedly("memberships", 0, "foci_active", 0, "livekit_service_url", to="x" * 3000),
        "oversized",
        f"{E}.foci_active[0].livekit_service_url",
    ),
    (
        "Famedly: membershipID is a number",
        famedly("memberships", 0, "membershipID", to=1),
        "wrong_type",
        f"{E}.membershipID",
    ),
    (
        "Famedly: membershipID of 300 bytes",
        famedly("memberships", 0, "membershipID", to="x" * 300),
        "oversized",
        f"{E}.membershipID",
    ),
    (
        "Famedly: the second membership is broken",
        famedly("memberships", 1, to={"device_id": "DEV"}),
        "missing_field",
        "content.memberships[1].call_id",
    ),
    (
        "Famedly: another device than its state key's",
        famedly("memberships", to=samples.famedly()["memberships"][:1], key=f"{ANNA.user}_OTHER"),
        "wrong_device",
        f"{E}.device_id",
    ),
    ("Famedly: no state key", famedly(to={}, key=None), "missing_field", "state_key"),
    ("Famedly: a state key that names nobody", famedly(to={}, key="DEVICEA"), "bad_state_key", "state_key"),
    ("Famedly: a state key of 2 kB", famedly(to={}, key="x" * 2000), "oversized", "state_key"),
]

MEMBERSHIPS: list[Case] = [
    ("content is a list", lambda: state([]), "wrong_type", "content"),
    ("content is text", lambda: state("x"), "wrong_type", "content"),
    ("application is a number", join("application", to=1), "wrong_type", "content.application"),
    ("application without name", join("application", to=""), "bad_slot_id", "content.call_id"),
    ("no call_id", join_without("call_id"), "missing_field", "content.call_id"),
    ("device_id is null", join("device_id", to=None), "missing_field", "content.device_id"),
    (
        "device_id with a control character",
        join("device_id", to="DEV\n"),
        "bad_device_id",
        "content.device_id",
    ),
    ("device of another state key", join("device_id", to="OTHER"), "wrong_device", "content.device_id"),
    ("device that begins another's name", join("device_id", to="DEV"), "wrong_device", "content.device_id"),
    ("expires is a float", join("expires", to=14400000.0), "wrong_type", "content.expires"),
    ("expires is true", join("expires", to=True), "wrong_type", "content.expires"),
    ("expires is negative", join("expires", to=-1), "out_of_range", "content.expires"),
    ("created_ts past 2^53", join("created_ts", to=2**53), "out_of_range", "content.created_ts"),
    ("foci are an object", join("foci_preferred", to={}), "wrong_type", "content.foci_preferred"),
    ("17 foci", join("foci_preferred", to=[{"type": "x"}] * 17), "oversized", "content.foci_preferred"),
    (
        "a focus without type",
        join("foci_preferred", to=[{}]),
        "missing_field",
        "content.foci_preferred[0].type",
    ),
    ("intent of 300 bytes", join("m.call.intent", to="x" * 300), "oversized", "content.m.call.intent"),
    ("intent with a lone surrogate", join("m.call.intent", to="\ud800"), "bad_text", "content.m.call.intent"),
    (
        "a state key that names nobody",
        lambda: decode_membership(samples.event(samples.state_join(), state_key="DEVICEA_m.call")),
        "bad_state_key",
        "state_key",
    ),
    (
        "no state key",
        lambda: decode_membership(replace(samples.event(samples.state_join()), state_key=None)),
        "missing_field",
        "state_key",
    ),
    (
        "a sender that is no user",
        lambda: decode_membership(samples.event({}, sender="anna")),
        "bad_user_id",
        "sender",
    ),
    (
        "another event type",
        lambda: decode_membership(samples.event({}, "m.room.message")),
        "unknown_type",
        "type",
    ),
    (
        "sticky without key",
        sticky(lambda c: without(without(c, "sticky_key"), "msc4354_sticky_key")),
        "missing_field",
        "content.sticky_key",
    ),
    ("two sticky keys", sticky(lambda c: spoilt(c, ("sticky_key",), "x")), "ambiguous", "content.sticky_key"),
    (
        "sticky of another user",
        sticky(lambda c: spoilt(c, ("member", "user_id"), EVE)),
        "wrong_user",
        "content.member.user_id",
    ),
    (
        "sticky of another device than its block",
        sticky(lambda c: spoilt(c, ("member", "device_id"), "OTHER")),
        "wrong_device",
        f"content.{B}.device_id",
    ),
    (
        "sticky of another member than its block",
        sticky(lambda c: spoilt(c, ("member", "id"), ANNA_AGAIN.m)),
        "wrong_member_id",
        "content.member.id",
    ),
    (
        "sticky of another slot than its block",
        sticky(lambda c: spoilt(c, ("slot_id",), "m.call#x")),
        "wrong_slot",
        f"content.{B}.slot_id",
    ),
    (
        "slot id without name",
        sticky(lambda c: spoilt(c, ("slot_id",), "m.call#")),
        "bad_slot_id",
        "content.slot_id",
    ),
    (
        "transports without list",
        sticky(lambda c: spoilt(c, ("transports", "published"), "x")),
        "wrong_type",
        "content.transports.published",
    ),
    (
        "a join in a leave",
        lambda: state({B: samples.state_join()[B]}),
        "not_a_leave",
        f"content.{B}",
    ),
    (
        "a leave in a join",
        lambda: state({**samples.state_join(), B: samples.state_leave()[B]}),
        "not_a_join",
        f"content.{B}",
    ),
]

BLOCKS: list[Case] = [
    ("block is text", join(B, to="x"), "wrong_type", f"content.{B}"),
    ("version is text", join(B, "version", to="1"), "wrong_type", f"content.{B}.version"),
    ("version is true", join(B, "version", to=True), "wrong_type", f"content.{B}.version"),
    ("version 0", join(B, "version", to=0), "out_of_range", f"content.{B}.version"),
    ("no version", join_without(B, "version"), "missing_field", f"content.{B}.version"),
    ("suite 0", join(B, "suite", to=0), "out_of_range", f"content.{B}.suite"),
    ("suite past u16", join(B, "suite", to=65536), "out_of_range", f"content.{B}.suite"),
    ("slot of another call", join(B, "slot_id", to="m.call#x"), "wrong_slot", f"content.{B}.slot_id"),
    ("device of another block", join(B, "device_id", to="OTHER"), "wrong_device", f"content.{B}.device_id"),
    ("member_id truncated", join(B, "member_id", to=ANNA.m[:-1]), "bad_member_id", f"content.{B}.member_id"),
    ("member_id padded", join(B, "member_id", to=ANNA.m + "="), "bad_member_id", f"content.{B}.member_id"),
    (
        "member_id of another join",
        join(B, "member_id", to=ANNA_AGAIN.m),
        "wrong_member_id",
        f"content.{B}.binding",
    ),
    ("key package padded", join(B, "key_package", to="AA=="), "bad_base64", f"content.{B}.key_package"),
    (
        "key package with spare bits",
        join(B, "key_package", to="AB"),
        "bad_base64",
        f"content.{B}.key_package",
    ),
    ("key package in base64url", join(B, "key_package", to="-_-_"), "bad_base64", f"content.{B}.key_package"),
    ("key package empty", join(B, "key_package", to=""), "wrong_size", f"content.{B}.key_package"),
    ("key package too large", join(B, "key_package", to=LONG), "oversized", f"content.{B}.key_package"),
    ("key package swapped", join(B, "key_package", to="AAAA"), "bad_signature", f"content.{B}.signature"),
    (
        "device key of 31 bytes",
        join(B, "binding", "device_key", to=encode_base64(bytes(31))),
        "wrong_size",
        f"content.{B}.binding.device_key",
    ),
    (
        "binding without signature",
        join_without(B, "binding", "signature"),
        "missing_field",
        f"content.{B}.binding.signature",
    ),
    (
        "binding with another signature",
        join(B, "binding", "signature", to=encode_base64(bytes(64))),
        "bad_signature",
        f"content.{B}.binding",
    ),
    ("binding of another device", from_another((B, "binding")), "wrong_member_id", f"content.{B}.binding"),
    (
        "join with another's signature",
        from_another((B, "signature")),
        "bad_signature",
        f"content.{B}.signature",
    ),
    (
        "replaces unsorted",
        join(B, "replaces", to=sorted([ANNA_AGAIN.m, BERT.m], reverse=True)),
        "not_sorted",
        f"content.{B}.replaces",
    ),
    (
        "replaces twice the same",
        join(B, "replaces", to=[BERT.m, BERT.m]),
        "not_sorted",
        f"content.{B}.replaces",
    ),
    (
        "replaces somebody malformed",
        join(B, "replaces", to=["x"]),
        "bad_member_id",
        f"content.{B}.replaces[0]",
    ),
    ("replaces itself", join(B, "replaces", to=[ANNA.m]), "replaces_itself", f"content.{B}.replaces"),
    ("head of 31 bytes", join(B, "head", to=encode_base64(bytes(31))), "wrong_size", f"content.{B}.head"),
    ("from is a float", join(B, "from", to=1.0), "wrong_type", f"content.{B}.from"),
    ("until before from", join(B, "until", to=NOW - 1), "bad_lifetime", f"content.{B}.until"),
    ("until five hours after", join(B, "until", to=NOW + 5 * HOUR), "bad_lifetime", f"content.{B}.until"),
    ("until drawn out", join(B, "until", to=NOW + 2 * HOUR), "bad_signature", f"content.{B}.signature"),
    (
        "replayed into another room",
        lambda: state(samples.state_join(), OTHER_ROOM),
        "wrong_member_id",
        f"content.{B}.binding",
    ),
    (
        "replayed into another slot",
        lambda: state(spoilt(spoilt(samples.state_join(), ("call_id",), "x"), (B, "slot_id"), "m.call#x")),
        "wrong_member_id",
        f"content.{B}.binding",
    ),
    (
        "sent by another user",
        lambda: trust.verify_join(ROOM, EVE, ANNA.join_block()),
        "wrong_member_id",
        f"content.{B}.binding",
    ),
    (
        "leave without signature",
        lambda: state(without(samples.state_leave(), B, "left", "signature")),
        "missing_field",
        f"content.{B}.left.signature",
    ),
    (
        "leave with a forged signature",
        leave(B, "left", "signature", to=encode_base64(bytes(64))),
        "bad_signature",
        f"content.{B}.left.signature",
    ),
    (
        "leave of another member",
        leave(B, "left", "member_id", to=BERT.m),
        "wrong_member_id",
        f"content.{B}.left.member_id",
    ),
    (
        "leave of another device",
        leave(B, "left", "device_id", to="OTHER"),
        "wrong_member_id",
        f"content.{B}.left.member_id",
    ),
    (
        "leave of an unknown suite",
        leave(B, "suite", to=999),
        "unsupported_suite",
        f"content.{B}.left.signature",
    ),
    (
        "leave replayed into another room",
        lambda: state(samples.state_leave(), OTHER_ROOM),
        "wrong_member_id",
        f"content.{B}.left.member_id",
    ),
    ("leave that is a list", leave(B, "left", to=[]), "wrong_type", f"content.{B}.left"),
]

CHAINS: list[Case] = [
    ("no device", chain("device", to=None), "missing_field", "chain.device"),
    ("user is a number", chain("device", "user_id", to=1), "wrong_type", "chain.device.user_id"),
    (
        "device without key",
        chain("device", "keys", to={}),
        "missing_field",
        "chain.device.keys.ed25519:DEVICEA",
    ),
    ("device not signed", chain("device", "signatures", to={}), "not_signed", "chain.device.signatures"),
    (
        "device signed by another user only",
        chain("device", "signatures", to={EVE: {}}),
        "not_signed",
        "chain.device.signatures",
    ),
    ("a float in what is signed", chain("device", "x", to=1.5), "wrong_type", "chain.device.x"),
    ("a huge number in what is signed", chain("device", "x", to=2**60), "out_of_range", "chain.device.x"),
    (
        "nested too deeply",
        chain("device", "x", to=[[[[[[[]]]]]]]),
        "oversized",
        "chain.device.x[0][0][0][0][0][0]",
    ),
    ("three kilobytes of device", chain("device", "x", to=["x" * 1500] * 2), "oversized", "chain.device"),
    (
        "self-signing key of another user",
        chain("self_signing", "user_id", to=EVE),
        "wrong_user",
        "chain.self_signing.user_id",
    ),
    (
        "self-signing key for another use",
        chain("self_signing", "usage", to=["user_signing"]),
        "wrong_usage",
        "chain.self_signing.usage",
    ),
    (
        "self-signing key under another name",
        chain("self_signing", "keys", to={"ed25519:x": "AAAA"}),
        "wrong_key_id",
        "chain.self_signing.keys",
    ),
    (
        "two self-signing keys",
        chain("self_signing", "keys", to={"a": "b", "c": "d"}),
        "oversized",
        "chain.self_signing.keys",
    ),
    (
        "another master key",
        chain("master", to=encode_base64(bytes(32))),
        "not_signed",
        "chain.self_signing.signatures",
    ),
    ("short master key", chain("master", to="AAAA"), "wrong_size", "chain.master"),
    (
        "chain of another device",
        lambda: trust.verify_chain(ANNA.chain(), BERT.leaf),
        "wrong_user",
        f"content.{B}.chain.device.user_id",
    ),
    (
        "keys/query without the user",
        lambda: decode_keys_query(EVE, ANNA.keys_query()),
        "missing_field",
        f"keys_query.device_keys.{EVE}",
    ),
]
COMMITS: list[Case] = [
    ("content is null", lambda: decode_commit(None), "missing_field", "content"),  # type: ignore[arg-type]
    ("no slot", commit("slot_id", to=None), "missing_field", "content.slot_id"),
    ("id truncated", commit("id", to=encode_base64(bytes(31))), "wrong_size", "content.id"),
    ("id padded", commit("id", to=encode_base64(bytes(32)) + "="), "bad_base64", "content.id"),
    (
        "a child that is its own root",
        commit("root", to=samples.child_commit()["id"]),
        "wrong_root",
        "content.root",
    ),
    ("a child without parent", commit("parent", to=None), "wrong_root", "content.root"),
    (
        "a root that names another",
        lambda: decode_commit(spoilt(samples.root_commit(), ("root",), encode_base64(epoch("x")))),
        "wrong_root",
        "content.root",
    ),
    (
        "a root of epoch 2",
        lambda: decode_commit(spoilt(samples.root_commit(), ("epoch",), 2)),
        "wrong_epoch",
        "content.epoch",
    ),
    ("a child of epoch 1", commit("epoch", to=1), "wrong_epoch", "content.epoch"),
    ("epoch 0", commit("epoch", to=0), "out_of_range", "content.epoch"),
    ("epoch is text", commit("epoch", to="2"), "wrong_type", "content.epoch"),
    ("n is 0", commit("n", to=0), "out_of_range", "content.n"),
    ("n is true", commit("n", to=True), "wrong_type", "content.n"),
    ("left is a list", commit("left", to=[]), "wrong_type", "content.left"),
    ("left by a malformed name", commit("left", to={"x": "AAAA"}), "bad_member_id", "content.left"),
    ("left without signature", commit("left", to={ANNA.m: ""}), "wrong_size", f"content.left.{ANNA.m}"),
    ("no commit", commit("commit", to=None), "missing_field", "content.commit"),
    ("commit in base64url", commit("commit", to="-_-_"), "bad_base64", "content.commit"),
    ("commit too large for an event", commit("commit", to=LONG), "oversized", "content.commit"),
    ("no group info", commit("group_info", to=None), "missing_field", "content.group_info"),
    (
        "epoch 0 in a child",
        lambda: decode_commit({**samples.child_commit(), "group_info_0": "AAAA"}),
        "unexpected_field",
        "content.group_info_0",
    ),
    (
        "no epoch 0 in a root",
        lambda: decode_commit(without(samples.root_commit(), "group_info_0")),
        "missing_field",
        "content.group_info_0",
    ),
    (
        "tree twice",
        lambda: decode_commit({**samples.child_commit(), "tree": "AAAA"}),
        "ambiguous",
        "content.tree",
    ),
    ("file of version 1", commit("tree_file", "v", to="v1"), "unknown_version", "content.tree_file.v"),
    (
        "file elsewhere",
        commit("tree_file", "url", to="https://one.example/x"),
        "bad_uri",
        "content.tree_file.url",
    ),
    ("file without url", commit("tree_file", "url", to=""), "bad_uri", "content.tree_file.url"),
    (
        "file under another cipher",
        commit("tree_file", "key", "alg", to="A128CTR"),
        "unknown_algorithm",
        "content.tree_file.key",
    ),
    (
        "file with a short key",
        commit("tree_file", "key", "k", to="AAAA"),
        "wrong_size",
        "content.tree_file.key.k",
    ),
    (
        "file without hash",
        commit("tree_file", "hashes", to={}),
        "missing_field",
        "content.tree_file.hashes.sha256",
    ),
    (
        "file that was changed",
        lambda: decrypt_attachment(samples.FILE, b"other bytes", where="content.tree_file"),
        "wrong_hash",
        "content.tree_file",
    ),
    (
        "another relation",
        commit("m.relates_to", "rel_type", to="m.thread"),
        "wrong_relation",
        "content.m.relates_to.rel_type",
    ),
    (
        "no relation",
        lambda: decode_commit(without(samples.child_commit(), "m.relates_to")),
        "missing_field",
        "content.m.relates_to",
    ),
    ("file is no object", lambda: decode_file(Field([], "file")), "wrong_type", "file"),
    (
        "iv of 8 bytes",
        lambda: decode_file(Field({**encode_file(samples.FILE), "iv": encode_base64(bytes(8))}, "file")),
        "wrong_size",
        "file.iv",
    ),
]

GONE = b"\0\1" + lp(EVE) + lp("DEV") + lp("uuid")
TWICE = b"\0\2" + 2 * (lp(EVE) + lp("DEV") + lp("uuid"))
DATA = CommitData(epoch("parent"), 3, {ANNA.m: bytes(64)}, (epoch("bad"), "unopened"), ((EVE, "DEV", "uuid"),)).encode()
AD = "commit.authenticated_data"

BYTES: list[Case] = [
    ("commit data empty", lambda: decode_commit_data(b""), "truncated", AD),
    (
        "commit data of version 2",
        lambda: decode_commit_data(DATA.replace(b"commit 1", b"commit 2")),
        "unknown_version",
        AD,
    ),
    ("commit data truncated", lambda: decode_commit_data(DATA[:-1]), "truncated", AD),
    ("commit data with more", lambda: decode_commit_data(DATA + b"\0"), "trailing_bytes", AD),
    (
        "commit data with a parent of 31 bytes",
        lambda: decode_commit_data(CommitData(EpochId(bytes(31)), 1).encode()),
        "wrong_size",
        f"{AD}.parent",
    ),
    (
        "commit data with n = 0",
        lambda: decode_commit_data(replace(CommitData(None, 1), n=0).encode()),
        "bad_count",
        AD,
    ),
    (
        "commit data with an unknown refusal",
        lambda: decode_commit_data(CommitData(None, 1, {}, (epoch("x"), "dislike")).encode()),
        "bad_refusal",
        AD,
    ),
    (
        "commit data with a bad name",
        lambda: decode_commit_data(CommitData(None, 1, {MemberId("x"): b""}).encode()),
        "bad_member_id",
        AD,
    ),
    ("commit data unsorted", lambda: decode_commit_data(DATA[: -len(GONE)] + TWICE), "not_sorted", AD),
    ("credential truncated", lambda: decode_identity(ANNA.identity.encode()[:-1]), "truncated", "credential"),
    (
        "credential with more",
        lambda: decode_identity(ANNA.identity.encode() + b"x"),
        "trailing_bytes",
        "credential",
    ),
    (
        "credential that is no text",
        lambda: decode_identity(lp(b"\xff") + lp("D") + lp(ANNA.m)),
        "bad_text",
        "credential",
    ),
    (
        "credential of no user",
        lambda: decode_identity(lp("anna") + lp("D") + lp(ANNA.m)),
        "bad_user_id",
        "credential",
    ),
    (
        "credential of no device",
        lambda: decode_identity(lp(ANNA.user) + lp("") + lp(ANNA.m)),
        "bad_device_id",
        "credential",
    ),
    (
        "credential of no member",
        lambda: decode_identity(lp(ANNA.user) + lp("D") + lp("m")),
        "bad_member_id",
        "credential",
    ),
    ("binding of 95 bytes", lambda: decode_binding(bytes(95)), "bad_binding", "leaf.binding"),
    (
        "binding in another room",
        lambda: verify_binding(OTHER_ROOM, SLOT, ANNA.identity, ANNA.signer.public, ANNA.binding()),
        "wrong_member_id",
        "leaf.binding",
    ),
    (
        "binding in another slot",
        lambda: verify_binding(ROOM, SlotId("m.call#x"), ANNA.identity, ANNA.signer.public, ANNA.binding()),
        "wrong_member_id",
        "leaf.binding",
    ),
    (
        "binding to another leaf key",
        lambda: verify_binding(ROOM, SLOT, ANNA.identity, BERT.signer.public, ANNA.binding()),
        "wrong_member_id",
        "leaf.binding",
    ),
    (
        "binding that is not signed",
        lambda: verify_binding(
            ROOM, SLOT, ANNA.identity, ANNA.signer.public, replace(ANNA.binding(), signature=bytes(64))
        ),
        "bad_signature",
        "leaf.binding",
    ),
]

WORDS: list[Case] = [
    (
        "word without root",
        lambda: decode_word(without(samples.word(), "root")),
        "missing_field",
        "content.root",
    ),
    ("word by a malformed member", word("member_id", to="x"), "bad_member_id", "content.member_id"),
    ("word with n as text", word("n", to="2"), "wrong_type", "content.n"),
    ("word with n = 0", word("n", to=0), "out_of_range", "content.n"),
    ("word without signature", word("sig", to=""), "wrong_size", "content.sig"),
    (
        "word that refuses without reason",
        word("refuse", to=[samples.word()["id"]]),
        "bad_refusal",
        "content.refuse",
    ),
    (
        "word that refuses for no known reason",
        word("refuse", to=[samples.word()["id"], "x"]),
        "bad_refusal",
        "content.refuse",
    ),
    ("word that refuses nothing", word("refuse", to=["", ""]), "wrong_size", "content.refuse[0]"),
    (
        "word that refers to nothing",
        lambda: decode_word(without(samples.word(), "m.relates_to")),
        "missing_field",
        "content.m.relates_to",
    ),
    (
        "word in another's name",
        lambda: trust.verify_word(ROOM, EVE, decode_word(samples.word()), ANNA.leaf, 1),
        "wrong_user",
        "sender",
    ),
    (
        "word replayed into another room",
        lambda: trust.verify_word(OTHER_ROOM, ANNA.user, decode_word(samples.word()), ANNA.leaf, 1),
        "bad_signature",
        "content.sig",
    ),
    (
        "word replayed into another slot",
        lambda: trust.verify_word(
            ROOM, ANNA.user, decode_word({**samples.word(), "slot_id": "m.call#x"}), ANNA.leaf, 1
        ),
        "bad_signature",
        "content.sig",
    ),
]

OTHERS: list[Case] = [
    (
        "need without room",
        lambda: decode_need(without(samples.need(), "room_id")),
        "missing_field",
        "content.room_id",
    ),
    (
        "need of a room alias",
        lambda: decode_need({**samples.need(), "room_id": "#a:b"}),
        "bad_room_id",
        "content.room_id",
    ),
    (
        "need of a tree of nothing",
        lambda: decode_need({**samples.need(), "id": None}),
        "missing_field",
        "content.id",
    ),
    (
        "need with tree as a number",
        lambda: decode_need({**samples.need(), "tree": 1}),
        "wrong_type",
        "content.tree",
    ),
    (
        "have of foreign events",
        lambda: decode_have(spoilt(samples.have(), ("events", 0, "type"), "m.room.message")),
        "unknown_type",
        "content.events[0].type",
    ),
    (
        "have of an event without content",
        lambda: decode_have(spoilt(samples.have(), ("events", 0, "content"), [])),
        "wrong_type",
        "content.events[0].content",
    ),
    (
        "have by nobody",
        lambda: decode_have(spoilt(samples.have(), ("events", 0, "sender"), "x")),
        "bad_user_id",
        "content.events[0].sender",
    ),
    (
        "have with too much",
        lambda: decode_have({**samples.have(), "events": [{}] * 1001}),
        "oversized",
        "content.events",
    ),
    (
        "have both here and in a file",
        lambda: decode_have({**samples.have(), "file": encode_file(samples.FILE)}),
        "ambiguous",
        "content.file",
    ),
    (
        "power level as text",
        lambda: decode_power_levels({"users": {EVE: "100"}}),
        "wrong_type",
        f"content.users.{EVE}",
    ),
    (
        "power level as float",
        lambda: decode_power_levels({"state_default": 50.0}),
        "wrong_type",
        "content.state_default",
    ),
    (
        "power level of nobody",
        lambda: decode_power_levels({"users": {"eve": 1}}),
        "bad_user_id",
        "content.users",
    ),
    (
        "slot without state key",
        lambda: decode_slot(samples.event({"status": "open"}, names.SLOT)),
        "missing_field",
        "state_key",
    ),
    (
        "slot with encryption as text",
        lambda: decode_slot(samples.event({"status": "open", "encryption": "x"}, names.SLOT, state_key=SLOT)),
        "wrong_type",
        "content.encryption",
    ),
    (
        "an unknown room membership",
        lambda: decode_room_member(samples.event({"membership": "x"}, names.ROOM_MEMBER, state_key=EVE)),
        "unknown_membership",
        "content.membership",
    ),
]

CASES = MEMBERSHIPS + FAMEDLY + BLOCKS + CHAINS + COMMITS + BYTES + WORDS + OTHERS


def test_the_table_is_large_and_its_names_are_its_own() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 150


@pytest.mark.parametrize(("name", "receive", "reason", "where"), CASES, ids=[case[0] for case in CASES])
def test_bad_input(name: str, receive: Callable[[], object], reason: str, where: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        receive()
    assert (caught.value.reason, caught.value.where) == (reason, where)


def test_the_unspoilt_samples_are_taken() -> None:
    state(samples.state_join())
    state(samples.state_leave())
    checked(decode_membership(samples.event(samples.sticky_join(), names.STICKY_MEMBER)), ROOM, ANNA.user)
    trust.verify_word(ROOM, ANNA.user, decode_word(samples.word()), ANNA.leaf, 1)
    trust.verify_chain(decode_chain(Field(ANNA.chain_content())), ANNA.leaf)
