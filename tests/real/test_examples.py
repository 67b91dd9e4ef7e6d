"""The bots of examples/, each as its user runs it: a process of its own, on a homeserver that announces an SFU. And
the program of docs/how-to/livekit.md."""

import asyncio
import os
import signal
import sys
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy
import pages
import pytest
import pytest_asyncio
from rooms import announce, enter, heed_interrupts, make_room

from mlsrtc import MLS, MembersChanged, Policy, Trust
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import LiveKitMedia, RemoteTrack, TrackReady, tone
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import cross_signed_devices
from mlsrtc.testing.sound import Ear, listen, loudest
from mlsrtc.testing.synapse import Account, Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]
EXAMPLES = Path(__file__).parents[2] / "examples"
PATIENCE = 60.0
_numbers = count()


@dataclass
class Room:
    """A room with a call, and the one in it who is not the bot."""

    synapse: Synapse
    room_id: str
    account: Account
    call: Call
    media: LiveKitMedia

    async def track(self) -> RemoteTrack:
        """The bot's track, as soon as it is there."""
        async with asyncio.timeout(PATIENCE):
            async for notice in self.call.notices():
                if isinstance(notice, TrackReady):
                    return notice.track
        raise AssertionError("the call is over")

    async def device_key(self, user_id: str, device_id: str) -> str:
        """What the homeserver has as a device's Ed25519 key."""
        path, body = "/_matrix/client/v3/keys/query", {"device_keys": {user_id: [device_id]}}
        answer = await self.synapse.demand("POST", path, token=self.account.access_token, body=body)
        key: str = answer["device_keys"][user_id][device_id]["keys"][f"ed25519:{device_id}"]
        return key

    async def empty(self) -> None:
        """Waits until the bot has left."""
        async with asyncio.timeout(PATIENCE):
            async for notice in self.call.notices():
                if isinstance(notice, MembersChanged) and notice.left:
                    break
        assert [member.user_id for member in self.call.members.values()] == [self.account.user_id]


@pytest_asyncio.fixture(loop_scope="session")
async def room(announcing: tuple[Synapse, TokenService]) -> AsyncIterator[Room]:
    synapse, _ = announcing
    async with cross_signed_devices(synapse, [f"singer{next(_numbers)}"]) as [device]:
        room_id = await make_room(synapse, [device])
        async with (
            NioTransport(device.client) as transport,
            # A bot's new device is signed by nobody.
            transport.call(room_id, encryption=MLS, policy=Policy(trust=Trust.ANY_DEVICE)) as call,
            LiveKitMedia.connect(call) as media,
        ):
            yield Room(synapse, room_id, device.account, call, media)


