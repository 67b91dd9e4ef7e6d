"""A signalling server in the middle that says of every track that it is not encrypted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from aiohttp import web
from livekit.protocol import models, rtc

PLAIN = models.Encryption.Type.NONE


@asynccontextmanager
async def unencrypting(url: str) -> AsyncIterator[str]:
    """A server beside the one at `url` that hands everything on, and tells who publishes that it does so in clear."""
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
                await _both_ways(client, server)
            return client

        application = web.Application()
        application.router.add_get("/{path:.*}", hand_on)
        runner = web.AppRunner(application)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            (address,) = runner.addresses
            yield f"ws://127.0.0.1:{address[1]}"
        finally:
            await runner.cleanup()


async def _both_ways(client: web.WebSocketResponse, server: aiohttp.ClientWebSocketResponse) -> None:
    async def up() -> None:
        async for message in client:
            await server.send_bytes(message.data)

    async def down() -> None:
        async for message in server:
            await client.send_bytes(_unencrypted(message.data))

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
