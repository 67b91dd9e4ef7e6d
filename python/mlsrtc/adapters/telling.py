"""What a call tells its application: kept until it is read, by any number of readers. Knows no session and no media."""

import asyncio
from bisect import bisect_left
from collections import Counter
from collections.abc import AsyncIterator
from typing import Generic, TypeVar
from weakref import WeakSet

T = TypeVar("T")


class Telling(Generic[T]):
    """What is told, in its order, until `close`.

    kept: so many of one kind are kept for whoever is behind. Then the oldest of that kind are lost, and of no other:
    what somebody can send at will costs nothing else.
    always: kinds of which nothing is lost.
    """

    def __init__(self, kept: int, always: tuple[type, ...] = ()) -> None:
        self._limit, self._always = kept, always
        self._numbers: list[int] = []  # of what is kept; what was lost leaves a gap
        self._kept: list[T] = []
        self._counts: Counter[type] = Counter()
        self._told = 0
        self._read = 0  # everything before this number was read by somebody
        self._over = False
        self._error: BaseException | None = None
        self._news = asyncio.Event()
        self._readers: WeakSet[_Reader[T]] = WeakSet()

    def tell(self, what: T) -> None:
        """One thing more, for everybody who reads."""
        self._forget_read()
        self._numbers.append(self._told)
        self._kept.append(what)
        self._told += 1
        kind = type(what)
        self._counts[kind] += 1
        if self._counts[kind] > self._limit and kind not in self._always:
            self._lose(kind)
        self._news.set()

    def close(self, error: BaseException | None) -> None:
        """Nothing more comes but what is told already, and `error` is raised after it."""
        self._error, self._over = error, True
        self._news.set()

    def reader(self) -> AsyncIterator[T]:
        """Gives what nobody has read yet, and everything that is told from now on."""
        reader = _Reader(self, self._read)
        self._readers.add(reader)
        return reader

    async def next_from(self, number: int) -> tuple[int, T]:
        """The first that is kept from a number on, with the number after its own. Raises StopAsyncIteration, or the
        error, once there is none and will be none."""
        while (place := bisect_left(self._numbers, number)) == len(self._numbers):
            if self._over:
                raise self._error or StopAsyncIteration
            self._news.clear()
            await self._news.wait()
        after = self._numbers[place] + 1
        self._read = max(self._read, after)
        return after, self._kept[place]

    def _lose(self, kind: type) -> None:
        """The older half of one kind."""
        lost = self._limit // 2
        pairs = []
        for number, what in zip(self._numbers, self._kept, strict=True):
            if type(what) is kind and lost:
                lost -= 1
                self._counts[kind] -= 1
            else:
                pairs.append((number, what))
        self._numbers, self._kept = [number for number, _ in pairs], [what for _, what in pairs]

    def _forget_read(self) -> None:
        """What every reader has had goes."""
        place = bisect_left(self._numbers, min((one.number for one in self._readers), default=self._read))
        self._counts.subtract(map(type, self._kept[:place]))
        del self._numbers[:place], self._kept[:place]


class _Reader(AsyncIterator[T]):
    """One reader, and how far it is."""

    def __init__(self, telling: Telling[T], number: int) -> None:
        self._telling = telling
        self.number = number

    async def __anext__(self) -> T:
        self.number, what = await self._telling.next_from(self.number)
        return what
