"""Our keys on their way: who still has to be sent which, when it is tried again, and what stands in the way.

The talk that named the problem asks for a "retry mechanism, but also rate limit it". What fails is tried again at
growing distances with jitter; while the homeserver asks for patience nobody is sent anything; and everything, answers
to requests included, comes out of one budget of the whole device.

Nothing in MatrixRTC says that a key was opened. A device that has handed us one in this participation is taken to have
each of ours that the homeserver took; another one is written to once more unasked. That a key of theirs comes after
ours shows no more: all send theirs at once when somebody leaves, so to wait for that would send every key twice. Who
cannot open what came asks, by a key request or by the dummy of a new Olm session, and is sent it again.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.identifiers import KeyIndex
from mlsrtc.keyshare.rotation import Holder, OwnKey, device_of
from mlsrtc.mls import Secret, random_bytes
from mlsrtc.outbox import RateLimited
from mlsrtc.policy import Policy
from mlsrtc.recovery import Bucket
from mlsrtc.wire.key_event import KeyFormat


@dataclass(frozen=True, slots=True)
class Batch:
    """One key to be sent to several devices in one request."""

    format: KeyFormat
    generation: int
    index: KeyIndex
    secret: Secret
    made_at: float  # monotonic seconds
    devices: tuple[DeviceIdentity, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A device does not get our key, and why: no_one_time_key, unknown_device, unreachable or refused."""

    device: DeviceIdentity
    reason: str


@dataclass(slots=True)
class _Parcel:
    """One key for one holder."""

    key: OwnKey
    format: KeyFormat
    request: str | None = None  # it is on its way
    sent: int = 0  # how often the homeserver has taken it
    failed: int = 0  # how often in a row it did not get that far
    sent_at: float = 0.0
    due: float = 0.0


