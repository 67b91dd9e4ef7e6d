"""Credentials (RFC 9420 section 5.3): basic, X.509 and custom; who is believed, and who may take whose place."""

import ssl
from typing import Any

import pytest
from certificates import BEGIN, END, Authority, below, private_key, root
from clients import circle, client
from cryptography.hazmat.primitives.asymmetric import ed448

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Client, Commit, Credential, Group, Observer, Proposal, SigningKey, Successor, suites

BADGE = 0xF0AB
"""A private-use type of credentials."""

NOW = (BEGIN + END) // 2
ROOT = root()


def certified(
    name: str,
    *,
    by: Authority = ROOT,
    above: tuple[Authority, ...] = (),
    suite: int = 1,
    roots: tuple[Authority, ...] = (ROOT,),
    key: SigningKey | None = None,
    begin: int = BEGIN,
    end: int = END,
    **rules: Any,
) -> Client:
    key = key or SigningKey.generate(suite)
    leaf = by.issue(name, private_key(key), begin=begin, end=end)
    chain = [leaf, *(one.certificate for one in above)]
    return Client(Credential.x509(chain), key, roots=[one.certificate for one in roots], **rules)


def refusal(call: pytest.ExceptionInfo[RemoteProtocolError]) -> tuple[str, str]:
    return call.value.reason, call.value.section


def added(group: Group, newcomer: Client, **options: Any) -> tuple[Commit, Group]:
    package = newcomer.key_package()
    made = group.commit(add=[package.public], **options)
    assert made.welcome is not None
    return made, newcomer.join(made.welcome, package, tree=made.tree, now=options.get("now"))


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_members_with_certificates_make_a_group_in_every_suite(suite: int) -> None:
    middle = below(ROOT)
    ann = certified("Ann", suite=suite)
    ben = certified("Ben", suite=suite, by=middle, above=(middle,))
    made, at_ben = added(ann.create_group(b"group"), ben, now=NOW)
    assert made.group.epoch_authenticator() == at_ben.epoch_authenticator()
    assert [len(member.credential.chain) for member in at_ben.members()] == [1, 2]
    assert [member.identity for member in at_ben.members()] == [b"", b""]
    assert at_ben.members()[0].credential == ann.credential
    seen = Observer.observe(made.group_info, made.tree, roots=[ROOT.certificate])
    assert seen.members() == at_ben.members()
    update = at_ben.commit()
    assert made.group.stage(update.message, now=NOW).apply().epoch == 2
    assert seen.follow(update.message).context == update.group.context
    assert ben.load_group(update.group.save()).epoch == 2
    external = certified("Cal", suite=suite).join_external(made.group.group_info(with_tree=True), now=NOW)
    assert made.group.stage(external.message, now=NOW).apply().members()[2].credential.type == 2


