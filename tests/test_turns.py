"""Whose turn it is: the pure functions by themselves, and calls of many members in a small discrete
simulation.
"""

import heapq
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import count, pairwise
from typing import Any

import pytest

from fake_evidence import Evidence, fake_commit, fake_id, fake_join, fake_leaf
from mlsrtc.errors import LocalProtocolError
from mlsrtc.evidence import Committed, Joined, Leaf, Left
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.ordering import Ordering
from mlsrtc.policy import Policy
from mlsrtc.turns import Echo, Kind, Lapses, Need, Scene, Turn, Visits, creators_ranking, moment, next_turn, ranking

POLICY = Policy()
HEAD = fake_id("head")


def members(*names: str) -> frozenset[MemberId]:
    return frozenset(map(MemberId, names))


FIVE = members("a", "b", "c", "d", "e")
FIRST, SECOND, *_ = ranking(HEAD, FIVE)


def scene(me: MemberId = FIRST, **changes: Any) -> Scene:
    """Five members that are all in the tree; a quiet call."""
    quiet = Scene(
        me=me,
        epoch=HEAD,
        tree=FIVE,
        past=FIVE,
        roster=FIVE,
        gone=frozenset(),
        able=FIVE | members("x", "y", "z"),
        addable=FIVE | members("x", "y", "z"),
        since={},
        joined=0.0,
        starts={},
        last_commit=50.0,
        last_path=50.0,
    )
    return replace(quiet, **changes)


def turn(of: Scene) -> Turn:
    found = next_turn(of, POLICY)
    assert found is not None
    return found


# -- one view ------------------------------------------------------------------------------------------------


def test_a_first_change_is_committed_at_once_by_the_first_rank() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x"), "since": {"x": 100.0}}
    assert turn(scene(**change)) == Turn(Kind.COMMIT, HEAD, Need(adds=(MemberId("x"),)), 0, 100.0)
    assert turn(scene(SECOND, **change)).at == 100.0 + POLICY.failover_step


def test_what_follows_a_commit_is_gathered_into_one() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x", "y"), "since": {"x": 50.1, "y": 50.3}}
    found = turn(scene(**change))
    assert found.need.adds == ("x", "y")
    assert found.at == pytest.approx(50.4)


def test_a_leave_waits_no_longer_than_the_limit() -> None:
    assert moment([], [10.0], None, POLICY) == 10.0
    assert moment([], [10.0], 9.9, POLICY) == pytest.approx(10.3)
    assert moment([9.0], [10.0], 10.9, POLICY) == 11.0
    assert moment([9.0], [], 10.9, POLICY) == pytest.approx(11.3)


def test_ranks_do_not_fall_together_after_a_change_was_passed_by() -> None:
    late: dict[str, Any] = {"roster": FIVE - members("e"), "gone": members("e"), "since": {"e": 10.0}}
    ranked = ranking(HEAD, FIVE - members("e"))
    assert [turn(scene(m, **late)).at - 50.0 for m in ranked] == [0.0, 2.0, 4.0, 6.0]


def test_the_rank_is_recomputed_when_the_first_leaves() -> None:
    left: dict[str, Any] = {"roster": FIVE - {FIRST}, "gone": frozenset({FIRST}), "since": {FIRST: 100.0}}
    found = turn(scene(SECOND, **left))
    assert (found.rank, found.at, found.need.removes) == (0, 100.0, (FIRST,))
    assert next_turn(scene(FIRST, **left), POLICY) is None


def test_where_events_take_long_to_come_back_a_rank_waits_for_the_commit_of_the_one_before() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x"), "since": {"x": 100.0}}
    assert turn(scene(**change, echo=7.0)).at == 100.0
    assert turn(scene(SECOND, **change, echo=7.0)).at == 114.0
    assert turn(scene(SECOND, **change, echo=0.3)).at == 100.0 + POLICY.failover_step


def test_an_echo_counts_for_a_time_and_within_a_bound() -> None:
    assert Echo().lately(0.0, POLICY) == 0
    assert Echo(3.0, 50.0).lately(51.0, POLICY) == 3.0
    assert Echo(3.0, 50.0).lately(50.0 + POLICY.echo_kept, POLICY) == 0
    assert Echo(500.0, 50.0).lately(51.0, POLICY) == POLICY.echo_limit


def test_a_commit_that_has_come_without_its_file_is_waited_for() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x"), "since": {"x": 100.0}, "awaited_since": 101.0}
    until = 101.0 + POLICY.external_commit_after
    assert turn(scene(**change)).at == until
    assert turn(scene(SECOND, **change)).at == until + POLICY.failover_step


