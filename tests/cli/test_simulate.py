"""`mlsrtc simulate`: its table, its JSON, its page, and what it cannot do."""

import json
import re
import sys
from pathlib import Path

import pytest
from lab import fixed

from mlsrtc.cli import main
from mlsrtc.simulate.schemes import SCHEMES

SHORT = {
    "name": "short",
    "seconds": 60,
    "stays": [
        {"person": "anna", "from": 0},
        {"person": "bert", "from": 1, "to": 30},
        {"person": "carl", "from": 2},
    ],
}


@pytest.fixture(autouse=True)
def quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process, and nothing is timed, but in the test that says so."""
    if "real" not in request.node.name:
        monkeypatch.setattr("os.cpu_count", lambda: 1)
        monkeypatch.setattr("mlsrtc.simulate.primitives.measured", fixed)


def test_real_primitives_and_processes_give_the_same_kind_of_table(
    trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["simulate", "--trace", trace, "--schemes", "element-call,mlsrtc", "--growth", "5"]) == 0
    shown = capsys.readouterr().out
    assert "mlsrtc (MLS)" in shown
    assert "real" in shown


@pytest.fixture
def trace(tmp_path: Path) -> str:
    path = tmp_path / "short.json"
    path.write_text(json.dumps(SHORT))
    return str(path)


def test_the_table_has_every_scheme_that_is_asked_for(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", trace, "--schemes", "zoom,webex", "--growth", "10"]) == 0
    shown = capsys.readouterr().out
    assert "short: 3 people, 3 at once, 3 participations in 60 s" in shown
    for words in ("Zoom", "Webex (MLS)", "a leaver listens", "How each grows"):
        assert words in shown
    assert "Famedly" not in shown


def test_the_real_machines_are_said_to_play_with_fewer_people(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["simulate", "--trace", trace, "--schemes", "zoom,mlsrtc", "--growth", "0", "--real-people", "2"]
    assert main(asked) == 0
    every, fewer = capsys.readouterr().out.split("2 of the 3 people: real machines, and models with the same people")
    assert "play with 2 of the 3 people" in every
    assert "All 3 people: models alone" in every
    assert "mlsrtc (MLS)" not in every
    assert re.search(r"Zoom +model", every)
    assert re.search(r"Zoom +model", fewer)
    assert re.search(r"mlsrtc \(MLS\) +real", fewer)


def test_models_play_with_the_people_that_the_real_machines_play_with(
    trace: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["simulate", "--trace", trace, "--schemes", "zoom,mlsrtc", "--growth", "0", "--json"]
    assert main([*asked, "--real-people", "2"]) == 0
    outcomes = json.loads(capsys.readouterr().out)["outcomes"]
    assert [(one["scheme"], one["people"]) for one in outcomes] == [("zoom", 3), ("zoom", 2), ("mlsrtc", 2)]
    three, two, _ = outcomes
    assert two["counts"]["memberships"] < three["counts"]["memberships"]
    assert main(asked) == 0
    assert [one["people"] for one in json.loads(capsys.readouterr().out)["outcomes"]] == [3, 3]


def test_the_page_has_a_table_and_bars_for_both(trace: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "report.html"
    asked = ["simulate", "--trace", trace, "--schemes", "zoom,mlsrtc", "--growth", "0", "--real-people", "2"]
    assert main([*asked, "--html", str(page)]) == 0
    _, every, fewer = re.split("<h3>(?=All 3 people|2 of the 3 people)", page.read_text().split("<h3>What the col")[0])
    assert (every.count("<svg"), fewer.count("<svg")) == (1, 1)
    assert "<td>real</td>" not in every
    assert "<td>real</td>" in fewer


def test_json_has_figures_and_the_source_of_every_constant(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "--trace", trace, "--growth", "5", "--real-growth", "0", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [scheme["name"] for scheme in facts["schemes"]] == list(SCHEMES)
    assert {scheme["name"] for scheme in facts["schemes"] if scheme["real"]} == {"keyshare", "mlsrtc"}
    for scheme in facts["schemes"]:
        assert all(len(constant["source"]) > 5 for constant in scheme["constants"].values())
    for outcome in facts["outcomes"]:
        assert outcome["counts"]["room_events"] >= 4
        assert outcome["measures"]["listening"]["count"] == 1
        assert outcome["cpu"] > 0
    assert {growth["n"] for growth in facts["growth"]} == {5}


def test_what_had_no_end_is_null_and_is_said_as_it_is_meant(trace: str, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["simulate", "--trace", trace, "--schemes", "element-call-limit", "--growth", "50"]
    assert main([*asked, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [growth["listening"] is None for growth in facts["growth"]] == [False, False, False, True]
    assert main(asked) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["50"])
    assert re.search(r"never +for ever", row)  # When has who stays new keys? How long does who left listen?


def test_the_page_stands_by_itself(trace: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib")
    page = tmp_path / "report.html"
    asked = ["simulate", "--trace", trace, "--schemes", "jitsi,zoom", "--growth", "50", "--html", str(page)]
    assert main([*asked, "--synapse", str(calibration(tmp_path))]) == 0
    text = page.read_text()
    assert text.count("<svg") == text.count("</svg>") == 3
    elsewhere = r"https?://(?!www\.w3\.org|purl\.org|creativecommons)"  # Names in SVG, fetched by nobody.
    assert not re.search(rf"<script|<link|src=|@import|url\((?!#)|{elsewhere}", text)
    assert "lib-jitsi-meet, modules/e2ee/ManagedKeyHandler.ts" in text
    assert "mlsrtc simulate --trace" in text
    assert text.index("+25%") < text.index("-25%")
    assert re.search(r"0\.50 s +\+25% +0\.30 s +-25%", capsys.readouterr().out)


def calibration(directory: Path) -> Path:
    path = directory / "synapse.json"
    figures = {"measured": 0.6, "clients": 0.1, "waiting": 0.1, "model": 0.5, "reports": 0.3}
    compared = [{"what": "a leave", "n": 20} | figures]
    path.write_text(json.dumps({"command": "python measure.py", "compared": compared}))
    return path


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trace", "nowhere"], "--trace nowhere: no file, and none of stand-up, lecture, clinic"),
        (["--trace", "."], "Is a directory"),
        (["--schemes", "zoom,teams"], "--schemes teams: none of jitsi"),
        (["--real-people", "1"], "--real-people 1: 2 at least"),
        (["--homeservers", "6"], "--homeservers 6: 1 to 5 are possible"),
        (["--synapse", "nowhere.json"], "nowhere.json: No such file"),
        (["--html", "/nowhere/report.html"], "/nowhere/report.html: No such file"),
    ],
)
def test_what_cannot_be_had_is_said_in_a_line(
    options: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "--html" in options:
        pytest.importorskip("matplotlib")
    assert main(["simulate", *options]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"compared": [1]}', '{"compared": [{"what": "a leave", "n": "many"}]}'])
def test_runs_that_are_none_are_refused(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "runs.json"
    path.write_text(text)
    assert main(["simulate", "--synapse", str(path)]) == 2
    assert "runs.json: " in capsys.readouterr().err


def test_a_trace_that_cannot_be_played_says_where(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bad.json"
    path.write_text(json.dumps(SHORT | {"stays": [{"person": "anna", "from": 70}]}))
    assert main(["simulate", "--trace", str(path)]) == 2
    assert "bad.json: stays[0].from: 70 is not within 0..60" in capsys.readouterr().err


@pytest.mark.parametrize(("module", "options"), [("vodozemac", []), ("matplotlib", ["--html", "report.html"])])
def test_what_is_not_installed_is_named(
    module: str, options: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["simulate", *options]) == 2
    assert "pip install 'mlsrtc[simulate]'" in capsys.readouterr().err
