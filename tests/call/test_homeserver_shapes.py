"""The session against what a real homeserver does, one thing at a time."""

import os
from collections.abc import Sequence
from random import Random
from typing import Any

import pytest

import mlsrtc.exchange
from mlsrtc.archive import Archive
from mlsrtc.epochs import tree_at
from mlsrtc.errors import CannotSend
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.notices import (
    EpochChanged,
    HistoryNotVisible,
    Left,
    Muted,
    NotAddable,
    OwnMasterKeyChanged,
    Rejoining,
    Stranded,
)
from mlsrtc.outbox import SendEvent, SendToDevice
from mlsrtc.policy import Policy, Trust
from mlsrtc.recovery import QUESTIONS
from mlsrtc.session import Phase
from mlsrtc.simulate.network import NetworkModel, ServedNetwork
from mlsrtc.testing import Latency, Limits, RoomSettings, Twins
from mlsrtc.wire import names
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.incoming import RoomEvent
from watching import SLOT, Watch, refusals

HOUR_MS = 3_600_000


def call(devices: int, seed: int = 1, **settings: Any) -> Watch:
    """A call that everybody is in, quiet for a while."""
    watch = Watch(devices, seed, **settings)
    watch.join_all()
    watch.party.run(5)
    return watch


def nobody_rejoined(watch: Watch) -> bool:
    return not any(ledger.notices(Rejoining) for ledger in watch.ledgers)


def shout(watch: Watch, index: int, times: int) -> None:
    """A user sends so many messages at once that its homeserver takes nothing more from it for a while."""
    for number in range(times):
        message = SendEvent(f"shout {number}", "m.room.message", {"body": "!"})
        watch.world.act(watch.party[index].matrix.name, message)


# -- gaps and the room's past ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [5, 40, 400])
def test_a_gap_is_filled_before_the_head_is_asked(messages: int) -> None:
    """While device 2 sleeps, one leaves and one joins; a limited sync brings it less than that. `Watch.check` finds who
    asks inside the gap."""
    watch = Watch(5)
    for index in range(4):
        watch.party.join(index, after=index / 4)
    watch.until_agreed(4)
    watch.party.run(5)
    connection = watch.party[2].connection
    assert connection is not None
    connection.pause()
    watch.party.leave(0)
    watch.party.join(4, after=2)
    watch.party.run(6)
    watch.world.chatter(messages)
    connection.resume()
    watch.until_agreed(4, timeout=10)
    assert nobody_rejoined(watch)
    watch.check()


def test_who_slept_longer_than_its_delayed_leave_comes_back() -> None:
    watch = call(4)
    connection = watch.party[2].connection
    assert connection is not None
    connection.cut()
    watch.world.chatter(30)
    watch.party.run(60)
    connection.mend()
    watch.until_agreed(4, timeout=30)
    watch.check()


def test_a_long_past_of_talk_is_no_hindrance() -> None:
    watch = Watch(4)
    for index in range(3):
        watch.party.join(index, after=index)
        watch.world.chatter(300)
    watch.until_agreed(3)
    watch.world.chatter(2000)
    watch.party.join(3)
    watch.until_agreed(4, timeout=10)
    watch.check()


def late(visibility: str = "joined") -> Watch:
    """A call of three in a room whose past a newcomer may not read, and device 3, whose user is not in the room."""
    watch = Watch(4, room=RoomSettings(history_visibility=visibility))
    watch.join_without(3)
    watch.party.run(30)
    return watch


def test_a_newcomer_without_history_asks_and_is_answered() -> None:
    watch = late()
    watch.world.enter(watch.party[3].matrix.user_id)
    watch.party.join(3)
    watch.until_agreed(4, timeout=20)
    assert watch.world.sent()[names.NEED] >= 1
    assert watch.world.sent()[names.HAVE] >= 1
    assert watch.ledgers[3].notices(HistoryNotVisible) == []
    watch.check()


