"""Whose turn it is to commit, and when: docs/design.md section 4 ("Whose turn"), docs/protocol.md section
3.5.

Pure functions of one member's view. Knows member ids and seconds, no events, no MLS and no clock: every
time is a monotonic second of the caller's own clock, and what comes back is a deadline. The answer is
level-triggered: it is asked again whenever something has changed, and an earlier answer counts for nothing.

A turn is a courtesy, not a right. Any valid commit of any member counts (the head rule decides), so two
members whose views differ for a moment cost a lost commit and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from math import log2
from types import MappingProxyType

from mlsrtc.errors import LocalProtocolError
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.policy import Policy
from mlsrtc.wire.encoding import rank_hash


class Kind(Enum):
    """What there is to do in a turn."""

    COMMIT = "commit"  # on the epoch where we stand
    CREATE = "create"  # a root that adds all the others
    EXTERNAL = "external"  # an external commit that brings ourselves in


@dataclass(frozen=True, slots=True)
class Need:
    """How the tree differs from the roster, each part sorted. False if nothing is to be done.

    rekey: the commit carries a path although nobody is removed, because the last path is too old.
    guests: likewise, because of participants without MLS (`Visits`), whom it names.
    """

    adds: tuple[MemberId, ...] = ()
    removes: tuple[MemberId, ...] = ()
    rekey: bool = False
    guests: bool = False

    def __bool__(self) -> bool:
        return bool(self.adds or self.removes or self.rekey or self.guests)


@dataclass(frozen=True, slots=True)
class Visits:
    """Participants without MLS who need another epoch than the one we stand on, and since when.

    came: who are here and may not have our key of it. left: who have it and are here no more. named: all of them, for
    the commit.
    """

    came: tuple[float, ...] = ()
    left: tuple[float, ...] = ()
    named: tuple[tuple[str, str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.came or self.left)


NO_VISITS = Visits()


@dataclass(frozen=True, slots=True)
class Turn:
    """What we shall do at `at` unless something changes. `rank` is ours, from 0; parent is None for a
    root.
    """

    kind: Kind
    parent: EpochId | None
    need: Need
    rank: int
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One member's view of the call.

    tree, past: the leaves of `epoch`, and everybody who ever had a leaf on the way to it, who cannot be added
        again (section 2, valid); empty without an epoch.
    roster: R, those who have joined and are neither in D nor gone by our own roster. Holds `me`.
    gone: D ∪ X. A leaf that is neither in `roster` nor here has a join that we have not seen: it
        stays until the caller counts it as gone.
    able: who may send commits by the room's power levels. addable: whom our policy gives a leaf.
    since: when the join of one to add, or the going of one to remove, was first seen.
    joined: when our own join came back in sync.
    last_commit, last_path: when the newest commit, and the newest with a path, on the way to `epoch` was
        seen; for one who came in by a Welcome, when it came in.
    starts: `from` of everybody's first join, milliseconds. lapsed: see `Lapses`.
    idle: if the commit that made `epoch` changed nothing, the members of its author's user, who may not make
        another such commit on it (section 2, valid).
    contested: our epoch is not the head, or is about to lose it: then only removals are committed.
    limited_until: our homeserver answered 429 and takes nothing from us before.
    awaited_since: since when a commit on `epoch` has been seen that cannot be judged before its file is here.
    echo: how long our own events took to come back, see `Echo`.
    closed_since: since when we may not begin to send under `epoch`, because an earlier process may have (section 3.7).
    visits: of participants without MLS, in a call that is mixed.
    """

    me: MemberId
    epoch: EpochId | None
    tree: frozenset[MemberId]
    past: frozenset[MemberId]
    roster: frozenset[MemberId]
    gone: frozenset[MemberId]
    able: frozenset[MemberId]
    addable: frozenset[MemberId]
    since: Mapping[MemberId, float]
    joined: float
    starts: Mapping[MemberId, int]
    last_commit: float | None = None
    last_path: float | None = None
    lapsed: frozenset[MemberId] = frozenset()
    idle: frozenset[MemberId] = frozenset()
    contested: bool = False
    limited_until: float | None = None
    awaited_since: float | None = None
    echo: float = 0.0
    closed_since: float | None = None
    visits: Visits = NO_VISITS


def next_turn(scene: Scene, policy: Policy) -> Turn | None:
    """What we are to do next and when, or None if there is nothing to do or it is not for us to do.

    `scene.epoch` is where we stand; for one that stands nowhere it is the head, with the head's tree.
    Raises LocalProtocolError if `since` or `starts` lacks somebody it is asked for.
    """
    if scene.epoch is None or not scene.tree & scene.roster:
        return creation_turn(scene, policy)
    if scene.me in scene.tree:
        return commit_turn(scene, policy)
    return external_turn(scene, policy)


# -- the three turns -----------------------------------------------------------------------------------------