def test_a_leaf_whose_join_is_unseen_stays_and_has_no_turn() -> None:
    assert turn(scene(roster=FIVE - {FIRST}, me=SECOND)).need.removes == ()
    assert next_turn(scene(roster=FIVE - {FIRST}), POLICY) is None


def test_nobody_is_added_again_on_a_path_that_had_it() -> None:
    again = scene(roster=FIVE | members("x"), past=FIVE | members("x"), since={"x": 100.0})
    assert not turn(again).need.adds
    assert turn(again).need.rekey  # the next thing to do


def test_who_is_not_addable_is_not_added_and_who_is_not_able_is_not_ranked() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x", "y"), "since": {"x": 100.0, "y": 100.0}}
    assert turn(scene(addable=FIVE | members("x"), **change)).need.adds == ("x",)
    assert next_turn(scene(able=FIVE - {FIRST}, **change), POLICY) is None
    assert turn(scene(SECOND, able=FIVE - {FIRST}, **change)).rank == 0


def test_a_contested_epoch_gets_removals_only() -> None:
    change: dict[str, Any] = {"roster": (FIVE | members("x")) - {SECOND}, "since": {"x": 90.0, SECOND: 100.0}}
    assert turn(scene(gone=frozenset({SECOND}), contested=True, **change)).need == Need(removes=(SECOND,))
    assert next_turn(scene(contested=True, **change), POLICY) is None


def test_a_rate_limit_shifts_the_turn_to_the_next_rank() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x"), "since": {"x": 100.0}}
    limited = turn(scene(limited_until=107.0, **change))
    assert limited.at == 107.0
    assert turn(scene(SECOND, **change)).at < limited.at


def test_the_path_is_renewed_by_rank_when_it_is_old() -> None:
    found = turn(scene())
    assert found == Turn(Kind.COMMIT, HEAD, Need(rekey=True), 0, 350.0)
    assert turn(scene(SECOND)).at == 352.0
    assert next_turn(scene(idle=frozenset({FIRST})), POLICY) is None
    assert turn(scene(SECOND, idle=frozenset({FIRST}))).rank == 0


def test_changes_take_an_overdue_rekey_along() -> None:
    joined = scene(roster=FIVE | members("x"), since={"x": 360.0})
    assert turn(joined).need == Need(adds=(MemberId("x"),), rekey=True)


def test_one_that_is_alone_renews_nothing() -> None:
    assert next_turn(scene(tree=frozenset({FIRST}), roster=frozenset({FIRST})), POLICY) is None


def test_a_call_of_one_creates_nothing() -> None:
    alone = scene(epoch=None, tree=frozenset(), past=frozenset(), roster=frozenset({FIRST}))
    assert next_turn(alone, POLICY) is None


def test_the_first_to_join_creates_the_root_and_adds_all_others() -> None:
    starts = {m: 1000 * i for i, m in enumerate(sorted(FIVE))}
    fresh: dict[str, Any] = {
        "epoch": None,
        "tree": frozenset(),
        "past": frozenset(),
        "last_commit": None,
        "starts": starts,
    }
    since = dict.fromkeys(FIVE, 20.0)
    found = turn(scene(MemberId("a"), joined=5.0, since=since, **fresh))
    others = tuple(MemberId(name) for name in "bcde")
    assert found == Turn(Kind.CREATE, None, Need(adds=others), 0, 20.0)
    assert turn(scene(MemberId("c"), joined=18.0, since=since, **fresh)).at == 24.0
    young = turn(scene(MemberId("a"), joined=19.9, since=since, **fresh))
    assert young.at == pytest.approx(19.9 + POLICY.batch_limit)


def test_a_call_whose_members_are_all_gone_is_created_anew() -> None:
    roster = members("x", "y")
    left = scene(MemberId("x"), roster=roster, gone=FIVE, since={"y": 60.0}, starts={"x": 1, "y": 2})
    assert turn(left).kind is Kind.CREATE


def test_a_joiner_waits_for_a_committer_before_it_commits_itself() -> None:
    waiting = scene(MemberId("x"), roster=FIVE | members("x"), joined=60.0)
    assert turn(waiting) == Turn(Kind.EXTERNAL, HEAD, Need(adds=(MemberId("x"),)), 0, 70.0)


def test_joiners_that_wait_do_not_all_commit_at_once() -> None:
    roster = FIVE | members("x", "y", "z")
    times = sorted(turn(scene(m, roster=roster, joined=60.0)).at for m in members("x", "y", "z"))
    assert times == [70.0, 72.0, 74.0]


