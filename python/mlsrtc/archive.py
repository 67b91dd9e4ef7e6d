"""The commits of a call as they came: judged as soon as their parent is, kept with their bytes for whoever needs them.

Knows `wire` and `judge`; knows no group, no roster and no clock. A commit whose parent is unknown waits, within a
bound. One id may have several bodies: a homeserver can send a twin that differs where only members can check (RFC
9420 section 6.2), so each is kept, at most four, and what was found bad is remembered by the hash of its bytes, never
by id.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Set
from dataclasses import dataclass, field
from functools import cached_property

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId, EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import NOTHING_PROVEN, Candidate, Judged, Proven, judge
from mlsrtc.wire.attachment import EncryptedFile, decrypt_attachment
from mlsrtc.wire.commit import CommitEvent, Part, encode_commit
from mlsrtc.wire.incoming import RoomEvent, claimed_id

BODIES_LIMIT = 4  # of each commit, rule section 2
WAITING_LIMIT = 32 * 1024 * 1024  # bytes of commits whose parent, or whose file, is not here yet: a long call's past
FILES_LIMIT = 64  # downloaded attachments kept
FILES_BYTES = 32 * 1024 * 1024  # of them; one is at most 8 MiB, and entering takes a Welcome and a tree


@dataclass(frozen=True)
class Body:
    """One commit event and the bytes of its commit."""

    event: RoomEvent
    parts: CommitEvent
    commit: bytes

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of everything a member would try: what is found bad is remembered under it."""
        digest = hashlib.sha256(self.commit)
        for part in (self.parts.welcome, self.parts.tree):
            inner = part.sha256 if isinstance(part, EncryptedFile) else hashlib.sha256(part or b"").digest()
            digest.update(inner)
        return digest.digest()


@dataclass(frozen=True, slots=True)
class Refusal:
    """A commit event that did not hold, found when its turn came."""

    event: RoomEvent
    error: RemoteProtocolError


