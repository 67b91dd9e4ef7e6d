"""docs/results/simulate.md is what its script makes of the reports, and what it says of them is so."""

import json
from typing import Any

import pages
import pytest

pytest.importorskip("matplotlib", reason="the extra `simulate` is not installed")
pytest.importorskip("nio", reason="the extra `nio` is not installed")

import simulate_reports

from mlsrtc.simulate.table import deviations

PAGE = pages.DOCS / "results/simulate.md"
TRACES = ("stand-up", "lecture", "clinic", "flaky-train", "mass-leave")
ORDERED = ("dave", "webex", "wire", "cloudflare")


def with_same_people(trace: str) -> dict[str, Any]:
    """What schemes did with as many people as the real machines play with."""
    outcomes = json.loads((pages.DOCS / f"results/simulate/{trace}.json").read_text())["outcomes"]
    people = min(outcome["people"] for outcome in outcomes)
    found = {outcome["scheme"]: outcome for outcome in outcomes if outcome["people"] == people}
    assert found.keys() >= {"mlsrtc", "keyshare", *ORDERED}
    return found


def test_the_page_is_what_its_script_makes_of_the_reports() -> None:
    assert PAGE.read_text() == simulate_reports.whole()


def test_of_the_lecture_all_schemes_stand_in_one_table_too() -> None:
    report = json.loads((pages.DOCS / "results/simulate/lecture.json").read_text())
    every, fewer = report["tables"]
    assert {row[1] for row in every["rows"][1:]} == {"model"}
    assert [row[0] for row in fewer["rows"][1:]] == [scheme["title"] for scheme in report["schemes"]]


@pytest.mark.parametrize("trace", TRACES)
def test_where_a_server_orders_keys_are_there_sooner_and_less_is_received(trace: str) -> None:
    found = with_same_people(trace)
    ours = found.pop("mlsrtc")
    for name in ORDERED:
        theirs = found[name]
        assert theirs["counts"]["bytes_down"] < ours["counts"]["bytes_down"]
        for change, part in (("listening", "p50"), ("listening", "most"), ("join_to_keys", "p50")):
            figures = [one["measures"][change] for one in (theirs, ours)]
            assert figures[0][part] < figures[1][part] or figures[0]["count"] == 0


@pytest.mark.parametrize("trace", TRACES)
def test_ours_has_the_fewest_messages(trace: str) -> None:
    found = with_same_people(trace)
    sent = {
        name: sum(outcome["counts"][what] for what in ("to_device", "room_events", "requests"))
        for name, outcome in found.items()
    }
    assert min(sent, key=lambda name: sent[name]) == "mlsrtc"


def test_the_reports_tell_too_short_what_hangs_on_the_homeserver_and_of_many_messages_most() -> None:
    calibration = json.loads((pages.DOCS / "results/simulate/synapse.json").read_text())
    off = {(row[0].partition(":")[0], row[1]): int(row[-1].rstrip("%")) for row in deviations(calibration)[::2]}
    for n in ("20", "50"):
        assert off["Element Call", n] < off["mlsrtc", n] < 0
