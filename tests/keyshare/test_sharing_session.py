"""Calls in which everybody hands its key out, through the session's verbs."""

import base64
from typing import Any

import pytest
from sharing import Sharers, unsigned

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.keyshare.ratchet import ratcheted
from mlsrtc.mls import Secret
from mlsrtc.notices import (
    KeyMissing,
    KeyUndelivered,
    Left,
    MembersChanged,
    MessageNotOpened,
    NotAddable,
    SendKeySwitched,
)
from mlsrtc.outbox import HandOver
from mlsrtc.policy import Policy, Trust
from mlsrtc.session import Session
from mlsrtc.sharing_session import SharingSession
from mlsrtc.testing import CrashPoint, Hostility
from mlsrtc.upkeep import Phase
from mlsrtc.wire import names
from mlsrtc.wire.incoming import RoomEvent, ToDevice, Unopened
from mlsrtc.wire.membership import MembershipFormat


def calling(devices: int, **settings: Any) -> Sharers:
    """So many devices in a call."""
    sharers = Sharers(devices, **settings)
    for index in range(devices):
        sharers.party.join(index, after=0.2 * index)
    sharers.party.run_until(lambda: len(sharers.party.present()) == devices and sharers.hear_each_other(), timeout=30)
    return sharers


def keys_sent(sharers: Sharers) -> int:
    return sum(sharers.world.sent()[kind] for kind in names.KEY_TYPES)


@pytest.mark.parametrize("membership", MembershipFormat)
def test_two_hear_each_other_after_one_message_each(membership: MembershipFormat) -> None:
    sharers = calling(2, membership=membership)
    sharers.party.run(60)
    assert keys_sent(sharers) == 2
    assert all(len(sharers.told(index, SendKeySwitched)) == 1 for index in (0, 1))
    assert sharers.told(0, MembersChanged)[-1].joined


@pytest.mark.parametrize("mls", [set(), {0}])
def test_who_has_begun_a_new_olm_session_is_handed_our_key_once_more(mls: set[int]) -> None:
    """It could not open what came by the one before, and clients without a key request have no other way to say so."""
    sharers = calling(3, mls=mls, policy=Policy(mixed=True))
    sharers.party.run(60)
    before = keys_sent(sharers)
    peer, device = sharers.party[1].matrix, sharers.party[0]
    assert device.session is not None
    with pytest.raises(RemoteProtocolError, match="not_encrypted"):
        device.session.receive(ToDevice(names.DUMMY, peer.user_id, {}), device.now)
    for again in range(1, 21):
        dummy = ToDevice(names.DUMMY, peer.user_id, {}, peer.device_id, peer.device_key)
        device.session.receive(dummy, device.now)
        device.pump()
        sharers.party.run(0.5)
        assert keys_sent(sharers) == before + min(again, sharers.policy.key_requests_per_device)


def test_a_call_of_one_has_its_key_and_sends_none() -> None:
    sharers = calling(1)
    sharers.party.run(60)
    assert sharers.rings[0].sending == 1
    assert keys_sent(sharers) == 0


def test_a_burst_of_leaves_makes_one_rotation() -> None:
    sharers = calling(8)
    sharers.party.run(15)
    before = keys_sent(sharers)
    for index in (5, 6, 7):
        sharers.party.leave(index, after=0.1 * index)
    sharers.party.run(10)
    assert sharers.hear_each_other()
    assert keys_sent(sharers) - before == 5 * 4


def test_who_has_left_opens_nothing_that_is_sent_after_a_second_and_a_half() -> None:
    sharers = calling(4)
    sharers.party.run(15)
    held = {place: dict(ring) for place, ring in sharers.rings[3].keys.items()}
    sharers.party.leave(3)
    sharers.party.run(0.1 + sharers.policy.leave_debounce + sharers.policy.key_use_delay)
    for index in range(3):
        sent = sharers.rings[index].sent_under()
        assert all(sent not in ring.values() for ring in held.values())
    assert isinstance(sharers.party[3].notices[-1], Left)


def test_who_joins_opens_nothing_that_was_sent_before_the_window() -> None:
    sharers = Sharers(3)
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(30)
    earlier = {sharers.rings[index].sent_under() for index in (0, 1)}
    sharers.party.join(2)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    assert not earlier & {key for ring in sharers.rings[2].keys.values() for key in ring.values()}


