"""A device in the model of a scheme, and what happens in its room. Knows the hall only by what it asks of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from mlsrtc.simulate.record import Key

if TYPE_CHECKING:
    from mlsrtc.simulate.hall import Hall

SERVER = -1  # the sender of what the server itself says


@dataclass(frozen=True, slots=True)
class Joined:
    """A membership began."""

    stay: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A membership ended. `next_stay`: the same device is back under it, in the same event."""

    stay: int
    next_stay: int | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """Something in the room that all see."""

    sender: int
    what: object
    size: int


RoomNews: TypeAlias = Joined | Gone | Said


class Peer:
    """One device of a scheme, for one stay. A scheme overrides what it answers to."""

    def __init__(self, hall: "Hall", me: int) -> None:
        self.hall = hall
        self.me = me
        self.others: set[int] = set()  # whose membership we see, without our own
        self.over = False

    # -- what happens to it --

    def lobby(self) -> None:
        """Its application shows the call, and Join will be pressed."""

    def join(self) -> None:
        """Join was pressed: our membership is on its way."""

    def leave(self) -> None:
        """Leave was pressed: the end of our membership is on its way."""

    def changed(self, joined: Sequence[int], left: Sequence[int]) -> None:
        """One sync brought these memberships; `others` knows them."""

    def said(self, sender: int, what: object) -> None:
        """A sync brought something from the room, our own included."""

    def received(self, messages: Sequence[tuple[int, object]]) -> None:
        """A sync brought to-device messages, by their senders. Keys among them are ours already."""

    def settled(self) -> None:
        """The call has stood for long: begin with the state that one has then."""
        raise NotImplementedError

    # -- what it does --

    def later(self, delay: float, act: Callable[[], None]) -> None:
        """Does `act` after so many seconds, unless our stay is over then."""

        def ring() -> None:
            if not self.over:
                act()

        self.hall.network.after(delay, ring)

    def send_under(self, key: Key) -> None:
        """Our media goes out under this key from now on."""
        if not self.over:
            self.hall.record.sends(self.me, key, self.hall.network.time)


def key_name(owner: int, number: int) -> tuple[int, int]:
    """The name of a key. Keys are the only messages that are tuples: the hall writes down who gets them."""
    return owner, number
