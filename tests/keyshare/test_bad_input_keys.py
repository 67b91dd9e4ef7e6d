"""Malformed events with media keys, and the exact refusal that each gets: reason, and the place in it."""

import base64
from collections.abc import Callable
from typing import Any

import pytest

from mlsrtc import SharingSession
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.testing.identities import LabUser
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Now, PostedKey, ToDevice
from mlsrtc.wire.key_event import decode_key_event, decode_key_request, decode_room_key_event
from samples import spoilt, without

ROOM, SLOT = RoomId("!room:one.example"), SlotId("m.call#ROOM")
KEY = base64.b64encode(bytes(range(32))).decode()
BARE = KEY.rstrip("=")
NOW = Now(10.0, 1_764_400_000_000)

Case = tuple[str, Callable[[], object], str, str]


def element() -> dict[str, Any]:
    """As Element Call sends it."""
    return {
        "keys": {"index": 3, "key": KEY},
        "member": {"id": "@anna:one.example:DEV", "claimed_device_id": "DEV"},
        "room_id": ROOM,
        "session": {"application": "m.call", "call_id": "", "scope": "m.room"},
        "sent_ts": NOW.wall_ms,
    }


def msc4143() -> dict[str, Any]:
    """As MSC4143 has it."""
    return {"room_id": ROOM, "member_id": "abc", "media_key": {"index": 3, "key": BARE}, "format": 0}


def famedly() -> dict[str, Any]:
    """As the dart SDK sends it."""
    return {
        "keys": [{"index": 3, "key": KEY}],
        "call_id": "",
        "conf_id": "",
        "device_id": "DEV",
        "room_id": ROOM,
    }


def request() -> dict[str, Any]:
    """As the dart SDK asks."""
    return {"conf_id": "", "device_id": "DEV", "room_id": ROOM}


def room_event() -> dict[str, Any]:
    """As Element Call sent it until 2026."""
    return {"keys": [{"index": 3, "key": KEY}], "call_id": "", "device_id": "DEV", "sent_ts": NOW.wall_ms}


def _of(good: Callable[[], dict[str, Any]], decode: Callable[[Any], object]) -> Any:
    def spoil(*path: str, to: Any) -> Callable[[], object]:
        return lambda: decode(spoilt(good(), path, to))

    def lose(*path: str) -> Callable[[], object]:
        return lambda: decode(without(good(), *path))

    return spoil, lose


in_element, no_element = _of(element, lambda content: decode_key_event(names.KEYS_ELEMENT, content))
in_msc, no_msc = _of(msc4143, lambda content: decode_key_event(names.KEYS_MSC4143, content))
in_famedly, no_famedly = _of(famedly, lambda content: decode_key_event(names.KEYS_FAMEDLY, content))
in_request, no_request = _of(request, decode_key_request)
in_room, no_room = _of(room_event, lambda content: decode_room_key_event(ROOM, content))

PLACE = "content.keys.key"


def _text(size: int) -> str:
    return base64.b64encode(bytes(size)).decode()


