"""docs/results/conformance.md lists every attack by a member. Run this file to write the page anew:

PYTHONPATH=python:tests:tests/mls python tests/docs/test_conformance_page.py
"""

from itertools import groupby
from pathlib import Path

from attacking import Attack
from attacks import ATTACKS, LAWFUL

PAGE = Path(__file__).parents[2] / "docs" / "results" / "conformance.md"

CHAPTERS = {
    2: "Presentation language",
    5: "Cryptographic objects",
    6: "Message framing",
    7: "Ratchet tree operations",
    8: "Key schedule",
    9: "Secret tree",
    10: "Key packages",
    11: "Group creation",
    12: "Group evolution",
    13: "Extensibility",
    15: "Application messages",
    17: "IANA considerations",
}

HEAD = """# Attacks by a signed member

<!-- Written by tests/docs/test_conformance_page.py from the table that the tests run. Do not edit. -->

A member that holds every secret of its epoch breaks one MUST of RFC 9420 and gets all else right: it signs, hashes and
tags what it has made. Each of these {refused} attacks is refused by everybody it reaches; the error says the reason and
names the section, the group is unchanged, and the next genuine commit applies. Made without the one thing, each is
taken. Run them with `pytest tests/mls/test_attacks.py`; the table is `tests/mls/attacks.py`, the member that makes them
`tests/mls/rogue.py`.

Where the error names another section, it is given in brackets: the check that catches it stands there.

{taken} more are [taken](#taken-although-the-standard-forbids-it), with the reason, and {lawful} things
that it may do are [refused](#refused-although-the-standard-allows-it).
"""

TAKEN = """
## Taken, although the standard forbids it

The tests expect these to be taken and fail when one is refused, so that this list stays true.

| section | what must be | what the member did | why it is taken |
| --- | --- | --- | --- |
"""

REFUSED = """
## Refused, although the standard allows it

The tests expect these to be refused and fail when one is taken. `Client` refuses to make such a leaf
(`unsupported_extension`); it refuses other implementations' with the reason here, so that they are not added and
a group that has one is not joined.

| section | what is allowed | what the member did | reason | why it is refused |
| --- | --- | --- | --- | --- |
"""


def chapter(attack: Attack) -> int:
    return int(attack.section.split(".")[0])


def written() -> str:
    refused = sorted((one for one in ATTACKS if not one.taken), key=chapter)
    taken = [one for one in ATTACKS if one.taken]
    page = HEAD.format(refused=len(refused), taken=len(taken), lawful=len(LAWFUL))
    for number, attacks in groupby(refused, chapter):
        page += f"\n## {number} {CHAPTERS[number]}\n\n| section | what must be | what the member did | reason |\n"
        page += "| --- | --- | --- | --- |\n"
        for one in attacks:
            section = f"{one.section} ({one.told})" if one.told else one.section
            page += f"| {section} | {one.must} | {one.how} | `{one.reason}` |\n"
    page += TAKEN
    page += "".join(f"| {one.section} | {one.must} | {one.how} | {one.taken} |\n" for one in taken)
    page += REFUSED
    page += "".join(
        f"| {one.section} ({one.told}) | {one.must} | {one.how} | `{one.reason}` | {one.refused} |\n" for one in LAWFUL
    )
    return page


def test_the_page_is_what_the_table_says() -> None:
    assert PAGE.read_text() == written()


if __name__ == "__main__":
    PAGE.write_text(written())
