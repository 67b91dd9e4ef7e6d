"""Malformed events as a homeserver would hand them over, through `Session.receive`, and what each gets: the refusal
of whoever reads its bytes, a session that is as before, and the genuine next events still apply.

One device is in a call of two, and has stopped. What it had saved, and what the room shows afterwards (a third device
joins and is added; then the first is removed), is taken from a call in memory; each row starts the device again.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import pytest

from mlsrtc import trust
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.group import Participation
from mlsrtc.identifiers import EpochId, EventId, RoomId
from mlsrtc.knowledge import Knowledge
from mlsrtc.notices import EventRefused, Notice, Stranded
from mlsrtc.ordering import dump
from mlsrtc.outbox import SendToDevice
from mlsrtc.session import Phase, Session
from mlsrtc.testing import Latency, Twins
from mlsrtc.testing.device import SCOPE
from mlsrtc.wire import names
from mlsrtc.wire.attachment import encode_file, encrypt_attachment, with_url
from mlsrtc.wire.block import encode_block
from mlsrtc.wire.commit import encode_word
from mlsrtc.wire.encoding import decode_base64, encode_base64
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    HistoryComplete,
    HistoryRefused,
    Incoming,
    Now,
    RoomEvent,
    ToDevice,
)
from people import fixed_random
from samples import spoilt, without
from watching import SLOT, Watch, Watched

B = names.BLOCK
EVE = "@eve:one.test"
URI = "mxc://one.test/commit"
LONG = encode_base64(bytes(70_000))


class Stage:
    """The call that all rows are played in. `join` and `commit`: the genuine next events; `next_commit` builds on
    `commit`; `word` is one that the other member could say."""

    def __init__(self) -> None:
        watch = Watch(3, latency=Latency(client=(0.03, 0.03)))
        watch.party.join(0)
        watch.party.run(2)
        watch.party.join(1)
        watch.until_agreed(2)
        watch.party.run(2)
        timeline = watch.world.servers["one.test"].room.timeline
        self.watch, self.device = watch, watch.party[0]
        self.room, self.now = RoomId(watch.world.room_id), Now(0.0, watch.world.now.wall_ms)
        self.records = dict(self.device.store.load(SCOPE))
        self.past = [stored.event for stored in timeline]
        self.root = next(event for event in self.past if event.type == names.COMMIT)
        watch.party.crash(0)
        watch.party.join(2)
        watch.party.run(watch.policy.delayed_leave + 5)
        later = [stored.event for stored in timeline[len(self.past) :]]
        self.join = next(event for event in later if event.type == names.STATE_MEMBER and event.content)
        self.commit, self.next_commit = [event for event in later if event.type == names.COMMIT][:2]
        self.epoch = EpochId(decode_base64(self.commit.content["id"]))
        self.other, self.newcomer = self.participation(1), self.participation(2)
        self.word = self.said(self.other)

    def participation(self, index: int) -> Participation:
        watched = self.watch.party[index].session
        assert isinstance(watched, Watched)
        presence = watched.inner._attendance.presence
        assert presence is not None
        return presence.participation

    def said(self, who: Participation, *, on: RoomEvent | None = None) -> RoomEvent:
        root = EpochId(decode_base64(self.root.content["id"]))
        word = trust.sign_word(
            self.room,
            SLOT,
            who.leaf,
            who.signing_key,
            root=root,
            root_event=EventId(self.root.event_id),
            n=1,
            id=EpochId(decode_base64((on or self.root).content["id"])),
        )
        return self.event(names.WORD, who.leaf.user_id, encode_word(word))

    def left(self, who: Participation, **changes: Any) -> RoomEvent:
        """A leave of `who` under the state key of its join."""
        block = encode_block(replace(trust.sign_left(self.room, SLOT, who.leaf, who.signing_key), **changes))
        return replace(self.join, event_id="$leave", content={B: block})

    def event(self, type: str, sender: str, content: Mapping[str, Any], state_key: str | None = None) -> RoomEvent:
        return RoomEvent(type, sender, "$bad", self.now.wall_ms, content, state_key)

    def start(self) -> Session:
        """The device's process, up again: what it had saved, its own keys and the room's past are there."""
        session = Session(self.device.matrix, self.room, SLOT, now=self.now, records=self.records)
        for user in self.watch.party.users[:2]:
            session.receive(DeviceKeys(user.user_id, user.keys()), self.now)
        for event in self.past:
            session.receive(event, self.now)
        session.receive(HistoryComplete(), self.now)
        settle(session, self.now)
        assert (session.phase, len(session.members)) == (Phase.INSIDE, 2)
        assert session.epoch_id == decode_base64(self.root.content["id"])
        return session

    def go_on(self, session: Session) -> None:
        """The genuine next events come; the session follows them."""
        user = self.watch.party.users[2]
        for incoming in (DeviceKeys(user.user_id, user.keys()), self.join, self.commit):
            session.receive(incoming, self.now)
        settle(session, self.now)
        assert session.epoch_id == self.epoch
        assert self.newcomer.leaf.member_id in session.members


def settle(session: Session, now: Now) -> list[Notice]:
    session.tick(now)
    session.checkpoint(lambda changes: None)
    return list(session.notices())


@cache
def stage() -> Stage:
    return Stage()


CACHES = {"ordering", "_verdicts", "_view"}  # of `Knowledge`: what follows from the rest


def state_of(session: Session) -> dict[str, object]:
    """Everything that something received could have changed, comparable."""
    return (
        {field.name: repr(getattr(session.known, field.name)) for field in fields(Knowledge)}
        | {
            "ordering": dump(session.known.ordering),
            "members": dict(session.members),
            "stand": (session.phase, session.epoch_id, session.safety_code),
            "answers": repr(session._exchange),
            "requests": [request.id for request in session._desk.outbox.waiting()],
        }
        | dict.fromkeys(CACHES - {"ordering"})
    )


# -- how a row is spoilt -----------------------------------------------------------------------------------------------

Make = Callable[[Stage], Incoming]
Case = tuple[str, Make, str, str]


def join(*path: str, to: Any, **changes: Any) -> Make:
    return lambda here: replace(here.join, content=spoilt(here.join.content, path, to), **changes)


def commit(*path: str, to: Any, **changes: Any) -> Make:
    return lambda here: replace(here.commit, content=spoilt(here.commit.content, path, to), **changes)


def flipped(name: str, place: int) -> Make:
    """The genuine commit event, but for one bit of one base64 field."""
    return lambda here: replace(here.commit, content=with_flip(here.commit.content, name, place))


def with_flip(content: Mapping[str, Any], name: str, place: int) -> dict[str, Any]:
    value = bytearray(decode_base64(content[name]))
    value[place] ^= 1
    return {**content, name: encode_base64(bytes(value))}


def word(*path: str, to: Any, **changes: Any) -> Make:
    return lambda here: replace(here.word, content=spoilt(here.word.content, path, to), **changes)


def need(to: Mapping[str, Any] | None = None, sender: str | None = None) -> Make:
    """The newcomer asks before its join was seen, or another asks in somebody's name."""

    def make(here: Stage) -> Incoming:
        leaf = here.other.leaf
        content = {"room_id": here.room, "slot_id": SLOT, "member_id": leaf.member_id, "id": None}
        return ToDevice(names.NEED, sender or leaf.user_id, {**content, **(to or {})})

    return make


