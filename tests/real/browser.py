"""A page in headless Chromium that takes part in a LiveKit room with livekit-client, and is given the keys of a call.

Whether this machine has a browser is `chromium`'s to say; interop/livekit-client/page.mjs drives it.
"""

import base64
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from engines import Missing, installed_by_npm
from node_peer import NodePeer
from peers import INTEROP

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import KeyRing
from mlsrtc.notices import Notice
from one_at_a_time import one_at_a_time
from wanting import wanting

PATIENCE = 30.0  # seconds for one answer
NONE_HERE = 3  # exit status of interop/chromium/find


@cache
def chromium() -> Path:
    """The executable. Raises `Missing`."""
    script = INTEROP / "chromium" / "find"
    with one_at_a_time(script):
        found = subprocess.run([script], capture_output=True, text=True, check=False)
    if found.returncode == NONE_HERE:
        raise Missing(found.stderr.strip())
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip())


@contextmanager
def needed() -> Iterator[None]:
    """Skips the test that has met something `Missing`. CI has it all, and fails without."""
    try:
        yield
    except Missing as missing:
        wanting(str(missing))


@dataclass(frozen=True)
class Video:
    """What came of one participant's video: packets received, frames decoded, frames shown, the width of the picture in
    pixels, and the longest pause between two of the frames shown since the last look, in milliseconds."""

    packets: int
    decoded: int
    shown: int
    width: int
    paused: float


class Page(NodePeer):
    """A page while the block is open: a `KeyProvider` of the adapter, in whose place another program's worker stands.

    Our own key is handed over only as the one to send under now: for livekit-client, to set it is to switch to it.
    """

    def __init__(self) -> None:
        super().__init__(PATIENCE)
        self.identity = ""
        self.client = self.browser = ""  # their versions
        self._keys: list[tuple[str, int, str]] = []

    async def __aenter__(self) -> Self:
        with needed():
            command = ["node", installed_by_npm("livekit-client") / "page.mjs", chromium()]
        hello = await self.start(*command)
        self.client, self.browser = hello["client"], hello["browser"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def connect(self, url: str, token: str) -> None:
        self.identity = (await self.ask("connect", url=url, token=token))["identity"]

    async def publish(self) -> bool:
        """Publish the camera; whether that is encrypted."""
        answer = await self.ask("publish")
        return bool(answer["encrypted"])

    async def videos(self) -> dict[str, Video]:
        """What is seen of everybody, by identity."""
        answer = await self.ask("counts")
        return {identity: Video(**counts) for identity, counts in answer["videos"].items()}

    async def screenshot(self, path: Path) -> None:
        """Write what the page looks like into a PNG."""
        await self.ask("screenshot", path=str(path))

    def children(self) -> list[int]:
        """The processes of the browser."""
        found, parents = [], [self.process.pid]
        while parents:
            parent = parents.pop()
            tasks = Path(f"/proc/{parent}/task").glob("*/children")
            children = [int(pid) for task in tasks for pid in task.read_text().split()]
            found += children
            parents += children
        return found

    def kill(self) -> None:
        """End the process that drives the browser, as if it had crashed."""
        self.process.kill()

    # -- keys ----------------------------------------------------------------------------------------------------------

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        self._keys.append((participant_identity, key_index, base64.b64encode(key).decode()))

    def hand_over(self) -> None:
        """Tell the page the keys that were set; of our own ones, the last."""
        own = [key for key in self._keys if key[0] == self.identity]
        keys = [key for key in self._keys if key[0] != self.identity] + own[-1:]
        self._keys.clear()
        self.tell("keys", keys=keys)


class PageKeys:
    """Keeps a page's keys by the notices of a call, as the adapter keeps those of its own connection."""

    def __init__(self, page: Page, call: Call) -> None:
        self._page = page
        us = call.session.user_id, call.session.device_id
        self._ring = KeyRing(page.identity, us, page, tuple, lambda: call.members)

    def tell(self, notice: Notice) -> None:
        self._ring.tell(notice)
        self._page.hand_over()
