"""Media keys as room events over a nio client: who brought the Megolm session is whose they are, and nobody else."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import nio
import pytest
import pytest_asyncio
from aiohttp import web
from nio.crypto import OlmDevice
from nio.exceptions import EncryptionError
from olm_peers import Homeserver, Peer
from scripted import Scripted

from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.adapters.nio.posted import SEALED_KEPT, SEEN_KEPT, PostedKeys
from mlsrtc.identifiers import DeviceId, KeyIndex, RoomId, SlotId, UserId
from mlsrtc.mls import Secret
from mlsrtc.outbox import Accepted, PostKey
from mlsrtc.wire import names
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import PostedKey
from mlsrtc.wire.key_event import IndexedKey, KeyEvent, KeyFormat

ROOM = "!r:localhost"
KEY = base64.b64encode(bytes(range(32))).decode()


def content(device: str = "PHONE") -> dict[str, Any]:
    return {"keys": [{"index": 3, "key": KEY}], "call_id": "", "device_id": device, "sent_ts": 5}


class Author:
    """A peer that writes into the room."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        peer.olm.create_outbound_group_session(ROOM)
        self.session = peer.olm.outbound_group_sessions[ROOM]
        self.session.mark_as_shared()
        self.first_key = self.session.session_key
        self.events = 0

    def room_key(self, ours: Any, **changes: Any) -> dict[str, Any]:
        """The to-device event that brings the session."""
        session = {
            "algorithm": "m.megolm.v1.aes-sha2",
            "room_id": ROOM,
            "session_id": self.session.id,
            "session_key": self.first_key,
        }
        return self.peer.event(ours, "m.room_key", session, **changes)

    def writes(self, inner: Any = None, type: str = names.KEYS_ELEMENT, sender: str | None = None) -> dict[str, Any]:
        """A raw event of the room."""
        self.events += 1
        sealed = self.peer.olm.group_encrypt(ROOM, {"type": type, "content": content() if inner is None else inner})
        return {
            "type": "m.room.encrypted",
            "sender": sender or self.peer.user_id,
            "event_id": f"${self.peer.device_id}{self.events}",
            "origin_server_ts": 1,
            "content": sealed,
        }


class Room(Homeserver):
    """It takes events, too."""

    def _answer(self, method: str, path: str, query: dict[str, str]) -> web.Response:
        if "/send/" in path:
            return web.json_response({"event_id": "$e"})
        return super()._answer(method, path, query)


class Here:
    """A client in the room with an open door, and what passes of its events."""

    def __init__(self, scripted: Scripted) -> None:
        self.client = scripted.client
        self.ours = scripted.client.olm
        self.ben = Peer("@ben:localhost", "PHONE")
        self.eve = Peer("@eve:localhost", "LAPTOP")
        self.home = Room(scripted, self.ben, self.eve)
        self.door = OlmDoor(scripted.client, lambda told: None)
        self.posted = PostedKeys(scripted.client, ROOM, self.door.learn)

    async def all_of(self, *raws: dict[str, Any]) -> list[PostedKey]:
        """What comes of them, once nothing is being asked for any more."""
        told = self.posted.fresh(raws)
        while self.posted.unproven:
            told += await self.posted.prove()
        return told


@pytest_asyncio.fixture
async def here(scripted: Scripted) -> AsyncIterator[Here]:
    here = Here(scripted)
    here.door.open()
    yield here
    await here.door.close()


def _proven(peer: Peer) -> tuple[str | None, bytes | None]:
    return peer.device_id, decode_base64(peer.ed25519)