def test_a_newcomer_that_nobody_answers_is_told_so_and_enters_when_somebody_does() -> None:
    watch = late()
    hostility = watch.world.network.hostility
    hostility.to_device_loss = 1.0
    watch.world.enter(watch.party[3].matrix.user_id)
    watch.party.join(3)
    watch.party.run(Policy().history_timeout + 5)
    assert len(watch.ledgers[3].notices(HistoryNotVisible)) == 1
    assert watch.ledgers[3].muted
    watch.party.run(60)
    asked = watch.world.sent()[names.NEED]
    watch.party.run(60)
    assert watch.world.sent()[names.NEED] == asked, "without anything new it asks no more"
    hostility.to_device_loss = 0.0
    watch.party.leave(0)
    watch.until_agreed(3, timeout=20)
    assert len(watch.ledgers[3].notices(HistoryNotVisible)) == 1
    watch.check()


def test_what_a_member_builds_on_and_nobody_shows_is_told_and_asked_for_again_when_more_builds_on_it() -> None:
    """Device 3 stands in the call of a room that hides its past, and device 0 sends commits on an epoch of its own."""
    watch = late()
    watch.world.enter(watch.party[3].matrix.user_id)
    watch.party.join(3)
    watch.until_agreed(4, timeout=20)
    watch.party.run(5)
    watch.world.network.hostility.to_device_loss = 1.0
    timeline = watch.world.servers["one.test"].room.timeline
    commit = next(s.event for s in timeline if s.event.type == names.COMMIT and s.event.content["parent"] is not None)
    parent = encode_base64(os.urandom(32))

    def build(number: int, sender: tuple[str, str]) -> int:
        """A further commit on it. Returns how often device 3 has asked for it a minute later."""
        content = {**commit.content, "parent": parent, "id": encode_base64(os.urandom(32))}
        watch.world.act(sender, SendEvent(f"built {number}", names.COMMIT, content))
        watch.party.run(60)
        sent = (request for session in watch.sessions[3] for request in session.handed_out)
        return sum(isinstance(one, SendToDevice) and one.content.get("id") == parent for one in sent)

    member, outsider = watch.party[0].matrix.name, watch.world.moderator
    assert build(1, member) == QUESTIONS
    assert len(watch.ledgers[3].notices(HistoryNotVisible)) == 1
    assert build(2, member) == 2 * QUESTIONS
    assert build(3, outsider) == 2 * QUESTIONS
    assert len(watch.ledgers[3].notices(HistoryNotVisible)) == 1
    assert watch.agreed(4)
    watch.check()


def test_who_is_not_added_and_is_given_no_tree_joins_anew() -> None:
    """The homeserver hides the join of device 3 from all others and garbles the trees that it shows device 3."""
    watch = Watch(4)
    for index in range(3):
        watch.party.join(index, after=index / 4)
    watch.until_agreed(3)
    watch.party.run(5)
    newcomer = watch.party[3].matrix
    garble = Twins(fields=("tree",), alone=True)

    def shown(event: RoomEvent, viewer: tuple[str, str]) -> Sequence[RoomEvent]:
        if viewer == newcomer.name:
            return garble(event, viewer)
        return () if (event.type, event.sender) == (names.STATE_MEMBER, newcomer.user_id) else (event,)

    watch.world.servers["one.test"].rewrite = shown
    watch.party.join(3)
    took = watch.party.run_until(lambda: bool(watch.ledgers[3].notices(Rejoining)), timeout=60)
    assert took > Policy().external_commit_after
    assert [notice.reason for notice in watch.ledgers[3].notices(Rejoining)] == ["missing_tree"]
    assert watch.world.sent()[names.NEED] == QUESTIONS
    watch.world.servers["one.test"].rewrite = None
    watch.until_agreed(4, timeout=30)
    watch.check()


