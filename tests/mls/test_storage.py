"""Storages for users of the MLS door alone: one conformance for both, and a life through restarts."""

import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients import client
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from mlsrtc.adapters.mls_storage import SqliteStorage
from mlsrtc.adapters.sqlite import SqliteStore
from mlsrtc.errors import LocalProtocolError, StoreError
from mlsrtc.mls import Client, Group, MemoryStorage, Secret, SigningKey, Storage


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[MemoryStorage | SqliteStorage]:
    with MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path / "mls.db") as made:
        yield made


def test_a_new_storage_is_empty(storage: Storage) -> None:
    assert storage.read(b"group") == {}
    assert storage.keys() == []


def test_what_was_written_is_read(storage: Storage) -> None:
    storage.write(b"\0\xff", {"a": Secret(b"1"), "é": Secret(b""), "": Secret(bytes(range(256)) * 4000)})
    assert storage.read(b"\0\xff") == {"a": Secret(b"1"), "é": Secret(b""), "": Secret(bytes(range(256)) * 4000)}
    storage.write(b"", {"a": Secret(b"2")})
    assert storage.keys() == [b"", b"\0\xff"]


def test_a_later_step_replaces_adds_and_deletes(storage: Storage) -> None:
    storage.write(b"group", {"a": Secret(b"1"), "b": Secret(b"2")})
    storage.write(b"group", {"a": Secret(b"3"), "b": None, "c": Secret(b"4"), "never there": None})
    assert storage.read(b"group") == {"a": Secret(b"3"), "c": Secret(b"4")}
    storage.write(b"other", {"a": Secret(b"5")})
    storage.write(b"group", {"a": None, "c": None})
    assert storage.keys() == [b"other"]
    storage.write(b"other", {})
    assert storage.read(b"other") == {"a": Secret(b"5")}


def test_what_is_read_is_the_callers_own(storage: Storage) -> None:
    given = Secret(b"1")
    storage.write(b"group", {"a": given})
    given.wipe()
    storage.read(b"group")["a"].wipe()
    storage.read(b"group")["b"] = Secret(b"2")
    assert storage.read(b"group") == {"a": Secret(b"1")}


def wiped() -> Secret:
    value = Secret(b"x")
    value.wipe()
    return value


@pytest.mark.parametrize("wrong", [b"bytes", "text", 5, wiped()], ids=["bytes", "text", "a number", "wiped"])
def test_other_than_secrets_are_refused_and_nothing_is_written(storage: Storage, wrong: Secret) -> None:
    storage.write(b"group", {"a": Secret(b"1")})
    with pytest.raises(LocalProtocolError) as caught:
        storage.write(b"group", {"a": Secret(b"2"), "b": wrong})
    assert caught.value.reason in {"bad_record", "wiped"}
    assert storage.read(b"group") == {"a": Secret(b"1")}


def test_other_names_and_keys_are_refused(storage: Storage) -> None:
    for key in ("group", None, 1, bytearray(b"group")):
        with pytest.raises(LocalProtocolError) as caught:
            storage.read(key)  # type: ignore[arg-type]
        assert caught.value.reason == "bad_record"
        with pytest.raises(LocalProtocolError):
            storage.write(key, {})  # type: ignore[arg-type]
    for name in (b"a", None, 1, "\ud800"):
        with pytest.raises(LocalProtocolError):
            storage.write(b"group", {name: Secret(b"1")})  # type: ignore[dict-item]


@pytest.mark.parametrize("wrong", [[("a", Secret(b"1"))], None, "a"], ids=["pairs", "None", "text"])
def test_other_than_a_mapping_is_refused(storage: Storage, wrong: dict[str, Secret]) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        storage.write(b"group", wrong)
    assert caught.value.reason == "bad_record"
    assert storage.keys() == []


def test_a_closed_storage_says_so(storage: MemoryStorage | SqliteStorage) -> None:
    storage.close()
    storage.close()
    calls: list[Callable[[], object]] = [
        lambda: storage.read(b"group"),
        lambda: storage.write(b"group", {}),
        storage.keys,
        storage.__enter__,
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError, match="closed") as caught:
            call()
        assert caught.value.reason == "closed"


def test_no_secret_is_in_its_repr(storage: Storage) -> None:
    storage.write(b"group", {"a": Secret(b"hunter2")})
    assert "hunter2" not in repr(storage)


