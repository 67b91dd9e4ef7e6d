"""Our own membership as requests: join, refresh, leave, and the leave that the homeserver sends if we crash.

Knows `wire` and `trust`; decides nothing about when. A delayed leave (MSC4140) is signed in advance, so our
homeserver can end our membership at any time: whoever sees its own leave rejoins (docs/threat-model.md).
"""

import math
from dataclasses import dataclass

from mlsrtc import trust
from mlsrtc.group import Participation
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.outbox import Request, ScheduleLeave, SendEvent, SendState
from mlsrtc.policy import Policy
from mlsrtc.wire import names
from mlsrtc.wire.binding import Sign
from mlsrtc.wire.block import JoinBlock, LeftBlock
from mlsrtc.wire.chain import DeviceChain
from mlsrtc.wire.famedly import GRACE_MS, famedly_key
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
from mlsrtc.wire.slots import slot_parts

STICKY_MS = 3600 * 1000  # MSC4354: the longest an event is sticky
FAMEDLY_MS = 360 * 1000  # from writing to `expires_ts`; the dart SDK's `expireTsBumpDuration`
REFRESH_SECONDS = {
    MembershipFormat.STATE: math.inf,
    MembershipFormat.STICKY: STICKY_MS / 2000,
    MembershipFormat.FAMEDLY: 120.0,  # the dart SDK's `updateExpireTsTimerDuration`
}
"""A membership is written again so long after the last time, at the latest."""

MEMBER_TYPES = {
    MembershipFormat.STATE: names.STATE_MEMBER,
    MembershipFormat.STICKY: names.STICKY_MEMBER,
    MembershipFormat.FAMEDLY: names.FAMEDLY_MEMBER,
}
"""The event type of each format, as it is written."""
UNSENT = Stamp(0, "")


def shown_member_id(form: MembershipFormat, user_id: UserId, device_id: DeviceId, rtc_member_id: str) -> str:
    """The id that a membership of ours names: in a state event the device's own name, as Element Call writes it."""
    return f"{user_id}:{device_id}" if form is MembershipFormat.STATE else rtc_member_id


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainPresence:
    """How one participation of ours shows in the room, as every MatrixRTC client writes it. Times are milliseconds
    since the epoch. `rtc_member_id`: of the other forms; the state form names user and device. `owned_state`: as in
    `wire.room.Creation`."""

    slot_id: SlotId
    user_id: UserId
    device_id: DeviceId
    rtc_member_id: str
    format: MembershipFormat
    encrypted: bool  # the room is: a sticky membership is Megolm-encrypted, our block beside it in the clear
    intent: str
    created_ts: int  # stays the same when the membership is refreshed: js-sdk takes a change as leave and join
    transports: tuple[Transport, ...] = ()
    owned_state: bool = False

    @property
    def shown_member_id(self) -> str:
        """The id that the membership names us by."""
        return shown_member_id(self.format, self.user_id, self.device_id, self.rtc_member_id)

    @property
    def key(self) -> str:
        """The state key or the sticky key."""
        if self.format is MembershipFormat.STATE:
            return state_key(self.user_id, self.device_id, self.slot_id)
        if self.format is MembershipFormat.FAMEDLY:
            return famedly_key(self.user_id, self.device_id, owned=self.owned_state)
        return self.rtc_member_id

    @property
    def entry(self) -> tuple[str, ...] | None:
        """Which entry is ours, where the event holds those of our user's other devices too."""
        if self.format is not MembershipFormat.FAMEDLY:
            return None
        return self.device_id, slot_parts(self.slot_id)[1]

    def join(self, request_id: str, now_ms: int, policy: Policy) -> Request:
        """The membership, valid from now; sent again, it is the refresh."""
        until = now_ms + int(policy.membership_lifetime * 1000)
        if self.format is MembershipFormat.FAMEDLY:
            until = min(until, now_ms + FAMEDLY_MS) + GRACE_MS
        membership = RtcMembership(
            format=self.format,
            user_id=self.user_id,
            device_id=self.device_id,
            slot_id=self.slot_id,
            key=self.key,
            rtc_member_id=self.shown_member_id,
            stamp=UNSENT,
            created_ts=self.created_ts,
            expires_ts=until,
            intent=self.intent,
            transports=self.transports,
            focus_selection=names.MULTI_SFU if self.format is MembershipFormat.STATE else None,
            can_subscribe=("livekit",),
            block=self._join_block(now_ms, until),
        )
        content = encode_membership(membership)
        if self.format is not MembershipFormat.STICKY:
            return SendState(request_id, MEMBER_TYPES[self.format], self.key, content, self.entry)
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
        """The withdrawal."""
        content = self._left_content()
        if self.format is not MembershipFormat.STICKY:
            return SendState(request_id, MEMBER_TYPES[self.format], self.key, content, self.entry)
        return SendEvent(request_id, names.STICKY_MEMBER, content, sticky_ms=STICKY_MS)

    def leave_later(self, request_id: str, policy: Policy) -> ScheduleLeave:
        """The same withdrawal, for the homeserver to send unless we say that we live."""
        sticky = self.format is MembershipFormat.STICKY
        return ScheduleLeave(
            request_id,
            int(policy.delayed_leave * 1000),
            MEMBER_TYPES[self.format],
            None if sticky else self.key,
            self._left_content(),
            sticky_ms=STICKY_MS if sticky else None,
            entry=self.entry,
        )

    def _left_content(self) -> dict[str, object]:
        return encode_membership(RtcLeave(self.format, self.user_id, self.key, UNSENT, self._left_block()))

    def _join_block(self, from_ts: int, until_ts: int) -> JoinBlock | None:
        """What stands in the membership beside what every client writes."""
        return None

    def _left_block(self) -> LeftBlock | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence(PlainPresence):
    """The same with our block: the join and the leave are signed, and the join brings a KeyPackage."""

    room_id: RoomId
    participation: Participation
    sign: Sign
    chain: DeviceChain | None
    head: EpochId | None  # when we joined
    replaces: frozenset[MemberId]

    def _join_block(self, from_ts: int, until_ts: int) -> JoinBlock:
        participation = self.participation
        return trust.sign_join(
            self.room_id,
            self.slot_id,
            participation.leaf,
            suite=participation.signing_key.suite,
            key_package=participation.public_key_package,
            binding=participation.binding,
            sign=self.sign,
            from_ts=from_ts,
            until_ts=until_ts,
            head=self.head,
            replaces=self.replaces,
            chain=self.chain,
        )

    def _left_block(self) -> LeftBlock:
        leaf, key = self.participation.leaf, self.participation.signing_key
        return trust.sign_left(self.room_id, self.slot_id, leaf, key)
