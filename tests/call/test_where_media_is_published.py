"""What a media adapter asks of a session: where the others publish, to say where we do, and the keys of the moment."""

from mlsrtc.notices import MediaKeysChanged, MembersChanged, SendKeySwitched
from mlsrtc.wire.membership import Transport
from watching import Watch

FOCUS = Transport("livekit", "https://sfu.one.test", "alias")


def keyed() -> Watch:
    """Two devices in a call, quiet for a while."""
    watch = Watch(2, 1)
    for device in (0, 1):
        watch.party.start(device)
    watch.party.run(1)
    for device in (0, 1):
        watch.party.join(device)
        watch.party.run(2)
    watch.until_agreed(2)
    return watch


def test_a_focus_that_is_announced_is_seen_by_all_and_moves_nobody() -> None:
    watch = keyed()
    one, other = watch.session(0), watch.session(1)
    assert [membership.transports for membership in other.memberships] == [(), ()]
    before, epoch = other.memberships, one.epoch_id
    told = len(watch.ledgers[1].notices(MembersChanged))
    one.announce([FOCUS], watch.world.now)
    watch.party.run(2)
    oldest, younger = other.memberships
    assert (oldest.user_id, oldest.transports, younger.transports) == (one.user_id, (FOCUS,), ())
    assert oldest.created_ts == before[0].created_ts, "js-sdk would take it for another participation"
    assert one.epoch_id == other.epoch_id == epoch
    assert len(watch.ledgers[1].notices(MembersChanged)) == told
    sent = watch.world.sent()
    one.announce([FOCUS], watch.world.now)
    watch.party.run(2)
    assert watch.world.sent() == sent, "it says so already"


def test_a_focus_that_is_announced_before_the_join_stands_in_it() -> None:
    watch = Watch(2, 1)
    for device in (0, 1):
        watch.party.start(device)
    watch.party.run(1)
    watch.session(0).announce([FOCUS], watch.world.now)
    watch.party.join(0)
    watch.party.run(1)
    assert [membership.transports for membership in watch.session(1).memberships] == [(FOCUS,)]
    watch.party.leave(0)
    watch.party.run(1)
    assert watch.session(1).memberships == []


def test_who_has_heard_nothing_is_told_the_keys_of_the_moment() -> None:
    watch = keyed()
    session, ledger = watch.session(0), watch.ledgers[0]
    keys, switched = session.key_notices()
    assert keys == ledger.notices(MediaKeysChanged)[-1]
    assert switched == ledger.notices(SendKeySwitched)[-1]
    assert [key.secret.expose() for key in keys.keys]
    session.leave(watch.world.now)
    assert session.key_notices() == []
