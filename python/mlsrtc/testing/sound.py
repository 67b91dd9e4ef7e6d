"""Hearing, for tests of media (extra `livekit`): whether a tone is there, when it was there last, and what it is.

A tone is looked for by its frequency and not by its loudness: a receiver without the key may play noise for a moment.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Self

import numpy
from livekit import rtc
from numpy.typing import NDArray

RATE = 48_000  # samples per second
WINDOW = 480  # samples of 10 ms
FAINTEST = 0.03  # of full scale: the loudness that counts as a tone
PATIENCE = 20.0  # seconds

Samples = NDArray[numpy.int16]


class Ear:
    """Listens to a track without a break, for one tone, while the context manager is open.

    windows: of 10 ms each, whether the tone has more than half of what is heard. times: when each was handed over, in
    seconds of `time.monotonic`.
    """

    def __init__(self, track: rtc.Track, hertz: float) -> None:
        self.windows: list[bool] = []
        self.times: list[float] = []
        self._track = track
        self._wave = numpy.exp(-2j * numpy.pi * hertz * numpy.arange(WINDOW) / RATE)
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    @property
    def hears(self) -> bool:
        """Whether the tone was there within the last 100 ms that were heard."""
        return any(self.windows[-10:])

    @property
    def last_heard(self) -> float:
        """When the tone was there last, in seconds of `time.monotonic`; 0 if it never was."""
        return next((self.times[place] for place in range(len(self.times) - 1, -1, -1) if self.windows[place]), 0.0)

    def longest_gap(self, since: float = 0.0) -> float:
        """The longest of the gaps, in seconds; 0 without any."""
        return max((seconds for _, seconds in self.gaps(since)), default=0.0)

    def gaps(self, since: float = 0.0) -> list[tuple[float, float]]:
        """The stretches without the tone, between two windows that have it, after a moment: when each began, in seconds
        of `time.monotonic`, and how long it is, by what was played."""
        found: list[tuple[float, float]] = []
        began, run, heard = 0.0, 0, False
        for there, moment in zip(self.windows, self.times, strict=True):
            if moment < since:
                continue
            if not there:
                began, run = (began, run + 1) if run else (moment, 1)
            elif run and heard:
                found.append((began, run * WINDOW / RATE))
            if there:
                run, heard = 0, True
        return found

    async def until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Wait until something holds that follows from what is heard. Raises TimeoutError."""
        async with asyncio.timeout(patience):
            while not holds():
                self._more.clear()
                await self._more.wait()

    async def _run(self) -> None:
        rest: NDArray[numpy.float64] = numpy.empty(0)
        async with heard(self._track) as frames:
            async for samples in frames:
                rest = numpy.concatenate([rest, samples])
                while len(rest) >= WINDOW:
                    window, rest = rest[:WINDOW], rest[WINDOW:]
                    self.windows.append(self._has(window))
                    self.times.append(time.monotonic())
                self._more.set()

    def _has(self, window: NDArray[numpy.float64]) -> bool:
        energy = float((window**2).sum())
        if energy < WINDOW * (FAINTEST * 32767) ** 2 / 2:
            return False
        return 2 * float(abs(numpy.dot(window, self._wave)) ** 2) / WINDOW > 0.5 * energy


@asynccontextmanager
async def heard(track: rtc.Track) -> AsyncIterator[AsyncIterator[Samples]]:
    """What is heard on a track from now on: one channel at 48 kHz, a few hundred samples at a time."""
    stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)

    async def frames() -> AsyncIterator[Samples]:
        async for event in stream:
            yield numpy.frombuffer(event.frame.data, dtype=numpy.int16)

    try:
        yield frames()
    finally:
        await stream.aclose()


async def listen(track: rtc.Track, seconds: float, *, skip: float = 1.0) -> Samples:
    """What is heard on a track for so long, after the first `skip` seconds: a track may begin with noise."""
    parts: list[Samples] = []
    left, wanted = int(skip * RATE), int(seconds * RATE)
    async with heard(track) as frames:
        async for samples in frames:
            if left > 0:
                left -= len(samples)
                continue
            parts.append(samples.copy())
            wanted -= len(samples)
            if wanted <= 0:
                break
    return numpy.concatenate(parts)


def loudest(samples: Samples) -> tuple[float, float]:
    """The frequency of the loudest tone, Hz, and its share of all that is heard, 0 to 1.

    White noise has it everywhere, a share of some thousandths; silence has none.
    """
    spectrum = numpy.abs(numpy.fft.rfft(samples.astype(float) * numpy.hanning(len(samples)))) ** 2
    peak, total = int(spectrum.argmax()), float(spectrum.sum())
    share = float(spectrum[max(0, peak - 3) : peak + 4].sum()) / total if total else 0.0
    return peak * RATE / len(samples), share
