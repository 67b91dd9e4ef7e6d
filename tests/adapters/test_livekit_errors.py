"""What a LiveKit server writes into our errors."""

import pytest

errors = pytest.importorskip("mlsrtc.adapters.livekit.errors", reason="the extra `test` installs LiveKit")


def test_what_a_server_writes_is_one_line_for_a_terminal() -> None:
    written = "\x1b[2Jcleared\r\nand \N{RIGHT-TO-LEFT OVERRIDE}more" + "x" * 5000
    shown = str(errors.MediaError("connect", written))
    assert shown.isprintable()
    assert len(shown) < 250
    assert "[2Jcleared" in shown