def test_a_false_tree_is_refused_and_the_true_one_taken_from_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody adds device 3, whose user they take for another. It comes in from outside, with the tree of a member."""
    watch = Watch(4)
    for index in range(3):
        watch.party.join(index, after=index / 4)
    watch.until_agreed(3)
    newcomer = watch.party[3].matrix
    for index in range(3):
        watch.session(index).accept_master_key(UserId(newcomer.user_id), bytes(32), watch.party[index].now)
    answers: list[bytes] = []

    def answered(path: Sequence[EpochId], archive: Archive) -> Any:
        tree = tree_at(path, archive)
        assert isinstance(tree, bytes)
        answers.append(tree)
        return tree if len(answers) > 2 else tree[:-1] + bytes([tree[-1] ^ 1])

    monkeypatch.setattr(mlsrtc.exchange, "tree_at", answered)
    garble = Twins(fields=("tree",), alone=True)
    server = watch.world.servers["one.test"]
    server.rewrite = lambda event, viewer: garble(event, viewer) if viewer == newcomer.name else (event,)
    watch.party.join(3)

    def came_in() -> bool:
        commits = (stored.event for stored in server.room.timeline if stored.event.type == names.COMMIT)
        return any(commit.sender == newcomer.user_id for commit in commits)

    watch.party.run_until(came_in, timeout=40)
    assert len(answers) == 3
    assert [error.reason for error in refusals(watch.party)] == ["bad_tree", "bad_tree"]
    watch.party.run(30)
    watch.check()


def test_an_answer_that_does_not_fit_comes_as_a_file() -> None:
    watch = late()
    for number in range(12):  # Departed members make the answer long.
        watch.party.leave(number % 2)
        watch.party.join(number % 2, after=3)
        watch.party.run(10)
    watch.until_agreed(3)
    watch.policies[0] = watch.policies[1] = watch.policies[2] = Policy(content_limit=8000)
    for index in range(3):
        watch.party.crash(index)
        watch.party.restart(index)
    watch.party.run(5)
    watch.until_agreed(3)
    watch.world.enter(watch.party[3].matrix.user_id)
    watch.party.join(3)
    watch.until_agreed(4, timeout=20)
    assert any(server.media for server in watch.world.servers.values())
    watch.check()


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    """Anybody can send a to-device event. This one says that a member's membership was overwritten, as only the room
    can say."""
    watch = call(3)
    victim = watch.party[0].matrix
    erased = {
        "type": names.STATE_MEMBER,
        "sender": watch.world.moderator[0],
        "event_id": "$told",
        "origin_server_ts": watch.world.now.wall_ms + 1,
        "state_key": f"_{watch.party[1].matrix.user_id}_{watch.party[1].matrix.device_id}_m.call",
        "content": {},
    }
    content = {"room_id": watch.world.room_id, "slot_id": SLOT, "id": None, "events": [erased]}
    told = SendToDevice("told", names.HAVE, victim.user_id, victim.device_id, content)
    watch.world.act(watch.party[2].matrix.name, told)
    watch.party.run(10)
    assert watch.agreed(3)
    assert len(watch.session(0).members) == 3
    assert all(len(ledger.epochs) == len(watch.ledgers[0].epochs) for ledger in watch.ledgers)
    watch.check()


# -- twins -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "tail"),
    [("commit", 32), ("commit", None), ("welcome", None), ("tree", None), ("group_info", None), ("group_info_0", None)],
)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_garbled_twins_before_the_genuine_commit_change_nothing(field: str, tail: int | None, seed: int) -> None:
    """`commit` with `tail` 32 is the membership tag, which only members can check: the twin has the same id."""
    watch = Watch(4, seed)
    watch.world.servers["one.test"].rewrite = Twins(fields=(field,), tail=tail)
    for index in range(3):
        watch.party.join(index, after=index / 2)
    watch.until_agreed(3)
    watch.party.run(3)
    watch.party.join(3)
    watch.until_agreed(4)
    watch.party.run(3)
    watch.party.leave(0)
    watch.until_agreed(3)
    assert nobody_rejoined(watch)
    assert watch.world.sent()[names.WORD] == 0
    watch.check()


def test_garbled_memberships_are_refused_and_the_genuine_ones_hold() -> None:
    def twins(event: RoomEvent, viewer: tuple[str, str]) -> tuple[RoomEvent, ...]:
        block = event.content.get(names.BLOCK)
        if event.type != names.STATE_MEMBER or not isinstance(block, dict) or "signature" not in block:
            return (event,)
        forged = {**block, "until": block["until"] - 1}
        twin = RoomEvent(
            content={**event.content, names.BLOCK: forged},
            type=event.type,
            sender=event.sender,
            event_id=event.event_id + "twin",
            origin_server_ts=event.origin_server_ts + 1,
            state_key=event.state_key,
        )
        return (twin, event)

    watch = Watch(3)
    watch.world.servers["one.test"].rewrite = twins
    watch.join_all()
    assert {error.reason for device in watch.party.devices for error in device.refused} == {"bad_signature"}
    watch.check()


def test_a_welcome_that_never_comes_whole_leads_to_a_new_join() -> None:
    """The homeserver shows device 2 only garbled Welcomes for a while."""
    watch = Watch(3)
    for index in range(2):
        watch.party.join(index)
    watch.until_agreed(2)
    victim = watch.party[2].matrix.name
    garble = Twins(fields=("welcome",), alone=True)
    server = watch.world.servers["one.test"]
    server.rewrite = lambda event, viewer: garble(event, viewer) if viewer == victim else (event,)
    watch.party.join(2)
    watch.party.run(4)
    assert watch.ledgers[2].notices(Stranded)
    server.rewrite = None
    watch.until_agreed(3, timeout=30)
    watch.check()


# -- limits ------------------------------------------------------------------------------------------------------------


def test_at_429_the_next_rank_takes_over_and_nothing_is_sent_twice() -> None:
    watch = call(4, limits=Limits())
    leaver = 3
    first = next(index for index in watch.ranked() if index != leaver)
    watch.party.run(60)
    shout(watch, first, 10)
    before = watch.world.sent()[names.COMMIT]
    watch.party.leave(leaver)
    took = watch.until_agreed(3, timeout=10)
    assert took < Policy().failover_step + 1.5
    watch.party.run(60)
    assert watch.world.sent()[names.COMMIT] == before + 1
    watch.check()


def test_at_429_the_same_bytes_are_sent_later_if_they_are_still_needed() -> None:
    watch = call(3, limits=Limits())
    watch.party.run(60)
    first, second = [index for index in watch.ranked() if index != 2]
    shout(watch, first, 10)
    watch.party.run(2)
    shout(watch, second, 10)
    before = watch.world.sent()[names.COMMIT]
    watch.party.leave(2)
    watch.until_agreed(2, timeout=15)
    watch.party.run(60)
    assert watch.world.sent()[names.COMMIT] == before + 1
    last = watch.ledgers[first].epochs[watch.ledgers[first].switches[-1].id].epoch
    tries = [
        request
        for request in watch.sessions[first][-1].handed_out
        if isinstance(request, SendEvent) and request.content.get("epoch") == last
    ]
    assert len(tries) == 2
    assert tries[0] == tries[1]
    watch.check()


@pytest.mark.parametrize("limit", [5000, 8000])
def test_what_does_not_fit_into_an_event_goes_to_the_media_repository(limit: int) -> None:
    watch = Watch(8, policy=Policy(content_limit=limit))
    watch.join_all(within=0.3)
    watch.party.run(2)
    watch.party.leave(0)
    watch.until_agreed(7)
    assert watch.world.servers["one.test"].media
    commits = [s.event for s in watch.world.servers["one.test"].room.timeline if s.event.type == names.COMMIT]
    assert any(name.endswith("_file") for commit in commits for name in commit.content)
    watch.check()


@pytest.mark.parametrize("seed", range(3))
def test_who_still_waits_for_the_file_with_its_welcome_takes_no_turn(seed: int) -> None:
    """It is a leaf of the head and its turn may come, but it stands nowhere. The media repository is slow."""
    network = ServedNetwork(Random(seed), NetworkModel(changed={"other request": 0.2}))
    limits = Limits(message_rate=None, max_delay_ms=None)
    watch = Watch(16, seed, policy=Policy(content_limit=4000), network=network, limits=limits)
    for index in range(16):
        watch.party.join(index, after=index / 2)
    watch.party.run(40)
    watch.check()


@pytest.mark.parametrize("seed", range(4))
def test_where_everything_takes_seconds_no_rank_takes_its_turn_before_the_commit_of_another_can_have_come(
    seed: int,
) -> None:
    """The files of each commit keep the homeserver busy for longer than a failover step. When the ranks went by the
    policy's step alone, rival commits kept it busier still, and one call in four had not agreed after two minutes."""
    network = ServedNetwork(Random(seed), NetworkModel(changed={"other request": 0.2}))
    limits = Limits(message_rate=None, max_delay_ms=None)
    watch = Watch(16, seed, policy=Policy(content_limit=4000), network=network, limits=limits)
    for index in range(16):
        watch.party.join(index, after=index / 2)
    watch.party.run(10)
    watch.until_agreed(16, timeout=110)
    assert watch.world.sent()[names.COMMIT] < 30
    watch.check()


