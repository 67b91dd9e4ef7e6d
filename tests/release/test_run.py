"""The script `run`: what it starts, and where. What it installs stands in for itself here."""

import os
import shutil
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_demo_runs_where_it_was_called(tmp_path: Path) -> None:
    """So that a relative path of `--keep` or `--svg` is one of the caller's."""
    checkout, elsewhere = tmp_path / "a checkout", tmp_path / "else where"
    elsewhere.mkdir()
    executable(checkout / ".venv/bin/python", "echo hash")
    executable(checkout / ".venv/bin/mlsrtc", 'pwd; echo "$@"')
    (checkout / ".venv/installed").write_text("demo hash")
    executable(tmp_path / "bin/cargo", "")
    shutil.copy(REPOSITORY / "run", checkout / "run")
    environment = os.environ | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    for run in (checkout / "run", Path("../a checkout/run")):
        done = subprocess.run(
            [run, "demo", "--keep", "my logs"],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == [str(elsewhere), "demo --keep my logs"]
