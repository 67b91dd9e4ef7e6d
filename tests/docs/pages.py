"""The code of a documentation page: its fenced python blocks in order, compiled so that errors name page and line."""

import re
from pathlib import Path
from types import CodeType

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(name: str) -> list[tuple[int, str]]:
    """The line at which each block's code begins, and the code."""
    text = (DOCS / name).read_text()
    return [(text.count("\n", 0, found.start(1)) + 1, found[1]) for found in BLOCK.finditer(text)]


def compiled(name: str) -> list[CodeType]:
    """Each block, ready to run."""
    return [compile("\n" * (line - 1) + code, str(DOCS / name), "exec") for line, code in blocks(name)]
