"""What the tests of SFrame begin with: a call as its notices, and groups."""

import hashlib
from dataclasses import dataclass, field

from clients import Circle, circle

from mlsrtc.adapters.sframe import CallReceiver, CallSender, Suite
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.media.keys import EpochKeys, derive
from mlsrtc.notices import MediaKeysChanged, MediaKeysRetired, SendKeySwitched

ROOM, SLOT = RoomId("!room:one.test"), SlotId("m.call#ROOM")
NAMES = ("ann", "ben", "cal")


@dataclass
class Ourselves:
    """What `CallSender` asks a session."""

    member_id: MemberId | None


def member(name: str) -> MemberId:
    return MemberId(name.ljust(42, "-") + "A")


@dataclass
class CallOfThree:
    """A group of ann, ben and cal, and what a call on it tells, of the present epoch and of former ones."""

    circle: Circle = field(default_factory=lambda: circle(*NAMES))
    epochs: list[EpochKeys] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._derive()

    def _derive(self) -> None:
        leaves = {
            LeafIndex(place): Leaf(member(name), UserId(f"@{name}:one.test"), DeviceId("D"), bytes(32), bytes(32))
            for place, name in enumerate(NAMES)
        }
        group = self.circle["ann"]
        epoch_id = EpochId(hashlib.sha256(group.confirmation_tag).digest())
        self.epochs.append(derive(group, epoch_id, ROOM, SLOT, leaves))

    def rekey(self) -> None:
        self.circle.commit("ann", path=True)
        self._derive()

    def keys(self, epoch: int = -1, *, without: str | None = None) -> MediaKeysChanged:
        of = self.epochs[epoch]
        keys = [key for key in of.keys.values() if without is None or key.member_id != member(without)]
        withdrawn = () if without is None else (of.keys[member(without)].sender,)
        return MediaKeysChanged(of.id, of.epoch, tuple(keys), withdrawn)

    def switch(self, epoch: int = -1) -> SendKeySwitched:
        of = self.epochs[epoch]
        return SendKeySwitched(of.id, of.epoch, of.index)

    def retire(self, epoch: int) -> MediaKeysRetired:
        of = self.epochs[epoch]
        of.wipe()
        return MediaKeysRetired(of.id, of.index)

    def sender(self, name: str, suite: Suite = Suite.AES_128_GCM_SHA256_128) -> CallSender:
        """Sending in the present epoch."""
        sender = CallSender(Ourselves(member(name)), suite=suite)
        sender.tell(self.keys())
        sender.tell(self.switch())
        return sender

    def receiver(
        self, name: str, suite: Suite = Suite.AES_128_GCM_SHA256_128, *, window: int = 128, contexts: int = 64
    ) -> CallReceiver:
        """Receiving in the present epoch."""
        receiver = CallReceiver(Ourselves(member(name)), suite=suite, window=window, contexts=contexts)
        receiver.tell(self.keys())
        return receiver
