"""Our own key over time: the three rules that never bend, and the five optimisations with what each guards against."""

from collections.abc import Iterable
from itertools import pairwise

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsrtc.identifiers import DeviceId, KeyIndex, UserId
from mlsrtc.keyshare.ratchet import FRAME_KEY_BYTES, INFO, SALT, ratcheted
from mlsrtc.keyshare.rotation import LAST_INDEX, SMALL_RING, SOMEBODY, Holder, Rotation
from mlsrtc.mls import Secret
from mlsrtc.policy import Policy


def device(number: int) -> Holder:
    return UserId(f"@user{number}:one.test"), DeviceId(f"DEVICE{number}"), bytes([number]) * 32, "once"


def devices(numbers: Iterable[int]) -> set[Holder]:
    return {device(number) for number in numbers}


class Walk:
    """A rotation through time: settled whenever somebody comes or goes, and whenever it says so itself."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.rotation = Rotation(self.policy)
        self.now = 100.0
        self.here: set[Holder] = set()
        self.made: list[tuple[float, int]] = []  # when, and which generation
        self.begun: list[tuple[float, int, KeyIndex, bytes]] = []
        self.messages = 0
        self._held: dict[int, frozenset[Holder]] = {}
        self._handed: dict[int, set[Holder]] = {}

    def to(self, here: Iterable[int], *, after: float = 0.0) -> None:
        """Time passes, and then these are here."""
        self.run(after)
        self.here = devices(here)
        self._settle()

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        while (timer := self.rotation.next_timer()) is not None and timer <= until:
            self.now = max(self.now, timer)
            self._settle()
        self.now = until

    def _settle(self) -> None:
        rotation, before = self.rotation, self.rotation.current
        secret = None if before is None else before.secret.expose()
        rotation.settle(self.now, self.here)
        current = rotation.current
        assert current is not None
        for key in rotation.keys:
            holders = rotation.holders(key)
            if key.generation not in self._held:
                self.made.append((self.now, key.generation))
                follows = before is not None and key.index == before.index and secret is not None
                if follows and key.secret.expose() == ratcheted(Secret(secret or b"")).expose():
                    self._held[key.generation] = self._held[before.generation]  # type: ignore[union-attr]
            handed = self._handed.setdefault(key.handed_as, set())
            self.messages += len(holders - handed)
            handed |= holders
            before_them = {holder[:3] for holder in self._held.get(key.generation, frozenset())} | {SOMEBODY[:3]}
            for joiner in (holder for holder in holders if holder[:3] not in before_them):
                assert self.now < key.made_at + self.policy.join_throttle, "a joiner is handed a key that is too old"
                assert joiner in self.here
            self._held[key.generation] = holders
        if before is None or before.generation != current.generation:
            assert rotation.holders(current) <= self.here, "a key is begun that somebody holds who has left"
            self.begun.append((self.now, current.generation, current.index, current.secret.expose()))

    def sent_under(self) -> int:
        assert self.rotation.current is not None
        return self.rotation.current.generation

    def reads(self, number: int) -> bool:
        """Whether a device holds the key that is sent under."""
        assert self.rotation.current is not None
        return device(number) in self.rotation.holders(self.rotation.current)


def test_who_joins_while_the_key_is_young_is_handed_that_key_and_nothing_is_rotated() -> None:
    walk = Walk()
    walk.to([1])
    walk.to([1, 2], after=5)
    assert walk.sent_under() == 1
    assert walk.messages == 2


def test_who_joins_later_can_open_nothing_that_was_sent_before() -> None:
    walk = Walk()
    walk.to([1])
    walk.to([1, 2], after=walk.policy.join_throttle)
    assert not walk.reads(2)
    walk.run(walk.policy.key_use_delay)
    assert walk.sent_under() == 2
    assert walk.reads(2)


def test_how_far_back_a_joiner_hears_is_the_age_of_the_key_and_less_than_the_throttle() -> None:
    walk = Walk()
    walk.to([1])
    begun = walk.begun[-1][0]
    walk.to([1, 2], after=9.9)
    assert walk.reads(2)
    assert walk.now - begun == pytest.approx(9.9)


@pytest.mark.parametrize(("window", "rotations"), [(10.0, 3), (60.0, 1)])
def test_a_lecture_makes_one_rotation_in_each_window_of_the_throttle(window: float, rotations: int) -> None:
    walk = Walk(Policy(join_throttle=window))
    walk.to([1])
    walk.run(100)
    before = len(walk.made)
    for number in range(2, 31):
        walk.to(range(1, number + 1), after=1.0)
    assert len(walk.made) - before == rotations


def test_a_burst_of_leaves_makes_one_rotation() -> None:
    walk = Walk()
    walk.to(range(20))
    walk.run(20)
    before = len(walk.made)
    for left in range(1, 6):
        walk.to(range(20 - left), after=0.05)
    walk.run(5)
    assert len(walk.made) - before == 1
    assert walk.messages == 20 + 15


def test_leaves_without_end_do_not_keep_the_first_leaver_listening() -> None:
    """The foot-gun of a debounce that only trails, as the known implementation's: each leave puts it off again."""
    walk = Walk()
    walk.to(range(60))
    walk.run(20)
    start = walk.now
    for left in range(1, 50):
        walk.to(range(60 - left), after=0.3)
    assert not walk.reads(59)
    rotated = next(moment for moment, generation in walk.made if generation > 1)
    assert rotated - start <= 0.3 + walk.policy.leave_debounce_limit
    stopped = next(moment for moment, generation, *_ in walk.begun if generation > 1)
    assert stopped - start <= walk.policy.leave_use_limit + walk.policy.leave_debounce_limit + 0.3


