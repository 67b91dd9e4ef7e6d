"""Sound for the tests on a real SFU: a tone to send, and the loudest tone in what was heard. Knows LiveKit's audio."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy
from livekit import rtc

RATE = 48000  # samples per second
FRAME = 480  # samples of 10 ms

Samples = numpy.typing.NDArray[numpy.int16]


def tone(hertz: float, start: int) -> Samples:
    """10 ms of a sine at 0.3 of full scale, from sample number `start` on."""
    at = (numpy.arange(FRAME) + start) / RATE
    return (0.3 * 32767 * numpy.sin(2 * numpy.pi * hertz * at)).astype(numpy.int16)


def loudest(heard: Samples) -> tuple[float, float]:
    """The frequency of the loudest tone, Hz, and its share of all that is heard, 0 to 1.

    White noise has it everywhere, a share of some thousandths; silence has none.
    """
    spectrum = numpy.abs(numpy.fft.rfft(heard.astype(float) * numpy.hanning(len(heard)))) ** 2
    peak, total = int(spectrum.argmax()), float(spectrum.sum())
    share = float(spectrum[max(0, peak - 3) : peak + 4].sum()) / total if total else 0.0
    return peak * RATE / len(heard), share


@asynccontextmanager
async def playing(participant: rtc.LocalParticipant, hertz: float) -> AsyncIterator[rtc.LocalTrackPublication]:
    """A published microphone track that plays a tone until the block is left."""
    source = rtc.AudioSource(RATE, 1)
    track = rtc.LocalAudioTrack.create_audio_track("tone", source)
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    publication = await participant.publish_track(track, options)

    async def play() -> None:
        start = 0
        while True:
            await source.capture_frame(rtc.AudioFrame(tone(hertz, start).tobytes(), RATE, 1, FRAME))
            start += FRAME

    task = asyncio.create_task(play())
    try:
        yield publication
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await source.aclose()


class Ear:
    """Listens to a track without a break, for one tone, from now on: `windows` of 10 ms each, whether it is there.

    The tone is there if it has more than half of the energy, and a tenth of the loudness that `tone` sends.
    """

    def __init__(self, track: rtc.Track, hertz: float) -> None:
        self._stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
        self._wave = numpy.exp(-2j * numpy.pi * hertz * numpy.arange(FRAME) / RATE)
        self.windows: list[bool] = []
        self.times: list[float] = []  # when each was handed over; monotonic seconds
        self._rest = numpy.empty(0)
        self._more = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def __aenter__(self) -> "Ear":
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()

    def longest_gap(self, since: float = 0.0) -> float:
        """The longest stretch without the tone between two windows that have it, after that moment; seconds."""
        longest = run = 0
        begun = False
        for there, moment in zip(self.windows, self.times, strict=True):
            if moment < since:
                continue
            if there:
                longest, run, begun = max(longest, run), 0, True
            elif begun:
                run += 1
        return longest * FRAME / RATE

    def last_heard(self) -> float:
        """When the tone was there last; monotonic seconds."""
        return max((moment for there, moment in zip(self.windows, self.times, strict=True) if there), default=0.0)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits until something holds that follows from what is heard. Raises TimeoutError after 20 s."""
        async with asyncio.timeout(20):
            while not holds():
                self._more.clear()
                await self._more.wait()

    async def _run(self) -> None:
        async for event in self._stream:
            samples = numpy.frombuffer(event.frame.data, dtype=numpy.int16).astype(float)
            self._rest = numpy.concatenate([self._rest, samples])
            while len(self._rest) >= FRAME:
                window, self._rest = self._rest[:FRAME], self._rest[FRAME:]
                self.windows.append(self._has(window))
                self.times.append(time.monotonic())
            self._more.set()

    def _has(self, window: numpy.typing.NDArray[numpy.float64]) -> bool:
        energy = float((window**2).sum())
        if energy < FRAME * (0.03 * 32767) ** 2 / 2:
            return False
        return 2 * abs(numpy.dot(window, self._wave)) ** 2 / FRAME > 0.5 * energy


async def listen(track: rtc.Track, seconds: float, *, skip: float = 1.0) -> Samples:
    """What is heard on a remote track for so long, after the first `skip` seconds: a track may begin with noise."""
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
    parts: list[Samples] = []
    left, wanted = int(skip * RATE), int(seconds * RATE)
    try:
        async for event in stream:
            samples = numpy.frombuffer(event.frame.data, dtype=numpy.int16)
            if left > 0:
                left -= len(samples)
                continue
            parts.append(samples.copy())
            wanted -= len(samples)
            if wanted <= 0:
                break
    finally:
        await stream.aclose()
    return numpy.concatenate(parts)
