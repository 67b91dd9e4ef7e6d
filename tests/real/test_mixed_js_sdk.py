"""Calls of both kinds on a real Synapse: two devices with MLS, and matrix-js-sdk, which has none."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import pytest
from js_sdk import JsSdk, Membership
from js_sdk import calling as calling_js
from sharing import Ring

from mlsrtc import (
    MLS,
    CallMember,
    KeyMissing,
    KeyRefused,
    KeyUndelivered,
    Mixed,
    Muted,
    NotAddable,
    Notice,
    Policy,
    Trust,
)
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.identifiers import KeyIndex
from mlsrtc.media.keys import hashed_livekit_identity, livekit_identity
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire.membership import MembershipFormat

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

PATIENCE = 30.0  # seconds
LOOK = 0.02
THROTTLE = 2.0  # seconds; of both kinds, since what is asked of a joiner can be asked only after it
POLICY = Policy(mixed=True, trust=Trust.ANY_DEVICE, join_throttle=THROTTLE)  # the peers have no cross-signing
TROUBLE = KeyMissing, KeyRefused, KeyUndelivered, Muted, NotAddable
Device = tuple[str, str]


@dataclass(eq=False)
class Member:
    """One of us. `had`: every key that it was ever told."""

    call: Call
    ring: Ring
    had: set[bytes] = field(default_factory=set)
    told: list[Notice] = field(default_factory=list)

    def tell(self, notice: Notice) -> None:
        self.told.append(notice)
        self.ring.tell(notice)
        self.had.update(key for keys in self.ring.keys.values() for key in keys.values())

    @property
    def mixed(self) -> list[list[Device]]:
        """For whom it has told that the call is mixed, oldest first."""
        return [list(notice.devices) for notice in self.told if isinstance(notice, Mixed)]

    @property
    def device(self) -> Device:
        return self.ring.own

    @property
    def begun(self) -> list[bytes]:
        """Every key that it has sent under, oldest first."""
        return self.ring.begun

    def sends(self) -> tuple[int, bytes] | None:
        """What it sends under: index and key."""
        return None if self.ring.sending is None else (self.ring.sending, self.ring.sent_under())

    def holds(self, device: Device, index: int) -> set[bytes]:
        """The keys by which it opens what a device sends at this index."""
        rings = (keys for place, keys in self.ring.keys.items() if place[:2] == device)
        return {keys[KeyIndex(index)] for keys in rings if index in keys}


@dataclass(eq=False)
class Peer:
    """matrix-js-sdk, asked the same."""

    sdk: JsSdk

    @property
    def device(self) -> Device:
        return self.sdk.account.user_id, self.sdk.account.device_id

    @property
    def had(self) -> set[bytes]:
        """Also what came and was not used."""
        came = {base64.b64decode(received.content["keys"]["key"]) for received in self.sdk.received}
        return came | {key.key for key in self.sdk.told}

    @property
    def begun(self) -> list[bytes]:
        return [key.key for key in self.sdk.told if (key.user_id, key.device_id) == self.device]

    def sends(self) -> tuple[int, bytes] | None:
        newest = self.sdk.newest(self.sdk)
        return None if newest is None else (newest.index, newest.key)

    def holds(self, device: Device, index: int) -> set[bytes]:
        told = [key.key for key in self.sdk.told if (key.user_id, key.device_id, key.index) == (*device, index)]
        return set(told[-1:])


One = Member | Peer


@asynccontextmanager
async def calling(room_id: str, device: TestDevice, *, sticky: bool) -> AsyncIterator[Member]:
    """A device with MLS in the call of the room."""
    async with NioTransport(device.client) as transport:
        call = transport.call(
            room_id,
            encryption=MLS,
            policy=POLICY,
            membership=MembershipFormat.STICKY if sticky else MembershipFormat.STATE,
        )
        member = Member(call, Ring(own=(call.session.user_id, call.session.device_id)))
        call.attach(member)
        async with call:
            yield member


def opens(one: One, other: One) -> bool:
    """Whether one holds what the other sends under, where that one says it is."""
    sent = other.sends()
    return sent is not None and sent[1] in one.holds(other.device, sent[0])


def agreed(*here: One) -> bool:
    """Whether everybody opens everybody, and ours know who of them is of which kind."""
    return all(opens(one, other) for one in here for other in here if one is not other) and all(
        knows(one, here) for one in here if isinstance(one, Member)
    )


def knows(member: Member, here: Sequence[One]) -> bool:
    """Whether a member shows exactly these, and has told exactly those without MLS."""
    guests = sorted(one.device for one in here if isinstance(one, Peer))

    def facts(shown: CallMember) -> tuple[str, str, bool, bool]:
        return shown.user_id, shown.device_id, shown.mls, shown.keyed

    expected = sorted((*one.device, isinstance(one, Member), True) for one in here)
    return sorted(map(facts, member.call.members.values())) == expected and member.mixed[-1:] == [guests]


async def until(seen: Callable[[], object], why: Callable[[], object] = str) -> float:
    """Waits until something is seen; after how many seconds."""
    began = time.monotonic()
    while not seen():
        assert time.monotonic() < began + PATIENCE, f"waited {PATIENCE:g} s in vain; {why()}"
        await asyncio.sleep(LOOK)
    return round(time.monotonic() - began, 2)


async def all_agree(*here: One) -> float:
    """Waits until `agreed`; after how many seconds."""

    def wanting() -> object:
        deaf = [(one.device, other.device) for one in here for other in here if one is not other]
        deaf = [pair for pair in deaf if not opens(*(who for name in pair for who in here if who.device == name))]
        shown = [(one.device, one.mixed, one.call.members) for one in here if isinstance(one, Member)]
        return {"do not open": deaf, "show": shown}

    return await until(lambda: agreed(*here), wanting)


@dataclass(frozen=True)
class LockedOut:
    """Somebody has left. `stay`: who had begun how many keys when nobody sent under one that the leaver has; `ours` and
    `theirs`: the seconds until none of ours did, and none of the others."""

    stay: Mapping[One, int]
    ours: float
    theirs: float

    def meanwhile(self) -> set[bytes]:
        """What was sent under from then on."""
        return {key for one, count in self.stay.items() for key in one.begun[count - 1 :]}


async def locked_out(leaver: One, *stay: One) -> LockedOut:
    """Waits until nobody sends under a key that the leaver has."""

    def open_to_it(kind: type[One]) -> list[Device]:
        sent = [(one.device, one.sends()) for one in stay if isinstance(one, kind)]
        return [device for device, key in sent if key is None or key[1] in leaver.had]

    async def none(kind: type[One]) -> float:
        return await until(lambda: not open_to_it(kind), partial(open_to_it, kind))

    ours, theirs = await asyncio.gather(none(Member), none(Peer))
    return LockedOut({one: len(one.begun) for one in stay}, ours, theirs)


@pytest.mark.parametrize("membership", ["state", "sticky"])
async def test_matrix_js_sdk_is_handed_our_keys_and_hands_us_its_own_through_all_that_happens(
    synapse: Synapse, three: list[TestDevice], membership: Membership, record_property: Callable[[str, object], None]
) -> None:
    sticky = membership == "sticky"

    async def settle(*here: One) -> float:
        seconds = await all_agree(*here)
        await asyncio.sleep(THROTTLE)
        assert agreed(*here), "for good"
        return seconds

    async def agree(what: str, *here: One) -> None:
        record_property(f"seconds from {what} to all keys", await settle(*here))

    async def lock_out(what: str, leaver: One, *stay: One) -> LockedOut:
        done = await locked_out(leaver, *stay)
        record_property(f"seconds from {what} to keys that it lacks, ours and theirs", (done.ours, done.theirs))
        await settle(*stay)
        return done

    async with calling_js(synapse, three[0], "ada", "ben", others=[three[1]]) as (room_id, sdks):
        ada, ben = map(Peer, sdks)

        async def join(peer: Peer) -> None:
            await peer.sdk.join(membership, keyRotationGracePeriodMs=round(THROTTLE * 1000))

        await join(ada)
        async with calling(room_id, three[0], sticky=sticky) as cem:
            await agree("the first join with MLS", cem, ada)
            async with calling(room_id, three[1], sticky=sticky) as dan:
                await agree("another join with MLS", cem, dan, ada)
                _check_places(cem, ada, sticky)
                before = {one.begun[-1] for one in (cem, dan, ada)}

                await join(ben)
                await agree("a guest's join", cem, dan, ada, ben)
                assert not before & ben.had
                assert not before & {one.begun[-1] for one in (cem, dan, ada)}, "theirs was rotated, ours is an epoch"

                await ben.sdk.leave()
                left = await lock_out("a guest's leave", ben, cem, dan, ada)
                meanwhile = left.meanwhile()
                await join(ben)
                await agree("a guest's rejoin", cem, dan, ada, ben)
                assert not meanwhile & ben.had

                await dan.call.leave()
                left = await lock_out("a member's leave", dan, cem, ada, ben)
                assert dan.sends() is None
                assert not any(dan.ring.keys.values())
            meanwhile = left.meanwhile()
            async with calling(room_id, three[1], sticky=sticky) as dan:
                await agree("a member's rejoin", cem, dan, ada, ben)
                assert not meanwhile & dan.had

                await ada.sdk.leave()
                left = await lock_out("another guest's leave", ada, cem, dan, ben)
                await ben.sdk.leave()
                await lock_out("the last guest's leave", ben, cem, dan)
                assert not left.meanwhile() & ada.had

                both = sorted([ada.device, ben.device])
                assert cem.mixed == [[ada.device], both, [ada.device], both, [ben.device], []]
                assert dan.mixed == [both, [ben.device], []]
                assert not [notice for notice in (*cem.told, *dan.told) if isinstance(notice, TROUBLE)]


def _check_places(us: Member, peer: Peer, sticky: bool) -> None:
    """The SDK tells its media our key under the name that the SFU calls us by."""
    user_id, device_id, member_id = us.call.session.user_id, us.call.session.device_id, us.call.session.member_id
    assert member_id is not None
    name = hashed_livekit_identity(user_id, device_id, member_id) if sticky else livekit_identity(user_id, device_id)
    assert {key.identity for key in peer.sdk.told if key.user_id == user_id} == {name}
