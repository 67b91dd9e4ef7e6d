"""Whether the device behind a leaf is let in: cross-signing chain, policy, pinned master keys, revocation.
Pure.

The chain runs from the Matrix device's key over the user's self-signing key to the user's master key. It is
read from the join, or from keys/query. The verdict is local policy: two members may differ, and then what
follows is a dispute, never another head.
"""

import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, TypeAlias

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError, StoreError
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import MemberId, UserId
from mlsrtc.policy import Trust
from mlsrtc.wire.binding import verify_ed25519
from mlsrtc.wire.chain import DeviceChain, QueriedUser
from mlsrtc.wire.encoding import check_user_id, decode_base64, encode_base64

WHERE = "content.dev.mlsrtc.mls.chain"


def verify_chain(chain: DeviceChain, leaf: Leaf, *, where: str = WHERE) -> bytes:
    """The master key (32 bytes) that stands behind the leaf's device.

    Raises RemoteProtocolError: wrong_user, wrong_device, wrong_device_key, bad_signature (`where` names the
    link).
    """
    if chain.user_id != leaf.user_id:
        raise RemoteProtocolError("wrong_user", where=f"{where}.device.user_id")
    if chain.device_id != leaf.device_id:
        raise RemoteProtocolError("wrong_device", where=f"{where}.device.device_id")
    if chain.device_key != leaf.device_key:
        raise RemoteProtocolError("wrong_device_key", where=f"{where}.device.keys")
    _verify(chain.self_signing_key, chain.device_signed, chain.device_signature, f"{where}.device")
    _verify(chain.master_key, chain.self_signing_signed, chain.self_signing_signature, f"{where}.self_signing")
    return chain.master_key


def _verify(key: bytes, message: bytes, signature: bytes, where: str) -> None:
    verify_ed25519(key, message, signature, where=where, section="Matrix specification, Signing JSON")


# -- pins ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pins:
    """The master keys we hold users to. A value: the session saves it, every change gives a new one."""

    masters: Mapping[UserId, bytes] = field(default_factory=dict)
    verified: frozenset[UserId] = frozenset()
    """Those whose pinned master key the application has said is verified."""

    def pin(self, user_id: UserId, master_key: bytes) -> "Pins":
        """Pins on first use: a user who is pinned already stays as pinned."""
        if user_id in self.masters:
            return self
        return Pins({**self.masters, user_id: master_key}, self.verified)

    def accept(self, user_id: UserId, master_key: bytes, *, verified: bool = False) -> "Pins":
        """The application says that this is the user's master key, from now on and instead of any other.

        Raises LocalProtocolError if it is no user or no Ed25519 key of 32 bytes.
        """
        try:
            check_user_id(user_id)
        except RemoteProtocolError:
            raise LocalProtocolError(f"{user_id!r} is no Matrix user") from None
        if not isinstance(master_key, bytes) or len(master_key) != 32:
            raise LocalProtocolError("a master key is 32 bytes")
        others = self.verified - {user_id}
        return Pins({**self.masters, user_id: master_key}, others | {user_id} if verified else others)

    def encode(self) -> bytes:
        """For the store: no secret in it, but whoever can change it can replace whom we trust."""
        value = {
            "version": 1,
            "masters": {user: encode_base64(key) for user, key in sorted(self.masters.items())},
            "verified": sorted(self.verified),
        }
        return json.dumps(value, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> "Pins":
        """Raises StoreError if the data is not what `encode` gives."""
        try:
            value: dict[str, Any] = json.loads(data)
            pins = cls(
                {check_user_id(user): decode_base64(key) for user, key in value["masters"].items()},
                frozenset(check_user_id(user) for user in value["verified"]),
            )
            known = value["version"] == 1 and pins.verified <= pins.masters.keys()
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError, RemoteProtocolError):
            known = False
        if not known or any(len(key) != 32 for key in pins.masters.values()):
            raise StoreError("the pinned master keys cannot be read", reason="damaged")
        return pins