def test_a_lost_message_is_sent_again_to_who_was_never_heard_from() -> None:
    sharers = Sharers(2, hostility=Hostility(to_device_loss=1.0))
    sharers.party.join(0)
    sharers.party.join(1)
    sharers.party.run(4)
    sharers.world.network.hostility.to_device_loss = 0.0
    sharers.party.run(9)
    assert sharers.hear_each_other()


def test_who_joins_anew_is_sent_the_key_again_whatever_came_from_it_before() -> None:
    """What its device handed out in its last participation does not say that it has heard us in this one."""
    sharers = calling(2, membership=MembershipFormat.STICKY)
    sharers.party.leave(1)
    sharers.party.run(2)
    sharers.world.network.hostility.to_device_loss = 1.0
    sharers.party.join(1)
    sharers.party.run(4)
    assert not sharers.rings[1].opens(sharers.rings[0])
    sharers.world.network.hostility.to_device_loss = 0.0
    sharers.party.run(12)
    assert sharers.rings[1].opens(sharers.rings[0])


def test_a_device_that_is_not_cross_signed_gets_no_key_and_is_not_heard() -> None:
    sharers = Sharers(3)
    for index in (0, 1):
        sharers.party.join(index)
    unsigned(sharers.party, 2)
    sharers.party.join(2)
    sharers.party.run(10)
    assert [(told.device_id, told.reason) for told in sharers.told(0, NotAddable)] == [("DEVICE02", "no_chain")]
    assert not sharers.rings[2].opens(sharers.rings[0])
    assert not sharers.rings[0].opens(sharers.rings[2])
    assert sharers.rings[0].opens(sharers.rings[1])


def test_any_device_lets_it_in_and_says_so() -> None:
    sharers = Sharers(2, policy=Policy(trust=Trust.ANY_DEVICE))
    unsigned(sharers.party, 1)
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    (member,) = sharers.session(0).members.values()
    assert member.flagged


def test_a_ghost_that_the_homeserver_makes_up_gets_no_key() -> None:
    sharers = calling(2)
    server = sharers.world.server_of(sharers.party[0].matrix.user_id)
    victim = sharers.party[1].matrix
    membership = sharers.session(1)._own.presence
    assert membership is not None
    request = membership.join("forged", sharers.world.network.wall_ms, sharers.policy)
    content = {**request.content, "device_id": "GHOST"}  # type: ignore[union-attr]
    forged = RoomEvent(
        names.STATE_MEMBER,
        victim.user_id,
        "$forged",
        sharers.world.network.wall_ms,
        content,
        f"_{victim.user_id}_GHOST_m.call",
    )
    server.inject(forged)
    sharers.party.run(20)
    assert [told.reason for told in sharers.told(0, NotAddable)] == ["unknown_device"]
    for device in sharers.party.devices[:1]:
        assert "GHOST" not in {
            addressee[1]
            for request in sharers.session(device.index)._desk.outbox.waiting()
            if isinstance(request, HandOver)
            for addressee in request.devices
        }


def test_one_time_keys_that_are_used_up_are_told_and_the_key_comes_when_there_are_more() -> None:
    sharers = Sharers(2)
    drained = sharers.party[1].matrix.name
    accounts = sharers.world.server_of(sharers.party[0].matrix.user_id).accounts
    accounts.drained.add(drained)
    sharers.party.join(0)
    sharers.party.join(1)
    sharers.party.run(5)
    (told,) = sharers.told(0, KeyUndelivered)
    assert (told.device_id, told.reason) == (drained[1], "no_one_time_key")
    accounts.drained.clear()
    sharers.party.run_until(sharers.hear_each_other, timeout=20)


def test_a_key_that_does_not_come_is_told_once() -> None:
    sharers = Sharers(2)
    accounts = sharers.world.server_of(sharers.party[0].matrix.user_id).accounts
    accounts.drained.add(sharers.party[0].matrix.name)
    sharers.party.join(0)
    sharers.party.join(1)
    sharers.party.run(60)
    (told,) = sharers.told(0, KeyMissing)
    assert told.device_id == sharers.party[1].matrix.device_id


def test_whom_media_do_not_hear_for_a_while_is_told_once_until_it_is_heard() -> None:
    sharers = calling(2)
    session, wanted_after = sharers.session(0), sharers.policy.key_wanted_after
    (member,) = session.members

    def mark(heard: bool) -> None:
        session.mark_heard(member, sharers.world.network.now, heard=heard)

    mark(False)
    sharers.party.run(wanted_after - 1)
    mark(True)
    sharers.party.run(wanted_after)
    assert not sharers.told(0, KeyMissing), "a key that is a little late"
    for times in (1, 2):
        mark(False)
        sharers.party.run(60)
        assert [one.device_id for one in sharers.told(0, KeyMissing)] == [sharers.party[1].matrix.device_id] * times
        mark(True)
        sharers.party.run(10)


def test_who_is_not_heard_and_leaves_is_not_told() -> None:
    sharers = calling(2)
    session = sharers.session(0)
    (member,) = session.members
    session.mark_heard(member, sharers.world.network.now, heard=False)
    sharers.party.leave(1)
    sharers.party.run(60)
    session.mark_heard(member, sharers.world.network.now, heard=False)
    sharers.party.run(60)
    assert not sharers.told(0, KeyMissing)


def test_a_restart_enters_anew_with_another_key_at_another_place() -> None:
    sharers = calling(3)
    sharers.party.run(15)
    before = sharers.rings[0].sent_under()
    sharers.party.crash(0)
    sharers.party.restart(0, after=1.0)
    sharers.party.run(10)
    assert sharers.hear_each_other()
    assert sharers.rings[0].sending == 2
    assert sharers.rings[0].sent_under() != before


@pytest.mark.parametrize("point", CrashPoint)
def test_wherever_it_crashes_everybody_hears_each_other_again(point: CrashPoint) -> None:
    sharers = calling(3)
    sharers.party.leave(2, after=0.5)
    sharers.party.crash(0, point, after=0.55)
    sharers.party.restart(0, after=3.0)
    sharers.party.run(30)
    assert sharers.hear_each_other()
    begun = [key for ring in sharers.rings for key in ring.begun]
    assert len(set(begun)) == len(begun), "no key is begun twice"


def test_no_media_key_is_ever_written_to_the_store() -> None:
    sharers = calling(3)
    sharers.party.run(15)
    sharers.party.leave(2)
    sharers.party.run(5)
    for device in sharers.party.devices:
        kept = b"".join(device.store.load("call").values())
        for ring in sharers.rings:
            for key in ring.begun:
                assert key not in kept
                assert names.KEYS_ELEMENT.encode() not in kept


def test_a_participant_may_come_back_with_another_key_at_the_same_place() -> None:
    """As matrix-js-sdk does: each of its participations begins at index 0."""
    sharers = calling(2)
    session, other = sharers.session(0), sharers.party[1].matrix
    for value in (1, 2):
        key = {"index": 0, "key": base64.b64encode(bytes([value]) * 16).decode()}
        content = {
            "keys": key,
            "member": {"id": f"{other.user_id}:{other.device_id}", "claimed_device_id": other.device_id},
            "room_id": sharers.world.room_id,
        }
        event = ToDevice(names.KEYS_ELEMENT, other.user_id, content, other.device_id, other.device_key)
        session.receive(event, sharers.party[0].now)
        sharers.party[0].pump()
        (held,) = (ring for place, ring in sharers.rings[0].keys.items() if place[:2] == other.name)
        assert held[0] == bytes([value]) * 16  # type: ignore[index]


def test_with_a_ratchet_only_the_joiner_is_sent_a_key_and_the_others_work_it_out() -> None:
    sharers = Sharers(6, policy=Policy(ratchet_on_join=True))
    for index in range(5):
        sharers.party.join(index)
    sharers.party.run(30)
    before, known = keys_sent(sharers), {ring.sent_under() for ring in sharers.rings[:5]}
    sharers.party.join(5)
    sharers.party.run(5)
    assert keys_sent(sharers) - before == 5 + 5, "one to the joiner from each, and its own to each"
    joiner = sharers.rings[5]
    assert all(joiner.opens(sharers.rings[index]) for index in range(5))
    assert not known & {key for ring in joiner.keys.values() for key in ring.values()}
    assert {ring.sent_under() for ring in sharers.rings[:5]} == {ratcheted(Secret(key)).expose() for key in known}


