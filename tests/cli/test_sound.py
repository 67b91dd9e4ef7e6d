"""What `mlsrtc call` says of media that do not come, do not go, or are not decrypted. No network."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("livekit", reason="the extra `livekit` installs it")

from mlsrtc.adapters.livekit import (
    DataRefused,
    Decryption,
    DecryptionChanged,
    MediaMoved,
    MediaNotMoved,
    MediaRefused,
    MediaUnreached,
    MuteChanged,
    RecordingFailed,
    TrackEnded,
    TrackWithdrawn,
)
from mlsrtc.cli import sound
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.session import CallMember

NAME = "@ada:here:D"


def member(*, keyed: bool = False) -> CallMember:
    return CallMember(MemberId("m"), UserId("@ada:here"), DeviceId("D"), keyed=keyed)


def changed(state: Decryption) -> DecryptionChanged:
    return DecryptionChanged(NAME, member(), state)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> sound.Sound:
    monkeypatch.setattr(sound, "GRACE", 0.05)
    media: Any = None
    return sound.Sound(media, None)


async def test_what_lasts_is_said_and_when_it_is_over(told: sound.Sound, capsys: pytest.CaptureFixture[str]) -> None:
    told.tell(changed(Decryption.NO_KEY))
    told.tell(changed(Decryption.FAILED))
    assert capsys.readouterr().out == ""
    await asyncio.sleep(0.1)
    assert capsys.readouterr().out == "warning: frames of @ada:here D do not decrypt (failed)\n"
    told.tell(changed(Decryption.OK))
    assert capsys.readouterr().out == "frames of @ada:here D decrypt now\n"


@pytest.mark.parametrize("end", ["they decrypt", "the track ends"])
async def test_what_does_not_last_is_not_said(end: str, told: sound.Sound, capsys: pytest.CaptureFixture[str]) -> None:
    track: Any = type("Track", (), {"sid": "T"})()
    told.tell(changed(Decryption.NO_KEY))
    told.tell(changed(Decryption.OK) if end == "they decrypt" else TrackEnded(member(keyed=True), track))
    await asyncio.sleep(0.1)
    told.tell(changed(Decryption.OK))
    assert capsys.readouterr().out == ""


TRACK: Any = None
SAID = [
    (
        MediaRefused(NAME, "T", "not_encrypted"),
        "warning: @ada:here:D offers media that is not encrypted end to end (not_encrypted): not played",
    ),
    (
        TrackWithdrawn(TRACK, "publish", "publish: track limit"),
        "warning: our own sound is not sent any more (publish: track limit)",
    ),
    (DataRefused(NAME, "replayed"), "warning: data of @ada:here:D do not count (replayed)"),
    (DataRefused("", "not_sealed"), "warning: data of somebody do not count (not_sealed)"),
    (
        RecordingFailed(TRACK, Path("heard.wav"), "No space left on device"),
        "warning: heard.wav is not written any more: No space left on device",
    ),
    (MediaMoved("wss://sfu.there"), "the call meets at wss://sfu.there: moved there"),
    (
        MediaNotMoved("token_refused"),
        "warning: the call meets at another server, and we do not get there (token_refused)",
    ),
    (
        MediaUnreached("https://rtc.there", "token_refused"),
        "warning: whoever sends to the server of https://rtc.there is not heard: we do not get there (token_refused)",
    ),
    (MuteChanged(member(), TRACK, muted=True), "@ada:here D is muted"),
    (MuteChanged(member(), TRACK, muted=False), "@ada:here D is muted no more"),
    (MediaRefused("\x1b[2J\nmallory", "T", "no_cryptor"), None),
]


@pytest.mark.parametrize(("notice", "line"), SAID)
async def test_what_is_said_fits_what_has_happened(
    notice: Any, line: str | None, told: sound.Sound, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where there is a name with what would move the cursor: it is one line, and prints."""
    told.tell(notice)
    (said,) = capsys.readouterr().out.splitlines()
    assert said.isprintable()
    assert line in (said, None)
