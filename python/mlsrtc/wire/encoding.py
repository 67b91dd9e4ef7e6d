"""The byte encodings of docs/protocol.md, "Encodings": what is hashed, signed and derived from. Pure; knows
no JSON event.

One way for all: an *item* is bytes or text as ``lp`` (u16 big-endian length, then the bytes), an integer as
u64 big-endian, an absent value as the empty ``lp``, a Python list as u16 count and its items, a Python tuple
as its fields one after the other. A *tuple* in the protocol's sense is ``lp(label)`` and then the items.
`tests/vectors/encodings.json` holds examples of each.
"""

import base64
import hashlib
import re
import struct
from binascii import a2b_base64, b2a_base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias, Union

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, MemberId, RoomId, SlotId, UserId

Item: TypeAlias = Union[bytes, str, int, "Sequence[Item]", None]

LP_LIMIT = 0xFFFF
NAME_LIMIT = 255  # bytes of a user id or device id; Matrix specification, "Common identifier format"
HASH_SIZE = 32

BINDING_LABEL = "mlsrtc binding 1"
JOIN_LABEL = "mlsrtc join 1"
LEFT_LABEL = "mlsrtc left 1"
WORD_LABEL = "mlsrtc word 1"
MEMBER_LABEL = "mlsrtc member 1"
EPOCH_LABEL = "mlsrtc epoch 1"
GROUP_LABEL = "mlsrtc group 1"
ORDER_LABEL = "mlsrtc order 1"
RANK_LABEL = "mlsrtc rank 1"
COMMIT_LABEL = "mlsrtc commit 1"
MEDIA_LABEL = "mlsrtc media 1"  # MLS exporter label of the media secret
CODE_LABEL = "mlsrtc code 1"  # MLS exporter label of the safety code
SENDER_LABEL = "sender"

_U16 = struct.Struct(">H").pack
_U64 = struct.Struct(">Q").pack

NO_EPOCH = bytes(HASH_SIZE)
"""Stands for the missing id of a root's parent in the order and rank hashes."""


def lp(value: bytes | str) -> bytes:
    """The value behind its length: u16 big-endian, then the bytes (text as UTF-8).

    Raises LocalProtocolError past 65,535 bytes or for text that has no UTF-8 form; decoders refuse both
    before.
    """
    if isinstance(value, str):
        try:
            value = value.encode()
        except UnicodeEncodeError:
            raise LocalProtocolError("text with a lone surrogate has no encoding") from None
    if len(value) > LP_LIMIT:
        raise LocalProtocolError(f"{len(value)} bytes do not fit behind a u16 length")
    return _U16(len(value)) + value


def u64(value: int) -> bytes:
    """The integer as 8 bytes, big-endian. Raises LocalProtocolError outside 0..2^64-1."""
    if not 0 <= value < 1 << 64:
        raise LocalProtocolError(f"{value} is no u64")
    return _U64(value)


def encode(item: Item) -> bytes:
    """One item by the rules of this module's first lines."""
    if isinstance(item, (str, bytes)):  # not a union type, which is made anew each time: a call encodes thousands
        return lp(item)
    if isinstance(item, tuple):
        return b"".join(map(encode, item))
    if item is None:
        return lp(b"")
    if isinstance(item, bool):
        raise LocalProtocolError("a truth value has no encoding")
    if isinstance(item, int):
        return u64(item)
    if len(item) > LP_LIMIT:
        raise LocalProtocolError(f"{len(item)} items do not fit behind a u16 count")
    return _U16(len(item)) + b"".join(map(encode, item))


def signing_tuple(label: str, *items: Item) -> bytes:
    """The tuple itself: what a leaf key signs."""
    return lp(label) + encode(items)


def digest(label: str, *items: Item) -> bytes:
    """SHA-256 of the tuple, 32 bytes."""
    return hashlib.sha256(signing_tuple(label, *items)).digest()


