"""The driver's loop beside a scripted channel: what it sends, when it ends, and that it never goes on half alive."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

import mlsrtc.inquiry
from mlsrtc import CallOver, CannotSend, Left, LocalProtocolError, Notice, Policy, StoreError
from mlsrtc.adapters.driver import NOTICES_KEPT, Call, MediaNotice
from mlsrtc.adapters.store import MemoryStore
from mlsrtc.adapters.transport import TransportClosed
from mlsrtc.identifiers import RoomId, SlotId, UserId
from mlsrtc.inquiry import OWN_TRIES
from mlsrtc.outbox import Accepted, Outcome, QueryKeys, Refused, Request, ScheduleLeave, SendState
from mlsrtc.testing.identities import LabUser
from mlsrtc.wire import names
from mlsrtc.wire.incoming import DeviceKeys, HistoryComplete, Incoming, RoomEvent
from mlsrtc.wire.membership import Transport as Focus

USER = LabUser("@anna:one.test", b"a" * 32)
DEVICE = USER.add_device("A")


class Channel:
    """A homeserver that answers everything; `sent` keeps what it was asked."""

    room_id = "!room:one.test"

    def __init__(self) -> None:
        self.feed: asyncio.Queue[Incoming | TransportClosed] = asyncio.Queue()
        self.sent: list[Request] = []
        self.refuses: type[Request] | None = None
        self.keys = USER.keys()

    async def receive(self, timeout: float | None = None) -> Sequence[Incoming]:
        value = await self.feed.get()
        if isinstance(value, TransportClosed):
            raise value
        return [value]

    async def send(self, request: Request) -> Outcome:
        self.sent.append(request)
        await asyncio.sleep(0)
        if self.refuses is not None and isinstance(request, self.refuses):
            return Refused(403, "M_FORBIDDEN")
        if isinstance(request, QueryKeys):
            self.feed.put_nowait(DeviceKeys(USER.user_id, self.keys))
        delay_id = "delay" if isinstance(request, ScheduleLeave) else None
        return Accepted(f"$event{len(self.sent)}", delay_id)


class Transport:
    user_id, device_id = USER.user_id, DEVICE.device_id

    def __init__(self, *first: Incoming | TransportClosed) -> None:
        self.channel = Channel()
        self._first = first

    @asynccontextmanager
    async def subscribe(self, room_id: str, slot_id: str) -> AsyncIterator[Any]:
        for incoming in (*self._first, HistoryComplete()):
            self.channel.feed.put_nowait(incoming)
        yield self.channel


class Brittle(MemoryStore):
    """A store whose next save fails when it is told to."""

    fails = False

    def save(self, *args: Any, **options: Any) -> None:
        if self.fails:
            raise StoreError("database is locked")
        super().save(*args, **options)


def call(transport: Transport, store: MemoryStore | None = None, *, slot: str = "m.call#ROOM", **policy: float) -> Call:
    room = RoomId(transport.channel.room_id)
    return Call(transport, DEVICE, room, SlotId(slot), store or MemoryStore(), policy=Policy(**policy))  # type: ignore[arg-type]


async def test_entering_sends_the_delayed_leave_and_the_membership_and_leaving_withdraws_it() -> None:
    transport = Transport()
    async with call(transport) as entered:
        await asyncio.sleep(0.05)
        first, *both = [type(request) for request in transport.channel.sent]
        assert first is QueryKeys
        assert set(both) == {ScheduleLeave, SendState}, "neither waits for the other"
        assert entered.safety_code is None
    left = [request for request in transport.channel.sent[3:] if isinstance(request, SendState)]
    assert [request.content[names.BLOCK].keys() >= {"left"} for request in left] == [True]


class Sink:
    """A media adapter that writes down what it is told, and how much of it the application could have read by then."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.told: list[Notice] = []

    def tell(self, notice: Notice) -> None:
        assert notice not in self.call._telling._kept, "what media need is told before the application reads it"
        self.told.append(notice)


class Heard(MediaNotice):
    """A kind of notice that an adapter brings."""


async def test_a_media_adapter_is_told_every_notice_first_and_its_own_come_among_the_calls() -> None:
    entered = call(Transport())
    sink = Sink(entered)
    async with entered:
        entered.attach(sink)
        heard = Heard()
        entered.tell(heard)
    told = [notice async for notice in entered.notices()]
    assert sink.told == [Left("left")]
    assert told[-1] == Left("left")
    assert heard in told


