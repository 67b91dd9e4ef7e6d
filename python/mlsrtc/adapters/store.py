"""Where a call keeps what a restart must remember. Knows bytes under names, nothing of what they mean.

A step of the session is one transaction: all of it is there after a crash, or nothing (docs/design.md,
promise 10). A scope is one call (or whatever else keeps its own names apart); one store serves many.
"""

from collections.abc import Mapping
from types import TracebackType
from typing import Protocol, Self

from mlsrtc.errors import LocalProtocolError


class Store(Protocol):
    """What a session's checkpoint is written to.

    One thread at a time uses it, the one that made it. Raises StoreError if what is stored cannot be read
    or written, LocalProtocolError if it is closed, used from another thread, or given something else than
    bytes.
    """

    @property
    def durable(self) -> bool:
        """Whether it outlives the process. If not, a restart starts anew and pinned master keys are
        forgotten."""

    def load(self, scope: str) -> dict[str, bytes]:
        """Everything that was saved under a scope; empty if nothing was."""

    def save(self, scope: str, changes: Mapping[str, bytes | None]) -> None:
        """Writes the changes as one transaction; None deletes. If it returns, a durable store holds all of
        them after any crash; if it raises, none."""

    def close(self) -> None:
        """Ends it. Closing twice does nothing."""


def checked(scope: str, changes: Mapping[str, bytes | None]) -> dict[str, bytes | None]:
    """The changes, if they are what a store takes: text names without lone surrogates, values of bytes or
    None.

    Raises LocalProtocolError otherwise, before anything is written.
    """
    for name in (scope, *changes):
        if not isinstance(name, str) or not _is_text(name):
            raise LocalProtocolError("a store's scopes and names are text")
    for name, value in changes.items():
        if value is not None and not isinstance(value, bytes):
            raise LocalProtocolError(f"a store keeps bytes, {name} is {type(value).__name__}")
    return dict(changes)


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


class MemoryStore:
    """Keeps everything in memory and forgets it with the process. The default where nothing else is asked
    for."""

    durable = False

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, bytes]] | None = {}

    def load(self, scope: str) -> dict[str, bytes]:
        """See `Store.load`."""
        checked(scope, {})
        return dict(self._opened().get(scope, {}))

    def save(self, scope: str, changes: Mapping[str, bytes | None]) -> None:
        """See `Store.save`."""
        scopes = self._opened()
        kept = dict(scopes.get(scope, {}))
        for name, value in checked(scope, changes).items():
            if value is None:
                kept.pop(name, None)
            else:
                kept[name] = value
        scopes[scope] = kept

    def close(self) -> None:
        """See `Store.close`."""
        self._scopes = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self._scopes is None else f"{len(self._scopes)} scopes"
        return f"MemoryStore({state})"

    def _opened(self) -> dict[str, dict[str, bytes]]:
        if self._scopes is None:
            raise LocalProtocolError("the store is closed")
        return self._scopes
