"""MatrixRTC memberships in all formats, with and without our block: JSON <-> values. No state, no trust.

*State*: ``org.matrix.msc3401.call.member``, one per device and slot; works on every homeserver. *Famedly*: the dart
SDK's, one per user (`famedly`). *Sticky*: MSC4143 over MSC4354; in an encrypted room it is Megolm-encrypted and our
block stands in the clear beside the payload. A transport that has decrypted one hands over the payload with that clear
block under its name, and never one from inside the payload: what the head follows from must not depend on who can
decrypt.
"""

from collections.abc import Mapping
from typing import Any

from mlsrtc.identifiers import DeviceId, SlotId, UserId
from mlsrtc.wire import names
from mlsrtc.wire.block import Block, ForeignBlock, JoinBlock, LeftBlock, decode_block, encode_block
from mlsrtc.wire.famedly import decode_famedly, encode_famedly
from mlsrtc.wire.fields import Field, refuse
from mlsrtc.wire.foci import TRANSPORTS_LIMIT, Transport, decode_foci, encode_published
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.key_event import KeyFormat
from mlsrtc.wire.rtc import (
    MembershipFormat,
    RtcErased,
    RtcEvent,
    RtcLeave,
    RtcMembership,
    RtcRoll,
    RtcSealed,
    Stamp,
    memberships_of,
)
from mlsrtc.wire.slots import slot_of, slot_parts

__all__ = [
    "EXPIRES_DEFAULT",
    "MembershipFormat",
    "RtcErased",
    "RtcEvent",
    "RtcLeave",
    "RtcMembership",
    "RtcRoll",
    "RtcSealed",
    "Stamp",
    "Transport",
    "decode_membership",
    "encode_membership",
    "memberships_of",
    "owner_of",
    "split_block",
    "state_key",
]

EXPIRES_DEFAULT = 4 * 3600 * 1000  # ms; js-sdk's default for a state membership that names none


def decode_membership(event: RoomEvent) -> RtcEvent | None:
    """What a membership event says; None for a Megolm event without our block, which may be anything.

    Raises RemoteProtocolError with the reasons of `Field` and of `decode_block`, and unknown_type,
    bad_state_key, wrong_user, wrong_device, wrong_slot, wrong_member_id, not_a_join, not_a_leave, ambiguous.
    """
    user_id = Field(event.sender, "sender").user_id()
    stamp = Stamp(Field(event.origin_server_ts, "origin_server_ts").integer(), event.event_id)
    content = Field(event.content)
    if event.type == names.STATE_MEMBER:
        return _state(event, user_id, stamp, content)
    if event.type == names.FAMEDLY_MEMBER:
        return decode_famedly(event.state_key, user_id, stamp, content)
    if event.type in names.STICKY_MEMBER_TYPES:
        return _sticky(event, user_id, stamp, content)
    if event.type == names.ENCRYPTED:
        block = content[names.BLOCK].optional(decode_block)
        return None if block is None else RtcSealed(user_id, stamp, block)
    refuse("unknown_type", "type", "not a membership")


def encode_membership(membership: RtcMembership | RtcLeave) -> dict[str, Any]:
    """The content of the event, our block included (`split_block` takes it out where the rest is
    encrypted). Famedly's has none.
    """
    if membership.format is MembershipFormat.FAMEDLY:
        return encode_famedly(membership)
    if membership.format is MembershipFormat.STATE:
        content = _state_content(membership)
    else:
        content = _sticky_content(membership)
    if membership.block is not None:
        content[names.BLOCK] = encode_block(membership.block)
    return content


