"""Need and have: an answer is small and in the event, or large and in a file, and holds only what is read."""

import json
from typing import Any

import pytest

import samples
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.wire import names
from mlsrtc.wire.attachment import decrypt_attachment
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import split_block
from mlsrtc.wire.to_device import Have, decode_have, decode_have_file, encode_have, reduced
from people import ANNA, NOW, ROOM, SLOT, epoch, fixed_random

EVENTS = (
    samples.event(samples.root_commit(), names.COMMIT, event_id="$1"),
    samples.event(samples.word(), names.WORD, event_id="$2"),
    samples.event(samples.state_join(), event_id="$3"),
    samples.event(split_block(samples.sticky_join())[1], names.ENCRYPTED, event_id="$4"),
    samples.event(samples.state_leave(), event_id="$5"),
)
HAVE = Have(ROOM, SLOT, epoch("child"), EVENTS, b"a tree")


def test_a_small_answer_is_in_the_event() -> None:
    fitted = encode_have(HAVE, limit=61_440, random_bytes=fixed_random)
    assert not fitted.attachments
    assert decode_have(samples.as_json(dict(fitted.content))) == HAVE


def test_a_large_answer_is_in_a_file() -> None:
    fitted = encode_have(HAVE, limit=1_000, random_bytes=fixed_random)
    content: dict[str, Any] = samples.as_json(dict(fitted.content))
    content["file"]["url"] = "mxc://one.example/x"
    found = decode_have(content)
    assert found.file is not None
    assert (found.events, found.tree) == ((), None)
    assert decode_have_file(found, decrypt_attachment(found.file, fitted.attachments["file"])) == HAVE
    assert decode_have(dict(encode_have(found, limit=61_440, random_bytes=fixed_random).content)) == found


def test_what_is_not_read_is_not_passed_on() -> None:
    polluted = {**samples.root_commit(), "float": 1.5, "deep": [[[]]]}
    assert reduced(samples.event(polluted, names.COMMIT)) == samples.root_commit()
    sealed = {**split_block(samples.sticky_join())[1], "ciphertext": "x"}
    assert set(reduced(samples.event(sealed, names.ENCRYPTED))) == {names.BLOCK}


def test_what_tells_nothing_is_not_passed_on() -> None:
    for event in (samples.event({}, sender="@eve:x"), samples.event({"ciphertext": "x"}, names.ENCRYPTED)):
        with pytest.raises(LocalProtocolError):
            reduced(event)


@pytest.mark.parametrize(
    ("plaintext", "reason", "where"),
    [
        (b"\xff", "bad_json", "file"),
        (b"{", "bad_json", "file"),
        (b"[]", "wrong_type", "file"),
        (
            json.dumps({"events": [{"type": "m.room.message"}]}).encode(),
            "unknown_type",
            "file.events[0].type",
        ),
    ],
)
def test_a_file_that_is_no_answer(plaintext: bytes, reason: str, where: str) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_have_file(HAVE, plaintext)
    assert (caught.value.reason, caught.value.where) == (reason, where)


def test_an_answer_s_events_keep_their_state_key() -> None:
    fitted = encode_have(Have(ROOM, SLOT, None, EVENTS[2:3]), limit=61_440, random_bytes=fixed_random)
    assert decode_have(dict(fitted.content)).events == (
        RoomEvent(names.STATE_MEMBER, ANNA.user, "$3", NOW, samples.state_join(), samples.STATE_KEY),
    )