def test_whom_a_key_did_not_reach_is_sent_the_ratcheted_one() -> None:
    """The foot-gun of handing it to joiners alone: to whom the one before is still on its way hears nobody."""
    sharers = Sharers(4, policy=Policy(ratchet_on_join=True))
    drained = sharers.party[1].matrix
    accounts = sharers.world.server_of(drained.user_id).accounts
    accounts.drained.add(drained.name)
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(15)
    sharers.party.join(3)
    sharers.party.run(2)
    assert not any(sharers.rings[1].opens(sharers.rings[index]) for index in (0, 2))
    accounts.drained.clear()
    sharers.party.run(60)
    assert all(sharers.rings[1].opens(sharers.rings[index]) for index in (0, 2, 3))


def test_an_unencrypted_room_is_refused() -> None:
    sharers = Sharers(1, encrypted=False)
    sharers.party.start(0)
    sharers.party.run(2)
    with pytest.raises(LocalProtocolError) as caught:
        sharers.session(0).join(sharers.party[0].now)
    assert caught.value.reason == "room_not_encrypted"
    assert sharers.session(0).phase is Phase.LOBBY


@pytest.mark.parametrize("encryption", ["dev.mlsrtc.mls", "some.other"])
def test_a_slot_with_another_encryption_ends_the_call(encryption: str) -> None:
    sharers = calling(2)
    content = {"status": "open", "application": {"type": "m.call"}, "encryption": {"type": encryption}}
    sharers.world.moderate(names.SLOT, "m.call#ROOM", content)
    sharers.party.run(5)
    assert sharers.told(0, Left) == [Left("slot_encryption")]
    assert sharers.rings[0].sending is None


def test_a_slot_for_keys_per_member_is_ours() -> None:
    sharers = calling(2)
    content = {"status": "open", "application": {"type": "m.call"}, "encryption": {"type": "m.per_member"}}
    sharers.world.moderate(names.SLOT, "m.call#ROOM", content)
    sharers.party.run(5)
    assert sharers.hear_each_other()


def test_who_is_kicked_hears_nothing_more() -> None:
    sharers = calling(3)
    sharers.party.run(15)
    sharers.world.kick(sharers.party[2].matrix.user_id)
    sharers.party.run(5)
    assert sharers.told(2, Left) == [Left("kicked")]
    assert not any(sharers.rings[2].opens(sharers.rings[index]) for index in (0, 1))
    assert sharers.rings[0].opens(sharers.rings[1])


@pytest.mark.parametrize("membership", MembershipFormat)
def test_who_was_cut_off_until_its_homeserver_took_it_for_dead_is_heard_again(membership: MembershipFormat) -> None:
    sharers = calling(3, membership=membership)
    sharers.party.run(120)
    connection = sharers.party[0].connection
    assert connection is not None
    connection.cut()
    sharers.party.run(40)
    connection.mend()
    sharers.party.run(20)
    assert sharers.hear_each_other()


def test_the_call_can_be_entered_again_with_the_store_of_a_call_that_was_left() -> None:
    sharers = calling(2)
    sharers.party.leave(0)
    sharers.party.run(5)
    sharers.party.join(0)
    sharers.party.run(10)
    assert len(sharers.party.present()) == 2
    assert sharers.hear_each_other()


def test_who_comes_back_with_another_device_is_asked_about_again() -> None:
    sharers = calling(2)
    sharers.party.leave(1)
    sharers.party.run(5)
    user = sharers.party.users[1]
    new = user.add_device("NEW")
    sharers.world.log_in(new.name, keys=user.keys())
    sharers.party[1].matrix = new
    sharers.rings[1].own = new.name
    sharers.party._by_name[new.name] = sharers.party[1]
    sharers.party.join(1)
    sharers.party.run(20)
    assert sharers.hear_each_other()