def commit_turn(scene: Scene, policy: Policy) -> Turn | None:
    """One commit with all changes, by the least rank among the members of our epoch that are in R; or our own, whatever
    our rank, where the epoch is closed to us.
    """
    if scene.contested:
        scene = replace(scene, addable=frozenset(), visits=replace(scene.visits, came=()))
    wanted = need(scene)
    turn = _hosts_turn(scene, wanted, _ranked_turn(scene, wanted, policy), policy)
    at = _reopening(scene, wanted, policy)
    if at is None or (turn is not None and turn.at <= at):
        return turn
    return Turn(Kind.COMMIT, scene.epoch, replace(wanted, rekey=True), 0, at)


def _ranked_turn(scene: Scene, wanted: Need, policy: Policy) -> Turn | None:
    committers = scene.tree & scene.roster & scene.able
    due = _rekey_due(scene, policy)
    if wanted:
        leaves = [*(_at(scene.since, member_id) for member_id in wanted.removes), *scene.visits.left]
        joins = [*(_at(scene.since, member_id) for member_id in wanted.adds), *scene.visits.came]
        start = moment(joins, leaves, scene.last_commit, policy)
    elif due is not None:
        start = due
        committers -= scene.idle
    else:
        return None
    rank = _rank(scene.me, ranking(scene.epoch, committers, last=scene.lapsed))
    if rank is None:
        return None
    at = _deadline(scene, start, rank, policy)
    rekey = due is not None and at >= due
    return Turn(Kind.COMMIT, scene.epoch, replace(wanted, rekey=rekey), rank, at)


def _hosts_turn(scene: Scene, wanted: Need, turn: Turn | None, policy: Policy) -> Turn | None:
    """The same, sooner if it is for participants without MLS: those before us may not serve them, and then nobody else
    commits. One failover step is for the first rank; after it the others spread out as words do.
    """
    if turn is None or not wanted.guests or turn.rank == 0:
        return turn
    start = moment(scene.visits.came, scene.visits.left, scene.last_commit, policy)
    at = _deadline(scene, start, 1, policy) + policy.word_step * int(log2(turn.rank))
    return turn if turn.at <= at else replace(turn, at=at)


def _reopening(scene: Scene, wanted: Need, policy: Policy) -> float | None:
    """When we commit a path of our own because the epoch is closed to us (section 3.7). Only we know that it is, so
    nobody else would; those who restart together spread out as words do.
    """
    alone = not (scene.tree & scene.roster) - {scene.me}
    barred = scene.me not in scene.able or (not wanted and scene.me in scene.idle)
    if scene.closed_since is None or scene.contested or alone or barred:
        return None
    rank = _rank(scene.me, ranking(scene.epoch, scene.tree & scene.roster)) or 0
    at = scene.closed_since + policy.word_step * int(log2(rank + 1))
    return at if scene.limited_until is None else max(at, scene.limited_until)


def creation_turn(scene: Scene, policy: Policy) -> Turn | None:
    """The root of a new group that adds all the others: only for two or more, since a call of one sends
    nothing; or for one with participants without MLS, who are to have a key that it sends under.

    Whoever joined first is to create it. Hashes would make somebody who joins while the root is on its way
    take the first rank, and so race; the first to join stays the first. For the same reason a device
    creates nothing until its join is `batch_limit` old: before that, somebody may have joined earlier
    without its knowing.
    """
    others = (scene.roster & scene.addable) - {scene.me}
    if not others and not scene.visits:
        return None
    creators = (others | {scene.me}) & scene.able
    rank = _rank(scene.me, creators_ranking(creators, scene.starts, last=scene.lapsed))
    if rank is None:
        return None
    first = min((*(_at(scene.since, member_id) for member_id in others), *scene.visits.came, *scene.visits.left))
    at = _deadline(scene, max(first, scene.joined + policy.batch_limit), rank, policy)
    return Turn(Kind.CREATE, None, Need(adds=tuple(sorted(others)), guests=bool(scene.visits)), rank, at)


def external_turn(scene: Scene, policy: Policy) -> Turn | None:
    """An external commit by one that no committer has added, while some member of the head is still in R.

    The wait starts anew with every commit, which shows that somebody commits: whoever came in externally has
    time to add the others. Those who wait are ranked: fifty of them shall not fork the call fifty ways.
    """
    waiting = (scene.roster & scene.addable) - scene.past
    rank = _rank(scene.me, ranking(scene.epoch, (waiting | {scene.me}) & scene.able, last=scene.lapsed))
    if rank is None or not scene.tree & scene.roster:
        return None
    quiet_since = scene.joined if scene.last_commit is None else max(scene.joined, scene.last_commit)
    at = _deadline(scene, quiet_since + policy.external_commit_after, rank, policy)
    return Turn(Kind.EXTERNAL, scene.epoch, Need(adds=(scene.me,)), rank, at)


# -- what they are made of -----------------------------------------------------------------------------------


def need(scene: Scene) -> Need:
    """Adds: in R, fit for a leaf, and never a leaf before. Removes: leaves that are gone. Guests: `Visits`. Says
    nothing of rekeys.
    """
    return Need(
        adds=tuple(sorted((scene.roster & scene.addable) - scene.past - scene.tree)),
        removes=tuple(sorted(scene.tree & scene.gone - {scene.me})),
        guests=bool(scene.visits),
    )


