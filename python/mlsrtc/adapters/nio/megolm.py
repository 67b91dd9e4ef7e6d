"""Megolm for the two events that need it: the sticky membership of an encrypted room, and a key in it. Knows nio's Olm.

`AsyncClient.room_send` would encrypt every type and sleep on a 429. This takes the same steps (members,
device keys, one-time keys, group session) through raw requests, feeds the answers to nio, and stops at the
first one that fails; what was done stays done, so the next try goes on from there.
"""

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, TypeAlias
from uuid import uuid4

import nio
from nio.crypto import OutboundGroupSession
from nio.responses import (
    JoinedMembersResponse,
    KeysUploadResponse,
    ShareGroupSessionResponse,
)

from mlsrtc.adapters.nio import olm_keys
from mlsrtc.adapters.nio.http import Failed, demand, path, room_path
from mlsrtc.errors import LocalProtocolError
from mlsrtc.outbox import RateLimited

UNSYNCED_RETRY_MS = 500  # the client has not synced the room yet

Owner: TypeAlias = tuple[str, str]
"""A device: its name, and its Ed25519 key in unpadded base64."""


async def upload_device_keys(client: nio.AsyncClient) -> None:
    """Put our device keys on the server if they are not there yet.

    They have to be there before anyone sends a membership: a Megolm session is not shared again later.
    Raises Failed.
    """
    if client.olm is None or client.olm.account.shared:
        return
    answer = await demand(client, "POST", path("client", "v3", "keys", "upload"), client.olm.share_keys())
    counts = {"curve25519": 0, "signed_curve25519": 0, **answer.get("one_time_key_counts", {})}
    await client.receive_response(KeysUploadResponse.from_dict({"one_time_key_counts": counts}))


async def encrypt(
    client: nio.AsyncClient, room_id: str, event_type: str, content: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Type and content of the encrypted event.

    Raises Failed, and LocalProtocolError if the room or the client is not encrypted.

    Every device of the room gets the session, whether or not nio calls it verified: who may hear the call is
    decided by MLS, and a device that cannot read a membership could not even see that it is in a call.
    """
    await share(client, room_id)
    encrypted_type, encrypted = client.encrypt(room_id, event_type, dict(content))
    return encrypted_type, dict(encrypted)


async def share(client: nio.AsyncClient, room_id: str) -> OutboundGroupSession:
    """A session that `encrypt` uses, shared with every device of the room. Raises as `encrypt`."""
    if client.olm is None:
        raise LocalProtocolError("an encrypted room needs a nio client with end-to-end encryption")
    room = client.rooms.get(room_id)
    if room is None:
        raise Failed(RateLimited(UNSYNCED_RETRY_MS))
    if not room.encrypted:
        raise LocalProtocolError(f"{room_id} is not encrypted")
    await upload_device_keys(client)
    if not room.members_synced:
        answer = await demand(client, "GET", room_path(room_id, "joined_members"))
        await client.receive_response(JoinedMembersResponse.from_dict(dict(answer), room_id))
    if client.olm.users_for_key_query:
        await olm_keys.query(client, set(client.olm.users_for_key_query))
    if client.olm.should_share_group_session(room_id):
        # nio's own room_send may be sharing at this moment; it leaves an event to wait for.
        if sharing := client.sharing_session.get(room_id):
            await sharing.wait()
        else:
            await _share(client, room_id, list(room.users))
    return client.olm.outbound_group_sessions[room_id]


async def _share(client: nio.AsyncClient, room_id: str, users: list[str]) -> None:
    assert client.olm is not None
    event = client.sharing_session[room_id] = asyncio.Event()
    try:
        if missing := client.get_missing_sessions(room_id):
            named = ((user, name) for user, names in missing.items() for name in names)
            await olm_keys.claim(client, [one for place in named if (one := olm_keys.known_device(client.olm, *place))])
        for shared_with, messages in client.olm.share_group_session_parallel(
            room_id, users, ignore_unverified_devices=True
        ):
            target = path("client", "v3", "sendToDevice", "m.room.encrypted", str(uuid4()))
            answer = await demand(client, "PUT", target, messages)
            await client.receive_response(ShareGroupSessionResponse.from_dict(dict(answer), room_id, shared_with))
        # nio marks it in an answer only; with nobody to share with there is none.
        client.olm.outbound_group_sessions[room_id].shared = True
    finally:
        client.sharing_session.pop(room_id).set()
        event.set()


def decrypt(client: nio.AsyncClient, room_id: str, raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The payload (`type`, `content`) of a Megolm event, or None if it cannot be read now."""
    if client.olm is None:
        return None
    try:
        event = nio.Event.parse_event(dict(raw))
        if not isinstance(event, nio.MegolmEvent):
            return None
        event.room_id = room_id
        payload = client.decrypt_event(event)
    except Exception:
        # EncryptionError, and whatever nio comes upon in what others have written.
        return None
    source = getattr(payload, "source", None)
    return source if isinstance(source, dict) else None


def look(client: nio.AsyncClient, room_id: str, raw: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """As `decrypt`, for events of which most are no business of ours. nio's own way takes milliseconds for each, for it
    looks into the form of what it has opened."""
    content, olm = raw["content"], client.olm
    place = content.get("sender_key"), content.get("session_id"), content.get("ciphertext")
    if olm is None or not all(isinstance(part, str) for part in place):
        return None
    session = olm.inbound_group_store.get(room_id, place[0], place[1])
    if session is None:
        return None
    try:
        plaintext, index = session.decrypt(place[2])
        payload = json.loads(plaintext)
    except Exception:
        # vodozemac's two exceptions, and whatever a payload can hold that is no JSON.
        return None
    stamp = SimpleNamespace(
        event_id=raw.get("event_id"),
        server_timestamp=raw.get("origin_server_ts"),
        sender_key=place[0],
        session_id=place[1],
    )
    if not olm.message_index_ok(index, stamp) or not isinstance(payload, dict) or payload.get("room_id") != room_id:
        return None
    return payload


def owner(client: nio.AsyncClient, room_id: str, raw: Mapping[str, Any]) -> Owner | None:
    """The device of its sender whose session a decrypted event came by; None if it is nobody's that nio knows.

    What the event itself says of its device counts for nothing. Olm has authenticated who brought the session by its
    Curve25519 key, and the Ed25519 key that stood beside it there must be the same device's: any device can publish
    another one's Curve25519 key as its own. A session that somebody else passed on proves nothing.
    """
    content, sender, olm = raw["content"], raw["sender"], client.olm
    session = olm.inbound_group_store.get(room_id, content["sender_key"], content["session_id"])
    if session is None or session.forwarding_chain:
        return None
    keys = session.sender_key, session.ed25519
    ours = olm.account.identity_keys
    if sender == olm.user_id and keys == (ours["curve25519"], ours["ed25519"]):
        return olm.device_id, ours["ed25519"]
    devices = [one for one in olm_keys.known_devices(olm, sender) if (one.curve25519, one.ed25519) == keys]
    return (devices[0].device_id, devices[0].ed25519) if len(devices) == 1 else None


def may_be_owned(client: nio.AsyncClient, raw: Mapping[str, Any]) -> bool:
    """Whether the session may be that of a device which nio has not heard of yet."""
    devices = olm_keys.known_devices(client.olm, raw["sender"])
    return all(one.curve25519 != raw["content"]["sender_key"] for one in devices)