def test_one_who_writes_many_memberships_makes_keys_at_the_pace_of_the_debounce_and_few_participants() -> None:
    sharers = calling(3)
    sharers.party.run(15)
    before, flood = sharers.rings[0].sending, sharers.party[2].matrix
    for number in range(50):
        content = {
            "slot_id": "m.call#ROOM",
            "application": {"type": "m.call"},
            "member": {"user_id": flood.user_id, "device_id": flood.device_id, "id": f"m{number}"},
            "sticky_key": f"m{number}",
        }
        ts = sharers.world.network.wall_ms
        event = RoomEvent(names.STICKY_MEMBER, flood.user_id, f"$flood{number}", ts, content)
        sharers.world.server_of(flood.user_id).inject(event, federate=True)
        sharers.party.run(0.2)
    sharers.party.run(20)
    after = sharers.rings[0].sending
    assert before is not None
    assert after is not None
    assert after - before <= 50 * 0.2 / sharers.policy.leave_debounce + 2
    assert len(sharers.session(0).members) <= 1 + sharers.policy.joins_per_device
    assert sharers.rings[0].opens(sharers.rings[1])


def test_one_whose_membership_does_not_tell_its_device_is_told_to_get_no_key() -> None:
    """As memberships are in the proposal of July 2026 (MSC4143)."""
    sharers = calling(2)
    other = sharers.party.users[1]
    content = {
        "slot_id": "m.call#ROOM",
        "application": {"type": "m.call"},
        "member": {"id": "m1", "membership": "join"},
        "sticky_key": "m1",
    }
    event = RoomEvent(names.STICKY_MEMBER, other.user_id, "$m1", sharers.world.network.wall_ms, content)
    sharers.world.server_of(other.user_id).inject(event, federate=True)
    sharers.party.run(20)
    assert sharers.told(0, NotAddable) == [NotAddable(other.user_id, None, "no_device")]
    assert sharers.hear_each_other()


def test_a_clock_that_is_set_back_writes_no_membership_again_and_again() -> None:
    sharers = calling(2)
    sharers.party[0].step_clock(-3_600_000)
    before = sharers.world.sent()[names.STATE_MEMBER]
    sharers.party.run(120)
    assert sharers.world.sent()[names.STATE_MEMBER] - before <= 1


def test_no_key_leaves_a_lobby_of_a_room_that_is_not_encrypted() -> None:
    sharers = Sharers(2, policy=Policy(share_in_lobby=True), encrypted=False)
    for index in (0, 1):
        sharers.party.start(index)
    sharers.party.run(10)
    assert keys_sent(sharers) == 0


def test_a_membership_that_a_moderator_erases_is_written_again() -> None:
    sharers = calling(2)
    sharers.party.run(120)
    sharers.world.erase_memberships(sharers.party[0].matrix.user_id)
    sharers.party.run(20)
    assert sharers.hear_each_other()
    assert len(sharers.session(1).members) == 1


def test_a_lobby_hands_the_key_out_before_the_join() -> None:
    sharers = Sharers(3, policy=Policy(share_in_lobby=True))
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(20)
    before = keys_sent(sharers)
    sharers.party.start(2)
    sharers.party.run(5)
    assert keys_sent(sharers) - before == 2
    sharers.party.join(2)
    took = sharers.party.run_until(lambda: sharers.rings[0].opens(sharers.rings[2]), timeout=5)
    assert took <= 0.125, "one trip of the membership: the key was there before"
    sharers.party.run(10)
    assert sharers.hear_each_other()


@pytest.mark.parametrize("mls", [set(), {0}])
def test_a_key_that_comes_in_the_lobby_waits_no_longer_than_one_that_comes_later(mls: set[int]) -> None:
    sharers = Sharers(2, policy=Policy(mixed=True), mls=mls)
    sharers.party.start(0)
    sharers.party.run(5)
    session, other = sharers.party[0].session, sharers.party[1].matrix
    assert isinstance(session, Session | SharingSession)
    content = {
        "keys": {"index": 3, "key": base64.b64encode(bytes(32)).decode()},
        "member": {"id": f"{other.user_id}:{other.device_id}", "claimed_device_id": other.device_id},
        "room_id": sharers.world.room_id,
    }
    event = ToDevice(names.KEYS_ELEMENT, other.user_id, content, other.device_id, other.device_key)
    session.receive(event, sharers.party[0].now)
    sharers.party[0].pump()
    handing = session._mixing.handing if isinstance(session, Session) else session._sharing.handing
    device, waiting = (*other.name, other.device_key), sharers.policy.keys_waiting_seconds
    sharers.party.run(waiting - 1)
    assert handing._inbox.holds(device, ())
    sharers.party.run(1)
    assert not handing._inbox.holds(device, ())


