"""The code of a documentation page: its fenced python blocks in order, compiled so that errors name page and line."""

import re
from pathlib import Path
from types import CodeType

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r'^```python(?: title="(?P<title>.*?)")?\n(?P<code>.*?)^```$', re.DOTALL | re.MULTILINE)


def blocks(name: str, *, title: str | None = None) -> list[tuple[int, str]]:
    """The line at which each block's code begins, and the code. A block with a title is a program of its own."""
    text = (DOCS / name).read_text()
    return [
        (text.count("\n", 0, found.start("code")) + 1, found["code"])
        for found in BLOCK.finditer(text)
        if found["title"] == title
    ]


def compiled(name: str) -> list[CodeType]:
    """Each block without a title, ready to run after the others."""
    return [compile("\n" * (line - 1) + code, str(DOCS / name), "exec") for line, code in blocks(name)]
