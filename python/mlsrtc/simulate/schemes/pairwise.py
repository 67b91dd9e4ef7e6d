"""What the schemes share in which every device has a key of its own and sends it to each of the others.

Messages are Olm-encrypted one by one in sessions that are there already: who is in an encrypted room together has them.
"""

from collections.abc import Sequence

from mlsrtc.simulate.hall import Hall
from mlsrtc.simulate.peer import Peer, key_name
from mlsrtc.simulate.record import CLEAR, Key


class Sharer(Peer):
    """A device with a key of its own. `format`: whose messages it sends. `batch`: as in `Hall.to_device`."""

    format = "element_call"
    batch: int | None = None

    def __init__(self, hall: Hall, me: int) -> None:
        super().__init__(hall, me)
        self.number = -1
        self.made = 0.0  # when the newest key was made
        self.inside = False
        self._size = hall.primitives.size(f"olm {self.format}")

    @property
    def key(self) -> tuple[int, int]:
        """Our newest key, whether we send under it yet or not."""
        return key_name(self.me, self.number)

    def make_key(self) -> Key:
        """A new key of our own."""
        self.number += 1
        self.made = self.hall.now
        return self.key

    def give(self, recipients: Sequence[int], key: Key) -> None:
        """Sends one of our keys to each of these."""
        self.hall.record.computed("olm encrypt", len(recipients))
        self.hall.to_device(self.me, recipients, key, self._size, key=True, batch=self.batch)

    def use(self, key: Key, delay: float = 0.0) -> None:
        """Sends under a key of ours after so many seconds, unless we are on a newer one by then."""
        if delay:
            self.later(delay, lambda: self.use(key))
        elif self.hall.record.switches[self.me] and self._newer(self.hall.record.switches[self.me][-1][1], key):
            return
        else:
            self.send_under(key)

    @staticmethod
    def _newer(present: Key | None, key: Key) -> bool:
        return isinstance(present, tuple) and isinstance(key, tuple) and present[1] > key[1]

    def everybody(self) -> list[int]:
        """All others, in an order that all runs share."""
        return sorted(self.others)

    def received(self, messages: Sequence[tuple[int, object]]) -> None:
        """Counts what it takes to decrypt them."""
        self.hall.record.computed("olm decrypt", len(messages))

    def settled(self) -> None:
        """Everybody holds everybody's first key, made long ago."""
        self.inside = True
        key = self.make_key()
        self.made = -3600.0
        self.send_under(key)
        for other in self.others:
            self.hall.record.holds(other, key, -1.0)


def goes_clear(peer: Peer) -> None:
    """Encryption is off for this device from now on: everybody can open what it sends."""
    held = peer.hall.record.held[CLEAR]
    if not held:
        held.update((stay, -1.0) for stay in range(len(peer.hall.trace.stays)))
    peer.send_under(CLEAR)
