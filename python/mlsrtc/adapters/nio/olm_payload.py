"""What an Olm message carried, decoded, and checked against the device that the session authenticates. Knows no nio.

An Olm session proves a Curve25519 key and nothing else: whose it is says the sender's signed device keys. The payload
repeats the names, so that nobody can pass on another's message as their own (client-server API, "m.olm.v1").
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.wire.fields import Field, refuse

DEVICE_KEYS = ("sender_device_keys", "org.matrix.msc4147.device_keys")
"""MSC4147: the sender's signed device keys in the payload itself, under their stable and unstable name."""


@dataclass(frozen=True, slots=True)
class SenderDevice:
    """The device that an Olm session authenticated, by the device keys it has signed. Keys in unpadded base64."""

    user_id: str
    device_id: str
    ed25519: str
    curve25519: str


@dataclass(frozen=True, slots=True)
class Payload:
    """A payload that its sender wrote for this device. `raw` is all of it, with what else was claimed."""

    type: str
    content: Mapping[str, Any] = field(repr=False)
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def signing_key(self) -> str | None:
        """The Ed25519 key that the sender says it has. Some SDKs leave it out."""
        return Field(self.raw, "payload")["keys"].optional(lambda keys: keys["ed25519"].optional(Field.text))


def decode_payload(plaintext: str, *, sender: str, recipient: str, recipient_key: str) -> Payload:
    """The payload of a message from `sender` to the user `recipient` with the Ed25519 key `recipient_key`.

    Raises RemoteProtocolError with the reasons of `Field`, and bad_json, wrong_sender, wrong_recipient,
    wrong_recipient_key.
    """
    try:
        raw = json.loads(plaintext)
    except (ValueError, RecursionError):
        raise RemoteProtocolError("bad_json", where="payload") from None
    root = Field(raw, "payload")
    if root["sender"].text() != sender:
        refuse("wrong_sender", "payload.sender")
    if root["recipient"].text() != recipient:
        refuse("wrong_recipient", "payload.recipient")
    if root["recipient_keys"]["ed25519"].text() != recipient_key:
        refuse("wrong_recipient_key", "payload.recipient_keys.ed25519")
    payload = Payload(root["type"].text(), root["content"].object(), root.object())
    _ = payload.signing_key  # if it is there it is text
    return payload


def check_sender(payload: Payload, device: SenderDevice) -> None:
    """Whatever the payload claims of its sender's device has to be so; what it leaves out is known from the device.

    Raises RemoteProtocolError with the reasons of `Field`, and wrong_sender_key, wrong_sender_device.
    """
    root = Field(payload.raw, "payload")
    if payload.signing_key not in (None, device.ed25519):
        refuse("wrong_sender_key", "payload.keys.ed25519")
    if root["sender_device"].optional(Field.text) not in (None, device.device_id):
        refuse("wrong_sender_device", "payload.sender_device")
    for name in DEVICE_KEYS:
        if name in root:
            _check_device_keys(root[name], device)


def _check_device_keys(claimed: Field, device: SenderDevice) -> None:
    keys = claimed["keys"]
    found = (
        claimed["user_id"].text(),
        claimed["device_id"].text(),
        keys[f"ed25519:{device.device_id}"].text(),
        keys[f"curve25519:{device.device_id}"].text(),
    )
    if found != (device.user_id, device.device_id, device.ed25519, device.curve25519):
        refuse("wrong_sender_device", claimed.where)
