"""Whole calls of three devices on a real Synapse, through `transport.call`: the application's door."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nio
import pytest
from rooms import MEMBER, STICKY, make_room, say

from mlsrtc import MLS, CallOver, CannotSend, EpochChanged, Left, MediaKeysChanged, Policy
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.sqlite import SqliteStore
from mlsrtc.adapters.store import Store
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire import names
from mlsrtc.wire.membership import MembershipFormat

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="session")]
PATIENCE = 30.0


@dataclass
class Heard:
    """One device in the call and what it was told: fingerprints of the keys by epoch."""

    call: Call
    transport: NioTransport
    keys: dict[bytes, dict[str, bytes]] = field(default_factory=dict)
    codes: dict[bytes, str] = field(default_factory=dict)
    ended: str | None = None
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self) -> None:
        async for notice in self.call.notices():
            match notice:
                case MediaKeysChanged(id=epoch, keys=keys):
                    self.keys[epoch] = {key.member_id: hashlib.sha256(key.secret.expose()).digest() for key in keys}
                case EpochChanged(id=epoch, safety_code=code):
                    self.codes[epoch] = code
                case Left(reason=reason):
                    self.ended = reason
                    self.over.set()
                case _:
                    pass


@asynccontextmanager
async def calling(
    room_id: str, *devices: TestDevice, store: Store | None = None, **options: Any
) -> AsyncIterator[list[Heard]]:
    """Every device in the call of the room, in the order given."""
    async with AsyncExitStack() as stack:
        heard = []
        for device in devices:
            transport = await stack.enter_async_context(NioTransport(device.client))
            call = await stack.enter_async_context(transport.call(room_id, store=store, encryption=MLS, **options))
            one = Heard(call, transport)
            task = asyncio.create_task(one.listen())
            stack.push_async_callback(asyncio.gather, task, return_exceptions=True)
            stack.callback(task.cancel)
            heard.append(one)
        yield heard


async def agreed(heard: list[Heard], members: int) -> bytes:
    """Waits until all stand on one epoch of so many members and hold its keys; the epoch's id."""
    async with asyncio.timeout(PATIENCE):
        while True:
            stands = {one.call.session.epoch_id for one in heard}
            (stand, *others) = stands
            if not others and stand is not None and all(len(one.keys.get(stand, ())) == members for one in heard):
                break
            await asyncio.sleep(0.02)
    assert len({tuple(sorted(one.keys[stand].items())) for one in heard}) == 1
    assert len({one.codes[stand] for one in heard}) == 1
    return stand


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("membership", [MembershipFormat.STATE, MembershipFormat.STICKY])
async def test_three_devices_agree_and_a_leaver_is_locked_out(
    synapse: Synapse, three: list[TestDevice], encrypted: bool, membership: MembershipFormat
) -> None:
    room_id = await make_room(synapse, three, encrypted=encrypted)
    async with calling(room_id, *three, membership=membership) as heard:
        first = await agreed(heard, 3)
        leaver, *stayers = heard
        await leaver.call.leave()
        second = await agreed(stayers, 2)
        assert second not in leaver.keys
        assert first in leaver.keys
        assert leaver.ended == "left"


async def test_a_call_goes_on_after_a_limited_sync(synapse: Synapse, three: list[TestDevice]) -> None:
    """A sync gap of many events is filled before the head is asked (docs/protocol.md, Reading)."""
    room_id = await make_room(synapse, three)
    ada, ben, cem = three
    async with calling(room_id, ada, ben) as heard:
        await agreed(heard, 2)
        # Ben's sync stops while the room goes on: 150 messages with a join and a commit among them.
        ben_transport = heard[1].transport
        ben_transport.client.stop_sync_forever()
        assert ben_transport._loop_task is not None
        ben_transport._loop_task.cancel()
        async with calling(room_id, cem) as late:
            for number in range(150):
                await say(synapse, ada, room_id, 1000 + number, "m.room.message", msgtype="m.text", body="chat")
            await agreed([heard[0], late[0]], 3)
            ben_transport._loop_task = asyncio.create_task(ben_transport._run())
            await agreed([*heard, *late], 3)


