"""What the core's clients send is what RFC 9420 says: the twins take it, in every suite, and agree on the secrets."""

import pytest
from cipher_suites import SUITES
from follower import Follower
from rogue import Person

from mlsrtc.mls import Client, Group, Proposal, Secret, SigningKey, suites


def check(follower: Follower, *groups: Group) -> None:
    authenticator = Secret(follower.secrets.of("authentication"))
    exported = Secret(follower.secrets.export("label", b"context", 40))
    for group in groups:
        assert group.context == follower.member.context.encode()
        assert group.tree() == follower.member.tree.encode()
        assert group.epoch_authenticator() == authenticator
        assert group.export("label", b"context", 40) == exported


@pytest.mark.parametrize("number", suites(post_quantum=True))
def test_it_follows_the_cores_clients_in_every_suite(number: int) -> None:
    announced = Person.of(SUITES[number], b"follower").key_package()
    alice, bob = (Client(name, SigningKey.generate(number)) for name in (b"alice", b"bob"))
    made = alice.create_group(b"group").commit(add=[announced.message], path=True)
    follower = Follower.join(announced, made.welcome or b"", made.tree, psks={b"named": b"value"})
    check(follower, made.group)

    psks = {b"named": Secret(b"value")}
    made = made.group.commit(proposals=[Proposal.psk(b"named")], psks=psks, path=True, private=True)
    follower.follow(made.message)
    check(follower, made.group)

    entered = bob.join_external(made.group.group_info(), tree=made.group.tree())
    follower.follow(entered.message)
    at_alice = made.group.stage(entered.message).apply()
    check(follower, at_alice, entered.group)

    for private in (False, True):
        proposed = at_alice.propose(Proposal.update(), private=private)
        follower.remember(proposed.message)
        made = entered.group.with_proposal(proposed.message).commit()
        follower.follow(made.message)
        at_alice, entered = proposed.group.stage(made.message).apply(), made
        check(follower, at_alice, entered.group)

    said = at_alice.encrypt(b"hello")
    assert follower.hear(said.message) == b"hello"
