"""`mlsrtc.ordering` against the text of the head rule, scenario by scenario, and against a naive reading."""

import json
import random
from collections import Counter
from itertools import pairwise, permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_evidence import (
    FAR,
    Evidence,
    fake_commit,
    fake_id,
    fake_join,
    fake_leaf,
    fake_word,
    random_evidence,
)
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Committed, Left, Refusal
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.ordering import Ordering, dump, replay
from mlsrtc.wire.encoding import order_hash
from naive_head import Naive

# -- the rule as a whole -------------------------------------------------------------------------------------


def compare(rng: random.Random, evidence: list[Evidence]) -> tuple[Ordering, Naive]:
    """Both readings of one set agree, in any order and with repetitions; what may only grow only grows."""
    shuffled = evidence + rng.sample(evidence, rng.randint(0, len(evidence)))
    rng.shuffle(shuffled)
    ordering, other, naive = Ordering(), Ordering(evidence), Naive(evidence)
    departed: frozenset[MemberId] = frozenset()
    equivocators: frozenset[MemberId] = frozenset()
    ask = rng.randrange(1, 8)  # asking in between must not matter, so ask at some places only
    for number, value in enumerate(shuffled):
        assert ordering.add(value) == (value not in shuffled[:number])
        if number % ask == 0:
            assert departed <= ordering.departed
            assert equivocators <= ordering.equivocators
            departed, equivocators = frozenset(ordering.departed), frozenset(ordering.equivocators)
    assert ordering.head() == other.head() == naive.head()
    here = {m for m in naive.members if rng.random() < 0.2}
    assert ordering.path_among(here)[-1:] == (() if (head := naive.head_among(here)) is None else (head,))
    assert ordering.departed == other.departed == naive.departed()
    assert ordering.equivocators == naive.equivocators()
    words = {m: word for m in naive.members if (word := ordering.word(m))}
    read = {m: (w.n, w.id, (w.refuse.id, w.refuse.why) if w.refuse else None) for m, w in words.items()}
    assert read == naive.words()
    assert dump(ordering) == dump(other)
    return ordering, naive


def test_thousands_of_random_sets_in_any_order_have_the_head_of_the_naive_reading() -> None:
    seen: Counter[str] = Counter()
    for seed in range(3000):
        rng = random.Random(seed)
        ordering, _ = compare(rng, random_evidence(rng))
        path = ordering.head_path()
        contested = [id for id in (None, *path) if len(ordering.children(id)) > 1]
        seen["no head"] += not path
        seen["contested"] += bool(contested)
        seen["a root passed by"] += ordering.path_among(set(_members(ordering)[::4])) != path
        seen["a root skipped"] += len(ordering.roots) < len(ordering.children(None))
        seen["a word of a join"] += any(w.n == 0 for w in map(ordering.word, _members(ordering)) if w)
        seen["equivocator"] += bool(ordering.equivocators)
        seen["stale"] += bool(ordering.stale)
        seen["departed"] += bool(ordering.departed)
        seen["a parent missing"] += bool(ordering.missing)
        seen["a refused commit passed over"] += any(
            len(ordering.refusers(k)) > len(ordering.support(k)) for id in path for k in ordering.children(id)
        )
        seen["a later child"] += any(path[i + 1] != ordering.children(id)[0] for i, id in enumerate(path[:-1]))
    rare = {name: count for name, count in seen.items() if count < 10}
    assert not rare, f"the sets do not try these: {rare}"


def _members(ordering: Ordering) -> list[MemberId]:
    return [MemberId(name) for name in dump(ordering)["leaves"]]


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_the_head_follows_from_the_set(rng: random.Random) -> None:
    compare(rng, random_evidence(rng))


def answers(ordering: Ordering) -> dict[str, object]:
    """Everything that an ordering can be asked."""
    ids = _ids(ordering)
    return {
        "dump": dump(ordering),
        "now": ordering.now,
        "missing": ordering.missing,
        "roots": ordering.roots,
        "rivals": ordering.rivals,
        "of each": {id: (ordering.support(id), ordering.refusers(id), ordering.path(id)) for id in ids},
        "refused": {id: ordering.refused_on_path(id) for id in ids},
        "children": {id: ordering.children(id) for id in (None, *ids)},
        "below": {(one, other) for one in ids for other in ids if ordering.is_below(one, other)},
    }