def signing_text(label: str, *items: Item) -> str:
    """What a device key signs: the label, a space, and the hexadecimal SHA-256 of the tuple (client libraries
    sign text).
    """
    return f"{label} {digest(label, *items).hex()}"


# -- base64 --------------------------------------------------------------------------------------------------


def encode_base64(value: bytes) -> str:
    """Unpadded standard base64, as Matrix writes it."""
    return b2a_base64(value, newline=False).rstrip(b"=").decode("ascii")


def decode_base64(text: str, *, where: str = "") -> bytes:
    """Strict: only the one text that `encode_base64` gives. Raises RemoteProtocolError("bad_base64")."""
    try:
        value = a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:  # includes binascii.Error, and text that is not ASCII
        raise RemoteProtocolError("bad_base64", where=where) from None
    if encode_base64(value) != text:
        raise RemoteProtocolError("bad_base64", "not the canonical unpadded form", where=where)
    return value


def encode_base64url(value: bytes) -> str:
    """Unpadded base64url (RFC 4648 section 5): member_ids, and the parts of a JSON web key."""
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def decode_base64url(text: str, *, where: str = "") -> bytes:
    """Strict: only the one text that `encode_base64url` gives. Raises RemoteProtocolError("bad_base64")."""
    try:
        value = base64.urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        raise RemoteProtocolError("bad_base64", where=where) from None
    if encode_base64url(value) != text:
        raise RemoteProtocolError("bad_base64", "not the canonical unpadded form", where=where)
    return value


# -- names ---------------------------------------------------------------------------------------------------


def member_id(
    room: RoomId, slot: SlotId, user: UserId, device: DeviceId, *, device_key: bytes, leaf_key: bytes
) -> MemberId:
    """m: 43 characters of base64url. It commits to the device (Ed25519 key, 32 bytes) and to the leaf
    signature key.
    """
    return MemberId(encode_base64url(digest(MEMBER_LABEL, room, slot, user, device, device_key, leaf_key)))


_MEMBER_ID = re.compile(r"[A-Za-z0-9_-]{42}[AEIMQUYcgkosw048]")  # 256 bits: the last two of the last character are 0


def check_member_id(text: str, *, where: str = "") -> MemberId:
    """The text as a member_id. Raises RemoteProtocolError("bad_member_id") if it is not 32 bytes in strict
    base64url.
    """
    if _MEMBER_ID.fullmatch(text) is None:
        raise RemoteProtocolError("bad_member_id", where=where)
    return MemberId(text)


def epoch_id(context: bytes, confirmation_tag: bytes) -> EpochId:
    """The id of an epoch, 32 bytes, from the TLS-encoded GroupContext and the confirmation tag (RFC 9420 8.1,
    6.1).

    Raises RemoteProtocolError("oversized") if either is past 65,535 bytes.
    """
    if max(len(context), len(confirmation_tag)) > LP_LIMIT:
        raise RemoteProtocolError("oversized", where="group_context")
    return EpochId(digest(EPOCH_LABEL, context, confirmation_tag))


def group_id(room: RoomId, slot: SlotId, creator: MemberId) -> bytes:
    """The MLS group_id of the group that `creator` makes for this slot, 32 bytes."""
    return digest(GROUP_LABEL, room, slot, creator)


def order_hash(parent: EpochId | None, user: UserId) -> bytes:
    """The tie breaker of the head rule among the children of `parent` (null: 32 zero bytes), by their
    authors' user.
    """
    return digest(ORDER_LABEL, parent or NO_EPOCH, user)


_RANK = lp(RANK_LABEL)


@lru_cache(maxsize=16384)
def rank_hash(parent: EpochId | None, member: MemberId) -> bytes:
    """Sorts the members that may commit on `parent` (null: 32 zero bytes): the least goes first."""
    return hashlib.sha256(_RANK + lp(parent or NO_EPOCH) + lp(member)).digest()


