"""The call that the demo plays, on a real homeserver with real clients. Knows asyncio and nio; draws nothing.

Joins within two seconds, leaves one by one, a crash whose delayed leave the homeserver sends, a rejoin, and a stranger
whose binding no device signed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import nio

from mlsrtc.adapters.driver import Call, MediaNotice
from mlsrtc.adapters.nio import NioTransport, device_for
from mlsrtc.cli.demo.cost import CountedTransport, Traffic
from mlsrtc.cli.demo.ledger import Ledger
from mlsrtc.cli.demo.outsiders import Copy, CopyableStore, copy_of, still_reads
from mlsrtc.errors import MlsrtcError
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.notices import Notice
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse

SLOT = SlotId("m.call#ROOM")
JOIN_WITHIN = 2.0  # seconds
PATIENCE = 60.0  # seconds that any single thing may take before the demo fails
CRASH_LEAVE = 6.0  # seconds after which the homeserver withdraws a crashed device in the demo (policy: 18)


class DemoFailed(MlsrtcError):
    """Something did not happen in time."""


@dataclass(slots=True)
class Seat:
    """One device: its client and, while it is in the call, its `Call`. `number`: its place in the ledger."""

    number: int
    device: TestDevice
    transport: NioTransport
    store: CopyableStore = field(default_factory=CopyableStore)
    call: Call | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What the demo calls the device: the user's name without the server."""
        return self.device.account.user_id.split(":")[0].removeprefix("@")


AnySeat = TypeVar("AnySeat", bound=Seat)


@dataclass(slots=True)
class Play:
    """The running demo: seats around one room."""

    room_id: RoomId
    slot_id: SlotId
    ledger: Ledger
    traffic: Traffic
    policy: Policy
    changed: Callable[[], None]
    seats: list[Seat] = field(default_factory=list)
    copies: list[Copy] = field(default_factory=list)  # what each device that went held when it went
    start: float = field(default_factory=time.monotonic)

    async def join(self, seat: Seat) -> None:
        """The device of a seat enters the call, with an empty store."""
        account = self.ledger.open(seat.number, seat.name)
        seat.store = CopyableStore()
        call = Call(
            CountedTransport(seat.transport, self.traffic),
            device_for(seat.device.client),
            self.room_id,
            self.slot_id,
            seat.store,
            policy=self.policy,
        )
        await call.__aenter__()
        seat.call = call
        account.present = True
        seat.tasks.append(asyncio.create_task(self._listen(seat, call)))

    async def leave(self, seat: Seat) -> None:
        """The device leaves as a good client does."""
        await self._out(seat).__aexit__(None, None, None)

    async def crash(self, seat: Seat) -> None:
        """The device's process dies: nothing is sent any more."""
        await self._out(seat).crash()

    def _out(self, seat: Seat) -> Call:
        """The call of a seat that is in it no more from now on. What it has is copied first: who leaves in bad faith
        deletes nothing."""
        assert seat.call is not None
        self.copies.append(copy_of(seat.name, seat.store.records()))
        self.ledger.accounts[seat.number].present = False
        return seat.call

    async def until(self, what: str, condition: Callable[[], bool], *, timeout: float = PATIENCE) -> float:
        """Wait for it; returns the seconds it took. Raises DemoFailed naming what did not happen."""
        began = time.monotonic()
        while not condition():
            if time.monotonic() - began > timeout:
                raise DemoFailed(f"not within {timeout:.0f} s: {what}")
            await asyncio.sleep(0.01)
            self.changed()
        return time.monotonic() - began

    async def agreed(self, what: str) -> float:
        """Wait until all present devices, and nobody else, are members of one epoch that all stand on and hold the keys
        of."""
        seconds = await self.until(what, lambda: self.ledger.one_epoch() is not None)
        epoch = self.ledger.one_epoch()
        assert epoch is not None
        self.ledger.agree(epoch)
        return seconds

    def check(self) -> list[str]:
        """What is wrong at the end: what the ledger finds, and copies that are of use to who is out."""
        wrong = self.ledger.check()
        inside = [seat for seat in self.seats if seat.number in self.ledger.present()]
        sessions = [seat.call.session for seat in inside if seat.call is not None]
        archives = [session.known.archive for session in sessions if isinstance(session, Session)]
        for copy in self.copies if archives else ():
            wrong += still_reads(copy, archives[0])
        return wrong

    async def _listen(self, seat: Seat, call: Call) -> None:
        account = self.ledger.accounts[seat.number]
        try:
            async for notice in call.notices():
                member = call.session.member_id
                if member is not None:
                    account.members.add(member)
                if not isinstance(notice, MediaNotice):
                    self.tell(seat, notice)
        except Exception as error:  # Whatever ended the call: the demo has not gone well.
            self.ledger.failures.append(f"the call of {seat.name} ended with {type(error).__name__}: {error}")

    def tell(self, seat: Seat, notice: Notice) -> None:
        """Write down, now, what a device was told."""
        self.ledger.tell(seat.number, notice, time.monotonic() - self.start)
        self.changed()


