"""Data packets in a call that hands its keys out: each opens once, as its sender's, for whoever holds its key."""

import hashlib
from dataclasses import replace

import pytest
from sframing import CallOfThree, Ourselves, member

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import Derivation, MediaKey
from mlsrtc.mls import Secret, random_bytes
from mlsrtc.notices import Left, MediaKeysChanged, Muted, Notice, SendKeySwitched

pytest.importorskip("livekit.rtc", reason="the extra `test` installs LiveKit")

from mlsrtc.adapters import livekit
from mlsrtc.adapters.livekit import handed
from mlsrtc.adapters.livekit.seal import DataSeal


def _key(name: str, index: int = 1, *, secret: Secret | None = None, of: MemberId | None = None) -> MediaKey:
    user, device = UserId(f"@{name}:one.test"), DeviceId("D")
    return MediaKey(of or member(name), user, device, None, KeyIndex(index), secret or random_bytes(32))


def _told(*keys: MediaKey, over: tuple[MediaKey, ...] = ()) -> Notice:
    return MediaKeysChanged(None, None, keys, tuple(key.sender for key in over))


def _seal(name: str, *keys: MediaKey) -> DataSeal:
    """That of one who holds these keys, and sends under its own."""
    seal = DataSeal(Ourselves(member(name)))
    seal.tell(_told(*keys))
    for key in keys:
        if key.member_id == member(name):
            seal.tell(SendKeySwitched(None, None, key.index))
    return seal


def _refusal(seal: DataSeal, packet: bytes, topic: str = "topic") -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        seal.open(packet, topic)
    return caught.value.reason


def test_whoever_holds_the_key_opens_it_once_and_with_its_topic_and_knows_whose_it_is() -> None:
    keys = [_key(name) for name in ("ann", "ben", "cal")]
    ann, ben, cal = (_seal(name, *keys) for name in ("ann", "ben", "cal"))
    for data in (b"", b"said", bytes(15_000)):
        packet = ann.seal(data, "topic")
        assert len(packet) <= len(data) + 33
        assert _refusal(ben, packet, "another") == "bad_tag"
        for other in (ben, cal):
            opened = other.open(packet, "topic")
            assert (opened.data, opened.sender.member_id) == (data, member("ann"))
            assert _refusal(other, packet) == "replayed"
        assert _refusal(ann, packet) == "own_frame"
    assert _refusal(_seal("dan", _key("dan")), ann.seal(b"said", "topic")) == "unknown_kid"
    assert ann.open(cal.seal(b"at the same index", "topic"), "topic").sender.member_id == member("cal")


def test_what_is_in_clear_does_not_open() -> None:
    ben = _seal("ben", _key("ben"), _key("ann"))
    assert (_refusal(ben, b""), _refusal(ben, b"in clear")) == ("truncated", "unknown_kid")


def test_whoever_hands_out_the_key_of_another_as_its_own_opens_nothing_of_it_as_its_own() -> None:
    anns = _key("ann")
    eves = _key("eve", secret=Secret(anns.secret.expose()))
    ann = _seal("ann", anns)
    for order in ((anns, eves), (eves, anns)):
        ben = _seal("ben", _key("ben"), *order)
        assert ben.open(ann.seal(b"said", "topic"), "topic").sender.member_id == member("ann")
    assert _refusal(_seal("ben", _key("ben"), eves), ann.seal(b"said", "topic")) == "unknown_kid"


def test_of_two_devices_with_one_digest_the_second_one_pushes_the_first_one_not_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handed, "_digest", lambda device: 7)
    anns, eves = _key("ann"), _key("eve")
    ann, eve = _seal("ann", anns), _seal("eve", eves)
    ben = DataSeal(Ourselves(member("ben")))
    for notice in (_told(anns), _told(eves)):
        ben.tell(notice)
    assert ben.open(ann.seal(b"said", "topic"), "topic").sender.member_id == member("ann")
    assert _refusal(ben, eve.seal(b"said", "topic")) == "bad_tag"


def test_a_key_that_is_withdrawn_opens_nothing_and_what_was_received_stays_so_when_it_is_back() -> None:
    anns, newer = _key("ann"), _key("ann", 2)
    ann, ben = _seal("ann", anns), _seal("ben", anns)
    first, second, third = (ann.seal(b"said", "topic") for _ in range(3))
    assert ben.open(first, "topic").data == b"said"
    ben.tell(_told(newer))
    assert ben.open(second, "topic").data == b"said"
    ben.tell(_told(over=(anns,)))
    assert _refusal(ben, third) == "unknown_kid"
    ben.tell(_told(_key("ann", 1, secret=Secret(anns.secret.expose()))))
    assert _refusal(ben, first) == "replayed"
    assert ben.open(third, "topic").data == b"said"
    ann.tell(_told(newer))
    ann.tell(SendKeySwitched(None, None, KeyIndex(2)))
    assert ben.open(ann.seal(b"newer", "topic"), "topic").data == b"newer"


