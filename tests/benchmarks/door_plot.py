"""Draws the figures of `door_speed.py`.

pip install '.[bench]' && python tests/benchmarks/door_plot.py docs/results/door.json docs/results/door.svg
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.lines import Line2D

OPERATIONS = ("process a removal", "remove", "add", "join", "create", "export all")
TREES = {"set": "every node of the tree set", "blank": "no node of the tree set"}
COLOURS = {
    "mlsrtc": "#d62728",
    "rine-mls": "#1f77b4",
    "rfc9420": "#9467bd",
    "davey": "#8c564b",
    "ts-mls": "#e377c2",
    "OpenMLS": "#2ca02c",
    "mls-rs": "#7f7f7f",
}


def line(axes: Any, by_size: dict[str, Any], **look: Any) -> None:
    points = [(int(size), ns / 1e6) for size, ns in by_size.items() if ns is not None]
    if points:
        axes.plot(*zip(*points, strict=True), **look)


def panel(axes: Any, found: dict[str, Any], tree: str, operation: str) -> None:
    by_size, floors = found["engines"][tree], found["floor"][tree]
    for name, colour in COLOURS.items():
        figures = {size: by_size[size].get(name, {}).get(operation, {}).get("ns") for size in by_size}
        line(axes, figures, color=colour, marker="o", markersize=3, linewidth=2 if name == "mlsrtc" else 1)
    floor = {size: floors[size][operation]["ns"] for size in floors}
    line(axes, floor, color="black", linestyle=":", linewidth=1.5)
    axes.set(xscale="log", yscale="log", title=operation)
    axes.set_xticks([int(size) for size in by_size], list(by_size))
    axes.minorticks_off()
    axes.grid(alpha=0.3)


def draw(found: dict[str, Any], target: Path) -> None:
    plt.rcParams |= {"svg.hashsalt": "door", "svg.fonttype": "none", "font.size": 8}
    figure, rows = plt.subplots(len(TREES), len(OPERATIONS), figsize=(15, 6), layout="constrained")
    for (tree, title), row in zip(TREES.items(), rows, strict=True):
        for operation, axes in zip(OPERATIONS, row, strict=True):
            panel(axes, found, tree, operation)
        row[0].set_ylabel(f"{title}\nmilliseconds")
    for axes in rows[-1]:
        axes.set_xlabel("members")
    marks = [Line2D([], [], color=colour, marker="o", markersize=3) for colour in COLOURS.values()]
    marks.append(Line2D([], [], color="black", linestyle=":"))
    figure.legend(marks, [*COLOURS, "floor, one core"], loc="outside lower center", ncols=len(marks), frameon=False)
    figure.savefig(target, metadata={"Date": None})


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]))
