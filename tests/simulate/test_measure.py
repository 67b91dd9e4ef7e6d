"""The measures of records that were written by hand."""

import math

import pytest
from lab import trace

from mlsrtc.simulate.measure import Measurer, Spread, measure
from mlsrtc.simulate.record import CLEAR, Record

A, B, C = 0, 1, 2
CALL = trace([(A, 0, None), (B, 10, None), (C, 20, 60)], 100)


def record() -> Record:
    """A and B are fine from 11 on; C comes at 20 and leaves at 60; new keys are sent under from 65 and 66 on."""
    made = Record()
    made.sends(A, "a1", 0)
    made.sends(B, "b1", 10)
    made.sends(C, "c1", 20)
    for stay, key, at in ((A, "b1", 11), (B, "a1", 11), (C, "a1", 22), (C, "b1", 23), (A, "c1", 21), (B, "c1", 24)):
        made.holds(stay, key, at)
    made.sends(A, "a2", 65)
    made.sends(B, "b2", 66)
    made.holds(B, "a2", 64)
    made.holds(A, "b2", 68)
    return made


def test_a_join_is_done_when_both_sides_hear_each_other() -> None:
    measurer = Measurer(record(), CALL)
    assert measurer.join_to_keys(A) is None  # Nobody was there.
    assert measurer.join_to_keys(B) == pytest.approx(1)
    assert measurer.join_to_keys(C) == pytest.approx(4)


def test_a_leave_is_done_when_all_who_stay_send_and_open_what_is_new() -> None:
    assert Measurer(record(), CALL).leave_to_keys(C) == pytest.approx(8)


def test_a_leaver_listens_until_the_last_has_moved() -> None:
    assert Measurer(record(), CALL).listening(C) == pytest.approx(6)


def test_a_leaver_that_is_sent_the_next_key_goes_on_listening() -> None:
    made = record()
    made.holds(C, "a2", 70)
    assert Measurer(made, CALL).listening(C) == math.inf


def test_a_leaver_that_the_next_epoch_was_made_for_goes_on_listening() -> None:
    made = record()
    made.made_for("b2", [A, B, C])
    assert Measurer(made, CALL).listening(C) == math.inf


def test_deaf_is_who_cannot_open_what_is_sent() -> None:
    deaf = Measurer(record(), CALL).deafness()
    assert deaf == pytest.approx({(A, B): 1 + 2, (B, A): 1, (C, A): 2, (C, B): 3, (A, C): 1, (B, C): 4})


def test_deaf_is_also_who_hears_nothing_since_nothing_is_sent() -> None:
    made = record()
    made.switches[C] = [(30, "c1")]
    deaf = Measurer(made, CALL).deafness()
    assert deaf[A, C] == deaf[B, C] == pytest.approx(10)


def test_what_is_sent_in_the_clear_everybody_opens() -> None:
    made = record()
    made.held[CLEAR] = dict.fromkeys((A, B, C), -1.0)
    made.sends(A, CLEAR, 90)
    measures = measure(made, CALL)
    assert measures.clear_share == pytest.approx(10 / (100 + 90 + 40))
    assert Measurer(made, CALL).listening(C) == pytest.approx(6)  # It was locked out before that.


def test_a_spread_has_nearest_ranks() -> None:
    assert Spread.of([]) == Spread(0, 0.0, 0.0, 0.0, 0)
    assert Spread.of([3.0, 1.0, 2.0, math.inf]) == Spread(4, 2.0, math.inf, math.inf, 1)
    assert Spread.of([float(number) for number in range(1, 101)]) == Spread(100, 50.0, 95.0, 100.0, 0)
