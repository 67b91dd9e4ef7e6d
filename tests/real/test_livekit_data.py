"""Data packets in a call with media: told as a member's are only those that the member has sealed."""

import asyncio
import os
from collections.abc import Callable

import pytest
import sfu
from seats import Seat, all_hear, seats
from tapping import tapping

from mlsrtc import PER_MEMBER, Policy, SendKeySwitched
from mlsrtc.adapters.livekit import DataReceived, DataRefused, MediaError
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]

INDEX = 7
LAST = b"the last one"
PATIENCE = 10.0  # seconds


async def test_the_sdk_hands_on_what_is_in_clear_like_what_it_has_decrypted(livekit: LiveKitServer) -> None:
    """Why packets have a seal of our own. Whoever finds this failing: the SDK has learned to tell them apart."""
    await livekit.create_room("in clear")
    keys = {"ada": os.urandom(32), "ben": os.urandom(32)}
    told: list[tuple[bytes, str | None]] = []
    wrong = keys | {"ben": os.urandom(32)}

    async def publish(room: sfu.rtc.Room, data: bytes, came: Callable[[], bool]) -> None:
        """Until it has come: who has just joined may miss the first ones."""
        async with asyncio.timeout(PATIENCE):
            while not came():
                await room.local_participant.publish_data(data)
                await asyncio.sleep(0.2)

    def heard(data: bytes) -> bool:
        return any(one == data for one, _ in told)

    token = livekit.token("in clear", "ada")
    async with tapping(livekit, "in clear") as tap, sfu.participant(livekit.url, token, keys, INDEX) as ada:
        ada.on("data_received", lambda data: told.append((data.data, data.participant and data.participant.identity)))
        async with sfu.participant(livekit.url, livekit.token("in clear", "ben"), keys, INDEX) as ben:
            await publish(ben, b"encrypted", lambda: heard(b"encrypted") and bool(tap.caught))
        before = len(tap.caught)
        async with sfu.participant(livekit.url, livekit.token("in clear", "ben"), wrong, INDEX) as ben:
            await publish(ben, b"under another key", lambda: len(tap.caught) >= before + 3)
        plain = sfu.rtc.Room()
        await plain.connect(livekit.url, livekit.token("in clear", "ben"))
        try:
            await publish(plain, b"in clear", lambda: heard(b"in clear") and tap.caught[-1].codec == "user")
        finally:
            await plain.disconnect()
    # Of what it has decrypted the SDK mostly gives no sender: nothing can rest on it.
    assert {(data, sender) for data, sender in told if sender is not None} >= {(b"in clear", "ben")}
    assert {data for data, _ in told} == {b"encrypted", b"in clear"}
    assert {(one.identity, one.codec, b"in clear" in one.payload) for one in tap.caught} == {
        ("ben", "encrypted_packet", False),
        ("ben", "user", True),
    }


async def test_the_sdk_hands_on_a_stream_that_is_in_clear(livekit: LiveKitServer) -> None:
    """Why the adapter has none."""
    await livekit.create_room("stream in clear")
    said: set[str] = set()
    keys = {"ada": os.urandom(32), "ben": os.urandom(32)}
    reading: list[asyncio.Task[None]] = []

    async def read(stream: sfu.rtc.TextStreamReader) -> None:
        said.add(await stream.read_all())

    token = livekit.token("stream in clear", "ada")
    async with sfu.participant(livekit.url, token, keys, INDEX) as ada:
        ada.register_text_stream_handler("topic", lambda stream, who: reading.append(asyncio.create_task(read(stream))))
        plain = sfu.rtc.Room()
        await plain.connect(livekit.url, livekit.token("stream in clear", "ben"))
        try:
            async with asyncio.timeout(PATIENCE):
                while not said:
                    await plain.local_participant.send_text("in clear", topic="topic")
                    await asyncio.sleep(0.2)
        finally:
            await plain.disconnect()
    assert said == {"in clear"}


