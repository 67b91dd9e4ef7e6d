"""Media keys that one device hands to another (`m.per_member`), in the three forms that are in use. JSON <-> values.

*Element*: what Element Call sends, to-device and, until 2026, as a room event. *MSC4143*: that of the proposal.
*Famedly*: the dart SDK's, which also has an event that asks for a key. A value says what is claimed: who sent it only
the Olm or Megolm envelope says, and whoever reads one of these compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from mlsrtc.identifiers import DeviceId, KeyIndex, RoomId, SlotId
from mlsrtc.mls import Secret
from mlsrtc.wire import names
from mlsrtc.wire.encoding import decode_base64, encode_base64
from mlsrtc.wire.fields import Field, refuse
from mlsrtc.wire.slots import slot_of, slot_parts

APPLICATION = "m.call"
INDEX_LIMIT = 255  # MSC4143; the rings of Element Call have 256 places
KEYS_LIMIT = 16  # in one event; matrix-js-sdk sends one, the dart SDK those of its ring of 16
KEY_BYTES_LEAST = 16  # matrix-js-sdk sends 16, MSC4195 asks for 32
KEY_BYTES_MOST = 64
KEY_TEXT_LIMIT = 2 * KEY_BYTES_MOST


class KeyFormat(Enum):
    """How a key travels: the type of the event."""

    ELEMENT = names.KEYS_ELEMENT
    MSC4143 = names.KEYS_MSC4143_UNSTABLE
    FAMEDLY = names.KEYS_FAMEDLY


@dataclass(frozen=True, slots=True)
class IndexedKey:
    """A key and its place in the sender's ring: 0 to 255. The key has 16 to 64 bytes; ours have 32."""

    index: KeyIndex
    secret: Secret


@dataclass(frozen=True, slots=True)
class KeyEvent:
    """Keys that a device says it sends media under.

    slot_id: None in the form of MSC4143, which names the member alone. device_id: as claimed; None likewise.
    rtc_member_id: `membershipID` or `member.id` of the sender's membership; None where the form does not tell it.
    sent_ts: milliseconds since the epoch, as claimed, or None.
    """

    format: KeyFormat
    room_id: RoomId
    slot_id: SlotId | None
    device_id: DeviceId | None
    rtc_member_id: str | None
    keys: tuple[IndexedKey, ...]
    sent_ts: int | None = None


@dataclass(frozen=True, slots=True)
class KeyRequest:
    """A device asks for the key of whoever receives this (Famedly)."""

    room_id: RoomId
    slot_id: SlotId
    device_id: DeviceId


def decode_key_event(type: str, content: Mapping[str, Any]) -> KeyEvent:
    """What a to-device event says. Raises RemoteProtocolError with the reasons of `Field`, and unknown_type."""
    root = Field(content)
    match type:
        case names.KEYS_ELEMENT:
            return _element(root)
        case names.KEYS_MSC4143 | names.KEYS_MSC4143_UNSTABLE:
            return _msc4143(root)
        case names.KEYS_FAMEDLY:
            return _famedly(root)
    refuse("unknown_type", "type", "no event with media keys")


def decode_room_key_event(room_id: RoomId, content: Mapping[str, Any]) -> KeyEvent:
    """What a room event of the type `names.KEYS_ELEMENT` says: Element Call sent its keys so until 2026.

    Raises RemoteProtocolError with the reasons of `Field`.
    """
    root = Field(content)
    return KeyEvent(
        KeyFormat.ELEMENT,
        room_id,
        slot_of(APPLICATION, root["call_id"]),
        root["device_id"].device_id(),
        None,
        _keys(root["keys"]),
        root["sent_ts"].optional(Field.integer),
    )


def encode_handed(event: KeyEvent | KeyRequest) -> tuple[str, dict[str, Any]]:
    """Type and content of what goes to another device. As `encode_key_event`."""
    if isinstance(event, KeyRequest):
        return names.REQUEST_FAMEDLY, encode_key_request(event)
    return event.format.value, encode_key_event(event)


