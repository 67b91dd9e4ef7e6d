"""The traps of mls-rs that the project knows of, each shut: one test for each, named after it.

The trap is told in the test's docstring; some live on in the engine and are shown as they are.
"""

import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import Client, Group, KeyPackage, Observer, Proposal, Secret, SigningKey, Successor

TAG = 32
"""Length of confirmation and membership tags in suite 1; each stands behind one byte of length."""


def client(name: str) -> Client:
    return Client(name.encode(), SigningKey.generate())


def fields(*parts: str) -> bytes:
    """A credential of length-prefixed fields: for a call user, device, member id."""
    return b"".join(len(part).to_bytes(2) + part.encode() for part in parts)


def device(member_id: str) -> Client:
    return Client(fields("@u:h", "DEV", member_id), SigningKey.generate(), successor=Successor.first_fields(2))


def two() -> tuple[Client, Group, Client, Group]:
    """Two clients in one group at epoch 1."""
    one, other = client("one"), client("other")
    package = other.key_package()
    made = one.create_group(b"group").commit(add=[package.public])
    assert made.welcome is not None
    return one, made.group, other, other.join(made.welcome, package, tree=made.tree)


def flipped(message: bytes, from_end: int) -> bytes:
    position = len(message) - from_end
    return message[:position] + bytes([message[position] ^ 1]) + message[position + 1 :]


def reason(call: pytest.ExceptionInfo[RemoteProtocolError]) -> str:
    return call.value.reason


def test_an_observer_passes_flipped_tags_with_the_same_context_and_a_member_does_not() -> None:
    """An outside observer can check neither tag: a twin with a flipped bit has the same GroupContext."""
    _, at_one, _, at_other = two()
    made = at_one.commit()
    seen = Observer.observe(at_one.group_info(), at_one.tree())
    membership, confirmation = 1, 1 + TAG + 1
    for tag, refusal in ((membership, "bad_membership_tag"), (confirmation, "bad_membership_tag")):
        twin = flipped(made.message, tag)
        assert seen.follow(twin).context == seen.follow(made.message).context == made.group.context
        with pytest.raises(RemoteProtocolError) as caught:
            at_other.stage(twin)
        assert reason(caught) == refusal
    assert at_other.stage(made.message).apply().confirmation_tag == made.group.confirmation_tag


def test_an_external_commit_with_a_flipped_confirmation_tag_is_refused_by_members() -> None:
    """It has no membership tag, so the confirmation tag is all that binds its secrets."""
    _, at_one, _, _ = two()
    made = client("third").join_external(at_one.group_info(with_tree=True))
    seen = Observer.observe(at_one.group_info(with_tree=True))
    twin = flipped(made.message, 1)
    assert seen.follow(twin).context == seen.follow(made.message).context
    with pytest.raises(RemoteProtocolError) as caught:
        at_one.stage(twin)
    assert reason(caught) == "bad_confirmation_tag"
    assert at_one.stage(made.message).apply().context == made.group.context


def test_bytes_received_are_never_encoded_again() -> None:
    """The engine takes messages it will not write: what is hashed and handed on is what came."""
    package = client("one").key_package()
    bare = package.public[4:]

    def opaque(value: bytes) -> bytes:
        return (len(value).to_bytes() if len(value) < 64 else (len(value) | 0x4000).to_bytes(2)) + value

    expected = hashlib.sha256(opaque(b"MLS 1.0 KeyPackage Reference") + opaque(bare)).digest()
    assert package.reference == expected
    assert KeyPackage.load(package.save()).public == package.public


def test_one_message_has_one_encoding() -> None:
    """The engine ignores what follows a message, and the version in front of some: twins for the making."""
    _, at_one, joiner, at_other = two()
    made = at_one.commit(add=[client("third").key_package().public])
    package = joiner.key_package().public
    for grown in (made.message + b"\0", b"\0\2" + made.message[2:]):
        with pytest.raises(RemoteProtocolError):
            at_other.stage(grown)
    for grown in (package + b"\0", b"\0\2" + package[2:]):
        with pytest.raises(RemoteProtocolError):
            at_one.commit(add=[grown])
    for grown in (made.group_info + b"\0", b"\0\2" + made.group_info[2:]):
        with pytest.raises(RemoteProtocolError):
            Observer.observe(grown, made.tree)
    with pytest.raises(RemoteProtocolError):
        Observer.observe(made.group_info, made.tree + b"\0")


def test_the_echo_of_a_detached_commit_is_refused_and_its_group_goes_on() -> None:
    """One's own commit cannot be processed: whose own bytes come back goes on with `commit.group`."""
    one, at_one, _, at_other = two()
    made = at_one.commit(path=True)
    for own in (at_one, one.load_group(at_one.save())):
        with pytest.raises(RemoteProtocolError) as caught:
            own.stage(made.message)
        assert reason(caught) == "own_message"
    pending = one.load_group(made.group.save())
    assert pending.epoch_authenticator() == at_other.stage(made.message).apply().epoch_authenticator()


