"""SFrame under a call's keys: who is heard when, and what a sender does when it is told."""

import pytest
from sframing import CallOfThree, Ourselves, member

from mlsrtc.adapters.sframe import CallReceiver, CallSender, Kid, Suite, decode_header
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.notices import Left, MediaKeysChanged, Muted, Rejoining


def refusal(receiver: CallReceiver, frame: bytes, metadata: bytes = b"") -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        receiver.decrypt(frame, metadata=metadata)
    return caught.value.reason


def muted(sender: CallSender) -> bool:
    try:
        sender.encrypt(b"frame")
    except LocalProtocolError as error:
        assert error.reason == "muted"
        return True
    return False


@pytest.mark.parametrize("suite", Suite)
def test_a_frame_says_who_sent_it_in_every_suite(suite: Suite) -> None:
    call = CallOfThree()
    receiver = call.receiver("cal", suite)
    for name in ("ann", "ben", "ann"):
        sender = call.sender(name, suite)
        for counter, data in enumerate((b"", b"one", bytes(1200))):
            frame = sender.encrypt(data, metadata=b"beside it")
            opened = receiver.decrypt(frame, metadata=b"beside it")
            assert (opened.data, opened.counter) == (data, counter)
            assert opened.sender == call.epochs[-1].keys[member(name)].sender
            kid, _, size = decode_header(frame)
            assert opened.kid == kid
            assert (Kid.of(kid).leaf, Kid.of(kid).epoch) == (opened.sender.leaf, opened.sender.index)
            assert len(frame) == size + len(data) + suite.tag_size
            assert size <= 10


def test_the_suite_is_bound_to_the_key() -> None:
    call = CallOfThree()
    frame = call.sender("ann", Suite.AES_128_CTR_HMAC_SHA256_64).encrypt(b"frame")
    assert refusal(call.receiver("cal", Suite.AES_128_CTR_HMAC_SHA256_80), frame) == "bad_tag"
    with pytest.raises(LocalProtocolError, match="no cipher suite"):
        Suite(6)


def test_a_sender_waits_for_the_switch_and_stops_when_it_is_muted() -> None:
    call = CallOfThree()
    sender = CallSender(Ourselves(member("ann")))
    assert muted(sender)
    sender.tell(call.keys())
    assert muted(sender)
    sender.tell(call.switch())
    assert not muted(sender)
    sender.tell(Rejoining("any other notice"))
    assert not muted(sender)
    sender.tell(Muted("gone"))
    assert muted(sender)
    sender.tell(call.switch())
    assert not muted(sender)
    sender.tell(Left("left"))
    assert muted(sender)
    sender.tell(call.switch())
    assert muted(sender), "its keys are forgotten"


def test_who_is_in_no_call_and_who_has_no_key_of_its_own_sends_nothing() -> None:
    call = CallOfThree()
    for nobody in (None, member("dan")):
        sender = CallSender(Ourselves(nobody))
        sender.tell(call.keys())
        sender.tell(call.switch())
        assert muted(sender)


def test_the_old_epoch_is_received_until_it_retires() -> None:
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal")
    late, later = ann.encrypt(b"late"), ann.encrypt(b"later")
    call.rekey()
    for told in (ann, cal):
        told.tell(call.keys())
    assert cal.decrypt(ann.encrypt(b"before the switch")).data == b"before the switch"
    ann.tell(call.switch())
    new = ann.encrypt(b"after it")
    assert decode_header(new)[1] == 0
    assert cal.decrypt(new).sender.index == call.epochs[1].index
    assert cal.decrypt(late).data == b"late"
    retired = call.retire(0)
    cal.tell(retired)
    assert refusal(cal, later) == "unknown_kid"
    ann.tell(retired)
    assert not muted(ann)
    assert cal.decrypt(ann.encrypt(b"still")).data == b"still"
    ann.tell(call.retire(1))
    assert muted(ann)


def test_a_wiped_key_serves_nobody_even_before_its_end_is_told() -> None:
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal")
    cal.decrypt(ann.encrypt(b"one"))
    frame = ann.encrypt(b"two")
    late = CallSender(Ourselves(member("ben")))
    late.tell(call.keys())
    call.retire(0)
    assert muted(ann)
    assert refusal(cal, frame) == "unknown_kid"
    late.tell(call.switch())
    assert muted(late)


