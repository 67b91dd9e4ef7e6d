"""Media whose end is not a smooth one: cancelled, lost, refused, failing. A real SFU, and a call that is made up."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sfu
from meddling import unencrypting
from seats import Door, Ticket

from mlsrtc import Policy
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import LiveKitMedia, MediaConnected, MediaError, TrackWithdrawn, tone
from mlsrtc.adapters.livekit.link import Link
from mlsrtc.adapters.livekit.seal import DataSeal
from mlsrtc.errors import LocalProtocolError
from mlsrtc.media.keys import hashed_livekit_identity, livekit_identity
from mlsrtc.notices import Rejoining
from mlsrtc.testing.livekit import LiveKitServer

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

PATIENCE = 10.0  # seconds
USER, DEVICE = "@ada:one.example", "D"
_numbers = count()

_CANCELLED = """
import asyncio, sys
from types import SimpleNamespace
from livekit import rtc
from mlsrtc import Policy
from mlsrtc.adapters.livekit import link

async def main(url, tokens):
    for pause, token in enumerate(tokens):
        one = link.Link(SimpleNamespace(session=SimpleNamespace(policy=Policy())), None)
        opening = asyncio.create_task(one.open(url, token))
        await asyncio.sleep(0.004 * pause)
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)
        assert opening.cancelled() and not one.room.isconnected()
    await asyncio.sleep(17)
    print("alive")

