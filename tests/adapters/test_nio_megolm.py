"""Encrypting a membership over a scripted homeserver: a limit in any step is told; the next try goes on."""

import json
from typing import Any

import nio
import pytest
from aiohttp import web
from nio.store import SqliteMemoryStore
from scripted import Scripted, error

from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.errors import LocalProtocolError
from mlsrtc.outbox import Accepted, RateLimited, SendEvent

ROOM = "!r:localhost"
REQUEST = SendEvent("s1", "m.rtc.member", {"slot_id": "s"}, sticky_ms=5, encrypt=True, clear={"block": 1})


def _peer() -> nio.AsyncClient:
    config = nio.AsyncClientConfig(encryption_enabled=True, store=SqliteMemoryStore)
    client = nio.AsyncClient("http://127.0.0.1:1", "@ben:localhost", config=config)
    client.restore_login("@ben:localhost", "PEER", "t")
    return client


class _Homeserver:
    """Answers as one with a single other device in the room; `limited` names what is answered 429."""

    def __init__(self) -> None:
        olm = _peer().olm
        assert olm is not None
        self.keys = olm.share_keys()
        self.limited = ""
        self.more_devices: dict[str, Any] = {}

    def __call__(self, method: str, path: str, query: dict[str, str]) -> web.Response:
        if self.limited and self.limited in path:
            return error(429, "M_LIMIT_EXCEEDED", retry_after_ms=77)
        peer = {"PEER": self.keys["device_keys"], **self.more_devices}
        answers: dict[str, Any] = {
            "keys/upload": {"one_time_key_counts": {"signed_curve25519": 50}},
            "joined_members": {"joined": {"@ada:localhost": {}, "@ben:localhost": {}}},
            "keys/query": {"device_keys": {"@ada:localhost": {}, "@ben:localhost": peer}, "failures": {}},
            "keys/claim": {
                "one_time_keys": {"@ben:localhost": {"PEER": self._one_time_key()}},
                "failures": {},
            },
            "sendToDevice": {},
            "send/m.room.encrypted": {"event_id": "$e"},
        }
        return next(web.json_response(answer) for part, answer in answers.items() if part in path)

    def _one_time_key(self) -> dict[str, Any]:
        name, key = next(iter(self.keys["one_time_keys"].items()))
        return {name: key}


def _enter(client: nio.AsyncClient, *, encrypted: bool = True) -> NioChannel:
    room = nio.MatrixRoom(ROOM, client.user_id, encrypted)
    client.rooms[ROOM] = room
    return NioChannel(client, ROOM, "m.call#ROOM", olm=OlmDoor(client, print), attachment_limit=1)


@pytest.mark.parametrize(
    "step",
    ["keys/upload", "joined_members", "keys/query", "keys/claim", "sendToDevice", "send/m.room.encrypted"],
)
async def test_a_limit_in_any_step_is_told_and_the_next_try_goes_on(scripted: Scripted, step: str) -> None:
    homeserver = _Homeserver()
    scripted.answer = homeserver
    channel = _enter(scripted.client)
    homeserver.limited = step
    assert await channel.send(REQUEST) == RateLimited(77)
    asked = [path for _, path, *_ in scripted.asked]
    assert sum(step in path for path in asked) == 1
    homeserver.limited = ""
    scripted.asked.clear()
    assert await channel.send(REQUEST) == Accepted(event_id="$e")
    *before, (_, path, query, body) = scripted.asked
    assert path == f"/_matrix/client/v3/rooms/{ROOM}/send/m.room.encrypted/s1"
    assert query == {"org.matrix.msc4354.sticky_duration_ms": "5"}
    content = json.loads(body)
    assert content["block"] == 1
    assert "slot_id" not in content
    done = asked[: next(n for n, path in enumerate(asked) if step in path)]
    assert not {path for _, path, *_ in before if "sendToDevice" not in path} & set(done)


@pytest.mark.parametrize("broken", [{}, {"algorithms": [], "device_id": "BROKEN", "keys": {}}])
async def test_a_malformed_device_keeps_no_other_from_reading(scripted: Scripted, broken: dict[str, Any]) -> None:
    """nio drops an answer as a whole where one device in it has no keys, and raises where one has no user."""
    homeserver = _Homeserver()
    homeserver.more_devices = {"BROKEN": broken}
    scripted.answer = homeserver
    door = OlmDoor(scripted.client, lambda told: None)
    door.open()
    assert await _enter(scripted.client).send(REQUEST) == Accepted(event_id="$e")
    assert sum("sendToDevice" in path for path in scripted.paths()) == 1
    await door.close()


async def test_a_clear_field_does_not_replace_one_of_megolm(scripted: Scripted) -> None:
    scripted.answer = _Homeserver()
    channel = _enter(scripted.client)
    request = SendEvent("s1", "m.rtc.member", {}, encrypt=True, clear={"ciphertext": "forged"})
    assert await channel.send(request) == Accepted(event_id="$e")
    assert json.loads(scripted.asked[-1][3])["ciphertext"] != "forged"


async def test_a_room_that_is_not_encrypted_is_the_callers_fault(scripted: Scripted) -> None:
    with pytest.raises(LocalProtocolError, match="not encrypted"):
        await _enter(scripted.client, encrypted=False).send(REQUEST)


async def test_a_client_without_encryption_is_the_callers_fault() -> None:
    config = nio.AsyncClientConfig(encryption_enabled=False)
    client = nio.AsyncClient("http://127.0.0.1:1", "@a:h", config=config)
    client.restore_login("@a:h", "D", "t")
    with pytest.raises(LocalProtocolError, match="encryption"):
        await _enter(client).send(REQUEST)
