"""The tutorial's two pages are programs that run, and every step that a reader would miss is in them."""

import inspect
import re
from typing import Any

import pages

from mlsrtc import mls


def test_the_tutorial_runs_from_top_to_bottom() -> None:
    namespace: dict[str, Any] = {}
    for code in pages.compiled("tutorial.md"):
        exec(code, namespace)
    members = namespace["at_alice"].members()
    assert [member.identity for member in members] == [b"alice", b"bob", b"carol"]
    assert namespace["restored"].epoch == namespace["at_alice"].epoch == 8


def test_the_tutorial_asserts_what_it_says() -> None:
    assert sum(code.count("assert ") for _, code in pages.blocks("tutorial.md")) > 40


def test_the_second_page_runs_from_top_to_bottom() -> None:
    namespace: dict[str, Any] = {}
    for code in pages.compiled("tutorial-messages.md"):
        exec(code, namespace)
    assert namespace["again"].group_id == b"book club"
    assert sum(code.count("assert ") for _, code in pages.blocks("tutorial-messages.md")) > 20


def test_the_two_pages_call_every_function_of_the_door() -> None:
    shown = "".join(code for page in ("tutorial.md", "tutorial-messages.md") for _, code in pages.blocks(page))
    called = set(re.findall(r"\b(\w+)\(", shown))
    assert {name for name in mls.__all__ if inspect.isbuiltin(getattr(mls, name))} - called == set()
