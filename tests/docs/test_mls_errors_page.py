"""docs/reference/mls-errors.md lists every row of the tables of the MLS door. Run this file to write the page anew:

PYTHONPATH=python:tests:tests/mls:tests/docs python tests/docs/test_mls_errors_page.py
"""

import pages
import test_bad_input as door

PAGE = pages.DOCS / "reference" / "mls-errors.md"

HEAD = """# What the MLS door refuses

<!-- Written by tests/docs/test_mls_errors_page.py from the tables that the tests run. Do not edit. -->

An error says whose fault it is and why; nothing was changed, and what is genuine still applies. `reason` is a slug that
a program can read and that stays the same across releases. `section` names the place in the standard that demands it,
where there is one, and `where` the structure that was wrong.

Each row was done to something that is taken without it: {rows} rows, {reasons} reasons. Where several clauses of the
standard are broken at once, the one that the engine finds first is told.
"""

PARTS = (
    ("What others sent", "Raised as `mlsrtc.errors.RemoteProtocolError`.", door.REMOTE),
    ("What the caller asked for", "Raised as `mlsrtc.errors.LocalProtocolError`.", door.LOCAL),
    (
        "What a disk refuses",
        "Raised as `mlsrtc.errors.StoreError`. A full disk (`full`) and one that fails (`failed`) have no row here.",
        door.STORE,
    ),
)


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def written() -> str:
    every = [case for _, _, tables in PARTS for table in tables.values() for case in table]
    page = HEAD.format(rows=len(every), reasons=len({case.reason for case in every}))
    for part, about, tables in PARTS:
        page += f"\n## {part}\n\n{about}\n"
        for title, table in tables.items():
            where = any(case.where for case in table)
            head = ["What was done", "reason", *(["where"] if where else []), "section"]
            page += f"\n### {title}\n\n| {' | '.join(head)} |\n|{' --- |' * len(head)}\n"
            for case in table:
                cells = [case.name, code(case.reason), *([code(case.where)] if where else []), case.section]
                page += f"| {' | '.join(cells)} |\n"
    return page


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == written()


def test_nothing_in_a_row_breaks_its_table() -> None:
    for _, _, tables in PARTS:
        for table in tables.values():
            assert len({case.name for case in table}) == len(table)
            for case in table:
                assert not {"|", "\n", "`"} & set(case.name + case.reason + case.where + case.section)


if __name__ == "__main__":
    PAGE.write_text(written())
