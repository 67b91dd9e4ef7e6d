"""Media keys on the wire: what others send is read, and what we write is what they read."""

import json
from pathlib import Path

import pytest

from mlsrtc.identifiers import DeviceId, KeyIndex, RoomId, SlotId
from mlsrtc.mls import Secret
from mlsrtc.wire import names
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.key_event import (
    IndexedKey,
    KeyEvent,
    KeyFormat,
    KeyRequest,
    decode_key_event,
    decode_key_request,
    decode_room_key_event,
    encode_handed,
    encode_key_event,
    encode_key_request,
    encode_room_key_event,
)
from mlsrtc.wire.membership import RtcMembership, decode_membership

SAMPLES = Path(__file__).parent / "samples"
VALUE = bytes(range(32))


def event(format: KeyFormat) -> KeyEvent:
    key = IndexedKey(KeyIndex(7), Secret(VALUE))
    room, slot = RoomId("!room:one.test"), SlotId("m.call#ROOM")
    return KeyEvent(format, room, slot, DeviceId("DEV"), "@ada:one.test:DEV", (key,), 1_764_400_000_000)


@pytest.mark.parametrize("format", KeyFormat)
def test_what_we_write_we_read(format: KeyFormat) -> None:
    before = event(format)
    after = decode_key_event(format.value, json.loads(json.dumps(encode_key_event(before))))
    assert after.format is format
    assert (after.room_id, [key.index for key in after.keys]) == (before.room_id, [7])
    assert after.keys[0].secret.expose() == VALUE
    assert after.slot_id in (None, before.slot_id)
    assert after.device_id in (None, before.device_id)
    assert after.rtc_member_id in (None, before.rtc_member_id)


def test_as_a_room_event_too() -> None:
    before = event(KeyFormat.ELEMENT)
    after = decode_room_key_event(before.room_id, encode_room_key_event(before))
    assert (after.device_id, after.slot_id, after.sent_ts) == (before.device_id, before.slot_id, before.sent_ts)
    assert after.keys[0].secret.expose() == VALUE


def test_a_room_event_of_matrix_js_sdk_is_read() -> None:
    """As its version 37.13.0 wrote it, the last one that did."""
    sample = json.loads((SAMPLES / "js_sdk_room_key.json").read_text())
    assert sample["type"] == names.KEYS_ELEMENT
    said = decode_room_key_event(RoomId(sample["room_id"]), sample["content"])
    assert (said.slot_id, said.device_id, said.sent_ts) == ("m.call#ROOM", "ADADEVICE", 1_764_400_000_000)
    assert [(key.index, key.secret.expose()) for key in said.keys] == [(0, bytes(range(16)))]


def test_and_a_request() -> None:
    request = KeyRequest(RoomId("!room:one.test"), SlotId("m.call#standup"), DeviceId("DEV"))
    assert decode_key_request(encode_key_request(request)) == request


@pytest.mark.parametrize("form", ["state", "sticky"])
def test_what_matrix_js_sdk_sent_is_read(form: str) -> None:
    payload = json.loads((SAMPLES / f"js_sdk_{form}_key.json").read_text())
    said = decode_key_event(payload["type"], payload["content"])
    assert said.device_id == "ADADEVICE"
    assert said.slot_id == "m.call#ROOM"
    assert [(key.index, len(key.secret)) for key in said.keys] == [(0, 16)]


@pytest.mark.parametrize("form", ["state", "sticky"])
def test_its_membership_shows_the_same_member(form: str) -> None:
    sample = json.loads((SAMPLES / f"js_sdk_{form}_membership.json").read_text())
    payload = json.loads((SAMPLES / f"js_sdk_{form}_key.json").read_text())
    membership = decode_membership(
        RoomEvent(sample["type"], sample["sender"], "$event", 1, sample["content"], sample.get("state_key"))
    )
    assert isinstance(membership, RtcMembership)
    assert membership.rtc_member_id == payload["content"]["member"]["id"]
    assert membership.key_format is KeyFormat.ELEMENT


@pytest.mark.parametrize("form", ["state", "sticky"])
def test_ours_has_the_fields_of_theirs(form: str) -> None:
    theirs = json.loads((SAMPLES / f"js_sdk_{form}_key.json").read_text())["content"]
    ours = encode_key_event(event(KeyFormat.ELEMENT))
    assert shape(ours) == shape(theirs)


def test_what_the_dart_sdk_writes_is_read_and_ours_has_its_fields() -> None:
    """As the SDK's source has it; it was not recorded, for want of Dart."""
    payload = json.loads((SAMPLES / "dart_sdk_key.json").read_text())
    said = decode_key_event(payload["type"], payload["content"])
    assert (said.format, said.room_id, said.slot_id) == (KeyFormat.FAMEDLY, "!room:one.test", "m.call#ROOM")
    assert (said.device_id, said.rtc_member_id, said.sent_ts) == ("ADAPHONE", None, None)
    assert [(key.index, key.secret.expose()) for key in said.keys] == [(3, VALUE)]
    assert encode_key_event(said) == payload["content"]
    asked = json.loads((SAMPLES / "dart_sdk_key_request.json").read_text())
    request = decode_key_request(asked["content"])
    assert request == KeyRequest(RoomId("!room:one.test"), SlotId("m.call#ROOM"), DeviceId("ADAPHONE"))
    assert encode_handed(request) == (asked["type"], asked["content"])


def shape(value: object) -> object:
    """The names of fields, and the types of what stands in them."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    return type(value)


def test_a_device_whose_membership_claims_it_as_the_proposal_says_takes_the_keys_of_the_proposal() -> None:
    content = {
        "slot_id": "m.call#ROOM",
        "application": {"type": "m.call"},
        "member": {"id": "abc", "claimed_device_id": "DEV"},
        "rtc_transports": [],
        "sticky_key": "abc",
    }
    found = decode_membership(RoomEvent(names.STICKY_MEMBER_STABLE, "@ada:one.test", "$event", 1, content))
    assert isinstance(found, RtcMembership)
    assert (found.device_id, found.key_format) == ("DEV", KeyFormat.MSC4143)


def test_no_key_shows_in_a_repr() -> None:
    for value in (event(KeyFormat.ELEMENT), event(KeyFormat.MSC4143).keys[0]):
        assert VALUE.hex() not in repr(value)
        assert repr(VALUE)[2:-1] not in repr(value)