def test_back_on_an_epoch_a_sender_begins_under_another_kid() -> None:
    """A branch may win again while its keys are held."""
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal")
    frames = [ann.encrypt(b"0")]
    call.rekey()
    for told in (ann, cal):
        told.tell(call.keys())
    for epoch in (1, 0):
        ann.tell(call.switch(epoch))
        frames.append(ann.encrypt(b"1"))
    kids = [decode_header(frame)[0] for frame in frames]
    assert len(set(kids)) == 3
    assert [cal.decrypt(frame).sender.index for frame in frames] == [call.epochs[at].index for at in (0, 1, 0)]
    ann.tell(call.switch(0))
    assert decode_header(ann.encrypt(b"told again"))[:2] == (kids[2], 1)


def test_who_is_withdrawn_is_not_heard_and_what_it_sent_is_no_news_afterwards() -> None:
    call = CallOfThree()
    ann, ben, cal = call.sender("ann"), call.sender("ben"), call.receiver("cal")
    before, meanwhile = ben.encrypt(b"before"), ben.encrypt(b"meanwhile")
    cal.decrypt(before)
    cal.tell(call.keys(without="ben"))
    assert refusal(cal, meanwhile) == "unknown_kid"
    assert cal.decrypt(ann.encrypt(b"ann")).data == b"ann"
    cal.tell(call.keys())
    assert refusal(cal, before) == "replayed"
    assert cal.decrypt(meanwhile).data == b"meanwhile"
    cal.tell(MediaKeysChanged(call.epochs[0].id, 1, ()))
    assert refusal(cal, ann.encrypt(b"nobody")) == "unknown_kid"
    cal.tell(Left("left"))
    assert refusal(cal, ann.encrypt(b"over")) == "unknown_kid"


def test_a_key_that_encrypts_never_decrypts() -> None:
    """RFC 9605 section 4.4.1. What comes back to its sender was reflected; a former participation is ours as well."""
    call = CallOfThree()
    frame = call.sender("ann").encrypt(b"frame")
    ourselves = Ourselves(member("ann"))
    receiver = CallReceiver(ourselves)
    receiver.tell(call.keys())
    assert refusal(receiver, frame) == "own_frame"
    ourselves.member_id = member("dan")
    receiver.tell(call.keys())
    assert refusal(receiver, frame) == "own_frame"


def test_an_index_names_the_epoch_that_was_told_last() -> None:
    """Should an end be lost, the newer epoch counts, and the end of the older one does not end it."""
    call = CallOfThree()
    other = CallOfThree()
    object.__setattr__(other.epochs[0], "index", call.epochs[0].index)
    for key in other.epochs[0].keys.values():
        object.__setattr__(key, "index", call.epochs[0].index)
    cal = call.receiver("cal")
    cal.tell(other.keys())
    assert refusal(cal, call.sender("ann").encrypt(b"old")) == "bad_tag"
    cal.tell(call.retire(0))
    assert cal.decrypt(other.sender("ann").encrypt(b"new")).data == b"new"


def test_one_sender_for_each_stream_and_so_many_restarts() -> None:
    call = CallOfThree()
    cal = call.receiver("cal", contexts=3)
    frames = [call.sender("ann").encrypt(b"frame") for _ in range(4)]
    assert len({decode_header(frame)[0] for frame in frames}) == 4
    broken = bytearray(frames[3])
    broken[-1] ^= 1
    assert refusal(cal, bytes(broken)) == "bad_tag"  # takes no place
    for frame in frames[:3]:
        cal.decrypt(frame)
    assert refusal(cal, frames[3]) == "crowded"
    assert refusal(cal, frames[0]) == "replayed"
    assert cal.decrypt(call.sender("ben").encrypt(b"another member")).data == b"another member"


def test_buffers_are_taken_as_they_are() -> None:
    call = CallOfThree()
    for suite in Suite:
        ann, cal = call.sender("ann", suite), call.receiver("cal", suite)
        frame = ann.encrypt(memoryview(bytearray(b"frame")), metadata=bytearray(b"beside"))
        assert cal.decrypt(memoryview(frame), metadata=memoryview(b"beside")).data == b"frame"
        frame = ann.encrypt(bytearray(b"frame"), metadata=memoryview(b"beside"))
        assert cal.decrypt(bytearray(frame), metadata=b"beside").data == b"frame"


def test_numbers_that_nothing_can_be_received_with_are_refused() -> None:
    for numbers in ({"window": 0}, {"contexts": 0}):
        with pytest.raises(LocalProtocolError, match="at least 1"):
            CallReceiver(Ourselves(None), **numbers)
