"""Promises 1, 4, 6, 7 and 8 (docs/design.md section 6) where keys are handed out, by all or to some, under schedules of
everything.

1. In the end everybody opens what everybody else sends. 4. No key is begun that somebody holds whom its owner has seen
leave. 6. No key is begun by two lives of a device. 7. While it may be in use, an index of a device names one key.
8. Damaged events change nothing.
"""

import copy
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from functools import partial
from random import Random
from typing import Any

import pytest
from hypothesis import given, note
from hypothesis import strategies as st
from sharing import Ring, Sharers
from test_manners import damage

from mlsrtc.base_session import BaseSession
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId
from mlsrtc.keyshare.inbox import OTHERS_DELAY
from mlsrtc.mls import Secret
from mlsrtc.notices import SendKeySwitched
from mlsrtc.policy import KeyTransport, Policy
from mlsrtc.session import Session
from mlsrtc.sharing_session import SharingSession
from mlsrtc.testing import Hostility, Limits, PartyDevice
from mlsrtc.testing.schedule import Join, Restart, Step, make_peace, play
from mlsrtc.testing.strategies import waits
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Incoming, Now, PostedKey, RoomEvent, ToDevice
from mlsrtc.wire.membership import MembershipFormat
from searching import any_schedule, searched

DEVICES, SERVERS = 5, 2
PEACE = 90.0  # virtual seconds: two delayed leaves, and a retry at its longest distance
RATCHET = Policy(ratchet_on_join=True, join_throttle=1.0)  # a short one, so that it comes to ratchets

WORLDS: dict[str, Mapping[str, Any]] = {
    "an honest world": {},
    "a hostile network": {
        "hostility": Hostility(duplicate=0.1, reorder=1.0, to_device_delay=2.0, answer_loss=0.05, failure=0.05)
    },
    "Synapse's own limits": {"limits": Limits()},
    "sticky events": {"membership": MembershipFormat.STICKY},
    "Famedly's memberships": {"membership": MembershipFormat.FAMEDLY, "devices_per_user": 2},
    "memberships of all kinds": {
        "membership": tuple(MembershipFormat),
        "devices_per_user": 2,
        "hostility": Hostility(duplicate=0.1, reorder=1.0, to_device_delay=2.0, answer_loss=0.05, failure=0.05),
    },
    "Element Call's pace": {"policy": Policy.element_call()},
    "the dart SDK's pace": {"policy": Policy.famedly()},
    "two devices to a user": {"devices_per_user": 2},
    "keys as room events": {"policy": Policy(key_transport=KeyTransport.ROOM)},
    "keys as room events, with Synapse's own limits": {
        "policy": Policy(key_transport=KeyTransport.ROOM),
        "limits": Limits(),
    },
    "a ratchet on join": {"policy": RATCHET},
    "a ratchet on join, and one-time keys missing for a while": {"policy": RATCHET, "drained": 40.0},
    "a ratchet on join in a hostile network": {
        "policy": RATCHET,
        "drained": 40.0,
        "hostility": Hostility(duplicate=0.1, reorder=1.0, to_device_delay=2.0, answer_loss=0.05, failure=0.05),
    },
}


