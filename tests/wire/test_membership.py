"""Memberships of both formats, as Element Call and as this library write them."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samples
from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.wire import names
from mlsrtc.wire.block import ForeignBlock
from mlsrtc.wire.membership import (
    MembershipFormat,
    RtcErased,
    RtcLeave,
    RtcMembership,
    RtcSealed,
    Stamp,
    Transport,
    decode_membership,
    encode_membership,
    owner_of,
    split_block,
    state_key,
)
from people import ANNA, BERT, HOUR, NOW, ROOM, SLOT

STAMP = Stamp(NOW, "$event")


def test_element_call_s_state_membership_is_a_participant_without_mls() -> None:
    content = samples.without(samples.state_join(), names.BLOCK)
    del content["created_ts"]
    found = decode_membership(samples.event(content, ts=NOW + 5))
    assert found == RtcMembership(
        format=MembershipFormat.STATE,
        user_id=ANNA.user,
        device_id=ANNA.device,
        slot_id=SLOT,
        key=samples.STATE_KEY,
        rtc_member_id=f"{ANNA.user}:{ANNA.device}",
        stamp=Stamp(NOW + 5, "$event"),
        created_ts=NOW + 5,
        expires_ts=NOW + 5 + 14_400_000,
        application="m.call",
        intent="video",
        transports=(Transport("livekit", "https://focus.one.example", ROOM),),
        focus_selection="multi_sfu",
    )


def test_element_call_s_sticky_membership_is_a_participant_without_mls() -> None:
    content = samples.without(samples.sticky_join(), names.BLOCK)
    del content["sticky_key"]
    found = decode_membership(samples.event(content, names.STICKY_MEMBER, sticky_ms=HOUR))
    assert isinstance(found, RtcMembership)
    assert (found.format, found.block, found.key) == (MembershipFormat.STICKY, None, ANNA.m)
    assert (found.created_ts, found.expires_ts) == (NOW, NOW + HOUR)
    assert found.transports == (Transport("livekit", "https://focus.one.example"),)
    assert found.can_subscribe == ("livekit",)


def test_the_newest_draft_tells_no_device_and_leaves_by_membership() -> None:
    content: dict[str, Any] = {
        "slot_id": SLOT,
        "application": {"type": "m.call"},
        "member": {"id": "uuid", "membership": "join"},
        "rtc_transports": [{"type": "livekit"}],
        "sticky_key": "uuid",
    }
    found = decode_membership(samples.event(content, names.STICKY_MEMBER_STABLE))
    assert isinstance(found, RtcMembership)
    assert (found.device_id, found.expires_ts) == (None, None)
    content["member"]["membership"] = "leave"
    left = decode_membership(samples.event(content, names.STICKY_MEMBER_STABLE))
    assert left == RtcLeave(MembershipFormat.STICKY, ANNA.user, "uuid", STAMP)


def test_leaves_with_and_without_a_signature() -> None:
    key = samples.STATE_KEY
    assert decode_membership(samples.event({})) == RtcLeave(MembershipFormat.STATE, ANNA.user, key, STAMP)
    signed = RtcLeave(MembershipFormat.STATE, ANNA.user, key, STAMP, ANNA.left_block())
    assert decode_membership(samples.event(encode_membership(signed))) == signed
    assert "application" not in encode_membership(signed)  # What js-sdk tells a leave by.
    sticky = RtcLeave(MembershipFormat.STICKY, ANNA.user, ANNA.m, STAMP, ANNA.left_block())
    assert decode_membership(samples.event(encode_membership(sticky), names.STICKY_MEMBER)) == sticky


def test_a_state_membership_written_by_another_is_neither_a_join_nor_a_leave() -> None:
    for content in ({}, samples.state_join(), samples.state_leave()):
        found = decode_membership(samples.event(content, sender=BERT.user))
        assert found == RtcErased(ANNA.user, samples.STATE_KEY, STAMP, BERT.user)


def test_an_encrypted_membership_shows_its_block_to_everybody() -> None:
    payload, clear = split_block(samples.sticky_join())
    assert names.BLOCK not in payload
    sealed = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "…", **clear}
    found = decode_membership(samples.event(sealed, names.ENCRYPTED))
    assert found == RtcSealed(ANNA.user, STAMP, ANNA.join_block())
    del sealed[names.BLOCK]
    assert decode_membership(samples.event(sealed, names.ENCRYPTED)) is None


def test_a_block_of_another_version_leaves_a_participant_who_cannot_be_added() -> None:
    content = {**samples.state_join(), names.BLOCK: {"version": 2, "anything": [1.5]}}
    found = decode_membership(samples.event(content))
    assert isinstance(found, RtcMembership)
    assert found.block == ForeignBlock(2)


@pytest.mark.parametrize(
    ("key", "owner"),
    [
        ("_@anna:one.example_DEVICE_m.call", "@anna:one.example"),
        ("@anna:one.example_DEVICE_m.call", "@anna:one.example"),
        ("_@an_na:one.example:8448_DEV_ICE_m.call", "@an_na:one.example:8448"),
        ("@anna:one.example", "@anna:one.example"),
        ("_@__:x_D", "@__:x"),
        ("", None),
        ("_", None),
        ("anna:one.example_D", None),
        ("@anna_D", None),
    ],
)
def test_the_owner_of_a_state_key(key: str, owner: str | None) -> None:
    assert owner_of(key) == owner


USERS = st.from_regex(r"@[a-z_./=-]{1,12}:[a-z.]{1,12}(:[0-9]{2,4})?", fullmatch=True).map(UserId)
DEVICES = st.from_regex(r"[A-Za-z0-9_]{1,12}", fullmatch=True).map(DeviceId)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SLOTS = st.sampled_from([SLOT, SlotId("m.call#x"), SlotId("org.other#ROOM"), SlotId("m.call#a#b")])


@given(USERS, DEVICES, SLOTS, st.booleans())
def test_state_keys_name_their_owner(user: UserId, device: DeviceId, slot: SlotId, owned: bool) -> None:
    key = state_key(user, device, slot, owned=owned)
    assert owner_of(key) == user
    assert key.startswith("@" if owned else "_@")


@given(
    st.builds(
        RtcMembership,
        format=st.sampled_from([MembershipFormat.STATE, MembershipFormat.STICKY]),
        user_id=USERS,
        device_id=DEVICES,
        slot_id=SLOTS,
        key=st.just(""),
        rtc_member_id=TEXTS.filter(bool),
        stamp=st.just(STAMP),
        created_ts=st.integers(0, NOW),
        expires_ts=st.integers(NOW, NOW + 8 * HOUR),
        application=st.just(""),
        intent=st.none() | TEXTS,
        transports=st.lists(st.builds(Transport, TEXTS, st.none() | TEXTS, st.none() | TEXTS), max_size=3).map(tuple),
        focus_selection=st.none() | TEXTS,
        can_subscribe=st.lists(TEXTS, max_size=3).map(tuple),
        block=st.none() | st.builds(ForeignBlock, st.integers(2, 99)),
    )
)
def test_memberships_round_trip(membership: RtcMembership) -> None:
    state = membership.format is MembershipFormat.STATE
    key = state_key(membership.user_id, membership.device_id or DeviceId(""), membership.slot_id)
    membership = replace(
        membership,
        application=membership.slot_id.partition("#")[0],
        key=key if state else membership.rtc_member_id,
        created_ts=membership.created_ts if state else NOW,
        focus_selection=membership.focus_selection if state else None,
        can_subscribe=() if state else membership.can_subscribe,
    )
    assert membership.expires_ts is not None
    found = decode_membership(
        samples.event(
            samples.as_json(encode_membership(membership)),
            names.STATE_MEMBER if state else names.STICKY_MEMBER,
            sender=membership.user_id,
            state_key=key if state else None,
            sticky_ms=None if state else membership.expires_ts - NOW,
        )
    )
    assert found == membership


@pytest.mark.parametrize("content", [samples.state_join(), samples.sticky_join()])
def test_memberships_with_a_join_round_trip(content: dict[str, Any]) -> None:
    type = names.STATE_MEMBER if "call_id" in content else names.STICKY_MEMBER
    found = decode_membership(samples.event(content, type))
    assert isinstance(found, RtcMembership)
    assert encode_membership(found) == content