def test_a_member_sees_from_its_join_and_its_commits_how_long_events_take() -> None:
    watch = Watch(3, latency=Latency(client=(2.0, 2.0)))
    watch.join_all()
    assert all(2.0 < watch.session(index)._attendance.echo.seconds < 4.1 for index in range(3))
    watch.world.network.latency = Latency(client=(0.1, 0.1))
    watch.party.leave(2)
    watch.until_agreed(2)
    echoes = sorted(watch.session(index)._attendance.echo.seconds for index in range(2))
    assert 0.1 < echoes[0] < 0.3, "the one who committed has seen it anew"
    assert echoes[1] > 2.0


def test_a_crowd_that_leaves_is_removed_by_as_many_commits_as_it_takes() -> None:
    """The leaves that a commit repeats go into no attachment."""
    watch = Watch(32, policy=Policy(content_limit=4000))
    watch.join_all(within=0.5)
    watch.party.run(3)
    for index in range(29):
        watch.party.leave(index)
    watch.until_agreed(3, timeout=20)
    watch.check()


def test_an_attachment_that_is_lost_leads_to_a_new_join() -> None:
    watch = Watch(6, policy=Policy(content_limit=5000))
    server = watch.world.servers["one.test"]
    for index in range(5):
        watch.party.join(index, after=index / 10)
    watch.until_agreed(5)
    watch.party.run(2)
    server.withhold(lambda event: event.type == names.COMMIT, 1.0)
    watch.party.join(5)
    watch.party.run(0.5)
    server.media.clear()
    watch.until_agreed(6, timeout=40)
    watch.check()


