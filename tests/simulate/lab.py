"""What the tests of the simulation share: primitives that cost what one can compute in one's head, and small traces."""

from collections.abc import Sequence

from mlsrtc.simulate.network import NetworkModel
from mlsrtc.simulate.primitives import Curve, Primitives
from mlsrtc.simulate.record import Record
from mlsrtc.simulate.schemes import SCHEMES
from mlsrtc.simulate.trace import Stay, Trace


class _Every(dict[str, Curve]):
    """The same for whatever is asked."""

    def __missing__(self, name: str) -> Curve:
        return self.setdefault(name, Curve({1: 100.0 if self.get("bytes") else 0.001}))


def fixed() -> Primitives:
    """A millisecond for every operation, and 100 bytes for every message."""
    sizes = _Every()
    sizes["bytes"] = Curve({1: 100.0})
    return Primitives(_Every(), sizes)


def settled(n: int, *, leaves: bool) -> Trace:
    """A call of n that has stood for long: one leaves, or one more joins."""
    stays = [Stay(person, -1.0, 120.0, True) for person in range(n)]
    if leaves:
        stays[n // 2] = Stay(n // 2, -1.0, 10.0)
    else:
        stays.append(Stay(n, 10.0, 120.0, True))
    return Trace("settled", "settled", 120.0, tuple(stays))


def trace(stays: Sequence[tuple[int, float, float | None]], seconds: float = 120.0) -> Trace:
    """Person, from, to (None: to the end)."""
    made = [Stay(person, begins, seconds if to is None else to, to is None) for person, begins, to in stays]
    return Trace("made", "made", seconds, tuple(sorted(made, key=lambda stay: (stay.begins, stay.person))))


def play(name: str, trace: Trace, seed: int = 1, model: NetworkModel | None = None) -> Record:
    """One scheme on a trace."""
    return SCHEMES[name].play(trace, model or NetworkModel(), fixed(), seed)