@pytest.mark.parametrize("membership", MembershipFormat)
def test_a_long_lobby_hands_it_out_again_since_nobody_keeps_a_strangers_key_for_ever(
    membership: MembershipFormat,
) -> None:
    sharers = Sharers(2, policy=Policy(share_in_lobby=True), membership=membership)
    sharers.party.join(0)
    sharers.party.run(5)
    sharers.party.start(1)
    sharers.party.run(100)
    assert keys_sent(sharers) == 2, "once more to who was never heard from"
    sharers.party.join(1)
    sharers.party.run(10)
    assert sharers.hear_each_other()


def test_a_lobby_that_is_never_joined_costs_one_key_and_makes_nobody_rotate() -> None:
    sharers = Sharers(3, policy=Policy(share_in_lobby=True))
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(20)
    before, indexes = keys_sent(sharers), [ring.sending for ring in sharers.rings]
    sharers.party.start(2)
    sharers.party.run(5)
    sharers.party.crash(2)
    sharers.party.run(100)
    assert keys_sent(sharers) - before == 2
    assert [ring.sending for ring in sharers.rings] == indexes


def test_a_room_of_many_in_a_hostile_network_hears_each_other_in_the_end() -> None:
    hostility = Hostility(duplicate=0.1, reorder=1.0, to_device_delay=2.0, answer_loss=0.05, failure=0.05)
    sharers = Sharers(6, seed=5, hostility=hostility, servers=2)
    for index in range(6):
        sharers.party.join(index, after=0.7 * index)
    sharers.party.run(30)
    sharers.party.leave(1)
    sharers.party.run(10)
    sharers.world.network.hostility = Hostility()
    sharers.party.run(60)
    assert sharers.hear_each_other()


def lose(sharers: Sharers, reason: str, user_id: str, device_id: str | None = None) -> None:
    """The first device is told that a message could not be opened."""
    sharers.session(0).receive(Unopened(user_id, reason, device_id), sharers.party[0].now)
    sharers.party[0].pump()


def test_a_message_that_is_lost_is_told_once_until_a_key_has_come() -> None:
    sharers = calling(2)
    other = sharers.party[1].matrix
    for _ in range(3):
        lose(sharers, "cannot_decrypt", *other.name)
    lose(sharers, "unknown_device", other.user_id)
    told = sharers.told(0, MessageNotOpened)
    assert [(one.user_id, one.device_id, one.reason) for one in told] == [
        (*other.name, "cannot_decrypt"),
        (other.user_id, None, "unknown_device"),
    ]
    sharers.party.leave(1)
    sharers.party.run(5)
    sharers.party.join(1)
    sharers.party.run(10)
    lose(sharers, "cannot_decrypt", *other.name)
    assert len(sharers.told(0, MessageNotOpened)) == 3


def test_a_message_of_somebody_outside_the_call_is_no_business_of_ours_until_it_comes_in() -> None:
    sharers = Sharers(2)
    sharers.party.join(0)
    sharers.party.run(2)
    other = sharers.party[1].matrix
    lose(sharers, "cannot_decrypt", *other.name)
    for number in range(2 * sharers.policy.keys_waiting):
        lose(sharers, "malformed", f"@flood{number}:one.test")
    assert sharers.told(0, MessageNotOpened) == []
    lose(sharers, "cannot_decrypt", *other.name)
    sharers.world.server_of(other.user_id).accounts.drained.add(sharers.party[0].matrix.name)
    sharers.party.join(1)
    sharers.party.run(2)
    assert [one.reason for one in sharers.told(0, MessageNotOpened)] == ["cannot_decrypt"]
    assert len(sharers.session(0)._sharing.handing._unopened) <= sharers.policy.keys_waiting
