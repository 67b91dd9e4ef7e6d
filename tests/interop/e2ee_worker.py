"""livekit-client's end-to-end encryption worker, in a process of Node (interop/livekit-client/worker.mjs)."""

import base64
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from engines import installed_by_npm

Frame = tuple[str, bytes]
"""audio, key or delta; and what it holds."""


@dataclass(frozen=True)
class Passed:
    """What came out of a track, None in place of a frame that was dropped, and the errors that were told."""

    frames: list[bytes | None]
    errors: list[str]


class Worker:
    """The worker while the block is open. Raises `Missing` where Node is.

    shared: all share one key, as Element Call has it where its link names a password.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared

    def __enter__(self) -> Self:
        command = ["node", installed_by_npm("livekit-client") / "worker.mjs", *(["shared"] if self._shared else [])]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.version: str = self._call("hello")["version"]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.communicate(timeout=10)

    def key(self, identity: str, index: int, key: bytes) -> None:
        """Hand a key over, as Element Call's provider does. The identity's own tracks are encrypted under it."""
        self._call("key", identity=identity, index=index, key=_text(key))

    def passphrase(self, passphrase: str) -> None:
        """Everybody's key, as Element Call's provider takes it."""
        self._call("passphrase", passphrase=passphrase)

    def open(self, track: str, identity: str, direction: str, codec: str | None) -> None:
        """Set up a track: direction is encode or decode, codec is vp8, or None for sound."""
        self._call("open", track=track, identity=identity, direction=direction, codec=codec)

    def frames(self, track: str, frames: Sequence[Frame]) -> Passed:
        answer = self._call("frames", track=track, frames=[(kind, _text(data)) for kind, data in frames])
        out = [None if frame is None else base64.b64decode(frame) for frame in answer["frames"]]
        return Passed(out, answer["errors"])

    def _call(self, op: str, **fields: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"op": op, **fields}) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise AssertionError(f"{op}: {answer['error']}")
        return answer


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
