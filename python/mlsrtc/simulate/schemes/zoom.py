"""A leader that makes one key for all and boxes it for each, as in Zoom."""

from collections.abc import Callable, Sequence

from mlsrtc.simulate.constants import Constant, assumed
from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Peer, key_name
from mlsrtc.simulate.schemes.scheme import Model

ROTATION = "Zoom, E2E encryption whitepaper, 7.6.6 Key Rotation"

CONSTANTS: dict[str, Constant] = {
    "use delay": Constant(2.0, "s", ROTATION + ": participants wait about 2 seconds"),
    "leave, at most": Constant(10.0, "s", ROTATION + ": might be delayed for up to 10 seconds"),
    "leave, drawn": assumed(1, "", "the delay of a rekey after a leave is drawn evenly up to its bound"),
    "join wait": assumed(1.0, "s", 'of those who join in short succession the leader waits "a short amount of time"'),
    "forced": Constant(300.0, "s", ROTATION + ": every five minutes"),
    "leader": assumed(1, "", "the server appoints who is there the longest; heartbeats of the leader are not counted"),
    "list": Constant(1, "event per rekey", "Zoom, whitepaper, 7.6.7: the leader signs the list of participants"),
}
LIST_BYTES_EACH = 60  # a device's name and fingerprint


class Zoom(Peer):
    """One device, and the leader if it is there the longest."""

    def __init__(self, hall: Hall, me: int) -> None:
        super().__init__(hall, me)
        self.inside = False
        self.number = 0  # of the newest key of all, whoever made it
        self._rekey_at: float | None = None
        self._made = 0.0

    @property
    def leads(self) -> bool:
        """Whether we are the leader, as far as we see."""
        return self.inside and all(other > self.me for other in self.others)

    def join(self) -> None:
        """Who is first has a key at once; everybody posts a key to be boxed for."""
        self.inside = True
        self.hall.say(self.me, "public key", self.hall.primitives.size("box") * 3)
        if self.leads:
            self._rekey()

    def settled(self) -> None:
        """One key for all, made by the first."""
        self.inside, self.number, self._made = True, 1, 0.0
        first = min(self.others | {self.me})
        key = key_name(first, self.number)
        self.hall.record.holds(self.me, key, -1.0)
        self.send_under(key)
        if self.leads:
            self._force()

    def changed(self, joined: Sequence[int], left: Sequence[int]) -> None:
        """The leader makes a new key; so does who becomes the leader."""
        if not self.leads:
            return
        if joined:
            self._due(CONSTANTS["join wait"].value)
        if left:
            self._due(self.hall.random.random() * CONSTANTS["leave, at most"].value)

    def received(self, messages: Sequence[tuple[int, object]]) -> None:
        """A key that the leader boxed for us."""
        for _, key in messages:
            assert isinstance(key, tuple)
            self.hall.record.computed("unbox")
            self._take(key)

    def _due(self, delay: float) -> None:
        moment = self.hall.now + delay
        if self._rekey_at is None or moment < self._rekey_at:
            self._rekey_at = moment
            self.later(delay, lambda: self._rekey() if self._rekey_at == moment else None)

    def _rekey(self) -> None:
        self._rekey_at = None
        if not self.leads:
            return
        self._made = self.hall.now
        key = key_name(self.me, self.number + 1)
        others = sorted(self.others)
        self.hall.record.computed("box", len(others))
        self.hall.record.holds(self.me, key, self.hall.now)
        self.hall.to_device(self.me, others, key, self.hall.primitives.size("box"), key=True)
        self.hall.say(self.me, "list", 100 + LIST_BYTES_EACH * len(others))
        self._take(key)
        self._force()

    def _force(self) -> None:
        made, wait = self._made, CONSTANTS["forced"].value
        self.later(wait, lambda: self._rekey() if self._made == made else None)

    def _take(self, key: tuple[int, int]) -> None:
        if key[1] < self.number:
            return
        first = self.number == 0
        self.number = key[1]
        if first:
            self.send_under(key)
        else:
            self.later(CONSTANTS["use delay"].value, lambda: self.send_under(key) if key[1] == self.number else None)


def _build(hall: Hall) -> Callable[[int], Peer]:
    return lambda me: Zoom(hall, me)


ZOOM = Model(
    "zoom",
    "Zoom",
    "one key for all, from a leader; a leave is answered within 10 s; who joins hears nothing before the next key",
    CONSTANTS,
    _build,
)
