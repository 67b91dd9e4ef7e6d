"""Reading a room back by /messages, /relations and /state. Knows how far back a call reaches, and no queue.

Whoever enters reads memberships, commits and words with a type filter, so a chat of thousands of messages
costs nothing (docs/protocol.md, section 3.9).
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import nio

from mlsrtc.adapters.nio.http import LIST, Failed, ask, demand, room_path, with_query
from mlsrtc.outbox import RateLimited
from mlsrtc.wire.names import BLOCK, COMMIT, ROOM_CREATE, ROOM_MEMBER, STATE_MEMBER, STICKY_MEMBER_TYPES, WORD

Raw: TypeAlias = Mapping[str, Any]
"""An event as the homeserver gave it."""

PAGE = 100  # events a page is asked for
PAGES = 50  # of one reading, of /messages or /relations: a bogus root that somebody names costs this much, no more
TOO_LONG = "M_TOO_LARGE"  # the errcode told of a reading that these pages did not bring to its end
ROOTS = 8  # roots whose relations are read when a call is entered
REACH_MS = 4 * 3600 * 1000  # a membership lives at most this long (docs/protocol.md, J)


class TooLong(Exception):
    """PAGES were read, and there is more."""


class Reach:
    """How far back the history of one slot has to be read: to the roots that its newest commits name.

    Two fixed bounds, so that calls that follow each other do not lead ever further back: commits and words of
    the last REACH_MS name the roots, and the memberships that a root may add are at most REACH_MS older.
    The youngest event of a page decides: one event with an invented old time does not end the reading.
    """

    def __init__(self, slot_id: str, now_ms: int) -> None:
        self._slot_id = slot_id
        self._recent = now_ms - REACH_MS
        self._named: dict[str, set[str]] = {}  # roots, and the users who named each
        self._root_times: dict[str, int] = {}
        self._root_events: dict[str, dict[str, None]] = {}  # event ids of roots by who named them, newest first
        self._members: set[str] = set()  # users who have, or had, a membership
        self._youngest: int | None = None  # of the last page, milliseconds

    @property
    def bound(self) -> int:
        """What is older than this (milliseconds) is not needed once every root has been seen."""
        return min(
            [
                self._recent,
                *(self._root_times[root] - REACH_MS for root in self._named.keys() & self._root_times.keys()),
            ]
        )

    @property
    def complete(self) -> bool:
        """Whether every root that was named has been seen."""
        return self._named.keys() <= self._root_times.keys()

    @property
    def met(self) -> bool:
        """Whether what was read is enough: it reaches past the bound, and every root that somebody with a membership
        named was seen. What others name is read for, and not missed: anybody can name a root that is not there."""
        lacking = self._named.keys() - self._root_times.keys()
        return self._is_past_bound and all(self._named[root].isdisjoint(self._members) for root in lacking)

    def look(self, page: Iterable[Raw]) -> bool:
        """Take in one page, newest first; True if nothing older is needed."""
        self._youngest = self.note(page)
        return self.complete and self._is_past_bound

    def note(self, events: Iterable[Raw]) -> int | None:
        """Take in events that are no page, newest first. Returns the time of the youngest, milliseconds."""
        youngest = None
        for event in events:
            time = event.get("origin_server_ts")
            content = event.get("content")
            if not isinstance(time, int) or not isinstance(content, dict):
                continue
            youngest = time if youngest is None else max(youngest, time)
            kind, sender = event.get("type"), str(event.get("sender"))
            if kind == STATE_MEMBER or kind in STICKY_MEMBER_TYPES or BLOCK in content:
                self._members.add(sender)
            elif kind in (COMMIT, WORD) and content.get("slot_id") == self._slot_id:
                self._note(event, content, time, sender)
        return youngest

    def root_events(self) -> list[str]:
        """The event ids of roots, those first that are most likely the call's: named by somebody with a membership, and
        the newest of those that this user named. So one user crowds out no root that another names."""
        ranks: dict[str, tuple[bool, int]] = {}
        for sender, event_ids in self._root_events.items():
            for rank, event_id in enumerate(event_ids):
                own = sender not in self._members, rank
                ranks[event_id] = min(own, ranks.get(event_id, own))
        return sorted(ranks, key=lambda event_id: ranks[event_id])

    @property
    def _is_past_bound(self) -> bool:
        return self._youngest is not None and self._youngest < self.bound

    def _note(self, event: Raw, content: Mapping[str, Any], time: int, sender: str) -> None:
        root = content.get("root")
        if not isinstance(root, str):
            return
        named = self._root_events.setdefault(sender, {})
        if event.get("type") == COMMIT and content.get("parent") is None:
            self._root_times.setdefault(root, time)
            if isinstance(event_id := event.get("event_id"), str):
                named.setdefault(event_id)
            return
        if time >= self._recent:
            self._named.setdefault(root, set()).add(sender)
            related = content.get("m.relates_to")
            if isinstance(related, dict) and isinstance(related.get("event_id"), str):
                named.setdefault(related["event_id"])


async def pages(
    client: nio.AsyncClient,
    room_id: str,
    types: Sequence[str],
    *,
    start: str | None = None,
    stop: str | None = None,
) -> AsyncIterator[list[Raw]]:
    """Pages of /messages backwards, newest event first. start and stop are sync tokens.

    Raises Failed, and TooLong after PAGES of them if there is more.
    """
    wanted = json.dumps({"types": list(types)})
    for _ in range(PAGES):
        query: dict[str, str | int | None] = {
            "dir": "b",
            "limit": PAGE,
            "filter": wanted,
            "from": start,
            "to": stop,
        }
        answer = await demand(client, "GET", with_query(room_path(room_id, "messages"), query))
        yield events_of(answer, "chunk")
        start = answer.get("end")
        if not isinstance(start, str):
            return
    raise TooLong


@dataclass(frozen=True, slots=True)
class Related:
    """An event and what refers to it, oldest first. `whole`: nothing that refers to it was left out; the oldest would
    be."""

    events: Sequence[Raw]
    whole: bool


async def relations(client: nio.AsyncClient, room_id: str, event_id: str) -> Related:
    """The event and all that refer to it with m.reference, as far as PAGES reach. Raises Failed."""
    found: list[Raw] = []
    target = room_path(room_id, "relations", event_id, "m.reference", version="v1")
    start: str | None = None
    for _ in range(PAGES):
        answer = await demand(client, "GET", with_query(target, {"dir": "b", "limit": PAGE, "from": start}))
        found += events_of(answer, "chunk")
        following = answer.get("next_batch")
        start = following if isinstance(following, str) else None
        if start is None:
            break
    root = await ask(client, "GET", room_path(room_id, "event", event_id))
    if not root.ok and isinstance(root.failure(), RateLimited):
        raise Failed(root.failure())
    return Related([*([root.body] if root.ok and _is_event(root.body) else []), *reversed(found)], whole=start is None)


async def state(client: nio.AsyncClient, room_id: str) -> list[Raw]:
    """The present state of the room. Raises Failed."""
    return events_of(await demand(client, "GET", room_path(room_id, "state")), LIST)


def may_be_hidden(user_id: str, present: Iterable[Raw]) -> bool:
    """Whether history visibility may hide from us what was sent before we joined, by the present state."""
    visibility, creator, own = "shared", None, None
    for event in present:
        content = event.get("content")
        content = content if isinstance(content, dict) else {}
        match event.get("type"):
            case "m.room.history_visibility":
                visibility = content.get("history_visibility", "shared")
            case kind if kind == ROOM_CREATE:
                creator = event.get("sender")
            case kind if kind == ROOM_MEMBER and event.get("state_key") == user_id:
                own = event
    if visibility not in ("joined", "invited") or creator == user_id or own is None:
        return False
    # A changed display name is a new member event of one who was there before.
    unsigned = own.get("unsigned")
    before = unsigned.get("prev_content") if isinstance(unsigned, dict) else None
    return not (isinstance(before, dict) and before.get("membership") == "join")


def events_of(section: object, field: str = "events") -> list[Raw]:
    """The events of a part of an answer; what is none is left out."""
    events = section.get(field) if isinstance(section, Mapping) else None
    return [event for event in events if _is_event(event)] if isinstance(events, list) else []


def _is_event(value: Any) -> bool:
    # To-device events have no id.
    return isinstance(value, dict) and all(isinstance(value.get(name, ""), str) for name in ("type", "event_id"))


def time_of(event: Raw) -> int:
    """origin_server_ts, milliseconds; 0 for none."""
    value = event.get("origin_server_ts")
    return value if isinstance(value, int) else 0


def sticky_duration(event: Raw) -> int | None:
    """For how many milliseconds an event is sticky (MSC4354); None: it is not."""
    sticky = event.get("msc4354_sticky")
    duration = sticky.get("duration_ms") if isinstance(sticky, dict) else None
    return duration if isinstance(duration, int) else None
