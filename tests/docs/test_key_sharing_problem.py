"""The figures of docs/key-sharing-problem.md are those of the clinic's report. Run as a script it writes them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, REPORT = DOCS / "key-sharing-problem.md", DOCS / "results/simulate/clinic.json"

SHOWN = ("scheme", "", "messages", "up", "a leaver listens", "in clear")
GROWN = ("zoom", "element-call", "famedly", "keyshare", "mlsrtc")


def clinic(report: dict[str, Any]) -> str:
    """The table of the trace, some of its columns."""
    head, *rows = report["table"]
    places = [head.index(name) for name in SHOWN]
    lines = [[row[place] for place in places] for row in rows]
    for line in lines:
        middle, _, most = line[4].split(" / ")
        line[4] = middle if middle == most else f"{middle} to {most}"
    return _table([list(SHOWN), *lines])


def growth(report: dict[str, Any]) -> str:
    """Messages for one leave, by how many were in the call."""
    titles = {scheme["name"]: scheme["title"] for scheme in report["schemes"]}
    sizes = sorted({point["n"] for point in report["growth"]})
    found = {(point["scheme"], point["n"]): point["leave"]["messages"] for point in report["growth"]}
    head = ["messages for one leave, of", *map(str, sizes)]
    rows = [[titles[name], *(f"{found[name, n]:,}" if (name, n) in found else "" for n in sizes)] for name in GROWN]
    return _table([head, *rows])


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *body))


def filled(page: str, report: dict[str, Any]) -> str:
    for name, table in (("clinic", clinic(report)), ("growth", growth(report))):
        place = re.compile(rf"(<!-- {name}: [^\n]*-->\n).*?(<!-- end of {name} -->)", re.DOTALL)
        page, found = place.subn(lambda match, table=table: f"{match[1]}\n{table}\n\n{match[2]}", page)
        assert found == 1, name
    return page


def test_the_figures_are_those_of_the_report() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text(), json.loads(REPORT.read_text()))


@pytest.mark.parametrize(("scheme", "of"), [("element-call", "n(n-2)"), ("mlsrtc", "constant")])
def test_what_the_page_says_of_growth_is_so(scheme: str, of: str) -> None:
    points = [point for point in json.loads(REPORT.read_text())["growth"] if point["scheme"] == scheme]
    assert len(points) > 2
    for point in points:
        n, messages = point["n"], point["leave"]["messages"]
        assert messages <= 3 if of == "constant" else (n - 1) * (n - 2) <= messages <= n * n


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), json.loads(REPORT.read_text())))
