"""Video for the tests on a real SFU: a moving picture to send, and the frames that come. Knows LiveKit's video."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import numpy
from livekit import rtc

from mlsrtc.adapters.livekit import LiveKitMedia

WIDTH, HEIGHT = 320, 180
RATE = 15  # frames a second

OPTIONS = rtc.TrackPublishOptions(
    source=rtc.TrackSource.SOURCE_CAMERA,
    video_codec=rtc.VideoCodec.VP8,
    simulcast=False,
    video_encoding=rtc.VideoEncoding(max_bitrate=400_000, max_framerate=RATE),
)


def pictures(colour: tuple[int, int, int]) -> list[rtc.VideoFrame]:
    """One second: a disc that goes round on a ground of this colour."""
    rows, columns = numpy.mgrid[0:HEIGHT, 0:WIDTH]
    made = []
    for number in range(RATE):
        angle = 2 * numpy.pi * number / RATE
        row, column = HEIGHT / 2 + 50 * numpy.sin(angle), WIDTH / 2 + 100 * numpy.cos(angle)
        disc = (rows - row) ** 2 + (columns - column) ** 2 < 30**2
        shade = 0.55 + 0.45 * columns / WIDTH
        pixels = numpy.full((HEIGHT, WIDTH, 4), 255, dtype=numpy.uint8)
        pixels[..., :3] = numpy.where(disc[..., None], 240, shade[..., None] * numpy.array(colour))
        made.append(rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, pixels.tobytes()))
    return made


@asynccontextmanager
async def moving(
    media: LiveKitMedia, size: tuple[int, int], picture: Callable[[int], rtc.VideoFrame]
) -> AsyncIterator[None]:
    """A published camera until the block is left. size: width and height of what `picture` gives by its number."""
    source = rtc.VideoSource(*size)
    track = rtc.LocalVideoTrack.create_video_track("picture", source)
    await media.publish_track(track, OPTIONS)

    async def show() -> None:
        number = 0
        clock = asyncio.get_running_loop().time
        began = clock()
        while True:
            source.capture_frame(picture(number), timestamp_us=number * 1_000_000 // RATE)
            number += 1
            await asyncio.sleep(max(0.0, began + number / RATE - clock()))

    task = asyncio.create_task(show())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await source.aclose()


def showing(media: LiveKitMedia, colour: tuple[int, int, int]) -> AbstractAsyncContextManager[None]:
    """The same of the disc on a ground of this colour."""
    second = pictures(colour)
    return moving(media, (WIDTH, HEIGHT), lambda number: second[number % RATE])


async def frames(track: rtc.Track, enough: int) -> int:
    """How many frames of a remote track are decoded: waits for `enough` of them."""
    stream = rtc.VideoStream(track)
    seen = 0
    try:
        async for _ in stream:
            seen += 1
            if seen >= enough:
                break
    finally:
        await stream.aclose()
    return seen
