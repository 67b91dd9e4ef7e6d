"""The public MLS door: what members do, alone and together, and what they do with bytes that are no good."""

import doctest
import pickle
from collections.abc import Callable, Iterator

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given, settings
from hypothesis import strategies as st

import mlsrtc.mls
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.mls import (
    Client,
    Commit,
    Group,
    KeyPackage,
    Observer,
    Secret,
    SigningKey,
    Successor,
    random_bytes,
    suites,
    verify_signature,
)

BINDING = 0xF4D1
"""A private-use extension type (RFC 9420 section 17.3)."""


def client(name: str, suite: int = 1) -> Client:
    return Client(name.encode(), SigningKey.generate(suite), leaf_extensions=[(BINDING, name.encode())])


def exported(group: Group) -> tuple[bytes, bytes, bytes, bytes]:
    """What all who are in one epoch must have in common."""
    return (
        group.epoch_authenticator().expose(),
        group.export("label", b"context", 32).expose(),
        group.context,
        group.confirmation_tag,
    )


class Party:
    """Some clients and their groups. Every step is checked for agreement, by members and by an observer."""

    def __init__(self, *, suite: int = 1, keep: Callable[[Client, Group], Group] = lambda _, group: group) -> None:
        self.suite = suite
        self.keep = keep
        self.clients: dict[str, Client] = {"0": client("0", suite)}
        self.groups: dict[str, Group] = {"0": self.clients["0"].create_group(b"party")}
        first = self.groups["0"]
        self.observer = Observer.observe(first.group_info(), first.tree())

    def leaf(self, name: str) -> int:
        return self.groups[name].own_leaf

    def commit(
        self, author: str, add: tuple[str, ...] = (), remove: tuple[str, ...] = (), path: bool = False
    ) -> Commit:
        packages: dict[str, KeyPackage] = {}
        for name in add:
            self.clients[name] = client(name, self.suite)
            packages[name] = self.clients[name].key_package()
        made = self.groups[author].commit(
            add=[package.public for package in packages.values()],
            remove=[self.leaf(name) for name in remove],
            path=path,
            authenticated_data=author.encode(),
        )
        self.deliver(made, author)
        for name, package in packages.items():
            assert made.welcome is not None
            loaded = KeyPackage.load(package.save())
            self.groups[name] = self.clients[name].join(made.welcome, loaded, tree=made.tree)
        self.agree()
        return made

    def deliver(self, made: Commit, author: str | None) -> None:
        self.observer = self.observer.follow(made.message)
        for name in list(self.groups):
            if name == author:
                self.groups[name] = made.group
                continue
            staged = self.groups[name].stage(made.message)
            if staged.removes_us:
                del self.groups[name]
            else:
                self.groups[name] = staged.apply()

    def join_external(self, name: str, informant: str, remove: int | None = None) -> Commit:
        informed = self.groups[informant]
        self.clients.setdefault(name, client(name, self.suite))
        self.groups.pop(name, None)
        made = self.clients[name].join_external(informed.group_info(), tree=informed.tree(), remove=remove)
        self.deliver(made, None)
        self.groups[name] = made.group
        self.agree()
        return made

    def agree(self) -> None:
        for name, group in self.groups.items():
            self.groups[name] = self.keep(self.clients[name], group)
        assert len({exported(group) for group in self.groups.values()}) == 1
        assert len({group.tree() for group in self.groups.values()}) == 1
        group = next(iter(self.groups.values()))
        assert {member.identity.decode() for member in group.members()} == set(self.groups)
        for name, own in self.groups.items():
            (ours,) = [member for member in group.members() if member.leaf == own.own_leaf]
            assert ours.identity == name.encode()
            assert ours.signature_key == self.clients[name].signing_key.public
            assert ours.extensions == ((BINDING, name.encode()),)
        assert self.observer.context == group.context
        assert self.observer.tree() == group.tree()
        assert self.observer.members() == group.members()


