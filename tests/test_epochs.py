"""What is kept of our own commits that have not come back, and for how long. Groups are real, walks are in
`tests/call`."""

from mlsrtc import mls
from mlsrtc.drafts import Draft
from mlsrtc.epochs import DRAFTS_KEPT, Epochs, Held
from mlsrtc.identifiers import EpochId
from mlsrtc.policy import Policy

KEPT = Policy().old_state_seconds
PARENT, OURS, THEIRS = (EpochId(bytes([value]) * 32) for value in (1, 2, 3))


def group() -> mls.Group:
    return mls.Client(b"device", mls.SigningKey.generate()).create_group(b"group")


def waiting(parent: EpochId | None = PARENT) -> Epochs:
    """We stand on PARENT, if there is one, and have made a commit on it that has not come back."""
    held = {} if parent is None else {parent: Held(group())}
    return Epochs(Policy(), stand=parent, held=held, drafts={parent: Draft(OURS, parent, group())})


def test_a_commit_is_kept_while_its_parent_is_the_head_or_where_we_stand() -> None:
    epochs = waiting()
    assert epochs.prune_drafts(PARENT, 0.0) == []
    assert epochs.prune_drafts(THEIRS, 1000.0) == []
    epochs.stand = THEIRS
    assert epochs.prune_drafts(PARENT, 2000.0) == []
    assert epochs.next_timer() is None
    assert epochs.drafts


def test_a_commit_that_lost_its_race_is_forgotten_when_an_old_state_would_be() -> None:
    epochs = waiting()
    epochs.stand = THEIRS
    assert epochs.prune_drafts(THEIRS, 100.0) == []
    assert epochs.next_timer() == 100.0 + KEPT
    assert epochs.prune_drafts(THEIRS, 100.0 + KEPT - 0.001) == []
    (forgotten,) = epochs.prune_drafts(THEIRS, 100.0 + KEPT)
    assert forgotten.id == OURS
    assert epochs.drafts == {}
    assert epochs.next_timer() is None


def test_its_time_begins_anew_if_the_call_comes_back_to_its_parent() -> None:
    epochs = waiting()
    epochs.stand = THEIRS
    epochs.prune_drafts(THEIRS, 0.0)
    assert epochs.prune_drafts(PARENT, KEPT) == []
    assert epochs.prune_drafts(THEIRS, KEPT + 1) == []
    assert epochs.drafts


def test_a_commit_that_is_the_head_is_kept_until_we_stand_on_it() -> None:
    epochs = waiting()
    epochs.stand = THEIRS
    assert epochs.prune_drafts(OURS, 0.0) == []
    assert epochs.prune_drafts(OURS, 1000.0) == []
    epochs.held[OURS] = Held(group())
    assert [draft.id for draft in epochs.prune_drafts(OURS, 1000.0)] == [OURS]


def test_a_root_that_lost_its_race_is_forgotten_though_we_stand_nowhere() -> None:
    epochs = waiting(None)
    assert epochs.prune_drafts(None, 0.0) == []
    assert epochs.prune_drafts(THEIRS, 1000.0) == []
    assert [draft.id for draft in epochs.prune_drafts(THEIRS, 1000.0 + KEPT)] == [OURS]


def test_no_more_than_a_few_are_kept() -> None:
    epochs = waiting()
    for value in range(10, 10 + DRAFTS_KEPT):
        parent = EpochId(bytes([value]) * 32)
        epochs.drafts[parent] = Draft(EpochId(bytes([value + 100]) * 32), parent, group())
    assert [draft.id for draft in epochs.prune_drafts(PARENT, 0.0)] == [OURS]
    assert len(epochs.drafts) == DRAFTS_KEPT
