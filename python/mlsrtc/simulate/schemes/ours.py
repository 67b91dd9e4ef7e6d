"""mlsrtc's MLS: the real sessions of `mlsrtc.Session`, with the policy that is the default."""

from collections.abc import Mapping
from typing import Any

from mlsrtc.identifiers import EpochId, RoomId, SlotId
from mlsrtc.notices import EpochChanged, Left, MediaKeysChanged, Muted, SendKeySwitched
from mlsrtc.outbox import Request
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.schemes.machine import MEMBERSHIPS, Book, Real
from mlsrtc.testing.device import PartyDevice, SessionLike
from mlsrtc.wire.incoming import Incoming, Now, RoomEvent

SLOT = SlotId("m.call#ROOM")
POLICY = "mlsrtc.policy"
DEFAULT = Policy()
TREE = "set tree"  # the duty rotates, so most nodes are set

CONSTANTS: dict[str, Constant] = {
    "batch window": Constant(DEFAULT.batch_window, "s", POLICY),
    "batch limit": Constant(DEFAULT.batch_limit, "s", POLICY),
    "use delay, add": Constant(DEFAULT.switch_delay_add, "s", POLICY),
    "use delay, remove": Constant(DEFAULT.switch_delay_remove, "s, at most", POLICY),
    "forced": Constant(DEFAULT.rekey_interval, "s", POLICY),
    "signatures": Constant(
        4, "checks per membership and device", "docs/protocol.md: join, binding, and the two of a chain"
    ),
}


class OurMls:
    """The sessions and what they tell."""

    def session(self, device: PartyDevice, records: Mapping[str, bytes], now: Now) -> SessionLike:
        """As an application makes it."""
        return Session(device.matrix, RoomId(device.world.room_id), SLOT, now=now, records=records)

    def told(self, session: SessionLike, notice: Any, book: Book) -> None:
        """A key's name is its epoch's id: who stands on it has the key of each sender in it."""
        assert isinstance(session, Session)
        if session.member_id is not None:
            book.stays[session.member_id] = book.stay
        match notice:
            case EpochChanged():
                self._epoch(session, notice, book)
            case MediaKeysChanged():
                book.record.holds(book.stay, notice.id, book.now)
                book.record.computed(f"export, {TREE}", 1, len(notice.keys))
            case SendKeySwitched():
                book.record.sends(book.stay, notice.id, book.now)
            case Muted() | Left():
                book.record.sends(book.stay, None, book.now)
            case _:
                pass

    def got(self, incoming: Incoming, book: Book) -> None:
        """A membership is signed."""
        if isinstance(incoming, RoomEvent) and incoming.type in MEMBERSHIPS and incoming.content:
            book.record.computed("verify", int(CONSTANTS["signatures"].value))

    def sent(self, request: Request, book: Book) -> None:
        """A commit is counted by the epoch that it makes."""

    def _epoch(self, session: Session, notice: EpochChanged, book: Book) -> None:
        key: EpochId = notice.id
        book.record.made_for(key, (book.stays[member] for member in notice.members if member in book.stays))
        size = len(notice.members)
        if notice.committer == session.member_id:
            book.record.computed(f"commit, {'remove' if notice.removed else 'add'}, {TREE}", 1, size)
        elif session.member_id in notice.added:
            book.record.computed(f"join, {TREE}", 1, size)
        else:
            book.record.computed(f"process, {'remove' if notice.removed else 'add'}, {TREE}", 1, size)


MLSRTC = Real(
    "mlsrtc",
    "mlsrtc (MLS)",
    "ordered by nobody: one room event for each change. Its real sessions run",
    CONSTANTS,
    OurMls,
)