def test_who_leaves_and_comes_back_costs_one_rotation_and_not_two() -> None:
    walk = Walk()
    walk.to([1, 2])
    walk.run(20)
    walk.to([1], after=0.1)
    walk.to([1, 3], after=0.1)  # another participation
    walk.run(5)
    assert [generation for _, generation in walk.made] == [1, 2]
    assert walk.reads(3)


def test_a_key_that_a_leaver_holds_is_never_begun() -> None:
    walk = Walk(Policy(key_use_delay=5.0))
    walk.to([1, 2, 3])
    walk.run(20)
    walk.to([1, 2], after=0.1)
    walk.run(2)
    assert walk.rotation.upcoming is not None
    walk.to([1])  # 2 holds the key that was about to be begun
    walk.run(10)
    assert [generation for _, generation, *_ in walk.begun] == [1, 3]


def test_with_a_ratchet_a_join_costs_one_message() -> None:
    walk = Walk(Policy(ratchet_on_join=True))
    walk.to(range(10))
    walk.run(20)
    walk.to(range(11))
    assert walk.messages == 11
    first, second = walk.begun
    assert first[2] == second[2], "the index stays"
    assert ratcheted(Secret(first[3])).expose() == second[3]


def test_a_receiver_need_never_take_two_steps_of_the_ratchet() -> None:
    """The foot-gun of a ratchet without a bound: whoever is muted while two join is heard by nobody after that, since
    livekit-client tries one step (tests/interop/test_livekit_client.py)."""
    walk = Walk(Policy(ratchet_on_join=True))
    walk.to(range(10))
    for number in range(10, 16):
        walk.to(range(number + 1), after=20)
        walk.run(5)
    assert [index for _, _, index, _ in walk.begun] == [1, 1, 2, 2, 3, 3, 4]
    for handed, following in zip(walk.begun[::2], walk.begun[1::2], strict=False):
        assert following[3] == ratcheted(Secret(handed[3])).expose()
    assert walk.messages == 10 + 1 + 12 + 1 + 14 + 1 + 16


