"""Questions and answers within their budgets."""

import pytest

from mlsrtc.identifiers import EpochId, UserId
from mlsrtc.policy import Policy
from mlsrtc.recovery import OPEN_LIMIT, QUESTIONS, Bucket, Recovery

ADA, EVE = UserId("@ada:example.org"), UserId("@eve:example.org")
POLICY = Policy()


def epoch(number: int) -> EpochId:
    return EpochId(number.to_bytes(32, "big"))


def asked(
    recovery: Recovery, lacking: frozenset[EpochId | None], until: float, *, since: float = 0.0, evidence: int = 0
) -> list[tuple[float, EpochId | None]]:
    """What is asked until a moment by one who lets nothing but the timer wake it."""
    found, now = [], since
    while True:
        recovery.lacks(dict.fromkeys(lacking, evidence), now)
        for question in recovery.due(now):
            found.append((now, question.id))
            question.ask(now, 0.0)
        later = recovery.next_timer(now)
        if later is None or later > until:
            return found
        assert later > now
        now = later


def test_one_question_is_asked_a_few_times_and_given_up() -> None:
    times = [time for time, _ in asked(Recovery(POLICY), frozenset({epoch(1)}), 600)]
    assert times == pytest.approx([2, 3, 5, 9])
    assert len(times) == QUESTIONS


def test_what_was_given_up_is_asked_anew_when_more_shows_that_it_exists() -> None:
    recovery, lacking = Recovery(POLICY), frozenset({epoch(1)})
    asked(recovery, lacking, 600)
    assert recovery.given_up(600) == lacking
    assert asked(recovery, lacking, 1200, since=600) == []
    times = [time for time, _ in asked(recovery, lacking, 1200, since=700, evidence=1)]
    assert times == pytest.approx([702, 703, 705, 709])
    assert asked(recovery, lacking, 1800, since=1200, evidence=1) == []


def test_a_round_that_goes_on_is_not_begun_anew() -> None:
    recovery, lacking = Recovery(POLICY), frozenset({epoch(1)})
    times = [time for time, _ in asked(recovery, lacking, 4)]
    times += [time for time, _ in asked(recovery, lacking, 16, since=4, evidence=5)]
    assert times == pytest.approx([2, 3, 5, 9])
    assert recovery.given_up(16) == frozenset()
    assert [time for time, _ in asked(recovery, lacking, 40, since=17, evidence=5)] == pytest.approx([19, 20, 22, 26])


def test_any_number_of_missing_parents_makes_few_questions_and_each_is_asked_in_time() -> None:
    lacking = frozenset({epoch(number) for number in range(100)})
    found = asked(Recovery(POLICY), lacking, 3600)
    assert {id for _, id in found} == lacking
    assert len(found) == 100 * QUESTIONS
    for start in range(0, 1300, 7):
        within = [id for time, id in found if start <= time < start + 60]
        assert len(within) <= 2 * POLICY.questions_per_minute
    assert len({id for time, id in found if time < 10}) == OPEN_LIMIT


def test_the_head_path_is_asked_for_before_what_anybody_may_have_invented() -> None:
    lacking = frozenset({None, *map(epoch, range(100))})
    assert asked(Recovery(POLICY), lacking, 5)[0][1] is None


def test_one_asker_takes_nothing_from_another() -> None:
    recovery = Recovery(POLICY)
    assert sum(recovery.may_answer(EVE, 0.0) for _ in range(100)) == POLICY.answers_per_asker
    assert recovery.may_answer(ADA, 0.0)
    assert recovery.may_answer(EVE, 60.0)


def test_many_askers_together_get_no_more_than_the_budget() -> None:
    recovery = Recovery(POLICY)
    users = [UserId(f"@u{number}:example.org") for number in range(100)]
    assert sum(recovery.may_answer(user, 0.0) for user in users) == POLICY.answers_per_minute


def test_nothing_is_taken_from_a_bucket_that_is_held_however_full_it_is() -> None:
    bucket = Bucket(60)
    bucket.hold(10.0)
    bucket.hold(5.0)
    assert (bucket.take(9.0), bucket.next_at(9.0)) == (False, 10.0)
    assert sum(bucket.take(10.0) for _ in range(100)) == 60
