"""Calls of both kinds: members with MLS, and participants that hand their keys out."""

from collections.abc import Collection
from typing import Any

import pytest
from sharing import SLOT, Ring, Sharers, unsigned

import people
import samples
from mlsrtc.adapters.store import MemoryStore
from mlsrtc.base_session import BaseSession
from mlsrtc.notices import KeyMissing, Left, MediaKeysChanged, Mixed, Muted, NotAddable, Rejoining
from mlsrtc.outbox import HandOver, SendState
from mlsrtc.policy import KeyTransport, Policy
from mlsrtc.session import Session
from mlsrtc.testing import PartyDevice
from mlsrtc.wire import names
from mlsrtc.wire.incoming import HistoryComplete, Incoming, Now
from mlsrtc.wire.membership import MembershipFormat

MIXED = Policy(mixed=True)


def calling(devices: int, mls: Collection[int], **settings: Any) -> Sharers:
    """So many devices in a call, those of `mls` with MLS."""
    settings.setdefault("policy", MIXED)
    sharers = Sharers(devices, mls=mls, **settings)
    for index in range(devices):
        sharers.party.join(index, after=0.2 * index)
    sharers.party.run_until(lambda: len(sharers.party.present()) == devices and sharers.hear_each_other(), timeout=30)
    return sharers


def member(sharers: Sharers, index: int) -> Session:
    session = sharers.party[index].session
    assert isinstance(session, Session)
    return session


@pytest.mark.parametrize("membership", [MembershipFormat.STATE, MembershipFormat.STICKY])
@pytest.mark.parametrize("mls", [(0,), (1,), (0, 1), (1, 2), (0, 2, 4)])
def test_both_kinds_hear_each_other(mls: tuple[int, ...], membership: MembershipFormat) -> None:
    sharers = calling(5 if 4 in mls else 3, mls, membership=membership)
    for index in mls:
        served = sharers.told(index, Mixed)[-1].devices
        assert len(served) == len(sharers.party) - len(mls)
        assert not sharers.told(index, NotAddable)
        assert not sharers.told(index, KeyMissing)
        here = member(sharers, index).members
        assert len(here) == len(sharers.party)
        assert all(one.keyed for one in here.values())
        assert sum(not one.mls for one in here.values()) == len(served)
    sharers.party.run(40)
    assert sharers.hear_each_other()


def test_members_with_mls_hand_each_other_nothing() -> None:
    sharers = calling(4, (0, 1, 2))
    for index in (0, 1, 2):
        others = {sharers.party[other].matrix.name for other in (0, 1, 2)} - {sharers.party[index].matrix.name}
        told = [key for notice in sharers.told(index, MediaKeysChanged) if notice.id is None for key in notice.keys]
        assert told
        assert not {(key.user_id, key.device_id) for key in told} & others


def test_only_of_a_guest_whom_media_do_not_hear_the_key_is_missing() -> None:
    sharers = calling(3, (0, 1))
    session = member(sharers, 0)
    for one in session.members:
        session.mark_heard(one, sharers.world.network.now, heard=False)
    sharers.party.run(30)
    assert [told.device_id for told in sharers.told(0, KeyMissing)] == [sharers.party[2].matrix.device_id]


def held_by(sharers: Sharers, index: int) -> set[bytes]:
    return {key for ring in sharers.rings[index].keys.values() for key in ring.values()}


@pytest.mark.parametrize("mls", [(0,), (0, 1), (0, 1, 2)])
def test_a_guest_that_has_left_opens_nothing_that_is_sent_after_two_seconds(mls: tuple[int, ...]) -> None:
    sharers = calling(4, mls)
    sharers.party.run(15)
    held = held_by(sharers, 3)
    sharers.party.leave(3)
    sharers.party.run(2.0)
    for index in range(3):
        assert sharers.rings[index].sent_under() not in held
    assert sharers.hear_each_other()
    assert not sharers.told(0, Muted)
    if len(mls) == 3:
        assert sharers.told(0, Mixed)[-1].devices == ()


@pytest.mark.parametrize("mls", [(0, 3), (0, 1, 3), (0, 1, 2, 3)])
def test_a_member_that_has_left_opens_nothing_either(mls: tuple[int, ...]) -> None:
    sharers = calling(5, mls)
    sharers.party.run(15)
    held = held_by(sharers, 3)
    sharers.party.leave(3)
    sharers.party.run(2.0)
    for index in (0, 1, 2, 4):
        assert sharers.rings[index].sent_under() not in held
    assert sharers.hear_each_other()


