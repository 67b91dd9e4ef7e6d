"""`mlsrtc demo --media` as a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import sfu

pytestmark = [pytest.mark.real, pytest.mark.media]


def test_who_leaves_goes_deaf_and_the_demo_says_so_to_machines(tmp_path: Path) -> None:
    picture = tmp_path / "table.svg"
    options = ["--media", "--livekit-server", str(sfu.server()), "--json", "--svg", str(picture)]
    done = subprocess.run(
        [sys.executable, "-m", "mlsrtc", "demo", *options], capture_output=True, text=True, timeout=150, check=False
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    result = lines[-1]
    assert (done.returncode, result["passed"], result["wrong"]) == (0, True, []), done.stderr
    heard = [(line["listener"], line["sender"], line["hears"]) for line in lines if line["type"] == "hearing"]
    assert ("copy of device04", "device01", True) in heard
    assert ("copy of device04", "device01", False) in heard
    assert not any(listener == "stranger" for listener, _, _ in heard)
    assert result["seconds_from_leave_to_deaf"] > 0
    assert "device04" in picture.read_text()


def test_a_missing_server_is_told() -> None:
    options = ["--media", "--livekit-server", "/nowhere/livekit-server"]
    done = subprocess.run(
        [sys.executable, "-m", "mlsrtc", "demo", *options], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "there is no /nowhere/livekit-server: interop/livekit/build makes one" in done.stdout
