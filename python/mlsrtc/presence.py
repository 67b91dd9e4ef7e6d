"""Our own membership as requests: join, refresh, leave, and the leave that the homeserver sends if we crash.

Knows `wire` and `trust`; decides nothing about when. A delayed leave (MSC4140) is signed in advance, so our
homeserver can end our membership at any time: whoever sees its own leave rejoins (docs/threat-model.md).
"""

from dataclasses import dataclass

from mlsrtc import trust
from mlsrtc.group import Participation
from mlsrtc.identifiers import EpochId, MemberId, RoomId, SlotId
from mlsrtc.outbox import Request, ScheduleLeave, SendEvent, SendState
from mlsrtc.policy import Policy
from mlsrtc.wire import names
from mlsrtc.wire.binding import Sign
from mlsrtc.wire.chain import DeviceChain
from mlsrtc.wire.membership import (
    MembershipFormat,
    RtcLeave,
    RtcMembership,
    Stamp,
    Transport,
    encode_membership,
    split_block,
    state_key,
)

STICKY_MS = 3600 * 1000  # MSC4354: the longest an event is sticky
UNSENT = Stamp(0, "")


@dataclass(frozen=True, slots=True)
class Presence:
    """How one participation of ours shows in the room. Times are milliseconds since the epoch."""

    room_id: RoomId
    slot_id: SlotId
    participation: Participation
    sign: Sign
    format: MembershipFormat
    encrypted: bool  # the room is: a sticky membership is Megolm-encrypted, our block beside it in the clear
    intent: str
    chain: DeviceChain | None
    head: EpochId | None  # when we joined
    replaces: frozenset[MemberId]
    created_ts: int  # stays the same when the membership is refreshed: js-sdk takes a change as leave and join
    transports: tuple[Transport, ...] = ()

    @property
    def key(self) -> str:
        """The state key or the sticky key."""
        leaf = self.participation.leaf
        if self.format is MembershipFormat.STATE:
            return state_key(leaf.user_id, leaf.device_id, self.slot_id)
        return leaf.member_id

    def join(self, request_id: str, now_ms: int, policy: Policy) -> Request:
        """The membership with our block, valid from now; sent again, it is the refresh."""
        participation, leaf = self.participation, self.participation.leaf
        until = now_ms + int(policy.membership_lifetime * 1000)
        block = trust.sign_join(
            self.room_id,
            self.slot_id,
            leaf,
            suite=participation.signing_key.suite,
            key_package=participation.public_key_package,
            binding=participation.binding,
            sign=self.sign,
            from_ts=now_ms,
            until_ts=until,
            head=self.head,
            replaces=self.replaces,
            chain=self.chain,
        )
        state = self.format is MembershipFormat.STATE
        membership = RtcMembership(
            format=self.format,
            user_id=leaf.user_id,
            device_id=leaf.device_id,
            slot_id=self.slot_id,
            key=self.key,
            rtc_member_id=f"{leaf.user_id}:{leaf.device_id}" if state else leaf.member_id,
            stamp=UNSENT,
            created_ts=self.created_ts,
            expires_ts=until,
            intent=self.intent,
            transports=self.transports,
            focus_selection="oldest_membership" if state else None,
            can_subscribe=("livekit",),
            block=block,
        )
        content = encode_membership(membership)
        if state:
            return SendState(request_id, names.STATE_MEMBER, self.key, content)
        sealed, clear = split_block(content)
        return SendEvent(
            request_id,
            names.STICKY_MEMBER,
            sealed if self.encrypted else content,
            sticky_ms=STICKY_MS,
            encrypt=self.encrypted,
            clear=clear if self.encrypted else {},
        )

    def leave(self, request_id: str) -> Request:
        """The withdrawal, with the signed `left`."""
        content = self._left_content()
        if self.format is MembershipFormat.STATE:
            return SendState(request_id, names.STATE_MEMBER, self.key, content)
        return SendEvent(request_id, names.STICKY_MEMBER, content, sticky_ms=STICKY_MS)

    def leave_later(self, request_id: str, policy: Policy) -> ScheduleLeave:
        """The same withdrawal, for the homeserver to send unless we say that we live."""
        state = self.format is MembershipFormat.STATE
        return ScheduleLeave(
            request_id,
            int(policy.delayed_leave * 1000),
            names.STATE_MEMBER if state else names.STICKY_MEMBER,
            self.key if state else None,
            self._left_content(),
            sticky_ms=None if state else STICKY_MS,
        )

    def _left_content(self) -> dict[str, object]:
        leaf = self.participation.leaf
        block = trust.sign_left(self.room_id, self.slot_id, leaf, self.participation.signing_key)
        return encode_membership(RtcLeave(self.format, leaf.user_id, self.key, UNSENT, block))
