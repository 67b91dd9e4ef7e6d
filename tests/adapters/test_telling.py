"""What is told reaches every reader in its order, and what is not read is bounded kind by kind."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.adapters.telling import Telling


async def _all(reader: AsyncIterator[object]) -> list[object]:
    return [what async for what in reader]


@given(st.lists(st.tuples(st.sampled_from(["tell", "begin", "read", "stop"]), st.integers(0, 2)), max_size=40))
def test_each_reader_is_told_what_nobody_had_read_when_it_began_and_all_that_came_after(
    steps: list[tuple[str, int]],
) -> None:
    telling: Telling[int] = Telling(1000)
    readers: dict[int, AsyncIterator[int]] = {}
    expected: dict[int, int] = {}  # what each reads next
    told = furthest = 0

    async def play() -> None:
        nonlocal told, furthest
        for act, who in steps:
            if act == "tell":
                telling.tell(told)
                told += 1
            elif act == "begin":
                readers[who], expected[who] = telling.reader(), furthest
            elif act == "stop":
                readers.pop(who, None)
            elif act == "read" and who in readers and expected[who] < told:
                assert await anext(readers[who]) == expected[who]
                expected[who] += 1
                furthest = max(furthest, expected[who])
        telling.close(None)
        for who, reader in readers.items():
            assert await _all(reader) == list(range(expected[who], told))

    asyncio.run(play())


async def test_a_kind_that_is_too_many_loses_its_oldest_and_no_other_any() -> None:
    telling: Telling[object] = Telling(4, always=(bytes,))
    telling.tell("a track")
    for number in range(9):
        telling.tell(number)
        telling.tell(b"a key")
    telling.close(None)
    told = await _all(telling.reader())
    assert [one for one in told if isinstance(one, int)] == [6, 7, 8]
    assert (told.count("a track"), told.count(b"a key")) == (1, 9)


async def test_what_was_read_is_not_kept_and_does_not_count() -> None:
    telling: Telling[object] = Telling(4)
    reader = telling.reader()
    for number in range(100):
        telling.tell(number)
        assert await anext(reader) == number
    assert len(telling._kept) == 1
    slow = telling.reader()
    for number in range(4):
        telling.tell(number)
    assert [await anext(slow) for _ in range(4)] == [0, 1, 2, 3]
    assert [await anext(reader) for _ in range(4)] == [0, 1, 2, 3]


async def test_who_waits_is_told_the_end_and_its_error() -> None:
    telling: Telling[str] = Telling(4)
    waiting = [asyncio.create_task(_all(telling.reader())) for _ in range(2)]
    await asyncio.sleep(0)
    telling.tell("last")
    telling.close(OSError("the disk is full"))
    for one in waiting:
        with pytest.raises(OSError, match="full"):
            await one