def encode_key_event(event: KeyEvent) -> dict[str, Any]:
    """The content of the to-device event. It holds keys in the clear: it is to be encrypted at once and kept nowhere.

    The form of MSC4143 and Element's hold one key, the last of `event.keys`.
    """
    key = event.keys[-1]
    match event.format:
        case KeyFormat.ELEMENT:
            return {
                "keys": {"index": key.index, "key": _padded(key.secret)},
                "member": {"id": event.rtc_member_id, "claimed_device_id": event.device_id},
                "room_id": event.room_id,
                "session": {"application": APPLICATION, "call_id": _call_id(event), "scope": "m.room"},
                "sent_ts": event.sent_ts or 0,
            }
        case KeyFormat.MSC4143:
            return {
                "room_id": event.room_id,
                "member_id": event.rtc_member_id,
                "media_key": {"index": key.index, "key": encode_base64(key.secret.expose())},
                "format": 0,
            }
        case KeyFormat.FAMEDLY:
            content: dict[str, Any] = {
                "keys": [{"index": item.index, "key": _padded(item.secret)} for item in event.keys],
                "call_id": _call_id(event),
                "conf_id": _call_id(event),
                "device_id": event.device_id,
                "room_id": event.room_id,
            }
            # The dart SDK neither writes nor reads it: among ourselves it tells which of two keys is the newer one.
            return content if event.sent_ts is None else content | {"sent_ts": event.sent_ts}


def encode_room_key_event(event: KeyEvent) -> dict[str, Any]:
    """The content of the room event. As `encode_key_event`: only for a transport that encrypts it."""
    return {
        "keys": [{"index": key.index, "key": _padded(key.secret)} for key in event.keys],
        "call_id": _call_id(event),
        "device_id": event.device_id,
        "sent_ts": event.sent_ts or 0,
    }


def decode_key_request(content: Mapping[str, Any]) -> KeyRequest:
    """Raises RemoteProtocolError with the reasons of `Field`."""
    root = Field(content)
    return KeyRequest(root["room_id"].room_id(), slot_of(APPLICATION, root["conf_id"]), root["device_id"].device_id())


def encode_key_request(request: KeyRequest) -> dict[str, Any]:
    """The content of `names.REQUEST_FAMEDLY`."""
    _, call_id = slot_parts(request.slot_id)
    return {"conf_id": call_id, "device_id": request.device_id, "room_id": request.room_id}


# -- forms ---------------------------------------------------------------------------------------------------


def _element(root: Field) -> KeyEvent:
    session = root["session"]
    slot_id = None
    if not session.absent:
        slot_id = slot_of(session["application"].text(), session["call_id"])
    return KeyEvent(
        KeyFormat.ELEMENT,
        root["room_id"].room_id(),
        slot_id,
        root["member"]["claimed_device_id"].device_id(),
        root["member"]["id"].optional(Field.text),
        _keys(root["keys"]),
        root["sent_ts"].optional(Field.integer),
    )


def _msc4143(root: Field) -> KeyEvent:
    format = root["format"].optional(Field.integer)
    if format not in (None, 0):
        refuse("unknown_version", "content.format", "another way to write a key")
    return KeyEvent(
        KeyFormat.MSC4143,
        root["room_id"].room_id(),
        None,
        None,
        root["member_id"].text(),
        (_key(root["media_key"]),),
    )


def _famedly(root: Field) -> KeyEvent:
    return KeyEvent(
        KeyFormat.FAMEDLY,
        root["room_id"].room_id(),
        slot_of(APPLICATION, root["call_id"]),
        root["device_id"].device_id(),
        None,
        _keys(root["keys"]),
        root["sent_ts"].optional(Field.integer),
    )


def _keys(field: Field) -> tuple[IndexedKey, ...]:
    """One key, or a list of them: matrix-js-sdk wrote a list before it wrote one."""
    if field.is_object:
        return (_key(field),)
    keys = tuple(_key(item) for item in field.list(KEYS_LIMIT))
    if not keys:
        refuse("wrong_size", field.where, "no key")
    return keys


def _key(field: Field) -> IndexedKey:
    index = KeyIndex(field["index"].integer(high=INDEX_LIMIT))
    place = field["key"]
    text = place.text(KEY_TEXT_LIMIT)
    # Padded or not: Element writes it, MSC4143 does not, and what a base64 text says is the same.
    bare = text.rstrip("=")
    padded = len(text) % 4 == 0 and len(text) - len(bare) <= 2
    value = decode_base64(bare if padded else text, where=place.where)
    if not KEY_BYTES_LEAST <= len(value) <= KEY_BYTES_MOST:
        refuse("wrong_size", place.where, f"{len(value)} bytes, not {KEY_BYTES_LEAST} to {KEY_BYTES_MOST}")
    return IndexedKey(index, Secret(value))


def _call_id(event: KeyEvent) -> str:
    return "" if event.slot_id is None else slot_parts(event.slot_id)[1]


def _padded(secret: Secret) -> str:
    text = encode_base64(secret.expose())
    return text + "=" * (-len(text) % 4)
