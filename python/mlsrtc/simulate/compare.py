"""All schemes on one trace, and each on calls of growing size: figures, and where they come from.

Where the trace has more people than the real machines play with, the models are played twice: with all of them, and
with those whom the real machines play with, so that like can be compared with like.

`Comparison.facts()` is what `--json` prints. A time that never came about is null there.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.hall import HALL
from mlsrtc.simulate.measure import Measurer, Measures, Spread, measure
from mlsrtc.simulate.network import NETWORK, NetworkModel
from mlsrtc.simulate.primitives import Primitives
from mlsrtc.simulate.record import COUNTS, Costs, Record
from mlsrtc.simulate.schemes import SCHEMES, Scheme
from mlsrtc.simulate.trace import Stay, Trace, fewer

GROWTH = (5, 10, 20, 50, 100, 200, 500, 1000)
REAL_GROWTH = 50  # a real machine is grown to this size where nothing else is asked for
REAL_PEOPLE = 100  # and plays with so many of the trace's people: a device costs what a device costs, on one machine
LEAVE_AT, JOIN_AT, COUNTED_TO, GROWN = 30.0, 270.0, 320.0, 510.0  # seconds


@dataclass(frozen=True, slots=True)
class Outcome:
    """One scheme on the trace, with so many of its people. Times are seconds; `cpu`: of all devices, what was computed
    at what the primitives cost; `session`: processor time of all real sessions, everything included; `homeserver`: that
    they were busy."""

    scheme: str
    people: int
    counts: Mapping[str, float]
    cpu: float
    session: float | None
    homeserver: float
    measures: Measures


@dataclass(frozen=True, slots=True)
class Change:
    """What one change cost in a call of `n`: `seconds` until all had keys."""

    messages: float
    bytes_up: float
    bytes_down: float
    cpu: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Growth:
    """One scheme in a settled call of `n`: one leaves, and four minutes later another one joins."""

    scheme: str
    n: int
    leave: Change
    join: Change
    listening: float
    deaf: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that a report shows. `outcomes`: with all people first, then with fewer, if any scheme plays with
    fewer."""

    trace: Trace
    seed: int
    model: NetworkModel
    primitives: Primitives
    outcomes: Sequence[Outcome]
    growth: Sequence[Growth]
    schemes: Sequence[Scheme]
    calibration: Mapping[str, Any] | None

    def scheme(self, name: str) -> Scheme:
        """By its name."""
        return next(scheme for scheme in self.schemes if scheme.name == name)

    def facts(self) -> dict[str, Any]:
        """JSON."""
        value = {
            "trace": {
                "name": self.trace.name,
                "title": self.trace.title,
                "seconds": self.trace.seconds,
                "people": self.trace.people,
                "most_at_once": self.trace.most_at_once,
                "stays": len(self.trace.stays),
            },
            "seed": self.seed,
            "homeservers": self.model.homeservers,
            "schemes": [
                {
                    "name": scheme.name,
                    "title": scheme.title,
                    "real": scheme.real,
                    "note": scheme.note,
                    "constants": {name: asdict(constant) for name, constant in scheme.constants.items()},
                }
                for scheme in self.schemes
            ],
            "network": {name: asdict(constant) for name, constant in (NETWORK | HALL).items()},
            "primitives": {
                "seconds": {name: dict(curve.points) for name, curve in self.primitives.seconds.items()},
                "bytes": {name: dict(curve.points) for name, curve in self.primitives.bytes.items()},
            },
            "outcomes": [asdict(outcome) for outcome in self.outcomes],
            "growth": [asdict(growth) for growth in self.growth],
            "calibration": self.calibration,
        }
        return json.loads(json.dumps(_without_infinity(value)))  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class _Job:
    """What one process does at a time: a scheme on a trace (`n` 0), or on a call of `n`."""

    scheme: str
    trace: Trace
    model: NetworkModel
    primitives: Primitives
    seed: int
    n: int = 0


def compare(
    trace: Trace,
    primitives: Primitives,
    *,
    seed: int = 1,
    model: NetworkModel | None = None,
    names: Iterable[str] | None = None,
    growth: Sequence[int] = GROWTH,
    real_growth: int = REAL_GROWTH,
    real_people: int = REAL_PEOPLE,
    calibration: Mapping[str, Any] | None = None,
    said: Callable[[str], None] = lambda text: None,
    processes: int = 1,
) -> Comparison:
    """Plays everything.

    names: of these schemes only. growth: sizes of call; real_growth: up to this one the real machines are grown too.
    real_people: the real machines play with at most so many of the trace's people, and the models with these as well as
    with all. said: gets a word when something is done. processes: of the interpreter, started anew, so that a script
    needs the usual guard around what it does as the main program. The real machines are begun first: they take longest.
    """
    model = model or NetworkModel()
    wanted = set(SCHEMES) if names is None else set(names)
    schemes = [scheme for name, scheme in SCHEMES.items() if name in wanted]
    sizes = [(scheme, n) for scheme in schemes for n in growth if not scheme.real or n <= real_growth]
    plays = _plays(schemes, trace, real_people)
    jobs = [_Job(scheme.name, played, model, primitives, seed) for scheme, played in plays]
    jobs += [_Job(scheme.name, growing(n), model, primitives, seed, n) for scheme, n in sizes]
    results = _results(jobs, processes, said)
    return Comparison(
        trace,
        seed,
        model,
        primitives,
        [result for result in results if isinstance(result, Outcome)],
        [result for result in results if isinstance(result, Growth)],
        schemes,
        calibration,
    )


