"""Whose joins are looked at: the newest of each device, and these of the newest devices of each user.

Whoever is in the room can sign any number of joins, and every one that is looked at costs every member work at every
step. What has a seat is a function of the set of joins: the same in any order, with any repetition. Neither the head
rule nor the set that it reads knows of it. Pure and immutable.
"""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeVar

from mlsrtc.evidence import DeviceIdentity, Joined
from mlsrtc.identifiers import DeviceId, MemberId, UserId
from mlsrtc.policy import Policy

Age = tuple[int, MemberId, DeviceIdentity]
"""`from`, and the member_id, which decides between equals: the greater is the newer. And whose it is."""

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class Seats:
    """Who has a seat. Holds all joins that it was told of, sorted as they come, so that asking costs little."""

    policy: Policy
    _joins: Mapping[DeviceIdentity, tuple[Age, ...]] = field(default_factory=dict)  # ascending
    _devices: Mapping[UserId, tuple[Age, ...]] = field(default_factory=dict)  # the newest of each device, ascending

    def with_join(self, joined: Joined, before: Joined | None = None) -> "Seats":
        """A join came, or a refresh: in place of `before`, a join of the same member_id."""
        device = joined.leaf.device_identity
        ages = self._joins.get(device, ())
        if before is not None:
            ages = _taken_out(ages, _age(before))
        return self._with_device(device, _put_in(ages, _age(joined)))

    def without(self, joined: Joined) -> "Seats":
        """Somebody has left for good."""
        device = joined.leaf.device_identity
        return self._with_device(device, _taken_out(self._joins.get(device, ()), _age(joined)))

    def of(self, user: UserId) -> frozenset[MemberId]:
        """Those participations of a user that have a seat."""
        return frozenset(
            member
            for _, _, device in self._devices.get(user, ())[-self.policy.devices_per_user :]
            for _, member, _ in self._joins[device][-self.policy.joins_per_device :]
        )

    def crowded(self, user: UserId) -> frozenset[tuple[UserId, DeviceId | None]]:
        """Devices of a user that have more joins than seats; without device_id if the user has too many devices."""
        devices = self._devices.get(user, ())
        seated = [device for _, _, device in devices[-self.policy.devices_per_user :]]
        found = {(user, device[1]) for device in seated if len(self._joins[device]) > self.policy.joins_per_device}
        return frozenset(found | ({(user, None)} if len(devices) > len(seated) else set()))

    def _with_device(self, device: DeviceIdentity, ages: tuple[Age, ...]) -> "Seats":
        user, before = device[0], self._joins.get(device, ())
        devices = self._devices.get(user, ())
        if before:
            devices = _taken_out(devices, before[-1])
        if ages:
            devices = _put_in(devices, ages[-1])
        return replace(self, _joins=_with(self._joins, device, ages), _devices=_with(self._devices, user, devices))


def _age(joined: Joined) -> Age:
    return joined.from_ts, joined.leaf.member_id, joined.leaf.device_identity


def _with(mapping: Mapping[K, tuple[Age, ...]], key: K, value: tuple[Age, ...]) -> Mapping[K, tuple[Age, ...]]:
    """The mapping with another value; none at all if that is empty."""
    return {**mapping, key: value} if value else {other: kept for other, kept in mapping.items() if other != key}


def _put_in(ordered: tuple[Age, ...], item: Age) -> tuple[Age, ...]:
    place = bisect_left(ordered, item)
    return (*ordered[:place], item, *ordered[place:])


def _taken_out(ordered: tuple[Age, ...], item: Age) -> tuple[Age, ...]:
    place = bisect_left(ordered, item)
    return ordered[:place] + ordered[place + 1 :]
