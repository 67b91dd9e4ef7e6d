"""Pre-shared keys (RFC 9420 section 8.4): external ones by identifier, and those of earlier epochs."""

from functools import partial

import pytest
from clients import circle, client

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Limits, Proposal, Secret, suites

KEYS = {b"door": Secret(b"d" * 32), b"gate": Secret(b"g" * 16), b"unused": Secret(b"u")}


@pytest.mark.parametrize("suite", suites(post_quantum=True))
@pytest.mark.parametrize("by_reference", [False, True])
def test_an_external_psk_is_mixed_in(suite: int, by_reference: bool) -> None:
    at = circle("ann", "ben", "cal", suite=suite)
    proposals = [Proposal.psk(b"door"), Proposal.psk(b"gate")]
    if by_reference:
        for author, proposal in zip(("ben", "cal"), proposals, strict=True):
            made = at[author].propose(proposal)
            at.hear(made.message, author)
            at.groups[author] = made.group
        proposals = []
    dan = client("dan", suite)
    package = dan.key_package()
    commit = at["ann"].commit(proposals=proposals, add=[package.public], psks=KEYS)
    staged = at["ben"].stage(commit.message, psks=KEYS)
    assert {one.proposal.psk_id for one in staged.proposals if one.proposal.kind == "psk"} == {b"door", b"gate"}
    at.deliver(commit, "ann", KEYS)
    assert commit.welcome is not None
    with pytest.raises(LocalProtocolError) as caught:
        dan.join(commit.welcome, package, tree=commit.tree)
    assert caught.value.reason == "missing_psk"
    assert caught.value.section == "RFC 9420 section 12.4.3.1"
    joined = dan.join(commit.welcome, package, tree=commit.tree, psks=KEYS)
    assert joined.epoch_authenticator() == at["cal"].epoch_authenticator()


def test_who_does_not_know_the_key_or_knows_another_cannot_follow() -> None:
    at = circle("ann", "ben")
    with pytest.raises(LocalProtocolError, match="missing_psk"):
        at["ann"].commit(proposals=[Proposal.psk(b"door")])
    commit = at["ann"].commit(proposals=[Proposal.psk(b"door")], psks=KEYS)
    for psks in (None, {b"gate": KEYS[b"door"]}):
        with pytest.raises(LocalProtocolError, match="missing_psk"):
            at["ben"].stage(commit.message, psks=psks)
    with pytest.raises(RemoteProtocolError) as caught:
        at["ben"].stage(commit.message, psks={b"door": KEYS[b"gate"]})
    assert caught.value.reason == "bad_confirmation_tag"
    assert at["ben"].stage(commit.message, psks=KEYS).apply().epoch == 2


def test_a_wiped_key_is_not_used() -> None:
    key = Secret(b"k" * 32)
    key.wipe()
    with pytest.raises(LocalProtocolError, match="wiped"):
        circle("ann", "ben")["ann"].commit(proposals=[Proposal.psk(b"door")], psks={b"door": key})


def test_an_empty_key_is_none() -> None:
    """Everybody has it: whoever relied on it would be mistaken, so it is refused wherever values are given."""
    at = circle("ann", "ben")
    package = client("cal").key_package()
    commit = at["ann"].commit(proposals=[Proposal.psk(b"door")], add=[package.public], psks=KEYS)
    info = at["ann"].group_info(with_tree=True)
    empty = {b"door": Secret(b"")}
    assert commit.welcome is not None
    for given in (
        partial(at["ann"].commit, proposals=[Proposal.psk(b"door")]),
        partial(at["ben"].stage, commit.message),
        partial(client("cal").join, commit.welcome, package),
        partial(client("cal").join_external, info),
    ):
        with pytest.raises(LocalProtocolError, match="bad_psk"):
            given(psks=empty)


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_one_key_may_stand_twice_in_a_commit(suite: int) -> None:
    """Under two nonces it has two identifiers (RFC 9420 sections 8.4, 12.2): it is mixed in twice, for joiners too."""
    at = circle("ann", "ben", suite=suite)
    joiner = client("cal", suite)
    package = joiner.key_package()
    twice = [Proposal.psk(b"door"), Proposal.psk(b"door")]
    commit = at["ann"].commit(proposals=twice, add=[package.public], psks=KEYS)
    staged = at["ben"].stage(commit.message, psks=KEYS)
    assert [one.proposal.psk_id for one in staged.proposals if one.proposal.kind == "psk"] == [b"door", b"door"]
    assert commit.welcome is not None
    joined = joiner.join(commit.welcome, package, tree=commit.tree, psks=KEYS)
    secrets = [group.epoch_authenticator() for group in (commit.group, staged.apply(), joined)]
    assert secrets[0] == secrets[1] == secrets[2]


