"""Extensions and capabilities (RFC 9420 sections 7.2, 11.1 and 13), and proposals from outside (section 12.1.8)."""

from collections.abc import Callable
from functools import partial

import pytest
from clients import PUBLIC, circle, client

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import (
    Client,
    Commit,
    Credential,
    Group,
    KeyPackage,
    Observer,
    Proposal,
    Secret,
    SigningKey,
    external_senders,
    inspect_key_package,
    required_capabilities,
    suites,
)

LEAF, PACKAGE, CONTEXT, TOPIC = 0xF001, 0xF002, 0xF003, 0xF004


def test_a_key_package_has_extensions_and_a_lifetime_of_its_own() -> None:
    ann = client("ann", leaf_extensions=[(LEAF, b"leaf")])
    package = ann.key_package(not_before=10, not_after=20, extensions=[(PACKAGE, b"package")])
    facts = inspect_key_package(package.public)
    assert (facts.lifetime, facts.extensions) == ((10, 20), ((LEAF, b"leaf"),))
    assert b"package" in package.public
    assert not package.last_resort
    with pytest.raises(LocalProtocolError, match="duplicate_extension"):
        ann.key_package(extensions=[(PACKAGE, b"1"), (PACKAGE, b"2")])
    with pytest.raises(LocalProtocolError, match="bad_lifetime"):
        ann.key_package(not_before=2, not_after=1)


def test_a_key_package_of_last_resort_says_so_and_opens_several_groups() -> None:
    ann = client("ann")
    package = ann.key_package(last_resort=True)
    assert package.last_resort
    assert KeyPackage.load(package.save()).last_resort
    for owner in ("ben", "cal"):
        commit = client(owner).create_group(owner.encode()).commit(add=[package.public])
        assert commit.welcome is not None
        assert ann.join(commit.welcome, package, tree=commit.tree).group_id == owner.encode()


def test_who_does_not_have_what_is_required_is_not_admitted() -> None:
    demands = required_capabilities(extensions=[CONTEXT], proposals=[TOPIC], credentials=[2])
    assert demands[0] == 3
    able = {"extension_types": [CONTEXT], "proposal_types": [TOPIC], "credential_types": [2]}
    owner = client("owner", **able)
    group = owner.create_group(b"group", extensions=[demands])
    assert group.extensions == (demands,)
    assert group.commit(add=[client("able", **able).key_package().public]).group.epoch == 1
    for missing in able:
        lacking = client("lacking", **{name: types for name, types in able.items() if name != missing})
        with pytest.raises(RemoteProtocolError) as caught:
            group.commit(add=[lacking.key_package().public])
        assert (caught.value.reason, caught.value.section) == (
            "bad_capabilities",
            "RFC 9420 sections 7.3, 11.1, 12.1.7",
        )
        external = lacking.join_external(group.group_info(with_tree=True))
        with pytest.raises(RemoteProtocolError) as caught:
            group.stage(external.message)
        assert caught.value.reason == "bad_capabilities"
    with pytest.raises(LocalProtocolError, match="bad_capabilities"):
        client("unable").create_group(b"group", extensions=[demands])


def test_requirements_come_and_go_by_a_proposal() -> None:
    at = circle("ann", "ben", proposal_types=[TOPIC])
    demands = required_capabilities(proposals=[TOPIC])
    at.commit("ann", proposals=[Proposal.context_extensions([demands])])
    assert at["ben"].extensions == (demands,)
    with pytest.raises(RemoteProtocolError) as caught:
        at["ben"].commit(add=[client("plain").key_package().public])
    assert caught.value.reason == "bad_capabilities"
    at.commit("ben", proposals=[Proposal.context_extensions([])], add=[client("plain").key_package().public])
    assert at["ann"].extensions == ()
    with pytest.raises(LocalProtocolError, match="bad_capabilities"):
        at["ann"].commit(proposals=[Proposal.context_extensions([required_capabilities(proposals=[0xF0FF])])])


