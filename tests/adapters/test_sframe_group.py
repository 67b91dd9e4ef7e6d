"""SFrame from an MLS group (RFC 9605 section 5.2)."""

from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
from clients import circle

from mlsrtc.adapters.sframe import Kid, MlsReceiver, MlsSender, Suite, decode_header, group
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Secret, suites


def refusal(receiver: MlsReceiver, frame: bytes) -> str:
    with pytest.raises(RemoteProtocolError) as caught:
        receiver.decrypt(frame)
    return caught.value.reason


@pytest.mark.parametrize("suite", Suite)
def test_what_one_member_encrypts_the_others_decrypt(suite: Suite) -> None:
    at = circle("ann", "ben", "cal")
    receivers = {name: MlsReceiver(at[name], suite=suite) for name in at.groups}
    for author in at.groups:
        sender = MlsSender(at[author], suite=suite)
        for counter in range(3):
            frame = sender.encrypt(b"frame", metadata=b"beside")
            kid, told, _ = decode_header(frame)
            assert (Kid.of(kid).leaf, Kid.of(kid).epoch, told) == (at[author].own_leaf, 1, counter)
            for reader in at.groups.keys() - {author}:
                opened = receivers[reader].decrypt(frame, metadata=b"beside")
                assert (opened.data, opened.sender.identity) == (b"frame", author.encode())
            assert refusal(receivers[author], frame) == "own_frame"


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_on_groups_of_every_suite(suite: int) -> None:
    at = circle("ann", "ben", suite=suite)
    frame = MlsSender(at["ann"]).encrypt(b"frame")
    assert MlsReceiver(at["ben"]).decrypt(frame).data == b"frame"


def test_the_key_is_the_exporters_and_the_kid_the_standards() -> None:
    """The figure of section 5.2, with S = 16 and E = 8."""
    assert Kid(3, 2, 16).number == (3 << 24) + (2 << 8) + 16
    assert Kid.of(Kid(3, 2, 16).number) == Kid(3, 2, 16)
    for wrong in (Kid(1 << 40, 0, 0), Kid(0, 1 << 16, 0), Kid(0, 0, 256), Kid(-1, 0, 0)):
        with pytest.raises(LocalProtocolError):
            _ = wrong.number


def test_a_former_epoch_is_received_for_the_grace() -> None:
    at, now = circle("ann", "ben"), 100.0
    ann = MlsSender(at["ann"])
    ben = MlsReceiver(at["ben"], grace=10, clock=lambda: now)
    old = [ann.encrypt(b"old") for _ in range(3)]
    at.commit("ann", path=True)
    ben.follow(at["ben"])
    assert ben.decrypt(old[0]).data == b"old"
    ann.follow(at["ann"])
    new = ann.encrypt(b"new")
    assert decode_header(new)[1] == 0
    assert ben.decrypt(new).data == b"new"
    now = 109.9
    assert ben.decrypt(old[1]).data == b"old"
    now = 110.0
    assert refusal(ben, old[2]) == "unknown_kid"
    assert ben.decrypt(ann.encrypt(b"new")).data == b"new"
    assert repr(ben) == "MlsReceiver(AES_128_GCM_SHA256_128, epochs [2])"


def test_an_old_epoch_ends_when_one_with_the_same_low_bits_begins() -> None:
    at = circle("ann", "ben")
    ann, ben = MlsSender(at["ann"]), MlsReceiver(at["ben"], grace=1e9)
    frame = ann.encrypt(b"old")
    for _ in range(256):
        at.commit("ann", path=True)
        ben.follow(at["ben"])
    assert refusal(ben, frame) == "bad_tag"
    assert len(repr(ben).split(",")) == 257


def test_who_is_removed_is_not_heard_and_cannot_listen() -> None:
    at = circle("ann", "ben", "cal")
    cal, removed = MlsSender(at["cal"]), MlsReceiver(at["cal"])
    at.commit("ann", remove=[at["cal"].own_leaf])
    ben = MlsReceiver(at["ben"])
    assert refusal(ben, cal.encrypt(b"frame")) == "unknown_kid"
    assert refusal(removed, MlsSender(at["ann"]).encrypt(b"frame")) == "unknown_kid"


def test_nobody_else_reads_it() -> None:
    """Another group of the same shape has the same KIDs and other keys."""
    frame = MlsSender(circle("ann", "ben")["ann"]).encrypt(b"frame")
    assert refusal(MlsReceiver(circle("ann", "ben")["ben"]), frame) == "bad_tag"


def test_following_one_epoch_twice_changes_nothing() -> None:
    at = circle("ann", "ben")
    ann, ben = MlsSender(at["ann"]), MlsReceiver(at["ben"], contexts=1)
    first = ann.encrypt(b"one")
    ben.decrypt(first)
    sent = at["ann"].encrypt(b"a message")
    ann.follow(sent.group)
    ben.follow(at["ben"].decrypt(sent.message).group)
    assert decode_header(ann.encrypt(b"two"))[:2] == (decode_header(first)[0], 1)
    assert refusal(ben, first) == "replayed"


