"""Calls with media: devices on a real Synapse and a real SFU, whose keys are those of the call and of nobody else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import pytest
import sfu
from rooms import make_room
from sound import listen, loudest

from mlsrtc import MLS, Notice
from mlsrtc.adapters.driver import Call, MediaNotice
from mlsrtc.adapters.livekit import Grant, LiveKitMedia, RemoteTrack, TrackReady, tone
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]
PATIENCE = 20.0
PITCHES = (400.0, 700.0, 1100.0, 1600.0)  # Hz; none is a multiple of another


@dataclass
class Door:
    """Who lets us into one room of the SFU, without a token service."""

    server: LiveKitServer
    room: str
    identity: str

    async def grant(self) -> Grant:
        return Grant(self.server.url, self.server.token(self.room, self.identity))


@dataclass
class Seat:
    """One device in the call with its media, and what it was told."""

    call: Call
    media: LiveKitMedia
    pitch: float
    told: list[Notice | MediaNotice] = field(default_factory=list)
    tracks: dict[str, RemoteTrack] = field(default_factory=dict)

    async def follow(self) -> None:
        async for notice in self.call.notices():
            self.told.append(notice)
            match notice:
                case TrackReady(member=member, track=track):
                    self.tracks[member.user_id] = track
                case _:
                    pass

    async def hears(self, other: "Seat", seconds: float = 1.0) -> bool:
        """Whether the other one's tone is what is heard on its track."""
        async with asyncio.timeout(PATIENCE):
            while (track := self.tracks.get(other.call.session.user_id)) is None:
                await asyncio.sleep(0.05)
            pitch, share = loudest(await listen(track, seconds))
        return share > 0.9 and abs(pitch - other.pitch) < 3


@asynccontextmanager
async def seats(synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice]) -> AsyncIterator[list[Seat]]:
    """All in one call, each with a tone of its own."""
    room_id = await make_room(synapse, devices)
    await livekit.create_room(room_id)
    async with AsyncExitStack() as stack:
        seated = []
        for device, pitch in zip(devices, PITCHES, strict=False):
            transport = await stack.enter_async_context(NioTransport(device.client))
            call = await stack.enter_async_context(transport.call(room_id, encryption=MLS))
            identity = livekit_identity(call.session.user_id, call.session.device_id)
            media = LiveKitMedia.connect(call, focus=Door(livekit, room_id, identity))
            seat = Seat(call, await stack.enter_async_context(media), pitch)
            task = asyncio.create_task(seat.follow())
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
            await seat.media.publish(tone(pitch))
            seated.append(seat)
        yield seated


async def test_everybody_hears_everybody(synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]) -> None:
    async with seats(synapse, livekit, three) as seated:
        pairs = [(one, other) for one in seated for other in seated if one is not other]
        assert all(await asyncio.gather(*(one.hears(other) for one, other in pairs)))
