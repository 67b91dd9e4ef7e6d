"""Traces: who is in a call, from when to when. Five that are built in, made from a seed, and files.

A file is one JSON object; times are seconds since the start of the trace:

    {"name": "a short one", "seconds": 120,
     "stays": [{"person": "anna", "from": 0}, {"person": "bert", "from": 5, "to": 60, "ends": "drop"}]}

`to` is left out by whoever is there to the end. `ends` is `leave` (the default) or `drop`: the device is gone without a
word, and the homeserver withdraws its membership after a while. One person has one device, and may come back.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from mlsrtc.errors import LocalProtocolError

FIELDS = {"name": str, "seconds": (int, float), "stays": list}
STAY_FIELDS = {"person": str, "from": (int, float), "to": (int, float), "ends": str}
NEEDED = {"name", "seconds", "stays", "person", "from"}
LONGEST = 24 * 3600.0  # seconds
MOST = 1000  # people; what the growth is shown to


@dataclass(frozen=True, slots=True)
class Stay:
    """One participation: a person's device is in the call from `begins` to `ends` (seconds; the end of the trace if it
    stays). `drops`: it is gone without a word."""

    person: int
    begins: float
    ends: float
    stays: bool = False
    drops: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """Everybody's participations, in the order of their beginnings."""

    name: str
    title: str
    seconds: float
    stays: tuple[Stay, ...]

    @property
    def people(self) -> int:
        """How many different people take part."""
        return len({stay.person for stay in self.stays})

    @property
    def most_at_once(self) -> int:
        """How many are in the call when it is fullest."""
        moments = sorted([(stay.begins, 1) for stay in self.stays] + [(stay.ends, -1) for stay in self.stays])
        most = present = 0
        for _, change in moments:
            present += change
            most = max(most, present)
        return most


