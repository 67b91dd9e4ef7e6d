"""The comparison as rows of text, for a terminal and a page alike."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mlsrtc.simulate.compare import Comparison, Growth, Outcome
from mlsrtc.simulate.measure import Spread

HEAD = (
    "scheme",
    "",
    "messages",
    "up",
    "down",
    "crypto CPU",
    "join → all have keys",
    "leave → all have new keys",
    "a leaver listens",
    "deaf",
    "deafest pair",
    "in clear",
)
EXPLAINED = (
    ("messages", "to single devices, room events and requests to an ordering server; memberships are among them"),
    ("up, down", "bytes of content, summed over all devices"),
    ("crypto CPU", "processor time of the primitives, summed over all devices, at what they cost on this machine"),
    ("join → all have keys", "p50 / p95 / most: until the joiner and all who were there hear each other"),
    ("leave → all have new keys", "p50 / p95 / most: until all who stay send what the leaver cannot open, and hear it"),
    ("a leaver listens", "p50 / p95 / most: until nobody sends any more what the leaver can open; it keeps its keys"),
    ("never, for ever", "not before the trace ends"),
    ("deaf", "of all the time that two were in the call together, the share in which one could not open the other"),
    ("deafest pair", "the pair with the most of that, over the whole trace"),
    ("in clear", "of all that was sent, the share without encryption"),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One line."""

    cells: tuple[str, ...]
    real: bool


@dataclass(frozen=True, slots=True)
class Part:
    """Schemes that were played with the same people. `head`: who, empty if all were played with all."""

    head: str
    outcomes: Sequence[Outcome]


def parts(comparison: Comparison) -> list[Part]:
    """A table each: what is in one of them can be compared."""
    every = comparison.trace.people
    fewer = min((outcome.people for outcome in comparison.outcomes), default=every)
    if fewer == every:
        return [Part("", comparison.outcomes)]
    heads = {
        every: f"All {every} people: models alone",
        fewer: f"{fewer} of the {every} people: real machines, and models with the same people",
    }
    found = [
        Part(head, [outcome for outcome in comparison.outcomes if outcome.people == people])
        for people, head in heads.items()
    ]
    return [part for part in found if part.outcomes]


def rows(comparison: Comparison, part: Part) -> list[Row]:
    """One for each scheme."""
    return [_row(comparison, outcome) for outcome in part.outcomes]


def _row(comparison: Comparison, outcome: Outcome) -> Row:
    scheme, measures = comparison.scheme(outcome.scheme), outcome.measures
    counts = outcome.counts
    return Row(
        (
            scheme.title,
            "real" if scheme.real else "model",
            f"{counts['to_device'] + counts['room_events'] + counts['requests']:,.0f}",
            size(counts["bytes_up"]),
            size(counts["bytes_down"]),
            f"{outcome.cpu:.2f} s",
            spread(measures.join_to_keys),
            spread(measures.leave_to_keys),
            spread(measures.listening, FOR_EVER),
            f"{measures.deaf_share:.3%}",
            f"{measures.deafest:.1f} s",
            f"{measures.clear_share:.0%}" if measures.clear_share else "-",
        ),
        scheme.real,
    )


GROWTH_HEAD = ("n", "messages", "up", "crypto CPU", "leave → keys", "leaver listens", "messages", "join → keys")


def growth_rows(comparison: Comparison) -> list[tuple[str, list[tuple[str, ...]]]]:
    """For each scheme its sizes: four cells about the leave, one about the leaver, two about the join."""
    by_scheme: dict[str, list[Growth]] = {}
    for growth in comparison.growth:
        by_scheme.setdefault(growth.scheme, []).append(growth)
    return [
        (comparison.scheme(name).title, [_growth_row(growth) for growth in grown]) for name, grown in by_scheme.items()
    ]