# -- power -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [names.COMMIT, names.WORD, names.STATE_MEMBER])
def test_whom_the_room_lets_not_take_part_is_told_at_once(kind: str) -> None:
    state = {names.STATE_MEMBER: 0} | {kind: 50}
    watch = Watch(1, room=RoomSettings(power_levels={"events": state}))
    watch.party.start(0)
    watch.party.run(1)
    with pytest.raises(CannotSend) as caught:
        watch.session(0).join(watch.party[0].now)
    assert (caught.value.event_type, caught.value.need, caught.value.have) == (kind, 50, 0)
    assert watch.session(0).phase is Phase.LOBBY
    watch.party.run(5)
    assert watch.world.sent() == {}


def test_who_may_no_longer_commit_is_not_waited_for() -> None:
    watch = call(4)
    leaver = 3
    first = next(index for index in watch.ranked() if index != leaver)
    users = {watch.party[index].matrix.user_id: 20 for index in range(4) if index != first}
    levels = {"users": {watch.world.moderator[0]: 100} | users, "events": {names.COMMIT: 20, names.STATE_MEMBER: 0}}
    watch.world.moderate(names.POWER_LEVELS, "", levels)
    watch.party.run(1)
    watch.party.leave(leaver)
    assert watch.until_agreed(3, timeout=10) < 1.5
    watch.check()


# -- the end of a stay -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", ["kicked", "banned"])
def test_a_kick_or_a_ban_ends_the_call_for_its_user_and_gives_the_others_new_keys(reason: str) -> None:
    watch = call(3)
    gone = watch.party[1].matrix.user_id
    (watch.world.kick if reason == "kicked" else watch.world.ban)(gone)
    watch.party.run_until(lambda: watch.session(1).phase is Phase.OVER, timeout=2)
    assert [notice.reason for notice in watch.ledgers[1].notices(Left)] == [reason]
    watch.party.run_until(lambda: watch.session(0).epoch_id not in watch.ledgers[1].epochs, timeout=5)
    watch.party.run(2)
    stand = watch.session(0).epoch_id
    assert stand == watch.session(2).epoch_id
    assert watch.ledgers[0].sending == watch.ledgers[2].sending == stand
    watch.check()


def test_who_was_kicked_and_is_back_in_the_room_joins_as_somebody_new() -> None:
    watch = call(3)
    member = watch.member(1)
    watch.world.kick(watch.party[1].matrix.user_id)
    watch.party.run(5)
    watch.party.crash(1)
    watch.world.enter(watch.party[1].matrix.user_id)
    watch.party.run(1)
    watch.party.restart(1)
    watch.until_agreed(3, timeout=20)
    assert watch.member(1) != member
    watch.check()