def have(**to: Any) -> Make:
    return lambda here: ToDevice(
        names.HAVE, here.other.leaf.user_id, {"room_id": here.room, "slot_id": SLOT, "id": None, "events": [], **to}
    )


def answer(here: Stage, *events: RoomEvent) -> ToDevice:
    told = [
        {
            "type": event.type,
            "sender": event.sender,
            "event_id": event.event_id,
            "origin_server_ts": event.origin_server_ts,
            "content": event.content,
        }
        | ({} if event.state_key is None else {"state_key": event.state_key})
        for event in events
    ]
    made = have(events=told)(here)
    assert isinstance(made, ToDevice)
    return made


def room(type: str, content: Any, state_key: str | None = "") -> Make:
    return lambda here: here.event(type, here.watch.world.moderator[0], content, state_key)


def keys(change: Callable[[dict[str, Any], str], Any]) -> Make:
    """The answer of keys/query for the newcomer's user."""

    def make(here: Stage) -> Incoming:
        user = here.watch.party.users[2]
        return DeviceKeys(user.user_id, change(user.keys(), user.user_id))

    return make


MEMBERSHIPS: list[Case] = [
    ("join that is a list", lambda here: replace(here.join, content=[]), "wrong_type", "content"),  # type: ignore[arg-type]
    ("join block is text", join(B, to="x"), "wrong_type", f"content.{B}"),
    ("join of version 0", join(B, "version", to=0), "out_of_range", f"content.{B}.version"),
    ("join with a padded KeyPackage", join(B, "key_package", to="AA=="), "bad_base64", f"content.{B}.key_package"),
    ("join with an oversized KeyPackage", join(B, "key_package", to=LONG), "oversized", f"content.{B}.key_package"),
    ("join with another KeyPackage", join(B, "key_package", to="AAAA"), "bad_signature", f"content.{B}.signature"),
    ("join drawn out", join(B, "head", to=None), "bad_signature", f"content.{B}.signature"),
    ("join of five hours", join(B, "until", to=2**50), "bad_lifetime", f"content.{B}.until"),
    (
        "join with an unsigned binding",
        join(B, "binding", "signature", to=encode_base64(bytes(64))),
        "bad_signature",
        f"content.{B}.binding",
    ),
    ("join of another slot", join(B, "slot_id", to="m.call#x"), "wrong_slot", f"content.{B}.slot_id"),
    ("join of another device", join("device_id", to="OTHER"), "wrong_device", "content.device_id"),
    (
        "join in another's name",
        lambda here: replace(
            here.join,
            sender=EVE,
            state_key=str(here.join.state_key).replace(here.join.sender, EVE),
            content={**here.join.content, "membershipID": "x"},
        ),
        "wrong_member_id",
        f"content.{B}.binding",
    ),
    ("join under no state key", lambda here: replace(here.join, state_key=None), "missing_field", "state_key"),
    (
        "leave that is not signed",
        lambda here: here.left(here.newcomer, signature=bytes(64)),
        "bad_signature",
        f"content.{B}.left.signature",
    ),
    (
        "leave of somebody else",
        lambda here: here.left(here.other),
        "wrong_member_id",
        f"content.{B}.left.member_id",
    ),
]