async def create_room(server: Synapse, devices: list[TestDevice], *, encrypted: bool) -> RoomId:
    """A room with everybody in it, in which everybody may send what a call needs."""
    owner = devices[0].client
    state = [{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}]
    answer = await owner.room_create(
        preset=nio.RoomPreset.public_chat,
        power_level_override={"events": {"org.matrix.msc3401.call.member": 0}},
        initial_state=state if encrypted else [],
    )
    if not isinstance(answer, nio.RoomCreateResponse):
        raise DemoFailed(f"the room was not created: {answer}")
    gate = asyncio.Semaphore(8)

    async def enter(device: TestDevice) -> None:
        async with gate:
            joined = await device.client.join(answer.room_id)
            if not isinstance(joined, nio.JoinResponse):
                raise DemoFailed(f"{device.account.user_id} could not enter the room: {joined}")

    await asyncio.gather(*(enter(device) for device in devices[1:]))
    return RoomId(answer.room_id)


@asynccontextmanager
async def seated(
    room_id: RoomId, devices: list[TestDevice], ledger: Ledger, changed: Callable[[], None]
) -> AsyncIterator[Play]:
    """A play in which nobody is in the call yet."""
    policy = Policy(delayed_leave=CRASH_LEAVE, delayed_leave_restart=CRASH_LEAVE / 3)
    async with syncing(devices, Seat) as seats:
        yield Play(room_id, SLOT, ledger, Traffic(), policy, changed, seats)


@asynccontextmanager
async def syncing(
    devices: list[TestDevice], seat: Callable[[int, TestDevice, NioTransport], AnySeat]
) -> AsyncIterator[list[AnySeat]]:
    """A seat for every device, from its number, from 0; every device syncs. What is still in a call at the end is
    stopped, and does not leave."""
    async with AsyncExitStack() as stack:

        async def sit(number: int, device: TestDevice) -> AnySeat:
            return seat(number, device, await stack.enter_async_context(NioTransport(device.client)))

        seats = await asyncio.gather(*(sit(number, device) for number, device in enumerate(devices)))
        try:
            yield seats
        finally:
            await asyncio.gather(*(_stop(seat) for seat in seats))


async def _stop(seat: Seat) -> None:
    if seat.call is not None:
        await seat.call.crash()
    for task in seat.tasks:
        task.cancel()
    await asyncio.gather(*seat.tasks, return_exceptions=True)


async def all_within(seconds: float, acts: list[Callable[[], Awaitable[None]]]) -> None:
    """Start all, spread evenly over so many seconds, and wait for them."""

    async def later(delay: float, act: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(delay)
        await act()

    pause = seconds / max(1, len(acts))
    await asyncio.gather(*(later(number * pause, act) for number, act in enumerate(acts)))
