"""LiveKit's key where all send under one: in place while we may send, and nobody's before and after."""

import pytest

from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import Derivation, MediaKey
from mlsrtc.mls import Secret
from mlsrtc.notices import MediaKeysChanged, Muted, SendKeySwitched

shared_ring = pytest.importorskip("mlsrtc.adapters.livekit.shared_ring", reason="the extra `test` installs LiveKit")

PHRASE = b"open sesame"
SWITCHED = SendKeySwitched(None, None, KeyIndex(0))


class Provider:
    """What the SDK holds."""

    def __init__(self) -> None:
        self.set: list[tuple[bytes, int]] = []

    def set_shared_key(self, key: bytes, key_index: int) -> None:
        self.set.append((key, key_index))


def _told(*names: str, secret: Secret | None = None) -> MediaKeysChanged:
    secret = secret or Secret(PHRASE)
    keys = (
        MediaKey(MemberId(n), UserId(f"@{n}:h"), DeviceId("D"), None, KeyIndex(0), secret, Derivation.PBKDF2)
        for n in names
    )
    return MediaKeysChanged(None, None, tuple(keys))


def test_the_key_is_set_once_whoever_comes() -> None:
    provider = Provider()
    ring = shared_ring.SharedRing(provider)
    assert not ring.sends
    for notice in (_told("ann"), SWITCHED, _told("ben"), _told("cem")):
        ring.tell(notice)
    ring.published()
    assert provider.set == [(PHRASE, 0)], "each time costs 100,000 rounds for each track"
    assert ring.sends


def test_who_goes_takes_nothing_with_it() -> None:
    provider = Provider()
    ring = shared_ring.SharedRing(provider)
    told = _told("ann", "ben")
    for notice in (told, SWITCHED, MediaKeysChanged(None, None, (), (told.keys[1].sender,))):
        ring.tell(notice)
    assert provider.set == [(PHRASE, 0)]


def test_after_the_end_nobodys_key_is_there_and_a_new_participation_sets_it_again() -> None:
    provider = Provider()
    ring = shared_ring.SharedRing(provider)
    for notice in (_told("ann"), SWITCHED, Muted("left")):
        ring.tell(notice)
    (_, (nobodys, index)) = provider.set
    assert (len(nobodys), index, ring.sends) == (32, 0, False)
    for notice in (_told("ann"), SWITCHED):
        ring.tell(notice)
    assert provider.set[-1] == (PHRASE, 0)
    assert ring.sends


def test_a_key_that_was_wiped_before_it_was_told_is_nobodys() -> None:
    provider, secret = Provider(), Secret(PHRASE)
    ring = shared_ring.SharedRing(provider)
    told = _told("ann", secret=secret)
    secret.wipe()
    ring.tell(told)
    assert len(provider.set[0][0]) == 32


def test_it_is_set_anew_for_whoever_is_not_heard_while_it_is_there() -> None:
    provider = Provider()
    ring = shared_ring.SharedRing(provider)
    ring.set_anew("@ann:h:D")
    assert not provider.set
    for notice in (_told("ann"), SWITCHED):
        ring.tell(notice)
    ring.set_anew("@ann:h:D")
    assert provider.set == [(PHRASE, 0)] * 2
    ring.tell(Muted("left"))
    ring.set_anew("@ann:h:D")
    assert len(provider.set) == 3
