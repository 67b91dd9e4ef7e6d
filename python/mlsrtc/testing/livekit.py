"""A real SFU for a test: livekit-server on loopback, and tokens and rooms for it. Knows nothing of Matrix.

The executable is not on PyPI: `interop/livekit/build` makes it, and any other of the same kind will do. WebRTC
clients take no loopback address for their own media, so the machine must have another one; `interop/livekit/alone`
runs a command in a network that has. The SFU itself listens on 127.0.0.1 and nowhere else.
"""

import json
import os
import secrets
import shutil
import socket
import time
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from livekit import api

from mlsrtc.errors import MlsrtcError
from mlsrtc.testing.kept import Kept, NotUp, free_port, tail

KEY = "devkey"
EMPTY_SECONDS = 300  # a room that nobody has joined yet
DEPARTURE_SECONDS = 20  # a room that all have left
_PORT_TRIES = 3


class LiveKitError(MlsrtcError):
    """livekit-server did not start, or refused what a test asked of it."""


class LiveKitServer:
    """A livekit-server that runs while this context manager is open. Rooms are not made by joining them.

    server: the executable; None takes `livekit-server` from the PATH.
    logs: a directory that keeps `livekit.log` afterwards; None keeps nothing.
    start_timeout: seconds until LiveKitError.
    """

    def __init__(
        self,
        server: str | os.PathLike[str] | None = None,
        *,
        logs: str | os.PathLike[str] | None = None,
        start_timeout: float = 30.0,
    ) -> None:
        self.url = ""
        self.pid = 0
        self.start_seconds = 0.0
        self._server = server
        self._logs = None if logs is None else Path(logs)
        self._start_timeout = start_timeout
        self._secret = secrets.token_hex(32)
        self._kept: Kept | None = None

    async def __aenter__(self) -> Self:
        server = self._executable()
        started = time.monotonic()
        try:
            for attempt in range(_PORT_TRIES):
                try:
                    await self._start(server)
                    break
                except LiveKitError as error:
                    await self._stop()
                    # Somebody else may take a port between the probe and the bind.
                    if "already in use" not in str(error) or attempt == _PORT_TRIES - 1:
                        raise
        except BaseException:
            await self._stop()
            raise
        self.start_seconds = time.monotonic() - started
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    def _executable(self) -> str:
        name = "livekit-server" if self._server is None else self._server
        found = shutil.which(name)
        if found is None:
            raise LiveKitError(f"there is no {os.fspath(name)}: interop/livekit/build makes one")
        return os.path.abspath(found)  # it runs in a directory of its own

    async def _start(self, server: str) -> None:
        self._kept = kept = Kept("mlsrtc-livekit-")
        logs = self._logs if self._logs is not None else kept.directory
        logs.mkdir(parents=True, exist_ok=True)
        log = (logs / "livekit.log").absolute()
        port = free_port()
        configuration = kept.directory / "livekit.yaml"
        configuration.touch(mode=0o600)
        # JSON is a part of YAML.
        configuration.write_text(json.dumps(_configuration(port, free_port(socket.SOCK_DGRAM), self._secret)))
        self.url = f"ws://127.0.0.1:{port}"
        try:
            await kept.start([server, "--config", str(configuration)], log)
            self.pid = kept.pid
            await kept.ready(self._answers, self._start_timeout)
        except NotUp as why:
            raise LiveKitError(f"livekit-server {why}\n{tail(log)}") from None

    async def _answers(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=1)) as http,
                http.get(self._http_url) as response,
            ):
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False

    async def _stop(self) -> None:
        kept, self._kept = self._kept, None
        if kept is not None:
            await kept.stop()

    @property
    def _http_url(self) -> str:
        return self.url.replace("ws:", "http:", 1)

    async def create_room(self, name: str) -> None:
        """Make a room, or find it there already. Raises LiveKitError."""
        request = api.CreateRoomRequest(
            name=name, empty_timeout=EMPTY_SECONDS, departure_timeout=DEPARTURE_SECONDS, max_participants=0
        )
        try:
            async with api.LiveKitAPI(self._http_url, KEY, self._secret) as service:
                await service.room.create_room(request)
        except (api.TwirpError, aiohttp.ClientError, TimeoutError, OSError) as error:
            raise LiveKitError(f"the room was not made: {type(error).__name__}") from error

    def token(self, room: str, identity: str, *, publish: bool = True, lifetime: float = 3600.0) -> str:
        """A JWT for one participant of one room, valid for `lifetime` seconds. publish: whether it may send media."""
        grants = api.VideoGrants(
            room_join=True,
            room_create=False,
            room=room,
            can_publish=publish,
            can_subscribe=True,
            can_update_own_metadata=False,
        )
        token = api.AccessToken(KEY, self._secret).with_identity(identity).with_grants(grants)
        return token.with_ttl(timedelta(seconds=lifetime)).to_jwt()


def _configuration(port: int, udp_port: int, secret: str) -> dict[str, Any]:
    """livekit.yaml of livekit-server 1.13: signalling and media on 127.0.0.1, one UDP port, nobody outside is asked."""
    return {
        "port": port,
        "bind_addresses": ["127.0.0.1"],
        "keys": {KEY: secret},
        "room": {"auto_create": False},
        "rtc": {
            "use_external_ip": False,
            "node_ip": "127.0.0.1",
            "enable_loopback_candidate": True,
            "interfaces": {"includes": ["lo"]},
            "udp_port": udp_port,
            # A TCP port listens on every address.
            "tcp_port": 0,
            # With none, clients are told of public ones. Nobody answers here.
            "stun_servers": ["127.0.0.1:9"],
        },
        "logging": {"level": "info", "json": True},
    }
