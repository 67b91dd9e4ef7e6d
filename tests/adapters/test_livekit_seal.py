"""The seal of data packets: each opens once, for the others of the call, as its sender's and with its topic."""

import pytest
from sframing import CallOfThree, Ourselves, member

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.notices import Muted

livekit = pytest.importorskip("mlsrtc.adapters.livekit", reason="the extra `test` installs LiveKit")
seals = pytest.importorskip("mlsrtc.adapters.livekit.seal", reason="the extra `test` installs LiveKit")


def _seal(call: CallOfThree, name: str) -> "seals.DataSeal":
    seal = seals.DataSeal(Ourselves(member(name)))
    seal.tell(call.keys())
    seal.tell(call.switch())
    return seal


def _refusal(seal: "seals.DataSeal", packet: bytes, topic: str = "topic") -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        seal.open(packet, topic)
    return caught.value.reason


def test_the_others_open_it_and_know_whose_it_is() -> None:
    call = CallOfThree()
    ann, ben, cal = (_seal(call, name) for name in ("ann", "ben", "cal"))
    for data in (b"", b"said", bytes(15_000)):
        packet = ann.seal(data, "topic")
        assert len(packet) <= len(data) + 33
        for other in (ben, cal):
            opened = other.open(packet, "topic")
            assert (opened.data, opened.sender.member_id) == (data, member("ann"))


def test_it_opens_once_and_with_its_topic_alone() -> None:
    call = CallOfThree()
    ann, ben = _seal(call, "ann"), _seal(call, "ben")
    packet = ann.seal(b"said", "topic")
    assert _refusal(ben, packet, "another") == "bad_tag"
    assert ben.open(packet, "topic").data == b"said"
    assert _refusal(ben, packet) == "replayed"
    assert _refusal(ann, packet) == "own_frame"


def test_what_is_in_clear_or_a_media_frame_does_not_open() -> None:
    call = CallOfThree()
    ben = _seal(call, "ben")
    assert _refusal(ben, b"") == "truncated"
    assert _refusal(ben, b"in clear") == "unknown_kid"
    assert _refusal(ben, call.sender("ann").encrypt(b"frame")) == "bad_tag"
    assert _refusal(ben, call.sender("ann").encrypt(b"frame", metadata=b"topic")) == "bad_tag"


def test_a_former_epoch_opens_until_it_is_retired() -> None:
    call = CallOfThree()
    ann, ben = _seal(call, "ann"), _seal(call, "ben")
    late, later = ann.seal(b"late", "topic"), ann.seal(b"later", "topic")
    call.rekey()
    for notice in (call.keys(), call.switch()):
        ann.tell(notice)
        ben.tell(notice)
    assert ben.open(late, "topic").data == b"late"
    assert ben.open(ann.seal(b"new", "topic"), "topic").data == b"new"
    ben.tell(call.retire(0))
    assert _refusal(ben, later) == "unknown_kid"


def test_what_is_sent_as_fast_as_it_can_pushes_nothing_out_that_is_sent_for_sure() -> None:
    call = CallOfThree()
    ann, ben = _seal(call, "ann"), _seal(call, "ben")
    sure, fast = ann.seal(b"sure", "chat"), ann.seal(b"fast", "mouse", reliable=False)
    for number in range(200):
        packet = ann.seal(b"%d" % number, "mouse", reliable=False)
        assert ben.open(packet, "mouse").data == b"%d" % number
    assert ben.open(sure, "chat").data == b"sure"
    assert _refusal(ben, fast, "mouse") == "too_late"
    assert _refusal(ben, sure, "chat") == "replayed"


def test_nothing_is_sealed_while_muted() -> None:
    call = CallOfThree()
    ann = _seal(call, "ann")
    ann.tell(Muted("for a test"))
    for reliable in (True, False):
        with pytest.raises(livekit.MediaError, match="muted"):
            ann.seal(b"said", "topic", reliable=reliable)
    ann.tell(call.switch())
    assert ann.seal(b"said", "topic")
