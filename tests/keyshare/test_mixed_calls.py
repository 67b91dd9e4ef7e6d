"""Calls of both kinds: members with MLS, and participants that hand their keys out."""

from typing import Any

import pytest
from sharing import Sharers

from mlsrtc.notices import KeyMissing, MediaKeysChanged, Mixed, Muted, NotAddable
from mlsrtc.outbox import HandOver
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.wire import names

MIXED = Policy(mixed=True)


def calling(devices: int, mls: tuple[int, ...], **settings: Any) -> Sharers:
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


@pytest.mark.parametrize("sticky", [False, True])
@pytest.mark.parametrize("mls", [(0,), (1,), (0, 1), (1, 2), (0, 2, 4)])
def test_both_kinds_hear_each_other(mls: tuple[int, ...], sticky: bool) -> None:
    sharers = calling(5 if 4 in mls else 3, mls, sticky=sticky)
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
