"""What docs/how-to shows, done: its programs on a real Synapse, and what it shows of media on a real SFU."""

import asyncio
import re
import wave
from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path
from typing import Any

import pages
import pytest
from rooms import make_room

from mlsrtc import MLS
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.synapse import Synapse

pytest.importorskip("livekit.api", reason="the extra `test` installs it")

from picture import pictures
from seats import seats

from mlsrtc.adapters.livekit import DataReceived, TrackEnded, tone
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]
PATIENCE = 30.0  # seconds
_numbers = count()


class Said:
    """What was printed so far."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys
        self.text = ""

    async def until(self, holds: Callable[[str], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not holds(self.text):
                await asyncio.sleep(0.05)
                self.text += self._capsys.readouterr().out


@pytest.mark.parametrize(
    ("page", "words"), [("call.md", "send under index"), ("sframe.md", "SendKeySwitched(")], ids=["call", "sframe"]
)
async def test_a_program_of_a_page_takes_part(
    page: str, words: str, synapse: Synapse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    ((_, code),) = pages.blocks(f"how-to/{page}", title="bot.py")
    program: dict[str, Any] = {}
    exec(code, program)
    names = [f"{name}{next(_numbers)}" for name in ("host", "reader")]
    async with cross_signed_devices(synapse, names) as [host, reader]:
        room_id = await make_room(synapse, [host, reader])
        async with NioTransport(host.client) as transport, transport.call(room_id, encryption=MLS) as call:
            taking_part = asyncio.create_task(program["take_part"](reader.client, room_id))
            try:
                await Said(capsys).until(lambda said: words in said)
                assert {member.user_id for member in call.members.values()} == {
                    host.account.user_id,
                    reader.account.user_id,
                }
            finally:
                taking_part.cancel()
                await asyncio.gather(taking_part, return_exceptions=True)


def _write(path: Path) -> None:
    """Half a second that is no silence."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 48_000, 0, "NONE", ""))
        file.writeframes(24_000 * b"\1\1")


async def _moving() -> AsyncIterator[Any]:
    made = pictures((0, 80, 200))
    for number in count():
        yield made[number % len(made)]
        await asyncio.sleep(1 / len(made))


@pytest.mark.media
async def test_what_is_shown_of_media_does_it(
    synapse: Synapse,
    livekit: LiveKitServer,
    three: list[TestDevice],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    """But for the programs that find their server by themselves, which the examples do."""
    monkeypatch.chdir(tmp_path)
    _write(tmp_path / "hello.wav")
    shown: dict[str, Any] = {"__name__": "media"}
    for code in pages.compiled("how-to/livekit.md"):
        exec(code, shown)
    shown["microphone"] = lambda: tone(700)
    said = Said(capsys)
    async with (
        seats(synapse, livekit, three, 1) as (room, (one,)),
        room.seat(three[1], 0) as other,
        asyncio.timeout(2 * PATIENCE),
    ):
        sound = await other.track(one)
        # Earlier, a packet finds no key.
        await one.until(lambda: other.member_id in one.call.members and one.call.members[other.member_id].keyed)
        running = [
            asyncio.create_task(job)
            for job in (
                shown["who_is_there"](other.call),
                shown["chat"](other.call, other.media),
                shown["loudness"](sound),
                shown["show"](one.media, _moving()),
            )
        ]
        running.append(asyncio.create_task(shown["watch"](await other.picture(one))))
        try:
            await one.until(lambda: [told.data for told in one.notices(DataReceived)] == [b"hello"])
            await one.media.send_data(b"and you", topic="chat")
            await said.until(lambda text: f"{one.user_id} and you\n" in text)
            await said.until(lambda text: re.search(r"^\d+ \d+$", text, re.MULTILINE) is not None)
            await said.until(lambda text: any(line.isdigit() and int(line) > 5_000 for line in text.splitlines()))
            await shown["answer"](other.media, asyncio.Event())
            interrupted = asyncio.Event()
            answering = asyncio.create_task(shown["answer"](other.media, interrupted))
            async with Ear(await one.track(other), 440.0) as ear:
                await ear.until(lambda: ear.hears)
                interrupted.set()
                await answering
            before = len(one.notices(TrackEnded))
            await shown["speak"](other.media)
            await one.until(lambda: len(one.notices(TrackEnded)) >= before + 2)
            assert not other.media.room.local_participant.track_publications
            assert not any(job.done() for job in running)
        finally:
            for job in running:
                job.cancel()
            await asyncio.gather(*running, return_exceptions=True)
