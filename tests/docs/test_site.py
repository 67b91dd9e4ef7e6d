"""mkdocs.yml and the list of decisions show every page that there is."""

import re

import pages

NAV = (pages.DOCS.parent / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
DECISIONS = pages.DOCS / "adr"


def test_every_page_is_in_the_navigation_once() -> None:
    shown = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", NAV, re.MULTILINE)
    assert len(shown) == len([line for line in NAV.splitlines() if ".md" in line])
    assert sorted(shown) == sorted(str(page.relative_to(pages.DOCS)) for page in pages.DOCS.rglob("*.md"))


def test_every_decision_is_listed_under_its_title() -> None:
    listed = re.findall(r"^\* \[(.*)\]\((.*)\)$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    decisions = sorted(DECISIONS.glob("[0-9]*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in decisions]
    assert listed == [(title, page.name) for title, page in zip(titles, decisions, strict=True)]