@given(st.randoms(use_true_random=False))
@settings(max_examples=150, deadline=None)
def test_what_is_kept_from_step_to_step_is_what_the_set_gives_anew(rng: random.Random) -> None:
    evidence = random_evidence(rng)
    evidence += rng.sample(evidence, rng.randint(0, len(evidence) // 4))
    rng.shuffle(evidence)
    ordering, ask = Ordering(), rng.randrange(1, 4)
    for number, value in enumerate(evidence, start=1):
        ordering.add(value)
        if number % ask == 0:
            assert answers(ordering) == answers(Ordering(rng.sample(evidence[:number], number)))


@given(st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_paths_descent_and_forks_fit_together(rng: random.Random) -> None:
    ordering = Ordering(random_evidence(rng))
    ids = [id for id in _ids(ordering) if ordering.commit(id)]
    for id in ids:
        path = ordering.path(id)
        assert path[-1] == id
        assert path[0] in ordering.children(None)
        assert all(b in ordering.children(a) for a, b in pairwise(path))
        assert all(ordering.is_below(id, above) for above in path[:-1])
        assert not ordering.is_below(id, id)
        assert all(ordering.support(id) <= ordering.support(above) for above in path)
        assert ordering.refused_on_path(id) == tuple(above for above in path if ordering.refusers(above))
    for ours, theirs in zip(ids, reversed(ids), strict=True):
        fork = ordering.fork(ours, theirs)
        assert (fork.ours is None) == (ours in ordering.path(theirs))
        assert fork.base is None or all(fork.base in ordering.path(id) for id in (ours, theirs))
        if ours == theirs:
            assert fork.ours is fork.theirs is None


def _ids(ordering: Ordering) -> list[EpochId]:
    return sorted({value.id for value in ordering.evidence() if isinstance(value, Committed)})


def test_should_one_id_ever_have_two_contents_all_take_the_same_one() -> None:
    a, b, c = map(fake_leaf, ["a.1", "b.1", "c.1"])
    root = fake_commit(fake_id("root"), None, a, add=[b])
    first = fake_commit(fake_id("twin"), root, b, add=[c])
    second = fake_commit(fake_id("twin"), root, a, n=2, remove=["b.1"], left=["b.1"])
    third = fake_commit(fake_id("twin"), fake_commit(fake_id("uncle"), None, c), c)
    others: list[Evidence] = [fake_commit(fake_id("other"), root, a, n=3), fake_join(a), fake_join(c), root]
    dumps = [dump(Ordering([x, *others, y, z])) for x, y, z in permutations((first, second, third))]
    assert all(one == dumps[0] for one in dumps)


# -- named scenarios -----------------------------------------------------------------------------------------


class Party:
    """Five users with a device each, one root that holds them all, and their joins."""

    def __init__(self, *names: str) -> None:
        self.leaf = {name: fake_leaf(f"{name}.1") for name in names}
        first, *rest = self.leaf.values()
        self.root = fake_commit(fake_id("root"), None, first, add=rest)
        self.ordering = Ordering([self.root, *map(fake_join, self.leaf.values())])

    def commit(
        self,
        name: str,
        author: str,
        on: Committed | None = None,
        *,
        n: int = 2,
        remove: str = "",
        left: str = "",
        refuse: Refusal | None = None,
    ) -> Committed:
        made = fake_commit(
            fake_id(name),
            on or self.root,
            self.leaf[author],
            n=n,
            remove=[f"{x}.1" for x in remove.split()],
            left=[f"{x}.1" for x in left.split()],
            refuse=refuse,
        )
        self.ordering.add(made)
        return made

    def say(self, name: str, n: int, on: Committed, refuse: Committed | None = None) -> None:
        self.ordering.add(fake_word(self.leaf[name], n, on, refuse.id if refuse else None))

    def by_hash(self, *names: str, on: Committed | None = None) -> list[str]:
        parent = (on or self.root).id
        return sorted(names, key=lambda name: order_hash(parent, self.leaf[name].user_id))


@pytest.fixture
def party() -> Party:
    return Party("a", "b", "c", "d", "e")


def test_an_empty_set_has_no_head() -> None:
    ordering = Ordering()
    assert ordering.head() is None
    assert ordering.head_path() == ()
    assert ordering.now is None


def test_own_commit_is_a_word(party: Party) -> None:
    child = party.commit("child", "b")
    assert party.ordering.standing(MemberId("b.1")) == child.id
    assert party.ordering.head() == child.id
    assert party.ordering.support(party.root.id) == {"@a:hs", "@b:hs"}


def test_more_users_win_whatever_the_hash_says(party: Party) -> None:
    first, second = party.by_hash("a", "b")
    loser = party.commit("loser", first)
    winner = party.commit("winner", second)
    assert party.ordering.head() == loser.id
    party.say("c", 1, winner)
    assert party.ordering.head() == winner.id
    assert party.ordering.rivals == (loser.id,)


def test_a_tie_is_broken_by_the_static_hash_over_the_user_of_the_author(party: Party) -> None:
    first, second = party.by_hash("b", "c")
    # The ids would say the contrary: the hash stands before them.
    party.commit("aaa", second)
    party.commit("zzz", first)
    assert party.ordering.head() == fake_id("zzz")


def test_two_devices_of_one_user_tie_in_the_hash_and_the_least_id_wins() -> None:
    one, two = fake_leaf("a.1", device="ONE"), fake_leaf("a.2", device="TWO")
    root = fake_commit(fake_id("root"), None, one, add=[two])
    children = [fake_commit(fake_id("m"), root, two), fake_commit(fake_id("k"), root, one, n=2)]
    assert Ordering([root, *children, fake_join(one)]).head() == fake_id("k")


def test_a_tie_is_broken_by_a_removal_with_the_leave_inside(party: Party) -> None:
    first, second = party.by_hash("b", "c")
    party.commit("other", first)
    removal = party.commit("removal", second, remove="e", left="e")
    assert party.ordering.head() == removal.id


def test_a_removal_without_the_leave_inside_breaks_no_tie(party: Party) -> None:
    first, second = party.by_hash("b", "c")
    other = party.commit("other", first)
    party.commit("removal", second, remove="e")
    assert party.ordering.head() == other.id


def test_refusals_outvote_support(party: Party) -> None:
    refused = party.commit("refused", "b")
    party.say("c", 1, party.root, refuse=refused)
    assert party.ordering.head() == refused.id  # one against one does not outvote
    party.say("d", 1, party.root, refuse=refused)
    assert party.ordering.refusers(refused.id) == {"@c:hs", "@d:hs"}
    assert party.ordering.head() == party.root.id
    assert party.ordering.rivals == (refused.id,)
    sibling = party.commit("sibling", "c", n=2, refuse=Refusal(refused.id, "unopened"))
    assert party.ordering.head() == sibling.id


def test_who_stands_below_does_not_count_as_refusing(party: Party) -> None:
    refused = party.commit("refused", "b")
    for name in "cd":
        party.say(name, 1, refused, refuse=refused)
    assert party.ordering.refusers(refused.id) == frozenset()
    assert party.ordering.head() == refused.id


def test_an_equivocator_has_no_word(party: Party) -> None:
    party.commit("one", "b")
    party.commit("two", "b", n=3)
    other = party.commit("other", "c")
    party.say("b", 4, party.root)
    assert party.ordering.equivocators == {"b.1"}
    assert party.ordering.word(MemberId("b.1")) is None
    assert party.ordering.head() == other.id


def test_a_creator_of_two_roots_has_equivocated() -> None:
    a, b = fake_leaf("a.1"), fake_leaf("b.1")
    roots = [fake_commit(fake_id(name), None, a, add=[b]) for name in ("one", "two")]
    assert Ordering([*roots, fake_join(a)]).equivocators == {"a.1"}


def test_stale_members_have_no_word() -> None:
    a, b, c = map(fake_leaf, ["a.1", "b.1", "c.1"])
    root = fake_commit(fake_id("root"), None, a, add=[b, c])
    child = fake_commit(fake_id("child"), root, b)
    ordering = Ordering([root, child, fake_join(a), fake_join(b, until=100), fake_join(c, start=100)])
    assert ordering.standing(b.member_id) == child.id  # `until` is the last moment that counts
    ordering.add(fake_join(fake_leaf("d.1"), start=101))
    assert ordering.stale == {"b.1"}
    assert ordering.now == 101
    assert ordering.word(b.member_id) is None
    ordering.add(fake_join(b, until=200))  # a refresh
    assert ordering.standing(b.member_id) == child.id


def test_a_departed_member_cannot_lead(party: Party) -> None:
    late = party.commit("late", "e")
    party.say("e", 3, late)
    calm = party.commit("calm", "b")
    party.ordering.add(Left(MemberId("e.1"), b"signature"))
    assert party.ordering.head() == calm.id
    assert party.ordering.support(late.id) == frozenset()


def test_a_leave_inside_a_commit_counts_even_if_its_parent_is_missing(party: Party) -> None:
    unseen = fake_commit(fake_id("unseen"), party.root, party.leaf["a"], n=2)
    removal = fake_commit(fake_id("removal"), unseen, party.leaf["b"], remove=["e.1"], left=["e.1"], n=2)
    party.ordering.add(removal)
    assert party.ordering.departed == {"e.1"}
    assert party.ordering.missing == {unseen.id}
    assert party.ordering.head() == party.root.id
    party.ordering.add(unseen)
    assert party.ordering.missing == frozenset()
    assert party.ordering.head() == removal.id


def test_a_commit_that_skips_an_epoch_number_is_not_connected(party: Party) -> None:
    far = fake_commit(fake_id("far"), party.root, party.leaf["a"], n=2)
    fields = {name: getattr(far, name) for name in far.__dataclass_fields__}
    party.ordering.add(Committed(**{**fields, "epoch": 3}))
    assert party.ordering.head() == party.root.id


@pytest.mark.parametrize(
    ("user", "device", "key", "acts"),
    [
        ("@a:hs", "ONE", "k", True),
        ("@b:hs", "ONE", "k", False),
        ("@a:hs", "TWO", "k", False),
        ("@a:hs", "ONE", "another", False),
    ],
)
def test_replaces_acts_only_on_the_same_user_device_and_device_key(
    user: str, device: str, key: str, acts: bool
) -> None:
    old = fake_leaf("old", user="@a:hs", device="ONE", key="k")
    new = fake_leaf("new", user=user, device=device, key=key)
    ordering = Ordering([fake_join(new, replaces=["old"])])
    assert ordering.departed == frozenset()  # nobody knows yet whose `old` was
    ordering.add(fake_join(old))
    assert ordering.departed == (frozenset({"old"}) if acts else frozenset())


def test_an_earlier_call_in_the_slot_is_skipped() -> None:
    a, b, c, d = map(fake_leaf, ["a.1", "b.1", "c.1", "d.1"])
    earlier = fake_commit(fake_id("earlier"), None, a, add=[b])
    ordering = Ordering([earlier, fake_join(a), fake_join(b)])
    assert ordering.head() == earlier.id
    for leaf in (a, b):
        ordering.add(Left(leaf.member_id, b"signature"))
    assert ordering.head() is None
    assert not ordering.roots
    present = fake_commit(fake_id("present"), None, c, add=[d])
    for value in (present, fake_join(c), fake_join(d)):
        ordering.add(value)
    assert ordering.head() == present.id
    assert ordering.roots == (present.id,)
    assert set(ordering.children(None)) == {earlier.id, present.id}


def test_a_root_that_leads_to_nobody_who_is_here_is_passed_by() -> None:
    a, b, c, d, e = map(fake_leaf, ["a.1", "b.1", "c.1", "d.1", "e.1"])
    first = fake_commit(fake_id("first"), None, a, add=[b, c])
    last = fake_commit(fake_id("last"), first, b, n=1, remove=["a.1"])
    new = fake_commit(fake_id("new"), None, d, add=[e])
    ordering = Ordering([first, last, new, *map(fake_join, (a, b, c, d, e)), fake_word(c, 1, first)])
    assert ordering.head() == last.id
    assert ordering.path_among({"d.1", "e.1"}) == (new.id,)
    assert ordering.path_among({"a.1", "d.1", "e.1"}) == (new.id,)  # a had a leaf, and has none at the head
    assert ordering.path_among({"c.1", "d.1", "e.1"}) == (first.id, last.id)
    assert ordering.path_among(set()) == ordering.head_path()


def test_a_call_is_not_over_while_a_leaf_below_its_root_is_present() -> None:
    a, b, c = map(fake_leaf, ["a.1", "b.1", "c.1"])
    root = fake_commit(fake_id("root"), None, a, add=[b])
    child = fake_commit(fake_id("child"), root, b, add=[c])
    gone = [Left(leaf.member_id, b"signature") for leaf in (a, b)]
    assert Ordering([root, child, *map(fake_join, (a, b, c)), *gone]).head() == child.id


def test_a_join_speaks_for_its_head_once_it_is_added_below() -> None:
    a, b, c = map(fake_leaf, ["a.1", "b.1", "c.1"])
    root = fake_commit(fake_id("root"), None, a, add=[b])
    ordering = Ordering([root, *map(fake_join, (a, b)), fake_join(c, head=root.id)])
    assert ordering.word(c.member_id) is None
    ordering.add(fake_commit(fake_id("child"), root, b, add=[c]))
    word = ordering.word(c.member_id)
    assert word is not None
    assert (word.n, word.id) == (0, root.id)
    ordering.add(fake_join(c))  # another J of the same m without a head: the least head counts, and null is least
    assert ordering.word(c.member_id) is None


def test_the_greatest_count_whose_target_holds_the_member_is_the_word(party: Party) -> None:
    child = party.commit("child", "b", remove="e", left="")
    unknown = fake_commit(fake_id("unknown"), child, party.leaf["b"], n=3)
    party.say("e", 1, party.root)
    party.say("e", 2, child)  # no leaf of e there
    party.say("e", 3, unknown)  # not in T yet
    assert party.ordering.standing(MemberId("e.1")) == party.root.id
    party.say("c", 1, party.root)
    party.say("c", 2, unknown)
    assert party.ordering.standing(MemberId("c.1")) == party.root.id
    party.ordering.add(unknown)
    assert party.ordering.standing(MemberId("c.1")) == unknown.id
    assert party.ordering.standing(MemberId("e.1")) == party.root.id


def test_of_two_words_of_one_count_the_least_id_then_the_least_refusal_counts(party: Party) -> None:
    x, y = party.commit("x", "b"), party.commit("y", "c")
    party.say("d", 5, y)
    party.say("d", 5, x, refuse=y)
    party.say("d", 5, x, refuse=x)
    word = party.ordering.word(MemberId("d.1"))
    assert word is not None
    assert (word.id, word.refuse) == (x.id, Refusal(x.id, "unopened"))
    party.say("d", 5, x)
    word = party.ordering.word(MemberId("d.1"))
    assert word is not None
    assert word.refuse is None


def test_users_are_counted_not_devices() -> None:
    devices = [fake_leaf(f"a.{i}", device=f"D{i}") for i in range(3)]
    b, c = fake_leaf("b.1"), fake_leaf("c.1")
    root = fake_commit(fake_id("root"), None, b, add=[c, *devices])
    many = fake_commit(fake_id("many"), root, devices[0])
    few = fake_commit(fake_id("few"), root, b, n=2)
    ordering = Ordering([root, many, few, *map(fake_join, [b, c, *devices])])
    for device in devices[1:]:
        ordering.add(fake_word(device, 1, many))
    ordering.add(fake_word(c, 1, few))
    assert len(ordering.support(many.id)) == 1
    assert ordering.head() == few.id


def test_a_child_under_one_of_two_ids_of_one_commit_decides_between_them(party: Party) -> None:
    # e signs two GroupInfos for one commit; b's child names one of them as its parent (docs/adr/0013).
    one, two = party.commit("one", "e"), party.commit("two", "e")
    child = party.commit("child", "b", max(one, two, key=lambda commit: commit.id))
    assert party.ordering.equivocators == {"e.1"}
    assert party.ordering.head() == child.id
    assert party.ordering.path(child.id) == party.ordering.head_path()


def test_unknown_names_are_answered_with_nothing(party: Party) -> None:
    nobody, nowhere = MemberId("nobody"), fake_id("nowhere")
    ordering = party.ordering
    assert ordering.word(nobody) is None
    assert ordering.standing(nobody) is None
    assert ordering.leaf(nobody) is None
    assert ordering.commit(nowhere) is None
    assert ordering.support(nowhere) == ordering.refusers(nowhere) == frozenset()
    assert ordering.path(nowhere) == ordering.children(nowhere) == ()
    assert not ordering.is_below(nowhere, party.root.id)


# -- the dump ------------------------------------------------------------------------------------------------


@given(st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_a_dump_is_json_and_replays_to_the_same_set(rng: random.Random) -> None:
    ordering = Ordering(random_evidence(rng))
    text = json.dumps(dump(ordering))
    again = replay(json.loads(text))
    assert json.dumps(dump(again)) == text
    assert again.head() == ordering.head()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda d: d.update(version=2),
        lambda d: d.pop("joins"),
        lambda d: d["joins"][0].update(head="zz"),
        lambda d: d["commits"][0].update(author="nobody"),
        lambda d: d["commits"][0].update(leaves=[["x", "a.1"]]),
        lambda d: d.update(words=3),
        lambda d: d.update(leaves=[]),
    ],
)
def test_a_spoiled_dump_is_the_others_fault(party: Party, spoil: object) -> None:
    dumped = json.loads(json.dumps(dump(party.ordering)))
    assert callable(spoil)
    spoil(dumped)
    with pytest.raises(RemoteProtocolError) as error:
        replay(dumped)
    assert error.value.reason == "bad_dump"


def test_far_is_far() -> None:
    """`fake_join` makes members that never go stale in these scenarios."""
    assert not Ordering([fake_join(fake_leaf("a.1")), fake_join(fake_leaf("b.1"), start=FAR)]).stale
