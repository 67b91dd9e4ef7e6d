"""Whether who is out can still read: the demo's check of copies finds it where somebody can."""

from collections.abc import Mapping
from dataclasses import replace
from random import Random

import pytest

from mlsrtc import Now, Session
from mlsrtc.archive import Archive
from mlsrtc.cli.demo.outsiders import Copy, CopyableStore, copy_of, still_reads
from mlsrtc.identifiers import MemberId, RoomId, SlotId
from mlsrtc.testing.device import PartyDevice
from mlsrtc.testing.party import Party


def make_session(device: PartyDevice, records: Mapping[str, bytes], now: Now) -> Session:
    room_id = RoomId(device.world.room_id)
    return Session(device.matrix, room_id, SlotId("m.call#ROOM"), now=now, records=records)


@pytest.fixture
def call() -> tuple[Copy, Copy, Archive]:
    """What a device held when it left, what one that stayed and then applied the removal held, and the call's commits:
    those three came together in epoch 1, one left in epoch 2, and a fourth joined in epoch 3."""
    party = Party(make_session, devices=4, random=Random(5), store=CopyableStore)
    for index in range(3):
        party.join(index)
    party.run(5)
    copies = []
    for device in party.devices[:3]:
        assert isinstance(device.store, CopyableStore)
        copies.append(copy_of(f"device {device.index}", device.store.records()))
    party.leave(2)
    party.run(5)
    party.join(3)
    party.run(5)
    session = party[0].session
    assert isinstance(session, Session)
    commits = {judged.committed.epoch: judged.committed for judged in session.known.archive.judged.values()}
    assert set(commits) == {1, 2, 3}
    assert commits[2].removed == {copies[2].member_id}
    stayer = next(copy for copy in copies if copy.member_id in commits[2].members - {commits[2].author.member_id})
    return copies[2], stayer, session.known.archive


def test_what_a_leaver_had_saved_opens_no_later_commit(call: tuple[Copy, Copy, Archive]) -> None:
    leaver, _, archive = call
    assert still_reads(leaver, archive) == []


def test_a_copy_that_goes_on_although_it_is_out_is_found(call: tuple[Copy, Copy, Archive]) -> None:
    """What stayed can follow; told under a name that is in no epoch, it is somebody who is out and reads."""
    _, stayer, archive = call
    wrong = still_reads(replace(stayer, member_id=MemberId("nobody")), archive)
    assert f"{stayer.name} can follow the call to epoch 2, of which it is no member" in wrong


def test_a_copy_that_no_commit_was_tried_on_shows_nothing(call: tuple[Copy, Copy, Archive]) -> None:
    leaver, stayer, archive = call
    nothing = "no commit took away the leaf that {} had when it went"
    assert still_reads(stayer, archive) == [nothing.format(stayer.name)]
    assert still_reads(replace(leaver, groups={}), archive) == [nothing.format(leaver.name)]
    assert still_reads(replace(leaver, groups={}, admitted=False), archive) == []
