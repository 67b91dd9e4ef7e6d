"""Whoever copies a program out of a page can check its types: `mypy --strict` has nothing against any."""

from pathlib import Path

import pages

PROGRAMS = (
    ("tutorial.md",),
    ("tutorial-messages.md",),
    ("how-to/migrate.md",),
    ("how-to/call.md", "how-to/sframe.md"),  # the second goes on where the first ends
)


def test_the_pages_programs_pass_a_strict_type_check(tmp_path: Path) -> None:
    written = []
    for names in PROGRAMS:
        written.append(tmp_path / f"{Path(names[0]).stem.replace('-', '_')}.py")
        written[-1].write_text(pages.program(*names))
    assert pages.untyped(*written) == ""


def test_every_page_that_was_written_by_hand_is_checked() -> None:
    elsewhere = {"how-to/livekit.md"}  # in test_how_to.py, where LiveKit is installed
    here = [str(page.relative_to(pages.DOCS)) for part in (".", "how-to") for page in (pages.DOCS / part).glob("*.md")]
    assert {name for name in here if pages.blocks(name)} - elsewhere == {name for names in PROGRAMS for name in names}


def test_what_does_not_fit_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("from mlsrtc.mls import Client\n\nname: str = Client.identity\n")
    assert "program.py:3: error" in pages.untyped(program)
