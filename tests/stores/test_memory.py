"""The store in memory."""

import pytest
from conformance import MACHINE_SETTINGS, StoreConformance, StoreMachine

from mlsrtc.adapters.sqlite import MemoryStore as FromSqlite
from mlsrtc.adapters.store import MemoryStore, Store
from mlsrtc.errors import LocalProtocolError


@pytest.fixture
def store() -> Store:
    return MemoryStore()


class TestMemoryStore(StoreConformance):
    def test_it_says_that_it_forgets(self) -> None:
        assert MemoryStore().durable is False

    def test_leaving_the_block_closes_it(self) -> None:
        with MemoryStore() as store:
            store.save({"call": {"a": b"1"}})
        with pytest.raises(LocalProtocolError, match="closed"):
            store.load("call")

    def test_both_stores_come_from_one_door(self) -> None:
        assert FromSqlite is MemoryStore


class MemoryMachine(StoreMachine):
    def make(self) -> Store:
        return MemoryStore()


TestMemoryMachine = MemoryMachine.TestCase
TestMemoryMachine.settings = MACHINE_SETTINGS
