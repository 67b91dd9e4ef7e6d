"""What a test needs and a machine may not have: Go, Node, a browser, an address."""

import os
from typing import NoReturn

import pytest


def wanting(why: str) -> NoReturn:
    """Skips the test, with a clear word. CI has it all, and fails without."""
    if "CI" in os.environ:
        pytest.fail(why)
    pytest.skip(why)