# -- the MLS credential --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """What a leaf's basic credential says: ``lp(user_id) ‖ lp(device_id) ‖ lp(member_id)``."""

    user_id: UserId
    device_id: DeviceId
    member_id: MemberId

    def encode(self) -> bytes:
        """The credential's identity bytes."""
        return lp(self.user_id) + lp(self.device_id) + lp(self.member_id)


def decode_identity(value: bytes, *, where: str = "credential") -> Identity:
    """Strict inverse of `Identity.encode`. Raises RemoteProtocolError: truncated, trailing_bytes, bad_text,
    bad_user_id, bad_device_id, bad_member_id."""
    reader = Reader(value, where)
    user, device, member = reader.text(), reader.text(), reader.text()
    reader.end()
    return Identity(
        check_user_id(user, where=where),
        check_device_id(device, where=where),
        check_member_id(member, where=where),
    )


def check_user_id(text: str, *, where: str = "") -> UserId:
    """The text as a user id: ``@localpart:server``, at most 255 bytes of UTF-8, no control characters."""
    if not (_is_name(text) and text.startswith("@") and ":" in text[1:]):
        raise RemoteProtocolError("bad_user_id", where=where)
    return UserId(text)


def check_device_id(text: str, *, where: str = "") -> DeviceId:
    """The text as a device id: 1 to 255 bytes of UTF-8, no control characters."""
    if not _is_name(text):
        raise RemoteProtocolError("bad_device_id", where=where)
    return DeviceId(text)


_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _is_name(text: str) -> bool:
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return False
    return 0 < size <= NAME_LIMIT and _CONTROL.search(text) is None


class Reader:
    """Reads a tuple back, strictly. Raises RemoteProtocolError(truncated, trailing_bytes, bad_text) naming
    `where`.
    """

    def __init__(self, value: bytes, where: str = "") -> None:
        self._rest = value
        self._where = where

    def take(self, size: int) -> bytes:
        """The next `size` bytes."""
        if len(self._rest) < size:
            raise RemoteProtocolError("truncated", where=self._where)
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def bytes(self) -> bytes:
        """The next ``lp``."""
        (size,) = struct.unpack(">H", self.take(2))
        return self.take(size)

    def text(self) -> str:
        """The next ``lp`` as UTF-8."""
        try:
            return self.bytes().decode()
        except UnicodeDecodeError:
            raise RemoteProtocolError("bad_text", "not UTF-8", where=self._where) from None

    def u64(self) -> int:
        """The next integer."""
        return int.from_bytes(self.take(8), "big")

    def count(self) -> Iterator[int]:
        """As many turns as the next list has items."""
        return iter(range(int.from_bytes(self.take(2), "big")))

    def end(self) -> None:
        """Nothing may be left."""
        if self._rest:
            raise RemoteProtocolError("trailing_bytes", where=self._where)


# -- media ---------------------------------------------------------------------------------------------------


def export_context(room: RoomId, slot: SlotId) -> bytes:
    """Context of every MLS exporter of a call: ``lp(room_id) ‖ lp(slot_id)``, so that two calls never share a
    key.
    """
    return encode((room, slot))


_SENDER = lp(SENDER_LABEL)
_PLACE = struct.Struct(">QQ").pack


def safety_code(exported: bytes) -> str:
    """What people compare: the 16 exported bytes as a number modulo 10^30, 30 digits with leading zeros."""
    return f"{int.from_bytes(exported, 'big') % 10**30:030}"


def sender_info(credential: bytes, leaf: LeafIndex, epoch: int) -> bytes:
    """HKDF-Expand info of one sender's media key (docs/protocol.md, "Media keys"): ``lp("sender")``, what its
    credential says (`Identity.encode`), leaf and epoch.
    """
    return _SENDER + credential + _PLACE(leaf, epoch)


def key_index(epoch: int, epoch_id: EpochId) -> KeyIndex:
    """Where an epoch's keys go in a key ring, 1..255: any 14 epochs in a row differ, two branches with 15 in
    16.
    """
    return KeyIndex(1 + (16 * epoch + epoch_id[0] % 16) % 255)
