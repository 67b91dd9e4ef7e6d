"""For what several processes of pytest would build at once."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_at_a_time(place: Path) -> Iterator[None]:
    """While the block is open, no other process is in one for the same file."""
    with place.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
