"""A leaf that one member refuses and the others do not: what it is told, what it sends under, and for how long."""

from mlsrtc.identifiers import MemberId, UserId
from mlsrtc.media.keys import MediaKey
from mlsrtc.notices import MediaKeysChanged, Muted
from mlsrtc.policy import Policy, Trust
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


def heard(watch: Watch, index: int) -> set[MemberId]:
    """Whose keys a device has been told, and not withdrawn, in the epoch it stands on."""
    stand = watch.session(index).epoch_id
    assert stand is not None
    return watch.ledgers[index].sink[stand]


def last(watch: Watch, index: int) -> MediaKeysChanged:
    return watch.ledgers[index].notices(MediaKeysChanged)[-1]


def users_key(watch: Watch, index: int) -> tuple[UserId, bytes]:
    """A device's user and its true master key."""
    matrix = watch.party[index].matrix
    return UserId(matrix.user_id), matrix.user.master.public


def test_the_key_of_a_leaf_that_is_refused_is_told_to_nobody_who_refuses_it() -> None:
    watch = disagreed(silent=60)
    doubted = watch.member(DOUBTED)
    members = {watch.member(index) for index in range(4)}
    assert heard(watch, DOUBTER) == members - {doubted}
    assert all(heard(watch, index) == members for index in (1, 2, DOUBTED))
    assert len({watch.session(index).epoch_id for index in range(4)}) == 1
    watch.check()


def test_a_leaf_that_is_accepted_later_is_told_then_of_the_same_epoch() -> None:
    watch = disagreed(silent=60)
    before = last(watch, DOUBTER)
    watch.session(DOUBTER).accept_master_key(*users_key(watch, DOUBTED), watch.party[DOUBTER].now)
    watch.party[DOUBTER].pump()
    after = last(watch, DOUBTER)
    assert after.id == before.id
    assert {key.member_id for key in after.keys} - {key.member_id for key in before.keys} == {watch.member(DOUBTED)}
    assert set(map(id, before.keys)) <= set(map(id, after.keys)), "those told before are the same objects"
    assert after.withdrawn == ()
    watch.party.run(2)
    assert not watch.ledgers[DOUBTER].muted
    assert watch.ledgers[DOUBTER].sending == after.id
    watch.check()


def test_the_key_of_a_leaf_that_is_refused_later_is_withdrawn() -> None:
    watch = Watch(4, latency=STEADY)
    watch.join_all()
    watch.party.run(5)
    before = last(watch, DOUBTER)
    user, _ = users_key(watch, DOUBTED)
    watch.session(DOUBTER).accept_master_key(user, ANOTHER_KEY, watch.party[DOUBTER].now)
    watch.party[DOUBTER].pump()
    after = last(watch, DOUBTER)
    (withdrawn,) = after.withdrawn
    (was,) = (key for key in before.keys if key.member_id == watch.member(DOUBTED))
    assert after.id == before.id
    assert (withdrawn.livekit_identity, withdrawn.hashed_livekit_identity, withdrawn.index) == (
        was.livekit_identity,
        was.hashed_livekit_identity,
        was.index,
    )
    assert not isinstance(withdrawn, MediaKey), "a key that is taken back is not told again"
    assert {key.member_id for key in after.keys} == heard(watch, 1) - {watch.member(DOUBTED)}
    watch.check()


def test_a_leaf_whose_join_is_late_is_told_when_it_comes() -> None:
    watch = Watch(3, latency=STEADY, servers=3)
    for index in (0, 1):
        watch.party.join(index, after=index)
    watch.until_agreed(2)
    watch.party.run(5)
    first, other = watch.ranked()
    late = watch.party[2].matrix.user_id
    server = watch.world.server_of(watch.party[other].matrix.user_id)
    server.withhold(lambda event: event.type == names.STATE_MEMBER and event.sender == late, 1.5)
    watch.party.join(2)
    watch.party.run(1.4)
    joined = watch.member(2)
    assert joined in heard(watch, first)
    assert joined not in heard(watch, other)
    epoch = last(watch, other).id
    watch.party.run(0.2)
    assert joined in heard(watch, other)
    assert last(watch, other).id == epoch
    watch.check()


def test_our_own_key_is_told_whatever_our_policy_says_of_ourselves() -> None:
    policies = {index: Policy(trust=Trust.ANY_DEVICE) for index in (0, 1)}
    watch = Watch(3, latency=STEADY, policies=policies)
    watch.not_cross_signed(2)
    for index in range(3):
        watch.party.join(index, after=index / 3)
    watch.party.run(5)
    assert {watch.member(index) for index in range(3)} == heard(watch, 2)
    assert watch.agreed(3), "and it sends, for those who accept it"
    watch.check()


def test_under_any_device_every_key_is_told_and_what_cross_signing_would_refuse_is_flagged() -> None:
    watch = Watch(3, latency=STEADY, policy=Policy(trust=Trust.ANY_DEVICE))
    watch.not_cross_signed(2)
    watch.join_all()
    doubtful = watch.member(2)
    for index in range(3):
        assert heard(watch, index) == {watch.member(other) for other in range(3)}
        assert last(watch, index).flagged == {doubtful}
        flagged = {member for member, shown in watch.session(index).members.items() if shown.flagged}
        assert flagged == {doubtful}
    watch.check()
