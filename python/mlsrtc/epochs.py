"""The epochs we hold a group of: how we get onto a path, step along it, and what we keep of where we stood.

Knows judged commits, their bytes and the MLS façade; knows no roster, no trust and no clock (`now` is monotonic
seconds). Every step is made on a group that stays as it was; a path is walked whole or not at all.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from mlsrtc import mls
from mlsrtc.archive import Archive, Body
from mlsrtc.drafts import Draft
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.group import SAME_DEVICE, Participation, check, enter, follow, place_of
from mlsrtc.identifiers import EpochId, LeafIndex, MemberId
from mlsrtc.judge import Judged
from mlsrtc.policy import Policy
from mlsrtc.wire.attachment import EncryptedFile


@dataclass(frozen=True, slots=True)
class Walked:
    """We stand on the last of these; empty if we stood there already."""

    steps: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Fetching:
    """The path leads on when these attachments are here."""

    uris: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """The path does not open for us at this commit, and why: `unopened`, `bad_tree`, or `no_way` (nothing to enter
    by).
    """

    id: EpochId
    reason: str
    detail: str = ""


DRAFTS_KEPT = 8  # our own commits that may still come back

Walk: TypeAlias = Walked | Fetching | Closed


@dataclass(slots=True)
class Held:
    """A group we have. `superseded`: since when we stand elsewhere."""

    group: mls.Group
    superseded: float | None = None


@dataclass(slots=True)
class Epochs:
    """Where we stand, where we stood until lately, and our own commits that have not come back."""

    policy: Policy
    stand: EpochId | None = None
    held: dict[EpochId, Held] = field(default_factory=dict)
    drafts: dict[EpochId | None, Draft] = field(default_factory=dict)
    removed: set[MemberId] = field(default_factory=set)  # by an epoch that we stood on
    key_package_used: float | None = None  # -inf: its private halves are deleted
    _passed: dict[EpochId | None, float] = field(default_factory=dict)  # drafts by parent: since when it is behind us

    @property
    def group(self) -> mls.Group | None:
        """The group of the epoch we stand on."""
        return self.held[self.stand].group if self.stand is not None else None

    @property
    def key_package_until(self) -> float | None:
        """When our KeyPackage serves no more Welcome; None before its first use."""
        return None if self.key_package_used is None else self.key_package_used + self.policy.key_package_grace

    def can_enter(self, path: Sequence[EpochId], archive: Archive, me: MemberId, now: float) -> bool:
        """Whether we could get onto this path for free: a state on it, or a Welcome while its key still serves."""
        return self._start(path, archive, me, now) is not None

    def walk(self, path: Sequence[EpochId], archive: Archive, participation: Participation, now: float) -> Walk:
        """Go to the end of `path`: from the last epoch on it that we hold, else by the Welcome that adds us."""
        place = self._start(path, archive, participation.leaf.member_id, now)
        if place is None:
            return Closed(path[-1], "no_way")
        steps: list[tuple[Judged, mls.Group]] = []
        current: mls.Group | None = None
        known = self._known(path[place])
        if known is None:
            entered = self._enter(path[place], archive, participation)
            if not isinstance(entered, mls.Group):
                return entered
            current = entered
            steps.append((archive.judged[path[place]], current))
        else:
            current = known
            if path[place] not in self.held:  # Our own commit has come back: its secrets are in the draft.
                judged = archive.judged[path[place]]
                try:
                    check(current, judged.committed)
                except RemoteProtocolError as error:
                    return _closed(path[place], error)
                steps.append((judged, current))
        for identifier in path[place + 1 :]:
            followed = self._follow(current, identifier, archive)
            if not isinstance(followed, mls.Group):
                return followed
            current = followed
            steps.append((archive.judged[identifier], current))
        return self._arrive(path[-1], steps, now)

    def prune(self, now: float) -> list[EpochId]:
        """Forget old states past their time or number. Returns what was forgotten."""
        late = [
            identifier
            for identifier, held in self.held.items()
            if held.superseded is not None and held.superseded + self.policy.old_state_seconds <= now
        ]
        old = sorted(
            (held.superseded, identifier) for identifier, held in self.held.items() if held.superseded is not None
        )
        late += [identifier for _, identifier in old[: max(0, len(old) - self.policy.old_state_epochs)]]
        for identifier in late:
            self.held.pop(identifier, None)
        return late

    def prune_drafts(self, head: EpochId | None, now: float) -> list[Draft]:
        """Forget our own commits that have come back, those that the call has passed for as long as old states are
        kept, and the oldest of many. Returns those.
        """
        here = {head, self.stand or head}
        passed = {
            parent: self._passed.get(parent, now)
            for parent, draft in self.drafts.items()
            if here.isdisjoint((parent, draft.id))
        }
        late = [
            parent
            for parent, draft in self.drafts.items()
            if draft.id in self.held or passed.get(parent, now) + self.policy.old_state_seconds <= now
        ]
        late += list(self.drafts)[: max(0, len(self.drafts) - len(late) - DRAFTS_KEPT)]
        forgotten = [self.drafts.pop(parent) for parent in dict.fromkeys(late)]
        self._passed = {parent: since for parent, since in passed.items() if parent in self.drafts}
        return forgotten

    def next_timer(self) -> float | None:
        """When the time of an old state, or of a commit that was passed, is over; monotonic seconds."""
        times = [held.superseded for held in self.held.values() if held.superseded is not None]
        times += self._passed.values()
        return min(times) + self.policy.old_state_seconds if times else None

    # -- inside --------------------------------------------------------------------------------------------------------

    def _known(self, identifier: EpochId) -> mls.Group | None:
        if identifier in self.held:
            return self.held[identifier].group
        return next((draft.group for draft in self.drafts.values() if draft.id == identifier), None)

    def _start(self, path: Sequence[EpochId], archive: Archive, me: MemberId, now: float) -> int | None:
        """Where on the path we can begin: as late as possible, and never before an epoch that removes us."""
        key_serves = (until := self.key_package_until) is None or now < until
        for place in range(len(path) - 1, -1, -1):
            judged = archive.judged[path[place]].committed
            if not judged.holds(me):
                return None
            if self._known(path[place]) is not None:
                return place
            if me in judged.added:
                welcomed = any(body.parts.welcome is not None for body in archive.bodies(path[place]))
                return place if key_serves and welcomed and not judged.external else None
        return None

    def _enter(
        self, identifier: EpochId, archive: Archive, participation: Participation
    ) -> mls.Group | Fetching | Closed:
        judged = archive.judged[identifier].committed
        failure = Closed(identifier, "unopened")
        for body in archive.bodies(identifier):
            uris = [uri for part in (body.parts.welcome, body.parts.tree) if (uri := archive.lacks(part))]
            if uris:
                return Fetching(tuple(uris))
            if body.parts.welcome is None:
                continue
            try:
                welcome = archive.bytes_of(body.parts.welcome, where="content.welcome_file")
                tree = archive.bytes_of(body.parts.tree, where="content.tree_file")
            except RemoteProtocolError:
                files = (part.url for part in (body.parts.welcome, body.parts.tree) if isinstance(part, EncryptedFile))
                return Fetching(tuple(uri for uri in files if not archive.fetched(uri)))
            if welcome is None:
                continue  # It is not in the media repository.
            try:
                return enter(participation, welcome, tree, judged)
            except RemoteProtocolError as error:
                archive.found_bad(body)
                failure = _closed(identifier, error)
        return failure

    def _follow(self, current: mls.Group, identifier: EpochId, archive: Archive) -> mls.Group | Closed:
        judged = archive.judged[identifier]
        failure = Closed(identifier, "unopened")
        for body in archive.bodies(identifier):
            try:
                return follow(current, body.commit, judged.committed, external_pub=judged.external_pub)
            except RemoteProtocolError as error:
                archive.found_bad(body)
                failure = _closed(identifier, error)
        return failure

    def _arrive(self, target: EpochId, steps: list[tuple[Judged, mls.Group]], now: float) -> Walked:
        if target != self.stand and self.stand is not None and self.stand in self.held:
            self.held[self.stand].superseded = now
        for judged, reached in steps:
            self.held[judged.committed.id] = Held(reached, superseded=now)
            self.removed |= judged.committed.removed
        self.held[target].superseded = None
        if steps and self.key_package_used is None:
            self.key_package_used = now
        self.stand = target
        return Walked(tuple(judged for judged, _ in steps))


def tree_at(path: Sequence[EpochId], archive: Archive) -> bytes | Fetching | None:
    """The ratchet tree at the end of `path`: what a member sent, or observed from the last commit on it that carries
    one. None if there is neither.

    What comes out hashes to the tree hash of the end's GroupContext: the observer checks it at every step.
    """
    if (sent := archive.trees.get(path[-1])) is not None:
        return sent
    for place in range(len(path) - 1, -1, -1):
        for body in archive.bodies(path[place]):
            if body.parts.tree is None:
                continue
            if uri := archive.lacks(body.parts.tree):
                return Fetching((uri,))
            try:
                return _observe(body, path[place + 1 :], archive)
            except RemoteProtocolError:
                continue
    return None


def check_tree(tree: bytes, epoch_id: EpochId, archive: Archive) -> None:
    """That a ratchet tree is the one of an epoch that was judged. Raises RemoteProtocolError: bad_tree, and
    missing_commit if the bytes of the epoch's commit are not here.
    """
    failure = RemoteProtocolError("missing_commit", where="tree")
    for body in archive.bodies(epoch_id):
        try:
            mls.Observer.observe(body.parts.group_info, tree, successor=SAME_DEVICE)
            return
        except RemoteProtocolError as error:
            failure = RemoteProtocolError("bad_tree", error.reason, where="tree")
    raise failure


def _observe(body: Body, rest: Sequence[EpochId], archive: Archive) -> bytes:
    tree = archive.bytes_of(body.parts.tree)
    if tree is None:
        raise RemoteProtocolError("missing_attachment", where="content.tree_file")
    observer = mls.Observer.observe(body.parts.group_info, tree, successor=SAME_DEVICE)
    for identifier in rest:
        failure: RemoteProtocolError | None = None
        for candidate in archive.bodies(identifier):
            try:
                observer = observer.follow(candidate.commit)
                break
            except RemoteProtocolError as error:
                failure = error
        else:
            raise failure or RemoteProtocolError("missing_commit", where="tree")
    return observer.tree()


def _closed(identifier: EpochId, error: RemoteProtocolError) -> Closed:
    reason = "bad_tree" if error.reason in {"bad_tree", "wrong_tree_hash", "wrong_external_pub"} else "unopened"
    return Closed(identifier, reason, str(error))


def place_in(judged: Judged, member: MemberId) -> LeafIndex | None:
    """Where a member's leaf stands after a commit, or None."""
    return place_of(judged.committed.leaves, member)
