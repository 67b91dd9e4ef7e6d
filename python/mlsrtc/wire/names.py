"""The names of events and fields on the wire. Constants only; docs/protocol.md lists them with examples."""

STATE_MEMBER = "org.matrix.msc3401.call.member"  # state; deployed, every homeserver
STICKY_MEMBER = "org.matrix.msc4143.rtc.member"  # MSC4143 over MSC4354
STICKY_MEMBER_STABLE = "m.rtc.member"
SLOT = "org.matrix.msc4143.rtc.slot"
SLOT_STABLE = "m.rtc.slot"
COMMIT = "dev.mlsrtc.commit"
WORD = "dev.mlsrtc.word"
NEED = "dev.mlsrtc.need"
HAVE = "dev.mlsrtc.have"

BLOCK = "dev.mlsrtc.mls"
"""The field of a membership that carries a join or a leave."""

ENCRYPTION_TYPE = "dev.mlsrtc.mls"
"""`slot.encryption.type` of a call keyed by MLS."""

ENCRYPTED = "m.room.encrypted"
POWER_LEVELS = "m.room.power_levels"
ROOM_MEMBER = "m.room.member"
ROOM_CREATE = "m.room.create"
ROOM_ENCRYPTION = "m.room.encryption"
TOMBSTONE = "m.room.tombstone"

STICKY_MEMBER_TYPES = frozenset({STICKY_MEMBER, STICKY_MEMBER_STABLE})
SLOT_TYPES = frozenset({SLOT, SLOT_STABLE})
