"""What a call of two keeps in its stores, and for how long."""

from mlsrtc import saved
from mlsrtc.errors import LocalProtocolError
from mlsrtc.group import enter
from mlsrtc.policy import Policy
from mlsrtc.testing import Latency
from mlsrtc.testing.device import SCOPE
from watching import Watch


def keyed() -> Watch:
    """Two devices in a call, the second of which was just added."""
    watch = Watch(2, latency=Latency(client=(0.03, 0.03)))
    watch.party.join(0)
    watch.party.run(2)
    watch.party.join(1)
    watch.until_agreed(2)
    return watch


def welcome_opens(watch: Watch, index: int) -> bool:
    """Whether what a device's store holds opens the Welcome that is still in the room."""
    known = watch.session(index).known
    participation = saved.load_participation(watch.party[index].store.load(SCOPE))
    assert participation is not None
    root = known.ordering.head_path()[0]
    (body,) = known.archive.bodies(root)
    assert isinstance(body.parts.welcome, bytes)
    assert isinstance(body.parts.tree, bytes)
    try:
        enter(participation, body.parts.welcome, body.parts.tree, known.archive.judged[root].committed)
    except LocalProtocolError:
        return False
    return True


def test_the_private_keys_of_a_key_package_go_after_their_grace() -> None:
    watch = keyed()
    watch.party.run(Policy().key_package_grace - 1)
    assert welcome_opens(watch, 1)
    watch.party.run(11)
    for index in (0, 1):
        participation = saved.load_participation(watch.party[index].store.load(SCOPE))
        assert participation is not None
        assert participation.key_package is None
        assert "key_package" not in watch.party[index].store.load(SCOPE)
    assert not welcome_opens(watch, 1)
    assert not any(key.startswith("draft/") for index in (0, 1) for key in watch.party[index].store.load(SCOPE))


def test_who_restarts_without_a_key_package_stays_and_shows_the_same_one() -> None:
    watch = keyed()
    watch.party.run(Policy().key_package_grace + 10)
    members = {watch.member(0), watch.member(1)}
    shown = watch.session(0).known.roster.joins[watch.member(1)].key_package
    watch.party.crash(1)
    watch.party.restart(1, after=1)
    watch.party.run(2)
    watch.until_agreed(2, timeout=10)
    watch.party.run(3700)
    assert watch.agreed(2)
    assert {watch.member(0), watch.member(1)} == members
    assert watch.session(0).known.roster.joins[watch.member(1)].key_package == shown
    watch.check()


def test_what_is_written_at_every_checkpoint_does_not_grow_with_the_call() -> None:
    watch = Watch(2, policy=Policy(rekey_interval=1.0))
    watch.join_all()
    store = watch.party[0].store
    sizes = []
    for epochs in (20, 60):
        watch.party.run_until(lambda epochs=epochs: len(watch.ledgers[0].switches) >= epochs, timeout=200)
        sizes.append(len(store.load(SCOPE)["meta"]))
    assert sizes[1] <= sizes[0] + 3  # a counter or two has one more digit
    begun = {switch.id for switch in watch.ledgers[0].switches}
    assert saved.load_begun(store.load(SCOPE)) == begun
    watch.kill(0)
    watch.party.restart(0)
    watch.party.run(0.01)
    assert begun <= watch.session(0)._keying.table.closed
