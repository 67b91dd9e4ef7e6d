"""Matrix users with cross-signing and their devices: real keys, real signatures, made from a seed.

Knows `cryptography` and the JSON of Matrix device keys, nothing of calls. For tests only: the keys follow
from the seed, so whoever knows the seed holds them.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from canonicaljson import encode_canonical_json
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from unpaddedbase64 import encode_base64


class SigningIdentity:
    """One Ed25519 key and what it signs. `public` is 32 bytes, `name` its unpadded base64."""

    __slots__ = ("_private", "name", "public")

    def __init__(self, seed: bytes, label: str) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(_derive(seed, label))
        self.public = self._private.public_key().public_bytes_raw()
        self.name: str = encode_base64(self.public)

    def sign(self, message: bytes) -> bytes:
        """64 bytes."""
        return self._private.sign(message)

    def sign_json(self, value: Mapping[str, Any]) -> str:
        """Unpadded base64 of the signature over the canonical JSON without `signatures` and `unsigned`
        (Matrix specification, Signing JSON)."""
        signed = {name: item for name, item in value.items() if name not in ("signatures", "unsigned")}
        signature: str = encode_base64(self.sign(encode_canonical_json(signed)))
        return signature


@dataclass(frozen=True, slots=True, eq=False)
class LabDevice:
    """A Matrix device, with what a session needs of it: names, public key and signer.

    `device_key`: Ed25519, 32 bytes. `sign` signs ASCII text, as the clients' libraries do, and gives 64
    bytes.
    """

    user: "LabUser" = field(repr=False)
    user_id: str
    device_id: str
    device_key: bytes
    keys: Mapping[str, Any] = field(repr=False)  # the device's own part of keys/query, signed
    _signing: SigningIdentity = field(repr=False)

    @property
    def name(self) -> tuple[str, str]:
        """(user_id, device_id)"""
        return self.user_id, self.device_id

    def sign(self, text: str) -> bytes:
        """The device's signature over ASCII text."""
        return self._signing.sign(text.encode("ascii"))

    def chain(self) -> dict[str, Any]:
        """Device key, self-signing key and master key with their signatures, as they travel in a join."""
        user = self.user
        return {"device": self.keys, "self_signing": user.self_signing_key, "master": user.master.name}


class LabUser:
    """A Matrix user with a master and a self-signing key. `generation` grows when it resets its
    cross-signing."""

    def __init__(self, user_id: str, seed: bytes) -> None:
        self.user_id = user_id
        self.devices: dict[str, LabDevice] = {}
        self._seed = seed
        self.generation = 0
        self._make_keys()

    def _make_keys(self) -> None:
        label = f"{self.user_id} {self.generation}"
        self.master = SigningIdentity(self._seed, f"master {label}")
        self.self_signing = SigningIdentity(self._seed, f"self-signing {label}")
        self.master_key = self._cross_signing_key(self.master, "master")
        key = self._cross_signing_key(self.self_signing, "self_signing")
        signature = {f"ed25519:{self.master.name}": self.master.sign_json(key)}
        self.self_signing_key: dict[str, Any] = {**key, "signatures": {self.user_id: signature}}

    def _cross_signing_key(self, key: SigningIdentity, usage: str) -> dict[str, Any]:
        return {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{key.name}": key.name}}

    def add_device(self, device_id: str, *, cross_signed: bool = True) -> LabDevice:
        """A new device, signed by itself and, if `cross_signed`, by the self-signing key."""
        label = f"{self.user_id} {device_id}"
        signing = SigningIdentity(self._seed, f"device {label}")
        curve = X25519PrivateKey.from_private_bytes(_derive(self._seed, f"curve {label}"))
        keys: dict[str, Any] = {
            "user_id": self.user_id,
            "device_id": device_id,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                f"curve25519:{device_id}": encode_base64(curve.public_key().public_bytes_raw()),
                f"ed25519:{device_id}": signing.name,
            },
        }
        signatures = {f"ed25519:{device_id}": signing.sign_json(keys)}
        if cross_signed:
            signatures[f"ed25519:{self.self_signing.name}"] = self.self_signing.sign_json(keys)
        keys["signatures"] = {self.user_id: signatures}
        device = LabDevice(self, self.user_id, device_id, signing.public, keys, signing)
        self.devices[device_id] = device
        return device

    def reset(self) -> None:
        """New master and self-signing keys, which sign all devices again: what a user does who lost the
        old ones."""
        self.generation += 1
        self._make_keys()
        for device_id in tuple(self.devices):
            self.add_device(device_id)

    def keys(self) -> dict[str, Any]:
        """This user's part of the answer of keys/query, as in `mlsrtc.wire.incoming.DeviceKeys`."""
        user = self.user_id
        return {
            "device_keys": {user: {name: device.keys for name, device in self.devices.items()}},
            "master_keys": {user: self.master_key},
            "self_signing_keys": {user: self.self_signing_key},
        }


def _derive(seed: bytes, label: str) -> bytes:
    return hashlib.sha256(b"mlsrtc lab\0" + seed + b"\0" + label.encode()).digest()
