"""What a member knows of the call, from events alone: evidence, roster, trust and the room's own rules. Decides
nothing.

An event is decoded and checked whole before anything is changed, so a bad one changes nothing. `now` is an argument.
What is evidence is also told to the caller as the raw event, for the store to keep.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mlsrtc import _core, trust
from mlsrtc.archive import Archive, Refusal
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Committed, DeviceIdentity, Joined, Leaf
from mlsrtc.identifiers import DeviceId, EpochId, EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import Judged, Proven
from mlsrtc.keyring import Keyring
from mlsrtc.ordering import Evidence, Ordering
from mlsrtc.policy import Policy
from mlsrtc.room_state import RoomState
from mlsrtc.roster import Headcount, Roster
from mlsrtc.seats import Seats
from mlsrtc.turns import Lapses, ranking
from mlsrtc.wire import names
from mlsrtc.wire.block import JoinBlock, LeftBlock
from mlsrtc.wire.chain import DeviceChain
from mlsrtc.wire.commit import WordEvent, decode_commit, decode_word, encode_commit, encode_word
from mlsrtc.wire.encoding import encode_base64url
from mlsrtc.wire.incoming import TOLD, DeviceKeys, Json, Now, RoomEvent, claimed_id, told_id
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, RtcSealed, decode_membership
from mlsrtc.wire.room import decode_room_member
from mlsrtc.wire.to_device import reduced, reduced_membership

MEMBERSHIP_TYPES = names.MEMBER_TYPES | {names.ENCRYPTED}
WORDS_WAITING = 256  # words whose speaker no join or leaf has named yet
EARLY_LIMIT = 64  # joins from the future kept of one user


@dataclass(frozen=True, eq=False)
class View:
    """Who is who, from one change to the next. `refused`: by our trust policy, and why. `spoilt`: whose KeyPackage does
    not hold, so that nobody can add them."""

    roster: Roster
    room: RoomState
    count: Headcount
    refused: Mapping[MemberId, str]
    spoilt: frozenset[MemberId]

    @property
    def present(self) -> Mapping[MemberId, Joined]:
        """R."""
        return self.count.present

    @cached_property
    def members(self) -> frozenset[MemberId]:
        """Those in R."""
        return frozenset(self.present)

    @cached_property
    def welcome(self) -> frozenset[MemberId]:
        """Those of R whom our trust policy accepts."""
        return frozenset(member for member in self.present if member not in self.refused)

    @cached_property
    def able(self) -> frozenset[MemberId]:
        """Those of R that the room's power levels let send commits."""
        able = self.room.committers({joined.leaf.user_id for joined in self.present.values()})
        return frozenset(member for member, joined in self.present.items() if joined.leaf.user_id in able)

    @cached_property
    def _addable(self) -> Mapping[int, frozenset[MemberId]]:
        by_suite: dict[int, set[MemberId]] = {}
        for member, joined in self.present.items():
            if member not in self.refused and member not in self.spoilt:
                by_suite.setdefault(joined.suite, set()).add(member)
        return {suite: frozenset(members) for suite, members in by_suite.items()}

    def addable(self, suite: int) -> frozenset[MemberId]:
        """Those of R whom our policy gives a leaf in a group of `suite`."""
        return self._addable.get(suite, frozenset())

    def gone(self, members: frozenset[MemberId]) -> frozenset[MemberId]:
        """Those of them who are in D or X."""
        return members & self.roster.left | members & self.count.away.keys()


