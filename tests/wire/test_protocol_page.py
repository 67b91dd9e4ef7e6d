"""The examples of docs/protocol.md are what the library writes. Run this file to put them there anew."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

import samples

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"
EXAMPLES: dict[str, Any] = {
    "state join": samples.state_join(),
    "sticky join": samples.sticky_join(),
    "famedly": samples.famedly(),
    "state leave": samples.state_leave(),
    "root commit": samples.root_commit(),
    "commit": samples.child_commit(),
    "word": samples.word(),
    "need": samples.need(),
    "have": samples.have(),
}
PLACE = re.compile(r"<!-- example: (.*?) -->\n(?:\n```json\n(.*?)```\n)?", re.DOTALL)


def written(name: str) -> str:
    """The example as the page shows it; a chain or a commit that another example shows already is left
    out.
    """
    value = json.loads(json.dumps(EXAMPLES[name]))
    if name == "sticky join":
        value["dev.mlsrtc.mls"] = {"…": "as above"}
    if name == "have":
        value["events"][0]["content"] = {"…": "as above"}
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_what_the_library_writes(name: str) -> None:
    shown = dict(PLACE.findall(PAGE.read_text()))
    assert shown[name] == written(name)


def test_every_place_is_filled() -> None:
    assert [name for name, _ in PLACE.findall(PAGE.read_text())] == list(EXAMPLES)


if __name__ == "__main__":
    fill = PLACE.sub(lambda m: f"<!-- example: {m[1]} -->\n\n```json\n{written(m[1])}```\n", PAGE.read_text())
    PAGE.write_text(fill)
