"""Where the media of a call meet, with services of their own that make the rooms, on real homeservers and real SFUs."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest
import sfu
from aiohttp import web
from livekit import api
from rooms import SLOT, make_room

from mlsrtc import MLS
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.focus import CallFocus, Focus, Source, room_alias
from mlsrtc.adapters.livekit import (
    LiveKitMedia,
    MediaConnected,
    MediaLost,
    MediaMoved,
    RemoteTrack,
    TrackReady,
    frames,
    tone,
)
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.livekit import KEY, LiveKitServer
from mlsrtc.testing.sound import listen, loudest
from mlsrtc.testing.synapse import Synapse
from mlsrtc.testing.token_service import TokenService
from mlsrtc.wire.names import STATE_MEMBER

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

PATIENCE = 20.0
SOON = 4.0  # seconds for a second and a half of sound


@dataclass
class Party:
    """One device in the call, with what it was told of its media."""

    call: Call
    told: list[Any] = field(default_factory=list)
    tracks: list[RemoteTrack] = field(default_factory=list)

    async def follow(self) -> None:
        async for notice in self.call.notices():
            if isinstance(notice, TrackReady):
                self.tracks.append(notice.track)
            elif isinstance(notice, MediaConnected | MediaLost | MediaMoved):
                self.told.append(notice)

    async def until(self, kind: type) -> None:
        async with asyncio.timeout(PATIENCE):
            while not any(isinstance(one, kind) for one in self.told):  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.02)

    async def hears(self, pitch: float) -> bool:
        """Whether the track that was told last has this tone, now or soon."""
        async with asyncio.timeout(PATIENCE):
            while True:
                # One that has ended brings nothing any more: whoever moves has another one.
                with suppress(TimeoutError, IndexError):
                    heard, share = loudest(await asyncio.wait_for(listen(self.tracks[-1], 0.5), SOON))
                    if share > 0.5 and abs(heard - pitch) < 3:
                        return True
                await asyncio.sleep(0.1)


@asynccontextmanager
async def joined(device: TestDevice, room_id: str) -> AsyncIterator[Party]:
    async with NioTransport(device.client) as transport, transport.call(room_id, encryption=MLS) as call:
        party = Party(call)
        following = asyncio.create_task(party.follow())
        try:
            yield party
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)


@asynccontextmanager
async def files(services: dict[str, str]) -> AsyncIterator[str]:
    """Below each of these names, a .well-known file that announces this service."""

    async def file(request: web.Request) -> web.Response:
        foci = [{"type": "livekit", "livekit_service_url": services[request.match_info["name"]]}]
        return web.json_response({"org.matrix.msc4143.rtc_foci": foci})

    application = web.Application()
    application.router.add_get("/{name}/.well-known/matrix/client", file)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("servers", [1, 2], ids=["services of one SFU", "services of two SFUs"])
async def test_two_who_begin_at_once_with_different_services_meet(
    synapse: Synapse, livekit: LiveKitServer, servers: int
) -> None:
    homeservers = {"localhost": synapse.base_url}
    async with AsyncExitStack() as stack:
        other = livekit if servers == 1 else await stack.enter_async_context(LiveKitServer(sfu.server()))
        one = await stack.enter_async_context(TokenService(livekit, homeservers))
        two = await stack.enter_async_context(TokenService(other, homeservers))
        base = await stack.enter_async_context(files({"one": one.url, "two": two.url}))
        devices = await stack.enter_async_context(cross_signed_devices(synapse, [f"one{servers}", f"two{servers}"]))
        room_id = await make_room(synapse, devices)
        ada, ben = [await stack.enter_async_context(joined(device, room_id)) for device in devices]
        local = [Focus(service.url, Source.WELL_KNOWN) for service in (one, two)]

        async def connect(party: Party, name: str, pitch: float) -> LiveKitMedia:
            focus = CallFocus(party.call, well_known=f"{base}/{name}", local=local)
            media = await stack.enter_async_context(LiveKitMedia.connect(party.call, focus=focus))
            await media.publish(tone(pitch))
            return media

        await asyncio.gather(connect(ada, "one", 400), connect(ben, "two", 700))
        await ben.until(MediaMoved)
        assert await asyncio.gather(ada.hears(700), ben.hears(400)) == [True, True]
        for ended in ada.tracks[:-1]:
            async with asyncio.timeout(PATIENCE):
                assert [frame async for frame in frames(ended)] == []
        assert ben.told == [MediaMoved(livekit.url)]
        assert ada.told == [], "who is older stays"
        assert {url for party in (ada, ben) for url in announced(party.call)} == {one.url}


class Staying(CallFocus):
    """Sends to the focus of its own homeserver, wherever the others meet: as Element Call does."""

    async def _where(self) -> Focus:
        return await self._own_focus()

    async def moved(self) -> None:
        await asyncio.Event().wait()


async def say_that_it_stays(synapse: Synapse, device: TestDevice, call: Call) -> None:
    """Its membership, in Element Call's words."""
    (ours,) = [one for one in call.memberships if one.user_id == device.account.user_id]
    token = device.account.access_token
    path = f"/_matrix/client/v3/rooms/{quote(call.session.room_id)}/state/{STATE_MEMBER}/{quote(ours.key)}"
    content = await synapse.demand("GET", path, token=token)
    content["focus_active"] = {"type": "livekit", "focus_selection": "multi_sfu"}
    await synapse.demand("PUT", path, token=token, body=content)