def split_block(content: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The content as (what is Megolm-encrypted, what stands in the clear beside it)."""
    clear = {name: value for name, value in content.items() if name == names.BLOCK}
    return {name: value for name, value in content.items() if name != names.BLOCK}, clear


def state_key(user_id: UserId, device_id: DeviceId, slot_id: SlotId, *, owned: bool = False) -> str:
    """The state key of a state membership. `owned`: in a room version where only its user may write a key
    that begins with the user's id (MSC3757, MSC3779), the leading underscore is left out."""
    application, call_id = slot_parts(slot_id)
    return f"{'' if owned else '_'}{user_id}_{device_id}_{application}{call_id}"


def owner_of(key: str) -> UserId | None:
    """Whose a state membership is by its state key, or None if the key names nobody.

    A user id may hold underscores before its colon; a server name holds none.
    """
    text = key.removeprefix("_")
    localpart, colon, rest = text.partition(":")
    if not (text.startswith("@") and colon):
        return None
    return UserId(f"{localpart}:{rest.partition('_')[0]}")


# -- state ---------------------------------------------------------------------------------------------------


def _state(event: RoomEvent, user_id: UserId, stamp: Stamp, content: Field) -> RtcEvent:
    key = Field(event.state_key, "state_key").text(1024)
    owner = owner_of(key)
    if owner is None:
        refuse("bad_state_key", "state_key")
    if owner != user_id:
        return RtcErased(owner, key, stamp, user_id)
    block = content[names.BLOCK].optional(decode_block)
    if "application" not in content:
        return RtcLeave(MembershipFormat.STATE, user_id, key, stamp, _leave_block(block))
    device_id = content["device_id"].device_id()
    # Compared with a mark after it: the device DEV is not the device DEVICE.
    if not f"{key.removeprefix('_')}_".startswith(f"{user_id}_{device_id}_"):
        refuse("wrong_device", "content.device_id", "not the device that the state key names")
    application = content["application"].text()
    slot_id = slot_of(application, content["call_id"])
    created_ts = content["created_ts"].optional(Field.integer)
    created = stamp.ts if created_ts is None else created_ts
    expires = content["expires"].optional(Field.integer)
    membership_id = content["membershipID"].optional(Field.text)
    return RtcMembership(
        format=MembershipFormat.STATE,
        user_id=user_id,
        device_id=device_id,
        slot_id=slot_id,
        key=key,
        rtc_member_id=membership_id or f"{user_id}:{device_id}",
        stamp=stamp,
        created_ts=created,
        expires_ts=created + (EXPIRES_DEFAULT if expires is None else expires),
        application=application,
        intent=content["m.call.intent"].optional(Field.text),
        transports=decode_foci(content["foci_preferred"]) if "foci_preferred" in content else (),
        focus_selection=content["focus_active"]["focus_selection"].optional(Field.text)
        if "focus_active" in content
        else None,
        block=_join_block(block, slot_id, device_id),
    )


def _state_content(membership: RtcMembership | RtcLeave) -> dict[str, Any]:
    if isinstance(membership, RtcLeave):
        return {}
    application, call_id = slot_parts(membership.slot_id)
    content: dict[str, Any] = {
        "application": application,
        "call_id": call_id,
        "scope": "m.room",
        "device_id": membership.device_id,
        "membershipID": membership.rtc_member_id,
        "created_ts": membership.created_ts,
        "foci_preferred": encode_published(membership.transports),
    }
    if membership.expires_ts is not None:
        content["expires"] = membership.expires_ts - membership.created_ts
    if membership.intent is not None:
        content["m.call.intent"] = membership.intent
    if membership.focus_selection is not None:
        content["focus_active"] = {"type": "livekit", "focus_selection": membership.focus_selection}
    return content


# -- sticky --------------------------------------------------------------------------------------------------


def _sticky(event: RoomEvent, user_id: UserId, stamp: Stamp, content: Field) -> RtcEvent:
    keys = {content[name].text() for name in ("sticky_key", "msc4354_sticky_key") if name in content}
    if not keys:
        refuse("missing_field", "content.sticky_key")
    if len(keys) > 1:
        refuse("ambiguous", "content.sticky_key", "two sticky keys that differ")
    (key,) = keys
    block = content[names.BLOCK].optional(decode_block)
    member = content["member"]
    if member.absent or member["membership"].optional(Field.text) == "leave":
        return RtcLeave(MembershipFormat.STICKY, user_id, key, stamp, _leave_block(block))
    if "user_id" in member and member["user_id"].user_id() != user_id:
        refuse("wrong_user", "content.member.user_id", "not the sender")
    device_id = member["device_id"].optional(Field.device_id)
    key_format = KeyFormat.ELEMENT
    if device_id is None and "claimed_device_id" in member:  # the proposal's name, and with it the proposal's keys
        device_id, key_format = member["claimed_device_id"].device_id(), KeyFormat.MSC4143
    slot_id = content["slot_id"].slot_id()
    rtc_member_id = member["id"].text()
    join = _join_block(block, slot_id, device_id)
    if isinstance(join, JoinBlock):
        device_id = join.device_id
        if join.member_id != rtc_member_id:
            refuse("wrong_member_id", "content.member.id", "not the member_id of the block")
    transports = content["transports"]
    published = content["rtc_transports"] if transports.absent else transports["published"]
    can_subscribe = () if transports.absent else _texts(transports["can_subscribe"])
    return RtcMembership(
        format=MembershipFormat.STICKY,
        user_id=user_id,
        device_id=device_id,
        slot_id=slot_id,
        key=key,
        rtc_member_id=rtc_member_id,
        stamp=stamp,
        created_ts=stamp.ts,
        expires_ts=None if event.sticky_ms is None else stamp.ts + event.sticky_ms,
        application=content["application"]["type"].text(),
        intent=content["application"]["m.call.intent"].optional(Field.text),
        transports=() if published.absent else decode_foci(published),
        can_subscribe=can_subscribe,
        block=join,
        key_format=key_format,
    )


def _sticky_content(membership: RtcMembership | RtcLeave) -> dict[str, Any]:
    keys = {"sticky_key": membership.key, "msc4354_sticky_key": membership.key}
    if isinstance(membership, RtcLeave):
        return dict(keys)
    application: dict[str, Any] = {"type": membership.application}
    if membership.intent is not None:
        application["m.call.intent"] = membership.intent
    member = {"user_id": membership.user_id, "id": membership.rtc_member_id}
    if membership.device_id is not None:
        member["device_id"] = membership.device_id
    return {
        "slot_id": membership.slot_id,
        "application": application,
        "member": member,
        "transports": {
            "published": encode_published(membership.transports),
            "can_subscribe": list(membership.can_subscribe),
        },
        "versions": [],
        **keys,
    }


# -- both ----------------------------------------------------------------------------------------------------


def _join_block(block: Block | None, slot_id: SlotId, device_id: DeviceId | None) -> JoinBlock | ForeignBlock | None:
    """The block of a membership, after checking that it speaks of the same slot and device as the event
    around it.
    """
    where = f"content.{names.BLOCK}"
    if isinstance(block, LeftBlock):
        refuse("not_a_join", where)
    if isinstance(block, JoinBlock):
        if block.slot_id != slot_id:
            refuse("wrong_slot", f"{where}.slot_id")
        if device_id is not None and block.device_id != device_id:
            refuse("wrong_device", f"{where}.device_id")
    return block


def _leave_block(block: Block | None) -> LeftBlock | None:
    if isinstance(block, JoinBlock):
        refuse("not_a_leave", f"content.{names.BLOCK}")
    return block if isinstance(block, LeftBlock) else None


def _texts(field: Field) -> tuple[str, ...]:
    return () if field.absent else tuple(item.text() for item in field.list(TRANSPORTS_LIMIT))
