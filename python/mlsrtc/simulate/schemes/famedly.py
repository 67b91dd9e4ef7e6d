"""Per-participant keys as in the Famedly dart SDK, with and without its ratchet on join."""

from collections.abc import Callable, Sequence

from mlsrtc.simulate.constants import Constant, assumed
from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Peer
from mlsrtc.simulate.schemes.pairwise import Sharer
from mlsrtc.simulate.schemes.scheme import Model

SDK = "matrix-dart-sdk, lib/src/voip/backend/livekit_backend.dart"
TIMEOUTS = "matrix-dart-sdk, lib/src/voip/utils/voip_constants.dart"

CONSTANTS: dict[str, Constant] = {
    "leave debounce": Constant(4.0, "s, begun anew by each leave", TIMEOUTS + ": makeKeyOnLeaveDelay"),
    "join throttle": Constant(8.0, "s", TIMEOUTS + ": makeKeyOnJoinDelay; a younger key is sent again, to all"),
    "use delay": Constant(4.0, "s", TIMEOUTS + ": useKeyDelay"),
    "pre-share": Constant(1, "key", SDK + ": preShareKey, on the onboarding screen"),
    "left meanwhile": assumed(1, "key", "a new one at Join, if somebody who got the pre-shared one is gone by then"),
}


class Famedly(Sharer):
    """One device."""

    format = "famedly"

    def __init__(self, hall: Hall, me: int, *, ratchets: bool) -> None:
        super().__init__(hall, me)
        self.ratchets = ratchets
        self._leaves = 0
        self._stale = False  # somebody got our key in the lobby and is gone

    def lobby(self) -> None:
        """Our key is shared before we are in the call."""
        self.give(self.everybody(), self.make_key())

    def join(self) -> None:
        """Everybody who is there is new to us: the key is sent again, or a new one if it is older than the throttle."""
        self.inside = True
        if self._stale or self.hall.now - self.made >= CONSTANTS["join throttle"].value:
            self.make_key()
        self.use(self.key)
        self.give(self.everybody(), self.key)

    def changed(self, joined: Sequence[int], left: Sequence[int]) -> None:
        """Throttle for who joined, debounce for who left."""
        if not self.inside:
            self._stale |= bool(left)
            return
        if joined:
            self._welcome(sorted(joined))
        if left:
            self._leaves += 1
            count = self._leaves
            self.later(CONSTANTS["leave debounce"].value, lambda: self._rotate() if count == self._leaves else None)

    def _welcome(self, joined: Sequence[int]) -> None:
        if self.ratchets:
            # Whoever has the key makes the next one of it: only who joined is sent it, and it is used at once.
            self.hall.record.computed("hkdf", 1 + len(self.others) - len(joined))
            self.give(joined, self.key)
        elif self.hall.now - self.made < CONSTANTS["join throttle"].value:
            self.give(self.everybody(), self.key)
        else:
            self._rotate()

    def _rotate(self) -> None:
        key = self.make_key()
        self.give(self.everybody(), key)
        self.use(key, CONSTANTS["use delay"].value)


def _maker(*, ratchets: bool) -> Callable[[Hall], Callable[[int], Peer]]:
    return lambda hall: lambda me: Famedly(hall, me, ratchets=ratchets)


FAMEDLY = Model(
    "famedly",
    "Famedly",
    "the dart SDK: 4 s debounce on leave without a bound; within 8 s of a new key every join sends it again to all",
    CONSTANTS,
    _maker(ratchets=False),
)
FAMEDLY_RATCHET = Model(
    "famedly-ratchet",
    "Famedly, with ratchet",
    "a join costs one message from each; receivers must try the ratchet",
    CONSTANTS,
    _maker(ratchets=True),
)
