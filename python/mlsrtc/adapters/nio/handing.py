"""Media keys to other devices: by the Olm door of a nio client, or as a room event for all. Knows no call."""

from collections.abc import Iterable, Mapping

import nio
from nio.crypto import OutboundGroupSession

from mlsrtc.adapters.nio import megolm
from mlsrtc.adapters.nio.http import Failed, ask, room_path
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.nio.olm_keys import Recipient, Unreachable, known_device
from mlsrtc.adapters.nio.olm_send import Fate, SendEncrypted
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.outbox import Accepted, HandOver, Outcome, PostKey, RateLimited
from mlsrtc.wire import names
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.key_event import encode_handed, encode_room_key_event

REASONS = {"no_device": "unknown_device", "server_down": "unreachable"}
"""Those of `Unreachable` that `KeyUndelivered` calls otherwise."""


SHARE_TRIES = 3  # to share a session: where somebody turns out to have another device, nio begins a new one


async def hand_over(door: OlmDoor, request: HandOver) -> Outcome:
    """Encrypt and send, once. Raises LocalProtocolError if the client was made without end-to-end encryption."""
    type, content = encode_handed(request.event)
    recipients: dict[Recipient, str] = {(user, name): encode_base64(key) for user, name, key in request.devices}
    fates = await door.send(SendEncrypted(request.id, type, dict.fromkeys(recipients, content), recipients))
    return Accepted(failures=_failures(request.devices, fates))


async def post(client: nio.AsyncClient, door: OlmDoor, room_id: str, request: PostKey) -> Outcome:
    """Write a key into the room, once. Raises Failed, and LocalProtocolError as `megolm.encrypt`."""
    type, content = names.KEYS_ELEMENT, encode_room_key_event(request.event)
    failures: dict[DeviceIdentity, str | RateLimited] = {}
    if request.encrypt:
        for _ in range(SHARE_TRIES):
            failures = await _let_read(client, door, room_id, request)
            if not client.olm.should_share_group_session(room_id):
                break
        else:
            raise Failed(RateLimited(megolm.UNSYNCED_RETRY_MS))
        type, content = client.encrypt(room_id, type, content)
    reply = await ask(client, "PUT", room_path(room_id, "send", type, request.id), content)
    if not reply.ok:
        return reply.failure()
    event_id = reply.body.get("event_id")
    return Accepted(event_id if isinstance(event_id, str) else None, failures=failures)


async def _let_read(
    client: nio.AsyncClient, door: OlmDoor, room_id: str, request: PostKey
) -> dict[DeviceIdentity, str | RateLimited]:
    """Share the room's Megolm session with those who have to have it: nio shares it once, and leaves out whom it does
    not reach then, or does not know yet. Returns who does not get it."""
    session = await megolm.share(client, room_id)
    lacking = [device for device in request.devices if not _has(client, session, device)]
    if not lacking:
        return {}
    key = {
        "algorithm": "m.megolm.v1.aes-sha2",
        "room_id": room_id,
        "session_id": session.id,
        "session_key": session.session_key,  # from the next message on
    }
    recipients: dict[Recipient, str] = {(user, name): encode_base64(key) for user, name, key in lacking}
    # Another id for another session: a homeserver drops what comes under one that it has seen.
    sending = SendEncrypted(f"{request.id}.{session.id}", "m.room_key", dict.fromkeys(recipients, key), recipients)
    fates = await door.send(sending)
    session.users_shared_with.update(name for name, fate in fates.items() if isinstance(fate, Accepted))
    return _failures(lacking, fates)


def _has(client: nio.AsyncClient, session: OutboundGroupSession, device: DeviceIdentity) -> bool:
    """Whether this very device was sent the session, and not another of its name."""
    known = known_device(client.olm, *device[:2])
    named = known is not None and known.ed25519 == encode_base64(device[2])
    return named and device[:2] in session.users_shared_with


def _failures(
    devices: Iterable[DeviceIdentity], fates: Mapping[Recipient, Fate]
) -> dict[DeviceIdentity, str | RateLimited]:
    found = {device: _failure(fates[device[0], device[1]]) for device in devices}
    return {device: failure for device, failure in found.items() if failure is not None}


def _failure(fate: Fate) -> str | RateLimited | None:
    match fate:
        case Accepted():
            return None
        case RateLimited():
            return fate
        case Unreachable(reason):
            return REASONS.get(reason, reason)
        case _:
            return "refused"
