"""JSON over HTTP from others than our homeserver: bounded in time and size. Knows no service.

What is configured in the nio client for the way to the homeserver (proxy, TLS) holds for these requests as well.
"""

import ipaddress
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import nio
from aiohttp_socks import ProxyConnector, ProxyError

from mlsrtc.adapters.nio.http import retry_after
from mlsrtc.wire.fields import Field, refuse
from mlsrtc.wire.foci import URL_LIMIT

TIMEOUT = 10.0  # seconds for one request, from the connection to the last byte
ANSWER_LIMIT = 65536  # bytes; a token is below 1 KiB, a .well-known file below 10
ENCRYPTED = frozenset({"https", "wss"})


class NoAnswer(Exception):
    """There was no answer; the message is the kind of the cause, which is the cause of this exception as well."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `body` is its JSON, None if it is none; `whole`: it was no longer than ANSWER_LIMIT."""

    status: int
    body: Any
    whole: bool
    retry_after: float | None  # seconds


async def request(
    client: nio.AsyncClient,
    method: str,
    url: str,
    body: Mapping[str, Any] | None = None,
    *,
    redirects: bool = False,
    timeout: float = TIMEOUT,
) -> Answer:
    """One request, once. redirects: follow them; a body that holds a secret goes only where it was meant to go.

    Raises NoAnswer.
    """
    connector = ProxyConnector.from_url(client.proxy) if client.proxy else None
    limit = aiohttp.ClientTimeout(total=timeout)
    tls = True if client.ssl is None else client.ssl
    try:
        async with (
            aiohttp.ClientSession(connector=connector, timeout=limit) as http,
            http.request(method, url, json=body, allow_redirects=redirects, ssl=tls) as response,
        ):
            data = bytearray()
            async for part in response.content.iter_chunked(ANSWER_LIMIT):
                data += part
                if len(data) > ANSWER_LIMIT:
                    break
            waiting = retry_after(response)
    except (aiohttp.ClientError, ProxyError, TimeoutError, OSError, ValueError) as error:
        raise NoAnswer(type(error).__name__) from error
    whole = len(data) <= ANSWER_LIMIT
    return Answer(response.status, _json(data) if whole else None, whole, None if waiting is None else waiting / 1000)


def checked_url(field: Field, *schemes: str) -> str:
    """An absolute URL of one of these schemes, without user, query, fragment and slashes at its end. What is not
    encrypted goes to loopback only.

    Raises RemoteProtocolError with the reasons of `Field`, and bad_url or insecure_url.
    """
    text = field.text(URL_LIMIT)
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        refuse("bad_url", field.where)
    if parts.scheme not in schemes or not host or parts.username is not None or parts.query or parts.fragment:
        refuse("bad_url", field.where)
    if any(not "!" <= character <= "~" for character in text) or "\\" in text:
        refuse("bad_url", field.where)
    if parts.scheme not in ENCRYPTED and not _is_loopback(host):
        refuse("insecure_url", field.where, f"{parts.scheme} to another machine")
    return text.rstrip("/")


def is_local(url: str) -> bool:
    """Whether a checked URL leads to this machine itself."""
    return _is_loopback(urlsplit(url).hostname or "")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _json(data: bytes | bytearray) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None
