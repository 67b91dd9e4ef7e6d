"""The command that a stranger runs first: `mlsrtc demo`, as a process of its own."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from rooms import heed_interrupts

pytestmark = pytest.mark.real
DEMO = [sys.executable, "-m", "mlsrtc", "demo"]


def leftovers(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def run(*options: str, temporary: Path, timeout: float = 150.0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"TMPDIR": str(temporary)}
    return subprocess.run(
        [*DEMO, *options], capture_output=True, text=True, timeout=timeout, env=environment, check=False
    )


def test_the_demo_passes_and_says_so_to_machines(tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with tempfile.TemporaryDirectory() as temporary:
        done = run("-n", "12", "--json", "--keep", str(logs), temporary=Path(temporary))
        lines: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        result = lines[-1]
        assert done.returncode == 0, result
        assert (result["type"], result["passed"], result["wrong"]) == ("result", True, [])
        assert result["commits_for_the_joins"] <= 12
        epochs = [line for line in lines if line["type"] == "epoch"]
        assert max(line["members"] for line in epochs) == 12
        assert all(len(line["safety_code"]) == 30 and len(line["fingerprint"]) == 8 for line in epochs)
        assert any("the stranger was refused" in line.get("text", "") for line in lines)
        assert leftovers(Path(temporary)) == []
    assert "homeserver.log" in " ".join(leftovers(logs))
    assert (logs / "demo.log").exists()


def test_the_demo_in_an_encrypted_room_speaks_plain_lines(tmp_path: Path) -> None:
    done = run("-n", "5", "--encrypted", temporary=tmp_path)
    assert done.returncode == 0, done.stdout
    assert "\x1b" not in done.stdout
    assert "PASS" in done.stdout
    assert leftovers(tmp_path) == []


def test_ctrl_c_leaves_no_process_and_no_directory(tmp_path: Path) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    demo = subprocess.Popen(
        [*DEMO, "-n", "6"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        process_group=0,
        preexec_fn=heed_interrupts,
    )
    assert demo.stdout is not None
    for line in demo.stdout:
        if "join within" in line:
            break
    time.sleep(0.5)
    demo.send_signal(signal.SIGINT)
    demo.stdout.read()
    assert demo.wait(20) == 130
    deadline = time.monotonic() + 10
    while leftovers(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert leftovers(tmp_path) == []
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running


def test_too_few_devices_are_refused_with_a_word(tmp_path: Path) -> None:
    done = run("-n", "3", temporary=tmp_path)
    assert done.returncode == 2
    assert "at least" in done.stderr
