"""Our keys as room events: one for everybody, posted again for who has come since, and what stands in the way.

The counterpart of `delivery` with the same verbs, where a key is not sent to each device but written into the room.
What the homeserver takes reaches whoever can read it at that moment; who joins later needs another one, and joiners
wait for each other until the pause is over.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.keyshare.delivery import Batch, Trouble, jitter, patience, pause_after
from mlsrtc.keyshare.rotation import Holder, OwnKey, device_of
from mlsrtc.outbox import RateLimited
from mlsrtc.policy import Policy
from mlsrtc.recovery import Bucket
from mlsrtc.wire.key_event import KeyFormat


@dataclass(slots=True)
class _Letter:
    """One key for all who are to hold it."""

    key: OwnKey
    holders: frozenset[Holder] = frozenset()
    reached: set[Holder] = field(default_factory=set)  # they could read an event that the homeserver took
    addressed: frozenset[Holder] = frozenset()  # those that the one on its way is for
    request: str | None = None
    posted_at: float | None = None
    repeated: int = 0  # how often it was posted again for who was never heard from
    failed: int = 0  # how often in a row it did not get that far
    due: float = 0.0


@dataclass(slots=True)
class Posting:
    """The keys that one device of ours posts."""

    policy: Policy
    budget: Bucket = field(default_factory=Bucket)  # of the whole device, whatever calls it is in
    _letters: dict[int, _Letter] = field(default_factory=dict)  # by generation
    _asked: dict[DeviceIdentity, Bucket] = field(default_factory=dict)
    _heard: frozenset[DeviceIdentity] = frozenset()
    _troubles: dict[DeviceIdentity, str] = field(default_factory=dict)
    _waiting: float | None = None  # until when the budget holds something up

    def __post_init__(self) -> None:
        self.budget.limit(self.policy.key_messages_per_minute)

    # -- what is to be posted ------------------------------------------------------------------------------------------

    def settle(
        self, now: float, wanted: Mapping[OwnKey, Mapping[Holder, KeyFormat]], heard: Collection[DeviceIdentity]
    ) -> list[Batch]:
        """What is to be posted now; call `sending` for each. As `Delivery.settle`: the format counts for nothing."""
        self._heard = frozenset(heard)
        for generation in self._letters.keys() - {key.generation for key in wanted}:
            del self._letters[generation]
        for key, holders in wanted.items():
            letter = self._letters.setdefault(key.generation, _Letter(key))
            letter.holders = frozenset(holders)
            letter.reached &= letter.holders
        here = {device_of(holder) for letter in self._letters.values() for holder in letter.holders}
        self._troubles = {device: reason for device, reason in self._troubles.items() if device in here}
        self._asked = {device: bucket for device, bucket in self._asked.items() if device in here}
        self._waiting = None
        batches: list[Batch] = []
        for letter in self._letters.values():
            due = self._due(letter)
            if due is None or due > now:
                continue
            if not self.budget.take(now):
                self._waiting = self.budget.next_at(now)
                break
            key, devices = letter.key, tuple(sorted(map(device_of, letter.holders)))
            batches.append(Batch(KeyFormat.ELEMENT, key.generation, key.index, key.secret, key.made_at, devices))
        return batches

    def sending(self, batch: Batch, request_id: str) -> None:
        """A key is posted under this id."""
        letter = self._letters[batch.generation]
        letter.request, letter.addressed = request_id, letter.holders

    def next_timer(self) -> float | None:
        """When `settle` has something to do although nobody came or went; monotonic seconds."""
        times = [due for letter in self._letters.values() if (due := self._due(letter)) is not None]
        if self._waiting is not None:
            times = [max(time, self._waiting) for time in times]
        return min(times, default=None)

    # -- what became of it ---------------------------------------------------------------------------------------------

    def sent(self, request_id: str, failures: Mapping[DeviceIdentity, str | RateLimited], now: float) -> list[Trouble]:
        """The homeserver took it; `failures`: the devices that cannot read it, and why. Returns what to tell."""
        self.budget.hold(now + patience(failures.values()))
        troubles: list[Trouble] = []
        for letter in self._of(request_id):
            missed = {holder for holder in letter.addressed if device_of(holder) in failures}
            letter.request, letter.posted_at = None, now
            letter.repeated += letter.addressed <= letter.reached
            letter.reached |= letter.addressed - missed
            pause = max(pause_after(letter.failed, self.policy, jitter()), patience(failures.values()))
            letter.due = now + pause if missed else now
            letter.failed = letter.failed + 1 if missed else 0
            for holder in sorted(letter.addressed):
                reason = failures.get(device_of(holder))
                if not isinstance(reason, str):
                    self._troubles.pop(device_of(holder), None)
                elif self._troubles.get(device_of(holder)) != reason:
                    self._troubles[device_of(holder)] = reason
                    troubles.append(Trouble(device_of(holder), reason))
        return troubles

    def failed(self, request_id: str, reason: str | RateLimited, now: float) -> list[Trouble]:
        """The homeserver will not take it, or not yet."""
        self.budget.hold(now + patience([reason]))
        troubles: list[Trouble] = []
        for letter in self._of(request_id):
            pause = max(pause_after(letter.failed, self.policy, jitter()), patience([reason]))
            letter.request, letter.due = None, now + pause
            letter.failed += 1
            for device in sorted(map(device_of, letter.addressed)):
                if isinstance(reason, str) and self._troubles.get(device) != reason:
                    self._troubles[device] = reason
                    troubles.append(Trouble(device, reason))
        return troubles

    def renew(self, now: float, *, older_than: float) -> None:
        """Post again what was posted so long ago (seconds): nobody keeps the key of a stranger for ever."""
        for letter in self._letters.values():
            if letter.posted_at is not None and letter.posted_at + older_than <= now:
                letter.reached.clear()

    def asked(self, device: DeviceIdentity, now: float) -> bool:
        """A device says that it has no key of ours: what it is to hold is posted again. False if it has asked too
        often, or has no key to get."""
        letters = [letter for letter in self._letters.values() if device in map(device_of, letter.holders)]
        bucket = self._asked.setdefault(device, Bucket(self.policy.key_requests_per_device)) if letters else None
        if bucket is None or not bucket.take(now):
            return False
        for letter in letters:
            letter.reached -= {holder for holder in letter.reached if device_of(holder) == device}
        return True

    # -- inside --------------------------------------------------------------------------------------------------------

    def _of(self, request_id: str) -> list[_Letter]:
        return [letter for letter in self._letters.values() if letter.request == request_id]

    def _due(self, letter: _Letter) -> float | None:
        """When it is to be posted, for the first time or again; None: not as things are."""
        if letter.request is not None:
            return None
        # Who has a newer key is not handed an older one after it: it would take it for the newest.
        newer = (one.reached for generation, one in self._letters.items() if generation > letter.key.generation)
        lacking = letter.holders - letter.reached.union(*newer)
        if letter.posted_at is None:
            return letter.due if lacking else None
        if lacking:
            return max(letter.due, letter.posted_at + self.policy.key_post_pause)
        unheard = any(device_of(holder) not in self._heard for holder in letter.holders & letter.reached)
        if unheard and letter.repeated < self.policy.key_resends:
            return max(letter.due, letter.posted_at + self.policy.key_resend_after * (1 << letter.repeated))
        return None
