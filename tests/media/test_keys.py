"""Media keys: what they are derived from, and under which names they are handed over."""

import hashlib
import json
from base64 import b64encode

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mlsrtc import mls
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.media.keys import derive, safety_code
from mlsrtc.wire import encoding

ROOM, SLOT = RoomId("!room:one.test"), SlotId("m.call#ROOM")
EPOCH = EpochId(bytes(range(32)))
LEAVES = {
    LeafIndex(0): Leaf(MemberId("M" * 43), UserId("@anna:one.test"), DeviceId("A"), bytes(32), bytes(32)),
    LeafIndex(2): Leaf(MemberId("N" * 43), UserId("@ben:one.test"), DeviceId("B"), bytes(32), bytes(32)),
}


def test_each_senders_key_follows_from_the_exporter_as_the_protocol_says() -> None:
    group = mls.Client(b"anna", mls.SigningKey.generate()).create_group(b"group")
    keys = derive(group, EPOCH, ROOM, SLOT, LEAVES)
    context = encoding.lp(ROOM) + encoding.lp(SLOT)
    secret = group.export("mlsrtc media 1", context, 32).expose()
    for place, leaf in LEAVES.items():
        info = b"".join(map(encoding.lp, ("sender", leaf.user_id, leaf.device_id, leaf.member_id)))
        info += place.to_bytes(8, "big") + group.epoch.to_bytes(8, "big")
        key = keys.keys[leaf.member_id]
        assert key.secret.expose() == HKDFExpand(SHA256(), 32, info).derive(secret)
        assert (key.leaf, key.index) == (place, 1 + EPOCH[0] % 16)
    assert len({key.secret.expose() for key in keys.keys.values()}) == 2


def test_another_room_or_slot_has_other_keys_and_another_code() -> None:
    group = mls.Client(b"anna", mls.SigningKey.generate()).create_group(b"group")
    places = [(ROOM, SLOT), (RoomId("!other:one.test"), SLOT), (ROOM, SlotId("m.call#other"))]
    codes = {safety_code(group, room, slot) for room, slot in places}
    first = {derive(group, EPOCH, *place, LEAVES).keys[MemberId("M" * 43)].secret.expose() for place in places}
    assert len(codes) == len(first) == 3
    assert all(len(code) == 30 and code.isdecimal() for code in codes)


def test_livekit_identities_are_those_of_element_call() -> None:
    group = mls.Client(b"anna", mls.SigningKey.generate()).create_group(b"group")
    key = derive(group, EPOCH, ROOM, SLOT, LEAVES).keys[MemberId("N" * 43)]
    assert key.livekit_identity == "@ben:one.test:B"
    hashed = hashlib.sha256(json.dumps(["@ben:one.test", "B", "N" * 43], separators=(",", ":")).encode()).digest()
    assert key.hashed_livekit_identity == b64encode(hashed).decode().rstrip("=")


def test_nothing_of_a_key_stands_in_its_repr() -> None:
    group = mls.Client(b"anna", mls.SigningKey.generate()).create_group(b"group")
    keys = derive(group, EPOCH, ROOM, SLOT, LEAVES)
    for key in keys.keys.values():
        value = key.secret.expose()
        assert value.hex() not in repr(keys)
        assert repr(value)[2:-1] not in repr(keys)
    keys.wipe()
