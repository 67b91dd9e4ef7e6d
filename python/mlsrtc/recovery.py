"""Asking for what is missing and answering others, both within a rate (docs/protocol.md, "Need and have").

The talk that named the problem asks for a "retry mechanism, but also rate limit it": questions back off exponentially
with jitter and end, until there is new evidence that what is lacking exists; questions and answers come out of token
buckets, so that nobody can make a member its amplifier, and one who asks takes nothing from the others. Pure: `now` is
an argument (monotonic seconds), jitter is a number the caller drew.
"""

import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.policy import Policy
from mlsrtc.wire import encoding

FIRST_PAUSE = 1.0  # seconds before a question is asked again; doubles
QUESTIONS = 4  # of one round; then it is given up
OPEN_LIMIT = 4  # questions that are open at once: anybody can build commits on parents that are not there


@dataclass(slots=True)
class Bucket:
    """A token bucket: `per_minute` messages on average, as many at once; without bound unless one is given."""

    per_minute: float = math.inf
    _level: float = field(init=False)
    _at: float | None = None
    _held_until: float = -math.inf

    def __post_init__(self) -> None:
        self._level = self.per_minute

    def take(self, now: float) -> bool:
        """Whether one more may go out now; takes it if so."""
        if self.next_at(now) > now:
            return False
        if self._at is not None:
            self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._level -= 1
        self._at = now
        return True

    def next_at(self, now: float) -> float:
        """When one more may go out: `now`, or later. To ask changes nothing, not by a rounding either."""
        filled = now if self._at is None else self._at + (1 - self._level) * 60 / self.per_minute
        return max(now, filled, self._held_until)

    def limit(self, per_minute: float) -> None:
        """No more than so many: of several who share it, the lowest number counts."""
        self.per_minute = min(self.per_minute, per_minute)
        self._level = min(self._level, self.per_minute)

    def hold(self, until: float) -> None:
        """Nothing goes out before `until`, however much there is: the homeserver asks for patience."""
        self._held_until = max(self._held_until, until)


@dataclass(slots=True)
class Question:
    """One round of asking for one thing we lack: the events that lead to an epoch, its tree, or the whole head path
    (`id` None). `evidence`: how much had shown that it exists when the round began."""

    id: EpochId | None
    since: float
    evidence: int = 0
    asked: int = 0
    next_at: float = 0.0

    def due(self, now: float) -> bool:
        """Whether it is time to ask (again)."""
        return self.asked < QUESTIONS and now >= self.next_at

    def is_open(self, now: float) -> bool:
        """Whether it was asked and an answer is waited for, or it will be asked again."""
        return self.asked > 0 and (self.asked < QUESTIONS or now < self.next_at)

    def is_given_up(self, now: float) -> bool:
        """Whether it was asked as often as it may be, and the last answer did not come either."""
        return self.asked >= QUESTIONS and now >= self.next_at

    def ask(self, now: float, jitter: float) -> None:
        """It was asked now. `jitter` in 0..1 spreads the next try over half of the pause."""
        self.next_at = now + FIRST_PAUSE * 2**self.asked * (1 + jitter / 2)
        self.asked += 1


class Recovery:
    """The questions that are open and the answers that may still be given."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._answers = Bucket(policy.answers_per_minute)
        self._askers: dict[UserId, Bucket] = {}  # what each user may still ask us
        self._asking = Bucket(policy.questions_per_minute)
        self._questions: dict[EpochId | None, Question] = {}

    def lacks(self, missing: Mapping[EpochId | None, int], now: float) -> None:
        """What is missing at this moment, and how much shows that it exists; a question whose answer has come is
        forgotten. One that was given up is opened again when there is more evidence than when it began.
        """
        self._questions = {key: question for key, question in self._questions.items() if key in missing}
        for key, evidence in missing.items():
            question = self._questions.get(key)
            if question is None or (question.is_given_up(now) and evidence > question.evidence):
                self._questions[key] = Question(key, now, evidence, next_at=now + self._policy.need_after)

    def due(self, now: float) -> Iterator[Question]:
        """The questions to ask now, each out of the budget; of the head path first."""
        room = OPEN_LIMIT - sum(question.is_open(now) for question in self._questions.values())
        for question in sorted(self._questions.values(), key=lambda question: question.id is not None):
            begins = question.asked == 0
            if not question.due(now) or (begins and room <= 0):
                continue
            if not self._asking.take(now):
                return
            room -= begins
            yield question

    def has_asked(self, id: EpochId | None) -> bool:
        """Whether somebody was asked for this and it is still lacking: nobody else's answer is listened to."""
        question = self._questions.get(id)
        return question is not None and question.asked > 0

    def waited(self, now: float, seconds: float) -> frozenset[EpochId | None]:
        """What has been lacking for so long although it was asked for."""
        return frozenset(key for key, question in self._questions.items() if now - question.since >= seconds)

    def given_up(self, now: float) -> frozenset[EpochId | None]:
        """What nobody gave us in a whole round."""
        return frozenset(key for key, question in self._questions.items() if question.is_given_up(now))

    def may_answer(self, asker: UserId, now: float) -> bool:
        """Whether the budget, and the asker's own, let one more answer out."""
        own = self._askers.setdefault(asker, Bucket(self._policy.answers_per_asker))
        return own.take(now) and self._answers.take(now)

    def next_timer(self, now: float) -> float | None:
        """When a question is due again, or has waited for the history's time; monotonic seconds, after `now`."""
        questions = self._questions.values()
        times = [question.next_at for question in questions if question.asked < QUESTIONS or question.is_open(now)]
        times += [question.since + self._policy.history_timeout for question in questions]
        if any(question.due(now) for question in questions):
            times.append(self._asking.next_at(now))  # What is due was held back by a limit.
        return min((time for time in times if time > now), default=None)


def whom_to_ask(candidates: Collection[MemberId], asker: MemberId, attempt: int) -> MemberId | None:
    """Another member each time, spread over the call so that a crowd of askers does not fall on one."""
    ordered = sorted(candidates, key=lambda member: encoding.digest("mlsrtc ask 1", asker, member))
    return ordered[attempt % len(ordered)] if ordered else None
