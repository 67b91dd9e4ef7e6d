"""Per-participant keys as in matrix-js-sdk, which Element Call uses: released, with the participant limit, and with the
message budget that is proposed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Peer
from mlsrtc.simulate.schemes.pairwise import Sharer
from mlsrtc.simulate.schemes.scheme import Model

MANAGER = "matrix-js-sdk, src/matrixrtc/RTCEncryptionManager.ts"
PROPOSED = "matrix-js-sdk pull request 5505 (open), RTCEncryptionManager.ts"

CONSTANTS: dict[str, Constant] = {
    "use delay": Constant(1.0, "s", MANAGER + ": useKeyDelay, 1000 where none is configured"),
    "grace": Constant(10.0, "s", "matrix-js-sdk pull request 4911: keyRotationGracePeriodMs"),
    "batch": Constant(20, "messages", "matrix-js-sdk, src/ToDeviceMessageQueue.ts: MAX_BATCH_SIZE; one PUT at a time"),
    "leaver's key": Constant(1, "key", "matrix-js-sdk 43, observed: a leaver rotates once more while it leaves"),
}
LIMIT: dict[str, Constant] = CONSTANTS | {
    "participant limit": Constant(
        30, "participants", "Element Call's load test of key_rotation_participant_limit (pull request 5486); no default"
    ),
}
BUDGET: dict[str, Constant] = {
    name: value for name, value in CONSTANTS.items() if name not in ("grace", "leaver's key")
} | {
    "contingent": Constant(6000, "messages a minute, all together", PROPOSED + ": sharedPerMinuteToDeviceContingent"),
    "jitter": Constant(2.0, "times the grace period, at most", PROPOSED + ": Math.random() * 2"),
    "oldest key": Constant(900.0, "s", PROPOSED + ": maxKeyTTL"),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """Which of its forms."""

    limit: int | None = None
    contingent: float | None = None


class ElementCall(Sharer):
    """One device. A rollout of a key is one at a time; what changes meanwhile is looked at when it is over."""

    batch = int(CONSTANTS["batch"].value)

    def __init__(self, hall: Hall, me: int, settings: Settings) -> None:
        super().__init__(hall, me)
        self.settings = settings
        self.shared: set[int] = set()  # who has got the newest key
        self._rolling = False
        self._again = False

    # -- what happens --

    def join(self) -> None:
        """The first key is used at once, and sent to all."""
        self.inside = True
        self.use(self.make_key())
        self._first()
        self._share(self.everybody())

    def settled(self) -> None:
        """As for every sharer."""
        super().settled()
        self.shared = set(self.others)

    def leave(self) -> None:
        """A leaver sees its own membership end, and rotates."""
        if self.settings.contingent is None and not self._suppressed():
            self.give(self.everybody(), self.make_key())

    def changed(self, joined: Sequence[int], left: Sequence[int]) -> None:
        """Memberships changed: see that who is there has the key, and who is not there has not."""
        if self.inside:
            self._ensure()

    # -- the rollout --

    def _ensure(self) -> None:
        if self._rolling:
            self._again = True
            return
        self._roll()

    def _roll(self) -> None:
        left, joined = self.shared - self.others, sorted(self.others - self.shared)
        if not left and not joined:
            return
        if self._suppressed():
            self.shared &= self.others
            self._share(joined)
        elif left or self.hall.now - self.made >= CONSTANTS["grace"].value:
            self._rotate()
        else:
            self._share(joined)

    def _rotate(self) -> None:
        """A new key for all, used after a delay; no other rollout begins before that."""
        key = self.make_key()
        self.shared.clear()
        self._share(self.everybody())
        self._rolling = True
        delay = CONSTANTS["use delay"].value

        def over() -> None:
            self.use(key)
            self._rolling = False
            if self._again:
                self._again = False
                self._roll()

        self.later(delay, over)

    def _share(self, recipients: Sequence[int]) -> None:
        self.give(recipients, self.key)
        self.shared.update(recipients)

    def _suppressed(self) -> bool:
        limit = self.settings.limit
        return limit is not None and len(self.others) + 1 >= limit

    def _first(self) -> None:
        """Our first key was made."""


class Budgeted(ElementCall):
    """With the budget: a change is answered by the present key for those who joined, and by a rotation when the block
    is over, which is as long as the whole call may not rotate within its contingent."""

    def __init__(self, hall: Hall, me: int, settings: Settings) -> None:
        super().__init__(hall, me, settings)
        self._blocked_until = 0.0
        self._scheduled: float | None = None

    def _first(self) -> None:
        self._blocked_until = self.hall.now + self._grace() * self._jitter()
        self._age()

    def _roll(self) -> None:
        left, joined = self.shared - self.others, sorted(self.others - self.shared)
        if left or joined:
            self.shared &= self.others
            self._change(joined)

    def _change(self, joined: Sequence[int]) -> None:
        now = self.hall.now
        if self._blocked_until <= now:
            self._blocked_until = now + self._grace() * self._jitter()
        if self._scheduled != self._blocked_until:
            self._scheduled = self._blocked_until
            self.later(self._blocked_until - now, self._due)
        self._share(joined)

    def _due(self) -> None:
        if self._rolling:
            self.later(CONSTANTS["use delay"].value, self._due)
            return
        self._blocked_until = self.hall.now + self._grace()
        self._rotate()
        self._age()

    def _age(self) -> None:
        key = self.key

        def old() -> None:
            if self.key == key:
                self._change(())

        self.later(max(BUDGET["oldest key"].value, self._grace()), old)

    def _grace(self) -> float:
        present = len(self.others) + 1
        assert self.settings.contingent is not None
        return 60.0 * present * (present - 1) / self.settings.contingent

    def _jitter(self) -> float:
        return self.hall.random.random() * BUDGET["jitter"].value


def _maker(kind: type[ElementCall], settings: Settings) -> Callable[[Hall], Callable[[int], Peer]]:
    return lambda hall: lambda me: kind(hall, me, settings)


ELEMENT_CALL = Model(
    "element-call",
    "Element Call",
    "matrix-js-sdk: every device rotates at once on every leave, and on a join once its key is 10 s old",
    CONSTANTS,
    _maker(ElementCall, Settings()),
)
ELEMENT_CALL_LIMIT = Model(
    "element-call-limit",
    "Element Call, with limit",
    "its participant limit: from 30 on nobody rotates: who leaves goes on listening, who joins gets the present keys",
    LIMIT,
    _maker(ElementCall, Settings(limit=int(LIMIT["participant limit"].value))),
)
ELEMENT_CALL_BUDGET = Model(
    "element-call-budget",
    "Element Call, with budget",
    "its proposed message budget: rotations wait so long that the call keeps within 6,000 messages a minute",
    BUDGET,
    _maker(Budgeted, Settings(contingent=BUDGET["contingent"].value)),
)
