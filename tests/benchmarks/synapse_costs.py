"""What a Synapse here works for one event, one message and one sync: processor time, so that what else the machine does
counts little.

The same event is sent to few and to many clients that wait for news: the difference is what a sync costs, the rest is
the event's. A to-device request is sent to one and to twenty devices, first of users who do not ask for news, then of
users who do.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from stage import processor_seconds

from mlsrtc.testing.synapse import Account, Synapse

CLIENT = "/_matrix/client/v3"
STATE, EVENT, MESSAGE = "dev.mlsrtc.costs.state", "dev.mlsrtc.costs.event", "dev.mlsrtc.costs.message"
CONTENT = {"body": "x" * 1400}  # as a commit, a membership and an Olm-encrypted key, more or less
FEW, BATCH, ROUNDS = 2, 20, 20
IDLE = 3.0  # seconds in which it is seen what Synapse works for nothing


@dataclass(slots=True)
class Listener:
    """A client with a sync loop, as bare as it can be. `heard`: an answer has brought something of ours."""

    server: Synapse
    account: Account
    room: str
    heard: asyncio.Event = field(default_factory=asyncio.Event)
    loop: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Sync from now on; what there is already is left out."""
        since = (await self._ask("/sync?timeout=0"))["next_batch"]
        self.loop = asyncio.create_task(self._sync(since))

    async def _sync(self, since: str) -> None:
        while True:
            answer = await self._ask(f"/sync?timeout=30000&since={since}")
            since = answer["next_batch"]
            room = answer.get("rooms", {}).get("join", {}).get(self.room, {})
            timeline = room.get("timeline", {}).get("events", ())
            if answer.get("to_device", {}).get("events") or any(event["type"] in (STATE, EVENT) for event in timeline):
                self.heard.set()

    async def _ask(self, path: str) -> dict[str, Any]:
        return await self.server.demand("GET", CLIENT + path, token=self.account.access_token)


@dataclass(slots=True)
class Bench:
    """One Synapse, its room, and who listens at present."""

    server: Synapse
    room: str
    sender: Account
    listeners: list[Listener] = field(default_factory=list)
    idle: float = 0.0  # processor seconds each second, for nothing
    _sent: int = 0

    async def spent(self, act: Callable[[int], Awaitable[object]], heard_by: Sequence[Listener]) -> float:
        """Processor seconds of Synapse for one `act`, with the syncs that bring it."""
        await asyncio.sleep(0.5)
        worked, began = processor_seconds(self.server.pid), time.monotonic()
        for _ in range(ROUNDS):
            self._sent += 1
            for listener in heard_by:
                listener.heard.clear()
            await act(self._sent)
            for listener in heard_by:
                await listener.heard.wait()
        await asyncio.sleep(0.5)
        worked = processor_seconds(self.server.pid) - worked
        return (worked - self.idle * (time.monotonic() - began)) / ROUNDS

    async def rest(self) -> None:
        """See what Synapse works when nobody asks for anything."""
        await asyncio.sleep(2)
        worked = processor_seconds(self.server.pid)
        await asyncio.sleep(IDLE)
        self.idle = (processor_seconds(self.server.pid) - worked) / IDLE

    async def event(self, number: int) -> None:
        await self._put(f"/rooms/{quote(self.room)}/send/{EVENT}/{number}", CONTENT)

    async def state(self, number: int) -> None:
        await self._put(f"/rooms/{quote(self.room)}/state/{STATE}/", CONTENT | {"number": number})

    def message(self, recipients: Sequence[Account]) -> Callable[[int], Awaitable[None]]:
        messages = {one.user_id: {one.device_id: CONTENT} for one in recipients}
        return lambda number: self._put(f"/sendToDevice/{MESSAGE}/{number}", {"messages": messages})

    async def _put(self, path: str, body: dict[str, Any]) -> None:
        await self.server.demand("PUT", CLIENT + path, token=self.sender.access_token, body=body)


async def measured_costs(many: int = 50) -> dict[str, float]:
    """Seconds by the names of `mlsrtc.simulate.network.NETWORK`. `many`: clients that get every event."""
    async with Synapse() as server:
        accounts = [await server.register(f"listener{number:02}") for number in range(many + 1)]
        deaf = [await server.register(f"deaf{number:02}") for number in range(BATCH)]
        owner = accounts[0].access_token
        made = await server.demand("POST", f"{CLIENT}/createRoom", token=owner, body={"preset": "public_chat"})
        room = str(made["room_id"])
        for account in accounts[1:]:
            await server.demand("POST", f"{CLIENT}/join/{quote(room)}", token=account.access_token, body={})
        bench = Bench(server, room, accounts[0])
        listeners = [Listener(server, account, room) for account in accounts[1:]]
        for listener in listeners[:FEW]:
            await listener.start()
        await bench.rest()
        event, state = [await bench.spent(act, listeners[:FEW]) for act in (bench.event, bench.state)]
        one, batch = [await bench.spent(bench.message(some), ()) for some in (deaf[:1], deaf)]
        for listener in listeners[FEW:]:
            await listener.start()
        await bench.rest()
        to_many = [await bench.spent(act, listeners) for act in (bench.event, bench.state)]
        heard = await bench.spent(bench.message(accounts[1 : BATCH + 1]), listeners[:BATCH])
        for listener in listeners:
            assert listener.loop is not None
            listener.loop.cancel()
        await asyncio.gather(*(one.loop for one in listeners if one.loop is not None), return_exceptions=True)
    sync_event, sync_state = ((more - few) / (many - FEW) for more, few in zip(to_many, (event, state), strict=True))
    message = (batch - one) / (BATCH - 1)
    found = {
        "event": event - FEW * sync_event,
        "state event": state - FEW * sync_state,
        "sync, event": sync_event,
        "sync, state": sync_state,
        "to-device request": one - message,
        "to-device message": message,
        "sync, to-device": (heard - batch) / BATCH,
    }
    return {name: round(max(value, 0.0), 6) for name, value in found.items()}
