"""Which Matrix event types a call reads, for every transport's filters. Names only."""

from mlsrtc.wire import names

TO_DEVICE = (names.NEED, names.HAVE, *sorted(names.KEY_TYPES), names.REQUEST_FAMEDLY)
"""What members ask each other, and answer; and keys that are handed out."""

HISTORY = (
    names.STATE_MEMBER,
    *sorted(names.STICKY_MEMBER_TYPES),
    names.COMMIT,
    names.WORD,
)
"""What the head of a call follows from: read back from the timeline, because state keeps a device's last
membership only."""

ROOM_STATE = (
    names.ROOM_CREATE,
    names.ROOM_ENCRYPTION,
    names.ROOM_MEMBER,
    names.POWER_LEVELS,
    names.TOMBSTONE,
    names.FAMEDLY_MEMBER,
    *sorted(names.SLOT_TYPES),
)
"""State of the room that a call obeys: who is in it, who may send what, whether the room still stands. And memberships
without MLS of which only the present one counts."""

GAP = (*HISTORY, names.KEYS_ELEMENT, *(kind for kind in ROOM_STATE if kind != names.ROOM_CREATE))
"""What the gap of a limited sync is filled with: a kick and return inside the gap is seen as well."""