# -- verdicts ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Claim:
    """A leaf and the chain that came with it: of its join, or of keys/query; None without cross-signing."""

    leaf: Leaf
    chain: DeviceChain | None = None

    @cached_property
    def master_key(self) -> bytes | None:
        """The master key that stands behind the leaf, or None; the signatures are checked once, when first asked."""
        if self.chain is None:
            return None
        try:
            return verify_chain(self.chain, self.leaf)
        except RemoteProtocolError:
            return None

    @property
    def broken(self) -> str | None:
        """Why there is no master key: no_chain or bad_chain."""
        if self.master_key is not None:
            return None
        return "no_chain" if self.chain is None else "bad_chain"


@dataclass(frozen=True, slots=True)
class Trusted:
    """Let in. `flagged` under ANY_DEVICE if a stricter policy would have refused it, for `reason`."""

    master_key: bytes | None
    flagged: bool = False
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """Not let in: no_chain, bad_chain, master_changed, two_masters, not_verified or revoked."""

    reason: str
    master_key: bytes | None = None  # what the application may accept, where there is one


Verdict: TypeAlias = Trusted | Refused


NONE_PAST: Mapping[UserId, Set[bytes]] = MappingProxyType({})


def assess(
    trust: Trust,
    pins: Pins,
    claims: Iterable[Claim],
    *,
    revoked: frozenset[MemberId] = frozenset(),
    past: Mapping[UserId, Set[bytes]] = NONE_PAST,
) -> dict[MemberId, Verdict]:
    """The verdict on each leaf of a call. All of one user are judged together: two master keys of one user in one call
    are an attack on that user or by it, and while none of them is pinned neither is let in. `past`: master keys that
    leaves came with which are not judged any more."""
    by_id: dict[MemberId, list[tuple[Leaf, bytes | None, str | None]]] = {}
    masters = {user: set(keys) for user, keys in past.items()}
    for claim in claims:
        master = claim.master_key
        by_id.setdefault(claim.leaf.member_id, []).append((claim.leaf, master, claim.broken))
        if master is not None:
            masters.setdefault(claim.leaf.user_id, set()).add(master)
    return {
        member_id: _verdict(trust, pins, masters, found, is_revoked=member_id in revoked)
        for member_id, found in by_id.items()
    }


def _verdict(
    trust: Trust,
    pins: Pins,
    masters: Mapping[UserId, set[bytes]],
    found: list[tuple[Leaf, bytes | None, str | None]],
    *,
    is_revoked: bool,
) -> Verdict:
    """One member_id may come with several chains (its join, keys/query): the pinned one counts, else the
    least.
    """
    user_id = found[0][0].user_id
    pinned = pins.masters.get(user_id)
    own = sorted(master for _, master, _ in found if master is not None)
    master = pinned if pinned in own else (own[0] if own else None)
    if master is not None:
        reason = _objection(trust, pins, user_id, master, rivals=len(masters[user_id]) > 1)
    else:
        reason = "bad_chain" if any(broken == "bad_chain" for _, _, broken in found) else "no_chain"
    if is_revoked:
        return Refused("revoked", master)
    if trust is Trust.ANY_DEVICE:
        return Trusted(master, flagged=reason is not None, reason=reason)
    return Trusted(master) if reason is None else Refused(reason, master)


def _objection(trust: Trust, pins: Pins, user_id: UserId, master: bytes, *, rivals: bool) -> str | None:
    pinned = pins.masters.get(user_id)
    if pinned is not None and master != pinned:
        return "master_changed"
    if pinned is None and rivals:
        return "two_masters"
    if trust is Trust.VERIFIED and user_id not in pins.verified:
        return "not_verified"
    return None


def pin_on_first_use(pins: Pins, verdicts: Mapping[MemberId, Verdict], leaves: Iterable[Leaf]) -> Pins:
    """The pins with the master key of every leaf that is trusted and whose user has none yet."""
    for leaf in sorted(leaves, key=lambda leaf: leaf.member_id):
        match verdicts.get(leaf.member_id):
            case Trusted(master_key=bytes() as master_key, flagged=False):
                pins = pins.pin(leaf.user_id, master_key)
    return pins


def is_revoked(leaf: Leaf, queried: QueriedUser) -> bool:
    """Whether keys/query no longer knows the device, or knows another key for it: it was logged out or
    replaced.
    """
    device = queried.devices.get(leaf.device_id)
    return queried.user_id == leaf.user_id and (device is None or device.device_key != leaf.device_key)