def test_a_member_that_let_turns_pass_ranks_last_until_it_is_heard() -> None:
    ranked = ranking(HEAD, FIVE)
    lapses = Lapses()
    for _ in range(POLICY.skipped_turns):
        assert not lapses.lapsed(POLICY)
        lapses = lapses.passed(ranked, ranked[1])
    assert lapses.lapsed(POLICY) == {ranked[0]}
    assert ranking(HEAD, FIVE, last=lapses.lapsed(POLICY))[-1] == ranked[0]
    assert not lapses.heard(ranked[0]).lapsed(POLICY)
    assert not lapses.passed(ranked, ranked[0]).lapsed(POLICY)
    assert lapses.passed(ranked, MemberId("a stranger")) == lapses


def test_creators_of_one_moment_are_ranked_by_hash() -> None:
    assert creators_ranking(FIVE, dict.fromkeys(FIVE, 7)) == ranking(None, FIVE)


def test_a_change_without_a_time_is_the_callers_fault() -> None:
    with pytest.raises(LocalProtocolError, match="x"):
        next_turn(scene(roster=FIVE | members("x")), POLICY)


# -- many views ----------------------------------------------------------------------------------------------


class World:
    """A homeserver that shows every event to everybody after its way up and each one's way down.

    Ways take `latency` seconds each and overtake each other. Commits are names; who has a leaf stands on
    the head.
    """

    def __init__(self, seed: int, latency: tuple[float, float] = (0.05, 0.35)) -> None:
        self.rng = random.Random(seed)
        self.latency = latency
        self.now = 0.0
        self.ticket = count()
        self.agenda: list[tuple[float, int, Callable[[], None]]] = []
        self.log: list[Evidence] = []
        self.commits: list[tuple[float, Committed]] = []
        self.devices: list[Device] = []

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self.agenda, (max(time, self.now), next(self.ticket), act))

    def way(self) -> float:
        return self.rng.uniform(*self.latency)

    def send(self, value: Evidence) -> None:
        def arrive() -> None:
            self.log.append(value)
            for device in self.devices:
                self.at(self.now + self.way(), lambda d=device: d.receive(value))  # type: ignore[misc]

        if isinstance(value, Committed):
            self.commits.append((self.now, value))
        self.at(self.now + self.way(), arrive)

    def join(self, name: str, time: float, *, skew: float = 0.0) -> "Device":
        device = Device(self, name, skew)
        self.at(time, device.join)
        return device

    def run(self, until: float) -> None:
        while self.agenda and self.agenda[0][0] <= until:
            self.now, _, act = heapq.heappop(self.agenda)
            act()
        self.now = until

    @property
    def roots(self) -> int:
        return sum(commit.parent is None for _, commit in self.commits)


