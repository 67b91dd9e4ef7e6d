"""Media keys in the room events of one room, told with the device whose Megolm session they came by. Knows nio's Olm.

Such an event looks like any encrypted event, so everything that comes encrypted is opened. Only what comes while the
room is followed is told: whoever enters a call is posted the keys anew.
"""

import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from typing import Any

import nio

from mlsrtc.adapters.nio import megolm
from mlsrtc.adapters.nio.history import Raw, sticky_duration
from mlsrtc.adapters.nio.unforeseen import Logged
from mlsrtc.wire import names
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import PostedKey

SEALED_KEPT = 256  # events that cannot be decrypted yet; more are dropped, oldest first
UNPROVEN_KEPT = 64  # keys of devices that are asked about; the oldest of more are told without a device
SEEN_KEPT = 4096  # ids of events that were told, so that each is told once

logger = logging.getLogger(__name__)


class PostedKeys:
    """What passes of one room's events. learn: lets nio know the devices of these users, if it can."""

    def __init__(
        self, client: nio.AsyncClient, room_id: str, learn: Callable[[Collection[str]], Awaitable[None]]
    ) -> None:
        self._client = client
        self._room_id = room_id
        self._learn = learn
        self._sealed: dict[str, Raw] = {}
        self._unproven: dict[str, tuple[Raw, Mapping[str, Any]]] = {}
        self._seen: dict[str, None] = {}

    def fresh(self, raws: Iterable[Raw]) -> list[PostedKey]:
        """The keys in events that have just come, each once."""
        found: list[PostedKey | None] = []
        for raw in raws:
            with Logged(logger, f"an event in {self._room_id} is not taken"):
                found.append(self._look(raw))
        return [key for key in found if key is not None]

    def readable(self) -> list[PostedKey]:
        """What could not be decrypted and can be now: a room key may have come."""
        waiting, self._sealed = self._sealed, {}
        return self.fresh(waiting.values())

    @property
    def unproven(self) -> bool:
        """Whether `prove` has something to ask."""
        return bool(self._unproven)

    async def prove(self) -> list[PostedKey]:
        """Ask for the devices of those whose keys came by a session that is no known device's, and tell them: without
        a device if it is still nobody's."""
        waiting, self._unproven = self._unproven, {}
        with Logged(logger, f"keys in {self._room_id} are not proven"):
            await self._learn({raw["sender"] for raw, _ in waiting.values()})
        return [self._told(raw, content, self._owner(raw)) for raw, content in waiting.values()]

    def _owner(self, raw: Raw) -> megolm.Owner | None:
        with Logged(logger, f"a key in {self._room_id} is nobody's"):
            return megolm.owner(self._client, self._room_id, raw)
        return None

    def _look(self, raw: Raw) -> PostedKey | None:
        kind, content, event_id = raw.get("type"), raw.get("content"), raw.get("event_id")
        if not isinstance(content, dict) or not isinstance(event_id, str) or not isinstance(raw.get("sender"), str):
            return None
        if raw.get("state_key") is not None or event_id in self._seen:
            return None
        if kind == names.KEYS_ELEMENT:
            self._see(event_id)
            return PostedKey(raw["sender"], event_id, content)
        if kind != names.ENCRYPTED or sticky_duration(raw) is not None or names.BLOCK in content:
            return None  # a membership is read elsewhere
        payload = megolm.look(self._client, self._room_id, raw)
        if payload is None:
            self._sealed[event_id] = raw
            while len(self._sealed) > SEALED_KEPT:
                del self._sealed[next(iter(self._sealed))]
            return None
        inner = payload.get("content")
        if payload.get("type") != names.KEYS_ELEMENT or not isinstance(inner, dict):
            return None
        self._see(event_id)
        device = self._owner(raw)
        if device is None and megolm.may_be_owned(self._client, raw):
            self._unproven[event_id] = raw, inner
            if len(self._unproven) <= UNPROVEN_KEPT:
                return None
            raw, inner = self._unproven.pop(next(iter(self._unproven)))
        return self._told(raw, inner, device)

    def _see(self, event_id: str) -> None:
        self._seen[event_id] = None
        while len(self._seen) > SEEN_KEPT:
            del self._seen[next(iter(self._seen))]

    @staticmethod
    def _told(raw: Raw, content: Mapping[str, Any], device: megolm.Owner | None) -> PostedKey:
        name, key = (None, None) if device is None else (device[0], decode_base64(device[1]))
        return PostedKey(raw["sender"], raw["event_id"], content, True, name, key)
