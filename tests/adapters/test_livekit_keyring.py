"""LiveKit's rules for key rings, kept whatever a call tells: our own key last, nothing under an index that is over."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.identifiers import DeviceId, EpochId, KeyIndex, LeafIndex, MemberId, UserId
from mlsrtc.media.keys import MediaKey, hashed_livekit_identity
from mlsrtc.mls import Secret
from mlsrtc.notices import MediaKeysChanged, MediaKeysRetired, Muted, Notice, SendKeySwitched

keyring = pytest.importorskip("mlsrtc.adapters.livekit.keyring", reason="the extra `test` installs LiveKit")

NAMES = "abc"
OURS = "@a:one.test:A"


@dataclass
class Cryptor:
    """One track: what it encrypts or decrypts under."""

    participant_identity: str
    index: int = 0

    def set_key_index(self, key_index: int) -> None:
        self.index = key_index


@dataclass
class Room:
    """What the SDK holds: keys by identity and index, the slot that was set last, and the tracks."""

    slots: dict[tuple[str, int], bytes] = field(default_factory=dict)
    last: tuple[str, int] = ("", -1)
    tracks: list[Cryptor] = field(default_factory=list)

    def set_key(self, participant_identity: str, key: bytes, key_index: int) -> None:
        self.last = participant_identity, key_index
        self.slots[self.last] = key


def key(name: str, epoch: int, member: str = "") -> MediaKey:
    member_id = MemberId(member or name * 43)
    secret = Secret(f"{member_id[:1]}{epoch}".encode().ljust(32, b"."))
    user, device = UserId(f"@{name}:one.test"), DeviceId(name.upper())
    return MediaKey(member_id, user, device, LeafIndex(0), KeyIndex(epoch), secret)


def epoch_id(number: int) -> EpochId:
    return EpochId(bytes([number]) * 32)


def installed(number: int, names: str = NAMES) -> MediaKeysChanged:
    return MediaKeysChanged(epoch_id(number), number, tuple(key(name, number) for name in names))


def ring(room: Room, standing: frozenset[MemberId] = frozenset()) -> "keyring.KeyRing":
    us = UserId("@a:one.test"), DeviceId("A")
    return keyring.KeyRing(OURS, us, room, lambda: room.tracks, lambda: standing)


def test_before_the_first_switch_we_send_under_a_key_that_nobody_has() -> None:
    room = Room(tracks=[Cryptor(OURS), Cryptor("@b:one.test:B")])
    kept = ring(room)
    kept.tell(installed(7))
    assert not kept.sends
    assert room.last == (OURS, 0)
    assert room.tracks[0].index == 0
    assert len(room.slots[OURS, 0]) == 32
    assert room.slots[OURS, 0] not in {room.slots[place] for place in room.slots if place != (OURS, 0)}


def test_a_switch_moves_our_tracks_and_no_others() -> None:
    room = Room(tracks=[Cryptor(OURS), Cryptor(OURS), Cryptor("@b:one.test:B")])
    kept = ring(room)
    kept.tell(installed(7))
    kept.tell(SendKeySwitched(epoch_id(7), 7, KeyIndex(7)))
    assert [track.index for track in room.tracks] == [7, 7, 0]
    assert room.last == (OURS, 7)
    room.tracks.append(Cryptor(OURS))
    kept.published()
    assert room.tracks[-1].index == 7, "a track begins at index 0"


def test_both_identities_of_a_member_have_its_key() -> None:
    room = Room()
    ring(room).tell(installed(7))
    other = key("b", 7)
    hashed = hashed_livekit_identity(other.user_id, other.device_id, other.member_id)
    assert room.slots["@b:one.test:B", 7] == room.slots[hashed, 7] == other.secret.expose()


def test_of_two_leaves_of_a_device_the_one_that_is_here_counts() -> None:
    room = Room()
    gone, here = key("b", 7, "x" * 43), key("b", 7, "y" * 43)
    for order in ((gone, here), (here, gone)):
        ring(room, frozenset({here.member_id})).tell(MediaKeysChanged(epoch_id(7), 7, order))
        assert room.slots["@b:one.test:B", 7] == here.secret.expose()


def test_a_muted_sender_goes_where_nobody_has_the_key_and_to_another_one_each_time() -> None:
    room = Room(tracks=[Cryptor(OURS)])
    kept = ring(room)
    kept.tell(installed(7))
    before = room.slots[OURS, 0]
    kept.tell(SendKeySwitched(epoch_id(7), 7, KeyIndex(7)))
    kept.tell(Muted("gone"))
    assert (room.tracks[0].index, room.last, kept.sends) == (0, (OURS, 0), False)
    assert room.slots[OURS, 0] != before


def test_who_is_withdrawn_is_overwritten_and_the_others_are_not() -> None:
    room = Room()
    kept = ring(room)
    kept.tell(installed(7))
    kept.tell(MediaKeysChanged(epoch_id(7), 7, (key("a", 7), key("b", 7)), withdrawn=(key("c", 7).sender,)))
    assert room.slots["@c:one.test:C", 7] != key("c", 7).secret.expose()
    assert room.slots["@b:one.test:B", 7] == key("b", 7).secret.expose()


def test_a_key_that_was_handed_to_us_stays_when_an_epoch_of_its_index_retires() -> None:
    room = Room()
    kept = ring(room)
    kept.tell(installed(7))
    guest = key("g", 7)
    kept.tell(MediaKeysChanged(None, None, (guest,)))
    kept.tell(MediaKeysRetired(epoch_id(7), KeyIndex(7)))
    assert room.slots["@g:one.test:G", 7] == guest.secret.expose()
    assert room.slots["@b:one.test:B", 7] != key("b", 7).secret.expose()
    kept.tell(MediaKeysChanged(None, None, (), (guest.sender,)))
    assert room.slots["@g:one.test:G", 7] != guest.secret.expose()


def test_a_device_that_comes_back_with_mls_keeps_the_key_that_it_sends_under() -> None:
    room = Room()
    kept = ring(room)
    before = key("b", 7, "its earlier membership")
    kept.tell(MediaKeysChanged(None, None, (before,)))
    kept.tell(installed(7))
    kept.tell(MediaKeysChanged(None, None, (), (before.sender,)))
    assert room.slots["@b:one.test:B", 7] == key("b", 7).secret.expose()


def test_whose_own_key_is_withdrawn_sends_where_nobody_has_the_key() -> None:
    for rest in ((), (key("b", 7),)):
        room = Room(tracks=[Cryptor(OURS)])
        kept = ring(room)
        kept.tell(installed(7))
        kept.tell(SendKeySwitched(epoch_id(7), 7, KeyIndex(7)))
        kept.tell(MediaKeysChanged(epoch_id(7), 7, rest, withdrawn=(key("a", 7).sender,)))
        assert (room.tracks[0].index, room.last, kept.sends) == (0, (OURS, 0), False)
        assert room.slots[OURS, 7] != key("a", 7).secret.expose()


def test_a_leaf_of_ours_that_is_left_over_takes_our_key_not_with_it() -> None:
    room = Room(tracks=[Cryptor(OURS)])
    left_over, ours = key("a", 7, "x" * 43), key("a", 7, "y" * 43)
    kept = ring(room, frozenset({ours.member_id}))
    kept.tell(MediaKeysChanged(epoch_id(7), 7, (ours, left_over)))
    kept.tell(SendKeySwitched(epoch_id(7), 7, KeyIndex(7)))
    kept.tell(MediaKeysChanged(epoch_id(7), 7, (), withdrawn=(left_over.sender,)))
    assert (room.tracks[0].index, room.last, kept.sends) == (7, (OURS, 7), True)
    assert room.slots[OURS, 7] == ours.secret.expose()


def test_a_switch_to_an_epoch_in_which_we_have_no_key_sends_where_nobody_has_it() -> None:
    room = Room(tracks=[Cryptor(OURS)])
    kept = ring(room)
    kept.tell(installed(7, "bc"))
    kept.tell(SendKeySwitched(epoch_id(7), 7, KeyIndex(7)))
    assert (room.tracks[0].index, room.last, kept.sends) == (0, (OURS, 0), False)


@given(st.lists(st.tuples(st.sampled_from(["install", "switch", "retire", "mute", "publish"]), st.integers(1, 5))))
def test_whatever_is_told_our_own_key_is_set_last_and_nothing_old_is_left(steps: list[tuple[str, int]]) -> None:
    """`held` is what the call has told and not retired."""
    room = Room()
    kept = ring(room)
    held: dict[int, MediaKeysChanged] = {}
    sending = 0
    for act, number in steps:
        notice: Notice | None = None
        if act == "install":
            notice = held[number] = held.get(number) or installed(number)
        elif act == "switch" and number in held:
            sending, notice = number, SendKeySwitched(epoch_id(number), number, KeyIndex(number))
        elif act == "retire" and number in held:
            over = held.pop(number)
            for one in over.keys:
                one.secret.wipe()
            sending = 0 if sending == number else sending
            notice = MediaKeysRetired(over.id, KeyIndex(number))
        elif act == "mute":
            sending, notice = 0, Muted("gone")
        elif act == "publish":
            room.tracks.append(Cryptor(OURS))
            kept.published()
        if notice is not None:
            kept.tell(notice)
        assert room.last == (OURS, sending)
        assert {track.index for track in room.tracks} <= {sending}
        known = {key(name, epoch).secret.expose(): epoch for name in NAMES for epoch in range(1, 6)}
        assert {known[slot] for slot in room.slots.values() if slot in known} == set(held)
