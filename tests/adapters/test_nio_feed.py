"""The queue between the sync loop and a call: nothing lost, and nothing after the end."""

import asyncio

import pytest

from mlsrtc.adapters.nio.feed import Feed
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.wire.incoming import Attachment, GapOpened, HistoryComplete


async def test_receive_takes_all_that_waits_in_order() -> None:
    feed = Feed()
    feed.put([GapOpened(), Attachment("a", None)])
    feed.put([HistoryComplete()])
    assert list(await feed.receive(None)) == [GapOpened(), Attachment("a", None), HistoryComplete()]
    assert await feed.receive(0) == ()


async def test_receive_wakes_for_what_comes_later_and_gives_up_in_time() -> None:
    feed = Feed()
    assert await feed.receive(0.01) == ()
    waiting = asyncio.create_task(feed.receive(5))
    await asyncio.sleep(0)
    feed.put([GapOpened()])
    assert list(await waiting) == [GapOpened()]


async def test_a_cancelled_receive_loses_nothing() -> None:
    feed = Feed()
    waiting = asyncio.create_task(feed.receive(None))
    await asyncio.sleep(0)
    feed.put([GapOpened()])
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert list(await feed.receive(0)) == [GapOpened()]


async def test_what_came_before_the_end_is_handed_out_and_then_the_first_reason_stays() -> None:
    feed = Feed()
    feed.put([GapOpened()])
    feed.close(TransportClosed("logged_out"))
    feed.close(TransportClosed("closed"))
    feed.put([HistoryComplete()])
    assert list(await feed.receive(None)) == [GapOpened()]
    for _ in range(2):
        with pytest.raises(TransportClosed, match="logged_out"):
            await feed.receive(None)


async def test_iteration_ends_when_our_side_closes_and_raises_for_any_other_end() -> None:
    feed = Feed()
    feed.put([GapOpened(), HistoryComplete()])
    feed.close(TransportClosed("closed"))
    assert [value async for value in feed.iterate()] == [GapOpened(), HistoryComplete()]
    other = Feed()
    other.close(TransportClosed("sync_stopped"))
    with pytest.raises(TransportClosed):
        [value async for value in other.iterate()]
