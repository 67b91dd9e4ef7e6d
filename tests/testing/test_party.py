"""The party drives sessions as a driver does: deliveries, timers, checkpoints, crashes, restarts."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_session import ToySession

from mlsrtc.outbox import SendEvent
from mlsrtc.testing import CrashPoint, Hostility, Limits, NeverHappened, Party, PartyDevice
from mlsrtc.testing.schedule import Step, make_peace, play
from mlsrtc.testing.strategies import schedules
from mlsrtc.wire.incoming import Now
from mlsrtc.wire.names import COMMIT, STATE_MEMBER


def toy(device: PartyDevice) -> ToySession:
    assert isinstance(device.session, ToySession)
    return device.session


def members(device: PartyDevice) -> frozenset[str]:
    return frozenset(toy(device).members)


def make_party(devices: int = 3, seed: int = 1, **settings: object) -> Party:
    return Party(ToySession, devices=devices, random=Random(seed), **settings)  # type: ignore[arg-type]


def everybody_sees(party: Party, count: int) -> bool:
    return party.agree(lambda device: members(device) if len(members(device)) == count else None)


def test_all_who_join_see_each_other() -> None:
    party = make_party(10, servers=2)
    for index in range(10):
        party.join(index, after=index / 5)
    took = party.run_until(lambda: len(party.present()) == 10 and everybody_sees(party, 10), timeout=10)
    assert 1.8 < took < 4
    assert all("complete" in device.notices for device in party.devices)


def test_a_run_follows_from_its_seed() -> None:
    def transcript(seed: int) -> list[object]:
        party = make_party(6, seed, servers=3, hostility=Hostility(duplicate=0.2, reorder=1.0, answer_loss=0.1))
        for index in range(6):
            party.join(index, after=index / 10)
        party.crash(2, after=3.0)
        party.run(20)
        return [(tuple(device.notices), tuple(toy(device).hellos)) for device in party.running()]

    assert transcript(5) == transcript(5)
    assert transcript(5) != transcript(6)


def test_timers_are_ticked_on_the_devices_own_clock() -> None:
    party = make_party(1)
    party.join(0)
    party.run(0.5)
    assert party[0].now.monotonic > party.world.network.time
    party.run(10)
    assert party[0].notices.count("ping") == 2


def test_a_step_of_the_wall_clock_moves_no_timer() -> None:
    party = make_party(1)
    party.join(0)
    party.run(1)
    before = party[0].now
    party[0].step_clock(3_600_000)
    assert party[0].now == Now(before.monotonic, before.wall_ms + 3_600_000)
    party.run(9.5)
    assert party[0].notices.count("ping") == 2


def test_a_timer_that_stays_in_the_past_is_found_out() -> None:
    class Stuck(ToySession):
        def next_timer(self) -> float | None:
            return 0.0

    party = Party(Stuck, devices=1, random=Random(1))
    party.start(0)
    with pytest.raises(AssertionError, match="next_timer stays in the past"):
        party.run(10)


def test_what_never_happens_is_told() -> None:
    party = make_party(1)
    with pytest.raises(NeverHappened):
        party.run_until(lambda: False, timeout=1)
    assert party.world.network.time == pytest.approx(1)


def test_a_crashed_device_leaves_by_its_delayed_event_and_not_before() -> None:
    party = make_party(3)
    for index in range(3):
        party.join(index)
    party.run_until(lambda: len(party.present()) == 3 and everybody_sees(party, 3), timeout=5)
    party.crash(1)
    party.run(0.1)
    assert not party[1].running
    party.run_until(lambda: everybody_sees(party, 2), timeout=9)


def test_crash_before_save_loses_the_join_and_the_application_asks_again() -> None:
    party = make_party(2)
    party.start(0)
    party.run(1)
    party.crash(0, CrashPoint.BEFORE_SAVE)
    party.join(0)
    party.run(1)
    assert not party[0].running
    assert party.world.sent()[STATE_MEMBER] == 0
    party.restart(0)
    party.run(2)
    assert party.world.sent()[STATE_MEMBER] == 1
    assert len(members(party[0])) == 1


def test_crash_after_save_sends_nothing_and_the_restart_does() -> None:
    party = make_party(1)
    party.start(0)
    party.run(1)
    party.crash(0, CrashPoint.AFTER_SAVE)
    party.join(0)
    party.run(1)
    assert not party[0].running
    assert party.world.sent() == {}
    assert party[0].store.load("call")
    party.restart(0)
    party.run(2)
    assert party.world.sent()[COMMIT] == 1


@pytest.mark.parametrize("resume", [False, True])
def test_crash_after_send_repeats_under_the_same_transaction_id(resume: bool) -> None:
    party = make_party(1)
    party.start(0)
    party.run(1)

    party.crash(0, CrashPoint.AFTER_SEND)
    party.join(0)
    party.run(1)
    assert not party[0].running
    party.restart(0, resume=resume)
    party.run(3)
    assert party.world.sent()[COMMIT] == 1
    assert toy(party[0]).hellos
    assert toy(party[0]).complete
    assert not toy(party[0]).drafted


def test_refused_input_is_kept_and_the_next_event_applies() -> None:
    party = make_party(2)
    party.join(0)
    party.join(1)
    party.run(2)
    party.world.act(party[1].matrix.name, SendEvent("bad", "m.bad", {}))
    party.leave(1)
    party.run(2)
    assert [error.reason for error in party[0].refused] == ["bad"]
    assert len(members(party[0])) == 1


def test_429_is_held_and_sent_later() -> None:
    party = make_party(1, limits=Limits(message_rate=0.5, message_burst=1))
    party.join(0)
    party.run(1)
    assert party.world.sent() == {}
    party.run(7)
    assert party.world.sent() == {COMMIT: 1, STATE_MEMBER: 1}
    assert party.run_until_quiet(3, timeout=10) >= 0


def test_several_devices_of_one_user_share_keys_and_server() -> None:
    party = make_party(5, devices_per_user=2, servers=2)
    assert [device.matrix.user_id for device in party.devices] == [
        "@user00:one.test",
        "@user00:one.test",
        "@user01:two.test",
        "@user01:two.test",
        "@user02:one.test",
    ]
    assert party[0].matrix.chain()["master"] == party[1].matrix.chain()["master"]


def test_divided_tells_who_sees_what() -> None:
    party = make_party(3, servers=3)
    for index in range(3):
        party.join(index)
    party.world.partition({"one.test"}, {"two.test", "three.test"})
    party.run(3)
    groups = party.divided(lambda device: len(members(device)))
    assert groups == {1: [0], 2: [1, 2]}
    assert not party.agree(members)
    party.world.heal()
    party.run_until(lambda: everybody_sees(party, 3), timeout=6)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schedules(4, servers=2, steps=20), st.integers(0, 2**32))
def test_after_any_schedule_and_peace_all_see_the_same(schedule: list[Step], seed: int) -> None:
    """The homeservers converge, whatever happened: the toy's view is the room's state and nothing else."""
    party = make_party(4, seed, servers=2)
    play(party, schedule)
    make_peace(party)
    party.run(40)
    assert party.agree(members)
    for key, stored in party.world.servers["one.test"].room.state.items():
        assert stored is party.world.servers["two.test"].room.state[key]
