"""Records the call of a room: what each member says, in a WAV file that is named after the member. Ctrl-C leaves.

    MLSRTC_PASSWORD=... python recorder.py https://one.example @recorder:one.example '#band:one.example' heard

Needs mlsrtc with its extra `livekit`. The device is kept in --store, and is the same the next time. Others give it keys
once it is cross-signed (verify it from another device of its user), or if they accept any device.
"""

import argparse
import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import nio
from livekit import rtc

from mlsrtc import MLS, MlsrtcError, Policy, Trust
from mlsrtc.adapters.livekit import LiveKitMedia, MediaRefused, RecordingFailed, TrackReady
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.sqlite import SqliteStore


async def record(matrix: nio.AsyncClient, room_id: str, options: argparse.Namespace) -> None:
    """A file for each member, until the call is over."""
    policy = Policy(trust=options.trust)
    with SqliteStore(options.store / "calls.db") as store:
        async with (
            NioTransport(matrix) as transport,
            LiveKitMedia.join(transport.call(room_id, store=store, encryption=MLS, policy=policy)) as media,
        ):
            print("in the call", flush=True)
            async for notice in media.call.notices():
                match notice:
                    case TrackReady(member=member, track=rtc.RemoteAudioTrack() as track):
                        name = re.sub(r"[^\w.-]+", "_", f"{member.user_id} {member.device_id} {track.sid}")
                        media.record(track, options.directory / f"{name}.wav")
                        print(f"records {member.user_id}", flush=True)
                    case MediaRefused(identity=identity, reason=reason):
                        print(f"does not record {identity}: {reason}", flush=True)
                    case RecordingFailed(path=path, detail=detail):
                        print(f"does not record into {path}: {detail}", flush=True)


async def log_in(options: argparse.Namespace) -> None:
    """The device of the store, in the room, until Ctrl-C."""
    matrix = nio.AsyncClient(options.homeserver, options.user, options.device, str(options.store))
    try:
        checked(await matrix.login(os.environ.get("MLSRTC_PASSWORD") or sys.exit("set MLSRTC_PASSWORD"), "recorder"))
        await record(matrix, checked(await matrix.join(options.room)).room_id, options)
    finally:
        await matrix.close()


def checked(answer: nio.Response) -> nio.Response:
    return sys.exit(f"the homeserver refuses: {answer}") if isinstance(answer, nio.ErrorResponse) else answer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Records what each member of a call says.")
    for name in ("homeserver", "user", "room"):
        parser.add_argument(name)
    parser.add_argument("directory", type=Path, help="where the files go")
    parser.add_argument("--store", type=Path, default=Path("recorder-store"), help="keeps the device's keys")
    parser.add_argument("--device", default="RECORDER", help="another store needs another name")
    parser.add_argument("--trust", type=Trust, default=Trust.CROSS_SIGNED, help="who gets keys: any_device, ...")
    options = parser.parse_args()
    for directory in (options.directory, options.store):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))  # leaves as well
    try:
        asyncio.run(log_in(options))
    except (KeyboardInterrupt, MlsrtcError) as error:
        sys.exit(str(error) or None)  # an interrupt says nothing, and is no failure
