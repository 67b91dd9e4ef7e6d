"""The code of a documentation page: its fenced python blocks in order, compiled so that errors name page and line."""

import re
import subprocess
import sys
from pathlib import Path
from types import CodeType

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CACHE = ROOT / ".mypy_cache"  # the one that the whole package's check fills
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


def program(*names: str) -> str:
    """The blocks without a title of these pages as one program. The first page's lines keep their numbers."""
    lines: list[str] = []
    for name in names:
        begun = len(lines)
        for line, code in blocks(name):
            lines += [""] * (begun + line - 1 - len(lines)) + code.splitlines()
    return "\n".join(lines) + "\n"


def untyped(*programs: Path) -> str:
    """What `mypy --strict` says against these files; empty if nothing."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(CACHE), *map(str, programs)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr if done.returncode else ""
