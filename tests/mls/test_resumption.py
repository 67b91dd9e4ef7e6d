"""Groups that follow on another one: reinitialization and branching (RFC 9420 sections 11.2 and 11.3)."""

import time
from functools import partial

import pytest
import twins
from certificates import private_key, root
from clients import Circle, circle, client
from world import ROGUE, newcomer, plain

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import (
    Client,
    Credential,
    Founded,
    Group,
    KeyPackage,
    Limits,
    Observer,
    Proposal,
    Secret,
    SigningKey,
    external_senders,
    required_capabilities,
    suites,
)

TOPIC, MOOD = 0xF004, 0xF005


def fresh(at: Circle, *names: str, **rules: object) -> tuple[dict[str, KeyPackage], list[bytes]]:
    packages = {name: at.clients[name].key_package() for name in names}
    return packages, [package.public for package in packages.values()]


def ended(*names: str, suite: int = 1, next_suite: int = 1, by_reference: bool = False) -> Circle:
    at = circle(*names, suite=suite, extension_types=[TOPIC])
    first, *_, last = names
    proposal = Proposal.reinit(b"next", suite=next_suite, extensions=[(TOPIC, b"tea")])
    if by_reference:
        made = at[last].propose(proposal)
        at.hear(made.message, last)
        at.groups[last] = made.group
        at.commit(first)
    else:
        at.commit(first, proposals=[proposal])
    return at


@pytest.mark.parametrize("next_suite", suites(post_quantum=True))
@pytest.mark.parametrize("by_reference", [False, True])
def test_a_group_ends_and_another_one_follows(next_suite: int, by_reference: bool) -> None:
    at = ended("ann", "ben", "cal", next_suite=next_suite, by_reference=by_reference)
    for _ in range(2):
        for group in at.groups.values():
            assert group.reinit is not None
            assert (group.reinit.group_id, group.reinit.suite) == (b"next", next_suite)
            assert group.reinit.extensions == ((TOPIC, b"tea"),)
            with pytest.raises(LocalProtocolError, match="group_ended"):
                group.commit()
        at.reload()
    new = {name: client(name, next_suite, extension_types=[TOPIC]) for name in at.groups}
    packages = {name: new[name].key_package() for name in ("ann", "cal")}
    founded = at["ben"].reinitialize(new["ben"], [package.public for package in packages.values()])
    assert founded.welcome is not None
    assert (founded.group.epoch, founded.group.group_id, founded.group.suite) == (1, b"next", next_suite)
    assert founded.group.extensions == ((TOPIC, b"tea"),)
    assert "Founded(" in repr(founded)
    for name, package in packages.items():
        joined = at[name].join_reinitialized(new[name], founded.welcome, package, tree=founded.tree)
        assert joined.epoch_authenticator() == founded.group.epoch_authenticator()
        assert new[name].load_group(joined.save()).reinit is None
        made = founded.group.commit()
        assert joined.stage(made.message).apply().epoch == 2
        with pytest.raises(RemoteProtocolError) as caught:
            new[name].join(founded.welcome, package, tree=founded.tree)
        assert caught.value.reason == "missing_psk"


def test_the_commit_that_ends_a_group_says_so() -> None:
    at = circle("ann", "ben")
    commit = at["ann"].commit(proposals=[Proposal.reinit(b"next", suite=3)])
    staged = at["ben"].stage(commit.message)
    assert staged.reinit is not None
    assert [one.proposal.follows for one in staged.proposals] == [staged.reinit]
    assert commit.group.reinit == staged.apply().reinit == staged.reinit
    assert at["ben"].reinit is None
    assert commit.group.epoch_authenticator() == staged.apply().epoch_authenticator()
    alike = circle("cal", suite=2)["cal"].commit(proposals=[Proposal.reinit(b"next")]).group.reinit
    assert alike is not None
    assert (alike.group_id, alike.suite, alike.version, alike.extensions) == (b"next", 2, 1, ())
    with_path = at["ann"].commit(proposals=[Proposal.reinit(b"next")], path=True)
    assert [member.identity for member in at["ben"].stage(with_path.message).updated] == [b"ann"]


