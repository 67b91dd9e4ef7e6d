"""What an epoch switch costs those who stay, and how long a device that left still hears: on a real Synapse and SFU.

    PYTHONPATH=python:tests:tests/real python tests/benchmarks/media.py --switches 10 --leaves 60

Four devices, each with a tone of its own pitch. *Switches*: everybody listens to everybody while the group rekeys
again and again. *Leaves*: the fourth device joins and leaves again and again, and somebody with every key that it was
told goes on listening at the SFU; the seconds run from the call of `leave` until the last window in which that one
hears any of the others' tones.

A gap is a stretch of 10 ms windows without the tone. It is one *at a switch* if some of it falls into the second after
its sender has switched, and one *elsewhere* if not: the machine's or the network's. What decoders make up for frames
that did not come or did not decrypt (concealed samples) is no gap where it sounds like the tone, and is counted by
itself, of those who stay. Tones are captured a second ahead, so that a sender that is late is none either.

It prints the two tables of docs/results/media.md, and how busy the machine was.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any

import sfu
from seats import PITCHES, Seat, Stage, all_hear, seats

from mlsrtc import Policy, SendKeySwitched
from mlsrtc.adapters.livekit import audio
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.hoarder import hoarding
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear
from mlsrtc.testing.synapse import Synapse

REKEY = 2.0  # seconds between two switches
AT_A_SWITCH = 1.0  # seconds after it, jitter buffer included
GAP_GOAL_MS, DEAF_GOAL = 60, 1.0
AHEAD_MS = 1000


@dataclass
class Listening:
    """Somebody who stays, listening to another who stays."""

    sender: Seat
    ear: Ear
    began: float

    def switches(self) -> list[float]:
        """When the sender switched since then."""
        return [moment for moment in self.sender.moments(SendKeySwitched) if moment >= self.began]

    def gaps(self) -> tuple[list[float], list[float]]:
        """Their milliseconds: of those at a switch, and of those elsewhere."""
        found: tuple[list[float], list[float]] = [], []
        for moment, seconds in self.ear.gaps(self.began):
            near = any(switch - seconds <= moment <= switch + AT_A_SWITCH for switch in self.switches())
            found[0 if near else 1].append(1000 * seconds)
        return found


class Listeners:
    """All who stay, each listening to each, from `begin` on."""

    def __init__(self, seated: list[Seat]) -> None:
        self._seated = seated
        self._pairs: list[Listening] = []
        self._before = 0, 0

    async def begin(self, stack: AsyncExitStack) -> None:
        """A second later, so that everybody has begun."""
        pairs = [(one, other) for one in self._seated for other in self._seated if one is not other]
        ears = [(other, await stack.enter_async_context(await one.ear(other))) for one, other in pairs]
        await asyncio.sleep(1)
        self._before = await self._samples()
        now = time.monotonic()
        self._pairs = [Listening(other, ear, now) for other, ear in ears]

    async def _samples(self) -> tuple[int, int]:
        """Samples that decoders made up for those who stay, and all samples they gave, since they began."""
        names = {seat.user_id for seat in self._seated}
        made_up = total = 0
        for seat in self._seated:
            for track in [track for name, track in seat.tracks.items() if name in names]:
                for stats in await track.get_stats():
                    if stats.WhichOneof("stats") == "inbound_rtp":
                        made_up += stats.inbound_rtp.inbound.concealed_samples
                        total += stats.inbound_rtp.inbound.total_samples_received
        return made_up, total

    async def figures(self) -> dict[str, Any]:
        """What was heard since the beginning."""
        made_up, total = (after - before for after, before in zip(await self._samples(), self._before, strict=True))
        gaps = [pair.gaps() for pair in self._pairs]
        at_a_switch, elsewhere = (sorted(gap for found in gaps for gap in found[place]) for place in (0, 1))
        windows = [
            there
            for pair in self._pairs
            for there, at in zip(pair.ear.windows, pair.ear.times, strict=True)
            if at >= pair.began
        ]
        return {
            "switches of a sender, each heard by one": sum(len(pair.switches()) for pair in self._pairs),
            "longest gap at a switch": f"{max(at_a_switch, default=0):.0f} ms",
            "longest gap elsewhere": f"{max(elsewhere, default=0):.0f} ms",
            f"gaps above {GAP_GOAL_MS} ms: at a switch, elsewhere": ", ".join(
                str(sum(gap > GAP_GOAL_MS for gap in found)) for found in (at_a_switch, elsewhere)
            ),
            "10 ms windows that have the tone": f"{100 * sum(windows) / len(windows):.3f} % of {len(windows):,}",
            "samples that decoders made up": f"{100 * made_up / total:.3f} %",
        }


async def switches(synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], count: int) -> dict[str, Any]:
    """So many epochs in a row, and what is heard meanwhile."""
    policy = Policy(rekey_interval=REKEY)
    async with seats(synapse, livekit, devices, policy=policy) as (_, seated), AsyncExitStack() as stack:
        assert await all_hear(seated)
        listeners = Listeners(seated)
        await listeners.begin(stack)
        before = [len(seat.notices(SendKeySwitched)) for seat in seated]
        for seat, so_far in zip(seated, before, strict=True):
            await seat.until(_switched(seat, so_far + count), 10 * REKEY * count)
        await asyncio.sleep(AT_A_SWITCH)
        return await listeners.figures()


def _switched(seat: Seat, count: int) -> Callable[[], bool]:
    return lambda: len(seat.notices(SendKeySwitched)) >= count


async def one_leave(room: Stage, stayers: list[Seat], device: TestDevice) -> float:
    """Seconds from the leave until somebody with all the leaver's keys hears nothing."""
    async with AsyncExitStack() as stack:
        leaving = AsyncExitStack()
        seat = await leaving.enter_async_context(room.seat(device, PITCHES[3]))
        stack.push_async_callback(leaving.aclose)
        hoarder = await stack.enter_async_context(hoarding(room.livekit, room.room_id, seat.call))
        assert await all_hear([*stayers, seat]), "whoever joins is heard, and hears"
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


