"""A group that is led on stands on what was judged, or is not led on. Groups are real, what was judged is changed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from calls import Call, devices
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Committed
from mlsrtc.group import check, follow
from mlsrtc.identifiers import EpochId, LeafIndex
from mlsrtc.judge import Judged
from mlsrtc.mls import Group, Proposal, Secret

FIRST, SECOND, THIRD, FOURTH, STRANGER = devices("first second third fourth stranger")


def last_step() -> tuple[Group, bytes, Judged]:
    """Second's group before a commit by first that removes third and adds fourth, the commit, and the verdict on it."""
    call = Call(FIRST, [SECOND, THIRD])
    before = call.groups[SECOND.member_id]
    judged = call.commit(FIRST, [FOURTH], [THIRD], n=2)
    return before, call.candidates[-1].commit, judged


def test_a_group_follows_the_commit_that_was_judged() -> None:
    before, commit, judged = last_step()
    reached = follow(before, commit, judged.committed, external_pub=judged.external_pub)
    check(reached, judged.committed)


def test_a_commit_that_asks_for_a_pre_shared_key_is_its_authors_fault() -> None:
    """The door asks the caller for the key. A call has none, and whoever made the commit knows that."""
    call = Call(FIRST, [SECOND])
    judged = call.judged
    assert judged is not None
    asking = call.groups[FIRST.member_id].commit(
        proposals=[Proposal.psk(b"door")], psks={b"door": Secret(b"known to nobody else")}
    )
    with pytest.raises(RemoteProtocolError) as caught:
        follow(call.groups[SECOND.member_id], asking.message, judged.committed, external_pub=None)
    assert (caught.value.reason, caught.value.where) == ("missing_psk", "commit")


def seated(committed: Committed, *places: int) -> Committed:
    """The same leaves, in these places."""
    leaves = [committed.leaves[index] for index in sorted(committed.leaves)]
    return replace(committed, leaves={LeafIndex(place): leaf for place, leaf in zip(places, leaves, strict=True)})


@pytest.mark.parametrize(
    "changed",
    [
        lambda c: replace(c, removed=frozenset()),
        lambda c: replace(c, removed=c.removed | {SECOND.member_id}),
        lambda c: replace(c, removed=frozenset({SECOND.member_id})),
        lambda c: replace(c, added=frozenset()),
        lambda c: replace(c, added=c.added | {STRANGER.member_id}),
        lambda c: replace(c, leaves={**c.leaves, LeafIndex(2): STRANGER.leaf}),
        lambda c: replace(c, leaves={**c.leaves, LeafIndex(0): STRANGER.leaf}),
        lambda c: seated(c, 0, 1, 3),
        lambda c: seated(c, 2, 1, 0),
    ],
    ids=[
        "nobody removed",
        "one more removed",
        "another removed",
        "nobody added",
        "one more added",
        "another added",
        "another commits",
        "added elsewhere",
        "committer elsewhere",
    ],
)
def test_a_tree_with_other_leaves_than_judged_is_refused(changed: Callable[[Committed], Committed]) -> None:
    before, commit, judged = last_step()
    with pytest.raises(RemoteProtocolError) as caught:
        follow(before, commit, changed(judged.committed), external_pub=judged.external_pub)
    assert caught.value.reason == "bad_tree"


def test_another_epoch_and_another_external_key_are_refused() -> None:
    before, commit, judged = last_step()
    for expected, external_pub, reason in (
        (replace(judged.committed, id=EpochId(bytes(32))), judged.external_pub, "wrong_epoch"),
        (judged.committed, None, "wrong_external_pub"),
        (judged.committed, bytes(32), "wrong_external_pub"),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            follow(before, commit, expected, external_pub=external_pub)
        assert caught.value.reason == reason


def test_a_group_that_was_entered_is_compared_leaf_by_leaf() -> None:
    call = Call(FIRST, [SECOND, THIRD])
    assert call.judged is not None
    committed, group = call.judged.committed, call.groups[THIRD.member_id]
    check(group, committed)
    fewer = {place: leaf for place, leaf in committed.leaves.items() if place != 1}
    for leaves in (fewer, {**committed.leaves, LeafIndex(3): STRANGER.leaf}, {**committed.leaves, 1: STRANGER.leaf}):
        with pytest.raises(RemoteProtocolError) as caught:
            check(group, replace(committed, leaves=leaves))
        assert caught.value.reason == "bad_tree"
    with pytest.raises(RemoteProtocolError, match="wrong_epoch"):
        check(group, replace(committed, id=EpochId(bytes(32))))
