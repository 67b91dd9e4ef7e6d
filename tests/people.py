"""Users, devices and leaves with fixed keys, and what they would send. For tests of wire, trust and
roster.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

import canonicaljson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mlsrtc import trust
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire.binding import Binding, bind
from mlsrtc.wire.block import JoinBlock, LeftBlock
from mlsrtc.wire.chain import DeviceChain, decode_chain
from mlsrtc.wire.encoding import Identity, encode_base64, member_id
from mlsrtc.wire.fields import Field

ROOM = RoomId("!call:one.example")
SLOT = SlotId("m.call#ROOM")
NOW = 1_700_000_000_000
HOUR = 3_600_000
ANNA_ID = UserId("@anna:one.example")
ANNA_DEVICE = DeviceId("DEVICEA")


def private(*names: str) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256("/".join(names).encode()).digest())


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def epoch(name: str) -> EpochId:
    return EpochId(hashlib.sha256(name.encode()).digest())


def fixed_random(size: int) -> bytes:
    return bytes(range(size))


def signed_json(value: dict[str, Any], user: str, key: Ed25519PrivateKey, key_id: str | None = None) -> dict[str, Any]:
    """The object with a signature by `key`, named by its public half unless `key_id` says otherwise."""
    signature = key.sign(canonicaljson.encode_canonical_json(value))
    name = f"ed25519:{key_id or encode_base64(public(key))}"
    return {**value, "signatures": {user: {name: encode_base64(signature)}}}


@dataclass(frozen=True)
class LeafKey:
    """An Ed25519 leaf key with the face of `mlsrtc.mls.SigningKey`."""

    key: Ed25519PrivateKey
    suite: int = 1

    @property
    def public(self) -> bytes:
        return public(self.key)

    def sign(self, message: bytes) -> bytes:
        return self.key.sign(message)


@dataclass(frozen=True)
class Device:
    """A Matrix device and one participation of it. `master` names the user's master key, `join` the
    participation.
    """

    user: UserId = ANNA_ID
    device: DeviceId = ANNA_DEVICE
    master: str = "first"
    join: int = 1
    room: RoomId = ROOM
    slot: SlotId = SLOT

    @property
    def key(self) -> Ed25519PrivateKey:
        return private("device", self.user, self.device)

    @property
    def master_key(self) -> Ed25519PrivateKey:
        return private("master", self.user, self.master)

    @property
    def self_signing_key(self) -> Ed25519PrivateKey:
        return private("self-signing", self.user, self.master)

    @property
    def signer(self) -> LeafKey:
        return LeafKey(private("leaf", self.user, self.device, str(self.join)))

    @property
    def m(self) -> MemberId:
        return member_id(
            self.room,
            self.slot,
            self.user,
            self.device,
            device_key=public(self.key),
            leaf_key=self.signer.public,
        )

    @property
    def leaf(self) -> Leaf:
        return Leaf(self.m, self.user, self.device, public(self.key), self.signer.public)

    @property
    def identity(self) -> Identity:
        return Identity(self.user, self.device, self.m)

    def sign(self, text: str) -> bytes:
        return self.key.sign(text.encode("ascii"))

    def binding(self) -> Binding:
        return bind(
            self.room,
            self.slot,
            self.identity,
            device_key=public(self.key),
            leaf_key=self.signer.public,
            sign=self.sign,
        )

    def device_keys(self) -> dict[str, Any]:
        """As in an answer of keys/query: signed by the device itself and by the self-signing key."""
        value = {
            "user_id": self.user,
            "device_id": self.device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                f"curve25519:{self.device}": encode_base64(public(private("curve", self.device))),
                f"ed25519:{self.device}": encode_base64(public(self.key)),
            },
        }
        by_itself = signed_json(value, self.user, self.key, self.device)["signatures"][self.user]
        by_user = signed_json(value, self.user, self.self_signing_key)["signatures"][self.user]
        return {
            **value,
            "signatures": {self.user: by_itself | by_user},
            "unsigned": {"device_display_name": "x"},
        }

    def cross_signing(self, usage: str, key: Ed25519PrivateKey) -> dict[str, Any]:
        text = encode_base64(public(key))
        value = {"user_id": self.user, "usage": [usage], "keys": {f"ed25519:{text}": text}}
        return signed_json(value, self.user, self.master_key)

    def keys_query(self) -> dict[str, Any]:
        return {
            "device_keys": {self.user: {self.device: self.device_keys()}},
            "master_keys": {self.user: self.cross_signing("master", self.master_key)},
            "self_signing_keys": {self.user: self.cross_signing("self_signing", self.self_signing_key)},
        }

    def chain_content(self) -> dict[str, Any]:
        return {
            "device": self.device_keys(),
            "self_signing": self.cross_signing("self_signing", self.self_signing_key),
            "master": encode_base64(public(self.master_key)),
        }

    def chain(self) -> DeviceChain:
        return decode_chain(Field(self.chain_content()))

    def join_block(
        self,
        *,
        from_ts: int = NOW,
        until_ts: int = NOW + HOUR,
        head: EpochId | None = None,
        replaces: frozenset[MemberId] = frozenset(),
        with_chain: bool = True,
        suite: int = 1,
    ) -> JoinBlock:
        return trust.sign_join(
            self.room,
            self.slot,
            self.leaf,
            suite=suite,
            key_package=b"KeyPackage of " + self.m.encode(),
            binding=self.binding(),
            sign=self.sign,
            from_ts=from_ts,
            until_ts=until_ts,
            head=head,
            replaces=replaces,
            chain=self.chain() if with_chain else None,
        )

    def left_block(self) -> LeftBlock:
        return trust.sign_left(self.room, self.slot, self.leaf, self.signer)


ANNA = Device()
ANNA_AGAIN = Device(join=2)
ANNA_PHONE = Device(device=DeviceId("DEVICEB"))
BERT = Device(user=UserId("@bert:two.example"), device=DeviceId("DEV_ICE"))