COMMITS: list[Case] = [
    ("commit event without commit", commit("commit", to=None), "missing_field", "content.commit"),
    ("commit event padded", commit("commit", to="AA=="), "bad_base64", "content.commit"),
    ("commit event in base64url", commit("commit", to="-_-_"), "bad_base64", "content.commit"),
    ("commit event oversized", commit("commit", to=LONG), "oversized", "content.commit"),
    ("commit event with the epoch as text", commit("epoch", to="2"), "wrong_type", "content.epoch"),
    ("commit event without slot", commit("slot_id", to=None), "missing_field", "content.slot_id"),
    ("commit of no MLS version", commit("commit", to="AAAA"), "unsupported_version", "commit.version"),
    (
        "commit truncated",
        lambda here: replace(
            here.commit,
            content={**here.commit.content, "commit": encode_base64(decode_base64(here.commit.content["commit"])[:-1])},
        ),
        "truncated",
        "commit.membership_tag",
    ),
    (
        "GroupInfo in the commit's place",
        lambda here: replace(here.commit, content={**here.commit.content, "commit": here.commit.content["group_info"]}),
        "wrong_message_type",
        "commit.wire_format",
    ),
    (
        "commit with a bit of an Add turned",
        flipped("commit", 200),
        "wrong_transcript",
        "group_info.confirmed_transcript_hash",
    ),
    ("GroupInfo with a bit turned", flipped("group_info", -1), "bad_signature", "group_info.signature"),
    ("commit event that says another n", commit("n", to=7), "wrong_count", "n"),
    (
        "commit event that says another id",
        commit("id", to=encode_base64(bytes(32))),
        "wrong_id",
        "id",
    ),
    ("commit event by another sender", lambda here: replace(here.commit, sender=EVE), "wrong_sender", "sender"),
    (
        "commit event that says another epoch",
        lambda here: replace(
            here.commit, content={**here.commit.content, "parent": here.root.content["id"], "epoch": 3}
        ),
        "wrong_epoch",
        "epoch",
    ),
    (
        "root with its child's commit",
        lambda here: replace(here.root, content={**here.root.content, "commit": here.commit.content["commit"]}),
        "wrong_epoch",
        "commit.epoch",
    ),
]

