"""LiveKit's key ring in a call that hands its keys out: an index belongs to its sender alone, and 0 is one of them."""

from dataclasses import dataclass, field

import pytest

from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey
from mlsrtc.mls import Secret, random_bytes
from mlsrtc.notices import MediaKeysChanged, Muted, Notice, SendKeySwitched

keyring = pytest.importorskip("mlsrtc.adapters.livekit.keyring", reason="the extra `test` installs LiveKit")

OURS, BENS, CEMS = "@ada:one.test:A", "@ben:one.test:B", "@cem:one.test:C"


@dataclass
class Track:
    """One of ours: what it is encrypted under."""

    participant_identity: str = OURS
    index: int = 0

    def set_key_index(self, key_index: int) -> None:
        self.index = key_index


@dataclass
class Room:
    """What the SDK holds, and a track of ours."""

    keys: dict[tuple[str, int], bytes] = field(default_factory=dict)
    last: tuple[str, int] = ("", -1)
    track: Track = field(default_factory=Track)

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        self.last = participant_identity, key_index
        self.keys[self.last] = key

    def holds(self, key: MediaKey) -> bool:
        return self.keys.get((key.livekit_identity, key.index)) == key.secret.expose()


def _ring(room: Room) -> "keyring.KeyRing":
    return keyring.KeyRing(OURS, (UserId("@ada:one.test"), DeviceId("A")), room, lambda: [room.track], tuple)


def _key(identity: str, index: int, size: int = 16) -> MediaKey:
    user, _, device = identity.rpartition(":")
    return MediaKey(MemberId(identity), UserId(user), DeviceId(device), None, KeyIndex(index), random_bytes(size))


def _told(*keys: MediaKey, over: tuple[MediaKey, ...] = ()) -> Notice:
    return MediaKeysChanged(None, None, keys, tuple(key.sender for key in over))


def _switched(key: MediaKey) -> Notice:
    return SendKeySwitched(None, None, key.index)


def test_another_s_key_at_index_0_is_its_own_and_ours_there_stays_nobodys() -> None:
    room, ours, theirs = Room(), _key(OURS, 1, 32), _key(BENS, 0)
    ring = _ring(room)
    nobodys = room.keys[OURS, 0]
    ring.tell(_told(theirs))
    assert room.holds(theirs)
    assert (room.last, room.keys[OURS, 0], ring.sends) == ((OURS, 0), nobodys, False)
    ring.tell(_told(over=(theirs,)))
    assert not room.holds(theirs)
    assert (room.last, room.keys[OURS, 0], ring.sends) == ((OURS, 0), nobodys, False)
    ring.tell(_told(theirs))
    for notice in (_told(ours), _switched(ours)):
        ring.tell(notice)
    assert (room.last, room.track.index) == ((OURS, 1), 1)
    ring.tell(_told(over=(theirs,)))
    assert not room.holds(theirs)
    assert (room.last, room.track.index, room.holds(ours)) == ((OURS, 1), 1, True)
    ring.tell(Muted("left"))
    assert (room.last, room.track.index, ring.sends) == ((OURS, 0), 0, False)


def test_three_at_one_index_have_a_key_each_and_one_that_is_withdrawn_takes_no_other_with_it() -> None:
    room = Room()
    ring = _ring(room)
    ours, bens, cems = (_key(identity, 7) for identity in (OURS, BENS, CEMS))
    for notice in (_told(ours), _switched(ours), _told(bens), _told(cems)):
        ring.tell(notice)
    assert [room.holds(key) for key in (ours, bens, cems)] == [True, True, True]
    ring.tell(_told(over=(bens,)))
    assert [room.holds(key) for key in (ours, bens, cems)] == [True, False, True]
    assert len(room.keys[BENS, 7]) == 32, "LiveKit has no delete: what lies there is nobody's"
    assert (room.last, room.track.index) == ((OURS, 7), 7)


def test_a_new_key_at_the_index_of_the_one_before_is_in_its_place() -> None:
    room = Room()
    ring = _ring(room)
    before, after = _key(BENS, 3), _key(BENS, 3)
    ring.tell(_told(before))
    ring.tell(_told(after, over=(before,)))
    assert room.holds(after)


def test_ours_is_withdrawn_after_the_switch_and_what_others_have_at_its_index_stays() -> None:
    room = Room()
    ring = _ring(room)
    first, second, bens = _key(OURS, 1, 32), _key(OURS, 2, 32), _key(BENS, 1)
    for notice in (_told(first), _switched(first), _told(bens), _told(second), _switched(second)):
        ring.tell(notice)
    ring.tell(_told(over=(first,)))
    assert not room.holds(first)
    assert (room.holds(bens), room.holds(second)) == (True, True)
    assert (room.last, room.track.index) == ((OURS, 2), 2)


def test_the_keys_of_one_participant_are_set_anew_and_ours_after_them() -> None:
    room = Room()
    ring = _ring(room)
    ours, bens, newer, cems = _key(OURS, 1, 32), _key(BENS, 3), _key(BENS, 4), _key(CEMS, 3)
    for notice in (_told(ours, bens, newer, cems), _switched(ours)):
        ring.tell(notice)
    expected = dict(room.keys)
    expected[OURS, 1] = ours.secret.expose()
    room.keys.clear()
    ring.set_anew(BENS)
    assert room.keys == {slot: expected[slot] for slot in [(BENS, 3), (BENS, 4), (OURS, 1)]}
    assert room.last == (OURS, 1)
    room.keys.clear()
    for identity in (OURS, "@dan:one.test:D"):
        ring.set_anew(identity)
    assert not room.keys


def test_after_the_end_of_a_call_nothing_of_it_is_left() -> None:
    room = Room()
    ring = _ring(room)
    keys = (_key(OURS, 1, 32), _key(BENS, 0), _key(CEMS, 1))
    for notice in (_told(*keys), _switched(keys[0]), Muted("left"), _told(over=keys)):
        ring.tell(notice)
    assert [room.holds(key) for key in keys] == [False, False, False]
    assert (room.last, room.track.index, ring.sends) == ((OURS, 0), 0, False)


def _of(member: str, secret: Secret) -> MediaKey:
    """The key of one of Ben's participations: his device has one name in LiveKit for all of them."""
    user, device = UserId("@ben:one.test"), DeviceId("B")
    return MediaKey(MemberId(member), user, device, None, KeyIndex(4), secret)


@pytest.mark.parametrize("same", [True, False], ids=["one key for both", "a key for each"])
def test_a_participation_that_ends_leaves_the_key_of_the_next_one_of_the_same_device(same: bool) -> None:
    room = Room()
    ring = _ring(room)
    secret = random_bytes(32)
    before, after = _of("before", secret), _of("after", secret if same else random_bytes(32))
    ring.tell(_told(before))
    ring.tell(_told(after))
    ring.tell(_told(over=(before,)))
    assert room.holds(after)
    assert room.keys[after.hashed_livekit_identity, 4] == after.secret.expose()
    if not same:
        assert room.keys[before.hashed_livekit_identity, 4] != before.secret.expose()
    ring.tell(_told(over=(after,)))
    assert not room.holds(after)


def test_where_the_later_of_two_participations_ends_the_key_of_the_earlier_one_is_back() -> None:
    room = Room()
    ring = _ring(room)
    before, after = _of("before", random_bytes(32)), _of("after", random_bytes(32))
    for notice in (_told(before, after), _told(over=(after,))):
        ring.tell(notice)
    assert room.holds(before)
