"""Says again, a second later, what is said in the call of a room. Ctrl-C leaves.

    MLSRTC_PASSWORD=... python echo.py https://one.example @echo:one.example '#band:one.example'

Needs the extra `livekit`. --store keeps the device: others give it keys once it is cross-signed, or if they take any.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterable, AsyncIterator
from pathlib import Path

import nio
from livekit import rtc

from mlsrtc import MLS, MlsrtcError, Policy, Trust
from mlsrtc.adapters.livekit import LiveKitMedia, TrackReady, frames
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.sqlite import SqliteStore

RATE, BLOCK = 48_000, 4_800  # samples per second, and in the tenth of a second that a mixer gives at once


async def later(sound: AsyncIterable[rtc.AudioFrame]) -> AsyncIterator[rtc.AudioFrame]:
    """The same after a second of silence."""
    kept = [rtc.AudioFrame(bytes(2 * BLOCK), RATE, 1, BLOCK)] * (RATE // BLOCK)
    yield kept.pop(0)
    async for frame in sound:
        kept.append(frame)
        yield kept.pop(0)


async def echo(matrix: nio.AsyncClient, room_id: str, options: argparse.Namespace) -> None:
    """The echo of all members, until the call is over."""
    policy = Policy(trust=options.trust)
    with SqliteStore(options.store / "calls.db") as store:
        async with (
            NioTransport(matrix) as transport,
            LiveKitMedia.join(transport.call(room_id, store=store, encryption=MLS, policy=policy)) as media,
            contextlib.aclosing(rtc.AudioMixer(RATE, 1)) as mixer,
        ):
            await media.publish(later(mixer))
            print("in the call", flush=True)
            async for notice in media.call.notices():
                if isinstance(notice, TrackReady) and isinstance(notice.track, rtc.RemoteAudioTrack):
                    mixer.add_stream(frames(notice.track))


async def log_in(options: argparse.Namespace) -> None:
    matrix = nio.AsyncClient(options.homeserver, options.user, options.device, str(options.store))
    try:
        checked(await matrix.login(os.environ.get("MLSRTC_PASSWORD") or sys.exit("set MLSRTC_PASSWORD"), "echo"))
        await echo(matrix, checked(await matrix.join(options.room)).room_id, options)
    finally:
        await matrix.close()


def checked(answer: nio.Response) -> nio.Response:
    return sys.exit(f"the homeserver refuses: {answer}") if isinstance(answer, nio.ErrorResponse) else answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Says again what is said in a call.")
    for name in ("homeserver", "user", "room"):
        parser.add_argument(name)
    parser.add_argument("--store", type=Path, default=Path("echo-store"), help="keeps the device's keys")
    parser.add_argument("--device", default="ECHO", help="another store needs another name")
    parser.add_argument("--trust", type=Trust, default=Trust.CROSS_SIGNED, help="who gets keys: any_device, ...")
    options = parser.parse_args()
    options.store.mkdir(mode=0o700, parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # leaves as well
    try:
        asyncio.run(log_in(options))
    except (KeyboardInterrupt, MlsrtcError) as error:
        sys.exit(str(error) or None)  # an interrupt says nothing, and is no failure
