"""Our block in a membership, ``dev.mlsrtc.mls``: a join, its refresh, or a leave. JSON <-> values; checks
form only.

The block says everything that its signatures cover, so it can be checked by itself, beside a Megolm payload
that nobody can open. The user is the Matrix sender. `mlsrtc.trust` checks what it claims.
"""

from dataclasses import dataclass
from typing import Any, TypeAlias

from mlsrtc.identifiers import DeviceId, EpochId, MemberId, SlotId
from mlsrtc.wire.binding import DEVICE_KEY_SIZE, SIGNATURE_SIZE, Binding
from mlsrtc.wire.chain import DeviceChain, decode_chain, encode_chain
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.fields import Field, refuse

VERSION = 1
KEY_PACKAGE_LIMIT = 16 * 1024  # bytes; 316 in suite 1, 2.7 kB with X-Wing
REPLACES_LIMIT = 64
LEAF_KEY_LIMIT = 512  # bytes; 133 is the longest of RFC 9420 section 17.1 (P-521)
LEAF_SIGNATURE_LIMIT = 512


@dataclass(frozen=True, slots=True)
class JoinBlock:
    """J as it came. `suite` is MLS' number, times are milliseconds since the epoch."""

    suite: int
    slot_id: SlotId
    device_id: DeviceId
    member_id: MemberId
    leaf_key: bytes
    binding: Binding
    key_package: bytes
    replaces: tuple[MemberId, ...]
    head: EpochId | None
    from_ts: int
    until_ts: int
    signature: bytes  # of the device key
    chain: DeviceChain | None = None


@dataclass(frozen=True, slots=True)
class LeftBlock:
    """L as it came. It carries what m commits to, so that it can be checked when its join was never seen."""

    suite: int
    slot_id: SlotId
    device_id: DeviceId
    member_id: MemberId
    device_key: bytes
    leaf_key: bytes
    signature: bytes  # of the leaf key


@dataclass(frozen=True, slots=True)
class ForeignBlock:
    """A block of a version that this library does not know: its device takes part and cannot be added."""

    version: int


Block: TypeAlias = JoinBlock | LeftBlock | ForeignBlock


def decode_block(field: Field) -> Block:
    """Raises RemoteProtocolError with the reasons of `Field`, of `decode_chain`, and not_sorted
    (replaces).
    """
    version = field["version"].integer(1)
    if version != VERSION:
        return ForeignBlock(version)
    return _left(field) if "left" in field else _join(field)


def _join(field: Field) -> JoinBlock:
    binding = field["binding"]
    replaces = [item.member_id() for item in field["replaces"].list(REPLACES_LIMIT)]
    if replaces != sorted(set(replaces)):
        refuse("not_sorted", f"{field.where}.replaces")
    return JoinBlock(
        suite=field["suite"].integer(1, 0xFFFF),
        slot_id=field["slot_id"].slot_id(),
        device_id=field["device_id"].device_id(),
        member_id=field["member_id"].member_id(),
        leaf_key=binding["leaf_key"].base64(limit=LEAF_KEY_LIMIT),
        binding=Binding(
            binding["device_key"].base64(size=DEVICE_KEY_SIZE),
            binding["signature"].base64(size=SIGNATURE_SIZE),
        ),
        key_package=field["key_package"].base64(limit=KEY_PACKAGE_LIMIT),
        replaces=tuple(replaces),
        head=field["head"].optional(Field.epoch_id),
        from_ts=field["from"].integer(),
        until_ts=field["until"].integer(),
        signature=field["signature"].base64(size=SIGNATURE_SIZE),
        chain=field["chain"].optional(decode_chain),
    )


def _left(field: Field) -> LeftBlock:
    left = field["left"]
    return LeftBlock(
        suite=field["suite"].integer(1, 0xFFFF),
        slot_id=field["slot_id"].slot_id(),
        device_id=left["device_id"].device_id(),
        member_id=left["member_id"].member_id(),
        device_key=left["device_key"].base64(size=DEVICE_KEY_SIZE),
        leaf_key=left["leaf_key"].base64(limit=LEAF_KEY_LIMIT),
        signature=left["signature"].base64(limit=LEAF_SIGNATURE_LIMIT),
    )


def encode_block(block: Block) -> dict[str, Any]:
    """The JSON of a block; optional fields are left out when there is nothing to say, but `replaces` and
    `head` of a join are always written."""
    if isinstance(block, ForeignBlock):
        return {"version": block.version}
    if isinstance(block, LeftBlock):
        return {
            "version": VERSION,
            "suite": block.suite,
            "slot_id": block.slot_id,
            "left": {
                "member_id": block.member_id,
                "device_id": block.device_id,
                "device_key": encode_base64(block.device_key),
                "leaf_key": encode_base64(block.leaf_key),
                "signature": encode_base64(block.signature),
            },
        }
    content: dict[str, Any] = {
        "version": VERSION,
        "suite": block.suite,
        "slot_id": block.slot_id,
        "device_id": block.device_id,
        "member_id": block.member_id,
        "key_package": encode_base64(block.key_package),
        "binding": {
            "device_key": encode_base64(block.binding.device_key),
            "leaf_key": encode_base64(block.leaf_key),
            "signature": encode_base64(block.binding.signature),
        },
        "replaces": list(block.replaces),
        "head": None if block.head is None else encode_base64(block.head),
        "from": block.from_ts,
        "until": block.until_ts,
        "signature": encode_base64(block.signature),
    }
    if block.chain is not None:
        content["chain"] = encode_chain(block.chain)
    return content
