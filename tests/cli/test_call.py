"""`mlsrtc call` where it cannot do what it is asked for: one line, the right exit status, and nothing is joined."""

import os
import socket
import subprocess
import sys
import wave
from pathlib import Path

import pytest

from mlsrtc.cli import main

pytest.importorskip("nio", reason="the extra `nio` installs it")
pytest.importorskip("livekit", reason="the extra `livekit` installs it")


@pytest.fixture(autouse=True)
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files to publish, in the current directory."""
    monkeypatch.chdir(tmp_path)
    Path("text.wav").write_text("hi")
    for name, width, frames in (("eight.wav", 1, 10), ("empty.wav", 2, 0)):
        with wave.open(name, "wb") as file:
            file.setparams((1, width, 48_000, 0, "NONE", ""))
            file.writeframes(bytes(width * frames))


WRONG = [
    (["--tone", "0"], "--tone 0: more than 0 and less than 24000 Hz are needed"),
    (["--tone", "24000"], "--tone 24000: more than 0 and less than 24000 Hz are needed"),
    (["--file", "none.wav"], "--file none.wav: No such file or directory"),
    (["--file", "."], "--file .: Is a directory"),
    (["--file", "text.wav"], "--file text.wav: not a WAV file of plain samples (PCM)"),
    (["--file", "eight.wav"], "--file eight.wav: its samples have 8 bits; 16 are needed"),
    (["--file", "empty.wav"], "--file empty.wav: there is no sound in it"),
    (["--record", "text.wav"], "--record text.wav: File exists"),
    (["--record", "text.wav/below"], "--record text.wav/below: Not a directory"),
    (
        ["--livekit", "--slot", "m.call#x"],
        "--slot m.call#x: media of another call than m.call#ROOM need --membership sticky",
    ),
    (["--well-known", "files"], "--well-known files: not a URL of https:// or http://"),
    (["--seconds", "0"], "--seconds 0: more than 0 are needed"),
]


@pytest.mark.parametrize(("options", "line"), WRONG, ids=[" ".join(options) for options, _ in WRONG])
def test_what_cannot_be_done_is_said_first(options: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["call", *options, "!room:here"]) == 2
    assert capsys.readouterr() == ("", f"{line}\n")
    assert not Path("mlsrtc-store").exists()


def test_a_microphone_needs_its_library(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["call", "--microphone", "!room:here"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("--microphone: needs `sounddevice` (PyPI) and PortAudio: ")
    assert told.err.count("\n") == 1


def named(homeserver: str) -> list[str]:
    return ["call", "--homeserver", homeserver, "--user", "@ada:here", "!room:here"]


def test_a_passphrase_is_needed_where_one_is_meant(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSRTC_PASSWORD", "secret")
    monkeypatch.setenv("MLSRTC_PASSPHRASE", "")
    assert main([*named("http://127.0.0.1:9"), "--encryption", "passphrase"]) == 1
    assert capsys.readouterr() == ("", "LocalProtocolError: a passphrase has 1 to 1024 bytes\n")
    monkeypatch.setenv("MLSRTC_PASSPHRASE", "open sesame")
    assert main([*named("http://127.0.0.1:9"), "--encryption", "passphrase"]) == 1
    assert "does not answer" in capsys.readouterr().err


NO_LOGIN = [
    (["call", "!room:here"], "mlsrtc-store holds no device yet: give --homeserver and --user"),
    (named("one.example"), "the homeserver one.example is not a URL of https:// or http://"),
    (named("http://127.0.0.1:9"), "http://127.0.0.1:9 does not answer: ClientConnectorError"),
    ([*named("http://127.0.0.1:9"), "--store", "text.wav"], "the store text.wav cannot be used: File exists"),
]


@pytest.mark.parametrize(("arguments", "line"), NO_LOGIN, ids=["nobody", "no URL", "nobody there", "no store"])
def test_what_keeps_us_from_logging_in_is_said_in_a_line(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLSRTC_PASSWORD", "secret")
    assert main(arguments) == 1
    assert capsys.readouterr() == ("", f"LocalProtocolError: {line}\n")


def test_a_homeserver_that_says_nothing_is_not_waited_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsrtc.cli.login.PATIENCE", 0.2)
    monkeypatch.setenv("MLSRTC_PASSWORD", "secret")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert main(named(url)) == 1
    assert capsys.readouterr().err == f"LocalProtocolError: {url} does not answer: TimeoutError\n"


def test_without_a_terminal_the_password_is_not_asked_for() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mlsrtc", *named("http://127.0.0.1:9")],
        env={name: value for name, value in os.environ.items() if not name.startswith("MLSRTC_")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    line = "LocalProtocolError: there is no terminal to ask for the password at: set MLSRTC_PASSWORD\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", line)
