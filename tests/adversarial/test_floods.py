"""Whoever sends much makes nobody else send, fetch or keep as much."""

import os

import pytest
from test_lies import STEADY, Eve, forged_presence

from mlsrtc.archive import FILES_BYTES, Archive
from mlsrtc.identifiers import RoomId
from mlsrtc.knowledge import EARLY_LIMIT
from mlsrtc.outbox import FetchAttachment, Request, SendEvent, SendState, SendToDevice
from mlsrtc.policy import Policy
from mlsrtc.testing import RoomSettings
from mlsrtc.testing.homeserver import Homeserver
from mlsrtc.testing.identities import LabDevice
from mlsrtc.wire import names
from mlsrtc.wire.attachment import encode_file, encrypt_attachment
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.incoming import RoomEvent
from watching import SLOT, Watch


def handed_out(watch: Watch, index: int) -> list[Request]:
    return [request for session in watch.sessions[index] for request in session.handed_out]


def to_device(watch: Watch, index: int, type: str) -> list[SendToDevice]:
    return [
        request for request in handed_out(watch, index) if isinstance(request, SendToDevice) and request.type == type
    ]


def newcomer() -> Watch:
    """A call of three in a room whose past the fourth may not read; it has joined, and no question of it arrives."""
    watch = Watch(4, 1, latency=STEADY, room=RoomSettings(history_visibility="joined"))
    watch.join_without(3)
    watch.party.run(5)
    watch.world.enter(watch.party[3].matrix.user_id)
    watch.world.network.hostility.to_device_loss = 1.0
    watch.party.join(3)
    watch.party.run(3)
    return watch


def test_commits_on_parents_that_nobody_knows_make_nobody_ask_much() -> None:
    watch = newcomer()
    eve = Eve(watch)
    for _ in range(50):
        eve.raise_a_question()
    watch.party.run(60)
    asked = [len(to_device(watch, index, names.NEED)) for index in range(4)]
    assert 0 < max(asked) <= 2 * Policy().questions_per_minute  # a full bucket, and what flows into it


def test_one_answer_is_taken_for_each_question() -> None:
    watch = newcomer()
    watch.world.network.hostility.to_device_loss = 0.0
    victim = watch.party[3].matrix
    file = {
        "v": "v2",
        "key": {"kty": "oct", "key_ops": ["encrypt", "decrypt"], "alg": "A256CTR", "k": "A" * 43, "ext": True},
        "iv": "A" * 22,
        "hashes": {"sha256": "A" * 43},
    }
    questions = len(to_device(watch, 3, names.NEED))
    assert questions > 0
    for number in range(300):
        content = {"room_id": watch.world.room_id, "slot_id": SLOT, "id": None}
        content |= {"file": {**file, "url": f"mxc://one.test/{number}"}}
        have = SendToDevice(f"have{number}", names.HAVE, victim.user_id, victim.device_id, content)
        watch.world.act(watch.party[number % 3].matrix.name, have)
    watch.party.run(0.5)
    fetches = [request for request in handed_out(watch, 3) if isinstance(request, FetchAttachment)]
    assert 0 < len(fetches) <= questions
    watch.until_agreed(4, timeout=20)
    assert not watch.session(3)._exchange._answers


def test_one_who_asks_much_takes_no_answer_from_another() -> None:
    watch = Watch(3, 1, latency=STEADY)
    watch.join_all()
    victim = watch.party[0].matrix
    for index in (1, 2):
        content = {"room_id": watch.world.room_id, "slot_id": SLOT, "member_id": watch.member(index), "id": None}
        for number in range(100 if index == 1 else 1):
            need = SendToDevice(f"n{index} {number}", names.NEED, victim.user_id, victim.device_id, content)
            watch.world.act(watch.party[index].matrix.name, need)
    watch.party.run(2)
    to = [request.user_id for request in to_device(watch, 0, names.HAVE)]
    assert to.count(watch.party[1].matrix.user_id) == Policy().answers_per_asker
    assert to.count(watch.party[2].matrix.user_id) == 1


def junk_in_file(watch: Watch, user: LabDevice, number: int, size: int) -> None:
    """A commit on the root whose bytes, of no sense, are in the media repository."""
    timeline = watch.world.servers["one.test"].room.timeline
    root = next(stored.event for stored in timeline if stored.event.type == names.COMMIT)
    file, ciphertext = encrypt_attachment(bytes(size), os.urandom)
    content = {name: value for name, value in root.content.items() if name not in ("group_info_0", "commit")} | {
        "parent": root.content["id"],
        "id": encode_base64(os.urandom(32)),
        "epoch": 2,
        "root": root.content["id"],
        "commit_file": {**encode_file(file), "url": "mxc://one.test/placeholder"},
        "m.relates_to": {"rel_type": "m.reference", "event_id": root.event_id},
    }
    junk = SendEvent(f"file{number}", names.COMMIT, content, attachments={"commit_file": ciphertext})
    watch.world.act(user.name, junk)


def test_files_of_an_outsider_are_not_fetched_and_those_of_a_member_are_not_kept() -> None:
    watch = Watch(3, 1, latency=STEADY)
    watch.join_all()
    for number, user in enumerate([Eve(watch).device] * 4 + [watch.party[1].matrix] * 2):
        junk_in_file(watch, user, number, 100_000)
    watch.party.run(5)
    assert [sum(isinstance(request, FetchAttachment) for request in handed_out(watch, n)) for n in range(3)] == [2] * 3
    assert [watch.session(n).known.archive._files for n in range(3)] == [{}] * 3
    watch.party.leave(2)
    watch.until_agreed(2)


def test_files_that_a_member_announces_one_after_the_other_hold_up_a_removal_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No download ever ends."""
    monkeypatch.setattr(Homeserver, "detour", lambda self, request: 1e4 * isinstance(request, FetchAttachment))
    watch = Watch(4, 1, latency=STEADY)
    watch.join_all()
    watch.party.run(2)
    junk_in_file(watch, watch.party[1].matrix, 0, 1000)
    watch.party.run(2)
    watch.party.leave(3)
    for number in range(1, 12):
        watch.party.run(1)
        junk_in_file(watch, watch.party[1].matrix, number, 1000)
    assert watch.agreed(3)


def test_downloads_are_kept_within_a_number_of_bytes() -> None:
    archive = Archive(RoomId("!r:one.test"), SLOT)
    for number in range(8):
        archive.attach(f"mxc://one.test/{number}", bytes(FILES_BYTES // 4))
    assert [archive.fetched(f"mxc://one.test/{number}") for number in range(8)] == [False] * 4 + [True] * 4


def future_join(watch: Watch, user: LabDevice, number: int) -> RoomEvent:
    """A join of a new member_id from an hour ahead of now."""
    now_ms = watch.world.now.wall_ms
    request = forged_presence(watch, user).join("join", now_ms + 3_600_000, Policy())
    assert isinstance(request, SendState)
    return RoomEvent(request.type, user.user_id, f"${user.user_id}{number}", now_ms, request.content, request.state_key)


def test_joins_from_the_future_are_kept_in_bounds_and_nobody_crowds_out_another() -> None:
    watch = Watch(2, 1, latency=STEADY)
    watch.join_all()
    known, now = watch.session(0).known, watch.party[0].now
    eve = Eve(watch)
    known.room_event(future_join(watch, watch.party[1].matrix, 0), now)
    for number in range(EARLY_LIMIT + 10):
        known.room_event(future_join(watch, eve.device, number), now)
    last = future_join(watch, eve.device, -1)
    for _ in range(10):
        known.room_event(last, now)
    assert len(known._early) == EARLY_LIMIT + 1
    assert known._early[0].leaf.user_id == watch.party[1].matrix.user_id
