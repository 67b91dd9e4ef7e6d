"""The one loop with I/O: a session, a channel to the homeserver and a store, joined. asyncio lives here.

Every step goes the same way: what came in, `Session.receive`; what the clock says, `Session.tick`; then one checkpoint,
then what it released: requests to the channel, notices to the application. Nothing leaves that was not saved.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self
from weakref import WeakKeyDictionary, WeakSet

from mlsrtc.adapters.store import Store
from mlsrtc.adapters.transport import Channel, Transport, TransportClosed
from mlsrtc.errors import LocalProtocolError, MlsrtcError, RemoteProtocolError
from mlsrtc.identifiers import EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.notices import (
    EventRefused,
    KeysUnreadable,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    Muted,
    Notice,
    SendKeySwitched,
)
from mlsrtc.outbox import Request, SendEvent, SendState
from mlsrtc.policy import Policy
from mlsrtc.saved import PIN
from mlsrtc.session import CallMember, Device, Session
from mlsrtc.wire.incoming import Incoming, Now, RoomEvent

LOGGER = logging.getLogger("mlsrtc")
NOTICES_KEPT = 1000  # a consumer that falls further behind loses the oldest that carry no key
LEAVE_FLUSH_SECONDS = 5.0
KEPT_ALWAYS = (MediaKeysChanged, SendKeySwitched, MediaKeysRetired, Left)


CALLS_OF: WeakKeyDictionary[Store, WeakSet["Call"]] = WeakKeyDictionary()
"""The calls of this process by their store: those of one user hold others to the same pinned master keys."""


def now() -> Now:
    """This moment on both clocks."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)


