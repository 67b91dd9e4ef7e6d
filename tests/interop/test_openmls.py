"""Random histories of groups in which OpenMLS and our own clients are members, live.

After every commit the epoch authenticator, the exporter and the tree hash are equal among all members. The same on
10,000 operations and more engines: `tests/interop/campaign.py`."""

import pytest
from engines import starter
from history import check
from steps import FURTHER, WEIGHTS, Plan

BOTH = {"mlsrtc": 1, "OpenMLS": 1}
X_WING = 0x4D

HISTORIES = [
    # plan, seed, steps, and how many of them somebody there can take
    pytest.param(Plan(1, BOTH, most=12), 1, 150, 146, id="suite 1"),
    pytest.param(Plan(1, BOTH, most=12, private=True), 4, 150, 146, id="suite 1, private"),
    pytest.param(Plan(2, BOTH, most=10), 6, 100, 94, id="suite 2"),
    pytest.param(Plan(3, BOTH, most=10, private=True), 8, 100, 88, id="suite 3, private"),
    pytest.param(Plan(1, BOTH, most=64), 3, 120, 115, id="suite 1, up to 64", marks=pytest.mark.slow),
]


def test_the_histories_have_enough_operations() -> None:
    quick = [history.values[3] for history in HISTORIES if not history.marks]
    assert sum(quick) >= 300  # type: ignore[arg-type]


@pytest.mark.parametrize(("plan", "seed", "steps", "operations"), HISTORIES)
def test_histories_with_openmls(plan: Plan, seed: int, steps: int, operations: int) -> None:
    party = check(plan, seed, steps, starter(["mlsrtc", "OpenMLS"]))
    assert party.operations.total() >= operations
    assert not party.faults
    assert party.operations.keys() == WEIGHTS.keys()
    assert party.largest == plan.most
    assert min(party.commits["mlsrtc"], party.commits["OpenMLS"]) >= 20


@pytest.mark.parametrize(("founder", "private", "seed"), [("mlsrtc", False, 5), ("OpenMLS", True, 6)])
def test_histories_with_extensions_and_own_proposals_and_from_outside(founder: str, private: bool, seed: int) -> None:
    shares = {founder: 1} | BOTH
    party = check(Plan(1, shares, most=10, private=private, weights=FURTHER), seed, 150, starter(list(shares)))
    assert party.operations.total() >= 120
    assert party.operations.keys() == FURTHER.keys()
    assert min(party.operations[kind] for kind in FURTHER.keys() - WEIGHTS.keys()) >= 4
    assert not party.faults
    assert min(party.commits["mlsrtc"], party.commits["OpenMLS"]) >= 20


def test_a_history_with_openmls_in_the_post_quantum_suite() -> None:
    """OpenMLS has X-Wing with its other provider, libcrux."""
    names = ["mlsrtc", "OpenMLS on libcrux"]
    party = check(Plan(X_WING, dict.fromkeys(names, 1), most=10), 2, 100, starter(names))
    assert party.operations.total() >= 90
    assert not party.faults
    assert party.operations.keys() == WEIGHTS.keys()
    assert min(party.commits[name] for name in names) >= 20
