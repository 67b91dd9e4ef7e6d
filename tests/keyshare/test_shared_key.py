"""Calls in which all send under one key that the application gives, through the session's verbs."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sharing import SLOT, Sharers, unsigned

from mlsrtc import Derivation, SharedKey, SharedKeySession
from mlsrtc.errors import CannotSend, LocalProtocolError
from mlsrtc.identifiers import KeyIndex, RoomId
from mlsrtc.notices import Left, MediaKeysChanged, MembersChanged, Muted, NotAddable, SendKeySwitched
from mlsrtc.outbox import Handed, QueryKeys
from mlsrtc.testing import CrashPoint, Hostility, PartyDevice
from mlsrtc.wire import names
from mlsrtc.wire.membership import MembershipFormat

PHRASE = "correct horse battery staple"


class Circle(Sharers):
    """Devices that share a key; `keys` gives some of them another one."""

    def __init__(self, devices: int, *, keys: dict[int, SharedKey] | None = None, **world: Any) -> None:
        self.given = keys or {}
        super().__init__(devices, **world)

    def _make(self, device: PartyDevice, saved: Any, now: Any) -> Any:
        ring = self.rings[device.index]
        ring.keys.clear()
        ring.sending = None
        return SharedKeySession(
            device.matrix,
            RoomId(self.party.world.room_id),
            SLOT,
            key=self.given.get(device.index, SharedKey(PHRASE)),
            now=now,
            policy=self.policy,
            membership=self.memberships[device.index % len(self.memberships)],
            records=saved,
        )

    def shared(self, index: int) -> SharedKeySession:
        session = self.party[index].session
        assert isinstance(session, SharedKeySession)
        return session


def calling(devices: int, **settings: Any) -> Circle:
    """So many devices in a call."""
    circle = Circle(devices, **settings)
    for index in range(devices):
        circle.party.join(index, after=0.2 * index)
    circle.party.run_until(lambda: len(circle.party.present()) == devices and circle.hear_each_other(), timeout=30)
    return circle


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize("membership", MembershipFormat)
def test_all_have_the_key_at_index_0_and_nothing_is_sent_but_memberships(
    membership: MembershipFormat, encrypted: bool
) -> None:
    circle = calling(3, membership=membership, encrypted=encrypted)
    circle.party.run(60)
    assert set(circle.world.sent()) <= names.MEMBER_TYPES
    for ring in circle.rings:
        assert {tuple(held) for held in ring.keys.values()} == {(KeyIndex(0),)}
        assert {key for held in ring.keys.values() for key in held.values()} == {PHRASE.encode()}
        assert ring.begun == [PHRASE.encode()]


def test_the_keys_say_how_frame_keys_are_made_of_them() -> None:
    circle = calling(2)
    keys = [key for told in circle.told(0, MediaKeysChanged) for key in told.keys]
    assert {key.derivation for key in keys} == {Derivation.PBKDF2}
    random = SharedKey(bytes(range(32)))
    circle = calling(2, keys={0: random, 1: random})
    keys = [key for told in circle.told(0, MediaKeysChanged) for key in told.keys]
    assert {key.derivation for key in keys} == {Derivation.HKDF}


def test_another_passphrase_is_another_key() -> None:
    circle = Circle(2, keys={1: SharedKey("another")})
    for index in (0, 1):
        circle.party.join(index)
    circle.party.run(10)
    assert not circle.rings[0].opens(circle.rings[1])


def test_who_comes_and_goes_is_told_and_the_key_stays() -> None:
    circle = calling(3)
    circle.party.leave(2)
    circle.party.run(20)
    gone = circle.party[2].matrix
    (withdrawn,) = (told.withdrawn for told in circle.told(0, MediaKeysChanged) if told.withdrawn)
    assert [(sender.user_id, sender.device_id) for sender in withdrawn] == [gone.name]
    assert circle.told(0, MembersChanged)[-1].left
    assert len(circle.told(0, SendKeySwitched)) == 1, "a leaver keeps the key: nothing rotates"


def test_who_leaves_is_muted_and_its_keys_are_withdrawn_and_wiped() -> None:
    circle = calling(2)
    held = [key for told in circle.told(0, MediaKeysChanged) for key in told.keys]
    circle.party.leave(0)
    circle.party.run(5)
    assert circle.told(0, Muted) == [Muted("left")]
    assert {key.sender for key in held} == set(circle.told(0, MediaKeysChanged)[-1].withdrawn)
    assert not any(key.secret for key in held)
    assert circle.told(0, Left) == [Left("left")]


def test_who_enters_again_has_the_key_again() -> None:
    circle = calling(2)
    circle.party.leave(0)
    circle.party.run(5)
    circle.party.join(0)
    circle.party.run(10)
    assert circle.hear_each_other()


def test_nobodys_device_is_asked_for_and_no_trust_policy_is() -> None:
    circle = Circle(2)
    unsigned(circle.party, 1)
    for index in (0, 1):
        circle.party.join(index)
    circle.party.run(5)
    assert circle.hear_each_other()
    assert circle.told(0, NotAddable) == []
    (member,) = circle.shared(0).members.values()
    assert (member.keyed, member.flagged, member.reason) == (True, True, None)
    assert circle.told(0, MediaKeysChanged)[-1].flagged == frozenset({member.member_id})
    for device in circle.party.devices:
        assert not any(isinstance(one, QueryKeys | Handed) for one in device.session._desk.outbox.waiting())  # type: ignore[union-attr]


@pytest.mark.parametrize("encryption", ["dev.mlsrtc.mls", "m.per_member"])
def test_a_slot_that_says_how_its_call_is_keyed_ends_it(encryption: str) -> None:
    circle = calling(2)
    content = {"status": "open", "application": {"type": "m.call"}, "encryption": {"type": encryption}}
    circle.world.moderate(names.SLOT, "m.call#ROOM", content)
    circle.party.run(5)
    assert circle.told(0, Left) == [Left("slot_encryption")]
    assert circle.rings[0].sending is None


def test_who_may_not_write_a_membership_is_told() -> None:
    circle = Circle(1)
    circle.party.start(0)
    circle.party.run(2)
    circle.world.moderate(names.POWER_LEVELS, "", {"users_default": 0, "events": {names.STATE_MEMBER: 50}})
    circle.party.run(2)
    with pytest.raises(CannotSend):
        circle.shared(0).join(circle.party[0].now)


@pytest.mark.parametrize("point", CrashPoint)
def test_wherever_it_crashes_everybody_hears_each_other_again(point: CrashPoint) -> None:
    circle = calling(3)
    circle.party.leave(2, after=0.5)
    circle.party.crash(0, point, after=0.55)
    circle.party.restart(0, after=3.0)
    circle.party.run(30)
    assert circle.hear_each_other()


def test_the_key_is_never_written_to_the_store() -> None:
    circle = calling(2, hostility=Hostility(failure=0.3))
    circle.party.run(15)
    for device in circle.party.devices:
        assert PHRASE.encode() not in b"".join(device.store.load("call").values())


def test_a_key_ring_that_begins_in_the_midst_of_the_call_is_told_where_things_are() -> None:
    circle = calling(2)
    told, switched = circle.shared(0).key_notices()
    assert isinstance(told, MediaKeysChanged)
    assert len(told.keys) == 2
    assert switched == SendKeySwitched(None, None, KeyIndex(0))
    assert Circle(1).party[0].session is None


@pytest.mark.parametrize("key", ["", "x" * 1025, "\ud800", b"", bytes(15), bytes(65)])
def test_what_is_no_key_is_refused(key: str | bytes) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        SharedKey(key)
    assert not key or str(key) not in str(caught.value)


@given(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200), st.binary(min_size=16, max_size=64)
    )
)
def test_a_key_shows_in_no_repr_and_a_text_counts_by_its_utf_8(key: str | bytes) -> None:
    shared = SharedKey(key)
    assert repr(shared) in ("SharedKey(<pbkdf2>)", "SharedKey(<hkdf>)")
    assert shared.secret.expose() == (key.encode() if isinstance(key, str) else key)
