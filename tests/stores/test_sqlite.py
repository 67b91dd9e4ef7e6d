"""The store in a file: conformance, what survives which death, what is told of files that do not serve."""

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conformance import MACHINE_SETTINGS, StoreConformance, StoreMachine, in_another_thread

from mlsrtc.adapters import sqlite
from mlsrtc.adapters.sqlite import SqliteStore
from mlsrtc.adapters.store import Store
from mlsrtc.errors import LocalProtocolError, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "call.db"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    store = SqliteStore(path)
    yield store
    store.close()


def loaded(path: Path) -> dict[str, bytes]:
    with SqliteStore(path) as store:
        return store.load("call")


class TestSqliteStore(StoreConformance):
    def test_it_says_that_it_remembers(self, store: Store) -> None:
        assert store.durable is True

    def test_a_file_of_many_calls(self, path: Path) -> None:
        with SqliteStore(path) as store:
            store.save({"two": {"a": b"2"}})
            store.save({"one": {"a": b"1"}})
        with SqliteStore(path) as store:
            assert store.scopes() == ["one", "two"]
            assert store.load("one") == {"a": b"1"}


class SqliteMachine(StoreMachine):
    durable = True

    def make(self) -> Store:
        self.directory = tempfile.mkdtemp()
        return self.reopen()

    def reopen(self) -> Store:
        return SqliteStore(Path(self.directory) / "call.db", synchronous="NORMAL")

    def teardown(self) -> None:
        super().teardown()
        shutil.rmtree(self.directory)


TestSqliteMachine = SqliteMachine.TestCase
TestSqliteMachine.settings = MACHINE_SETTINGS


# -- what the file is --


def test_the_file_and_its_log_are_the_owners_only(path: Path) -> None:
    before = os.umask(0)
    try:
        with SqliteStore(path) as store:
            store.save({"call": {"a": b"1"}})
            modes = {name: stat.S_IMODE((path.parent / name).stat().st_mode) for name in os.listdir(path.parent)}
    finally:
        os.umask(before)
    assert modes == {"call.db": 0o600, "call.db-wal": 0o600}


def test_a_file_that_others_could_read_is_closed_to_them(path: Path) -> None:
    SqliteStore(path).close()
    path.chmod(0o644)
    SqliteStore(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("kind", ["directory", "text", "another application's"])
def test_what_is_no_store_stays_as_it_was(path: Path, kind: str) -> None:
    if kind == "directory":
        path.mkdir()
    elif kind == "text":
        path.write_text("no store\n" * 100)
    else:
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TABLE theirs (x)")
    path.chmod(0o755)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError):
        SqliteStore(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert (path.read_bytes() if path.is_file() else None) == before


def test_closing_leaves_one_file(path: Path) -> None:
    with SqliteStore(path) as store:
        store.save({"call": {"a": b"1"}})
    assert os.listdir(path.parent) == ["call.db"]


def test_durability_is_as_promised(path: Path) -> None:
    with SqliteStore(path) as store:
        connection = store._connection
        assert connection is not None
        settings = {
            name: connection.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous", "secure_delete", "locking_mode", "user_version")
        }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "secure_delete": 1,
        "locking_mode": "exclusive",
        "user_version": 1,
    }


def test_a_deleted_secret_is_in_no_file(path: Path) -> None:
    secret = b"a leaf key that must be gone" * 300
    with SqliteStore(path) as store:
        store.save({"call": {"key": secret, "other": b"x"}})
        store.save({"call": {"key": None}})
        assert not [name for name in os.listdir(path.parent) if secret[:28] in (path.parent / name).read_bytes()]
        assert store.load("call") == {"other": b"x"}


def test_synchronous_off_is_not_on_offer(path: Path) -> None:
    with pytest.raises(LocalProtocolError):
        SqliteStore(path, synchronous="OFF")  # type: ignore[arg-type]
    assert not path.exists()


# -- what does not serve --


def test_a_second_process_is_told_that_the_file_is_in_use(path: Path, store: Store) -> None:
    code = (
        "import sys\nfrom mlsrtc.adapters.sqlite import SqliteStore\nfrom mlsrtc.errors import StoreError\n"
        "try:\n    SqliteStore(sys.argv[1], lock_timeout=0.1)\n"
        "except StoreError as error:\n    print(error, error.reason)\n"
    )
    told = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert told.stdout == f"{path}: is in use by another process, or by another store of this one locked\n"
    store.save({"call": {"a": b"1"}})
    assert store.load("call") == {"a": b"1"}