WORDS: list[Case] = [
    ("word event without signature", word("sig", to=""), "wrong_size", "content.sig"),
    ("word event with n = 0", word("n", to=0), "out_of_range", "content.n"),
    (
        "word event that refuses for no known reason",
        word("refuse", to=[encode_base64(bytes(32)), "x"]),
        "bad_refusal",
        "content.refuse",
    ),
    ("word event that refers to nothing", word("m.relates_to", to=None), "missing_field", "content.m.relates_to"),
    ("word event with another count", word("n", to=2), "bad_signature", "content.sig"),
    ("word event for another epoch", word("id", to=encode_base64(bytes(32))), "bad_signature", "content.sig"),
    ("word event by another sender", lambda here: replace(here.word, sender=EVE), "wrong_user", "sender"),
    (
        "word event in another member's name",
        lambda here: replace(
            here.word,
            sender=here.device.matrix.user_id,
            content={**here.word.content, "member_id": here.start().member_id},
        ),
        "bad_signature",
        "content.sig",
    ),
]

QUESTIONS: list[Case] = [
    ("need event without room", need({"room_id": None}), "missing_field", "content.room_id"),
    ("need event of a member that is none", need({"member_id": "x"}), "bad_member_id", "content.member_id"),
    ("need event with an id of 31 bytes", need({"id": encode_base64(bytes(31))}), "wrong_size", "content.id"),
    ("need event of a tree of nothing", need({"tree": True}), "missing_field", "content.id"),
    ("need event in another's name", need(sender=EVE), "unknown_asker", "content.member_id"),
    (
        "need event of somebody who has not joined",
        lambda here: need({"member_id": here.newcomer.leaf.member_id}, here.newcomer.leaf.user_id)(here),
        "unknown_asker",
        "content.member_id",
    ),
    ("have event without slot", have(slot_id=None), "missing_field", "content.slot_id"),
    ("have event whose events are text", have(events="x"), "wrong_type", "content.events"),
    ("have event with too many events", have(events=[{}] * 1001), "oversized", "content.events"),
    (
        "have event of a foreign event",
        lambda here: answer(here, here.event("m.room.message", EVE, {})),
        "unknown_type",
        "content.events[0].type",
    ),
    ("have event with a tree in base64url", have(tree="-_-_"), "bad_base64", "content.tree"),
    ("have event with a file without address", have(file={"v": "v2"}), "missing_field", "content.file.url"),
]

ROOM: list[Case] = [
    ("power levels that are text", room(names.POWER_LEVELS, {"users": "x"}), "wrong_type", "content.users"),
    ("room member without membership", room(names.ROOM_MEMBER, {}, EVE), "missing_field", "content.membership"),
    ("room member that is no user", room(names.ROOM_MEMBER, {"membership": "join"}, "eve"), "bad_user_id", "state_key"),
    (
        "slot with encryption as a list",
        room(names.SLOT, {"status": "open", "encryption": []}, SLOT),
        "wrong_type",
        "content.encryption",
    ),
    (
        "keys/query answered without the user",
        keys(lambda value, user: {**value, "device_keys": {}}),
        "missing_field",
        "keys_query.device_keys.@user02:one.test",
    ),
    (
        "keys/query answered with a list",
        keys(lambda value, user: []),
        "wrong_type",
        "keys_query",
    ),
]

CASES = MEMBERSHIPS + COMMITS + WORDS + QUESTIONS + ROOM


