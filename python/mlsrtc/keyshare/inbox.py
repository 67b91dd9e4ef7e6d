"""The keys of the others: whose they are, when they are told, and when they are over.

A key counts for the device that the envelope authenticates, and is told once that device has a membership with the
member id that came with the key, and our policy trusts it. Until then it waits, bounded in number and time: membership
and key come by different ways, and either may be first.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from hmac import compare_digest
from typing import TypeAlias

from mlsrtc.evidence import DeviceIdentity as Device
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey, Sender
from mlsrtc.mls import Secret
from mlsrtc.policy import Policy
from mlsrtc.wire.key_event import IndexedKey

KEYS_OF_ONE = 16  # keys kept of one device, the newest; whoever rotates each second has 15 in use at most
AWAY_SECONDS = 600.0  # the keys of who was in the call are kept so long; as `bodies_kept`
LAST_OF_OURS = 255  # after it we begin anew at 1; others have other rings
OTHERS_DELAY = 5.0  # seconds from a new key to its use, at the longest; MSC4143


@dataclass(frozen=True, slots=True)
class Installed:
    """Receive with these keys too."""

    keys: tuple[MediaKey, ...]


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Receive with these no more."""

    senders: tuple[Sender, ...]


Effect: TypeAlias = Installed | Withdrawn


@dataclass(slots=True)
class _Held:
    secret: Secret
    named: str | None  # the member id that came with it
    came: float
    sent_ts: int | None  # as its sender has it
    superseded: float | None = None
    told: frozenset[Sender] = frozenset()


