"""What the measurements share: a real Synapse, real nio clients in one room, and a clock at every point of the way.

Every device has its own nio client, sync loop and `Call`, all in this process, as in `mlsrtc demo`. An event counts as
seen when nio's own event callback of that device's sync fires; a key when the application's `notices` yields it.
"""

import argparse
import asyncio
import cProfile
import gc
import io
import json
import os
import platform
import pstats
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import nio

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.nio import NioTransport, device_for
from mlsrtc.adapters.store import MemoryStore
from mlsrtc.adapters.transport import Channel
from mlsrtc.cli.demo import scenario
from mlsrtc.identifiers import MemberId, RoomId
from mlsrtc.notices import MediaKeysChanged, Notice, SendKeySwitched
from mlsrtc.outbox import Outcome, Request, SendEvent, SendState
from mlsrtc.policy import Policy
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.synapse import Synapse

PROBE = "dev.mlsrtc.probe"
PROBE_BYTES = 1500  # of content: about what a commit that removes one of few devices has
PATIENCE = 60.0  # seconds
CALM = 1.5  # seconds without a change: longer than the batch window and its limit (docs/design.md section 5)


@dataclass(frozen=True, slots=True)
class Sent:
    """One request into the room: by whom, when its PUT began and when it was answered (seconds, monotonic)."""

    seat: int
    type: str
    began: float
    answered: float
    event_id: str | None


@dataclass(slots=True)
class Keys:
    """One `MediaKeysChanged` as the application of a seat got it."""

    at: float
    members: frozenset[MemberId]


@dataclass(slots=True)
class Seat(scenario.Seat):
    """One device, and when what happened to it. Times are monotonic seconds."""

    entered: float = 0.0  # when the block was entered
    joined: float = 0.0  # when Session.join was called, after the room's past was read
    seen: dict[str, float] = field(default_factory=dict)  # event id -> when this device's sync brought it
    keys: list[Keys] = field(default_factory=list)
    switched: float = 0.0

    @property
    def member(self) -> MemberId | None:
        """The present participation."""
        return None if self.call is None else self.call.session.member_id


class _Marked:
    """A channel that notes when what goes into the room was sent."""

    def __init__(self, channel: Channel, seat: Seat, sent: list[Sent]) -> None:
        self._channel, self._seat, self._sent = channel, seat, sent

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def send(self, request: Request) -> Outcome:
        began = time.monotonic()
        outcome = await self._channel.send(request)
        if isinstance(request, SendState | SendEvent):
            event_id = getattr(outcome, "event_id", None)
            self._sent.append(Sent(self._seat.number, request.type, began, time.monotonic(), event_id))
        return outcome


class _MarkedTransport:
    def __init__(self, seat: Seat, sent: list[Sent]) -> None:
        self._seat, self._sent = seat, sent
        self.user_id, self.device_id = seat.transport.user_id, seat.transport.device_id

    @asynccontextmanager
    async def subscribe(self, room_id: str, slot_id: str) -> AsyncIterator[Channel]:
        async with self._seat.transport.subscribe(room_id, slot_id) as channel:
            yield _Marked(channel, self._seat, self._sent)  # type: ignore[misc]


@dataclass(slots=True)
class Stage:
    """The room, its seats and everything that was sent into it."""

    server: Synapse
    room_id: RoomId
    policy: Policy = field(default_factory=Policy)
    seats: list[Seat] = field(default_factory=list)
    sent: list[Sent] = field(default_factory=list)
    types: dict[str, str] = field(default_factory=dict)  # of every event that any sync brought, by event id

    @property
    def present(self) -> list[Seat]:
        """Those in the call."""
        return [seat for seat in self.seats if seat.call is not None]

    async def join(self, seat: Seat) -> None:
        """Enter the call with an empty store; returns when the membership is on its way."""
        seat.keys.clear()
        seat.entered, seat.switched = time.monotonic(), 0.0
        transport: Any = _MarkedTransport(seat, self.sent)
        device = device_for(seat.device.client)
        call = Call(transport, device, self.room_id, scenario.SLOT, MemoryStore(), policy=self.policy)
        inner = call.session.join

        def join(now: Any) -> None:
            seat.joined = time.monotonic()
            inner(now)

        call.session.join = join  # type: ignore[method-assign]
        await call.__aenter__()
        seat.call = call
        seat.tasks.append(asyncio.create_task(self._listen(seat, call)))

    async def leave(self, seat: Seat) -> None:
        """Leave the call as a good client does; returns when the homeserver has the leave."""
        call, seat.call = seat.call, None
        assert call is not None
        await call.__aexit__(None, None, None)

    async def _listen(self, seat: Seat, call: Call) -> None:
        async for notice in call.notices():
            self._tell(seat, notice)

    def _tell(self, seat: Seat, notice: Notice) -> None:
        match notice:
            case MediaKeysChanged():
                members = frozenset(key.member_id for key in notice.keys)
                seat.keys.append(Keys(time.monotonic(), members))
            case SendKeySwitched():
                seat.switched = seat.switched or time.monotonic()
            case _:
                pass

    async def until(self, what: str, condition: Callable[[], bool]) -> None:
        """Wait for it. Raises TimeoutError naming what did not happen."""
        limit = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > limit:
                raise TimeoutError(f"not within {PATIENCE:.0f} s: {what}")
            await asyncio.sleep(0.02)

    async def agreed(self) -> None:
        """Wait until everybody present stands on one epoch and holds its keys, one per present device."""

        def condition() -> bool:
            present = self.present
            members = frozenset(seat.member for seat in present)
            epochs = {seat.call.session.epoch_id for seat in present if seat.call is not None}
            return len(epochs) == 1 and all(seat.keys and seat.keys[-1].members == members for seat in present)

        await self.until("one epoch of all who are present", condition)

    async def probe(self, sender: Seat, *, state: bool = False) -> str:
        """One plain room event from a device, or, from the room's owner, one plain state event.

        Returns its id as soon as all present devices' syncs brought it.
        """
        content = {"body": "x" * (PROBE_BYTES - len('{"body":""}'))}
        client, began = sender.device.client, time.monotonic()
        answer = await (
            client.room_put_state(self.room_id, PROBE, content | {"at": str(began)})
            if state
            else client.room_send(self.room_id, PROBE, content, ignore_unverified_devices=True)
        )
        if not isinstance(answer, nio.RoomSendResponse | nio.RoomPutStateResponse):
            raise RuntimeError(f"the probe was not taken: {answer}")
        event_id = str(answer.event_id)
        self.sent.append(Sent(sender.number, PROBE, began, time.monotonic(), event_id))
        await self.until("the probe reaches all", lambda: all(event_id in seat.seen for seat in self.present))
        return event_id

    def last_sent(self, type: str, since: float) -> Sent:
        """The newest request of a type that began after `since`."""
        return next(sent for sent in reversed(self.sent) if sent.type == type and sent.began >= since)

    def events_since(self, since: float) -> Counter[str]:
        """How many events of each type any sync brought after `since`."""
        first: dict[str, float] = {}
        for seat in self.seats:
            for event_id, at in seat.seen.items():
                first[event_id] = min(at, first.get(event_id, at))
        return Counter(self.types[event_id] for event_id, at in first.items() if at >= since)


