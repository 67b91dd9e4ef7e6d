"""Where our device stands: the table, its picture, and the times of docs/protocol.md section 3."""

import os
import random
import subprocess
import sys
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_evidence import fake_commit, fake_id, fake_join, fake_leaf, fake_word, random_evidence
from mlsrtc.evidence import Committed
from mlsrtc.identifiers import EpochId, MemberId, UserId
from mlsrtc.ordering import Ordering
from mlsrtc.policy import Policy
from mlsrtc.standing import (
    TABLE,
    WORLD,
    Decision,
    Move,
    Say,
    Situation,
    Stage,
    Trouble,
    Voice,
    Where,
    decide,
    look,
    way,
)

POLICY = Policy()
REPOSITORY = Path(__file__).parent.parent

# -- the table -----------------------------------------------------------------------------------------------


def test_every_state_is_reached_and_can_be_left() -> None:
    edges = {(where, row.then) for (where, _, _), row in TABLE.items() if where is not row.then}
    edges |= {(before, after) for before, after, _ in WORLD}
    reached = {Where.OUTSIDE}
    while more := {after for before, after in edges if before in reached} - reached:
        reached |= more
    assert reached == set(Where)
    assert {before for before, _ in edges} == set(Where)


def test_every_move_trouble_and_stage_has_a_row() -> None:
    assert {row.move for row in TABLE.values()} == set(Move)
    assert {trouble for _, trouble, _ in TABLE} == set(Trouble)
    assert {stage for _, _, stage in TABLE} == set(Stage)


def test_the_diagram_is_drawn_from_the_table() -> None:
    drawn = subprocess.run(
        [sys.executable, REPOSITORY / "scripts" / "draw_standing.py"],
        check=True,
        capture_output=True,
        text=True,
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
    ).stdout
    assert drawn == (REPOSITORY / "docs" / "diagrams" / "standing.md").read_text()


# -- scenes --------------------------------------------------------------------------------------------------


class Stand:
    """Eight users in one group, seen by `h`; `look` and `decide` asked with a memory, as a session asks
    them.
    """

    def __init__(self, *, disputes: bool = False) -> None:
        self.leaf = {name: fake_leaf(f"{name}.1") for name in "abcdefgh"}
        first, *rest = self.leaf.values()
        self.root = fake_commit(fake_id("root"), None, first, add=rest)
        self.ordering = Ordering([self.root, *map(fake_join, self.leaf.values())])
        self.me, self.user = MemberId("h.1"), UserId("@h:hs")
        self.mine: EpochId | None = self.root.id
        self.states: set[EpochId] = {self.root.id}
        self.invited, self.trouble, self.voice, self.rank = False, Trouble.NONE, Voice(), 0
        self.disputes = disputes
        self.situation: Situation | None = None

    def commit(self, name: str, author: str, on: Committed, *, n: int = 2, remove: str = "") -> Committed:
        gone = [f"{x}.1" for x in remove]
        made = fake_commit(fake_id(name), on, self.leaf[author], n=n, remove=gone, left=gone)
        self.ordering.add(made)
        return made

    def say(self, names: str, on: Committed, *, n: int = 1, refuse: Committed | None = None) -> None:
        for name in names:
            self.ordering.add(fake_word(self.leaf[name], n, on, refuse.id if refuse else None))

    def stand(self, commit: Committed, *, keep: Collection[Committed] = ()) -> None:
        self.mine, self.states = commit.id, {commit.id, *(kept.id for kept in keep)}

    def ask(self, now: float) -> Decision:
        self.situation = look(
            self.situation,
            self.ordering,
            self.ordering.head_path(),
            me=self.me,
            user=self.user,
            mine=self.mine,
            states=self.states,
            invited=self.invited,
            trouble=self.trouble,
            voice=self.voice,
            rank=self.rank,
            now=now,
        )
        return decide(self.situation, POLICY, now, disputes=self.disputes)

    @property
    def where(self) -> Where:
        assert self.situation is not None
        return self.situation.where


def test_at_the_head_nobody_moves_or_speaks() -> None:
    assert Stand().ask(0.0) == Decision(Move.STAY, Say.NOTHING, None)


def test_a_commit_on_ours_is_applied_at_once() -> None:
    stand = Stand()
    child = stand.commit("child", "b", stand.root)
    assert stand.ask(0.0) == Decision(Move.APPLY, Say.NOTHING, None)
    assert stand.where is Where.BEHIND
    assert way(stand.ordering, stand.ordering.head_path(), stand.states, stand.me) == (stand.root.id, child.id)


