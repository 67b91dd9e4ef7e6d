"""Takes part in the Element Call of a room: says a WAV file, or a tone, and records what each of the others says.

    MLSRTC_PASSWORD=... python element_call.py https://one.example @bot:one.example '#band:one.example' bot

Needs mlsrtc with its extra `livekit`, and a room that is encrypted. The last argument is a directory: for the device's
keys, and for what is recorded. Who is not cross-signed is neither heard nor given our key, but by --trust any_device.
"""

import argparse
import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import nio
from livekit import rtc

from mlsrtc import PER_MEMBER, KeyMissing, KeyUndelivered, MlsrtcError, NotAddable, Policy, Trust
from mlsrtc.adapters.livekit import LiveKitMedia, TrackReady, tone, wav
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.sqlite import SqliteStore


async def after_a_pause(sound: AsyncIterator[rtc.AudioFrame]) -> AsyncIterator[rtc.AudioFrame]:
    """The same after 3 s of silence: by then the others have our key, and the track."""
    silent = iter(range(150))  # frames of 20 ms
    async for frame in sound:
        for _ in silent:
            yield rtc.AudioFrame.create(frame.sample_rate, frame.num_channels, frame.samples_per_channel)
        yield frame


async def take_part(matrix: nio.AsyncClient, room_id: str, options: argparse.Namespace) -> None:
    policy = Policy(trust=options.trust)
    with SqliteStore(options.directory / "calls.db") as store:
        async with (
            NioTransport(matrix) as transport,
            LiveKitMedia.join(transport.call(room_id, store=store, encryption=PER_MEMBER, policy=policy)) as media,
        ):
            await media.publish(after_a_pause(wav(options.say) if options.say else tone(440.0, seconds=3.0)))
            async for notice in media.call.notices():
                match notice:
                    case TrackReady(member=member, track=rtc.RemoteAudioTrack() as track):
                        name = re.sub(r"[^\w.-]+", "_", f"{member.user_id} {member.device_id} {track.sid}")
                        media.record(track, options.directory / f"{name}.wav")
                        print(f"records {member.user_id}", flush=True)
                    case KeyMissing() | KeyUndelivered() | NotAddable():
                        print(notice, flush=True)


async def log_in(options: argparse.Namespace) -> None:
    matrix = nio.AsyncClient(options.homeserver, options.user, "ECBOT", str(options.directory))
    try:
        checked(await matrix.login(os.environ.get("MLSRTC_PASSWORD") or sys.exit("set MLSRTC_PASSWORD"), "bot"))
        room = checked(await matrix.join(options.room))
        await asyncio.wait_for(take_part(matrix, room.room_id, options), options.seconds)
    finally:
        await matrix.close()


def checked(answer: nio.Response) -> nio.Response:
    return sys.exit(f"the homeserver refuses: {answer}") if isinstance(answer, nio.ErrorResponse) else answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Takes part in an Element Call.")
    for name, kind in {"homeserver": str, "user": str, "room": str, "directory": Path}.items():
        parser.add_argument(name, type=kind)
    parser.add_argument("--say", type=Path, help="a WAV file with samples of 16 bits")
    parser.add_argument("--seconds", type=float, help="leave after so many; or by Ctrl-C")
    parser.add_argument("--trust", type=Trust, default=Trust.CROSS_SIGNED, help="who gets keys: any_device, ...")
    options = parser.parse_args()
    options.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        asyncio.run(log_in(options))
    except (KeyboardInterrupt, TimeoutError, MlsrtcError) as error:
        sys.exit(str(error) or None)  # an interrupt says nothing, and is no failure