def _growth_row(growth: Growth) -> tuple[str, ...]:
    leave, join = growth.leave, growth.join
    return (
        f"{growth.n:,}",
        f"{leave.messages:,.0f}",
        size(leave.bytes_up),
        f"{leave.cpu:.3f} s",
        seconds(leave.seconds),
        seconds(growth.listening, FOR_EVER),
        f"{join.messages:,.0f}",
        seconds(join.seconds),
    )


DEVIATION_HEAD = (
    "what",
    "n",
    "measured",
    "of which clients",
    "of which waiting",
    "model at these costs",
    "deviation",
    "model of the reports",
    "deviation",
)
DEVIATION_EXPLAINED = (
    "All clients of a run are in one process, which no real ones are, and Synapse waits where the machine does other "
    "work: the deviation is that of the model from what was measured without the processor time of the clients and "
    "without that waiting. It is told of two models. The homeserver of the first works as long for an event, a message "
    "and a sync as this Synapse was seen to in the same run. The second is the one of every table and plot of `mlsrtc "
    "simulate`: its homeserver works as long as the table of the network says, whatever this Synapse needs. Where it "
    "is below zero, the reports tell too short what hangs on the homeserver."
)


def deviations(calibration: Mapping[str, Any] | None) -> list[tuple[str, ...]]:
    """Model and run on a real Synapse side by side, as in DEVIATION_HEAD."""
    found: list[tuple[str, ...]] = []
    for item in (calibration or {}).get("compared", ()):
        rest = item["measured"] - item["clients"] - item["waiting"]
        times = (f"{item[name]:.2f} s" for name in ("measured", "clients", "waiting"))
        models = (cell for name in ("model", "reports") for cell in _deviation(item[name], rest))
        found.append((item["what"], str(item["n"]), *times, *models))
    return found


def _deviation(model: float, rest: float) -> tuple[str, str]:
    return f"{model:.2f} s", f"{(model - rest) / rest:+.0%}" if rest > 0 else "-"


def calibration_words(calibration: Mapping[str, Any] | None) -> str:
    """How busy the machine was before and after the runs, where they say so."""
    machine = (calibration or {}).get("machine", {})
    if not {"cores", "load_before", "load_after"} <= machine.keys():
        return ""
    return (
        f"Measured with {machine['cores']} cores. The load of the last minute was {machine['load_before']:g} when the "
        f"runs began, by what had run before them, and {machine['load_after']:g} when they ended."
    )


NEVER, FOR_EVER = "never", "for ever"  # has come about, has lasted


def seconds(value: float, endless: str = NEVER) -> str:
    """Seconds, or that there was no end of it."""
    if value == math.inf:
        return endless
    return f"{value:.2f} s" if value < 100 else f"{value:,.0f} s"


def spread(value: Spread, endless: str = NEVER) -> str:
    """Three percentiles, in seconds."""
    if not value.count:
        return "-"
    cells = [_short(part, endless) for part in (value.p50, value.p95, value.most)]
    return " / ".join(cells)


def _short(value: float, endless: str) -> str:
    if value == math.inf:
        return endless
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def size(count: float) -> str:
    """Bytes for a reader."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def sentences(comparison: Comparison) -> Sequence[str]:
    """What has to be said about the whole."""
    trace, model = comparison.trace, comparison.model
    where = "one homeserver" if model.homeservers == 1 else f"{model.homeservers} homeservers that federate"
    bound = max((one.people for one in comparison.outcomes if one.people < trace.people), default=None)
    bounded = (
        f"The real machines play with {bound} of the {trace.people} people, drawn evenly, since all devices run in one "
        f"process: what they are to be compared with is the models with the same {bound}."
    )
    return (
        f"{trace.title}: {trace.people} people, {trace.most_at_once} at once, {len(trace.stays)} participations in "
        f"{trace.seconds:g} s, on {where}.",
        "Every scheme gets the same trace, the same links and the same homeserver, in place of its own service: what "
        "is compared is the schemes.",
        *([] if bound is None else [bounded]),
    )