@pytest.mark.parametrize(
    ("type", "state_key", "content", "reason"),
    [
        (names.TOMBSTONE, "", {"replacement_room": "!other:one.test"}, "room_closed"),
        (names.TOMBSTONE, "", {"replacement_room": 5}, "room_closed"),
        (names.SLOT, SLOT, {}, "slot_closed"),
        (names.SLOT_STABLE, SLOT, {"status": "closed"}, "slot_closed"),
        (names.SLOT, SLOT, {"status": "open", "encryption": {"type": "m.per_member"}}, "slot_encryption"),
        (names.SLOT, SLOT, {"status": "open", "encryption": {"type": "dev.mlsrtc.mls"}}, None),
        (names.SLOT, SLOT, {"status": "open"}, None),
        (names.SLOT, "m.call#other", {}, None),
    ],
)
def test_a_call_ends_with_its_room_or_slot(
    type: str, state_key: str, content: dict[str, Any], reason: str | None
) -> None:
    watch = call(3)
    watch.world.moderate(type, state_key, content)
    watch.party.run(1)
    told = [[notice.reason for notice in ledger.notices(Left)] for ledger in watch.ledgers]
    assert told == [[] if reason is None else [reason]] * 3
    assert all((ledger.held == {}) is (reason is not None) for ledger in watch.ledgers)


@pytest.mark.parametrize("state_key", [None, "x", "@a:b"])
@pytest.mark.parametrize("type", [names.TOMBSTONE, names.ROOM_ENCRYPTION, names.ROOM_CREATE, names.POWER_LEVELS])
def test_only_the_rooms_own_state_is_its_state(type: str, state_key: str | None) -> None:
    watch = call(2)
    session, now = watch.session(0), watch.party[0].now
    before = session.known.room
    session.receive(RoomEvent(type, "@eve:one.test", "$x", 1, {"algorithm": "a"}, state_key), now)
    assert session.known.room == before


def test_an_erased_membership_is_written_again_and_its_delayed_leave_scheduled() -> None:
    watch = call(3)
    watch.world.erase_memberships(watch.party[1].matrix.user_id)
    watch.party.run(1)
    watch.until_agreed(3, timeout=20)
    watch.party.run(30)
    assert watch.agreed(3)
    assert len(watch.world.servers["one.test"].delayed) == 3
    watch.check()


def test_who_keeps_being_erased_does_not_fight_without_end() -> None:
    watch = call(3)
    before = watch.world.sent()[names.STATE_MEMBER]
    for _ in range(60):
        watch.world.erase_memberships(watch.party[1].matrix.user_id)
        watch.party.run(1)
    erasures = 60
    assert watch.world.sent()[names.STATE_MEMBER] - before - erasures <= 30
    watch.until_agreed(3, timeout=60)
    watch.check()


# -- trust -------------------------------------------------------------------------------------------------------------


def began_with(watch: Watch, member: MemberId) -> set[EpochId]:
    """The epochs with this member as a leaf that any other device began to send under."""
    return {
        switch.id
        for ledger in watch.ledgers
        for switch in ledger.switches
        if member not in ledger.identities and member in ledger.epochs[switch.id].members
    }


def test_a_changed_master_key_is_not_let_in_until_it_is_accepted() -> None:
    watch = call(3)
    watch.party.leave(2)
    watch.until_agreed(2)
    before = set(watch.ledgers[2].identities)
    watch.kill(2)
    watch.resets(2)
    watch.party.join(2)
    watch.party.run(30)
    for index in (0, 1):
        told = {(notice.user_id, notice.reason) for notice in watch.ledgers[index].notices(NotAddable)}
        assert told == {(watch.party[2].matrix.user_id, "master_changed")}
        assert watch.ledgers[index].sending is not None
    for member in watch.ledgers[2].identities - before:
        assert began_with(watch, member) == set()
    master = watch.party[2].matrix.user.master.public
    assert watch.ledgers[2].notices(OwnMasterKeyChanged) == [OwnMasterKeyChanged(master)]
    for index in range(2):  # Device 2 has pinned its own old key, too, and takes itself for no stranger.
        watch.session(index).accept_master_key(watch.session(2).user_id, master, watch.party[index].now)
        watch.party[index].pump()
    watch.until_agreed(3, timeout=60)
    watch.check()