async def test_a_media_adapter_that_is_detached_is_told_nothing() -> None:
    entered = call(Transport())
    sink = Sink(entered)
    async with entered:
        entered.attach(sink)
        entered.detach(sink)
        entered.detach(sink)
    assert sink.told == []


async def test_a_focus_that_is_announced_goes_into_the_membership() -> None:
    transport, focus = Transport(), Focus("livekit", "https://sfu.one.test", "alias")
    async with call(transport) as entered:
        entered.announce([focus])
        await asyncio.sleep(0.05)
        written = [request for request in transport.channel.sent if isinstance(request, SendState)]
        assert [request.content["foci_preferred"] for request in written] == [
            [{"type": "dev.mlsrtc.no_media"}],
            [{"type": "livekit", "livekit_service_url": "https://sfu.one.test", "livekit_alias": "alias"}],
        ]
        assert entered.transport is transport


async def test_what_is_announced_ahead_is_in_the_first_membership_and_no_other_is_written() -> None:
    transport, focus = Transport(), Focus("livekit", "https://sfu.one.test", "alias")
    entered = call(transport)

    async def announce() -> None:
        assert not any(isinstance(request, SendState) for request in transport.channel.sent)
        entered.announce([focus])

    entered.ahead(announce)
    async with entered:
        entered.announce([focus])
        await asyncio.sleep(0.05)
        [written] = [request for request in transport.channel.sent if isinstance(request, SendState)]
        assert written.content["foci_preferred"][0]["livekit_service_url"] == "https://sfu.one.test"
        with pytest.raises(LocalProtocolError, match="too late"):
            entered.ahead(announce)


async def test_who_leaves_while_something_is_done_ahead_does_not_join() -> None:
    transport = Transport()
    entered = call(transport)
    entered.ahead(asyncio.Event().wait)
    entering = asyncio.create_task(entered.__aenter__())
    await asyncio.sleep(0.05)
    await entered.leave()
    with pytest.raises(CallOver, match=r"^left$"):
        await entering
    assert not any(isinstance(request, SendState) for request in transport.channel.sent)


async def test_what_fails_ahead_ends_the_entering_with_its_error() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    transport = Transport()
    entered = call(transport)
    entered.ahead(fail)
    with pytest.raises(ZeroDivisionError):
        await entered.__aenter__()
    assert not any(isinstance(request, SendState) for request in transport.channel.sent)


async def test_who_waits_for_a_change_finds_the_membership_that_came_and_waits_while_nothing_does() -> None:
    transport, other = Transport(), LabUser("@bert:one.test", b"b" * 32).add_device("B")
    content = {
        "application": "m.call",
        "call_id": "",
        "device_id": other.device_id,
        "foci_preferred": [],
        "expires": 2**52,
        "created_ts": 1,
    }
    key = f"_{other.user_id}_{other.device_id}_m.call"
    async with call(transport) as entered:
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(entered.changed(), 0.05)
        transport.channel.feed.put_nowait(RoomEvent(names.STATE_MEMBER, other.user_id, "$m", 1, content, key))
        async with asyncio.timeout(5):
            await entered.changed()
        assert [one.user_id for one in entered.memberships] == [other.user_id]


async def test_two_readers_are_told_the_same_and_the_next_one_what_nobody_has_read() -> None:
    async with call(Transport()) as entered:
        heard = [Heard() for _ in range(3)]
        entered.tell(heard[0])
        one, other = entered.notices(), entered.notices()
        async with asyncio.timeout(5):
            assert [await _heard(one), await _heard(other)] == [heard[0]] * 2
            entered.tell(heard[1])
            assert [await _heard(one), await _heard(other)] == [heard[1]] * 2
            entered.tell(heard[2])
            assert await _heard(entered.notices()) is heard[2]
            assert [await _heard(one), await _heard(other)] == [heard[2]] * 2
    assert [notice async for notice in one] == [notice async for notice in other] == [Left("left")]


async def _heard(notices: AsyncIterator[object]) -> object:
    """The next one that is the media adapter's."""
    return await anext(notice async for notice in notices if isinstance(notice, Heard))


