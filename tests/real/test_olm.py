"""To-device events by Olm between nio clients on a real Synapse, in a room that is not encrypted."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from nio.crypto import SessionStore
from rooms import in_room, make_room, until

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio.http import ask, demand, path
from mlsrtc.adapters.nio.olm import NotOpened, Opened, Told
from mlsrtc.adapters.nio.olm_keys import Unreachable
from mlsrtc.adapters.nio.olm_send import Fate, SendEncrypted
from mlsrtc.outbox import Accepted
from mlsrtc.testing.devices import TestDevice, nio_client
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import ToDevice

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]

KEY_EVENT = "io.element.call.encryption_keys"
CONTENT = {"keys": {"index": 3, "key": "c2VjcmV0"}, "room_id": "!r"}


class _Side:
    """One device: its transport, and what its door has told."""

    def __init__(self, device: TestDevice) -> None:
        self.device = device
        self.client = device.client
        self.name = str(device.client.user_id), str(device.client.device_id)
        self.transport = NioTransport(device.client)
        self.told: list[Told] = []
        self.transport._olm._tell = self.told.append
        self._sent = 0

    async def send(self, *others: "_Side", content: Any = None) -> list[Fate]:
        self._sent += 1
        messages = {other.name: CONTENT if content is None else content for other in others}
        fates = await self.transport._olm.send(SendEncrypted(f"t{self._sent}", KEY_EVENT, messages))
        return [fates[other.name] for other in others]


@asynccontextmanager
async def _sides(*devices: TestDevice) -> AsyncIterator[list[_Side]]:
    async with AsyncExitStack() as stack:
        sides = [_Side(device) for device in devices]
        for side in sides:
            await stack.enter_async_context(side.transport)
        yield sides


async def _until(true: Callable[[], bool]) -> None:
    for _ in range(1000):
        if true():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("waited 20 s in vain")


async def _until_told(side: _Side, other: tuple[str, str], fate: Fate) -> None:
    """Send until that becomes of it."""
    for number in range(200):
        request = SendEncrypted(f"until{number}", KEY_EVENT, {other: CONTENT})
        if await side.transport._olm.send(request) == {other: fate}:
            return
        await asyncio.sleep(0.1)
    raise AssertionError("waited 20 s in vain")


async def test_a_key_event_goes_by_olm_and_its_device_is_known(synapse: Synapse, three: list[TestDevice]) -> None:
    await make_room(synapse, three)
    async with _sides(*three) as (ada, ben, cem):
        assert await ada.send(ben, cem) == [Accepted(), Accepted()]
        for other in (ben, cem):
            await _until(lambda other=other: bool(other.told))
            [event] = other.told
            assert isinstance(event, Opened)
            assert (event.type, event.content) == (KEY_EVENT, CONTENT)
            assert (event.device.user_id, event.device.device_id) == ada.name
            assert event.device.ed25519 == ada.client.olm.account.identity_keys["ed25519"]
        # The answer comes in the session that was made for the question.
        assert await ben.send(ada) == [Accepted()]
        await _until(lambda: bool(ada.told))
        assert len(ada.client.olm.session_store[ben.client.olm.account.identity_keys["curve25519"]]) == 1


async def test_the_same_in_the_clear_does_not_come_through_the_door(synapse: Synapse, three: list[TestDevice]) -> None:
    await make_room(synapse, three)
    async with _sides(*three[:2]) as (ada, ben):
        target = path("client", "v3", "sendToDevice", KEY_EVENT, "clear")
        body = {"messages": {ben.name[0]: {ben.name[1]: CONTENT}}}
        assert (await ask(ada.client, "PUT", target, body)).ok
        assert await ada.send(ben, content={"n": 1}) == [Accepted()]
        await _until(lambda: bool(ben.told))
        assert [event.content for event in ben.told if isinstance(event, Opened)] == [{"n": 1}]


async def test_a_drained_device_stays_reachable_and_makes_new_one_time_keys(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    await make_room(synapse, three)
    async with _sides(*three[:2]) as (ada, ben):
        await _until_claimed(ada, ben, fallback=True)
        # There is none left, and its homeserver gives out the fallback key.
        assert await ada.send(ben) == [Accepted()]
        await _until(lambda: bool(ben.told))
        assert isinstance(ben.told[0], Opened)
        # What has come has woken the sync, which says that there is none left.
        await _until_claimed(ada, ben, fallback=False)


async def _until_claimed(side: _Side, other: _Side, *, fallback: bool) -> None:
    """Claim keys of the other device until one is a fallback key, or none."""
    wanted = {"one_time_keys": {other.name[0]: {other.name[1]: "signed_curve25519"}}}
    for _ in range(200):
        answer = await demand(side.client, "POST", path("client", "v3", "keys", "claim"), wanted)
        devices = answer["one_time_keys"].get(other.name[0], {})
        keys = list(devices.get(other.name[1], {}).values())
        if keys and bool(keys[0].get("fallback")) is fallback:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("there is none")


async def test_a_session_that_one_side_has_lost_is_told_and_made_anew(
    synapse: Synapse, three: list[TestDevice]
) -> None:
    await make_room(synapse, three)
    async with _sides(*three[:2]) as (ada, ben):
        assert await ada.send(ben) == [Accepted()]
        await _until(lambda: bool(ben.told))
        assert await ben.send(ada) == [Accepted()]
        await _until(lambda: bool(ada.told))
        ben.told.clear()
        ben.client.olm.session_store = SessionStore()
        assert await ada.send(ben) == [Accepted()]
        await _until(lambda: bool(ben.told))
        key = ada.client.olm.account.identity_keys["curve25519"]
        assert ben.told == [NotOpened(ada.name[0], key, "cannot_decrypt")]
        # Ben's dummy message reaches Ada, and what she sends then Ben can read.
        theirs = ben.client.olm.account.identity_keys["curve25519"]
        await _until(lambda: len(ada.client.olm.session_store[theirs]) == 2)
        assert await ada.send(ben, content={"n": 2}) == [Accepted()]
        await _until(lambda: len(ben.told) == 2)
        assert isinstance(ben.told[1], Opened)
        assert ben.told[1].content == {"n": 2}


async def test_a_device_that_comes_and_goes_is_noticed(synapse: Synapse, three: list[TestDevice]) -> None:
    await make_room(synapse, three)
    async with _sides(*three[:2]) as (ada, ben):
        assert await ada.send(ben) == [Accepted()]
        account = await synapse.login(three[1].account)
        fresh = nio_client(synapse, account)
        try:
            laptop = _Side(TestDevice(account, fresh, three[1].signing))
            async with laptop.transport:
                # A message of a device that nobody has asked for yet, and one to it.
                assert await laptop.send(ada) == [Accepted()]
                await _until(lambda: bool(ada.told))
                [event] = ada.told
                assert isinstance(event, Opened)
                assert (event.device.user_id, event.device.device_id) == laptop.name
                assert await ada.send(laptop) == [Accepted()]
            assert (await ask(fresh, "POST", path("client", "v3", "logout"), {})).ok
        finally:
            await fresh.close()
        await _until_told(ada, laptop.name, Unreachable("no_device"))
        assert await ada.send(ben) == [Accepted()]


async def test_a_server_that_is_not_there_is_told(synapse: Synapse, three: list[TestDevice]) -> None:
    async with _sides(three[0]) as (ada,):
        nobody = "@zoe:nowhere.invalid", "D"
        fates = await ada.transport._olm.send(SendEncrypted("t", KEY_EVENT, {nobody: CONTENT}))
        assert fates == {nobody: Unreachable("server_down")}


async def test_a_call_gets_it_with_the_device_that_sent_it(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    async with _sides(three[0]) as (ada,), in_room(room_id, three[1]) as (channel,):
        content = {"room_id": room_id, "n": 1}
        ben = str(three[1].client.user_id), str(three[1].client.device_id)
        request = SendEncrypted("t", "dev.mlsrtc.need", {ben: content})
        assert await ada.transport._olm.send(request) == {ben: Accepted()}
        got = await until(channel, lambda got: any(isinstance(value, ToDevice) for value in got))
        key = decode_base64(ada.transport.client.olm.account.identity_keys["ed25519"])
        assert [value for value in got if isinstance(value, ToDevice)] == [
            ToDevice("dev.mlsrtc.need", ada.name[0], content, ada.name[1], key)
        ]
