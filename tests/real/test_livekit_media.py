"""Calls with media: devices on a real Synapse and a real SFU, whose keys are those of the call and of nobody else."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import sfu
from meddling import unencrypting
from seats import PATIENCE, PITCHES, all_hear, seats

from mlsrtc import PER_MEMBER, EpochChanged, MediaKeysChanged, Policy, SendKeySwitched
from mlsrtc.adapters.livekit import (
    Decryption,
    DecryptionChanged,
    MediaConnected,
    MediaError,
    MediaLost,
    MediaRefused,
    MuteChanged,
    TrackReady,
    tone,
)
from mlsrtc.identifiers import EpochId
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.hoarder import hoarding
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.sound import Ear
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]


async def test_who_joins_late_hears_all_and_is_heard(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2) as (room, seated):
        assert await all_hear(seated)
        async with room.seat(three[2], PITCHES[2]) as latecomer:
            assert await all_hear([*seated, latecomer])


async def test_who_ratchets_on_a_join_is_heard_on_by_who_does_too(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    policy = Policy(ratchet_on_join=True, join_throttle=2.0)
    async with seats(synapse, livekit, three, 2, encryption=PER_MEMBER, policy=policy) as (room, (one, other)):
        assert await all_hear([one, other])
        (before,) = other.notices(SendKeySwitched)
        await asyncio.sleep(policy.join_throttle)
        async with room.seat(three[2], PITCHES[2], encryption=PER_MEMBER, policy=policy) as joiner:
            assert await all_hear([one, other, joiner])
            assert [told.index for told in other.notices(SendKeySwitched)] == [before.index] * 2


async def test_ten_epochs_in_a_row_are_heard_through(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three[:2], policy=Policy(rekey_interval=1.5)) as (_, (one, other)):
        assert await all_hear([one, other])
        async with await one.ear(other) as ear:
            before = len(other.notices(SendKeySwitched))
            await other.until(lambda: len(other.notices(SendKeySwitched)) >= before + 10, 3 * PATIENCE)
        assert sum(ear.windows) > 0.98 * len(ear.windows)


async def test_who_leaves_and_keeps_its_keys_hears_nothing_more_and_hears_again_when_it_is_back(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2) as (room, seated), AsyncExitStack() as stack:
        async with room.seat(three[2], PITCHES[2]) as leaving:
            hoarder = await stack.enter_async_context(hoarding(livekit, room.room_id, leaving.call))
            assert await all_hear([*seated, leaving])
            ears = []
            for one in seated:
                track = hoarder.track(leaving.call.members[one.member_id])
                assert track is not None
                ears.append(await stack.enter_async_context(Ear(track, one.pitch)))
            between = await stack.enter_async_context(await seated[0].ear(seated[1]))
            await asyncio.sleep(1)
            assert all(ear.hears for ear in ears), "it hears as long as it is in the call"
        for ear in ears:
            await ear.until(lambda ear=ear: not any(ear.windows[-100:]))  # type: ignore[misc]
        assert all(between.windows[-100:])
        async with room.seat(three[2], PITCHES[2]) as back:
            assert await all_hear([*seated, back])


async def test_a_fork_is_heard_when_it_has_healed(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    policy = Policy(rekey_interval=2.5)
    async with seats(synapse, livekit, three, policy=policy) as (_, (one, other, apart)):
        assert await all_hear([one, other, apart])
        apart.transport.withheld = True
        stood = {EpochId(told.id) for seat in (one, other) for told in seat.notices(EpochChanged)}

        def alone() -> bool:
            return apart.call.session.epoch_id not in stood | {one.call.session.epoch_id, other.call.session.epoch_id}

        await apart.until(alone)
        silence = await one.ear(apart)
        async with silence:
            await silence.until(lambda: len(silence.windows) > 200 and not any(silence.windows[-100:]))
            assert await all_hear([one, other])
            apart.transport.let_through()
            await silence.until(lambda: all(silence.windows[-50:]))
        await apart.until(lambda: apart.call.session.epoch_id == one.call.session.epoch_id)
        assert await all_hear([one, other, apart])


async def test_a_wrong_key_is_told_and_the_right_one_heals(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three[:2]) as (_, (one, other)):
        assert await all_hear([one, other])
        provider = one.media.room.e2ee_manager.key_provider
        assert provider is not None
        (key,) = (key for key in one.notices(MediaKeysChanged)[-1].keys if key.user_id == other.user_id)

        def fares() -> Decryption:
            return [told.state for told in one.notices(DecryptionChanged) if told.identity == key.livekit_identity][-1]

        provider.set_key(key.livekit_identity, os.urandom(32), key.index)
        await one.until(lambda: fares() is Decryption.FAILED)
        provider.set_key(key.livekit_identity, key.secret.expose(), key.index)
        await one.until(lambda: fares() is Decryption.OK)
        assert await one.hears(other)


async def test_who_is_muted_is_told(synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]) -> None:
    async with seats(synapse, livekit, three, 1) as (room, (one,)), room.seat(three[1], 0) as other:
        track = (await other.media.publish(tone(PITCHES[1]))).track
        heard = await one.track(other)

        def told() -> list[bool]:
            return [told.muted for told in one.notices(MuteChanged) if told.track is heard]

        track.mute()
        await one.until(lambda: told() == [True])
        async with room.seat(three[2], 0) as third:
            await third.until(lambda: [told.muted for told in third.notices(MuteChanged)] == [True])
        track.unmute()
        await one.until(lambda: told() == [True, False])


async def test_who_sends_without_encryption_is_not_played(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    """The server, or somebody it lets in, under a member's name."""
    async with seats(synapse, livekit, three, 2) as (room, (one, other)):
        await one.track(other)
        name = livekit_identity(other.call.session.user_id, other.call.session.device_id)
        impostor = sfu.rtc.Room()
        await impostor.connect(livekit.url, livekit.token(room.room_id, name))
        try:
            track = sfu.rtc.LocalAudioTrack.create_audio_track("plain", sfu.rtc.AudioSource(48000, 1))
            await impostor.local_participant.publish_track(track)
            await one.until(lambda: bool(one.notices(MediaRefused)))
        finally:
            await impostor.disconnect()
        assert {(told.identity, told.reason) for told in one.notices(MediaRefused)} == {(name, "not_encrypted")}
        assert len(one.notices(TrackReady)) == 1