def test_a_second_store_of_this_process_is_told_too(path: Path, store: Store) -> None:
    with pytest.raises(StoreError, match="in use") as caught:
        SqliteStore(path, lock_timeout=0.0)
    assert caught.value.reason == "locked"


def test_a_newer_schema_is_left_alone(path: Path) -> None:
    SqliteStore(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="schema version 99, this mlsrtc knows 1") as caught:
        SqliteStore(path)
    assert caught.value.reason == "newer_schema"
    assert path.read_bytes() == before


def test_another_applications_file_is_left_alone(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another application") as caught:
        SqliteStore(path)
    assert caught.value.reason == "not_ours"
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_file_that_is_none_is_told(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"not a SQLite file|damaged") as caught:
        SqliteStore(path)
    assert caught.value.reason == "damaged"


def test_a_damaged_page_is_told_at_opening(path: Path) -> None:
    with SqliteStore(path) as store:
        store.save({"call": {str(number): bytes(1000) for number in range(50)}})
    data = bytearray(path.read_bytes())
    data[4096 : 4096 + 200] = b"\xff" * 200
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged") as caught:
        SqliteStore(path)
    assert caught.value.reason == "damaged"


@pytest.mark.parametrize("keep", [100, 4096, 5000])
def test_a_truncated_file_is_told(path: Path, keep: int) -> None:
    with SqliteStore(path) as store:
        store.save({"call": {str(number): bytes(1000) for number in range(50)}})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(StoreError, match=r"damaged|not a SQLite file") as caught:
        SqliteStore(path)
    assert caught.value.reason == "damaged"


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    for wrong in (tmp_path / "nowhere" / "call.db", tmp_path):
        with pytest.raises(StoreError, match=r"cannot be opened|cannot be written") as caught:
            SqliteStore(wrong)
        assert caught.value.reason == "no_access"


def test_a_file_that_cannot_be_made_private_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteStore(path).close()

    def refuse(path: Path) -> None:
        raise PermissionError("not ours to change")

    monkeypatch.setattr(sqlite, "_make_private", refuse)
    with pytest.raises(StoreError, match="cannot be made private") as caught:
        SqliteStore(path)
    assert caught.value.reason == "no_access"


FAILURES = [
    (sqlite3.SQLITE_FULL, "full"),
    (sqlite3.SQLITE_IOERR, "failed"),
    (sqlite3.SQLITE_IOERR_WRITE, "failed"),
    (sqlite3.SQLITE_READONLY_DBMOVED, "no_access"),
    (sqlite3.SQLITE_CORRUPT_INDEX, "damaged"),
    (sqlite3.SQLITE_BUSY, "locked"),
]


@pytest.mark.parametrize(("code", "reason"), FAILURES)
def test_a_step_that_fails_says_why(path: Path, code: int, reason: str) -> None:
    error = sqlite3.OperationalError("as SQLite says it")
    error.sqlite_errorcode = code
    with SqliteStore(path) as store:
        genuine = store._connection
        assert genuine is not None
        store._connection = Failing(genuine, 2, error)  # type: ignore[assignment]
        with pytest.raises(StoreError) as caught:
            store.save({"call": {"a": b"1"}})
    assert caught.value.reason == reason


def test_another_thread_is_refused(store: Store) -> None:
    for act in (lambda: store.load("call"), lambda: store.save({}), store.close):
        error = in_another_thread(act)
        assert isinstance(error, LocalProtocolError)
        assert error.reason == "other_thread"
    assert store.load("call") == {}


# -- schema --


def test_an_older_file_is_migrated_in_one_transaction(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStore(path) as store:
        store.save({"call": {"a": b"1"}})

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE kept ADD COLUMN written INTEGER")
        raise RuntimeError("power cut")

    first = sqlite.MIGRATIONS
    monkeypatch.setattr(sqlite, "MIGRATIONS", (*first, broken))
    with pytest.raises(RuntimeError):
        SqliteStore(path)
    monkeypatch.setattr(sqlite, "MIGRATIONS", first)
    assert loaded(path) == {"a": b"1"}

    def working(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE kept ADD COLUMN written INTEGER")

    monkeypatch.setattr(sqlite, "MIGRATIONS", (*first, working))
    with SqliteStore(path) as store:
        assert store.load("call") == {"a": b"1"}
        store.save({"call": {"b": b"2"}})
    with SqliteStore(path) as store:
        assert store.load("call") == {"a": b"1", "b": b"2"}


# -- never half a step --


class Failing:
    """A connection that fails at its n-th statement from now, and works again after it."""

    def __init__(self, connection: sqlite3.Connection, at: int, error: BaseException) -> None:
        self.connection = connection
        self.left = at
        self.error = error

    @property
    def in_transaction(self) -> bool:
        return self.connection.in_transaction

    def execute(self, *arguments: object) -> sqlite3.Cursor:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.connection.execute(*arguments)  # type: ignore[arg-type]

    def close(self) -> None:
        self.connection.close()


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", range(1, 6))
def test_a_step_that_fails_in_the_middle_is_undone(path: Path, at: int, error: BaseException) -> None:
    """BEGIN, three changes, COMMIT: whichever fails, nothing of the step is there, and the next one works."""
    with SqliteStore(path) as store:
        store.save({"call": {"a": b"1", "b": b"1"}})
        genuine = store._connection
        assert genuine is not None
        store._connection = Failing(genuine, at, error)  # type: ignore[assignment]
        expected = StoreError if isinstance(error, sqlite3.Error) else KeyboardInterrupt
        with pytest.raises(expected):
            store.save({"call": {"a": b"2", "b": None, "c": b"2"}})
        assert store.load("call") == {"a": b"1", "b": b"1"}
        store.save({"call": {"c": b"3"}})
    assert loaded(path) == {"a": b"1", "b": b"1", "c": b"3"}


def test_a_step_that_cannot_even_be_undone_closes_the_store(path: Path) -> None:
    class Broken(Failing):
        def execute(self, *arguments: object) -> sqlite3.Cursor:
            if arguments[0] == "ROLLBACK":
                raise sqlite3.OperationalError("disk I/O error")
            return super().execute(*arguments)

    with SqliteStore(path) as store:
        store.save({"call": {"a": b"1"}})
        genuine = store._connection
        assert genuine is not None
        store._connection = Broken(genuine, 3, sqlite3.OperationalError("disk I/O error"))  # type: ignore[assignment]
        with pytest.raises(StoreError):
            store.save({"call": {"a": b"2", "b": b"2"}})
        with pytest.raises(LocalProtocolError, match="closed"):
            store.load("call")
    assert loaded(path) == {"a": b"1"}


def test_failing_to_empty_the_log_does_not_fail_the_step(path: Path) -> None:
    with SqliteStore(path) as store:
        store.save({"call": {"a": b"1"}})
        genuine = store._connection
        assert genuine is not None
        store._connection = Failing(genuine, 4, sqlite3.OperationalError("busy"))  # type: ignore[assignment]
        store.save({"call": {"a": None}})
        assert store.load("call") == {}


DIES = """
import os, signal, sys
from mlsrtc.adapters.sqlite import SqliteStore
store = SqliteStore(sys.argv[1])
store.save({"call": {"a": b"1" * 5000, "b": b"1"}})
left = int(sys.argv[2])
def die(statement):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
store._connection.set_trace_callback(die)
store.save({"call": {"a": b"2" * 5000, "b": None, "c": b"2"}})
store._connection.set_trace_callback(None)
print("saved", flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("at", range(1, 8))
def test_kill_9_between_statements_leaves_the_old_step_or_the_new_one(path: Path, at: int) -> None:
    """BEGIN, three changes, COMMIT, then the log is emptied; the seventh death is after `save` returned."""
    died = subprocess.run([sys.executable, "-c", DIES, path, str(at)], capture_output=True, text=True, check=False)
    assert died.returncode == -9, died.stderr
    old = {"a": b"1" * 5000, "b": b"1"}
    new = {"a": b"2" * 5000, "c": b"2"}
    assert loaded(path) == (old if at <= 5 else new)
    assert (died.stdout == "saved\n") == (at == 7)
