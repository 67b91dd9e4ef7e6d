"""docs/how-to/migrate.md: its programs run, and its right column names what there is. tests/interop/test_migration.py
asks the other packages about the rest."""

import re
from typing import Any

import pages

from mlsrtc import errors, mls

PAGE = "how-to/migrate.md"


def rows() -> list[list[str]]:
    lines = [line for line in (pages.DOCS / PAGE).read_text().splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_programs_run_from_top_to_bottom() -> None:
    namespace: dict[str, Any] = {}
    for code in pages.compiled(PAGE):
        exec(code, namespace)
    assert namespace["at_ada"].epoch == 3
    assert [member.identity for member in namespace["joined"].members()] == [bytes(7) + b"\1", bytes(7) + b"\2"]


def test_the_right_column_names_what_there_is() -> None:
    assert len(rows()) > 40
    for _, ours, _ in rows():
        for name in re.findall(r"`(.*?)`", ours):
            thing: Any = errors if hasattr(errors, name) else mls
            for part in name.split("."):
                thing = getattr(thing, part)