FORMS: list[Case] = [
    ("Element: content is a list", lambda: decode_key_event(names.KEYS_ELEMENT, []), "wrong_type", "content"),  # type: ignore[arg-type]
    ("Element: no keys", no_element("keys"), "missing_field", "content.keys"),
    ("Element: keys are text", in_element("keys", to="key"), "wrong_type", "content.keys"),
    ("Element: an empty list of keys", in_element("keys", to=[]), "wrong_size", "content.keys"),
    (
        "Element: 17 keys",
        in_element("keys", to=[{"index": 0, "key": KEY}] * 17),
        "oversized",
        "content.keys",
    ),
    ("Element: a key in a list is text", in_element("keys", to=["key"]), "wrong_type", "content.keys[0]"),
    (
        "Element: the second key is broken",
        in_element("keys", to=[{"index": 0, "key": KEY}, {"index": 1}]),
        "missing_field",
        "content.keys[1].key",
    ),
    ("Element: no index", no_element("keys", "index"), "missing_field", "content.keys.index"),
    ("Element: index is text", in_element("keys", "index", to="3"), "wrong_type", "content.keys.index"),
    ("Element: index is true", in_element("keys", "index", to=True), "wrong_type", "content.keys.index"),
    ("Element: index is a float", in_element("keys", "index", to=3.0), "wrong_type", "content.keys.index"),
    ("Element: index is 256", in_element("keys", "index", to=256), "out_of_range", "content.keys.index"),
    ("Element: index is negative", in_element("keys", "index", to=-1), "out_of_range", "content.keys.index"),
    ("Element: no key", no_element("keys", "key"), "missing_field", PLACE),
    ("Element: key is null", in_element("keys", "key", to=None), "missing_field", PLACE),
    ("Element: key is a number", in_element("keys", "key", to=1), "wrong_type", PLACE),
    ("Element: key is empty", in_element("keys", "key", to=""), "wrong_size", PLACE),
    ("Element: key of 15 bytes", in_element("keys", "key", to=_text(15)), "wrong_size", PLACE),
    ("Element: key of 65 bytes", in_element("keys", "key", to=_text(65)), "wrong_size", PLACE),
    ("Element: key of 10 kB", in_element("keys", "key", to=_text(10_000)), "oversized", PLACE),
    ("Element: key in base64url", in_element("keys", "key", to="-_" * 16), "bad_base64", PLACE),
    ("Element: key with a line break", in_element("keys", "key", to=KEY[:20] + "\n" + KEY[20:]), "bad_base64", PLACE),
    ("Element: key with too much padding", in_element("keys", "key", to=BARE + "=="), "bad_base64", PLACE),
    ("Element: key is only padding", in_element("keys", "key", to="===="), "bad_base64", PLACE),
    ("Element: key with a lone surrogate", in_element("keys", "key", to="\ud800"), "bad_text", PLACE),
    ("Element: no member", no_element("member"), "missing_field", "content.member"),
    ("Element: member is text", in_element("member", to="x"), "wrong_type", "content.member"),
    (
        "Element: no claimed device",
        no_element("member", "claimed_device_id"),
        "missing_field",
        "content.member.claimed_device_id",
    ),
    (
        "Element: claimed device is a list",
        in_element("member", "claimed_device_id", to=["DEV"]),
        "wrong_type",
        "content.member.claimed_device_id",
    ),
    (
        "Element: claimed device with a control character",
        in_element("member", "claimed_device_id", to="DEV\x00"),
        "bad_device_id",
        "content.member.claimed_device_id",
    ),
    ("Element: member id is a number", in_element("member", "id", to=7), "wrong_type", "content.member.id"),
    ("Element: member id of 300 bytes", in_element("member", "id", to="x" * 300), "oversized", "content.member.id"),
    ("Element: no room", no_element("room_id"), "missing_field", "content.room_id"),
    ("Element: room is a user", in_element("room_id", to="@anna:one.example"), "bad_room_id", "content.room_id"),
    ("Element: session is a list", in_element("session", to=[]), "wrong_type", "content.session"),
    (
        "Element: session without application",
        no_element("session", "application"),
        "missing_field",
        "content.session.application",
    ),
    ("Element: session without call", no_element("session", "call_id"), "missing_field", "content.session.call_id"),
    (
        "Element: application without name",
        in_element("session", "application", to=""),
        "bad_slot_id",
        "content.session.call_id",
    ),
    ("Element: sent_ts is text", in_element("sent_ts", to="now"), "wrong_type", "content.sent_ts"),
    ("Element: sent_ts is negative", in_element("sent_ts", to=-1), "out_of_range", "content.sent_ts"),
    ("MSC4143: no room", no_msc("room_id"), "missing_field", "content.room_id"),
    ("MSC4143: no member", no_msc("member_id"), "missing_field", "content.member_id"),
    ("MSC4143: member is an object", in_msc("member_id", to={}), "wrong_type", "content.member_id"),
    ("MSC4143: no media_key", no_msc("media_key"), "missing_field", "content.media_key"),
    ("MSC4143: media_key is a list", in_msc("media_key", to=[]), "wrong_type", "content.media_key"),
    ("MSC4143: no index", no_msc("media_key", "index"), "missing_field", "content.media_key.index"),
    ("MSC4143: index is 256", in_msc("media_key", "index", to=256), "out_of_range", "content.media_key.index"),
    ("MSC4143: no key", no_msc("media_key", "key"), "missing_field", "content.media_key.key"),
    ("MSC4143: key of 8 bytes", in_msc("media_key", "key", to=_text(8)), "wrong_size", "content.media_key.key"),
    ("MSC4143: another format", in_msc("format", to=1), "unknown_version", "content.format"),
    ("MSC4143: format is text", in_msc("format", to="0"), "wrong_type", "content.format"),
    ("Famedly: keys are an object of objects", in_famedly("keys", to={"a": {}}), "missing_field", "content.keys.index"),
    ("Famedly: no keys", no_famedly("keys"), "missing_field", "content.keys"),
    ("Famedly: no device", no_famedly("device_id"), "missing_field", "content.device_id"),
    ("Famedly: no room", no_famedly("room_id"), "missing_field", "content.room_id"),
    ("Famedly: no call", no_famedly("call_id"), "missing_field", "content.call_id"),
    ("Famedly: call is a number", in_famedly("call_id", to=0), "wrong_type", "content.call_id"),
    ("Famedly: sent_ts is text", in_famedly("sent_ts", to="now"), "wrong_type", "content.sent_ts"),
    ("request: no call", no_request("conf_id"), "missing_field", "content.conf_id"),
    ("request: no device", no_request("device_id"), "missing_field", "content.device_id"),
    ("request: room without sigil", in_request("room_id", to="room"), "bad_room_id", "content.room_id"),
    ("room event: no device", no_room("device_id"), "missing_field", "content.device_id"),
    ("room event: no call", no_room("call_id"), "missing_field", "content.call_id"),
    ("room event: no key", in_room("keys", to=[]), "wrong_size", "content.keys"),
    ("room event: no keys", no_room("keys"), "missing_field", "content.keys"),
    ("room event: 17 keys", in_room("keys", to=[{"index": 0, "key": KEY}] * 17), "oversized", "content.keys"),
    (
        "room event: index is 256",
        in_room("keys", to=[{"index": 256, "key": KEY}]),
        "out_of_range",
        "content.keys[0].index",
    ),
    (
        "room event: key of 15 bytes",
        in_room("keys", to=[{"index": 0, "key": _text(15)}]),
        "wrong_size",
        "content.keys[0].key",
    ),
    ("room event: device is a number", in_room("device_id", to=5), "wrong_type", "content.device_id"),
    ("room event: call is a list", in_room("call_id", to=[]), "wrong_type", "content.call_id"),
    ("room event: sent_ts is text", in_room("sent_ts", to="now"), "wrong_type", "content.sent_ts"),
    ("another type", lambda: decode_key_event("m.room.message", element()), "unknown_type", "type"),
]