class Device:
    def __init__(self, world: World, name: str, skew: float) -> None:
        self.world, self.leaf, self.skew = world, fake_leaf(name), skew
        self.me = self.leaf.member_id
        self.ordering = Ordering()
        self.since: dict[MemberId, float] = {}
        self.starts: dict[MemberId, int] = {}
        self.joined = float("inf")
        self.stands: EpochId | None = None
        self.last_commit: float | None = None
        self.last_path: float | None = None
        self.committed: set[EpochId | None] = set()
        self.lapses = Lapses()
        self.ranked: tuple[MemberId, ...] = ()
        self.n = 0
        self.silent = False
        self.keyed: float | None = None

    def join(self) -> None:
        """Syncs first, so the newcomer knows what its homeserver knows; then it joins."""
        for value in self.world.log:
            self.learn(value)
        self.world.devices.append(self)
        start = int((self.world.now + self.skew) * 1000)
        self.world.send(fake_join(self.leaf, head=self.ordering.head(), start=start, until=start + 10**7))

    def leave(self) -> None:
        self.world.send(Left(self.me, b"signature"))
        self.silent = True

    def receive(self, value: Evidence) -> None:
        self.learn(value)
        self.act()

    def learn(self, value: Evidence) -> None:
        if not self.ordering.add(value):
            return
        now = self.world.now
        match value:
            case Joined():
                self.since[value.leaf.member_id] = now
                self.starts[value.leaf.member_id] = value.from_ts
                if value.leaf.member_id == self.me:
                    self.joined = now
            case Left():
                self.since[value.member_id] = now
            case Committed():
                self.lapses = self.lapses.heard(value.author.member_id)
        head = self.ordering.head()
        commit = self.ordering.commit(head) if head else None
        if commit is None or head == self.stands:
            return
        if self.stands == commit.parent and commit.parent is not None:
            self.lapses = self.lapses.passed(self.ranked, commit.author.member_id)
        self.stands, self.last_commit = head, now
        self.last_path = now if commit.has_path or self.last_path is None else self.last_path
        if self.keyed is None and commit.holds(self.me):
            self.keyed = now
        for member_id in commit.left:
            self.since.setdefault(member_id, now)
        tree = frozenset(leaf.member_id for leaf in commit.leaves.values())
        self.ranked = ranking(head, tree - self.ordering.departed, last=self.lapses.lapsed(POLICY))

    def scene(self) -> Scene:
        path = [commit for id in self.ordering.head_path() if (commit := self.ordering.commit(id))]
        tree = {leaf.member_id for leaf in path[-1].leaves.values()} if path else set()
        past = {leaf.member_id for commit in path for leaf in commit.leaves.values()}
        roster = frozenset(self.starts) - self.ordering.departed
        empty = path and not path[-1].added and not path[-1].removed
        return Scene(
            me=self.me,
            epoch=path[-1].id if path else None,
            tree=frozenset(tree),
            past=frozenset(past),
            roster=roster,
            gone=self.ordering.departed,
            able=roster,
            addable=roster,
            since=self.since,
            joined=self.joined,
            starts=self.starts,
            last_commit=self.last_commit,
            last_path=self.last_path,
            lapsed=self.lapses.lapsed(POLICY),
            idle=frozenset({path[-1].author.member_id} if empty else ()),
        )

    def act(self) -> None:
        if self.silent or self.joined == float("inf"):
            return
        found = next_turn(self.scene(), POLICY)
        if found is None or found.parent in self.committed:
            return
        if found.at > self.world.now + 1e-9:
            self.world.at(found.at, self.act)
            return
        self.committed.add(found.parent)
        self.n += 1
        leaves = {leaf.member_id: leaf for leaf in self._leaves()}
        self.world.send(
            fake_commit(
                EpochId(self.world.rng.randbytes(32)),
                self.ordering.commit(found.parent) if found.parent else None,
                self.leaf,
                n=self.n,
                add=[leaves[m] for m in found.need.adds if m != self.me],
                remove=found.need.removes,
                left=found.need.removes,
            )
        )

    def _leaves(self) -> list[Leaf]:
        return [leaf for m in self.starts if (leaf := self.ordering.leaf(m))]


def settled(world: World, present: list[Device]) -> None:
    """Everybody present stands on one head that holds exactly those who are present."""
    heads = {device.ordering.head() for device in present}
    assert len(heads) == 1
    commit = present[0].ordering.commit(heads.pop() or EpochId(b""))
    assert commit is not None
    assert {leaf.member_id for leaf in commit.leaves.values()} == {device.me for device in present}


def started(seed: int, size: int) -> tuple[World, list[Device]]:
    """A call of `size` devices that has been quiet for a while."""
    world = World(seed)
    devices = [world.join(f"u{i}", 1.5 * i) for i in range(size)] if size < 5 else []
    if not devices:
        devices = [world.join(f"u{i}", world.rng.uniform(0, 2)) for i in range(size)]
    world.run(30.0)
    settled(world, devices)
    world.commits.clear()
    return world, devices


@pytest.mark.parametrize("seed", range(40))
def test_twelve_devices_that_join_together_make_one_root(seed: int) -> None:
    world = World(seed)
    devices = [world.join(f"u{i}", world.rng.uniform(0, 2)) for i in range(12)]
    world.run(20.0)
    settled(world, devices)
    assert world.roots == 1
    assert len(world.commits) <= 6


@pytest.mark.parametrize("seed", range(20))
def test_two_that_join_in_one_moment_make_one_root(seed: int) -> None:
    world = World(seed)
    devices = [world.join("u0", 0.0), world.join("u1", world.rng.uniform(0, 0.4))]
    world.run(20.0)
    settled(world, devices)
    assert len(world.commits) == 1


@pytest.mark.parametrize("seed", range(10))
def test_creation_survives_clocks_that_disagree(seed: int) -> None:
    world = World(seed)
    devices = [world.join(f"u{i}", world.rng.uniform(0, 2), skew=world.rng.uniform(-30, 30)) for i in range(12)]
    world.run(40.0)
    assert len({device.ordering.head() for device in devices}) == 1
    assert world.roots <= 3


def test_a_call_of_one_sends_nothing() -> None:
    world = World(1)
    world.join("u0", 0.0)
    world.run(2000.0)
    assert not world.commits


@pytest.mark.parametrize("seed", range(10))
def test_the_second_is_keyed_after_its_join_and_one_commit(seed: int) -> None:
    world = World(seed)
    world.join("u0", 0.0)
    second = world.join("u1", 10.0)
    world.run(20.0)
    assert len(world.commits) == 1
    assert second.keyed is not None
    assert second.keyed - 10.0 <= 4 * world.latency[1]


