"""A signalling server in the middle that says of every track that it is not encrypted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from livekit.protocol import models, rtc

PLAIN = models.Encryption.Type.NONE
AGAIN = rtc.SignalResponse(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.Action.RECONNECT))


@dataclass
class Between:
    """The server in the middle. plain: whether it lies."""

    url: str = ""
    plain: bool = False
    clients: set[web.WebSocketResponse] = field(default_factory=set)

    async def send_again(self) -> None:
        """Have everybody connect anew from the start, with all that it publishes."""
        for client in tuple(self.clients):
            await client.send_bytes(AGAIN.SerializeToString())


@asynccontextmanager
async def unencrypting(url: str) -> AsyncIterator[str]:
    """A server beside the one at `url` that hands everything on, and tells who publishes that it does so in clear."""
    async with between(url) as meddler:
        meddler.plain = True
        yield meddler.url


@asynccontextmanager
async def between(url: str) -> AsyncIterator[Between]:
    """The same, that does not lie before it is told to."""
    meddler = Between()
    async with aiohttp.ClientSession() as http:

        async def hand_on(request: web.Request) -> web.StreamResponse:
            target = url + request.path_qs
            headers = {name: request.headers[name] for name in ("Authorization",) if name in request.headers}
            if request.headers.get("Upgrade", "").lower() != "websocket":
                async with http.get(target.replace("ws:", "http:", 1), headers=headers) as answer:
                    return web.Response(status=answer.status, body=await answer.read())
            client = web.WebSocketResponse()
            await client.prepare(request)
            async with http.ws_connect(target, headers=headers) as server:
                meddler.clients.add(client)
                try:
                    await _both_ways(meddler, client, server)
                finally:
                    meddler.clients.discard(client)
            return client

        application = web.Application()
        application.router.add_get("/{path:.*}", hand_on)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            (address,) = runner.addresses
            meddler.url = f"ws://127.0.0.1:{address[1]}"
            yield meddler
        finally:
            await runner.cleanup()


async def _both_ways(meddler: Between, client: web.WebSocketResponse, server: aiohttp.ClientWebSocketResponse) -> None:
    async def up() -> None:
        async for message in client:
            await server.send_bytes(message.data)

    async def down() -> None:
        async for message in server:
            await client.send_bytes(_unencrypted(message.data) if meddler.plain else message.data)

    done, rest = await asyncio.wait(
        [asyncio.ensure_future(up()), asyncio.ensure_future(down())], return_when=asyncio.FIRST_COMPLETED
    )
    for task in rest:
        task.cancel()
    await asyncio.gather(*done, *rest, return_exceptions=True)
    await client.close()


def _unencrypted(message: bytes) -> bytes:
    response = rtc.SignalResponse.FromString(message)
    tracks = [response.track_published.track] if response.HasField("track_published") else []
    for participant in (*response.update.participants, *response.join.other_participants):
        tracks += participant.tracks
    if not tracks:
        return message
    for track in tracks:
        track.encryption = PLAIN
    return response.SerializeToString()
