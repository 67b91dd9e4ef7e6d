"""Plays `mlsrtc demo --json` several times for each size and tells the medians and ranges of its own figures.

Issue 4's goals for 50 devices: at most 12 commits for the burst of joins, at most 6 seconds from the last join to one
epoch. Every run is a process of its own, with its own Synapse.
"""

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from stage import add_output, machine, put_out, say, spread, table

COMMAND = "import sys; from mlsrtc.cli import main; sys.exit(main())"
FIGURES = {
    "commits_for_the_joins": "commits for the burst of joins (goal at 50: 12)",
    "seconds_from_last_join_to_one_epoch": "last join → one epoch, s (goal at 50: 6)",
    "seconds_from_leave_to_new_keys": "leave → new keys, s",
    "seconds_from_crash_to_new_keys": "crash → new keys (its delayed leave after 6 s), s",
    "seconds_from_rejoin_to_one_epoch": "rejoin → one epoch, s",
    "epochs": "epochs",
    "commits_sent": "commits sent",
    "words_sent": "words sent",
    "events_sent": "events sent",
    "seconds_in_all": "whole command, s",
}


def one_run(n: int) -> dict[str, Any]:
    """The `result` line of one demo, with `seconds_in_all` and the exit status."""
    began = time.monotonic()
    played = subprocess.run(
        [sys.executable, "-c", COMMAND, "demo", "-n", str(n), "--json"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in played.stdout.splitlines() if line.startswith("{")]
    result = next((line for line in lines if line["type"] == "result"), {"passed": False, "wrong": ["no result"]})
    return {**result, "seconds_in_all": round(time.monotonic() - began, 2), "exit_status": played.returncode}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All runs."""
    facts: dict[str, Any] = {"machine": machine(), "runs": options.runs, "sizes": {}}
    for n in options.n:
        runs = []
        for number in range(options.runs):
            runs.append(one_run(n))
            told = "passed" if runs[-1]["passed"] else f"FAILED: {runs[-1]['wrong']}"
            say(f"n = {n}, run {number + 1}: {told} in {runs[-1]['seconds_in_all']} s", quiet=options.quiet)
        good = [run for run in runs if run["passed"] and run["exit_status"] == 0]
        figures = {name: spread([run[name] for run in good]) for name in FIGURES if good and name in good[0]}
        facts["sizes"][n] = {"passed": len(good), "figures": figures, "each_run": runs}
    return facts


def describe(facts: dict[str, Any]) -> str:
    """The short table."""
    rows = [["devices", "what", "median", "least", "most"]]
    for n, size in facts["sizes"].items():
        rows.append([str(n), "runs that passed", f"{size['passed']} of {facts['runs']}", "", ""])
        for name, part in size["figures"].items():
            rows.append([str(n), FIGURES[name], *(f"{part[key]:g}" for key in ("median", "least", "most"))])
    return table(rows)


def main() -> None:
    """Read the options, measure, print; the exit status is 1 if a run did not pass."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", type=int, nargs="+", default=[12, 50], metavar="N", help="sizes (default 12 50)")
    parser.add_argument("--runs", type=int, default=5, help="runs of each size (default 5)")
    add_output(parser)
    options = parser.parse_args()
    facts = measure(options)
    put_out(options, facts, describe(facts))
    sys.exit(0 if all(size["passed"] == options.runs for size in facts["sizes"].values()) else 1)


if __name__ == "__main__":
    main()