def test_a_file_is_read_by_a_later_process_and_by_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "mls.db"
    with SqliteStorage(path) as storage:
        storage.write(b"group", {"a": Secret(b"1")})
        with pytest.raises(StoreError, match="in use"):
            SqliteStorage(path, lock_timeout=0.05)
    with SqliteStorage(path) as storage:
        assert storage.read(b"group") == {"a": Secret(b"1")}
    with pytest.raises(StoreError):
        SqliteStorage(tmp_path)


@pytest.mark.parametrize("name", [":memory:", "./:memory:", "a\0b", "\ud800"])
def test_a_name_that_no_file_has_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for opened in (SqliteStorage, SqliteStore):
        with pytest.raises(LocalProtocolError) as caught:
            opened(name)
        assert caught.value.reason == "bad_path"
        assert ("MemoryStorage" in str(caught.value)) == ("memory" in name)
    assert list(tmp_path.iterdir()) == []
    SqliteStorage(tmp_path / ":memory:").close()


def test_a_file_may_be_shared_with_calls(tmp_path: Path) -> None:
    path = tmp_path / "both.db"
    with SqliteStore(path) as calls:
        calls.save({"!a:hs|m.call#ROOM": {"epoch": b"1"}})
    with SqliteStorage(path) as storage:
        assert storage.keys() == []
        storage.write(b"!a:hs|m.call#ROOM", {"epoch": Secret(b"2")})
    with SqliteStore(path) as calls:
        assert calls.load("!a:hs|m.call#ROOM") == {"epoch": b"1"}


KEYS = st.sampled_from([b"", b"one", b"\xff"])
RECORDS = st.dictionaries(st.text(max_size=5), st.none() | st.binary(max_size=50), max_size=4)


class StorageMachine(RuleBasedStateMachine):
    """Memory and file beside a dict of dicts."""

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[bytes, dict[str, bytes]] = {}
        self.directory = tempfile.TemporaryDirectory()
        self.storages: list[Storage] = [MemoryStorage(), SqliteStorage(Path(self.directory.name) / "mls.db")]

    @rule(key=KEYS, records=RECORDS)
    def write(self, key: bytes, records: dict[str, bytes | None]) -> None:
        for storage in self.storages:
            storage.write(key, {name: None if value is None else Secret(value) for name, value in records.items()})
        kept = self.model.setdefault(key, {})
        kept.update({name: value for name, value in records.items() if value is not None})
        for name in [name for name, value in records.items() if value is None]:
            kept.pop(name, None)

    @invariant()
    def reads_what_the_model_holds(self) -> None:
        for storage in self.storages:
            for key in (b"", b"one", b"\xff"):
                assert {name: value.expose() for name, value in storage.read(key).items()} == self.model.get(key, {})
            assert storage.keys() == sorted(key for key, records in self.model.items() if records)

    def teardown(self) -> None:
        for storage in self.storages:
            storage.close()
        self.directory.cleanup()


TestStorageMachine = StorageMachine.TestCase
TestStorageMachine.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)


class Person:
    """Somebody who keeps all in a storage and may be killed after each step."""

    def __init__(self, name: str, storage: Storage) -> None:
        self.name, self.storage = name, storage
        made = client(name)
        storage.write(b"me", {"signing key": made.signing_key.save()})

    def client(self) -> Client:
        return Client(self.name.encode(), SigningKey.load(1, self.storage.read(b"me")["signing key"]))

    def group(self) -> Group:
        return self.client().load_group(self.storage.read(b"group")["state"])

    def keep(self, group: Group) -> None:
        self.storage.write(b"group", {"state": group.save()})


def test_a_conversation_lives_through_restarts_after_every_step(tmp_path: Path) -> None:
    ann, ben = Person("ann", SqliteStorage(tmp_path / "ann.db")), Person("ben", MemoryStorage())
    package = ben.client().key_package()
    ben.storage.write(b"me", {"key package": package.save()})
    commit = ann.client().create_group(b"group").commit(add=[package.public])
    ann.keep(commit.group)
    assert commit.welcome is not None
    kept = type(package).load(ben.storage.read(b"me")["key package"])
    ben.keep(ben.client().join(commit.welcome, kept, tree=commit.tree))
    ben.storage.write(b"me", {"key package": None})
    order = random.Random(5)
    for number in range(40):
        sender, reader = order.sample([ann, ben], 2)
        if order.random() < 0.2:
            made = sender.group().commit()
            sender.keep(made.group)
            reader.keep(reader.group().stage(made.message).apply())
            continue
        sent = sender.group().encrypt(b"%d" % number)
        sender.keep(sent.group)
        opened = reader.group().decrypt(sent.message)
        reader.keep(opened.group)
        assert opened.data == b"%d" % number
    assert ann.group().epoch_authenticator() == ben.group().epoch_authenticator()
