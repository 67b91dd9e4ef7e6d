"""What each scheme must do whatever the network is like: how many messages, who is locked out, and that all end up
hearing each other."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lab import fixed, play, settled, trace

from mlsrtc.simulate.measure import Measurer, measure
from mlsrtc.simulate.network import NetworkModel
from mlsrtc.simulate.schemes import SCHEMES
from mlsrtc.simulate.trace import Stay, Trace

MODELS = [name for name, scheme in SCHEMES.items() if not scheme.real]
SIZES = (3, 7, 20)


def sent(name: str, n: int, *, leaves: bool) -> int:
    counts = play(name, settled(n, leaves=leaves)).counts
    return counts["to_device"] + counts["room_events"] + counts["requests"] - counts["memberships"]


LEAVES = {
    "jitsi": lambda n: 2 * (n - 1) * (n - 2),  # each new key is acknowledged
    "jitsi-unlimited": lambda n: 2 * (n - 1) * (n - 2),
    "zoom": lambda n: (n - 2) + 1,  # a box for each but the leader, and the list
    "element-call": lambda n: (n - 1) * (n - 2) + (n - 1),  # and the leaver's own rotation
    "element-call-limit": lambda n: (n - 1) * (n - 2) + (n - 1),
    "element-call-budget": lambda n: (n - 1) * (n - 2),
    "famedly": lambda n: (n - 1) * (n - 2),
    "famedly-ratchet": lambda n: (n - 1) * (n - 2),
    "dave": lambda n: 1 + (n - 1) + 1 + (n - 1) + 1,  # proposed, committed by all, told, ready, moved
    "webex": lambda n: 2,  # sent and told
    "wire": lambda n: 2 + (n - 1) + 1,
    "cloudflare": lambda n: 2,
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", MODELS)
def test_a_leave_costs_as_many_messages_as_the_scheme_says(name: str, n: int) -> None:
    assert sent(name, n, leaves=True) == LEAVES[name](n)


# n are there, and one more joins.
JOINS = {
    "jitsi": lambda n: 5 * n,  # opened, answered, acknowledged, answered, acknowledged
    "jitsi-unlimited": lambda n: 5 * n,
    "zoom": lambda n: 1 + n + 1,
    "element-call": lambda n: n * n + n,
    "element-call-limit": lambda n: n * n + n,
    "famedly": lambda n: 2 * n + n * n,  # from the lobby, and again
    "famedly-ratchet": lambda n: 2 * n + n,
    "dave": lambda n: 1 + n + 1 + (n + 1) + 1,
    "webex": lambda n: 2,
    "wire": lambda n: 1 + 2 + (n + 1) + 1,  # asked for the group, committed, told, ready, moved
    "cloudflare": lambda n: 2,
}


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("name", JOINS)
def test_a_join_costs_as_many_messages_as_the_scheme_says(name: str, n: int) -> None:
    assert sent(name, n, leaves=False) == JOINS[name](n)


def test_within_the_grace_period_a_joiner_costs_one_message_from_each() -> None:
    close = trace([(0, 0, None), (1, 0.1, None), (2, 0.2, None), (3, 6, None)])
    counts = play("element-call", close).counts
    assert counts["to_device"] == 4 * 3


def test_mass_leaves_are_one_rotation_where_they_are_gathered() -> None:
    stays = [Stay(person, -1.0, 120.0, True) for person in range(4)]
    stays += [Stay(4 + person, -1.0, 10.0 + person) for person in range(6)]
    mass = Trace("mass", "mass", 120.0, tuple(stays))
    assert play("famedly", mass).counts["to_device"] == 4 * 3
    assert play("jitsi", mass).counts["to_device"] == 2 * 4 * 3
    assert play("element-call", mass).counts["to_device"] > 4 * 3


def test_a_debounce_without_a_bound_is_put_off_by_every_leave() -> None:
    stays = [Stay(person, -1.0, 120.0, True) for person in range(3)]
    stays += [Stay(3 + person, -1.0, 10.0 + 3 * person) for person in range(10)]
    made = Trace("dribble", "dribble", 120.0, tuple(stays))
    assert Measurer(play("famedly", made), made).listening(3) > 27 + 4 + 4


@pytest.mark.parametrize("name", MODELS)
def test_a_leaver_listens_at_least_as_long_as_the_news_takes(name: str) -> None:
    made = settled(8, leaves=True)
    model = NetworkModel()
    listens = Measurer(play(name, made), made).listening(4)
    assert listens is not None
    assert listens >= 2 * model.link[0] + model["state event"]


def test_above_its_limit_element_call_locks_nobody_out() -> None:
    made = settled(31, leaves=True)
    found = play("element-call-limit", made)
    assert found.counts["to_device"] == 0
    assert Measurer(found, made).listening(15) == math.inf
    assert Measurer(play("element-call", made), made).listening(15) < 5


def test_from_its_limit_on_jitsi_is_in_the_clear() -> None:
    made = trace([(person, person * 0.5, None) for person in range(26)])
    measures = measure(play("jitsi", made), made)
    assert measures.clear_share > 0.8
    assert measure(play("jitsi-unlimited", made), made).clear_share == 0


@given(contingent=st.sampled_from((6000,)), n=st.integers(5, 40))
@settings(max_examples=10, deadline=None)
def test_with_the_budget_a_rotation_waits_at_most_twice_the_grace_period(contingent: int, n: int) -> None:
    made = settled(n, leaves=True)
    waits = Measurer(play("element-call-budget", made), made).listening(n // 2)
    assert waits is not None
    assert waits <= 2 * 60 * (n - 1) * (n - 2) / contingent + 1.0 + 2.0


def test_in_zoom_a_leader_that_leaves_is_followed_by_another() -> None:
    stays = [Stay(0, -1.0, 10.0), *(Stay(person, -1.0, 120.0, True) for person in range(1, 5))]
    made = Trace("leader", "leader", 120.0, tuple(stays))
    listens = Measurer(play("zoom", made), made).listening(0)
    assert listens is not None
    assert 2 < listens < 13


def test_wire_waits_for_who_does_not_answer() -> None:
    """Somebody drops out, and within the time that its membership stands one more joins: nobody moves before that
    ends."""
    stays = [Stay(person, -1.0, 200.0, True) for person in range(4)]
    stays += [Stay(4, -1.0, 10.0, drops=True), Stay(5, 11.0, 200.0, True)]
    made = Trace("drop", "drop", 200.0, tuple(stays))
    assert (Measurer(play("wire", made), made).join_to_keys(5) or 0) > 10
    assert (Measurer(play("webex", made), made).join_to_keys(5) or 0) < 2


@pytest.mark.parametrize("name", MODELS)
def test_everything_follows_from_the_seed(name: str) -> None:
    made = trace([(0, 0, None), (1, 1, None), (2, 1.5, 20), (3, 2, None), (2, 30, None)], 60)
    one, same, other = play(name, made, 1), play(name, made, 1), play(name, made, 2)
    assert measure(one, made) == measure(same, made)
    assert one.counts == same.counts
    assert measure(one, made) != measure(other, made)


@st.composite
def traces(draw: st.DrawFn) -> Trace:
    """Five people who come and go for a minute; then nothing happens for two."""
    stays: list[Stay] = []
    for person in range(5):
        moment = draw(st.floats(0, 20))
        for _ in range(draw(st.integers(0, 2))):
            ends = moment + draw(st.floats(0.05, 15))
            stays.append(Stay(person, moment, ends, drops=draw(st.booleans())))
            moment = ends + draw(st.floats(0.05, 10))
        stays.append(Stay(person, moment, 240.0, True))
    return Trace("drawn", "drawn", 240.0, tuple(sorted(stays, key=lambda stay: stay.begins)))


@pytest.mark.parametrize("homeservers", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_whatever_happens_all_hear_each_other_in_the_end_and_nobody_else_does(name: str, homeservers: int) -> None:
    @given(traces(), st.integers(0, 1000))
    @settings(max_examples=40, deadline=None)
    def search(made: Trace, seed: int) -> None:
        found = play(name, made, seed, NetworkModel(homeservers=homeservers))
        last = {stay: switches[-1][1] for stay, switches in found.switches.items()}
        staying = [number for number, stay in enumerate(made.stays) if stay.stays]
        for speaker in staying:
            key = last[speaker]
            assert key is not None
            for listener in range(len(made.stays)):
                if listener != speaker and listener in staying:
                    assert found.held[key].get(listener, math.inf) < made.seconds, (speaker, listener)
                elif listener != speaker and not made.stays[listener].drops:
                    assert not found.opens(listener, key), (speaker, listener)

    search()


@pytest.mark.parametrize("name", ["keyshare", "mlsrtc"])
def test_our_sessions_play_a_trace(name: str) -> None:
    made = trace([(0, 0, None), (1, 0.5, None), (2, 1, 20), (2, 24, None), (3, 5, 30), (3, 44, None)], 60)
    found = SCHEMES[name].play(made, NetworkModel(), fixed(), 1)
    measures = measure(found, made)
    assert measures.leave_to_keys.never == measures.join_to_keys.never == measures.listening.never == 0
    assert 0.3 < measures.listening.most < 4
    assert found.counts["room_events"] < 15
    assert found.session_seconds
    if name == "mlsrtc":
        assert found.counts["to_device"] == 0
        assert any(what.startswith("commit, remove") for what, _ in found.operations)
    else:
        assert found.counts["to_device"] == found.operations["olm encrypt", 0] >= 4 * 3 + 3 * 2


def test_our_sessions_come_back_after_a_drop() -> None:
    stays = [Stay(person, person * 0.5, 90.0, True) for person in range(3)]
    stays += [Stay(3, 2.0, 20.0, drops=True), Stay(3, 26.0, 90.0, True)]
    made = Trace("train", "train", 90.0, tuple(sorted(stays, key=lambda stay: stay.begins)))
    found = SCHEMES["mlsrtc"].play(made, NetworkModel(), fixed(), 1)
    back = Measurer(found, made).join_to_keys(len(made.stays) - 1)
    assert back is not None
    assert back < 10
