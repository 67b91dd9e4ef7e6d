"""Our own key over time: when a new one is made, who may be handed it, and from when on we send under it.

Level-triggered: `settle` is told who is to have our key at this moment, and works out the rest. Three rules never bend,
whatever the policy says of the pace: a key is never begun that somebody holds who has left; who joins is never handed
one that is older than the throttle; and an index names one key for as long as anybody may still use it.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.identifiers import DeviceId, KeyIndex, UserId
from mlsrtc.keyshare.ratchet import ratcheted
from mlsrtc.mls import Secret, random_bytes
from mlsrtc.policy import Policy

KEY_BYTES = 32  # MSC4195
Holder: TypeAlias = tuple[UserId, DeviceId, bytes, str]
"""Who is handed a key: a device with its Ed25519 key, in one participation. A device that leaves and comes back may
have lost what it was handed before, so it counts as another."""

SOMEBODY: Holder = (UserId(""), DeviceId(""), b"", "")
"""Who holds a key and is never here."""

NO_INDEX = KeyIndex(0)  # in LiveKit a track begins at 0, which stays empty: ours are 1..255
LAST_INDEX = 255
SMALL_RING = 15  # the last index where a key ring has 16 places: LiveKit's default, and the dart SDK's


@dataclass(frozen=True, slots=True, eq=False)
class OwnKey:
    """A key of ours. `generation` counts them from 1; a ratcheted key is another one at the same index, and `follows`
    from the one before."""

    generation: int
    index: KeyIndex
    secret: Secret
    made_at: float
    follows: int | None = None  # the generation whose holders work it out

    @property
    def handed_as(self) -> int:
        """By which generation it is tracked on its way: whoever has the key that this one follows from has this one."""
        return self.generation if self.follows is None else self.follows


@dataclass(slots=True)
class Rotation:
    """The keys of one participation: the one we send under, and the one that takes its place at `use_at`."""

    policy: Policy
    last_index: KeyIndex = NO_INDEX  # of the newest key that this device made in this call, in any process
    current: OwnKey | None = None
    upcoming: OwnKey | None = None
    use_at: float | None = None
    ring: int = LAST_INDEX  # the last index that the key rings of all who are to have our key have
    _generations: int = 0
    _holders: dict[int, set[Holder]] = field(default_factory=dict)  # who has it or works it out, by generation
    _gone: dict[Holder, float] = field(default_factory=dict)  # holders of the newest key that have left, since when
    _pending_since: float | None = None  # since when there is a key that takes the place of `current`
    _spoilt_since: float | None = None  # since when somebody who has left holds the key that we send under

    @property
    def newest(self) -> OwnKey | None:
        """The key that whoever joins now is handed."""
        return self.upcoming or self.current

    @property
    def keys(self) -> tuple[OwnKey, ...]:
        """The keys that are of use to somebody, older first."""
        return tuple(key for key in (self.current, self.upcoming) if key is not None)

    def holders(self, key: OwnKey) -> frozenset[Holder]:
        """Who has a key: it was handed to them, is on its way, or follows from one that they have."""
        return frozenset(self._holders.get(key.generation, ()))

    # -- settling ------------------------------------------------------------------------------------------------------

    def settle(self, now: float, present: Collection[Holder]) -> None:
        """Bring the keys to what those who are `present` need: who is in the call, and whom our policy lets have our
        key."""
        self._see_off(now, present)
        self._switch(now)
        newest = self.newest
        if newest is None:
            self.current = self._make(now, present)
            return
        self._welcome_back(present)
        joiners = set(present) - self._holders[newest.generation]
        leave_due = self._leave_due()
        if (leave_due is not None and leave_due <= now) or (joiners and not self._may_have(newest, now)):
            self._rotate(now, present)
        else:
            self._admit(now, joiners)
        self._switch(now)

    def prepare(self, now: float, present: Collection[Holder]) -> None:
        """Before we join: make a key and hand it to those who are there. Nothing is sent under it, so nobody's coming
        or going makes another one: however long we wait, a lobby costs one key."""
        newest = self.newest
        if newest is None or newest.index > self.ring:
            self.stop()
            self.current = self._make(now, present)
        else:
            self._hand(newest, present)

    def begin(self, now: float, present: Collection[Holder]) -> None:
        """We join: what was handed out in the lobby is begun, unless somebody holds it who has left since."""
        if self.current is not None and away(self._holders[self.current.generation], present):
            self._drop(self.current)
            self.current = None
        if self.current is not None:
            self.current = OwnKey(self.current.generation, self.current.index, self.current.secret, now)

    def give_up(self) -> None:
        """Somebody has our keys who is not in the call: they are as if handed to who has left."""
        for key in self.keys:
            self._holders[key.generation].add(SOMEBODY)

    def next_timer(self) -> float | None:
        """When `settle` has something to do although nobody came or went; monotonic seconds."""
        # A key that somebody holds who has left is not begun: what comes next is the one that takes its place.
        return self._leave_due() if self._gone else self.use_at

    def stop(self) -> None:
        """We are in the call no more: forget every key."""
        for key in self.keys:
            self._drop(key)
        self.current = self.upcoming = self.use_at = self._spoilt_since = self._pending_since = None
        self._gone.clear()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _see_off(self, now: float, present: Collection[Holder]) -> None:
        """Who holds a key of ours and has left."""
        current = self.current
        if current is not None and self._spoilt_since is None and away(self._holders[current.generation], present):
            self._spoilt_since = now
        newest = self.newest
        if newest is not None:
            gone = away(self._holders[newest.generation], present)
            self._gone = {holder: self._gone.get(holder, now) for holder in gone}

    def _welcome_back(self, present: Collection[Holder]) -> None:
        """A device that holds a key and is here in another participation has not left: it is handed the key again,
        however old that is, since it may have lost it."""
        for key in self.keys:
            devices = set(map(device_of, self._holders[key.generation]))
            self._hand(key, [holder for holder in present if device_of(holder) in devices])

    def _leave_due(self) -> float | None:
        """When the leaves so far make a new key: after a pause in them, and never later than the limit."""
        if not self._gone:
            return None
        first, last = min(self._gone.values()), max(self._gone.values())
        due = min(last + self.policy.leave_debounce, first + self.policy.leave_debounce_limit)
        newest = self.newest
        if self.ring == LAST_INDEX or newest is None:
            return due
        # Where there are few indexes one is taken again soon: keys follow each other no faster than they may anyhow.
        return max(due, newest.made_at + self.policy.leave_debounce_limit)

    def _may_have(self, key: OwnKey, now: float) -> bool:
        """Whether who joins now may be handed this key: it opens no media older than the throttle, and everybody's key
        ring has its place."""
        return key.index <= self.ring and now < key.made_at + self.policy.join_throttle

    def _admit(self, now: float, joiners: Iterable[Holder]) -> None:
        """Hand the keys of this moment to who has joined. The one that we send under as well, if it is young enough: a
        new one is of use only after its delay."""
        for holder in joiners:
            for key in self.keys:
                # A key that is spoilt is never begun; to be handed one would be to wait for nothing.
                if self._may_have(key, now) and not (key is self.upcoming and self._gone):
                    self._hand(key, (holder,))

    def _rotate(self, now: float, present: Collection[Holder]) -> None:
        clean = self._spoilt_since is None and not self._gone
        if clean and self.upcoming is None and self.current is not None and self._may_ratchet(self.current):
            self.current = self._ratchet(now, present, self.current)
            return
        if self.upcoming is not None:
            self._drop(self.upcoming)
        self.upcoming = self._make(now, present)
        self._gone.clear()
        self.use_at = now + self.policy.key_use_delay
        if self._pending_since is None:
            self._pending_since = now
        for since in (self._pending_since, self._spoilt_since):
            if since is not None:
                # However long people come and go: from here on each new key is begun as soon as it is made.
                self.use_at = min(self.use_at, max(now, since + self.policy.leave_use_limit))

    def _may_ratchet(self, key: OwnKey) -> bool:
        """Whether who joins may be handed the next key at the same index. One step and no more: livekit-client tries no
        second one, however wide its window is, and has not taken the first where no frame came meanwhile."""
        return self.policy.ratchet_on_join and key.follows is None and key.index <= self.ring

    def _ratchet(self, now: float, present: Collection[Holder], before: OwnKey) -> OwnKey:
        """The key after this one at the same index: whoever holds this one works it out."""
        self._generations += 1
        self._holders[self._generations] = self._holders[before.generation] | set(present)
        following = OwnKey(self._generations, before.index, ratcheted(before.secret), now, before.generation)
        self._drop(before)
        return following

    def _switch(self, now: float) -> None:
        if self.upcoming is None or self.use_at is None or self.use_at > now or self._gone:
            return
        if self.current is not None:
            self._drop(self.current)
        self.current, self.upcoming = self.upcoming, None
        self.use_at = self._spoilt_since = self._pending_since = None

    def _make(self, now: float, present: Collection[Holder]) -> OwnKey:
        self._generations += 1
        taken = {key.index for key in self.keys}
        following = (KeyIndex((self.last_index + step) % self.ring + 1) for step in range(self.ring))
        self.last_index = next(index for index in following if index not in taken)
        self._holders[self._generations] = set(present)
        return OwnKey(self._generations, self.last_index, random_bytes(KEY_BYTES), now)

    def _hand(self, key: OwnKey, holders: Iterable[Holder]) -> None:
        self._holders[key.generation].update(holders)

    def _drop(self, key: OwnKey) -> None:
        self._holders.pop(key.generation, None)
        key.secret.wipe()


def device_of(holder: Holder) -> DeviceIdentity:
    """The device, whatever its participation."""
    return holder[:3]


def away(holders: Iterable[Holder], present: Iterable[Holder]) -> list[Holder]:
    """Those whose device is not here in any participation."""
    here = set(map(device_of, present))
    return [holder for holder in holders if device_of(holder) not in here]