@pytest.mark.parametrize("mls", [(0,), (0, 1), (0, 1, 2)])
def test_a_guest_that_joins_opens_nothing_that_was_sent_before_the_window(mls: tuple[int, ...]) -> None:
    sharers = Sharers(4, mls=mls, policy=MIXED)
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(30)
    earlier = {sharers.rings[index].sent_under() for index in range(3) if sharers.rings[index].sending is not None}
    sharers.party.join(3)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    assert not earlier & held_by(sharers, 3)


def test_guests_that_join_within_the_window_cost_one_commit() -> None:
    sharers = Sharers(8, mls=(0, 1), policy=MIXED)
    for index in range(2):
        sharers.party.join(index)
    sharers.party.run(30)
    before = sharers.world.sent()[names.COMMIT]
    for index in range(2, 8):
        sharers.party.join(index, after=0.5 * index)
    sharers.party.run(8)
    assert sharers.hear_each_other()
    assert sharers.world.sent()[names.COMMIT] - before == 1


def test_guests_come_and_go_with_one_member_for_as_long_as_they_like() -> None:
    sharers = calling(3, (0,))
    for turn in range(4):
        sharers.party.run(15)
        sharers.party.leave(1 + turn % 2)
        sharers.party.run(5)
        assert sharers.hear_each_other()
        sharers.party.run(15)
        sharers.party.join(1 + turn % 2)
        sharers.party.run(5)
        assert sharers.hear_each_other()
    assert not sharers.told(0, Muted)


def test_who_watches_from_the_lobby_serves_nobody() -> None:
    sharers = Sharers(2, mls=(0,), policy=MIXED)
    sharers.party.start(0)
    sharers.party.join(1)
    sharers.party.run(20)
    assert not sharers.told(0, Mixed)
    assert not sharers.world.sent()[names.KEYS_ELEMENT]
    assert not next(iter(member(sharers, 0).members.values())).mls
    sharers.party.join(0)
    sharers.party.run(5)
    assert len(sharers.told(0, Mixed)) == 1
    assert sharers.hear_each_other()


@pytest.mark.parametrize("encrypted", [True, False])
def test_nobody_is_said_to_get_no_keys_before_the_room_was_read(encrypted: bool) -> None:
    """Memberships are read before the room's present state, which says that it is encrypted."""
    now = Now(1.0, people.NOW + 1000)
    session = Session(Sharers(1).party[0].matrix, people.ROOM, SLOT, now=now, policy=MIXED)

    def told(*incoming: Incoming) -> list[str]:
        for one in incoming:
            session.receive(one, now)
        session.tick(now)
        session.checkpoint(lambda changes: None)
        return [notice.reason for notice in session.notices() if isinstance(notice, NotAddable)]

    assert told(samples.event(samples.without(samples.state_join(), names.BLOCK))) == []
    algorithm = {"algorithm": "m.megolm.v1.aes-sha2"}
    state = samples.event(algorithm, names.ROOM_ENCRYPTION if encrypted else names.ROOM_CREATE, state_key="")
    assert told(state, HistoryComplete()) == ([] if encrypted else ["no_mls"])


def test_it_is_off_unless_the_application_allows_it() -> None:
    sharers = Sharers(3, mls=(0, 1), policy=Policy())
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(20)
    assert not sharers.told(0, Mixed)
    assert [notice.reason for notice in sharers.told(0, NotAddable)] == ["no_mls"]
    assert sharers.rings[0].opens(sharers.rings[1])
    assert not sharers.rings[2].opens(sharers.rings[0])
    assert not any(isinstance(request, HandOver) for request in member(sharers, 0)._desk.outbox.waiting())


SLOW = Policy(mixed=True, batch_window=6.0, batch_limit=6.0, switch_delay_add=2.0)
"""A commit that answers a leave takes so long that the epoch before it would have been begun meanwhile."""


def handed_and_not_begun(sharers: Sharers) -> bytes:
    """A guest (3) has joined: both guests are handed the first member's key of an epoch that it has not begun. Its key
    there."""
    sharers.party.run(30)
    sharers.party.join(3)
    before = sharers.told(0, MediaKeysChanged)
    sharers.party.run_until(
        lambda: any(notice.id is not None for notice in sharers.told(0, MediaKeysChanged)[len(before) :]), timeout=20
    )
    sharers.party.run(0.3)
    newest = [notice for notice in sharers.told(0, MediaKeysChanged) if notice.id is not None][-1]
    (own,) = (key for key in newest.keys if (key.user_id, key.device_id) == sharers.party[0].matrix.name)
    secret: bytes = own.secret.expose()
    assert secret in held_by(sharers, 2)
    assert secret != sharers.rings[0].sent_under()
    return secret


