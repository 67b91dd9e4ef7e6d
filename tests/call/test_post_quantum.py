"""A call in the post-quantum suite, which everything in it is larger in: events stay under the limit, files take the
rest (docs/results/post-quantum.md)."""

from mlsrtc.notices import NotAddable
from mlsrtc.policy import Policy
from mlsrtc.wire import names
from mlsrtc.wire.fitting import FILE_SUFFIX, size_of
from watching import Watch

X_WING = 0x4D
POST_QUANTUM = Policy(suite=X_WING)


def suites(watch: Watch) -> set[int]:
    """Of the epochs that the devices stand on."""
    sessions = [watch.session(device.index) for device in watch.party.present()]
    return {session.known.archive.judged[session.epoch_id].suite for session in sessions if session.epoch_id}


def test_a_call_of_twelve_in_the_post_quantum_suite() -> None:
    watch = Watch(12, servers=3, policy=POST_QUANTUM)
    watch.join_all(within=0.0)
    watch.party.run(2)
    watch.party.leave(0)
    watch.until_agreed(11)
    watch.party.crash(1)
    watch.party.restart(1, after=2)
    watch.party.run(3)
    watch.until_agreed(11)
    watch.party.join(0)
    watch.until_agreed(12)
    watch.check()

    server = watch.world.servers["one.test"]
    events = [sent.event for sent in server.room.timeline]
    assert all(size_of(event.content) <= POST_QUANTUM.content_limit for event in events)
    commits = [event for event in events if event.type == names.COMMIT]
    in_files = {name for commit in commits for name in commit.content if name.endswith(FILE_SUFFIX)}
    assert in_files, "twelve who join at once fit into no event"
    assert suites(watch) == {X_WING}


def test_a_call_of_three_needs_no_file() -> None:
    watch = Watch(3, policy=POST_QUANTUM)
    watch.join_all()
    watch.party.leave(0)
    watch.until_agreed(2)
    watch.check()
    assert not watch.world.servers["one.test"].media


def test_who_joins_later_takes_the_suite_of_the_call() -> None:
    """The root fixes it, whatever the joiner's own policy says."""
    watch = Watch(3, policy=POST_QUANTUM, policies={2: Policy()})
    watch.party.join(0)
    watch.party.join(1)
    watch.until_agreed(2)
    watch.party.join(2)
    watch.until_agreed(3)
    watch.check()
    assert suites(watch) == {X_WING}


def test_before_there_is_a_call_both_must_want_the_same() -> None:
    watch = Watch(2, policies={0: POST_QUANTUM})
    watch.party.join(0)
    watch.party.join(1)
    watch.party.run(10)
    told = [{(notice.user_id, notice.reason) for notice in ledger.notices(NotAddable)} for ledger in watch.ledgers]
    users = [device.matrix.user_id for device in watch.party.devices]
    assert told == [{(users[1], "suite")}, {(users[0], "suite")}]
    assert suites(watch) == set()
