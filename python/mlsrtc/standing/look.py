"""What the head is to us, from the ordering and from what we hold, and since when it has been so.

A `Situation` holds the facts of one moment. It is made from the one before, so that times survive as long
as the thing they are about: `look(previous, ...)` with no previous starts all times now.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering import Ordering
from mlsrtc.standing.table import Trouble, Where


@dataclass(frozen=True, slots=True)
class Voice:
    """What we have said last, whether it has come back or not. standing: by a word or a commit of ours."""

    standing: EpochId | None = None
    refused: EpochId | None = None


@dataclass(frozen=True, slots=True)
class Contest:
    """Our side of a fork and the other, each by its first commit; None where a path ends at the fork.

    since: the head has been elsewhere. rival_since: this rival has led. gained: our side last won a user,
    or we spoke for it. spoken: our user supports our side, or is about to.
    """

    side: EpochId | None
    rival: EpochId | None
    since: float
    rival_since: float
    gained: float
    ours: frozenset[UserId]
    theirs: frozenset[UserId]
    spoken: bool


@dataclass(frozen=True, slots=True)
class Dispute:
    """The next commit on the way, which we cannot or will not follow. last_word: S or F of it changed
    last.
    """

    id: EpochId
    since: float
    last_word: float
    support: frozenset[UserId]
    refusers: frozenset[UserId]
    backed: bool  # by a user that is neither its author nor ours: an author supports its commit by making it
    said: bool


@dataclass(frozen=True, slots=True)
class Challenge:
    """A commit that we stand on or below and that others refuse."""

    id: EpochId
    since: float
    support: frozenset[UserId]
    refusers: frozenset[UserId]
    spoken: bool

    @property
    def wanted(self) -> int:
        """|F| + 1 + ⌈|F|/2⌉: with fewer users behind each commit two users could veto everything (section
        3.4).
        """
        return len(self.refusers) + 1 + (len(self.refusers) + 1) // 2


@dataclass(frozen=True, slots=True)
class Situation:
    """All that `decide` needs. rank: ours among the members of where we stand, from 0 (`turns.ranking`).

    head_since: the head has been this one, whatever we did meanwhile; all else in here starts anew where we go.
    trouble: with the Welcome that invites us, or with the commit in `dispute`; none otherwise.
    """

    where: Where
    mine: EpochId | None
    head: EpochId | None
    head_since: float
    rank: int
    trouble: Trouble = Trouble.NONE
    contest: Contest | None = None
    dispute: Dispute | None = None
    challenge: Challenge | None = None


def way(
    ordering: Ordering, path: Sequence[EpochId], states: AbstractSet[EpochId], me: MemberId
) -> tuple[EpochId, ...] | None:
    """The kept state nearest to the head on its `path`, and the commits from there to the head, head included.

    states: epochs that we hold, where we stand among them. None if there is no way on which we stay a leaf.
    """
    found: list[EpochId] = []
    for id in reversed(path):
        commit = ordering.commit(id)
        if commit is None or not commit.holds(me):
            return None
        found.append(id)
        if id in states:
            return tuple(reversed(found))
    return None


def look(
    previous: Situation | None,
    ordering: Ordering,
    path: Sequence[EpochId],
    *,
    me: MemberId,
    user: UserId,
    mine: EpochId | None,
    states: AbstractSet[EpochId],
    invited: bool,
    trouble: Trouble,
    voice: Voice,
    rank: int,
    now: float,
) -> Situation:
    """What the head is to us at monotonic second `now`.

    path: from the root to the head. states: epochs whose state we hold and may still use. invited: a Welcome on
    `path` adds us, and we may use its KeyPackage key. trouble: what we have found against the next commit of
    `way`, or against the Welcome.
    """
    head = path[-1] if path else None
    head_since = previous.head_since if previous is not None and previous.head == head else now
    if previous is not None and previous.mine != mine:
        previous = None
    route = way(ordering, path, states, me)
    where = _where(ordering, mine, head, route, invited=invited, trouble=trouble)
    contest = dispute = None
    moment = _Moment(ordering, user, voice, now)
    if where in (Where.BESIDE_FREE, Where.BESIDE_COSTLY):
        contest = _contest(previous, moment, mine, head)
    if where is Where.BEHIND and trouble is not Trouble.NONE and route is not None and len(route) > 1:
        dispute = _dispute(previous, moment, route[1])
    return Situation(
        where=where,
        mine=mine,
        head=head,
        head_since=head_since,
        rank=rank,
        trouble=trouble if dispute or where is Where.INVITED else Trouble.NONE,
        contest=contest,
        dispute=dispute,
        challenge=_challenge(previous, moment, mine),
    )


def _where(
    ordering: Ordering,
    mine: EpochId | None,
    head: EpochId | None,
    route: tuple[EpochId, ...] | None,
    *,
    invited: bool,
    trouble: Trouble,
) -> Where:
    if mine is None:
        return Where.INVITED if head is not None and invited else Where.OUTSIDE
    if head is None:
        return Where.HEADLESS
    if head == mine:
        return Where.AT_HEAD
    if ordering.is_below(head, mine) and route is not None:
        return Where.BEHIND
    if (route is not None or invited) and trouble is not Trouble.UNREADABLE:
        return Where.BESIDE_FREE
    return Where.BESIDE_COSTLY


@dataclass(frozen=True, slots=True)
class _Moment:
    ordering: Ordering
    user: UserId
    voice: Voice
    now: float

    def supports(self, id: EpochId) -> bool:
        """Whether our user stands at `id` or below, by what is in E or by what we said last."""
        said = self.voice.standing
        if said is not None and (said == id or self.ordering.is_below(said, id)):
            return True
        return self.user in self.ordering.support(id)


def _contest(previous: Situation | None, moment: _Moment, mine: EpochId | None, head: EpochId | None) -> Contest:
    ordering, now = moment.ordering, moment.now
    fork = ordering.fork(mine, head) if mine is not None and head is not None else None
    side, rival = (fork.ours, fork.theirs) if fork else (None, None)
    ours = ordering.support(side) if side is not None else frozenset()
    theirs = ordering.support(rival) if rival is not None else frozenset()
    spoken = side is not None and moment.supports(side)
    before = previous.contest if previous else None
    if before is None:
        return Contest(side, rival, now, now, now, ours, theirs, spoken)
    has_gained = bool(ours - before.ours) or (spoken and not before.spoken)
    return Contest(
        side=side,
        rival=rival,
        since=before.since,
        rival_since=before.rival_since if rival == before.rival else now,
        gained=now if has_gained else before.gained,
        ours=ours,
        theirs=theirs,
        spoken=spoken,
    )


def _dispute(previous: Situation | None, moment: _Moment, id: EpochId) -> Dispute:
    ordering, now = moment.ordering, moment.now
    support, refusers = ordering.support(id), ordering.refusers(id)
    commit = ordering.commit(id)
    before = previous.dispute if previous and previous.dispute and previous.dispute.id == id else None
    unchanged = before is not None and (before.support, before.refusers) == (support, refusers)
    return Dispute(
        id=id,
        since=before.since if before else now,
        last_word=before.last_word if before and unchanged else now,
        support=support,
        refusers=refusers,
        backed=bool(support - {moment.user} - ({commit.author.user_id} if commit else set())),
        said=moment.user in refusers or moment.voice.refused == id,
    )


def _challenge(previous: Situation | None, moment: _Moment, mine: EpochId | None) -> Challenge | None:
    """Of the refused commits on our path the one for which we have not spoken and that needs it most."""
    ordering = moment.ordering
    before = previous.challenge if previous else None
    challenged = [
        Challenge(
            id=id,
            since=before.since if before and before.id == id else moment.now,
            support=ordering.support(id),
            refusers=ordering.refusers(id),
            spoken=moment.supports(id),
        )
        for id in (ordering.refused_on_path(mine) if mine is not None else ())
    ]
    return min(
        challenged,
        key=lambda challenge: (challenge.spoken, len(challenge.support) - challenge.wanted),
        default=None,
    )
