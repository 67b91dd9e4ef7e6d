"""Participants without MLS in a call with MLS: each is handed our own key of the epochs that we send under, and hands
us its own.

Knows the desk, what is known of the call, the keys of the epochs, and whom ours were handed to. Nobody's key but our
own is ever handed on, and a device that has ever joined with MLS is not served without. Two rules are those of
`keyshare`: a key is not begun that somebody holds who has left, and whoever comes is handed none that is older than the
throttle; what helps is another epoch, which whoever's turn it is makes (`turns.Visits`).
"""

from collections.abc import Collection, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace

from mlsrtc import saved
from mlsrtc.desk import Desk
from mlsrtc.handing import Handing
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, UserId
from mlsrtc.keyshare.audience import Audience, Guest
from mlsrtc.keyshare.rotation import Holder, OwnKey, away, device_of
from mlsrtc.knowledge import Knowledge
from mlsrtc.media.table import KeyTable
from mlsrtc.notices import KeyNotice, MediaKeysChanged, Mixed
from mlsrtc.outbox import Handed, Outcome
from mlsrtc.policy import Policy
from mlsrtc.turns import NO_VISITS, Visits
from mlsrtc.wire.incoming import DeviceKeys, Now, PostedKey, ToDevice

NAMED = 32  # participants without MLS that one commit names


Named = tuple[str, str, str]
"""A participant without MLS as a commit names it: user, device and the id of its membership."""


@dataclass(slots=True)
class _Epoch:
    """One epoch as those without MLS know it: our key of it, and who is handed it."""

    key: OwnKey
    holders: set[Holder]


