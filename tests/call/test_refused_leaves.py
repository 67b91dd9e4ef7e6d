"""A leaf that one member refuses and the others do not: what it is told, what it sends under, and for how long."""

from mlsrtc.identifiers import UserId
from mlsrtc.notices import Muted
from mlsrtc.policy import Policy
from mlsrtc.testing import Latency
from mlsrtc.wire import names
from watching import Watch

STEADY = Latency(client=(0.03, 0.03))
DOUBTER, DOUBTED = 0, 3
ANOTHER_KEY = bytes(32)


def disagreed(*, silent: float = 0.0) -> Watch:
    """A call of three in which device 0 alone holds the user of device 3 to another master key, and device 3 joins.
    silent: seconds in which no commit of device 0 is shown to anybody, so that it removes nobody."""
    watch = Watch(4, latency=STEADY)
    for index in range(3):
        watch.party.join(index, after=index / 3)
    watch.until_agreed(3)
    watch.party.run(5)
    doubter = watch.party[DOUBTER]
    user = UserId(watch.party[DOUBTED].matrix.user_id)
    watch.session(DOUBTER).accept_master_key(user, ANOTHER_KEY, doubter.now)
    for server in watch.world.servers.values() if silent else ():
        server.withhold(lambda event: event.type == names.COMMIT and event.sender == doubter.matrix.user_id, silent)
    watch.party.join(DOUBTED)
    watch.party.run_until(lambda: not watch.ledgers[DOUBTED].muted, timeout=5)
    return watch


def test_who_cannot_follow_the_others_is_mute_when_they_drop_the_keys_it_sends_under() -> None:
    watch = disagreed(silent=60)
    doubter, other = watch.ledgers[DOUBTER], watch.ledgers[1]
    watch.party.run(Policy().old_media_key_seconds - 1)
    sending = doubter.sending
    assert sending is not None
    assert sending != watch.session(DOUBTER).epoch_id
    assert sending in other.held.values(), "it is still heard"
    watch.party.run(2)
    assert sending not in other.held.values()
    assert doubter.muted
    assert [notice.reason for notice in doubter.notices(Muted)] == ["refused"]
    assert all(not watch.ledgers[index].muted for index in (1, 2, DOUBTED))
    watch.check()
