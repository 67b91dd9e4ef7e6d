"""`mlsrtc inspect`: what bytes say, and a clear word when they say nothing."""

import json
from collections.abc import Mapping
from pathlib import Path
from random import Random

import pytest

from mlsrtc import Now, Session, mls
from mlsrtc.cli import main
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.testing.device import PartyDevice
from mlsrtc.testing.party import Party
from mlsrtc.wire import names
from mlsrtc.wire.encoding import encode_base64


@pytest.fixture
def alice() -> mls.Client:
    return mls.Client(b"alice", mls.SigningKey.generate())


def said(capsys: pytest.CaptureFixture[str], path: Path) -> dict[str, object]:
    assert main(["inspect", str(path)]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
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
        for form in (message, encode_base64(message).encode(), encode_base64(message).encode() + b"=\n"):
            path.write_bytes(form)
            answer = said(capsys, path)
            assert (answer["kind"], answer["bytes"]) == (kind, len(message))
    path.write_bytes(commit.message)
    answer = said(capsys, path)
    assert (answer["epoch"], answer["sender"], answer["removes"]) == (0, 0, [])


def test_a_call_event_is_read_whole(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def factory(device: PartyDevice, records: Mapping[str, bytes], now: Now) -> Session:
        room_id = RoomId(device.world.room_id)
        return Session(device.matrix, room_id, SlotId("m.call#ROOM"), now=now, records=records)

    party = Party(factory, devices=2, random=Random(1))
    party.join(0)
    party.join(1)
    party.run(5)
    session = party.devices[0].session
    assert isinstance(session, Session)
    (root,) = [event for event in session.known.events.values() if event.type == names.COMMIT]
    path = tmp_path / "event.json"
    path.write_text(json.dumps({"type": root.type, "content": root.content}))
    answer = said(capsys, path)
    assert answer["kind"] == "commit event"
    assert (answer["parent"], answer["id"]) == (None, answer["root"])
    assert isinstance(answer["commit"], dict)
    assert (answer["commit"]["n"], len(answer["commit"]["adds"])) == (1, 1)
    path.write_text(json.dumps({"content": {"slot_id": "m.call#ROOM"}}))
    assert main(["inspect", str(path)]) == 1
    assert "content.root" in capsys.readouterr().err


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00\x01\x00\x09", b"[]"])
def test_bytes_of_something_else_are_refused(data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "message"
    path.write_bytes(data)
    assert main(["inspect", str(path)]) == 1
    assert capsys.readouterr().err.startswith("not readable: ")