async def test_a_track_that_the_server_calls_unencrypted_is_not_fed(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    """The others may be told of it until it is withdrawn: to them, the server calls it encrypted."""
    taken: list[sfu.rtc.AudioFrame] = []

    async def counted() -> AsyncIterator[sfu.rtc.AudioFrame]:
        async for frame in tone(PITCHES[2]):
            taken.append(frame)
            yield frame

    async with seats(synapse, livekit, three, 2) as (room, seated), unencrypting(livekit.url) as between:
        assert await all_hear(seated)
        room.url = between
        async with room.seat(three[2], 0) as third:
            with pytest.raises(MediaError, match="not_encrypted"):
                await third.media.publish(counted())
            await third.until(lambda: len(third.notices(MediaRefused)) == 2)
            assert third.notices(TrackReady) == [], "nor is anything played that it calls so"
            assert not third.media.room.local_participant.track_publications
            assert len(taken) == 1, "the one that says at which rate it would be"


async def test_tracks_that_the_sdk_publishes_anew_are_encrypted_under_the_epoch(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2) as (_, (one, other)):
        assert await all_hear([one, other])
        for seat in (one, other):
            seat.tracks.clear()
        await other.media.room.simulate_scenario(sfu.rtc.SimulateScenarioKind.SIMULATE_FULL_RECONNECT)
        assert await all_hear([one, other])
        assert one.notices(MediaRefused) == other.notices(MediaRefused) == []


@pytest.mark.slow
async def test_a_server_that_goes_is_told_and_the_next_one_is_taken(synapse: Synapse, three: list[TestDevice]) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(LiveKitServer(sfu.server()))
        room, seated = await stack.enter_async_context(seats(synapse, first, three, 2))
        assert await all_hear(seated)
        async with LiveKitServer(sfu.server()) as second:
            await second.create_room(room.room_id)
            for seat in seated:
                seat.door.move_to(second)
                seat.tracks.clear()
            await first.__aexit__(None, None, None)
            for seat in seated:
                # The SDK tries the old one ten times first.
                await seat.until(lambda seat=seat: bool(seat.notices(MediaConnected)), 60)  # type: ignore[misc]
                assert [told.retried for told in seat.notices(MediaLost)] == [True, True]
            assert await all_hear(seated)