def test_an_epoch_is_not_begun_that_a_guest_holds_who_has_left() -> None:
    sharers = Sharers(4, mls=(0, 1), policy=SLOW)
    for index in range(3):
        sharers.party.join(index)
    secret = handed_and_not_begun(sharers)
    sharers.party.leave(2)
    sharers.party.run(20)
    assert secret not in sharers.rings[0].begun
    assert sharers.rings[0].sent_under() not in held_by(sharers, 2)
    assert sharers.hear_each_other()


def test_a_later_process_does_not_begin_what_an_earlier_one_has_handed_out() -> None:
    sharers = Sharers(4, mls=(0, 1), policy=SLOW)
    for index in range(3):
        sharers.party.join(index)
    secret = handed_and_not_begun(sharers)
    sharers.party.crash(0)
    sharers.party.leave(2, after=0.5)
    sharers.party.restart(0, resume=False, after=1.0)
    sharers.party.run(30)
    assert secret not in sharers.rings[0].begun
    assert sharers.hear_each_other()


def test_a_restart_of_the_only_member_goes_on_under_another_epoch() -> None:
    sharers = calling(3, (0,))
    sharers.party.run(20)
    before = sharers.rings[0].sent_under()
    sharers.party.crash(0)
    sharers.party.restart(0, resume=False, after=1.0)
    sharers.party.run(20)
    assert sharers.rings[0].sending is not None
    assert sharers.rings[0].sent_under() != before
    assert sharers.hear_each_other()


def test_a_guest_whose_device_no_one_vouches_for_gets_no_key_and_is_not_heard() -> None:
    sharers = Sharers(3, mls=(0, 1), policy=MIXED)
    unsigned(sharers.party, 2)
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(20)
    assert not sharers.told(0, Mixed)
    assert [(notice.device_id, notice.reason) for notice in sharers.told(0, NotAddable)] == [("DEVICE02", "no_chain")]
    assert not sharers.rings[2].opens(sharers.rings[0])
    assert not sharers.rings[0].opens(sharers.rings[2])


def test_a_device_that_was_here_with_mls_is_not_served_without() -> None:
    sharers = calling(3, [0, 1, 2])
    sharers.party.run(5)
    sharers.party.leave(2)
    sharers.party.run(5)
    sharers.party.crash(2)
    sharers.mls = (0, 1)
    sharers.party[2].store = MemoryStore()
    sharers.party.join(2)
    sharers.party.run(20)
    assert sharers.party[2].session.member_id is not None  # type: ignore[union-attr]
    assert [notice.reason for notice in sharers.told(0, NotAddable)] == ["was_mls"]
    assert not sharers.told(0, Mixed)
    assert not sharers.rings[2].opens(sharers.rings[0])


def test_where_the_slot_says_mls_nobody_is_served_without() -> None:
    sharers = Sharers(2, mls=(0,), policy=MIXED)
    sharers.party.join(0)
    sharers.party.join(1)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    content = {"status": "open", "application": {"type": "m.call"}, "encryption": {"type": names.ENCRYPTION_TYPE}}
    sharers.world.moderate(names.SLOT, SLOT, content)
    sharers.party.run(10)
    assert sharers.told(0, Mixed)[-1].devices == ()
    assert isinstance(sharers.told(1, Left)[-1], Left)


def test_in_a_room_that_is_not_encrypted_no_key_is_handed_out() -> None:
    sharers = Sharers(2, mls=(0,), policy=MIXED, encrypted=False)
    sharers.party.join(0)
    sharers.party.run(10)
    assert not sharers.told(0, Mixed)
    assert not member(sharers, 0).known.may_be_mixed


def test_the_call_goes_on_by_mls_when_the_last_guest_has_left() -> None:
    sharers = calling(3, (0, 1))
    sharers.party.leave(2)
    sharers.party.run(10)
    before = sharers.world.sent()
    sharers.party.run(60)
    assert sharers.hear_each_other()
    assert sharers.world.sent()[names.COMMIT] == before[names.COMMIT]
    assert sharers.world.sent()[names.KEYS_ELEMENT] == before[names.KEYS_ELEMENT]