@asynccontextmanager
async def running(
    room: Room, bot: Account, name: str, *arguments: str, end: signal.Signals = signal.SIGINT
) -> AsyncIterator[asyncio.subprocess.Process]:
    """The bot in the call. It leaves by a signal at the end, and says nothing of its password."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *(str(EXAMPLES / name), room.synapse.base_url, bot.user_id, room.room_id, *arguments),
        env=os.environ | {"MLSRTC_PASSWORD": bot.password},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    assert process.stdout is not None
    try:
        begun = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        if begun != b"in the call\n":
            raise AssertionError((await process.communicate())[1].decode())
        yield process
        process.send_signal(end)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 0, err.decode()
        assert b"Traceback" not in err
        assert bot.password.encode() not in out + err
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def pitch_of(file: Path) -> float:
    """Of the tone that the last second of a recording is."""
    with wave.open(str(file)) as recording:
        assert (recording.getframerate(), recording.getnchannels()) == (48_000, 1)
        samples = numpy.frombuffer(recording.readframes(recording.getnframes()), dtype=numpy.int16)
    pitch, share = loudest(samples[-48_000:])
    assert share > 0.5
    return pitch


async def test_the_recorder_writes_what_each_member_says_and_is_the_same_device_the_next_time(
    room: Room, tmp_path: Path
) -> None:
    bot = await room.synapse.register("recorder")
    arguments = [str(tmp_path / "heard"), "--store", str(tmp_path / "store")]
    devices = set()
    for hertz, end in ((400, signal.SIGINT), (700, signal.SIGTERM)):
        playing = await room.media.publish(tone(hertz))
        async with running(room, bot, "recorder.py", *arguments, end=end) as process:
            assert process.stdout is not None
            told = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
            assert told.decode() == f"records {room.account.user_id}\n"
            await asyncio.sleep(3)
            devices.add(await room.device_key(bot.user_id, "RECORDER"))
        await room.empty()
        await playing.stop()
    files = sorted((tmp_path / "heard").iterdir(), key=lambda file: file.stat().st_mtime)
    assert len(devices) == 1
    plain = room.account.user_id.replace("@", "_").replace(":", "_")
    assert [file.name.startswith(plain) for file in files] == [True, True]
    assert [round(pitch_of(file), -1) for file in files] == [400, 700]


async def test_the_echo_is_heard_a_second_later_at_the_same_pitch(room: Room, tmp_path: Path) -> None:
    bot = await room.synapse.register("echo")
    async with running(room, bot, "echo.py", "--store", str(tmp_path / "store"), end=signal.SIGTERM):
        echo = await room.track()
        async with Ear(echo, 700.0) as ear:
            await ear.until(lambda: len(ear.windows) > 100)
            assert not any(ear.windows), "nobody has said anything"
            said = time.monotonic()
            await room.media.publish(tone(700))
            await ear.until(lambda: ear.hears)
            assert 0.9 < time.monotonic() - said < 4
            pitch, share = loudest(await listen(echo, 1.0))
        assert (abs(pitch - 700) < 3, share > 0.5) == (True, True)
    await room.empty()


@pytest.mark.parametrize(
    ("fault", "line"),
    [
        ("no password", "set MLSRTC_PASSWORD"),
        ("no such password", "the homeserver refuses: LoginError: M_FORBIDDEN"),
        ("no service", "service_unavailable: https://gone.invalid/sfu/get: "),
    ],
)
async def test_what_is_missing_is_said_in_a_line(
    fault: str, line: str, announcing: tuple[Synapse, TokenService], tmp_path: Path
) -> None:
    synapse, _ = announcing

    async def said(name: str) -> None:
        bot = await synapse.register(f"bot{next(_numbers)}")
        password = {"no such password": "of somebody else", "no service": bot.password}.get(fault)
        arguments = [str(tmp_path / "heard")] if name == "recorder.py" else []
        environment = {key: value for key, value in os.environ.items() if key != "MLSRTC_PASSWORD"}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, str(EXAMPLES / name), synapse.base_url, bot.user_id, room_id, *arguments),
            *("--store", str(tmp_path / name)),
            env=environment | ({} if password is None else {"MLSRTC_PASSWORD": password}),
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await asyncio.wait_for(process.communicate(), PATIENCE)
        assert process.returncode == 1, err.decode()
        assert err.decode().splitlines()[-1].startswith(line)
        assert b"Traceback" not in err

    async with cross_signed_devices(synapse, [f"host{next(_numbers)}"]) as [device]:
        room_id = await make_room(synapse, [device])
        if fault == "no service":
            await announce(synapse, device, room_id, "https://gone.invalid")
        await asyncio.gather(said("recorder.py"), said("echo.py"))


async def test_the_program_of_the_how_to_is_heard_and_records(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ((_, code),) = pages.blocks("how-to/livekit.md", title="bot.py")
    program: dict[str, Any] = {}
    exec(code, program)
    await room.media.publish(tone(700))
    async with cross_signed_devices(room.synapse, [f"reader{next(_numbers)}"]) as [device]:
        await enter(room.synapse, device, room.room_id)
        taking_part = asyncio.create_task(program["take_part"](device.client, room.room_id))
        try:
            async with Ear(await room.track(), 440.0) as ear:
                await ear.until(lambda: ear.hears)
            await asyncio.sleep(3)
        finally:
            taking_part.cancel()
            await asyncio.gather(taking_part, return_exceptions=True)
    assert round(pitch_of(tmp_path / "heard-1.wav"), -1) == 700