def test_a_reinitialization_in_the_groups_own_suite_is_told_with_it() -> None:
    at = circle("ann", "ben", suite=3)
    asked = Proposal.reinit(b"next")
    assert (asked.kind, asked.type, asked.follows) == ("reinit", 5, None)
    made = at["ann"].propose(asked)
    told = at["ben"].with_proposal(made.message).proposals[0].proposal
    assert told == made.group.proposals[0].proposal == Proposal.reinit(b"next", suite=3)
    assert told.follows is not None
    assert told.follows.suite == 3


def required(**types: list[int]) -> list[tuple[int, bytes]]:
    return [required_capabilities(**types)]


@pytest.mark.parametrize(
    ("proposal", "reason"),
    [
        (Proposal.reinit(b"next", suite=1001), "unsupported_suite"),
        (Proposal.reinit(b"next", suite=99), "unsupported_suite"),
        (Proposal.reinit(b"next", suite=0), "unsupported_suite"),
        (Proposal.reinit(b"next", extensions=[(TOPIC, b""), (TOPIC, b"")]), "duplicate_extension"),
        (Proposal.reinit(b"next", extensions=[(TOPIC, b"tea"), (MOOD, b"calm")]), "bad_capabilities"),
        (Proposal.reinit(b"next", suite=3, extensions=required(extensions=[MOOD])), "bad_capabilities"),
        (Proposal.reinit(b"next", extensions=required(proposals=[MOOD])), "bad_capabilities"),
        (Proposal.reinit(b"next", extensions=required(credentials=[MOOD])), "bad_capabilities"),
        (Proposal.reinit(b"next", extensions=[(3, b"noise")]), "bad_extension"),
    ],
)
def test_a_group_is_not_ended_for_one_that_nobody_can_make(proposal: Proposal, reason: str) -> None:
    at = circle("ann", "ben", extension_types=[TOPIC])
    door = client("door")
    named = external_senders([(b"door", door.signing_key.public)])
    watched = circle("cal", extensions=[named], extension_types=[TOPIC])["cal"]
    outside = Observer.observe(watched.group_info(with_tree=True), sender=door)
    for ask in (at["ann"].propose, outside.propose, lambda asked: at["ann"].commit(proposals=[asked])):
        with pytest.raises(LocalProtocolError) as caught:
            ask(proposal)
        assert caught.value.reason == reason
    assert at["ann"].commit(proposals=[Proposal.reinit(b"next", extensions=[(TOPIC, b"tea")])]).group.reinit is not None


def test_who_understands_more_says_so_before_a_group_ends_for_it() -> None:
    at = circle("ann", "ben")
    wanted = Proposal.reinit(b"next", extensions=[(TOPIC, b"tea")])
    for name in ("ann", "ben"):
        with pytest.raises(LocalProtocolError, match="bad_capabilities"):
            at["ann"].commit(proposals=[wanted])
        more = Client(name.encode(), at.clients[name].signing_key, extension_types=[TOPIC])
        at.commit(name, client=more)
    assert at.commit("ann", proposals=[wanted]).group.reinit == at["ben"].reinit


NOBODYS = twins.Proposal(twins.REINIT, twins.ReInit(group_id=b"next", cipher_suite=0xABCD))
"""A reinitialization in a suite that no client here has, which only the rogue makes."""


def test_a_group_is_not_ended_for_a_suite_that_a_member_does_not_list() -> None:
    world = plain()
    with pytest.raises(LocalProtocolError, match="bad_capabilities"):
        world.groups[0].commit(proposals=[Proposal.reinit(b"next", suite=3)])
    assert world.groups[0].commit(proposals=[Proposal.reinit(b"next")]).group.reinit is not None


def test_a_proposal_of_somebody_else_that_nobody_could_follow_is_left_out() -> None:
    world = plain()
    knows = world.groups[0].with_proposal(world.rogue.propose(NOBODYS).bytes)
    assert [one.proposal.follows.suite for one in knows.proposals if one.proposal.follows] == [0xABCD]
    made = knows.commit()
    assert made.group.reinit is None
    assert [one.proposal.kind for one in made.left_out] == ["reinit"]