class Watched(Ring):
    """A ring that holds what its device begins against what the others have ever been handed, and can work out."""

    def __init__(self, sharers: "Watching", index: int) -> None:
        super().__init__(ratchets=sharers.policy.ratchet_on_join)
        self.sharers = sharers
        self.index = index
        self.ever: set[bytes] = set()
        self.moments: list[tuple[int, float, int, bytes]] = []

    def tell(self, notice: Any) -> None:
        super().tell(notice)
        for key in {key for held in self.keys.values() for key in held.values()} - self.ever:
            self.ever.update(self.tried(key))
        if isinstance(notice, SendKeySwitched):
            self._check(notice.id, notice.index)

    def _check(self, epoch: EpochId | None, index: int) -> None:
        key, now = self.sent_under(), self.sharers.world.network.time
        session = self.sharers.party[self.index].session
        assert isinstance(session, BaseSession)
        here = {(member.user_id, member.device_id) for member in session.members.values()}
        if epoch is not None:
            assert isinstance(session, Session)
            known, leaves = session.known, session.known.archive.judged[epoch].committed.members
            assert not known.look(self.sharers.party[self.index].now).gone(leaves), "promise 4: a leaver has a leaf"
            # A leaf whose join is from the future by our clock is in no count, and has not left.
            here |= {self.sharers.party[other].matrix.name for other in self.sharers.mls}
        if self.sharers.policy.key_transport is not KeyTransport.TO_DEVICE:
            # What is posted is read by whoever is in the room, and so by those whose joins have not come here yet.
            here |= {device.matrix.name for device in self.sharers.party.present()}
        for other in self.sharers.watched:
            assert other is self or key not in other.ever or other.own in here, "promise 4: a leaver holds it"
        in_use = OTHERS_DELAY + self.sharers.policy.old_media_key_seconds
        mls = self.index in self.sharers.mls
        if mls:
            in_use = self.sharers.policy.old_media_key_seconds
        for life, moment, before, secret in self.moments:
            if mls and (life, secret) == (self.life, key):
                continue  # The head has come back to this epoch: its key and its counter go on.
            assert secret != key, "promise 6: a key is begun twice"
            follows = life == self.life and key in self.tried(secret)
            assert before != index or follows or now - moment > in_use, "promise 7: an index names two keys"
        self.moments.append((self.life, now, index, key))


class Watching(Sharers):
    """Sharers with `Watched` rings.

    drained: seconds within which each device has one-time keys; at first it has none.
    """

    def __init__(self, devices: int, seed: int, *, drained: float = 0.0, **settings: Any) -> None:
        super().__init__(devices, seed, **settings)
        self.watched = [Watched(self, index) for index in range(devices)]
        for device, ring in zip(self.party.devices, self.watched, strict=True):
            ring.own = device.matrix.name
            device.notices = type(device.notices)(ring)  # type: ignore[call-arg]
        self.rings = list(self.watched)
        for device in self.party.devices if drained else ():
            self._drain(device, Random(f"{seed} {device.index}").uniform(0.0, drained))

    def _drain(self, device: PartyDevice, seconds: float) -> None:
        """A device has no one-time key for so long."""
        for server in self.world.servers.values():
            server.accounts.drained.add(device.matrix.name)
            self.world.network.after(seconds, partial(server.accounts.drained.discard, device.matrix.name))

    def peace(self) -> None:
        """Ends what was unfair, lets time pass, and holds promise 1."""
        make_peace(self.party)
        self.party.run(PEACE)
        present = self.party.present()
        assert self.hear_each_other() or len(present) < 2


def from_the_start(step: Step) -> Step:
    """Nothing of the room is kept: a process that comes back is shown its state, as each channel begins with it."""
    return replace(step, resume=False) if isinstance(step, Restart) else step


@pytest.mark.parametrize("world", WORLDS)
def test_the_promises_hold_whatever_happens(world: str) -> None:
    @searched(25)
    @given(any_schedule(DEVICES, SERVERS, 20), st.integers(0, 2**32))
    def search(schedule: list[Step], seed: int) -> None:
        note(f"seed {seed}")
        watching = Watching(DEVICES, seed, servers=SERVERS, **WORLDS[world])
        play(watching.party, map(from_the_start, schedule))
        watching.peace()

    search()


@pytest.mark.parametrize("world", [world for world in WORLDS if "ratchet" in world])
def test_the_promises_hold_where_many_come_and_few_go(world: str) -> None:
    """Each leave makes a new key, which sets right whatever a ratchet did."""

    comings = st.one_of(st.builds(Join, st.integers(0, DEVICES - 1)), waits())

    @searched(100)
    @given(st.lists(comings, max_size=20), st.integers(0, 2**32))
    def search(schedule: list[Step], seed: int) -> None:
        note(f"seed {seed}")
        watching = Watching(DEVICES, seed, servers=SERVERS, **WORLDS[world])
        play(watching.party, schedule)
        watching.peace()

    search()


