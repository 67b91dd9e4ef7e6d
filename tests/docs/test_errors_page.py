"""docs/reference/errors.md lists every row of the tables of bad input. Run this file to write the page anew:

PYTHONPATH=python:tests:tests/keyshare python tests/docs/test_errors_page.py
"""

from collections.abc import Iterable
from pathlib import Path

import test_bad_input_keys as keys

import focus_answers as focus
import test_bad_input_session as session
import test_bad_input_welcome as welcome
import test_bad_input_wire as wire
import test_judge_clauses as judge

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"

Row = tuple[str, str, str]

HEAD = """# What is refused, and how it is told

<!-- Written by tests/docs/test_errors_page.py from the tables that the tests run. Do not edit. -->

What does not hold is raised as `mlsrtc.errors.RemoteProtocolError`, and nothing was changed: `reason` is a slug that a
program can read and that stays the same across releases, `where` the field of the event, or the structure inside its
bytes, that was wrong. What could be judged only later, because its parent, its author's join or its file was not there
yet, is told as the notice `mlsrtc.notices.EventRefused` with the same reason and place. A caller's own fault is a
`LocalProtocolError`, and not listed here. What a store cannot read or write is a `StoreError`; its reasons stand in
[the API](api-call.md#storeerror).

Each row was done to something that is taken without it: {rows} rows, {reasons} reasons.
"""


def rows(cases: Iterable[tuple[str, object, str, str]]) -> list[Row]:
    return [(name, reason, where) for name, _, reason, where in cases]


SECTIONS: dict[str, tuple[str, list[Row]]] = {
    "Memberships": ("State and sticky memberships as JSON, without our block.", rows(wire.MEMBERSHIPS)),
    "Memberships of Famedly's form": ("An entry that does not hold is left out, the others count.", rows(wire.FAMEDLY)),
    "Joins and leaves": ("The block of a membership: its fields, binding and signatures.", rows(wire.BLOCKS)),
    "Device keys": ("The chain from a master key to a device, and answers of keys/query.", rows(wire.CHAINS)),
    "Commit events": ("The JSON of a commit, and its files.", rows(wire.COMMITS)),
    "Encodings": ("What MLS messages carry for us: authenticated data, credential, binding.", rows(wire.BYTES)),
    "Words": ("The JSON of a word, and its signature.", rows(wire.WORDS)),
    "Need, have and the room": ("Questions and answers between members, and the room's own state.", rows(wire.OTHERS)),
    "Commits": (
        "Each clause of a valid commit broken alone, by an insider that signs what it sends; judged without keys.",
        rows(judge.BROKEN),
    ),
    "Roots": ("The first commit of a call, which carries its own epoch 0.", rows(judge.BROKEN_ROOTS)),
    "Welcomes": ("What a joiner is shown, against the epoch that the event names.", rows(welcome.WELCOMES)),
    "Trees": ("The ratchet tree that comes with a Welcome.", rows(welcome.TREES)),
    "Memberships in a call": ("Through `Session.receive`, as all that follows.", rows(session.MEMBERSHIPS)),
    "Commits in a call": ("Their parent is known.", rows(session.COMMITS)),
    "Words in a call": ("Their author is known.", rows(session.WORDS)),
    "Questions and answers in a call": ("To-device events.", rows(session.QUESTIONS)),
    "The room in a call": ("The room's own state, and answers of keys/query.", rows(session.ROOM)),
    "Announced foci": (
        "What a homeserver and its .well-known file announce, where no other place has a focus.",
        rows([*focus.ANNOUNCED, *focus.FILES]),
    ),
    "Tokens for a focus": (
        "OpenID tokens of a homeserver and LiveKit tokens of a token service, through `FocusTokens.grant`.",
        rows([*focus.OPENID_TOKENS, *focus.TOKENS]),
    ),
    "Keys that are handed out": (
        "To-device events with media keys, in three forms, room events, and requests for keys.",
        rows(keys.FORMS),
    ),
    "Keys that are handed out, in a call": (
        "Through `SharingSession.receive`; a program is told as `KeyRefused`.",
        rows(keys.ENVELOPES),
    ),
    "Told later": ("As `EventRefused`, when what they wait for has come.", rows(session.LATE)),
}


def code(text: str) -> str:
    return f"`{text}`" if text else ""


def written() -> str:
    every = [row for _, table in SECTIONS.values() for row in table]
    page = HEAD.format(rows=len(every), reasons=len({reason for _, reason, _ in every}))
    for title, (about, table) in SECTIONS.items():
        page += f"\n## {title}\n\n{about}\n\n| What was done | reason | where |\n| --- | --- | --- |\n"
        page += "".join(f"| {name} | {code(reason)} | {code(where)} |\n" for name, reason, where in table)
    return page


def test_the_page_is_what_the_tables_say() -> None:
    assert PAGE.read_text() == written()


def test_every_row_of_every_table_is_on_the_page() -> None:
    tables = [wire.CASES, judge.BROKEN, judge.BROKEN_ROOTS, welcome.CASES, session.CASES, session.LATE, focus.CASES]
    tables.append(keys.CASES)
    assert sum(map(len, tables)) == sum(len(table) for _, table in SECTIONS.values())


def test_nothing_in_a_row_breaks_its_table() -> None:
    for _, table in SECTIONS.values():
        for row in table:
            assert not {"|", "\n", "`"} & set("".join(row))


if __name__ == "__main__":
    PAGE.write_text(written())
