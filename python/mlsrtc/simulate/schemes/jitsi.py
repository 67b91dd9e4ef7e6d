"""Olm pairwise as in Jitsi: a channel per pair, a ratchet on join, a debounced rotation on leave that waits for every
acknowledgement, and no encryption from its limit on."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mlsrtc.simulate.constants import Constant, assumed
from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Peer
from mlsrtc.simulate.record import Key
from mlsrtc.simulate.schemes.pairwise import Sharer, goes_clear
from mlsrtc.simulate.schemes.scheme import Model

HANDLER = "lib-jitsi-meet, modules/e2ee/ManagedKeyHandler.ts"
ADAPTER = "lib-jitsi-meet, modules/e2ee/OlmAdapter.ts"

UNLIMITED: dict[str, Constant] = {
    "debounce": Constant(5.0, "s, begun anew by each change", HANDLER + ": DEBOUNCE_PERIOD, for joins and leaves"),
    "answer": Constant(5.0, "s", ADAPTER + ": REQ_TIMEOUT; who has not acknowledged by then is not waited for"),
    "who begins": assumed(1, "", "of two, who came later opens the channel; the source goes by their ids"),
}
CONSTANTS: dict[str, Constant] = UNLIMITED | {
    "warned from": Constant(20, "participants", "jitsi-meet, react/features/e2ee: MAX_MODE_LIMIT"),
    "off from": Constant(25, "participants", "jitsi-meet, react/features/e2ee: MAX_MODE_LIMIT + MAX_MODE_THRESHOLD"),
}


@dataclass(frozen=True, slots=True)
class _Open:
    """Opens a channel."""


@dataclass(frozen=True, slots=True)
class _Acknowledged:
    """A key has come."""

    key: Key


class Jitsi(Sharer):
    """One device."""

    format = "jitsi"

    def __init__(self, hall: Hall, me: int, limit: int | None) -> None:
        super().__init__(hall, me)
        self.limit = limit
        self.off = False
        self._joins = self._leaves = 0
        self._waiting: dict[Key, set[int]] = {}
        self._answered: set[int] = set()  # who got our first key
        self._early: set[int] = set()  # who opened a channel before we saw it join

    def join(self) -> None:
        """Our key is used at once; channels are opened."""
        self.inside = True
        self.use(self.make_key())
        self._open(self.everybody())
        self._look_at_the_limit()

    def changed(self, joined: Sequence[int], left: Sequence[int]) -> None:
        """Each kind of change has its own debounce."""
        if not self.inside or self.off:
            return
        self._look_at_the_limit()
        self._open(joined)
        for other in joined:
            if other in self._early:
                self._answer(other)
        delay = UNLIMITED["debounce"].value
        if joined:
            self._joins += 1
            joins = self._joins
            self.later(delay, lambda: self._ratchet() if joins == self._joins else None)
        if left:
            self._leaves += 1
            leaves = self._leaves
            for waiting in self._waiting.values():
                waiting.difference_update(left)
            self._look_at_answers()
            self.later(delay, lambda: self._rotate() if leaves == self._leaves else None)

    def received(self, messages: Sequence[tuple[int, object]]) -> None:
        """A channel that is opened is answered with our key; a key is acknowledged, and by who opened with its own."""
        super().received(messages)
        for sender, what in messages:
            if self.off:
                return
            match what:
                case _Open():
                    if sender in self.others:
                        self._answer(sender)
                    else:
                        self._early.add(sender)
                case _Acknowledged(key):
                    self._waiting.get(key, set()).discard(sender)
                case tuple():
                    self.hall.record.computed("olm encrypt")
                    self.hall.to_device(self.me, [sender], _Acknowledged(what), self._size)
                    if sender not in self._answered:
                        self._answer(sender)
        self._look_at_answers()

    def settled(self) -> None:
        """As for every sharer."""
        super().settled()
        self._answered = set(self.others)
        self._look_at_the_limit()

    # -- keys --

    def _open(self, others: Sequence[int]) -> None:
        earlier = [other for other in others if other < self.me]
        if not self.off:
            self.hall.record.computed("olm encrypt", len(earlier))
            self.hall.to_device(self.me, earlier, _Open(), self._size)

    def _answer(self, other: int) -> None:
        self._answered.add(other)
        self.give([other], self.key)

    def _ratchet(self) -> None:
        """The next key follows from the present one: who has that makes it too. Its name stays."""
        if not self.off:
            self.hall.record.computed("hkdf", 1 + len(self.others))

    def _rotate(self) -> None:
        if self.off:
            return
        key = self.make_key()
        self._waiting[key] = set(self.others)
        self.give(self.everybody(), key)
        self.later(UNLIMITED["answer"].value, lambda: self._go(key))
        self._look_at_answers()

    def _look_at_answers(self) -> None:
        for key in [key for key, waiting in self._waiting.items() if not waiting]:
            self._go(key)

    def _go(self, key: Key) -> None:
        if self._waiting.pop(key, None) is not None and not self.off:
            self.use(key)

    def _look_at_the_limit(self) -> None:
        if self.limit is not None and len(self.others) + 1 >= self.limit and not self.off:
            self.off = True
            goes_clear(self)


def _maker(limit: int | None) -> Callable[[Hall], Callable[[int], Peer]]:
    return lambda hall: lambda me: Jitsi(hall, me, limit)


JITSI = Model(
    "jitsi",
    "Jitsi",
    "end-to-end encryption is switched off at 25 participants, and stays off: all of it is in the clear then",
    CONSTANTS,
    _maker(int(CONSTANTS["off from"].value)),
)
JITSI_UNLIMITED = Model(
    "jitsi-unlimited",
    "Jitsi, without its limit",
    "what its key exchange would do if it were not switched off",
    UNLIMITED,
    _maker(None),
)
