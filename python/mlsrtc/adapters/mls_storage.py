"""What a user of `mlsrtc.mls` keeps, in a file: `mlsrtc.mls.Storage` over `SqliteStore`.

It knows how keys become names in that store, and nothing of SQLite.
"""

import os
from collections.abc import Mapping

from mlsrtc.adapters.sqlite import SqliteStore
from mlsrtc.closing import Closing
from mlsrtc.mls import Secret
from mlsrtc.mls.storage import check

SCOPE = "mls "
"""Before the key in hexadecimal. What a call keeps in the same file has names of another form."""


class SqliteStorage(Closing):
    """A `mlsrtc.mls.Storage` in one file, which its owner alone can read. Survives a power cut after each step.

    path: of the file, which is made if it is not there. lock_timeout: seconds to wait for another process to let go of
    it; while it is open here, no other process opens it.

    The secrets stand in it as they are: what protects them is the file's mode and the disk's encryption. Deleted and
    replaced ones are overwritten. `with` closes it at its end. The thread that made it uses it, and no other
    (LocalProtocolError ``other_thread``): give a thread, or an executor, a storage of its own life.

    Raises StoreError: the file is in use (``locked``), is no store (``not_ours``), is damaged (``damaged``), cannot be
    written (``full``, ``no_access``, ``failed``), or comes from a newer version (``newer_schema``). LocalProtocolError
    (``bad_path``): no file can have that name, or it is ``:memory:``, for which there is `MemoryStorage`.
    """

    def __init__(self, path: str | os.PathLike[str], *, lock_timeout: float = 1.0) -> None:
        self._store = SqliteStore(path, lock_timeout=lock_timeout)

    def read(self, key: bytes) -> dict[str, Secret]:
        """See `Storage.read`."""
        check(key, {})
        return {name: Secret(value) for name, value in self._store.load(SCOPE + key.hex()).items()}

    def write(self, key: bytes, records: Mapping[str, Secret | None]) -> None:
        """See `Storage.write`."""
        check(key, records)
        changes = {name: None if value is None else value.expose() for name, value in records.items()}
        self._store.save({SCOPE + key.hex(): changes})

    def keys(self) -> list[bytes]:
        """See `Storage.keys`."""
        ours = [scope.removeprefix(SCOPE) for scope in self._store.scopes() if scope.startswith(SCOPE)]
        return sorted(bytes.fromhex(key) for key in ours)

    def close(self) -> None:
        """See `Storage.close`."""
        self._store.close()

    def _opened(self) -> object:
        return self._store._opened()

    def __repr__(self) -> str:
        return f"SqliteStorage({str(self._store.path)!r})"