def test_the_echo_of_a_commit_without_a_path_leads_where_its_group_stands() -> None:
    """It brings no secret, so that its author can follow it like others, also after it has forgotten the commit."""
    one, at_one, _, _ = two()
    package = client("third").key_package().public
    key = {b"door": Secret(b"known to all")}
    for what in ({"add": [package]}, {"proposals": [Proposal.psk(b"door")]}, {"proposals": [Proposal.reinit(b"next")]}):
        made = at_one.commit(psks=key, **what)
        for own in (at_one, one.load_group(at_one.save())):
            reached = own.stage(made.message, psks=key).apply()
            assert reached.epoch_authenticator() == made.group.epoch_authenticator()
            assert reached.reinit == made.group.reinit


def test_clones_share_no_store_so_rivals_apply_from_one_parent() -> None:
    """The bundled store is shared by clones and refuses a rival epoch when it is applied."""
    one, at_one, other, at_other = two()
    first, rival = at_one.commit(authenticated_data=b"first"), at_one.commit(authenticated_data=b"rival")
    on_first, on_rival = at_other.stage(first.message).apply(), at_other.stage(rival.message).apply()
    assert on_first.epoch_authenticator() == first.group.epoch_authenticator()
    assert on_rival.epoch_authenticator() == rival.group.epoch_authenticator()
    assert on_first.epoch_authenticator() != on_rival.epoch_authenticator()
    for mine, theirs in ((first.group, on_first), (rival.group, on_rival)):
        mine, theirs = one.load_group(mine.save()), other.load_group(theirs.save())
        for _ in range(3):
            step = theirs.commit()
            mine, theirs = mine.stage(step.message).apply(), step.group
        assert mine.epoch_authenticator() == theirs.epoch_authenticator()
        assert mine.epoch == 5


def test_threads_that_work_on_one_group_do_not_meet() -> None:
    """What a call hands to the engine's stores lies on its own thread, and the GIL is released meanwhile."""
    _, at_one, other, at_other = two()
    joiners = [client(f"joiner {number}") for number in range(16)]

    def work(joiner: Client) -> bool:
        package = joiner.key_package()
        made = at_one.commit(add=[package.public], path=True)
        assert made.welcome is not None
        joined = joiner.load_group(joiner.join(made.welcome, package, tree=made.tree).save())
        followed = other.load_group(at_other.stage(made.message).apply().save())
        return joined.epoch_authenticator() == followed.epoch_authenticator() == made.group.epoch_authenticator()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, joiners))


def test_a_refused_commit_changes_nothing_though_the_engine_changes_groups_before_its_last_checks() -> None:
    """mls-rs changes a group before its last checks: every message is processed on a clone."""
    _, at_one, _, at_other = two()
    made = at_one.commit()
    before = at_other.save()
    for position in range(1, 300):
        with pytest.raises(RemoteProtocolError):
            at_other.stage(flipped(made.message, position))
    assert at_other.save() == before
    assert at_other.stage(made.message).apply().epoch == 2


def test_leaf_extensions_are_seen_before_a_commit_is_applied() -> None:
    """The engine's identity provider never sees leaf extensions: the caller checks them, in time."""
    _, at_one, _, at_other = two()
    bound = Client(b"bound", SigningKey.generate(), leaf_extensions=[(0xF4D1, b"binding")])
    made = at_one.commit(add=[bound.key_package().public])
    (member,) = at_other.stage(made.message).added
    assert member.extensions == ((0xF4D1, b"binding"),)
    external = bound.join_external(at_one.group_info(with_tree=True))
    (member,) = at_other.stage(external.message).added
    assert member.extensions == ((0xF4D1, b"binding"),)


def test_leaf_extensions_stay_through_updates() -> None:
    """A path replaces the leaf: the binding must be in the new one too."""
    bound = Client(b"bound", SigningKey.generate(), leaf_extensions=[(0xF4D1, b"binding")])
    group = bound.create_group(b"group")
    for _ in range(3):
        group = bound.load_group(group.commit().group.save())
        assert [member.extensions for member in group.members()] == [((0xF4D1, b"binding"),)]


def test_one_identity_twice_is_refused_and_a_fresh_member_id_is_another_identity() -> None:
    """`identity()` is the whole credential: with user and device alone a rejoin is DuplicateLeafData."""
    first, fresh = device("first"), device("fresh")
    group = first.create_group(b"group")
    twice = Client(first.identity, SigningKey.generate())
    with pytest.raises(RemoteProtocolError) as caught:
        group.commit(add=[twice.key_package().public])
    assert reason(caught) == "duplicate_leaf"
    assert len(group.commit(add=[fresh.key_package().public]).group.members()) == 2


def test_a_device_removes_its_old_leaf_by_a_resync_under_a_fresh_member_id() -> None:
    """`valid_successor` must allow user and device, or only the very same credential could resync."""
    owner, old, fresh = device("owner"), device("old"), device("fresh")
    package = old.key_package()
    group = owner.create_group(b"group").commit(add=[package.public]).group
    made = fresh.join_external(group.group_info(with_tree=True), remove=1)
    staged = group.stage(made.message)
    assert [member.identity for member in staged.removed] == [old.identity]
    assert [member.identity for member in staged.added] == [fresh.identity]
    assert staged.apply().epoch_authenticator() == made.group.epoch_authenticator()
    seen = Observer.observe(group.group_info(with_tree=True), successor=Successor.first_fields(2))
    assert seen.follow(made.message).context == made.group.context


def test_the_context_of_an_epoch_is_the_same_bytes_wherever_it_is_asked_for() -> None:
    """Before sending, after applying, from the GroupInfo, from outside: one encoding."""
    _, at_one, _, at_other = two()
    made = at_one.commit()
    seen = Observer.observe(at_one.group_info(), at_one.tree()).follow(made.message)
    assert made.group.context == at_other.stage(made.message).apply().context == seen.context
    assert made.group_info[4:].startswith(made.group.context)


def test_no_clock_decides_whether_a_key_package_commit_or_tree_opens() -> None:
    """`not_before` would be the time of making, and joins recheck every leaf that never committed."""
    owner, first, second = client("owner"), client("first"), client("second")
    past, future = first.key_package(not_before=0, not_after=1), second.key_package(not_before=2**40)
    group = owner.create_group(b"group")
    one = group.commit(add=[past.public])
    assert one.welcome is not None
    at_first = first.join(one.welcome, past, tree=one.tree)
    two = one.group.commit(add=[future.public])
    assert two.welcome is not None
    at_second = second.join(two.welcome, future, tree=two.tree)
    at_first = at_first.stage(two.message).apply()
    assert at_first.epoch_authenticator() == at_second.epoch_authenticator()
    late = client("late").join_external(at_first.group_info(with_tree=True))
    assert at_second.stage(late.message).apply().epoch == 3


def test_lifetimes_are_checked_against_the_time_that_is_given() -> None:
    """The adder may ask for it (RFC 9420 section 7.3); the default key package is good at any time."""
    group = client("owner").create_group(b"group")
    narrow = client("narrow").key_package(not_before=100, not_after=200).public
    for now in (99, 201):
        with pytest.raises(RemoteProtocolError) as caught:
            group.commit(add=[narrow], now=now)
        assert reason(caught) == "bad_lifetime"
    wide = client("wide").key_package().public
    for now in (0, 2**32, 2**64 - 1):
        assert group.commit(add=[wide], now=now).group.epoch == 1
    assert group.commit(add=[narrow, wide], now=150).group.epoch == 1


def test_past_epochs_do_not_pile_up() -> None:
    """With prior_epoch on, the engine queues the secrets of every epoch until they are written."""
    one, at_one, _, at_other = two()
    sizes = []
    for _ in range(12):
        made = at_other.commit()
        at_one, at_other = at_one.stage(made.message).apply(), made.group
        made = at_one.commit()
        at_one, at_other = made.group, at_other.stage(made.message).apply()
        sizes.append(len(at_one.save()))
    assert max(sizes) - min(sizes) < 64, sizes
    assert len(one.load_group(at_one.save()).save()) == sizes[-1]


def test_a_key_package_opens_the_welcome_of_a_rival_too() -> None:
    """The bundled store forgets a key once a group is written, and the second Welcome then fails."""
    _, at_one, _, at_other = two()
    joiner = client("joiner")
    package = joiner.key_package()
    first, rival = at_one.commit(add=[package.public]), at_other.commit(add=[package.public])
    assert first.welcome is not None
    assert rival.welcome is not None
    on_first = joiner.join(first.welcome, package, tree=first.tree)
    on_first = joiner.load_group(on_first.save())
    again = KeyPackage.load(package.save())
    on_rival = joiner.join(rival.welcome, [joiner.key_package(), again], tree=rival.tree)
    assert on_first.epoch_authenticator() == first.group.epoch_authenticator()
    assert on_rival.epoch_authenticator() == rival.group.epoch_authenticator()


