"""The reports of `mlsrtc simulate` under docs/results: a page with plots and a JSON file for each trace, and
docs/results/simulate.md with all the tables. Each trace is played once, as the command in its page plays it.

    PYTHONPATH=python python tests/benchmarks/simulate_reports.py clinic lecture

Traces that are not named keep their files, and their tables are taken from those. With --kept nothing is timed, as on a
machine that does other work meanwhile: processor times are those of the file that the trace has.
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from stage import machine, table

from mlsrtc.simulate import primitives
from mlsrtc.simulate import table as rows
from mlsrtc.simulate.compare import GROWTH, REAL_PEOPLE, Comparison, compare, read_calibration
from mlsrtc.simulate.page import page
from mlsrtc.simulate.primitives import Curve, Primitives
from mlsrtc.simulate.trace import BUILT_IN, built_in

RESULTS = Path(__file__).parents[2] / "docs" / "results"
REPORTS = RESULTS / "simulate"
CALIBRATION = REPORTS / "synapse.json"
# Models, and real machines. How schemes grow is the same for every trace: one report goes all the way.
GROWN, GROWN_FAR = (200, 100), {"clinic": (1000, 200)}
SEED = 1


def main() -> None:
    """Play, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", metavar="TRACE", help=f"play these anew, of {', '.join(BUILT_IN)}")
    parser.add_argument("--processes", type=int, default=2, help="at a time (default 2)")
    parser.add_argument("--kept", action="store_true", help="time nothing: processor times are those of the file")
    options = parser.parse_args()
    for name in options.traces:
        _report(name, options.processes, kept=options.kept)
    (RESULTS / "simulate.md").write_text(whole())


def _report(name: str, processes: int, *, kept: bool) -> None:
    (growth, real), began, on = GROWN_FAR.get(name, GROWN), time.monotonic(), machine()
    before = json.loads((REPORTS / f"{name}.json").read_text()) if kept else None
    comparison = compare(
        built_in(name, SEED),
        primitives.measured() if before is None else _primitives(before),
        seed=SEED,
        growth=[n for n in GROWTH if n <= growth],
        real_growth=real,
        calibration=read_calibration(CALIBRATION) if CALIBRATION.exists() else None,
        processes=processes,
    )
    on |= {"seconds": round(time.monotonic() - began), "processes": processes, "timed_at_load": on["load_before"]}
    if before is not None:
        comparison = _timed_before(comparison, before)
        on["timed_at_load"] = before["machine"].get("timed_at_load", before["machine"]["load_before"])
    write(name, comparison, f"--growth {growth} --real-growth {real}", on)


def _primitives(before: dict[str, Any]) -> Primitives:
    seconds, sizes = (
        {name: Curve({int(size): value for size, value in points.items()}) for name, points in curves.items()}
        for curves in (before["primitives"]["seconds"], before["primitives"]["bytes"])
    )
    return Primitives(seconds, sizes)


def _timed_before(comparison: Comparison, before: dict[str, Any]) -> Comparison:
    sessions = {one["scheme"]: one["session"] for one in before["outcomes"]}
    outcomes = [replace(outcome, session=sessions[outcome.scheme]) for outcome in comparison.outcomes]
    return replace(comparison, outcomes=outcomes)