def test_a_commit_of_somebody_else_ends_the_group_for_a_suite_that_nobody_has() -> None:
    """The standard allows it, so the others follow too. Whoever looks before it applies can stay behind."""
    world = plain()
    staged = world.groups[0].stage(world.rogue.commit([NOBODYS]).bytes)
    assert staged.reinit is not None
    assert staged.reinit.suite == 0xABCD
    ended = staged.apply()
    with pytest.raises(LocalProtocolError, match="group_ended"):
        ended.commit()
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        ended.reinitialize(world.clients[0], [])
    with pytest.raises(LocalProtocolError, match="unsupported_suite"):
        client("zero", 0xABCD)
    assert world.groups[0].commit().group.epoch == ended.epoch


@pytest.mark.parametrize("reload", [False, True])
def test_nothing_is_sent_in_a_group_that_has_ended_and_it_is_still_left_behind(reload: bool) -> None:
    """What opens late messages, secrets and the way into the next group are there; the way in is shut."""
    at = circle("ann", "ben", "cal", limits=Limits(past_epochs=1))
    late = at["cal"].encrypt(b"late").message
    watched = Observer.observe(at["ann"].group_info(with_tree=True))
    end = at.commit("ann", proposals=[Proposal.reinit(b"next")])
    if reload:
        at.reload()
    over = at["ben"]
    for send in (
        lambda: over.encrypt(b"more"),
        lambda: over.propose(Proposal.remove(2)),
        lambda: over.propose(Proposal.update(), private=True),
        over.commit,
        lambda: over.group_info(with_tree=True),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            send()
        assert (caught.value.reason, caught.value.section) == ("group_ended", "RFC 9420 section 12.4.2")
    with pytest.raises(LocalProtocolError, match="group_ended"):
        watched.follow(end.message).propose(Proposal.remove(2))
    assert over.decrypt(late).data == b"late"
    assert over.export("label", b"", 32) == at["ann"].export("label", b"", 32)
    assert over.confirmation_tag == at["ann"].confirmation_tag
    packages, published = fresh(at, "ben", "cal")
    welcome, tree = founded_by(at["ann"].reinitialize(at.clients["ann"], published))
    assert over.join_reinitialized(at.clients["ben"], welcome, packages["ben"], tree=tree).epoch == 1
    branch, tree = founded_by(at["ann"].branch(b"aside", [published[0]]))
    assert over.join_branch(branch, packages["ben"], tree=tree).epoch == 1


def test_a_group_with_a_gap_in_its_tree_can_be_followed_by_another() -> None:
    """The engine compares the trees' sizes, blank leaves and all: nobody could have followed."""
    at = circle("ann", "ben", "cal", "dan", "eve")
    at.commit("ann", remove=[1, 2])
    at.commit("ann", proposals=[Proposal.reinit(b"next")])
    packages, published = fresh(at, "dan", "eve")
    founded = at["ann"].reinitialize(at.clients["ann"], published)
    assert founded.welcome is not None
    for name, package in packages.items():
        joined = at[name].join_reinitialized(at.clients[name], founded.welcome, package, tree=founded.tree)
        assert joined.epoch_authenticator() == founded.group.epoch_authenticator()
        assert [member.leaf for member in joined.members()] == [0, 1, 2]


def test_the_group_that_follows_has_exactly_the_members() -> None:
    at = ended("ann", "ben", "cal")
    at.clients["eve"] = client("eve", extension_types=[TOPIC])
    for names in (("ben",), ("ben", "cal", "eve"), ("ben", "eve"), ()):
        _, published = fresh(at, *names)
        with pytest.raises(LocalProtocolError, match="not_a_subgroup"):
            at["ann"].reinitialize(at.clients["ann"], published)


def test_who_cannot_make_the_group_that_follows() -> None:
    at = ended("ann", "ben", next_suite=3)
    living = circle("ann", "ben", extension_types=[TOPIC])
    packages, published = fresh(living, "ben")
    with pytest.raises(LocalProtocolError, match="wrong_state"):
        living["ann"].reinitialize(living.clients["ann"], published)
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        at["ann"].reinitialize(at.clients["ann"], published)
    with pytest.raises(RemoteProtocolError) as caught:
        at["ann"].reinitialize(client("ann", 3, extension_types=[TOPIC]), published)
    assert caught.value.reason == "wrong_suite"
    with pytest.raises(RemoteProtocolError) as caught:
        at["ann"].reinitialize(client("ann", 3, extension_types=[TOPIC]), [b"noise"])
    assert caught.value.reason == "unsupported_version"
    welcome, tree = founded_by(living["ann"].branch(b"aside", published))
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        living["ben"].join_branch(welcome, [packages["ben"], client("ben").key_package()], tree=tree)
    assert living["ben"].join_branch(welcome, packages["ben"], tree=tree).epoch == 1


def founded_by(founded: Founded) -> tuple[bytes, bytes]:
    assert founded.welcome is not None
    return founded.welcome, founded.tree


def test_a_welcome_of_another_kind_is_not_the_group_that_follows() -> None:
    """Another group's Welcome lacks the PSK of the group that ended; one of a branch has another use of it."""
    at = ended("ann", "ben")
    packages, published = fresh(at, "ben")
    ordinary = at.clients["ann"].create_group(b"next", extensions=[(TOPIC, b"tea")]).commit(add=published)
    assert ordinary.welcome is not None
    with pytest.raises(RemoteProtocolError) as caught:
        at["ben"].join_reinitialized(at.clients["ben"], ordinary.welcome, packages["ben"], tree=ordinary.tree)
    assert caught.value.reason == "bad_psk"
    welcome, tree = founded_by(at["ann"].branch(b"next", published))
    with pytest.raises(RemoteProtocolError):
        at["ben"].join_reinitialized(at.clients["ben"], welcome, packages["ben"], tree=tree)
    with pytest.raises(RemoteProtocolError) as caught:
        at["ben"].join_reinitialized(at.clients["ben"], b"noise", packages["ben"])
    assert caught.value.reason == "unsupported_version"


@pytest.mark.parametrize("suite", suites(post_quantum=True))
@pytest.mark.parametrize("reload", [False, True])
def test_some_members_branch_off(suite: int, reload: bool) -> None:
    at = circle("ann", "ben", "cal", suite=suite, extension_types=[TOPIC], extensions=[(TOPIC, b"tea")])
    if reload:
        at.reload()
    packages, published = fresh(at, "cal")
    founded = at["ann"].branch(b"aside", published)
    welcome, tree = founded_by(founded)
    assert (founded.group.group_id, founded.group.epoch) == (b"aside", 1)
    assert founded.group.extensions == ((TOPIC, b"tea"),)
    joined = at["cal"].join_branch(welcome, packages["cal"], tree=tree)
    assert joined.epoch_authenticator() == founded.group.epoch_authenticator()
    assert [member.identity for member in joined.members()] == [b"ann", b"cal"]
    assert at.clients["cal"].load_group(joined.save()).epoch == 1
    at.commit("ben")
    with pytest.raises(RemoteProtocolError):
        at["cal"].join_branch(welcome, packages["cal"], tree=tree)
    with pytest.raises(RemoteProtocolError) as caught:
        at.clients["cal"].join(welcome, packages["cal"], tree=tree)
    assert caught.value.reason == "missing_psk"


def test_only_members_are_in_a_branch() -> None:
    at = circle("ann", "ben")
    with pytest.raises(LocalProtocolError, match="not_a_subgroup"):
        at["ann"].branch(b"aside", [client("eve").key_package().public])
    alone = at["ann"].branch(b"aside", [])
    assert alone.welcome is None
    assert len(alone.group.members()) == 1


def test_the_resumption_secret_comes_from_the_saved_state_too() -> None:
    at = ended("ann", "ben", "cal")
    states = {name: Secret(group.save().expose()) for name, group in at.groups.items()}
    loaded: dict[str, Group] = {name: at.clients[name].load_group(state) for name, state in states.items()}
    packages, published = fresh(at, "ben", "cal")
    welcome, tree = founded_by(loaded["ann"].reinitialize(at.clients["ann"], published))
    for name in ("ben", "cal"):
        joined = loaded[name].join_reinitialized(at.clients[name], welcome, [packages[name]], tree=tree)
        assert joined.epoch == 1


def outlived(at: Circle, name: str) -> bytes:
    return at.clients[name].key_package(not_before=5, not_after=9).public


def test_only_who_makes_a_group_on_another_one_asks_the_systems_clock() -> None:
    """The engine makes the commit inside, without a word about the time. Whoever is given `now` uses that."""
    at = circle("ann", "ben", "cal")
    at["ann"].commit(add=[client("dan").key_package(not_before=5, not_after=9).public])
    with pytest.raises(RemoteProtocolError) as caught:
        at["ann"].branch(b"aside", [outlived(at, "ben")])
    assert (caught.value.reason, caught.value.where) == ("bad_lifetime", "key_package")
    later = int(time.time()) + 10_000
    early = at.clients["ben"].key_package(not_before=later, not_after=later + 9).public
    with pytest.raises(RemoteProtocolError, match="bad_lifetime"):
        at["ann"].branch(b"aside", [early])
    over = ended("ann", "ben", "cal")
    with pytest.raises(RemoteProtocolError, match="bad_lifetime"):
        over["ann"].reinitialize(over.clients["ann"], [outlived(over, "ben"), fresh(over, "cal")[1][0]])


@pytest.mark.parametrize("reload", [False, True])
@pytest.mark.parametrize("founder", ["ann", "ben"])
def test_whoever_joins_a_group_on_another_one_may_give_the_time(founder: str, reload: bool) -> None:
    at, over = circle("ann", "ben", "cal"), ended("ann", "ben", "cal")
    if reload:
        at.reload()
        over.reload()
    now = int(time.time())
    other = "ben" if founder == "ann" else "ann"
    good = at.clients[other].key_package(not_before=now - 50, not_after=now + 500)
    packages, published = fresh(at, "cal")
    welcome, tree = founded_by(at[founder].branch(b"aside", [good.public, *published]))
    for time_given in (None, now):
        assert at["cal"].join_branch(welcome, packages["cal"], tree=tree, now=time_given).epoch == 1
    with pytest.raises(RemoteProtocolError) as caught:
        at["cal"].join_branch(welcome, packages["cal"], tree=tree, now=now + 501)
    assert (caught.value.reason, caught.value.where) == ("bad_lifetime", "welcome")
    good = over.clients[other].key_package(not_before=now - 50, not_after=now + 500)
    packages, published = fresh(over, "cal")
    welcome, tree = founded_by(over[founder].reinitialize(over.clients[founder], [good.public, *published]))
    join = partial(over["cal"].join_reinitialized, over.clients["cal"], welcome, packages["cal"], tree=tree)
    for time_given in (None, now):
        assert join(now=time_given).epoch == 1
    with pytest.raises(RemoteProtocolError, match="bad_lifetime"):
        join(now=now + 501)


def test_the_certificates_in_a_branch_are_measured_by_the_systems_clock() -> None:
    authority, now = root(), int(time.time())

    def certified(name: str, end: int) -> Client:
        key = SigningKey.generate()
        chain = [authority.issue(name, private_key(key), begin=now - 500, end=end)]
        return Client(Credential.x509(chain), key, roots=[authority.certificate])

    ann, ben = certified("Ann", now + 500), certified("Ben", now - 5)
    package = ben.key_package()
    made = ann.create_group(b"group").commit(add=[package.public])
    with pytest.raises(RemoteProtocolError) as caught:
        made.group.branch(b"aside", [ben.key_package().public])
    assert caught.value.reason == "bad_credential"


def test_a_branch_has_one_pre_shared_key_and_no_other() -> None:
    """The resumption PSK of the group it is made on. The engine mixes in nothing else."""
    world = plain()
    announced = newcomer(ROGUE)
    founded = world.groups[0].branch(b"aside", [announced.message])
    assert founded.welcome is not None
    (only,) = announced.given(founded.welcome).psks
    assert (only.type, only.body.usage) == (twins.RESUMPTION_PSK, twins.USED_BY_BRANCH)
    assert (only.body.group_id, only.body.epoch) == (world.groups[0].group_id, world.groups[0].epoch)
