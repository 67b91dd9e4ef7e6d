"""What OpenMLS does otherwise or not at all, live. `campaign.py` puts the docstrings into docs/results/interop.md."""

from collections.abc import Iterator

import pytest
from engines import starter
from peers import Fields, Peer, PeerError

from mlsrtc.mls import Client, Founded, Group, Limits, Proposal, SigningKey

EXTENSION = 0xF0F0


class Pair:
    """A group of ours, and one OpenMLS member."""

    def __init__(self, openmls: Peer) -> None:
        self.openmls = openmls
        self.openmls.call("client", client="o", suite=1, identity=b"o", private=False, custom=True)
        self.client = Client(b"ours", SigningKey.generate(), extension_types=[EXTENSION], limits=Limits(past_epochs=5))
        commit = self.client.create_group(b"group").commit(add=[self.key_package()])
        self.ask("join", welcome=commit.welcome, tree=commit.tree)
        self.group = commit.group

    def ask(self, op: str, **fields: object) -> Fields:
        return self.openmls.call(op, client="o", **fields)

    def key_package(self) -> bytes:
        package: bytes = self.ask("key_package")["key_package"]
        return package

    def commit(self) -> bytes:
        made = self.ask("commit", add=[], remove=[], psk=[], path=True, tree_in_welcome=False)
        commit: bytes = made["commit"]
        return commit

    def agrees(self, group: Group) -> bool:
        state = self.ask("state", label="label", context=b"")
        return bool(state["authenticator"] == group.epoch_authenticator().expose())

    def refuses_to_join(self, founded: Founded) -> str:
        with pytest.raises(PeerError) as caught:
            self.ask("join", welcome=founded.welcome, tree=founded.tree)
        return caught.value.text


@pytest.fixture
def pair() -> Iterator[Pair]:
    openmls = starter(["OpenMLS"])()["OpenMLS"]
    yield Pair(openmls)
    openmls.close()


def test_it_follows_a_reinit_and_goes_on(pair: Pair) -> None:
    """*reinit*: it follows a commit that ends the group (RFC 9420 section 11.2), in agreement, but does not take the
    group as ended: it goes on to commit."""
    ended = pair.group.commit(proposals=[Proposal.reinit(b"next")])
    pair.ask("process", message=ended.message)
    assert pair.agrees(ended.group)
    assert ended.group.reinit is not None
    assert pair.commit()


def test_it_leaves_a_reinit_out_of_its_own_commits(pair: Pair) -> None:
    """*reinit*: it takes in the proposal, and leaves it out of every commit of its own."""
    proposed = pair.group.propose(Proposal.reinit(b"next"))
    pair.ask("process", message=proposed.message)
    staged = proposed.group.stage(pair.commit())
    assert staged.reinit is None
    assert [one.proposal.kind for one in staged.left_out] == ["reinit"]
    assert pair.agrees(staged.apply())


def test_it_joins_no_group_that_follows_a_reinit(pair: Pair) -> None:
    """*the group after a reinit*: it looks for the resumption PSK in the group that it is about to join, where it
    cannot be, and cannot join. Nor has it a call to make such a group."""
    ended = pair.group.commit(proposals=[Proposal.reinit(b"next")])
    pair.ask("process", message=ended.message)
    assert pair.agrees(ended.group)
    founded = ended.group.reinitialize(pair.client, [pair.key_package()])
    assert "KeyNotFound" in pair.refuses_to_join(founded)


def test_it_joins_no_branch(pair: Pair) -> None:
    """*branch*: the same (section 11.3)."""
    founded = pair.group.branch(b"branch", [pair.key_package()])
    assert "KeyNotFound" in pair.refuses_to_join(founded)


def test_it_asks_that_extensions_of_the_group_are_required(pair: Pair) -> None:
    """*context extensions*: it refuses a commit that puts in an extension which it does not know, unless
    required_capabilities lists it, though all members say that they understand it; section 12.1.7 does not ask that. In
    the histories it is listed."""
    commit = pair.group.commit(proposals=[Proposal.context_extensions([(EXTENSION, b"")])])
    with pytest.raises(PeerError, match="ExtensionNotInRequiredCapabilities"):
        pair.ask("process", message=commit.message)