@dataclass(slots=True)
class Inbox:
    """The keys that others have handed us, by device and index."""

    policy: Policy
    _held: dict[Device, dict[KeyIndex, _Held]] = field(default_factory=dict)
    _here: dict[Device, float | None] = field(default_factory=dict)  # who has been in the call; since when it is not
    _around: frozenset[tuple[UserId, DeviceId]] = frozenset()  # who has a membership, whatever we think of it
    _effects: list[Effect] = field(default_factory=list)
    _members: Mapping[Device, frozenset[MemberId]] = field(default_factory=dict)  # when it was settled last
    _telling: bool = True  # likewise
    _fresh: set[Device] = field(default_factory=set)  # whose keys have come since
    _timers: dict[Device, float] = field(default_factory=dict)  # when a key of a device that is held is over

    def take(
        self, device: Device, named: str | None, keys: Iterable[IndexedKey], now: float, *, sent_ts: int | None = None
    ) -> None:
        """Keys came from a device that the envelope authenticates. `named`: the member id in them; `sent_ts`: what the
        sender's clock said."""
        held = self._held.setdefault(device, {})
        for key in keys:
            before = held.get(key.index)
            again = before is not None and before.named == named and _same(before.secret, key.secret)
            for other_index, other in held.items():
                # Messages may overtake each other, and clocks are set back: only what is older by all of them is over.
                older = sent_ts is None or other.sent_ts is None or other.sent_ts < sent_ts
                older = older and other_index not in (key.index + 1, key.index % LAST_OF_OURS + 1)
                if other.superseded is None and older:
                    other.superseded = now
            if before is not None and again:
                before.superseded = None  # It was handed over again: it is the one that counts.
                key.secret.wipe()
                continue
            if before is not None:
                self._drop(before)
            held[key.index] = _Held(key.secret, named, now, sent_ts)
        while len(held) > KEYS_OF_ONE:
            self._drop(held.pop(min(held, key=lambda index: held[index].came)))
        self._fresh.add(device)
        self._set_timer(device)
        self._bound()

    def settle(
        self,
        now: float,
        members: Mapping[Device, frozenset[MemberId]],
        around: Collection[tuple[UserId, DeviceId]] = (),
        *,
        telling: bool = True,
    ) -> list[Effect]:
        """What is to be told. `members`: the devices that are in the call and that we trust, with their member ids;
        `around`: users and devices of all memberships. Where nothing is to be told yet (`telling`), keys wait."""
        self._around = frozenset(around)
        if (members, telling) != (self._members, self._telling):
            self._members, self._telling = members, telling
            self._here = dict.fromkeys(members) | {
                device: now if since is None else since
                for device, since in self._here.items()
                if device not in members and device in self._held
            }
            affected = list(self._held)
        else:
            affected = [*self._fresh, *(device for device, timer in self._timers.items() if timer <= now)]
        self._fresh.clear()
        for device in affected:
            self._settle_one(device, now)
        effects, self._effects = self._effects, []
        return effects

    def standing(self) -> list[Effect]:
        """What brings who was told nothing so far to where things are."""
        keys = [
            _key(sender, one.secret) for held in self._held.values() for one in held.values() for sender in one.told
        ]
        return [Installed(tuple(keys))] if keys else []

    def lacks(self, device: Device, ids: Collection[MemberId]) -> bool:
        """Whether there is no key that we receive any of these participations of a device with."""
        held = self._held.get(device, {}).values()
        return not any(sender.member_id in ids for one in held for sender in one.told)

    def holds(self, device: Device, ids: Collection[MemberId]) -> bool:
        """Whether a device has handed us a key for one of these participations, whether or not it counts at this
        moment. One that names none is for all of them."""
        named = {one.named for one in self._held.get(device, {}).values()}
        return None in named or any(one in named for one in ids)

    def stop(self) -> list[Effect]:
        """Forget every key: we are in the call no more."""
        for held in self._held.values():
            for one in held.values():
                self._drop(one)
        self._held.clear()
        self._timers.clear()
        self._fresh.clear()
        effects, self._effects = self._effects, []
        return effects

    def next_timer(self) -> float | None:
        """When `settle` has something to do although nothing came; monotonic seconds."""
        return min(self._timers.values(), default=None)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _settle_one(self, device: Device, now: float) -> None:
        held, ids = self._held.get(device, {}), self._members.get(device, frozenset())
        for index, one in list(held.items()):
            over = one.superseded is not None and one.superseded + self._grace <= now
            lost = not ids and self._kept_until(device, one) <= now
            senders = frozenset() if over or not self._telling else _senders(device, index, one, ids)
            self._tell(one, senders)
            if over or lost:
                self._drop(held.pop(index))
        if not held:
            self._held.pop(device, None)
            if device not in self._members:
                self._here.pop(device, None)
        self._set_timer(device)

    def _set_timer(self, device: Device) -> None:
        held = self._held.get(device, {}).values()
        times = [one.superseded + self._grace for one in held if one.superseded is not None]
        if self._here.get(device, 0.0) is not None:
            times += [self._kept_until(device, one) for one in held]
        self._timers.pop(device, None)
        if times:
            self._timers[device] = min(times)

    @property
    def _grace(self) -> float:
        """How long an old key is still of use: its sender goes on with it for its delay, and frames are under way."""
        return OTHERS_DELAY + self.policy.old_media_key_seconds

    def _kept_until(self, device: Device, one: _Held) -> float:
        """A stranger's key is kept for a short time; that of somebody who was here for longer: a membership that was
        erased, or ended by a homeserver that thought its device dead, comes back, and the key does not."""
        since = self._here.get(device)
        return one.came + self.policy.keys_waiting_seconds if since is None else since + AWAY_SECONDS

    def _tell(self, one: _Held, senders: frozenset[Sender]) -> None:
        if gone := one.told - senders:
            self._effects.append(Withdrawn(tuple(sorted(gone, key=_order))))
        if new := senders - one.told:
            self._effects.append(Installed(tuple(_key(sender, one.secret) for sender in sorted(new, key=_order))))
        one.told = senders

    def _drop(self, one: _Held) -> None:
        self._tell(one, frozenset())
        one.secret.wipe()

    def _bound(self) -> None:
        """Of devices that are not in the call, only so many: whoever can write to us could fill our memory."""
        if len(self._held) <= self.policy.keys_waiting:
            return
        waiting = [device for device in self._held if device not in self._here and device[:2] not in self._around]
        # Of whoever has the most of them first, so that nobody alone pushes out the others.
        by_user = Counter(user for user, _, _ in waiting)
        waiting.sort(key=lambda device: max(one.came for one in self._held[device].values()))
        for _ in range(len(waiting) - self.policy.keys_waiting):
            most = max(by_user.values())
            device = next(one for one in waiting if by_user[one[0]] == most)
            waiting.remove(device)
            by_user[device[0]] -= 1
            for one in self._held.pop(device).values():
                self._drop(one)
            self._set_timer(device)


def _senders(device: Device, index: KeyIndex, one: _Held, ids: frozenset[MemberId]) -> frozenset[Sender]:
    named = ids if one.named is None else ids & {MemberId(one.named)}
    return frozenset(Sender(member, device[0], device[1], None, index) for member in named)


def _same(one: Secret, other: Secret) -> bool:
    return compare_digest(one.expose(), other.expose())


def _key(sender: Sender, secret: Secret) -> MediaKey:
    return MediaKey(sender.member_id, sender.user_id, sender.device_id, sender.leaf, sender.index, secret)


def _order(sender: Sender) -> tuple[str, int]:
    return sender.member_id, sender.index
