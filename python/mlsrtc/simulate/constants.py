"""A number of somebody's scheme or of the network, with where it comes from. Knows nothing of the rest."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Constant:
    """A value, its unit and its source. `assumed`: the source does not say it; we chose it, and the source says why."""

    value: float
    unit: str
    source: str
    assumed: bool = False


def assumed(value: float, unit: str, reason: str) -> Constant:
    """A number that no source gives."""
    return Constant(value, unit, reason, assumed=True)
