"""A server for a demo or a test, as a child process with a temporary directory. Knows no particular server.

However the process that started it ends, no server and no directory stays behind (`_keeper.py`).
"""

import asyncio
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

_KEEPER = Path(__file__).with_name("_keeper.py")
_LOG_TAIL = 4096  # bytes of a log that an error carries
_POLL = 0.05  # seconds between two looks at a server that is starting


class NotUp(Exception):
    """The server did not come up. The message is what became of it, to stand behind its name."""


class Kept:
    """One server process and its directory, which is made with this object. `stop` ends the one and removes the other,
    whatever came before."""

    def __init__(self, prefix: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=prefix))
        self.pid = 0
        self._keeper: asyncio.subprocess.Process | None = None

    async def start(self, command: Sequence[str], output: Path) -> None:
        """Run the command in the directory; what it writes to standard error goes to `output`. Raises NotUp."""
        with output.open("wb") as errors:
            self._keeper = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_KEEPER),
                str(self.directory),
                *command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
                # A Ctrl-C in the terminal reaches us alone; we end the server in order.
                start_new_session=True,
            )
        assert self._keeper.stdout is not None
        told = await self._keeper.stdout.readline()
        if not told.startswith(b"pid "):
            raise NotUp("could not be run")
        self.pid = int(told[4:])

    async def ready(self, answers: Callable[[], Awaitable[bool]], timeout: float) -> None:
        """Wait until the server answers. Raises NotUp if it ends instead, or after `timeout` seconds."""
        assert self._keeper is not None
        assert self._keeper.stdout is not None
        ended = asyncio.ensure_future(self._keeper.stdout.readline())
        try:
            deadline = time.monotonic() + timeout
            while not await answers():
                if ended.done():
                    raise NotUp("ended while it started")
                if time.monotonic() > deadline:
                    raise NotUp(f"did not answer in {timeout:g} s")
                await asyncio.sleep(_POLL)
        finally:
            ended.cancel()

    async def stop(self) -> None:
        """Close the keeper's input and wait for it; it ends the server and removes the directory."""
        keeper, self._keeper = self._keeper, None
        if keeper is not None:
            if keeper.stdin is not None:
                keeper.stdin.close()
            await asyncio.shield(keeper.wait())
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """A port of loopback that nobody has at this moment."""
    with socket.socket(type=kind) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(log: Path) -> str:
    """The end of a log under its name, for an error; empty if there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _LOG_TAIL))
            return f"--- {log.name} ---\n{file.read().decode(errors='replace')}\n"
    except OSError:
        return ""