def test_a_commit_names_for_whose_sake_it_was_made() -> None:
    sharers = calling(3, (0, 1))
    sharers.party.run(15)
    guest = sharers.party[2].matrix
    sharers.party.leave(2)
    sharers.party.run(5)
    session = member(sharers, 0)
    assert session.epoch_id is not None
    committed = session.known.archive.judged[session.epoch_id].committed
    assert committed.guests == ((guest.user_id, guest.device_id, f"{guest.user_id}:{guest.device_id}"),)
    assert committed.has_path
    assert not committed.added | committed.removed


def test_key_notices_tell_a_late_sink_the_keys_of_both_kinds() -> None:
    sharers = calling(3, (0, 1))
    late = Ring(own=sharers.party[0].matrix.name)
    for notice in member(sharers, 0).key_notices():
        late.tell(notice)
    assert late.opens(sharers.rings[1])
    assert late.opens(sharers.rings[2])
    assert late.sent_under() == sharers.rings[0].sent_under()


def test_keys_are_read_and_written_as_room_events_too() -> None:
    policy = Policy(mixed=True, key_transport=KeyTransport.ROOM)
    sharers = calling(4, (0, 1), policy=policy)
    sharers.party.run(15)
    assert sharers.world.sent()[names.KEYS_ELEMENT] <= 4 + 4, "one event of each, and again for who came"
    sharers.party.leave(3)
    sharers.party.run(5)
    assert sharers.hear_each_other()


def stranger_names(sharers: Sharers, stranger: int, victim: str) -> None:
    """A user of the room writes a membership under the id of another's."""
    device = sharers.party[stranger].matrix
    content = {
        "application": "m.call",
        "call_id": "",
        "scope": "m.room",
        "device_id": device.device_id,
        "membershipID": victim,
        "created_ts": sharers.world.network.wall_ms,
        "expires": 3_600_000,
        "foci_preferred": [],
    }
    key = f"_{device.user_id}_{device.device_id}_m.call"
    sharers.world.act(device.name, SendState("forged", names.STATE_MEMBER, key, content))


@pytest.mark.parametrize("mls", [(), (0,)])
def test_nobody_takes_another_s_place_by_its_id(mls: tuple[int, ...]) -> None:
    sharers = Sharers(4, mls=mls, policy=MIXED)
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(10)
    session, victim = sharers.party[0].session, sharers.party[2].session
    assert session is not None
    assert victim is not None
    assert victim.member_id is not None
    stranger_names(sharers, 3, victim.member_id)
    sharers.party.run(5)
    listed = {(one.user_id, one.device_id) for one in session.members.values()}
    assert {sharers.party[index].matrix.name for index in (1, 2, 3)} <= listed
    here = session.members[victim.member_id]
    assert (here.user_id, here.device_id) == sharers.party[2].matrix.name
    assert sharers.rings[0].opens(sharers.rings[2])


def test_a_guest_that_joins_again_and_again_mutes_nobody_and_costs_no_epoch() -> None:
    sharers = calling(3, (0, 1))
    sharers.party.run(20)
    before = sharers.world.sent()[names.COMMIT]
    for _ in range(20):
        sharers.party.crash(2)
        sharers.party.restart(2)
        sharers.party.run(1.0)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    assert not sharers.told(0, Muted)
    assert sharers.world.sent()[names.COMMIT] - before <= 1


def test_where_one_of_many_serves_guests_it_is_not_muted() -> None:
    class OneServes(Sharers):
        def _make(self, device: PartyDevice, saved: Any, now: Any) -> BaseSession:
            self.policy = MIXED if device.index in (0, 11) else Policy()
            return super()._make(device, saved, now)

    sharers = OneServes(12, mls=tuple(range(11)))
    for index in range(11):
        sharers.party.join(index)
    sharers.party.run(30)
    sharers.party.join(11)
    sharers.party.run(6)
    assert sharers.rings[11].opens(sharers.rings[0])
    held = held_by(sharers, 11)
    sharers.party.leave(11)
    sharers.party.run(6)
    assert sharers.rings[0].sent_under() not in held
    assert not sharers.told(0, Muted)


def test_after_a_restart_a_stranger_costs_no_new_participation() -> None:
    sharers = Sharers(3, mls=(0, 1), policy=MIXED)
    unsigned(sharers.party, 2)
    for index in range(3):
        sharers.party.join(index)
    sharers.party.run(20)
    sharers.party.crash(0)
    sharers.party.restart(0, after=1.0)
    sharers.party.run(20)
    assert not sharers.told(0, Rejoining)
