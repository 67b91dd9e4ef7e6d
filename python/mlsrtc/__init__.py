"""End-to-end keys for Matrix calls, agreed with MLS (RFC 9420).

Three doors: `mlsrtc.mls` is RFC 9420 and knows no Matrix; this module is the call, without I/O; `mlsrtc.adapters`
joins it to matrix-nio and SQLite.
"""

from mlsrtc.errors import CallOver, CannotSend, LocalProtocolError, MlsrtcError, RemoteProtocolError, StoreError
from mlsrtc.notices import (
    EpochChanged,
    EventRefused,
    HistoryNotVisible,
    KeysUnreadable,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    MembersChanged,
    Muted,
    NotAddable,
    Notice,
    OwnMasterKeyChanged,
    Rejoining,
    RequestRefused,
    SendKeySwitched,
    Stranded,
)
from mlsrtc.policy import MLS, Encryption, Policy, Trust
from mlsrtc.session import CallMember, Device, Session
from mlsrtc.wire.incoming import Now

__all__ = [
    "MLS",
    "CallMember",
    "CallOver",
    "CannotSend",
    "Device",
    "Encryption",
    "EpochChanged",
    "EventRefused",
    "HistoryNotVisible",
    "KeysUnreadable",
    "Left",
    "LocalProtocolError",
    "MediaKeysChanged",
    "MediaKeysRetired",
    "MembersChanged",
    "MlsrtcError",
    "Muted",
    "NotAddable",
    "Notice",
    "Now",
    "OwnMasterKeyChanged",
    "Policy",
    "Rejoining",
    "RemoteProtocolError",
    "RequestRefused",
    "SendKeySwitched",
    "Session",
    "StoreError",
    "Stranded",
    "Trust",
]
