"""A tone to send in the tests on a real SFU, past the adapter. Knows LiveKit's audio."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import numpy
from livekit import rtc

from mlsrtc.testing.sound import RATE, Samples

FRAME = 480  # samples of 10 ms


def tone(hertz: float, start: int) -> Samples:
    """10 ms of a sine at 0.3 of full scale, from sample number `start` on."""
    at = (numpy.arange(FRAME) + start) / RATE
    return (0.3 * 32767 * numpy.sin(2 * numpy.pi * hertz * at)).astype(numpy.int16)


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