def test_another_device_of_our_user_under_a_new_master_key_waits_for_our_application_too() -> None:
    """Devices 0 and 1 are of one user, which resets its cross-signing while device 1 is away."""
    watch = call(3, devices_per_user=2)
    watch.party.leave(1)
    watch.until_agreed(2)
    before = set(watch.ledgers[1].identities)
    watch.kill(1)
    watch.resets(1)
    watch.party.join(1)
    watch.party.run(30)
    user = watch.party[0].matrix.user
    for index in (0, 2):
        told = {(notice.user_id, notice.reason) for notice in watch.ledgers[index].notices(NotAddable)}
        assert told == {(user.user_id, "master_changed")}
    assert watch.ledgers[0].notices(OwnMasterKeyChanged) == [OwnMasterKeyChanged(user.master.public)]
    assert watch.ledgers[2].notices(OwnMasterKeyChanged) == []
    assert watch.agreed(3) is False
    for member in watch.ledgers[1].identities - before:
        assert began_with(watch, member) == set()
    for index in range(3):
        watch.session(index).accept_master_key(UserId(user.user_id), user.master.public, watch.party[index].now)
        watch.party[index].pump()
    watch.until_agreed(3, timeout=60)
    watch.check()


@pytest.mark.parametrize("trust", [Trust.CROSS_SIGNED, Trust.ANY_DEVICE])
def test_a_device_without_cross_signing_is_let_in_by_any_device_only(trust: Trust) -> None:
    watch = Watch(3, policy=Policy(trust=trust))
    watch.not_cross_signed(2)
    for index in range(3):
        watch.party.join(index)
    watch.party.run(25)
    stranger = watch.ledgers[2].identities
    reasons = {notice.reason for index in (0, 1) for notice in watch.ledgers[index].notices(NotAddable)}
    if trust is Trust.ANY_DEVICE:
        assert watch.agreed(3)
        assert reasons == set()
    else:
        assert reasons == {"no_chain"}
        assert set().union(*(began_with(watch, member) for member in stranger)) == set()
        assert watch.ledgers[0].sending is not None
    watch.check()


def test_under_verified_nobody_is_let_in_before_the_application_says_so() -> None:
    watch = Watch(2, policy=Policy(trust=Trust.VERIFIED))
    for index in range(2):
        watch.party.join(index)
    watch.party.run(15)
    assert {notice.reason for ledger in watch.ledgers for notice in ledger.notices(NotAddable)} == {"not_verified"}
    for index in range(2):
        for device in watch.party.devices:
            master = device.matrix.user.master.public
            watch.session(index).accept_master_key(
                watch.session(device.index).user_id, master, watch.party[index].now, verified=True
            )
    watch.until_agreed(2, timeout=20)
    watch.check()


# -- clocks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("skew_ms", [-4 * 60_000, 4 * 60_000, -HOUR_MS])
def test_clocks_that_differ_are_no_hindrance(skew_ms: int) -> None:
    watch = Watch(3)
    watch.party[1].step_clock(skew_ms)
    watch.join_all()
    watch.party.run(60)
    assert watch.agreed(3)
    assert nobody_rejoined(watch)
    watch.check()


def test_who_joins_from_the_future_is_in_once_its_clock_is_right() -> None:
    watch = Watch(3)
    watch.party[1].step_clock(2 * HOUR_MS)
    for index in range(3):
        watch.party.join(index)
    watch.party.run(20)
    watch.party[1].step_clock(-2 * HOUR_MS)
    watch.until_agreed(3, timeout=60)
    watch.check()


def test_a_clock_that_jumps_during_the_call_moves_nobody_out_for_good() -> None:
    watch = call(3)
    watch.party[1].step_clock(24 * HOUR_MS)
    watch.party.run(20)
    watch.party[1].step_clock(-24 * HOUR_MS)
    watch.until_agreed(3, timeout=60)
    watch.check()


def test_nobody_is_muted_in_an_ordinary_call() -> None:
    watch = call(5, servers=3)
    watch.party.leave(2)
    watch.party.run(20)
    assert not any(ledger.notices(Muted) for ledger in watch.ledgers)
    assert not any(ledger.notices(Stranded) for ledger in watch.ledgers)
    assert all(len(ledger.notices(EpochChanged)) == len(ledger.epochs) for ledger in watch.ledgers)
