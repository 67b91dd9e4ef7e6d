"""One room of a nio client, for one call: what its syncs bring, made complete, and a way out.

Live events are handed over at once. While a back-fill or the gap of a limited sync is being read, state
events that arrive are kept and handed over again after it, so that of each state the last told is the newest.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import nio

from mlsrtc.adapters.interest import GAP, HISTORY, TO_DEVICE
from mlsrtc.adapters.nio import history
from mlsrtc.adapters.nio.feed import Feed
from mlsrtc.adapters.nio.history import Raw, Reach, events_of, time_of
from mlsrtc.adapters.nio.http import Failed
from mlsrtc.adapters.nio.olm import NotOpened, OlmDoor, Opened
from mlsrtc.adapters.nio.posted import PostedKeys
from mlsrtc.adapters.nio.requests import Executor
from mlsrtc.adapters.nio.sieve import Sieve
from mlsrtc.adapters.transport import TransportClosed, TransportError
from mlsrtc.outbox import Outcome, RateLimited, Refused, Request
from mlsrtc.wire import names
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import (
    DevicesChanged,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    Incoming,
    PostedKey,
    RoomEvent,
    ToDevice,
    Unopened,
)

RETRY_MIN = 0.1  # seconds between two tries to read history, whatever the homeserver says

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Gap:
    """A limited sync: what lies between its `since` (None: it was a first sync) and its `prev_batch`."""

    since: str | None
    prev_batch: str | None


class NioChannel:
    """`mlsrtc.adapters.transport.Channel` over a nio client. Made by `NioTransport.subscribe`."""

    def __init__(
        self, client: nio.AsyncClient, room_id: str, slot_id: str, *, olm: OlmDoor, attachment_limit: int
    ) -> None:
        self._client = client
        self._room_id = room_id
        self._slot_id = slot_id
        self._feed = Feed()
        self._executor = Executor(
            client,
            room_id,
            olm=olm,
            tell=self._feed.put,
            relations=self._tell_relations,
            attachment_limit=attachment_limit,
        )
        self._sieve = Sieve(client, room_id)
        self._posted = PostedKeys(client, room_id, olm.learn)
        self._proving: asyncio.Task[None] | None = None
        self._sticky: list[Raw] = []
        self._held: list[Raw] = []
        self._gaps: list[_Gap] = []
        self._read_back = False
        self._filling: asyncio.Task[None] | None = None

    @property
    def room_id(self) -> str:
        """The room this channel is for."""
        return self._room_id

    def open(self, sticky: Iterable[Raw]) -> None:
        """Begin the back-fill. sticky: what earlier syncs brought in their sticky section."""
        self._sticky = list(sticky)
        self._start_filling()

    async def close(self, end: TransportClosed) -> None:
        """End the feed and whatever is being read."""
        self._feed.close(end)
        tasks = [task for task in (self._filling, self._proving) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def receive(self, timeout: float | None = None) -> Sequence[Incoming]:
        """`Channel.receive`."""
        return await self._feed.receive(timeout)

    def __aiter__(self) -> AsyncIterator[Incoming]:
        return self._feed.iterate()

    async def send(self, request: Request) -> Outcome:
        """`Channel.send`."""
        return await self._executor.send(request)

    async def state(self) -> Sequence[RoomEvent]:
        """`Channel.state`."""
        try:
            present = await history.state(self._client, self._room_id)
        except Failed as failed:
            raise TransportError(f"the state of {self._room_id} cannot be read: {failed.outcome}") from failed
        return [event for event in map(self._sieve.event, present) if event is not None]

    # ---- what the sync loop brings ----

    def on_sync(self, section: Mapping[str, Any], since: str | None, *, joined: bool) -> None:
        """One room section of a sync response, as the homeserver gave it."""
        timeline = section.get("timeline")
        timeline = timeline if isinstance(timeline, dict) else {}
        if joined and timeline.get("limited") is True:
            prev_batch = timeline.get("prev_batch")
            self._gaps.append(_Gap(since, prev_batch if isinstance(prev_batch, str) else None))
            self._feed.put([GapOpened()])
            self._start_filling()
        live: list[Raw] = [
            *events_of(section.get("state")),
            *events_of(timeline),
            *events_of(section.get("msc4354_sticky")),
        ]
        if self._filling is not None:
            self._held += [event for event in live if event.get("state_key") is not None]
        self._feed.put(self._sieve.fresh(live))
        self._tell_keys(self._posted.fresh(live))

    def on_to_device(self, events: Iterable[Raw]) -> None:
        """To-device events of a sync, in the clear: a room key may make readable what was not."""
        for event in events:
            kind, sender, content = event.get("type"), event.get("sender"), event.get("content")
            if not isinstance(kind, str) or not isinstance(sender, str) or not isinstance(content, dict):
                continue
            self._to_device(ToDevice(kind, sender, content))
        self._feed.put(self._sieve.readable())
        self._tell_keys(self._posted.readable())

    def on_opened(self, event: Opened) -> None:
        """A to-device event that came Olm-encrypted."""
        device = event.device
        key = decode_base64(device.ed25519)
        self._to_device(ToDevice(event.type, device.user_id, event.content, device.device_id, key))

    def on_not_opened(self, event: NotOpened) -> None:
        """A to-device event that came Olm-encrypted and is lost, if it may have been for a call."""
        if event.type is None or event.type in TO_DEVICE:
            store = self._client.olm.device_store
            known = event.sender in store.users
            device = store.device_from_sender_key(event.sender, event.sender_key) if known else None
            self._feed.put([Unopened(event.sender, event.reason, None if device is None else device.device_id)])

    def _tell_keys(self, keys: Sequence[PostedKey]) -> None:
        self._feed.put(keys)
        if self._posted.unproven and (self._proving is None or self._proving.done()):
            self._proving = asyncio.create_task(self._prove(), name=f"mlsrtc keys {self._room_id}")

    async def _prove(self) -> None:
        while self._posted.unproven:
            self._feed.put(await self._posted.prove())

    def _to_device(self, event: ToDevice) -> None:
        if event.type in (*TO_DEVICE, names.DUMMY) and event.content.get("room_id", self._room_id) == self._room_id:
            self._feed.put([event])

    def on_device_lists(self, user_ids: tuple[str, ...]) -> None:
        """The users whose devices a sync says have changed."""
        self._feed.put([DevicesChanged(user_ids)])

    # ---- history ----

    def _start_filling(self) -> None:
        if self._filling is None:
            self._filling = asyncio.create_task(self._fill(), name=f"mlsrtc history {self._room_id}")

    async def _fill(self) -> None:
        """Read back and close gaps until nothing is open, then tell it. Limits of the homeserver are kept."""
        try:
            while self._gaps or not self._read_back:
                try:
                    if not self._read_back:
                        await self._enter()
                        self._read_back = True
                    else:
                        await self._close(self._gaps[0])
                        self._gaps.pop(0)
                except Failed as failed:
                    if isinstance(failed.outcome, RateLimited):
                        await asyncio.sleep(max(failed.outcome.retry_after_ms / 1000, RETRY_MIN))
                        continue
                    self._refused(failed.outcome)
                    if self._read_back:
                        self._gaps.pop(0)
                    self._read_back = True
            held, self._held = self._held, []
            self._feed.put([*self._sieve.fresh(held), HistoryComplete()])
            self._filling = None
        except Exception as error:
            logger.exception("reading the history of %s failed", self._room_id)
            end = TransportClosed("sync_stopped", f"reading the history of {self._room_id} failed")
            end.__cause__ = error
            self._feed.close(end)

    def _refused(self, outcome: Refused) -> None:
        self._feed.put([HistoryRefused(outcome.errcode)])

    async def _enter(self) -> None:
        """The first back-fill of a call: timeline, relations of its roots, present state, sticky events."""
        present = await history.state(self._client, self._room_id)
        encrypted_room = any(event.get("type") == names.ROOM_ENCRYPTION for event in present)
        reach = Reach(self._slot_id, time.time_ns() // 1_000_000)
        reach.note([*present, *self._sticky])
        found: list[Raw] = []
        ended, cut = True, False
        try:
            async for page in history.pages(self._client, self._room_id, HISTORY):
                found += page
                if reach.look(page):
                    ended = False
                    break
        except history.TooLong:
            ended, cut = False, True
        encrypted: list[Raw] = []
        encrypted_cut = False
        if encrypted_room:
            # Encrypted memberships hide their type: the chat is read as well, as far as the call reaches.
            try:
                async for page in history.pages(self._client, self._room_id, (names.ENCRYPTED,)):
                    encrypted += page
                    if page and max(time_of(event) for event in page) < reach.bound:
                        break
            except history.TooLong:
                encrypted_cut = True
            reach.note(encrypted)
        related: list[Raw] = []
        refusal: Refused | None = None
        for event_id in reach.root_events()[: history.ROOTS]:
            try:
                named = await history.relations(self._client, self._room_id, event_id)
                related += named.events
                cut = cut or not named.whole
            except Failed as failed:
                if isinstance(failed.outcome, RateLimited):
                    raise
                # 404 is an event id that somebody made up; 403 is one that we may not see.
                if failed.outcome.status == 403:
                    refusal = failed.outcome
        reach.note(related)
        if refusal is not None:
            self._refused(refusal)
        elif encrypted_cut or (cut and not ended and not reach.met):
            # What the call is built on may lie further back: who is in it is asked instead. If /messages came to its
            # end nothing is missing: any number of events that are no business of ours may refer to a root.
            self._feed.put([HistoryRefused(history.TOO_LONG)])
        elif ended and history.may_be_hidden(str(self._client.user_id), present):
            # /messages leaves out what we may not see, and says nothing of it.
            self._feed.put([HistoryRefused("M_FORBIDDEN")])
        for part in (reversed(found), reversed(encrypted), related, present, self._sticky):
            self._feed.put(self._sieve.fresh(part))

    async def _close(self, gap: _Gap) -> None:
        """Read what a limited sync left out."""
        types = (*GAP, names.ENCRYPTED) if self._sieve.room_encrypted else GAP
        reach = Reach(self._slot_id, time.time_ns() // 1_000_000)
        found: list[Raw] = []
        try:
            async for page in history.pages(self._client, self._room_id, types, start=gap.prev_batch, stop=gap.since):
                found += page
                enough = reach.look(page)
                # After a first sync there is no token to stop at: what is known, or reaches far enough, does.
                known = bool(page) and all(self._sieve.has_seen(event) for event in page)
                if gap.since is None and (enough or known):
                    break
        except history.TooLong:
            self._feed.put([HistoryRefused(history.TOO_LONG)])
        self._feed.put(self._sieve.fresh(reversed(found)))
        self._tell_keys(self._posted.fresh(reversed(found)))

    async def _tell_relations(self, event_id: str) -> None:
        """FetchRelations. Raises Failed; a refusal is told in the feed as well, and so is that not all was read."""
        try:
            related = await history.relations(self._client, self._room_id, event_id)
            self._feed.put(self._sieve.fresh(related.events))
            if not related.whole:
                self._feed.put([HistoryRefused(history.TOO_LONG)])
        except Failed as failed:
            if isinstance(failed.outcome, Refused) and failed.outcome.status == 403:
                self._refused(failed.outcome)
            raise
