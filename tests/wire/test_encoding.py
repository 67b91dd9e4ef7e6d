"""The encodings, against vectors that a second hand wrote, and as properties."""

import hashlib
import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire import encoding
from mlsrtc.wire.binding import EXTENSION_TYPE, bind, decode_binding, verify_binding
from mlsrtc.wire.commit_data import CommitData, decode_commit_data
from mlsrtc.wire.encoding import Identity, decode_base64, decode_base64url, decode_identity

VECTORS = Path(__file__).parent.parent / "vectors"
V: dict[str, Any] = json.loads((VECTORS / "encodings.json").read_text())
GIVEN: dict[str, Any] = V["inputs"]
ROOM, SLOT, USER, DEVICE = (
    RoomId(GIVEN["room"]),
    SlotId(GIVEN["slot"]),
    UserId(GIVEN["user"]),
    DeviceId(GIVEN["device"]),
)
DEVICE_KEY, LEAF_KEY = bytes.fromhex(GIVEN["device_key"]), bytes.fromhex(GIVEN["leaf_key"])
M = MemberId(V["member_id"])
EPOCH = EpochId(bytes.fromhex(V["epoch_id"]))
REFUSED = EpochId(bytes.fromhex(GIVEN["refused"]))
IDENTITY = Identity(USER, DEVICE, M)
DEVICE_SIGNER = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(GIVEN["device_seed"]))


def sign_text(text: str) -> bytes:
    return DEVICE_SIGNER.sign(text.encode("ascii"))


def test_the_file_is_what_the_generator_writes() -> None:
    generated = runpy.run_path(str(VECTORS / "generate_encodings.py"))["vectors"]()
    assert generated == V


def test_lp_and_u64() -> None:
    for case in V["lp"]:
        assert encoding.lp(case["text"]).hex() == case["bytes"]
    for case in V["u64"]:
        assert encoding.u64(case["value"]).hex() == case["bytes"]


def test_a_tuple_of_every_kind_of_item() -> None:
    assert encoding.signing_tuple("label", "text", b"\x01", 5, None, ["one", "two"]).hex() == V["tuple"]


def test_base64() -> None:
    for case in V["base64"]:
        value = bytes.fromhex(case["bytes"])
        assert encoding.encode_base64(value) == case["standard"]
        assert encoding.encode_base64url(value) == case["url"]
        assert decode_base64(case["standard"]) == decode_base64url(case["url"]) == value


