"""The demo with media: devices in one call, each with a tone of its own pitch through a real SFU. Who hears whom?

One device leaves and goes on listening with every key it ever had; a stranger listens with none. Knows asyncio, nio and
LiveKit; draws nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from livekit import rtc

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.focus import room_alias
from mlsrtc.adapters.livekit import LiveKitMedia, TrackEnded, TrackReady, tone
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.cli.demo.scenario import SLOT, DemoFailed
from mlsrtc.identifiers import RoomId
from mlsrtc.notices import EpochChanged
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.hoarder import Hoarder, hoarding
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear

LOWEST, STEP = 400, 170  # Hz
PATIENCE = 60.0  # seconds
SILENCE = 100  # windows of 10 ms without the tone, before somebody counts as deaf to it: a stall is shorter


@dataclass(slots=True)
class Listener:
    """One row of the table: who listens, and its ear for each sender."""

    name: str
    ears: dict[str, Ear] = field(default_factory=dict)

    def hears(self, sender: str) -> bool:
        """Whether it has heard somebody's tone within the last second that was heard."""
        return sender in self.ears and any(self.ears[sender].windows[-SILENCE:])

    @property
    def last_heard(self) -> float:
        """When it heard any tone last, in seconds of `time.monotonic`; 0 if it never did."""
        return max((ear.last_heard for ear in self.ears.values()), default=0.0)


@dataclass(slots=True)
class Seat(Listener):
    """One device. `call` and `media` are there while it is in the call."""

    pitch: float = 0.0
    device: TestDevice | None = None
    call: Call | None = None
    media: LiveKitMedia | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


@dataclass(slots=True)
class Hall:
    """The room with its SFU, and who is in it."""

    room_id: RoomId
    livekit: LiveKitServer
    changed: Callable[[], None]
    seats: dict[str, Seat]
    outside: dict[str, Listener] = field(default_factory=dict)  # who listens without being in the call
    epoch: EpochChanged | None = None
    failures: list[str] = field(default_factory=list)
    _last: dict[tuple[str, str], bool] | None = None  # who heard whom when it was over

    @property
    def inside(self) -> list[Seat]:
        """Who is in the call now."""
        return [seat for seat in self.seats.values() if seat.call is not None]

    @property
    def listeners(self) -> list[Listener]:
        """Everybody who listens, or has."""
        return [*self.seats.values(), *self.outside.values()]

    def hears(self, listener: Listener, sender: str) -> bool:
        """Whether somebody hears a tone, now or when it was over."""
        return listener.hears(sender) if self._last is None else self._last[listener.name, sender]

    def sender(self, user_id: str) -> str:
        """The name of a user's device here."""
        return next(name for name, seat in self.seats.items() if seat.device and seat.device.account.user_id == user_id)

    async def join(self, seat: Seat) -> None:
        """Enter the call, connect to the SFU, and send the tone."""
        assert seat.device is not None
        seat.stack = AsyncExitStack()
        transport = await seat.stack.enter_async_context(NioTransport(seat.device.client))
        seat.call = transport.call(self.room_id)
        seat.media = await seat.stack.enter_async_context(LiveKitMedia.join(seat.call))
        listening = asyncio.create_task(self._listen(seat, seat.call))

        async def stop() -> None:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)

        seat.stack.push_async_callback(stop)
        await seat.media.publish(tone(seat.pitch))

    async def leave(self, seat: Seat) -> None:
        """Leave the call as a good client does."""
        stack, seat.call, seat.media = seat.stack, None, None
        seat.ears.clear()
        await stack.aclose()

    @asynccontextmanager
    async def eavesdropper(self, name: str, call: Call | None) -> AsyncIterator[Listener]:
        """Somebody outside who hears what those inside send, as far as the keys go that `call` was told, or no key."""
        listener = self.outside[name] = Listener(name)
        async with (
            hoarding(self.livekit, room_alias(self.room_id, SLOT), call) as hoarder,
            AsyncExitStack() as stack,
        ):
            for seat in self.inside:
                if seat.call is not call:
                    track = await self._track(hoarder, seat)
                    listener.ears[seat.name] = await stack.enter_async_context(Ear(track, seat.pitch))
            yield listener

    async def close(self) -> None:
        """Everybody who is still there leaves; what the table shows stays as it was."""
        self._last = {(one.name, sender): one.hears(sender) for one in self.listeners for sender in self.seats}
        for seat in self.inside:
            await self.leave(seat)

    async def until(self, what: str, holds: Callable[[], bool]) -> float:
        """Wait for it; the seconds it took. Raises DemoFailed."""
        began = time.monotonic()
        while not holds():
            if time.monotonic() - began > PATIENCE:
                raise DemoFailed(f"not within {PATIENCE:.0f} s: {what}")
            await asyncio.sleep(0.02)
            self.changed()
        return time.monotonic() - began

    def all_hear(self) -> bool:
        """Whether everybody in the call hears everybody else in it."""
        return all(one.hears(other.name) for one in self.inside for other in self.inside if one is not other)

    async def _track(self, hoarder: Hoarder, seat: Seat) -> rtc.Track:
        assert seat.call is not None
        member = seat.call.members[seat.call.session.member_id]  # type: ignore[index]
        await self.until(f"the track of {seat.name}", lambda: hoarder.track(member) is not None)
        track = hoarder.track(member)
        assert track is not None
        return track

    async def _listen(self, seat: Seat, call: Call) -> None:
        try:
            async for notice in call.notices():
                match notice:
                    case TrackReady(member=member, track=track):
                        sender = self.sender(member.user_id)
                        ear = Ear(track, self.seats[sender].pitch)
                        seat.ears[sender] = await seat.stack.enter_async_context(ear)
                    case TrackEnded(member=member):
                        seat.ears.pop(self.sender(member.user_id), None)
                    case EpochChanged() if self._last is None:
                        self.epoch = notice
                    case _:
                        pass
                self.changed()
        except Exception as error:  # Whatever ended the call: the demo has not gone well.
            self.failures.append(f"the call of {seat.name} ended with {type(error).__name__}: {error}")


def hall(room_id: RoomId, livekit: LiveKitServer, devices: list[TestDevice], changed: Callable[[], None]) -> Hall:
    """A room in which nobody is in the call yet."""
    names = [device.account.user_id.split(":")[0].removeprefix("@") for device in devices]
    seats = {
        name: Seat(name, pitch=float(LOWEST + STEP * number), device=device)
        for number, (name, device) in enumerate(zip(names, devices, strict=True))
    }
    return Hall(room_id, livekit, changed, seats)