asyncio.run(main(sys.argv[1], sys.argv[2:]))
"""


@dataclass
class FakeCall:
    """What media need of a call of one, and what they have told through it."""

    sticky: bool = False
    session: Any = field(
        default_factory=lambda: SimpleNamespace(
            user_id=USER, device_id=DEVICE, member_id="first", members={}, policy=Policy()
        )
    )
    members: dict[str, Any] = field(default_factory=dict)
    sinks: list[Any] = field(default_factory=list)
    told: list[Any] = field(default_factory=list)
    marked: list[bool] = field(default_factory=list)  # whether the other one is heard

    def attach(self, sink: Any) -> None:
        self.sinks.append(sink)

    def detach(self, sink: Any) -> None:
        if sink in self.sinks:
            self.sinks.remove(sink)

    def tell(self, notice: Any) -> None:
        self.told.append(notice)

    def mark_heard(self, member_id: Any, *, heard: bool) -> None:
        self.marked.append(heard)

    def rejoin(self, member_id: str) -> None:
        """A new participation, and its notice."""
        self.session.member_id = member_id
        for sink in tuple(self.sinks):
            sink.tell(Rejoining("left_seen"))


@dataclass
class Place:
    """A room of the SFU, and somebody who sees what is published there."""

    server: LiveKitServer
    name: str
    spy: sfu.rtc.Room

    def door(self) -> Door:
        return Door(self.server.url, self.server, self.name, livekit_identity(USER, DEVICE))

    def tracks(self) -> list[str]:
        """The names of all that is published, in order."""
        there = self.spy.remote_participants.values()
        return sorted(one.name for who in there for one in who.track_publications.values())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.02)


@asynccontextmanager
async def place(server: LiveKitServer) -> AsyncIterator[Place]:
    name = f"ends-{next(_numbers)}"
    await server.create_room(name)
    spy = sfu.rtc.Room()
    await spy.connect(server.url, server.token(name, "spy"), sfu.rtc.RoomOptions(auto_subscribe=False))
    try:
        yield Place(server, name, spy)
    finally:
        await spy.disconnect()


def connect(call: FakeCall, door: Any) -> LiveKitMedia:
    return LiveKitMedia.connect(cast(Call, call), focus=door)


@pytest.mark.slow
async def test_the_process_outlives_connections_that_are_cancelled_half_way(livekit: LiveKitServer) -> None:
    """The SDK ends the process 15 s after a connection that nobody has finished."""
    async with place(livekit) as there:
        tokens = [livekit.token(there.name, f"one-{number}") for number in range(12)]
        arguments = [sys.executable, "-c", _CANCELLED, livekit.url, *tokens]
        run = await asyncio.to_thread(subprocess.run, arguments, capture_output=True, text=True, check=False)
        assert (run.returncode, run.stdout) == (0, "alive\n"), run.stderr
        assert not there.spy.remote_participants


async def test_who_is_cancelled_while_it_connects_leaves_nothing_behind(livekit: LiveKitServer) -> None:
    async with place(livekit) as there:
        for pause in range(8):
            call = FakeCall()
            entering = asyncio.create_task(connect(call, there.door()).__aenter__())
            await asyncio.sleep(0.005 * pause)
            entering.cancel()
            await asyncio.gather(entering, return_exceptions=True)
            assert entering.cancelled()
            assert call.sinks == []
        await until(lambda: not there.spy.remote_participants)


async def test_a_block_that_ends_while_a_lost_connection_is_made_again_leaves_nothing_behind(
    livekit: LiveKitServer,
) -> None:
    async with place(livekit) as there:
        for pause in range(8):
            call = FakeCall()
            async with connect(call, there.door()) as media:
                await media.room.disconnect()
                await asyncio.sleep(0.005 * pause)
            assert call.sinks == []
        await until(lambda: not there.spy.remote_participants)


async def test_a_track_that_a_new_connection_refuses_keeps_no_other_down(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Link.publish

    async def refuse_one(link: Link, track: Any, options: Any) -> Any:
        if track is refused:
            raise MediaError("not_encrypted", "as if the server had said so")
        return await publish(link, track, options)

    call = FakeCall()
    async with place(livekit) as there, connect(call, there.door()) as media:
        refused = (await media.publish(tone(400), name="refused")).track
        await media.publish(tone(900), name="good")
        await until(lambda: there.tracks() == ["good", "refused"])
        monkeypatch.setattr(Link, "publish", refuse_one)
        await media.room.disconnect()
        await until(lambda: MediaConnected() in call.told)
        await until(lambda: there.tracks() == ["good"])
        detail = "not_encrypted: as if the server had said so"
        assert [one for one in call.told if isinstance(one, TrackWithdrawn)] == [
            TrackWithdrawn(refused, "not_encrypted", detail)
        ]
        call.told.clear()
        monkeypatch.setattr(Link, "publish", publish)
        await media.room.disconnect()
        await until(lambda: MediaConnected() in call.told)
        assert {one.name for one in media.room.local_participant.track_publications.values()} == {"good"}


async def test_a_server_that_calls_a_track_unencrypted_on_a_new_connection_keeps_nothing_down(
    livekit: LiveKitServer,
) -> None:
    call = FakeCall()
    async with place(livekit) as there, unencrypting(livekit.url) as between:
        door = there.door()
        async with connect(call, door) as media:
            await media.publish(tone(400))
            door.url = between
            await media.room.disconnect()
            await until(lambda: MediaConnected() in call.told)
            assert [one.reason for one in call.told if isinstance(one, TrackWithdrawn)] == ["not_encrypted"]
            assert not media.room.local_participant.track_publications
            assert len([sink for sink in call.sinks if isinstance(sink, Link)]) == 1
        await until(lambda: not there.spy.remote_participants)
    assert call.sinks == []


async def test_what_goes_wrong_in_a_new_connection_is_logged_and_tried_again(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.PAUSE", 0.05)
    publish = Link.publish
    tries = count()

    async def fail_once(link: Link, track: Any, options: Any) -> Any:
        if next(tries) == 0:
            raise OSError("not foreseen")
        return await publish(link, track, options)

    call = FakeCall()
    caplog.set_level("INFO", "mlsrtc")
    async with place(livekit) as there, connect(call, there.door()) as media:
        await media.publish(tone(400))
        monkeypatch.setattr(Link, "publish", fail_once)
        await media.room.disconnect()
        await until(lambda: MediaConnected() in call.told)
        assert len([sink for sink in call.sinks if isinstance(sink, Link)]) == 1, "the failed one is gone"
        await until(lambda: there.tracks() == ["audio"])
        assert "not foreseen" in caplog.text


@dataclass
class Tape:
    """Sound without end, or until it fails, that counts what is taken of it."""

    fails_at: int | None = None
    taken: int = 0
    closed: bool = False

    async def play(self) -> AsyncIterator[sfu.rtc.AudioFrame]:
        try:
            async for frame in tone(400):
                if self.taken == self.fails_at:
                    raise OSError("the tape is torn")
                self.taken += 1
                yield frame
        finally:
            self.closed = True


async def test_what_is_flushed_is_not_played_and_the_rest_is(livekit: LiveKitServer) -> None:
    call, tape = FakeCall(), Tape()
    async with place(livekit) as there, connect(call, there.door()) as media:
        playing = await media.publish(tape.play())
        source = playing._feed.source
        for _ in range(5):
            taken = tape.taken
            await until(lambda taken=taken: tape.taken > taken + 10 and source.queued_duration > 0.05)  # type: ignore[misc]
            playing.flush()
            assert source.queued_duration == 0
        await playing.stop()
        assert tape.closed


async def test_a_track_that_is_withdrawn_is_fed_no_more(livekit: LiveKitServer) -> None:
    call, tape, short = FakeCall(), Tape(), Tape()
    async with place(livekit) as there, connect(call, there.door()) as media:
        playing = await media.publish(tape.play())
        await until(lambda: tape.taken > 10)
        await media.unpublish(playing.track)
        await asyncio.wait_for(playing.ended(), PATIENCE)
        taken = tape.taken
        assert tape.closed
        await (await media.publish(short.play())).stop()
        assert short.closed, "also before it was ever fed"
        await asyncio.sleep(0.3)
        assert (tape.taken, short.taken) == (taken, 1)
        await media.unpublish(playing.track)
        await playing.stop()
        await until(lambda: not there.tracks())


async def test_a_block_that_ends_closes_what_feeds_its_tracks(livekit: LiveKitServer) -> None:
    call, tape, short = FakeCall(), Tape(), Tape()
    async with place(livekit) as there:
        async with connect(call, there.door()) as media:
            await media.publish(tape.play())
            await until(lambda: tape.taken > 10)
            await media.publish(short.play())
        assert tape.closed
        assert short.closed


async def test_what_cannot_be_published_is_closed(livekit: LiveKitServer) -> None:
    call, tape = FakeCall(), Tape()
    async with place(livekit) as there, unencrypting(livekit.url) as between:
        door = there.door()
        door.url = between
        async with connect(call, door) as media:
            with pytest.raises(MediaError, match="not_encrypted"):
                await media.publish(tape.play())
            assert tape.closed


async def test_a_track_whose_source_fails_is_withdrawn(
    livekit: LiveKitServer, caplog: pytest.LogCaptureFixture
) -> None:
    call, tape = FakeCall(), Tape(fails_at=10)
    async with place(livekit) as there, connect(call, there.door()) as media:
        playing = await media.publish(tape.play())
        with pytest.raises(OSError, match="torn"):
            await asyncio.wait_for(playing.ended(), PATIENCE)
        await until(lambda: tape.closed and not media.room.local_participant.track_publications)
        await until(lambda: not there.tracks())
        assert "the tape is torn" in caplog.text
        assert TrackWithdrawn(playing.track, "source", "the tape is torn") in call.told


async def test_a_track_that_ends_is_withdrawn_and_told_when_it_was_played(livekit: LiveKitServer) -> None:
    call = FakeCall()
    async with place(livekit) as there, connect(call, there.door()) as media:
        playing = await media.publish(tone(400, seconds=0.5))
        began = asyncio.get_running_loop().time()
        await asyncio.wait_for(playing.ended(), PATIENCE)
        assert asyncio.get_running_loop().time() - began > 0.4
        await playing.stop()  # while it is withdrawn
        await until(lambda: not media.room.local_participant.track_publications)
        assert not [one for one in call.told if isinstance(one, TrackWithdrawn)]
        playing.flush()
        await playing.stop()
        await media.publish(tone(400), name="next")
        await until(lambda: there.tracks() == ["next"])


@pytest.mark.parametrize("late", [False, True])
async def test_a_track_that_is_withdrawn_while_tracks_are_published_anew_stays_so(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    """late: just when it has been published itself."""
    publish = Link.publish
    withdrawing: list[asyncio.Task[None]] = []

    async def withdraw_first(link: Link, track: Any, options: Any) -> Any:
        if not withdrawing and not late:
            withdrawing.append(asyncio.create_task(media.unpublish(withdrawn)))
            await withdrawing[0]
        publication = await publish(link, track, options)
        if track is withdrawn and late:
            withdrawing.append(asyncio.create_task(media.unpublish(withdrawn)))
        return publication

    call = FakeCall()
    async with place(livekit) as there, connect(call, there.door()) as media:
        await media.publish(tone(400), name="one")
        withdrawn = (await media.publish(tone(900), name="two")).track
        await media.publish(tone(900), name="three")
        monkeypatch.setattr(Link, "publish", withdraw_first)
        await media.room.disconnect()
        await until(lambda: MediaConnected() in call.told)
        await asyncio.gather(*withdrawing)
        there_are = media.room.local_participant.track_publications
        await until(lambda: {one.name for one in there_are.values()} == {"one", "three"})
        await until(lambda: there.tracks() == ["one", "three"])
        assert not [one for one in call.told if isinstance(one, TrackWithdrawn)]


@dataclass
class SlowDoor:
    """Who lets us in under the name of our participation (Matrix 2.0), and takes time."""

    there: Place
    call: FakeCall
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    slow: bool = False

    def identity(self) -> str:
        return hashed_livekit_identity(USER, DEVICE, self.call.session.member_id)

    async def grant(self) -> Ticket:
        identity = self.identity()
        self.asked.set()
        if self.slow:
            await asyncio.sleep(0.2)
        return Ticket(self.there.server.url, self.there.server.token(self.there.name, identity))


async def test_who_rejoins_while_it_connects_is_there_under_its_new_name(livekit: LiveKitServer) -> None:
    call = FakeCall(sticky=True)
    async with place(livekit) as there:
        door = SlowDoor(there, call, slow=True)
        entering = asyncio.create_task(connect(call, door).__aenter__())
        await door.asked.wait()
        call.rejoin("second")
        media = await entering
        try:
            assert media.room.local_participant.identity == door.identity()
            await media.publish(tone(400))
            door.asked.clear()
            await media.room.disconnect()
            await door.asked.wait()
            call.rejoin("third")
            await until(lambda: MediaConnected() in call.told)
            assert media.room.local_participant.identity == door.identity()
            door.slow = False
            call.told.clear()
            call.rejoin("fourth")
            await until(lambda: MediaConnected() in call.told)
            assert media.room.local_participant.identity == door.identity()
            await until(lambda: there.tracks() == ["audio"])
        finally:
            await media.__aexit__(None, None, None)


async def test_who_rejoins_while_its_tracks_are_published_anew_loses_none(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.PAUSE", 0.05)
    publish = Link.publish
    call = FakeCall(sticky=True)

    async def rejoin_at_first(link: Link, track: Any, options: Any) -> Any:
        if call.session.member_id == "first":
            call.rejoin("second")
            await asyncio.sleep(0)
        return await publish(link, track, options)

    async with place(livekit) as there:
        door = SlowDoor(there, call)
        async with connect(call, door) as media:
            await media.publish(tone(400))
            monkeypatch.setattr(Link, "publish", rejoin_at_first)
            await media.room.disconnect()
            await until(lambda: MediaConnected() in call.told)
            await until(lambda: media.room.local_participant.identity == door.identity())
            await until(lambda: there.tracks() == ["audio"])
            assert not [one for one in call.told if isinstance(one, TrackWithdrawn)]


async def test_who_publishes_while_the_connection_ends_does_not_wait_for_ever(livekit: LiveKitServer) -> None:
    """The SDK itself does, in some of these."""
    async with place(livekit) as there:
        for pause in range(6):
            one = Link(cast(Call, FakeCall()), DataSeal(cast(Any, FakeCall().session)))
            await one.open(livekit.url, livekit.token(there.name, "one"))
            track = sfu.rtc.LocalAudioTrack.create_audio_track("audio", sfu.rtc.AudioSource(48000, 1))
            publishing = asyncio.create_task(one.publish(track, sfu.rtc.TrackPublishOptions()))
            await asyncio.sleep(0.005 * pause)
            await one.close()
            await asyncio.wait([publishing], timeout=2)
            assert publishing.done()
            assert publishing.exception() is None or isinstance(publishing.exception(), MediaError)


async def test_who_sends_data_while_the_connection_ends_does_not_wait_for_ever(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*arguments: Any, **options: Any) -> None:
        await asyncio.Event().wait()

    call = FakeCall()
    async with place(livekit) as there:
        one = Link(cast(Any, call), DataSeal(call.session))
        await one.open(livekit.url, livekit.token(there.name, "one"))
        monkeypatch.setattr(Link, "may_send", True)
        monkeypatch.setattr(DataSeal, "seal", lambda seal, data, topic, reliable: data)
        monkeypatch.setattr(sfu.rtc.LocalParticipant, "publish_data", never)
        sending = asyncio.create_task(one.send_data(b"x", topic="", reliable=True))
        await asyncio.sleep(0.05)
        await one.close()
        with pytest.raises(MediaError, match="not_connected"):
            await asyncio.wait_for(sending, 5)


@dataclass
class GuestDoor(Door):
    """It lets us receive, and no more."""

    async def grant(self) -> Any:
        ticket = await super().grant()
        ticket.token = self.server.token(self.room, self.identity, publish=False)
        return ticket


async def test_who_may_only_receive_is_told_so_at_once(livekit: LiveKitServer) -> None:
    """The SDK itself waits for ten seconds, and names another reason."""
    call, tape = FakeCall(), Tape()
    async with place(livekit) as there:
        door = GuestDoor(livekit.url, livekit, there.name, livekit_identity(USER, DEVICE))
        async with connect(call, door) as media, asyncio.timeout(5):
            with pytest.raises(MediaError, match="not_permitted") as caught:
                await media.publish(tape.play())
            assert caught.value.reason == "not_permitted"
            assert tape.closed


async def test_a_track_is_published_once(livekit: LiveKitServer) -> None:
    call = FakeCall()
    async with place(livekit) as there, connect(call, there.door()) as media, asyncio.timeout(PATIENCE):
        track = sfu.rtc.LocalAudioTrack.create_audio_track("audio", sfu.rtc.AudioSource(48000, 1))
        await media.publish_track(track)
        with pytest.raises(LocalProtocolError, match="the track audio is published"):
            await media.publish_track(track)
        await until(lambda: there.tracks() == ["audio"])  # LiveKit issue 854: earlier, it may not be taken again
        await media.unpublish(track)
        await until(lambda: not there.tracks())
        await media.publish_track(track)
        await until(lambda: there.tracks() == ["audio"])
