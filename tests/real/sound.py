"""Sound for the tests on a real SFU: a tone to send, and the loudest tone in what was heard. Knows LiveKit's audio."""

import asyncio
from collections.abc import AsyncIterator
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
