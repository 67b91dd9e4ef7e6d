"""What somebody in the room, or a member, can try with well-formed lies: answers that nobody asked for, devices that do
not exist, KeyPackages that do not hold. Each was found to work once."""

import os
from dataclasses import replace
from typing import Any

import pytest

import mlsrtc.attendance
from mlsrtc.drafts import Place, enter_from_outside
from mlsrtc.epochs import tree_at
from mlsrtc.group import Participation, participate
from mlsrtc.identifiers import DeviceId, EpochId, RoomId, UserId
from mlsrtc.notices import EventRefused, NotAddable, Rejoining
from mlsrtc.outbox import SendEvent, SendState, SendToDevice
from mlsrtc.policy import Policy
from mlsrtc.presence import Presence
from mlsrtc.testing import Latency
from mlsrtc.testing.device import SCOPE
from mlsrtc.testing.identities import LabDevice, LabUser
from mlsrtc.trust import verify_chain
from mlsrtc.wire import names
from mlsrtc.wire.chain import DeviceChain, decode_chain, decode_keys_query
from mlsrtc.wire.commit_data import CommitData
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import MembershipFormat
from watching import SLOT, Watch

STEADY = Latency(client=(0.03, 0.03))


class Eve:
    """A user in the room that is no member of the call."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.device: LabDevice = LabUser("@eve:one.test", b"e" * 32).add_device("EVE")
        watch.world.log_in(self.device.name, keys=self.device.user.keys())
        watch.world.connect(self.device.name)
        self._numbers = 0

    def act(self, request: Any) -> None:
        self.watch.world.act(self.device.name, request)

    def raise_a_question(self, parent: bytes | None = None) -> bytes:
        """A commit on a parent that nobody knows: what it would take to make members ask."""
        timeline = self.watch.world.servers["one.test"].room.timeline
        root = next(stored.event for stored in timeline if stored.event.type == names.COMMIT)
        parent = parent or os.urandom(32)
        content = {name: value for name, value in root.content.items() if name != "group_info_0"} | {
            "parent": encode_base64(parent),
            "id": encode_base64(os.urandom(32)),
            "epoch": 2,
            "root": root.content["id"],
            "m.relates_to": {"rel_type": "m.reference", "event_id": root.event_id},
        }
        self._numbers += 1
        self.act(SendEvent(f"junk{self._numbers}", names.COMMIT, content))
        return parent

    def answer(self, victim: int, parent: bytes, *events: dict[str, Any]) -> None:
        to = self.watch.party[victim].matrix
        content = {
            "room_id": self.watch.world.room_id,
            "slot_id": SLOT,
            "id": encode_base64(parent),
            "events": list(events),
        }
        self._numbers += 1
        self.act(SendToDevice(f"have{self._numbers}", names.HAVE, to.user_id, to.device_id, content))


def told(event: RoomEvent | SendState, **changes: Any) -> dict[str, Any]:
    keys = ("type", "sender", "event_id", "origin_server_ts", "content", "state_key")
    return {key: getattr(event, key) for key in keys if getattr(event, key, None) is not None} | changes


def forged_presence(watch: Watch, device: LabDevice, chain: DeviceChain | None = None) -> Presence:
    """A new participation of a device in the call, made outside any session."""
    room, user_id, device_id = RoomId(watch.world.room_id), UserId(device.user_id), DeviceId(device.device_id)
    participation = participate(room, SLOT, user_id, device_id, device_key=device.device_key, sign=device.sign, suite=1)
    return Presence(
        room_id=room,
        slot_id=SLOT,
        user_id=user_id,
        device_id=device_id,
        rtc_member_id=participation.leaf.member_id,
        participation=participation,
        sign=device.sign,
        format=MembershipFormat.STATE,
        encrypted=False,
        intent="audio",
        chain=chain,
        head=None,
        replaces=frozenset(),
        created_ts=1,
    )


def intrusion(watch: Watch, presence: Presence) -> tuple[EpochId, dict[str, Any]]:
    """An external commit on the head by such a participation, and the event that it claims to be."""
    known, leaf = watch.session(0).known, presence.participation.leaf
    path = known.ordering.path(known.ordering.head())
    tree = tree_at(path, known.archive)
    assert isinstance(tree, bytes)
    place = Place(SLOT, path[-1], path[0], known.archive.root_event(path[0]), Policy().content_limit)
    group_info = known.archive.bodies(path[-1])[0].parts.group_info
    draft, request = enter_from_outside(
        presence.participation, group_info, tree, place, CommitData(path[-1], 1), replaces=None
    )
    event = RoomEvent(names.COMMIT, leaf.user_id, "$hidden", watch.party[0].now.wall_ms, request.content)
    return draft.id, told(event)


@pytest.fixture
def watch() -> Watch:
    """Three devices in a call; a fourth user is in the room and has not joined it."""
    watch = Watch(4, 1, latency=STEADY)
    for index in range(3):
        watch.party.join(index, after=0.1 * index)
    watch.until_agreed(3)
    watch.party.run(3)
    return watch


def test_an_answer_makes_no_member_of_a_device_that_the_room_never_showed(watch: Watch) -> None:
    """A made-up device with a made-up master key for a user who is in the room."""
    eve, alice = Eve(watch), watch.party[3].matrix
    false_user = LabUser(alice.user_id, b"f" * 32)
    ghost = false_user.add_device("GHOST")
    chain = decode_keys_query(UserId(alice.user_id), false_user.keys()).devices[DeviceId("GHOST")].chain
    assert chain is not None
    presence = forged_presence(watch, ghost, chain)
    assert verify_chain(chain, presence.participation.leaf) == false_user.master.public, "the lie is well-formed"
    join = presence.join("x", watch.party[0].now.wall_ms, Policy())
    assert isinstance(join, SendState)
    parent = eve.raise_a_question()
    watch.party.run(3)
    lie = told(join, sender=alice.user_id, event_id="$never", origin_server_ts=watch.party[0].now.wall_ms)
    for victim in range(3):
        eve.answer(victim, parent, lie)
    watch.party.run(30)
    for victim in range(3):
        session = watch.session(victim)
        assert presence.participation.leaf.member_id not in session.members
        assert UserId(alice.user_id) not in session.known.keyring.pins.masters
    watch.party.join(3)
    watch.until_agreed(4)
    assert not watch.ledgers[0].notices(NotAddable)


def test_an_answer_makes_up_no_commit_in_the_name_of_another_user(watch: Watch) -> None:
    """A commit from outside is signed by its own new leaf alone: that of a made-up device would speak for its user."""
    eve, alice = Eve(watch), watch.party[1].matrix
    ghost = LabUser(alice.user_id, b"f" * 32).add_device("GHOST")
    parent, lie = intrusion(watch, forged_presence(watch, ghost))
    eve.raise_a_question(parent)
    watch.party.run(3)
    asked = {index for index in range(3) if watch.session(index)._exchange._recovery.has_asked(parent)}
    assert asked
    known = [watch.session(index).known for index in range(3)]
    for victim in asked:
        # Whom a member asks is a member; here it is as if that one lied.
        watch.session(victim)._exchange._asked[parent, UserId(eve.device.user_id)] += 1
        eve.answer(victim, parent, lie)
    watch.party.run(0.5)
    assert all(one.ordering.commit(parent) is None for one in known)
    refused = [notice for ledger in watch.ledgers for notice in ledger.notices(EventRefused)]
    assert [notice.reason for notice in refused if notice.event_id == "$hidden"] == ["unknown_author"] * len(asked)


def test_an_answer_shows_nobody_more_than_what_was_asked_for(watch: Watch) -> None:
    """A genuine commit of one who has joined, which no other member is shown: it would divide what they know."""
    eve, bob = Eve(watch), LabUser("@bob:one.test", b"b" * 32).add_device("BOB")
    presence = forged_presence(watch, bob, decode_chain(Field(bob.chain())))
    hidden, extra = intrusion(watch, presence)
    watch.world.log_in(bob.name, keys=bob.user.keys())
    watch.world.connect(bob.name)
    watch.world.act(bob.name, presence.join("bob's join", watch.party[0].now.wall_ms, Policy()))
    watch.party.run(0.3)
    assert presence.participation.leaf.member_id in watch.session(0).members
    parent = eve.raise_a_question()
    watch.party.run(3)
    for victim in range(3):
        watch.session(victim)._exchange._asked[EpochId(parent), UserId(eve.device.user_id)] += 1
        eve.answer(victim, parent, extra)
    watch.party.run(0.5)
    assert all(watch.session(index).known.ordering.commit(hidden) is None for index in range(3))


def test_an_answer_forgets_and_hides_no_event_of_the_room(watch: Watch) -> None:
    """Junk under the ids of genuine events: what was saved stays saved, and a restart goes on."""
    watch.party.leave(2)
    watch.until_agreed(2)
    watch.party.run(3)
    eve, device = Eve(watch), watch.party[0]
    before = {key for key in device.store.load(SCOPE) if key.startswith("event/")}
    parent = eve.raise_a_question()
    watch.party.run(3)
    timeline = watch.world.servers["one.test"].room.timeline
    junk = {"slot_id": SLOT, "root": encode_base64(bytes(32)), "id": encode_base64(bytes(32)), "n": 1}
    events = [
        told(stored.event, type=names.WORD, state_key=None, content=junk)
        for stored in timeline
        if stored.event.type in (names.COMMIT, names.STATE_MEMBER)
    ]
    eve.answer(0, parent, *({k: v for k, v in event.items() if v is not None} for event in events))
    watch.party.run(5)
    assert before <= device.store.load(SCOPE).keys()
    watch.party.crash(0)
    watch.party.restart(0)
    watch.until_agreed(2)
    assert not watch.ledgers[0].notices(Rejoining)


@pytest.mark.parametrize("late", [False, True], ids=["in an empty slot", "in a running call"])
def test_a_key_package_that_does_not_hold_keeps_out_its_own_device_alone(
    monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    def spoil(*names: Any, **options: Any) -> Participation:
        made = participate(*names, **options)
        public = made.public_key_package
        shown = public[:-1] + bytes([public[-1] ^ 1])
        return replace(made, public_key_package=shown) if made.leaf.device_id == "DEVICE01" else made

    monkeypatch.setattr(mlsrtc.attendance, "participate", spoil)
    watch = Watch(6, 3, latency=STEADY)
    for index in range(6):
        watch.party.join(index, after=0.05 * index + (5.0 if late and index else 0.0))
    # Not long enough for the device to come in by itself, which its leaf is good for.
    watch.party.run(12 if late else 8)
    honest = [0, 2, 3, 4, 5]
    assert len({watch.session(index).epoch_id for index in honest}) == 1
    for index in honest:
        session = watch.session(index)
        assert sum(member.keyed for member in session.members.values()) == 5
        assert {(one.device_id, one.reason) for one in watch.ledgers[index].notices(NotAddable)} == {
            ("DEVICE01", "bad_key_package")
        }
