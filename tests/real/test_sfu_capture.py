"""What the SFU has of a call, seen with the keys of the call and without them: sound, pictures and data.

The format of a frame is `frames`, which shares no code with LiveKit.
"""

import asyncio
import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import product

import frames
import pytest
import sfu  # noqa: F401 - skips what needs LiveKit where it is not installed
from blocks import HEIGHT, WIDTH, showing
from cryptography.exceptions import InvalidTag
from seats import PITCHES, Seat, Stage, all_hear, seats
from tapping import Caught, Keys, Tap, tapping

from mlsrtc import SendKeySwitched
from mlsrtc.adapters.livekit.keyring import NOWHERE
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

COLOURS = ((220, 40, 40), (40, 200, 40), (40, 60, 230))
ON_THE_WAY = 1.0  # seconds from the switch until the last frame under the key before it comes out of the SFU
KINDS = ("audio", "video", "data")
TOPIC = "what it is about"
SPOKEN = b"what nobody else may read, said again and again"
STRANGERS = {"random": os.urandom(32), "zero": bytes(32), "none": b"", "short zero": bytes(16)}


def opened(secret: bytes, caught: Caught) -> bytes | None:
    """What it holds, if this is its key."""
    try:
        if caught.kind == "data":
            return frames.cipher(secret).decrypt(caught.iv, caught.payload, None)
        return frames.decrypt(secret, frame_kind(caught), caught.payload)
    except InvalidTag:
        return None


def frame_kind(caught: Caught) -> str:
    """What `frames` calls it: the lowest bit of VP8's first byte, which is clear, is 0 in a key frame."""
    if caught.kind == "audio":
        return "audio"
    return "delta" if caught.payload[0] & 1 else "key"


def index(caught: Caught) -> int:
    return caught.index if caught.kind == "data" else frames.index(caught.payload)


def nonce(caught: Caught) -> bytes:
    return caught.iv if caught.kind == "data" else caught.payload[-2 - frames.IV : -2]


async def _speaking(stack: AsyncExitStack, seat: Seat, number: int) -> None:
    """It shows a picture and sends data, until the stack is closed."""
    await stack.enter_async_context(showing(seat.media, COLOURS[number]))

    async def speak() -> None:
        while True:
            await seat.call.keyed()
            await seat.media.send_data(SPOKEN, topic=TOPIC)
            await asyncio.sleep(0.2)

    task = asyncio.create_task(speak())
    stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
    stack.callback(task.cancel)


def _identity(seat: Seat) -> str:
    return livekit_identity(seat.call.session.user_id, seat.call.session.device_id)


async def _captured(stage: Stage, seated: Sequence[Seat], device: TestDevice) -> tuple[Tap, dict[str, Keys], float]:
    """Three speak, one goes, the others switch and speak on: what the SFU had of it, the keys of each by identity, and
    when the last of those who stayed had switched."""
    known: dict[str, Keys] = {}
    async with AsyncExitStack() as stack:
        for number, seat in enumerate(seated):
            seat.call.attach(known.setdefault(_identity(seat), Keys()))
            await _speaking(stack, seat, number)
        tap = await stack.enter_async_context(tapping(stage.livekit, stage.room_id))
        async with stage.seat(device, PITCHES[2]) as third, AsyncExitStack() as while_there:
            third.call.attach(known.setdefault(_identity(third), Keys()))
            await _speaking(while_there, third, 2)
            assert await all_hear([*seated, third])
            await asyncio.sleep(1)
            switched = [len(seat.notices(SendKeySwitched)) for seat in seated]
        for seat, before in zip(seated, switched, strict=True):
            await seat.until(lambda seat=seat, before=before: len(seat.notices(SendKeySwitched)) > before)
        since = time.monotonic()
        await asyncio.sleep(2)
    return tap, known, since