class Packet(MediaNotice):
    """What anybody can send."""


async def test_what_a_member_sends_at_will_costs_no_other_notice() -> None:
    async with call(Transport()) as entered:
        track = Heard()
        entered.tell(track)
        for _ in range(2 * NOTICES_KEPT + 1):
            entered.tell(Packet())
    told = [notice async for notice in entered.notices()]
    assert [notice for notice in told if isinstance(notice, Heard | Left)] == [track, Left("left")]
    assert NOTICES_KEPT // 2 <= len([notice for notice in told if isinstance(notice, Packet)]) <= NOTICES_KEPT


async def test_power_levels_that_forbid_a_call_are_told_before_anything_is_sent() -> None:
    levels: Mapping[str, Any] = {"events": {names.COMMIT: 50}, "state_default": 0}
    event = RoomEvent(names.POWER_LEVELS, "@mod:one.test", "$levels", 1, levels, state_key="")
    transport = Transport(event)
    with pytest.raises(CannotSend, match=r"dev\.mlsrtc\.commit needs power level 50"):
        await call(transport).__aenter__()
    assert [type(request) for request in transport.channel.sent] == [QueryKeys]


async def test_a_homeserver_that_refuses_our_own_keys_ends_the_entering_with_a_word() -> None:
    transport = Transport()
    transport.channel.refuses = QueryKeys
    with pytest.raises(CallOver, match=r"^keys_refused: 403 M_FORBIDDEN$"):
        await asyncio.wait_for(call(transport).__aenter__(), 5)
    assert [type(request) for request in transport.channel.sent] == [QueryKeys]


async def test_own_keys_that_cannot_be_read_end_the_entering_with_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mlsrtc.inquiry, "PAUSE", 0.01)
    transport = Transport()
    transport.channel.keys = {"device_keys": []}
    with pytest.raises(CallOver, match=r"^keys_unreadable: keys_query\.device_keys: wrong_type"):
        await asyncio.wait_for(call(transport).__aenter__(), 5)
    assert [type(request) for request in transport.channel.sent] == [QueryKeys] * OWN_TRIES


async def test_a_store_that_fails_ends_the_call_with_its_error() -> None:
    transport, store = Transport(), Brittle()
    entered = call(transport, store, delayed_leave_restart=0.1, membership_refresh=0.2)
    await entered.__aenter__()
    await asyncio.sleep(0.05)
    store.fails = True
    notices = [notice async for notice in until_the_error(entered)]
    assert isinstance(notices[-1], StoreError)
    await entered.crash()


async def until_the_error(entered: Call) -> AsyncIterator[object]:
    """Everything that is told, and the error that ends it."""
    try:
        async with asyncio.timeout(5):
            async for notice in entered.notices():
                yield notice
    except StoreError as error:
        yield error


async def test_a_transport_that_closes_ends_the_call_with_its_reason() -> None:
    transport = Transport()
    async with call(transport) as entered:
        transport.channel.feed.put_nowait(TransportClosed("logged_out"))
        async with asyncio.timeout(5):
            notices = [notice async for notice in entered.notices()]
    assert notices[-1] == Left("logged_out")


@pytest.mark.parametrize("timeout", [None, 5.0])
async def test_waiting_for_keys_ends_with_the_call_and_tells_why(timeout: float | None) -> None:
    transport = Transport()
    async with call(transport) as entered:
        waiting = asyncio.create_task(entered.keyed(timeout))
        await asyncio.sleep(0.05)
        transport.channel.feed.put_nowait(TransportClosed("logged_out"))
        with pytest.raises(CallOver, match=r"^logged_out$") as over:
            await asyncio.wait_for(waiting, 5)
        assert isinstance(over.value.__cause__, TransportClosed)
        with pytest.raises(CallOver, match=r"^logged_out$"):
            await entered.keyed(timeout)


async def test_a_membership_that_the_homeserver_refuses_ends_the_entering_with_a_word() -> None:
    transport = Transport()
    transport.channel.refuses = SendState
    with pytest.raises(CallOver, match=r"^join_refused: 403 M_FORBIDDEN$"):
        await asyncio.wait_for(call(transport).__aenter__(), 5)