def test_a_ratcheted_key_opens_what_was_sent_under_the_one_before() -> None:
    """The foot-gun that nobody names: LiveKit derives the key of the frames as it ratchets, and takes half of it."""
    key = Secret(bytes(range(32)))
    frames = HKDF(SHA256(), FRAME_KEY_BYTES, SALT, INFO).derive(
        key.expose()
    )  # facts of LiveKit: docs/how-to/livekit.md
    assert ratcheted(key).expose()[:FRAME_KEY_BYTES] == frames


def test_a_leave_makes_a_new_key_although_joins_ratchet() -> None:
    """The foot-gun of the ratchet: whoever held a key works out all that follow from it."""
    walk = Walk(Policy(ratchet_on_join=True))
    walk.to([1, 2])
    walk.to([1, 2, 3], after=20)
    walk.to([1, 3], after=20)
    walk.run(5)
    (_, _, _, last), ratchet = walk.begun[-1], walk.begun[0][3]
    for _ in range(16):
        ratchet = ratcheted(Secret(ratchet)).expose()
        assert ratchet != last


def test_a_lobby_costs_one_key_however_long_it_is_and_whoever_passes() -> None:
    rotation = Rotation(Policy(share_in_lobby=True))
    for moment in range(100):
        rotation.prepare(float(moment), devices([moment % 7, 8]))
    assert rotation.newest is not None
    assert rotation.newest.generation == 1
    rotation.stop()
    assert rotation.keys == ()


def test_what_was_handed_out_in_the_lobby_is_begun_if_everybody_who_holds_it_is_still_there() -> None:
    rotation = Rotation(Policy(share_in_lobby=True))
    rotation.prepare(1.0, devices([1, 2]))
    rotation.begin(50.0, devices([1, 2, 3]))
    rotation.settle(50.0, devices([1, 2, 3]))
    assert rotation.current is not None
    assert rotation.current.generation == 1
    assert rotation.holders(rotation.current) == devices([1, 2, 3])


def test_it_is_not_begun_if_somebody_holds_it_who_has_left() -> None:
    """The foot-gun of sharing in the lobby: people come and go before Join is pressed."""
    rotation = Rotation(Policy(share_in_lobby=True))
    rotation.prepare(1.0, devices([1, 2]))
    rotation.begin(50.0, devices([1]))
    rotation.settle(50.0, devices([1]))
    assert rotation.current is not None
    assert rotation.current.generation == 2


def test_an_index_follows_another_and_never_is_zero() -> None:
    walk = Walk()
    walk.to([1, 2])
    indexes = [walk.begun[-1][2]]
    for turn in range(LAST_INDEX + 1):
        walk.to([1] if turn % 2 == 0 else [1, 2], after=20)
        walk.run(5)
        indexes.append(walk.begun[-1][2])
    assert 0 not in indexes
    assert len(set(indexes[:LAST_INDEX])) == LAST_INDEX


def test_a_restart_goes_on_with_the_index_after_the_last() -> None:
    rotation = Rotation(Policy(), last_index=KeyIndex(LAST_INDEX))
    rotation.settle(1.0, devices([1]))
    assert rotation.current is not None
    assert rotation.current.index == 1


def test_where_key_rings_are_small_an_index_is_taken_again_soon_and_never_while_it_is_in_use() -> None:
    """The dart SDK's rings have 16 places. Here somebody leaves every half second for a minute."""
    walk = Walk(Policy(leave_debounce=0.0))
    walk.rotation.ring = SMALL_RING
    walk.to(range(200))
    for number in range(120):
        walk.to(range(number + 1, 200), after=0.5)
        assert len({key.index for key in walk.rotation.keys}) == len(walk.rotation.keys)
    walk.run(20)
    assert all(1 <= index <= SMALL_RING for _, _, index, _ in walk.begun)
    assert len(walk.made) > 3 * SMALL_RING
    made = [moment for moment, _ in walk.made]
    assert min(later - earlier for earlier, later in pairwise(made[1:])) >= 1.0 - 1e-6


