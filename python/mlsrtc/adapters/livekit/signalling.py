"""The signalling of one LiveKit connection, handed on over loopback, with one word of the server's left out.

The SDK encrypts a track of ours if the server's answer to its publication says that it is encrypted, and the answer
comes anew whenever the SDK connects anew by itself and publishes again what is being fed all the while. None of its
events comes before that for sure, and publishing undoes a mute. So the SDK never hears of our tracks that they are not
encrypted with AES-GCM; what the server did say is kept in `plain`. Everything else goes through as it is.
"""

import asyncio
from contextlib import suppress

import aiohttp
from aiohttp import web
from google.protobuf.message import DecodeError
from livekit.protocol import models, rtc
from yarl import URL

HANDED_ON = ("Authorization", "User-Agent")
CLOSING_SECONDS = 1.0  # that what is under way has, to end by itself
LEAVE = rtc.SignalRequest(leave=rtc.LeaveRequest(action=rtc.LeaveRequest.Action.DISCONNECT)).SerializeToString()


class Signalling:
    """Between the SDK and the server at `url` (``wss:`` or ``ws:``), from `open` to `close`.

    plain: the sids of tracks of ours that the server has called anything but encrypted with AES-GCM.
    leaving: whether the SDK goes for good. It says so itself, but hangs up at once, and what it said last can be lost.
    """

    def __init__(self, url: str) -> None:
        self.plain: set[str] = set()
        self.leaving = False
        self._server = URL(url)
        self._http: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self._going: set[asyncio.Task[None]] = set()

    async def open(self) -> str:
        """Where the SDK connects to instead. Raises OSError if there is no loopback."""
        application = web.Application()
        application.router.add_get("/{path:.*}", self._hand_on)
        trace = aiohttp.TraceConfig()
        trace.on_request_redirect.append(_refuse)
        self._http = aiohttp.ClientSession(trust_env=True, trace_configs=[trace])
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=CLOSING_SECONDS)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        except BaseException:
            await self.close()
            raise
        return str(self._server.with_scheme("ws").with_host("127.0.0.1").with_port(self._runner.addresses[0][1]))

    async def close(self) -> None:
        """Hand nothing on any more but what the SDK has said; nothing if it is closed."""
        runner, self._runner = self._runner, None
        http, self._http = self._http, None
        if self._going:
            await asyncio.wait(self._going, timeout=CLOSING_SECONDS)  # aiohttp reads nothing more when it cleans up
        if runner is not None:
            await runner.cleanup()
        if http is not None:
            await http.close()

    async def _hand_on(self, request: web.Request) -> web.StreamResponse:
        assert self._http is not None
        target = self._server.join(URL(request.raw_path, encoded=True))
        headers = {name: request.headers[name] for name in HANDED_ON if name in request.headers}
        try:
            if not web.WebSocketResponse().can_prepare(request):
                target = target.with_scheme({"wss": "https", "ws": "http"}.get(target.scheme, target.scheme))
                async with self._http.get(target, headers=headers) as answer:
                    return web.Response(status=answer.status, body=await answer.read())
            timeout = aiohttp.ClientWSTimeout(ws_close=CLOSING_SECONDS)
            async with self._http.ws_connect(target, headers=headers, max_msg_size=0, timeout=timeout) as server:
                client = web.WebSocketResponse(max_msg_size=0, timeout=CLOSING_SECONDS)
                await client.prepare(request)
                going = asyncio.create_task(self._both_ways(client, server))
                self._going.add(going)
                going.add_done_callback(self._going.discard)
                await going
                return client
        except aiohttp.WSServerHandshakeError as refused:
            return web.Response(status=refused.status)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return web.Response(status=502)

    async def _both_ways(self, client: web.WebSocketResponse, server: aiohttp.ClientWebSocketResponse) -> None:
        """Until one of the two ends it, or the server sends what cannot be read. What the SDK says as it goes is handed
        on, also if it is not there any more to hear what comes."""

        async def up() -> None:
            async for message in client:
                if message.type is aiohttp.WSMsgType.BINARY:
                    await server.send_bytes(message.data)
            if self.leaving:
                await server.send_bytes(LEAVE)
            await server.close()

        async def down() -> None:
            with suppress(DecodeError):
                async for message in server:
                    if message.type is aiohttp.WSMsgType.BINARY:
                        await client.send_bytes(self._encrypted(message.data))
            await client.close()

        for ended in await asyncio.gather(up(), down(), return_exceptions=True):
            if ended is not None and not isinstance(ended, ConnectionError):
                raise ended

    def _encrypted(self, message: bytes) -> bytes:
        """Written anew in any case: so the SDK reads nothing in it that we do not. Raises DecodeError."""
        response = rtc.SignalResponse.FromString(message)
        if response.HasField("track_published"):
            track = response.track_published.track
            if track.encryption != models.Encryption.GCM:
                self.plain.add(track.sid)
                track.encryption = models.Encryption.GCM
        return response.SerializeToString()


async def _refuse(session: aiohttp.ClientSession, context: object, redirect: object) -> None:
    """The token is for this server, and the SDK would not go elsewhere either."""
    raise aiohttp.ClientError("the server sends us elsewhere")
