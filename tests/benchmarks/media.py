"""What an epoch switch costs those who stay, and how long a device that left still hears: on a real Synapse and SFU.

    PYTHONPATH=python:tests:tests/real python tests/benchmarks/media.py --switches 10 --leaves 100

Four devices, each with a tone of its own pitch. *Switches*: everybody listens to everybody while the group rekeys
again and again; a gap is a stretch of 10 ms windows without the tone. What a decoder makes up for frames that did not
come or did not decrypt is counted by itself (concealed samples). *Leaves*: the fourth device joins and leaves again and
again, and somebody with every key that it was told goes on listening at the SFU; the seconds run from the call of
`leave` until the last window in which that one hears any of the others' tones.
"""

import argparse
import asyncio
import json
import sys
import time
from contextlib import AsyncExitStack
from statistics import median, quantiles
from typing import Any

import sfu
from seats import PITCHES, Seat, Stage, all_hear, seats

from mlsrtc import Policy, SendKeySwitched
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.hoarder import hoarding
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear
from mlsrtc.testing.synapse import Synapse

REKEY = 2.0  # seconds between two switches


async def ears(stack: AsyncExitStack, seated: list[Seat]) -> list[Ear]:
    """Everybody listens to everybody."""
    return [
        await stack.enter_async_context(await one.ear(other)) for one in seated for other in seated if one is not other
    ]


async def concealed(seated: list[Seat]) -> tuple[int, int]:
    """Samples that decoders made up, and all samples they gave, since they began."""
    made_up = total = 0
    for seat in seated:
        for track in seat.tracks.values():
            for stats in await track.get_stats():
                if stats.WhichOneof("stats") == "inbound_rtp":
                    made_up += stats.inbound_rtp.inbound.concealed_samples
                    total += stats.inbound_rtp.inbound.total_samples_received
    return made_up, total


async def switches(synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], count: int) -> dict[str, Any]:
    """So many epochs in a row, and what is heard meanwhile."""
    policy = Policy(rekey_interval=REKEY)
    async with seats(synapse, livekit, devices, policy=policy) as (_, seated), AsyncExitStack() as stack:
        assert await all_hear(seated)
        heard = await ears(stack, seated)
        await asyncio.sleep(1)
        made_up, total = await concealed(seated)
        began = time.monotonic()
        before = [len(seat.notices(SendKeySwitched)) for seat in seated]
        for seat, so_far in zip(seated, before, strict=True):
            await seat.until(
                lambda seat=seat, so_far=so_far: len(seat.notices(SendKeySwitched)) >= so_far + count,  # type: ignore[misc]
                10 * REKEY * count,
            )
        await asyncio.sleep(1)
        after = await concealed(seated)
        windows = [there for ear in heard for there, at in zip(ear.windows, ear.times, strict=True) if at >= began]
        return {
            "switches": count,
            "pairs": len(heard),
            "longest_gap_ms": round(1000 * max(ear.longest_gap(began) for ear in heard)),
            "windows_with_the_tone": round(sum(windows) / len(windows), 5),
            "concealed_samples": round((after[0] - made_up) / (after[1] - total), 5),
        }


async def one_leave(room: Stage, stayers: list[Seat], device: TestDevice) -> float:
    """Seconds from the leave until somebody with all the leaver's keys hears nothing."""
    async with AsyncExitStack() as stack:
        leaving = AsyncExitStack()
        seat = await leaving.enter_async_context(room.seat(device, PITCHES[3]))
        stack.push_async_callback(leaving.aclose)
        hoarder = await stack.enter_async_context(hoarding(room.livekit, room.room_id, seat.call))
        await all_hear([*stayers, seat])
        listening = []
        for one in stayers:
            track = hoarder.track(seat.call.members[one.member_id])
            assert track is not None
            listening.append(await stack.enter_async_context(Ear(track, one.pitch)))
        for ear in listening:
            await ear.until(lambda ear=ear: all(ear.windows[-50:]) and len(ear.windows) >= 50)  # type: ignore[misc]
        began = time.monotonic()
        await seat.call.leave()
        for ear in listening:
            await ear.until(lambda ear=ear: not any(ear.windows[-100:]))  # type: ignore[misc]
        return max(ear.last_heard for ear in listening) - began


async def leaves(synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], count: int) -> dict[str, Any]:
    """So many leaves of one device."""
    async with seats(synapse, livekit, devices, 3) as (room, stayers), AsyncExitStack() as stack:
        assert await all_hear(stayers)
        heard = await ears(stack, stayers)
        began = time.monotonic()
        seconds = []
        for number in range(count):
            seconds.append(await one_leave(room, stayers, devices[3]))
            print(f"{number + 1:4} {seconds[-1]:.3f} s", file=sys.stderr, flush=True)
        return {
            "leaves": count,
            "seconds_to_deaf_median": round(median(seconds), 3),
            "seconds_to_deaf_p99": round(quantiles(seconds, n=100, method="inclusive")[98], 3),
            "longest_gap_of_stayers_ms": round(1000 * max(ear.longest_gap(began) for ear in heard)),
        }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=10)
    parser.add_argument("--leaves", type=int, default=100)
    options = parser.parse_args()
    names = ["ada", "ben", "cem", "dia"]
    async with (
        Synapse() as synapse,
        LiveKitServer(sfu.server()) as livekit,
        cross_signed_devices(synapse, names) as devices,
    ):
        figures = {}
        if options.switches:
            figures |= await switches(synapse, livekit, devices, options.switches)
        if options.leaves:
            figures |= await leaves(synapse, livekit, devices, options.leaves)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    asyncio.run(main())
