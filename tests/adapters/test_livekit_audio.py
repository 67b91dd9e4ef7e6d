"""Sound in and out without a server: what cannot be played, who is behind, and files that are whole in any case."""

import asyncio
import sys
import threading
import time
import wave
from collections.abc import AsyncIterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("livekit.rtc", reason="the extra `test` installs LiveKit")

from livekit import rtc

from mlsrtc.adapters import livekit
from mlsrtc.adapters.livekit import audio
from mlsrtc.errors import LocalProtocolError

FRAME = 960  # samples of 20 ms
SPOKEN = bytes(range(1, 101))  # each a frame


@pytest.mark.parametrize(
    "wrong",
    [{"level": 1.1}, {"level": -0.1}, {"level": float("nan")}]
    + [{"seconds": seconds} for seconds in (-1.0, float("nan"), float("inf"))],
)
async def test_a_tone_that_cannot_be_played_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(LocalProtocolError):
        await anext(livekit.tone(440, **wrong))


async def test_the_loudest_tone_fits_its_samples() -> None:
    frame = await anext(livekit.tone(440, level=1))
    assert max(abs(sample) for sample in frame.data) == 32767


class Microphone:
    """PortAudio, as far as it is used: it speaks one frame after the other, in a thread."""

    def __init__(self, *, callback: Any, **_: Any) -> None:
        self._callback = callback

    def __enter__(self) -> None:
        thread = threading.Thread(target=self._speak)
        thread.start()
        thread.join()

    def __exit__(self, *_: object) -> None: ...

    def _speak(self) -> None:
        for number in SPOKEN:
            self._callback(bytes([number]) * 2 * FRAME, FRAME, None, None)


async def test_who_is_behind_with_a_microphone_loses_the_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("sounddevice")
    module.RawInputStream, module.PortAudioError = Microphone, OSError  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    captured = livekit.microphone()
    heard = [(await asyncio.wait_for(anext(captured), 5)).data.tobytes()[0] for _ in range(audio.CAPTURED_FRAMES)]
    assert heard == list(SPOKEN[-audio.CAPTURED_FRAMES :])
    await captured.aclose()


@pytest.mark.parametrize(("behind", "kept"), [({}, 100), ({"behind": 0.25}, 25), ({"behind": 0}, 1)])
async def test_who_is_behind_with_a_track_loses_the_oldest(
    behind: dict[str, float], kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Stream:
        def __init__(self, track: object, **options: Any) -> None:
            made.append(options)

        def __aiter__(self) -> "Stream":
            return self

        async def __anext__(self) -> None:
            raise StopAsyncIteration

        async def aclose(self) -> None: ...

    monkeypatch.setattr(rtc, "AudioStream", Stream)
    assert [frame async for frame in livekit.frames(Track(), **behind)] == []
    assert made == [{"sample_rate": 48_000, "num_channels": 1, "capacity": kept}]


async def test_what_is_heard_ends_with_its_track_and_with_the_last_frame_that_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The trap: the SDK's stream goes on, and brings nothing."""
    came: asyncio.Queue[Any] = asyncio.Queue()
    closed: list[bool] = []

    class Stream:
        def __init__(self, track: object, **options: Any) -> None: ...

        def __aiter__(self) -> "Stream":
            return self

        async def __anext__(self) -> Any:
            return SimpleNamespace(frame=await came.get())

        async def aclose(self) -> None:
            closed.append(True)

    monkeypatch.setattr(rtc, "AudioStream", Stream)
    track: Any = Track()
    for number in range(3):
        came.put_nowait(number)
    heard = livekit.frames(track)
    assert await anext(heard) == 0
    audio.over(track).set()
    async with asyncio.timeout(5):
        assert [frame async for frame in heard] == [1, 2]
        assert [frame async for frame in livekit.frames(track)] == [], "of one that has ended before"
    other = livekit.frames(Track())
    waiting = asyncio.create_task(anext(other))
    await asyncio.sleep(0.01)
    assert not waiting.done(), "another track has not ended"
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert len(closed) == 3


class Track:
    """One of the SDK's, as far as it is looked at."""


class Call:
    """What was told through it."""

    def __init__(self) -> None:
        self.session = SimpleNamespace(member_id=None)
        self.told: list[Any] = []

    def tell(self, notice: Any) -> None:
        self.told.append(notice)


async def _spoken(track: object, **_: object) -> AsyncIterator[Any]:
    while True:
        yield rtc.AudioFrame(b"\1\0" * FRAME, 48_000, 1, FRAME)
        await asyncio.sleep(0)


def _media(call: Call, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The media of a call, not connected, in which whatever track is heard speaks for ever."""
    monkeypatch.setattr(audio, "frames", _spoken)
    return livekit.LiveKitMedia(call, None)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)


async def test_a_recording_is_stopped_alone_and_its_file_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Call()
    media = _media(call, monkeypatch)
    stopped, other = (media.record(None, tmp_path / name) for name in ("stopped.wav", "other.wav"))
    await _until(lambda: stopped.path.exists() and stopped.path.stat().st_size > 2 * FRAME)
    await stopped.stop()
    size = stopped.path.stat().st_size
    with wave.open(str(stopped.path)) as file:
        assert (file.getframerate(), file.getnchannels(), 44 + 2 * file.getnframes()) == (48_000, 1, size)
    so_far = other.path.stat().st_size
    await _until(lambda: other.path.stat().st_size > so_far)
    for one in (stopped, other):
        await one.stop()
    assert stopped.path.stat().st_size == size
    assert call.told == []


async def test_a_recording_that_is_stopped_while_it_writes_closes_its_file_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that writes is not stopped when its task is cancelled, and would write into a file that is closed."""
    write, close = wave.Wave_write.writeframes, wave.Wave_write.close
    happened: list[str] = []

    def slowly(file: wave.Wave_write, data: Any) -> None:
        happened.append("begins")
        time.sleep(0.1)
        write(file, data)
        happened.append("written")

    def closing(file: wave.Wave_write) -> None:
        happened.append("closed")
        close(file)

    media = _media(Call(), monkeypatch)
    monkeypatch.setattr(wave.Wave_write, "writeframes", slowly)
    monkeypatch.setattr(wave.Wave_write, "close", closing)
    recording = media.record(None, tmp_path / "heard.wav")
    await _until(lambda: happened == ["begins"])
    await recording.stop()
    assert happened[:3] == ["begins", "written", "closed"]
    with wave.open(str(recording.path)) as file:
        assert file.getnframes() == FRAME


async def test_a_recording_that_cannot_be_written_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call()
    media = _media(call, monkeypatch)
    track = object()
    nowhere = media.record(track, tmp_path / "nowhere" / "heard.wav")
    await _until(lambda: call.told)
    [told] = call.told
    assert told == livekit.RecordingFailed(track, nowhere.path, told.detail)
    assert "No such file" in told.detail

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(wave.Wave_write, "writeframes", full)
    media.record(track, tmp_path / "heard.wav")
    await _until(lambda: len(call.told) == 2)
    assert "No space left" in call.told[1].detail
    await nowhere.stop()