def _got(seat: Seat) -> list[tuple[str, bytes, str]]:
    return [(told.member.user_id, told.data, told.topic) for told in seat.notices(DataReceived)]


@pytest.mark.slow
async def test_packets_are_told_with_who_sent_them_through_switches_of_the_epoch(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    policy = Policy(rekey_interval=1.5)
    async with seats(synapse, livekit, three, policy=policy) as (_, seated):
        assert await all_hear(seated)
        one, others = seated[0], seated[1:]
        sent = []
        before = len(one.notices(SendKeySwitched))
        while len(one.notices(SendKeySwitched)) < before + 3:
            await one.call.keyed()
            sent.append((one.user_id, os.urandom(len(sent)), f"topic {len(sent)}"))
            await one.media.send_data(sent[-1][1], topic=sent[-1][2])
            await asyncio.sleep(0.1)
        for other in others:
            await other.until(lambda other=other: len(_got(other)) == len(sent))  # type: ignore[misc]
            assert _got(other) == sent
            assert other.notices(DataRefused) == []
        assert _got(one) == []
        assert len(sent) > 20


async def test_where_keys_are_handed_out_packets_are_told_with_who_sent_them_too(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2, encryption=PER_MEMBER) as (_, (one, other)):
        assert await all_hear([one, other])
        for number in range(3):
            await one.media.send_data(b"%d" % number, topic="topic")
            await other.media.send_data(b"%d" % number, topic="topic", reliable=False)
        expected = [(one.user_id, b"%d" % number, "topic") for number in range(3)]
        await other.until(lambda: _got(other) == expected)
        await one.until(lambda: bool(_got(one)))
        assert {who for who, _, _ in _got(one)} == {other.user_id}
        assert one.notices(DataRefused) == other.notices(DataRefused) == []


async def test_a_packet_of_60_000_bytes_comes_and_one_of_64_000_is_refused(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    async with seats(synapse, livekit, three, 2) as (_, (one, other)):
        await asyncio.gather(one.call.keyed(PATIENCE), other.call.keyed(PATIENCE), one.track(other), other.track(one))
        data = os.urandom(60_000)
        await one.media.send_data(data)
        await other.until(lambda: _got(other) == [(one.user_id, data, "")])
        with pytest.raises(MediaError, match="publish"):
            await one.media.send_data(bytes(64_000))


async def test_a_packet_in_clear_and_a_repeated_one_are_refused_in_a_members_name(
    synapse: Synapse, livekit: LiveKitServer, three: list[TestDevice]
) -> None:
    """By the server, or somebody it lets in. The repeated one has been known to somebody who had the key."""
    async with seats(synapse, livekit, three, 2) as (room, (one, other)):
        assert await all_hear([one, other])
        sealed: list[bytes] = []
        last = asyncio.Event()

        def came(packet: sfu.rtc.DataPacket) -> None:
            sealed.append(packet.data)
            if packet.data == LAST:
                last.set()

        one.media.room.on("data_received", came)
        await other.media.send_data(b"said", topic="topic")
        await one.until(lambda: len(_got(one)) == 1)
        name = livekit_identity(other.call.session.user_id, other.call.session.device_id)
        impostor = sfu.rtc.Room()
        await impostor.connect(livekit.url, livekit.token(room.room_id, name))
        try:
            for data in (b"said", b"", b"said", sealed[0], sealed[0]):
                await impostor.local_participant.publish_data(data, topic="topic")
            await impostor.local_participant.publish_data(sealed[0], topic="another")
            await impostor.local_participant.publish_data(LAST, topic="topic")
            await asyncio.wait_for(last.wait(), PATIENCE)
            await one.until(lambda: len(one.notices(DataRefused)) == 2)
        finally:
            await impostor.disconnect()
        assert one.notices(DataRefused) == [
            DataRefused(name, "not_sealed"),
            DataRefused(name, "replayed"),
        ]
        assert _got(one) == [(other.user_id, b"said", "topic")]
