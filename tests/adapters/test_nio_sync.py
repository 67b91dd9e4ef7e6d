"""What others write into one sync answer costs that much of it, and ends neither nio's sync loop nor a call."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import nio
import pytest
import pytest_asyncio
from aiohttp import web
from olm_peers import Peer
from scripted import Scripted
from test_nio_posted import ROOM, Author, Room

from mlsrtc.adapters.nio import NioTransport, megolm, olm, olm_keys
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.wire import names
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import DevicesChanged, Incoming, PostedKey, RoomEvent, ToDevice, Unopened

SECRET = "c2VjcmV0IGtleSBvZiBiZW4"
STICKY = {"msc4354_sticky": {"duration_ms": 60_000}}


class Following:
    """A client that follows the room, as its sync loop does."""

    def __init__(self, scripted: Scripted, transport: NioTransport) -> None:
        self.client = scripted.client
        self.transport = transport
        self.eve = Peer("@eve:localhost", "LAPTOP")
        self.home = Room(scripted, self.eve)
        self.channel = NioChannel(self.client, ROOM, "m.call#ROOM", olm=transport._olm, attachment_limit=1)
        transport._channels.append(self.channel)

    async def sync(self, to_device: list[Any] | None = None, **parts: list[Any]) -> list[Incoming]:
        """One turn of the loop, and what comes of it."""
        room = {name: {"events": events} for name, events in parts.items()}
        self.home.sync_fields = {"rooms": {"join": {ROOM: room}}}
        await self.client.run_response_callbacks([await self.home.bring(*(to_device or []))])
        return list(await self.channel.receive(0))

    async def more(self, count: int) -> list[Incoming]:
        """What is told after it, once something was asked for."""
        told: list[Incoming] = []
        while len(told) < count and (following := await self.channel.receive(2)):
            told += following
        return told


@pytest_asyncio.fixture
async def here(scripted: Scripted) -> AsyncIterator[Following]:
    async with NioTransport(scripted.client, sync=False) as transport:
        here = Following(scripted, transport)
        yield here
        transport._channels.clear()
        await here.channel.close(TransportClosed("closed"))


def _key(event_id: str) -> dict[str, Any]:
    return {
        "type": names.KEYS_ELEMENT,
        "sender": "@ben:localhost",
        "event_id": event_id,
        "origin_server_ts": 1,
        "content": {},
    }


@pytest.mark.parametrize("type", [[], {}, ["m.rtc.member"]])
async def test_a_payload_whose_type_is_no_text_is_no_membership(here: Following, type: Any) -> None:
    author = Author(here.eve)
    await here.sync([author.room_key(here.client.olm)])
    odd = author.writes(type=type) | STICKY
    assert await here.sync(msc4354_sticky=[odd], timeline=[_key("$good")]) == [PostedKey("@ben:localhost", "$good", {})]


async def test_a_sticky_event_that_nio_cannot_parse_waits_as_one_that_cannot_be_decrypted(here: Following) -> None:
    """nio does not know the section, and has not looked at it before."""
    odd = Author(here.eve).writes() | STICKY | {"origin_server_ts": "today"}
    assert await here.sync(msc4354_sticky=[odd, _key("$good")]) == [PostedKey("@ben:localhost", "$good", {})]


@pytest.mark.parametrize("type", [[], {}])
async def test_what_is_of_no_type_is_no_event(here: Following, type: Any) -> None:
    sticky = _key("$1") | {"type": "m.rtc.member"} | STICKY
    got = await here.sync(msc4354_sticky=[sticky | {"type": type}, sticky])
    assert [event.event_id for event in got if isinstance(event, RoomEvent)] == ["$1"]


_DEEP = json.loads("[" * 700 + "]" * 700)


async def test_an_event_that_nests_deep_ends_nios_sync_loop(scripted: Scripted) -> None:
    """nio writes into its log what is wrong with it, and any member of any room can send one."""
    home = Room(scripted)
    home.sync_fields = {"rooms": {"join": {ROOM: {"timeline": {"events": [_key("$1") | _ODD["deep"]]}}}}}
    with pytest.raises(RecursionError):
        await home.bring()


_ODD: dict[str, dict[str, Any]] = {
    "deep": {"type": "m.room.message", "content": {"msgtype": "m.text", "body": _DEEP}},
    "time": {"type": "m.room.message", "origin_server_ts": "today"},
}


@pytest.mark.parametrize("odd", _ODD)
@pytest.mark.parametrize("part", ["timeline", "state"])
async def test_an_event_that_nio_cannot_parse_costs_only_itself(here: Following, odd: str, part: str) -> None:
    seen: list[str] = []
    here.client.add_event_callback(lambda room, event: seen.append(event.event_id), nio.Event)
    parts: dict[str, list[Any]] = {"timeline": [_key("$good")]}
    parts[part] = [_key("$odd") | _ODD[odd], *parts.get(part, [])]
    assert await here.sync(**parts) == [PostedKey("@ben:localhost", "$good", {})]
    assert seen == ["$good"]


@pytest.mark.parametrize("part", ["presence", "ephemeral", "invite_state"])
async def test_what_stands_elsewhere_in_a_sync_and_cannot_be_parsed_costs_only_itself(
    here: Following, part: str
) -> None:
    odd = {"events": [{"type": _DEEP, "sender": "@eve:localhost", "content": _DEEP}]}
    room: dict[str, Any] = {"timeline": {"events": [_key("$good")]}}
    rooms: dict[str, Any] = {"join": {ROOM: room}}
    if part == "ephemeral":
        room[part] = odd
    elif part == "invite_state":
        rooms["invite"] = {"!other:localhost": {part: odd}}
    here.home.sync_fields = {"rooms": rooms} | ({part: odd} if part == "presence" else {})
    await here.client.run_response_callbacks([await here.home.bring()])
    assert await here.channel.receive(0) == [PostedKey("@ben:localhost", "$good", {})]


async def test_a_presence_that_is_none_ends_no_sync_loop(here: Following) -> None:
    """A homeserver can say anything of its users; nio looks for the user in what it could not read."""
    odd = {"type": "m.presence", "sender": "@eve:localhost", "content": {"presence": "online", "status_msg": 5}}
    here.home.sync_fields = {"rooms": {"join": {ROOM: {}}}, "presence": {"events": [odd]}}
    assert isinstance(await here.home.bring(), nio.SyncResponse)


async def test_what_comes_to_the_device_and_cannot_be_parsed_costs_only_itself(here: Following) -> None:
    request = {"type": "m.room_key_request", "sender": "@eve:localhost", "content": {"action": _DEEP}}
    sealed = {"type": "m.room.encrypted", "sender": "@eve:localhost", "content": {"algorithm": _DEEP}}
    clear = {"type": names.NEED, "sender": "@ben:localhost", "content": {"room_id": ROOM}}
    assert await here.sync([request, sealed, clear]) == [
        Unopened("@eve:localhost", "malformed"),
        ToDevice(names.NEED, "@ben:localhost", {"room_id": ROOM}),
    ]


def _text(value: Any, depth: int) -> web.Response:
    """An answer in which "deep" is that many lists in one another."""
    text = json.dumps(value).replace('"deep"', "[" * depth + '"x"' + "]" * depth)
    return web.Response(text=text, content_type="application/json")


@pytest.mark.parametrize("depth", [300, 900, 5_000, 20_000])
async def test_what_nests_deeper_than_python_parses_costs_only_itself(
    here: Following, scripted: Scripted, depth: int
) -> None:
    """Any user of any homeserver can send it to the device, and the sync that has it comes again and again."""
    odd = {"type": "m.room_key_request", "sender": "@eve:localhost", "content": {"action": "deep"}}
    clear = {"type": names.NEED, "sender": "@ben:localhost", "content": {"room_id": ROOM}}
    answer = {"next_batch": "s1", "to_device": {"events": [odd, clear]}}
    scripted.answer = lambda *_: _text(answer, depth)
    await here.client.run_response_callbacks([await here.client.sync()])
    assert await here.channel.receive(0) == [ToDevice(names.NEED, "@ben:localhost", {"room_id": ROOM})]
    assert here.client.next_batch == "s1"


@pytest.mark.parametrize("depth", [300, 960, 5_000, 20_000])
@pytest.mark.parametrize("by_nio", [True, False])
async def test_device_keys_that_nest_deeper_than_python_parses_cost_only_themselves(
    here: Following, scripted: Scripted, depth: int, by_nio: bool
) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    odd = {**here.eve.published["device_keys"], "more": "deep"}
    keys = {here.eve.user_id: {here.eve.device_id: odd}, ben.user_id: {ben.device_id: ben.published["device_keys"]}}
    scripted.answer = lambda *_: _text({"device_keys": keys, "failures": {}}, depth)
    if by_nio:
        here.client.olm.users_for_key_query.update(keys)
        await here.client.keys_query()
    else:
        await here.transport._olm.learn(list(keys))
    assert olm_keys.known_device(here.client.olm, *ben.name) is not None
    assert olm_keys.known_device(here.client.olm, *here.eve.name) is None


async def test_another_answer_that_nio_cannot_parse_is_left_to_who_asked(here: Following, scripted: Scripted) -> None:
    scripted.answer = lambda *_: web.json_response({"start": "a", "chunk": [_key("$1") | _ODD["time"]]})
    with pytest.raises(TypeError):
        await here.client.room_messages(ROOM)


async def test_a_closed_door_leaves_nothing_in_the_client(scripted: Scripted) -> None:
    async with NioTransport(scripted.client, sync=False):
        assert "create_matrix_response" in vars(scripted.client)
    assert "create_matrix_response" not in vars(scripted.client)


# ---- the last line of defence ----


def _fails_for(spoilt: str, inner: Callable[..., Any], at: int) -> Callable[..., Any]:
    """inner, with a fault of ours in it: it raises where its argument names the spoilt one."""

    def fails(*args: Any) -> Any:
        if spoilt in repr(args[at]):
            raise ValueError(SECRET)
        return inner(*args)

    return fails


def _is_logged_without_its_text(caplog: pytest.LogCaptureFixture) -> bool:
    return "in fails" in caplog.text and "ValueError" in caplog.text and SECRET not in caplog.text


async def test_an_event_with_which_nobody_reckoned_costs_only_itself(
    here: Following, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(megolm, "decrypt", _fails_for("$LAPTOP1", megolm.decrypt, 2))
    monkeypatch.setattr(megolm, "look", _fails_for("$LAPTOP2", megolm.look, 2))
    author = Author(here.eve)
    member, key = author.writes() | STICKY, author.writes()
    good = _key("$good") | {"type": "m.rtc.member"}
    got = await here.sync(timeline=[member, key, good, _key("$key")])
    assert [event.event_id for event in got if isinstance(event, RoomEvent | PostedKey)] == ["$good", "$key"]
    assert caplog.text.count("nobody foresaw this") == 2
    assert _is_logged_without_its_text(caplog)


@pytest.mark.parametrize("known", [True, False])
async def test_a_key_whose_owner_cannot_be_found_out_is_told_as_nobodys(
    here: Following, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    author = Author(here.eve)
    await here.sync([author.room_key(here.client.olm)])
    if known:
        await here.transport._olm.learn([here.eve.user_id])
    monkeypatch.setattr(megolm, "owner", _fails_for("$LAPTOP", megolm.owner, 2))
    told = await here.sync(timeline=[author.writes()]) or await here.channel.receive(5)
    assert [(one.sender, one.sender_device) for one in told if isinstance(one, PostedKey)] == [(here.eve.user_id, None)]
    assert _is_logged_without_its_text(caplog)


async def test_an_olm_message_with_which_nobody_reckoned_costs_no_other_its_key(
    here: Following, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ben = Peer("@ben:localhost", "PHONE")
    here.home.peers[ben.name] = ben
    monkeypatch.setattr(olm, "check_sender", _fails_for(here.eve.user_id, olm.check_sender, 1))
    said = {"room_id": ROOM, "key": SECRET}
    ours = here.client.olm
    told = await here.sync([peer.event(ours, content=said) for peer in (here.eve, ben)])
    told += await here.more(2 - len(told))
    assert told == [
        Unopened(here.eve.user_id, "malformed", here.eve.device_id),
        ToDevice(names.KEYS_ELEMENT, ben.user_id, said, ben.device_id, decode_base64(ben.ed25519)),
    ]
    assert _is_logged_without_its_text(caplog)


async def test_a_question_that_fails_loses_nothing_that_waits_for_its_answer(
    here: Following, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    author = Author(here.eve)
    await here.sync([author.room_key(here.client.olm)])
    monkeypatch.setattr(olm_keys, "query", _fails_for(here.eve.user_id, olm_keys.query, 1))
    told = await here.sync([here.eve.event(here.client.olm)], timeline=[author.writes()])
    told += await here.more(2 - len(told))
    [key] = [one for one in told if isinstance(one, PostedKey)]
    assert (key.sender, key.sender_device) == (here.eve.user_id, None)
    assert Unopened(here.eve.user_id, "keys_unavailable") in told
    assert _is_logged_without_its_text(caplog)


async def test_a_call_that_fails_to_take_what_a_sync_brings_keeps_no_other_from_it(
    here: Following, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    other = NioChannel(here.client, ROOM, "other", olm=here.transport._olm, attachment_limit=1)
    here.transport._channels.insert(0, other)
    for name in ("on_sync", "on_to_device", "on_device_lists", "on_opened", "on_not_opened"):
        monkeypatch.setattr(other, name, _fails_for("", getattr(other, name), 0))
    await here.transport._olm.learn([here.eve.user_id])
    need = {"type": names.NEED, "sender": "@ben:localhost", "content": {}}
    sealed = here.eve.event(here.client.olm)
    lost = {**sealed, "content": {**sealed["content"], "ciphertext": {}}}
    here.home.sync_fields = {
        "rooms": {"join": {ROOM: {"timeline": {"events": [_key("$1")]}}}},
        "device_lists": {"changed": ["@ben:localhost"]},
    }
    await here.client.run_response_callbacks([await here.home.bring(sealed, lost, need)])
    got = [type(value) for value in await here.channel.receive(0)]
    assert got == [ToDevice, Unopened, PostedKey, DevicesChanged, ToDevice]
    assert caplog.text.count("nobody foresaw this") == 5