def session() -> SharingSession:
    """A session of a device that watches the room."""
    device = LabUser("@bert:two.example", bytes(32)).add_device("BERT")
    return SharingSession(device, ROOM, SLOT, now=NOW)


def received(
    type: str, content: Any, device: str | None = "DEV", key: bytes | None = bytes(32)
) -> Callable[[], object]:
    return lambda: session().receive(ToDevice(type, "@anna:one.example", content, device, key), NOW)


ENVELOPES: list[Case] = [
    ("Element: in the clear", received(names.KEYS_ELEMENT, element(), None, None), "not_encrypted", "type"),
    (
        "Element: without the key of its device",
        received(names.KEYS_ELEMENT, element(), "DEV", None),
        "not_encrypted",
        "type",
    ),
    ("MSC4143: in the clear", received(names.KEYS_MSC4143, msc4143(), None, None), "not_encrypted", "type"),
    ("Famedly: in the clear", received(names.KEYS_FAMEDLY, famedly(), None, None), "not_encrypted", "type"),
    ("request: in the clear", received(names.REQUEST_FAMEDLY, request(), None, None), "not_encrypted", "type"),
    (
        "Element: another device than it claims",
        received(names.KEYS_ELEMENT, element(), "OTHER"),
        "wrong_device",
        "content",
    ),
    (
        "Famedly: another device than it claims",
        received(names.KEYS_FAMEDLY, famedly(), "OTHER"),
        "wrong_device",
        "content",
    ),
    (
        "request: another device than it claims",
        received(names.REQUEST_FAMEDLY, request(), "OTHER"),
        "wrong_device",
        "content",
    ),
]


def posted(content: Any, *, encrypted: bool, device: str | None = None) -> Callable[[], object]:
    key = None if device is None else bytes(32)
    return lambda: session().receive(PostedKey("@anna:one.example", "$key", content, encrypted, device, key), NOW)


ENVELOPES += [
    ("room event: in the clear", posted(room_event(), encrypted=False), "not_encrypted", "type"),
    ("room event: by nobody's Megolm session", posted(room_event(), encrypted=True), "not_authenticated", "type"),
    (
        "room event: by the Megolm session of another device",
        posted(room_event(), encrypted=True, device="OTHER"),
        "wrong_device",
        "content",
    ),
    ("room event: content is empty", posted({}, encrypted=True, device="DEV"), "missing_field", "content.call_id"),
]

CASES = FORMS + ENVELOPES


def test_the_table_is_large_and_its_names_are_its_own() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 60


@pytest.mark.parametrize(("name", "receive", "reason", "where"), CASES, ids=[case[0] for case in CASES])
def test_bad_input(name: str, receive: Callable[[], object], reason: str, where: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        receive()
    assert (caught.value.reason, caught.value.where) == (reason, where)
    assert KEY not in str(caught.value)
    assert BARE not in repr(caught.value)


def test_the_unspoilt_samples_are_taken() -> None:
    for type, content in (
        (names.KEYS_ELEMENT, element()),
        (names.KEYS_ELEMENT, without(element(), "session")),
        (names.KEYS_MSC4143, msc4143()),
        (names.KEYS_MSC4143_UNSTABLE, without(msc4143(), "format")),
        (names.KEYS_FAMEDLY, famedly()),
        (names.REQUEST_FAMEDLY, request()),
    ):
        received(type, content)()
    posted(room_event(), encrypted=True, device="DEV")()
    assert decode_room_key_event(ROOM, room_event()).keys[0].index == 3
