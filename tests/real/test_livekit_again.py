"""Tracks that are fed while they are published anew, by the SDK or by us, on a server that then calls them unencrypted.

What it has of them is caught by a tap, and opened with the sender's key.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, cast

import frames
import pytest
import sfu
from cryptography.exceptions import InvalidTag
from meddling import Between, between
from picture import showing
from seats import Door
from sound import playing
from tapping import Caught, Tap, tapping
from test_livekit_ends import DEVICE, USER, FakeCall, until

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import LiveKitMedia, MediaConnected, MediaLost, TrackWithdrawn, tone
from mlsrtc.adapters.livekit.link import Link
from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey, livekit_identity
from mlsrtc.mls import Secret
from mlsrtc.notices import MediaKeysChanged, SendKeySwitched
from mlsrtc.testing.livekit import LiveKitServer

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

IDENTITY = livekit_identity(UserId(USER), DeviceId(DEVICE))
KINDS = {"audio", "video"}
INDEX = KeyIndex(7)
ENOUGH = 20  # frames of each kind
COLOUR = (220, 40, 40)
_numbers = count()


@dataclass
class Place:
    """A participant that publishes sound and pictures, who has the server for it, and what that has of it."""

    call: FakeCall
    media: LiveKitMedia
    door: Door
    meddler: Between
    tap: Tap
    secret: bytes

    def caught(self, but: frozenset[str] = frozenset()) -> list[Caught]:
        """All frames, but not those of these tracks, nor what the server itself has made."""
        return [one for one in self.tap.caught if one.sid not in but and not one.payload.endswith(self.tap.trailer)]

    async def some(self, but: frozenset[str] = frozenset()) -> list[Caught]:
        """The same, as soon as there are enough of each kind."""

        def enough() -> bool:
            kinds = [one.kind for one in self.caught(but)]
            return all(kinds.count(kind) >= ENOUGH for kind in KINDS)

        await until(enough)
        return self.caught(but)

    def in_clear(self, caught: list[Caught]) -> list[Caught]:
        """Those that neither our key opens nor the random one of index 0 may have sealed."""
        return [one for one in caught if not self._opens(one) and one.payload[-2:] != bytes([frames.IV, 0])]

    def under_the_key(self, caught: list[Caught]) -> list[Caught]:
        return [one for one in caught if self._opens(one)]

    def refused(self) -> list[str]:
        return [one.reason for one in self.call.told if isinstance(one, TrackWithdrawn)]

    def _opens(self, one: Caught) -> bool:
        if one.payload[-2:] != bytes([frames.IV, INDEX]):
            return False
        kind = "audio" if one.kind == "audio" else ("delta" if one.payload[0] & 1 else "key")
        try:
            return bool(frames.decrypt(self.secret, kind, one.payload))
        except InvalidTag:
            return False


@asynccontextmanager
async def publishing(livekit: LiveKitServer) -> AsyncIterator[Place]:
    room, call, secret = f"again-{next(_numbers)}", FakeCall(), os.urandom(32)
    await livekit.create_room(room)
    async with AsyncExitStack() as stack:
        meddler = await stack.enter_async_context(between(livekit.url))
        tap = await stack.enter_async_context(tapping(livekit, room))
        door = Door(meddler.url, livekit, room, IDENTITY)
        media = await stack.enter_async_context(LiveKitMedia.connect(cast(Call, call), focus=door))
        give_key(call, secret)
        await media.publish(tone(400))
        await stack.enter_async_context(showing(media, COLOUR))
        place = Place(call, media, door, meddler, tap, secret)
        assert place.in_clear(await place.some()) == []
        yield place


def give_key(call: FakeCall, secret: bytes) -> None:
    """The publisher's, as a call tells it: to the publisher or to another."""
    epoch = EpochId(bytes(32))
    key = MediaKey(MemberId("first"), UserId(USER), DeviceId(DEVICE), LeafIndex(0), INDEX, Secret(secret))
    for sink in tuple(call.sinks):
        if isinstance(sink, Link):
            sink.tell(MediaKeysChanged(epoch, 1, (key,)))
            if call.session.user_id == USER:
                sink.tell(SendKeySwitched(epoch, 1, INDEX))


def sids(media: LiveKitMedia) -> frozenset[str]:
    return frozenset(media.room.local_participant.track_publications)


async def test_what_the_sdk_publishes_anew_is_encrypted_and_moves_to_the_key(livekit: LiveKitServer) -> None:
    async with publishing(livekit) as place:
        before = sids(place.media)
        await place.meddler.send_again()
        await until(lambda: MediaConnected() in place.call.told)
        caught = await place.some(before)
        assert place.in_clear(caught) == []
        assert {one.kind for one in place.under_the_key(caught)} == KINDS
        assert place.refused() == []
        assert [one for one in place.call.told if isinstance(one, MediaLost)] == [MediaLost("reconnecting", True)]


