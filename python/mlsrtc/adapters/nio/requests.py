"""A session's requests as Matrix client-server requests. Knows endpoints; decides and repeats nothing."""

import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, assert_never

import nio

from mlsrtc.adapters.nio import megolm
from mlsrtc.adapters.nio.handing import hand_over, post
from mlsrtc.adapters.nio.http import Failed, Reply, ask, demand, download, path, room_path, with_query
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.errors import LocalProtocolError
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    FetchRelations,
    HandOver,
    Outcome,
    PostKey,
    QueryKeys,
    RateLimited,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
    SendToDevice,
)
from mlsrtc.wire.famedly import amended
from mlsrtc.wire.incoming import Attachment, DeviceKeys, Incoming

STICKY = "org.matrix.msc4354.sticky_duration_ms"
DELAY = "org.matrix.msc4140.delay"
DELAYED_EVENTS = ("client", "unstable", "org.matrix.msc4140", "delayed_events")
KEY_QUERY_TIMEOUT_MS = 10_000  # the homeserver's own patience with other homeservers; its default
FAILED_SERVERS_RETRY_MS = 5_000
NO_ADDRESS_RETRY_MS = 5_000  # the media repository took an upload and did not say where it is


class Executor:
    """Carries out the requests of one room. olm: the client's, for what is encrypted to devices.

    tell: takes what fetches and queries bring. relations: back-fills by /relations (the channel's own).
    attachment_limit: bytes; a longer download is told as missing.
    """

    def __init__(
        self,
        client: nio.AsyncClient,
        room_id: str,
        *,
        olm: OlmDoor,
        tell: Callable[[list[Incoming]], None],
        relations: Callable[[str], Awaitable[None]],
        attachment_limit: int,
    ) -> None:
        self._client = client
        self._room_id = room_id
        self._olm = olm
        self._tell = tell
        self._relations = relations
        self._attachment_limit = attachment_limit
        # A request that is sent again, after a 429, does not upload again.
        self._uploaded: dict[tuple[str, str], str] = {}

    async def send(self, request: Request) -> Outcome:
        """`Channel.send`."""
        try:
            return await self._send(request)
        except Failed as failed:
            return failed.outcome

    async def _send(self, request: Request) -> Outcome:
        match request:
            case SendState():
                target = room_path(self._room_id, "state", request.type, request.state_key)
                return _sent(await ask(self._client, "PUT", target, await self._content(request, target)))
            case SendEvent():
                return await self._send_event(request)
            case SendToDevice():
                return await self._send_to_device(request)
            case HandOver():
                return await hand_over(self._olm, request)
            case PostKey():
                return await post(self._client, self._olm, self._room_id, request)
            case ScheduleLeave():
                return await self._schedule(request)
            case RestartLeave():
                return await self._delayed("restart", request.delay_id)
            case CancelLeave():
                return await self._delayed("cancel", request.delay_id)
            case FetchAttachment():
                self._tell([Attachment(request.uri, await self._download(request.uri))])
                return Accepted()
            case FetchRelations():
                await self._relations(request.event_id)
                return Accepted()
            case QueryKeys():
                return await self._query_keys(request)
            case _:
                assert_never(request)

    async def _send_event(self, request: SendEvent) -> Outcome:
        content = await self._with_attachments(request)
        event_type = request.type
        if request.encrypt:
            event_type, encrypted = await megolm.encrypt(self._client, self._room_id, request.type, content)
            content = {**request.clear, **encrypted}
        target = room_path(self._room_id, "send", event_type, request.id)
        target = with_query(target, {STICKY: request.sticky_ms})
        return self._settled(request, _sent(await ask(self._client, "PUT", target, content)))

    async def _send_to_device(self, request: SendToDevice) -> Outcome:
        content = await self._with_attachments(request)
        target = path("client", "v3", "sendToDevice", request.type, request.id)
        body = {"messages": {request.user_id: {request.device_id: content}}}
        return self._settled(request, _sent(await ask(self._client, "PUT", target, body)))

    def _settled(self, request: SendEvent | SendToDevice, outcome: Outcome) -> Outcome:
        """What was uploaded for a request need not be remembered once it was sent."""
        if isinstance(outcome, Accepted):
            for field in request.attachments:
                self._uploaded.pop((request.id, field), None)
        return outcome

    async def _with_attachments(self, request: SendEvent | SendToDevice) -> dict[str, Any]:
        content: dict[str, Any] = copy.deepcopy(dict(request.content))
        for field, ciphertext in request.attachments.items():
            place = content.get(field)
            if not isinstance(place, dict):
                raise LocalProtocolError(f"the content has no object {field!r} for its attachment")
            key = (request.id, field)
            if key not in self._uploaded:
                answer = await demand(self._client, "POST", path("media", "v3", "upload"), bytes(ciphertext))
                uri = answer.get("content_uri")
                if not isinstance(uri, str) or not uri.startswith("mxc://"):
                    raise Failed(RateLimited(NO_ADDRESS_RETRY_MS))
                self._uploaded[key] = uri
            place["url"] = self._uploaded[key]
        return content

    async def _schedule(self, request: ScheduleLeave) -> Outcome:
        if request.state_key is not None:
            target = room_path(self._room_id, "state", request.type, request.state_key)
        else:
            target = room_path(self._room_id, "send", request.type, request.id)
        content = await self._content(request, target)
        query = {DELAY: request.delay_ms, STICKY: request.sticky_ms}
        return _sent(await ask(self._client, "PUT", with_query(target, query), content))

    async def _content(self, request: SendState | ScheduleLeave, target: str) -> Mapping[str, Any]:
        """What is to be written: where only an entry of it is ours, with what stands there now. Raises Failed."""
        if request.entry is None:
            return request.content
        reply = await ask(self._client, "GET", target)
        if not reply.ok and reply.status != 404:
            raise Failed(reply.failure())
        return amended(reply.body if reply.ok else {}, request.content, request.entry)

    async def _delayed(self, action: str, delay_id: str) -> Outcome:
        """MSC4140: the newer form, one endpoint per action; else the older, with the action in the body."""
        reply = await ask(self._client, "POST", path(*DELAYED_EVENTS, delay_id, action), {})
        if reply.status in (404, 405) and reply.body.get("errcode") == "M_UNRECOGNIZED":
            reply = await ask(self._client, "POST", path(*DELAYED_EVENTS, delay_id), {"action": action})
        return _sent(reply)

    async def _download(self, uri: str) -> bytes | None:
        server, slash, media_id = uri.removeprefix("mxc://").partition("/")
        if not uri.startswith("mxc://") or not server or not slash or not media_id or "/" in media_id:
            # It came from another member's event: nothing stands at an address that is none.
            return None
        target = path("client", "v1", "media", "download", server, media_id)
        return await download(self._client, target, self._attachment_limit)

    async def _query_keys(self, request: QueryKeys) -> Outcome:
        body = {
            "device_keys": {user_id: [] for user_id in request.user_ids},
            "timeout": KEY_QUERY_TIMEOUT_MS,
        }
        answer = await demand(self._client, "POST", path("client", "v3", "keys", "query"), body)
        failures = answer.get("failures")
        failed = failures.keys() if isinstance(failures, dict) else ()
        reached = [user for user in request.user_ids if user.partition(":")[2] not in failed]
        self._tell([DeviceKeys(user_id, _of_user(answer, user_id)) for user_id in reached])
        if len(reached) < len(request.user_ids):
            return RateLimited(FAILED_SERVERS_RETRY_MS)
        return Accepted()


def _of_user(answer: Mapping[str, Any], user_id: str) -> dict[str, Any]:
    """What keys/query says about one user, in its own form; a key the user does not have is left out. What has another
    form stays as it is, for the session to refuse: who is not told of is not without devices."""
    response: dict[str, Any] = {}
    for name in ("device_keys", "master_keys", "self_signing_keys"):
        users = answer.get(name)
        if not isinstance(users, dict):
            response |= {} if users is None else {name: users}
        elif user_id in users or name == "device_keys":
            response[name] = {user_id: users.get(user_id, {})}
    return response


def _sent(reply: Reply) -> Outcome:
    if not reply.ok:
        return reply.failure()
    event_id, delay_id = reply.body.get("event_id"), reply.body.get("delay_id")
    return Accepted(event_id if isinstance(event_id, str) else None, delay_id if isinstance(delay_id, str) else None)
