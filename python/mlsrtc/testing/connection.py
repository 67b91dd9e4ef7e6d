"""One device's connection to its homeserver, with the manners of a good driver: sync, back-fill, requests,
answers.

Knows homeserver, room and network; what it hands over are the values of `mlsrtc.wire.incoming` and
outcomes, in one list in the order of arrival. It never calls the client: `take` gives what has arrived,
`World.ready` says where.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from mlsrtc.outbox import Outcome, RateLimited, Request, ScheduleLeave, SendState
from mlsrtc.testing.homeserver import RETRY_MS, Homeserver, Reply
from mlsrtc.testing.network import Work
from mlsrtc.testing.room import DeviceName, StateKey, StoredEvent
from mlsrtc.wire.incoming import (
    DevicesChanged,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    Incoming,
    PostedKey,
    RoomEvent,
)
from mlsrtc.wire.names import (
    COMMIT,
    ENCRYPTED,
    KEYS_ELEMENT,
    MEMBER_TYPES,
    POWER_LEVELS,
    ROOM_MEMBER,
    SLOT_TYPES,
    TOMBSTONE,
    WORD,
)

# What a driver asks /messages for: all that a call is made of (docs/protocol.md, section 3.9).
HISTORY_TYPES = frozenset(
    {
        *MEMBER_TYPES,
        *SLOT_TYPES,
        COMMIT,
        WORD,
        ENCRYPTED,  # a sticky membership in an encrypted room
        POWER_LEVELS,
        TOMBSTONE,
        ROOM_MEMBER,
    }
)

ANSWER_TIMEOUT = 10.0  # seconds until a transport stops waiting for an answer


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request."""

    request_id: str
    outcome: Outcome


Arrival: TypeAlias = Incoming | Answer


@dataclass(frozen=True, slots=True)
class SyncToken:
    """Where a device's sync stands: what a driver keeps to go on after a restart."""

    timeline: int = 0
    sticky: int = 0
    in_room: bool = False


