"""From a situation to a move: which row of the table holds at this second, what is said, and when to ask
again.

All numbers are the policy's (docs/protocol.md, "Which branch", section 3; docs/design.md, section 5).
"""

from dataclasses import dataclass

from mlsrtc.policy import Policy
from mlsrtc.standing.look import Challenge, Contest, Dispute, Situation
from mlsrtc.standing.table import TABLE, Move, Say, Stage, Where


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and say now. again: the monotonic second at which the answer changes by itself, or None."""

    move: Move
    say: Say
    again: float | None


def decide(situation: Situation, policy: Policy, now: float, *, disputes: bool = False) -> Decision:
    """The move and the words of this moment.

    disputes: whether a commit that we cannot follow is disputed with the others (section 3.1). Without it
    such a commit counts as backed by them at once: who cannot open it rejoins, who does not want it
    follows and is mute.
    """
    timers: list[float] = []
    stage = _stage(situation, policy, now, timers, disputes=disputes)
    row = TABLE[situation.where, situation.trouble, stage]
    say = _say(situation, policy, now, timers, disputes=disputes)
    later = [at for at in timers if at > now]
    return Decision(row.move, say, min(later, default=None))


def _stage(situation: Situation, policy: Policy, now: float, timers: list[float], *, disputes: bool) -> Stage:
    contest, dispute = situation.contest, situation.dispute
    if dispute is not None:
        if not disputes:
            return Stage.BACKED
        settled = max(dispute.since + policy.dispute_settle, dispute.last_word + policy.settle)
        if now < settled:
            timers.append(settled)
            return Stage.EARLY
        return Stage.BACKED if dispute.backed else Stage.UNBACKED
    if contest is None:
        return Stage.ANY
    if situation.where is Where.BESIDE_FREE:
        settled = min(contest.rival_since + policy.settle, contest.since + policy.settle_free_limit)
    else:
        settled = min(contest.gained + policy.settle, contest.since + policy.settle_costly_limit)
        if _is_word_wanted(contest):
            # Nobody leaves a branch without having said that it stood there (section 3.3).
            settled = contest.since + policy.settle_costly_limit
    timers.append(settled)
    return Stage.SETTLED if now >= settled else Stage.EARLY


def _say(situation: Situation, policy: Policy, now: float, timers: list[float], *, disputes: bool) -> Say:
    """In ordinary life nobody speaks (section 3.4)."""
    dispute, contest, challenge = situation.dispute, situation.contest, situation.challenge
    if disputes and dispute is not None and _is_refusal_wanted(dispute):
        at = dispute.since + policy.refusal_delay + _round(situation.rank, policy)
        timers.append(at)
        if now >= at:
            return Say.REFUSAL
    starts = []
    if situation.where is Where.BESIDE_COSTLY and contest is not None and _is_word_wanted(contest):
        starts.append(contest.since)
    if challenge is not None and _is_defence_wanted(challenge):
        starts.append(challenge.since)
    if starts:
        at = min(starts) + policy.word_delay + _round(situation.rank, policy)
        timers.append(at)
        if now >= at:
            return Say.WORD
    return Say.NOTHING


def _round(rank: int, policy: Policy) -> float:
    """Rounds double: after each, as many may have spoken as in all rounds before it."""
    return policy.word_step * ((rank + 1).bit_length() - 1)


def _is_word_wanted(contest: Contest) -> bool:
    """Not once our user has spoken for our side, nor once our side leads by 1 + ⌈|S(rival)|/2⌉."""
    lead = 1 + (len(contest.theirs) + 1) // 2
    return contest.side is not None and not contest.spoken and len(contest.ours) - len(contest.theirs) < lead


def _is_defence_wanted(challenge: Challenge) -> bool:
    """Who stands on a refused commit speaks until enough users stand behind it."""
    return not challenge.spoken and len(challenge.support) < challenge.wanted


def _is_refusal_wanted(dispute: Dispute) -> bool:
    """Silent if |F| > |S| + 1 already."""
    return not dispute.said and len(dispute.refusers) <= len(dispute.support) + 1
