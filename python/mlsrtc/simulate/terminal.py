"""The comparison on a terminal. Knows rich."""

from typing import TextIO

from rich import box
from rich.console import Console
from rich.table import Table

from mlsrtc.simulate import table
from mlsrtc.simulate.compare import Comparison

WIDE = 190  # columns where nobody says how wide the output is: nothing is cut off


def show(comparison: Comparison, stream: TextIO) -> None:
    """The tables, and what has to be known to read them."""
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else WIDE)
    for sentence in table.sentences(comparison):
        console.print(sentence)
    for part in table.parts(comparison):
        if part.head:
            console.print(f"\n{part.head}")
        console.print(_outcomes(comparison, part))
    for name, meaning in table.EXPLAINED:
        console.print(f"  [bold]{name}[/bold]  {meaning}")
    console.print()
    for scheme in comparison.schemes:
        console.print(f"  [bold]{scheme.title}[/bold]  {scheme.note}")
    if comparison.growth:
        console.print("\nHow each grows: a settled call of n, in which one leaves and later one joins")
        console.print(_growth(comparison))
    deviations = table.deviations(comparison.calibration)
    if deviations:
        console.print("\nThe model beside real runs on Synapse")
        grid = _grid(*table.DEVIATION_HEAD)
        for row in deviations:
            grid.add_row(*row)
        console.print(grid)
        console.print(f"  {table.DEVIATION_EXPLAINED} {table.calibration_words(comparison.calibration)}")
    console.print(f"  {_constants(comparison)}")


def _grid(*head: str) -> Table:
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, name in enumerate(head):
        grid.add_column(name, justify="left" if number == 0 else "right", overflow="fold")
    return grid


def _outcomes(comparison: Comparison, part: table.Part) -> Table:
    grid = _grid(*table.HEAD)
    for row in table.rows(comparison, part):
        grid.add_row(*row.cells, style="bold green" if row.real else None)
    return grid


def _growth(comparison: Comparison) -> Table:
    grid = _grid(
        "scheme",
        *(
            f"{'leave: ' if 0 < n < 4 else 'join: ' if n == 6 else ''}{name}"
            for n, name in enumerate(table.GROWTH_HEAD)
        ),
    )
    for title, rows in table.growth_rows(comparison):
        for number, row in enumerate(rows):
            grid.add_row("" if number else title, *row)
        grid.add_section()
    return grid


def _constants(comparison: Comparison) -> str:
    every = [constant for scheme in comparison.schemes for constant in scheme.constants.values()]
    assumed = sum(constant.assumed for constant in every)
    return f"{len(every)} constants of the schemes, {assumed} of them assumed; --json and --html have every source."
