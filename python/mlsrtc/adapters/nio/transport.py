"""The matrix-nio transport: many calls on one client and its one sync loop. Knows nio; decides nothing.

nio hands each sync response to callbacks with the raw answer beside it: the sticky section, which nio does
not know, and event types it does not know are read from there. There is never a second sync.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import nio

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.nio import megolm
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.device import device_for
from mlsrtc.adapters.nio.history import Raw, events_of, sticky_duration, time_of
from mlsrtc.adapters.nio.http import Failed, loads
from mlsrtc.adapters.nio.olm import OlmDoor, Opened, Told
from mlsrtc.adapters.nio.unforeseen import Logged
from mlsrtc.adapters.store import MemoryStore, Store
from mlsrtc.adapters.transport import Transport, TransportClosed, TransportError
from mlsrtc.errors import LocalProtocolError
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.media.shared import SharedKey
from mlsrtc.policy import MLS, Encryption, Policy
from mlsrtc.recovery import Bucket
from mlsrtc.wire.membership import MembershipFormat
from mlsrtc.wire.names import ENCRYPTED, STICKY_MEMBER_TYPES

ATTACHMENT_LIMIT = 8 * 1024 * 1024  # bytes; the tree and Welcome of 1,000 members are below 1 MB
SYNC_TIMEOUT_MS = 30_000
# A join of 50 devices within a second would leave a gap in every sync at the default of 10 events. 100 is the
# most that Synapse gives (filter_timeline_limit). The first sync, of every room, stays at the default.
SYNC_FILTER = {"room": {"timeline": {"limit": 100}}}
SYNC_ERROR_PAUSE = 1.0  # seconds; nio's loop asks again at once after an error answer
STICKY_KEPT = 1000  # sticky events kept per room for calls that are entered later
STICKY_LIFE_MS = 3600 * 1000  # MSC4354: the longest an event is sticky

_STICKY_TYPES = STICKY_MEMBER_TYPES | {ENCRYPTED}

logger = logging.getLogger(__name__)


class NioTransport:
    """A transport over a logged-in `nio.AsyncClient` (0.26).

    sync: True runs `client.sync_forever` while the context manager is open; False hooks the loop that the
    application runs itself, with `sync_forever`, which runs the response callbacks.
    attachment_limit: bytes of the largest attachment that is downloaded.
    """

    def __init__(self, client: nio.AsyncClient, *, sync: bool = True, attachment_limit: int = ATTACHMENT_LIMIT) -> None:
        self._client = client
        self._sync = sync
        self._attachment_limit = attachment_limit
        self._channels: list[NioChannel] = []
        self._olm = OlmDoor(client, self._on_olm)
        self._budget = Bucket()  # for the messages with keys of all calls
        self._sticky: dict[str, dict[str, Raw]] = {}
        self._loop_task: asyncio.Task[None] | None = None
        self._end: TransportClosed | None = None

    @property
    def user_id(self) -> str:
        """Our Matrix user."""
        return str(self._client.user_id)

    @property
    def device_id(self) -> str:
        """Our Matrix device."""
        return str(self._client.device_id)

    @property
    def client(self) -> nio.AsyncClient:
        """The client this transport stands on."""
        return self._client

    async def __aenter__(self) -> Self:
        if not self._client.logged_in:
            raise LocalProtocolError("the nio client is not logged in")
        self._olm.open()
        self._client.add_response_callback(self._on_response, (nio.SyncResponse, nio.SyncError))
        if self._sync:
            self._loop_task = asyncio.create_task(self._run(), name="mlsrtc nio sync")
            first = asyncio.create_task(self._client.synced.wait())
            try:
                # `synced` fires after the first sync and the upload of our device keys that follows it.
                await asyncio.wait({first, self._loop_task}, return_when=asyncio.FIRST_COMPLETED)
            except BaseException:
                await self._leave()
                raise
            finally:
                first.cancel()
            if self._end is not None:
                await self._leave()
                raise self._end
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._leave()

    async def _leave(self) -> None:
        self._client.response_callbacks[:] = [
            callback for callback in self._client.response_callbacks if callback.func != self._on_response
        ]
        if self._loop_task is not None:
            self._loop_task.cancel()
            await asyncio.gather(self._loop_task, return_exceptions=True)
            self._loop_task = None
        await self._olm.close()
        await self._close_channels(TransportClosed("closed"))

    async def _run(self) -> None:
        # A client that goes on from a stored token knows its rooms only after a full state.
        full_state = not self._client.rooms
        try:
            await self._client.sync_forever(
                timeout=SYNC_TIMEOUT_MS,
                sync_filter=SYNC_FILTER,
                first_sync_filter={},
                full_state=full_state,
            )
            end = TransportClosed("sync_stopped")
        except asyncio.CancelledError:
            raise
        except Exception as error:
            logger.warning("the sync loop ended: %s", type(error).__name__)
            # After its own `logout` the client asks nothing more, and its loop ends with an error.
            reason = "sync_stopped" if self._client.logged_in else "logged_out"
            end = TransportClosed(reason, type(error).__name__)
            end.__cause__ = error
        self._end = self._end or end
        await self._close_channels(self._end)

    async def _close_channels(self, end: TransportClosed) -> None:
        for channel in self._channels:
            await channel.close(end)

    def call(
        self,
        room_id: str,
        *,
        slot_id: str = "m.call#ROOM",
        store: Store | None = None,
        encryption: Encryption | SharedKey = MLS,
        policy: Policy | None = None,
        intent: str = "audio",
        membership: MembershipFormat = MembershipFormat.STATE,
    ) -> Call:
        """A call in a room, joined while its block is open: ``async with transport.call(room_id) as call: ...``

        slot_id: MSC4143's; the default is the room's own call. store: keeps the call over restarts; by default in
        memory. encryption: how the call is keyed: `MLS`, `PER_MEMBER`, `SharedKey(...)`, or `AUTO`, by what the room
        says. intent:
        "audio" or "video", shown to the others. membership: which event our membership is written as, and so who sees
        us: the state event of Element Call; a sticky event (MSC4354), which the homeserver must have; or that of
        Famedly's clients, whose calls have no MLS. Entering raises CannotSend if the room's power levels forbid what a
        call needs, and LocalProtocolError if the client has no device keys.

        All calls of a transport share one budget for handing out keys; of their policies' `key_messages_per_minute` the
        lowest counts.
        """
        return Call(
            self,
            device_for(self._client),
            RoomId(room_id),
            SlotId(slot_id),
            store or MemoryStore(),
            encryption=encryption,
            policy=policy or Policy(),
            intent=intent,
            membership=membership,
            budget=self._budget,
        )

    @asynccontextmanager
    async def subscribe(self, room_id: str, slot_id: str) -> AsyncIterator[NioChannel]:
        """A channel for one call, as `Transport.subscribe`.

        Raises TransportError if our device keys are not on the server and cannot be put there now, and
        TransportClosed if the sync has ended.
        """
        if self._end is not None:
            raise self._end
        try:
            await megolm.upload_device_keys(self._client)
        except Failed as failed:
            raise TransportError(f"the device keys cannot be uploaded: {failed.outcome}") from failed
        channel = NioChannel(self._client, room_id, slot_id, olm=self._olm, attachment_limit=self._attachment_limit)
        self._channels.append(channel)
        try:
            channel.open(self._sticky.get(room_id, {}).values())
            yield channel
        finally:
            self._channels.remove(channel)
            await channel.close(TransportClosed("closed"))

    async def _on_response(self, response: nio.SyncResponse | nio.SyncError) -> None:
        if isinstance(response, nio.SyncError):
            await self._on_error(response)
            return
        answer = response.transport_response
        if answer is None:
            return
        raw = loads(await answer.read())
        self._mend_key_count(raw)
        self._olm.fallback_keys(raw.get("device_unused_fallback_key_types"))
        # The token this very request carried, whoever sent it.
        since = answer.url.query.get("since")
        rooms = raw.get("rooms", {})
        for kind in ("join", "leave"):
            for room_id, section in rooms.get(kind, {}).items():
                self._keep_sticky(room_id, section)
                for channel in self._channels:
                    if channel.room_id == room_id:
                        _hand(partial(channel.on_sync, joined=kind == "join"), section, since)
        users = _changed_users(raw.get("device_lists"))
        if users:
            self._olm.devices_changed(users)
            for channel in self._channels:
                _hand(channel.on_device_lists, users)
        to_device = events_of(raw.get("to_device"))
        if to_device:
            for channel in self._channels:
                _hand(channel.on_to_device, to_device)

    def _on_olm(self, told: Told) -> None:
        if isinstance(told, Opened):
            for channel in self._channels:
                _hand(channel.on_opened, told)
        else:
            for channel in self._channels:
                _hand(channel.on_not_opened, told)

    async def _on_error(self, error: nio.SyncError) -> None:
        if error.status_code == "M_UNKNOWN_TOKEN":
            self._end = TransportClosed("logged_out", error.status_code)
            await self._close_channels(self._end)
            if self._sync:
                self._client.stop_sync_forever()
        elif self._sync:
            logger.warning("sync was answered %s", error.status_code)
            await asyncio.sleep(SYNC_ERROR_PAUSE)

    def _mend_key_count(self, raw: Mapping[str, Any]) -> None:
        """nio reads a count of zero one-time keys, and one that is left out because it is zero (client-server API,
        "Extensions to /sync"), as "not told": a drained device would stay unreachable."""
        counts = raw.get("device_one_time_keys_count")
        count = counts.get("signed_curve25519", 0) if isinstance(counts, dict) else 0
        if self._client.olm is not None and count == 0:
            self._client.olm.uploaded_key_count = 0

    def _keep_sticky(self, room_id: str, section: Mapping[str, Any]) -> None:
        """Sticky events of a sync, for a call that is entered later: the server does not repeat them."""
        kept = self._sticky.setdefault(room_id, {})
        for part in ("msc4354_sticky", "timeline"):
            for event in events_of(section.get(part)):
                if sticky_duration(event) is not None and event.get("type") in _STICKY_TYPES:
                    kept[str(event.get("event_id"))] = event
        oldest = time.time_ns() // 1_000_000 - STICKY_LIFE_MS
        for event_id in [key for key, event in kept.items() if time_of(event) < oldest]:
            del kept[event_id]
        while len(kept) > STICKY_KEPT:
            del kept[next(iter(kept))]


def _hand(take: Callable[..., None], *values: object) -> None:
    """Hand something to one channel: whatever comes of it, the others get theirs and the sync loop goes on."""
    with Logged(logger, "a call has missed what a sync brought"):
        take(*values)


def _changed_users(lists: object) -> tuple[str, ...]:
    """The users in a sync's `device_lists`, whether their devices changed or we are told of them no more."""
    if not isinstance(lists, dict):
        return ()
    parts = [part for part in (lists.get("changed"), lists.get("left")) if isinstance(part, list)]
    return tuple(dict.fromkeys(user for part in parts for user in part if isinstance(user, str)))


if TYPE_CHECKING:

    def _conforms(transport: NioTransport) -> Transport:
        """mypy compares the two shapes."""
        return transport
