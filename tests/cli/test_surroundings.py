"""The command in bad surroundings: one line that says what is wrong, the right exit status, no traceback."""

import json
import sys
from pathlib import Path
from typing import Any, Self

import pytest

import mlsrtc.cli.demo
import mlsrtc.cli.inspect
import mlsrtc.testing.synapse
from mlsrtc.cli import main
from mlsrtc.testing.synapse import SynapseError

pytest.importorskip("synapse", reason="the extra `demo` installs it")


class Broken:
    """A homeserver that does not start."""

    def __init__(self, **options: Any) -> None:
        pass

    async def __aenter__(self) -> Self:
        raise SynapseError("Synapse ended while it started\n--- homeserver.log ---\nmany lines")

    async def __aexit__(self, *failure: object) -> None:
        pass


@pytest.fixture(autouse=True)
def no_homeserver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mlsrtc.testing.synapse, "Synapse", Broken)


@pytest.mark.parametrize("option", ["--svg", "--keep"])
def test_where_nothing_can_be_written_no_call_is_played(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "below"
    assert main(["demo", option, str(path)]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(f"mlsrtc demo cannot write {path}: ")
    assert told.err.count("\n") == 1


def test_an_sfu_that_is_not_used_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--livekit-server", "livekit-server"]) == 2
    assert capsys.readouterr().err == "mlsrtc demo starts --livekit-server with --media only\n"


def test_a_homeserver_that_does_not_start_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("FAIL")]
    assert line == "FAIL  Synapse ended while it started (--keep DIR keeps the logs)"


def test_machines_are_told_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--json", "--keep", str(tmp_path)]) == 1
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["type"], result["passed"]) == ("result", False)
    assert result["wrong"] == ["Synapse ended while it started"]


@pytest.mark.parametrize(("failure", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 141)])
def test_an_end_from_outside_has_its_status(
    failure: BaseException, status: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def run(options: object) -> int:
        raise failure

    monkeypatch.setattr(mlsrtc.cli.inspect, "run", run)
    with (tmp_path / "out").open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert main(["inspect", "-"]) == status
