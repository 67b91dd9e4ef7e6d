"""A moving picture that can be read: the sender's colour, and below it the picture's number as blocks, light and dark.

It says what a receiver decoded: whose picture, and which one.
"""

import asyncio
import time
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Self

import numpy
from livekit import rtc
from numpy.typing import NDArray
from picture import moving

from mlsrtc.adapters.livekit import LiveKitMedia

Colour = tuple[int, int, int]

SIDE = 60  # pixels of a block
COLUMNS, ROWS = 4, 2
WIDTH, HEIGHT = COLUMNS * SIDE, (ROWS + 1) * SIDE
NUMBERS = 1 << (COLUMNS * ROWS)
MARGIN = 8  # pixels at the edge of a block: neighbours run into each other there
NEAR = 60  # of 255, by which a colour may be off


def picture(colour: Colour, number: int) -> rtc.VideoFrame:
    """Picture `number` modulo 256 of somebody."""
    pixels = numpy.full((HEIGHT, WIDTH, 4), 255, dtype=numpy.uint8)
    pixels[:SIDE, :, :3] = colour
    for bit in range(COLUMNS * ROWS):
        _block(pixels, bit)[..., :3] = 225 if number >> bit & 1 else 30
    return rtc.VideoFrame(WIDTH, HEIGHT, rtc.VideoBufferType.RGBA, pixels.tobytes())


def read(frame: rtc.VideoFrame) -> tuple[Colour, int]:
    """The mean colour of the upper third, and the number in the rest."""
    assert (frame.width, frame.height) == (WIDTH, HEIGHT)
    data = frame.convert(rtc.VideoBufferType.RGBA).data
    pixels = numpy.frombuffer(data, dtype=numpy.uint8).reshape(HEIGHT, WIDTH, 4)
    red, green, blue = (round(float(mean)) for mean in pixels[: SIDE - MARGIN, :, :3].mean(axis=(0, 1)))
    inner = (_block(pixels, bit)[MARGIN:-MARGIN, MARGIN:-MARGIN, :3].mean() for bit in range(COLUMNS * ROWS))
    return (red, green, blue), sum(int(mean > 127) << bit for bit, mean in enumerate(inner))


def near(one: Colour, other: Colour) -> bool:
    """Whether a decoded colour is the one that was sent."""
    return all(abs(left - right) < NEAR for left, right in zip(one, other, strict=True))


def _block(pixels: NDArray[numpy.uint8], bit: int) -> NDArray[numpy.uint8]:
    row, column = divmod(bit, COLUMNS)
    top, left = (row + 1) * SIDE, column * SIDE
    return pixels[top : top + SIDE, left : left + SIDE]


def showing(media: LiveKitMedia, colour: Colour) -> AbstractAsyncContextManager[None]:
    """A camera that shows them, published until the block is left."""
    return moving(media, (WIDTH, HEIGHT), lambda number: picture(colour, number))


@dataclass(frozen=True)
class Seen:
    """A picture that was decoded. time: seconds of `time.monotonic`."""

    time: float
    colour: Colour
    number: int


class Eye:
    """Looks at a track without a break while the context manager is open."""

    def __init__(self, track: rtc.Track) -> None:
        self.seen: list[Seen] = []
        self._stream = rtc.VideoStream(track)
        self._more = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *failure: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        await self._stream.aclose()

    async def more(self, pictures: int, patience: float = 30.0) -> None:
        """Wait until so many more are seen. Raises TimeoutError."""
        wanted = len(self.seen) + pictures
        async with asyncio.timeout(patience):
            while len(self.seen) < wanted:
                self._more.clear()
                await self._more.wait()

    async def _run(self) -> None:
        async for event in self._stream:
            self.seen.append(Seen(time.monotonic(), *read(event.frame)))
            self._more.set()