async def test_what_the_sdk_publishes_anew_is_encrypted_whatever_the_server_says_and_however_late_we_look(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publishing(livekit) as place:
        before = sids(place.media)
        monkeypatch.setattr(Link, "_flaw", lambda link, publication, identity: None)
        place.meddler.plain = True
        await place.meddler.send_again()
        await until(lambda: MediaConnected() in place.call.told)
        caught = await place.some(before)
        assert place.in_clear(caught) == []


async def test_what_we_publish_anew_is_encrypted_whatever_the_server_says_and_however_late_we_look(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with publishing(livekit) as place:
        before = sids(place.media)
        monkeypatch.setattr(Link, "_flaw", lambda link, publication, identity: None)
        place.meddler.plain = True
        await place.media.room.disconnect()
        await until(lambda: MediaConnected() in place.call.told)
        caught = await place.some(before)
        assert place.in_clear(caught) == []


async def test_a_server_that_calls_unencrypted_what_the_sdk_publishes_anew_is_told_and_has_it_no_more(
    livekit: LiveKitServer,
) -> None:
    async with publishing(livekit) as place:
        place.meddler.plain = True
        await place.meddler.send_again()
        await until(lambda: MediaConnected() in place.call.told and place.refused() == ["not_encrypted"] * 2)
        await until(lambda: place.media.room.isconnected() and not sids(place.media))
        assert place.in_clear(place.caught()) == []


async def test_nothing_is_withdrawn_nor_ended_while_the_sdk_publishes_anew(
    livekit: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    async with publishing(livekit) as place:
        room = place.media.room
        for event in ("reconnecting", "reconnected"):
            room.on(event, partial(order.append, event))
        for owner, name in ((room.local_participant, "unpublish_track"), (room, "disconnect")):
            monkeypatch.setattr(owner, name, noted(getattr(owner, name), order))
        (track, *_) = (one.track for one in room.local_participant.track_publications.values())
        await place.meddler.send_again()
        await until(lambda: order == ["reconnecting"])
        assert track is not None
        await place.media.unpublish(track)
        assert order == ["reconnecting", "reconnected", "unpublish_track"]
        await place.meddler.send_again()
        await until(lambda: order[3:] == ["reconnecting"])
    assert order[4:] == ["reconnected", "disconnect"]


def noted(method: Callable[..., Any], order: list[str]) -> Callable[..., Any]:
    """The same method, that is put down when it is called."""

    def call(*arguments: Any) -> Any:
        order.append(method.__name__)
        return method(*arguments)

    return call


async def test_the_sdk_by_itself_sends_in_clear_what_it_publishes_anew_and_undoes_a_mute(
    livekit: LiveKitServer,
) -> None:
    """The trap, without us between: it tells of the new publication afterwards, and whoever mutes the track as soon as
    the connection is lost has done so in vain. A version of the SDK that mends one of the two fails here."""
    room, keys = f"again-{next(_numbers)}", {IDENTITY: os.urandom(32)}
    await livekit.create_room(room)
    async with AsyncExitStack() as stack:
        meddler = await stack.enter_async_context(between(livekit.url))
        tap = await stack.enter_async_context(tapping(livekit, room))
        token = livekit.token(room, IDENTITY)
        alone = await stack.enter_async_context(sfu.participant(meddler.url, token, keys, INDEX))
        publication = await stack.enter_async_context(playing(alone.local_participant, 400))
        track, before, again = publication.track, publication.sid, asyncio.Event()
        alone.on("reconnecting", track.mute)
        alone.on("reconnected", again.set)
        meddler.plain = True
        await meddler.send_again()
        await asyncio.wait_for(again.wait(), 10)
        assert track.muted
        await until_loud(track)
        track.unmute()  # or else the server hands nothing on

        def clear() -> list[Caught]:
            ends = [bytes([frames.IV, 0]), bytes([frames.IV, INDEX])]
            return [one for one in tap.caught if one.sid != before and one.payload[-2:] not in ends]

        await until(lambda: len([one for one in clear() if not one.payload.endswith(tap.trailer)]) >= ENOUGH)


async def until_loud(track: sfu.rtc.LocalAudioTrack) -> None:
    """Waits until the sender gets sound from the source: a muted one gives it silence."""
    async with asyncio.timeout(5):
        while True:
            stats = [one.media_source.audio for one in await track.get_stats() if one.HasField("media_source")]
            if any(one.audio_level > 0.1 for one in stats):
                return
            await asyncio.sleep(0.1)