async def test_a_call_holds_under_the_default_rate_limits(limited_synapse: Synapse) -> None:
    """rc_message 0.2/s with a burst of 10 a user: what is refused goes out later, or another member's turn comes."""
    async with cross_signed_devices(limited_synapse, ["lia", "lou", "liv"], at_once=1) as devices:
        room_id = await make_room(limited_synapse, devices)
        async with calling(room_id, *devices) as heard:
            await agreed(heard, 3)
            # Lia's bucket is emptied by chat; whoever's turn it is, the leave of Liv is committed.
            answers = await asyncio.gather(
                *(
                    say(limited_synapse, devices[0], room_id, 2000 + number, "m.room.message", body="x")
                    for number in range(12)
                ),
                return_exceptions=True,
            )
            assert any(isinstance(answer, Exception) for answer in answers), "the bucket has an end"
            await heard[2].call.leave()
            await agreed(heard[:2], 2)


async def test_a_crashed_device_is_removed_by_its_delayed_leave(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    policy = Policy(delayed_leave=3.0, delayed_leave_restart=1.0)
    async with calling(room_id, *three, policy=policy) as heard:
        await agreed(heard, 3)
        await heard[0].call.crash()
        stand = await agreed(heard[1:], 2)
        assert stand not in heard[0].keys


async def test_a_process_that_comes_back_goes_on(synapse: Synapse, three: list[TestDevice], tmp_path: Path) -> None:
    """Killed and started again with its store: it is in the call again and begins no epoch that it had begun."""
    room_id = await make_room(synapse, three)
    ada, ben, _ = three
    store = SqliteStore(tmp_path / "ben.db")
    async with calling(room_id, ada) as others, NioTransport(ben.client) as transport:
        call = await transport.call(room_id, store=store).__aenter__()
        first = Heard(call, transport)
        listening = asyncio.create_task(first.listen())
        before = await agreed([*others, first], 2)
        await call.keyed(PATIENCE)
        await call.crash()
        await asyncio.gather(listening, return_exceptions=True)
        assert first.ended is None
        async with transport.call(room_id, store=store) as again:
            assert again.session.member_id == call.session.member_id, "no new join was needed"
            second = Heard(again, transport)
            listening = asyncio.create_task(second.listen())
            await again.keyed(PATIENCE)
            assert second.call.session.epoch_id != before
            await agreed([*others, second], 2)
        await asyncio.gather(listening, return_exceptions=True)
    store.close()


async def test_a_room_that_does_not_let_us_says_so(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    answer = await three[0].client.room_put_state(
        room_id,
        "m.room.power_levels",
        {
            "events": {names.COMMIT: 50, MEMBER: 0, STICKY: 0},
        },
    )
    assert isinstance(answer, nio.RoomPutStateResponse)
    async with NioTransport(three[1].client) as transport:
        with pytest.raises(CannotSend) as refused:
            await transport.call(room_id).__aenter__()
    assert (refused.value.event_type, refused.value.need, refused.value.have) == (names.COMMIT, 50, 0)


async def test_a_kick_ends_the_call(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three)
    async with calling(room_id, *three) as heard:
        await agreed(heard, 3)
        await three[0].client.room_kick(room_id, three[2].account.user_id)
        stand = await agreed(heard[:2], 2)
        assert stand not in heard[2].keys
        await asyncio.wait_for(heard[2].over.wait(), PATIENCE)
        assert heard[2].ended == "kicked"


async def test_a_room_that_the_device_is_not_in_ends_the_entering(synapse: Synapse, three: list[TestDevice]) -> None:
    room_id = await make_room(synapse, three, join=2)
    async with NioTransport(three[2].client) as transport:
        for room in (room_id, "!nope:localhost"):
            with pytest.raises(CallOver, match=r"^join_refused: 403 M_FORBIDDEN$"):
                await asyncio.wait_for(transport.call(room).__aenter__(), PATIENCE)
