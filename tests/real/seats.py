"""Devices in a call with media, on a real Synapse and a real SFU: what they hear of each other, and an eavesdropper."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from livekit import rtc
from rooms import make_room
from withholding import Withholding

from mlsrtc import MLS, PER_MEMBER, Notice
from mlsrtc.adapters.driver import Call, MediaNotice
from mlsrtc.adapters.livekit import LiveKitMedia, RemoteTrack, TrackReady, tone
from mlsrtc.identifiers import MemberId
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear
from mlsrtc.testing.synapse import Synapse

PATIENCE = 20.0
SOON = 20.0  # seconds: a track may begin with noise, and be broken while the machine does much else
HALF_A_SECOND = 50  # windows of an ear
PITCHES = (400.0, 700.0, 1100.0, 1600.0)  # Hz

N = TypeVar("N", bound=Notice | MediaNotice)


@dataclass
class Door:
    """Who lets us into one room of the SFU, without a token service."""

    url: str
    server: LiveKitServer
    room: str
    identity: str

    def move_to(self, server: LiveKitServer) -> None:
        """From now on, it is another one."""
        self.url, self.server = server.url, server

    async def grant(self) -> "Ticket":
        return Ticket(self.url, self.server.token(self.room, self.identity))


@dataclass
class Ticket:
    """What the door gives."""

    url: str
    token: str


@dataclass
class Seat:
    """One device in the call with its media, and what it was told."""

    transport: Withholding
    call: Call
    media: LiveKitMedia
    door: Door
    pitch: float  # 0: it sends nothing
    told: list[Notice | MediaNotice] = field(default_factory=list)
    times: list[float] = field(default_factory=list)  # when each was told, in seconds of time.monotonic
    tracks: dict[str, RemoteTrack] = field(default_factory=dict)
    pictures: dict[str, RemoteTrack] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def follow(self) -> None:
        async for notice in self.call.notices():
            self.told.append(notice)
            self.times.append(time.monotonic())
            match notice:
                case TrackReady(member=member, track=track):
                    heard = track.kind == rtc.TrackKind.KIND_AUDIO
                    (self.tracks if heard else self.pictures)[member.user_id] = track
                case _:
                    pass
            self.news.set()

    @property
    def user_id(self) -> str:
        """Our Matrix user."""
        return self.call.session.user_id

    @property
    def member_id(self) -> MemberId:
        """Our participation."""
        member_id = self.call.session.member_id
        assert member_id is not None
        return member_id

    def notices(self, kind: type[N]) -> list[N]:
        """Everything of one kind that was told, oldest first."""
        return [notice for notice in self.told if isinstance(notice, kind)]

    def moments(self, kind: type[N]) -> list[float]:
        """When those were told."""
        return [moment for notice, moment in zip(self.told, self.times, strict=True) if isinstance(notice, kind)]

    async def until(self, holds: Callable[[], bool], patience: float = PATIENCE) -> None:
        """Waits until something holds, which can change when something is told."""
        async with asyncio.timeout(patience):
            while not holds():
                self.news.clear()
                await self.news.wait()

    async def track(self, other: "Seat") -> RemoteTrack:
        """The track with the other one's sound, as soon as it is there."""
        await self.until(lambda: other.user_id in self.tracks)
        return self.tracks[other.user_id]

    async def picture(self, other: "Seat") -> RemoteTrack:
        """The track with the other one's picture, as soon as it is there."""
        await self.until(lambda: other.user_id in self.pictures)
        return self.pictures[other.user_id]

    async def hears(self, other: "Seat", patience: float = SOON) -> bool:
        """Whether the other one's tone is soon heard on its track for half a second without a break."""
        async with await self.ear(other) as ear:
            with suppress(TimeoutError):
                await ear.until(
                    lambda: len(ear.windows) >= HALF_A_SECOND and all(ear.windows[-HALF_A_SECOND:]), patience
                )
                return True
        return False

    async def ear(self, other: "Seat") -> Ear:
        """Listens for the other one's tone from now on."""
        return Ear(await self.track(other), other.pitch)


@dataclass
class Stage:
    """One room, on the homeserver and on the SFU."""

    synapse: Synapse
    livekit: LiveKitServer
    room_id: str
    url: str | None = None  # of somebody between the devices and the SFU

    @asynccontextmanager
    async def seat(self, device: TestDevice, pitch: float, **options: Any) -> AsyncIterator[Seat]:
        """A device in the call, that sends its tone if it has one."""
        options.setdefault("encryption", MLS)
        async with AsyncExitStack() as stack:
            transport = await stack.enter_async_context(Withholding(device.client))
            call = await stack.enter_async_context(transport.call(self.room_id, **options))
            door = self.door(call)
            media = await stack.enter_async_context(LiveKitMedia.connect(call, focus=door))
            seat = Seat(transport, call, media, door, pitch)
            task = asyncio.create_task(seat.follow())
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
            if pitch:
                await seat.media.publish(tone(pitch))
            yield seat

    def door(self, call: Call) -> Door:
        """The way into the SFU for the device of a call."""
        return Door(
            self.url or self.livekit.url,
            self.livekit,
            self.room_id,
            livekit_identity(call.session.user_id, call.session.device_id),
        )


@asynccontextmanager
async def stage(
    synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], *, encrypted: bool = False
) -> AsyncIterator[Stage]:
    """A room that all the devices are in, on both servers."""
    room_id = await make_room(synapse, devices, encrypted=encrypted)
    await livekit.create_room(room_id)
    yield Stage(synapse, livekit, room_id)


@asynccontextmanager
async def seats(
    synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], first: int | None = None, **options: Any
) -> AsyncIterator[tuple[Stage, list[Seat]]]:
    """A room with all of them in it, and the first ones (None: all) in its call, each with a tone of its own."""
    encrypted = options.get("encryption") is PER_MEMBER  # keys are handed out in no other room
    async with stage(synapse, livekit, devices, encrypted=encrypted) as room, AsyncExitStack() as stack:
        pairs = zip(devices[:first], PITCHES, strict=False)
        yield room, [await stack.enter_async_context(room.seat(device, pitch, **options)) for device, pitch in pairs]


async def all_hear(seated: list[Seat]) -> bool:
    """Whether everybody hears everybody else."""
    pairs = [(one, other) for one in seated for other in seated if one is not other]
    return all(await asyncio.gather(*(one.hears(other) for one, other in pairs)))