def ranking(
    parent: EpochId | None, members: Iterable[MemberId], *, last: frozenset[MemberId] = frozenset()
) -> tuple[MemberId, ...]:
    """The order in which members commit on a parent. It changes with every parent, so nobody's rate limit is
    eaten and every part of the tree gets fresh keys. Those in `last` come after all others.
    """
    ranked = sorted(members, key=partial(rank_hash, parent))
    return tuple(sorted(ranked, key=last.__contains__)) if last else tuple(ranked)


def creators_ranking(
    members: Iterable[MemberId], starts: Mapping[MemberId, int], *, last: frozenset[MemberId] = frozenset()
) -> tuple[MemberId, ...]:
    """The order in which members create a root: by `from`, then by the hash over no parent."""
    return tuple(
        sorted(
            members,
            key=lambda member_id: (
                member_id in last,
                _at(starts, member_id),
                rank_hash(None, member_id),
            ),
        )
    )


def moment(joins: Iterable[float], leaves: Iterable[float], last_commit: float | None, policy: Policy) -> float:
    """When the first rank commits, from the times at which the changes were first seen (at least one).

    After a quiet window the first change is committed at once. What follows a commit is gathered until the
    window since that commit has passed; a leave waits no longer than `batch_limit`, whatever else is
    committed.
    """
    leaves = tuple(leaves)
    first = min((*joins, *leaves))
    start = first if last_commit is None else max(first, last_commit + policy.batch_window)
    return min(start, min(leaves) + policy.batch_limit) if leaves else start


def _rekey_due(scene: Scene, policy: Policy) -> float | None:
    """Never for one that is alone: there is nobody to hide the old secrets from, and it sends nothing."""
    alone = not (scene.tree & scene.roster) - {scene.me}
    if scene.contested or alone or scene.last_path is None:
        return None
    return scene.last_path + policy.rekey_interval


def _rank(me: MemberId, ranked: tuple[MemberId, ...]) -> int | None:
    return ranked.index(me) if me in ranked else None


def _deadline(scene: Scene, start: float, rank: int, policy: Policy) -> float:
    """Each rank waits a failover step longer, counted from when the first could have committed on this
    parent: a change that several commits have passed by shall not put all ranks in one moment. Where everything
    takes long the step is as long as the commit of the rank before may need to reach us, since it began when its
    author saw the change and not when we did; and a commit that has come without its file is waited for. After a
    429 ours waits for our homeserver, while the next rank takes over by its own deadline.
    """
    if scene.last_commit is not None:
        start = max(start, scene.last_commit)
    if scene.awaited_since is not None:
        start = max(start, scene.awaited_since + policy.external_commit_after)
    at = start + rank * max(policy.failover_step, 2 * scene.echo)
    return at if scene.limited_until is None else max(at, scene.limited_until)


def _at(times: Mapping[MemberId, float], member_id: MemberId) -> float:
    try:
        return times[member_id]
    except KeyError:
        raise LocalProtocolError(f"no time is known for {member_id}") from None


# -- how slow it all is ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Echo:
    """How long an event of ours took to come back to us, judged if it was a commit, and when that was. Local: it makes
    our own waiting longer. Without it a homeserver that needs seconds for everything is given rival commits of all
    ranks to carry, and needs longer still.
    """

    seconds: float = 0.0
    at: float = 0.0

    def lately(self, now: float, policy: Policy) -> float:
        """What counts of it now, bounded: who was offline shall not be late for ever."""
        return min(self.seconds, policy.echo_limit) if now < self.at + policy.echo_kept else 0.0


# -- who lets turns pass -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lapses:
    """How many turns each member has let pass since it was last heard. Local: it orders our own waiting only.

    A crashed member keeps its leaf until its leave or its expiry comes; without this every turn that falls
    to it would cost everybody a failover step.
    """

    counts: Mapping[MemberId, int] = field(default_factory=lambda: MappingProxyType({}))

    def passed(self, ranked: Iterable[MemberId], author: MemberId) -> "Lapses":
        """A commit came from `author`: everybody ranked before it on that parent has let a turn pass.

        An author that is not in the ranking (an external commit) came at a time of its own and says nothing.
        """
        counts, before = dict(self.counts), tuple(ranked)
        counts.pop(author, None)
        if author in before:
            for member_id in before[: before.index(author)]:
                counts[member_id] = counts.get(member_id, 0) + 1
        return Lapses(MappingProxyType(counts))

    def heard(self, member_id: MemberId) -> "Lapses":
        """A commit, word or join of this member has come, so it is alive; or a leave, so no turn is its."""
        if member_id not in self.counts:
            return self
        return Lapses(MappingProxyType({m: n for m, n in self.counts.items() if m != member_id}))

    def lapsed(self, policy: Policy) -> frozenset[MemberId]:
        """Those who rank last until they are heard."""
        return frozenset(m for m, n in self.counts.items() if n >= policy.skipped_turns)
