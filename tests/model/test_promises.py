"""Promises 1, 4, 6 and 7 (docs/design.md section 6) on real sessions, under schedules of everything that can happen.

What each device is told is held against them as it is told (`watching.Ledger`) and at the end (`watching.Watch.check`):
agreement, finality of removal, no key index for two secrets, no epoch begun by two lives.
"""

from random import Random

import pytest
from hypothesis import given, note
from hypothesis import strategies as st

from mlsrtc.notices import Rejoining
from mlsrtc.testing import CrashPoint
from mlsrtc.testing.schedule import Crash, Gap, Heal, Join, Leave, Partition, Restart, Step, TwinsFrom, Wait, Withhold
from searching import CAMPAIGN, PROFILES, any_schedule, played, searched, world_of
from watching import Watch

DEVICES, SERVERS = 5, 2


@searched(200)
@given(any_schedule(DEVICES, SERVERS, 30), st.integers(0, 2**32))
def test_the_promises_hold_whatever_happens(schedule: list[Step], seed: int) -> None:
    note(f"seed {seed}")
    played(Watch(DEVICES, seed, servers=SERVERS), schedule)


@pytest.mark.parametrize("profile", PROFILES)
def test_the_promises_hold_and_everybody_converges(profile: str) -> None:
    """Promise 3 beside them."""

    @searched(60)
    @given(any_schedule(DEVICES, SERVERS, 25), st.integers(0, 2**32))
    def search(schedule: list[Step], seed: int) -> None:
        watch = Watch(DEVICES, seed, servers=SERVERS, **world_of(profile))
        played(watch, schedule)
        present = len(watch.party.present())
        assert present < 2 or watch.agreed(present)

    search()


def churn(random: Random, steps: int) -> list[Step]:
    """Mostly joins and leaves, close together."""
    happened: list[Step] = []
    for _ in range(steps):
        who = random.randrange(DEVICES)
        happened.append(
            random.choice(
                (
                    Join(who),
                    Join(who),
                    Leave(who),
                    Leave(who),
                    Crash(who, random.choice(list(CrashPoint))),
                    Restart(who, random.random() < 0.5),
                    Gap(who, random.random() * 5, 20),
                    TwinsFrom(random.randrange(SERVERS), random.random() < 0.5),
                    Withhold(random.randrange(SERVERS), random.random() * 4),
                    Partition(frozenset({random.randrange(SERVERS)})),
                    Heal(),
                )
            )
        )
        happened.append(Wait(random.random() * random.choice((0.05, 0.5, 3.0))))
    return happened


@pytest.mark.parametrize("seed", range(20 * CAMPAIGN))
def test_fast_churn(seed: int) -> None:
    watch = Watch(DEVICES, seed, servers=SERVERS)
    played(watch, churn(Random(seed), 60))
    present = len(watch.party.present())
    assert present < 2 or watch.agreed(present)


@pytest.mark.parametrize("seed", range(10 * CAMPAIGN))
def test_whom_a_fork_brings_back_returns_under_a_fresh_name(seed: int) -> None:
    """Two who join on the far side of a cut create a root each. When it is healed, one root comes without their joins:
    device 0 removes them as ghosts, and then the other root is the head, with both in it. It may not begin to send
    there (rule section 3.6), and must not stay mute for that."""
    watch = Watch(DEVICES, seed, servers=SERVERS)
    cut: list[Step] = [
        Join(0),
        Wait(5),
        Partition(frozenset([0])),
        Wait(5),
        Withhold(1, 9.0),
        Wait(1),
        Join(3),
        Wait(2.2),
        Join(1),
    ]
    played(watch, [*cut, Wait(5)])
    assert watch.agreed(3)


@pytest.mark.parametrize("seed", range(3 * CAMPAIGN))
def test_a_long_cut_costs_nobody_its_place_twice(seed: int) -> None:
    """After a cut of a minute the smaller side comes over; the larger one stays as it is."""
    watch = Watch(9, seed, servers=3)
    watch.join_all()
    watch.party.run(10)
    watch.world.partition({"one.test", "two.test"}, {"three.test"})
    watch.party.leave(0)
    watch.party.run(60)
    watch.world.heal()
    watch.until_agreed(8, timeout=60)
    watch.party.run(30)
    assert watch.agreed(8)
    for index in range(1, 9):
        rejoined = watch.ledgers[index].notices(Rejoining)
        assert len(rejoined) <= (1 if index % 3 == 2 else 0)
    watch.check()