def reload(owner: Client, group: Group) -> Group:
    return owner.load_group(Secret(group.save().expose()))


@pytest.mark.parametrize("keep", [lambda _, group: group, reload], ids=["kept", "saved and loaded at every step"])
def test_a_party_of_ten(keep: Callable[[Client, Group], Group]) -> None:
    party = Party(keep=keep)
    names = tuple(str(number) for number in range(1, 10))
    first = party.commit("0", add=names)
    assert party.groups["0"].epoch == 1
    assert first.welcome is not None
    for name in ("3", "9", "0"):
        party.commit(name)
    party.commit("4", remove=("2", "7"))
    party.commit("5", add=("ten",), remove=("1",), path=True)
    party.join_external("eleven", informant="8")
    resync = party.join_external("eleven", informant="0", remove=party.leaf("eleven"))
    assert resync.group.own_leaf == party.leaf("eleven")
    party.commit("eleven", add=("2",))
    party.commit("2", remove=("0",))
    assert "0" not in party.groups
    assert len(party.groups) == 9


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_every_suite_of_the_provider(suite: int) -> None:
    party = Party(suite=suite)
    party.commit("0", add=("1", "2"))
    party.commit("2", remove=("1",))
    party.join_external("3", informant="0")
    party.commit("3")
    assert party.groups["3"].suite == suite


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_whatever_is_committed_all_agree(data: st.DataObject) -> None:
    party = Party()
    for number in range(1, 9):
        author = data.draw(st.sampled_from(sorted(party.groups)), label="author")
        others = sorted(set(party.groups) - {author})
        leaving = (
            data.draw(st.lists(st.sampled_from(others), unique=True, max_size=2), label="remove") if others else []
        )
        joining = tuple(f"{number}.{one}" for one in range(data.draw(st.integers(0, 2), label="joining")))
        if data.draw(st.integers(0, 3), label="external") == 0:
            party.join_external(f"{number}", informant=author)
        else:
            party.commit(author, add=joining, remove=tuple(leaving), path=data.draw(st.booleans(), label="path"))


def test_staging_tells_what_a_commit_does_before_it_is_done() -> None:
    party = Party()
    party.commit("0", add=("1", "2"))
    before = party.groups["1"]
    joiner = client("3")
    made = party.groups["0"].commit(
        add=[joiner.key_package().public], remove=[party.leaf("2")], authenticated_data=b"why"
    )
    staged = before.stage(made.message)
    assert (staged.sender, staged.external, staged.removes_us) == (0, False, False)
    assert staged.authenticated_data == b"why"
    assert [(member.leaf, member.identity) for member in staged.added] == [(2, b"3")]
    assert [(member.leaf, member.identity) for member in staged.removed] == [(2, b"2")]
    assert [(member.leaf, member.identity) for member in staged.updated] == [(0, b"0")]
    assert before.epoch == 1
    assert exported(staged.apply()) == exported(made.group)
    assert exported(staged.apply()) == exported(made.group)


def test_an_add_alone_has_no_path_and_may_be_given_one() -> None:
    party = Party()
    party.commit("0", add=("1",))
    at_one = party.groups["1"]
    for path in (False, True):
        made = party.groups["0"].commit(add=[client("2").key_package().public], path=path)
        assert [member.leaf for member in at_one.stage(made.message).updated] == ([0] if path else [])


def test_an_external_commit_tells_who_comes_and_who_goes() -> None:
    party = Party()
    party.commit("0", add=("1",))
    at_zero = party.groups["0"]
    made = party.clients["1"].join_external(
        at_zero.group_info(with_tree=True), remove=party.leaf("1"), authenticated_data=b"back"
    )
    staged = at_zero.stage(made.message)
    assert (staged.sender, staged.external) == (None, True)
    assert [member.identity for member in staged.added] == [b"1"]
    assert [member.identity for member in staged.removed] == [b"1"]
    assert staged.authenticated_data == b"back"
    assert made.welcome is None


