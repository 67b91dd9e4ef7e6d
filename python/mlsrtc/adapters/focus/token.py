"""A LiveKit token for our device: bought with an OpenID token, read, and renewed before it ends. Connects nowhere else.

`POST /sfu/get` is the endpoint of clients before Matrix 2.0, `POST /get_token` that of MSC4195. They give different
identities: who asks for one must install media keys under the same.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import canonicaljson
import jwt
import nio

from mlsrtc.adapters.focus import web
from mlsrtc.adapters.focus.discovery import Focus, Source, refused_by_homeserver
from mlsrtc.adapters.focus.errors import FocusError
from mlsrtc.adapters.nio.http import ask, path
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.media.keys import hashed_livekit_identity, livekit_identity
from mlsrtc.wire import encoding
from mlsrtc.wire.fields import Field, refuse

LEGACY_SLOT = "m.call#ROOM"
SFU_GET, GET_TOKEN = "/sfu/get", "/get_token"
RENEW_SHARE = 0.2  # of its life: a token with less of it left is renewed
TOKEN_LIMIT = 16384  # bytes; one of lk-jwt-service has some 400

LOGGER = logging.getLogger(__name__)


def room_alias(room_id: str, slot_id: str) -> str:
    """The name of a call's room in LiveKit: unpadded base64 of SHA-256 of ``[room id, slot id]``, at both endpoints.

    Older services name it otherwise; the token says how.
    """
    digest = hashlib.sha256(canonicaljson.encode_canonical_json([room_id, slot_id])).digest()
    return encoding.encode_base64(digest)


@dataclass(frozen=True, slots=True)
class Grant:
    """What lets one device into one room of an SFU.

    url: of the SFU.
    token: the LiveKit token, a secret.
    identity: ours in that room, under which others install our media keys.
    room: its name.
    may_publish: whether we may send media there, or only receive.
    ends_at: seconds of `time.monotonic`; who is connected by then stays so.
    """

    url: str
    token: str = field(repr=False)
    identity: str
    room: str
    may_publish: bool
    ends_at: float


@dataclass(frozen=True, slots=True)
class _Last:
    """The last token, where it is from, and when there is to be another (seconds of `time.monotonic`)."""

    focus: Focus
    grant: Grant
    renew_at: float


class FocusTokens:
    """LiveKit tokens for the device of a nio client in one call, each used until it is to be renewed.

    focus: where; or what tells, each time a token is asked for, where the call is now.
    member_id: None asks at `/sfu/get`; our `member.id` asks at `/get_token`, as clients of Matrix 2.0 do.
    timeout: seconds for one request to the service; 10 by default.

    Raises LocalProtocolError if the client is not logged in, or for another slot than that of the room's own call
    without member_id: `/sfu/get` has no word for it, unless a membership names the SFU's room (`Focus.alias`).
    """

    def __init__(
        self,
        client: nio.AsyncClient,
        focus: Focus | Callable[[], Awaitable[Focus]],
        room_id: str,
        slot_id: str,
        *,
        member_id: str | None = None,
        timeout: float = web.TIMEOUT,
    ) -> None:
        if not client.user_id or not client.device_id or not client.access_token:
            raise LocalProtocolError("the nio client is not logged in")
        named = isinstance(focus, Focus) and focus.alias is not None
        if member_id is None and slot_id != LEGACY_SLOT and not named:
            raise LocalProtocolError(f"{SFU_GET} knows the slot {LEGACY_SLOT} only: give a member_id")
        self._client = client
        self._focus = focus
        self._room_id = room_id
        self._slot_id = slot_id
        self._member_id = member_id
        self._timeout = timeout
        self._last: _Last | None = None
        self._asking = asyncio.Lock()

    @property
    def identity(self) -> str:
        """Our identity in the SFU's room."""
        user_id, device_id = UserId(str(self._client.user_id)), DeviceId(str(self._client.device_id))
        if self._member_id is None:
            return livekit_identity(user_id, device_id)
        return hashed_livekit_identity(user_id, device_id, MemberId(self._member_id))

    async def grant(self) -> Grant:
        """A token that is good for a while: the last one, or a new one when a fifth of its life is left, or the call
        is somewhere else.

        If none can be had just now, the last one serves until it ends. Raises FocusError, and RemoteProtocolError if an
        answer makes no sense: the reasons of `Field`, bad_json, bad_status, bad_url, insecure_url, bad_token, expired,
        wrong_identity, may_not_join. Raises what `focus` raises, if it is to tell.
        """
        async with self._asking:
            try:
                focus = self._focus if isinstance(self._focus, Focus) else await self._focus()
                if self._last is None or self._last.focus != focus or time.monotonic() >= self._last.renew_at:
                    self._last = await self._buy(focus)
            except FocusError as error:
                if not error.temporary or self._last is None or time.monotonic() >= self._last.grant.ends_at:
                    raise
                LOGGER.warning("the LiveKit token was not renewed: %s", error.reason)
            return self._last.grant

    async def _buy(self, focus: Focus) -> "_Last":
        openid = await _openid_token(self._client)
        asked_at = time.monotonic()
        if self._member_id is None:
            endpoint = SFU_GET
            room = focus.alias or self._room_id
            body = {"room": room, "openid_token": openid, "device_id": self._client.device_id}
        else:
            endpoint = GET_TOKEN
            member = {
                "id": self._member_id,
                "claimed_user_id": self._client.user_id,
                "claimed_device_id": self._client.device_id,
            }
            body = {"room_id": self._room_id, "slot_id": self._slot_id, "openid_token": openid, "member": member}
        answer = await self._ask_service(focus, endpoint, body)
        grant, lifetime = _read(Field(answer, endpoint), asked_at)
        if focus.source is Source.MEMBERSHIP and web.is_local(grant.url):
            refuse("local_url", f"{endpoint}.url", "a service that a member has named leads to this machine")
        if grant.identity != self.identity:
            refuse("wrong_identity", f"{endpoint}.jwt.sub", "our keys would be under another name")
        return _Last(focus, grant, asked_at + (1 - RENEW_SHARE) * lifetime)

    async def _ask_service(self, focus: Focus, endpoint: str, body: Mapping[str, Any]) -> Any:
        url = focus.service_url + endpoint
        try:
            answer = await web.request(self._client, "POST", url, body, timeout=self._timeout)
        except web.NoAnswer as error:
            raise FocusError("service_unavailable", f"{url}: {error}") from error
        if answer.status == 429 or answer.status >= 500:
            detail = f"{url}: status {answer.status}"
            raise FocusError("service_unavailable", detail, retry_after=answer.retry_after)
        if answer.status in (404, 405):
            raise FocusError("not_offered", url)
        if answer.status >= 400:
            errcode = answer.body.get("errcode") if isinstance(answer.body, dict) else None
            shown = errcode[:64] if isinstance(errcode, str) and errcode.isprintable() else ""
            raise FocusError("token_refused", f"{url}: {answer.status} {shown}".rstrip())
        if answer.status != 200:
            refuse("bad_status", endpoint, f"status {answer.status}")
        if not answer.whole or answer.body is None:
            refuse("bad_json" if answer.whole else "oversized", endpoint)
        return answer.body


