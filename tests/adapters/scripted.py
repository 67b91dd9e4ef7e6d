"""A scripted homeserver on loopback for the nio adapter: each test says what it answers."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import nio
from aiohttp import web
from nio.store import SqliteMemoryStore


@dataclass
class Scripted:
    """`answer` maps (method, path, query) to an aiohttp response; every request is kept in `asked`."""

    client: nio.AsyncClient
    answer: Callable[[str, str, dict[str, str]], web.Response] = field(
        default=lambda method, path, query: web.json_response({})
    )
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _, _ in self.asked]


def error(status: int, errcode: str, **more: Any) -> web.Response:
    headers = more.pop("headers", None)
    return web.json_response({"errcode": errcode, **more}, status=status, headers=headers)


@asynccontextmanager
async def running() -> AsyncIterator[Scripted]:
    config = nio.AsyncClientConfig(encryption_enabled=True, store=SqliteMemoryStore)
    client = nio.AsyncClient("", "@ada:localhost", config=config)
    server = Scripted(client)

    async def handle(request: web.Request) -> web.Response:
        query = dict(request.query)
        server.asked.append((request.method, request.path, query, await request.read()))
        return server.answer(request.method, request.path, query)

    app = web.Application(client_max_size=1 << 24)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    client.homeserver = f"http://127.0.0.1:{runner.addresses[0][1]}"
    client.restore_login("@ada:localhost", "DEVICE", "token")
    try:
        yield server
    finally:
        await client.close()
        await runner.cleanup()
