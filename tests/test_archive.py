"""The archive of commits: what stays known when their bytes are forgotten."""

from mlsrtc.archive import Archive
from mlsrtc.policy import Policy
from watching import SLOT, Watch


def rekeying() -> Watch:
    """A call of two that commits every second."""
    watch = Watch(2, policy=Policy(rekey_interval=1.0))
    watch.join_all()
    watch.until_agreed(2)
    return watch


def test_a_root_is_known_by_its_event_after_its_bytes_are_forgotten() -> None:
    known = rekeying().session(0).known
    root = known.ordering.head_path()[0]
    (body,) = known.archive.bodies(root)
    archive = Archive(known.room_id, SLOT)
    archive.receive(body.event, body.parts)
    assert archive.forget_bodies([root]) == [body.event.event_id]
    assert archive.bodies(root) == []
    assert archive.root_event(root) == body.event.event_id


def test_who_commits_below_a_root_whose_bytes_are_forgotten_names_its_event() -> None:
    watch = rekeying()
    known = watch.session(0).known
    root, agreed = known.ordering.head_path()[0], known.ordering.head()
    (event_id,) = {body.event.event_id for body in known.archive.bodies(root)}
    for index in range(2):
        watch.session(index).known.archive.forget_bodies([root])
    watch.party.run(5)
    head = known.ordering.head()
    assert head is not None
    assert head != agreed
    assert [body.parts.relates_to for body in known.archive.bodies(head)] == [event_id]
    watch.check()
