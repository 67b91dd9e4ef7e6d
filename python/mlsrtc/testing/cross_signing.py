"""Cross-signing for test users: the keys made, uploaded, and devices signed (Matrix client-server API).

A real user does this in a client that keeps the private keys in secret storage; a test user's keys live as
long as the object. Knows the endpoints and the signing of JSON; nothing of calls.
"""

import json
from collections.abc import Mapping
from typing import Any, Protocol

from canonicaljson import encode_canonical_json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from unpaddedbase64 import encode_base64

from mlsrtc.testing.synapse import Account, Reply, SynapseError


class Homeserver(Protocol):
    """What is needed of a homeserver: `mlsrtc.testing.synapse.Synapse` has it."""

    async def request(
        self, method: str, path: str, *, token: str | None = None, body: Mapping[str, Any] | None = None
    ) -> Reply:
        """One request and its answer."""


class CrossSigning:
    """The three cross-signing keys of one user: master, self-signing, user-signing (all Ed25519)."""

    def __init__(self, user_id: str) -> None:
        self.user_id = user_id
        self._master = Ed25519PrivateKey.generate()
        self._self_signing = Ed25519PrivateKey.generate()
        self._user_signing = Ed25519PrivateKey.generate()

    @property
    def master_key(self) -> str:
        """The public master key, 43 characters of unpadded base64."""
        return _public(self._master)

    def keys(self) -> dict[str, Any]:
        """The body of keys/device_signing/upload; the two lower keys are signed by the master key."""
        master = self._key("master", self._master)
        lower = {
            "self_signing_key": self._key("self_signing", self._self_signing),
            "user_signing_key": self._key("user_signing", self._user_signing),
        }
        for key in lower.values():
            _sign(key, self.user_id, self._master)
        return {"master_key": master, **lower}

    def sign_device(self, device_keys: Mapping[str, Any]) -> dict[str, Any]:
        """The device's keys with the self-signing key's signature, as keys/signatures/upload wants them."""
        signed: dict[str, Any] = json.loads(json.dumps(device_keys))
        signed.pop("unsigned", None)
        _sign(signed, self.user_id, self._self_signing)
        return signed

    def _key(self, usage: str, key: Ed25519PrivateKey) -> dict[str, Any]:
        public = _public(key)
        return {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}


async def bootstrap(server: Homeserver, account: Account) -> CrossSigning:
    """Make and upload keys for the account's user, and sign the account's device.

    The device has uploaded its own keys before. Replaces keys the user had: the homeserver then asks for the
    password (user-interactive authentication), which the account has. Raises SynapseError if it is refused.
    """
    signing = CrossSigning(account.user_id)
    path = "/_matrix/client/v3/keys/device_signing/upload"
    body = signing.keys()
    reply = await server.request("POST", path, token=account.access_token, body=body)
    if reply.status == 401 and "flows" in reply.body:
        password = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": account.user_id},
            "password": account.password,
            "session": reply.body.get("session", ""),
        }
        reply = await server.request("POST", path, token=account.access_token, body={**body, "auth": password})
    _expect_ok(path, reply)
    await sign_device(server, account, signing)
    return signing


async def sign_device(server: Homeserver, account: Account, signing: CrossSigning) -> None:
    """Sign the account's device with the self-signing key and upload the signature."""
    user_id, device_id = account.user_id, account.device_id
    path = "/_matrix/client/v3/keys/query"
    body: dict[str, Any] = {"device_keys": {user_id: [device_id]}}
    reply = await server.request("POST", path, token=account.access_token, body=body)
    _expect_ok(path, reply)
    device_keys = reply.body.get("device_keys", {}).get(user_id, {}).get(device_id)
    if device_keys is None:
        raise SynapseError(f"device {device_id} of {user_id} has not uploaded its keys")
    path = "/_matrix/client/v3/keys/signatures/upload"
    body = {user_id: {device_id: signing.sign_device(device_keys)}}
    reply = await server.request("POST", path, token=account.access_token, body=body)
    _expect_ok(path, reply)
    if reply.body.get("failures"):
        raise SynapseError(f"the signature of {device_id} was refused: {reply.body['failures']}")


def _public(key: Ed25519PrivateKey) -> str:
    return str(encode_base64(key.public_key().public_bytes_raw()))


def _sign(value: dict[str, Any], user_id: str, key: Ed25519PrivateKey) -> None:
    """Add our signature to a JSON object (Matrix specification, appendix "Signing JSON")."""
    signatures = value.pop("signatures", {})
    unsigned = value.pop("unsigned", None)
    signature = encode_base64(key.sign(encode_canonical_json(value)))
    value["signatures"] = {
        **signatures,
        user_id: {**signatures.get(user_id, {}), f"ed25519:{_public(key)}": signature},
    }
    if unsigned is not None:
        value["unsigned"] = unsigned


def _expect_ok(path: str, reply: Reply) -> None:
    if reply.status != 200:
        raise SynapseError(f"{path} was answered {reply.status} {reply.body.get('errcode')}")
