"""Whether a picture comes out of the SDK, beside a stream and figures that are made up."""

import asyncio
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("livekit.rtc", reason="the extra `test` installs LiveKit")

from mlsrtc.adapters.livekit import sight


class Stream:
    """Frames as the SDK hands them out."""

    def __init__(self) -> None:
        self.frames: asyncio.Queue[str] = asyncio.Queue()
        self.ended = self.closed = False

    async def __anext__(self) -> str:
        if self.ended:
            raise StopAsyncIteration
        return await self.frames.get()

    async def aclose(self) -> None:
        self.closed = True


class Track:
    """What its figures say, look by look: how many frames are decoded. After the last a frame comes out."""

    def __init__(self, stream: Stream, decoded: Sequence[int]) -> None:
        self.looks = 0
        self._stream = stream
        self._decoded: Iterator[int] = iter(decoded)

    async def get_stats(self) -> list[Any]:
        self.looks += 1
        decoded = next(self._decoded, None)
        if decoded is None:
            self._stream.frames.put_nowait("frame")
            return []
        figures = SimpleNamespace(inbound=SimpleNamespace(frames_decoded=decoded))
        return [SimpleNamespace(inbound_rtp=figures, HasField=lambda name: name == "inbound_rtp")]


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Stream:
    made = Stream()
    monkeypatch.setattr(sight.rtc, "VideoStream", lambda track, capacity: made)
    monkeypatch.setattr(sight, "LOOK", 0.001)
    monkeypatch.setattr(sight, "IDLE", 0.004)
    return made


async def test_a_picture_that_comes_is_not_dark(stream: Stream) -> None:
    stream.frames.put_nowait("frame")
    track = Track(stream, [])
    assert not await sight.is_dark(track)  # type: ignore[arg-type]
    assert (track.looks, stream.closed) == (0, True)


async def test_what_is_decoded_from_one_look_to_the_next_and_does_not_come_is_dark(stream: Stream) -> None:
    track = Track(stream, [0, 3, 15, 30])
    assert await sight.is_dark(track)  # type: ignore[arg-type]
    assert (track.looks, stream.closed) == (3, True)


async def test_where_nothing_is_decoded_what_comes_is_waited_for(stream: Stream) -> None:
    track = Track(stream, [0, 0, 0, 4, 4, 4, 4])
    assert not await sight.is_dark(track)  # type: ignore[arg-type]
    assert (track.looks, stream.closed) == (8, True)


async def test_a_picture_that_ends_is_not_dark(stream: Stream) -> None:
    stream.ended = True
    assert not await sight.is_dark(Track(stream, []))  # type: ignore[arg-type]


async def test_who_looks_no_more_has_closed_its_stream(stream: Stream) -> None:
    looking = asyncio.ensure_future(sight.is_dark(Track(stream, [0] * 1000)))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    looking.cancel()
    await asyncio.wait([looking])
    assert (looking.cancelled(), stream.closed) == (True, True)