def test_another_branch_of_the_same_number_takes_the_place() -> None:
    at = circle("ann", "ben")
    staged = [at["ben"].stage(commit.message).apply() for commit in (at["ann"].commit(), at["ann"].commit())]
    one, other = staged
    ann = at["ann"].commit()
    ben = MlsReceiver(one)
    ben.follow(other)
    ben.follow(at["ben"].stage(ann.message).apply())
    assert ben.decrypt(MlsSender(ann.group).encrypt(b"frame")).data == b"frame"


def test_another_group_is_not_followed() -> None:
    at = circle("ann", "ben")
    ann, ben = MlsSender(at["ann"]), MlsReceiver(at["ben"])
    stranger = at.clients["ann"].create_group(b"another")
    for one in (ann, ben):
        with pytest.raises(LocalProtocolError) as caught:
            one.follow(stranger)
        assert caught.value.reason == "wrong_group"
    assert ben.decrypt(ann.encrypt(b"frame")).data == b"frame"


def test_a_restarted_member_begins_under_another_kid() -> None:
    """The group is loaded from what was saved, at the epoch it sent in: counters begin anew, the key does too."""
    at = circle("ann", "ben")
    ben = MlsReceiver(at["ben"])
    first = MlsSender(at["ann"]).encrypt(b"frame")
    again = MlsSender(at.clients["ann"].load_group(at["ann"].save())).encrypt(b"frame")
    assert decode_header(first)[1] == decode_header(again)[1] == 0
    assert decode_header(first)[0] != decode_header(again)[0]
    assert first[-21:] != again[-21:]
    assert ben.decrypt(first).data == ben.decrypt(again).data == b"frame"


def test_frames_are_decrypted_while_the_group_goes_on() -> None:
    """One thread follows while others decrypt, and old epochs end under their hands."""
    at = circle("ann", "ben")
    ann, ben = MlsSender(at["ann"]), MlsReceiver(at["ben"], grace=0)
    done = Event()

    def decrypting() -> int:
        opened = 0
        while not done.is_set():
            try:
                opened += ben.decrypt(ann.encrypt(b"frame")).data == b"frame"
            except RemoteProtocolError as error:
                assert error.reason in {"unknown_kid", "too_late"}  # a thread may sleep between the two
        return opened

    with ThreadPoolExecutor(3) as pool:
        threads = [pool.submit(decrypting) for _ in range(3)]
        for _ in range(100):
            at.commit("ann", path=True)
            ben.follow(at["ben"])
            ann.follow(at["ann"])
        done.set()
        assert all(thread.result() for thread in threads)


def test_numbers_that_nothing_can_be_received_with_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="at least 1"):
        MlsReceiver(circle("ann")["ann"], window=0)
    for grace in (-1.0, float("nan")):
        with pytest.raises(LocalProtocolError, match="grace"):
            MlsReceiver(circle("ann")["ann"], grace=grace)


def test_an_epoch_that_is_followed_again_stays() -> None:
    at, now = circle("ann", "ben"), 100.0
    first = at["ben"]
    ben = MlsReceiver(first, grace=10, clock=lambda: now)
    of_first = MlsSender(at["ann"])
    at.commit("ann", path=True)
    ben.follow(at["ben"])
    of_second = MlsSender(at["ann"])
    ben.follow(first)
    now = 200.0
    assert ben.decrypt(of_first.encrypt(b"frame")).data == b"frame"
    assert refusal(ben, of_second.encrypt(b"frame")) == "unknown_kid"


def test_base_keys_are_wiped_as_soon_as_they_are_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    exported: list[Secret] = []
    export = group.base_key

    def kept(*arguments: Any) -> Secret:
        exported.append(export(*arguments))
        return exported[-1]

    monkeypatch.setattr(group, "base_key", kept)
    at, now = circle("ann", "ben"), 100.0
    ann = MlsSender(at["ann"])
    assert [bool(one) for one in exported] == [False], "a sender has derived its key"
    assert ann.encrypt(b"frame")
    exported.clear()
    ben = MlsReceiver(at["ben"], grace=10, clock=lambda: now)
    sent = at["ann"].encrypt(b"a message")
    ben.follow(at["ben"].decrypt(sent.message).group)
    assert [bool(one) for one in exported] == [True, False], "the same epoch again"
    one, other = (at["ben"].stage(commit.message).apply() for commit in (at["ann"].commit(), at["ann"].commit()))
    ben.follow(one)
    ben.follow(other)
    assert [bool(one) for one in exported] == [True, False, False, True], "another branch has its place"
    now = 110.0
    ben.follow(other)
    assert [bool(one) for one in exported] == [False, False, False, True, False], "the grace is over"