@pytest.mark.parametrize("seed", range(5))
def test_fifty_that_join_within_two_seconds_need_at_most_twelve_commits(seed: int) -> None:
    world, devices = started(seed, 3)
    devices += [world.join(f"v{i}", 30.0 + world.rng.uniform(0, 2)) for i in range(50)]
    world.run(45.0)
    settled(world, devices)
    assert len(world.commits) <= 12
    assert max(time for time, _ in world.commits) < 30.0 + 2.0 + 2.0


@pytest.mark.parametrize("seed", range(3))
def test_fifty_that_join_an_empty_slot_need_one_root_and_at_most_twelve_commits(seed: int) -> None:
    world = World(seed)
    devices = [world.join(f"u{i}", world.rng.uniform(0, 2)) for i in range(50)]
    world.run(20.0)
    settled(world, devices)
    assert world.roots == 1
    assert len(world.commits) <= 12


@pytest.mark.parametrize("seed", range(10))
def test_a_lone_join_costs_one_commit_at_once(seed: int) -> None:
    world, devices = started(seed, 4)
    joiner = world.join("late", 30.0)
    world.run(60.0)
    settled(world, [*devices, joiner])
    assert len(world.commits) == 1
    assert joiner.keyed is not None
    assert joiner.keyed - 30.0 <= 4 * world.latency[1]


@pytest.mark.parametrize("seed", range(3))
def test_a_leave_among_fifty_is_committed_at_once_by_one(seed: int) -> None:
    world, devices = started(seed, 50)
    leaver = devices[seed]
    world.at(40.0, leaver.leave)
    world.run(60.0)
    settled(world, [device for device in devices if device is not leaver])
    assert len(world.commits) == 1
    assert world.commits[0][0] - 40.0 <= 2 * world.latency[1]


@pytest.mark.parametrize("seed", range(10))
def test_a_crashed_committer_costs_a_failover_step_and_then_nothing(seed: int) -> None:
    world, devices = started(seed, 8)
    for device in devices[:2]:
        device.silent = True
    joiners = [world.join(f"late{i}", 40.0 + 20.0 * i) for i in range(12)]
    world.run(300.0)
    settled(world, devices + joiners)
    waits = [joiner.keyed - 40.0 - 20.0 * i for i, joiner in enumerate(joiners) if joiner.keyed is not None]
    assert len(waits) == len(joiners)
    assert max(waits) <= 2 * POLICY.failover_step + 4 * world.latency[1]
    lapses = 2 * POLICY.skipped_turns  # each crashed member lets two turns pass, then it ranks last
    assert sum(wait > POLICY.failover_step for wait in waits) <= lapses


@pytest.mark.parametrize("seed", range(3))
def test_paths_are_renewed_one_at_a_time(seed: int) -> None:
    world, devices = started(seed, 10)
    world.run(30.0 + 4 * POLICY.rekey_interval)
    assert 3 <= len(world.commits) <= 4
    authors = [commit.author for _, commit in world.commits]
    assert all(a != b for a, b in pairwise(authors))
    settled(world, devices)


@pytest.mark.parametrize("seed", range(10))
def test_without_any_committer_one_joiner_comes_in_and_adds_the_others(seed: int) -> None:
    world, devices = started(seed, 4)
    for device in devices:
        device.silent = True
    joiners = [world.join(f"late{i}", 40.0 + i) for i in range(5)]
    world.run(120.0)
    settled(world, devices + joiners)
    first = world.commits[0][1]
    assert first.external
    assert sum(commit.external for _, commit in world.commits) <= 2


def test_for_participants_without_mls_nobody_waits_longer_than_a_step_and_a_little() -> None:
    """Those who rank before may not serve them, and would never commit."""
    visits = Visits(came=(100.0,), named=(("@g:one.test", "G", "g"),))
    ranked = ranking(HEAD, FIVE)
    times = [turn(scene(me, visits=visits)).at - 100.0 for me in ranked]
    step, little = POLICY.failover_step, POLICY.word_step
    assert times == pytest.approx([0.0, step, step + little, step + little, step + 2 * little])
    assert all(turn(scene(me, visits=visits)).need == Need(guests=True) for me in ranked)


def test_for_others_everybody_waits_for_its_rank_as_ever() -> None:
    change: dict[str, Any] = {"roster": FIVE | members("x"), "since": {"x": 100.0}}
    last = ranking(HEAD, FIVE)[-1]
    assert turn(scene(last, **change)).at == 100.0 + 4 * POLICY.failover_step