def test_one_participation_that_ends_takes_not_the_key_of_another_of_the_device() -> None:
    anns = _key("ann")
    again = _key("ann", secret=anns.secret, of=MemberId("again"))
    ben, ann = _seal("ben", anns, again), _seal("ann", anns)
    packet = ann.seal(b"said", "topic")
    assert ben.open(packet, "topic").sender.member_id == "again"
    ben.tell(_told(over=(again,)))
    assert ben.open(ann.seal(b"said", "topic"), "topic").sender.member_id == member("ann")
    assert _refusal(ben, packet) == "replayed"


def test_a_new_key_at_the_same_index_takes_the_place_of_the_one_before() -> None:
    before = _key("ann")
    after = _key("ann")
    ann, ben = _seal("ann", before), _seal("ben", before)
    ann.tell(_told(after))
    ben.tell(_told(after, over=(before,)))
    ann.tell(SendKeySwitched(None, None, KeyIndex(1)))
    assert ben.open(ann.seal(b"said", "topic"), "topic").data == b"said"


def test_what_is_sent_as_fast_as_it_can_pushes_nothing_out_that_is_sent_for_sure() -> None:
    keys = [_key("ann"), _key("ben")]
    ann, ben = _seal("ann", *keys), _seal("ben", *keys)
    sure, fast = ann.seal(b"sure", "chat"), ann.seal(b"fast", "mouse", reliable=False)
    for _ in range(200):
        ben.open(ann.seal(b"more", "mouse", reliable=False), "mouse")
    assert ben.open(sure, "chat").data == b"sure"
    assert _refusal(ben, fast, "mouse") == "too_late"


def test_nothing_is_sealed_while_there_is_no_key_and_nothing_opens_after_the_end() -> None:
    keys = [_key("ann"), _key("ben")]
    ann, ben = _seal("ann", *keys), _seal("ben", *keys)
    packet = ann.seal(b"said", "topic")
    ann.tell(Muted("left"))
    with pytest.raises(livekit.MediaError, match="muted"):
        ann.seal(b"said", "topic")
    ann.tell(SendKeySwitched(None, None, KeyIndex(1)))
    keys[0].secret.wipe()
    with pytest.raises(livekit.MediaError, match="muted"):
        ann.seal(b"said", "topic")
    assert _refusal(ben, packet) == "unknown_kid"
    ben.tell(Left("left"))
    assert _refusal(ben, packet) == "unknown_kid"


def test_under_a_passphrase_nothing_is_sealed_and_nothing_opens() -> None:
    """Of each guess an SFU could say at once whether it is right, without the hundred thousand rounds of LiveKit's."""
    keys = [_key(name, 0, secret=Secret(b"passphrase")) for name in ("ann", "ben")]
    ann, ben = _seal("ann", *keys), _seal("ben", *(replace(key, derivation=Derivation.PBKDF2) for key in keys))
    with pytest.raises(livekit.MediaError, match="passphrase"):
        ben.seal(b"said", "topic")
    assert _refusal(ben, ann.seal(b"said", "topic")) == "unknown_kid"


def test_one_key_for_all_tells_apart_whose_a_packet_is() -> None:
    shared = random_bytes(32)
    keys = [_key(name, 0, secret=shared) for name in ("ann", "ben", "cal")]
    ann, ben, cal = (_seal(name, *keys) for name in ("ann", "ben", "cal"))
    for sender, name in ((ben, "ben"), (cal, "cal")):
        assert ann.open(sender.seal(b"said", "topic"), "topic").sender.member_id == member(name)


def test_the_device_is_named_by_the_beginning_of_a_digest() -> None:
    expected = hashlib.sha256(b'["@ann:one.test","D"]').digest()[:2]
    assert handed._digest((UserId("@ann:one.test"), DeviceId("D"))) == int.from_bytes(expected, "big")


def test_beside_those_of_a_call_with_epochs() -> None:
    call, anns = CallOfThree(), _key("ann")
    ben = DataSeal(Ourselves(member("ben")))
    for notice in (call.keys(), _told(anns)):
        ben.tell(notice)
    cal = DataSeal(Ourselves(member("cal")))
    for notice in (call.keys(), call.switch()):
        cal.tell(notice)
    assert ben.open(cal.seal(b"said", "topic"), "topic").sender.member_id == member("cal")
    assert ben.open(_seal("ann", anns).seal(b"said", "topic"), "topic").sender.member_id == member("ann")
