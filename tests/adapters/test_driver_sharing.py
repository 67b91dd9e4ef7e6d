"""The driver where keys are handed out: the way that the room says, and what is told of a key that does not hold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from test_driver import DEVICE, Transport

from mlsrtc import (
    AUTO,
    MLS,
    PER_MEMBER,
    CallOver,
    Encryption,
    KeyRefused,
    LocalProtocolError,
    MembersChanged,
    Policy,
    SendKeySwitched,
    SharedKey,
    SharedKeySession,
)
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.store import MemoryStore
from mlsrtc.identifiers import MemberId, RoomId, SlotId
from mlsrtc.outbox import HandOver, ScheduleLeave, SendState
from mlsrtc.recovery import Bucket
from mlsrtc.testing.identities import LabUser
from mlsrtc.wire import names
from mlsrtc.wire.incoming import DeviceKeys, PostedKey, RoomEvent, ToDevice
from mlsrtc.wire.membership import MembershipFormat

ROOM = "!room:one.test"
ENCRYPTED = RoomEvent(names.ROOM_ENCRYPTION, "@anna:one.test", "$e", 1, {"algorithm": "m.megolm.v1.aes-sha2"}, "")
OTHER = LabUser("@bert:one.test", b"b" * 32).add_device("B")
KEY = "AAECAwQFBgcICQoLDA0ODw=="


def member() -> RoomEvent:
    """A participant without MLS."""
    content = {
        "application": "m.call",
        "call_id": "",
        "device_id": OTHER.device_id,
        "foci_preferred": [],
        "expires": 2**52,
        "created_ts": 1,
    }
    return RoomEvent(names.STATE_MEMBER, OTHER.user_id, "$m", 1, content, f"_{OTHER.user_id}_{OTHER.device_id}_m.call")


@asynccontextmanager
async def calling(
    *first: RoomEvent,
    encryption: Encryption | SharedKey = AUTO,
    membership: MembershipFormat = MembershipFormat.STATE,
    policy: Policy | None = None,
    budget: Bucket | None = None,
) -> AsyncIterator[tuple[Call, Transport]]:
    transport = Transport(*first)
    made = Call(
        transport,  # type: ignore[arg-type]
        DEVICE,
        RoomId(ROOM),
        SlotId("m.call#ROOM"),
        MemoryStore(),
        encryption=encryption,
        policy=policy or Policy(),
        membership=membership,
        budget=budget,
    )
    async with made as call:
        yield call, transport


async def test_auto_goes_by_who_is_there() -> None:
    async with calling(ENCRYPTED, member()) as (call, _):
        assert call.session.encryption is PER_MEMBER
        await call.keyed(timeout=5)
    async with calling(ENCRYPTED) as (call, _):
        assert call.session.encryption is MLS


async def test_auto_lets_a_call_with_mls_be_mixed_and_nothing_else_does() -> None:
    async with calling(ENCRYPTED) as (call, transport):
        assert call.session.encryption is MLS
        assert call.session.policy.mixed
        transport.channel.feed.put_nowait(member())
        async with asyncio.timeout(5):
            async for notice in call.notices():
                if isinstance(notice, MembersChanged) and f"{OTHER.user_id}:{OTHER.device_id}" in notice.joined:
                    break
        assert not call.members[MemberId(f"{OTHER.user_id}:{OTHER.device_id}")].mls
    async with calling(ENCRYPTED, encryption=MLS) as (call, _):
        assert not call.session.policy.mixed


async def test_who_wants_to_be_seen_by_clients_of_famedly_s_hands_its_keys_out() -> None:
    async with calling(ENCRYPTED, membership=MembershipFormat.FAMEDLY) as (call, _):
        assert call.session.encryption is PER_MEMBER
        assert not call.sticky
    with pytest.raises(LocalProtocolError):
        async with calling(ENCRYPTED, encryption=MLS, membership=MembershipFormat.FAMEDLY):
            pass


async def test_what_the_room_showed_before_it_was_decided_is_not_lost() -> None:
    async with calling(ENCRYPTED, member()) as (call, _):
        assert [one.user_id for one in call.session.memberships] == [OTHER.user_id]
        assert list(call.members)


async def test_a_key_that_does_not_hold_is_told_with_its_reason_and_without_the_key() -> None:
    content: dict[str, Any] = {
        "keys": {"index": 0, "key": KEY},
        "member": {"id": "x", "claimed_device_id": OTHER.device_id},
        "room_id": ROOM,
    }
    async with calling(ENCRYPTED, member(), encryption=PER_MEMBER) as (call, transport):
        transport.channel.feed.put_nowait(ToDevice(names.KEYS_ELEMENT, OTHER.user_id, content))
        encrypted = ToDevice(names.KEYS_ELEMENT, OTHER.user_id, content, "ANOTHER", bytes(32))
        transport.channel.feed.put_nowait(encrypted)
        told: list[KeyRefused] = []
        async with asyncio.timeout(5):
            async for notice in call.notices():
                if isinstance(notice, KeyRefused):
                    told.append(notice)
                if len(told) == 2:
                    break
    assert [(one.device_id, one.reason) for one in told] == [(None, "not_encrypted"), ("ANOTHER", "wrong_device")]
    assert KEY not in repr(told)
    assert KEY not in repr(encrypted)


async def test_the_calls_of_one_device_hand_their_keys_out_within_one_budget() -> None:
    bert = LabUser(OTHER.user_id, b"b" * 32)
    bert.add_device(OTHER.device_id)
    policy, budget = Policy(key_messages_per_minute=1), Bucket()
    handed = []
    async with AsyncExitStack() as stack:
        for _ in range(2):
            entering = calling(ENCRYPTED, member(), encryption=PER_MEMBER, policy=policy, budget=budget)
            _, transport = await stack.enter_async_context(entering)
            transport.channel.feed.put_nowait(DeviceKeys(bert.user_id, bert.keys()))
            await asyncio.sleep(0.2)
            handed.append(sum(isinstance(one, HandOver) for one in transport.channel.sent))
    assert handed == [1, 0]


async def test_a_posted_key_that_does_not_hold_is_told_too() -> None:
    async with calling(ENCRYPTED, member()) as (call, transport):
        content = {"keys": [{"index": 0, "key": KEY}], "call_id": "", "device_id": OTHER.device_id, "sent_ts": 1}
        for posted in (
            PostedKey(OTHER.user_id, "$1", content),
            PostedKey(OTHER.user_id, "$2", content, True),
            PostedKey(OTHER.user_id, "$3", content, True, "ANOTHER", bytes(32)),
        ):
            assert KEY not in repr(posted)
            transport.channel.feed.put_nowait(posted)
        told: list[tuple[str | None, str]] = []
        async with asyncio.timeout(5):
            async for notice in call.notices():
                if isinstance(notice, KeyRefused):
                    told.append((notice.device_id, notice.reason))
                if len(told) == 3:
                    break
    assert told == [(None, "not_encrypted"), (None, "not_authenticated"), ("ANOTHER", "wrong_device")]


async def test_one_key_for_all_is_the_applications_and_asks_for_nothing() -> None:
    async with calling(member(), encryption=SharedKey("open sesame")) as (call, transport):
        assert isinstance(call.session, SharedKeySession)
        await call.keyed(timeout=5)
        assert {type(request) for request in transport.channel.sent} == {ScheduleLeave, SendState}
        assert "sesame" not in repr(vars(call)) + repr(vars(call.session))
    with pytest.raises(LocalProtocolError, match="SharedKey"):
        async with calling(member(), encryption=Encryption.SHARED_KEY):
            pass


async def test_a_media_sink_that_comes_late_is_told_the_key_of_the_moment() -> None:
    class Sink:
        def __init__(self) -> None:
            self.told: list[Any] = []

        def tell(self, notice: Any) -> None:
            self.told.append(notice)

    async with calling(ENCRYPTED, member()) as (call, _):
        await call.keyed(timeout=5)
        sink = Sink()
        call.attach(sink)
        assert isinstance(sink.told[-1], SendKeySwitched)
        assert sink.told[-1].id is None


async def test_an_unencrypted_room_is_refused_when_it_is_entered() -> None:
    with pytest.raises(LocalProtocolError) as caught:
        async with calling(member()):
            pass
    assert caught.value.reason == "room_not_encrypted"


async def test_who_leaves_before_it_is_decided_has_left() -> None:
    class Silent(Transport):
        """A homeserver that shows nothing of the room."""

        @asynccontextmanager
        async def subscribe(self, room_id: str, slot_id: str) -> AsyncIterator[Any]:
            yield self.channel

    made = Call(
        Silent(),  # type: ignore[arg-type]
        DEVICE,
        RoomId(ROOM),
        SlotId("m.call#ROOM"),
        MemoryStore(),
        encryption=AUTO,
        policy=Policy(),
    )
    entering = asyncio.create_task(made.__aenter__())
    await asyncio.sleep(0.05)
    async with asyncio.timeout(2):
        await made.leave()
        with pytest.raises(CallOver) as caught:
            await entering
    assert caught.value.reason == "left"
