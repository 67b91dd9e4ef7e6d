"""docs/how-to: the session by hand runs; the program on matrix-nio is what the adapters take."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pages
import pytest

from mlsrtc.adapters.nio import NioTransport

CALL = "how-to/call.md"


def test_a_call_by_hand_runs_from_top_to_bottom() -> None:
    namespace: dict[str, Any] = {}
    for code in pages.compiled(CALL):
        exec(code, namespace)
    assert set(namespace["keys_of"](namespace["carol"])) == {"@bob:one.test", "@carol:one.test"}


def test_the_program_on_nio_is_code() -> None:
    ((_, code),) = pages.blocks(CALL, title="bot.py")
    namespace: dict[str, Any] = {}
    exec(code, namespace)
    assert callable(namespace["take_part"])


@pytest.mark.skipif(not hasattr(NioTransport, "call"), reason="the adapter cannot make a call yet")
def test_the_program_on_nio_has_the_adapters_types(tmp_path: Path) -> None:
    ((_, code),) = pages.blocks(CALL, title="bot.py")
    (tmp_path / "bot.py").write_text(code)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path / "cache"), str(tmp_path / "bot.py")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout
