"""Proposals by value and by reference: made, heard, committed, left out, refused (RFC 9420 section 12)."""

import pytest
from clients import PRIVATE, PUBLIC, Circle, circle, client
from hypothesis import given, settings
from hypothesis import strategies as st

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Group, Limits, Observer, Proposal, Secret, suites

TOPIC, COLOUR = 0xF010, 0xF011
"""A custom proposal and an extension of the GroupContext, both for private use (RFC 9420 section 17)."""

ABLE = {"proposal_types": [TOPIC], "extension_types": [COLOUR], "limits": Limits(past_epochs=2)}


def three() -> Circle:
    return circle("ann", "ben", "cal", **ABLE)


def propose(at: Circle, author: str, proposal: Proposal, *, private: bool = False) -> None:
    made = at[author].propose(proposal, authenticated_data=b"please", private=private)
    assert made.message[:4] == (PRIVATE if private else PUBLIC)
    at.hear(made.message, author)
    at.groups[author] = made.group


@pytest.mark.parametrize("private", [False, True], ids=["in the clear", "encrypted"])
@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_proposals_by_reference_are_applied_by_the_commit_that_names_them(suite: int, private: bool) -> None:
    at = circle("ann", "ben", "cal", "dan", suite=suite, **ABLE)
    eve = client("eve", suite, **ABLE)
    package = eve.key_package()
    propose(at, "ann", Proposal.add(package.public), private=private)
    propose(at, "ben", Proposal.update(), private=private)
    propose(at, "ann", Proposal.remove(at["dan"].own_leaf), private=private)
    propose(at, "cal", Proposal.custom(TOPIC, b"tea"), private=private)
    propose(at, "ben", Proposal.context_extensions([(COLOUR, b"red")]), private=private)
    assert [sorted(one.proposal.kind for one in at[name].proposals) for name in ("ann", "ben", "cal")] == [
        ["add", "custom", "group_context_extensions", "remove", "update"]
    ] * 3
    before = at["ann"].epoch_authenticator()
    made = at["cal"].commit(private=private)
    assert made.message[:4] == (PRIVATE if private else PUBLIC)
    staged = at["ann"].stage(made.message)
    assert {(one.by, one.sender, one.proposal.kind) for one in staged.proposals} == {
        ("member", 0, "add"),
        ("member", 1, "update"),
        ("member", 0, "remove"),
        ("member", 2, "custom"),
        ("member", 1, "group_context_extensions"),
    }
    assert all(one.reference for one in staged.proposals)
    assert [member.identity for member in staged.added] == [b"eve"]
    assert [member.identity for member in staged.removed] == [b"dan"]
    assert {member.identity for member in staged.updated} == {b"ben", b"cal"}
    at.deliver(made, "cal")
    assert set(at.groups) == {"ann", "ben", "cal"}
    assert made.welcome is not None
    at.clients["eve"] = eve
    at.groups["eve"] = eve.join(made.welcome, package, tree=made.tree)
    at.agree()
    assert at["eve"].extensions == ((COLOUR, b"red"),)
    assert at["ann"].proposals == []
    assert at["ann"].epoch_authenticator() != before
    at.commit("ben")


def test_a_group_before_a_proposal_does_not_know_it() -> None:
    at = three()
    made = at["ann"].propose(Proposal.remove(1))
    heard = at["cal"].with_proposal(made.message)
    assert at["cal"].proposals == at["ann"].proposals == []
    (known,) = heard.proposals
    assert (known.proposal, known.by, known.sender) == (Proposal.remove(1), "member", 0)
    assert made.group.proposals == [known]
    with pytest.raises(RemoteProtocolError) as caught:
        at["cal"].stage(made.group.commit().message)
    assert caught.value.reason == "unknown_proposal"
    assert heard.commit().group.members() == made.group.commit().group.members()


def test_what_a_commit_does_not_cover_is_told() -> None:
    at = three()
    made = at["ann"].propose(Proposal.custom(TOPIC, b"tea"))
    without = at["ben"].commit(path=True)
    staged = at["cal"].with_proposal(made.message).stage(without.message)
    assert staged.proposals == ()
    assert [one.proposal.data for one in staged.left_out] == [b"tea"]


def test_a_proposal_that_does_not_hold_is_left_out_by_who_commits() -> None:
    """By reference it is left out, by value refused (RFC 9420 section 12.2: nobody removes itself)."""
    at = three()
    propose(at, "ann", Proposal.remove(1))
    made = at["ben"].commit()
    assert [one.proposal for one in made.left_out] == [Proposal.remove(1)]
    assert len(made.group.members()) == 3
    with pytest.raises(LocalProtocolError, match="bad_proposal"):
        at["ben"].commit(remove=[1])


@pytest.mark.parametrize(
    ("proposals", "reason"),
    [
        ([Proposal.update()], "bad_proposal"),
        ([Proposal.remove(7)], "unknown_leaf"),
        ([Proposal.custom(0xF012, b"not understood by all")], "bad_proposal"),
        ([Proposal.context_extensions([(COLOUR, b""), (COLOUR, b"")])], "duplicate_extension"),
        ([Proposal.context_extensions([(COLOUR, b"1")]), Proposal.context_extensions([])], "bad_proposal"),
        ([Proposal.context_extensions([(0xF013, b"not understood by all")])], "bad_capabilities"),
        ([Proposal.reinit(b"next"), Proposal.remove(1)], "bad_proposal"),
        ([Proposal.psk(b"unknown")], "missing_psk"),
        ([Proposal.resumption_psk(17)], "missing_psk"),
    ],
)
def test_what_cannot_be_committed_is_refused_and_changes_nothing(proposals: list[Proposal], reason: str) -> None:
    at = three()
    before = at["ann"].save()
    with pytest.raises((LocalProtocolError, RemoteProtocolError), match=reason):
        at["ann"].commit(proposals=proposals)
    assert at["ann"].save() == before
    at.commit("ann")


def test_what_cannot_be_proposed_is_refused() -> None:
    at = three()
    for proposal, reason in (
        (Proposal.remove(9), "unknown_leaf"),
        (Proposal.context_extensions([(1, b""), (1, b"")]), "duplicate_extension"),
    ):
        with pytest.raises(LocalProtocolError, match=reason):
            at["ann"].propose(proposal)
    with pytest.raises(RemoteProtocolError) as caught:
        at["ann"].propose(Proposal.add(client("eve", 3).key_package().public))
    assert caught.value.reason == "wrong_suite"
    (external_init,) = [
        one.proposal
        for one in at["ann"]
        .stage(client("eve", **ABLE).join_external(at["ann"].group_info(with_tree=True)).message)
        .proposals
        if one.proposal.kind == "external_init"
    ]
    with pytest.raises(LocalProtocolError, match="bad_proposal"):
        at["ann"].propose(external_init)
    with pytest.raises(LocalProtocolError, match="bad_padding"):
        at["ann"].propose(Proposal.update(), padding="much")  # type: ignore[arg-type]


def test_messages_of_another_kind_are_no_proposals() -> None:
    at = three()
    made = at["ann"].commit()
    for message, reason in ((made.message, "wrong_message_type"), (made.group_info, "wrong_message_type")):
        with pytest.raises(RemoteProtocolError) as caught:
            at["ben"].with_proposal(message)
        assert caught.value.reason == reason
    proposal = at["ann"].propose(Proposal.update()).message
    with pytest.raises(RemoteProtocolError) as caught:
        at["ben"].stage(proposal)
    assert caught.value.reason == "wrong_message_type"
    at.deliver(made, "ann")
    with pytest.raises(RemoteProtocolError) as caught:
        at["ben"].with_proposal(proposal)
    assert caught.value.reason == "wrong_epoch"


def test_a_proposal_that_was_changed_on_the_way_is_refused() -> None:
    at = three()
    for private in (False, True):
        made = at["ann"].propose(Proposal.remove(1), private=private)
        for position in range(0, len(made.message), 3):
            bad = bytearray(made.message)
            bad[position] ^= 4
            with pytest.raises(RemoteProtocolError):
                at["cal"].with_proposal(bytes(bad))
        assert len(at["cal"].with_proposal(made.message).proposals) == 1


def test_own_proposals_survive_a_restart() -> None:
    at = three()
    propose(at, "ann", Proposal.update())
    propose(at, "ben", Proposal.custom(TOPIC, b"tea"), private=True)
    at.reload()
    made = at.commit("cal")
    assert len(at["cal"].members()) == 3
    assert {one.identity for one in at["ann"].members()} == {b"ann", b"ben", b"cal"}
    assert made.left_out == ()
    at.reload()
    at.commit("ann")


def test_private_commits_use_a_key_each() -> None:
    """Two private commits of one epoch are made one after the other: the second on the first one's parent."""
    at = three()
    first = at["ann"].commit(private=True)
    with pytest.raises(LocalProtocolError, match="spent_key"):
        at["ann"].commit(private=True)
    with pytest.raises(LocalProtocolError, match="spent_key"):
        at["ann"].propose(Proposal.update(), private=True)
    assert first.parent is not None
    rival = first.parent.commit(private=True, authenticated_data=b"rival")
    for made in (first, rival):
        staged = at["ben"].stage(made.message)
        assert staged.apply().epoch_authenticator() == made.group.epoch_authenticator()
    in_the_clear = at["ann"].commit()
    assert in_the_clear.parent is not None
    assert in_the_clear.parent.save() == at["ann"].save()


