"""``dev.mlsrtc.need`` and ``dev.mlsrtc.have``: asking another member for events or a tree, and the answer.
JSON <-> values.

Both go in the clear: what they carry checks itself (docs/protocol.md, "Need and have"). An answer holds
events as the answering member knows them, reduced to what this package reads; nothing in it is believed for
who sent it.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import EpochId, MemberId, RoomId, SlotId
from mlsrtc.wire import names
from mlsrtc.wire.attachment import EncryptedFile, RandomBytes, decode_file, encode_file, encrypt_attachment
from mlsrtc.wire.block import encode_block
from mlsrtc.wire.commit import decode_commit, decode_word, encode_commit, encode_word
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.fields import Field, refuse
from mlsrtc.wire.fitting import Fitted, size_of
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import RtcErased, RtcEvent, RtcRoll, RtcSealed, decode_membership, encode_membership

EVENTS_LIMIT = 1000
TREE_LIMIT = 4 * 1024 * 1024
EVENT_TYPES = frozenset({names.STATE_MEMBER, *names.STICKY_MEMBER_TYPES, names.ENCRYPTED, names.COMMIT, names.WORD})


@dataclass(frozen=True, slots=True)
class Need:
    """Asks for the events of the head path down to `id` (None: to the head), or for the tree of `id`."""

    room_id: RoomId
    slot_id: SlotId
    member_id: MemberId  # who asks
    id: EpochId | None
    tree: bool = False


@dataclass(frozen=True, slots=True)
class Have:
    """An answer. `file`: the answer proper is in the media repository (`decode_have_file`) and nothing else
    is here.
    """

    room_id: RoomId
    slot_id: SlotId
    id: EpochId | None
    events: tuple[RoomEvent, ...] = ()
    tree: bytes | None = None
    file: EncryptedFile | None = None


def decode_need(content: Mapping[str, Any]) -> Need:
    """Raises RemoteProtocolError with the reasons of `Field`, and missing_field for a tree of no id."""
    field = Field(content)
    id = field["id"].optional(Field.epoch_id)
    tree = bool(field["tree"].optional(Field.boolean))
    if tree and id is None:
        refuse("missing_field", "content.id")
    return Need(field["room_id"].room_id(), field["slot_id"].slot_id(), field["member_id"].member_id(), id, tree)


def encode_need(need: Need) -> dict[str, Any]:
    """The content of the to-device event."""
    content: dict[str, Any] = {
        "room_id": need.room_id,
        "slot_id": need.slot_id,
        "member_id": need.member_id,
        "id": None if need.id is None else encode_base64(need.id),
    }
    return content | {"tree": True} if need.tree else content


def decode_have(content: Mapping[str, Any]) -> Have:
    """Raises RemoteProtocolError with the reasons of `Field` and `decode_file`, and ambiguous, unknown_type,
    wrong_type.

    The contents of the events are not looked at: each is decoded as if it had come from the room.
    """
    field = Field(content)
    file = field["file"].optional(decode_file)
    if file is not None and ("events" in field or "tree" in field):
        refuse("ambiguous", "content.file", "both in the event and in a file")
    room_id, slot_id = field["room_id"].room_id(), field["slot_id"].slot_id()
    id = field["id"].optional(Field.epoch_id)
    return Have(room_id, slot_id, id, *_answer(field), file)


def decode_have_file(have: Have, plaintext: bytes) -> Have:
    """The answer proper, from the decrypted file. Raises as `decode_have`, and bad_json."""
    try:
        value = json.loads(plaintext)
    except (ValueError, RecursionError):  # ValueError includes bad JSON and bad UTF-8
        raise RemoteProtocolError("bad_json", where="file") from None
    return Have(have.room_id, have.slot_id, have.id, *_answer(Field(value, "file")))


def encode_have(have: Have, *, limit: int, random_bytes: RandomBytes) -> Fitted:
    """The content, with the answer proper in a file if it would be more than `limit` bytes.

    Events must have been decoded before: an event that does not decode raises RemoteProtocolError.
    """
    base: dict[str, Any] = {
        "room_id": have.room_id,
        "slot_id": have.slot_id,
        "id": None if have.id is None else encode_base64(have.id),
    }
    if have.file is not None:
        return Fitted(base | {"file": encode_file(have.file)}, {})
    answer: dict[str, Any] = {"events": [_event_content(event) for event in have.events]}
    if have.tree is not None:
        answer["tree"] = encode_base64(have.tree)
    if size_of(base | answer) <= limit:
        return Fitted(base | answer, {})
    file, ciphertext = encrypt_attachment(json.dumps(answer, separators=(",", ":")).encode(), random_bytes)
    return Fitted(base | {"file": encode_file(file)}, {"file": ciphertext})


def reduced(event: RoomEvent) -> dict[str, Any]:
    """The content of an event with only the fields that this package reads. Raises RemoteProtocolError as its
    decoder.
    """
    if event.type == names.COMMIT:
        return encode_commit(decode_commit(event.content))
    if event.type == names.WORD:
        return encode_word(decode_word(event.content))
    return reduced_membership(decode_membership(event))


def reduced_membership(membership: RtcEvent | None) -> dict[str, Any]:
    """`reduced` of a membership that was decoded."""
    if isinstance(membership, RtcSealed):
        return {names.BLOCK: encode_block(membership.block)}
    if membership is None or isinstance(membership, RtcErased | RtcRoll):
        raise LocalProtocolError("neither a join nor a leave: there is nothing to tell")
    return encode_membership(membership)


def _answer(field: Field) -> tuple[tuple[RoomEvent, ...], bytes | None]:
    items = [] if field["events"].absent else field["events"].list(EVENTS_LIMIT)
    return tuple(map(_event, items)), field["tree"].optional(lambda tree: tree.base64(limit=TREE_LIMIT))


def _event(field: Field) -> RoomEvent:
    type = field["type"].text()
    if type not in EVENT_TYPES:
        refuse("unknown_type", f"{field.where}.type")
    return RoomEvent(
        type=type,
        sender=field["sender"].user_id(),
        event_id=field["event_id"].text(),
        origin_server_ts=field["origin_server_ts"].integer(),
        content=field["content"].object(),
        state_key=field["state_key"].optional(lambda key: key.text(1024)),
    )


def _event_content(event: RoomEvent) -> dict[str, Any]:
    content = {
        "type": event.type,
        "sender": event.sender,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "content": reduced(event),
    }
    return content if event.state_key is None else content | {"state_key": event.state_key}