@pytest.mark.slow
async def test_what_the_sfu_has_opens_with_the_senders_key_of_the_epoch_and_with_no_other(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice], record_property: Callable[[str, object], None]
) -> None:
    async with seats(synapse, livekit, three, 2) as (stage, seated):
        tap, known, since = await _captured(stage, seated, three[2])
        first, second = (_identity(seat) for seat in seated)
        third = (known.keys() - {first, second}).pop()

    keys = known[first].secrets | known[second].secrets
    for holder in known.values():
        assert all(keys[place] == secret for place, secret in holder.secrets.items()), "all were told the same keys"
    by_server = [one for one in tap.caught if one.kind != "data" and one.payload.endswith(tap.trailer)]
    assert len({(one.kind, one.payload) for one in by_server}) <= 2, "silence and black, always the same"
    sent = [one for one in tap.caught if one not in by_server]
    assert {one.identity for one in sent} == known.keys()
    assert {(one.kind, one.codec) for one in sent} == {
        ("audio", "audio/opus"),
        ("video", "video/VP8"),
        ("data", "encrypted_packet"),
    }

    count: Counter[str] = Counter()
    places: set[tuple[str, int, bytes]] = set()
    for one in sent:
        place = (one.identity, index(one))
        places.add((*place, nonce(one)))
        if place[1] == NOWHERE:
            assert one.kind != "data"
            count["under nobody's key"] += 1
        else:
            plain = opened(keys[place], one)
            assert plain is not None, f"{one.kind} of {place} does not open"
            _clear_part(one, plain)
            count[one.kind] += 1
        others = [secret for held, secret in keys.items() if held != place]
        for secret in (*others, *STRANGERS.values()):
            assert opened(secret, one) is None
            count["tries of other keys"] += 1
    assert len(places) == len(sent), "no nonce came twice under one key"
    assert all(count[kind] > 20 for kind in KINDS)
    ways = {one.payload[0] for one in sent if one.kind == "audio"}
    assert len(ways) <= 4, "the clear byte of sound says how it is coded, not what it sounds like: RFC 6716 section 3.1"

    theirs = known[third].secrets
    before = [one for one in sent if index(one) == NOWHERE or (one.identity, index(one)) in theirs]
    on_their_way = max(one.time for one in before) - since
    assert on_their_way < ON_THE_WAY
    after = [one for one in sent if one not in before]
    assert Counter((one.identity, one.kind) for one in after).keys() == {
        (name, kind) for name in (first, second) for kind in KINDS
    }
    for one, secret in product(after, theirs.values()):
        assert opened(secret, one) is None
        count["tries of who left"] += 1

    count["clear bytes of sound that differ"] = len(ways)
    count["on their way, ms"] = round(1000 * on_their_way)
    count["of the server itself"] = len(by_server)
    count["after the leave"] = len(after)
    count["epochs"] = len({at for _, at in keys})
    count["packets in no frame"] = tap.dropped
    for name, number in count.items():
        record_property(name, number)


def _clear_part(caught: Caught, plain: bytes) -> None:
    """Of sound, the byte that says how it is coded; of a picture, how large it is and how its parts are cut. What
    comes after is not what was sealed."""
    if caught.kind == "data":
        assert len(plain) + 16 == len(caught.payload)
        assert TOPIC.encode() in plain
        assert SPOKEN not in plain, "it has a seal of our own within LiveKit's"
        return
    clear = frames.CLEAR[frame_kind(caught)]
    assert len(caught.payload) == len(plain) + frames.OVERHEAD
    assert caught.payload[:clear] == plain[:clear]
    if len(plain) > clear:  # Opus sends frames with nothing but the clear byte
        assert caught.payload[clear : len(plain)] != plain[clear:]
    if clear == 10:  # RFC 6386 section 9.1
        assert plain[3:6] == b"\x9d\x01\x2a"
        width, height = (int.from_bytes(plain[at : at + 2], "little") & 0x3FFF for at in (6, 8))
        assert (width, height) == (WIDTH, HEIGHT)