def test_since_when_the_head_is_the_head_does_not_depend_on_where_we_stand() -> None:
    stand = Stand()
    child = stand.commit("child", "b", stand.root)
    for now, mine in ((1.0, stand.root), (2.0, child), (3.0, child)):
        stand.stand(mine)
        stand.ask(now)
        assert stand.situation is not None
        assert stand.situation.head_since == 1.0
    stand.commit("grandchild", "c", child)
    stand.ask(4.0)
    assert stand.situation.head_since == 4.0


def test_who_stands_nowhere_waits_for_a_welcome_and_joins_by_it() -> None:
    stand = Stand()
    stand.mine, stand.states = None, set()
    assert stand.ask(0.0).move is Move.STAY
    stand.invited = True
    assert stand.ask(1.0).move is Move.JOIN
    stand.trouble = Trouble.UNREADABLE
    assert stand.ask(2.0).move is Move.REJOIN
    stand.trouble = Trouble.UNWANTED
    assert stand.ask(2.0).move is Move.FOLLOW_MUTED


def test_a_member_without_a_head_stays() -> None:
    stand = Stand()
    stand.ordering = Ordering([stand.root])  # no joins: a root of an earlier call
    assert stand.ask(0.0) == Decision(Move.STAY, Say.NOTHING, None)
    assert stand.where is Where.HEADLESS


def forked(**changes: bool) -> tuple[Stand, Committed, Committed]:
    """`a` and `b` race; we stand on a's commit, `c` has spoken for b's."""
    stand = Stand(**changes)
    ours = stand.commit("ours", "a", stand.root)
    theirs = stand.commit("theirs", "b", stand.root)
    stand.say("c", theirs)
    stand.stand(ours)
    return stand, ours, theirs


def test_a_free_move_is_made_once_the_rival_has_stood() -> None:
    stand, ours, theirs = forked()
    stand.stand(ours, keep=[stand.root])
    assert stand.ask(10.0) == Decision(Move.WAIT, Say.NOTHING, 11.5)
    assert stand.where is Where.BESIDE_FREE
    assert stand.ask(11.4).move is Move.WAIT
    assert stand.ask(11.5) == Decision(Move.SWITCH, Say.NOTHING, None)
    assert way(stand.ordering, stand.ordering.head_path(), stand.states, stand.me) == (stand.root.id, theirs.id)


def test_a_rival_that_grows_on_its_branch_has_stood_as_long_as_the_branch() -> None:
    stand, ours, theirs = forked()
    stand.stand(ours, keep=[stand.root])
    stand.ask(10.0)
    stand.commit("further", "d", theirs)
    assert stand.ask(11.5).move is Move.SWITCH


def test_rivals_that_take_turns_hold_a_free_move_up_for_five_seconds_at_most() -> None:
    stand, ours, theirs = forked()
    third = stand.commit("third", "d", stand.root)
    stand.stand(ours, keep=[stand.root])
    now, n, leader = 10.0, 2, theirs
    while (decision := stand.ask(now)).move is Move.WAIT:
        assert decision.again is not None
        assert now < 20.0
        now, n, leader = now + 1.0, n + 1, third if leader is theirs else theirs
        stand.say("cefg", leader, n=n)
    assert decision.move is Move.SWITCH
    assert now == 10.0 + POLICY.settle_free_limit


def test_a_welcome_on_the_other_branch_makes_the_move_free() -> None:
    stand, _, _ = forked()
    stand.invited = True
    stand.ask(10.0)
    assert stand.where is Where.BESIDE_FREE


def test_a_way_that_does_not_open_makes_the_move_costly() -> None:
    stand, ours, _ = forked()
    stand.stand(ours, keep=[stand.root])
    stand.trouble = Trouble.UNREADABLE
    stand.ask(10.0)
    assert stand.where is Where.BESIDE_COSTLY


def test_nobody_leaves_a_branch_without_having_said_that_it_stood_there() -> None:
    stand, ours, _ = forked()
    assert stand.ask(10.0) == Decision(Move.WAIT, Say.NOTHING, 10.2)
    assert stand.where is Where.BESIDE_COSTLY
    said = stand.ask(10.2)
    assert (said.move, said.say) == (Move.WAIT, Say.WORD)
    stand.voice = Voice(standing=ours.id)
    assert stand.ask(10.2) == Decision(Move.WAIT, Say.NOTHING, 10.2 + POLICY.settle)
    assert stand.ask(11.7) == Decision(Move.REJOIN, Say.NOTHING, None)


