"""What others write into one sync answer costs that much of it, and ends neither nio's sync loop nor a call."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from olm_peers import Peer
from scripted import Scripted
from test_nio_posted import ROOM, Author, Room

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Incoming, PostedKey, RoomEvent

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
