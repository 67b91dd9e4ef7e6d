"""Memberships as Famedly's dart SDK writes them: ``com.famedly.call.member``. JSON <-> values. No state, no trust.

One state event holds an entry for each device of a user. Its state key is the user; in rooms where a state key that
begins with a user's id is that user's own (MSC3757) it is user and device, and by an option of the SDK device and user.
All of them are read. Whoever writes the event leaves the entries of other devices as they stand (`amended`).
"""

from collections.abc import Mapping
from typing import Any

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.wire.fields import Field, refuse
from mlsrtc.wire.foci import decode_foci, encode_foci
from mlsrtc.wire.key_event import APPLICATION, KeyFormat
from mlsrtc.wire.rtc import MembershipFormat, RtcErased, RtcLeave, RtcMembership, RtcRoll, Stamp
from mlsrtc.wire.slots import slot_of, slot_parts

ENTRIES_LIMIT = 256  # more do not fit into an event
KEY_LIMIT = 1024
SCOPE = "m.room"  # of a call of the room, and not of some users in it
GRACE_MS = 6 * 60_000  # for so long past `expires_ts` an entry still counts; the SDK's `isExpired`


def decode_famedly(event_key: str | None, user_id: UserId, stamp: Stamp, content: Field) -> RtcRoll | RtcErased:
    """Which devices of the sender take part in calls of the room; entries of another scope are left out.

    So are entries that do not hold, as the SDK does: the others count, and whoever has left is not in it. `refused` has
    their reasons, those of `Field` and wrong_device. Raises RemoteProtocolError with the reasons of `Field` and
    bad_state_key, for what is wrong with the event itself.
    """
    key = Field(event_key, "state_key").text(KEY_LIMIT)
    if not (key == user_id or key.startswith(f"{user_id}_") or key.endswith(f"_{user_id}")):
        return RtcErased(_owner(key), key, stamp, user_id, MembershipFormat.FAMEDLY)
    entries = content["memberships"]
    memberships: list[RtcMembership] = []
    refused: list[tuple[str, str]] = []
    for entry in () if entries.absent else entries.list(ENTRIES_LIMIT):
        try:
            membership, scope = _entry(entry, key, user_id, stamp), entry["scope"].optional(Field.text)
        except RemoteProtocolError as error:
            refused.append((error.reason, error.where))
            continue
        if scope in (None, SCOPE):
            memberships.append(membership)
    return RtcRoll(MembershipFormat.FAMEDLY, user_id, key, stamp, tuple(memberships), tuple(refused))


def encode_famedly(membership: RtcMembership | RtcLeave) -> dict[str, Any]:
    """The content of the event of a user without other devices; `amended` brings in those."""
    if isinstance(membership, RtcLeave):
        return {"memberships": []}
    application, call_id = slot_parts(membership.slot_id)
    assert membership.expires_ts is not None
    entry = {
        "call_id": call_id,
        "application": application,
        "scope": SCOPE,
        "foci_active": encode_foci(membership.transports),
        "device_id": membership.device_id,
        "expires_ts": membership.expires_ts - GRACE_MS,
        "membershipID": membership.rtc_member_id,
    }
    return {"memberships": [entry]}


def amended(standing: Mapping[str, Any], content: Mapping[str, Any], entry: tuple[str, ...]) -> dict[str, Any]:
    """What is to be written where `standing` stands: the entries of `content` in place of that of one device in one
    call, `entry`. All others are kept as they are, whatever is in them."""
    before = standing.get("memberships")
    kept = [one for one in before if not _is_of(one, entry)] if isinstance(before, list) else []
    return {**content, "memberships": [*kept, *content["memberships"]]}


def famedly_key(user_id: UserId, device_id: DeviceId, *, owned: bool) -> str:
    """The state key to write under. `owned`: in a room where `<user>_<anything>` is that user's own (MSC3757)."""
    return f"{user_id}_{device_id}" if owned else user_id


def _entry(entry: Field, key: str, user_id: UserId, stamp: Stamp) -> RtcMembership:
    device_id = entry["device_id"].device_id()
    if key not in (user_id, f"{user_id}_{device_id}", f"{device_id}_{user_id}"):
        refuse("wrong_device", entry["device_id"].where, "not the device that the state key names")
    application = entry["application"].optional(Field.text) or APPLICATION
    return RtcMembership(
        format=MembershipFormat.FAMEDLY,
        user_id=user_id,
        device_id=device_id,
        slot_id=slot_of(application, entry["call_id"]),
        key=key,
        rtc_member_id=entry["membershipID"].optional(Field.text) or f"{user_id}:{device_id}",
        stamp=stamp,
        created_ts=stamp.ts,
        expires_ts=entry["expires_ts"].integer() + GRACE_MS,
        application=application,
        transports=decode_foci(entry["foci_active"]),
        key_format=KeyFormat.FAMEDLY,
    )


def _owner(key: str) -> UserId:
    """Whose the event is by its state key, if it is not its sender's: a moderator may overwrite `<device>_<user>`
    anywhere, and any other one in rooms with MSC3757."""
    localpart, colon, rest = key[key.find("@") :].partition(":") if "@" in key else ("", "", "")
    if not colon:
        refuse("bad_state_key", "state_key")
    return UserId(f"{localpart}:{rest.partition('_')[0]}")


def _is_of(one: object, entry: tuple[str, ...]) -> bool:
    return isinstance(one, Mapping) and (one.get("device_id"), one.get("call_id")) == entry
