"""The harness itself, with our own clients alone: histories follow from their seed, and a fault is found and told."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from history import check, played
from ours import Ours
from party import Disagreement
from peers import Fields, Peer, PeerError
from steps import WEIGHTS, Plan

PLAN = Plan(suite=1, shares={"mlsrtc": 1}, most=6)


class Liar(Ours):
    """One who tells another exporter than the rest, once five are in the group."""

    def call_all(self, requests: Iterable[tuple[str, Fields]]) -> list[Fields | PeerError]:
        answers = super().call_all(requests)
        if len(answers) == 5 and isinstance(answers[0], dict) and "exporter" in answers[0]:
            answers[0] = {**answers[0], "exporter": bytes(32)}
        return answers


def honest() -> Mapping[str, Peer]:
    return {"mlsrtc": Ours()}


def test_a_history_follows_from_its_seed() -> None:
    first, again, other = (check(PLAN, seed, 60, honest) for seed in (1, 1, 2))
    assert first.told == again.told != other.told
    assert first.operations == again.operations
    assert first.operations.keys() == WEIGHTS.keys()


def test_the_founder_stays_if_it_is_told_to() -> None:
    plan = Plan(suite=1, shares={"mlsrtc": 1}, most=6, founder_stays=True)
    for seed in range(3):
        party = check(plan, seed, 60, honest)
        assert party.members[0].name == "m1"
        assert party.members[0].leaf == 0


def test_a_lie_is_found_and_its_history_shortened() -> None:
    with pytest.raises(Disagreement, match="has another exporter than") as caught:
        check(PLAN, 3, 60, lambda: {"mlsrtc": Liar()})
    told, shortened = caught.value.__notes__
    assert "commits: adds" in told
    assert "seed 3 of 60 steps" in shortened
    steps = shortened.count("Step(")
    assert 1 <= steps <= 4  # one becomes five in few steps


def test_every_message_that_is_refused_ends_the_history() -> None:
    class Deaf(Ours):
        def call(self, op: str, **fields: Any) -> Fields:
            if op == "process":
                fields["message"] = fields["message"][:-1] + b"\0"
            return super().call(op, **fields)

    with pytest.raises(PeerError, match="mlsrtc cannot process"):
        played(PLAN, PLAN.draw(1, 20), lambda: {"mlsrtc": Deaf()})
