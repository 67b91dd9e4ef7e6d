"""mlsrtc's own key sharing: the real sessions of `mlsrtc.sharing_session`, with the policy that is the default."""

import hashlib
from collections.abc import Mapping
from typing import Any

from mlsrtc.identifiers import RoomId
from mlsrtc.notices import Left, MediaKeysChanged, Muted, SendKeySwitched
from mlsrtc.outbox import HandOver, Request
from mlsrtc.policy import Policy
from mlsrtc.sharing_session import SharingSession
from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.schemes.machine import Book, Real
from mlsrtc.simulate.schemes.ours import POLICY, SLOT
from mlsrtc.testing.device import PartyDevice, SessionLike
from mlsrtc.wire.incoming import Incoming, Now, ToDevice
from mlsrtc.wire.key_event import KeyEvent

DEFAULT = Policy()
CONSTANTS: dict[str, Constant] = {
    "leave debounce": Constant(DEFAULT.leave_debounce, "s", POLICY),
    "leave debounce, at most": Constant(DEFAULT.leave_debounce_limit, "s", POLICY),
    "join throttle": Constant(DEFAULT.join_throttle, "s", POLICY),
    "use delay": Constant(DEFAULT.key_use_delay, "s", POLICY),
    "batch": Constant(DEFAULT.key_messages_per_request, "messages", POLICY),
    "budget": Constant(DEFAULT.key_messages_per_minute, "messages a minute of one device", POLICY),
}


class OurKeyShare:
    """The sessions and what they tell. A key's name is a digest of it."""

    def __init__(self) -> None:
        self._own: dict[tuple[int, int], bytes] = {}  # by stay and index

    def session(self, device: PartyDevice, records: Mapping[str, bytes], now: Now) -> SessionLike:
        """As an application makes it."""
        return SharingSession(device.matrix, RoomId(device.world.room_id), SLOT, now=now, records=records)

    def told(self, session: SessionLike, notice: Any, book: Book) -> None:
        """Keys come one by one, our own among them."""
        assert isinstance(session, SharingSession)
        match notice:
            case MediaKeysChanged():
                for key in notice.keys:
                    name = hashlib.sha256(key.secret.expose()).digest()
                    book.record.holds(book.stay, name, book.now)
                    if key.member_id == session.member_id:
                        self._own[book.stay, int(key.index)] = name
            case SendKeySwitched():
                book.record.sends(book.stay, self._own[book.stay, int(notice.index)], book.now)
            case Muted() | Left():
                book.record.sends(book.stay, None, book.now)
            case _:
                pass

    def got(self, incoming: Incoming, book: Book) -> None:
        """What comes to the device is decrypted."""
        if isinstance(incoming, ToDevice):
            book.record.computed("olm decrypt")

    def sent(self, request: Request, book: Book) -> None:
        """What is handed to a device is encrypted for it. Whose stay is over is taken to keep it."""
        if not isinstance(request, HandOver):
            return
        book.record.computed("olm encrypt", len(request.devices))
        if isinstance(request.event, KeyEvent):
            for key in request.event.keys:
                name = hashlib.sha256(key.secret.expose()).digest()
                for user_id, device_id, _ in request.devices:
                    stay = book.past(user_id, device_id)
                    if stay is not None:
                        book.record.holds(stay, name, book.now)


KEYSHARE = Real(
    "keyshare",
    "mlsrtc key sharing",
    "keys that are handed out, for calls with participants without MLS. Its real sessions run",
    CONSTANTS,
    OurKeyShare,
    encrypted=True,
)