async def _openid_token(client: nio.AsyncClient) -> dict[str, Any]:
    """An OpenID token of our homeserver, with the fields of the specification and no other: services refuse those.

    Raises FocusError (homeserver_unavailable, homeserver_refused), and RemoteProtocolError with the reasons of `Field`.
    """
    target = path("client", "v3", "user", str(client.user_id), "openid", "request_token")
    reply = await ask(client, "POST", target, {})
    if not reply.ok:
        raise refused_by_homeserver(reply.failure(), "an OpenID token")
    told = Field(reply.body, "openid_token")
    return {
        "access_token": told["access_token"].text(TOKEN_LIMIT),
        "token_type": told["token_type"].text(),
        "matrix_server_name": told["matrix_server_name"].text(),
        "expires_in": told["expires_in"].integer(),
    }


def _read(answer: Field, asked_at: float) -> tuple[Grant, float]:
    """The token of an answer, and its lifetime in seconds. Its signature is between the service and the SFU.

    The lifetime is counted by the service's own clock and begins when we asked: ours may differ from it.
    """
    url = web.checked_url(answer["url"], "wss", "ws", "https", "http")
    text = answer["jwt"].text(TOKEN_LIMIT)
    try:
        said = Field(jwt.decode(text, options={"verify_signature": False}), "jwt", answer)
    except (jwt.InvalidTokenError, RecursionError):
        raise RemoteProtocolError("bad_token", where=answer["jwt"].where) from None
    grants = said["video"]
    if not grants["roomJoin"].optional(Field.boolean):
        refuse("may_not_join", grants["roomJoin"].where)
    begins = said["nbf"] if said["iat"].absent else said["iat"]
    now = int(time.time()) if begins.absent else begins.integer()
    lifetime = said["exp"].integer() - now
    if lifetime <= 0:
        refuse("expired", said["exp"].where)
    publishes = grants["canPublish"].optional(Field.boolean)
    grant = Grant(
        url=url,
        token=text,
        identity=said["sub"].text(1024),
        room=grants["room"].text(1024),
        may_publish=publishes is None or publishes,
        ends_at=asked_at + lifetime,
    )
    return grant, float(lifetime)