async def test_a_key_is_told_with_the_device_that_olm_authenticated(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    (told,) = await here.all_of(author.writes())
    assert (told.encrypted, told.sender, told.content) == (True, here.ben.user_id, content())
    assert (told.sender_device, told.sender_key) == _proven(here.ben)
    assert KEY not in repr(told)


async def test_each_event_is_told_once(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes()
    assert len(await here.all_of(event, event)) == 1
    assert await here.all_of(event) == []


async def test_a_key_waits_for_its_session(here: Here) -> None:
    author = Author(here.ben)
    event = author.writes()
    assert await here.all_of(event) == []
    await here.home.bring(author.room_key(here.ours))
    (told,) = here.posted.readable() or await here.posted.prove()
    assert (told.sender_device, told.sender_key) == _proven(here.ben)


async def test_what_cannot_be_read_is_kept_in_bounds(here: Here) -> None:
    author = Author(here.ben)
    author.session.max_messages = 10 * SEALED_KEPT
    first, *rest = (author.writes() for _ in range(SEALED_KEPT + 1))
    assert await here.all_of(first, *rest) == []
    await here.home.bring(author.room_key(here.ours))
    told = here.posted.readable()
    while here.posted.unproven:
        told += await here.posted.prove()
    assert {one.event_id for one in told} == {event["event_id"] for event in rest}


async def test_ids_that_were_told_are_kept_in_bounds(here: Here) -> None:
    clear = (
        {"type": names.KEYS_ELEMENT, "sender": "@a:h", "event_id": f"${n}", "content": {}} for n in range(2 * SEEN_KEPT)
    )
    here.posted.fresh(clear)
    assert len(here.posted._seen) == SEEN_KEPT


async def test_a_device_that_nio_does_not_know_yet_is_asked_about(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    assert here.ben.user_id not in here.ours.device_store.users
    event = author.writes()
    assert here.posted.fresh([event]) == []
    (told,) = await here.posted.prove()
    assert (told.sender_device, told.sender_key) == _proven(here.ben)


async def test_a_device_that_nobody_knows_proves_nothing(here: Here) -> None:
    author = Author(Peer("@ben:localhost", "GHOST"))
    await here.home.bring(author.room_key(here.ours))
    (told,) = await here.all_of(author.writes(content("GHOST")))
    assert (told.encrypted, told.sender_device, told.sender_key) == (True, None, None)


async def test_what_the_event_says_of_its_device_counts_for_nothing(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes(content("LAPTOP"))
    event["content"]["device_id"] = "LAPTOP"
    (told,) = await here.all_of(event)
    assert (told.sender_device, told.sender_key) == _proven(here.ben)


async def test_a_session_of_one_user_does_not_speak_for_another(here: Here) -> None:
    """The homeserver, or Eve, shows Ben's event as one of Eve's."""
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    await here.door.learn([here.eve.user_id, here.ben.user_id])
    (told,) = await here.all_of(author.writes(sender=here.eve.user_id))
    assert (told.sender_device, told.sender_key) == (None, None)


async def test_a_device_that_publishes_anothers_curve25519_key_gets_nothing_of_its_sessions(here: Here) -> None:
    here.eve.publishes(keys={"curve25519": here.ben.curve25519})
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    await here.door.learn([here.eve.user_id, here.ben.user_id])
    assert here.ours.device_store[here.eve.user_id]["LAPTOP"].curve25519 == here.ben.curve25519
    (told,) = await here.all_of(author.writes(sender=here.eve.user_id))
    assert (told.sender_device, told.sender_key) == (None, None)


@pytest.mark.parametrize("known", [True, False])
async def test_a_key_that_is_not_in_its_one_form_proves_nothing_and_ends_no_sync_loop(here: Here, known: bool) -> None:
    """vodozemac takes it. known: nio has learned the device while there was no door."""
    padded = here.eve.ed25519 + "="
    here.eve.publishes(keys={"ed25519": padded})
    author = Author(here.eve)
    await here.home.bring(author.room_key(here.ours, keys={"ed25519": padded}))
    if known:
        here.ours.device_store.add(OlmDevice(*here.eve.name, {"ed25519": padded, "curve25519": here.eve.curve25519}))
    (told,) = await here.all_of(author.writes())
    assert (told.encrypted, told.sender_device, told.sender_key) == (True, None, None)


async def test_a_session_under_anothers_ed25519_key_proves_nothing(here: Here) -> None:
    """nio takes the Ed25519 key as it stands beside the session, if nothing else is known of the device."""
    author = Author(here.eve)
    await here.home.bring(author.room_key(here.ours, keys={"ed25519": here.ben.ed25519}))
    (told,) = await here.all_of(author.writes())
    assert (told.sender_device, told.sender_key) == (None, None)


async def test_a_session_that_somebody_passed_on_proves_nothing(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes()
    session = here.ours.inbound_group_store.get(ROOM, here.ben.curve25519, author.session.id)
    session.forwarding_chain = [here.eve.curve25519]
    await here.door.learn([here.ben.user_id])
    (told,) = await here.all_of(event)
    assert (told.sender_device, told.sender_key) == (None, None)


async def test_a_replayed_event_is_not_read(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes()
    assert len(await here.all_of(event)) == 1
    assert await here.all_of(event | {"event_id": "$again"}) == []


async def test_an_event_that_was_written_for_another_room_is_not_read(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes()
    other = json.dumps({"type": names.KEYS_ELEMENT, "content": content(), "room_id": "!other:localhost"})
    event["content"]["ciphertext"] = author.session.encrypt(other)
    assert await here.all_of(event) == []


@pytest.mark.parametrize("plaintext", ["no json", "[]", '"text"', "{}", "[" * 100_000])
async def test_what_has_no_payload_in_it_is_not_read(here: Here, plaintext: str) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes()
    event["content"]["ciphertext"] = author.session.encrypt(plaintext)
    assert await here.all_of(event) == []


@pytest.mark.parametrize("field", ["sender_key", "session_id", "ciphertext"])
@pytest.mark.parametrize("value", [None, 5, [], {}, "text"])
async def test_what_has_another_form_is_not_read(here: Here, field: str, value: Any) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    event = author.writes()
    event["content"][field] = value
    assert await here.all_of(event) == []


async def test_a_key_in_the_clear_is_told_as_such(here: Here) -> None:
    clear = {"type": names.KEYS_ELEMENT, "sender": "@ben:localhost", "event_id": "$1", "content": content()}
    assert await here.all_of(clear) == [PostedKey("@ben:localhost", "$1", content())]


@pytest.mark.parametrize(
    "spoilt",
    [{"event_id": 1}, {"sender": None}, {"content": "text"}, {"state_key": ""}, {"type": "m.room.message"}],
)
async def test_what_is_no_such_event_is_not_told(here: Here, spoilt: dict[str, Any]) -> None:
    clear = {"type": names.KEYS_ELEMENT, "sender": "@ben:localhost", "event_id": "$1", "content": content()}
    assert await here.all_of(clear | spoilt) == []


async def test_a_message_of_the_chat_is_no_key(here: Here) -> None:
    author = Author(here.ben)
    await here.home.bring(author.room_key(here.ours))
    assert await here.all_of(author.writes({"body": "hello", "msgtype": "m.text"}, "m.room.message")) == []


@pytest.mark.parametrize("field", ["sender_key", "session_id"])
async def test_an_event_without_the_name_of_a_key_ends_no_sync_loop(here: Here, field: str) -> None:
    """nio asserts that they are not empty, of what any member of any room sends, and its loop ends by it."""
    author = Author(here.ben)
    event = author.writes()
    event["content"][field] = ""
    megolm = nio.Event.parse_event(event)
    inner = type(here.ours).decrypt_megolm_event
    with pytest.raises(AssertionError):
        inner(here.ours, megolm, ROOM)
    with pytest.raises(EncryptionError):
        here.ours.decrypt_megolm_event(megolm, ROOM)
    assert await here.all_of(event) == []


def _request(*devices: Peer, encrypt: bool = True) -> PostKey:
    key = IndexedKey(KeyIndex(3), Secret(bytes(range(32))))
    said = KeyEvent(KeyFormat.ELEMENT, RoomId(ROOM), SlotId("m.call#ROOM"), DeviceId("DEVICE"), None, (key,), 5)
    who = ((UserId(one.user_id), DeviceId(one.device_id), decode_base64(one.ed25519)) for one in devices)
    return PostKey("k1", said, tuple(who), encrypt)


def _channel(here: Here, *, encrypted: bool = True) -> NioChannel:
    room = nio.MatrixRoom(ROOM, here.client.user_id, encrypted)
    for user in (here.client.user_id, here.ben.user_id):
        room.add_member(user, None, None)
    room.members_synced = True
    here.client.rooms[ROOM] = room
    return NioChannel(here.client, ROOM, "m.call#ROOM", olm=here.door, attachment_limit=1)


def _written(scripted: Scripted) -> tuple[str, dict[str, Any]]:
    [(_, path, _, body)] = [asked for asked in scripted.asked if "/send/" in asked[1]]
    return path, json.loads(body)


async def test_a_key_is_posted_once_for_all_and_the_session_goes_to_who_lacks_it(
    here: Here, scripted: Scripted
) -> None:
    channel = _channel(here)
    assert await channel.send(_request(here.ben, here.eve)) == Accepted("$e")
    path, written = _written(scripted)
    assert path.endswith("/send/m.room.encrypted/k1")
    assert KEY not in json.dumps(written)
    shared = {name for _, messages in here.home.sent for user in messages.values() for name in user}
    assert shared == {"LAPTOP", "PHONE"}, "Eve is in the call, and nio does not know her to be in the room"
    assert len({transaction for transaction, _ in here.home.sent}) == len(here.home.sent)
    before = len(here.home.sent)
    assert await channel.send(replace(_request(here.ben, here.eve), id="k2")) == Accepted("$e")
    assert len(here.home.sent) == before, "they have the session"


async def test_who_gets_no_session_is_said(here: Here) -> None:
    here.eve.published["one_time_keys"].clear()
    outcome = await _channel(here).send(_request(here.ben, here.eve))
    (eve,) = _request(here.eve).devices
    assert outcome == Accepted("$e", failures={eve: "no_one_time_key"})


async def test_another_device_of_the_same_name_is_not_taken_for_the_one_that_is_meant(here: Here) -> None:
    meant = Peer(here.eve.user_id, here.eve.device_id)
    outcome = await _channel(here).send(_request(here.ben, meant))
    (device,) = _request(meant).devices
    assert outcome == Accepted("$e", failures={device: "unknown_device"})


async def test_in_the_clear_only_if_asked_for(here: Here, scripted: Scripted) -> None:
    channel = _channel(here, encrypted=False)
    assert await channel.send(_request(here.ben, encrypt=False)) == Accepted("$e")
    path, written = _written(scripted)
    assert path.endswith(f"/send/{names.KEYS_ELEMENT}/k1")
    assert written["keys"] == [{"index": 3, "key": KEY}]
