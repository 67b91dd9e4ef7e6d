"""Calls in which everybody posts its key into the room, through the session's verbs."""

import base64
from typing import Any

import pytest
from sharing import Sharers

from mlsrtc.errors import CannotSend, LocalProtocolError
from mlsrtc.notices import KeyMissing, KeyUndelivered, SendKeySwitched
from mlsrtc.policy import KeyTransport, Policy
from mlsrtc.sharing_session import SharingSession
from mlsrtc.testing import CrashPoint, Hostility, Limits, PartyDevice
from mlsrtc.testing.room import Room
from mlsrtc.wire import names
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import MembershipFormat

POSTED = Policy(key_transport=KeyTransport.ROOM)
IN_CLEAR = Policy(key_transport=KeyTransport.ROOM_CLEAR)


def calling(devices: int, policy: Policy = POSTED, **settings: Any) -> Sharers:
    """So many devices in a call."""
    sharers = Sharers(devices, policy=policy, **settings)
    for index in range(devices):
        sharers.party.join(index, after=0.2 * index)
    sharers.party.run_until(lambda: len(sharers.party.present()) == devices and sharers.hear_each_other(), timeout=30)
    return sharers


def posted(sharers: Sharers) -> int:
    return sharers.world.sent()[names.KEYS_ELEMENT]


@pytest.mark.parametrize("membership", [MembershipFormat.STATE, MembershipFormat.STICKY])
def test_two_hear_each_other_after_one_event_each(membership: MembershipFormat) -> None:
    sharers = calling(2, membership=membership)
    sharers.party.run(60)
    assert posted(sharers) == 2
    assert all(len(sharers.told(index, SendKeySwitched)) == 1 for index in (0, 1))


def test_a_burst_of_leaves_costs_each_who_stays_one_event() -> None:
    sharers = calling(8)
    sharers.party.run(30)
    before = posted(sharers)
    for index in (5, 6, 7):
        sharers.party.leave(index, after=0.1 * index)
    sharers.party.run(10)
    assert sharers.hear_each_other()
    assert posted(sharers) - before == 5


def test_who_joins_within_the_throttle_is_posted_the_same_key_and_waits_for_the_pause_at_most() -> None:
    sharers = Sharers(4, policy=POSTED)
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(1.0)
    key, before = sharers.rings[0].sent_under(), posted(sharers)
    for index in (2, 3):
        sharers.party.join(index, after=0.3 * index)
    sharers.party.run_until(
        lambda: len(sharers.party.present()) == 4 and sharers.hear_each_other(), timeout=POSTED.key_post_pause + 1.5
    )
    assert sharers.rings[0].sent_under() == key
    assert posted(sharers) - before <= 2 + 2 + 1, "one for both joiners of each who was there; theirs; and one again"


@pytest.mark.parametrize("newcomer", [False, True])
def test_who_comes_later_than_the_throttle_is_posted_a_new_key(newcomer: bool) -> None:
    """A newcomer to the room opens nothing of before; who was in the room could read every key."""
    sharers = Sharers(3, policy=POSTED)
    late = sharers.party[2].matrix.user_id
    if newcomer:
        sharers.world.kick(late)
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(30)
    earlier = {sharers.rings[index].sent_under() for index in (0, 1)}
    if newcomer:
        sharers.world.enter(late)
        sharers.party.run(1)
    sharers.party.join(2)
    sharers.party.run(6)
    assert sharers.hear_each_other()
    assert not earlier & {sharers.rings[index].sent_under() for index in (0, 1)}
    if newcomer:
        assert not earlier & {key for ring in sharers.rings[2].keys.values() for key in ring.values()}


def test_what_is_posted_in_the_lobby_is_begun_at_the_join() -> None:
    sharers = Sharers(2, policy=Policy(key_transport=KeyTransport.ROOM, share_in_lobby=True))
    sharers.party.join(0)
    sharers.party.start(1)
    sharers.party.run(5)
    assert posted(sharers) == 1
    sharers.party.join(1)
    sharers.party.run(2)
    assert sharers.rings[0].opens(sharers.rings[1])


class Mixed(Sharers):
    """The first device posts its keys; the others hand them to each device."""

    def _make(self, device: PartyDevice, saved: Any, now: Any) -> SharingSession:
        self.policy = POSTED if device.index == 0 else Policy()
        return super()._make(device, saved, now)


def test_keys_are_read_whichever_way_they_come() -> None:
    mixed = Mixed(3)
    for index in range(3):
        mixed.party.join(index)
    mixed.party.run_until(lambda: len(mixed.party.present()) == 3 and mixed.hear_each_other(), timeout=20)


def test_a_lost_event_is_posted_again_for_who_was_never_heard_from() -> None:
    sharers = Sharers(2, policy=POSTED)
    for server in sharers.world.servers.values():
        server.rewrite = lambda event, viewer: () if event.type == names.KEYS_ELEMENT else (event,)
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(7.5)
    assert len(sharers.told(0, KeyMissing)) == 1
    for server in sharers.world.servers.values():
        server.rewrite = None
    sharers.party.run(9)
    assert sharers.hear_each_other()