@dataclass(slots=True)
class Archive:
    """Every judged commit of one slot, and those that wait."""

    room_id: RoomId
    slot_id: SlotId
    proven: Proven = NOTHING_PROVEN
    judged: dict[EpochId, Judged] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    trees: dict[EpochId, bytes] = field(default_factory=dict)  # from members
    _bodies: dict[EpochId, list[Body]] = field(default_factory=dict)
    _root_events: dict[EpochId, EventId] = field(default_factory=dict)  # kept when a root's bytes are forgotten
    _events: set[str] = field(default_factory=set)  # those of the bodies
    _bad: set[bytes] = field(default_factory=set)
    _waiting: dict[bytes, tuple[RoomEvent, CommitEvent, int]] = field(default_factory=dict)  # by digest; bytes
    _waiting_bytes: int = 0
    _files: dict[str, bytes | None] = field(default_factory=dict)

    def receive(self, event: RoomEvent, parts: CommitEvent) -> list[Judged]:
        """Take one commit event. Returns what could be judged through it, parents first; empty for a known one.

        Raises RemoteProtocolError if this event can be judged and does not hold: nothing is changed then.
        """
        if not self._ready(parts):
            self._wait(event, parts)
            return []
        try:
            new = self._judge(event, parts)
        finally:
            self._forget_file(parts.commit)
        return [] if new is None else [new, *self._cascade()]

    def author_of(self, event: RoomEvent, parts: CommitEvent) -> MemberId | None:
        """Whose commit this is; None if that cannot be judged yet. Nothing is kept. Raises as `receive`."""
        if not self._ready(parts):
            return None
        return self._verdict(event, parts, self._commit_of(parts)).committed.author.member_id

    def add_tree(self, epoch_id: EpochId, tree: bytes) -> None:
        """A ratchet tree that a member sent and that was checked against the tree hash of the epoch."""
        if epoch_id in self.judged:
            self.trees[epoch_id] = tree

    def forget_bodies(self, epoch_ids: Iterable[EpochId]) -> list[EventId]:
        """Forget the bytes of commits; what was judged stays. Returns the events they came in."""
        forgotten = [body for epoch_id in epoch_ids for body in self._bodies.pop(epoch_id, ())]
        self._events -= {body.event.event_id for body in forgotten}
        return [EventId(body.event.event_id) for body in forgotten]

    def attach(self, uri: str, data: bytes | None) -> list[Judged]:
        """Take a downloaded attachment. Returns what could be judged through it."""
        self._files.pop(uri, None)
        self._files[uri] = data
        while len(self._files) > FILES_LIMIT or self._bytes_of_files() > FILES_BYTES:
            self._files.pop(next(iter(self._files)))
        return list(self._cascade())

    def bodies(self, epoch_id: EpochId) -> list[Body]:
        """The bodies of a commit that were not found bad, in the order they came."""
        return [body for body in self._bodies.get(epoch_id, ()) if body.digest not in self._bad]

    def refuse(self, event: RoomEvent, error: RemoteProtocolError) -> None:
        """An event that had waited did not hold."""
        self.refusals.append(Refusal(event, error))

    def take_refusals(self) -> list[Refusal]:
        """What was refused since the last call."""
        taken, self.refusals = self.refusals, []
        return taken

    def found_bad(self, body: Body) -> None:
        """Never try this body again; a twin of the same id may still be good."""
        self._bad.add(body.digest)

    def bytes_of(self, part: Part | None, *, where: str = "attachment") -> bytes | None:
        """A part's bytes: from the event, or from its file if that was fetched.

        Raises RemoteProtocolError if the download is not what the event says; it counts as not fetched then.
        """
        if isinstance(part, EncryptedFile):
            data = self._files.get(part.url)
            try:
                return None if data is None else decrypt_attachment(part, data, where=where)
            except RemoteProtocolError:
                del self._files[part.url]
                raise
        return part

    def holds(self, event_id: str) -> bool:
        """Whether an event's commit is kept: as a body, or because it waits. A copy of a known one is not."""
        return event_id in self._events or any(event.event_id == event_id for event, _, _ in self._waiting.values())

    def lacks(self, part: Part | None) -> str | None:
        """The address of a part that must be fetched first, or None."""
        return part.url if isinstance(part, EncryptedFile) and not self.fetched(part.url) else None

    def fetched(self, uri: str) -> bool:
        """Whether a download was answered, if only with "not there"."""
        return uri in self._files

    def wanted_files(self, joined: Collection[UserId]) -> Iterator[tuple[EpochId | None, str]]:
        """Parents and addresses of commits that cannot be judged before they are fetched. Whose sender has neither a
        leaf in the parent nor a join (`joined`) cannot have made one."""
        for event, parts, _ in self._waiting.values():
            uri = self.lacks(parts.commit)
            if uri is None or not (parts.parent is None or parts.parent in self.judged):
                continue
            leaves = {} if parts.parent is None else self.judged[parts.parent].committed.leaves
            if event.sender in joined or any(leaf.user_id == event.sender for leaf in leaves.values()):
                yield parts.parent, uri

    def missing_parents(self) -> frozenset[EpochId]:
        """Epochs that waiting commits build on and that nobody has shown us."""
        waited = {parts.id for _, parts, _ in self._waiting.values()}
        parents = {parts.parent for _, parts, _ in self._waiting.values() if parts.parent is not None}
        return frozenset(parent for parent in parents - waited if parent not in self.judged)

    def waited_for(self, users: Set[UserId]) -> Counter[EpochId]:
        """Of each epoch that nobody has shown us, how many commits of these users wait for it, be it behind others."""
        parents = {parts.id: parts.parent for _, parts, _ in self._waiting.values()}
        first: dict[EpochId, EpochId | None] = {}  # where the waiting commits before a parent begin; None: nowhere
        missing = self.missing_parents()
        found: Counter[EpochId] = Counter()
        for event, parts, _ in self._waiting.values():
            behind: list[EpochId] = []
            at = parts.parent if event.sender in users else None
            while at is not None and at in parents and at not in first:
                first[at] = None  # Anybody can make commits that name each other in a ring.
                behind.append(at)
                at = parents[at]
            start = None if at is None else first.get(at, at if at in missing else None)
            first |= dict.fromkeys(behind, start)
            if start is not None:
                found[start] += 1
        return found

    def named_by(self, users: Set[UserId]) -> bool:
        """Whether one of these users has sent a commit whose parent nobody has shown us."""
        missing = self.missing_parents()
        return any(event.sender in users and parts.parent in missing for event, parts, _ in self._waiting.values())

    def roots_of_waiting(self) -> frozenset[EventId]:
        """The events of the roots that commits name whose parent nobody has shown us."""
        missing = self.missing_parents()
        waiting = (parts for _, parts, _ in self._waiting.values())
        return frozenset(
            parts.relates_to for parts in waiting if parts.parent in missing and parts.relates_to is not None
        )

    def refreshed(self, epoch_id: EpochId) -> EpochId:
        """The last epoch on the way to this one with fresh keys: by a path, or the root, where every key is fresh."""
        committed = self.judged[epoch_id].committed
        while committed.parent is not None and not committed.has_path:
            committed = self.judged[committed.parent].committed
        return committed.id

    def root_event(self, root: EpochId) -> EventId | None:
        """The event in which we first saw a root: what later commits and words refer to."""
        return self._root_events.get(root)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _bytes_of_files(self) -> int:
        return sum(len(data) for data in self._files.values() if data is not None)

    def _forget_file(self, part: Part) -> None:
        """The file of a commit that was judged is not needed again, unless another one waits for it too."""
        if isinstance(part, EncryptedFile) and not any(
            isinstance(parts.commit, EncryptedFile) and parts.commit.url == part.url
            for _, parts, _ in self._waiting.values()
        ):
            self._files.pop(part.url, None)

    def _ready(self, parts: CommitEvent) -> bool:
        return (parts.parent is None or parts.parent in self.judged) and self.lacks(parts.commit) is None

    def _wait(self, event: RoomEvent, parts: CommitEvent) -> None:
        # Not by the event's id: what another member sent us to-device may claim any.
        content = json.dumps(encode_commit(parts), sort_keys=True, separators=(",", ":"))
        key = f"{event.event_id}\0{event.sender}\0{content}".encode("utf-8", "surrogatepass")
        digest = hashlib.sha256(key).digest()
        if digest not in self._waiting:
            self._waiting[digest] = (event, parts, len(key))
            self._waiting_bytes += len(key)
        while self._waiting_bytes > WAITING_LIMIT:
            self._stop_waiting(next(iter(self._waiting)))

    def _stop_waiting(self, digest: bytes) -> None:
        self._waiting_bytes -= self._waiting.pop(digest)[2]

    def _commit_of(self, parts: CommitEvent) -> bytes:
        commit = self.bytes_of(parts.commit, where="content.commit_file")
        if commit is None:
            raise RemoteProtocolError("missing_attachment", where="content.commit_file")
        return commit

    def _verdict(self, event: RoomEvent, parts: CommitEvent, commit: bytes) -> Judged:
        candidate = Candidate.of(parts, commit, room_id=self.room_id, sender=UserId(event.sender))
        return judge(candidate, None if parts.parent is None else self.judged[parts.parent], self.proven)

    def _judge(self, event: RoomEvent, parts: CommitEvent) -> Judged | None:
        commit = self._commit_of(parts)
        body = Body(event, parts, commit)
        known = self._bodies.get(parts.id, [])
        if any(other.digest == body.digest for other in known):
            return None
        judged = self._verdict(event, parts, commit)
        if len(known) < BODIES_LIMIT:
            self._bodies.setdefault(parts.id, []).append(body)
            self._events.add(event.event_id)
            if parts.parent is None:
                self._root_events.setdefault(parts.id, EventId(claimed_id(event.event_id)))
        if parts.id in self.judged:
            return None
        self.judged[parts.id] = judged
        return judged

    def _cascade(self) -> Iterator[Judged]:
        """Judge what waited for what has come, until nothing more can be."""
        progress = True
        while progress:
            progress = False
            for digest, (event, parts, _) in list(self._waiting.items()):
                if not self._ready(parts):
                    continue
                self._stop_waiting(digest)
                progress = True
                try:
                    judged = self._judge(event, parts)
                except RemoteProtocolError as error:
                    self.refuse(event, error)
                    continue
                finally:
                    self._forget_file(parts.commit)
                if judged is not None:
                    yield judged