@pytest.mark.parametrize(("name", "make", "reason", "where"), CASES, ids=[case[0] for case in CASES])
def test_bad_input_is_refused_and_the_genuine_next_event_applies(
    name: str, make: Make, reason: str, where: str
) -> None:
    here = stage()
    session = here.start()
    before = state_of(session)
    with pytest.raises(RemoteProtocolError) as caught:
        session.receive(make(here), here.now)
    assert (caught.value.reason, caught.value.where) == (reason, where)
    assert state_of(session) == before
    saved: dict[str, bytes | None] = {}
    session.tick(here.now)
    session.checkpoint(saved.update)
    assert not [key for key in saved if key.startswith("event/")]
    assert session.notices() == []
    here.go_on(session)


# -- what can be judged only later is told as `EventRefused` -----------------------------------------------------------


@dataclass(frozen=True)
class Late:
    """`first`: what comes, the bad one among it, before the genuine join and commit. `bad`: which event is told."""

    first: Callable[[Stage], Sequence[Incoming]]
    bad: str
    after: Callable[[Stage], Sequence[Incoming]] = lambda here: ()  # when the genuine ones have come


def early(change: Callable[[Stage], Mapping[str, Any]]) -> Late:
    """A child of the commit that has not come yet."""
    return Late(lambda here: [replace(here.next_commit, event_id="$bad", content=change(here))], "$bad")


def in_file(data: bytes | None) -> Late:
    """The commit stands in a file, and the media repository gives this for it."""

    def first(here: Stage) -> Sequence[Incoming]:
        file, _ = encrypt_attachment(decode_base64(here.commit.content["commit"]), fixed_random)
        content = without(here.commit.content, "commit") | {"commit_file": encode_file(with_url(file, URI))}
        return [replace(here.commit, event_id="$bad", content=content), Attachment(URI, data)]

    return Late(first, "$bad")


LATE: list[tuple[str, Late, str, str]] = [
    (
        "child with a bit of its GroupInfo turned, before its parent",
        early(lambda here: with_flip(here.next_commit.content, "group_info", -1)),
        "bad_signature",
        "group_info.signature",
    ),
    (
        "child that says another n, before its parent",
        early(lambda here: {**here.next_commit.content, "n": 9}),
        "wrong_count",
        "n",
    ),
    (
        "commit of the root shown as a child, before its parent",
        early(lambda here: {**here.next_commit.content, "commit": here.root.content["commit"]}),
        "wrong_epoch",
        "commit.epoch",
    ),
    ("commit whose file is another", in_file(b"something else"), "wrong_hash", "content.commit_file"),
    ("commit whose file is gone", in_file(None), "missing_attachment", "content.commit_file"),
    (
        "word with another count, before its author's join",
        Late(
            lambda here: [replace(said := here.said(here.newcomer, on=here.commit), content={**said.content, "n": 7})],
            "$bad",
        ),
        "bad_signature",
        "content.sig",
    ),
    (
        "word by another sender, before its author's join",
        Late(lambda here: [replace(here.said(here.newcomer, on=here.commit), sender=EVE)], "$bad"),
        "wrong_user",
        "sender",
    ),
]


@pytest.mark.parametrize(("name", "late", "reason", "where"), LATE, ids=[case[0] for case in LATE])
def test_what_is_refused_later_is_told_and_the_genuine_one_applies(
    name: str, late: Late, reason: str, where: str
) -> None:
    here = stage()
    session = here.start()
    for incoming in late.first(here):
        session.receive(incoming, here.now)
    notices = settle(session, here.now)
    user = here.watch.party.users[2]
    for incoming in (DeviceKeys(user.user_id, user.keys()), here.join, here.commit):
        session.receive(incoming, here.now)
    notices += settle(session, here.now)
    refused = [notice for notice in notices if isinstance(notice, EventRefused)]
    assert [(notice.event_id, notice.reason, notice.where) for notice in refused] == [(late.bad, reason, where)]
    assert session.epoch_id == here.epoch
    assert not [notice for notice in notices if isinstance(notice, Stranded)]
    never = here.start()
    here.go_on(never)
    assert dump(session.known.ordering) == dump(never.known.ordering)
    assert session.members == never.members


# -- twins: what only members can check --------------------------------------------------------------------------------