def test_who_gets_no_megolm_session_is_told_and_is_posted_the_key_when_it_does() -> None:
    sharers = Sharers(2, policy=POSTED)
    drained = sharers.party[1].matrix.name
    accounts = sharers.world.server_of(sharers.party[0].matrix.user_id).accounts
    accounts.drained.add(drained)
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(5)
    (told,) = sharers.told(0, KeyUndelivered)
    assert (told.device_id, told.reason) == (drained[1], "no_one_time_key")
    accounts.drained.clear()
    sharers.party.run_until(sharers.hear_each_other, timeout=20)


def test_with_synapses_own_limits_everybody_is_heard_in_the_end() -> None:
    sharers = Sharers(6, policy=POSTED, limits=Limits())
    for index in range(6):
        sharers.party.join(index, after=0.5 * index)
    sharers.party.run_until(lambda: len(sharers.party.present()) == 6 and sharers.hear_each_other(), timeout=60)


def test_a_room_that_is_not_encrypted_is_refused_unless_the_policy_asks_for_it() -> None:
    sharers = Sharers(1, policy=POSTED, encrypted=False)
    sharers.party.start(0)
    sharers.party.run(5)
    with pytest.raises(LocalProtocolError) as caught:
        sharers.session(0).join(sharers.party[0].now)
    assert caught.value.reason == "room_not_encrypted"


def test_in_the_clear_where_the_policy_asks_for_it() -> None:
    sharers = calling(3, IN_CLEAR, encrypted=False)
    sharers.party.run(15)
    held = {key for ring in sharers.rings[2].keys.values() for key in ring.values()}
    sharers.party.leave(2)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    assert sharers.rings[0].sent_under() not in held


def test_a_policy_that_asks_for_clear_keys_encrypts_where_the_room_does() -> None:
    sharers = calling(2, IN_CLEAR)
    events = [one for one in _room(sharers).timeline if one.event.type == names.KEYS_ELEMENT]
    assert events
    assert all(one.ciphertext is not None for one in events)


def test_a_key_that_the_homeserver_makes_up_is_refused() -> None:
    sharers = calling(2)
    server = sharers.world.server_of(sharers.party[0].matrix.user_id)
    held = {place: dict(ring) for place, ring in sharers.rings[0].keys.items()}
    other = sharers.party[1].matrix
    key = {"index": 9, "key": base64.b64encode(bytes(32)).decode()}
    content = {"keys": [key], "call_id": "", "device_id": other.device_id, "sent_ts": sharers.world.network.wall_ms}
    server.inject(RoomEvent(names.KEYS_ELEMENT, other.user_id, "$forged", sharers.world.network.wall_ms, content))
    sharers.party.run(2)
    assert [error.reason for error in sharers.party[0].refused] == ["not_encrypted"]
    assert sharers.rings[0].keys == held


def test_who_may_not_post_is_told_before_it_enters() -> None:
    sharers = Sharers(1, policy=POSTED)
    sharers.party.start(0)
    sharers.party.run(2)
    levels = {"users_default": 0, "events": {names.ENCRYPTED: 50, names.STATE_MEMBER: 0}}
    sharers.world.moderate(names.POWER_LEVELS, "", levels)
    sharers.party.run(2)
    with pytest.raises(CannotSend):
        sharers.session(0).join(sharers.party[0].now)


@pytest.mark.parametrize("point", CrashPoint)
def test_wherever_it_crashes_everybody_hears_each_other_again(point: CrashPoint) -> None:
    sharers = calling(3)
    sharers.party.leave(2, after=0.5)
    sharers.party.crash(0, point, after=0.55)
    sharers.party.restart(0, after=3.0)
    sharers.party.run(30)
    assert sharers.hear_each_other()


def test_no_media_key_is_ever_written_to_the_store() -> None:
    sharers = calling(3, hostility=Hostility(failure=0.3))
    sharers.party.run(15)
    for device in sharers.party.devices:
        kept = b"".join(device.store.load("call").values())
        assert names.KEYS_ELEMENT.encode() not in kept
        assert all(key not in kept for ring in sharers.rings for key in ring.begun)


def _room(sharers: Sharers) -> Room:
    return sharers.world.server_of(sharers.party[0].matrix.user_id).room


def test_keys_that_went_out_in_the_clear_are_given_up_once_the_room_is_encrypted() -> None:
    policy = Policy(key_transport=KeyTransport.ROOM_CLEAR)
    sharers = Sharers(3, policy=policy, encrypted=False)
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(20)
    before = {ring.sent_under() for ring in sharers.rings}
    sharers.world.moderate(names.ROOM_ENCRYPTION, "", {"algorithm": "m.megolm.v1.aes-sha2"})
    sharers.party.run(5)
    assert sharers.hear_each_other()
    assert not before & {ring.sent_under() for ring in sharers.rings}
