"""What `mlsrtc call` says of frames that do not decrypt. No network."""

import asyncio
from typing import Any

import pytest

pytest.importorskip("livekit", reason="the extra `livekit` installs it")

from mlsrtc.adapters.livekit import Decryption, DecryptionChanged, TrackEnded
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
