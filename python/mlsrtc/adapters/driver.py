"""The one loop with I/O: a session, a channel to the homeserver and a store, joined. asyncio lives here.

Every step goes the same way: what came in, `Session.receive`; what the clock says, `Session.tick`; then one checkpoint,
then what it released: requests to the channel, notices to the application. Nothing leaves that was not saved.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Protocol, Self
from weakref import WeakSet

from mlsrtc.adapters.store import Store
from mlsrtc.adapters.telling import Telling
from mlsrtc.adapters.transport import Channel, Transport, TransportClosed
from mlsrtc.base_session import BaseSession
from mlsrtc.choosing import choose
from mlsrtc.errors import CallOver, LocalProtocolError, MlsrtcError, RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.media.shared import SharedKey
from mlsrtc.notices import (
    EventRefused,
    KeyRefused,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    Muted,
    Notice,
    SendKeySwitched,
)
from mlsrtc.outbox import Request, SendEvent, SendState
from mlsrtc.policy import AUTO, MLS, PER_MEMBER, Encryption, Policy
from mlsrtc.recovery import Bucket
from mlsrtc.saved import PIN, changed_pins
from mlsrtc.session import CallMember, Device, Phase, Session
from mlsrtc.shared_key_session import SharedKeySession
from mlsrtc.sharing_session import SharingSession
from mlsrtc.trust import Pins
from mlsrtc.wire.incoming import HistoryComplete, Incoming, Now, PostedKey, RoomEvent, ToDevice
from mlsrtc.wire.membership import MembershipFormat, RtcMembership
from mlsrtc.wire.membership import Transport as Focus
from mlsrtc.wire.names import KEY_TYPES

LOGGER = logging.getLogger("mlsrtc")
NOTICES_KEPT = 1000  # of each kind: a reader that falls further behind loses the oldest of that kind
LEAVE_FLUSH_SECONDS = 5.0
KEPT_ALWAYS = (MediaKeysChanged, SendKeySwitched, MediaKeysRetired, Muted, Left)


class MediaNotice:
    """What a media adapter tells through its call, beside the notices of the session. Each adapter has its kinds."""

    __slots__ = ()


class MediaSink(Protocol):
    """What moves media for a call. It is told first, and at once: what it does not hold is heard by nobody."""

    def tell(self, notice: Notice) -> None:
        """Every notice of the session, in their order. It must not wait, and what it raises ends the call."""


CALLS: WeakSet["Call"] = WeakSet()
"""The calls of this process. Those of one user on one store hold others to the same pinned master keys; and no two of
one device in one slot go on at once on one transport, since both would write the same membership."""


def _session(encryption: Encryption | SharedKey, **arguments: Any) -> BaseSession:
    if isinstance(encryption, SharedKey):
        return SharedKeySession(now=now(), key=encryption, **arguments)
    if encryption is Encryption.SHARED_KEY:
        raise LocalProtocolError("a call with a shared key needs the key: encryption=SharedKey(...)")
    kind = Session if encryption is MLS else SharingSession
    return kind(now=now(), **arguments)


def now() -> Now:
    """This moment on both clocks."""
    return Now(time.monotonic(), time.time_ns() // 1_000_000)


class Call:
    """One call of one device: joined when the block is entered, left when it ends.

    A background task drives it, so a slow reader of `notices` stalls nothing. Made by `Transport.call`. budget: one for
    all calls of the device, which keys that are handed out are sent within. Raises LocalProtocolError for a room, slot
    or intent that others would refuse.
    """

    def __init__(
        self,
        transport: Transport,
        device: Device,
        room_id: RoomId,
        slot_id: SlotId,
        store: Store,
        *,
        encryption: Encryption | SharedKey = MLS,
        policy: Policy,
        intent: str = "audio",
        membership: MembershipFormat = MembershipFormat.STATE,
        budget: Bucket | None = None,
    ) -> None:
        if encryption is AUTO and membership is MembershipFormat.FAMEDLY:
            encryption = PER_MEMBER  # whom we want to be seen by has no MLS
        if encryption is AUTO:
            # Whoever goes by what the others have is content with both kinds.
            policy = replace(policy, mixed=True)
        self._transport = transport
        self._store = store
        self._membership = membership
        self._scope = f"{device.user_id}/{device.device_id}/{room_id}/{slot_id}"
        self._shared_scope = f"{device.user_id}/pins"  # pinned master keys hold in every call
        self._make = partial(
            _session,
            device=device,
            room_id=room_id,
            slot_id=slot_id,
            policy=policy,
            intent=intent,
            membership=membership,
            budget=budget,
        )
        # What the room shows until it is known how the call is keyed; None once it is.
        self._undecided: list[Incoming] | None = [] if encryption is AUTO else None
        self.session = self._make(MLS if encryption is AUTO else encryption, records=self._records())
        CALLS.add(self)
        self._telling = Telling[Notice | MediaNotice](NOTICES_KEPT, KEPT_ALWAYS)
        self._wake = asyncio.Event()
        self._turned = asyncio.Event()  # set for a moment at each turn of the loop
        self._begun = self._joined = False
        self._ahead: Callable[[], Awaitable[None]] | None = None
        self._entered, self._keyed, self._over = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._end: BaseException | None = None  # once the call is over: CallOver, or the error that ended it
        self._lost: TransportClosed | None = None
        self._ordered: asyncio.Queue[Request] = asyncio.Queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sinks: list[MediaSink] = []
        self._stack = AsyncExitStack()
        self._channel: Channel | None = None

    # -- what an application uses --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Reads the room's past, joins, and returns as soon as the homeserver has our membership. That goes once.

        Raises CannotSend if the room's power levels forbid what a call needs; CallOver, with the reason of `Left`, if
        the call ends before we are in it: `join_refused` (we are not in the room), `banned`, `keys_refused`,
        `keys_unreadable`, `logged_out` and the like; LocalProtocolError if it was entered before, or if this device is
        in this call already by the same transport; and whatever error ended it otherwise. What was begun is left.
        """
        if self._begun:
            raise LocalProtocolError("a call is entered once: make another")
        if any(other._goes_on and other._is_twin(self) for other in CALLS):
            raise LocalProtocolError("this device is in this call already, by the same transport")
        self._begun = True
        try:
            channel = self._transport.subscribe(self.session.room_id, self.session.slot_id)
            self._channel = await self._stack.enter_async_context(channel)
            self._start(self._run(self._channel))
            self._start(self._send_in_order(self._channel))
            await self._until(self._entered)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leaves, and gives the leave up to five seconds to reach the homeserver.

        Raises the error that has ended the call, if there was one (StoreError, say) and the block raised none itself.
        """
        try:
            await self.leave(LEAVE_FLUSH_SECONDS)
        finally:
            await self._close()
        if error is None and self._failed is not None:
            raise self._failed

    async def leave(self, timeout: float = LEAVE_FLUSH_SECONDS) -> None:
        """Withdraw our membership and wait, at most `timeout` seconds, until the homeserver has it; nothing if we are
        not in the call."""
        if self._channel is not None and not self._over.is_set():
            self.session.leave(now())
            self._wake.set()
            try:
                await asyncio.wait_for(self._over.wait(), timeout)
            except TimeoutError:
                LOGGER.warning("the leave did not reach the homeserver in %.0f s; its delayed event will", timeout)

    async def crash(self) -> None:
        """Stop at once and send nothing more, as if the process had died. For tests and the demo."""
        await self._close()

    async def keyed(self, timeout: float | None = None) -> None:
        """Wait until we hold media keys that we may send under.

        Raises TimeoutError after `timeout` seconds; CallOver, or the error that ended it, if the call is over; and
        LocalProtocolError before it was entered.
        """
        self._check_begun()
        await asyncio.wait_for(self._until(self._keyed), timeout)

    def notices(self) -> AsyncIterator[Notice | MediaNotice]:
        """What happens in the call and in its media, oldest first, until it is over.

        Several may read: each is told what nobody has read when it begins, and everything from then on. Reading raises
        the error that ended the call, if one did. Raises LocalProtocolError before the call was entered.
        """
        self._check_begun()
        return self._telling.reader()

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

    # -- what a media adapter uses -------------------------------------------------------------------------------------

    @property
    def transport(self) -> Transport:
        """The transport this call was made by."""
        return self._transport

    @property
    def sticky(self) -> bool:
        """Whether our membership is a sticky event (MSC4354), and not a state event."""
        return self._membership is MembershipFormat.STICKY

    @property
    def memberships(self) -> Sequence[RtcMembership]:
        """Every membership of the call, with MLS and without, oldest first: they say where media is published."""
        return self.session.memberships

    async def changed(self) -> None:
        """Wait until something has come in or become due, so that `memberships` may be others than they were."""
        await self._turned.wait()

    def ahead(self, job: Callable[[], Awaitable[None]]) -> None:
        """Have `job` done when the room's past was read, before we join, so that what it announces is in our first
        membership. Entering waits for it, and raises what it raises. Raises LocalProtocolError if that has begun."""
        if self._begun:
            raise LocalProtocolError("the call was entered: it is too late for what comes before")
        self._ahead = job

    def announce(self, focus: Sequence[Focus]) -> None:
        """Say in our membership where we publish media."""
        self.session.announce(focus, now())
        self._wake.set()

    def mark_heard(self, member_id: MemberId, *, heard: bool) -> None:
        """Say whether a member's frames open, as far as keys are concerned. Where keys are handed out, who is not heard
        for a while is asked for its key again."""
        self.session.mark_heard(member_id, now(), heard=heard)
        self._wake.set()

    def attach(self, sink: MediaSink) -> None:
        """Tell `sink` the keys of this moment, and every notice from now on, each before the application reads it."""
        for notice in self.session.key_notices():
            sink.tell(notice)
        self._sinks.append(sink)

    def detach(self, sink: MediaSink) -> None:
        """Tell it nothing more; nothing if it was not attached."""
        if sink in self._sinks:
            self._sinks.remove(sink)

    def tell(self, notice: MediaNotice) -> None:
        """Hand a notice of the media to whoever reads `notices`."""
        self._telling.tell(notice)

    # -- the loop ------------------------------------------------------------------------------------------------------

    @property
    def _goes_on(self) -> bool:
        return self._begun and not self._over.is_set()

    @property
    def _failed(self) -> BaseException | None:
        """The error that ended the call; None if it goes on, or came to its end."""
        return None if isinstance(self._end, CallOver) else self._end

    def _is_twin(self, other: "Call") -> bool:
        return (self._transport, self._scope) == (other._transport, other._scope)

    def _check_begun(self) -> None:
        if not self._begun:
            raise LocalProtocolError("the call was not entered")

    async def _until(self, event: asyncio.Event) -> None:
        """Wait for something that comes while the call goes on; raises why it is over if it does not."""
        if self._end is None:
            await event.wait()
        if self._end is not None:
            raise self._end

    async def _run(self, channel: Channel) -> None:
        reading = asyncio.ensure_future(channel.receive())
        waking = asyncio.ensure_future(self._wake.wait())
        try:
            while not self._over.is_set():
                due = None if self._undecided is not None else self.session.next_timer()
                timeout = None if due is None else max(0.0, due - now().monotonic)
                await asyncio.wait({reading, waking}, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                if waking.done():
                    self._wake.clear()
                    waking = asyncio.ensure_future(self._wake.wait())
                if reading.done():
                    self._receive(reading.result())
                    reading = asyncio.ensure_future(channel.receive())
                if self._undecided is None or self.session.phase is Phase.OVER:
                    self.session.tick(now())
                    self._step()
                    self._enter()
                    self._turned.set()
                    self._turned.clear()
        except TransportClosed as closed:
            self._lost = closed
            self.session.close(closed.reason)
            self._step()
        finally:
            reading.cancel()
            waking.cancel()
            await asyncio.gather(reading, waking, return_exceptions=True)

    def _records(self) -> dict[str, bytes]:
        return {**self._store.load(self._scope), **self._store.load(self._shared_scope)}

    def _receive(self, incoming: Sequence[Incoming]) -> None:
        if self._undecided is not None:
            self._undecided += incoming
            if not any(isinstance(item, HistoryComplete) for item in incoming):
                return
            incoming, self._undecided = self._undecided, None
            session = self.session
            own = session.user_id, session.device_id
            encryption = choose(incoming, session.slot_id, own, session.policy, now())
            LOGGER.info("the call is keyed by %s", encryption.value)
            if encryption is not session.encryption:
                # What the application has said of master keys meanwhile goes along.
                pins = dict(changed_pins(Pins(), session.pins))
                self.session = self._make(encryption, records={**self._records(), **pins})
        for item in incoming:
            try:
                self.session.receive(item, now())
            except RemoteProtocolError as error:
                LOGGER.info("refused %s: %s", type(item).__name__, error)
                if isinstance(item, RoomEvent):
                    event_id, sender = EventId(item.event_id), UserId(item.sender)
                    self._tell(EventRefused(event_id, sender, error.reason, error.where))
                elif isinstance(item, PostedKey) or (isinstance(item, ToDevice) and item.type in KEY_TYPES):
                    device = None if item.sender_device is None else DeviceId(item.sender_device)
                    self._tell(KeyRefused(UserId(item.sender), device, error.reason, error.where))

    def _enter(self) -> None:
        if self._entered.is_set():
            return
        if self.session.entered:
            self._entered.set()
        elif self.session.ready and not self._joined:
            self._joined = True  # once: whoever leaves before the homeserver has taken it does not come back
            self._start(self._join())

    async def _join(self) -> None:
        if self._ahead is not None:
            await self._ahead()
        if self.session.phase is not Phase.OVER:
            try:
                self.session.join(now())
            except MlsrtcError as error:
                self._finish(error)
            self._wake.set()

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
        for other in tuple(CALLS) if pins else ():
            mine = (other._store, other._shared_scope) == (self._store, self._shared_scope)
            if mine and other is not self:
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
        for sink in tuple(self._sinks):
            sink.tell(notice)
        self._telling.tell(notice)
        match notice:
            case SendKeySwitched():
                self._keyed.set()
            case Muted():
                self._keyed.clear()
            case Left(reason, detail):
                over = CallOver(reason, detail)
                over.__cause__ = self._lost
                self._finish(over)
            case _:
                pass

    def _finish(self, end: BaseException) -> None:
        """The call is over; the first to say why is right, and everybody who waits is told."""
        self._end = self._end or end
        for event in (self._over, self._entered, self._keyed):
            event.set()
        self._telling.close(self._failed)

    async def _close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._finish(CallOver("closed"))
        await self._stack.aclose()
