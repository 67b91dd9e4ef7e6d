"""Device keys and one-time keys through raw requests, fed to nio. Knows nio's Olm machine, and no payload.

nio's own methods sleep on a 429; and it reads what others have signed as if it had the right form: one malformed key
of one device makes it drop the whole answer, or raise and end its sync loop.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import nio
from nio.crypto import Olm, OlmDevice
from nio.responses import KeysClaimResponse, KeysQueryResponse

from mlsrtc.adapters.nio.http import demand, path
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.wire.encoding import decode_base64

SERVER_TIMEOUT_MS = 10_000  # the homeserver's own patience with other homeservers; its default
ONE_TIME_KEY = "signed_curve25519"

Recipient: TypeAlias = tuple[str, str]
"""A user and one of its devices."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Why nothing can be encrypted to a device just now.

    reason: ``no_device`` (its user has no such device, or it published no keys), ``server_down`` (its homeserver does
    not answer ours), ``no_one_time_key`` (it has none left: nobody new reaches it until it was online again),
    ``bad_one_time_key`` (not signed by the device, or no key), ``blacklisted`` (by the application, in nio).
    """

    reason: str


async def query(client: nio.AsyncClient, users: Collection[str]) -> Collection[str]:
    """Let nio know the devices of these users. Returns those whose homeserver does not answer. Raises Failed."""
    body = {"device_keys": {user: [] for user in sorted(users)}, "timeout": SERVER_TIMEOUT_MS}
    answer = await demand(client, "POST", path("client", "v3", "keys", "query"), body)
    failures = _object(answer.get("failures"))
    # Not by `from_dict`: it would refuse the answer as a whole.
    await client.receive_response(KeysQueryResponse(_object(answer.get("device_keys")), failures))
    return {user for user in users if _server(user) in failures}


async def claim(client: nio.AsyncClient, devices: Collection[OlmDevice]) -> Mapping[Recipient, Unreachable]:
    """A new Olm session with each of the devices. Returns those with which there is none, and why. Raises Failed."""
    wanted: dict[str, dict[str, str]] = {}
    for device in devices:
        wanted.setdefault(device.user_id, {})[device.device_id] = ONE_TIME_KEY
    body = {"one_time_keys": wanted, "timeout": SERVER_TIMEOUT_MS}
    answer = await demand(client, "POST", path("client", "v3", "keys", "claim"), body)
    keys, failures = _object(answer.get("one_time_keys")), _object(answer.get("failures"))
    unreachable: dict[Recipient, Unreachable] = {}
    for device in devices:
        recipient = device.user_id, device.device_id
        key = _object(keys.get(device.user_id)).get(device.device_id)
        if key:
            before = client.olm.session_store.get(device.curve25519)
            await client.receive_response(KeysClaimResponse({device.user_id: {device.device_id: key}}, {}))
            if client.olm.session_store.get(device.curve25519) is before:
                unreachable[recipient] = Unreachable("bad_one_time_key")
        else:
            down = _server(device.user_id) in failures
            unreachable[recipient] = Unreachable("server_down" if down else "no_one_time_key")
    return unreachable


async def upload_fallback_key(client: nio.AsyncClient) -> None:
    """A key that is given out when there is no one-time key left: nio has none. Raises Failed.

    Only the next sync makes new one-time keys, and to whoever takes the last one that may be half a minute away. For as
    long matrix-js-sdk hands its keys to nobody in a call, if there is one device that it finds no key of.
    """
    olm = client.olm
    olm.account._account.generate_fallback_key()
    [(name, key)] = olm.account._account.fallback_key.items()
    olm.save_account()
    signed: dict[str, Any] = {"key": key.to_base64(), "fallback": True}
    signed["signatures"] = {olm.user_id: {f"ed25519:{olm.device_id}": olm.sign_json(signed)}}
    body = {"fallback_keys": {f"{ONE_TIME_KEY}:{name}": signed}}
    await demand(client, "POST", path("client", "v3", "keys", "upload"), body)


def known_devices(olm: Olm, user_id: str) -> list[OlmDevice]:
    """The user's devices that nio knows, and that were not deleted. What nio learned while nobody looked, or in an
    earlier run, may have keys that are none."""
    devices = olm.device_store.active_user_devices(user_id) if user_id in olm.device_store.users else ()
    return [device for device in devices if _is_key(device.ed25519) and _is_key(device.curve25519)]


def known_device(olm: Olm, user_id: str, device_id: str) -> OlmDevice | None:
    """One of `known_devices`."""
    return next((device for device in known_devices(olm, user_id) if device.device_id == device_id), None)


def readable_devices(olm: Olm, response: KeysQueryResponse) -> dict[str, dict[str, Any]]:
    """The devices in an answer, without what nio would raise for or misread.

    A user whose homeserver did not answer has lost no device: nio would mark them all as deleted, and for ever.
    """
    failures = _object(response.failures)
    return {
        user_id: {name: _storable(keys) for name, keys in devices.items() if _is_readable(olm, user_id, name, keys)}
        for user_id, devices in _object(response.device_keys).items()
        if isinstance(devices, dict) and (devices or _server(user_id) not in failures)
    }


def _is_readable(olm: Olm, user_id: str, device_id: str, device: Any) -> bool:
    try:
        named = (device["user_id"], device["device_id"]) == (user_id, device_id)
        formed = isinstance(device.get("unsigned", {}), dict)
        key = device["keys"][f"ed25519:{device_id}"]
        formed = formed and _is_key(key) and _is_key(device["keys"][f"curve25519:{device_id}"])
        return named and formed and bool(olm.verify_json(dict(device), key, user_id, device_id))
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
        return False


def _storable(device: dict[str, Any]) -> dict[str, Any]:
    """With a name that nio's store can hold: the homeserver adds it, and nobody has signed it."""
    name = device.get("unsigned", {}).get("device_display_name")
    text = name.encode(errors="replace").decode() if isinstance(name, str) else ""
    return {**device, "unsigned": {"device_display_name": text}}


def _is_key(text: Any) -> bool:
    """Whether it is 32 bytes in the one form that they have on the wire; vodozemac reads others, padded ones say."""
    try:
        return isinstance(text, str) and len(decode_base64(text)) == 32
    except RemoteProtocolError:
        return False


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _server(user_id: str) -> str:
    return user_id.partition(":")[2]
