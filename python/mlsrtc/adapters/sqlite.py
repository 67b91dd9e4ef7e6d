"""The store in a file: SQLite, one transaction per step. Knows bytes under names, nothing of what they mean.

The file holds secrets. It is made with mode 0600, deleted values are overwritten (`secure_delete`), and
the write-ahead log is emptied after each step that deletes, so that no old key waits in it. What a file
system or a disk keeps of overwritten blocks is out of reach here; encryption at rest is what helps against
it.

One process at a time: two sessions on one saved state would send two media under one key.
"""

import errno
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Literal

from mlsrtc.adapters.store import MemoryStore, Store, checked
from mlsrtc.closing import Closing
from mlsrtc.errors import LocalProtocolError, StoreError

__all__ = ["MemoryStore", "SqliteStore", "Store"]

APPLICATION_ID = 0x6D6C7372  # "mlsr": SQLite's own field for whose file it is
FILE_MODE = 0o600


def _first_schema(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE kept (scope TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, PRIMARY KEY (scope, name))"
    )


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_schema,)
"""Step i brings a file from schema version i to i + 1. Only ever appended to: old files must load for
ever."""


class SqliteStore(Closing):
    """Keeps every scope of one application in one file.

    path: of the file, which is made if it is not there. lock_timeout: seconds to wait for another process
    to let go of it. synchronous: ``FULL`` (default) survives a power cut; ``NORMAL`` may then lose the
    last steps, which the protocol does not forgive: only for tests and throw-away calls.

    `with` closes it at its end. The thread that made it uses it, and no other (``other_thread``).

    Raises LocalProtocolError (``bad_path``): no file can have that name, or it is ``:memory:``, for which there is
    `MemoryStore`.
    Raises StoreError: the file is in use (``locked``), is no store (``not_ours``), is damaged (``damaged``),
    cannot be written (``full``, ``no_access``, ``failed``), or comes from a newer version (``newer_schema``).
    """

    durable = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        lock_timeout: float = 1.0,
        synchronous: Literal["FULL", "NORMAL"] = "FULL",
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise LocalProtocolError("synchronous is FULL or NORMAL")
        self.path = _checked_path(path)
        self._thread = threading.get_ident()
        self._connection: sqlite3.Connection | None = None
        try:
            _make(self.path)
            connection = sqlite3.connect(self.path, timeout=lock_timeout, isolation_level=None)
        except (OSError, sqlite3.Error) as error:
            reason = "full" if getattr(error, "errno", None) == errno.ENOSPC else "no_access"
            raise StoreError(f"{self.path}: cannot be opened: {error}", reason=reason) from error
        try:
            version = _check(connection)
            _make_private(self.path)
            _prepare(connection, synchronous, version)
        except sqlite3.Error as error:
            connection.close()
            raise self._failure(error) from error
        except OSError as error:
            connection.close()
            raise StoreError(f"{self.path}: cannot be made private: {error}", reason="no_access") from error
        except StoreError as error:
            connection.close()
            raise StoreError(f"{self.path}: {error}", reason=error.reason) from None
        except BaseException:
            connection.close()
            raise
        self._connection = connection

    def load(self, scope: str) -> dict[str, bytes]:
        """See `Store.load`."""
        connection = self._opened()
        checked({scope: {}})
        try:
            rows = connection.execute("SELECT name, value FROM kept WHERE scope = ?", (scope,)).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return {name: bytes(value) for name, value in rows}

    def save(self, changes: Mapping[str, Mapping[str, bytes | None]]) -> None:
        """See `Store.save`."""
        connection = self._opened()
        written = checked(changes)
        try:
            connection.execute("BEGIN IMMEDIATE")
            for scope, name, value in written:
                if value is None:
                    connection.execute("DELETE FROM kept WHERE scope = ? AND name = ?", (scope, name))
                else:
                    connection.execute(
                        "INSERT INTO kept (scope, name, value) VALUES (?, ?, ?) "
                        "ON CONFLICT (scope, name) DO UPDATE SET value = excluded.value",
                        (scope, name, value),
                    )
            connection.execute("COMMIT")
        except BaseException as error:
            self._roll_back(connection)
            if isinstance(error, sqlite3.Error):
                raise self._failure(error) from error
            raise
        if any(value is None for _, _, value in written):
            self._empty_log(connection)

    def scopes(self) -> list[str]:
        """The scopes under which anything is kept, sorted."""
        try:
            rows = self._opened().execute("SELECT DISTINCT scope FROM kept ORDER BY scope").fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error
        return [scope for (scope,) in rows]

    def close(self) -> None:
        """See `Store.close`. The write-ahead log goes into the file and is removed."""
        if self._connection is not None:
            self._own_thread()
            connection, self._connection = self._connection, None
            connection.close()

    def __repr__(self) -> str:
        return f"SqliteStore({str(self.path)!r}{'' if self._connection else ', closed'})"

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise LocalProtocolError("the store is closed", reason="closed")
        self._own_thread()
        return self._connection

    def _own_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise LocalProtocolError("a store is used by the thread that made it", reason="other_thread")

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """Undoes what the step wrote. If even that fails the store is closed: SQLite undoes it when it is
        opened next."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._connection = None
            connection.close()

    def _empty_log(self, connection: sqlite3.Connection) -> None:
        """Moves the log into the file and cuts it to nothing. Failing to is no failure of the step, which
        stands."""
        try:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error:
            return

    def _failure(self, error: sqlite3.Error) -> StoreError:
        """What went wrong, in words a user can act on."""
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        match primary:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                reason, detail = "locked", "is in use by another process, or by another store of this one"
            case sqlite3.SQLITE_NOTADB:
                reason, detail = "damaged", "is not a SQLite file, or is damaged"
            case sqlite3.SQLITE_CORRUPT:
                reason, detail = "damaged", "is damaged"
            case sqlite3.SQLITE_FULL:
                reason, detail = "full", "cannot be written: the disk is full"
            case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
                reason, detail = "no_access", "cannot be written: permission or path"
            case _:
                reason, detail = "failed", f"failed: {error}"
        return StoreError(f"{self.path}: {detail}", reason=reason)


def _checked_path(path: str | os.PathLike[str]) -> Path:
    """The path, unless no file is opened by it."""
    checked = Path(path)
    if str(checked) == ":memory:":
        detail = "':memory:' names no file: use a MemoryStorage, or for calls a MemoryStore"
        raise LocalProtocolError(detail, reason="bad_path")
    try:
        zero = b"\0" in os.fsencode(checked)
    except UnicodeEncodeError:
        zero = True
    if zero:
        raise LocalProtocolError(f"{str(path)!r}: no file can have that name", reason="bad_path")
    return checked


def _make(path: Path) -> None:
    """Makes the file if it is not there, readable by its owner only before SQLite writes a byte to it. Log and index
    files inherit that."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, FILE_MODE))


def _make_private(path: Path) -> None:
    """Makes a store that somebody copied or restored readable by its owner only, once it is known to be one."""
    if path.stat().st_mode & 0o077:
        path.chmod(FILE_MODE)


def _check(connection: sqlite3.Connection) -> int:
    """Takes the file for this process alone, and finds whose it is. Writes nothing. Returns the schema's version."""
    # With the lock kept for ever no shared-memory index is needed, and a second process cannot start by
    # mistake.
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    filled = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if (filled or version) and owner != APPLICATION_ID:
        raise StoreError("is a SQLite file of another application", reason="not_ours")
    if version > len(MIGRATIONS):
        detail = f"has schema version {version}, this mlsrtc knows {len(MIGRATIONS)}: use a newer one"
        raise StoreError(detail, reason="newer_schema")
    return int(version)


def _prepare(connection: sqlite3.Connection, synchronous: str, version: int) -> None:
    """Brings the schema up to date."""
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA secure_delete = ON").fetchall()
    connection.execute("BEGIN EXCLUSIVE")
    try:
        damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise StoreError("is damaged", reason="damaged")
        for step in range(version, len(MIGRATIONS)):
            MIGRATIONS[step](connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
