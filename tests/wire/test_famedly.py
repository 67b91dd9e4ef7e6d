"""Memberships as Famedly's dart SDK writes them: its fields read, ours written, other devices' entries kept."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.wire import names
from mlsrtc.wire.famedly import GRACE_MS, amended, famedly_key
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.key_event import KeyFormat
from mlsrtc.wire.membership import (
    MembershipFormat,
    RtcErased,
    RtcEvent,
    RtcLeave,
    RtcMembership,
    RtcRoll,
    Stamp,
    Transport,
    decode_membership,
    encode_membership,
)

SAMPLES = Path(__file__).parent.parent / "keyshare" / "samples"
ADA = UserId("@ada:one.test")
BEN = UserId("@ben:one.test")
STAMP = Stamp(1_764_400_000_000, "$event")
MADE_AT = STAMP.ts + 250  # by the clock of the SDK's device


def sample() -> dict[str, Any]:
    """Two devices of one user in the call of the room, as the source of matrix-dart-sdk writes the event. It was not
    recorded: there was no Dart to run it with."""
    content: dict[str, Any] = json.loads((SAMPLES / "dart_sdk_membership.json").read_text())
    return content


def event(content: Any, key: str = ADA, sender: str = ADA) -> RoomEvent:
    return RoomEvent(names.FAMEDLY_MEMBER, sender, STAMP.event_id, STAMP.ts, content, key)


def decode(content: Any, key: str = ADA, sender: str = ADA) -> RtcEvent | None:
    return decode_membership(event(content, key, sender))


def roll(content: Any, key: str = ADA) -> RtcRoll:
    found = decode(content, key)
    assert isinstance(found, RtcRoll)
    return found


def test_every_field_that_the_dart_sdk_writes_is_read() -> None:
    found = roll(sample()["content"])
    assert (found.format, found.user_id, found.key, found.stamp) == (MembershipFormat.FAMEDLY, ADA, ADA, STAMP)
    phone, laptop = found.memberships
    assert phone == RtcMembership(
        format=MembershipFormat.FAMEDLY,
        user_id=ADA,
        device_id=DeviceId("ADAPHONE"),
        slot_id=SlotId("m.call#ROOM"),
        key=ADA,
        rtc_member_id="bWVtYmVyc2hpcG9mYWRhMQ==",
        stamp=STAMP,
        created_ts=STAMP.ts,
        expires_ts=MADE_AT + 6 * 60_000 + GRACE_MS,
        application="m.call",
        transports=(Transport("livekit", "https://focus.one.test", "!room:one.test"),),
        key_format=KeyFormat.FAMEDLY,
    )
    assert (laptop.device_id, laptop.slot_id, laptop.transports) == (
        "ADALAPTOP",
        "m.call#standup",
        (Transport("mesh"),),
    )


def test_what_the_sdk_may_leave_out() -> None:
    entry = {"call_id": "", "device_id": "DEV", "expires_ts": 1, "foci_active": [{"type": "mesh"}]}
    (found,) = roll({"memberships": [entry]}).memberships
    assert (found.application, found.rtc_member_id, found.expires_ts) == ("m.call", f"{ADA}:DEV", 1 + GRACE_MS)


@pytest.mark.parametrize("content", [{}, {"memberships": []}, {"memberships": None}])
def test_who_stands_in_it_no_more_has_left(content: Any) -> None:
    assert roll(content).memberships == ()


def test_an_entry_that_does_not_hold_is_left_out_with_its_reason_and_the_others_count() -> None:
    content = sample()["content"]
    content["memberships"][0]["expires_ts"] = "soon"
    content["memberships"].append("x")
    found = roll(content)
    assert [one.device_id for one in found.memberships] == ["ADALAPTOP"]
    assert found.refused == (
        ("wrong_type", "content.memberships[0].expires_ts"),
        ("wrong_type", "content.memberships[2]"),
    )


def test_a_call_of_some_users_is_none_of_the_room_s() -> None:
    content = sample()["content"]
    content["memberships"][0]["scope"] = "m.user"
    assert [one.device_id for one in roll(content).memberships] == ["ADALAPTOP"]


@pytest.mark.parametrize("key", [f"{ADA}_ADAPHONE", f"ADAPHONE_{ADA}"])
def test_a_state_key_may_name_the_device(key: str) -> None:
    content = {"memberships": sample()["content"]["memberships"][:1]}
    (found,) = roll(content, key).memberships
    assert (found.device_id, found.key) == ("ADAPHONE", key)
    assert roll({"memberships": []}, key).memberships == ()


@pytest.mark.parametrize("key", [BEN, f"{BEN}_PHONE", f"PHONE_{BEN}", f"PH_ONE_{BEN}"])
def test_what_somebody_else_writes_there_is_neither_a_join_nor_a_leave(key: str) -> None:
    for content in (sample()["content"], {}):
        assert decode(content, key) == RtcErased(BEN, key, STAMP, ADA, MembershipFormat.FAMEDLY)


def test_ours_has_the_fields_of_theirs_and_is_read() -> None:
    before = roll(sample()["content"]).memberships[0]
    written = encode_membership(before)
    assert roll(written).memberships == (before,)
    (ours,) = written["memberships"]
    theirs = sample()["content"]["memberships"][0]
    assert ours.items() <= theirs.items()
    assert theirs.keys() - ours.keys() == {"event_id", "expires"}, "which the SDK does not read"
    assert encode_membership(RtcLeave(MembershipFormat.FAMEDLY, ADA, ADA, STAMP)) == {"memberships": []}


def test_where_ours_is_written() -> None:
    assert famedly_key(ADA, DeviceId("DEV"), owned=False) == ADA
    assert famedly_key(ADA, DeviceId("DEV"), owned=True) == f"{ADA}_DEV"


def test_of_what_stands_only_our_entry_is_replaced() -> None:
    standing = sample()["content"]
    standing["memberships"] += [{"nonsense": [1.5]}, "x", {"device_id": "DEV", "call_id": "other"}]
    kept = [*standing["memberships"]]
    ours = {"device_id": "DEV", "call_id": "", "expires_ts": 1}
    written = amended(standing, {"memberships": [ours]}, ("DEV", ""))
    assert written == {"memberships": [*kept, ours]}
    newer = {**ours, "expires_ts": 2}
    assert amended(written, {"memberships": [newer]}, ("DEV", "")) == {"memberships": [*kept, newer]}
    assert amended(written, {"memberships": []}, ("DEV", "")) == {"memberships": kept}


@pytest.mark.parametrize("standing", [{}, {"memberships": None}, {"memberships": {}}, {"other": 1}])
def test_where_nothing_stands_ours_stands_alone(standing: Any) -> None:
    ours = {"device_id": "DEV", "call_id": ""}
    assert amended(standing, {"memberships": [ours]}, ("DEV", "")) == {"memberships": [ours]}


USERS = st.from_regex(r"@[a-z_./=-]{1,12}:[a-z.]{1,12}(:[0-9]{2,4})?", fullmatch=True).map(UserId)
DEVICES = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True).map(DeviceId)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    st.builds(
        RtcMembership,
        format=st.just(MembershipFormat.FAMEDLY),
        user_id=USERS,
        device_id=DEVICES,
        slot_id=st.sampled_from([SlotId("m.call#ROOM"), SlotId("m.call#x"), SlotId("org.other#a#b")]),
        key=st.just(""),
        rtc_member_id=TEXTS.filter(bool),
        stamp=st.just(STAMP),
        created_ts=st.just(STAMP.ts),
        expires_ts=st.integers(GRACE_MS, STAMP.ts),
        application=st.just(""),
        transports=st.lists(st.builds(Transport, TEXTS, st.none() | TEXTS, st.none() | TEXTS), max_size=3).map(tuple),
        key_format=st.just(KeyFormat.FAMEDLY),
    ),
    st.booleans(),
)
def test_memberships_round_trip(membership: RtcMembership, owned: bool) -> None:
    user, device = membership.user_id, membership.device_id or DeviceId("")
    key = famedly_key(user, device, owned=owned)
    content = json.loads(json.dumps(encode_membership(membership)))
    found = decode(content, key, user)
    assert isinstance(found, RtcRoll)
    (again,) = found.memberships
    application = membership.slot_id.partition("#")[0]
    assert (again.device_id, again.slot_id, again.application) == (device, membership.slot_id, application)
    assert (again.rtc_member_id, again.expires_ts, again.transports, again.key) == (
        membership.rtc_member_id,
        membership.expires_ts,
        membership.transports,
        key,
    )
