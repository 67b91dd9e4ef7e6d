"""What comes out of a session before it is saved: requests, notices, records, and when to look again. One for all
stages.

Stages put things here and take nothing back; only the session empties it, at a checkpoint. Knows no event and no MLS.
"""

from mlsrtc import mls
from mlsrtc.notices import Notice
from mlsrtc.outbox import Outbox, Request
from mlsrtc.wire.incoming import Now


class Desk:
    """The outgoing side of one session. `now`: the moment of the settling that is going on."""

    def __init__(self, now: Now) -> None:
        self.now = now
        self.outbox = Outbox()
        self.notices: list[Notice] = []  # told once the checkpoint that contains them is saved
        self.records: dict[str, bytes | None] = {}  # None: to be deleted
        self.timers: list[float] = []
        self.tag = mls.random_bytes(6).expose().hex()  # tells this session's requests from any other's
        self.numbers = 0
        self.touched = False

    def new_id(self, kind: str) -> str:
        """A request id that no other request of this device ever had; the transaction id where there is one."""
        self.numbers += 1
        return f"mlsrtc.{kind}.{self.tag}.{self.numbers}"

    def draft(self, request: Request) -> None:
        """To be sent, once saved."""
        self.outbox.draft(request)

    def forget(self, request_id: str) -> None:
        """The request's fate is known."""
        self.outbox.settle(request_id)
        self.drop(f"request/{request_id}")

    def withdraw(self, request_id: str) -> bool:
        """Nobody wants the request any more; one that is on its way stays until its fate is known: False then."""
        withdrawn = self.outbox.withdraw(request_id)
        if withdrawn:
            self.drop(f"request/{request_id}")
        return withdrawn

    def tell(self, notice: Notice) -> None:
        """To be told to the application, once saved."""
        self.notices.append(notice)

    def keep(self, key: str, value: bytes) -> None:
        """To be written at the next checkpoint."""
        self.records[key] = value

    def drop(self, key: str) -> None:
        """To be deleted at the next checkpoint."""
        self.records[key] = None

    def touch(self) -> None:
        """Something in `meta` changed: the next checkpoint writes it even if nothing else did."""
        self.touched = True

    def at(self, timer: float | None) -> None:
        """Look again at this monotonic second."""
        if timer is not None:
            self.timers.append(timer)
