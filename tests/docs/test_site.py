"""mkdocs.yml and the list of decisions show every page that there is, and the site builds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest

NAV = (pages.DOCS.parent / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
DECISIONS = pages.DOCS / "adr"


def test_every_page_is_in_the_navigation_once() -> None:
    shown = re.findall(r"^ +- (?:.*: )?(\S+\.md)$", NAV, re.MULTILINE)
    assert len(shown) == len([line for line in NAV.splitlines() if ".md" in line])
    assert sorted(shown) == sorted(str(page.relative_to(pages.DOCS)) for page in pages.DOCS.rglob("*.md"))


def test_the_first_page_leads_to_every_guide_and_every_result() -> None:
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", (pages.DOCS / "index.md").read_text()))
    guides = [*pages.DOCS.glob("*.md"), *pages.DOCS.glob("how-to/*.md"), *pages.DOCS.glob("results/*.md")]
    assert {str(page.relative_to(pages.DOCS)) for page in guides} - linked == {"index.md"}


def test_the_site_builds_and_every_link_and_anchor_leads_somewhere(tmp_path: Path) -> None:
    """Strict: what would be a warning fails."""
    pytest.importorskip("mkdocs", reason="the extra `docs` is not installed")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)],
        cwd=pages.DOCS.parent,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "reference" / "api-mls" / "index.html").is_file()


def test_every_decision_is_listed_under_its_title() -> None:
    listed = re.findall(r"^\* \[(.*)\]\((.*)\)$", (DECISIONS / "README.md").read_text(), re.MULTILINE)
    decisions = sorted(DECISIONS.glob("[0-9]*.md"))
    titles = [page.read_text().partition("\n")[0].removeprefix("# ") for page in decisions]
    assert listed == [(title, page.name) for title, page in zip(titles, decisions, strict=True)]
