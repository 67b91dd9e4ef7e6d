"""The chain device key -> self-signing key -> master key as it travels in a join, and in an answer of
keys/query.

Decoding checks form and that the three name one user, one device and each other; `mlsrtc.trust` checks the
signatures. Signatures of Matrix cover the canonical JSON of an object without `signatures` and `unsigned`
(Matrix specification, "Signing JSON"), unknown fields included: those bytes are kept as they are. Of the
master key only the key is needed.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import canonicaljson

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.fields import INTEGER_LIMIT, Field, refuse

OBJECT_LIMIT = 2048  # bytes of canonical JSON of one signed object; a device of nio or rust-sdk has about 400
DEPTH_LIMIT = 6
KEYS_LIMIT = 16
DEVICES_LIMIT = 1000


@dataclass(frozen=True, slots=True)
class DeviceChain:
    """Not yet checked. Keys are Ed25519 public keys of 32 bytes, signatures 64 bytes, `*_signed` canonical
    JSON.
    """

    user_id: UserId
    device_id: DeviceId
    device_key: bytes
    self_signing_key: bytes
    master_key: bytes
    device_signed: bytes
    device_signature: bytes  # by the self-signing key, over device_signed
    self_signing_signed: bytes
    self_signing_signature: bytes  # by the master key, over self_signing_signed


@dataclass(frozen=True, slots=True)
class QueriedDevice:
    """A device as keys/query tells it; `chain` is None if it is not cross-signed in form."""

    device_id: DeviceId
    device_key: bytes
    chain: DeviceChain | None


@dataclass(frozen=True, slots=True)
class QueriedUser:
    """All devices of a user as keys/query tells them. A device that is not among them is gone: it was
    revoked.
    """

    user_id: UserId
    master_key: bytes | None
    devices: Mapping[DeviceId, QueriedDevice]


def decode_chain(field: Field) -> DeviceChain:
    """``{device, self_signing, master}`` of a join. Raises RemoteProtocolError with the reasons of `Field`,
    and wrong_user, wrong_usage, wrong_key_id, not_signed."""
    device, self_signing = field["device"], field["self_signing"]
    user_id = device["user_id"].user_id()
    device_id = device["device_id"].device_id()
    self_signing_key = _cross_signing_key(self_signing, user_id, "self_signing")
    master_key = field["master"].base64(size=32)
    return DeviceChain(
        user_id=user_id,
        device_id=device_id,
        device_key=_device_key(device, device_id),
        self_signing_key=self_signing_key,
        master_key=master_key,
        device_signed=signed_bytes(device),
        device_signature=_signature(device, user_id, self_signing_key),
        self_signing_signed=signed_bytes(self_signing),
        self_signing_signature=_signature(self_signing, user_id, master_key),
    )


def encode_chain(chain: DeviceChain) -> dict[str, Any]:
    """The inverse: only the signatures that the chain needs are written."""
    return {
        "device": _with_signature(chain.device_signed, chain, chain.self_signing_key, chain.device_signature),
        "self_signing": _with_signature(
            chain.self_signing_signed, chain, chain.master_key, chain.self_signing_signature
        ),
        "master": encode_base64(chain.master_key),
    }


def decode_keys_query(user_id: UserId, response: Mapping[str, Any]) -> QueriedUser:
    """One user of ``{device_keys: {user: {device: …}}, master_keys: {user: …}, self_signing_keys: {user:
    …}}``.

    A device whose own entry is broken, or that is not cross-signed, hides no other: it stands without chain
    or not at all. Raises RemoteProtocolError if the answer as a whole has not the form.
    """
    field = Field(response, "keys_query")
    master_keys, self_signing_keys = field["master_keys"], field["self_signing_keys"]
    master = self_signing = None
    if not master_keys.absent and not self_signing_keys.absent:
        master = master_keys[user_id].optional(lambda key: _cross_signing_key(key, user_id, "master"))
        self_signing = self_signing_keys[user_id].optional(Field.object)
    devices: dict[DeviceId, QueriedDevice] = {}
    for name, device in field["device_keys"][user_id].items(DEVICES_LIMIT):
        try:
            device_id = device["device_id"].device_id()
            if device["user_id"].user_id() != user_id or device_id != name:
                continue
            key = _device_key(device, device_id)
        except RemoteProtocolError:
            continue
        chain = None
        if master is not None and self_signing is not None:
            raw = {
                "device": device.object(),
                "self_signing": self_signing,
                "master": encode_base64(master),
            }
            try:
                chain = decode_chain(Field(raw, "keys_query"))
            except RemoteProtocolError:
                chain = None
        devices[device_id] = QueriedDevice(device_id, key, chain)
    return QueriedUser(user_id, master, devices)


def signed_bytes(field: Field) -> bytes:
    """The canonical JSON that a Matrix signature covers. Raises RemoteProtocolError: wrong_type,
    out_of_range, bad_text, oversized (depth or size)."""
    copied = {
        name: _copied(Field(value, name, field), DEPTH_LIMIT)
        for name, value in field.object().items()
        if name not in ("signatures", "unsigned")
    }
    try:
        value = bytes(canonicaljson.encode_canonical_json(copied))
    except (UnicodeEncodeError, TypeError):  # a name with a lone surrogate, or that is no text
        refuse("bad_text", field.where)
    if len(value) > OBJECT_LIMIT:
        refuse("oversized", field.where, f"more than {OBJECT_LIMIT} bytes")
    return value


def _copied(field: Field, depth: int) -> Any:
    """The value as plain JSON without floats: canonical JSON has none, and two libraries would write them
    differently.
    """
    value = field._value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return field.text(OBJECT_LIMIT)
    if isinstance(value, int):
        return field.integer(-INTEGER_LIMIT)
    if not depth:
        refuse("oversized", field.where, "nested too deeply")
    if isinstance(value, Mapping):
        return {name: _copied(item, depth - 1) for name, item in field.items(KEYS_LIMIT)}
    return [_copied(item, depth - 1) for item in field.list(KEYS_LIMIT)]


def _device_key(device: Field, device_id: DeviceId) -> bytes:
    return device["keys"][f"ed25519:{device_id}"].base64(size=32)


def _cross_signing_key(field: Field, user_id: UserId, usage: str) -> bytes:
    """The one key of a cross-signing object, after checking whose it is and what for."""
    if field["user_id"].user_id() != user_id:
        refuse("wrong_user", f"{field.where}.user_id")
    if usage not in [item.text() for item in field["usage"].list(KEYS_LIMIT)]:
        refuse("wrong_usage", f"{field.where}.usage")
    keys = field["keys"].items(1)
    if not keys:
        refuse("missing_field", f"{field.where}.keys")
    name, value = keys[0]
    if name != f"ed25519:{value.text()}":
        refuse("wrong_key_id", f"{field.where}.keys")
    return value.base64(size=32)


def _signature(field: Field, user_id: UserId, by: bytes) -> bytes:
    signatures = field["signatures"]
    if signatures.absent or user_id not in signatures:
        refuse("not_signed", signatures.where)
    signature = signatures[user_id][f"ed25519:{encode_base64(by)}"]
    if signature.absent:
        refuse("not_signed", signatures.where)
    return signature.base64(size=64)


def _with_signature(signed: bytes, chain: DeviceChain, by: bytes, signature: bytes) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(signed)
    value["signatures"] = {chain.user_id: {f"ed25519:{encode_base64(by)}": encode_base64(signature)}}
    return value
