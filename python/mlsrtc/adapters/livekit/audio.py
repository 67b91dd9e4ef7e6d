"""Sound in and out: a tone, WAV files, a track. 16-bit samples, as LiveKit takes them."""

import asyncio
import math
import wave
from array import array
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from contextlib import aclosing, closing
from pathlib import Path
from threading import Lock
from typing import Any, Self
from weakref import WeakKeyDictionary

from livekit import rtc

from mlsrtc.errors import LocalProtocolError

SAMPLE_RATE = 48_000  # Hz: Opus works at it
FRAME_MS = 20
QUEUE_MS = 100  # of sound that is captured ahead
CAPTURED_FRAMES = 10  # of a microphone, for who is behind: what is older is lost, and is no lasting delay
HEARD_FRAME_MS = 10  # as the SDK gives them
RECORDER_BEHIND = 30.0  # seconds that a disk may be busy
_FRAME = SAMPLE_RATE * FRAME_MS // 1000
_OVER: WeakKeyDictionary[rtc.Track, asyncio.Event] = WeakKeyDictionary()


async def tone(hertz: float, *, seconds: float | None = None, level: float = 0.3) -> AsyncIterator[rtc.AudioFrame]:
    """A sine, one channel at 48 kHz; for ever if `seconds` is None. level: 0 to 1 of what 16 bits can hold.

    Raises LocalProtocolError for a pitch that 48 kHz cannot carry, and another level or number of seconds.
    """
    if not 0 < hertz < SAMPLE_RATE / 2:
        raise LocalProtocolError(f"a tone of {hertz} Hz cannot be sampled at {SAMPLE_RATE} Hz")
    if not 0 <= level <= 1:
        raise LocalProtocolError(f"a level of {level} is none from 0 to 1")
    if seconds is not None and not 0 <= seconds < math.inf:
        raise LocalProtocolError(f"a tone of {seconds} seconds cannot be played")
    step, peak = 2 * math.pi * hertz / SAMPLE_RATE, level * 32767
    frames = None if seconds is None else round(seconds * 1000 / FRAME_MS)
    number = 0
    while frames is None or number < frames:
        first = number * _FRAME
        samples = array("h", (round(peak * math.sin(step * place)) for place in range(first, first + _FRAME)))
        yield rtc.AudioFrame(samples.tobytes(), SAMPLE_RATE, 1, _FRAME)
        number += 1


