"""Where a user of MLS keeps what a restart must remember. Knows secrets under names, nothing of what they mean.

A `Storage` is what you write to; `MemoryStorage` forgets with the process, and
`mlsrtc.adapters.mls_storage.SqliteStorage` keeps a file. Put under one key what belongs together, a group's state and
the key that signs for it, and write what changed in one step: all of it is there after a crash, or nothing.

>>> from mlsrtc.mls import Client, SigningKey
>>> storage = MemoryStorage()
>>> alice = Client(b"alice", SigningKey.generate())
>>> group = alice.create_group(b"book club")
>>> storage.write(b"book club", {"group": group.save(), "signing key": alice.signing_key.save()})
>>> storage.read(b"book club")["signing key"]
Secret(64 bytes)

Save before you send: what was made is written before anybody sees it. Then a restart never encrypts twice under one
key, and never forgets a commit that others follow.

>>> made = group.commit()
>>> storage.write(b"book club", {"group": made.group.save()})
>>> send = made.message               # only now
>>> kept = storage.read(b"book club")
>>> again = Client(b"alice", SigningKey.load(1, kept["signing key"]))
>>> again.load_group(kept["group"]).epoch
1
"""

from collections.abc import Mapping
from typing import Protocol

from mlsrtc._core import Secret
from mlsrtc.closing import Closing
from mlsrtc.errors import LocalProtocolError

__all__ = ["MemoryStorage", "Storage"]


class Storage(Protocol):
    """What states, keys and key packages are kept in.

    Raises StoreError if what is stored cannot be read or written, with the reason; LocalProtocolError if it is closed
    (``closed``), given something else than what the signatures say (``bad_record``) or a secret that was wiped
    (``wiped``), or used from a thread that it does not serve (``other_thread``): `SqliteStorage` serves the one that
    made it alone. One process at a time uses what is under a key: two that go on from one state would encrypt under one
    message key.
    """

    def read(self, key: bytes) -> dict[str, Secret]:
        """Everything that was written under a key, by name; empty if nothing was."""

    def write(self, key: bytes, records: Mapping[str, Secret | None]) -> None:
        """Writes some of what is under a key, as one transaction; None deletes. If it returns, a durable storage holds
        all of it after any crash; if it raises, none."""

    def keys(self) -> list[bytes]:
        """The keys under which anything is kept, sorted."""

    def close(self) -> None:
        """Ends it. Closing twice does nothing."""


def check(key: bytes, records: Mapping[str, Secret | None]) -> None:
    """Raises LocalProtocolError, before anything is written, unless all is what a storage takes."""
    if not isinstance(key, bytes):
        raise LocalProtocolError("a storage's keys are bytes", reason="bad_record")
    if not isinstance(records, Mapping):
        raise LocalProtocolError(f"records are secrets by name, not {type(records).__name__}", reason="bad_record")
    for name, value in records.items():
        if not isinstance(name, str) or any("\ud800" <= character <= "\udfff" for character in name):
            raise LocalProtocolError("a record's name is text", reason="bad_record")
        if value is None:
            continue
        if not isinstance(value, Secret):
            raise LocalProtocolError(f"a storage keeps secrets, {name} is {type(value).__name__}", reason="bad_record")
        value.expose()  # raises if it was wiped: an empty record in its place would be found too late


class MemoryStorage(Closing):
    """A `Storage` that forgets with the process. The secrets in it are wiped when they are replaced or it is closed,
    which `with` does at its end. Any thread uses it, one at a time."""

    def __init__(self) -> None:
        self._kept: dict[bytes, dict[str, Secret]] | None = {}

    def read(self, key: bytes) -> dict[str, Secret]:
        """See `Storage.read`. What comes back is the caller's own."""
        check(key, {})
        return {name: Secret(value.expose()) for name, value in self._opened().get(key, {}).items()}

    def write(self, key: bytes, records: Mapping[str, Secret | None]) -> None:
        """See `Storage.write`."""
        kept = self._opened()
        check(key, records)
        found = kept.setdefault(key, {})
        for name, value in records.items():
            if name in found:
                found.pop(name).wipe()
            if value is not None:
                found[name] = Secret(value.expose())
        if not found:
            del kept[key]

    def keys(self) -> list[bytes]:
        """See `Storage.keys`."""
        return sorted(self._opened())

    def close(self) -> None:
        """See `Storage.close`."""
        kept, self._kept = self._kept, None
        for records in (kept or {}).values():
            for value in records.values():
                value.wipe()

    def __repr__(self) -> str:
        state = "closed" if self._kept is None else f"{len(self._kept)} keys"
        return f"MemoryStorage({state})"

    def _opened(self) -> dict[bytes, dict[str, Secret]]:
        if self._kept is None:
            raise LocalProtocolError("the storage is closed", reason="closed")
        return self._kept