def test_what_a_custom_proposal_says_reaches_everybody() -> None:
    at = circle("ann", "ben", proposal_types=[TOPIC])
    commit = at["ann"].commit(proposals=[Proposal.custom(TOPIC, b"tea"), Proposal.custom(TOPIC, b"biscuits")])
    staged = at["ben"].stage(commit.message)
    assert [(one.proposal.type, one.proposal.data, one.reference) for one in staged.proposals] == [
        (TOPIC, b"tea", None),
        (TOPIC, b"biscuits", None),
    ]
    assert [member.identity for member in staged.updated] == []
    with_path = at["ann"].commit(proposals=[Proposal.custom(TOPIC, b"tea")], path=True)
    assert [member.identity for member in at["ben"].stage(with_path.message).updated] == [b"ann"]
    with pytest.raises(LocalProtocolError, match="bad_proposal"):
        circle("ann", "ben")["ann"].commit(proposals=[Proposal.custom(TOPIC, b"not understood")])


# Proposals from outside.


def opened(welcomer: Commit, joiner: Client, package: KeyPackage) -> Group:
    assert welcomer.welcome is not None
    return joiner.join(welcomer.welcome, package, tree=welcomer.tree)


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_who_wants_to_join_proposes_itself(suite: int) -> None:
    at = circle("ann", "ben", suite=suite)
    cal = client("cal", suite)
    package = cal.key_package()
    message = cal.propose_join(at["ann"].group_info(), package, authenticated_data=b"knock knock")
    assert message.startswith(PUBLIC)
    assert b"knock knock" in message
    at.hear(message, "")
    (known,) = at["ben"].proposals
    assert (known.by, known.sender, known.proposal) == ("new_member", None, Proposal.add(package.public))
    made = at.commit("ben")
    joined = opened(made, cal, package)
    assert joined.epoch_authenticator() == at["ann"].epoch_authenticator()


def test_a_wish_to_join_that_was_changed_or_is_for_another_group_is_refused() -> None:
    at, other = circle("ann", "ben"), circle("ann", "ben")
    cal = client("cal")
    package = cal.key_package()
    message = cal.propose_join(at["ann"].group_info(), package)
    for position in range(len(message)):
        bad = bytearray(message)
        bad[position] ^= 2
        with pytest.raises(RemoteProtocolError):
            at["ann"].with_proposal(bytes(bad))
    with pytest.raises(RemoteProtocolError) as caught:
        circle("dan")["dan"].with_proposal(message)
    assert caught.value.reason == "wrong_epoch"
    assert other["ann"].with_proposal(message).proposals, (
        "it signs the group's identifier and epoch, which are equal here"
    )
    at.commit("ann")
    with pytest.raises(RemoteProtocolError) as caught:
        at["ann"].with_proposal(message)
    assert caught.value.reason == "wrong_epoch"
    with pytest.raises(RemoteProtocolError) as caught:
        client("cal", 3).propose_join(at["ann"].group_info(), client("cal", 3).key_package())
    assert (caught.value.reason, caught.value.where) == ("wrong_suite", "group_info")
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        cal.propose_join(at["ann"].group_info(), client("cal").key_package())
    with pytest.raises(RemoteProtocolError) as caught:
        cal.propose_join(b"noise", package)
    assert caught.value.reason == "unsupported_version"


def served(**rules: object) -> tuple[Client, Client, list[tuple[int, bytes]]]:
    """A server, another one, and the extension that names both."""
    door, gate = client("door"), client("gate")
    senders = external_senders([(b"door", door.signing_key.public), (gate.credential, gate.signing_key.public)])
    return door, gate, [senders]


def test_an_external_sender_proposes_what_the_group_then_commits() -> None:
    door, gate, extensions = served()
    at = circle("ann", "ben", "cal", extensions=extensions, proposal_types=[TOPIC])
    info = at["ann"].group_info(with_tree=True)
    joiner = client("dan", proposal_types=[TOPIC])
    package = joiner.key_package()
    at_door, at_gate = Observer.observe(info, sender=door), Observer.observe(info, sender=gate)
    psks = {b"key": Secret(b"k" * 32)}
    messages = [
        at_door.propose(Proposal.add(package.public), authenticated_data=b"let in"),
        at_gate.propose(Proposal.remove(2)),
        at_door.propose(Proposal.psk(b"key")),
        at_gate.propose(Proposal.custom(TOPIC, b"tea")),
    ]
    for message in messages:
        at.hear(message, "")
        at_door, at_gate = at_door.follow(message), at_gate.follow(message)
    assert {(one.by, one.sender, one.proposal.kind) for one in at["cal"].proposals} == {
        ("external", 0, "add"),
        ("external", 1, "remove"),
        ("external", 0, "psk"),
        ("external", 1, "custom"),
    }
    made = at["ben"].commit(psks=psks)
    at.deliver(made, "ben", psks)
    assert made.welcome is not None
    joined = joiner.join(made.welcome, package, tree=made.tree, psks=psks)
    assert joined.epoch_authenticator() == at["ann"].epoch_authenticator()
    assert [member.identity for member in joined.members()] == [b"ann", b"ben", b"dan"]
    assert at_door.follow(made.message).context == at_gate.follow(made.message).context == at["ann"].context


def test_an_external_sender_may_ask_for_new_extensions_and_an_end() -> None:
    door, _, extensions = served()
    at = circle("ann", "ben", extensions=extensions)
    at_door = Observer.observe(at["ann"].group_info(with_tree=True), sender=door)
    at.hear(at_door.propose(Proposal.context_extensions([])), "")
    at.commit("ben")
    assert at["ann"].extensions == ()
    ending = circle("ann", "ben", extensions=extensions)
    at_door = Observer.observe(ending["ann"].group_info(with_tree=True), sender=door)
    ending.hear(at_door.propose(Proposal.reinit(b"next")), "")
    ending.commit("ann")
    assert ending["ben"].reinit is not None


def test_who_is_not_named_cannot_propose_from_outside() -> None:
    door, _, extensions = served()
    at = circle("ann", "ben", extensions=extensions)
    info = at["ann"].group_info(with_tree=True)
    with pytest.raises(LocalProtocolError, match="wrong_state"):
        Observer.observe(info).propose(Proposal.remove(1))
    for impostor in (client("eve"), client("door"), Client(b"eve", door.signing_key)):
        with pytest.raises((LocalProtocolError, RemoteProtocolError), match="bad_sender"):
            Observer.observe(info, sender=impostor).propose(Proposal.remove(1))
    closed = circle("ann", "ben")
    with pytest.raises((LocalProtocolError, RemoteProtocolError), match="bad_sender"):
        Observer.observe(closed["ann"].group_info(with_tree=True), sender=door).propose(Proposal.remove(1))
    at_door = Observer.observe(info, sender=door)
    message = at_door.propose(Proposal.remove(1))
    for position in range(len(message)):
        bad = bytearray(message)
        bad[position] ^= 1
        with pytest.raises(RemoteProtocolError):
            at["ann"].with_proposal(bytes(bad))
    for proposal, reason in (
        (Proposal.update(), "bad_proposal"),
        (Proposal.remove(9), "unknown_leaf"),
        (Proposal.context_extensions([(CONTEXT, b""), (CONTEXT, b"")]), "duplicate_extension"),
    ):
        with pytest.raises(LocalProtocolError, match=reason):
            at_door.propose(proposal)


def test_external_senders_have_believable_credentials() -> None:
    with pytest.raises(LocalProtocolError, match="bad_key"):
        external_senders([(b"door", b"")])
    with pytest.raises(LocalProtocolError, match="bad_credential"):
        external_senders([(Credential.custom(1, b""), b"k" * 32)])
    odd = external_senders([(Credential.custom(0xF0AB, b"door"), SigningKey.generate().public)])
    with pytest.raises(LocalProtocolError, match="bad_credential"):
        circle("ann", "ben")["ann"].commit(proposals=[Proposal.context_extensions([odd])])


APPLICATION_ID, RATCHET_TREE, REQUIRED_CAPABILITIES, EXTERNAL_PUB, EXTERNAL_SENDERS, LAST_RESORT = 1, 2, 3, 4, 5, 10
REQUIRED, SENDERS = required_capabilities(), external_senders([])
OUT_OF_PLACE = {
    "leaf": [(0, b""), (RATCHET_TREE, b""), REQUIRED, (EXTERNAL_PUB, b""), SENDERS, (LAST_RESORT, b"")],
    "key package": [(0, b""), (APPLICATION_ID, b"\0"), (RATCHET_TREE, b""), REQUIRED, (EXTERNAL_PUB, b""), SENDERS],
    "context": [
        (0, b""),
        (APPLICATION_ID, b"\0"),
        (RATCHET_TREE, b""),
        (EXTERNAL_PUB, b""),
        (LAST_RESORT, b""),
        (0x2A2A, b"grease"),
    ],
}
"""Where each may not stand, by RFC 9420 section 17.3."""


def makers(place: str) -> list[Callable[[list[tuple[int, bytes]]], object]]:
    """Everything that puts extensions of the caller's there."""
    ann = client("ann")
    group = ann.create_group(b"group", extensions=[external_senders([(b"ann", ann.signing_key.public)])])
    observer = Observer.observe(group.group_info(with_tree=True), sender=ann)
    context, end = Proposal.context_extensions, partial(Proposal.reinit, b"next")
    return {
        "leaf": [lambda found: client("x", leaf_extensions=found)],
        "key package": [lambda found: ann.key_package(extensions=found)],
        "context": [
            lambda found: ann.create_group(b"other", extensions=found),
            lambda found: group.commit(proposals=[context(found)]),
            lambda found: group.propose(context(found)),
            lambda found: observer.propose(context(found)),
            lambda found: group.commit(proposals=[end(extensions=found)]),
            lambda found: group.propose(end(extensions=found)),
            lambda found: observer.propose(end(extensions=found)),
        ],
    }[place]


@pytest.mark.parametrize("place", OUT_OF_PLACE)
def test_an_extension_stands_where_the_registry_has_it(place: str) -> None:
    for make in makers(place):
        for extension in OUT_OF_PLACE[place]:
            with pytest.raises(LocalProtocolError, match="misplaced_extension") as caught:
                make([extension])
            assert caught.value.section == "RFC 9420 section 17.3"


def test_an_application_id_is_refused_before_anything_is_made() -> None:
    """The engine refuses every leaf with one (tests/mls/test_attacks.py): what we made, nobody on it could take."""
    with pytest.raises(LocalProtocolError, match="unsupported_extension") as caught:
        client("ann", leaf_extensions=[(APPLICATION_ID, b"\4name")])
    assert caught.value.section == "RFC 9420 section 5.3.3"
    understood = client("ann", extension_types=[APPLICATION_ID])
    assert understood.create_group(b"group").epoch == 0


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_the_key_of_an_external_sender_is_one_of_the_suite(suite: int) -> None:
    key = SigningKey.generate(suite).public
    ann = client("ann", suite)
    group = ann.create_group(b"group", extensions=[external_senders([(b"door", key)])])
    other = SigningKey.generate(2 if suite != 2 else 1).public
    for wrong in (b"no", key[:-1], key + b"\0", other):
        bad = [external_senders([(b"door", key), (b"gate", wrong)])]
        for act in (
            lambda bad=bad: ann.create_group(b"group", extensions=bad),
            lambda bad=bad: group.commit(proposals=[Proposal.context_extensions(bad)]),
            lambda bad=bad: group.propose(Proposal.context_extensions(bad)),
            lambda bad=bad: group.propose(Proposal.reinit(b"next", suite=suite, extensions=bad)),
        ):
            with pytest.raises(LocalProtocolError, match="bad_key") as caught:
                act()
            assert caught.value.section == "RFC 9420 sections 5.1.1, 12.1.8.1"


def test_the_contents_of_the_standards_extensions_are_what_their_type_says() -> None:
    for number, section in ((REQUIRED_CAPABILITIES, "11.1"), (EXTERNAL_SENDERS, "12.1.8.1")):
        with pytest.raises(LocalProtocolError, match="bad_extension") as caught:
            client("ann").create_group(b"group", extensions=[(number, b"noise")])
        assert caught.value.section == f"RFC 9420 section {section}"


@pytest.mark.parametrize(("suite", "size"), [(1, 282), (0x4D, 2652)])
def test_what_everybody_understands_is_left_out_of_a_key_package(suite: int, size: int) -> None:
    def published(**types: list[int]) -> bytes:
        return Client(b"eleven byte", SigningKey.generate(suite), **types).key_package().public  # type: ignore[arg-type]

    assert len(published()) == 11 + size
    assert len(published(extension_types=[1, 2, 3, 4, 5], proposal_types=[1, 2, 3, 4, 5, 6, 7])) == 11 + size
    assert len(published(extension_types=[0xF000], proposal_types=[0xF000])) == 11 + size + 4