async def test_entering_tells_why_the_call_ended_meanwhile() -> None:
    banned = RoomEvent("m.room.member", "@mod:one.test", "$ban", 1, {"membership": "ban"}, state_key=USER.user_id)
    with pytest.raises(CallOver, match=r"^banned$"):
        await asyncio.wait_for(call(Transport(banned)).__aenter__(), 5)
    transport = Transport(TransportClosed("logged_out"))
    with pytest.raises(CallOver, match=r"^logged_out$"):
        await asyncio.wait_for(call(transport).__aenter__(), 5)


async def test_a_call_whose_task_fails_raises_its_error_when_its_block_is_left() -> None:
    async def fail(error: type[Exception] | None = None) -> None:
        store = Brittle()
        async with call(Transport(), store) as entered:
            store.fails = True
            if error is not None:
                raise error
            entered.accept_master_key("@ben:one.test", b"b" * 32)
            with pytest.raises(StoreError, match="locked"):
                await entered.keyed(timeout=5)

    with pytest.raises(StoreError, match="locked"):
        await fail()
    with pytest.raises(ZeroDivisionError):
        await fail(ZeroDivisionError)


async def test_a_call_is_entered_once_and_asked_for_nothing_before() -> None:
    entered = call(Transport())
    with pytest.raises(LocalProtocolError, match="not entered"):
        entered.notices()
    with pytest.raises(LocalProtocolError, match="not entered"):
        await entered.keyed()
    await entered.leave()
    async with entered:
        with pytest.raises(LocalProtocolError, match="once"):
            await entered.__aenter__()
    with pytest.raises(LocalProtocolError, match="once"):
        await entered.__aenter__()


async def test_one_device_is_in_a_call_once_on_one_transport() -> None:
    transport = Transport()
    async with call(transport):
        before = len(transport.channel.sent)
        with pytest.raises(LocalProtocolError, match="already"):
            await call(transport).__aenter__()
        assert len(transport.channel.sent) == before
    async with call(transport) as again:
        assert again.session.member_id is not None


async def test_entering_that_is_given_up_leaves_what_it_has_begun() -> None:
    transport = Transport()
    held = transport.channel.send

    async def slow(request: Request) -> Outcome:
        outcome = await held(request)
        if isinstance(request, SendState):
            await asyncio.sleep(0.1)
        return outcome

    transport.channel.send = slow  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call(transport).__aenter__(), 0.05)
    sent = [request for request in transport.channel.sent if isinstance(request, SendState)]
    assert len(sent) == 2
    assert "left" in sent[-1].content[names.BLOCK]


async def test_a_call_leaves_no_task_behind() -> None:
    async with call(Transport()):
        pass
    crashed = call(Transport())
    await crashed.__aenter__()
    await crashed.crash()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_waiting_for_keys_ends_in_time() -> None:
    async with call(Transport()) as entered:
        with pytest.raises(TimeoutError):
            await entered.keyed(timeout=0.05)


async def test_two_calls_on_one_store_hold_a_user_to_the_same_master_key() -> None:
    store, user = MemoryStore(), UserId("@ben:one.test")
    one, other = call(Transport(), store), call(Transport(), store, slot="m.call#OTHER")
    async with one, other:
        one.accept_master_key(user, b"b" * 32, verified=True)
        await asyncio.sleep(0.05)
        for entered in (one, other):
            assert entered.session.known.keyring.pins.masters[user] == b"b" * 32
            assert user in entered.session.known.keyring.pins.verified
        other.accept_master_key(user, b"c" * 32)
        await asyncio.sleep(0.05)
        for entered in (one, other, call(Transport(), store)):
            assert entered.session.known.keyring.pins.masters[user] == b"c" * 32
            assert user not in entered.session.known.keyring.pins.verified


async def test_a_key_accepted_here_and_not_saved_yet_outlives_what_another_call_saves() -> None:
    store, user, third = MemoryStore(), UserId("@ben:one.test"), UserId("@cleo:one.test")
    one, other = call(Transport(), store), call(Transport(), store, slot="m.call#OTHER")
    async with one, other:
        one.accept_master_key(user, b"b" * 32)
        other.accept_master_key(third, b"c" * 32)
        await asyncio.sleep(0.05)
        again = call(Transport(), store)
        for entered in (one, other, again):
            assert entered.session.known.keyring.pins.masters.items() >= {user: b"b" * 32, third: b"c" * 32}.items()
