"""The devices behind the leaves: their chains, the pinned master keys, and what our trust policy says of them.

All of it is local and never enters the head. Knows no room, no ordering and no clock (`now` is an argument).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mlsrtc import trust
from mlsrtc.evidence import Committed, DeviceIdentity, Leaf
from mlsrtc.identifiers import MemberId, UserId
from mlsrtc.policy import Trust
from mlsrtc.roster import Roster
from mlsrtc.trust import Claim, Pins, Refused, Trusted, Verdict
from mlsrtc.wire.chain import DeviceChain, decode_keys_query
from mlsrtc.wire.incoming import DeviceKeys, Now

LISTING_GRACE = 5.0  # seconds that our homeserver has to hear of another server's new device
CHAINS_LIMIT = 8  # chains kept of one join and its refreshes
UNSEEN = Trusted(None, flagged=True, reason="unseen")  # under `ANY_DEVICE`: a leaf whose join we have not seen


@dataclass(slots=True)
class Keyring:
    """What we know of the devices behind the leaves. `policy`: which of them get one. `own`: our device, which we need
    not trust: a leaf with its key is ours."""

    policy: Trust
    own: DeviceIdentity
    pins: Pins = field(default_factory=Pins)
    unlisted: dict[MemberId, float] = field(default_factory=dict)  # missing in keys/query since; monotonic
    _listed: set[MemberId] = field(default_factory=set)  # there in keys/query once
    _claims: dict[UserId, dict[MemberId, list[Claim]]] = field(default_factory=dict)  # by user and member
    _masters: dict[UserId, set[bytes]] = field(default_factory=dict)  # behind all of them
    _queried: dict[UserId, Mapping[str, DeviceChain | None]] = field(default_factory=dict)
    _own_master: bytes | None = None  # of our user, as keys/query says
    _verdicts: dict[MemberId, Verdict] = field(default_factory=dict)
    _refused: dict[MemberId, str] = field(default_factory=dict)  # the part of the verdicts that refuses, and why
    _accepted: set[MemberId] = field(default_factory=set)  # the others
    _unjudged: set[UserId] = field(default_factory=set)  # whose verdicts are to be worked out again

    # -- what comes in -------------------------------------------------------------------------------------------------

    def device_keys(self, keys: DeviceKeys, roster: Roster, now: Now, *, own: bool) -> Roster:
        """Take in what keys/query says of one user: which leaves' devices are gone, and chains for the devices of our
        `own` user. Of others the chain in the join counts: their server signs nothing, and ours could make one up.

        A device that was listed before is gone at once. One that never was may be so new that our homeserver has not
        heard of it: it is gone if it is missing again, `LISTING_GRACE` later.

        Returns the roster that knows who is gone. Raises RemoteProtocolError.
        """
        queried = decode_keys_query(UserId(keys.user_id), keys.response)
        if own:
            self._queried[queried.user_id] = {name: device.chain for name, device in queried.devices.items()}
            self._own_master = queried.master_key
        leaves = [roster.seated[member].leaf for member in roster.seats.of(queried.user_id)]
        missing = {leaf.member_id for leaf in leaves if trust.is_revoked(leaf, queried)}
        listed = {leaf.member_id for leaf in leaves} - missing
        first = {member: self.unlisted.get(member, now.monotonic) for member in missing - self._listed}
        waiting = {member for member, since in first.items() if now.monotonic < since + LISTING_GRACE}
        self.unlisted = {m: since for m, since in self.unlisted.items() if m not in listed | missing}
        self.unlisted |= {member: first[member] for member in waiting}
        self._listed |= listed
        self._unjudged.add(queried.user_id)
        return roster.with_revoked(missing - waiting, listed=listed)

    def claim(self, leaf: Leaf, chain: DeviceChain | None) -> None:
        """A join came with this chain. One without a chain, or with another, takes nothing from one before."""
        claims = self._claims.setdefault(leaf.user_id, {}).setdefault(leaf.member_id, [])
        if (claim := Claim(leaf, chain)) not in claims and len(claims) < CHAINS_LIMIT:
            claims.append(claim)
            if claim.master_key is not None:
                self._masters.setdefault(leaf.user_id, set()).add(claim.master_key)
            self._unjudged.add(leaf.user_id)

    def reseat(self, users: Iterable[UserId]) -> None:
        """Other joins of these users are to be judged than before."""
        self._unjudged.update(users)

    def accept(self, user: UserId, key: bytes, *, verified: bool) -> None:
        """The application says that this is the user's master key. Raises LocalProtocolError."""
        self.pins = self.pins.accept(user, key, verified=verified)
        self._unjudged.add(user)

    def share(self, pins: Pins) -> None:
        """The pins as all calls of our user have them, or as the store has them."""
        self.pins = pins
        self._unjudged.update(self._claims)

    # -- what follows --------------------------------------------------------------------------------------------------

    def verdicts(self, roster: Roster) -> Mapping[MemberId, Verdict]:
        """What our trust policy says of every leaf and join, those of one user judged together. Who has left keeps the
        last one."""
        while self._unjudged:
            self._judge(self._unjudged.pop(), roster)
        return self._verdicts

    def refused(self, roster: Roster) -> Mapping[MemberId, str]:
        """Whom our trust policy refuses, and why. The same object until something changes."""
        self.verdicts(roster)
        return self._refused

    def untrusted(self, commit: Committed, roster: Roster) -> frozenset[MemberId]:
        """Leaves that our policy does not accept: refused, of a join that we never saw (no ghosts), or of one without a
        seat. Our own device's are not among them.
        """
        self.verdicts(roster)
        if self.policy is Trust.ANY_DEVICE:
            untrusted = frozenset(commit.members & self._refused.keys())
        else:
            untrusted = commit.members - self._accepted
        if roster.crowded:
            untrusted |= {m for m in commit.members if m in roster.open and m not in roster.seated}
        if not untrusted:  # as nearly always, and this is asked at every step
            return untrusted
        return untrusted - {leaf.member_id for leaf in commit.leaves.values() if leaf.device_identity == self.own}

    def flagged(self, members: Iterable[MemberId], roster: Roster) -> frozenset[MemberId]:
        """Those of them whom only `ANY_DEVICE` lets in."""
        if self.policy is not Trust.ANY_DEVICE:
            return frozenset()
        verdicts = ((member, self.verdicts(roster).get(member, UNSEEN)) for member in members)
        return frozenset(member for member, verdict in verdicts if isinstance(verdict, Trusted) and verdict.flagged)

    @property
    def strange_master(self) -> bytes | None:
        """The master key of our own user, if keys/query names another one than is pinned. Our homeserver could have
        made it up, and a device under it: nothing but the application's word changes what is pinned."""
        pinned = self.pins.masters.get(self.own[0])
        return self._own_master if pinned not in (None, self._own_master) else None

    def chain_of(self, user: UserId, device: str) -> DeviceChain | None:
        """The chain of a device as keys/query gave it."""
        return self._queried.get(user, {}).get(device)

    def knows_keys_of(self, user: UserId) -> bool:
        """Whether keys/query has answered for this user."""
        return user in self._queried

    def _judge(self, user: UserId, roster: Roster) -> None:
        """One user's verdicts, on the joins that have a seat. Of the others only the master key counts that they came
        with, as a rival."""
        claimed = self._claims.get(user, {})
        known = {member: claimed[member] for member in roster.seats.of(user) if member in claimed}
        masters = self._masters.get(user, set())
        claims = [claim for several in known.values() for claim in several]
        queried = ((claims[0].leaf, self.chain_of(user, claims[0].leaf.device_id)) for claims in known.values())
        claims += [Claim(leaf, chain) for leaf, chain in queried if chain is not None]
        verdicts = trust.assess(self.policy, self.pins, claims, revoked=roster.revoked, past={user: masters})
        self._verdicts |= verdicts
        self._accepted |= verdicts.keys()
        refused = {member: verdict.reason for member, verdict in verdicts.items() if isinstance(verdict, Refused)}
        self._accepted -= refused.keys()
        if refused != {member: reason for member, reason in self._refused.items() if member in verdicts}:
            self._refused = {m: reason for m, reason in self._refused.items() if m not in verdicts} | refused
        self.pins = trust.pin_on_first_use(self.pins, verdicts, [claims[0].leaf for claims in known.values()])