def test_the_removed_see_that_it_is_them_and_nothing_more() -> None:
    party = Party()
    party.commit("0", add=("1",))
    made = party.groups["0"].commit(remove=[1])
    staged = party.groups["1"].stage(made.message)
    assert staged.removes_us
    assert [member.identity for member in staged.removed] == [b"1"]
    with pytest.raises(LocalProtocolError, match="removed"):
        staged.apply()
    assert party.groups["1"].epoch == 1


def test_a_child_of_a_commit_is_what_its_group_info_and_tree_say() -> None:
    party = Party()
    made = party.commit("0", add=("1",))
    assert made.group.context in made.group_info
    assert made.group_info == made.group.group_info() == made.group_info
    assert made.tree == made.group.tree() == party.groups["1"].tree()
    seen = Observer.observe(made.group_info, made.tree)
    assert (seen.context, seen.tree_hash, seen.epoch) == (made.group.context, made.group.tree_hash, 1)
    assert (seen.group_id, seen.suite) == (b"party", 1)


def test_context_extensions_are_kept_and_wanted_of_joiners() -> None:
    owner = Client(b"owner", SigningKey.generate(), extension_types=[0xF000])
    group = owner.create_group(b"group", extensions=[(0xF000, b"rules")])
    assert group.extensions == ((0xF000, b"rules"),)
    with pytest.raises(RemoteProtocolError) as caught:
        group.commit(add=[client("1").key_package().public])
    assert caught.value.reason == "bad_capabilities"
    able = Client(b"able", SigningKey.generate(), extension_types=[0xF000])
    assert group.commit(add=[able.key_package().public]).group.epoch == 1


def test_proposals_by_reference_are_applied_by_the_commit_that_names_them() -> None:
    party = Party()
    made = party.commit("0", add=("1",))
    with pytest.raises(RemoteProtocolError) as caught:
        party.groups["1"].with_proposal(made.message)
    assert caught.value.reason == "wrong_epoch"
    with pytest.raises(RemoteProtocolError) as caught:
        party.groups["1"].with_proposal(made.group_info)
    assert caught.value.reason == "wrong_message_type"


# What the caller gets wrong.


@pytest.mark.parametrize(
    ("remove", "reason"),
    [([7], "unknown_leaf"), ([0], "bad_proposal"), ([1, 1], "unknown_leaf"), ([2**32 - 1], "unknown_leaf")],
)
def test_leaves_that_cannot_be_removed(remove: list[int], reason: str) -> None:
    party = Party()
    party.commit("0", add=("1",))
    with pytest.raises(LocalProtocolError, match=reason):
        party.groups["0"].commit(remove=remove)
    assert party.groups["0"].commit(remove=[1]).group.epoch == 2


def test_an_unknown_suite_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="unsupported_suite"):
        SigningKey.generate(99)
    with pytest.raises(LocalProtocolError, match="unsupported_suite"):
        SigningKey.load(99, Secret(bytes(64)))


@pytest.mark.parametrize("key", [b"", bytes(64), bytes(32), bytes(200)])
def test_a_secret_that_is_no_signature_key_is_refused(key: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="bad_key"):
        SigningKey.load(1, Secret(key))


def test_an_extension_twice_is_refused() -> None:
    with pytest.raises(LocalProtocolError, match="duplicate_extension"):
        Client(b"x", SigningKey.generate(), leaf_extensions=[(BINDING, b""), (BINDING, b"")])
    with pytest.raises(LocalProtocolError, match="duplicate_extension"):
        client("x").create_group(b"", extensions=[(0xF000, b""), (0xF000, b"")])


def test_states_and_key_packages_of_another_key_are_refused() -> None:
    one, two = client("1"), client("2")
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        two.load_group(one.create_group(b"group").save())
    made = one.create_group(b"group").commit(add=[two.key_package().public])
    assert made.welcome is not None
    with pytest.raises(LocalProtocolError, match="wrong_client"):
        one.join(made.welcome, two.key_package(), tree=made.tree)