@asynccontextmanager
async def staged(count: int, *, quiet: bool = False) -> AsyncIterator[Stage]:
    """A started Synapse, `count` users with one cross-signed device each in one room, every device syncing."""
    async with AsyncExitStack() as stack:
        say(f"starting Synapse and {count} devices", quiet=quiet)
        server = await stack.enter_async_context(Synapse())
        devices = await stack.enter_async_context(
            cross_signed_devices(server, [f"device{number:02}" for number in range(1, count + 1)])
        )
        stage = Stage(server, await scenario.create_room(server, devices, encrypted=False))

        def sit(number: int, device: TestDevice, transport: NioTransport) -> Seat:
            seat = Seat(number, device, transport)

            def note(room: nio.MatrixRoom, event: nio.Event) -> None:
                if room.room_id == stage.room_id:
                    seat.seen.setdefault(event.event_id, time.monotonic())
                    stage.types.setdefault(event.event_id, event.source["type"])

            device.client.add_event_callback(note, nio.Event)
            return seat

        stage.seats = await stack.enter_async_context(scenario.syncing(devices, sit))
        yield stage


# -- figures and output ------------------------------------------------------------------------------------------------


def processor_seconds(process: int) -> float:
    """Processor time that a process has used so far, in seconds (Linux: /proc)."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def waited_seconds(process: int) -> float:
    """For how long the first thread of a process could have run so far and had no processor, in seconds; 0 where the
    kernel does not say (Linux: /proc, schedstat)."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def nearest_rank(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of all do not exceed."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": round(median(values), 4), "least": round(min(values), 4), "most": round(max(values), 4)}


def hottest(profile: cProfile.Profile, leaves: int, count: int = 40) -> dict[str, list[str]]:
    """The functions with the most time of their own, and with the most below them, as milliseconds per leave."""
    found = {}
    for order, place in (("own", 2), ("with_callees", 3)):
        stats = pstats.Stats(profile, stream=io.StringIO())
        rows = sorted(stats.stats.items(), key=lambda row: row[1][place], reverse=True)[:count]  # type: ignore[attr-defined]
        found[order] = [
            f"{value[place] * 1000 / leaves:8.2f} ms  {value[1] / leaves:9.1f} calls  {_where(where)}"
            for where, value in rows
        ]
    return found


def hottest_text(facts: dict[str, Any]) -> list[str]:
    """What `hottest` found, if the measurement was profiled."""
    return [
        f"hottest functions, {order}, per leave (under cProfile):\n" + "\n".join(lines)
        for order, lines in facts.get("profile", {}).items()
    ]


def _where(where: tuple[str, int, str]) -> str:
    path, line, name = where
    return f"{os.sep.join(path.split(os.sep)[-3:])}:{line} {name}" if line else name


def machine() -> dict[str, Any]:
    """What the figures were measured on, as far as it is no name of a machine."""
    return {
        "cores": os.cpu_count(),
        "load_before": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "system": platform.system(),
    }


def set_aside() -> None:
    """Take everything that is there out of the garbage collector's sight.

    The heap of N clients in one process makes a full collection take some hundred milliseconds, which no client of
    its own process would see.
    """
    gc.collect()
    gc.freeze()


def say(text: str, *, quiet: bool = False) -> None:
    """Progress, to standard error."""
    if not quiet:
        print(text, file=sys.stderr, flush=True)


def table(rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; the first row is its head."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def add_leaves(parser: argparse.ArgumentParser, leaves: int) -> None:
    """The options of a measurement of so many leaves."""
    parser.add_argument("-n", type=int, default=50, help="devices in the call (default 50)")
    parser.add_argument("--leaves", type=int, default=leaves, help=f"leaves to measure (default {leaves})")
    parser.add_argument(
        "--profile", action="store_true", help="cProfile the leaves; the times are not to be quoted then"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options every measurement has."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as one JSON object")
    parser.add_argument("--quiet", action="store_true", help="no progress on standard error")


def put_out(options: argparse.Namespace, facts: dict[str, Any], text: str) -> None:
    """The table to standard output, the figures to the file."""
    print(text)
    if options.json is not None:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")
        say(f"all figures: {options.json}", quiet=options.quiet)