def test_a_side_that_gains_words_is_left_eight_seconds_later_at_most() -> None:
    stand, ours, theirs = forked()
    stand.say("defg", theirs)
    stand.ask(10.0)
    stand.voice = Voice(standing=ours.id)
    now, n = 10.2, 10
    stand.say("h", ours)
    for name in "cdefg" * 3:  # each comes over to us and is seen back on the other side in between
        if stand.ask(now).move is not Move.WAIT:
            break
        n += 1
        stand.say(name, ours, n=n)
        stand.ask(now + 0.1)
        n += 1
        stand.say(name, theirs, n=n)
        now += 1.0
    assert stand.ask(now).move is Move.REJOIN
    assert now == pytest.approx(18.2)


@pytest.mark.parametrize(("rank", "delay"), [(0, 0.2), (1, 0.5), (2, 0.5), (3, 0.8), (6, 0.8), (7, 1.1)])
def test_rounds_of_speakers_double(rank: int, delay: float) -> None:
    stand, _, _ = forked()
    stand.rank = rank
    assert stand.ask(10.0).again == pytest.approx(10.0 + delay)
    assert stand.ask(10.0 + delay - 0.01).say is Say.NOTHING
    assert stand.ask(10.0 + delay).say is Say.WORD


def test_a_late_rank_says_its_word_before_it_leaves() -> None:
    stand, ours, _ = forked()
    stand.rank = 127
    stand.ask(10.0)
    assert stand.ask(11.6).move is Move.WAIT  # the settling time is over, its word is not said
    assert stand.ask(12.3).say is Say.WORD
    stand.voice = Voice(standing=ours.id)
    assert stand.ask(12.3).again == pytest.approx(13.8)


def test_a_user_that_has_spoken_for_our_side_stays_silent() -> None:
    stand, ours, _ = forked()
    stand.say("h", ours)
    stand.ask(10.0)
    assert stand.ask(11.0).say is Say.NOTHING


def test_enough_of_a_lead_needs_no_more_words() -> None:
    stand, _, _ = forked()
    stand.ask(10.0)
    assert stand.situation is not None
    contest = stand.situation.contest
    assert contest is not None
    users = frozenset(UserId(f"@{i}:hs") for i in range(9))
    for support, speaks in [(3, True), (4, True), (5, False)]:  # against 2: a lead of 1 + ⌈2/2⌉ is 4
        ahead = replace(contest, ours=frozenset(list(users)[: support - 1]))
        decision = decide(replace(stand.situation, contest=ahead), POLICY, 10.2)
        assert (decision.say is Say.WORD) == speaks, support


def test_a_head_that_removes_us_is_costly_and_gives_nothing_to_say() -> None:
    stand = Stand()
    stand.commit("removal", "b", stand.root, remove="h")
    assert stand.ask(10.0) == Decision(Move.WAIT, Say.NOTHING, 11.5)
    assert stand.where is Where.BESIDE_COSTLY
    assert stand.ask(11.5).move is Move.REJOIN


def test_who_stands_on_a_refused_commit_defends_it() -> None:
    stand = Stand()
    ours = stand.commit("ours", "a", stand.root)
    stand.stand(ours)
    stand.say("b", stand.root, refuse=ours)
    assert stand.ask(10.0) == Decision(Move.STAY, Say.NOTHING, 10.2)
    assert stand.ask(10.2).say is Say.WORD
    stand.say("c", ours)
    assert stand.ask(10.3).say is Say.WORD  # two against one: one more is wanted
    stand.say("d", ours)
    assert stand.ask(10.4) == Decision(Move.STAY, Say.NOTHING, None)


def test_a_refused_commit_is_defended_once_by_each_user() -> None:
    stand = Stand()
    ours = stand.commit("ours", "a", stand.root)
    stand.stand(ours)
    stand.say("bc", stand.root, refuse=ours)
    stand.ask(10.0)
    stand.voice = Voice(standing=ours.id)
    assert stand.ask(10.2).say is Say.NOTHING


def test_of_two_refused_commits_the_one_not_spoken_for_is_defended() -> None:
    stand = Stand()
    upper = stand.commit("upper", "a", stand.root)
    lower = stand.commit("lower", "b", upper)
    stand.stand(lower)
    stand.say("cdfg", stand.root, refuse=upper)
    stand.say("e", upper, refuse=lower)
    stand.say("h", upper)  # speaks for the upper one, which needs it most, and not for the lower
    stand.ask(10.0)
    assert stand.situation is not None
    assert stand.situation.challenge is not None
    assert stand.situation.challenge.id == lower.id
    assert stand.ask(10.2).say is Say.WORD


def test_times_start_anew_where_we_stand_anew() -> None:
    stand, ours, _ = forked()
    deeper = stand.commit("deeper", "d", ours, n=3)
    stand.say("efg", fake_commit(fake_id("theirs"), stand.root, stand.leaf["b"], n=2))
    stand.stand(ours, keep=[stand.root])
    stand.ask(10.0)
    stand.stand(deeper, keep=[stand.root])
    assert stand.ask(11.5) == Decision(Move.WAIT, Say.NOTHING, 13.0)


