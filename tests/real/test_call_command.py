"""`mlsrtc call` as a person runs it: a process of its own, with a password, on a homeserver that announces an SFU."""

import asyncio
import os
import signal
import sys
import time
import wave
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy
import pytest
from rooms import heed_interrupts, make_room

from mlsrtc import MLS, MembersChanged, Policy, Trust
from mlsrtc.adapters.focus.discovery import present_memberships
from mlsrtc.adapters.livekit import LiveKitMedia, TrackReady, tone
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import cross_signed_devices
from mlsrtc.testing.sound import listen, loudest
from mlsrtc.testing.synapse import Account, Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]
PATIENCE = 60.0


class Command:
    """The running command, line by line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []

    async def until(self, words: str) -> None:
        """Reads on until a line has these words."""
        assert self.process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            while line := (await self.process.stdout.readline()).decode():
                self.lines.append(line.rstrip())
                if words in line:
                    return
        assert self.process.stderr is not None
        raise AssertionError(f"no {words!r} in {self.lines}: {(await self.process.stderr.read()).decode()}")

    async def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Ctrl-C or another signal, and its exit status."""
        self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), PATIENCE)


@asynccontextmanager
async def command(*arguments: str, **environment: str) -> AsyncIterator[Command]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mlsrtc", "call", *arguments),
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        preexec_fn=heed_interrupts,
    )
    try:
        yield Command(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@asynccontextmanager
async def silence() -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server that takes connections and says nothing: its URL, and whether somebody has come."""
    asked = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked


async def test_it_hears_and_is_heard_records_and_leaves(
    announcing: tuple[Synapse, TokenService], tmp_path: Path
) -> None:
    synapse, _ = announcing
    bot: Account = await synapse.register("commander")
    arguments = [
        *("--homeserver", synapse.base_url, "--user", bot.user_id, "--store", str(tmp_path / "store")),
        *("--trust", "any_device", "--tone", "700", "--record", str(tmp_path / "heard")),
    ]
    async with cross_signed_devices(synapse, ["listener"]) as [device]:
        room_id = await make_room(synapse, [device])
        async with (
            NioTransport(device.client) as transport,
            transport.call(room_id, encryption=MLS, policy=Policy(trust=Trust.ANY_DEVICE)) as call,
            LiveKitMedia.connect(call) as media,
            command(*arguments, room_id, MLSRTC_PASSWORD=bot.password) as running,
        ):
            await media.publish(tone(400))
            async for notice in call.notices():
                if isinstance(notice, TrackReady):
                    pitch, share = loudest(await listen(notice.track, 1.0))
                    assert (abs(pitch - 700) < 3, share > 0.5) == (True, True)
                    break
            await running.until(f"hears {device.account.user_id}")
            assert any(f"safety code {call.safety_code[:5]}" in line for line in running.lines if call.safety_code)
            await asyncio.sleep(2)
            devices = {f"{member.user_id} {member.device_id}" for member in call.members.values()}
            assert await running.stop() == 0
            await running.until("leaving")
            assert all(bot.password not in line for line in running.lines)
            told = [line for line in running.lines if "in the call: " in line]
            assert {*told[0].removeprefix("2 in the call: ").split(", ")} == devices
            assert len(told) == 1
            assert not any("decrypt" in line for line in running.lines), "what a join brings is no failure"
            async with asyncio.timeout(PATIENCE):
                async for notice in call.notices():
                    if isinstance(notice, MembersChanged) and notice.left:
                        break
            assert [member.user_id for member in call.members.values()] == [device.account.user_id]
    (path,) = (tmp_path / "heard").iterdir()
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getnchannels()) == (48_000, 1)
        heard = numpy.frombuffer(file.readframes(file.getnframes()), dtype=numpy.int16)
    pitch, share = loudest(heard[-48_000:])
    assert (abs(pitch - 400) < 3, share > 0.5) == (True, True)
    assert (tmp_path / "store" / "device.json").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_before_it_is_in_the_call_a_signal_ends_it_at_once(
    number: signal.Signals, status: int, tmp_path: Path
) -> None:
    async with silence() as (url, asked):
        arguments = ["--homeserver", url, "--user", "@ada:here", "--store", str(tmp_path), "!room:here"]
        async with command(*arguments, MLSRTC_PASSWORD="secret") as running:
            await asyncio.wait_for(asked.wait(), PATIENCE)
            began = time.monotonic()
            assert await running.stop(number) == status
            assert time.monotonic() - began < 3
            assert running.process.stderr is not None
            assert await running.process.stderr.read() == b"interrupted\n"


async def test_while_the_token_service_hangs_a_signal_leaves_the_call(synapse: Synapse, tmp_path: Path) -> None:
    bot = await synapse.register("hanger")
    async with cross_signed_devices(synapse, ["waiter"]) as [device], silence() as (url, asked):
        room_id = await make_room(synapse, [device])
        arguments = [
            *("--homeserver", synapse.base_url, "--user", bot.user_id, "--store", str(tmp_path), "--livekit"),
            *("--well-known", url, room_id),
        ]
        async with command(*arguments, MLSRTC_PASSWORD=bot.password) as running:
            await running.until("in the call of")
            await asyncio.wait_for(asked.wait(), PATIENCE)
            began = time.monotonic()
            assert await running.stop() == 0
            assert time.monotonic() - began < 5
            await running.until("leaving")
        memberships = await present_memberships(device.client, room_id, "m.call#ROOM")
        assert memberships == []