@pytest.mark.parametrize("text", V["base64_refused"])
def test_base64_that_is_not_the_one_form_is_refused(text: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_base64(text, where="field")
    assert (caught.value.reason, caught.value.where) == ("bad_base64", "field")


@given(st.text())
def test_base64_is_either_refused_or_the_form_that_would_be_written(text: str) -> None:
    for decode, encode in (
        (decode_base64, encoding.encode_base64),
        (decode_base64url, encoding.encode_base64url),
    ):
        try:
            value = decode(text)
        except RemoteProtocolError:
            continue
        assert encode(value) == text


def test_names() -> None:
    member = encoding.member_id(ROOM, SLOT, USER, DEVICE, device_key=DEVICE_KEY, leaf_key=LEAF_KEY)
    assert member == M
    context, tag = bytes.fromhex(GIVEN["group_context"]), bytes.fromhex(GIVEN["confirmation_tag"])
    assert encoding.epoch_id(context, tag) == EPOCH
    assert encoding.group_id(ROOM, SLOT, M).hex() == V["group_id"]
    assert IDENTITY.encode().hex() == V["identity"]
    assert decode_identity(bytes.fromhex(V["identity"])) == IDENTITY


def test_order_and_rank() -> None:
    assert encoding.order_hash(None, USER).hex() == V["order"]["root"]
    assert encoding.order_hash(EPOCH, USER).hex() == V["order"]["child"]
    assert encoding.rank_hash(None, M).hex() == V["rank"]["root"]
    assert encoding.rank_hash(EPOCH, M).hex() == V["rank"]["child"]


def test_media() -> None:
    media = V["media"]
    assert encoding.export_context(ROOM, SLOT).hex() == media["export_context"]
    info = encoding.sender_info(encoding.Identity(USER, DEVICE, M).encode(), LeafIndex(media["leaf"]), media["epoch"])
    assert info.hex() == media["sender_info"]
    for case in V["safety_code"]:
        assert encoding.safety_code(bytes.fromhex(case["exported"])) == case["code"]
    for case in V["key_index"]:
        assert encoding.key_index(case["epoch"], EpochId(bytes.fromhex(case["id"]))) == case["index"]


@given(st.integers(1, 2**40), st.lists(st.binary(min_size=32, max_size=32), min_size=14, max_size=14))
def test_fourteen_epochs_in_a_row_have_fourteen_key_indexes(first: int, ids: list[bytes]) -> None:
    indexes = {encoding.key_index(first + i, EpochId(id)) for i, id in enumerate(ids)}
    assert len(indexes) == 14
    assert all(1 <= index <= 255 for index in indexes)


def test_signed_tuples() -> None:
    key_package = hashlib.sha256(bytes.fromhex(GIVEN["key_package"])).digest()
    for case, head, replaces in (
        (V["join"], EPOCH, [GIVEN["other_member_id"]]),
        (V["join_without_head_or_replaces"], None, []),
    ):
        items: tuple[encoding.Item, ...] = (
            ROOM, SLOT, USER, DEVICE, M, LEAF_KEY, key_package, GIVEN["from"], GIVEN["until"], head, replaces
        )  # fmt: skip
        assert encoding.signing_tuple(encoding.JOIN_LABEL, *items).hex() == case["tuple"]
        assert encoding.signing_text(encoding.JOIN_LABEL, *items) == case["text"]
    assert encoding.signing_tuple(encoding.LEFT_LABEL, ROOM, SLOT, M).hex() == V["left"]["tuple"]
    for case, refused, why in (
        (V["word"], None, None),
        (V["word_that_refuses"], REFUSED, V["word_that_refuses"]["why"]),
    ):
        word = encoding.signing_tuple(encoding.WORD_LABEL, ROOM, SLOT, EPOCH, M, case["n"], EPOCH, refused, why)
        assert word.hex() == case["tuple"]


def test_binding() -> None:
    binding = bind(ROOM, SLOT, IDENTITY, device_key=DEVICE_KEY, leaf_key=LEAF_KEY, sign=sign_text)
    assert V["binding"]["extension_type"] == EXTENSION_TYPE
    assert binding.encode().hex() == V["binding"]["extension"]
    assert decode_binding(binding.encode()) == binding
    verify_binding(ROOM, SLOT, IDENTITY, LEAF_KEY, binding)
    with pytest.raises(LocalProtocolError):
        bind(ROOM, SLOT, IDENTITY, device_key=DEVICE_KEY, leaf_key=LEAF_KEY, sign=lambda _text: b"short")


@pytest.mark.parametrize(
    ("room", "slot", "identity", "leaf_key", "reason"),
    [
        ("!other:one.example", SLOT, IDENTITY, LEAF_KEY, "wrong_member_id"),
        (ROOM, "m.call#OTHER", IDENTITY, LEAF_KEY, "wrong_member_id"),
        (ROOM, SLOT, Identity(UserId("@eve:one.example"), DEVICE, M), LEAF_KEY, "wrong_member_id"),
        (ROOM, SLOT, Identity(USER, DeviceId("OTHER"), M), LEAF_KEY, "wrong_member_id"),
        (ROOM, SLOT, IDENTITY, DEVICE_KEY, "wrong_member_id"),
    ],
)
def test_a_binding_holds_in_one_place_for_one_leaf(
    room: str, slot: str, identity: Identity, leaf_key: bytes, reason: str
) -> None:
    binding = decode_binding(bytes.fromhex(V["binding"]["extension"]))
    with pytest.raises(RemoteProtocolError) as caught:
        verify_binding(RoomId(room), SlotId(slot), identity, leaf_key, binding)
    assert caught.value.reason == reason


def test_commit_data() -> None:
    case = V["commit_data"]
    data = CommitData(
        EPOCH,
        case["n"],
        {M: bytes.fromhex(V["left"]["signature"])},
        (REFUSED, case["why"]),
        tuple((a, b, c) for a, b, c in case["guests"]),
    )
    assert data.encode().hex() == case["bytes"]
    assert decode_commit_data(bytes.fromhex(case["bytes"])) == data
    assert CommitData(None, 1).encode().hex() == V["commit_data_of_a_root"]["bytes"]


MEMBER_IDS = st.binary(min_size=32, max_size=32).map(encoding.encode_base64url).map(MemberId)
NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=40)


@given(
    st.builds(
        CommitData,
        st.none() | st.binary(min_size=32, max_size=32).map(EpochId),
        st.integers(1, 2**64 - 1),
        st.dictionaries(MEMBER_IDS, st.binary(max_size=80)),
        st.none() | st.tuples(st.binary(min_size=32, max_size=32), st.sampled_from(["unopened", "still_here"])),
        st.sets(st.tuples(NAMES.map("@{}:x".format), NAMES, st.text(max_size=9))).map(lambda s: tuple(sorted(s))),
    )
)
def test_commit_data_round_trips_and_no_prefix_or_extension_of_it_is_taken(data: CommitData) -> None:
    encoded = data.encode()
    assert decode_commit_data(encoded) == data
    for wrong in (encoded[:-1], encoded + b"\0"):
        with pytest.raises(RemoteProtocolError):
            decode_commit_data(wrong)


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_as_the_remote_s_fault_or_round_trip(value: bytes) -> None:
    for decode in (decode_identity, decode_commit_data, decode_binding):
        try:
            decoded = decode(value)
        except RemoteProtocolError:
            continue
        assert decoded.encode() == value


def test_what_has_no_encoding_is_the_caller_s_fault() -> None:
    for item in (True, -1, 1 << 64, "\ud800", bytes(0x10000), [b""] * 0x10000):
        with pytest.raises(LocalProtocolError):
            encoding.encode(item)
    with pytest.raises(RemoteProtocolError):
        encoding.epoch_id(bytes(0x10000), b"")
