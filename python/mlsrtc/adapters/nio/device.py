"""The nio client's own Matrix device as the signer of our bindings. Holds no key: the client signs.

nio has no public call for this. `olm.account` and its `sign`, which takes text only, are pinned by
tests/adapters/test_nio_device.py to the version of nio.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import nio
from unpaddedbase64 import decode_base64

from mlsrtc.errors import LocalProtocolError


@dataclass(frozen=True, slots=True)
class Device:
    """A Matrix device that can sign.

    device_key: its Ed25519 public key, 32 bytes. sign: ASCII text to a 64-byte Ed25519 signature by that key.
    """

    user_id: str
    device_id: str
    device_key: bytes
    sign: Callable[[str], bytes] = field(repr=False)


def device_for(client: nio.AsyncClient) -> Device:
    """The device the client is logged in as.

    Raises LocalProtocolError if the client is not logged in or was made without end-to-end encryption.
    """
    if not client.user_id or not client.device_id:
        raise LocalProtocolError("the nio client is not logged in")
    olm = client.olm
    if olm is None:
        raise LocalProtocolError("the nio client has no device keys: set encryption_enabled and a store")

    def sign(text: str) -> bytes:
        if not text.isascii():
            raise LocalProtocolError("a device key signs ASCII text only")
        return bytes(decode_base64(olm.account.sign(text)))

    key = bytes(decode_base64(olm.account.identity_keys["ed25519"]))
    return Device(client.user_id, client.device_id, key, sign)