def test_without_disputes_a_commit_that_does_not_open_leads_to_a_rejoin() -> None:
    stand = Stand()
    stand.commit("bad", "b", stand.root)
    stand.trouble = Trouble.UNREADABLE
    assert stand.ask(10.0) == Decision(Move.REJOIN, Say.NOTHING, None)
    stand.trouble = Trouble.UNWANTED
    assert stand.ask(10.0) == Decision(Move.FOLLOW_MUTED, Say.NOTHING, None)


def disputed(trouble: Trouble) -> tuple[Stand, Committed]:
    stand = Stand(disputes=True)
    bad = stand.commit("bad", "b", stand.root)
    stand.trouble = trouble
    assert stand.ask(10.0) == Decision(Move.WAIT, Say.NOTHING, 10.3)
    assert stand.ask(10.3).say is Say.REFUSAL
    stand.voice = Voice(refused=bad.id)
    assert stand.ask(10.4) == Decision(Move.WAIT, Say.NOTHING, 13.0)
    stand.say("h", stand.root, refuse=bad)
    return stand, bad


def test_a_dispute_without_backers_is_looked_past() -> None:
    stand, _ = disputed(Trouble.UNREADABLE)
    assert stand.ask(10.5).move is Move.WAIT
    assert stand.ask(13.0).move is Move.LOOK_PAST


@pytest.mark.parametrize(
    ("trouble", "move"), [(Trouble.UNREADABLE, Move.REJOIN), (Trouble.UNWANTED, Move.FOLLOW_MUTED)]
)
def test_a_dispute_that_others_back_ends_by_giving_in(trouble: Trouble, move: Move) -> None:
    stand, bad = disputed(trouble)
    stand.ask(10.5)
    stand.say("c", bad)
    assert stand.ask(12.5).again == pytest.approx(14.0)  # a word came: 1.5 s without a new one
    assert stand.ask(14.0).move is move


def test_a_refusal_is_kept_back_when_enough_have_refused() -> None:
    stand = Stand(disputes=True)
    stand.commit("bad", "b", stand.root)
    stand.trouble = Trouble.UNREADABLE
    stand.ask(10.0)
    assert stand.situation is not None
    dispute = stand.situation.dispute
    assert dispute is not None
    crowd = frozenset(UserId(f"@{i}:hs") for i in range(3))
    decision = decide(replace(stand.situation, dispute=replace(dispute, refusers=crowd)), POLICY, 11.0, disputes=True)
    assert decision.say is Say.NOTHING  # three against one


# -- any set of events ---------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_the_events_waiting_ends_and_one_speaks_before_one_rejoins(rng: random.Random, disputes: bool) -> None:
    stand = Stand(disputes=disputes)
    stand.ordering = Ordering(random_evidence(rng))
    ids = sorted({c.id for c in stand.ordering.evidence() if isinstance(c, Committed)})
    known = [commit for id in ids if (commit := stand.ordering.commit(id))]
    if not known:
        return
    stand.mine = None
    if rng.random() < 0.9:
        commit = rng.choice(known)
        leaf = rng.choice(list(commit.leaves.values()))
        stand.mine, stand.me, stand.user = commit.id, leaf.member_id, leaf.user_id
        stand.states = {commit.id, *(c.id for c in known if c.holds(stand.me) and rng.random() < 0.3)}
    stand.invited, stand.rank = rng.random() < 0.2, rng.randrange(40)
    stand.trouble = rng.choice(list(Trouble))
    now, spoken = 100.0, 0
    for _ in range(12):
        decision = stand.ask(now)
        situation = stand.situation
        assert situation is not None
        if decision.say is not Say.NOTHING:
            assert situation.mine is not None
            refused = situation.dispute.id if situation.dispute and decision.say is Say.REFUSAL else None
            stand.voice = Voice(standing=situation.mine, refused=refused or stand.voice.refused)
            spoken += 1
            continue
        if decision.again is None:
            break
        assert decision.again > now
        now = decision.again
    decision = stand.ask(now)
    assert decision.move is not Move.WAIT
    assert decision.again is None
    assert spoken <= 2  # a word and a refusal
    assert now - 100.0 <= POLICY.settle_costly_limit
    if decision.move is Move.REJOIN and stand.where is Where.BESIDE_COSTLY:
        assert stand.situation is not None
        contest = stand.situation.contest
        assert contest is not None
        lead = len(contest.ours) - len(contest.theirs)
        assert contest.side is None or contest.spoken or lead >= 1 + (len(contest.theirs) + 1) // 2
