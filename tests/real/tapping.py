"""What the SFU itself has of a room: a participant without a key who takes off the transport's encryption alone."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import sfu

from mlsrtc.media.keys import MediaKey
from mlsrtc.notices import MediaKeysChanged, Notice
from mlsrtc.testing.livekit import LiveKitServer

LONGEST = 1 << 24  # bytes of a line


@dataclass(frozen=True)
class Caught:
    """A frame or a data packet, as interop/livekit/tap/main.go writes it. time: when, in `time.monotonic` seconds."""

    time: float
    kind: str
    identity: str
    sid: str
    codec: str
    index: int
    iv: bytes
    payload: bytes


@dataclass
class Tap:
    """What came until now. trailer: of the frames that the server itself makes. dropped: packets; known in the end."""

    trailer: bytes = b""
    dropped: int = 0
    caught: list[Caught] = field(default_factory=list)

    def take(self, line: dict[str, Any]) -> None:
        match line["kind"]:
            case "joined":
                self.trailer = _bytes(line["payload"])
            case "end":
                self.dropped = line.get("dropped", 0)
            case kind:
                names = (line.get(name, "") for name in ("identity", "sid", "codec"))
                iv, payload = _bytes(line.get("iv")), _bytes(line["payload"])
                self.caught.append(Caught(time.monotonic(), kind, *names, line["index"], iv, payload))


@cache
def executable() -> Path:
    """The tap. Skips the test where it cannot be built."""
    return sfu.built(sfu.INTEROP / "tap" / "build")


@asynccontextmanager
async def tapping(livekit: LiveKitServer, room: str) -> AsyncIterator[Tap]:
    """A tap on a room while the block is open."""
    process = await asyncio.create_subprocess_exec(
        await asyncio.to_thread(executable),
        livekit.url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    output, tap = process.stdout, Tap()

    async def read() -> None:
        async for line in output:
            tap.take(json.loads(line))

    reading = asyncio.create_task(read())
    try:
        process.stdin.write(livekit.token(room, "tap", publish=False).encode() + b"\n")
        yield tap
    finally:
        process.stdin.close()
        await asyncio.wait_for(reading, 10)
        status = await process.wait()
    assert status == 0


class Keys:
    """Every key that a call was told, kept for ever."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, int], bytes] = {}
        """By the sender's identity and its index."""

    def tell(self, notice: Notice) -> None:
        if isinstance(notice, MediaKeysChanged):
            for key in notice.keys:
                self._keep(key)

    def _keep(self, key: MediaKey) -> None:
        secret = key.secret.expose()
        assert self.secrets.setdefault((key.livekit_identity, key.index), secret) == secret, "an index came twice"


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")
