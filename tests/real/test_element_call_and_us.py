"""Element Call and we in one call, we by the public API alone: what each shows of the other, through new keys of both.

MLSRTC_SCREENSHOT=element-call.png draws what Element Call shows of us.
"""

import asyncio
import os
import signal
import sys
import wave
from itertools import count
from pathlib import Path

import numpy
import pytest
from element_call import until
from rooms import heed_interrupts, make_room
from taking_part import LOUD, MORE, PATIENCE, POLICY, pages, taking_part

from mlsrtc import AUTO, MLS, PER_MEMBER, SharedKey
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import cross_signed_devices
from mlsrtc.testing.synapse import Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

EXAMPLE = Path(__file__).parents[2] / "examples" / "element_call.py"

_numbers = count()


async def test_we_see_and_hear_each_other_through_new_keys_of_both_and_after_we_come_back(
    announcing: tuple[Synapse, TokenService],
) -> None:
    synapse, _ = announcing
    async with (
        cross_signed_devices(synapse, [f"cem{next(_numbers)}"]) as [cem],
        pages(synapse, "ada", "ben") as [ada, ben],
    ):
        room_id = await make_room(synapse, [cem, ada, ben], encrypted=True)
        async with taking_part(cem, room_id, PER_MEMBER) as us:
            await ada.enter(synapse.base_url, room_id)
            await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))
            if path := os.environ.get("MLSRTC_SCREENSHOT"):
                await ada.screenshot(Path(path))
            await ben.enter(synapse.base_url, room_id)
            await asyncio.gather(us.is_seen_and_heard(ben), us.sees_and_hears(ben))
            known = (await us.is_seen_and_heard(ada)).keys
            await ben.leave()
            both = us.identity, ada.identity
            await until(ada, lambda now: all(now.keys[one][-1] != known[one][-1] for one in both))
            await asyncio.gather(us.is_seen_and_heard(ada, MORE), us.sees_and_hears(ada, MORE))
        await until(ada, lambda now: not now.others)
        async with taking_part(cem, room_id, AUTO) as us:
            assert us.call.session.encryption is PER_MEMBER, "nobody there has MLS"
            await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))


async def test_who_came_first_and_sends_no_media_ends_no_page(announcing: tuple[Synapse, TokenService]) -> None:
    """Element Call takes the first transport of the oldest membership as it is, and dies of one that is not there."""
    synapse, _ = announcing
    names = [f"{name}{next(_numbers)}" for name in ("cem", "dan")]
    async with cross_signed_devices(synapse, names) as [cem, dan], pages(synapse, "ada") as [ada]:
        room_id = await make_room(synapse, [dan, cem, ada], encrypted=True)
        async with (
            NioTransport(dan.client) as transport,
            transport.call(room_id, encryption=MLS, policy=POLICY) as listening,
            taking_part(cem, room_id, MLS) as us,
        ):
            await ada.enter(synapse.base_url, room_id)
            await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))
            assert not [text for level, text in ada.said if level == "error" and "TypeError" in text]
            await until(
                ada, lambda now: {member.user_id for member in now.members} >= {dan.account.user_id, us.user_id}
            )
            assert listening.session.member_id is not None


@pytest.mark.parametrize("encrypted", [False, True])
async def test_with_the_password_of_a_link_we_see_and_hear_each_other(
    announcing: tuple[Synapse, TokenService], encrypted: bool
) -> None:
    """Frames of ours, by LiveKit's native SDK, open in livekit-client's worker, and the other way round."""
    synapse, _ = announcing
    async with cross_signed_devices(synapse, [f"cem{next(_numbers)}"]) as [cem], pages(synapse, "ada") as [ada]:
        room_id = await make_room(synapse, [cem, ada], encrypted=encrypted)
        password = "cGFzc3dvcmRfb2ZfYV9saW5r"
        async with taking_part(cem, room_id, SharedKey(password)) as us:
            await ada.enter(synapse.base_url, room_id, password)
            shown, _ = await asyncio.gather(us.is_seen_and_heard(ada), us.sees_and_hears(ada))
            assert us.identity not in shown.keys, "we have handed it none"


async def test_the_bot_of_the_examples_is_heard_and_records(
    announcing: tuple[Synapse, TokenService], tmp_path: Path
) -> None:
    synapse, _ = announcing
    async with pages(synapse, "ada") as [ada]:
        room_id = await make_room(synapse, [ada], encrypted=True)
        bot = await synapse.register(f"guest{next(_numbers)}")
        await ada.enter(synapse.base_url, room_id)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLE), synapse.base_url, bot.user_id, room_id, str(tmp_path)),
            *("--trust", "any_device"),
            env=os.environ | {"MLSRTC_PASSWORD": bot.password},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=heed_interrupts,
        )
        assert process.stdout is not None
        try:
            told = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert told.decode() == f"records {ada.account.user_id}\n"
            await until(ada, lambda now: sum(track.energy for track in now.media.values()) > 0.05)
            process.send_signal(signal.SIGINT)
            out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert (process.returncode, out) == (0, b""), err.decode()
        assert b"Traceback" not in err
        assert loudness_in(tmp_path) > LOUD


def loudness_in(directory: Path) -> int:
    """The greatest sample of the one recording that is there."""
    (file,) = directory.glob("*.wav")
    with wave.open(str(file)) as recording:
        samples = numpy.frombuffer(recording.readframes(recording.getnframes()), dtype=numpy.int16)
    return int(numpy.abs(samples.astype(int)).max())
