"""Media keys to other devices by the Olm door of a nio client. Knows no call."""

from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.nio.olm_keys import Recipient, Unreachable
from mlsrtc.adapters.nio.olm_send import Fate, SendEncrypted
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.outbox import Accepted, HandOver, Outcome, RateLimited
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.key_event import encode_handed

REASONS = {"no_device": "unknown_device", "server_down": "unreachable"}
"""Those of `Unreachable` that `KeyUndelivered` calls otherwise."""


async def hand_over(door: OlmDoor, request: HandOver) -> Outcome:
    """Encrypt and send, once. Raises LocalProtocolError if the client was made without end-to-end encryption."""
    type, content = encode_handed(request.event)
    recipients: dict[Recipient, str] = {(user, name): encode_base64(key) for user, name, key in request.devices}
    fates = await door.send(SendEncrypted(request.id, type, dict.fromkeys(recipients, content), recipients))
    failures: dict[DeviceIdentity, str | RateLimited] = {}
    for device in request.devices:
        if (failure := _failure(fates[device[0], device[1]])) is not None:
            failures[device] = failure
    return Accepted(failures=failures)


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