def test_one_key_may_be_proposed_by_several() -> None:
    """Each proposal has a nonce of its own, which makes another identifier of it (RFC 9420 section 8.4)."""
    at = circle("ann", "ben", "cal")
    made = at["ben"].propose(Proposal.psk(b"door"))
    commit = at["ann"].with_proposal(made.message).commit(proposals=[Proposal.psk(b"door")], psks=KEYS)
    staged = at["cal"].with_proposal(made.message).stage(commit.message, psks=KEYS)
    assert [one.proposal.psk_id for one in staged.proposals] == [b"door", b"door"]
    assert staged.apply().epoch_authenticator() == commit.group.epoch_authenticator()


def test_an_external_commit_may_inject_keys() -> None:
    at = circle("ann", "ben")
    joiner = client("cal")
    made = joiner.join_external(at["ann"].group_info(with_tree=True), psks={b"door": KEYS[b"door"]})
    assert made.parent is None
    with pytest.raises(LocalProtocolError, match="missing_psk"):
        at["ann"].stage(made.message)
    staged = at["ben"].stage(made.message, psks=KEYS)
    assert {(one.by, one.proposal.kind) for one in staged.proposals} == {
        ("new_member_commit", "external_init"),
        ("new_member_commit", "psk"),
    }
    assert staged.apply().epoch_authenticator() == made.group.epoch_authenticator()


@pytest.mark.parametrize("reload", [False, True], ids=["kept", "saved and loaded"])
@pytest.mark.parametrize("by_reference", [False, True])
def test_the_psk_of_an_earlier_epoch_is_mixed_in_by_who_keeps_it(by_reference: bool, reload: bool) -> None:
    at = circle("ann", "ben", "cal", limits=Limits(past_epochs=3))
    for author in ("ann", "ben", "cal"):
        at.commit(author)
        if reload:
            at.reload()
    assert at["ann"].epoch == 4
    for epoch in (1, 2, 3, 4):
        group = at["ann"]
        if by_reference:
            made = at["ben"].propose(Proposal.resumption_psk(epoch))
            group = group.with_proposal(made.message)
            commit, member = group.commit(), at["cal"].with_proposal(made.message)
        else:
            commit, member = group.commit(proposals=[Proposal.resumption_psk(epoch)]), at["cal"]
        staged = member.stage(commit.message)
        assert [one.proposal.psk_epoch for one in staged.proposals] == [epoch]
        assert staged.apply().epoch_authenticator() == commit.group.epoch_authenticator()


def test_an_epoch_that_is_not_kept_is_missing() -> None:
    at = circle("ann", "ben", limits=Limits(past_epochs=1))
    for _ in range(2):
        at.commit("ann")
    with pytest.raises(LocalProtocolError, match="missing_psk"):
        at["ann"].commit(proposals=[Proposal.resumption_psk(1)])
    forgetful = circle("dan", "eve")
    forgetful.commit("dan")
    with pytest.raises(LocalProtocolError, match="missing_psk"):
        forgetful["dan"].commit(proposals=[Proposal.resumption_psk(1)])


def test_who_came_later_cannot_follow_the_psk_of_an_earlier_epoch() -> None:
    at = circle("ann", "ben", limits=Limits(past_epochs=5))
    late = client("cal", limits=Limits(past_epochs=5))
    package = late.key_package()
    commit = at.commit("ann", add=[package.public])
    assert commit.welcome is not None
    at_late = late.join(commit.welcome, package, tree=commit.tree)
    made = at["ann"].commit(proposals=[Proposal.resumption_psk(1)])
    with pytest.raises(RemoteProtocolError) as caught:
        at_late.stage(made.message)
    assert caught.value.reason == "missing_psk"
    external = client("dan", limits=Limits(past_epochs=5))
    joined = external.join_external(at["ann"].group_info(with_tree=True))
    follower = joined.group.commit().group
    with pytest.raises(LocalProtocolError, match="missing_psk"):
        follower.commit(proposals=[Proposal.resumption_psk(2)])


def test_a_client_with_a_narrower_rule_forgets_when_it_loads() -> None:
    at = circle("ann", "ben", limits=Limits(past_epochs=4))
    for _ in range(4):
        at.commit("ann")
    state = at["ann"].save()
    narrow = client("ann")
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        narrow.load_group(state)
    key = at.clients["ann"].signing_key
    narrow = type(narrow)(b"ann", key, limits=Limits(past_epochs=1))
    forgot = narrow.load_group(state)
    assert len(forgot.save()) < len(state)
    with pytest.raises(LocalProtocolError, match="missing_psk"):
        forgot.commit(proposals=[Proposal.resumption_psk(3)])
    assert forgot.commit(proposals=[Proposal.resumption_psk(4)]).group.epoch == 6