def write(name: str, comparison: Comparison, sizes: str, on: dict[str, Any]) -> None:
    """The two files of one trace. `sizes`: options of the command. `on`: the machine, how long it took, in how many
    processes, and at what load processor times were timed."""
    command = f"mlsrtc simulate --trace {name} --seed {SEED} {sizes} --html docs/results/simulate/{name}.html"
    facts = comparison.facts() | {
        "command": command,
        "sentences": list(rows.sentences(comparison)),
        "tables": [
            {"head": part.head, "rows": [list(rows.HEAD), *(list(row.cells) for row in rows.rows(comparison, part))]}
            for part in rows.parts(comparison)
        ],
        "machine": on,
    }
    del facts["calibration"]  # It stands in a file of its own.
    (REPORTS / f"{name}.html").write_text(page(comparison, command))
    (REPORTS / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


def whole() -> str:
    """docs/results/simulate.md, from the files of all traces."""
    files = {name: REPORTS / f"{name}.json" for name in BUILT_IN}
    made = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    parts = [HEADER, SHOWN, *(_section(name, facts) for name, facts in made.items()), _legend()]
    if CALIBRATION.exists():
        parts.append(_calibration(json.loads(CALIBRATION.read_text())))
    return "\n\n".join(parts) + "\n"


HEADER = f"""# Key distribution schemes on one trace

Written by `tests/benchmarks/simulate_reports.py`, which plays each trace once. *model*: of what somebody publishes
about its scheme; *real*: the state machines of mlsrtc themselves, with at most {REAL_PEOPLE} people, since all their
devices run in one process. Every scheme gets the same trace, the same links and the same homeserver, in place of its
own service: what is compared is the schemes. Each page has plots, how the schemes grow with the call, and every
constant with its source; the clinic's goes up to a call of 1,000 for models and of 200 for real machines. Bytes,
messages and crypto CPU are of all devices together."""


SHOWN = """## What they show

* **Only what stands in one table can be compared.** The lecture has two: all 300 people, with models alone, and 100 of
  them, with the real machines and every model.
* **Where a server says which commit counts, whoever leaves is locked out sooner than with mlsrtc**, with the same
  people: by each of Discord, Webex, Wire and Cloudflare, in every table with leaves. Joiners have their keys sooner
  there too (at the median), and devices receive less. What it takes is that server: all send to it, all believe it,
  and a sender goes on as soon as it has spoken. In Matrix there is none, as two homeservers may show the same two
  events in different order. So mlsrtc waits for half a second before it sends under an epoch that shuts somebody out
  (`switch_delay_remove`), for those who get it late, and gathers leaves that follow one another (`batch_window`).
* **mlsrtc's MLS has the fewest messages**, on every trace.
* **Seconds that hang on the homeserver are told too short**, those of schemes with many messages most: the homeserver
  of these tables is faster than the Synapse that they were held against (the last section).

Real machines stop at 200 devices where the growth is shown, since all of them run in one process: there 200 take 40 s
and 1.2 GB with MLS, and 30 s and 0.3 GB where keys are handed out. 500 take 5 minutes and 6 GB with MLS; and as real
machines all come at once, the homeserver is not done with the joins of 500 when one leaves 30 s later."""


def _section(name: str, facts: dict[str, Any]) -> str:
    on = facts["machine"]
    return "\n\n".join(
        [
            f"## {name.replace('-', ' ').capitalize()}",
            " ".join([facts["sentences"][0].capitalize(), *facts["sentences"][2:]]) + f" Seed {facts['seed']}.",
            f"    {facts['command']}",
            f"[The page](simulate/{name}.html), [JSON](simulate/{name}.json). Made in {on['seconds']} s with "
            f"{on['processes']} process{'es' if on['processes'] > 1 else ''} on {on['cores']} virtual cores, at a load "
            f"of {on['load_before']:g} by others; what costs processor time was timed at a load of "
            f"{on['timed_at_load']:g}.",
            *(f"{part['head']}:\n\n{table(part['rows'])}".removeprefix(":\n\n") for part in facts["tables"]),
        ]
    )


def _legend() -> str:
    return "## What the columns are\n\n" + "\n".join(f"* *{name}*: {text}" for name, text in rows.EXPLAINED)


def _calibration(facts: dict[str, Any]) -> str:
    lines = [rows.DEVIATION_HEAD, *rows.deviations(facts)]
    costs = [["Synapse works for", "here, ms", "in the reports, ms"]]
    costs += [[name, f"{one['here'] * 1e3:.2f}", f"{one['model'] * 1e3:.2f}"] for name, one in facts["costs"].items()]
    return "\n\n".join(
        [
            "## The model beside real runs",
            f"    {facts['command']}",
            " ".join([rows.DEVIATION_EXPLAINED, rows.calibration_words(facts), *filter(None, [facts.get("note")])]),
            table(lines),
            table(costs),
        ]
    )


if __name__ == "__main__":
    main()
