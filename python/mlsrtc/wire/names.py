"""The names of events and fields on the wire. Constants only; docs/protocol.md lists them with examples."""

STATE_MEMBER = "org.matrix.msc3401.call.member"  # state; deployed, every homeserver
STICKY_MEMBER = "org.matrix.msc4143.rtc.member"  # MSC4143 over MSC4354
STICKY_MEMBER_STABLE = "m.rtc.member"
FAMEDLY_MEMBER = "com.famedly.call.member"  # state, one for each user; the dart SDK's
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

PER_MEMBER_TYPES = frozenset({"m.per_member", "org.matrix.msc4143.per_member"})
"""`slot.encryption.type` of a call in which everybody makes a key of its own and hands it to the others (MSC4143)."""

KEYS_ELEMENT = "io.element.call.encryption_keys"  # Element Call, deployed; to-device, and as a room event before
KEYS_MSC4143 = "m.rtc.encryption_key"
KEYS_MSC4143_UNSTABLE = "org.matrix.msc4143.rtc.encryption_key"
KEYS_FAMEDLY = "com.famedly.call.member.encryption_keys"
REQUEST_FAMEDLY = "com.famedly.call.member.encryption_keys_request"
DUMMY = "m.dummy"  # the first message of an Olm session in place of one that opened nothing
KEY_TYPES = frozenset({KEYS_ELEMENT, KEYS_MSC4143, KEYS_MSC4143_UNSTABLE, KEYS_FAMEDLY})

MULTI_SFU = "multi_sfu"
"""The `focus_selection` of a membership as a state event whose device publishes where its own first transport says."""

NO_MEDIA = "dev.mlsrtc.no_media"
"""The type of the only transport of a membership that publishes no media."""

ENCRYPTED = "m.room.encrypted"
POWER_LEVELS = "m.room.power_levels"
ROOM_MEMBER = "m.room.member"
ROOM_CREATE = "m.room.create"
ROOM_ENCRYPTION = "m.room.encryption"
TOMBSTONE = "m.room.tombstone"

STICKY_MEMBER_TYPES = frozenset({STICKY_MEMBER, STICKY_MEMBER_STABLE})
MEMBER_TYPES = frozenset({STATE_MEMBER, FAMEDLY_MEMBER}) | STICKY_MEMBER_TYPES
SLOT_TYPES = frozenset({SLOT, SLOT_STABLE})
