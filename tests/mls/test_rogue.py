"""The rogue can do right: whatever it makes untouched, every client takes, and all agree on the epoch's secrets.

So what an attack touches is the only thing that is wrong with it.
"""

from collections.abc import Callable
from typing import Any

import pytest
import twins
from cipher_suites import SUITES
from rogue import Member, Person
from twins import Extension, MLSMessage, PreSharedKeyID, Proposal, Sender
from world import KNOWN, World, client, newcomer, plain, strict, twin

from mlsrtc.mls import Client, Secret, SigningKey, suites


def commit(world: World, *proposals: Proposal, psks: dict[bytes, bytes] | None = None, **how: Any) -> None:
    """The rogue commits; all who stay apply it and see the rogue's epoch."""
    draft = world.rogue.commit(proposals, psks=psks, **how)
    removed = {one.body for one in proposals if one.type == twins.REMOVE}
    known = {name: Secret(value) for name, value in (psks or {}).items()}
    staged = {leaf: group.stage(draft.bytes, psks=known) for leaf, group in world.groups.items()}
    assert {leaf for leaf, one in staged.items() if one.removes_us} == removed
    world.groups = {leaf: one.apply() for leaf, one in staged.items() if leaf not in removed}
    world.rogue = draft.after
    check(world)


def check(world: World) -> None:
    assert world.rogue.secrets is not None
    authenticator = world.rogue.secrets.of("authentication")
    for group in world.groups.values():
        assert group.epoch_authenticator().expose() == authenticator
        assert group.context == world.rogue.context.encode()
        assert group.tree() == world.rogue.tree.encode()


def update(member: Member) -> Proposal:
    """A lawful Update."""
    leaf = member.person.leaf(member.suite.kem.public(member.suite.kem.generate()))
    leaf.source, leaf.body, leaf.capabilities.extensions = twins.FROM_UPDATE, None, [KNOWN]
    member.person.sign_leaf(leaf, member.context.group_id, member.index)
    return Proposal(twins.UPDATE, leaf)


@pytest.mark.parametrize("made", [plain, strict])
@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_its_commits_are_taken(made: Callable[[], World], private: bool) -> None:
    world = made()
    commit(world, private=private)
    commit(world, Proposal(twins.REMOVE, 5), private=private)
    commit(world, newcomer("one more").add, newcomer("another").add, path=False, private=private)
    commit(world, Proposal(twins.REMOVE, 1), newcomer("a third").add, private=private)
    commit(world, Proposal(twins.GROUP_CONTEXT_EXTENSIONS, [Extension(KNOWN, b"new")]), private=private)
    psk = PreSharedKeyID(twins.EXTERNAL_PSK, b"named", bytes(range(32)))
    commit(world, Proposal(twins.PSK, psk), psks={b"named": b"value"}, path=False, private=private)


@pytest.mark.parametrize("path", [False, True], ids=["bare", "with a path"])
def test_its_welcome_is_taken(path: bool) -> None:
    world = plain()
    joiner = client("joiner")
    package = joiner.key_package()
    draft = world.rogue.commit([Proposal(twins.ADD, twin(package.public))], path=path)
    world.advanced(draft)
    world.groups[6] = joiner.join(twins.message(draft.welcome), package, tree=draft.tree.encode())
    check(world)


def test_its_external_commits_are_taken() -> None:
    world = plain()
    person = Person(b"outsider")
    world.advanced(world.outsider(person).commit(external=True))
    check(world)
    assert world.rogue.index == 6
    world.advanced(world.outsider(person).commit([Proposal(twins.REMOVE, 6)], external=True))
    check(world)


@pytest.mark.parametrize("private", [False, True], ids=["public", "private"])
def test_its_proposals_are_committed_by_others(private: bool) -> None:
    world = plain()
    proposals = [update(world.rogue), Proposal(twins.REMOVE, 5)]
    framed = [world.rogue.framed(twins.PROPOSAL, one) for one in proposals]
    sent = [world.rogue.encrypt(one).bytes if private else world.rogue.publish(one).bytes for one in framed]
    groups = {leaf: group.with_proposal(sent[0]).with_proposal(sent[1]) for leaf, group in world.groups.items()}
    made = groups[0].commit()
    assert [one.type for one in MLSMessage.decode(made.message).body.content.body.proposals] == [twins.BY_REFERENCE] * 2
    staged = groups[4].stage(made.message)
    assert [one.leaf for one in staged.removed] == [5]
    assert [one.leaf for one in staged.updated] == [0, 2]


def test_it_commits_proposals_by_reference() -> None:
    world = plain()
    framed = world.rogue.propose(Proposal(twins.REMOVE, 5))
    world.groups = {leaf: group.with_proposal(framed.bytes) for leaf, group in world.groups.items() if leaf != 5}
    commit(world, received=[framed])


def test_it_proposes_from_outside() -> None:
    """As an external sender that the group names (section 12.1.8), and as somebody who wants to join."""
    world = strict()
    named = world.rogue.propose(Proposal(twins.REMOVE, 5), sender=Sender(twins.EXTERNAL, 0))
    joining = newcomer()
    outside = world.outsider(joining.person)
    offered = outside.propose(joining.add, sender=Sender(twins.NEW_MEMBER_PROPOSAL))
    groups = {
        leaf: group.with_proposal(named.bytes).with_proposal(offered.bytes) for leaf, group in world.groups.items()
    }
    staged = groups[4].stage(groups[0].commit().message)
    assert [one.leaf for one in staged.removed] == [5]
    assert [one.identity for one in staged.added] == [b"newcomer"]


@pytest.mark.parametrize("number", suites(post_quantum=True))
def test_it_does_right_in_every_suite(number: int) -> None:
    """It joins, commits, welcomes, proposes, encrypts; and somebody enters from outside."""
    suite = SUITES[number]
    person, bob = Person.of(suite, b"rogue"), Client(b"bob", SigningKey.generate(number))
    announced, package = person.key_package(), bob.key_package()
    made = Client(b"alice", SigningKey.generate(number)).create_group(b"group").commit(add=[announced.message])
    world = World({}, {0: made.group}, Member.join(announced, made.welcome or b"", made.tree))
    draft = world.rogue.commit([Proposal(twins.ADD, twin(package.public))])
    world.advanced(draft)
    world.groups[2] = bob.join(twins.message(draft.welcome), package, tree=draft.tree.encode())
    check(world)
    psk = PreSharedKeyID(twins.EXTERNAL_PSK, b"named", bytes(suite.size))
    commit(world, Proposal(twins.PSK, psk), psks={b"named": b"value"}, private=True)
    content = world.rogue.framed(twins.APPLICATION, b"hello")
    for group in world.groups.values():
        assert group.decrypt(world.rogue.encrypt(content).bytes).data == b"hello"
    outside = world.outsider(Person.of(suite, b"outsider"))
    world.advanced(outside.commit(external=True))
    check(world)
