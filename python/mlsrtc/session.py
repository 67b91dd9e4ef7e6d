"""One call of one device, without I/O: Matrix events in, requests out, media keys told. Only this module wires stages.

Level-triggered: `receive` takes in what is evidence and then, like `tick`, asks again what follows from all of it: where
is the head, do we stand there, is it our turn, which keys may be used. So the order of events changes nothing, and a
restart replays evidence and not decisions. The clock is an argument; nothing leaves before the checkpoint that holds it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Protocol

from mlsrtc import drafts, group, mls, recovery, saved, trust, turns
from mlsrtc.epochs import Closed, Epochs, Fetching, Held, Walked, place_in, tree_at
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import Judged
from mlsrtc.knowledge import Knowledge
from mlsrtc.media.gate import Blocked, may_begin
from mlsrtc.media.keys import derive
from mlsrtc.media.table import Effect, Installed, KeyTable, Retired, Silenced, Stand, Switched
from mlsrtc.notices import (
    EpochChanged,
    HistoryNotVisible,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    Muted,
    Notice,
    Rejoining,
    RequestRefused,
    SendKeySwitched,
    Stranded,
)
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    Outbox,
    Outcome,
    QueryKeys,
    RateLimited,
    Refused,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendToDevice,
)
from mlsrtc.policy import Policy
from mlsrtc.presence import Presence
from mlsrtc.wire import encoding, names
from mlsrtc.wire.commit import encode_word
from mlsrtc.wire.commit_data import CommitData
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    Incoming,
    Now,
    RoomEvent,
    ToDevice,
)
from mlsrtc.wire.membership import MembershipFormat
from mlsrtc.wire.to_device import Need, encode_need
