"""The engines that come from PyPI: rine-mls in histories of ours, and davey in calls of its own kind."""

import pytest
from dave import Call
from engines import starter
from history import check
from steps import Plan


@pytest.mark.parametrize("founder", ["rine-mls", "mlsrtc"])
def test_histories_with_rine_mls(founder: str) -> None:
    other = {"rine-mls": "mlsrtc", "mlsrtc": "rine-mls"}[founder]
    party = check(Plan(1, {founder: 1, other: 1}, most=10), 1, 100, starter([founder, other]))
    assert party.operations.total() >= 65
    assert party.commits["mlsrtc"] >= 20
    assert not party.faults


def test_calls_with_davey() -> None:
    davey = starter(["davey"])()["davey"]
    call = Call(davey, seed=1)
    for _ in range(60):
        call.step()
    davey.close()
    assert call.operations.keys() == {"add davey", "add mlsrtc", "remove davey", "remove mlsrtc"}
    assert call.operations.total() >= 50
    assert min(call.commits["davey"], call.commits["mlsrtc"]) >= 15
    assert call.largest == 12
