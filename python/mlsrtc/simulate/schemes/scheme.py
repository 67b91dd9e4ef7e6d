"""What a scheme is to the comparison."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.network import NetworkModel
from mlsrtc.simulate.peer import Peer
from mlsrtc.simulate.primitives import Primitives
from mlsrtc.simulate.record import Record
from mlsrtc.simulate.trace import Trace


class Scheme(Protocol):
    """One scheme. `real`: its own state machine runs, with real keys; else it is a model of somebody's published one.

    `note`: what a reader must know to read its figures.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def real(self) -> bool: ...
    @property
    def note(self) -> str: ...
    @property
    def constants(self) -> Mapping[str, Constant]: ...

    def play(
        self, trace: Trace, model: NetworkModel, primitives: Primitives, seed: int, marks: Sequence[float] = ()
    ) -> Record:
        """Plays a trace; `marks`: when to put down what was counted. A model gives the same record for the same
        arguments. Real keys are not made from a seed, and with them it is decided whose turn it is."""


@dataclass(frozen=True, slots=True)
class Model:
    """A scheme whose devices are `Peer`s. `build` gets the hall and gives the maker of peers, so that what all peers of
    a run share (a server that takes part) is made anew for each run."""

    name: str
    title: str
    note: str
    constants: Mapping[str, Constant]
    build: Callable[[Hall], Callable[[int], Peer]]
    real: bool = field(default=False, init=False)

    def play(
        self, trace: Trace, model: NetworkModel, primitives: Primitives, seed: int, marks: Sequence[float] = ()
    ) -> Record:
        """As `Scheme.play`."""
        makers: list[Callable[[int], Peer]] = []
        hall = Hall(trace, model, primitives, Random(f"{self.name} {seed}"), lambda hall, me: makers[0](me))
        makers.append(self.build(hall))
        return hall.play(marks)