@dataclass(slots=True)
class Mixing:
    """The participants without MLS of one session's call: `guests`, as long as it may be mixed."""

    policy: Policy
    audience: Audience
    handing: Handing
    guests: Collection[Guest] = field(default=(), init=False)
    _names: dict[Holder, Named] = field(default_factory=dict, init=False)
    _here: Mapping[Holder, float] = field(default_factory=dict, init=False)  # who may have keys, since when
    _left: Mapping[Holder, float] = field(default_factory=dict, init=False)  # who has one and is gone, since when
    _epochs: dict[EpochId, _Epoch] = field(default_factory=dict, init=False)
    _generations: int = field(default=0, init=False)
    _told: tuple[tuple[UserId, DeviceId], ...] = field(default=(), init=False)

    # -- what comes in -------------------------------------------------------------------------------------------------

    def device_keys(self, keys: DeviceKeys) -> None:
        """As `Audience.device_keys`."""
        if self.policy.mixed:
            self.audience.device_keys(keys)

    def to_device(self, event: ToDevice, now: Now) -> None:
        """As `Handing.to_device`."""
        if self.policy.mixed:
            self.handing.to_device(event, now)

    def posted(self, event: PostedKey, now: Now) -> None:
        """As `Handing.posted`."""
        if self.policy.mixed:
            self.handing.posted(event, now)

    def outcome(self, desk: Desk, request: Handed, outcome: Outcome) -> None:
        """As `Handing.outcome`."""
        self.handing.outcome(desk, request, outcome)

    # -- settling ------------------------------------------------------------------------------------------------------

    def look(self, desk: Desk, known: Knowledge, *, inside: bool) -> None:
        """See who is here without MLS, if the application and the room allow that the call is mixed. `inside`: we are
        in the call, so that they are handed keys."""
        if not self.policy.mixed:
            return
        now, keyring = desk.now, known.keyring
        memberships = known.guests(now) if known.may_be_mixed else []
        self.audience.share(keyring.pins)
        self.guests = self.audience.guests(memberships)
        if self.audience.pins is not keyring.pins:
            keyring.share(self.audience.pins)
        for membership in memberships:
            if membership.expires_ts is not None:
                desk.at(now.monotonic_at(membership.expires_ts + 1))
        self.handing.look(self.guests)
        self._here = {holder: self._here.get(holder, now.monotonic) for holder in sorted(self.handing.holders)}
        having = {holder for epoch in self._epochs.values() for holder in epoch.holders}
        gone = sorted(away(having, self._here))
        self._left = {holder: self._left.get(holder, now.monotonic) for holder in gone}
        self._names = {holder: self._names[holder] for holder in having} | {
            guest.holder: (guest.user_id, guest.device_id, min(guest.member_ids))
            for guest in self.guests
            if guest.holder is not None
        }
        served = tuple(sorted({(holder[0], holder[1]) for holder in self._here}))
        if inside and served != self._told:
            self._told = served
            desk.tell(Mixed(served))

    def visits(self, known: Knowledge, epoch: EpochId | None, closed: Set[EpochId]) -> Visits:
        """Who needs another epoch than this one. `closed`: those that we may not begin to send under."""
        if not self._here and not self._left:
            return NO_VISITS
        fit = frozenset() if epoch in closed else self._fit(known, epoch)
        came = {holder: since for holder, since in self._here.items() if holder not in fit}
        left = {h: self._left[h] for h in self._spoiling(epoch)}
        named = sorted({self._names[holder] for holder in (*came, *left)})
        return Visits(tuple(came.values()), tuple(left.values()), tuple(named[:NAMED]))

    @property
    def spoilt(self) -> frozenset[EpochId]:
        """Epochs of which somebody has a key who is gone."""
        return frozenset(epoch for epoch in self._epochs if self._spoiling(epoch))

    def settle(
        self, desk: Desk, known: Knowledge, table: KeyTable, *, stand: EpochId | None, me: MemberId, shown: MemberId
    ) -> None:
        """Hand over our keys and take in those of the others. `table`: settled before. `stand`: the epoch we stand on.
        `me`: our leaf there; `shown`: the same as our membership names it."""
        if not self.policy.mixed:
            return
        self.handing.ourselves = replace(self.handing.ourselves, member_id=shown)
        held = table.installed()
        self._epochs = {epoch: known_as for epoch, known_as in self._epochs.items() if epoch in held}
        for epoch in dict.fromkeys((table.in_use, stand)):
            if epoch is None or epoch not in held or (own := held[epoch].keys.get(me)) is None:
                continue
            given = self._epochs.get(epoch)
            if given is None or (epoch == stand and given.key.generation < self._generations):
                # New, or the head has come back to it: then it is the newest again.
                self._generations += 1
                key = OwnKey(self._generations, own.index, own.secret, desk.now.monotonic)
                given = self._epochs[epoch] = _Epoch(key, set() if given is None else given.holders)
            if table.may_send(epoch):
                new = self._fit(known, epoch) - given.holders
                if new and not given.holders and epoch != table.in_use:
                    # A later process cannot know who has it, and so may not begin it.
                    desk.keep(saved.begun_key(epoch), saved.MARK)
                given.holders |= new
        older_first = sorted(self._epochs.values(), key=lambda one: one.key.generation)
        self.handing.listen(desk)
        self.handing.hand_out(desk, {one.key: one.holders for one in older_first})

    def wait(self, desk: Desk) -> None:
        """We are not in the call: the keys of the others wait."""
        if self.policy.mixed:
            self.handing.listen(desk, inside=False)

    def renew(self, now: Now) -> None:
        """We enter anew: the others may have thrown our keys away."""
        self.handing.renew(now, older_than=0.0)

    def stop(self, desk: Desk) -> None:
        """Forget every key: we are in the call no more."""
        if withdrawn := self.handing.stop(desk):
            desk.tell(MediaKeysChanged(None, None, (), withdrawn))
        self._epochs.clear()
        self._told = ()

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    def standing(self) -> list[KeyNotice]:
        """The notices that tell the keys of this moment to who has heard none before."""
        keys = self.handing.standing()
        return [MediaKeysChanged(None, None, keys, (), self.handing.flagged)] if keys else []

    # -- inside --------------------------------------------------------------------------------------------------------

    def _fit(self, known: Knowledge, epoch: EpochId | None) -> frozenset[Holder]:
        """Those who are here and may have our key of an epoch: it opens no media older than the throttle, or their
        device has it already."""
        if epoch is None or (since := known.seen.get(epoch)) is None:
            return frozenset()
        given = self._epochs.get(epoch)
        devices = set() if given is None else set(map(device_of, given.holders))
        limit = since + self.policy.join_throttle
        return frozenset(h for h, came in self._here.items() if came < limit or device_of(h) in devices)

    def _spoiling(self, epoch: EpochId | None) -> Iterable[Holder]:
        given = None if epoch is None else self._epochs.get(epoch)
        return () if given is None else given.holders & self._left.keys()