def test_a_chain_that_does_not_lead_to_a_root_is_not_believed() -> None:
    stranger = root("Stranger")
    ann, eve = certified("Ann"), certified("Eve", by=stranger, roots=(stranger,))
    with pytest.raises(RemoteProtocolError) as caught:
        ann.create_group(b"group").commit(add=[eve.key_package().public], now=NOW)
    assert refusal(caught) == ("bad_credential", "RFC 9420 section 5.3.1")
    made, _ = added(eve.create_group(b"group"), certified("Fay", by=stranger, roots=(stranger,)), now=NOW)
    for look in (
        lambda: ann.join_external(made.group.group_info(with_tree=True)),
        lambda: Observer.observe(made.group.group_info(with_tree=True), roots=[ROOT.certificate]),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            look()
        assert refusal(caught) == ("bad_credential", "RFC 9420 section 5.3.1")


@pytest.mark.parametrize(
    "spoiled",
    [b"", b"noise", ROOT.certificate[:-1], ssl.DER_cert_to_PEM_cert(ROOT.certificate).encode()],
    ids=["nothing", "noise", "cut short", "in PEM"],
)
def test_a_root_that_is_none_is_named_where_it_is_given(spoiled: bytes) -> None:
    """Believed among good ones, it would make the engine believe no chain, and the peer would be blamed."""
    group = certified("Ann").create_group(b"group")
    for place, roots in ((0, [spoiled]), (1, [ROOT.certificate, spoiled]), (0, [spoiled, ROOT.certificate])):
        with pytest.raises(LocalProtocolError, match=rf"bad_root: roots\[{place}\]") as caught:
            client("ben", roots=roots)
        assert (caught.value.reason, caught.value.section) == ("bad_root", "RFC 9420 section 5.3.1")
        with pytest.raises(LocalProtocolError, match=rf"bad_root: roots\[{place}\]"):
            Observer.observe(group.group_info(with_tree=True), roots=roots)


def test_what_is_wrong_with_a_chain_of_ones_own_is_told_at_once() -> None:
    key = SigningKey.generate()
    own = private_key(key)
    middle, plain = below(ROOT), Authority("Plain", below(ROOT).key, b"")
    not_an_authority = Authority("Plain", plain.key, ROOT.issue("Plain", plain.key))
    chains = {
        "no root": [middle.issue("Ann", own)],
        "another key": [ROOT.issue("Ann", private_key(SigningKey.generate()))],
        "a bad signature": [ROOT.issue("Ann", own, flip=True)],
        "a bad signature above": [
            middle.issue("Ann", own),
            ROOT.issue("Middle", middle.key, authority=True, flip=True),
        ],
        "issued by a leaf": [not_an_authority.issue("Ann", own), not_an_authority.certificate],
        "no certificate": [b"noise"],
        "a key of another kind": [ROOT.issue("Ann", ed448.Ed448PrivateKey.generate())],
    }
    for chain in chains.values():
        with pytest.raises(LocalProtocolError, match="bad_credential"):
            Client(Credential.x509(chain), key, roots=[ROOT.certificate])
    with pytest.raises(LocalProtocolError, match="bad_credential"):
        Client(Credential.x509([ROOT.issue("Ann", own)]), key)
    good = Client(Credential.x509([middle.issue("Ann", own), middle.certificate]), key, roots=[ROOT.certificate])
    assert good.create_group(b"group").epoch == 0


def test_certificates_are_checked_against_the_time_that_is_given() -> None:
    ann, late = certified("Ann"), certified("Late", begin=NOW + 100)
    group = ann.create_group(b"group")
    with pytest.raises(RemoteProtocolError) as caught:
        group.commit(add=[late.key_package().public], now=NOW)
    assert caught.value.reason == "bad_credential"
    package = late.key_package()
    made = group.commit(add=[package.public])
    assert made.welcome is not None
    late.join(made.welcome, package, tree=made.tree)
    with pytest.raises(RemoteProtocolError) as caught:
        late.join(made.welcome, package, tree=made.tree, now=NOW)
    assert caught.value.reason == "bad_credential"
    at_late = late.join(made.welcome, package, tree=made.tree, now=NOW + 200)
    external = certified("Cal", end=NOW - 100).join_external(at_late.group_info(with_tree=True))
    with pytest.raises(RemoteProtocolError) as caught:
        made.group.stage(external.message, now=NOW)
    assert caught.value.reason == "bad_credential"
    assert made.group.stage(external.message).apply().epoch == 2
    assert made.group.stage(external.message, now=NOW - 200).added[0].credential.type == 2


def test_an_observer_asks_for_no_time() -> None:
    ann, past = certified("Ann"), certified("Past", end=BEGIN + 100)
    package = past.key_package(not_before=BEGIN, not_after=BEGIN + 50)
    group = ann.create_group(b"group")
    for of_the_past in (
        package,
        past.key_package(),
        certified("Due").key_package(not_before=BEGIN, not_after=BEGIN + 50),
    ):
        with pytest.raises(RemoteProtocolError, match=r"bad_credential|bad_lifetime"):
            group.commit(add=[of_the_past.public], now=NOW)
    before = Observer.observe(group.group_info(with_tree=True), roots=[ROOT.certificate])
    commit = group.commit(add=[package.public])
    after = Observer.observe(commit.group_info, commit.tree, roots=[ROOT.certificate])
    assert before.follow(commit.message).members() == after.members() == commit.group.members()


def test_one_subject_is_one_member_and_may_renew_its_certificate() -> None:
    """Another certificate and key for the same subject: by a commit, and by an update that somebody else commits."""
    ann, ben = certified("Ann"), certified("Ben")
    made, at_ben = added(ann.create_group(b"group"), ben)
    at_ann = made.group
    with pytest.raises(RemoteProtocolError) as caught:
        at_ann.commit(add=[certified("Ben").key_package().public])
    assert caught.value.reason == "duplicate_leaf"
    renewed = certified("Ben", end=END + 1000, leaf_extensions=[(0xF00D, b"new")])
    commit = at_ben.commit(client=renewed)
    staged = at_ann.stage(commit.message, now=NOW)
    (member,) = staged.updated
    assert (member.credential, member.signature_key) == (renewed.credential, renewed.signing_key.public)
    assert member.extensions == ((0xF00D, b"new"),)
    at_ann, at_ben = staged.apply(), renewed.load_group(commit.group.save())
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        ben.load_group(commit.group.save())
    with pytest.raises(LocalProtocolError, match="bad_proposal"):
        at_ben.propose(Proposal.update(), client=certified("Ben"))
    again = certified("Ben", leaf_extensions=[(0xF00D, b"new")])
    update = at_ben.propose(Proposal.update(), client=again)
    commit = at_ann.with_proposal(update.message).commit()
    at_ben = update.group.stage(commit.message).apply()
    assert at_ben.members()[1].credential == again.credential
    at_ben = again.load_group(at_ben.save())
    assert commit.group.stage(at_ben.commit().message).apply().epoch == 4
    impostor = certified("Cal")
    with pytest.raises((LocalProtocolError, RemoteProtocolError), match="bad_successor"):
        commit.group.stage(at_ben.commit(client=impostor).message)


def test_a_key_changes_and_messages_still_come_through() -> None:
    at = circle("ann", "ben")
    fresh = client("ben")
    commit = at["ben"].commit(client=fresh)
    at.deliver(commit, "ben")
    at.clients["ben"] = fresh
    at.reload()
    sent = at["ben"].encrypt(b"with a new key")
    assert at["ann"].decrypt(sent.message).data == b"with a new key"
    at.groups["ben"] = sent.group
    at.commit("ben")
    at.commit("ann")


def test_only_an_update_makes_us_another_client() -> None:
    at = circle("ann", "ben")
    with pytest.raises(LocalProtocolError, match="bad_proposal"):
        at["ann"].propose(Proposal.remove(1), client=client("ann"))
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        at["ann"].commit(client=client("ann", 3))


STRICT, LOOSE = Successor.SAME_IDENTITY, Successor.first_fields(0)


def named(name: bytes, rule: Successor) -> Client:
    return Client(name, SigningKey.generate(), successor=rule)


@pytest.mark.parametrize("members", [1, 2])
@pytest.mark.parametrize(("rule", "own"), [(STRICT, LOOSE), (LOOSE, STRICT), (STRICT, STRICT)])
def test_another_client_is_allowed_by_the_groups_rule_and_by_its_own(
    members: int, rule: Successor, own: Successor
) -> None:
    """Nobody else looks where we are alone, and the members' refusal would come too late."""
    group = named(b"\0\1a", rule).create_group(b"group")
    if members > 1:
        group = added(group, named(b"\0\1b", rule))[0].group
    for act in (
        lambda: group.commit(client=named(b"\0\1c", own)),
        lambda: group.propose(Proposal.update(), client=named(b"\0\1c", own)),
    ):
        with pytest.raises(LocalProtocolError) as caught:
            act()
        assert (caught.value.reason, caught.value.section) == ("bad_successor", "RFC 9420 section 5.3.1")
    assert group.commit(client=named(b"\0\1a", own)).group.epoch == members


def test_members_refuse_what_a_looser_rule_of_its_author_allows() -> None:
    """In a commit, in an Update that one who takes it commits, and from outside. A strict committer leaves it out."""
    loose = named(b"\0\1a", LOOSE)
    made, strict = added(loose.create_group(b"group"), named(b"\0\1b", STRICT))
    made, ally = added(made.group, named(b"\0\1c", LOOSE))
    strict = strict.stage(made.message).apply()
    seen = Observer.observe(strict.group_info(with_tree=True), successor=STRICT)
    update = made.group.propose(Proposal.update(), client=named(b"\0\1d", LOOSE))
    knowing = strict.with_proposal(update.message)
    (left_out,) = knowing.commit().left_out
    assert left_out.proposal.kind == "update"
    taken = ally.with_proposal(update.message).commit()
    assert update.group.stage(taken.message).apply().epoch == 3
    renamed = made.group.commit(client=named(b"\0\1d", LOOSE))
    outside = named(b"\0\1d", LOOSE).join_external(strict.group_info(with_tree=True), remove=0)
    assert ally.stage(renamed.message).apply().epoch == ally.stage(outside.message).apply().epoch == 3
    for group, observer, message in (
        (strict, seen, renamed.message),
        (strict, seen, outside.message),
        (knowing, seen.follow(update.message), taken.message),
    ):
        for look in (group.stage, observer.follow):
            with pytest.raises(RemoteProtocolError) as caught:
                look(message)
            assert caught.value.reason == "bad_successor"


def test_a_custom_credential_is_carried_and_believed_by_who_says_so() -> None:
    def badge(data: bytes, **rules: Any) -> Client:
        return Client(Credential.custom(BADGE, data), SigningKey.generate(), **rules)

    ann = badge(b"ann")
    made, at_ben = added(ann.create_group(b"group"), badge(b"ben"))
    assert [member.credential.data for member in at_ben.members()] == [b"ann", b"ben"]
    assert [member.identity for member in at_ben.members()] == [b"", b""]
    for twice in (badge(b"ann"), badge(b"ben")):
        with pytest.raises(RemoteProtocolError) as caught:
            made.group.commit(add=[twice.key_package().public])
        assert caught.value.reason == "duplicate_leaf"
    plain = client("ann")
    with pytest.raises(RemoteProtocolError) as caught:
        plain.create_group(b"group").commit(add=[badge(b"ann").key_package().public])
    assert caught.value.reason == "bad_credential"
    with pytest.raises(RemoteProtocolError) as caught:
        plain.join_external(made.group.group_info(with_tree=True))
    assert caught.value.reason == "bad_credential"
    open_minded = client("cal", credential_types=[BADGE])
    _, joined = added(open_minded.create_group(b"group"), badge(b"ann", credential_types=[1]))
    assert [member.credential.type for member in joined.members()] == [1, BADGE]


def test_a_group_of_three_kinds_of_credentials() -> None:
    kinds = {"credential_types": [1, 2, BADGE]}
    ann = client("ann", roots=[ROOT.certificate], **kinds)
    ben = certified("Ben", **kinds)
    cal = Client(Credential.custom(BADGE, b"cal"), SigningKey.generate(), roots=[ROOT.certificate], **kinds)
    made, at_ben = added(ann.create_group(b"group"), ben)
    made, at_cal = added(made.group, cal)
    assert [member.credential.type for member in at_cal.members()] == [1, 2, BADGE]
    other_kind = Client(b"Ben", SigningKey.generate(), roots=[ROOT.certificate], **kinds)
    with pytest.raises((LocalProtocolError, RemoteProtocolError), match="bad_successor"):
        made.group.stage(at_cal.commit(client=other_kind).message)
    external = other_kind.join_external(made.group.group_info(with_tree=True))
    assert len(made.group.stage(external.message).apply().members()) == 4
    with pytest.raises((LocalProtocolError, RemoteProtocolError), match="bad_successor"):
        made.group.stage(other_kind.join_external(made.group.group_info(with_tree=True), remove=1).message)
    assert at_ben.epoch == 1


def test_types_of_the_standard_are_no_custom_ones() -> None:
    for number in (0, 1, 2):
        with pytest.raises(LocalProtocolError, match="bad_credential"):
            Credential.custom(number, b"")
    assert Credential.custom(3, b"").type == 3


def test_a_chain_has_a_certificate() -> None:
    with pytest.raises(LocalProtocolError, match="bad_credential"):
        Credential.x509([])


def test_a_basic_credential_stays_bytes() -> None:
    key = SigningKey.generate()
    one, other = Client(b"ann", key), Client(Credential.basic(b"ann"), key)
    assert one.credential == other.credential == Credential.basic(b"ann")
    assert (one.identity, one.credential.identity, one.credential.type) == (b"ann", b"ann", 1)
    assert (one.credential.chain, one.credential.data) == ((), b"")
    package = one.key_package()
    assert (package.identity, package.credential) == (b"ann", one.credential)
    assert len({Credential.basic(b"a"), Credential.custom(BADGE, b"a"), Credential.x509([b"a"])}) == 3