def test_an_external_join_waits_as_a_saved_group() -> None:
    """An external join gives no commit secrets to keep: its pending form is the group it leads to."""
    _, at_one, _, _ = two()
    joiner = client("joiner")
    made = joiner.join_external(at_one.group_info(with_tree=True))
    pending = joiner.load_group(Secret(made.group.save().expose()))
    at_one = at_one.stage(made.message).apply()
    assert pending.epoch_authenticator() == at_one.epoch_authenticator()
    assert at_one.stage(pending.commit().message).apply().epoch == 3


def test_the_tree_is_beside_the_welcome_and_not_in_it() -> None:
    """A tree in the Welcome costs each commit its encoding: joining takes it from beside."""
    joiner = client("joiner")
    package = joiner.key_package()
    group = client("owner").create_group(b"group")
    made = group.commit(add=[package.public])
    assert made.welcome is not None
    assert len(made.welcome) < len(made.tree) + 200
    with pytest.raises(LocalProtocolError, match="missing_tree"):
        joiner.join(made.welcome, package)
    with pytest.raises(RemoteProtocolError) as caught:
        joiner.join(made.welcome, package, tree=group.tree())
    assert reason(caught) == "bad_tree"
    with pytest.raises(LocalProtocolError, match="missing_tree"):
        joiner.join_external(made.group_info)


def test_one_welcome_serves_all_who_join() -> None:
    """By default the engine may make one for each."""
    joiners = [client(f"joiner {number}") for number in range(4)]
    packages = [joiner.key_package() for joiner in joiners]
    made = client("owner").create_group(b"group").commit(add=[package.public for package in packages])
    assert made.welcome is not None
    for joiner, package in zip(joiners, packages, strict=True):
        joined = joiner.join(made.welcome, package, tree=made.tree)
        assert joined.epoch_authenticator() == made.group.epoch_authenticator()


def test_handshake_messages_are_in_the_clear() -> None:
    """Whoever judges branches reads commits without being a member: wire format mls_public_message."""
    _, at_one, _, _ = two()
    assert at_one.commit(authenticated_data=b"said in the clear").message[:4] == b"\0\1\0\1"
    assert b"said in the clear" in at_one.commit(authenticated_data=b"said in the clear").message


def test_exported_secrets_are_bound_to_label_context_and_epoch() -> None:
    """A context of "" makes two calls in one group share keys; a wrong exporter forgets Hash(context)."""
    _, at_one, _, at_other = two()
    uses = [("a", b""), ("a", b"room"), ("b", b""), ("a", b"room ")]
    secrets = [
        group.export(label, context, 32).expose()
        for group in (at_one, at_one.commit().group)
        for label, context in uses
    ]
    assert len(set(secrets)) == 8
    assert at_other.export("a", b"room", 32) == at_one.export("a", b"room", 32)
    assert at_one.export("a", b"", 0).expose() == b""
    for length in (1, 31, 64, 255 * 32):
        assert len(at_one.export("a", b"", length)) == length
    with pytest.raises(LocalProtocolError, match="bad_length"):
        at_one.export("a", b"", 255 * 32 + 1)


def test_sender_keys_come_from_the_media_secret_alone() -> None:
    """One call derives them all, and equals the same by hand."""
    _, at_one, _, at_other = two()
    keys = at_one.sender_keys("mlsrtc media 1", b"room", [b"a", b"b"])
    assert keys == at_other.sender_keys("mlsrtc media 1", b"room", [b"a", b"b"])
    media_secret = at_one.export("mlsrtc media 1", b"room", 32).expose()
    assert keys[1].expose() == HKDFExpand(SHA256(), 32, b"b").derive(media_secret)


def test_a_commit_changes_each_leaf_once_whatever_was_proposed() -> None:
    """Of a leaf updated twice, or updated and removed, the engine names all in its commit: nobody can follow."""
    for removed in (False, True):
        _, at_one, _, at_other = two()
        third = client("third")
        package = third.key_package()
        made = at_one.commit(add=[package.public])
        assert made.welcome is not None
        at_one, at_other = made.group, at_other.stage(made.message).apply()
        at_third = third.join(made.welcome, package, tree=made.tree)
        for _ in range(2):
            update = at_other.propose(Proposal.update())
            at_other = update.group
            at_one, at_third = at_one.with_proposal(update.message), at_third.with_proposal(update.message)
        if removed:
            removal = at_third.propose(Proposal.remove(at_other.own_leaf))
            at_third = removal.group
            at_one, at_other = at_one.with_proposal(removal.message), at_other.with_proposal(removal.message)
        commit = at_one.commit()
        assert [one.proposal for one in commit.left_out] == [Proposal.update()] * (1 + removed)
        assert at_third.stage(commit.message).apply().epoch_authenticator() == commit.group.epoch_authenticator()
        assert at_other.stage(commit.message).removes_us == removed
