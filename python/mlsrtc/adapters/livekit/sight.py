"""Whether a picture that the SDK decodes is handed to anybody.

Of a hundred pictures that are subscribed to while tracks of ours are published, one is decoded for good and no stream
is given a frame of it (SDK 1.2.1, with encryption and without). Who subscribes to it anew is given all.
"""

import asyncio

from livekit import rtc

LOOK = 1.0  # seconds from one look to the next
IDLE = 10.0  # the same, at most, while nothing is decoded
ENOUGH = 5  # frames decoded between two looks


async def is_dark(track: rtc.RemoteVideoTrack) -> bool:
    """Waits for what becomes of a track: True if frames are decoded and none comes, False with the first that comes."""
    stream = rtc.VideoStream(track, capacity=1)
    decoded, pause = 0, LOOK
    try:
        while True:
            try:
                async with asyncio.timeout(pause):
                    await anext(stream)
                return False
            except StopAsyncIteration:
                return False
            except TimeoutError:
                before, decoded = decoded, await _decoded(track)
            if 0 < before <= decoded - ENOUGH:
                return True
            pause = LOOK if decoded > before else min(2 * pause, IDLE)
    finally:
        await stream.aclose()


async def _decoded(track: rtc.RemoteVideoTrack) -> int:
    stats = await track.get_stats()
    return sum(one.inbound_rtp.inbound.frames_decoded for one in stats if one.HasField("inbound_rtp"))
