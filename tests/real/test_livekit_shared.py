"""Media in a call in which all send under one passphrase, through a real SFU. LiveKit's native SDK derives."""

import asyncio

import frames
import pytest
import sfu  # noqa: F401 - skips what needs LiveKit where it is not installed
from cryptography.exceptions import InvalidTag
from seats import PITCHES, all_hear, seats
from tapping import tapping

from mlsrtc import SharedKey
from mlsrtc.adapters.livekit import DataReceived, Decryption, DecryptionChanged, MediaError
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

PASSPHRASE = "correct horse battery stäple"


@pytest.mark.parametrize("key", [PASSPHRASE, bytes(range(32))])
async def test_who_has_the_key_hears_all_and_is_heard_whoever_comes_and_goes(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice], key: str | bytes
) -> None:
    options = {"encryption": SharedKey(key)}
    async with seats(synapse, livekit, three, 2, **options) as (room, seated):
        assert await all_hear(seated)
        async with room.seat(three[2], PITCHES[2], **options) as latecomer:
            assert await all_hear([*seated, latecomer])
        assert await all_hear(seated)
        if isinstance(key, str):
            with pytest.raises(MediaError) as caught:
                await seated[0].media.send_data(b"x")
            assert caught.value.reason == "passphrase"
        else:
            await seated[0].media.send_data(b"x", topic="topic")
            await seated[1].until(lambda: bool(seated[1].notices(DataReceived)))
            (told,) = seated[1].notices(DataReceived)
            assert (told.member.user_id, told.data) == (seated[0].user_id, b"x")


async def test_what_the_sfu_has_opens_as_livekit_client_derives_and_not_otherwise(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    key = SharedKey(PASSPHRASE)
    async with (
        seats(synapse, livekit, three[:2], encryption=key) as (room, seated),
        tapping(livekit, room.room_id) as tap,
    ):
        assert await all_hear(seated)
        await asyncio.sleep(1)
    sent = [one for one in tap.caught if not one.payload.endswith(tap.trailer)]
    assert {one.identity for one in sent} == {seat.door.identity for seat in seated}
    opened = 0
    for one in sent:
        try:
            frames.decrypt(frames.by_passphrase(PASSPHRASE), one.kind, one.payload)
        except InvalidTag:
            continue
        assert frames.index(one.payload) == 0
        opened += 1
    assert opened > 20
    assert opened == len(sent), "nothing is sent before the key is there"


async def test_another_passphrase_is_not_heard_and_told_and_keeps_nobody_else_from_being_heard(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2, encryption=SharedKey(PASSPHRASE)) as (room, seated):
        assert await all_hear(seated)
        async with room.seat(three[2], PITCHES[2], encryption=SharedKey("another")) as stranger:
            await seated[0].until(
                lambda: any(
                    told.state is Decryption.FAILED and told.identity == stranger.door.identity
                    for told in seated[0].notices(DecryptionChanged)
                )
            )
            assert not await seated[0].hears(stranger, 5)
            assert not await stranger.hears(seated[0], 5)
            assert await all_hear(seated)


async def test_who_comes_back_with_the_right_passphrase_is_heard(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    """Whatever the SDK makes of frames that do not open under the key of all."""
    async with seats(synapse, livekit, three, 2, encryption=SharedKey(PASSPHRASE)) as (room, seated):
        async with room.seat(three[2], PITCHES[2], encryption=SharedKey("another")) as stranger:
            identity = stranger.door.identity
            await seated[0].until(
                lambda: any(told.identity == identity for told in seated[0].notices(DecryptionChanged))
            )
            assert not await seated[0].hears(stranger, 5)
        async with room.seat(three[2], PITCHES[2], encryption=SharedKey(PASSPHRASE)) as again:
            assert await all_hear([*seated, again])
