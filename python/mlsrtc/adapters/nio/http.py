"""Raw requests through a nio client's own session. Knows HTTP and Matrix errors, no event and no call.

nio's own methods retry a 429 and a lost connection by sleeping, and then send late. These ask once and tell.
`AsyncClient.send` adds no token by itself.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import nio

from mlsrtc.outbox import RateLimited, Refused

REQUEST_TIMEOUT = 30.0  # seconds
RETRY_UNANSWERED_MS = 1000  # no connection, no answer in time, or 5xx without Retry-After
RETRY_UNNAMED_LIMIT_MS = 5000  # a 429 that does not say for how long; nio takes the same
NESTING_KEPT = 100  # levels of an answer that is too deep; Python's parser ends at some 1000, on homeservers at more

_STRUCTURE = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')

LIST = "list"
"""Under this name the body of an answer that is an array is given."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer. status 0: there was none. `body` is the JSON object, empty if it was none; an array stands
    in it under `LIST`."""

    status: int
    body: Mapping[str, Any] = field(default_factory=dict)
    retry_after_ms: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the homeserver did what was asked."""
        return 200 <= self.status < 300

    def failure(self) -> RateLimited | Refused:
        """What a reply that is not `ok` means to the one who asked."""
        if self.status == 429:
            return RateLimited(self._wait_ms(RETRY_UNNAMED_LIMIT_MS))
        if self.status == 0 or self.status >= 500:
            return RateLimited(self._wait_ms(RETRY_UNANSWERED_MS))
        errcode = self.body.get("errcode")
        return Refused(self.status, errcode if isinstance(errcode, str) else "M_UNKNOWN")

    def _wait_ms(self, default: int) -> int:
        """How long to wait: the error's own field is in milliseconds, the header in whole seconds."""
        named = self.body.get("retry_after_ms")
        if isinstance(named, int) and not isinstance(named, bool) and named >= 0:
            return named
        return default if self.retry_after_ms is None else self.retry_after_ms


class Failed(Exception):
    """One step of a longer errand failed; `outcome` is that step's."""

    def __init__(self, outcome: RateLimited | Refused) -> None:
        self.outcome = outcome
        super().__init__(str(outcome))


def path(*segments: str) -> str:
    """A path below /_matrix from raw segments; each is quoted. Others choose the ids of events and files that we ask
    for, and what has no UTF-8 form becomes one that is not there."""
    return "/_matrix/" + "/".join(quote(segment, safe="", errors="replace") for segment in segments)


def with_query(target: str, query: Mapping[str, str | int | None]) -> str:
    """A path with query parameters; those that are None are left out."""
    given = {name: value for name, value in query.items() if value is not None}
    return f"{target}?{urlencode(given)}" if given else target


def room_path(room_id: str, *segments: str, version: str = "v3") -> str:
    """A path of the client-server API below one room."""
    return path("client", version, "rooms", room_id, *segments)


async def ask(
    client: nio.AsyncClient, method: str, target: str, body: Mapping[str, Any] | bytes | None = None
) -> Reply:
    """Send one request, once. Bytes go as application/octet-stream."""
    headers = {"Authorization": f"Bearer {client.access_token}"}
    data: str | bytes | None = None
    if isinstance(body, bytes):
        data, headers["Content-Type"] = body, "application/octet-stream"
    elif body is not None:
        data, headers["Content-Type"] = json.dumps(body), "application/json"
    try:
        response = await client.send(method, target, data, headers, timeout=REQUEST_TIMEOUT)
        async with response:
            return Reply(response.status, _object(await response.read()), retry_after(response))
    except (aiohttp.ClientError, TimeoutError, OSError):
        return Reply(0)


async def demand(
    client: nio.AsyncClient, method: str, target: str, body: Mapping[str, Any] | bytes | None = None
) -> Mapping[str, Any]:
    """The body of a request that has to succeed; raises Failed with its outcome otherwise."""
    reply = await ask(client, method, target, body)
    if not reply.ok:
        raise Failed(reply.failure())
    return reply.body


async def download(client: nio.AsyncClient, target: str, limit: int) -> bytes | None:
    """A body of at most `limit` bytes; None if it is not there or longer. Raises Failed for all else."""
    headers = {"Authorization": f"Bearer {client.access_token}"}
    try:
        response = await client.send("GET", target, None, headers, timeout=REQUEST_TIMEOUT)
        async with response:
            if response.status != 200:
                reply = Reply(response.status, _object(await response.read()), retry_after(response))
                if reply.status == 404:
                    return None
                raise Failed(reply.failure())
            # The length a server announces is not trusted: what arrives is counted.
            parts: list[bytes] = []
            room = limit
            async for part in response.content.iter_chunked(64 * 1024):
                room -= len(part)
                if room < 0:
                    response.close()
                    return None
                parts.append(part)
            return b"".join(parts)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failed(Reply(0).failure()) from error


def retry_after(response: aiohttp.ClientResponse) -> int | None:
    """Milliseconds of a Retry-After header in seconds; the form with a date is not used by homeservers."""
    value = response.headers.get("Retry-After", "")
    return int(value) * 1000 if value.isascii() and value.isdigit() and len(value) < 7 else None


def loads(data: bytes) -> Any:
    """The JSON of an answer. What others have nested too deep for Python costs them that, and nobody else the answer.
    Raises ValueError."""
    try:
        return json.loads(data)
    except RecursionError:
        return json.loads(shallow(data.decode()))


def shallow(text: str) -> str:
    """JSON without what lies deeper than `NESTING_KEPT`: null stands in its place."""
    kept: list[str] = []
    depth, start = 0, 0
    for token in _STRUCTURE.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == NESTING_KEPT + 1:
                kept += [text[start : token.start()], "null"]
        elif token[0] in "]}":
            if depth == NESTING_KEPT + 1:
                start = token.end()
            depth -= 1
    return "".join([*kept, text[start:]])


def _object(data: bytes) -> Mapping[str, Any]:
    try:
        value = loads(data)
    except ValueError:
        return {}
    if isinstance(value, list):
        return {LIST: value}  # GET /state alone answers with an array
    return value if isinstance(value, dict) else {}
