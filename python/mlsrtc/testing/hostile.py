"""Lies for `Homeserver.rewrite`. Know event contents as JSON and base64, nothing of MLS."""

import base64
import binascii
import hashlib
from collections.abc import Collection, Iterable
from dataclasses import replace

from mlsrtc.testing.room import DeviceName
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.names import COMMIT


class Twins:
    """Shows an altered copy of each matching event under another event id, and then the event itself.

    One bit of one base64 field differs; which one follows from the event id, so that the twin is the same
    for all and every time. `tail`: only in the last so many bytes of the field (32 is the membership tag
    of a commit, which nobody outside the group can check: RFC 9420 section 6.2). `alone`: the genuine
    event is never shown.
    """

    def __init__(
        self,
        *,
        types: Collection[str] = (COMMIT,),
        fields: Collection[str] = ("commit",),
        tail: int | None = None,
        alone: bool = False,
    ) -> None:
        self.types = frozenset(types)
        self.fields = tuple(fields)
        self.tail = tail
        self.alone = alone

    def __call__(self, event: RoomEvent, viewer: DeviceName) -> Iterable[RoomEvent]:
        if event.type not in self.types:
            return (event,)
        twin = garbled(event, self.fields, tail=self.tail)
        if twin is None:
            return (event,)
        return (twin,) if self.alone else (twin, event)


def garbled(event: RoomEvent, fields: Collection[str], *, tail: int | None = None) -> RoomEvent | None:
    """A copy with another event id and one bit of one base64 field turned; None if it has no such field."""
    present = [name for name in fields if isinstance(event.content.get(name), str) and event.content[name]]
    if not present:
        return None
    digest = hashlib.sha256(event.event_id.encode()).digest()
    name = present[digest[0] % len(present)]
    text: str = event.content[name]
    try:
        data = bytearray(base64.b64decode(text + "=" * (-len(text) % 4)))
    except binascii.Error:
        return None
    if not data:
        return None
    reach = min(len(data), tail or len(data))
    place = len(data) - 1 - int.from_bytes(digest[1:5], "big") % reach
    data[place] ^= 1 << digest[5] % 8
    content = {**event.content, name: base64.b64encode(data).decode().rstrip("=")}
    twin_id = "$" + base64.urlsafe_b64encode(hashlib.sha256(digest).digest()).decode().rstrip("=")
    return replace(event, event_id=twin_id, content=content, transaction_id=None)
