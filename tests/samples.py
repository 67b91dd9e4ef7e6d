"""One good event of every kind, as JSON, and the ways to spoil one."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from mlsrtc import trust
from mlsrtc.evidence import Refusal
from mlsrtc.identifiers import EventId
from mlsrtc.wire import names
from mlsrtc.wire.attachment import EncryptedFile, encrypt_attachment, with_url
from mlsrtc.wire.block import encode_block
from mlsrtc.wire.commit import CommitEvent, encode_commit, encode_word
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.to_device import Need, encode_need
from people import ANNA, NOW, ROOM, SLOT, epoch, fixed_random

STATE_KEY = f"_{ANNA.user}_{ANNA.device}_m.call"
ROOT, CHILD = epoch("root"), epoch("child")
FILE: EncryptedFile = with_url(encrypt_attachment(b"some bytes", fixed_random)[0], "mxc://one.example/abc")


def state_join() -> dict[str, Any]:
    """As Element Call writes it, and our block."""
    return {
        "application": "m.call",
        "call_id": "",
        "scope": "m.room",
        "device_id": ANNA.device,
        "membershipID": f"{ANNA.user}:{ANNA.device}",
        "created_ts": NOW,
        "expires": 14_400_000,
        "m.call.intent": "video",
        "focus_active": {"type": "livekit", "focus_selection": "multi_sfu"},
        "foci_preferred": [
            {"type": "livekit", "livekit_service_url": "https://focus.one.example", "livekit_alias": ROOM}
        ],
        names.BLOCK: encode_block(ANNA.join_block(head=CHILD)),
    }


def state_leave() -> dict[str, Any]:
    return {names.BLOCK: encode_block(ANNA.left_block())}


def sticky_join() -> dict[str, Any]:
    return {
        "slot_id": SLOT,
        "application": {"type": "m.call", "m.call.intent": "audio"},
        "member": {"user_id": ANNA.user, "device_id": ANNA.device, "id": ANNA.m},
        "transports": {
            "published": [{"type": "livekit", "livekit_service_url": "https://focus.one.example"}],
            "can_subscribe": ["livekit"],
        },
        "versions": [],
        "sticky_key": ANNA.m,
        "msc4354_sticky_key": ANNA.m,
        names.BLOCK: encode_block(ANNA.join_block()),
    }


def sticky_leave() -> dict[str, Any]:
    return {"msc4354_sticky_key": ANNA.m, names.BLOCK: encode_block(ANNA.left_block())}


def famedly() -> dict[str, Any]:
    """As the dart SDK writes it, for two devices."""
    focus = {"type": "livekit", "livekit_service_url": "https://focus.one.example", "livekit_alias": ROOM}
    entry = {
        "call_id": "",
        "application": "m.call",
        "scope": "m.room",
        "foci_active": [focus],
        "event_id": None,
        "expires_ts": NOW + 360_000,
        "expires": 7_200_000,
        "membershipID": "c2Vzc2lvbg==",
    }
    devices = ANNA.device, "LAPTOP"
    return {"memberships": [copy.deepcopy({**entry, "device_id": device}) for device in devices]}


def root_commit() -> dict[str, Any]:
    return encode_commit(
        CommitEvent(
            slot_id=SLOT,
            root=ROOT,
            parent=None,
            id=ROOT,
            epoch=1,
            n=1,
            commit=b"commit",
            group_info=b"group info",
            left={},
            group_info_0=b"group info of epoch 0",
            welcome=b"welcome",
            tree=b"tree",
        )
    )


def child_commit() -> dict[str, Any]:
    return encode_commit(
        CommitEvent(
            slot_id=SLOT,
            root=ROOT,
            parent=ROOT,
            id=CHILD,
            epoch=2,
            n=3,
            commit=b"commit",
            group_info=b"group info",
            left={ANNA.m: ANNA.left_block().signature},
            welcome=FILE,
            tree=FILE,
            relates_to=EventId("$root"),
        )
    )


def word() -> dict[str, Any]:
    return encode_word(
        trust.sign_word(
            ROOM,
            SLOT,
            ANNA.leaf,
            ANNA.signer,
            root=ROOT,
            root_event=EventId("$root"),
            n=2,
            id=ROOT,
            refuse=Refusal(CHILD, "unopened"),
        )
    )


def need() -> dict[str, Any]:
    return encode_need(Need(ROOM, SLOT, ANNA.m, CHILD, tree=True))


def have() -> dict[str, Any]:
    return {
        "room_id": ROOM,
        "slot_id": SLOT,
        "id": encode_base64(CHILD),
        "events": [
            {
                "type": names.COMMIT,
                "sender": ANNA.user,
                "event_id": "$commit",
                "origin_server_ts": NOW,
                "content": root_commit(),
            }
        ],
        "tree": encode_base64(b"tree"),
    }


def event(
    content: Any,
    type: str = names.STATE_MEMBER,
    *,
    sender: str = ANNA.user,
    state_key: str | None = None,
    sticky_ms: int | None = None,
    event_id: str = "$event",
    ts: int = NOW,
) -> RoomEvent:
    if state_key is None and type == names.STATE_MEMBER:
        state_key = STATE_KEY
    return RoomEvent(type, sender, event_id, ts, content, state_key, sticky_ms=sticky_ms)


JUNK: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**53, 2**64, 1.0, float("nan"), "", "x", "\ud800", "é" * 200, "A" * 70000,
    "AA==", [], [None], ["x"] * 5000, {}, {"x": "y"}, {"\ud800": "\ud800"},
    {"x": {"x": {"x": {"x": [[[[{}]]]]}}}},
)  # fmt: skip


def paths(value: Any, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place in a JSON value but its root."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in inside:
        yield (*at, name)
        yield from paths(item, (*at, name))


def spoilt(value: Any, path: tuple[str | int, ...], junk: Any) -> Any:
    """A copy with `junk` at the path."""
    changed = copy.deepcopy(value)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    inner[path[-1]] = junk
    return changed


def without(value: Any, *path: str) -> Any:
    """A copy without the field at the path."""
    changed = copy.deepcopy(value)
    inner = changed
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return changed


def as_json(value: Any) -> Any:
    """Through JSON and back, as it would travel."""
    return json.loads(json.dumps(value))
