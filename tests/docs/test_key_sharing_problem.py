"""The figures of docs/key-sharing-problem.md are those of the reports, most of them of the clinic's. Run as a script it
writes the tables; what the sentences say has to be mended by hand."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE, REPORT = DOCS / "key-sharing-problem.md", DOCS / "results/simulate/clinic.json"

HOW_TO = DOCS / "how-to/key-sharing.md"

SHOWN = ("scheme", "", "messages", "up", "down", "a leaver listens", "in clear")
ORDERED = ("dave", "webex", "wire", "cloudflare")
GROWN = ("zoom", "element-call", "famedly", "keyshare", "mlsrtc")


def clinic(report: dict[str, Any]) -> str:
    """The table of the trace, some of its columns."""
    head, *rows = report["tables"][0]["rows"]
    places = [head.index(name) for name in SHOWN]
    lines = [[row[place] for place in places] for row in rows]
    listens = SHOWN.index("a leaver listens")
    for line in lines:
        middle, _, most = line[listens].split(" / ")
        line[listens] = middle if middle == most else f"{middle} to {most}"
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


def read(trace: str) -> dict[str, Any]:
    """A report."""
    return dict(json.loads((DOCS / f"results/simulate/{trace}.json").read_text()))


def outcomes(trace: str) -> dict[str, Any]:
    """By scheme. Where the real machines play with fewer people, of those: they come last."""
    return {outcome["scheme"]: outcome for outcome in read(trace)["outcomes"]}


def words(page: Path) -> str:
    """On one line."""
    return " ".join(page.read_text().split())


def messages(outcome: dict[str, Any]) -> int:
    return sum(int(outcome["counts"][what]) for what in ("to_device", "room_events", "requests"))


def listens(trace: str, scheme: str) -> float:
    return float(outcomes(trace)[scheme]["measures"]["listening"]["most"])


def down(trace: str, scheme: str) -> float:
    return float(outcomes(trace)[scheme]["counts"]["bytes_down"])


def test_what_the_page_says_of_messages_and_bytes_is_so() -> None:
    page, found = words(PAGE), outcomes("clinic")
    ours = found["mlsrtc"]
    assert f"it costs {messages(ours)} messages, the fewest of all, and a seventieth" in page
    assert messages(ours) == min(map(messages, found.values()))
    for handed in ("element-call", "keyshare"):
        assert 60 < found[handed]["counts"]["bytes_up"] / ours["counts"]["bytes_up"] < 80
    megabytes = [f"{down('clinic', name) / 1e6:.1f} MB" for name in ("mlsrtc", "element-call", "keyshare")]
    assert "received*: {} with it, {} with Element Call's way, {} with this library's own".format(*megabytes) in page


def test_what_the_page_says_of_who_receives_less_is_so() -> None:
    for trace in ("stand-up", "flaky-train", "clinic", "mass-leave", "lecture"):
        assert all(down(trace, other) < down(trace, "mlsrtc") for other in ("zoom", *ORDERED))
    for trace in ("stand-up", "flaky-train"):
        assert down(trace, "mlsrtc") == max(down(trace, name) for name in outcomes(trace))


def test_what_the_page_says_of_who_left_is_so() -> None:
    page = words(PAGE)
    clinic, stand_up, mass_leave = (listens(trace, "mlsrtc") for trace in ("clinic", "stand-up", "mass-leave"))
    assert f"locked out after {clinic:.2f} seconds at most. In the stand-up it is {stand_up:.2f}," in page
    assert f"40 of 60 leave within five seconds, {mass_leave:.2f}." in page
    ordered = max(listens("clinic", name) for name in ORDERED)
    assert f"that is sooner: {ordered:.2f} seconds at most here" in page
    assert ordered < clinic


@pytest.mark.parametrize(
    ("scheme", "of"), [("element-call", "n(n-2)"), ("keyshare", "(n-1)(n-2) + 1"), ("mlsrtc", "constant")]
)
def test_what_the_page_says_of_growth_is_so(scheme: str, of: str) -> None:
    points = {point["n"]: point["leave"]["messages"] for point in read("clinic")["growth"] if point["scheme"] == scheme}
    assert points.keys() >= {5, 10, 20, 50, 100, 200}
    for n, sent in points.items():
        pairs = (n - 1) * (n - 2)
        low, high = {"constant": (1, 3), "(n-1)(n-2) + 1": (pairs + 1, pairs + 1)}.get(of, (pairs, n * n))
        assert low <= sent <= high, n


def test_the_pages_say_the_same_of_a_leave_of_fifty() -> None:
    found = {point["n"]: point for point in read("clinic")["growth"] if point["scheme"] == "keyshare"}
    assert "these are 2,352 messages" in words(PAGE)
    assert "of 50 it costs 2,352, of 200 it costs 39,402" in words(HOW_TO)
    assert [found[n]["leave"]["messages"] for n in (50, 200)] == [2353, 39403]  # with the one that says it


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(), json.loads(REPORT.read_text())))
