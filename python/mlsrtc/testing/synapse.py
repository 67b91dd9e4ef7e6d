"""A real homeserver for a demo or a test: Synapse from PyPI, on loopback, with SQLite.

Started in the running interpreter's environment (extra `demo`), in a temporary directory. Knows Synapse's
configuration and the few Matrix requests that make users; nothing of calls. However the process that started
it ends, no Synapse and no directory stays behind (`kept.py`).
"""

import importlib.util
import json
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from mlsrtc.errors import MlsrtcError
from mlsrtc.testing.kept import Kept, NotUp, free_port, tail
from mlsrtc.testing.synapse_configuration import (
    generous_setup,
    homeserver_configuration,
    log_configuration,
    unlimited,
)

_PORT_TRIES = 3


class SynapseError(MlsrtcError):
    """Synapse did not start, or refused what a test asked of it."""


@dataclass(frozen=True, slots=True)
class Account:
    """One logged-in device of a test user. The secrets are for this Synapse only, and not in the repr."""

    user_id: str
    device_id: str
    access_token: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reply:
    """What the homeserver answered: the HTTP status and the JSON object."""

    status: int
    body: dict[str, Any]


class Synapse:
    """A Synapse that runs while this context manager is open.

    logs: a directory that keeps `homeserver.log` and `homeserver.stderr` afterwards; None keeps nothing.
    default_limits: leave `rc_message` and the delayed-event limit as Synapse has them (0.2/s, burst 10).
    extra: more of `homeserver.yaml`, laid over what is made here.
    start_timeout: seconds until SynapseError.
    """

    def __init__(
        self,
        *,
        server_name: str = "localhost",
        logs: str | os.PathLike[str] | None = None,
        default_limits: bool = False,
        extra: Mapping[str, Any] | None = None,
        start_timeout: float = 60.0,
    ) -> None:
        self.server_name = server_name
        self.base_url = ""
        self.pid = 0
        self.start_seconds = 0.0
        self._logs = None if logs is None else Path(logs)
        self._default_limits = default_limits
        self._extra = dict(extra or {})
        self._start_timeout = start_timeout
        self._registration_secret = secrets.token_hex(16)
        self._kept: Kept | None = None
        self._http: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if importlib.util.find_spec("synapse") is None:
            raise SynapseError("matrix-synapse is not installed here: pip install 'mlsrtc[demo]'")
        started = time.monotonic()
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(limit=100)
        )
        try:
            for attempt in range(_PORT_TRIES):
                try:
                    await self._start(free_port())
                    break
                except SynapseError as error:
                    await self._stop()
                    # Somebody else may take the port between the probe and Synapse's bind.
                    if "already in use" not in str(error) or attempt == _PORT_TRIES - 1:
                        raise
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        self.start_seconds = time.monotonic() - started
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._http is not None:
            await self._http.close()
            self._http = None
        await self._stop()

    async def _start(self, port: int) -> None:
        self._kept = kept = Kept("mlsrtc-synapse-")
        directory = kept.directory
        logs = self._logs if self._logs is not None else directory
        logs.mkdir(parents=True, exist_ok=True)
        log, output = (logs / "homeserver.log").absolute(), (logs / "homeserver.stderr").absolute()
        (directory / "log.yaml").write_text(json.dumps(log_configuration(log)))
        configuration = directory / "homeserver.yaml"
        configuration.touch(mode=0o600)
        settings = homeserver_configuration(
            directory,
            port,
            server_name=self.server_name,
            registration_secret=self._registration_secret,
            limits=generous_setup() if self._default_limits else unlimited(),
        )
        # homeserver.yaml: JSON is a part of YAML.
        configuration.write_text(json.dumps({**settings, **self._extra}, indent=1))
        self.base_url = f"http://127.0.0.1:{port}"
        try:
            await kept.start([sys.executable, "-m", "synapse.app.homeserver", "-c", str(configuration)], output)
            self.pid = kept.pid
            await kept.ready(self._answers, self._start_timeout)
        except NotUp as why:
            raise SynapseError(f"Synapse {why}\n{tail(output)}{tail(log)}") from None

    async def _answers(self) -> bool:
        assert self._http is not None
        try:
            async with self._http.get(f"{self.base_url}/health") as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _stop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.stop()

    async def request(
        self, method: str, path: str, *, token: str | None = None, body: Mapping[str, Any] | None = None
    ) -> Reply:
        """One request to the homeserver, as it is: no retry. `path` begins with /_matrix or /_synapse."""
        if self._http is None:
            raise SynapseError("this Synapse is not running")
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        async with self._http.request(method, self.base_url + path, json=body, headers=headers) as response:
            answer = await response.json(content_type=None)
            return Reply(response.status, answer if isinstance(answer, dict) else {})

    async def demand(
        self, method: str, path: str, *, token: str | None = None, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """A request that has to succeed: its JSON, or SynapseError."""
        reply = await self.request(method, path, token=token, body=body)
        if reply.status != 200:
            error = reply.body.get("errcode"), reply.body.get("error")
            raise SynapseError(f"{method} {path} was answered {reply.status} {error}")
        return reply.body

    async def register(self, name: str, *, device_id: str | None = None) -> Account:
        """A new user `@name:server` with one logged-in device."""
        password = secrets.token_urlsafe(12)
        body: dict[str, Any] = {
            "username": name,
            "password": password,
            "auth": {"type": "m.login.dummy"},
            **({} if device_id is None else {"device_id": device_id}),
        }
        answer = await self.demand("POST", "/_matrix/client/v3/register", body=body)
        return Account(answer["user_id"], answer["device_id"], answer["access_token"], password)

    async def login(self, account: Account, *, device_id: str | None = None) -> Account:
        """One more device of a user."""
        body: dict[str, Any] = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": account.user_id},
            "password": account.password,
            **({} if device_id is None else {"device_id": device_id}),
        }
        answer = await self.demand("POST", "/_matrix/client/v3/login", body=body)
        return Account(answer["user_id"], answer["device_id"], answer["access_token"], account.password)
