"""The token service of `mlsrtc.testing` on a real Synapse and a real SFU: what it gives, and what it refuses."""

import asyncio
import copy
from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import sfu

from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Account, Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

ROOM = "!call:localhost"
ALIAS = "zsFaCDegWaSYKC48CZ52oqAXQ1FbMXhYzqE3dttzXFE"
"""SHA-256 of ``["!call:localhost","m.call#ROOM"]``."""

Body = dict[str, Any]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service(livekit: LiveKitServer, synapse: Synapse) -> AsyncIterator[TokenService]:
    async with TokenService(livekit, {"localhost": synapse.base_url}) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def account(synapse: Synapse) -> Account:
    return await synapse.register("asking")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def openid(synapse: Synapse, account: Account) -> Body:
    path = f"/_matrix/client/v3/user/{account.user_id}/openid/request_token"
    return await synapse.demand("POST", path, token=account.access_token, body={})


def legacy(openid: Body) -> Body:
    return {"room": ROOM, "openid_token": openid, "device_id": "DEV"}


def newer(openid: Body, user_id: str) -> Body:
    member = {"id": "join1", "claimed_user_id": user_id, "claimed_device_id": "DEV"}
    return {"room_id": ROOM, "slot_id": "m.call#ROOM", "openid_token": openid, "member": member}


async def ask(service: TokenService, path: str, body: Any, method: str = "POST") -> tuple[int, Body, dict[str, str]]:
    async with aiohttp.ClientSession() as http, http.request(method, service.url + path, json=body) as response:
        told = await response.json() if response.content_type == "application/json" else {}
        return response.status, told, dict(response.headers)


async def test_the_endpoint_before_matrix_2(service: TokenService, openid: Body, account: Account) -> None:
    status, told, _ = await ask(service, "/sfu/get", legacy(openid))
    assert status == 200
    assert sfu.claims(told["jwt"])["sub"] == f"{account.user_id}:DEV"
    assert sfu.claims(told["jwt"])["video"]["room"] == ALIAS


async def test_the_endpoint_of_matrix_2(service: TokenService, openid: Body, account: Account) -> None:
    status, told, _ = await ask(service, "/get_token", newer(openid, account.user_id))
    assert status == 200
    found = sfu.claims(told["jwt"])
    assert len(found["sub"]) == 43
    assert found["video"]["room"] == ALIAS
    assert found["exp"] - found["nbf"] == 3600


async def test_the_token_opens_the_room(service: TokenService, openid: Body) -> None:
    _, told, _ = await ask(service, "/sfu/get", legacy(openid))
    async with sfu.participant(told["url"], told["jwt"], {}, 1) as room:
        assert room.name == ALIAS
        assert room.local_participant.identity == sfu.claims(told["jwt"])["sub"]


async def test_users_of_other_servers_publish_nothing_and_make_no_room(
    livekit: LiveKitServer, synapse: Synapse, openid: Body
) -> None:
    async with TokenService(livekit, {"localhost": synapse.base_url}, full_access=()) as service:
        body = legacy(openid) | {"room": "!other:localhost"}
        status, told, _ = await ask(service, "/sfu/get", body)
    assert status == 200
    assert sfu.claims(told["jwt"])["video"]["canPublish"] is False
    with pytest.raises(sfu.rtc.ConnectError):
        await sfu.rtc.Room().connect(told["url"], told["jwt"])


async def test_browsers_may_ask(service: TokenService, openid: Body) -> None:
    for path in ("/sfu/get", "/get_token"):
        status, _, headers = await ask(service, path, None, "OPTIONS")
        assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")
        assert headers["Access-Control-Allow-Methods"] == "POST"
        assert (await ask(service, path, None, "GET"))[0] == 405
        # A refusal can be read as well.
        assert (await ask(service, path, {}))[2]["Access-Control-Allow-Origin"] == "*"
    assert (await ask(service, "/healthz", None, "GET"))[0] == 200


def at(*way: str, to: Any) -> Callable[[Body], None]:
    def spoil(body: Body) -> None:
        for name in way[:-1]:
            body = body[name]
        body[way[-1]] = to

    return spoil


REFUSED = (
    ("an OpenID token that nobody gave", at("openid_token", "access_token", to="forged"), 401, "M_UNAUTHORIZED"),
    ("an unknown homeserver", at("openid_token", "matrix_server_name", to="eve.example"), 401, "M_UNAUTHORIZED"),
    ("no OpenID token", at("openid_token", to={}), 400, "M_BAD_JSON"),
    ("OpenID token of another type", at("openid_token", "access_token", to=1), 400, "M_NOT_JSON"),
    ("a field too many", at("more", to=1), 400, "M_NOT_JSON"),
    ("a field too many in the OpenID token", at("openid_token", "more", to=1), 400, "M_NOT_JSON"),
)  # fmt: skip
REFUSED_BEFORE = (("no room", at("room", to=""), 400, "M_BAD_JSON"),)
REFUSED_IN_2 = (
    ("no room", at("room_id", to=""), 400, "M_BAD_JSON"),
    ("no slot", at("slot_id", to=""), 400, "M_BAD_JSON"),
    ("no member id", at("member", "id", to=""), 400, "M_BAD_JSON"),
    ("another user's member", at("member", "claimed_user_id", to="@eve:localhost"), 401, "M_UNAUTHORIZED"),
)


@pytest.mark.parametrize(("name", "spoil", "status", "errcode"), REFUSED + REFUSED_BEFORE)
async def test_refused_before_matrix_2(
    service: TokenService, openid: Body, name: str, spoil: Callable[[Body], None], status: int, errcode: str
) -> None:
    body = copy.deepcopy(legacy(openid))
    spoil(body)
    found, told, _ = await ask(service, "/sfu/get", body)
    assert (found, told["errcode"]) == (status, errcode)


@pytest.mark.parametrize(("name", "spoil", "status", "errcode"), REFUSED + REFUSED_IN_2)
async def test_refused_in_matrix_2(
    service: TokenService,
    openid: Body,
    account: Account,
    name: str,
    spoil: Callable[[Body], None],
    status: int,
    errcode: str,
) -> None:
    body = copy.deepcopy(newer(openid, account.user_id))
    spoil(body)
    found, told, _ = await ask(service, "/get_token", body)
    assert (found, told["errcode"]) == (status, errcode)


async def test_a_server_speaks_for_its_own_users_only(livekit: LiveKitServer, synapse: Synapse, openid: Body) -> None:
    async with TokenService(livekit, {"other.example": synapse.base_url}) as service:
        body = legacy(openid | {"matrix_server_name": "other.example"})
        assert (await ask(service, "/sfu/get", body))[0] == 401


async def test_an_sfu_that_is_gone_is_an_error_of_the_service(synapse: Synapse, openid: Body) -> None:
    gone = LiveKitServer()
    gone.url = "ws://127.0.0.1:9"
    async with TokenService(gone, {"localhost": synapse.base_url}) as service:
        assert (await ask(service, "/sfu/get", legacy(openid)))[0] == 500


async def test_nothing_answers_after_it_was_left(livekit: LiveKitServer) -> None:
    async with TokenService(livekit, {}) as service:
        pass
    with pytest.raises((aiohttp.ClientConnectorError, asyncio.TimeoutError)):
        await ask(service, "/sfu/get", {})
