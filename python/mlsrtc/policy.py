"""Every number of the protocol, where it comes from, and within which bounds another may be chosen.

Times are seconds unless the name says otherwise. docs/design.md section 5 has the table in prose.
"""

import math
from dataclasses import dataclass, fields
from enum import Enum
from typing import Any

from mlsrtc._core import suites
from mlsrtc.errors import LocalProtocolError


class Trust(Enum):
    """Which devices get a leaf. What is trusted is local and never enters the head (docs/protocol.md, Binding)."""

    CROSS_SIGNED = "cross_signed"  # device signed by its user's master key, which is pinned on first use
    VERIFIED = "verified"  # the same, and the application has said that the master key is verified
    ANY_DEVICE = "any_device"  # any device key that signed its binding; told as such


class Encryption(Enum):
    """How a call is keyed: the type in its slot (MSC4143)."""

    MLS = "dev.mlsrtc.mls"


MLS = Encryption.MLS
"""The group agrees on keys; none is ever sent."""

LEAST = {
    "failover_step": 0.1,
    "skipped_turns": 1,
    "old_state_seconds": 1.0,
    "rekey_interval": 1.0,
    "membership_lifetime": 1.0,
    "membership_refresh": 0.1,
    "joins_per_device": 1,
    "devices_per_user": 1,
    "delayed_leave": 1.0,
    "delayed_leave_restart": 0.1,
    "content_limit": 4000,  # measured: a commit with all its parts in files takes 2.2 kB without leaves
    "questions_per_minute": 1,
    "answers_per_minute": 1,
    "answers_per_asker": 1,
    "history_timeout": 0.1,
}
"""With less of these no call can be held. Of the other numbers the least is zero."""

AT_MOST_THE_DEFAULT = {"membership_lifetime", "content_limit"}
"""More than the default is refused by others: by every member, or by the homeserver."""

BEFORE_THE_END = {"membership_refresh": "membership_lifetime", "delayed_leave_restart": "delayed_leave"}
"""What is renewed, and before the end of what."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers and choices of one call. The defaults are the protocol's.

    Raises LocalProtocolError, naming the field, for a number that no call can be held with.
    """

    suite: int = 1  # MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519, RFC 9420 section 17.1; 0x4D is post-quantum
    trust: Trust = Trust.CROSS_SIGNED

    batch_window: float = 0.4  # gathers joins and leaves into one commit; simulation, the talk
    batch_limit: float = 1.0  # a change never waits longer than this for others
    failover_step: float = 2.0  # each rank waits this much longer than the one before; simulation
    skipped_turns: int = 2  # a member that let this many turns pass ranks last until it is heard
    external_commit_after: float = 10.0  # seconds a joiner waits for a committer before it commits itself

    settle: float = 1.5  # a rival head must stand this long before anyone moves to it; rule section 3.2
    settle_free_limit: float = 5.0
    settle_costly_limit: float = 8.0
    word_delay: float = 0.2
    refusal_delay: float = 0.3
    word_step: float = 0.3  # times log2(rank + 1)
    dispute_settle: float = 3.0
    unseen_join: float = 2.0  # a leaf whose join is not seen for this long is removed in turn

    old_state_seconds: float = 30.0
    old_state_epochs: int = 5
    old_media_key_seconds: float = 10.0  # DAVE, Zoom, MSC4143
    leave_use_limit: float = 10.0  # an epoch that a leaver can read is sent under at most this long after the leave
    switch_delay_add: float = 1.0  # js-sdk useKeyDelay
    switch_delay_remove: float = 0.5
    rekey_interval: float = 300.0  # Zoom
    key_package_grace: float = 30.0  # a KeyPackage serves rival Welcomes this long after its first use

    membership_lifetime: float = 4 * 3600.0  # `until` is at most this far after `from`; rule section 1
    membership_refresh: float = 3600.0
    joins_per_device: int = 4  # participations of one device that are looked at, the newest; an honest one has one
    devices_per_user: int = 16  # of one user in one call, likewise; ours: nobody takes part with more
    clock_skew: float = 300.0  # a join from further in the future waits; rule section 2
    delayed_leave: float = 18.0  # MSC4140; Element Call's sample configuration
    delayed_leave_restart: float = 4.0

    content_limit: int = 60 * 1024  # bytes of event content; measured: Synapse takes 60 KiB and refuses 63 KiB
    need_after: float = 2.0  # a missing Welcome or event is asked for after this long
    questions_per_minute: int = 20  # `need` questions, token bucket
    answers_per_minute: int = 20  # `have` answers, token bucket
    answers_per_asker: int = 5  # of these, to one user
    history_timeout: float = 10.0
    bodies_kept: float = 600.0  # bodies of commits off the head path

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            kind = (int, float) if field.type is float else field.type
            if not isinstance(value, kind) or isinstance(value, bool):  # type: ignore[arg-type]
                raise LocalProtocolError(f"policy.{name}: {value!r} is of another type")
            if isinstance(value, Enum):
                continue
            least: float = LEAST.get(name, 0)
            most: Any = field.default if name in AT_MOST_THE_DEFAULT else math.inf
            if not (least <= value <= most and math.isfinite(value)):
                raise LocalProtocolError(f"policy.{name}: {value} is not within {least}..{most}")
        if self.suite not in suites(post_quantum=True):
            raise LocalProtocolError(f"policy.suite: {self.suite} is no cipher suite of this version")
        for renewal, end in BEFORE_THE_END.items():
            if getattr(self, renewal) >= getattr(self, end):
                raise LocalProtocolError(f"policy.{renewal}: not shorter than policy.{end}")