@dataclass(slots=True)
class Delivery:
    """The keys that one device of ours hands out."""

    policy: Policy
    budget: Bucket = field(default_factory=Bucket)  # of the whole device, whatever calls it is in
    _parcels: dict[tuple[Holder, int], _Parcel] = field(default_factory=dict)  # by what is to be handed to whom
    _asked: dict[DeviceIdentity, Bucket] = field(default_factory=dict)
    _heard: frozenset[DeviceIdentity] = frozenset()
    _has: dict[Holder, int] = field(default_factory=dict)  # the newest generation that each was sent
    _troubles: dict[DeviceIdentity, str] = field(default_factory=dict)
    _waiting: float | None = None  # until when the budget holds something up
    _settled: object = None  # for whom; None: something has happened since
    _timer: float | None = None  # as it was then

    def __post_init__(self) -> None:
        self.budget.limit(self.policy.key_messages_per_minute)

    # -- what is to be sent --------------------------------------------------------------------------------------------

    def settle(
        self, now: float, wanted: Mapping[OwnKey, Mapping[Holder, KeyFormat]], heard: Collection[DeviceIdentity]
    ) -> list[Batch]:
        """What is to be sent now; call `sending` for each. `wanted`: who is to hold which key. `heard`: the devices
        that have handed us a key; what is given again as the same object is as it was."""
        heard = frozenset(heard)
        if self._settled is wanted and self._heard == heard and (self._timer is None or now < self._timer):
            return []
        self._heard = heard
        addressed = {(holder, key.handed_as) for key, holders in wanted.items() for holder in holders}
        for place in self._parcels.keys() - addressed:
            del self._parcels[place]
        here = {device_of(holder) for holder, _ in addressed}
        for gone in self._troubles.keys() - here:
            del self._troubles[gone]
        for gone in self._asked.keys() - here:
            del self._asked[gone]
        for key, holders in wanted.items():
            for holder, format in holders.items():
                parcel = self._parcels.setdefault((holder, key.handed_as), _Parcel(key, format))
                parcel.key, parcel.format = key, format  # a ratcheted one takes the place of the one before
        self._has = {}
        for (holder, generation), parcel in self._parcels.items():
            if parcel.sent:
                self._has[holder] = max(generation, self._has.get(holder, 0))
        ready = [
            (device_of(holder), parcel)
            for (holder, _), parcel in self._parcels.items()
            if parcel.request is None and parcel.due <= now and not self._is_done(holder, parcel)
        ]
        due: dict[tuple[OwnKey, KeyFormat], list[DeviceIdentity]] = {}
        self._waiting = None
        for device, parcel in sorted(ready, key=lambda one: one[1].sent):  # who has nothing yet goes first
            if not self.budget.take(now):
                self._waiting = self.budget.next_at(now)
                break
            due.setdefault((parcel.key, parcel.format), []).append(device)
        self._settled, self._timer = wanted, self._next_timer()
        return [
            Batch(format, key.generation, key.index, key.secret, key.made_at, tuple(some))
            for (key, format), devices in due.items()
            for some in _parts(devices, self.policy.key_messages_per_request)
        ]

    def sending(self, batch: Batch, request_id: str) -> None:
        """A batch goes out under this id."""
        self._settled = None
        addressed = frozenset(batch.devices)
        for (holder, _), parcel in self._parcels.items():
            if parcel.key.generation == batch.generation and device_of(holder) in addressed:
                parcel.request = request_id

    def next_timer(self) -> float | None:
        """When `settle` has something to do although nobody came or went; monotonic seconds."""
        if self._settled is None:
            self._timer = self._next_timer()
        return self._timer

    def _next_timer(self) -> float | None:
        times = [
            parcel.due
            for (holder, _), parcel in self._parcels.items()
            if parcel.request is None and not self._is_done(holder, parcel)
        ]
        if self._waiting is not None:
            times = [max(time, self._waiting) for time in times]
        return min(times, default=None)

    # -- what became of it ---------------------------------------------------------------------------------------------

    def sent(self, request_id: str, failures: Mapping[DeviceIdentity, str | RateLimited], now: float) -> list[Trouble]:
        """The homeserver took a request; `failures`: the devices that could not be written to, and why. Returns what
        there is to tell."""
        self._settled = None
        self.budget.hold(now + patience(failures.values()))
        troubles: list[Trouble] = []
        spread = jitter()  # one for all: what fails together is tried again in one request
        for device, parcel in self._of(request_id):
            reason = failures.get(device)
            if reason is None:
                parcel.request, parcel.failed = None, 0
                parcel.due = now + self.policy.key_resend_after * 2**parcel.sent
                parcel.sent += 1
                parcel.sent_at = now
                self._troubles.pop(device, None)
                continue
            # The homeserver's word counts more than our pace, where it asks for more.
            pause = max(pause_after(parcel.failed, self.policy, spread), patience([reason]))
            parcel.request, parcel.due = None, now + pause
            parcel.failed += 1
            if isinstance(reason, str) and self._troubles.get(device) != reason:
                self._troubles[device] = reason
                troubles.append(Trouble(device, reason))
        return troubles

    def failed(self, request_id: str, reason: str | RateLimited, now: float) -> list[Trouble]:
        """The homeserver will not take a request, or not yet."""
        self.budget.hold(now + patience([reason]))
        return self.sent(request_id, {device: reason for device, _ in self._of(request_id)}, now)

    def renew(self, now: float, *, older_than: float) -> None:
        """Send again what was sent so long ago (seconds): nobody keeps the key of a stranger for ever."""
        self._settled = None
        for parcel in self._parcels.values():
            if parcel.request is None and parcel.sent and parcel.sent_at + older_than <= now:
                parcel.sent, parcel.due = 0, now

    def asked(self, device: DeviceIdentity, now: float) -> bool:
        """A device says that it has no key of ours: it is sent again what it is to hold. False if it has asked too
        often, or has no key to get."""
        parcels = [parcel for (holder, _), parcel in self._parcels.items() if device_of(holder) == device]
        bucket = self._asked.setdefault(device, Bucket(self.policy.key_requests_per_device)) if parcels else None
        if bucket is None or not bucket.take(now):
            return False
        self._settled = None
        for parcel in parcels:
            if parcel.request is None:
                parcel.sent, parcel.due = 0, now
        return True

    # -- inside --------------------------------------------------------------------------------------------------------

    def _of(self, request_id: str) -> list[tuple[DeviceIdentity, _Parcel]]:
        return [(device_of(holder), one) for (holder, _), one in self._parcels.items() if one.request == request_id]

    def _is_done(self, holder: Holder, parcel: _Parcel) -> bool:
        # Who has a newer key is not handed an older one after it: it would take it for the newest.
        if parcel.key.generation < self._has.get(holder, 0):
            return True
        return parcel.sent > (0 if device_of(holder) in self._heard else self.policy.key_resends)


def pause_after(failed: int, policy: Policy, spread: float) -> float:
    """Seconds until what has failed so often before is tried again. `spread`: of `jitter`."""
    return min(policy.key_retry_first * (1 << min(failed, 16)), policy.key_retry_limit) * (1 + spread / 2)


def jitter() -> float:
    """A number in 0..1, so that not everybody comes back at once."""
    drawn: int = random_bytes(1).expose()[0]
    return drawn / 255


def patience(reasons: Iterable[str | RateLimited]) -> float:
    """Seconds that our homeserver asks for by the longest of these."""
    return max((one.retry_after_ms / 1000 for one in reasons if isinstance(one, RateLimited)), default=0.0)


def _parts(devices: list[DeviceIdentity], size: int) -> Iterable[list[DeviceIdentity]]:
    return (devices[start : start + size] for start in range(0, len(devices), size))
