"""What every store must do. The test file of a store inherits these; a durable one can also `reopen`."""

import threading
from contextlib import suppress

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mlsrtc.adapters.store import Store
from mlsrtc.closing import Closing
from mlsrtc.errors import LocalProtocolError
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.session import Session
from mlsrtc.testing import LabUser
from mlsrtc.wire.incoming import Now

NAMES = st.one_of(st.sampled_from(["epoch", "outbox", "pins/@a:hs", ""]), st.text(max_size=20))
SCOPES = st.sampled_from(["!a:hs|m.call#ROOM", "!b:hs|m.call#ROOM", ""])
VALUES = st.binary(max_size=200)
CHANGES = st.dictionaries(NAMES, st.none() | VALUES, max_size=5)


class StoreConformance:
    """The tests. `store` is a fixture of the file that inherits them."""

    def test_a_new_store_is_empty(self, store: Store) -> None:
        assert store.load("call") == {}

    def test_what_was_saved_is_loaded(self, store: Store) -> None:
        store.save({"call": {"a": b"1", "b": b"", "c": bytes(range(256)) * 4000}})
        assert store.load("call") == {"a": b"1", "b": b"", "c": bytes(range(256)) * 4000}

    def test_a_later_step_replaces_adds_and_deletes(self, store: Store) -> None:
        store.save({"call": {"a": b"1", "b": b"2"}})
        store.save({"call": {"a": b"3", "b": None, "c": b"4", "never there": None}})
        assert store.load("call") == {"a": b"3", "c": b"4"}

    def test_an_empty_step_changes_nothing(self, store: Store) -> None:
        store.save({"call": {"a": b"1"}})
        store.save({"call": {}})
        assert store.load("call") == {"a": b"1"}

    def test_scopes_keep_apart(self, store: Store) -> None:
        store.save({"one": {"a": b"1"}})
        store.save({"two": {"a": b"2"}})
        store.save({"two": {"a": None}})
        assert store.load("one") == {"a": b"1"}
        assert store.load("two") == {}

    def test_a_step_over_several_scopes_is_one(self, store: Store) -> None:
        store.save({"one": {"a": b"1"}, "two": {"a": b"2"}})
        store.save({"one": {"a": None}, "two": {"b": b"3"}})
        assert store.load("one") == {}
        assert store.load("two") == {"a": b"2", "b": b"3"}
        with pytest.raises(LocalProtocolError, match="bytes"):
            store.save({"one": {"a": b"4"}, "two": {"b": "text"}})  # type: ignore[dict-item]
        assert store.load("one") == {}
        assert store.load("two") == {"a": b"2", "b": b"3"}

    def test_names_are_text_of_any_kind(self, store: Store) -> None:
        changes: dict[str, bytes | None] = {
            "": b"0",
            "a\0b": b"1",
            "é": b"2",
            "e\u0301": b"3",
            "😀": b"4",
            "A": b"5",
        }
        store.save({"": changes})
        assert store.load("") == changes

    def test_what_is_loaded_is_the_callers_own(self, store: Store) -> None:
        store.save({"call": {"a": b"1"}})
        store.load("call")["a"] = b"2"
        assert store.load("call") == {"a": b"1"}

    @pytest.mark.parametrize("wrong", ["text", 5, bytearray(b"x"), [b"x"]])
    def test_other_than_bytes_is_refused_and_nothing_is_written(self, store: Store, wrong: object) -> None:
        store.save({"call": {"a": b"1"}})
        with pytest.raises(LocalProtocolError, match="bytes") as caught:
            store.save({"call": {"a": b"2", "b": wrong}})  # type: ignore[dict-item]
        assert caught.value.reason == "bad_record"
        assert store.load("call") == {"a": b"1"}

    @pytest.mark.parametrize("wrong", [b"call", None, 1, "\ud800"])
    def test_other_names_than_text_are_refused(self, store: Store, wrong: str) -> None:
        with pytest.raises(LocalProtocolError, match="text") as caught:
            store.load(wrong)
        assert caught.value.reason == "bad_record"
        with pytest.raises(LocalProtocolError, match="text"):
            store.save({wrong: {}})
        with pytest.raises(LocalProtocolError, match="text"):
            store.save({"call": {wrong: b"1"}})

    @pytest.mark.parametrize("wrong", [None, [], "call", {"call": None}, {"call": [("a", b"1")]}])
    def test_other_than_mappings_are_refused(self, store: Store, wrong: dict[str, dict[str, bytes]]) -> None:
        with pytest.raises(LocalProtocolError, match="mappings") as caught:
            store.save(wrong)
        assert caught.value.reason == "bad_record"
        assert store.load("call") == {}

    def test_a_closed_store_says_so(self, store: Store) -> None:
        store.close()
        store.close()
        for act in (lambda: store.load("call"), lambda: store.save({"call": {"a": b"1"}})):
            with pytest.raises(LocalProtocolError, match="closed") as caught:
                act()
            assert caught.value.reason == "closed"

    def test_with_closes_it_whatever_happens_in_the_block(self, store: Store) -> None:
        assert isinstance(store, Closing)
        with suppress(KeyError), store as entered:
            assert entered is store
            raise KeyError
        with pytest.raises(LocalProtocolError, match="closed"):
            store.load("call")
        with pytest.raises(LocalProtocolError, match="closed"), store:
            raise AssertionError("a closed store was entered")

    def test_a_call_of_another_schema_is_refused_by_its_version_and_stays_as_it_is(self, store: Store) -> None:
        # As version 1 wrote it: the private halves of the KeyPackage in the record of the participation.
        old: dict[str, bytes | None] = {
            "meta": b'{"version":1,"phase":"inside","n":0}',
            "participation": b'{"suite":1,"key_package":"AAAA"}',
        }
        store.save({"call": old})
        device = LabUser("@anna:one.test", b"seed").add_device("D")
        with pytest.raises(LocalProtocolError, match="schema version 1, this code reads"):
            Session(device, RoomId("!r:one.test"), SlotId("m.call#ROOM"), now=Now(0.0, 0), records=store.load("call"))
        assert store.load("call") == old

    def test_values_are_not_in_its_repr(self, store: Store) -> None:
        store.save({"call": {"name": b"hunter2"}})
        assert "hunter2" not in repr(store)


