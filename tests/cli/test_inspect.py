"""`mlsrtc inspect`: what bytes say, and a clear word when they say nothing."""

import json
import textwrap
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from random import Random
from typing import Any

import pytest

from mlsrtc import Now, Session, mls
from mlsrtc.cli import main
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.testing.device import PartyDevice, SessionFactory
from mlsrtc.testing.party import Party
from mlsrtc.wire import names
from mlsrtc.wire.block import encode_block
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.membership import MembershipFormat
from people import ANNA, NOW
from samples import CHILD, have, need, word


@pytest.fixture
def alice() -> mls.Client:
    return mls.Client(b"alice", mls.SigningKey.generate())


def said(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, Any]:
    assert main(["inspect", str(path)]) == 0
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer


def test_each_kind_of_message_is_told_apart(
    alice: mls.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bob = mls.Client(b"bob", mls.SigningKey.generate())
    package = bob.key_package()
    commit = alice.create_group(b"group").commit(add=[package.public])
    assert commit.welcome is not None
    messages = {
        "commit": commit.message,
        "GroupInfo": commit.group_info,
        "KeyPackage": package.public,
        "Welcome": commit.welcome,
    }
    path = tmp_path / "message"
    for kind, message in messages.items():
        text = encode_base64(message)
        wrapped = "\r\n".join(textwrap.wrap(text, 64))
        for form in (message, text.encode(), text.encode() + b"=\n", wrapped.encode()):
            path.write_bytes(form)
            answer = said(capsys, path)
            assert (answer["kind"], answer["bytes"]) == (kind, len(message))
    path.write_bytes(commit.message)
    answer = said(capsys, path)
    assert (answer["epoch"], answer["sender"], answer["removes"]) == (0, 0, [])


def make_session(*, sticky: bool) -> SessionFactory:
    def factory(device: PartyDevice, records: Mapping[str, bytes], now: Now) -> Session:
        room_id = RoomId(device.world.room_id)
        membership = MembershipFormat.STICKY if sticky else MembershipFormat.STATE
        slot_id = SlotId("m.call#ROOM")
        return Session(device.matrix, room_id, slot_id, now=now, records=records, membership=membership)

    return factory


@pytest.mark.parametrize("sticky", [False, True])
def test_every_event_of_a_call_is_read_whole(
    *, sticky: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    party = Party(make_session(sticky=sticky), devices=3, random=Random(1))
    for index in range(3):
        party.join(index)
    party.run(5)
    party.leave(2)
    party.run(5)
    path = tmp_path / "event.json"
    answers: dict[str, list[dict[str, Any]]] = {}
    for stored in party.world.servers["one.test"].room.timeline:
        if stored.event.type in (names.COMMIT, names.STATE_MEMBER, names.STICKY_MEMBER):
            path.write_text(json.dumps(asdict(stored.event)))
            answer = said(capsys, path)
            answers.setdefault(answer["kind"], []).append(answer)
    root = answers["commit event"][0]
    assert (root["parent"], root["id"]) == (None, root["root"])
    assert (root["commit"]["n"], len(root["commit"]["adds"]), root["commit"]["guests"]) == (1, 2, [])
    assert answers["commit event"][1]["parent"] == root["id"]
    joins, (left,) = answers["membership"], answers["end of a membership"]
    assert {join["format"] for join in (*joins, left)} == {"sticky" if sticky else "state"}
    assert [join["block"]["kind"] for join in joins] == ["join"] * len(joins)
    assert joins[0]["block"]["key_package"]["kind"] == "KeyPackage"
    assert (left["block"]["kind"], left["user_id"]) == ("leave", party[2].matrix.user_id)
    assert left["block"]["member_id"] in {join["block"]["member_id"] for join in joins}


def read(capsys: pytest.CaptureFixture[str], path: Path, kind: str, content: Mapping[str, Any]) -> dict[str, Any]:
    path.write_text(json.dumps({"type": kind, "sender": ANNA.user, "content": content}))
    return said(capsys, path)


def test_words_and_what_members_ask_each_other_are_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "event.json"
    refusing = word()
    plain = {name: value for name, value in refusing.items() if name != "refuse"}
    for sample in (plain, refusing):
        answer = read(capsys, path, names.WORD, sample)
        assert (answer["kind"], answer["member_id"], answer["n"]) == ("word", sample["member_id"], sample["n"])
        assert (answer["refuses"] is None) == (sample is plain)
    answer = read(capsys, path, names.NEED, need())
    assert (answer["kind"], answer["id"], answer["asks_for"]) == ("need", CHILD.hex(), "tree")
    sample = have()
    answer = read(capsys, path, names.HAVE, sample)
    assert answer["kind"] == "have"
    assert [event["type"] for event in answer["events"]] == [event["type"] for event in sample["events"]]


def test_what_stands_in_the_clear_of_an_encrypted_membership_is_read(
    alice: mls.Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "event.json"
    block = replace(ANNA.join_block(head=CHILD), key_package=alice.key_package().public)
    event: dict[str, Any] = {"type": names.ENCRYPTED, "sender": ANNA.user, "event_id": "$e", "origin_server_ts": NOW}
    path.write_text(json.dumps(event | {"content": {names.BLOCK: encode_block(block)}}))
    answer = said(capsys, path)
    assert (answer["kind"], answer["block"]["head"]) == ("encrypted membership", CHILD.hex())
    path.write_text(json.dumps(event | {"content": {"ciphertext": "A"}}))
    assert main(["inspect", str(path)]) == 1
    assert "no block of ours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("event", "where"),
    [
        ({"content": {"slot_id": "m.call#ROOM"}}, "content.root"),
        ({"type": names.WORD, "content": None}, "content"),
        ({"type": "m.room.message", "content": {}}, "type"),
        ({"type": 5, "content": {}}, "type"),
        ({"type": names.STATE_MEMBER, "content": {}}, "sender"),
    ],
)
def test_an_event_that_does_not_hold_is_refused_with_its_place(
    event: dict[str, Any], where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "event.json"
    path.write_text(json.dumps(event))
    assert main(["inspect", str(path)]) == 1
    assert f"not readable: {where}: " in capsys.readouterr().err


def test_json_that_is_nested_too_deeply_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "event.json"
    path.write_text('{"a":' * 200_000)
    assert main(["inspect", str(path)]) == 1
    assert "nested too deeply" in capsys.readouterr().err


def test_what_cannot_be_read_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (tmp_path, tmp_path / "missing"):
        assert main(["inspect", str(path)]) == 2
        assert capsys.readouterr().err.startswith(f"cannot read {path}: ")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00\x01\x00\x09", b"[]"])
def test_bytes_of_something_else_are_refused(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "message"
    path.write_bytes(data)
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err.startswith("not readable: ")
