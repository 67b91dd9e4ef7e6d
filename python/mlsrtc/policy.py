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
    PER_MEMBER = "m.per_member"
    SHARED_KEY = "shared_key"  # no slot says so: whoever enters such a call has the key, as a `SharedKey`
    AUTO = "auto"


MLS = Encryption.MLS
"""The group agrees on keys; none is ever sent."""

PER_MEMBER = Encryption.PER_MEMBER
"""Every device makes a key of its own and hands it to each of the others, as Element Call does."""

AUTO = Encryption.AUTO
"""What the slot says; where it says nothing, `PER_MEMBER` if those who are in the call have no MLS, else `MLS`."""


class KeyTransport(Enum):
    """How our key travels where keys are handed out. What others send is read however it comes."""

    TO_DEVICE = "to_device"  # Olm-encrypted to each device that our trust policy accepts; what is deployed
    ROOM = "room"  # one room event for all, Megolm-encrypted: every device in the room can read it, in the call or not
    ROOM_CLEAR = "room_clear"  # the same; in a room that is not encrypted in the clear, so the homeservers read it too


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
    "leave_debounce_limit": 0.01,
    "join_throttle": 0.1,
    "key_messages_per_request": 1,
    "key_messages_per_minute": 1,
    "key_retry_first": 0.1,
    "key_retry_limit": 1.0,
    "key_resend_after": 0.1,
    "key_requests_per_device": 1,
}
"""With less of these no call can be held. Of the other numbers the least is zero."""

AT_MOST_THE_DEFAULT = {"membership_lifetime", "content_limit"}
"""More than the default is refused by others: by every member, or by the homeserver."""

BEFORE_THE_END = {"membership_refresh": "membership_lifetime", "delayed_leave_restart": "delayed_leave"}
"""What is renewed, and before the end of what."""

NOT_LONGER = {"leave_debounce": "leave_debounce_limit", "key_use_delay": "join_throttle"}
"""With a longer delay than throttle, whoever joins would be handed nothing that is in use (MSC4143)."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The numbers and choices of one call. The defaults are the protocol's.

    Raises LocalProtocolError, naming the field, for a number that no call can be held with.
    """

    suite: int = 1  # MLS_128_DHKEMX25519_AES128GCM_SHA256_Ed25519, RFC 9420 section 17.1; 0x4D is post-quantum
    trust: Trust = Trust.CROSS_SIGNED
    mixed: bool = False  # in a call with MLS, participants without it are handed our key; `AUTO` sets it

    batch_window: float = 0.4  # gathers joins and leaves into one commit; simulation, the talk
    batch_limit: float = 1.0  # a change never waits longer than this for others
    failover_step: float = 2.0  # each rank waits this much longer than the one before; simulation
    echo_limit: float = 10.0  # or twice what our events take to come back, of which this counts at most; simulation
    echo_kept: float = 300.0  # for so long after one came back
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

    # Keys that are handed out (`m.per_member`): docs/how-to/key-sharing.md says what each is for.
    key_use_delay: float = 1.0  # seconds from handing out a new key to sending under it; js-sdk useKeyDelay
    leave_debounce: float = 0.4  # a leave waits this long for others; batch_window
    leave_debounce_limit: float = 1.0  # and never longer than this; batch_limit
    join_throttle: float = 10.0  # who joins is handed a key that is younger; js-sdk keyRotationGracePeriodMs
    ratchet_on_join: bool = False  # receivers have to try, and a joiner opens the key before as well: `ratchet`
    share_in_lobby: bool = False  # hand out our key before Join is pressed, which shows them that we looked
    key_transport: KeyTransport = KeyTransport.TO_DEVICE
    key_post_pause: float = 3.0  # before the same key is posted again, for who has joined; js-sdk's throttle until 2026
    key_messages_per_request: int = 20  # js-sdk
    key_messages_per_minute: int = 3000  # of the whole device, a token bucket; n = 50: one change each second
    key_retry_first: float = 2.0  # then doubled; js-sdk 2, 4, 8, 16 s
    key_retry_limit: float = 60.0
    key_resend_after: float = 8.0  # a device that has handed us none is handed ours again
    key_resends: int = 1
    key_requests_per_device: int = 5  # requests of one device that are answered in a minute; answers_per_asker
    key_wanted_after: float = 5.0  # a participant whose key has not come by then is told; MSC4143 delayBeforeUse
    keys_waiting: int = 64  # devices without a membership whose keys are kept
    keys_waiting_seconds: float = 60.0

    @classmethod
    def element_call(cls, **changes: Any) -> "Policy":
        """The pace of Element Call (matrix-js-sdk 43): a leave makes a new key at once, a join if the key is older than
        10 s; sent under after 1 s. Other fields as given."""
        return cls(**{"leave_debounce": 0.0, "key_use_delay": 1.0, "join_throttle": 10.0, **changes})

    @classmethod
    def famedly(cls, **changes: Any) -> "Policy":
        """The pace of Famedly's dart SDK: leaves are gathered for 4 s, joins for 8 s, a key is sent under after 4 s,
        and handed out in the lobby. The dart SDK gathers leaves without bound; here a leave waits 8 s at most."""
        pace = {"leave_debounce": 4.0, "leave_debounce_limit": 8.0, "key_use_delay": 4.0, "join_throttle": 8.0}
        return cls(**{**pace, "share_in_lobby": True, **changes})

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            kind = (int, float) if field.type is float else field.type
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):  # type: ignore[arg-type]
                raise LocalProtocolError(f"policy.{name}: {value!r} is of another type")
            if isinstance(value, Enum | bool):
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
        if self.ratchet_on_join and self.key_transport is not KeyTransport.TO_DEVICE:
            # One event reaches everybody, so a new key costs no more, and opens nothing that was sent before.
            raise LocalProtocolError("policy.ratchet_on_join: not where keys are room events")
        for part, whole in NOT_LONGER.items():
            if getattr(self, part) > getattr(self, whole):
                raise LocalProtocolError(f"policy.{part}: longer than policy.{whole}")