class StoreMachine(RuleBasedStateMachine):
    """A store beside a dict of dicts. Subclasses say how one is made, and reopened if it can be."""

    durable = False

    def __init__(self) -> None:
        super().__init__()
        self.model: dict[str, dict[str, bytes]] = {}
        self.store = self.make()

    def make(self) -> Store:
        """A new and empty store."""
        raise NotImplementedError

    def reopen(self) -> Store:
        """The same store as a later process finds it."""
        raise NotImplementedError

    @rule(scope=SCOPES, changes=CHANGES)
    def save(self, scope: str, changes: dict[str, bytes | None]) -> None:
        self.store.save({scope: changes})
        kept = self.model.setdefault(scope, {})
        for name, value in changes.items():
            if value is None:
                kept.pop(name, None)
            else:
                kept[name] = value

    @rule(scope=SCOPES, changes=CHANGES)
    def a_refused_step_changes_nothing(self, scope: str, changes: dict[str, bytes | None]) -> None:
        wrong = {**changes, "wrong": "text"}
        with pytest.raises(LocalProtocolError):
            self.store.save({scope: wrong})  # type: ignore[arg-type]

    @precondition(lambda self: self.durable)
    @rule()
    def restart(self) -> None:
        self.store.close()
        self.store = self.reopen()

    @invariant()
    def loads_what_the_model_holds(self) -> None:
        for scope in ("!a:hs|m.call#ROOM", "!b:hs|m.call#ROOM", ""):
            assert self.store.load(scope) == self.model.get(scope, {})

    def teardown(self) -> None:
        self.store.close()


MACHINE_SETTINGS = settings(max_examples=40, stateful_step_count=20, deadline=None)


def in_another_thread(act: object) -> BaseException | None:
    """What a call raises on another thread."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()  # type: ignore[operator]
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None
