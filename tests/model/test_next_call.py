"""Promise 3 for the call that follows one whose members are gone without having left (docs/adr/0015).

Whoever is kicked, banned, logged out or expires, or whose membership somebody erases, signs no leave: its word stays in
E, under a root that nobody can enter any more. The next call in the slot must come about over any number of these.
"""

from dataclasses import dataclass
from random import Random
from typing import Any

import pytest

from mlsrtc.notices import Rejoining
from mlsrtc.policy import Policy, Trust
from mlsrtc.testing import Limits
from mlsrtc.wire import names
from searching import CAMPAIGN, PROFILES, world_of
from watching import Watch

GOING = ("kicked", "banned", "erased", "logged out", "expired")
WITHOUT_DELAYED_LEAVES = Limits(message_rate=None, max_delay_ms=None)
SHORT_LIVES = Policy(membership_lifetime=90, membership_refresh=30)


@dataclass
class Scene:
    """A call of `first`, of whom the first `gone` go without a leave and the others leave; then a call of `later`."""

    random: Random
    going: str
    first: int
    gone: int
    later: int
    servers: int = 1
    cut: bool = False

    def play(self, seed: int, **settings: Any) -> Watch:
        """Until the later ones send under one epoch that holds them and nobody else; then nothing changes any more."""
        if self.going in ("logged out", "expired"):
            settings["limits"] = WITHOUT_DELAYED_LEAVES
        if self.going == "expired":
            settings["policy"] = SHORT_LIVES
        watch = Watch(self.first + self.later, seed, servers=self.servers, **settings)
        party, world, random = watch.party, watch.world, self.random
        users = random.sample(party.users, len(party.users))
        if self.going in ("kicked", "banned"):
            # The moderator is on the first server. What is sent on another one before it hears of the kick is shown by
            # that one alone, and then the members' evidence differs: test_party_of_ten has that.
            users.sort(key=lambda user: world.server_of(user.user_id).name != "one.test")
        order = sorted(range(len(party)), key=lambda index: users.index(party[index].matrix.user))
        earlier, later = order[: self.first], order[self.first :]
        silent = earlier[: self.gone]
        if self.going in ("kicked", "banned"):
            silent = [index for index in silent if party[index].matrix.user_id.endswith(":one.test")]

        after = 0.0
        for index in random.sample(earlier, len(earlier)):
            party.join(index, after=after)
            after += random.choice((0.0, 0.1, 1.5, 3.0))
        party.run(after + random.choice((1.0, 4.0, 8.0)))
        pause = random.choice((0.0, 0.5, 5.0))
        for index in random.choice((earlier, random.sample(earlier, len(earlier)))):
            self.go(watch, index) if index in silent else party.leave(index)
            party.run(pause * random.random())

        if self.cut:
            world.partition({"one.test"}, set(world.servers) - {"one.test"})
        party.run(random.choice((0.0, 1.0, 6.0)))
        for index in later:
            party.join(index, after=random.random() * random.choice((0.0, 0.5, 3.0)))
        party.run(random.choice((4.0, 10.0, 30.0)))
        world.heal()
        for device in party.devices:
            device.joined = device.index in later  # The application of one that was kicked has heard of it.
        for name in world.network.hostility.__slots__:
            setattr(world.network.hostility, name, 0.0)
        watch.until_agreed(len(later), timeout=60 + (SHORT_LIVES.membership_lifetime if self.going == "expired" else 0))
        party.run(20)
        assert watch.agreed(len(later))
        watch.check()
        return watch

    def go(self, watch: Watch, index: int) -> None:
        """One device goes without having left."""
        matrix = watch.party[index].matrix
        match self.going:
            case "kicked":
                watch.world.kick(matrix.user_id)
            case "banned":
                watch.world.ban(matrix.user_id)
            case "erased":
                watch.party.crash(index)
                watch.world.erase_memberships(matrix.user_id)
            case "logged out":
                watch.party.crash(index)
                watch.world.log_out(matrix.name)
            case "expired":
                watch.party.crash(index)


@pytest.mark.parametrize("going", GOING)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("seed", range(2 * CAMPAIGN))
def test_the_next_call_comes_about(seed: int, profile: str, going: str) -> None:
    random = Random(seed)
    first = random.randint(2, 6)
    scene = Scene(random, going, first, random.randint(1, first - 1), random.randint(2, 4), random.randint(1, 3))
    scene.cut = scene.servers > 1 and random.random() < 0.4
    scene.play(seed, **world_of(profile))