@dataclass(slots=True)
class Knowledge:
    """Everything that follows from the events of one room about one slot."""

    room_id: RoomId
    slot_id: SlotId
    policy: Policy
    own: DeviceIdentity  # our device
    archive: Archive = field(init=False)
    room: RoomState = field(init=False)
    keyring: Keyring = field(init=False)
    ordering: Ordering = field(default_factory=Ordering)
    roster: Roster = field(init=False)
    left: dict[MemberId, bytes] = field(default_factory=dict)  # leave signatures, for the commits that repeat them
    since: dict[MemberId, float] = field(default_factory=dict)  # when a join was first seen; monotonic
    gone_since: dict[MemberId, float] = field(default_factory=dict)
    _proven_leaves: dict[bytes, Leaf] = field(default_factory=dict)  # of joins whose KeyPackage holds, by credential
    _proven_left: dict[tuple[int, MemberId], bytes] = field(default_factory=dict)  # leave signatures, by suite and m
    starts: dict[MemberId, int] = field(default_factory=dict)  # the first `from` of each, milliseconds
    seen: dict[EpochId, float] = field(default_factory=dict)  # when a commit was first judged, by id; monotonic
    lapses: Lapses = field(default_factory=Lapses)
    events: dict[str, RoomEvent] = field(default_factory=dict)  # evidence as it came, by event id
    fresh: list[RoomEvent] = field(default_factory=list)  # the part of it that is not saved yet
    _joined_users: set[UserId] = field(default_factory=set)  # of joins that the room or a member showed
    _early: list[Joined] = field(default_factory=list)
    _words: list[tuple[RoomEvent, WordEvent]] = field(default_factory=list)
    _spoilt: frozenset[MemberId] = frozenset()
    _view: View | None = None
    _path: tuple[tuple[View, Ordering, int], tuple[EpochId, ...]] | None = None  # and what it follows from
    _awaited: dict[EpochId | None, float] = field(default_factory=dict)  # by parent; see `awaited_since`
    _beside: dict[EpochId, float] = field(default_factory=dict)  # of `seen`: those not known to be on the head path
    _pruned: EpochId | None = None  # the head when that was last asked

    def __post_init__(self) -> None:
        self.archive = Archive(self.room_id, self.slot_id, Proven(self._proven_leaves, self._proven_left))
        self.room = RoomState(self.slot_id)
        self.roster = Roster(seats=Seats(self.policy))
        self.keyring = Keyring(self.policy.trust, self.own)

    # -- what comes in -------------------------------------------------------------------------------------------------

    def room_event(self, event: RoomEvent, now: Now) -> None:
        """Take in one event of the room. Raises RemoteProtocolError; nothing is changed then."""
        match event.type:
            case names.COMMIT:
                self._commit(event, now)
            case names.WORD:
                self._word(event)
            case names.ROOM_MEMBER:
                self.roster = self.roster.with_room_member(decode_room_member(event))
            case kind if kind in MEMBERSHIP_TYPES:
                self._membership(event, now)
            case _:
                self.room = self.room.with_event(event)

    def told_event(self, event: RoomEvent, now: Now) -> None:
        """Take in what another member says is an event of the room. Nobody vouches for its sender, so it counts for the
        head alone: who is in the call, whom we trust and where a membership stands, only the room says. Raises as
        `room_event`.
        """
        if not event.event_id.startswith(TOLD):
            # Under an id of its content: what it claims must neither hide nor forget an event of the room.
            content = json.dumps([event.type, event.sender, reduced(event)], sort_keys=True, separators=(",", ":"))
            digest = encode_base64url(hashlib.sha256(content.encode("utf-8", "surrogatepass")).digest())
            event = replace(event, event_id=told_id(digest, event.event_id))
        match event.type:
            case names.COMMIT | names.WORD:
                self.room_event(event, now)
            case kind if kind in MEMBERSHIP_TYPES:
                self._told_membership(event, now)
            case _:
                pass

    def told_commit(self, event: RoomEvent, now: Now) -> None:
        """Take in a commit that a member shows us although we can read the room: our homeserver hides what somebody
        sent before its own homeserver heard of its kick. Its author must have joined in the room: a commit from outside
        proves no more than a key, and anybody could make one up in another's name. One that cannot be judged yet is
        left. Raises as `room_event`.
        """
        author = self.archive.author_of(event, decode_commit(event.content))
        if author is None:
            return
        if author not in self.roster.joins:
            raise RemoteProtocolError("unknown_author", where="content.commit")
        self.told_event(event, now)

    def device_keys(self, keys: DeviceKeys, now: Now, *, own: bool) -> None:
        """Take in what keys/query says of one user. Raises RemoteProtocolError; nothing is changed then."""
        self.roster = self.keyring.device_keys(keys, self.roster, now, own=own)

    def attachment(self, uri: str, data: bytes | None, now: Now) -> None:
        """Take in a download."""
        for judged in self.archive.attach(uri, data):
            self._add_commit(judged, now)

    def tick(self, now: Now) -> None:
        """What only time brings: joins from the future whose time has come, and members that are gone by our clock."""
        limit = now.wall_ms + self._skew_ms
        if (self.ordering.now or 0) > limit:
            # Our clock was set back: joins that had their time when it was ahead wait outside E again.
            evidence = list(self.ordering.evidence())
            early = [value for value in evidence if isinstance(value, Joined) and value.from_ts > limit]
            self.ordering = Ordering(value for value in evidence if value not in early)
            self.roster = self.roster.with_nobody_left()
            self.keyring.reseat(joined.leaf.user_id for joined in self.roster.joins.values())
            self._see_off(now)
            self._early += early
        for joined in [waiting for waiting in self._early if waiting.from_ts <= limit]:
            self._early.remove(joined)
            self._learn(joined, now)
        before, view = self._view, self.look(now)
        for member in view.count.away if view is not before else ():
            self.gone_since.setdefault(member, now.monotonic)

    def prune(self, now: Now) -> list[EventId]:
        """Forget the bytes of commits that have been off the head path for long. Returns the events to forget too."""
        head, before = self.head(now), now.monotonic - self.policy.bodies_kept
        if head != self._pruned:
            if self._pruned is not None and not (head and self.ordering.is_below(head, self._pruned)):
                self._beside = dict(self.seen)  # The head has turned: what was on its path may be beside it now.
            self._pruned = head
        on_path = [id for id in self._beside if head and (id == head or self.ordering.is_below(head, id))]
        for id in on_path:
            del self._beside[id]
        late = [id for id, seen in self._beside.items() if seen <= before]
        for id in late:
            del self._beside[id]
        events = self.archive.forget_bodies(late)
        for event_id in events:
            self.events.pop(event_id, None)
        return events

    def take_refusals(self) -> list[Refusal]:
        """Events that did not hold when their turn came; they are evidence no more."""
        refusals = self.archive.take_refusals()
        refused = {refusal.event.event_id for refusal in refusals}
        for event_id in refused:
            self.events.pop(event_id, None)
        if refused:
            self.fresh = [event for event in self.fresh if event.event_id not in refused]
        return refusals

    # -- what is known -------------------------------------------------------------------------------------------------

    def head_path(self, now: Now) -> tuple[EpochId, ...]:
        """The way to the head as we see it: past the roots of calls that everybody has left (section 3.0)."""
        key = self.look(now), self.ordering, self.ordering.size
        if self._path is None or self._path[0] != key:
            self._path = key, self.ordering.path_among(key[0].welcome)
        return self._path[1]

    def head(self, now: Now) -> EpochId | None:
        """The epoch that is the call for us; None if there is none."""
        return next(reversed(self.head_path(now)), None)

    def suite(self, now: Now) -> int:
        """The MLS suite of the call: the head's, or the policy's before there is one."""
        head = self.head(now)
        return self.archive.judged[head].suite if head is not None else self.policy.suite

    def expelled(self, user: UserId) -> str | None:
        """Why the call is over for this user: `RoomState.closed`, or banned, kicked or left_room; None if it is not."""
        return self.room.closed((names.ENCRYPTION_TYPE,)) or self.roster.expelled(user)

    def look(self, now: Now) -> View:
        """Who is here, who is gone and who is refused, at this moment. The same object until something changes."""
        refused, view = self.keyring.refused(self.roster), self._view
        if (
            view is None
            or view.roster is not self.roster
            or view.room is not self.room
            or view.refused is not refused
            or view.spoilt is not self._spoilt
            or not view.count.holds_at(now.wall_ms)
        ):
            count = self.roster.count(now.wall_ms, self._skew_ms)
            self._view = view = View(self.roster, self.room, count, refused, self._spoilt)
        return view

    def unseen(self, members: frozenset[MemberId]) -> frozenset[MemberId]:
        """Leaves whose join nobody has shown us."""
        return members - (members & self.roster.joins.keys())

    def memberships(self, now: Now) -> list[RtcMembership]:
        """Every membership of the slot that stands, with our block or without, oldest first."""
        standing = self.roster.memberships(now.wall_ms, self._skew_ms)
        return [membership for membership in standing if membership.slot_id == self.slot_id]

    @property
    def may_be_mixed(self) -> bool:
        """Whether the room lets participants without MLS have keys: its slot does not say MLS, and it is encrypted,
        since elsewhere they send their media in the clear."""
        slot = self.room.slot
        return self.room.encrypted and (slot is None or slot.encryption != names.ENCRYPTION_TYPE)

    def guests(self, now: Now) -> list[RtcMembership]:
        """The memberships of the slot that stand of devices that have never joined with MLS, and that see those who
        have: Famedly's clients see none but their own kind of membership."""
        standing = self.roster.guests(now.wall_ms, self._skew_ms).values()
        here = [guest for guest in standing if guest.membership.slot_id == self.slot_id and guest.reason == "no_mls"]
        return [guest.membership for guest in here if guest.membership.format is not MembershipFormat.FAMEDLY]

    def not_addable(self, now: Now) -> dict[tuple[UserId, DeviceId | None], str]:
        """Devices that are in the call and get no keys, and why: their suite or version, no MLS, or no trust."""
        suite, refused = self.suite(now), self.look(now).refused
        found = self.roster.not_addable(
            now.wall_ms, suite=suite, refused=refused, skew_ms=self._skew_ms, spoilt=self._spoilt
        )
        elsewhere = {place for place, guest in self.roster.guests_at.items() if guest.slot_id != self.slot_id}
        return {(one.user_id, one.device_id): one.reason for key, one in found.items() if key not in elsewhere}

    def untrusted(self, commit: Committed) -> frozenset[MemberId]:
        """Leaves that our policy does not accept: refused, or of a join that we never saw (no ghosts)."""
        return self.keyring.untrusted(commit, self.roster)

    def flagged(self, members: Iterable[MemberId]) -> frozenset[MemberId]:
        """Those of them whom only `ANY_DEVICE` lets in."""
        return self.keyring.flagged(members, self.roster)

    def is_away(self, member: MemberId, now: Now) -> bool:
        """Whether a refresh would bring this member back: somebody overwrote its membership, or it has expired."""
        return self.look(now).count.away.get(member) in ("erased", "expired")

    def is_early(self, join: Joined, now: Now) -> bool:
        """Whether a join is from further in the future than clocks may differ: it waits outside E."""
        return join.from_ts > now.wall_ms + self._skew_ms

    def spoil(self, members: Iterable[MemberId]) -> None:
        """The engine did not take their KeyPackages: we add none of them."""
        self._spoilt = self._spoilt.union(members)

    def events_for(self, path: Sequence[EpochId]) -> tuple[RoomEvent, ...]:
        """The events that lead to the end of `path`: its commits, and every join, leave and word that is known."""
        commits = {body.event.event_id for step in path for body in self.archive.bodies(step)}
        return tuple(
            replace(event, event_id=claimed_id(event_id))
            for event_id, event in self.events.items()
            if event.type != names.COMMIT or event_id in commits
        )

    def wanted_files(self) -> Iterator[str]:
        """Addresses of commits to fetch before they can be judged."""
        return (uri for _, uri in self.archive.wanted_files(self._joined_users))

    def awaited_since(self, parent: EpochId | None, now: Now) -> float | None:
        """Since when a commit on `parent` has been seen whose file is still on its way; None if there is none. Of
        several, one after the other, the first one counts."""
        if all(parent != other for other, _ in self.archive.wanted_files(self._joined_users)):
            return None
        return self._awaited.setdefault(parent, now.monotonic)

    def next_timer(self, now: Now) -> float | None:
        """When `tick` has something to do: a join from the future, or an expiry; monotonic seconds."""
        times = [early.from_ts - self._skew_ms for early in self._early]
        if (until := self.look(now).count.until) is not None:
            times.append(until)
        return now.monotonic_at(min(times)) if times else None

    # -- inside --------------------------------------------------------------------------------------------------------

    @property
    def _skew_ms(self) -> int:
        return int(self.policy.clock_skew * 1000)

    def _keep(self, event: RoomEvent, content: Json) -> None:
        """Keep an event as evidence. `content`: what was read of it, written again; what nobody reads could be deeper
        or larger than a record may be."""
        if event.event_id not in self.events:
            event = replace(event, content=content)
            self.events[event.event_id] = event
            self.fresh.append(event)

    def _commit(self, event: RoomEvent, now: Now) -> None:
        parts = decode_commit(event.content)
        if parts.slot_id != self.slot_id:
            return
        for judged in self.archive.receive(event, parts):
            self._add_commit(judged, now)
        if self.archive.holds(event.event_id):
            # A copy of a commit that is known already says nothing new, and anybody may send any number of them.
            self._keep(event, encode_commit(parts))

    def _add_commit(self, judged: Judged, now: Now) -> None:
        commit = judged.committed
        self._learn(commit, now)
        self.seen.setdefault(commit.id, now.monotonic)
        self._beside.setdefault(commit.id, now.monotonic)
        parent = self.ordering.commit(commit.parent) if commit.parent is not None else None
        if parent is not None:
            self.lapses = self.lapses.passed(ranking(commit.parent, parent.members), commit.author.member_id)
        self._retry_words()

    def _word(self, event: RoomEvent) -> None:
        word = decode_word(event.content)
        if word.slot_id != self.slot_id:
            return
        if (leaf := self.ordering.leaf(word.member_id)) is None:
            self._words = [*self._words[-WORDS_WAITING + 1 :], (event, word)]
        else:
            self._speak(event, word, leaf)

    def _speak(self, event: RoomEvent, word: WordEvent, leaf: Leaf) -> None:
        root = self.archive.judged.get(word.root)
        joined = self.roster.joins.get(word.member_id)
        suite = root.suite if root is not None else joined.suite if joined is not None else self.policy.suite
        spoken = trust.verify_word(self.room_id, UserId(event.sender), word, leaf, suite)
        self.ordering.add(spoken)
        self.lapses = self.lapses.heard(word.member_id)
        self._keep(event, encode_word(word))

    def _retry_words(self) -> None:
        waiting, self._words = self._words, []
        for event, word in waiting:
            if (leaf := self.ordering.leaf(word.member_id)) is None:
                self._words.append((event, word))
                continue
            try:
                self._speak(event, word, leaf)
            except RemoteProtocolError as error:
                self.archive.refuse(event, error)

    def _membership(self, event: RoomEvent, now: Now) -> None:
        decoded = decode_membership(event)
        if decoded is None:
            return
        member = None
        block = getattr(decoded, "block", None)
        if isinstance(block, JoinBlock) and block.slot_id == self.slot_id:
            joined = trust.verify_join(self.room_id, decoded.user_id, block)
            self._join(joined, block.chain, now)
            member = joined.leaf.member_id
            self._keep(event, reduced_membership(decoded))
        elif isinstance(block, LeftBlock) and block.slot_id == self.slot_id:
            self._left(decoded.user_id, block, now)
            self._keep(event, reduced_membership(decoded))
        if not isinstance(decoded, RtcSealed):
            self.roster = self.roster.with_membership(decoded, member)

    def _told_membership(self, event: RoomEvent, now: Now) -> None:
        decoded = decode_membership(event)
        block = getattr(decoded, "block", None)
        if decoded is None or getattr(block, "slot_id", None) != self.slot_id:
            return
        if isinstance(block, JoinBlock):
            self._hear_join(trust.verify_join(self.room_id, decoded.user_id, block), now)
            self._keep(event, reduced_membership(decoded))
        elif isinstance(block, LeftBlock):
            # Only the leaf key that m commits to can have signed it: it needs nobody to vouch for its sender.
            self._left(decoded.user_id, block, now)
            self._keep(event, reduced_membership(decoded))

    def _left(self, sender: UserId, block: LeftBlock, now: Now) -> None:
        left = trust.verify_left(self.room_id, sender, block)
        self._proven_left[block.suite, left.member_id] = left.signature
        self._learn(left, now)
        self.left.setdefault(left.member_id, left.signature)

    def _hear_join(self, joined: Joined, now: Now) -> None:
        """A join counts for the head once its time has come."""
        self._joined_users.add(joined.leaf.user_id)
        if not self.is_early(joined, now):
            self._learn(joined, now)
        elif joined not in self._early:
            own = [early for early in self._early if early.leaf.user_id == joined.leaf.user_id]
            if len(own) >= EARLY_LIMIT:
                self._early.remove(own[0])
            self._early.append(joined)
        self._retry_words()

    def _learn(self, evidence: Evidence, now: Now) -> None:
        self.ordering.add(evidence)
        self._see_off(now)

    def _see_off(self, now: Now) -> None:
        """Whoever has left for good since the last time."""
        departed = self.ordering.take_departed()
        if departed:
            self.keyring.reseat(joined.leaf.user_id for m in departed if (joined := self.roster.open.get(m)))
            self.roster = self.roster.with_left(departed)
        for member in departed:
            self.gone_since.setdefault(member, now.monotonic)
            self.lapses = self.lapses.heard(member)

    def _join(self, joined: Joined, chain: DeviceChain | None, now: Now) -> None:
        member = joined.leaf.member_id
        try:
            facts = _core.inspect_key_package(joined.key_package)
            facts.verify()
            if facts.suite != joined.suite:
                raise RemoteProtocolError("wrong_suite", where="key_package")
            trust.verify_key_package(self.room_id, self.slot_id, joined, facts)
            self._proven_leaves.setdefault(joined.leaf.credential, joined.leaf)
        except RemoteProtocolError:
            # Whoever added it would make an invalid commit: the device is here, and cannot be added.
            self._spoilt |= {member}
        user, before = joined.leaf.user_id, self.roster
        self.roster = before.with_join(joined)
        if self.roster.seats.of(user) != before.seats.of(user):
            self.keyring.reseat([user])
        self.since.setdefault(member, now.monotonic)
        self.starts[member] = min(joined.from_ts, self.starts.get(member, joined.from_ts))
        self.lapses = self.lapses.heard(member)
        self.keyring.claim(joined.leaf, chain)
        self._hear_join(joined, now)
