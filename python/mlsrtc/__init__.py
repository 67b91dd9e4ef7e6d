"""End-to-end keys for Matrix calls, agreed with MLS (RFC 9420).

Three doors: `mlsrtc.mls` is RFC 9420 and knows no Matrix; this module is the call, without I/O; `mlsrtc.adapters`
joins it to matrix-nio and SQLite.
"""

from mlsrtc.errors import CallOver, CannotSend, LocalProtocolError, MlsrtcError, RemoteProtocolError, StoreError
from mlsrtc.media.keys import Derivation
from mlsrtc.media.shared import SharedKey
from mlsrtc.notices import (
    EpochChanged,
    EventRefused,
    HistoryNotVisible,
    KeyMissing,
    KeyRefused,
    KeysUnreadable,
    KeyUndelivered,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    MembersChanged,
    MessageNotOpened,
    Mixed,
    Muted,
    NotAddable,
    Notice,
    OwnMasterKeyChanged,
    Rejoining,
    RequestRefused,
    SendKeySwitched,
    Stranded,
)
from mlsrtc.policy import AUTO, MLS, PER_MEMBER, Encryption, KeyTransport, Policy, Trust
from mlsrtc.session import CallMember, Device, Session
from mlsrtc.shared_key_session import SharedKeySession
from mlsrtc.sharing_session import SharingSession
from mlsrtc.wire.incoming import Now
from mlsrtc.wire.membership import MembershipFormat

__all__ = [
    "AUTO",
    "MLS",
    "PER_MEMBER",
    "CallMember",
    "CallOver",
    "CannotSend",
    "Derivation",
    "Device",
    "Encryption",
    "EpochChanged",
    "EventRefused",
    "HistoryNotVisible",
    "KeyMissing",
    "KeyRefused",
    "KeyTransport",
    "KeyUndelivered",
    "KeysUnreadable",
    "Left",
    "LocalProtocolError",
    "MediaKeysChanged",
    "MediaKeysRetired",
    "MembersChanged",
    "MembershipFormat",
    "MessageNotOpened",
    "Mixed",
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
    "SharedKey",
    "SharedKeySession",
    "SharingSession",
    "StoreError",
    "Stranded",
    "Trust",
]
