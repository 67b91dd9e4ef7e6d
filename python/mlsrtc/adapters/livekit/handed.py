"""The seal of data packets in a call that hands its keys out: each sender's under the key that it sends media under.

Such a call has no epochs and no leaves. An index belongs to one device, so the KID names the device by a digest, in the
place of the leaf, and the index; and the device is bound into the metadata, so that whoever hands out another's key as
its own opens nothing of the other's as its own. As in a call with MLS, whoever holds a key could have sealed under it.
A passphrase that all share is no key for this: SFrame's derivation does nothing against guessing, as LiveKit's does.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from hmac import compare_digest

import canonicaljson

from mlsrtc.adapters.sframe import Opened, Participation, Suite, decode_header
from mlsrtc.adapters.sframe.header import EPOCH_BITS, LEAF_BITS
from mlsrtc.adapters.sframe.keys import Receiving, SealingKey, SenderKeys, own_frame, unknown_kid
from mlsrtc.errors import LocalProtocolError
from mlsrtc.identifiers import DeviceId, KeyIndex, UserId
from mlsrtc.media.keys import Derivation, MediaKey, Sender
from mlsrtc.mls import Secret
from mlsrtc.notices import Left, MediaKeysChanged, Muted, Notice, SendKeySwitched

SUITE = Suite.AES_128_GCM_SHA256_128
HOW = Receiving(SUITE, window=128, contexts=64)
LABEL = b"mlsrtc data packet of a device 1"
"""Begins the metadata of a packet."""

Place = tuple[int, KeyIndex]  # the device's digest, and the index


@dataclass(frozen=True, slots=True)
class _Key:
    """A key of a device, and what was received under it."""

    device: tuple[UserId, DeviceId]
    secret: Secret
    frames: SenderKeys


class HandedSender:
    """Seals our own packets. Tell it the notices of a call that hands its keys out."""

    def __init__(self, ourselves: Participation) -> None:
        self._ourselves = ourselves
        self._own: dict[KeyIndex, MediaKey] = {}
        self._sending: tuple[MediaKey, SealingKey] | None = None
        self.passphrase = False  # whether ours is one, so that nothing is sealed

    @property
    def sends(self) -> bool:
        """Whether there is a key to seal under."""
        return self._sending is not None and bool(self._sending[0].secret)

    def tell(self, notice: Notice) -> None:
        """What the call says. Our key is told, then switched to, then withdrawn when there is another."""
        match notice:
            case MediaKeysChanged(keys=keys, withdrawn=withdrawn):
                for sender in withdrawn:
                    if sender.member_id == self._ourselves.member_id:
                        self._own.pop(sender.index, None)
                for key in keys:
                    if key.member_id == self._ourselves.member_id:
                        self.passphrase = key.derivation is not Derivation.HKDF
                        self._own[key.index] = key
            case SendKeySwitched(index=index):
                self._switch(self._own.get(index))
            case Muted() | Left():
                self._switch(None)
            case _:
                pass

    def seal(self, data: bytes, topic: str) -> bytes:
        """One packet. Raises LocalProtocolError: muted, forked, spent_key, oversized."""
        if self._sending is None or not self._sending[0].secret:
            raise LocalProtocolError("there is no key to send under", reason="muted")
        key, sealing = self._sending
        return sealing.seal(data, _metadata((key.user_id, key.device_id), topic))

    def _switch(self, key: MediaKey | None) -> None:
        if key is None or not key.secret or self.passphrase:
            self._sending = None
        elif self._sending is None or self._sending[0] is not key:
            device = _digest((key.user_id, key.device_id))
            self._sending = key, SealingKey(SUITE, key.secret, device, key.index)


class HandedReceiver:
    """Opens the packets of the others, each once. Tell it the notices of a call that hands its keys out."""

    def __init__(self, ourselves: Participation) -> None:
        self._ourselves = ourselves
        self._own: set[int] = set()  # our device, by its digest
        self._known: list[_Key] = []  # with those that are withdrawn: they may come back, what was received may not
        self._heard: dict[Place, dict[Sender, _Key]] = {}

    def tell(self, notice: Notice) -> None:
        """What the call says."""
        match notice:
            case MediaKeysChanged(keys=keys, withdrawn=withdrawn):
                self._withdraw(withdrawn)
                self._known = [one for one in self._known if one.secret]
                for key in keys:
                    if key.derivation is Derivation.HKDF:
                        self._install(key)
            case Left():
                self._heard.clear()
                self._known.clear()
            case _:
                pass

    def open(self, packet: bytes, topic: str) -> Opened[Sender]:
        """What was sent, and by whom. Raises RemoteProtocolError as `CallReceiver.decrypt` does."""
        kid, counter, size = decode_header(packet)
        device, index = kid >> EPOCH_BITS & (1 << LEAF_BITS) - 1, KeyIndex(kid & (1 << EPOCH_BITS) - 1)
        if (heard := self._heard.get((device, index))) is None:
            raise own_frame() if device in self._own else unknown_kid()
        sender, key = next(reversed(heard.items()))  # of a device with two participations, the newest
        data = key.frames.open(packet, kid, counter, size, _metadata(key.device, topic))
        return Opened(data, sender, kid, counter)

    def _install(self, key: MediaKey) -> None:
        device = key.user_id, key.device_id
        if key.member_id == self._ourselves.member_id:
            self._own.add(_digest(device))
            return
        heard = self._heard.setdefault((_digest(device), key.index), {})
        if all(one.device == device for one in heard.values()):  # Else two share a digest: who was there first stays.
            heard.pop(key.sender, None)
            heard[key.sender] = self._key(device, key.secret)

    def _withdraw(self, senders: Iterable[Sender]) -> None:
        for sender in senders:
            place = _digest((sender.user_id, sender.device_id)), sender.index
            if (heard := self._heard.get(place)) is not None:
                heard.pop(sender, None)
                if not heard:
                    del self._heard[place]

    def _key(self, device: tuple[UserId, DeviceId], secret: Secret) -> _Key:
        for one in self._known:
            if one.device == device and secret and compare_digest(one.secret.expose(), secret.expose()):
                return one
        self._known.append(_Key(device, secret, SenderKeys(HOW, secret)))
        return self._known[-1]


def _digest(device: tuple[UserId, DeviceId]) -> int:
    """A device's place in a KID."""
    named = hashlib.sha256(canonicaljson.encode_canonical_json(list(device))).digest()
    return int.from_bytes(named[: LEAF_BITS // 8], "big")


def _metadata(device: tuple[UserId, DeviceId], topic: str) -> bytes:
    return LABEL + canonicaljson.encode_canonical_json([*device, topic])