def test_lifetimes_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(LocalProtocolError, match="bad_lifetime"):
        client("1").key_package(not_before=2, not_after=1)


@pytest.mark.parametrize("length", [255 * 32 + 1, 2**16, 2**40])
def test_the_exporter_has_an_end(length: int) -> None:
    with pytest.raises(LocalProtocolError, match="bad_length"):
        client("1").create_group(b"group").export("label", b"", length)


# Secrets and keys.


def test_a_secret_tells_nothing_of_itself() -> None:
    value = random_bytes(32)
    assert repr(value) == str(value) == "Secret(32 bytes)"
    assert value == Secret(value.expose())
    assert value != random_bytes(32)
    plain: object = value.expose()
    assert value != plain
    with pytest.raises(TypeError):
        hash(value)
    with pytest.raises(TypeError):
        pickle.dumps(value)
    value.wipe()
    value.wipe()
    assert (len(value), repr(value)) == (0, "Secret(wiped)")
    assert value != value
    with pytest.raises(LocalProtocolError, match="wiped"):
        value.expose()


def test_no_repr_shows_a_secret() -> None:
    key = SigningKey.generate()
    owner = Client(b"owner", key)
    package = owner.key_package()
    other = client("other")
    made = owner.create_group(b"group").commit(add=[other.key_package().public])
    secrets = [key.save().expose()[:32].hex(), made.group.epoch_authenticator().expose().hex()]
    for shown in (key, owner, package, made, made.group, made.group.members()):
        assert not any(secret[:16] in repr(shown) for secret in secrets)


