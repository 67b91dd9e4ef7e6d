"""Keys that are wiped before a key ring of LiveKit is told that they are over: a call ends, or a clock has jumped."""

from dataclasses import dataclass, field

import pytest

from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey
from mlsrtc.mls import random_bytes
from mlsrtc.notices import MediaKeysChanged, MediaKeysRetired, SendKeySwitched

keyring = pytest.importorskip("mlsrtc.adapters.livekit.keyring", reason="the extra `test` installs LiveKit")

US, OTHER = (UserId("@ada:one.test"), DeviceId("A")), (UserId("@ben:one.test"), DeviceId("B"))
OURS, THEIRS = "@ada:one.test:A", "@ben:one.test:B"


@dataclass
class Slots:
    """What lies where."""

    keys: dict[tuple[str, int], bytes] = field(default_factory=dict)
    last: tuple[str, int] = ("", 0)

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        self.last = participant_identity, key_index
        self.keys[self.last] = key


def _epoch(number: int) -> MediaKeysChanged:
    keys = (
        MediaKey(MemberId(name * 43), user_id, device_id, LeafIndex(leaf), KeyIndex(16 * number), random_bytes(32))
        for leaf, (name, (user_id, device_id)) in enumerate(zip("AB", (US, OTHER), strict=True))
    )
    return MediaKeysChanged(EpochId(bytes([number]) * 32), number, tuple(keys))


def _wipe(told: MediaKeysChanged) -> MediaKeysRetired:
    for key in told.keys:
        key.secret.wipe()
    return MediaKeysRetired(told.id, told.keys[0].index)


def test_epochs_that_end_together_are_emptied_one_by_one() -> None:
    slots = Slots()
    ring = keyring.KeyRing(OURS, US, slots, tuple, tuple)
    first, second = _epoch(1), _epoch(2)
    for told in (first, second, SendKeySwitched(second.id, 2, second.keys[0].index)):
        ring.tell(told)
    held = set(slots.keys.values())
    for retired in [_wipe(first), _wipe(second)]:  # both are wiped before either is told
        ring.tell(retired)
    assert not ring.sends
    assert not held & {slots.keys[place] for place in [(OURS, 16), (OURS, 32), (THEIRS, 16), (THEIRS, 32)]}
    assert slots.last == (OURS, 0)


def test_keys_that_are_over_when_they_are_told_are_nobodys() -> None:
    slots = Slots()
    ring = keyring.KeyRing(OURS, US, slots, tuple, tuple)
    told = _epoch(1)
    retired = _wipe(told)
    ring.tell(told)
    assert len(slots.keys[(THEIRS, 16)]) == 32
    assert slots.keys[(THEIRS, 16)] != slots.keys[(OURS, 16)]
    ring.tell(retired)
    assert not ring.sends
