"""Steps of a history, drawn from a seed, and the choices that their numbers stand for."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import TypeVar

WEIGHTS = {
    "add": 5, "remove": 4, "update": 4, "external join": 2, "resync": 1, "psk": 2, "resumption": 1,
    "by reference": 5, "message": 4, "out of order": 1, "late": 1,
}  # fmt: skip
"""How often each kind of step is drawn. A step is one operation, though some are several messages."""

APPLICATION = WEIGHTS | {
    "context extensions": 3, "custom proposal": 3, "context extensions by value": 3, "custom by value": 3,
}  # fmt: skip
"""With what not every engine has: extensions and proposals of the application's."""

FURTHER = APPLICATION | {"join proposal": 3, "external add": 3, "external remove": 2, "external extensions": 2}
"""With proposals from outside too."""

Item = TypeVar("Item")


@dataclass(frozen=True)
class Step:
    kind: str
    picks: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """Who takes part, and how large the group gets. `shares`: peers by name, and how many of so many newcomers are
    theirs; the first one that can founds the group. `private`: handshake messages are encrypted. `founder_stays`: its
    leaf, the leftmost, is never blank, so that no tree has a blank left half. `weak`: engines of which no fault fails
    the history; it is counted, and the member that has it is removed by the others."""

    suite: int
    shares: Mapping[str, int]
    most: int
    private: bool = False
    founder_stays: bool = False
    weak: frozenset[str] = frozenset()
    weights: Mapping[str, int] = field(default_factory=lambda: WEIGHTS)

    def draw(self, seed: int, steps: int) -> list[Step]:
        source = random.Random(seed)
        kinds, weights = list(self.weights), list(self.weights.values())
        return [
            Step(source.choices(kinds, weights)[0], tuple(source.getrandbits(30) for _ in range(11)))
            for _ in range(steps)
        ]


class Passed(Exception):
    """Nobody here can take this step."""


class Picks:
    """A step's numbers, turned into choices."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self.numbers = cycle(numbers)

    def below(self, limit: int) -> int:
        return next(self.numbers) % limit

    def one(self, items: Iterable[Item]) -> Item:
        items = list(items)
        if not items:
            raise Passed
        return items[self.below(len(items))]

    def some(self, items: Iterable[Item], most: int) -> list[Item]:
        """At least one, at most `most`, none twice."""
        rest, chosen = list(items), list[Item]()
        for _ in range(1 + self.below(most)):
            chosen.append(self.one(rest))
            rest.remove(chosen[-1])
            if not rest:
                break
        return chosen
