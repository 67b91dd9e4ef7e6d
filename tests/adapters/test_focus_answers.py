"""Answers about a focus that make no sense: each is refused for its own reason, and nothing is sent on."""

from typing import Any

import pytest
from aiohttp import web
from scripted import Scripted

from focus_answers import ANNOUNCED, CLAIMS, FILES, OPENID, OPENID_TOKENS, TOKENS, Row, sold
from mlsrtc.adapters.focus import Focus, FocusTokens, Source, own_focus
from mlsrtc.errors import RemoteProtocolError

ROOM, SLOT = "!call:localhost", "m.call#ROOM"


def named(rows: list[Row]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(("answer", "reason", "where"), [pytest.param(*row[1:], id=row[0]) for row in rows])


def response(answer: Any) -> web.Response:
    """An answer of a table: bytes, a value of JSON, or a status with one."""
    if isinstance(answer, bytes):
        return web.Response(body=answer, content_type="application/json")
    if isinstance(answer, tuple):
        status, value = answer
        return web.json_response(value, status=status, headers={"Location": "/elsewhere"})
    return web.json_response(answer)


def selling(server: Scripted, token: Any = None, openid: Any = OPENID) -> FocusTokens:
    """A homeserver and a token service in one, with these answers."""
    answer = sold() if token is None else token

    def respond(method: str, path: str, query: dict[str, str]) -> web.Response:
        return response(openid if path.endswith("/openid/request_token") else answer)

    server.answer = respond
    return FocusTokens(server.client, Focus(server.client.homeserver, Source.HOMESERVER), ROOM, SLOT)


async def refusal(tokens: FocusTokens) -> tuple[str, str]:
    with pytest.raises(RemoteProtocolError) as caught:
        await tokens.grant()
    return caught.value.reason, caught.value.where


async def test_the_answers_that_the_tables_spoil_are_taken(scripted: Scripted) -> None:
    token = await selling(scripted).grant()
    assert (token.url, token.identity, token.room) == ("wss://sfu.one.example", CLAIMS["sub"], "alias")


@named(TOKENS)
async def test_answers_of_a_token_service(scripted: Scripted, answer: Any, reason: str, where: str) -> None:
    assert await refusal(selling(scripted, answer)) == (reason, where)
    assert "/elsewhere" not in {path for _, path, _, _ in scripted.asked}


@named(OPENID_TOKENS)
async def test_openid_tokens_of_a_homeserver(scripted: Scripted, answer: Any, reason: str, where: str) -> None:
    assert await refusal(selling(scripted, openid=answer)) == (reason, where)
    [(_, path, _, _)] = scripted.asked  # no service is asked with it
    assert path.endswith("/openid/request_token")


@named(ANNOUNCED + FILES)
async def test_what_is_announced(scripted: Scripted, answer: Any, reason: str, where: str) -> None:
    def respond(method: str, path: str, query: dict[str, str]) -> web.Response:
        in_file = path.startswith("/.well-known")
        return response(answer) if in_file == where.startswith(".well-known") else response((404, {}))

    scripted.answer = respond
    with pytest.raises(RemoteProtocolError) as caught:
        await own_focus(scripted.client, well_known=scripted.client.homeserver)
    assert (caught.value.reason, caught.value.where) == (reason, where)
