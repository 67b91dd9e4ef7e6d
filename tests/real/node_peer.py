"""A program of Node under interop/ that a test asks, by lines of JSON: one request a line, one answer a line."""

import asyncio
import json
from itertools import count
from pathlib import Path
from typing import Any

LINE_LIMIT = 1 << 22  # bytes; asyncio's own limit is 64 KiB, and a line holds all memberships


class NodePeer:
    """The process, from `start` to `stop`. patience: seconds for one answer.

    Answers come in the order of the requests, or name the `id` of theirs.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ids = count(1)
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def start(self, *command: str | Path) -> dict[str, Any]:
        """Begin; what the program answers to `hello`."""
        pipe = asyncio.subprocess.PIPE
        self._process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, limit=LINE_LIMIT)
        self._reader = asyncio.create_task(self._read())
        try:
            return await self.ask("hello")
        except BaseException:
            await self.stop()
            raise

    @property
    def process(self) -> asyncio.subprocess.Process:
        assert self._process is not None
        return self._process

    def tell(self, op: str, **fields: Any) -> asyncio.Future[dict[str, Any]]:
        """Send a request. Nobody need wait for its answer."""
        assert self.process.stdin is not None
        number = next(self._ids)
        self._asked[number] = answer = asyncio.get_running_loop().create_future()
        self.process.stdin.write(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")
        return answer

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """A request and its answer. Raises AssertionError with what went wrong there."""
        return await asyncio.wait_for(self.tell(op, **fields), self._patience)

    def hear(self, said: dict[str, Any]) -> bool:
        """A line that nobody asked for. False: it is an answer."""
        return False

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            said = json.loads(line)
            if self.hear(said):
                continue
            asked = self._asked.pop(said.pop("id", None) or next(iter(self._asked)))
            if asked.done():
                continue  # nobody waits any more
            if "error" in said:
                asked.set_exception(AssertionError(said["error"]))
            else:
                asked.set_result(said)
        for asked in self._asked.values():
            if not asked.done():
                asked.set_exception(AssertionError(f"the process of {type(self).__name__} has ended"))

    async def stop(self) -> None:
        """End it. A browser is its child, and ends with it."""
        assert self.process.stdin is not None
        assert self._reader is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        await self._reader
