"""Where a call keeps what a restart must remember. Knows bytes under names, nothing of what they mean.

A step of the session is one transaction: all of it is there after a crash, or nothing (docs/design.md,
promise 10). A scope is one call (or whatever else keeps its own names apart); one store serves many.
"""

from collections.abc import Mapping
from typing import Protocol

from mlsrtc.closing import Closing
from mlsrtc.errors import LocalProtocolError


class Store(Protocol):
    """What a session's checkpoint is written to.

    One thread at a time uses it, the one that made it. Raises StoreError if what is stored cannot be read
    or written, with the reason; LocalProtocolError if it is closed (``closed``), used from another thread
    (``other_thread``), or given something else than bytes by name and scope (``bad_record``). Hashable and
    weakly referable, as objects are: calls on one store share its user's pins.
    """

    @property
    def durable(self) -> bool:
        """Whether it outlives the process. If not, a restart starts anew and pinned master keys are
        forgotten."""

    def load(self, scope: str) -> dict[str, bytes]:
        """Everything that was saved under a scope; empty if nothing was."""

    def save(self, changes: Mapping[str, Mapping[str, bytes | None]]) -> None:
        """Writes the changes of every scope as one transaction; None deletes. If it returns, a durable store
        holds all of them after any crash; if it raises, none."""

    def close(self) -> None:
        """Ends it. Closing twice does nothing."""


def checked(changes: Mapping[str, Mapping[str, bytes | None]]) -> list[tuple[str, str, bytes | None]]:
    """The changes as scope, name and value, if they are what a store takes: text names without lone
    surrogates, values of bytes or None.

    Raises LocalProtocolError otherwise, before anything is written.
    """
    if not isinstance(changes, Mapping) or not all(isinstance(values, Mapping) for values in changes.values()):
        raise LocalProtocolError("a store's changes are mappings of names, by scope", reason="bad_record")
    for name in (*changes, *(name for scope in changes.values() for name in scope)):
        if not isinstance(name, str) or not _is_text(name):
            raise LocalProtocolError("a store's scopes and names are text", reason="bad_record")
    written = [(scope, name, value) for scope, values in changes.items() for name, value in values.items()]
    for _, name, value in written:
        if value is not None and not isinstance(value, bytes):
            raise LocalProtocolError(f"a store keeps bytes, {name} is {type(value).__name__}", reason="bad_record")
    return written


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


class MemoryStore(Closing):
    """Keeps everything in memory and forgets it with the process. The default where nothing else is asked
    for. `with` closes it at its end."""

    durable = False

    def __init__(self) -> None:
        self._scopes: dict[str, dict[str, bytes]] | None = {}

    def load(self, scope: str) -> dict[str, bytes]:
        """See `Store.load`."""
        checked({scope: {}})
        return dict(self._opened().get(scope, {}))

    def save(self, changes: Mapping[str, Mapping[str, bytes | None]]) -> None:
        """See `Store.save`."""
        scopes = self._opened()
        for scope, name, value in checked(changes):
            kept = scopes.setdefault(scope, {})
            if value is None:
                kept.pop(name, None)
            else:
                kept[name] = value

    def close(self) -> None:
        """See `Store.close`."""
        self._scopes = None

    def __repr__(self) -> str:
        state = "closed" if self._scopes is None else f"{len(self._scopes)} scopes"
        return f"MemoryStore({state})"

    def _opened(self) -> dict[str, dict[str, bytes]]:
        if self._scopes is None:
            raise LocalProtocolError("the store is closed", reason="closed")
        return self._scopes