def fewer(trace: Trace, most: int) -> Trace:
    """The trace with at most so many of its people, drawn evenly from all of them, who do what they did."""
    people = sorted({stay.person for stay in trace.stays})
    drawn = people if len(people) <= most else [people[number * len(people) // most] for number in range(most)]
    numbers = {person: number for number, person in enumerate(drawn)}
    stays = (replace(stay, person=numbers[stay.person]) for stay in trace.stays if stay.person in numbers)
    return replace(trace, stays=tuple(stays))


class TraceError(LocalProtocolError):
    """A trace file that cannot be played. `where`: the place in the file (``stays[3].to``)."""

    def __init__(self, where: str, detail: str) -> None:
        self.where = where
        super().__init__(f"{where}: {detail}" if where else detail, reason="bad_trace")


# -- files -------------------------------------------------------------------------------------------------------------


def read(path: Path) -> Trace:
    """A trace file. Raises TraceError for what cannot be played, OSError for what cannot be read."""
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise TraceError("", f"not JSON: {error}") from error
    return parse(value)


def parse(value: Any) -> Trace:
    """A trace from the JSON of a file. Raises TraceError."""
    top = _object(value, FIELDS, "")
    seconds = _number(top["seconds"], "seconds", 0.0, LONGEST)
    if seconds == 0:
        raise TraceError("seconds", "more than 0 are needed")
    if not top["stays"]:
        raise TraceError("stays", "nobody takes part")
    names: dict[str, int] = {}
    stays = [_stay(item, f"stays[{number}]", seconds, names) for number, item in enumerate(top["stays"])]
    if len(names) > MOST:
        raise TraceError("stays", f"{len(names)} people; at most {MOST}")
    stays.sort(key=lambda stay: (stay.begins, stay.person))
    last: dict[int, Stay] = {}
    for stay in stays:
        before = last.get(stay.person)
        if before is not None and stay.begins <= before.ends:
            person = next(name for name, number in names.items() if number == stay.person)
            raise TraceError("stays", f"{person} comes at {stay.begins:g} and is there already")
        last[stay.person] = stay
    return Trace(top["name"], top["name"], seconds, tuple(stays))


def _stay(value: Any, where: str, seconds: float, names: dict[str, int]) -> Stay:
    item = _object(value, STAY_FIELDS, where)
    begins = _number(item["from"], f"{where}.from", 0.0, seconds)
    ends = _number(item.get("to", seconds), f"{where}.to", 0.0, seconds)
    if ends <= begins:
        raise TraceError(f"{where}.to", f"{ends:g} is not after {begins:g}")
    how = item.get("ends", "leave")
    if how not in ("leave", "drop"):
        raise TraceError(f"{where}.ends", f"{how!r}; leave or drop are possible")
    if "ends" in item and "to" not in item:
        raise TraceError(f"{where}.ends", "without `to` nothing ends")
    return Stay(names.setdefault(item["person"], len(names)), begins, ends, "to" not in item, how == "drop")


def _object(value: Any, fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise TraceError(where, "an object is needed")
    inside = f"{where}." if where else ""
    for name in value:
        if name not in fields:
            raise TraceError(f"{inside}{name}", "no such field")
    for name, kind in fields.items():
        if name not in value:
            if name in NEEDED:
                raise TraceError(f"{inside}{name}", "is missing")
        elif not isinstance(value[name], kind) or isinstance(value[name], bool):
            raise TraceError(f"{inside}{name}", "is of another type")
    return value


def _number(value: float, where: str, least: float, most: float) -> float:
    if not math.isfinite(value) or not least <= value <= most:
        raise TraceError(where, f"{value:g} is not within {least:g}..{most:g}")
    return float(value)


# -- built in ----------------------------------------------------------------------------------------------------------


class _Maker:
    """Collects stays. `to` None: to the end."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._stays: list[Stay] = []

    def stay(self, person: int, begins: float, to: float | None = None, *, drops: bool = False) -> None:
        ends = self.seconds if to is None else to
        self._stays.append(Stay(person, round(begins, 3), round(ends, 3), to is None, drops))

    def done(self, name: str, title: str) -> Trace:
        return Trace(name, title, self.seconds, tuple(sorted(self._stays, key=lambda one: (one.begins, one.person))))


def stand_up(random: Random) -> Trace:
    """Twelve people meet for a quarter of an hour: most are punctual, some late; one goes early, one is back after a
    while; then nearly all leave within fifteen seconds."""
    made = _Maker(960)
    for person in range(12):
        begins = random.uniform(0, 25) if person < 9 else random.uniform(60, 240)
        if person < 2:
            made.stay(person, begins)
        elif person == 4:
            made.stay(person, begins, 400)
            made.stay(person, 520, random.uniform(870, 885))
        elif person == 5:
            made.stay(person, begins, 610)
        else:
            made.stay(person, begins, random.uniform(870, 885))
    return made.done("stand-up", "a stand-up of 12")


def lecture(random: Random) -> Trace:
    """Three hundred join within two minutes; then ten of them leave, one after another."""
    made = _Maker(300)
    for person in range(300):
        begins = random.uniform(0, 120)
        made.stay(person, begins, random.uniform(150, 210) if 20 <= person < 30 else None)
    return made.done("lecture", "a lecture of 300 that joins within two minutes")


def clinic(random: Random) -> Trace:
    """A clinic's hour: 45 people. Most come in the first ten minutes, and through the hour some go, some come late, and
    some are called away and return; at the end nearly all leave within a minute."""
    made = _Maker(3720)
    for person in range(45):
        begins = random.uniform(0, 90) if person < 20 else random.uniform(0, 600)
        end = random.uniform(3540, 3600)
        if person < 4:
            made.stay(person, begins)
        elif person < 14:  # called away, and back
            away = random.uniform(900, 2700)
            made.stay(person, begins, away)
            made.stay(person, away + random.uniform(30, 300), end)
        elif person < 24:  # goes early
            made.stay(person, begins, random.uniform(1900, 3400))
        elif person < 34:  # comes late
            made.stay(person, random.uniform(600, 1600), end)
        else:
            made.stay(person, begins, end)
    return made.done("clinic", "the clinic: 45 people, coming and going over an hour")


def flaky_train(random: Random) -> Trace:
    """Eight people who stay and three on a train, whose devices drop out again and again and return after 3 to 40
    seconds."""
    made = _Maker(600)
    for person in range(8):
        made.stay(person, random.uniform(0, 10))
    for person in range(8, 11):
        begins = random.uniform(0, 10)
        while begins < 420:
            dropped = begins + random.uniform(40, 100)
            made.stay(person, begins, dropped, drops=True)
            begins = dropped + random.uniform(3, 40)
        made.stay(person, begins)
    return made.done("flaky-train", "a flaky train: three devices that drop and rejoin")


def mass_leave(random: Random) -> Trace:
    """Sixty people; forty of them leave within five seconds."""
    made = _Maker(240)
    for person in range(60):
        made.stay(person, random.uniform(0, 60), random.uniform(120, 125) if person >= 20 else None)
    return made.done("mass-leave", "a mass leave: 40 of 60 within five seconds")


BUILT_IN: Mapping[str, Callable[[Random], Trace]] = {
    "stand-up": stand_up,
    "lecture": lecture,
    "clinic": clinic,
    "flaky-train": flaky_train,
    "mass-leave": mass_leave,
}


def built_in(name: str, seed: int) -> Trace:
    """One of the built-in traces. The same seed gives the same trace. Raises KeyError."""
    return BUILT_IN[name](Random(f"{name} {seed}"))
