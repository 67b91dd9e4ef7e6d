"""What the tests on a real Synapse share: rooms, and waiting for a feed. No assertion of its own."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.transport import Channel
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Account, Synapse
from mlsrtc.wire import names
from mlsrtc.wire.incoming import HistoryComplete, Incoming, RoomEvent

SLOT = "m.call#ROOM"
MEMBER = names.STATE_MEMBER
STICKY = names.STICKY_MEMBER
COMMIT = names.COMMIT
WORD = names.WORD
BLOCK = {"version": 1, "member_id": "m" * 43}


class LoggedIn(Protocol):
    """A device of a user, whatever runs on it."""

    @property
    def account(self) -> Account: ...


def heed_interrupts() -> None:
    """For a child process: SIGINT as a terminal gives it. Who runs the tests in the background may have it ignored,
    and a child inherits that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A zombie that its keeper has not reaped yet does not run.
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()


async def gone(pid: int, directory: Path) -> bool:
    """Whether a server and its directory go, within ten seconds."""
    for _ in range(100):
        if not alive(pid) and not directory.exists():  # noqa: ASYNC240
            return True
        await asyncio.sleep(0.1)
    return False


async def make_room(
    server: Synapse,
    devices: Sequence[LoggedIn],
    *,
    encrypted: bool = False,
    visibility: str = "shared",
    join: int | None = None,
) -> str:
    """A public room of the first device's user, joined by the first `join` devices (None: all)."""
    owner = devices[0].account
    state: list[dict[str, Any]] = [
        {"type": "m.room.history_visibility", "state_key": "", "content": {"history_visibility": visibility}}
    ]
    if encrypted:
        content = {"algorithm": "m.megolm.v1.aes-sha2"}
        state.append({"type": "m.room.encryption", "state_key": "", "content": content})
    body = {
        "preset": "public_chat",
        "initial_state": state,
        "power_level_content_override": {"events": {MEMBER: 0, names.FAMEDLY_MEMBER: 0}},
    }
    answer = await server.demand("POST", "/_matrix/client/v3/createRoom", token=owner.access_token, body=body)
    room_id: str = answer["room_id"]
    for device in devices[1:join]:
        await enter(server, device, room_id)
    return room_id


async def enter(server: Synapse, device: LoggedIn, room_id: str) -> None:
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/join"
    await server.demand("POST", path, token=device.account.access_token, body={})


async def announce(server: Synapse, device: TestDevice, room_id: str, url: str) -> None:
    """A state membership as Element Call writes it, which names a token service."""
    account = device.account
    content = {
        "application": "m.call",
        "call_id": "",
        "scope": "m.room",
        "device_id": account.device_id,
        "expires": 14_400_000,
        "focus_active": {"type": "livekit", "focus_selection": "oldest_membership"},
        "foci_preferred": [{"type": "livekit", "livekit_service_url": url, "livekit_alias": room_id}],
    }
    await _set_membership(server, device, room_id, content)


async def withdraw(server: Synapse, device: TestDevice, room_id: str) -> None:
    """Take it back."""
    await _set_membership(server, device, room_id, {})


async def say(server: Synapse, device: TestDevice, room_id: str, number: int, kind: str, **content: Any) -> str:
    """Send one event past the transport under test; its event id."""
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/send/{kind}/t{number}"
    answer = await server.demand("PUT", path, token=device.account.access_token, body=content)
    event_id: str = answer["event_id"]
    return event_id


async def until(channel: Channel, enough: Callable[[list[Incoming]], bool], *, timeout: float = 15.0) -> list[Incoming]:
    """What comes in until it is enough; what came so far if the next one takes longer than `timeout`."""
    got: list[Incoming] = []
    while not enough(got):
        values = await channel.receive(timeout)
        if not values:
            raise AssertionError(f"waited {timeout:g} s in vain; came: {[_name(value) for value in got]}")
        got += values
    return got


async def history(channel: Channel) -> list[Incoming]:
    """The feed up to the first HistoryComplete."""
    return await until(channel, lambda got: HistoryComplete() in got)


def events(got: Sequence[Incoming], kind: str) -> list[RoomEvent]:
    return [value for value in got if isinstance(value, RoomEvent) and value.type == kind]


def has(kind: str) -> Callable[[Sequence[Incoming]], bool]:
    return lambda got: bool(events(got, kind))


@asynccontextmanager
async def in_room(room_id: str, *devices: TestDevice) -> AsyncIterator[list[NioChannel]]:
    """One transport and one channel for each device."""
    async with AsyncExitStack() as stack:
        channels = []
        for device in devices:
            transport = await stack.enter_async_context(NioTransport(device.client))
            channels.append(await stack.enter_async_context(transport.subscribe(room_id, SLOT)))
        yield channels


async def _set_membership(server: Synapse, device: TestDevice, room_id: str, content: dict[str, Any]) -> None:
    account = device.account
    key = quote(f"_{account.user_id}_{account.device_id}_m.call", safe="")
    path = f"/_matrix/client/v3/rooms/{quote(room_id)}/state/{MEMBER}/{key}"
    await server.demand("PUT", path, token=account.access_token, body=content)


def _name(value: Incoming) -> str:
    return value.type if isinstance(value, RoomEvent) else type(value).__name__
