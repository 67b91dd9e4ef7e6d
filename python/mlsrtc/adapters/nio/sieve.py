"""Raw events of one room as the values a call reads, each order-blind one once. Knows Megolm, no request.

State is handed on every time, because of it the newest counts; memberships, commits and words are a set.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

import nio

from mlsrtc.adapters.interest import HISTORY, ROOM_STATE
from mlsrtc.adapters.nio import megolm
from mlsrtc.adapters.nio.history import Raw, sticky_duration
from mlsrtc.adapters.nio.unforeseen import Logged
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Incoming, RoomEvent

UNREADABLE_KEPT = 256  # Megolm events without a session yet; more are dropped, oldest first

# What belongs to Megolm itself in an encrypted event; the rest of its content stands there in the clear.
_MEGOLM_FIELDS = frozenset({"algorithm", "ciphertext", "sender_key", "session_id", "device_id"})

logger = logging.getLogger(__name__)


class Sieve:
    """What passes of one room's events."""

    def __init__(self, client: nio.AsyncClient, room_id: str) -> None:
        self._client = client
        self._room_id = room_id
        self._seen: dict[str, bool] = {}  # event id -> whether it was handed over decrypted
        self._unreadable: dict[str, Raw] = {}
        self.room_encrypted = False  # whether m.room.encryption has passed

    def has_seen(self, raw: Raw) -> bool:
        """Whether the event has passed."""
        return raw.get("event_id") in self._seen

    def fresh(self, raws: Iterable[Raw]) -> list[Incoming]:
        """The events a call reads. State always; the rest once, and once more when it became readable."""
        fresh: list[Incoming] = []
        for raw in raws:
            event = self.event(raw)
            if event is None:
                continue
            before = self._seen.get(event.event_id)
            self._seen[event.event_id] = bool(before) or event.decrypted
            if event.state_key is None and before is not None and before >= event.decrypted:
                continue
            fresh.append(event)
        return fresh

    def readable(self) -> list[Incoming]:
        """What could not be decrypted and can be now: a room key may have come."""
        waiting, self._unreadable = self._unreadable, {}
        return self.fresh(waiting.values())

    def event(self, raw: Raw) -> RoomEvent | None:
        """A raw event as a value, or None if it is none that a call reads."""
        with Logged(logger, f"an event in {self._room_id} is not taken"):
            return self._event(raw)
        return None

    def _event(self, raw: Raw) -> RoomEvent | None:
        kind, content, state_key = raw.get("type"), raw.get("content"), raw.get("state_key")
        if not isinstance(content, dict):
            return None
        if state_key is None:
            if kind == names.ENCRYPTED:
                return self._encrypted(raw, content)
            wanted = kind in HISTORY and kind != names.STATE_MEMBER
        else:
            wanted = isinstance(state_key, str) and (kind == names.STATE_MEMBER or kind in ROOM_STATE)
            self.room_encrypted |= wanted and kind == names.ROOM_ENCRYPTION
        return _room_event(raw, str(kind), content) if wanted else None

    def _encrypted(self, raw: Raw, content: Mapping[str, Any]) -> RoomEvent | None:
        """A sticky membership in an encrypted room; what else is encrypted there is no business of ours.

        Our block counts only as it stands in the clear beside the payload: otherwise the set of events would
        depend on who can decrypt (docs/protocol.md, J).
        """
        if sticky_duration(raw) is None and names.BLOCK not in content:
            return None
        payload = megolm.decrypt(self._client, self._room_id, raw)
        inner = None if payload is None else payload.get("content")
        if payload is not None and str(payload.get("type")) in names.STICKY_MEMBER_TYPES and isinstance(inner, dict):
            clear = {name: value for name, value in content.items() if name not in _MEGOLM_FIELDS}
            inner = {name: value for name, value in inner.items() if name != names.BLOCK}
            return _room_event(raw, str(payload["type"]), {**inner, **clear}, decrypted=True)
        if payload is None and isinstance(raw.get("event_id"), str):
            self._unreadable[raw["event_id"]] = raw
            while len(self._unreadable) > UNREADABLE_KEPT:
                del self._unreadable[next(iter(self._unreadable))]
        return _room_event(raw, names.ENCRYPTED, content) if names.BLOCK in content else None


def _room_event(raw: Raw, kind: str, content: Mapping[str, Any], *, decrypted: bool = False) -> RoomEvent | None:
    event_id, sender, ts = raw.get("event_id"), raw.get("sender"), raw.get("origin_server_ts")
    if not isinstance(event_id, str) or not isinstance(sender, str) or not isinstance(ts, int):
        return None
    unsigned = raw.get("unsigned")
    transaction_id = unsigned.get("transaction_id") if isinstance(unsigned, dict) else None
    return RoomEvent(
        type=kind,
        sender=sender,
        event_id=event_id,
        origin_server_ts=ts,
        content=content,
        state_key=raw.get("state_key"),
        transaction_id=transaction_id if isinstance(transaction_id, str) else None,
        decrypted=decrypted,
        sticky_ms=sticky_duration(raw),
    )
