"""A store whose records are damaged, one at a time: a session goes on, or says StoreError with the record's name."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from mlsrtc.errors import StoreError
from mlsrtc.identifiers import RoomId
from mlsrtc.session import Session
from mlsrtc.testing.device import SCOPE
from watching import SLOT, Watch

OTHER_VALUES: tuple[Any, ...] = (None, 5, "x", "é", [], {}, -1, 2**70, True)
OTHER_BYTES = (b"", b"\xff\xfe\x00", b"{}", b"[]", b"[" * 100_000)


@pytest.fixture(scope="module")
def watch() -> Watch:
    """A call that goes on after somebody has left; the store of its first device has records of all kinds."""
    watch = Watch(3, 1)
    watch.join_all()
    watch.party.run(2)
    watch.party.leave(2)
    watch.party.run(0.3)
    return watch


def damaged(records: Mapping[str, bytes]) -> Iterator[tuple[str, dict[str, bytes]]]:
    for key, record in records.items():
        yield f"{key} is gone", {name: value for name, value in records.items() if name != key}
        for other in (*OTHER_BYTES, record[: len(record) // 2]):
            yield f"{key} is {other[:10]!r}", {**records, key: other}
        try:
            value = json.loads(record)
        except ValueError:
            continue
        for field in value if isinstance(value, dict) else ():
            yield f"{key} lacks {field}", {**records, key: without(value, field)}
            for other in OTHER_VALUES:
                yield f"{key} has {other!r} as {field}", {**records, key: json.dumps({**value, field: other}).encode()}
    for kind in ("group", "event", "draft", "pin", "request", "committed", "begun", "removed"):
        yield f"{kind}/x is there", {**records, f"{kind}/x": b"{}"}


def without(value: Mapping[str, Any], field: str) -> bytes:
    return json.dumps({name: kept for name, kept in value.items() if name != field}).encode()


def test_a_damaged_record_is_the_stores_fault_or_does_no_harm(watch: Watch) -> None:
    device, now = watch.party[0], watch.party[0].now
    records = dict(device.store.load(SCOPE))
    assert {key.partition("/")[0] for key in records} >= {"event", "pin", "group", "meta", "participation", "begun"}
    refused = gone_on = 0
    for what, others in damaged(records):
        if what == "meta has 5 as version":
            continue  # Of another schema: told as that.
        try:
            Session(device.matrix, RoomId(watch.world.room_id), SLOT, now=now, records=others).tick(now)
        except StoreError as error:
            assert error.reason == "damaged"
            refused += 1
        except Exception as error:
            raise AssertionError(what) from error
        else:
            gone_on += 1
    assert refused > gone_on > 0
