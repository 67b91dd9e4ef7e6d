"""Records of a checkpoint: read back as written, and refused with a word when they are not what this code writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_evidence import fake_commit
from mlsrtc import LocalProtocolError, StoreError, mls, saved
from mlsrtc.group import enter, participate
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.outbox import (
    CancelLeave,
    FetchAttachment,
    FetchRelations,
    QueryKeys,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
    SendToDevice,
)
from mlsrtc.trust import Pins
from mlsrtc.wire.incoming import RoomEvent

ANNA, BEN = UserId("@anna:one.test"), UserId("@ben:one.test")
REQUESTS: list[Request] = [
    SendState("a", "type", "key", {"n": 1}),
    SendEvent(
        "b", "type", {"x": {"y": [1]}}, sticky_ms=5, encrypt=True, clear={"z": 1}, attachments={"f": b"\x00\xff"}
    ),
    SendToDevice("c", "type", BEN, "D", {}, attachments={"g": b"data"}),
    ScheduleLeave("d", 18_000, "type", None, {}, sticky_ms=7),
    RestartLeave("e", "delay"),
    CancelLeave("f", "delay"),
    FetchAttachment("g", "mxc://one.test/x"),
    FetchRelations("h", "$root"),
    QueryKeys("i", (ANNA, BEN)),
    SendState("z", "type", "key", {"n": 1}, ("DEVICE", "")),
]


def test_every_request_is_read_back_as_it_was() -> None:
    records = {f"request/{request.id}": saved.dump_request(request) for request in REQUESTS}
    assert list(saved.load_requests(records)) == REQUESTS


def test_a_participation_is_read_back_and_goes_on() -> None:
    made = participate(
        RoomId("!r:one.test"),
        SlotId("m.call#ROOM"),
        ANNA,
        DeviceId("D"),
        device_key=bytes(32),
        sign=lambda text: bytes(64),
        suite=1,
    )
    assert made.key_package is not None
    records = {"participation": saved.dump_participation(made)}
    again = saved.load_participation({**records, "key_package": made.key_package.save().expose()})
    assert again is not None
    assert again.leaf == made.leaf
    assert again.public_key_package == made.public_key_package
    assert again.key_package is not None
    host = mls.Client(b"host", mls.SigningKey.generate())
    commit = host.create_group(b"group").commit(add=[again.public_key_package])
    assert commit.welcome is not None
    assert again.client.join(commit.welcome, again.key_package, tree=commit.tree).epoch == 1
    assert made.leaf.member_id in repr(made)
    assert "secret" not in repr(again).lower()

    spent = saved.load_participation(records)
    assert spent is not None
    assert spent.key_package is None
    assert spent.public_key_package == made.public_key_package
    assert spent.signing_key.public == made.signing_key.public
    with pytest.raises(LocalProtocolError, match="deleted"):
        enter(spent, commit.welcome, commit.tree, fake_commit(EpochId(bytes(32)), None, made.leaf))


@pytest.mark.parametrize(
    ("key", "record"),
    [
        ("meta", b"{}"),
        ("meta", b'{"version":3}'),
        ("meta", b'{"version":"3"}'),
        ("meta", b"not json"),
        ("meta", b"[]"),
        ("participation", b"{}"),
        ("participation", b'{"suite":1,"signing_key":"AAAA"}'),
    ],
)
def test_a_record_of_another_form_is_the_stores_fault_and_gives_nothing_away(key: str, record: bytes) -> None:
    read = saved.load_meta if key == "meta" else saved.load_participation
    with pytest.raises(StoreError) as error:
        read({key: record})
    assert error.value.reason == "damaged"
    assert "AAAA" not in str(error.value)
    assert error.value.__cause__ is None


def test_what_only_grows_is_read_from_the_keys_of_its_records() -> None:
    one, two = EpochId(b"1" * 32), EpochId(b"2" * 32)
    keys = [
        *(saved.committed_key(parent) for parent in (None, one)),
        *(saved.begun_key(epoch) for epoch in (one, two)),
        saved.removed_key(MemberId("m")),
    ]
    records = dict.fromkeys(keys, saved.MARK) | {"meta": b"x", "begun": b"x"}
    assert saved.load_committed(records) == {None, one}
    assert saved.load_begun(records) == {one, two}
    assert saved.load_removed(records) == {"m"}
    for key in ("committed/xy", "begun/xy"):
        with pytest.raises(StoreError):
            (saved.load_committed if key.startswith("c") else saved.load_begun)({key: saved.MARK})


@pytest.mark.parametrize("version", [1, saved.VERSION + 1])
def test_a_store_of_another_schema_is_told_by_its_version(version: int) -> None:
    with pytest.raises(
        LocalProtocolError, match=f"schema version {version}, this code reads {saved.VERSION}"
    ) as caught:
        saved.load_meta({"meta": saved.dump({"version": version})})
    assert caught.value.reason == "other_schema"


@pytest.mark.parametrize("record", [b"{}", b'{"request":"Unknown"}', b'{"request":"RestartLeave","id":"a"}', b"x"])
def test_a_request_of_an_unknown_form_is_refused(record: bytes) -> None:
    with pytest.raises(StoreError, match="request/a"):
        list(saved.load_requests({"request/a": record}))


@pytest.mark.parametrize("text", ["x", "0", "zz"])
def test_an_epoch_id_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(StoreError):
        saved.unhexed(text)


@pytest.mark.parametrize(("user", "key"), [(ANNA, b"x"), (ANNA, b"x" * 33), (ANNA, "x" * 32), ("anna", b"x" * 32)])
def test_what_is_no_master_key_is_not_pinned(user: UserId, key: bytes) -> None:
    with pytest.raises(LocalProtocolError):
        Pins().accept(user, key)


def test_pins_are_one_record_a_user_and_only_what_changed_is_written() -> None:
    before = Pins().accept(ANNA, b"a" * 32)
    after = before.accept(BEN, b"b" * 32, verified=True)
    records = dict(saved.changed_pins(Pins(), before)) | dict(saved.changed_pins(before, after))
    assert set(records) == {f"pin/{ANNA}", f"pin/{BEN}"}
    assert saved.load_pins(records) == after
    assert list(saved.changed_pins(after, after)) == []
    (changed,) = saved.changed_pins(after, after.accept(ANNA, b"c" * 32))
    assert changed[0] == f"pin/{ANNA}"


json_objects = st.dictionaries(
    st.text(max_size=8), st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)
)


@given(json_objects, st.text(max_size=20), st.none() | st.text(max_size=20))
def test_an_event_is_read_back_as_it_came(content: dict[str, object], sender: str, state_key: str | None) -> None:
    event = RoomEvent("type", sender, "$event", 17, content, state_key=state_key)
    assert list(saved.load_events({"event/$event": saved.dump_event(event)})) == [event]
