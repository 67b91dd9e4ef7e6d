"""A new Olm session where the old one opens nothing any more, as nio makes one, but at once. Knows nio's Olm machine.

nio claims a key and sends its dummy between its syncs: while nothing comes in, that is two times 30 seconds, in which
every key that the other device sends is lost.
"""

import logging
from uuid import uuid4

import nio
from nio.crypto import Olm, OlmDevice
from nio.event_builders import DummyMessage
from nio.responses import ToDeviceResponse

from mlsrtc.adapters.nio import olm_keys
from mlsrtc.adapters.nio.http import Failed, ask, path
from mlsrtc.wire.names import ENCRYPTED

logger = logging.getLogger(__name__)


def mark(olm: Olm, sender: str, sender_key: str) -> OlmDevice | None:
    """The device that `mend` is due for, or None: nio makes one new session in an hour, as the specification asks."""
    olm._mark_device_for_unwedging(sender, sender_key)
    device = olm.device_store.device_from_sender_key(sender, sender_key)
    if device is None or device not in olm.wedged_devices:
        return None
    # Out of nio's list: its loop would claim a second key.
    olm.wedged_devices.remove(device)
    return device


async def mend(client: nio.AsyncClient, device: OlmDevice) -> None:
    """Start a session and tell the other device by a dummy message. If that cannot be done now, it is logged."""
    olm = client.olm
    try:
        unreachable = await olm_keys.claim(client, [device])
    except Failed as failed:
        logger.info("no new Olm session with %s %s: %s", device.user_id, device.device_id, failed.outcome)
        return
    for why in unreachable.values():
        logger.info("no new Olm session with %s %s: %s", device.user_id, device.device_id, why.reason)
        return
    content = olm._olm_encrypt(olm.session_store.get(device.curve25519), device, "m.dummy", {})
    target = path("client", "v3", "sendToDevice", ENCRYPTED, str(uuid4()))
    reply = await ask(client, "PUT", target, {"messages": {device.user_id: {device.device_id: content}}})
    # nio asks again for room keys once it was sent; what was not sent nio's loop sends.
    dummy = DummyMessage(ENCRYPTED, device.user_id, device.device_id, content)
    olm.outgoing_to_device_messages.append(dummy)
    if reply.ok:
        olm.handle_response(ToDeviceResponse(dummy))
