"""One content to each of many devices, Olm-encrypted: keys asked for and claimed, sent in batches. Repeats nothing."""

import asyncio
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import nio
from nio.crypto import OlmDevice

from mlsrtc.adapters.nio import olm_keys
from mlsrtc.adapters.nio.http import Failed, ask, path
from mlsrtc.adapters.nio.olm_keys import Recipient, Unreachable, known_device
from mlsrtc.outbox import Accepted, RateLimited, Refused
from mlsrtc.wire.encoding import encode_base64url
from mlsrtc.wire.names import ENCRYPTED


@dataclass(frozen=True, slots=True)
class SendEncrypted:
    """To-device events of one type, Olm-encrypted to each device for itself.

    messages: by user and device. id: the transaction; what was not answered may be sent again under it, with the same
    content. A device may then get it twice, unless it is sent to the same devices as before.
    """

    id: str
    type: str
    messages: Mapping[Recipient, Mapping[str, Any]] = field(repr=False)
    keys: Mapping[Recipient, str] = field(default_factory=dict)
    """The Ed25519 keys (unpadded base64) that devices must have to be written to: nio may know others."""

    def is_meant(self, device: OlmDevice) -> bool:
        """Whether it has the key that it must have."""
        return bool(self.keys.get((device.user_id, device.device_id), device.ed25519) == device.ed25519)


Fate: TypeAlias = Accepted | RateLimited | Refused | Unreachable
"""What became of one message. Accepted: the homeserver has it for the device."""


async def send(
    client: nio.AsyncClient, request: SendEncrypted, *, per_put: int, claiming: asyncio.Lock
) -> Mapping[Recipient, Fate]:
    """`OlmDoor.send`. claiming: held while keys are claimed, so that nobody claims two for one device."""
    batches = _Batches(client, request, per_put)
    at_hand = {
        recipient: device
        for recipient in request.messages
        if (device := _at_hand(client, recipient)) and request.is_meant(device)
    }
    # First those for whom nothing has to be asked for: a homeserver that is down takes ten seconds to fail.
    await batches.put(at_hand)
    rest = [recipient for recipient in request.messages if recipient not in at_hand]
    if rest and batches.limited is None:
        found = await _find(client, request, rest, batches.fates)
        if not all(_has_session(client, device) for device in found.values()):
            async with claiming:
                batches.fates.update(await _claim(client, list(found.values())))
        rest = [recipient for recipient in found if recipient not in batches.fates]
        await batches.put({recipient: found[recipient] for recipient in rest})
    elif batches.limited is not None:
        batches.fates.update(dict.fromkeys(rest, batches.limited))
    return batches.fates


class _Batches:
    """The PUTs of one request, and what became of each message."""

    def __init__(self, client: nio.AsyncClient, request: SendEncrypted, per_put: int) -> None:
        self._client = client
        self._request = request
        self._per_put = per_put
        self.fates: dict[Recipient, Fate] = {}
        self.limited: RateLimited | None = None

    async def put(self, devices: Mapping[Recipient, OlmDevice]) -> None:
        """Encrypt and send, until the homeserver asks for patience."""
        waiting = list(devices.items())
        while waiting:
            batch = dict(waiting[: self._per_put])
            outcome = await _put(self._client, self._request, batch)
            if isinstance(outcome, RateLimited):
                # The rest would be refused as well; and what is encrypted and not sent makes a gap in its session.
                self.limited = outcome
                batch = dict(waiting)
            self.fates.update(dict.fromkeys(batch, outcome))
            waiting = waiting[len(batch) :]


def _at_hand(client: nio.AsyncClient, recipient: Recipient) -> OlmDevice | None:
    """The device if it can be encrypted to as it is."""
    device = None if _is_stale(client, recipient) else known_device(client.olm, *recipient)
    if device is None or client.olm.is_device_blacklisted(device) or not _has_session(client, device):
        return None
    return device


def _is_stale(client: nio.AsyncClient, recipient: Recipient) -> bool:
    """Whether to ask for the user's devices. Those that an earlier run has stored may be gone."""
    user_id, olm = recipient[0], client.olm
    outdated = user_id in olm.users_for_key_query or user_id not in olm.tracked_users
    return outdated or known_device(olm, *recipient) is None


async def _find(
    client: nio.AsyncClient, request: SendEncrypted, recipients: Collection[Recipient], fates: dict[Recipient, Fate]
) -> dict[Recipient, OlmDevice]:
    """The devices that can be encrypted to; why not to the others goes into `fates`."""
    olm = client.olm
    stale = {recipient[0] for recipient in recipients if _is_stale(client, recipient)}
    missing: Mapping[str, Fate] = {}
    if stale:
        try:
            missing = dict.fromkeys(await olm_keys.query(client, stale), Unreachable("server_down"))
        except Failed as failed:
            missing = dict.fromkeys(stale, failed.outcome)
    found: dict[Recipient, OlmDevice] = {}
    for recipient in recipients:
        device = known_device(olm, *recipient)
        if device is None or not request.is_meant(device):
            fates[recipient] = missing.get(recipient[0], Unreachable("no_device"))
        elif olm.is_device_blacklisted(device):
            fates[recipient] = Unreachable("blacklisted")
        else:
            found[recipient] = device
    return found


def _has_session(client: nio.AsyncClient, device: OlmDevice) -> bool:
    return client.olm.session_store.get(device.curve25519) is not None


async def _claim(client: nio.AsyncClient, devices: Sequence[OlmDevice]) -> Mapping[Recipient, Fate]:
    """A session with each of the devices; why not, for those that get none."""
    lacking = [device for device in devices if not _has_session(client, device)]
    try:
        return await olm_keys.claim(client, lacking) if lacking else {}
    except Failed as failed:
        return {(device.user_id, device.device_id): failed.outcome for device in lacking}


async def _put(client: nio.AsyncClient, request: SendEncrypted, devices: Mapping[Recipient, OlmDevice]) -> Fate:
    olm = client.olm
    messages: dict[str, dict[str, Any]] = {}
    for (user_id, device_id), device in devices.items():
        session = olm.session_store.get(device.curve25519)
        content = dict(request.messages[user_id, device_id])
        messages.setdefault(user_id, {})[device_id] = olm._olm_encrypt(session, device, request.type, content)
    target = path("client", "v3", "sendToDevice", ENCRYPTED, _transaction(request.id, devices))
    reply = await ask(client, "PUT", target, {"messages": messages})
    return Accepted() if reply.ok else reply.failure()


def _transaction(id: str, recipients: Collection[Recipient]) -> str:
    """The id of one PUT. It follows from who gets it: a homeserver drops what comes under an id that it has seen, and
    who was not in the earlier batch would get nothing."""
    digest = hashlib.sha256(json.dumps(list(recipients)).encode()).digest()
    return f"{id}.{encode_base64url(digest[:12])}"
