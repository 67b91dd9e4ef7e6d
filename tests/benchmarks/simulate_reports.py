"""The reports of `mlsrtc simulate` under docs/results: a page with plots and a JSON file for each trace, and
docs/results/simulate.md with all the tables. Each trace is played once, as the command in its page plays it.

    PYTHONPATH=python python tests/benchmarks/simulate_reports.py clinic lecture

Traces that are not named keep their files, and their tables are taken from those.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from stage import machine, table

from mlsrtc.simulate import primitives
from mlsrtc.simulate import table as rows
from mlsrtc.simulate.compare import GROWTH, REAL_PEOPLE, Comparison, compare, read_calibration
from mlsrtc.simulate.page import page
from mlsrtc.simulate.trace import BUILT_IN, built_in

RESULTS = Path(__file__).parents[2] / "docs" / "results"
REPORTS = RESULTS / "simulate"
CALIBRATION = REPORTS / "synapse.json"
GROWN = {"clinic": 1000}  # how schemes grow is the same for every trace: one report goes all the way
SEED = 1


def main() -> None:
    """Play, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("traces", nargs="*", metavar="TRACE", help=f"play these anew, of {', '.join(BUILT_IN)}")
    parser.add_argument("--processes", type=int, default=2, help="at a time (default 2)")
    options = parser.parse_args()
    for name in options.traces:
        _report(name, options.processes)
    (RESULTS / "simulate.md").write_text(_all())


def _report(name: str, processes: int) -> None:
    growth, began, on = GROWN.get(name, 200), time.monotonic(), machine()
    comparison = compare(
        built_in(name, SEED),
        primitives.measured(),
        seed=SEED,
        growth=[n for n in GROWTH if n <= growth],
        calibration=read_calibration(CALIBRATION) if CALIBRATION.exists() else None,
        processes=processes,
    )
    write(name, comparison, growth, on | {"seconds": round(time.monotonic() - began), "processes": processes})


def write(name: str, comparison: Comparison, growth: int, on: dict[str, Any]) -> None:
    """The two files of one trace. `on`: the machine, how long it took, and in how many processes."""
    command = f"mlsrtc simulate --trace {name} --seed {SEED} --growth {growth} --html docs/results/simulate/{name}.html"
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


def _all() -> str:
    files = {name: REPORTS / f"{name}.json" for name in BUILT_IN}
    made = {name: json.loads(file.read_text()) for name, file in files.items() if file.exists()}
    parts = [HEADER, *(_section(name, facts) for name, facts in made.items()), _legend()]
    if CALIBRATION.exists():
        parts.append(_calibration(json.loads(CALIBRATION.read_text())))
    return "\n\n".join(parts) + "\n"


HEADER = f"""# Key distribution schemes on one trace

Written by `tests/benchmarks/simulate_reports.py`, which plays each trace once. *model*: of what somebody publishes
about its scheme; *real*: the state machines of mlsrtc themselves, with at most {REAL_PEOPLE} people, since all their
devices run in one process. Every scheme gets the same trace, the same links and the same homeserver, in place of its
own service: what is compared is the schemes. Each page has plots, how the schemes grow with the call, and every
constant with its source; the clinic's goes up to a call of 1,000. Bytes, messages and crypto CPU are of all devices
together."""


def _section(name: str, facts: dict[str, Any]) -> str:
    on = facts["machine"]
    return "\n\n".join(
        [
            f"## {name.replace('-', ' ').capitalize()}",
            " ".join([facts["sentences"][0].capitalize(), *facts["sentences"][2:]]) + f" Seed {facts['seed']}.",
            f"    {facts['command']}",
            f"[The page](simulate/{name}.html), [JSON](simulate/{name}.json). Made in {on['seconds']} s with "
            f"{on['processes']} process{'es' if on['processes'] > 1 else ''} on {on['cores']} virtual cores, at a load "
            f"of {on['load_before']:g} by others.",
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