MIXED: dict[str, Mapping[str, Any]] = {
    "one with MLS": {"mls": {1}},
    "two with MLS": {"mls": {0, 3}},
    "all but one": {"mls": {0, 1, 3, 4}},
    "a hostile network": {**WORLDS["a hostile network"], "mls": {0, 3}},
    "sticky events": {"mls": {0, 3}, "membership": MembershipFormat.STICKY},
    "two devices to a user": {"mls": {0, 1, 2}, "devices_per_user": 2},
    "commits that take their time": {"mls": {0, 3}, "policy": Policy(mixed=True, batch_window=4.0, batch_limit=4.0)},
}


@pytest.mark.parametrize("world", MIXED)
def test_the_promises_hold_in_a_mixed_call(world: str) -> None:
    @searched(25)
    @given(any_schedule(DEVICES, SERVERS, 20), st.integers(0, 2**32))
    def search(schedule: list[Step], seed: int) -> None:
        note(f"seed {seed}")
        settings = {"policy": Policy(mixed=True), **MIXED[world]}
        watching = Watching(DEVICES, seed, servers=SERVERS, **settings)
        play(watching.party, map(from_the_start, schedule))
        watching.peace()

    search()


def damaged(incoming: Incoming, random: Random) -> Incoming | None:
    """A damaged copy. Of a membership it is a little older, since another genuine one would take its place as well."""
    match incoming:
        case ToDevice() | PostedKey():
            return replace(incoming, content=damage(incoming.content, random))
        case RoomEvent(type=kind) if kind in names.MEMBER_TYPES:
            return replace(
                incoming,
                content=damage(incoming.content, random),
                event_id=f"${random.randbytes(12).hex()}",
                origin_server_ts=incoming.origin_server_ts - 1,
                transaction_id=None,
            )
        case _:
            return None


def picture(value: Any) -> Any:
    """All that a value holds, secrets too, so that two moments can be compared."""
    match value:
        case Secret():
            return value.expose() if value else None
        case Mapping():
            return [(picture(key), picture(one)) for key, one in value.items()]
        case tuple() | list():
            return [picture(one) for one in value]
        case _ if is_dataclass(value):
            return [picture(getattr(value, one.name)) for one in fields(value)]
        case _:
            return copy.copy(value)


class Damaged(SharingSession):
    """A session to which each event comes after damaged copies of it."""

    random = Random(1)

    def receive(self, incoming: Incoming, now: Now) -> None:
        for _ in range(3):
            bad = damaged(incoming, self.random)
            if bad is None:
                break
            before = self._picture()
            try:
                super().receive(bad, now)
            except RemoteProtocolError:
                assert self._picture() == before, "promise 8: it was refused, and has changed something"
        super().receive(incoming, now)

    def _picture(self) -> Any:
        return picture((self._phase, self._room, self._entry, self._guests, self._sharing, self._own.presence))


class Bruised(Watching):
    """Sharers to whom every membership and every message with a key comes after damaged copies of it."""

    def _make(self, device: PartyDevice, saved: Any, now: Any) -> SharingSession:
        made = super()._make(device, saved, now)
        made.__class__ = Damaged
        return made


@pytest.mark.parametrize("transport", [KeyTransport.TO_DEVICE, KeyTransport.ROOM])
def test_what_is_damaged_changes_nothing_if_it_is_refused_and_what_is_genuine_still_applies(
    transport: KeyTransport,
) -> None:
    @searched(40)
    @given(any_schedule(DEVICES, SERVERS, 20), st.sampled_from(MembershipFormat), st.integers(0, 2**32))
    def search(schedule: list[Step], membership: MembershipFormat, seed: int) -> None:
        note(f"seed {seed}")
        Damaged.random = Random(seed)
        bruised = Bruised(DEVICES, seed, servers=SERVERS, policy=Policy(key_transport=transport), membership=membership)
        play(bruised.party, map(from_the_start, schedule))
        bruised.peace()

    search()