class Connection:
    """Made by `World.connect`. A device has one; a second one takes the place of the first.

    `take()` what arrived, `send(request)`, `pause()` and `resume()` the sync, `cut()` and `mend()` the
    whole link, `close()` it for ever (the process died). `history_types` is the filter of the back-fill.
    """

    def __init__(
        self,
        server: Homeserver,
        device: DeviceName,
        *,
        since: SyncToken | None = None,
        ready: Callable[["Connection"], None] = lambda connection: None,
    ) -> None:
        self.server = server
        self.device = device
        self.network = server.network
        self.open = True
        self.history_types = HISTORY_TYPES
        self._position = since or SyncToken()
        self._safe = self._position
        self._first = True  # nothing was told about the room yet
        self._arrived: deque[Arrival] = deque()
        self._ready = ready
        self._paused = False
        self._cut = False
        self._poll_due = False  # a sync answer is on its way
        self._last_sent = self._last_amended = 0.0
        self._changed: dict[str, None] = {}  # users whose devices changed since the last sync
        self._fills = 0  # gaps that are being filled
        self._outdated: dict[StateKey, None] = {}  # state of which a back-fill has shown an older event last
        mailbox = server.accounts.mailboxes.get(device)
        if mailbox is not None:
            mailbox.handed_over = 0
        server.accounts.wait_for_news(device, self._news)
        self._news()

    # -- the client's side --

    @property
    def token(self) -> SyncToken:
        """What a later connection can go on from without missing anything: it stands before a gap until
        that is filled."""
        return self._position if self._fills == 0 else self._safe

    def take(self) -> list[Arrival]:
        """All that arrived since the last call, in order."""
        taken = list(self._arrived)
        self._arrived.clear()
        return taken

    def send(self, request: Request) -> None:
        """Sends a request. Its `Answer` arrives later: after what it brought, or after a timeout as
        RateLimited. Requests reach the homeserver in order, unless `hostility.reorder` says otherwise."""
        network = self.network
        if self._cut or network.chance(network.hostility.failure):
            wait = ANSWER_TIMEOUT if self._cut else network.draw(network.latency.client)
            network.after(wait, lambda: self._answer(request.id, Reply(RateLimited(RETRY_MS))))
        else:
            moment = network.time + network.draw(network.latency.client)
            if network.hostility.reorder == 0.0:
                moment = self._last_sent = max(moment, self._last_sent)
            network.at(moment, lambda: self._reach(request))

    def pause(self) -> None:
        """Stops asking for news; requests still work. What piles up comes as one answer, `limited` if it
        is long."""
        self._paused = True

    def resume(self) -> None:
        """Goes on asking for news."""
        self._paused = False
        self._news()

    def cut(self) -> None:
        """Cuts the device off its homeserver: no news, and every request times out."""
        self._cut = True

    def mend(self) -> None:
        """Ends `cut`."""
        self._cut = False
        self._news()

    def devices_changed(self, user_id: str) -> None:
        """The next sync tells that a user's devices changed (`device_lists`)."""
        self._changed[user_id] = None
        self._news()

    def close(self) -> None:
        """The process behind it is gone: nothing arrives any more. What was sent has still been sent."""
        self.open = False
        self._arrived.clear()
        self.server.accounts.wait_for_news(self.device, None)

    # -- requests --

    def _reach(self, request: Request) -> None:
        match request:
            case SendState() | ScheduleLeave() if request.entry is not None:
                self._write_later(replace(request, content=self.server.content_of(request), entry=None))
                return
        detour = self.server.detour(request)
        work, messages = self.server.work_of(request)

        def arrive() -> None:
            self.network.serve(self.server.name, work, messages, act)

        def act() -> None:
            self._return(request, self.server.handle(self.device, request))

        self.network.after(detour, arrive)

    def _write_later(self, written: Request) -> None:
        """A transport has read the event that holds our entry, and writes it when it has the answer: others may write
        it in between."""
        network = self.network
        moment = network.time + network.draw(network.latency.client) + network.draw(network.latency.client)
        if network.hostility.reorder == 0.0:
            moment = self._last_amended = max(moment, self._last_amended)
        network.at(moment, lambda: self._reach(written))

    def _return(self, request: Request, reply: Reply) -> None:
        network = self.network
        if self._cut or network.chance(network.hostility.answer_loss):
            lost = Reply(RateLimited(RETRY_MS))
            network.after(ANSWER_TIMEOUT, lambda: self._answer(request.id, lost))
        else:
            network.after(network.draw(network.latency.client), lambda: self._answer(request.id, reply))

    def _answer(self, request_id: str, reply: Reply) -> None:
        self._hand_over([*reply.incoming, Answer(request_id, reply.outcome)])

    # -- sync --

    def _news(self) -> None:
        if self.open and not self._poll_due:
            self._poll_due = True
            self.network.serve(self.server.name, self._news_work(), 0, self._answer_poll)

    def _answer_poll(self) -> None:
        self.network.after(self.network.draw(self.network.latency.client), self._poll)

    def _news_work(self) -> Work:
        """What the homeserver has to do for the answer that is due."""
        timeline = self.server.room.timeline
        if len(timeline) <= self._position.timeline:
            return Work.SYNC_TO_DEVICE
        return Work.SYNC_EVENT if timeline[-1].event.state_key is None else Work.SYNC_STATE

    def _poll(self) -> None:
        self._poll_due = False
        if not self.open or self._paused or self._cut or self.device not in self.server.accounts.mailboxes:
            return
        arrivals: list[Arrival] = []
        if self._changed:
            arrivals.append(DevicesChanged(tuple(self._changed)))
            self._changed.clear()
        self._poll_to_device(arrivals)
        self._poll_room(arrivals)
        if not arrivals:
            return
        self._hand_over(arrivals)
        network = self.network
        if network.chance(network.hostility.duplicate):
            again: list[Arrival] = [one for one in arrivals if isinstance(one, RoomEvent | PostedKey)]
            network.after(network.draw((0.0, 2.0)), lambda: self._hand_over(again))

    def _poll_to_device(self, arrivals: list[Arrival]) -> None:
        mailbox = self.server.accounts.mailboxes[self.device]
        page = mailbox.page(self.server.limits.to_device_page)
        arrivals.extend(page)
        if len(mailbox.waiting) > len(page):
            self._news()

    def _poll_room(self, arrivals: list[Arrival]) -> None:
        room, user, since = self.server.room, self.device[0], self._position
        end = len(room.timeline)
        joined = room.membership(user) == "join"
        if not joined and not since.in_room:
            self._position = SyncToken(end, len(room.sticky), False)
            return
        entering = joined and (not since.in_room or since.timeline < room.first_of_stay(user))
        first = 0 if entering else since.timeline
        window, limited, hidden = self._window(first, end)
        start = window[0] if window else end
        gap = limited or (entering and hidden)
        if gap:
            arrivals.append(GapOpened())
        if gap or entering:
            self._show(self._state_before(first, start), arrivals)
        sticky_end = self._poll_sticky(0 if entering else since.sticky, set(window), arrivals)
        self._show([room.timeline[position] for position in window], arrivals)
        if self._fills == 0:
            self._safe = since
        self._position = SyncToken(end, sticky_end, joined)
        if gap:
            self._fills += 1
            self._fill(first, start, hidden=hidden and entering, keys=not entering)
        elif entering or self._first:
            self._complete(arrivals)
        self._first = False

    def _window(self, first: int, end: int) -> tuple[list[int], bool, bool]:
        """The newest visible positions of first..end, whether there are more, and whether some are hidden."""
        room, user, limit = self.server.room, self.device[0], self.server.limits.timeline
        window: list[int] = []
        hidden = False
        for position in range(end - 1, first - 1, -1):
            stored = room.timeline[position]
            state_key = stored.event.state_key
            # What is the room's state today is shown whoever may read the rest (Synapse: always_include_ids).
            current = state_key is not None and room.state.get((stored.event.type, state_key)) is stored
            if not current and not room.visible(user, position):
                hidden = True
            elif len(window) == limit:
                return window[::-1], True, hidden or not room.visible(user, first)
            else:
                window.append(position)
        return window[::-1], False, hidden

    def _state_before(self, first: int, start: int) -> list[StoredEvent]:
        """The `state` section: for each key the last state event of the gap. Visibility does not hide
        state."""
        last: dict[tuple[str, str], StoredEvent] = {}
        for stored in self.server.room.timeline[first:start]:
            if stored.event.state_key is not None:
                last[stored.event.type, stored.event.state_key] = stored
        return list(last.values())

    def _poll_sticky(self, first: int, window: set[int], arrivals: list[Arrival]) -> int:
        """The `msc4354_sticky` section: unexpired sticky events that the timeline section does not hold.

        History visibility does not hide them (MSC4354).
        """
        room, now = self.server.room, self.network.wall_ms
        shown: list[StoredEvent] = []
        for place in range(first, len(room.sticky)):
            stored = room.sticky[place]
            until = stored.sticky_until_ms
            if until is None or until <= now or room.position(stored.event.event_id) in window:
                continue
            if len(shown) == self.server.limits.sticky_page:
                self._news()
                self._show(shown, arrivals)
                return place
            shown.append(stored)
        self._show(shown, arrivals)
        return len(room.sticky)

    # -- back-fill --

    def _fill(self, first: int, before: int, *, hidden: bool, keys: bool) -> None:
        """Asks /messages, newest page first, until the gap first..before is closed. keys: whether media keys are read
        as well: of what was said before it came, a device in the room has no use for them."""
        network = self.network

        def page() -> None:
            if not self.open:
                return
            if self._cut:
                network.after(RETRY_MS / 1000, page)
                return
            room, user = self.server.room, self.device[0]
            found: list[StoredEvent] = []
            position = before
            while position > first and len(found) < self.server.limits.page:
                position -= 1
                stored = room.timeline[position]
                if self._wanted(stored, keys=keys) and room.visible(user, position):
                    found.append(stored)
            arrivals: list[Arrival] = []
            self._show(found[::-1], arrivals)
            for stored in found:
                key = stored.event.type, stored.event.state_key or ""
                if room.state.get(key, stored) is not stored:
                    self._outdated[key] = None
            if position > first:
                self._fill(first, position, hidden=hidden, keys=keys)
            else:
                if hidden:
                    arrivals.append(HistoryRefused("M_FORBIDDEN"))
                self._fills -= 1
                self._complete(arrivals)
            self._hand_over(arrivals)

        network.after(network.draw(network.latency.client) + network.draw(network.latency.client), page)

    def _wanted(self, stored: StoredEvent, *, keys: bool) -> bool:
        if stored.event.type == KEYS_ELEMENT:
            return keys
        type = stored.event.type if stored.ciphertext is None else ENCRYPTED
        return type in self.history_types

    def _complete(self, arrivals: list[Arrival]) -> None:
        """Of present state, what was told last is to be the newest, whatever the back-fill has shown since."""
        if self._fills == 0:
            self._show([self.server.room.state[key] for key in self._outdated], arrivals)
            self._outdated.clear()
            arrivals.append(HistoryComplete())

    # -- handing over --

    def _show(self, events: list[StoredEvent], arrivals: list[Arrival]) -> None:
        for stored in events:
            for event in self.server.show(stored, self.device):
                arrivals.append(self._posted(event, stored) if event.type == KEYS_ELEMENT else event)

    def _posted(self, event: RoomEvent, stored: StoredEvent) -> PostedKey:
        """A key in a room event, with the device whose Megolm session it came by."""
        author = stored.device if event.decrypted else None
        device, key = (None, None) if author is None else (author[1], self.server.accounts.device_key(author))
        return PostedKey(event.sender, event.event_id, event.content, event.decrypted, device, key)

    def _hand_over(self, arrivals: list[Arrival]) -> None:
        if self.open and arrivals:
            self._arrived.extend(arrivals)
            self._ready(self)
