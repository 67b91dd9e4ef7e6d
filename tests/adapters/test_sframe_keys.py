"""SFrame's header, counters, replay window and secrets: whatever bytes come, whatever process asks."""

import copy
import os
import pickle
import time
from array import array
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Barrier
from typing import Any

import pytest
from clients import circle
from hypothesis import example, given
from hypothesis import strategies as st
from sframing import CallOfThree, Ourselves, member

from mlsrtc.adapters.sframe import (
    CallReceiver,
    CallSender,
    MlsReceiver,
    MlsSender,
    Suite,
    decode_header,
    encode_header,
    keys,
)
from mlsrtc.adapters.sframe.keys import OpeningKey, SealingKey, Window
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Secret

numbers = st.integers(0, 2**64 - 1) | st.integers(0, 300)
REASONS = {
    "truncated", "not_minimal", "unknown_kid", "own_frame", "crowded", "replayed", "too_late", "bad_tag",
}  # fmt: skip


def reason_of(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises((RemoteProtocolError, LocalProtocolError)) as caught:
        call(*arguments, **named)
    return str(caught.value.reason)


# -- header ----------------------------------------------------------------------------------------------------------


@given(numbers, numbers, st.binary(max_size=3))
def test_a_header_comes_back_and_is_as_short_as_it_can_be(kid: int, counter: int, rest: bytes) -> None:
    header = encode_header(kid, counter)
    assert decode_header(header + rest) == (kid, counter, len(header))
    assert len(header) == 1 + sum(0 if value < 8 else (value.bit_length() + 7) // 8 for value in (kid, counter))
    for size in range(len(header)):
        assert reason_of(decode_header, header[:size]) == "truncated"


@given(st.binary(max_size=20))
@example(b"\x80\x07")
@example(b"\x90\x00\x09")
@example(b"\x08\x00")
@example(b"")
def test_no_two_headers_say_the_same(header: bytes) -> None:
    try:
        kid, counter, size = decode_header(header)
    except RemoteProtocolError as error:
        assert error.reason in {"truncated", "not_minimal"}
    else:
        assert encode_header(kid, counter) == header[:size]


@pytest.mark.parametrize(("kid", "counter"), [(-1, 0), (0, -1), (2**64, 0), (0, 2**64)])
def test_a_header_holds_64_bits(kid: int, counter: int) -> None:
    with pytest.raises(LocalProtocolError, match="64 bits"):
        encode_header(kid, counter)


# -- frames ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(Suite), st.binary(max_size=80), st.binary(max_size=20), st.integers(0), st.integers(0))
def test_a_frame_comes_back_and_no_bit_of_it_can_be_changed(
    suite: Suite, data: bytes, metadata: bytes, at: int, end: int
) -> None:
    """`at` and `end` are counted round: how long the header is, chance decides."""
    secret = Secret(bytes(32))
    sender = SealingKey(suite, secret, 1, 1)
    frame = sender.seal(data, metadata)
    size = decode_header(frame)[2]
    opening = OpeningKey(suite, secret.expose(), sender.kid, 128)
    bit = at % ((len(frame) - size) * 8)
    changed = (int.from_bytes(frame, "big") ^ 1 << bit).to_bytes(len(frame), "big")
    assert reason_of(opening.open, changed, size, 0, metadata) == "bad_tag"
    assert reason_of(opening.open, frame, size, 1, metadata) == "bad_tag"
    assert reason_of(opening.open, frame, size, 0, metadata + b"x") == "bad_tag"
    shorter = frame[: size + end % (len(frame) - size)]
    expected = "truncated" if len(shorter) < size + suite.tag_size else "bad_tag"
    assert reason_of(opening.open, shorter, size, 0, metadata) == expected
    assert opening.open(frame, size, 0, metadata) == data
    assert reason_of(opening.open, frame, size, 0, metadata) == "replayed"


CALL = CallOfThree()
GENUINE = CALL.sender("ann").encrypt(bytes(40))


@given(st.binary(max_size=60) | st.builds(lambda end: GENUINE[:9] + end, st.binary(max_size=60)))
@example(b"")
@example(GENUINE[:9])
@example(GENUINE[:24])
def test_whatever_comes_is_refused_with_a_reason_and_the_genuine_frame_still_opens(frame: bytes) -> None:
    receiver = CALL.receiver("cal")
    if frame != GENUINE:
        assert reason_of(receiver.decrypt, frame) in REASONS
    assert receiver.decrypt(GENUINE).data == bytes(40)


# -- the replay window -----------------------------------------------------------------------------------------------


@given(st.integers(1, 40), st.lists(numbers | st.integers(0, 100), max_size=60))
@example(128, [0, 127, 128, 0, 1, 1])
@example(4, [2**64 - 1, 0, 2**64 - 4, 2**64 - 5])
def test_each_counter_of_the_window_passes_once(size: int, counters: list[int]) -> None:
    window, seen = Window(size), set[int]()
    for counter in counters:
        newest = max(seen, default=-1)
        expected = "too_late" if counter <= newest - size else "replayed" if counter in seen else None
        if expected:
            assert reason_of(window.mark, counter) == expected
        else:
            window.mark(counter)
            seen.add(counter)


def test_late_frames_are_taken_within_the_window_each_once() -> None:
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal", window=8)
    frames = [ann.encrypt(b"%d" % number) for number in range(12)]
    assert cal.decrypt(frames[9]).data == b"9"
    assert cal.decrypt(frames[2]).data == b"2"
    assert reason_of(cal.decrypt, frames[1]) == "too_late"
    assert reason_of(cal.decrypt, frames[2]) == "replayed"
    assert [cal.decrypt(frames[at]).counter for at in (11, 10, 4)] == [11, 10, 4]
    assert reason_of(cal.decrypt, frames[3]) == "too_late"


def test_a_frame_that_is_not_genuine_moves_no_window() -> None:
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal", window=4)
    first, second = ann.encrypt(b"one"), ann.encrypt(b"two")
    cal.decrypt(first)
    kid = decode_header(first)[0]
    far = encode_header(kid, 2**64 - 1) + bytes(30)
    assert reason_of(cal.decrypt, far) == "bad_tag"
    assert cal.decrypt(second).data == b"two"


def test_threads_share_one_counter_and_one_window() -> None:
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal", window=4096)
    with ThreadPoolExecutor(8) as pool:
        frames = list(pool.map(lambda number: ann.encrypt(b"%d" % number), range(1000)))

        def opened(frame: bytes) -> bool:
            try:
                cal.decrypt(frame)
            except RemoteProtocolError as error:
                assert error.reason == "replayed"
                return False
            return True

        passed = list(pool.map(opened, frames * 3))
    assert sorted(decode_header(frame)[1] for frame in frames) == list(range(1000))
    assert sum(passed) == 1000


def _at_once(call: Any, *arguments: Any) -> list[str]:
    """What two threads get that do the same at the same moment."""
    both = Barrier(2)

    def once() -> str:
        both.wait()
        try:
            call(*arguments)
        except RemoteProtocolError as error:
            return error.reason
        return "opened"

    with ThreadPoolExecutor(2) as pool:
        return sorted(future.result() for future in [pool.submit(once), pool.submit(once)])


@pytest.mark.parametrize("slow", ["Window.check", "derive"])
@pytest.mark.parametrize("known", [True, False], ids=["a known KID", "a new KID"])
def test_a_frame_that_two_threads_have_at_once_opens_once(
    slow: str, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """slow: what takes longer than it does, so that the threads meet there."""
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal")
    if known:
        cal.decrypt(ann.encrypt(b"before"))
    where: Any = keys.Window if "." in slow else keys
    name = slow.rpartition(".")[2]
    does = getattr(where, name)

    def slowly(*arguments: Any) -> Any:
        done = does(*arguments)
        time.sleep(0.05)
        return done

    monkeypatch.setattr(where, name, slowly)
    assert _at_once(cal.decrypt, ann.encrypt(b"frame")) == ["opened", "replayed"]


# -- no key and counter twice ----------------------------------------------------------------------------------------


def test_two_senders_of_one_key_never_meet() -> None:
    """Each draws its own context: a restart, a second stream and a child process are all the same."""
    secret = Secret(bytes(32))
    kids = {SealingKey(Suite.AES_128_GCM_SHA256_128, secret, 3, 7).kid for _ in range(200)}
    assert len(kids) == 200
    assert {kid & 0xFFFFFF for kid in kids} == {3 << 8 | 7}


def in_a_child(check: Any) -> bool:
    child = os.fork()
    if not child:
        try:
            check()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_sender_that_came_over_a_fork_does_not_encrypt_and_a_new_one_does() -> None:
    call, at = CallOfThree(), circle("ann", "ben")
    of_call, of_group = call.sender("ann"), MlsSender(at["ann"])
    waiting = CallSender(Ourselves(member("ann")))
    waiting.tell(call.keys())
    ours = {decode_header(of_call.encrypt(b"frame"))[0], decode_header(of_group.encrypt(b"frame"))[0]}

    def check() -> None:
        for sender in (of_call, of_group):
            assert reason_of(sender.encrypt, b"frame") == "forked"
        of_group.follow(at["ann"])
        assert reason_of(of_group.encrypt, b"frame") == "forked"
        waiting.tell(call.switch())
        fresh = [waiting.encrypt(b"frame"), call.sender("ann").encrypt(b"frame"), MlsSender(at["ann"]).encrypt(b"x")]
        kids = {decode_header(frame)[0] for frame in fresh}
        assert len(kids) == 3
        assert not kids & ours

    assert in_a_child(check)
    assert of_call.encrypt(b"frame")
    assert of_group.encrypt(b"frame")


def everything() -> list[Any]:
    call, at = CallOfThree(), circle("ann", "ben")
    return [call.sender("ann"), call.receiver("cal"), MlsSender(at["ann"]), MlsReceiver(at["ben"])]


@pytest.mark.parametrize("thing", everything(), ids=lambda thing: type(thing).__name__)
def test_there_is_no_copy_and_no_pickle(thing: Any) -> None:
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=f"{type(thing).__name__} holds keys"):
            way(thing)


def test_the_last_counter_is_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsrtc.adapters.sframe.keys.count", lambda: count(2**64 - 1))
    call = CallOfThree()
    ann, cal = call.sender("ann"), call.receiver("cal")
    assert cal.decrypt(ann.encrypt(b"the last")).counter == 2**64 - 1
    assert reason_of(ann.encrypt, b"one more") == "spent_key"
    assert reason_of(ann.encrypt, b"one more") == "spent_key"


def test_a_frame_that_could_not_be_encrypted_has_used_its_counter(monkeypatch: pytest.MonkeyPatch) -> None:
    call = CallOfThree()
    ann = call.sender("ann")

    def too_long(*_: object) -> bytes:
        raise OverflowError

    with monkeypatch.context() as patched:
        patched.setattr("mlsrtc.adapters.sframe.suites.Gcm.seal", too_long)
        assert reason_of(ann.encrypt, b"as if it had 2 GB") == "oversized"
    assert decode_header(ann.encrypt(b"frame"))[1] == 1


@pytest.mark.parametrize("suite", Suite)
def test_a_frame_is_any_buffer_of_bytes_and_nothing_else(suite: Suite) -> None:
    call = CallOfThree()
    ann, cal = call.sender("ann", suite), call.receiver("cal", suite)
    for form in (bytes, bytearray, memoryview, lambda data: memoryview(data).cast("B", [1, len(data)])):
        frame = ann.encrypt(form(b"data"), metadata=form(b"beside"))
        assert cal.decrypt(form(frame), metadata=form(b"beside")).data == b"data"
    counter = decode_header(ann.encrypt(b"data"))[1]
    for wrong in (None, 5, "text", "", [1, 2], array("H", [1, 2]), memoryview(frame)[::2]):
        for call_it in (ann.encrypt, cal.decrypt, decode_header, lambda data: ann.encrypt(b"data", metadata=data)):
            with pytest.raises(TypeError):
                call_it(wrong)  # type: ignore[operator]
    assert decode_header(ann.encrypt(b"data"))[1] == counter + 1


def test_numbers_that_count_nothing_are_refused() -> None:
    for name in ("window", "contexts"):
        for wrong in (0, -1):
            with pytest.raises(LocalProtocolError, match="at least 1"):
                CallReceiver(Ourselves(None), **{name: wrong})  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            CallReceiver(Ourselves(None), **{name: 1.5})  # type: ignore[arg-type]


# -- secrets ---------------------------------------------------------------------------------------------------------


def test_nothing_of_a_key_stands_in_a_repr() -> None:
    call, at = CallOfThree(), circle("ann", "ben")
    ann, cal = call.sender("ann"), call.receiver("cal")
    opened = cal.decrypt(ann.encrypt(b"what was said"))
    group = MlsSender(at["ann"]), MlsReceiver(at["ben"])
    index = call.epochs[0].index
    assert repr(ann) == f"CallSender(AES_128_GCM_SHA256_128, sending under index {index})"
    assert repr(CallSender(Ourselves(None))) == "CallSender(AES_128_GCM_SHA256_128, muted)"
    assert repr(cal) == f"CallReceiver(AES_128_GCM_SHA256_128, indexes [{index}])"
    assert repr(CallReceiver(Ourselves(None))) == "CallReceiver(AES_128_GCM_SHA256_128, indexes [])"
    assert repr(group[0]) == "MlsSender(AES_128_GCM_SHA256_128, epoch 1)"
    secrets = [key.secret.expose() for key in call.epochs[0].keys.values()]
    secrets += [at["ann"].export("SFrame 1.0 Base Key", b"", 16).expose(), b"what was said"]
    shown = "".join(map(repr, (ann, cal, opened, *group, vars(ann), vars(cal), vars(group[0]), vars(group[1]))))
    for secret in secrets:
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
