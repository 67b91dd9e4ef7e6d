"""How fast `mlsrtc.mls` is, beside other engines in the same groups, the floor, and its own core.

    pip install '.[test,bench]' && PYTHONPATH=python:tests:tests/mls:tests/interop python tests/benchmarks/door_speed.py

Needs an extension module of the release profile; cargo for OpenMLS, mls-rs and the core's bench; Node 20 for ts-mls.
The figures go to a file, from which `door_plot.py` draws; tables are printed.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from door_engines import ENGINES, OPERATIONS, Times, measured
from door_floor import counts, floor
from door_group import BLANK, SET
from door_native import compared, gains

SIZES = (10, 50, 200, 1000)
IN_PYTHON = ("rine-mls", "rfc9420", "davey")
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "door.json"

Figures = dict[str, Any]


def told(times: Times) -> Figures:
    gap = {"gap": times.gap} if times.median is None else {"ns": times.median, "rounds": len(times.rounds)}
    return gap | ({"notes": sorted(times.notes)} if times.notes else {})


def run(sizes: Sequence[int], engines: Sequence[str], found: Figures) -> None:
    """Puts the figures for these sizes in the place of those that are there."""

    def tell(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    for members in sizes:
        found["calls"][str(members)] = compared(members)
        tell(f"{members} members: binding")
    for members in {50, 1000} & set(sizes):
        found["gains"][str(members)] = gains(members)
        tell(f"{members} members: threads")
    primitives = found["calls"][str(sizes[0])]["primitives"]
    for members in sizes:
        for tree in (SET, BLANK):
            found["engines"][tree][str(members)] = {
                name: {operation: told(times) for operation, times in by_operation.items()}
                for name, by_operation in measured(tree, members, engines, tell).items()
            }
            found["floor"][tree][str(members)] = {
                name: {"counts": dict(counted), "ns": floor(counted, primitives)}
                for name, counted in counts(tree, members).items()
            }


# -- tables ------------------------------------------------------------------------------------------------------------


def milliseconds(ns: float) -> str:
    value = ns / 1e6
    return f"{value:,.0f}" if value >= 100 else f"{value:.{2 - (value >= 10)}f}" if value >= 0.1 else f"{value:.4f}"


def tables(found: Figures) -> str:
    """One for each tree and size: operations by engines, in milliseconds. A number in brackets is a gap."""
    made, gaps = list[str](), list[str]()
    for tree, by_size in found["engines"].items():
        for size, by_engine in by_size.items():
            floors = found["floor"][tree][size]
            made += [
                f"{tree} tree, n={size}",
                f"| | {' | '.join(by_engine)} | floor |\n" + "| --- " * (len(by_engine) + 2) + "|",
            ]
            for operation in OPERATIONS:
                cells = [cell(by_engine[name][operation], gaps) for name in by_engine]
                cells.append(milliseconds(floors[operation]["ns"]) if operation in floors else "")
                made[-1] += f"\n| {operation} | {' | '.join(cells)} |"
    return "\n\n".join(made + [f"({number}) {gap}" for number, gap in enumerate(gaps, 1)])


def cell(figure: Figures, gaps: list[str]) -> str:
    """Fewer than four rounds are marked with *, a commit that adds with a path with †."""
    if "gap" in figure:
        if figure["gap"] not in gaps:
            gaps.append(figure["gap"])
        return f"({gaps.index(figure['gap']) + 1})"
    return milliseconds(figure["ns"]) + "\\*" * (figure["rounds"] < 4) + "†" * bool(figure.get("notes"))


def ratio(found: Figures, tree: str, size: str, operation: str) -> tuple[float, str]:
    """How many times as long the best other engine with a Python API takes, and which that is."""
    figures = found["engines"][tree][size]
    others = {
        name: figures[name][operation]["ns"] for name in IN_PYTHON if "ns" in figures.get(name, {}).get(operation, {})
    }
    best = min(others, key=lambda name: others[name])
    return others[best] / figures["mlsrtc"][operation]["ns"], best


MET, MISSED, NOT_SHOWN = "met", "**missed**", "neither shown nor refuted"


def verdict(is_met: bool) -> str:
    return MET if is_met else MISSED


def binding(differences: Mapping[str, float]) -> str:
    """Whether the binding of a call, in µs by members, is within its goal of 3 µs, and in groups of how many. It cannot
    save time: a call that somewhere comes out quicker by more than the goal varies by more, so that of it nothing but
    what lies within the goal says anything."""
    other = NOT_SHOWN if min(differences.values()) < -3 else MISSED
    sizes: dict[str, list[str]] = {}
    for members, over in differences.items():
        sizes.setdefault(MET if abs(over) <= 3 else other, []).append(members)
    if len(sizes) == 1:
        return next(iter(sizes))
    return "; ".join(f"{one} at n={', '.join(members)}" for one, members in sizes.items())


def goals(found: Figures) -> list[tuple[str, str, str]]:
    """What was aimed at, what came, and whether it is met."""
    size = list(found["engines"][SET])[-1]
    made = []
    wanted = [("process a removal", 3), ("process an add", 3), ("remove", 3), ("add", 3), ("join", 1.5)]
    for tree in (SET, BLANK):
        for operation, least in wanted:
            times, best = ratio(found, tree, size, operation)
            made.append(
                (
                    f"{operation}, {tree} tree, n={size}: ≥ {least} × the best Python peer",
                    f"{times:.2f} × ({best})",
                    verdict(times >= least),
                )
            )
    calls = found["calls"][size]
    exported, keys = calls["python"]["export"] / 1e3, calls["python"]["export all"] / 1e6
    made.append(("exporter ≤ 2 µs", f"{exported:.2f} µs", verdict(exported <= 2)))
    made.append((f"{size} sender keys ≤ 1.2 ms", f"{keys:.2f} ms", verdict(keys <= 1.2)))
    for name in next(iter(found["calls"].values()))["python"]:
        differences = {n: (calls["python"][name] - calls["rust"][name]) / 1e3 for n, calls in found["calls"].items()}
        over = ", ".join(f"{one:+.2f}" for one in differences.values())
        made.append((f"binding of {name} ≤ 3 µs, n={', '.join(differences)}", f"{over} µs", binding(differences)))
    for members, by_call in found["gains"].items():
        for name, times in by_call.items():
            made.append((f"two threads, {name}, n={members} ≥ 1.8 ×", f"{times:.2f} ×", verdict(times >= 1.8)))
    return made


def printed(found: Figures) -> None:
    print(tables(found))
    print("\n| goal | figure | |\n| --- | --- | --- |")
    for goal in goals(found):
        print(f"| {' | '.join(goal)} |")
    primitives: Mapping[str, int] = next(iter(found["calls"].values()))["primitives"]
    print("\n| primitive | µs |\n| --- | --- |")
    for name, ns in primitives.items():
        print(f"| {name} | {ns / 1e3:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-n", dest="sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--engines", nargs="+", default=ENGINES, choices=ENGINES)
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the figures go")
    parser.add_argument("--keep", action="store_true", help="keep the figures of the sizes that are not measured now")
    parser.add_argument(
        "--again", action="store_true", help="measure nothing: print the tables of the figures that are there"
    )
    options = parser.parse_args()
    if not options.again:
        nothing: Figures = {"calls": {}, "gains": {}, "engines": {SET: {}, BLANK: {}}, "floor": {SET: {}, BLANK: {}}}
        figures = json.loads(options.results.read_text()) if options.keep else nothing
        run(options.sizes, options.engines, figures)
        options.results.write_text(json.dumps(figures, indent=1) + "\n")
    printed(json.loads(options.results.read_text()))


if __name__ == "__main__":
    main()
