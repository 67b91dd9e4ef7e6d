"""Promises 10 and 6: nothing leaves that a restart would not remember, and a restart at any point loses nothing that
was told and sends under no epoch twice.

A transport looks into the store at the moment it is handed a request, and asks a session that is started from exactly
what is in there whether it would send the same. Then processes are killed: after every single round, and at every seam
of a round; over the memory store and over SQLite.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from typing import Any

import pytest
from test_promises import DEVICES, churn

from mlsrtc.adapters.sqlite import SqliteStore
from mlsrtc.adapters.store import MemoryStore, Store
from mlsrtc.identifiers import RoomId
from mlsrtc.outbox import QueryKeys, Request
from mlsrtc.session import Session
from mlsrtc.testing import CrashPoint, PartyDevice
from mlsrtc.testing.schedule import play
from mlsrtc.wire.incoming import HistoryComplete
from searching import CAMPAIGN
from watching import SLOT, Watch, Watched

SCOPE = "call"


def remembered(device: PartyDevice) -> dict[str, Request]:
    """What a session that is started now from the device's store would send, by id."""
    now = device.now
    session = Session(device.matrix, RoomId(device.world.room_id), SLOT, now=now, records=device.store.load(SCOPE))
    session.receive(HistoryComplete(), now)  # Before that nothing goes into the room.
    return {request.id: request for request in session.outgoing()}


class Audited(Watched):
    """A session whose requests are looked up in the store before they leave."""

    audited = 0

    def outgoing(self) -> Sequence[Request]:
        requests = super().outgoing()
        if requests:
            kept = remembered(self.device)
            for request in requests:
                Audited.audited += 1
                assert kept.get(request.id) == request, f"a restart would not send {request.id}"
        return requests


@pytest.mark.parametrize("seed", range(4 * CAMPAIGN))
def test_whatever_leaves_is_in_the_store(seed: int) -> None:
    Audited.audited = 0
    watch = Watch(DEVICES, seed, servers=2, watched=Audited)
    play(watch.party, churn(Random(seed), 60))
    watch.check()
    assert Audited.audited >= 5


def test_whatever_is_told_is_in_the_store_and_a_save_that_fails_releases_nothing() -> None:
    watch = Watch(2)
    watch.join_all()
    session, now = watch.session(0), watch.party[0].now
    session.receive(HistoryComplete(), now)
    session.leave(now)

    def fail(changes: object) -> None:
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        session.checkpoint(fail)
    assert list(session.notices()) == []
    assert list(session.outgoing()) == []
    saved: list[Any] = []
    session.checkpoint(saved.append)
    assert len(saved) == 1
    assert [request for request in session.outgoing() if not isinstance(request, QueryKeys)]


# -- killed at every step ----------------------------------------------------------------------------------------------


class Mortal(Watched):
    """A session that counts its rounds, and whose process is killed after the one it is told."""

    rounds: dict[int, int] = {}  # noqa: RUF012 - one count for all lives of a device
    victim = -1
    last_round = -1

    def notices(self) -> Sequence[Any]:
        told = super().notices()
        index = self.device.index
        Mortal.rounds[index] = Mortal.rounds.get(index, 0) + 1
        if index == Mortal.victim and Mortal.rounds[index] == Mortal.last_round:
            self.device.world.network.after(0.0, self.device.crash)
        return told


def script(watch: Watch, victim: int) -> None:
    """Three join, one leaves and comes back, all rekey at the end by a restart of the last."""
    party = watch.party
    for index in range(3):
        party.join(index, after=0.3 * index)
    party.leave(0 if victim else 1, after=3.0)
    party.join(0 if victim else 1, after=6.0)
    party.run(9)


def revive(watch: Watch, index: int, *, resume: bool) -> None:
    """The process is started again half a second after it died, whenever that was."""
    device = watch.party[index]

    def look() -> None:
        if not device.running and device.joined:
            watch.party.restart(index, resume=resume, after=0.5)
        watch.world.network.after(0.6, look)

    watch.world.network.after(0.6, look)


def counted(victim: int) -> int:
    """How many rounds the victim's process makes in an undisturbed script."""
    Mortal.rounds, Mortal.victim = {}, -1
    script(Watch(3, watched=Mortal), victim)
    return Mortal.rounds[victim]


def stores(kind: str, folder: Path) -> Callable[[], Store]:
    names = iter(range(1000))
    return MemoryStore if kind == "memory" else lambda: SqliteStore(folder / f"{next(names)}.db")


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("victim", [0, 2])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_process_that_is_killed_after_any_round_goes_on(
    store: str, victim: int, resume: bool, tmp_path: Path
) -> None:
    """Every round of the script is the last one of a life, one after another (every fourth over SQLite)."""
    rounds = counted(victim)
    assert rounds > 15
    for last in range(1, rounds - 3, 1 if store == "memory" else 4):
        folder = tmp_path / f"{last}"
        folder.mkdir()
        Mortal.rounds, Mortal.victim, Mortal.last_round = {}, victim, last
        watch = Watch(3, watched=Mortal, store=stores(store, folder))
        revive(watch, victim, resume=resume)
        script(watch, victim)
        watch.until_agreed(3, timeout=30)
        watch.check()
        assert watch.party[victim].lives >= 2


@pytest.mark.parametrize("at", [CrashPoint.BEFORE_SAVE, CrashPoint.AFTER_SAVE, CrashPoint.AFTER_SEND])
@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_process_that_dies_at_a_seam_again_and_again_goes_on(store: str, at: CrashPoint, tmp_path: Path) -> None:
    watch = Watch(3, store=stores(store, tmp_path))
    watch.join_all()
    for step in range(12):
        victim = step % 3
        watch.party.crash(victim, at)
        other = (victim + 1) % 3
        watch.party.leave(other, after=0.2)
        watch.party.join(other, after=1.0)
        watch.party.run(3)
        watch.party.crash(victim)
        watch.party.restart(victim, resume=step % 2 == 0, after=0.1)
        watch.party.run(0.2)
        watch.until_agreed(3, timeout=40)
    watch.check()
    assert all(device.lives > 4 for device in watch.party.devices)


def test_what_was_told_is_there_after_a_restart() -> None:
    """Pins, members, the epoch that was stood on: a restart goes on from what it told."""
    watch = Watch(3)
    watch.join_all()
    watch.party.run(3)
    for index in range(3):
        told = watch.session(index)
        members, epoch, member = set(told.members), told.epoch_id, told.member_id
        code, authenticator = told.safety_code, told.epoch_authenticator()
        device = watch.party[index]
        session = Session(
            device.matrix, RoomId(watch.world.room_id), SLOT, now=device.now, records=device.store.load(SCOPE)
        )
        assert (set(session.members), session.epoch_id, session.member_id) == (members, epoch, member)
        assert session.epoch_authenticator() == authenticator
        assert session.safety_code == code


def test_a_store_that_is_over_a_call_holds_nothing_of_it() -> None:
    """Keys, groups and requests are gone from the store when the call is over; pins stay, and so do the names of epochs
    that were sent under and of members that were removed."""
    watch = Watch(3)
    watch.join_all()
    watch.party.run(3)
    watch.party.leave(1)
    watch.party.run(30)
    left = watch.party[1].store.load(SCOPE)
    assert {key.partition("/")[0] for key in left} <= {"meta", "pin", "request", "begun", "removed"}