@pytest.mark.parametrize("going", ["kicked", "banned", "erased", "logged out"])
@pytest.mark.parametrize("seed", range(2 * CAMPAIGN))
def test_more_are_gone_than_come(seed: int, going: str) -> None:
    """Five users have a word for the old call, and two are in the next one: nobody has to speak or to rejoin."""
    watch = Scene(Random(seed), going, first=6, gone=5, later=2).play(seed)
    assert watch.world.sent()[names.WORD] == 0
    assert not any(ledger.notices(Rejoining) for ledger in watch.ledgers)


@pytest.mark.parametrize("seed", range(2 * CAMPAIGN))
def test_nobody_has_left_at_all(seed: int) -> None:
    """The leaves of the last epoch are all gone, and no commit says so."""
    Scene(Random(seed), "kicked", first=4, gone=4, later=3).play(seed)


@pytest.mark.parametrize("seed", range(2 * CAMPAIGN))
def test_a_call_of_nobody_that_is_trusted_does_not_hold_up_another(seed: int) -> None:
    """Three devices that no user has signed were in a call that takes any device, and are silent. Those who trust none
    of them have no leaf there from which to remove them."""
    anybody, strict = (0, 1, 2), (3, 4, 5)
    policies = dict.fromkeys(anybody, Policy(trust=Trust.ANY_DEVICE))
    watch = Watch(6, seed, policies=policies, limits=WITHOUT_DELAYED_LEAVES)
    for index in anybody:
        watch.not_cross_signed(index)
        watch.party.join(index, after=3 * index)
    watch.party.run(8)
    watch.until_agreed(3)
    for index in anybody:
        watch.party.crash(index)
    for index in strict:
        watch.party.join(index)
    watch.party.run(10)
    assert watch.agreed(3)
    watch.check()


def stand_together(watch: Watch) -> bool:
    """All present devices stand on one epoch that holds them, whoever else it holds, and send under it."""
    present = [device.index for device in watch.party.present()]
    stands = {watch.session(index).epoch_id for index in present}
    members = {watch.member(index) for index in present}
    return (
        len(stands) == 1
        and None not in stands
        and all(watch.ledgers[index].sending in stands for index in present)
        and members <= set(watch.ledgers[present[0]].epochs[stands.pop()].members)
    )


@pytest.mark.parametrize("seed", range(4 * CAMPAIGN))
def test_who_comes_back_into_the_room_does_not_divide_the_call(seed: int) -> None:
    """Their old memberships count again until they expire, and with them the old call, which their words may outweigh
    the present one with."""
    scene = Scene(Random(seed), "kicked", first=4, gone=seed % 3 + 1, later=3, servers=2)
    watch = scene.play(seed)
    for user in watch.party.users:
        if watch.world.server_of(user.user_id).room.membership(user.user_id) != "join":
            watch.world.enter(user.user_id)
    watch.party.run(10)
    watch.party.run_until(lambda: stand_together(watch), timeout=60)
    watch.party.run(30)
    assert stand_together(watch)
    watch.check()


@pytest.mark.parametrize("seed", range(4 * CAMPAIGN))
def test_a_homeserver_that_hides_the_kicks_does_not_divide_the_call(seed: int) -> None:
    """Its users take the old call for the present one, and come in there from outside: it has a live member again."""
    watch = Watch(7, seed, servers=2)
    world = watch.world
    for index in range(4):
        watch.party.join(index, after=index)
    watch.party.run(5)
    watch.until_agreed(4)
    two = world.servers["two.test"]
    two.rewrite = lambda event, viewer: () if event.content.get("membership") == "leave" else (event,)
    for index in range(seed % 3 + 1):
        world.kick(watch.party[index].matrix.user_id)
    for index in range(4):
        watch.party.crash(index)
        watch.party[index].joined = False
    for index in (4, 5, 6):
        watch.party.join(index, after=Random(seed + index).random() * 3)
    watch.party.run(10)
    watch.party.run_until(lambda: stand_together(watch), timeout=90)
    watch.party.run(30)
    assert stand_together(watch)
    watch.check()
