"""Whose device keys we ask our homeserver for, and when: a device that was logged out is to be noticed.

Knows the desk, and of a call with MLS what is known; judges nothing. One question at a time, about many users at once.
Our own user comes first and alone, since nobody enters without that answer, and another server that is down delays it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlsrtc.desk import Desk
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import MemberId, UserId
from mlsrtc.keyring import LISTING_GRACE
from mlsrtc.keyshare.audience import Guest
from mlsrtc.knowledge import Knowledge, View
from mlsrtc.notices import KeysUnreadable
from mlsrtc.outbox import Accepted, Outcome, QueryKeys, RateLimited

USERS_AT_ONCE = 100  # users in one keys/query
PAUSE = 1.0  # seconds between two questions: joins and changes meanwhile go into one
REFUSED_PAUSE = 60.0  # seconds after a refusal, and at most after an answer about our own user that does not hold
UNKNOWN = frozenset({"unknown_device", "unasked"})
ASK_AGAIN = 10.0  # seconds until keys/query is asked again about a device that it did not name
OWN_TRIES = 4  # such answers before somebody who waits for one in order to enter gives up


@dataclass(slots=True)
class Inquiry:
    """What is to be asked. `own`: our user. Times are monotonic seconds."""

    own: UserId
    _wanted: dict[UserId, None] = field(init=False)  # in the order of asking
    _asking: set[UserId] = field(default_factory=set)  # those whose answer has not come
    _request: str | None = None
    _not_before: float = -math.inf
    _own_at: float = -math.inf  # our own user is not asked about before
    _unreadable: int = 0  # answers about it in a row that did not hold
    _told: tuple[str, str] | None = None  # what was wrong with the last one, by reason and place
    _attended: dict[UserId, float] = field(default_factory=dict)  # who has no MLS, and when we last asked

    def __post_init__(self) -> None:
        self._wanted = {self.own: None}

    def changed(self, users: Iterable[str], in_call: Iterable[UserId]) -> None:
        """The homeserver says that these users' devices changed. Only users who joined the call are asked about."""
        ours = {self.own, *in_call}
        # Also while an answer is awaited: it may be of before the change.
        self._wanted |= dict.fromkeys(user for user in map(UserId, users) if user in ours)

    def want(self, users: Iterable[UserId]) -> None:
        """Ask about these, unless their answer is awaited."""
        self._wanted |= dict.fromkeys(user for user in users if user not in self._asking)

    def attend(self, desk: Desk, guests: Iterable[Guest]) -> None:
        """Participants without MLS: everybody who comes is asked about; their homeservers say when something changes.
        About a device that its homeserver did not name, and after an answer that did not hold, again and again, at a
        distance."""
        now = desk.now.monotonic
        unknown: dict[UserId, bool] = {}
        for guest in guests:
            unknown[guest.user_id] = unknown.get(guest.user_id, False) or guest.reason in UNKNOWN
        self._attended = {user: since for user, since in self._attended.items() if user in unknown}
        for user in sorted(unknown):
            due = self._attended.get(user, -math.inf) + ASK_AGAIN
            if user not in self._attended or (unknown[user] and due <= now):
                self.want((user,))
                self._attended[user] = now
            elif unknown[user]:
                desk.at(due)

    def answered(self, user: UserId) -> None:
        """An answer about a user has come."""
        self._asking.discard(user)
        if user == self.own:
            self._unreadable, self._told = 0, None

    def unreadable(self, desk: Desk, error: RemoteProtocolError) -> bool:
        """An answer about our own user does not hold: told, and asked for again at growing distances. False if that has
        been tried often enough.
        """
        self._asking.discard(self.own)
        self._wanted[self.own] = None
        self._own_at = desk.now.monotonic + min(PAUSE * 2 ** min(self._unreadable, 16), REFUSED_PAUSE)
        self._unreadable += 1
        if self._told != (error.reason, error.where):
            self._told = error.reason, error.where
            desk.tell(KeysUnreadable(error.reason, error.where))
        return self._unreadable < OWN_TRIES

    def settle(self, desk: Desk) -> None:
        """Ask what is due."""
        now = desk.now.monotonic
        if self.own in self._wanted and self._own_at > now:
            desk.at(self._own_at)
        if self._request is None and (self._due(now) or self._asking):
            if self._not_before > now:
                desk.at(self._not_before)
            else:
                self._ask(desk)

    def outcome(self, request_id: str, outcome: Outcome, now: float, *, knows_own: bool) -> None:
        """What became of our question. One that an earlier process asked is asked anew anyway. `knows_own`: there was
        an answer about our own user before."""
        if request_id != self._request:
            return
        self._request = None
        match outcome:
            case Accepted():
                self._asking.clear()
            case RateLimited(retry_after_ms):
                # Another server may be down: those who were not answered are asked about again, after all others.
                self._not_before = now + max(PAUSE, retry_after_ms / 1000)
            case _:
                self._asking.clear()
                self._not_before = now + REFUSED_PAUSE
                if not knows_own:
                    self._wanted[self.own] = None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _due(self, now: float) -> list[UserId]:
        return [user for user in self._wanted if user != self.own or self._own_at <= now]

    def _ask(self, desk: Desk) -> None:
        self._wanted |= dict.fromkeys(sorted(self._asking - self._wanted.keys()))
        due = self._due(desk.now.monotonic)
        users = [self.own] if self.own in due else due[:USERS_AT_ONCE]
        for user in users:
            del self._wanted[user]
        self._asking = set(users)
        self._request = desk.new_id("keys")
        self._not_before = desk.now.monotonic + PAUSE
        desk.draft(QueryKeys(self._request, tuple(users)))


@dataclass(slots=True)
class MemberInquiry(Inquiry):
    """The questions of a call with MLS: about everybody who comes, and again about a device that is missing."""

    _others: frozenset[MemberId] = frozenset()  # those present, when last looked at
    _of: tuple[View, MemberId | None] | None = None  # what they follow from

    def look(self, desk: Desk, known: Knowledge, me: MemberId | None) -> None:
        """Want what is due. `me`: our own participation, about which nothing is asked."""
        view, before = known.look(desk.now), self._of
        self._of = view, me
        if self._of != before:
            others = view.members.difference((me,))
            if new := others - self._others:
                joins = (joined for member, joined in view.present.items() if member in new)
                self._wanted |= dict.fromkeys(joined.leaf.user_id for joined in joins)
            self._others = others
        for member, since in known.keyring.unlisted.items():
            if member not in self._others:
                continue
            if (again := since + LISTING_GRACE) > desk.now.monotonic:
                desk.at(again)
            else:
                self.want((view.present[member].leaf.user_id,))
