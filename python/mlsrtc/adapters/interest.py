"""Which Matrix event types a call reads, for every transport's filters. Names only."""

STATE_MEMBERSHIP = "org.matrix.msc3401.call.member"
"""MatrixRTC membership as a state event, deployed."""

STICKY_MEMBERSHIPS = ("org.matrix.msc4143.rtc.member", "m.rtc.member")
"""MatrixRTC membership as a sticky event (MSC4143, MSC4354)."""

COMMIT = "dev.mlsrtc.commit"
WORD = "dev.mlsrtc.word"
TO_DEVICE_PREFIX = "dev.mlsrtc."
BLOCK = "dev.mlsrtc.mls"
"""The field of a membership with our block; in a Megolm-encrypted one it stands beside the payload."""

ENCRYPTED = "m.room.encrypted"

HISTORY = (STATE_MEMBERSHIP, *STICKY_MEMBERSHIPS, COMMIT, WORD)
"""What the head of a call follows from: read back from the timeline, because state keeps a device's last
membership only."""

ROOM_STATE = (
    "m.room.create",
    "m.room.encryption",
    "m.room.history_visibility",
    "m.room.member",
    "m.room.power_levels",
    "m.room.tombstone",
    "m.rtc.slot",
    "org.matrix.msc4143.rtc.slot",
)
"""State of the room that a call obeys: who is in it, who may send what, whether the room still stands."""

GAP = (*HISTORY, "m.room.member", "m.room.power_levels", "m.rtc.slot", "org.matrix.msc4143.rtc.slot")
"""What the gap of a limited sync is filled with: a kick and return inside the gap is seen as well."""
