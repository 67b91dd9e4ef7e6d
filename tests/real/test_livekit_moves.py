"""Media whose call moves to another server, or whose server keeps us out. Real SFUs, and a call that is made up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
import sfu
from seats import Door
from test_livekit_ends import DEVICE, USER, FakeCall, Tape, connect, place, until

from mlsrtc.adapters.focus import FocusError
from mlsrtc.adapters.livekit import (
    DecryptionChanged,
    MediaConnected,
    MediaLost,
    MediaMoved,
    MediaNotMoved,
    tone,
)
from mlsrtc.adapters.livekit.link import Link
from mlsrtc.errors import MlsrtcError
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.livekit import LiveKitServer

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def elsewhere() -> AsyncIterator[LiveKitServer]:
    async with LiveKitServer(sfu.server()) as server:
        yield server


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.PAUSE", 0.05)
    monkeypatch.setattr("mlsrtc.adapters.livekit.media.MOVE_PAUSE", 0.05)


def told(call: FakeCall) -> list[Any]:
    """What became of our connection."""
    return [one for one in call.told if not isinstance(one, DecryptionChanged)]


@dataclass
class Guide(Door):
    """A door that tells where the call is, and may be shut."""

    away: asyncio.Event = field(default_factory=asyncio.Event)
    arrivals: int = 0
    shut: MlsrtcError | None = None

    @classmethod
    def into(cls, server: LiveKitServer, room: str) -> "Guide":
        return cls(server.url, server, room, livekit_identity(UserId(USER), DeviceId(DEVICE)))

    def move_to(self, server: LiveKitServer) -> None:
        super().move_to(server)
        self.away.set()

    async def grant(self) -> Any:
        if self.shut is not None:
            raise self.shut
        return await super().grant()

    async def foresee(self) -> None:
        raise NotImplementedError("these media join no call")

    def arrived(self) -> None:
        self.arrivals += 1
        self.away.clear()

    async def moved(self) -> None:
        await self.away.wait()


async def test_where_the_call_meets_at_another_server_we_move_with_all_that_we_publish(
    livekit: LiveKitServer, elsewhere: LiveKitServer
) -> None:
    call, tape = FakeCall(), Tape()
    async with place(livekit) as here:
        await elsewhere.create_room(here.name)
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            await media.publish(tape.play(), name="tape")
            await until(lambda: here.tracks() == ["tape"])
            before = media.room
            door.move_to(elsewhere)
            await until(lambda: MediaMoved(elsewhere.url) in call.told)
            assert told(call) == [MediaMoved(elsewhere.url)]
            assert [one.name for one in media.room.local_participant.track_publications.values()] == ["tape"]
            assert not before.isconnected()
            assert len([sink for sink in call.sinks if isinstance(sink, Link)]) == 1
            await until(lambda: not here.spy.remote_participants)
            taken = tape.taken
            await until(lambda: tape.taken > taken + 10)
            assert not tape.closed
            assert door.arrivals == 2
    assert call.sinks == []


async def test_two_services_of_one_server_do_not_part_us_from_it(livekit: LiveKitServer) -> None:
    """The server sends the former connection away: it has our name. That is not the end."""
    call = FakeCall()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            await media.publish(tone(400))
            for _ in range(2):
                call.told.clear()
                door.move_to(livekit)
                await until(lambda: MediaMoved(livekit.url) in call.told)
                await until(lambda: here.tracks() == ["audio"])
                await asyncio.sleep(0.5)
                assert told(call) == [MediaMoved(livekit.url)]
                assert media.room.isconnected()


async def test_while_we_do_not_get_there_we_stay_where_we_are(livekit: LiveKitServer, elsewhere: LiveKitServer) -> None:
    call, tape = FakeCall(), Tape()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            await media.publish(tape.play(), name="tape")
            door.move_to(elsewhere)  # there is no such room yet
            await until(lambda: MediaNotMoved("connect") in call.told)
            taken = tape.taken
            await until(lambda: tape.taken > taken + 10)
            assert here.tracks() == ["tape"]
            await elsewhere.create_room(here.name)
            await until(lambda: MediaMoved(elsewhere.url) in call.told)
            assert told(call) == [MediaNotMoved("connect"), MediaMoved(elsewhere.url)]


async def test_a_connection_that_is_lost_while_we_cannot_move_is_made_again(
    livekit: LiveKitServer, elsewhere: LiveKitServer
) -> None:
    call = FakeCall()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            await media.publish(tone(400))
            door.shut = FocusError("token_refused")
            door.away.set()
            await until(lambda: MediaNotMoved("token_refused") in call.told)
            await media.room.disconnect()
            await until(lambda: any(isinstance(one, MediaLost) and one.retried for one in call.told))
            door.shut = None
            await until(lambda: MediaConnected() in call.told)
            await until(lambda: here.tracks() == ["audio"])


async def test_who_publishes_while_we_move_is_published_where_we_are_then(
    livekit: LiveKitServer, elsewhere: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Link.publish
    held: list[str] = []

    async def hold_first(link: Link, track: Any, options: Any) -> Any:
        """The first publication waits until its connection is over."""
        if not held:
            held.append(link.url)
            door.move_to(elsewhere)
            await link.over.wait()
        return await publish(link, track, options)

    call = FakeCall()
    async with place(livekit) as here:
        await elsewhere.create_room(here.name)
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            monkeypatch.setattr(Link, "publish", hold_first)
            await media.publish(tone(400), name="late")
            assert held == [livekit.url]
            await until(lambda: MediaMoved(elsewhere.url) in call.told)
            assert [one.name for one in media.room.local_participant.track_publications.values()] == ["late"]


async def test_a_block_that_ends_while_we_move_leaves_nothing_behind(
    livekit: LiveKitServer, elsewhere: LiveKitServer
) -> None:
    async with place(livekit) as here:
        await elsewhere.create_room(here.name)
        spy = sfu.rtc.Room()
        await spy.connect(elsewhere.url, elsewhere.token(here.name, "spy"))
        for pause in range(6):
            call, door = FakeCall(), Guide.into(livekit, here.name)
            async with connect(call, door) as media:
                await media.publish(tone(400))
                door.move_to(elsewhere)
                await asyncio.sleep(0.02 * pause)
            assert call.sinks == []
        await until(lambda: not here.spy.remote_participants and not spy.remote_participants)
        await spy.disconnect()


async def test_why_a_connection_does_not_come_back_is_told_and_warned_of(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.NEWS_SECONDS", 0.0)
    call = FakeCall()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            door.shut = FocusError("token_refused", "not you")
            await media.room.disconnect()
            await until(lambda: MediaLost("token_refused", retried=True) in call.told)
            door.shut = FocusError("service_unavailable")
            await until(lambda: MediaLost("service_unavailable", retried=True) in call.told)
            door.shut = None
            await until(lambda: MediaConnected() in call.told)
        assert len(told(call)) == 4
    warned = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warned[0].getMessage().startswith("media cannot be connected: token_refused: not you; again in ")


async def test_a_service_that_asks_for_time_has_it(livekit: LiveKitServer) -> None:
    call = FakeCall()
    async with place(livekit) as here:
        door = Guide.into(livekit, here.name)
        async with connect(call, door) as media:
            door.shut = FocusError("service_unavailable", retry_after=1.5)
            await media.room.disconnect()
            await until(lambda: bool(told(call)))
            door.shut = None
            begun = asyncio.get_running_loop().time()
            await until(lambda: MediaConnected() in call.told)
            assert asyncio.get_running_loop().time() - begun > 1.2
