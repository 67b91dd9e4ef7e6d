"""A stand-in for lk-jwt-service in tests: an OpenID token of a homeserver buys a LiveKit token. Knows HTTP only.

As the real one (Element's "LiveKit Authorization Service") it takes `POST /sfu/get` of clients before Matrix 2.0 and
`POST /get_token` of MSC4195, lets browsers ask, refuses with Matrix errors, asks the homeserver whose OpenID token it
is, makes the LiveKit room, and lets only users of its own servers publish. It takes over no delayed leave.
"""

import base64
import hashlib
import json
from collections.abc import Collection, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from mlsrtc.testing.livekit import LiveKitError, LiveKitServer

LEGACY_SLOT = "m.call#ROOM"
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST",
    "Access-Control-Allow-Headers": "Accept, Content-Type, Content-Length, Accept-Encoding, X-CSRF-Token",
}

_Shape = Mapping[str, Any]
_OPENID: _Shape = {"access_token": str, "token_type": str, "matrix_server_name": str, "expires_in": int}
_MEMBER: _Shape = {"id": str, "claimed_user_id": str, "claimed_device_id": str}
_SFU_GET: _Shape = {"room": str, "openid_token": _OPENID, "device_id": str}
_GET_TOKEN: _Shape = {"room_id": str, "slot_id": str, "openid_token": _OPENID, "member": _MEMBER}


class _Refused(Exception):
    def __init__(self, status: int, errcode: str, error: str) -> None:
        self.status = status
        self.body = {"errcode": errcode, "error": error}
        super().__init__(error)


class TokenService:
    """A token service on a loopback port for one SFU, while this context manager is open.

    homeservers: by server name, the URL of a listener with the resource `openid`; the real service finds it by
    federation. A user of any other server is refused. It may be filled later: a homeserver that announces the service
    has to know `url` when it starts.
    full_access: the server names whose users make rooms and publish; None: all of `homeservers`.
    lifetime: seconds that a LiveKit token is valid.
    """

    def __init__(
        self,
        livekit: LiveKitServer,
        homeservers: Mapping[str, str],
        *,
        full_access: Collection[str] | None = None,
        lifetime: float = 3600.0,
    ) -> None:
        self.url = ""
        self.lifetime = lifetime
        self._livekit = livekit
        self._homeservers = homeservers
        self._full_access = full_access
        self._runner: web.AppRunner | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        application = web.Application(middlewares=[_answered])
        application.router.add_route("*", "/sfu/get", self._sfu_get)
        application.router.add_route("*", "/get_token", self._get_token)
        application.router.add_get("/healthz", self._healthz)
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
        self._runner = web.AppRunner(application, access_log=None)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        except BaseException:
            await self._stop()
            raise
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        runner, self._runner = self._runner, None
        http, self._http = self._http, None
        if runner is not None:
            await runner.cleanup()
        if http is not None:
            await http.close()

    async def _healthz(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _sfu_get(self, request: web.Request) -> web.Response:
        body = await _read(request, _SFU_GET)
        _require(body, "room")
        user_id = await self._user(body["openid_token"])
        identity = f"{user_id}:{body['device_id']}"
        return await self._token(body, _hash([body["room"], LEGACY_SLOT]), identity)

    async def _get_token(self, request: web.Request) -> web.Response:
        body = await _read(request, _GET_TOKEN)
        _require(body, "room_id", "slot_id")
        member = body["member"]
        _require(member, *_MEMBER)
        user_id = await self._user(body["openid_token"])
        if user_id != member["claimed_user_id"]:
            raise _Refused(401, "M_UNAUTHORIZED", "The request could not be authorised.")
        identity = _hash([user_id, member["claimed_device_id"], member["id"]])
        return await self._token(body, _hash([body["room_id"], body["slot_id"]]), identity)

    async def _user(self, openid: Mapping[str, Any]) -> str:
        """Whose OpenID token it is, by its homeserver."""
        _require(openid, "access_token", "matrix_server_name")
        assert self._http is not None
        homeserver = self._homeservers.get(openid["matrix_server_name"])
        if homeserver is not None:
            target = f"{homeserver}/_matrix/federation/v1/openid/userinfo"
            try:
                async with self._http.get(target, params={"access_token": openid["access_token"]}) as response:
                    told = await response.json()
                    # Else one server could speak for the users of another.
                    if response.status == 200 and told["sub"].endswith(f":{openid['matrix_server_name']}"):
                        return str(told["sub"])
            except (aiohttp.ClientError, TimeoutError, ValueError, KeyError, AttributeError):
                pass
        raise _Refused(401, "M_UNAUTHORIZED", "The request could not be authorised.")

    async def _token(self, body: Mapping[str, Any], room: str, identity: str) -> web.Response:
        full = self._full_access is None or body["openid_token"]["matrix_server_name"] in self._full_access
        if full:
            try:
                await self._livekit.create_room(room)
            except LiveKitError:
                raise _Refused(500, "M_UNKNOWN", "Unable to create room on SFU") from None
        jwt = self._livekit.token(room, identity, publish=full, lifetime=self.lifetime)
        return web.json_response({"url": self._livekit.url, "jwt": jwt})


@web.middleware
async def _answered(request: web.Request, handler: Any) -> web.StreamResponse:
    """Preflights, methods, refusals as Matrix errors, and the headers that browsers ask for."""
    if request.path == "/healthz":
        response: web.StreamResponse = await handler(request)
        return response
    if request.method == "OPTIONS":
        return web.Response(headers=CORS)
    if request.method != "POST":
        return web.Response(status=405, headers=CORS)
    try:
        response = await handler(request)
    except _Refused as refused:
        response = web.json_response(refused.body, status=refused.status)
    response.headers.update(CORS)
    return response


async def _read(request: web.Request, shape: _Shape) -> dict[str, Any]:
    """The body: as in the real service no other fields and no other types, and absent ones are empty."""
    try:
        return _shaped(json.loads(await request.read()), shape)
    except ValueError:
        raise _Refused(400, "M_NOT_JSON", "Error reading request") from None


def _shaped(value: Any, shape: _Shape) -> dict[str, Any]:
    if not isinstance(value, dict) or not value.keys() <= shape.keys():
        raise ValueError
    found: dict[str, Any] = {}
    for name, kind in shape.items():
        if isinstance(kind, Mapping):
            found[name] = _shaped(value.get(name, {}), kind)
        elif type(given := value.get(name, kind())) is kind:
            found[name] = given
        else:
            raise ValueError
    return found


def _require(value: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not value[name]:
            raise _Refused(400, "M_BAD_JSON", f"The request body is missing `{name}`")


def _hash(names: list[str]) -> str:
    """Unpadded base64 of SHA-256 of the names as JSON: room aliases, and identities of Matrix 2.0."""
    text = json.dumps(names, separators=(",", ":"), ensure_ascii=False)
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")
