"""What the SDK says of how frames decrypt, and of which track it does not say it."""

import asyncio
import os
from contextlib import AsyncExitStack
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest
import sfu
from livekit.rtc._proto import e2ee_pb2, room_pb2
from picture import frames, showing
from seats import Door
from test_livekit_again import IDENTITY, INDEX, give_key
from test_livekit_ends import DEVICE, USER, FakeCall, until

from mlsrtc import Policy
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit import Decryption, DecryptionChanged, LiveKitMedia, TrackReady, tone
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

PITCH = 400.0
OTHER = 8  # the index that her pictures move to
_numbers = count()


async def test_the_sdk_has_no_word_for_the_track_of_a_state_nor_for_the_state_of_a_track() -> None:
    """The trap behind `DecryptionChanged`. A version of the SDK that has one fails here."""
    assert set(room_pb2.E2eeStateChanged.DESCRIPTOR.fields_by_name) == {"participant_identity", "state"}
    cryptor = set(e2ee_pb2.FrameCryptor.DESCRIPTOR.fields_by_name)
    assert cryptor == {"participant_identity", "track_sid", "key_index", "enabled"}


def told(call: FakeCall) -> list[Decryption]:
    return [one.state for one in call.told if isinstance(one, DecryptionChanged) and one.identity == IDENTITY]


def tracks(call: FakeCall) -> dict[Any, Any]:
    """By kind."""
    return {one.track.kind: one.track for one in call.told if isinstance(one, TrackReady)}


async def decodes(track: sfu.rtc.RemoteVideoTrack) -> bool:
    """Whether pictures come within two seconds, beside one or two that were on their way."""
    try:
        await asyncio.wait_for(frames(track, 5), 2)
    except TimeoutError:
        return False
    return True


async def test_sound_and_pictures_share_the_state_that_was_told_last_and_what_failed_is_tried_again(
    livekit: LiveKitServer,
) -> None:
    """Her pictures are under a key that he does not have. Then her sound fails too, and is mended."""
    room, secret = f"states-{next(_numbers)}", os.urandom(32)
    await livekit.create_room(room)
    ada = FakeCall()
    ben = FakeCall(
        session=SimpleNamespace(
            user_id="@ben:one.example", device_id="E", member_id="second", members={}, policy=Policy()
        ),
        members={"first": SimpleNamespace(user_id=USER, device_id=DEVICE, member_id="first")},
    )
    async with AsyncExitStack() as stack:
        media = []
        for call, identity in ((ada, IDENTITY), (ben, "@ben:one.example:E")):
            door = Door(livekit.url, livekit, room, identity)
            media.append(await stack.enter_async_context(LiveKitMedia.connect(cast(Call, call), focus=door)))
            give_key(call, secret)
        hers, his = (one.room.e2ee_manager for one in media)
        for manager in (hers, his):
            assert manager.key_provider is not None
            manager.key_provider.set_key(IDENTITY, os.urandom(32), OTHER)

        await media[0].publish(tone(PITCH))
        await stack.enter_async_context(showing(media[0], (220, 40, 40)))
        await until(lambda: len(tracks(ben)) == 2 and told(ben) == [Decryption.OK])
        sound, picture = (tracks(ben)[kind] for kind in (sfu.rtc.TrackKind.KIND_AUDIO, sfu.rtc.TrackKind.KIND_VIDEO))
        cryptors = {one.track_sid: one for one in hers.frame_cryptors()}
        assert await decodes(picture)

        cryptors[picture.sid].set_key_index(OTHER)
        await until(lambda: told(ben) == [Decryption.OK, Decryption.FAILED])
        assert not await decodes(picture)
        async with Ear(sound, PITCH) as ear:
            await ear.until(lambda: len(ear.windows) > 50 and all(ear.windows[-20:]))
            assert told(ben)[-1] is Decryption.FAILED, "of her, though she is heard"

            cryptors[sound.sid].set_key_index(OTHER)
            await ear.until(lambda: len(ear.windows) > 100 and not any(ear.windows[-50:]))
            cryptors[sound.sid].set_key_index(INDEX)
            # What has failed the SDK tries no more before a key is set: the one that he has is set anew.
            await until(lambda: told(ben) == [Decryption.OK, Decryption.FAILED, Decryption.OK])
        assert not await decodes(picture), "though she is said to be well"
