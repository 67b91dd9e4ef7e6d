"""What is between LiveKit's SDK and its server: nothing is lost in it but one word, and it goes without a trace."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp
import pytest
from aiohttp import web

models = pytest.importorskip("livekit.protocol.models", reason="the extra `test` installs LiveKit")
signalling = pytest.importorskip("mlsrtc.adapters.livekit.signalling", reason="the extra `test` installs LiveKit")

from livekit.protocol import rtc  # noqa: E402 - is there

NONE, GCM, CUSTOM = (models.Encryption.Type.Value(name) for name in ("NONE", "GCM", "CUSTOM"))
TOKEN = {"Authorization": "Bearer secret"}


@dataclass
class Server:
    """What a server was asked and sent, and what it does."""

    url: str = ""
    asked: list[str] = field(default_factory=list)
    tokens: list[str | None] = field(default_factory=list)
    came: list[bytes] = field(default_factory=list)
    sends: list[bytes] = field(default_factory=list)
    status: int = 0
    elsewhere: str = ""
    closes: bool = False
    open: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.raw_path)
        self.tokens.append(request.headers.get("Authorization"))
        if self.elsewhere:
            raise web.HTTPTemporaryRedirect(self.elsewhere)
        if self.status:
            return web.Response(status=self.status, text="why")
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.open += 1
        try:
            for message in self.sends:
                await socket.send_bytes(message)
            if self.closes:
                await socket.close()
            async for one in socket:
                self.came.append(one.data)
        finally:
            self.open -= 1
        return socket


@asynccontextmanager
async def serving(answer: Server) -> AsyncIterator[Server]:
    application = web.Application()
    application.router.add_get("/{path:.*}", answer.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        answer.url = f"ws://127.0.0.1:{runner.addresses[0][1]}"
        yield answer
    finally:
        await runner.cleanup()


@asynccontextmanager
async def between(url: str) -> AsyncIterator[tuple["signalling.Signalling", str, aiohttp.ClientSession]]:
    made = signalling.Signalling(url)
    try:
        async with aiohttp.ClientSession() as http:
            yield made, await made.open(), http
    finally:
        await made.close()


def published(encryption: int, sid: str = "TR_1") -> bytes:
    track = models.TrackInfo(sid=sid, name="sound", encryption=encryption)
    return bytes(
        rtc.SignalResponse(track_published=rtc.TrackPublishedResponse(cid="c", track=track)).SerializeToString()
    )


async def first(url: str, http: aiohttp.ClientSession) -> bytes:
    async with http.ws_connect(f"{url}/rtc") as socket:
        return await socket.receive_bytes(timeout=5)


@pytest.mark.parametrize("word", [NONE, CUSTOM, 77])
async def test_the_sdk_never_hears_that_a_track_of_ours_is_not_encrypted(word: int) -> None:
    async with serving(Server(sends=[published(word)])) as server, between(server.url) as (made, url, http):
        assert await first(url, http) == published(GCM)
        assert made.plain == {"TR_1"}


async def test_an_answer_that_says_both_is_read_as_the_sdk_reads_it() -> None:
    """Protobuf merges what comes twice."""
    twice = published(GCM) + published(NONE)
    late = (
        published(GCM)
        + rtc.SignalResponse(
            track_published=rtc.TrackPublishedResponse(track=models.TrackInfo(sid="TR_2", encryption=CUSTOM))
        ).SerializeToString()
    )
    for message in (twice, late):
        async with serving(Server(sends=[message])) as server, between(server.url) as (_, url, http):
            heard = rtc.SignalResponse.FromString(await first(url, http))
            assert heard.track_published.track.encryption == GCM


async def test_all_else_goes_through_as_it_is() -> None:
    theirs = models.ParticipantInfo(identity="eve", tracks=[models.TrackInfo(sid="TR_9", encryption=NONE)])
    update = rtc.SignalResponse(update=rtc.ParticipantUpdate(participants=[theirs])).SerializeToString()
    sent = [published(GCM), update]
    async with serving(Server(sends=sent)) as server, between(server.url) as (made, url, http):
        async with http.ws_connect(f"{url}/rtc?sdk=python&token=%2B", headers=TOKEN) as socket:
            assert [await socket.receive_bytes(timeout=5) for _ in sent] == sent
            await socket.send_bytes(b"\x00 not even protobuf")
            async with asyncio.timeout(5):
                while not server.came:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
        assert server.came == [b"\x00 not even protobuf"]
        assert server.asked == ["/rtc?sdk=python&token=%2B"]
        assert server.tokens == ["Bearer secret"]
        assert made.plain == set()


async def test_a_path_of_the_server_stays() -> None:
    async with serving(Server(sends=[published(GCM)])) as server, between(f"{server.url}/sfu") as (_, url, http):
        assert url.endswith("/sfu")
        await first(url, http)
        assert server.asked == ["/sfu/rtc"]


@pytest.mark.parametrize("status", [401, 404, 503])
async def test_a_refusal_is_handed_on(status: int) -> None:
    async with serving(Server(status=status)) as server, between(server.url) as (_, url, http):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await first(url, http)
        assert refused.value.status == status
        async with http.get(f"{url.replace('ws', 'http', 1)}/rtc/validate", headers=TOKEN) as answer:
            assert (answer.status, await answer.text()) == (status, "why")
        assert server.asked == ["/rtc", "/rtc/validate"]
        assert server.tokens == [None, "Bearer secret"]


async def test_a_server_that_is_not_there_is_a_bad_gateway() -> None:
    async with between("ws://127.0.0.1:9") as (_, url, http):
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await first(url, http)
        assert refused.value.status == 502


async def test_the_token_goes_to_no_other_server() -> None:
    async with serving(Server()) as other, serving(Server(elsewhere=other.url.replace("ws", "http", 1))) as server:
        async with between(server.url) as (_, url, http):
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await first(url, http)
            async with http.get(f"{url.replace('ws', 'http', 1)}/rtc/validate", headers=TOKEN) as answer:
                assert answer.status == 502
        assert other.asked == []


@pytest.mark.parametrize("server", [Server(closes=True), Server(sends=[b"\xff\xff\xff"])], ids=["closed", "nonsense"])
async def test_a_connection_that_the_server_ends_or_that_cannot_be_read_ends_here_too(server: Server) -> None:
    async with serving(server), between(server.url) as (_, url, http), http.ws_connect(f"{url}/rtc") as socket:
        assert (await socket.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE


@pytest.mark.parametrize("closed", [False, True])
async def test_what_the_sdk_says_as_it_goes_is_handed_on_though_more_comes_and_though_we_close(closed: bool) -> None:
    """LiveKit's server keeps who goes without a word for half a minute."""
    for _ in range(20):
        async with serving(Server(sends=[published(GCM)] * 50)) as server, between(server.url) as (made, url, http):
            async with http.ws_connect(f"{url}/rtc") as socket:
                await socket.send_bytes(b"leave")
                assert socket._response.connection is not None
                socket._response.connection.transport.close()
            if closed:
                await made.close()
            async with asyncio.timeout(5):
                while server.open or not server.came:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
            assert server.came == [b"leave"]


async def test_who_goes_for_good_has_said_so_even_if_its_word_is_lost() -> None:
    async with serving(Server()) as server, between(server.url) as (made, url, http):
        async with http.ws_connect(f"{url}/rtc") as socket:
            made.leaving = True
            await socket.close()
        async with asyncio.timeout(5):
            while not server.came:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.01)
        (last,) = server.came
        assert rtc.SignalRequest.FromString(last).leave.action == rtc.LeaveRequest.Action.DISCONNECT


async def test_closing_it_ends_what_goes_on_at_once() -> None:
    async with serving(Server()) as server, between(server.url) as (made, url, http):
        async with http.ws_connect(f"{url}/rtc"):
            async with asyncio.timeout(4):
                await made.close()
                await made.close()
                while server.open:  # noqa: ASYNC110 - it has no event
                    await asyncio.sleep(0.01)
        with pytest.raises(aiohttp.ClientConnectorError):
            await first(url, http)
