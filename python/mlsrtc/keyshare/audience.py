"""Who takes part without MLS, device by device, and which of them our trust policy lets have our key.

The counterpart of `keyring` for devices that have no leaf: what stands behind them only keys/query says. Knows
memberships and keys of devices; no clock and no media key.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlsrtc import trust
from mlsrtc.evidence import DeviceIdentity, Leaf
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.keyshare.rotation import Holder
from mlsrtc.policy import Policy
from mlsrtc.trust import Claim, Pins, Refused, Trusted
from mlsrtc.wire.chain import QueriedUser, decode_keys_query
from mlsrtc.wire.incoming import DeviceKeys
from mlsrtc.wire.key_event import KeyFormat
from mlsrtc.wire.membership import MembershipFormat, RtcMembership

FORMATS = (KeyFormat.ELEMENT, KeyFormat.MSC4143, KeyFormat.FAMEDLY)
"""By what a device is written to if its memberships show several: what is deployed most goes first."""


@dataclass(frozen=True, slots=True)
class Guest:
    """A device in the call. `reason`: why it gets no key of ours and is not listened to; None if it does and is.

    reason: unasked (keys/query has not answered yet), unknown_device (it does not know the device), or trust's.
    `flagged`: `Trust.ANY_DEVICE` lets it in, and a stricter policy would not.
    """

    user_id: UserId
    device_id: DeviceId
    device_key: bytes | None  # its Ed25519 key, 32 bytes; None if keys/query does not name it
    member_ids: frozenset[MemberId]
    participation: str  # another one each time that it joins
    format: KeyFormat
    reason: str | None = None
    flagged: bool = False

    @property
    def holder(self) -> Holder | None:
        """The same in this participation."""
        return None if self.device is None else (*self.device, self.participation)

    @property
    def device(self) -> DeviceIdentity | None:
        """Whom our key is handed to; None: nobody."""
        return None if self.reason or self.device_key is None else (self.user_id, self.device_id, self.device_key)


@dataclass(slots=True)
class Audience:
    """The devices of one call. `own`: ours, which is not among them."""

    policy: Policy
    own: DeviceIdentity
    pins: Pins = field(default_factory=Pins)
    _queried: dict[UserId, QueriedUser] = field(default_factory=dict)
    _claims: dict[tuple[UserId, DeviceId], tuple[QueriedUser, Claim]] = field(default_factory=dict)
    _found: tuple[list[RtcMembership], Pins, list[Guest]] | None = None  # the last answer, and what it follows from

    def device_keys(self, keys: DeviceKeys) -> None:
        """Take in what keys/query says of one user. Raises RemoteProtocolError; nothing is changed then."""
        queried = decode_keys_query(UserId(keys.user_id), keys.response)
        self._queried[queried.user_id] = queried
        self._found = None

    def accept(self, user: UserId, key: bytes, *, verified: bool) -> None:
        """The application says that this is the user's master key. Raises LocalProtocolError."""
        self.pins = self.pins.accept(user, key, verified=verified)

    def share(self, pins: Pins) -> None:
        """The pins as all calls of our user have them, or as the store has them."""
        self.pins = pins

    def knows_keys_of(self, user: UserId) -> bool:
        """Whether keys/query has answered for this user."""
        return user in self._queried

    @property
    def strange_master(self) -> bytes | None:
        """The master key of our own user, if keys/query names another one than is pinned."""
        queried = self._queried.get(self.own[0])
        pinned = self.pins.masters.get(self.own[0])
        return queried.master_key if queried is not None and pinned not in (None, queried.master_key) else None

    def guests(self, memberships: Iterable[RtcMembership]) -> list[Guest]:
        """Every device of these memberships but our own, and what our policy says of it. Master keys are pinned on
        first use. A membership that does not tell its device is nobody's. The same list until something changes."""
        standing = list(memberships)
        if self._found is None or self._found[1] is not self.pins or self._found[0] != standing:
            found = self._judge(standing)
            self._found = standing, self.pins, found
        return self._found[2]

    def _judge(self, memberships: Iterable[RtcMembership]) -> list[Guest]:
        by_device: dict[tuple[UserId, DeviceId], list[RtcMembership]] = {}
        for membership in memberships:
            if membership.device_id is not None and (membership.user_id, membership.device_id) != self.own[:2]:
                by_device.setdefault((membership.user_id, membership.device_id), []).append(membership)
        by_device = self._seated(by_device)
        claims = {device: claim for device in by_device if (claim := self._claim(device)) is not None}
        leaves = {device: claim.leaf for device, claim in claims.items()}
        verdicts = trust.assess(self.policy.trust, self.pins, claims.values())
        self.pins = trust.pin_on_first_use(self.pins, verdicts, leaves.values())
        found: list[Guest] = []
        for device, several in by_device.items():
            reason, flagged, key = None, False, None
            if (leaf := leaves.get(device)) is None:
                reason = "unknown_device" if device[0] in self._queried else "unasked"
            else:
                key = leaf.device_key
                match verdicts[leaf.member_id]:
                    case Refused(reason=reason):
                        pass
                    case Trusted(flagged=flagged):
                        pass
            formats = {membership.key_format for membership in several}
            chosen = next(one for one in FORMATS if one in formats)
            ids = frozenset(MemberId(membership.rtc_member_id) for membership in several)
            since = " ".join(sorted(map(_participation, several)))
            found.append(Guest(*device, key, ids, since, chosen, reason, flagged))
        return found

    def _seated(
        self, by_device: Mapping[tuple[UserId, DeviceId], list[RtcMembership]]
    ) -> dict[tuple[UserId, DeviceId], list[RtcMembership]]:
        """The newest of many: anybody may write any number of memberships, and each would cost everybody messages."""
        each, devices = self.policy.joins_per_device, self.policy.devices_per_user
        newest = {device: sorted(several, key=_newest)[-each:] for device, several in by_device.items()}
        by_user: dict[UserId, list[tuple[UserId, DeviceId]]] = {}
        for device in sorted(newest, key=lambda one: _newest(newest[one][-1])):
            by_user.setdefault(device[0], []).append(device)
        return {device: newest[device] for several in by_user.values() for device in several[-devices:]}

    def _claim(self, device: tuple[UserId, DeviceId]) -> Claim | None:
        """The device as the judgement of trust knows it: no leaf of a tree, and no other has its name. The same object
        while keys/query says the same, so that its signatures are checked once."""
        queried = self._queried.get(device[0])
        known = None if queried is None else queried.devices.get(device[1])
        if queried is None or known is None:
            return None
        before = self._claims.get(device)
        if before is not None and before[0] is queried:
            return before[1]
        leaf = Leaf(MemberId(f"{device[0]} {device[1]}"), *device, known.device_key, b"")
        self._claims[device] = queried, Claim(leaf, known.chain)
        return self._claims[device][1]


def _newest(membership: RtcMembership) -> tuple[int, str]:
    return membership.stamp.ts, membership.key


def _participation(membership: RtcMembership) -> str:
    """What stays the same when a membership is refreshed, and does not when its device joins again: matrix-js-sdk takes
    it so too."""
    sticky = membership.format is MembershipFormat.STICKY
    return membership.rtc_member_id if sticky else f"{membership.rtc_member_id} {membership.created_ts}"