@pytest.mark.parametrize("twin_first", [True, False])
def test_a_twin_with_another_membership_tag_in_one_sync_with_the_genuine_commit_does_no_harm(twin_first: bool) -> None:
    here = stage()
    session = here.start()
    twin = replace(here.commit, event_id="$twin", content=with_flip(here.commit.content, "commit", -1))
    user = here.watch.party.users[2]
    pair = [twin, here.commit] if twin_first else [here.commit, twin]
    together: list[Incoming] = [DeviceKeys(user.user_id, user.keys()), here.join, *pair]
    for incoming in together:
        session.receive(incoming, here.now)
    notices = settle(session, here.now)
    assert session.epoch_id == here.epoch
    assert not [notice for notice in notices if isinstance(notice, Stranded)]


def test_a_joiner_enters_by_the_genuine_one_of_two_welcomes() -> None:
    """Every homeserver shows each commit first with a bit of Welcome or tree turned, and then as it is."""
    watch = Watch(4)
    watch.world.servers["one.test"].rewrite = Twins(fields=("welcome", "tree"))
    watch.join_all()
    watch.check()
    assert all(len(ledger.identities) == 1 for ledger in watch.ledgers)  # nobody had to join anew


def test_the_tables_are_large_and_their_names_are_their_own() -> None:
    assert len({name for name, *_ in [*CASES, *LATE]}) == len(CASES) + len(LATE) >= 60


def test_bad_events_in_an_answer_are_told_and_the_rest_of_it_counts() -> None:
    here = stage()
    session = here.start()
    session.receive(HistoryRefused("M_FORBIDDEN"), here.now)
    session.receive(here.next_commit, here.now)
    settle(session, here.now)
    later = Now(here.now.monotonic + 3, here.now.wall_ms + 3000)
    settle(
        session, later
    )  # The parent of that commit is missing, and the room cannot be read: by now it was asked for.
    (need,) = [one for one in session.outgoing() if isinstance(one, SendToDevice)]
    bad_commit = replace(here.commit, event_id="$commit", content=with_flip(here.commit.content, "commit", 200))
    bad_join = replace(here.join, event_id="$join", content={**here.join.content, "device_id": "X"})
    made = replace(answer(here, bad_commit, bad_join, here.join, here.commit), sender=need.user_id)
    asked = {**made.content, "id": encode_base64(here.epoch)}
    unasked = {**made.content, "id": encode_base64(bytes(32))}
    user = here.watch.party.users[2]
    for unwanted in (replace(made, content=unasked), replace(made, content=asked, sender=EVE)):
        session.receive(unwanted, later)
        assert settle(session, later) == [], "nobody was asked for that, or somebody else"
    for incoming in (DeviceKeys(user.user_id, user.keys()), here.join):
        session.receive(incoming, later)
    settle(session, later)
    session.receive(replace(made, content=asked), later)
    notices = settle(session, later)
    refused = {(one.event_id, one.reason, one.where) for one in notices if isinstance(one, EventRefused)}
    assert refused == {
        ("$commit", "wrong_transcript", "group_info.confirmed_transcript_hash"),
        ("$join", "wrong_device", "content.device_id"),
    }
    assert here.epoch in session.known.archive.judged, "the genuine commit of the same answer was taken"
    assert here.newcomer.leaf.member_id in session.members


@pytest.mark.parametrize("depth", [900, 100_000])
def test_what_nobody_reads_may_be_nested_however_deeply_and_is_not_kept(depth: int) -> None:
    """A decoder of JSON may take deeper values than the encoder that a store's records need."""
    deep: dict[str, Any] = {}
    for _ in range(depth):
        deep = {"x": deep}
    here = stage()
    session = here.start()
    user = here.watch.party.users[2]
    session.receive(DeviceKeys(user.user_id, user.keys()), here.now)
    events = [here.join, here.word, here.next_commit, here.commit]  # The child waits for its parent.
    for number, event in enumerate(events):
        session.receive(replace(event, event_id=f"${number}", content={**event.content, "x": deep}), here.now)
    session.tick(here.now)
    saved: dict[str, bytes | None] = {}
    session.checkpoint(saved.update)
    assert here.epoch in session.known.archive.judged
    for number, event in enumerate(events):
        assert json.loads(saved[f"event/${number}"] or b"")["content"].keys() <= event.content.keys()