def _plays(schemes: Sequence[Scheme], trace: Trace, real_people: int) -> list[tuple[Scheme, Trace]]:
    """Which scheme plays what: all of them the trace; if that has too many people for the real machines, the models the
    trace and all of them the one with fewer people."""
    smaller = fewer(trace, real_people)
    models = [scheme for scheme in schemes if not scheme.real]
    if smaller.people == trace.people or len(models) == len(schemes):
        return [(scheme, trace) for scheme in schemes]
    return [(scheme, trace) for scheme in models] + [(scheme, smaller) for scheme in schemes]


def _results(jobs: Sequence[_Job], processes: int, said: Callable[[str], None]) -> list[Outcome | Growth]:
    """One for each job, in their order. Those of real machines are begun first, and of these the greatest."""

    def begun(number: int) -> tuple[bool, bool, int]:
        job = jobs[number]
        return not SCHEMES[job.scheme].real, job.n != 0, -job.n

    order = sorted(range(len(jobs)), key=begun)
    found: dict[int, Outcome | Growth] = {}
    with _workers(processes) as run:
        for number, result in zip(order, run(_do, [jobs[number] for number in order]), strict=True):
            found[number], job = result, jobs[number]
            said(f"{SCHEMES[job.scheme].title}{f' with {job.n}' if job.n else ''}")
    return [found[number] for number in range(len(jobs))]


@contextmanager
def _workers(processes: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """`map` in so many other processes, or here if one is enough."""
    if processes == 1:
        yield map
        return
    pool = ProcessPoolExecutor(processes, mp_context=get_context("spawn"))
    try:
        yield pool.map
    finally:
        pool.shutdown(cancel_futures=True)


def _do(job: _Job) -> Outcome | Growth:
    scheme = SCHEMES[job.scheme]
    if job.n == 0:
        record = scheme.play(job.trace, job.model, job.primitives, job.seed)
        return Outcome(
            job.scheme,
            job.trace.people,
            {name: record.counts[name] for name in COUNTS},
            cpu_seconds(record.operations, job.primitives),
            record.session_seconds,
            record.homeserver_seconds,
            measure(record, job.trace),
        )
    marks = (LEAVE_AT - 0.001, JOIN_AT - HALL["lobby"].value - 0.001, COUNTED_TO)
    return _grown(job, scheme.play(job.trace, job.model, job.primitives, job.seed, marks))


def growing(n: int) -> Trace:
    """A settled call of `n`; one leaves, and four minutes later another one joins, so that they are `n` again."""
    end = GROWN
    stays = [Stay(person, -1.0, end, True) for person in range(n)]
    stays[n // 2] = Stay(n // 2, -1.0, LEAVE_AT)
    stays.append(Stay(n, JOIN_AT, end, True))
    return Trace(f"grown to {n}", f"a call of {n}", end, tuple(stays))


def _grown(job: _Job, record: Record) -> Growth:
    measurer = Measurer(record, job.trace)
    leaver, joiner = job.n // 2, job.n
    before, between, after = record.marks
    leave = measurer.leave_to_keys(leaver)
    listening = measurer.listening(leaver)
    join = measurer.join_to_keys(joiner)
    return Growth(
        job.scheme,
        job.n,
        _change(before, between, job.primitives, leave or 0.0),
        _change(between, after, job.primitives, join or 0.0),
        listening or 0.0,
        sum(measurer.deafness(since=LEAVE_AT).values()),
    )


def _change(before: Costs, after: Costs, primitives: Primitives, seconds: float) -> Change:
    counts = after.counts - before.counts
    messages = counts["to_device"] + counts["room_events"] + counts["requests"]
    cpu = cpu_seconds(after.operations - before.operations, primitives)
    return Change(messages, counts["bytes_up"], counts["bytes_down"], cpu, seconds)


def cpu_seconds(operations: Mapping[tuple[str, int], int], primitives: Primitives) -> float:
    """Processor time of all these."""
    return sum(times * primitives.cost(what, size) for (what, size), times in operations.items())


def _without_infinity(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _without_infinity(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_infinity(item) for item in value]
    return value


def read_calibration(path: Path) -> Mapping[str, Any]:
    """What `tests/benchmarks/simulate_against_synapse.py` has written. Raises ValueError for anything else."""
    value: Mapping[str, Any] = json.loads(path.read_text())
    figures = ("measured", "clients", "waiting", "model", "reports")
    kinds = {"what": str, "n": int} | dict.fromkeys(figures, float)
    try:
        sound = all(isinstance(item[name], kind) for item in value["compared"] for name, kind in kinds.items())
    except (KeyError, TypeError, IndexError):
        sound = False
    if not sound:
        raise ValueError("no runs on Synapse are in it")
    return value


__all__ = ["Change", "Comparison", "Constant", "Growth", "Outcome", "Spread", "compare", "read_calibration"]