async def leaves(
    synapse: Synapse, livekit: LiveKitServer, devices: list[TestDevice], count: int
) -> tuple[dict[str, Any], list[float]]:
    """So many joins and leaves of one device: what those who stay hear, and how long it hears itself."""
    async with seats(synapse, livekit, devices, 3) as (room, stayers), AsyncExitStack() as stack:
        assert await all_hear(stayers)
        listeners = Listeners(stayers)
        await listeners.begin(stack)
        seconds = []
        for number in range(count):
            seconds.append(await one_leave(room, stayers, devices[3]))
            print(f"{number + 1:4} {seconds[-1]:.3f} s", file=sys.stderr, flush=True)
        return await listeners.figures(), seconds


def goals(heard: dict[str, dict[str, Any]], seconds: list[float]) -> list[str]:
    """The first rows of the table of goals: what was measured, and whether that meets them."""
    gaps = {name: figures["longest gap at a switch"] for name, figures in heard.items()}
    met = all(int(gap.removesuffix(" ms")) <= GAP_GOAL_MS for gap in gaps.values())
    shown = "; ".join(f"{name}: {gap}" for name, gap in gaps.items())
    goal = f"nobody who stays has a gap above {GAP_GOAL_MS} ms in what it hears at a switch of the epoch"
    rows = [f"| {goal} | {shown} | {_verdict(met)} |"]
    if seconds:
        last = p99(seconds)
        goal = f"a device that leaves decodes nothing {DEAF_GOAL} s later (p99), whatever keys it has kept"
        rows.append(f"| {goal} | {last:.3f} s | {_verdict(last <= DEAF_GOAL)} |")
    return rows


def _verdict(met: bool) -> str:
    return "met" if met else "**not met**"


def p99(seconds: list[float]) -> float:
    """Of one alone, that one."""
    return quantiles(seconds, n=100, method="inclusive")[98] if len(seconds) > 1 else seconds[0]


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--switches", type=int, default=10)
    parser.add_argument("--leaves", type=int, default=60)
    options = parser.parse_args()
    audio.QUEUE_MS = AHEAD_MS
    began, used = time.monotonic(), os.times()
    heard: dict[str, dict[str, Any]] = {}
    seconds: list[float] = []
    async with (
        Synapse() as synapse,
        LiveKitServer(sfu.server()) as livekit,
        cross_signed_devices(synapse, ["ada", "ben", "cem", "dia"]) as devices,
    ):
        if options.switches:
            heard["rekeys"] = await switches(synapse, livekit, devices, options.switches)
        if options.leaves:
            heard["joins and leaves"], seconds = await leaves(synapse, livekit, devices, options.leaves)
    print("\n".join(["| goal | figure | |", "| --- | --- | --- |", *goals(heard, seconds), ""]))
    print(f"| | {' | '.join(heard)} |\n| --- |{' --- |' * len(heard)}")
    for name in next(iter(heard.values())):
        print(f"| {name} | {' | '.join(str(figures[name]) for figures in heard.values())} |")
    if seconds:
        print(f"\nleave to deaf: {len(seconds)} leaves, median {median(seconds):.3f} s, p99 {p99(seconds):.3f} s")
    took, now = time.monotonic() - began, os.times()
    busy = now.user + now.system + now.children_user + now.children_system - sum(used[:4])
    load = ", ".join(f"{one:.1f}" for one in os.getloadavg())
    print(f"load of the machine over 1, 5 and 15 minutes: {load}; of this run itself {busy / took:.1f}")


if __name__ == "__main__":
    asyncio.run(main())
