"""Parties of sessions that hand their keys out, some of them with MLS, and what each device was told."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from mlsrtc.base_session import BaseSession
from mlsrtc.identifiers import EpochId, KeyIndex, RoomId, SlotId
from mlsrtc.keyshare.ratchet import ratcheted
from mlsrtc.media.keys import Sender
from mlsrtc.mls import Secret
from mlsrtc.notices import Left, MediaKeysChanged, MediaKeysRetired, Muted, SendKeySwitched
from mlsrtc.policy import Policy, Trust
from mlsrtc.session import Session
from mlsrtc.sharing_session import SharingSession
from mlsrtc.testing import Latency, Limits, Party, PartyDevice, RoomSettings
from mlsrtc.wire.membership import MembershipFormat

SLOT = SlotId("m.call#ROOM")
STEADY = Latency(client=(0.03, 0.03))
EASY = Policy(trust=Trust.CROSS_SIGNED)


@dataclass
class Ring:
    """A key ring as an application would keep it by the notices: what one device can open, and what it sends under."""

    keys: dict[tuple[str, str, str], dict[KeyIndex, bytes]] = field(default_factory=dict)
    sending: KeyIndex | None = None
    begun: list[bytes] = field(default_factory=list)  # every key that was ever sent under, in order
    own: tuple[str, str] = ("", "")
    life: int = 0  # which process of the device it is
    epochs: dict[EpochId, set[tuple[str, str, str]]] = field(default_factory=dict)
    ratchets: bool = False  # it tries the next key of LiveKit's ratchet; one and no more, as livekit-client

    def tell(self, notice: Any) -> None:
        match notice:
            case MediaKeysChanged(id=epoch, keys=keys, withdrawn=withdrawn):
                for sender in withdrawn:
                    self.keys.get(_place(sender), {}).pop(sender.index, None)
                for key in keys:
                    self.keys.setdefault(_place(key), {})[key.index] = key.secret.expose()
                    if epoch is not None:
                        self.epochs.setdefault(epoch, set()).add(_place(key))
            case MediaKeysRetired(id=epoch, index=index):
                for place in self.epochs.pop(epoch, set()):
                    self.keys[place].pop(index, None)
            case SendKeySwitched(index=index):
                self.sending = index
                self.begun.append(self.sent_under())
            case Muted() | Left():
                self.sending = None
            case _:
                pass

    def sent_under(self) -> bytes:
        """The key that the device sends under."""
        (mine,) = (ring for place, ring in self.keys.items() if place[:2] == self.own and self.sending in ring)
        assert self.sending is not None
        return mine[self.sending]

    def opens(self, other: "Ring") -> bool:
        """Whether what `other` sends now can be opened."""
        if other.sending is None:
            return False
        held = (ring.get(other.sending) for place, ring in self.keys.items() if place[:2] == other.own)
        return any(key is not None and other.sent_under() in self.tried(key) for key in held)

    def tried(self, key: bytes) -> tuple[bytes, ...]:
        """What frames are tried with, where a key is held."""
        return (key, ratcheted(Secret(key)).expose()) if self.ratchets else (key,)


def _place(sender: Sender) -> tuple[str, str, str]:
    return sender.user_id, sender.device_id, sender.member_id


class Sharers:
    """`devices` devices in one encrypted room, those of `mls` with MLS. Each has a `Ring` that outlives its process.

    membership: which event memberships are written as; of several, each device takes the next.
    """

    def __init__(
        self,
        devices: int,
        seed: int = 1,
        *,
        policy: Policy = EASY,
        membership: MembershipFormat | Sequence[MembershipFormat] = MembershipFormat.STATE,
        mls: Collection[int] = (),
        **world: Any,
    ) -> None:
        self.mls = mls
        self.rings: list[Ring] = [Ring(ratchets=policy.ratchet_on_join) for _ in range(devices)]
        self.policy = policy
        self.memberships = [membership] if isinstance(membership, MembershipFormat) else membership
        encrypted = world.pop("encrypted", True)
        world.setdefault("latency", STEADY)
        world.setdefault("limits", Limits.generous())
        room = world.pop("room", RoomSettings())
        self.party = Party(
            self._make, devices=devices, random=Random(seed), room=replace(room, encrypted=encrypted), **world
        )
        for device, ring in zip(self.party.devices, self.rings, strict=True):
            ring.own = device.matrix.name
            device.notices = _Told(ring)
        self.world = self.party.world

    def _make(self, device: PartyDevice, saved: Any, now: Any) -> BaseSession:
        ring = self.rings[device.index]
        ring.keys.clear()
        ring.sending = None
        ring.life += 1
        kind = Session if device.index in self.mls else SharingSession
        return kind(
            device.matrix,
            RoomId(self.party.world.room_id),
            SLOT,
            now=now,
            policy=self.policy,
            membership=self.memberships[device.index % len(self.memberships)],
            records=saved,
        )

    def session(self, index: int) -> SharingSession:
        session = self.party[index].session
        assert isinstance(session, SharingSession)
        return session

    def told(self, index: int, kind: type[Any]) -> list[Any]:
        """The notices of one kind."""
        return [notice for notice in self.party[index].notices if isinstance(notice, kind)]

    def hear_each_other(self) -> bool:
        """Whether everybody who is present opens what everybody else who is present sends."""
        here = [self.rings[device.index] for device in self.party.present()]
        return all(one.opens(other) for one in here for other in here if one is not other)


def unsigned(party: Party, index: int) -> None:
    """The device of this index is one that its user has not cross-signed. Before it is started."""
    user, name = party.users[index], party[index].matrix.device_id
    device = user.add_device(name, cross_signed=False)
    party.world.log_in(device.name, keys=user.keys())
    party[index].matrix = device


class _Told(list[Any]):
    """The notices of a device, told to its ring as they come."""

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self._ring = ring

    def append(self, notice: Any) -> None:
        super().append(notice)
        self._ring.tell(notice)

    def extend(self, notices: Any) -> None:
        for notice in notices:
            self.append(notice)

    def __iadd__(self, notices: Any) -> "_Told":  # type: ignore[misc]
        self.extend(notices)
        return self