def test_a_private_commit_is_padded_and_hides_what_it_does() -> None:
    at = three()
    made = at["ann"].commit(authenticated_data=b"said in the clear", private=True, padding="padme")
    assert b"said in the clear" in made.message
    assert at["ben"].stage(made.message).authenticated_data == b"said in the clear"
    seen = Observer.observe(at["ann"].group_info(), at["ann"].tree())
    with pytest.raises(RemoteProtocolError) as caught:
        seen.follow(made.message)
    assert caught.value.reason == "wrong_message_type"


def test_proposals_are_values() -> None:
    assert Proposal.remove(1) == Proposal.remove(1) != Proposal.remove(2)
    assert len({Proposal.update(), Proposal.update(), Proposal.psk(b"x")}) == 2
    kinds = {
        "add": (1, Proposal.add(b"key package")),
        "update": (2, Proposal.update()),
        "remove": (3, Proposal.remove(1)),
        "psk": (4, Proposal.psk(b"id")),
        "reinit": (5, Proposal.reinit(b"next", suite=3, extensions=[(COLOUR, b"red")])),
        "group_context_extensions": (7, Proposal.context_extensions([(COLOUR, b"red")])),
        "custom": (TOPIC, Proposal.custom(TOPIC, b"tea")),
    }
    for kind, (number, proposal) in kinds.items():
        assert (proposal.kind, proposal.type) == (kind, number)
        told = [
            proposal.key_package,
            proposal.leaf,
            proposal.psk_id,
            proposal.psk_epoch,
            proposal.follows,
            proposal.extensions,
            proposal.data,
        ]
        assert sum(value is not None for value in told) == (kind != "update")
    follows = kinds["reinit"][1].follows
    assert follows is not None
    assert (follows.group_id, follows.version, follows.suite, follows.extensions) == (
        b"next",
        1,
        3,
        ((COLOUR, b"red"),),
    )
    assert Proposal.resumption_psk(4).psk_epoch == 4


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_whatever_is_proposed_and_committed_all_agree(data: st.DataObject) -> None:
    at = circle("0", "1", "2", **ABLE)
    psks = {b"door": Secret(b"s" * 32)}
    for number in range(3, 9):
        for _ in range(data.draw(st.integers(0, 4), label="proposals")):
            author = data.draw(st.sampled_from(sorted(at.groups)), label="author")
            joiner = client(f"{number}.{data.draw(st.integers(0, 2), label='joiner')}", **ABLE)
            proposal = data.draw(
                st.sampled_from(
                    [
                        Proposal.update(),
                        Proposal.add(joiner.key_package().public),
                        Proposal.remove(at[data.draw(st.sampled_from(sorted(at.groups)), label="leaving")].own_leaf),
                        Proposal.psk(b"door"),
                        Proposal.custom(TOPIC, b"tea"),
                        Proposal.context_extensions([(COLOUR, bytes([number]))]),
                    ]
                ),
                label="proposal",
            )
            propose(at, author, proposal, private=data.draw(st.booleans(), label="private"))
        author = data.draw(st.sampled_from(sorted(at.groups)), label="committer")
        packages = {name: client(name, **ABLE) for name in (f"{number}",)}
        made_packages = {name: one.key_package() for name, one in packages.items()}
        made = at[author].commit(
            add=[package.public for package in made_packages.values()],
            psks=psks,
            private=data.draw(st.booleans(), label="private commit"),
        )
        at.deliver(made, author, psks)
        for name, package in made_packages.items():
            assert made.welcome is not None
            at.clients[name] = packages[name]
            at.groups[name] = packages[name].join(made.welcome, package, tree=made.tree, psks=psks)
        at.agree()
        if data.draw(st.booleans(), label="restart"):
            at.reload()


def test_a_group_is_not_changed_by_what_is_made_on_it() -> None:
    at = three()
    ann: Group = at["ann"]
    before = ann.save()
    ann.propose(Proposal.update())
    ann.propose(Proposal.update(), private=True)
    ann.commit()
    ann.with_proposal(at["ben"].propose(Proposal.update()).message)
    assert ann.save() == before


def test_types_of_the_standard_are_no_custom_ones() -> None:
    for number in range(8):
        with pytest.raises(LocalProtocolError, match="bad_proposal") as caught:
            Proposal.custom(number, b"")
        assert caught.value.section == "RFC 9420 section 17.4"
    assert Proposal.custom(8, b"").type == 8