@pytest.mark.parametrize("suite", [1, 3, 0x4D])
def test_an_ed25519_key_comes_from_its_seed(suite: int) -> None:
    """As other libraries have it; the first test of RFC 8032 section 7.1, and `cryptography`."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = SigningKey.from_seed(Secret(seed), suite)
    assert key.suite == suite
    assert key.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert key.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155")
    assert key.save().expose() == seed + key.public
    theirs = Ed25519PrivateKey.generate()
    ours = SigningKey.from_seed(Secret(theirs.private_bytes_raw()), suite)
    assert ours.public == theirs.public_key().public_bytes_raw()
    assert Client(b"moved", ours).create_group(b"group").epoch == 0


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_seed_has_32_bytes(length: int) -> None:
    with pytest.raises(LocalProtocolError, match="bad_key"):
        SigningKey.from_seed(Secret(bytes(length)))


def test_keys_without_a_seed() -> None:
    for suite, reason in ((2, "bad_key"), (5, "bad_key"), (7, "bad_key"), (99, "unsupported_suite")):
        with pytest.raises(LocalProtocolError, match=reason):
            SigningKey.from_seed(Secret(bytes(32)), suite)


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_signing_keys_sign_save_and_load(suite: int) -> None:
    key = SigningKey.generate(suite)
    again = SigningKey.load(suite, key.save())
    assert (again.public, again.suite) == (key.public, suite)
    signature = again.sign(b"message")
    verify_signature(suite, key.public, b"message", signature)
    for public, message, bad in (
        (key.public, b"another", signature),
        (key.public, b"message", signature[:-1] + bytes([signature[-1] ^ 1])),
        (key.public, b"message", b""),
        (b"", b"message", signature),
        (SigningKey.generate(suite).public, b"message", signature),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            verify_signature(suite, public, message, bad)
        assert caught.value.reason == "bad_signature"


def test_a_signature_of_an_unknown_suite_is_somebody_elses_fault() -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        verify_signature(99, b"", b"", b"")
    assert caught.value.reason == "unsupported_suite"


@pytest.mark.parametrize("suite", suites(post_quantum=True))
def test_sender_keys_are_hkdf_sha256_of_the_exported_media_secret(suite: int) -> None:
    group = client("1", suite).create_group(b"group")
    infos = [b"", b"one", bytes(300)]
    media_secret = group.export("mlsrtc media 1", b"room", 32).expose()
    expected = [HKDFExpand(SHA256(), 32, info).derive(media_secret) for info in infos]
    assert [key.expose() for key in group.sender_keys("mlsrtc media 1", b"room", infos)] == expected
    assert group.sender_keys("mlsrtc media 1", b"room", []) == []


def test_random_bytes_have_an_end() -> None:
    assert len(random_bytes(0)) == 0
    with pytest.raises(LocalProtocolError, match="bad_length"):
        random_bytes(2**20 + 1)


# Bytes that are no good: nothing may change, and the genuine message applies afterwards.


@pytest.fixture(autouse=True)
def no_panic(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """A panic of the engine is caught and told as an error; here not even that shall happen."""
    yield
    assert "panicked" not in capfd.readouterr().err


def mutilated(genuine: bytes, step: int = 1) -> Iterator[bytes]:
    """Cut short, one bit wrong, one byte too many, nothing at all, and noise."""
    yield b""
    yield genuine + b"\0"
    yield bytes(len(genuine))
    yield b"\xff" * len(genuine)
    for position in range(0, len(genuine), step):
        yield genuine[:position]
        yield (genuine[:position] + bytes([genuine[position] ^ (1 << (position % 8))]) + genuine[position + 1 :])


def test_mutilated_commits_change_nothing() -> None:
    party = Party()
    party.commit("0", add=("1", "2"))
    at_one = party.groups["1"]
    before = at_one.save()
    removal = party.groups["0"].commit(remove=[2])
    external = client("3").join_external(removal.group_info, tree=removal.tree)
    for genuine, receiver in ((removal, at_one), (external, at_one.stage(removal.message).apply())):
        for bad in mutilated(genuine.message, step=3):
            with pytest.raises(RemoteProtocolError) as caught:
                receiver.stage(bad)
            assert caught.value.where == "commit"
        assert exported(receiver.stage(genuine.message).apply()) == exported(genuine.group)
    assert at_one.save() == before


def test_mutilated_welcomes_and_trees_open_nothing() -> None:
    joiner = client("1")
    package = joiner.key_package()
    made = client("0").create_group(b"group").commit(add=[package.public])
    assert made.welcome is not None
    for bad in mutilated(made.welcome):
        with pytest.raises(RemoteProtocolError):
            joiner.join(bad, package, tree=made.tree)
    for bad in mutilated(made.tree):
        with pytest.raises(RemoteProtocolError):
            joiner.join(made.welcome, package, tree=bad)
    assert exported(joiner.join(made.welcome, package, tree=made.tree)) == exported(made.group)


def test_mutilated_group_infos_and_trees_are_not_joined_or_observed() -> None:
    group = client("0").create_group(b"group").commit(add=[client("1").key_package().public]).group
    info, tree = group.group_info(), group.tree()
    joiner = client("2")
    for bad in mutilated(info, step=2):
        with pytest.raises(RemoteProtocolError):
            joiner.join_external(bad, tree=tree)
        with pytest.raises(RemoteProtocolError):
            Observer.observe(bad, tree)
    for bad in mutilated(tree, step=2):
        with pytest.raises(RemoteProtocolError):
            joiner.join_external(info, tree=bad)
        with pytest.raises(RemoteProtocolError):
            Observer.observe(info, bad)
    assert joiner.join_external(info, tree=tree).group.epoch == 2


def test_mutilated_key_packages_are_not_added() -> None:
    group = client("0").create_group(b"group")
    genuine = client("1").key_package().public
    for bad in mutilated(genuine):
        with pytest.raises(RemoteProtocolError):
            group.commit(add=[bad])
    assert group.commit(add=[genuine]).group.epoch == 1


def test_mutilated_states_are_not_loaded() -> None:
    owner = client("0")
    group = owner.create_group(b"group")
    for saved, load in ((group.save(), owner.load_group), (owner.key_package().save(), KeyPackage.load)):
        for bad in mutilated(saved.expose(), step=5):
            with pytest.raises(LocalProtocolError, match="bad_saved_state"):
                load(Secret(bad))
    with pytest.raises(LocalProtocolError, match="bad_saved_state"):
        owner.load_group(owner.key_package().save())
    assert exported(owner.load_group(group.save())) == exported(group)


def test_messages_of_the_wrong_kind_are_told_as_such() -> None:
    owner, joiner = client("0"), client("1")
    package = joiner.key_package()
    group = owner.create_group(b"group")
    made = group.commit(add=[package.public])
    assert made.welcome is not None
    for call in (
        lambda: group.stage(made.welcome or b""),
        lambda: group.stage(package.public),
        lambda: group.commit(add=[made.message]),
        lambda: joiner.join(made.message, package, tree=made.tree),
        lambda: joiner.join_external(made.message, tree=made.tree),
        lambda: Observer.observe(package.public, made.tree),
        lambda: Observer.observe(made.group_info, made.tree).follow(made.welcome or b""),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            call()
        assert caught.value.reason == "wrong_message_type"


def test_messages_of_another_epoch_group_or_suite_are_told_as_such() -> None:
    party = Party()
    made = party.commit("0", add=("1",))
    for receiver, reason in (
        (party.groups["1"], "wrong_epoch"),
        (client("x").create_group(b"other"), "wrong_group"),
    ):
        with pytest.raises(RemoteProtocolError) as caught:
            receiver.stage(made.message)
        assert caught.value.reason == reason
    with pytest.raises(RemoteProtocolError) as caught:
        party.groups["0"].commit(add=[client("y", suites()[-1]).key_package().public])
    assert caught.value.reason == "wrong_suite"
    with pytest.raises(RemoteProtocolError) as caught:
        client("y", suites()[-1]).join_external(made.group_info, tree=made.tree)
    assert caught.value.reason == "wrong_suite"


def test_a_welcome_for_somebody_else_names_no_key_package() -> None:
    made = client("0").create_group(b"group").commit(add=[client("1").key_package().public])
    assert made.welcome is not None
    stranger = client("2")
    for packages in ([stranger.key_package()], stranger.key_package()):
        with pytest.raises(RemoteProtocolError) as caught:
            stranger.join(made.welcome, packages, tree=made.tree)
        assert caught.value.reason == "no_key_package"


def test_a_stranger_may_not_remove_by_joining() -> None:
    party = Party()
    party.commit("0", add=("1",))
    group = party.groups["0"]
    with pytest.raises(LocalProtocolError, match="bad_successor"):
        client("2").join_external(group.group_info(), tree=group.tree(), remove=1)
    for leaf in (2, 2**32 - 1):
        with pytest.raises(LocalProtocolError, match="unknown_leaf"):
            client("2").join_external(group.group_info(), tree=group.tree(), remove=leaf)
        with pytest.raises(LocalProtocolError, match="unknown_leaf"):
            client("2").join_external(group.group_info(with_tree=True), remove=leaf)


def test_members_refuse_a_removal_that_the_joiners_own_rule_allowed() -> None:
    owner = Client(b"\0\1u\0\1d", SigningKey.generate())
    group = owner.create_group(b"group").commit().group
    loose = Client(b"\0\1v\0\1d", SigningKey.generate(), successor=Successor.first_fields(0))
    made = loose.join_external(group.group_info(with_tree=True), remove=0)
    for look in (group.stage, Observer.observe(group.group_info(with_tree=True)).follow):
        with pytest.raises(RemoteProtocolError) as caught:
            look(made.message)
        assert caught.value.reason == "bad_successor"


def test_the_page_that_teaches_the_door_is_true() -> None:
    ran = doctest.testmod(mlsrtc.mls, optionflags=doctest.ELLIPSIS)
    assert (ran.failed, ran.attempted > 30) == (0, True)
    ran = doctest.testmod(mlsrtc.mls.storage)
    assert (ran.failed, ran.attempted > 5) == (0, True)