class Call:
    """One call of one device: joined when the block is entered, left when it ends.

    A background task drives it, so a slow consumer of `notices` stalls nothing. Made by `Transport.call`.
    """

    def __init__(
        self,
        transport: Transport,
        device: Device,
        room_id: RoomId,
        slot_id: SlotId,
        store: Store,
        *,
        policy: Policy,
        intent: str = "audio",
        sticky: bool = False,
    ) -> None:
        self._transport = transport
        self._store = store
        self._scope = f"{device.user_id}/{device.device_id}/{room_id}/{slot_id}"
        self._shared_scope = f"{device.user_id}/pins"  # pinned master keys hold in every call
        self.session = Session(
            device,
            room_id,
            slot_id,
            policy=policy,
            intent=intent,
            sticky=sticky,
            now=now(),
            records={**store.load(self._scope), **store.load(self._shared_scope)},
        )
        CALLS_OF.setdefault(store, WeakSet()).add(self)
        self._notices: deque[Notice] = deque()
        self._told = asyncio.Event()
        self._wake = asyncio.Event()
        self._keyed = asyncio.Event()
        self._over = asyncio.Event()
        self._entered: asyncio.Future[None] | None = None
        self._ordered: asyncio.Queue[Request] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stack = AsyncExitStack()
        self._channel: Channel | None = None
        self._failure: BaseException | None = None
        self._unreadable: RemoteProtocolError | None = None  # what was wrong with the last answer about our own keys

    # -- what an application uses --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Reads the room's past, joins, and returns as soon as the membership is on its way.

        Raises CannotSend if the room's power levels forbid what a call needs, LocalProtocolError if the homeserver
        refuses to tell our own user's keys, and RemoteProtocolError if what it tells of them does not hold.
        """
        self._entered = asyncio.get_running_loop().create_future()
        self._channel = await self._stack.enter_async_context(
            self._transport.subscribe(self.session.room_id, self.session.slot_id)
        )
        self._start(self._run(self._channel))
        self._start(self._send_in_order(self._channel))
        try:
            await self._entered
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves, and gives the leave up to five seconds to reach the homeserver."""
        try:
            await self.leave(LEAVE_FLUSH_SECONDS)
        finally:
            await self._close()

    async def leave(self, timeout: float = LEAVE_FLUSH_SECONDS) -> None:
        """Withdraw our membership and wait, at most `timeout` seconds, until the homeserver has it."""
        if not self._over.is_set():
            self.session.leave(now())
            self._step()
            self._wake.set()
            try:
                await asyncio.wait_for(self._over.wait(), timeout)
            except TimeoutError:
                LOGGER.warning("the leave did not reach the homeserver in %.0f s; its delayed event will", timeout)

    async def crash(self) -> None:
        """Stop at once and send nothing more, as if the process had died. For tests and the demo."""
        await self._close()

    async def keyed(self, timeout: float | None = None) -> None:
        """Wait until we hold media keys that we may send under. Raises TimeoutError after `timeout` seconds."""
        await asyncio.wait_for(self._keyed.wait(), timeout)

    async def notices(self) -> AsyncIterator[Notice]:
        """What happens in the call, oldest first, until it is over."""
        while True:
            while self._notices:
                yield self._notices.popleft()
            if self._over.is_set():
                if self._failure is not None:
                    raise self._failure
                return
            self._told.clear()
            await self._told.wait()

    @property
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call by member_id: device, whether it has keys, and why not."""
        return self.session.members

    @property
    def safety_code(self) -> str | None:
        """30 digits that are equal for everybody on our epoch, or None before the first."""
        return self.session.safety_code

    def accept_master_key(self, user_id: str, key: bytes, *, verified: bool = False) -> None:
        """`key` (Ed25519, 32 bytes) is the user's master key from now on, whatever was pinned before."""
        self.session.accept_master_key(UserId(user_id), key, now(), verified=verified)
        self._wake.set()

    # -- the loop ------------------------------------------------------------------------------------------------------

    async def _run(self, channel: Channel) -> None:
        reading = asyncio.ensure_future(channel.receive())
        try:
            while not self._over.is_set():
                due = self.session.next_timer()
                timeout = None if due is None else max(0.0, due - now().monotonic)
                waking = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait({reading, waking}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
                self._wake.clear()
                if reading.done():
                    self._receive(reading.result())
                    reading = asyncio.ensure_future(channel.receive())
                self.session.tick(now())
                self._enter()
                self._step()
        except TransportClosed as closed:
            self.session.close(closed.reason)
            self._step()
            self._finish(None)
        finally:
            reading.cancel()

    def _receive(self, incoming: Sequence[Incoming]) -> None:
        for item in incoming:
            try:
                self.session.receive(item, now())
            except RemoteProtocolError as error:
                LOGGER.info("refused %s: %s", type(item).__name__, error)
                if isinstance(item, RoomEvent):
                    event_id, sender = EventId(item.event_id), UserId(item.sender)
                    self._tell(EventRefused(event_id, sender, error.reason, error.where))

    def _enter(self) -> None:
        if self._entered is not None and not self._entered.done() and self.session.ready:
            try:
                self.session.join(now())
            except MlsrtcError as error:
                self._entered.set_exception(error)
            else:
                self._entered.set_result(None)

    def _step(self) -> None:
        self.session.checkpoint(self._save)
        for request in self.session.outgoing():
            # What others see keeps its order; nothing else waits for it, nor it for anything else.
            if isinstance(request, SendState | SendEvent):
                self._ordered.put_nowait(request)
            else:
                self._start(self._send(request))
        for notice in self.session.notices():
            self._tell(notice)

    def _save(self, changes: Mapping[str, bytes | None]) -> None:
        shared = {key: value for key, value in changes.items() if key.startswith(PIN)}
        own = {key: value for key, value in changes.items() if key not in shared}
        self._store.save({self._scope: own, self._shared_scope: shared})
        pins = {key: value for key, value in shared.items() if value is not None}
        for other in tuple(CALLS_OF[self._store]) if pins else ():
            if other is not self and other._shared_scope == self._shared_scope:
                other.session.share_pins(pins, now())
                other._wake.set()

    def _start(self, job: Coroutine[Any, Any, None]) -> None:
        """A task of this call: if it fails, the call ends with its error, and does not go on half alive."""

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if not task.cancelled() and (error := task.exception()) is not None:
                LOGGER.error("the call ends with an error", exc_info=error)
                self._finish(error)

        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(done)

    async def _send_in_order(self, channel: Channel) -> None:
        while True:
            await self._send(await self._ordered.get())

    async def _send(self, request: Request) -> None:
        assert self._channel is not None
        outcome = await self._channel.send(request)
        self.session.mark_sent(request.id, outcome, now())
        self._step()
        self._wake.set()

    def _tell(self, notice: Notice) -> None:
        self._notices.append(notice)
        if len(self._notices) > NOTICES_KEPT:
            self._notices = deque(
                kept
                for place, kept in enumerate(self._notices)
                if place > NOTICES_KEPT // 2 or isinstance(kept, KEPT_ALWAYS)
            )
        match notice:
            case SendKeySwitched():
                self._keyed.set()
            case Muted():
                self._keyed.clear()
            case KeysUnreadable(reason, where):
                detail = "the homeserver's answer about our own keys"
                self._unreadable = RemoteProtocolError(reason, detail, where=where)
            case Left("keys_unreadable"):
                self._finish(self._unreadable)
            case Left("keys_refused"):
                self._finish(LocalProtocolError("cannot enter: the homeserver does not tell our own user's keys"))
            case Left():
                self._finish(None)
            case _:
                pass
        self._told.set()

    def _finish(self, failure: BaseException | None) -> None:
        self._failure = self._failure or failure
        if self._entered is not None and not self._entered.done():
            self._entered.set_exception(failure or TransportClosed("closed"))
        self._over.set()
        self._told.set()

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._over.set()
        self._told.set()
        await self._stack.aclose()