async def wav(path: str | Path) -> AsyncIterator[rtc.AudioFrame]:
    """The sound of a WAV file with 16-bit samples, in frames of 20 ms.

    Raises LocalProtocolError if it is another kind of file, OSError if it cannot be read.
    """
    try:
        file = wave.open(str(path), "rb")  # noqa: SIM115 - closed below, after the frames
    except (wave.Error, EOFError) as error:
        raise LocalProtocolError(f"{path} is not a WAV file: {error}") from None
    with file:
        if file.getsampwidth() != 2:
            raise LocalProtocolError(f"{path} has samples of {8 * file.getsampwidth()} bits; 16 are needed")
        rate, channels = file.getframerate(), file.getnchannels()
        while data := file.readframes(rate * FRAME_MS // 1000):
            yield rtc.AudioFrame(data, rate, channels, len(data) // (2 * channels))


async def microphone() -> AsyncIterator[rtc.AudioFrame]:
    """The sound of the default microphone, one channel at 48 kHz, for ever. Who is more than a fifth of a second behind
    loses the oldest.

    Raises LocalProtocolError if there is none, or if `sounddevice` (PyPI) or PortAudio is not installed.
    """
    loop = asyncio.get_running_loop()
    captured: asyncio.Queue[bytes] = asyncio.Queue(CAPTURED_FRAMES)

    def keep(data: bytes) -> None:
        if captured.full():
            captured.get_nowait()
        captured.put_nowait(data)

    def came(data: object, frames: int, time: object, status: object) -> None:
        loop.call_soon_threadsafe(keep, bytes(data))  # type: ignore[call-overload]

    try:
        import sounddevice

        stream = sounddevice.RawInputStream(
            samplerate=SAMPLE_RATE, channels=1, dtype="int16", blocksize=_FRAME, callback=came
        )
    except (ImportError, OSError) as error:
        raise LocalProtocolError(f"a microphone needs `sounddevice` and PortAudio: {error}") from None
    except sounddevice.PortAudioError as error:
        raise LocalProtocolError(f"there is no microphone: {error}") from None
    with stream:
        while True:
            yield rtc.AudioFrame(await captured.get(), SAMPLE_RATE, 1, _FRAME)


async def frames(track: rtc.Track, *, behind: float = 1.0) -> AsyncGenerator[rtc.AudioFrame, None]:
    """What is heard on an audio track from now on, one channel at 48 kHz, until it ends. Frames come also
    while nothing is said, and while nothing decrypts. Who is more than `behind` seconds behind loses the oldest."""
    kept = max(1, round(1000 * behind / HEARD_FRAME_MS))
    stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1, capacity=kept)
    ending = asyncio.ensure_future(over(track).wait())
    try:
        while (event := await _next(stream, ending)) is not None:
            yield event.frame
    finally:
        ending.cancel()
        await stream.aclose()


def over(track: rtc.Track) -> asyncio.Event:
    """Set when a track of somebody else's has ended. The SDK's own streams go on and bring nothing."""
    return _OVER.setdefault(track, asyncio.Event())


async def _next(stream: rtc.AudioStream, ending: asyncio.Future[Any]) -> rtc.AudioFrameEvent | None:
    """What has come, or comes unless it ends before; None at the end."""
    coming: asyncio.Future[rtc.AudioFrameEvent | None] = asyncio.ensure_future(anext(stream, None))
    waiting: list[asyncio.Future[Any]] = [coming, ending]
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return coming.result() if coming.done() else None
    finally:
        coming.cancel()


async def record(track: rtc.Track, path: str | Path) -> None:
    """Write what is heard on an audio track into a WAV file, one channel at 48 kHz, until the track ends or the task
    that does this is cancelled. The file is whole in both cases."""
    with closing(_WavFile(path)) as file:
        async with aclosing(frames(track, behind=RECORDER_BEHIND)) as heard:
            async for frame in heard:
                await asyncio.to_thread(file.write, frame.data.tobytes())


class _WavFile:
    """A WAV file that is written in threads: one that goes on when its task is cancelled is waited for, and one that
    begins after that writes nothing."""

    def __init__(self, path: str | Path) -> None:
        self._raw = open(path, "wb")  # noqa: SIM115 - closed below
        self._file = wave.Wave_write(self._raw)
        self._file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        self._lock = Lock()
        self._closed = False

    def write(self, samples: bytes) -> None:
        with self._lock:
            if not self._closed:
                self._file.writeframes(samples)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            with self._raw:
                self._file.close()


class Feed:
    """Sound on its way into a track: made with its first frame, run once the track is published, closed in any case.

    over: set when it is closed. error: what the frames have raised.
    """

    def __init__(self, frames: AsyncIterator[rtc.AudioFrame], first: rtc.AudioFrame) -> None:
        self.source = rtc.AudioSource(first.sample_rate, first.num_channels, QUEUE_MS)
        self.over = asyncio.Event()
        self.error: Exception | None = None
        self._frames = frames
        self._first = first

    @classmethod
    async def begin(cls, frames: AsyncIterable[rtc.AudioFrame]) -> Self:
        """Raises LocalProtocolError if there is no frame, and what `frames` raises for its first one."""
        iterator = aiter(frames)
        try:
            return cls(iterator, await anext(iterator))
        except StopAsyncIteration:
            raise LocalProtocolError("there is no sound to publish") from None

    async def run(self) -> None:
        """Feed all frames, as fast as they are heard. Raises what they raise."""
        await self.source.capture_frame(self._first)
        async for frame in self._frames:
            await self.source.capture_frame(frame)
        await self.source.wait_for_playout()

    async def close(self) -> None:
        """Close the frames, where they are a generator, and the source. Nobody runs this any more."""
        try:
            if isinstance(self._frames, AsyncGenerator):
                await self._frames.aclose()
        finally:
            self.over.set()
            await self.source.aclose()