async def test_who_sends_to_a_server_of_its_own_is_heard_there(synapse: Synapse, livekit: LiveKitServer) -> None:
    homeservers = {"localhost": synapse.base_url}
    async with AsyncExitStack() as stack:
        other = await stack.enter_async_context(LiveKitServer(sfu.server()))
        one = await stack.enter_async_context(TokenService(livekit, homeservers))
        two = await stack.enter_async_context(TokenService(other, homeservers))
        base = await stack.enter_async_context(files({"one": one.url, "two": two.url}))
        devices = await stack.enter_async_context(cross_signed_devices(synapse, ["here", "there"]))
        room_id = await make_room(synapse, devices)
        ada = await stack.enter_async_context(joined(devices[0], room_id))
        local = [Focus(service.url, Source.WELL_KNOWN) for service in (one, two)]
        focus = CallFocus(ada.call, well_known=f"{base}/one", local=local)
        media = await stack.enter_async_context(LiveKitMedia.connect(ada.call, focus=focus))
        await media.publish(tone(400))
        server = await stack.enter_async_context(api.LiveKitAPI(other.url.replace("ws:", "http:"), KEY, other._secret))

        async def there() -> int:
            request = api.ListParticipantsRequest(room=room_alias(room_id, SLOT))
            return len((await server.room.list_participants(request)).participants)

        async with joined(devices[1], room_id) as ben:
            staying = Staying(ben.call, well_known=f"{base}/two", local=local)
            async with LiveKitMedia.connect(ben.call, focus=staying) as theirs:
                await theirs.publish(tone(700))
                async with asyncio.timeout(PATIENCE):
                    while two.url not in announced(ada.call):
                        await ada.call.changed()
                await say_that_it_stays(synapse, devices[1], ben.call)
                assert await ada.hears(700)
                assert await there() == 2
        async with asyncio.timeout(PATIENCE):
            while await there():  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.1)
        assert ada.told == [], "where we send nothing has happened"
        assert announced(ada.call) == [one.url]


def announced(call: Call) -> list[str | None]:
    return [transport.service_url for membership in call.memberships for transport in membership.transports]


async def test_a_room_that_is_gone_is_made_again_each_time(
    announcing: tuple[Synapse, TokenService], livekit: LiveKitServer
) -> None:
    """Only the service makes it, when it sells a token: one that was used before leads nowhere."""
    synapse, _ = announcing
    async with cross_signed_devices(synapse, ["gone"]) as [device]:
        room_id = await make_room(synapse, [device])
        async with (
            joined(device, room_id) as party,
            LiveKitMedia.connect(party.call) as media,
            api.LiveKitAPI(livekit.url.replace("ws:", "http:"), KEY, livekit._secret) as server,
        ):
            await media.publish(tone(400))
            for _ in range(3):
                party.told.clear()
                await server.room.delete_room(api.DeleteRoomRequest(room=room_alias(room_id, SLOT)))
                await party.until(MediaConnected)
                assert party.told == [MediaLost("room_deleted", retried=True), MediaConnected()]
                assert media.room.local_participant.track_publications


async def test_who_joins_with_its_media_writes_its_membership_once(announcing: tuple[Synapse, TokenService]) -> None:
    synapse, service = announcing
    async with cross_signed_devices(synapse, ["first", "second"]) as devices, AsyncExitStack() as stack:
        room_id = await make_room(synapse, devices)
        for device in devices:
            transport = await stack.enter_async_context(NioTransport(device.client))
            media = await stack.enter_async_context(LiveKitMedia.join(transport.call(room_id, encryption=MLS)))
            await media.publish(tone(400))
        await media.call.keyed(PATIENCE)
        assert announced(media.call) == [service.url, service.url]
        kinds = quote(json.dumps({"types": [STATE_MEMBER]}))
        path = f"/_matrix/client/v3/rooms/{quote(room_id)}/messages?dir=b&limit=50&filter={kinds}"
        past = await synapse.demand("GET", path, token=devices[0].account.access_token)
        assert sorted(event["sender"] for event in past["chunk"]) == sorted(one.account.user_id for one in devices)
