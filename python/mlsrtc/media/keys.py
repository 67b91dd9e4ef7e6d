"""The keys of one epoch (docs/protocol.md, Media keys). No key is ever sent: all of them follow from the epoch."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import canonicaljson

from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.mls import Group, Secret
from mlsrtc.wire import encoding

CODE_BYTES = 16


def livekit_identity(user_id: UserId, device_id: DeviceId) -> str:
    """A device's participant identity in LiveKit, as Element Call forms it: ``@user:server:DEVICE``."""
    return f"{user_id}:{device_id}"


def hashed_livekit_identity(user_id: UserId, device_id: DeviceId, member_id: MemberId) -> str:
    """The same in Matrix 2.0 mode (MSC4195): unpadded base64 of SHA-256 of ``[user, device, member id]``."""
    names = [user_id, device_id, member_id]
    return encoding.encode_base64(hashlib.sha256(canonicaljson.encode_canonical_json(names)).digest())


@dataclass(frozen=True, slots=True)
class Sender:
    """One member in one epoch: whose key, and at which index of a key ring it belongs.

    Of a participant without MLS, `member_id` is the id that its membership names, and `leaf` is None.
    """

    member_id: MemberId
    user_id: UserId
    device_id: DeviceId
    leaf: LeafIndex | None
    index: KeyIndex

    @property
    def livekit_identity(self) -> str:
        """The sender's participant identity in LiveKit, as Element Call forms it: ``@user:server:DEVICE``."""
        return livekit_identity(self.user_id, self.device_id)

    @property
    def hashed_livekit_identity(self) -> str:
        """The same in Matrix 2.0 mode (MSC4195): unpadded base64 of SHA-256 of ``[user, device, member id]``."""
        return hashed_livekit_identity(self.user_id, self.device_id, self.member_id)


class Derivation(Enum):
    """How LiveKit makes what frames are encrypted with (16 bytes) from a key: salt `LKFrameEncryptionKey`, SHA-256."""

    HKDF = "hkdf"  # with 128 zero bytes of info: of whatever is random
    PBKDF2 = "pbkdf2"  # 100,000 times: of a passphrase, and of nothing else


@dataclass(frozen=True, slots=True)
class MediaKey(Sender):
    """What one member sends its media under in one epoch: 32 bytes, for a key ring at `index`. That of a participant
    without MLS has 16 to 64, and is used for as long as it likes. A passphrase that all share is here as it is, in
    UTF-8, and `derivation` says so."""

    secret: Secret
    derivation: Derivation = Derivation.HKDF

    @property
    def sender(self) -> Sender:
        """The same without the key."""
        return Sender(self.member_id, self.user_id, self.device_id, self.leaf, self.index)


@dataclass(frozen=True, slots=True)
class EpochKeys:
    """Every sender's key in one epoch."""

    id: EpochId
    epoch: int
    index: KeyIndex
    keys: Mapping[MemberId, MediaKey]

    def wipe(self) -> None:
        """Forget every key. Objects handed to the application are the same ones and are empty afterwards."""
        for key in self.keys.values():
            key.secret.wipe()


def derive(
    group: Group, epoch_id: EpochId, room_id: RoomId, slot_id: SlotId, leaves: Mapping[LeafIndex, Leaf]
) -> EpochKeys:
    """All sender keys of the epoch that `group` stands on, in one call into the core.

    `leaves` is the tree as judged; room and slot are bound into the exporter context, so that two calls in one group
    could never share a key (RFC 9420 section 8.5).
    """
    context = encoding.export_context(room_id, slot_id)
    index = encoding.key_index(group.epoch, epoch_id)
    ordered = sorted(leaves.items())
    infos = [encoding.sender_info(leaf.credential, place, group.epoch) for place, leaf in ordered]
    secrets = group.sender_keys(encoding.MEDIA_LABEL, context, infos)
    keys = {
        leaf.member_id: MediaKey(leaf.member_id, leaf.user_id, leaf.device_id, place, index, secret)
        for (place, leaf), secret in zip(ordered, secrets, strict=True)
    }
    return EpochKeys(epoch_id, group.epoch, index, keys)


def safety_code(group: Group, room_id: RoomId, slot_id: SlotId) -> str:
    """What people on one epoch compare aloud: 30 digits of an exporter of its own (docs/protocol.md, Media keys)."""
    context = encoding.export_context(room_id, slot_id)
    return encoding.safety_code(group.export(encoding.CODE_LABEL, context, CODE_BYTES).expose())