def test_who_has_a_small_key_ring_is_handed_no_key_beyond_it() -> None:
    """A frame under an index that a ring has no place for is dropped, and the key with it."""
    walk = Walk(Policy(ratchet_on_join=True))
    walk.rotation.last_index = KeyIndex(199)
    walk.to([1, 2])
    assert walk.begun[-1][2] == 200
    walk.rotation.ring = SMALL_RING
    walk.to([1, 2, 3])
    assert [key.index for key in walk.rotation.keys if device(3) in walk.rotation.holders(key)] == [6]
    walk.run(2)
    assert walk.begun[-1][2] == 6
    assert all(walk.reads(number) for number in (1, 2, 3))


def test_nor_in_the_lobby() -> None:
    rotation = Rotation(Policy(share_in_lobby=True), last_index=KeyIndex(99))
    rotation.prepare(1.0, devices([1]))
    rotation.ring = SMALL_RING
    rotation.prepare(2.0, devices([1, 2]))
    (key,) = rotation.keys
    assert (key.index, rotation.holders(key)) == (11, devices([1, 2]))


POLICIES = [
    Policy(),
    Policy.element_call(),
    Policy.famedly(),
    Policy(ratchet_on_join=True),
    Policy(key_use_delay=5.0, leave_debounce=0.0),
]


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(POLICIES),
    st.sampled_from([LAST_INDEX, SMALL_RING]),
    st.lists(
        st.tuples(st.sampled_from([0.0, 0.05, 0.3, 0.9, 2.0, 7.0, 15.0]), st.sets(st.integers(0, 5))),
        min_size=1,
        max_size=40,
    ),
)
def test_whoever_comes_and_goes_the_rules_hold(policy: Policy, ring: int, steps: list[tuple[float, set[int]]]) -> None:
    walk = Walk(policy)
    walk.rotation.ring = ring
    left: dict[Holder, float] = {}
    limit = policy.leave_use_limit + policy.leave_debounce_limit
    for after, here in steps:
        walk.to(here, after=after)
        assert walk.rotation.current is not None
        gone = walk.rotation.holders(walk.rotation.current) - walk.here
        left = {device: left.get(device, walk.now) for device in gone}
        for since in left.values():
            assert walk.now - since <= limit + 1e-6, "somebody who left listens on and on"
    walk.run(60)
    assert walk.rotation.current is not None
    # Peace: everybody who is here has the key that is sent under, and nobody else has it.
    assert walk.rotation.holders(walk.rotation.current) == walk.here
    recent: dict[KeyIndex, float] = {}
    for moment, _, index, _ in walk.begun:
        if not policy.ratchet_on_join:
            assert moment - recent.get(index, -1e9) > policy.old_media_key_seconds
        recent[index] = moment


def test_a_device_that_joins_anew_is_handed_the_key_again_and_makes_no_other() -> None:
    walk = Walk()
    walk.to({1, 2})
    walk.run(60)
    made, before = len(walk.made), walk.rotation.current
    again = (*device(1)[:3], "again")
    walk.here = {again, device(2)}
    walk._settle()
    walk.run(30)
    assert len(walk.made) == made
    assert before is not None
    assert walk.rotation.current is before
    assert again in walk.rotation.holders(before)


def test_a_new_key_is_begun_however_often_somebody_comes_and_goes_meanwhile() -> None:
    walk = Walk()
    walk.to({1})
    walk.run(60)
    began = len(walk.begun)
    for _ in range(30):
        walk.to({1, 2}, after=0.45)
        walk.to({1}, after=0.45)
    assert len(walk.begun) > began
    assert walk.begun[began][0] <= 160.0 + walk.policy.leave_use_limit + 2 * walk.policy.key_use_delay


def test_what_somebody_has_who_is_not_in_the_call_is_given_up() -> None:
    walk = Walk()
    walk.to({1, 2})
    walk.run(60)
    before = walk.rotation.current
    walk.rotation.give_up()
    walk._settle()
    walk.run(5)
    assert walk.rotation.current is not before
    assert walk.rotation.holders(walk.rotation.keys[-1]) == devices({1, 2})
