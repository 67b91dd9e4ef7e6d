"""A table of Welcomes and trees that are no good for who is to enter by them, and the exact refusal that each gets.

A Welcome travels in the commit event that adds somebody. Whoever enters knows from the judge which epoch the event is
of and which leaves it has, and has its KeyPackage; all else comes from the bytes (RFC 9420 section 12.4.3.1).
"""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fake_evidence import fake_commit
from forging import ROOM, SLOT, Device
from mlsrtc import mls
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Leaf
from mlsrtc.group import Participation, enter, epoch_of, participate
from mlsrtc.identifiers import EpochId, LeafIndex
from mlsrtc.wire import encoding


@dataclass(frozen=True)
class Entry:
    """What a guest is shown: a Welcome and a tree, by an event of an epoch with these leaves."""

    guest: Participation
    welcome: bytes
    tree: bytes | None
    expected: EpochId
    leaves: Mapping[LeafIndex, Leaf]

    def showing(self, field: str, value: bytes) -> "Entry":
        """The same with another `welcome` or `tree`."""
        return replace(self, welcome=value) if field == "welcome" else replace(self, tree=value)

    def enter(self) -> mls.Group:
        judged = replace(fake_commit(self.expected, None, self.guest.leaf), leaves=self.leaves)
        return enter(self.guest, self.welcome, self.tree, judged)


def participant(device: Device, suite: int = 1) -> Participation:
    return participate(
        ROOM,
        SLOT,
        device.user_id,
        device.device_id,
        device_key=device.device_public,
        sign=lambda text: device.device_key.sign(text.encode()),
        suite=suite,
    )


def entry(made: mls.Commit, guest: Participation, everybody: list[Participation]) -> Entry:
    """The genuine one: what the judge says of the commit's epoch is what its author's own group says."""
    by_key = {one.leaf.signature_key: one.leaf for one in everybody}
    leaves = {LeafIndex(member.leaf): by_key[member.signature_key] for member in made.group.members()}
    assert made.welcome is not None
    return Entry(guest, made.welcome, made.tree, epoch_of(made.group), leaves)


class Scene:
    """A call of first and second; in epoch 2 first adds guest and other. Second, at the same time, adds the guest
    alone (`rival`); epoch 3 (`later`) changes nothing; stranger has a call of its own, to which it adds the guest;
    and first adds the guest to a group of another suite."""

    def __init__(self) -> None:
        names = ("first", "second", "guest", "other", "stranger")
        self.devices = {name: Device.new(name) for name in names}
        self.everybody = [participant(device) for device in self.devices.values()]
        self.first, self.second, self.guest, self.other, self.stranger = self.everybody
        self.again = participant(self.devices["guest"])
        root = self.commit(self.create(self.first), self.second)
        at_second = entry(root, self.second, self.everybody).enter()
        made = self.commit(root.group, self.guest, self.other)
        self.genuine = entry(made, self.guest, self.everybody)
        self.root = entry(root, self.second, self.everybody)
        self.rival = entry(self.commit(at_second, self.guest), self.guest, self.everybody)
        self.foreign = entry(self.commit(self.create(self.stranger), self.guest), self.guest, self.everybody)
        later = made.group.commit()
        self.later = replace(self.genuine, tree=later.group.tree(), expected=epoch_of(later.group))
        self.message, self.group_info = made.message, made.group_info
        asking = self.first.client.load_group(root.group.save()).commit(
            add=[self.guest.public_key_package],
            proposals=[mls.Proposal.psk(b"door")],
            psks={b"door": mls.Secret(b"known to nobody else")},
        )
        self.asking = entry(asking, self.guest, self.everybody)
        pair = [participant(self.devices[name], suite=3) for name in ("first", "guest")]
        self.third_suite = entry(self.commit(self.create(pair[0]), pair[1]), pair[1], pair)

    def with_info_of(self, other: bytes) -> bytes:
        """Our Welcome with the sealed GroupInfo of another, which is what follows the list of secrets."""
        return self.genuine.welcome[: after_secrets(self.genuine.welcome)] + other[after_secrets(other) :]

    def create(self, author: Participation) -> mls.Group:
        return author.client.create_group(encoding.group_id(ROOM, SLOT, author.leaf.member_id))

    def commit(self, group: mls.Group, *joiners: Participation) -> mls.Commit:
        return group.commit(add=[joiner.public_key_package for joiner in joiners])


def after_secrets(message: bytes) -> int:
    """Where the list of secrets of a Welcome ends: its length stands at byte 6 (RFC 9420 section 2.1.2)."""
    assert message[6] >> 6 == 1, "a length of two bytes"
    return 8 + (int.from_bytes(message[6:8]) & 0x3FFF)


@cache
def scene() -> Scene:
    return Scene()


Make = Callable[[Scene], Entry]


def welcome(change: Callable[[bytes], bytes]) -> Make:
    return lambda here: replace(here.genuine, welcome=change(here.genuine.welcome))


def tree(change: Callable[[bytes], bytes | None]) -> Make:
    def make(here: Scene) -> Entry:
        assert here.genuine.tree is not None
        return replace(here.genuine, tree=change(here.genuine.tree))

    return make


def cut(where: int) -> Callable[[bytes], bytes]:
    return lambda value: value[:where]


def flip(where: int) -> Callable[[bytes], bytes]:
    def flipped(value: bytes) -> bytes:
        twin = bytearray(value)
        twin[where] ^= 1
        return bytes(twin)

    return flipped


def put(where: int, what: bytes) -> Callable[[bytes], bytes]:
    return lambda value: value[:where] + what + value[where + len(what) :]


def by(**changes: str) -> Make:
    """The genuine one, but for fields that are taken from another of the scene's."""
    return lambda here: replace(
        here.genuine, **{field: getattr(getattr(here, source), field) for field, source in changes.items()}
    )


def seats(change: Callable[[Scene, dict[LeafIndex, Leaf]], object]) -> Make:
    """The judge says other leaves than the tree holds: what an author who lies about its own commit would need."""

    def make(here: Scene) -> Entry:
        leaves = dict(here.genuine.leaves)
        change(here, leaves)
        return replace(here.genuine, leaves=leaves)

    return make


def swapped(here: Scene, leaves: dict[LeafIndex, Leaf]) -> None:
    leaves[LeafIndex(2)], leaves[LeafIndex(3)] = leaves[LeafIndex(3)], leaves[LeafIndex(2)]


def with_swapped_leaves(here: Scene) -> Entry:
    """The tree with the leaves of guest and other in each other's place: both are whole and signed."""
    assert here.genuine.tree is not None
    ours, theirs = leaf_node(here.guest), leaf_node(here.other)
    assert (here.genuine.tree.count(ours), here.genuine.tree.count(theirs), len(ours)) == (1, 1, len(theirs))
    filler = bytes(len(ours))
    swapped = here.genuine.tree.replace(ours, filler).replace(theirs, ours).replace(filler, theirs)
    return replace(here.genuine, tree=swapped)


def leaf_node(one: Participation) -> bytes:
    """The LeafNode in a KeyPackage (RFC 9420 section 10): it stands between the init key and the extensions, of which
    there are none, and the signature."""
    head, init_key, extensions, signature = 4 + 2 + 2, 1 + 32, 1, 2 + 64
    return one.public_key_package[head + init_key : -extensions - signature]


Case = tuple[str, Make, str, str]

# Places in an MLSMessage(Welcome) of suite 1 (RFC 9420 sections 6 and 12.4.3.1): version, wire format, suite, length of
# the secrets, then for each joiner the KeyPackage's reference (32 bytes), the KEM's output (32) and what is sealed.
VERSION, FORMAT, SUITE, REFERENCE, KEM, SEALED = 1, 3, 5, 9, 42, 80

WELCOMES: list[Case] = [
    ("Welcome of no bytes", welcome(cut(0)), "truncated", "welcome"),
    ("Welcome cut in its version", welcome(cut(VERSION)), "truncated", "welcome"),
    ("Welcome cut after its wire format", welcome(cut(FORMAT + 1)), "truncated", "welcome"),
    ("Welcome cut after its suite", welcome(cut(SUITE + 1)), "truncated", "welcome"),
    ("Welcome cut in a reference", welcome(cut(REFERENCE + 10)), "truncated", "welcome"),
    ("Welcome cut in the secrets", welcome(cut(SEALED + 10)), "truncated", "welcome"),
    ("Welcome without its last byte", welcome(cut(-1)), "truncated", "welcome"),
    ("Welcome with a byte more", welcome(lambda value: value + b"\0"), "trailing_bytes", "welcome"),
    ("Welcome twice over", welcome(lambda value: value * 2), "trailing_bytes", "welcome"),
    ("Welcome without the head of a message", welcome(lambda value: value[4:]), "wrong_message_type", "welcome"),
    ("Welcome as text in base64", welcome(base64.b64encode), "unsupported_version", "welcome"),
    ("Welcome of MLS version 0", welcome(flip(VERSION)), "unsupported_version", "welcome"),
    ("Welcome of an unknown wire format", welcome(put(FORMAT - 1, b"\xff\xff")), "wrong_message_type", "welcome"),
    ("Welcome of an unknown suite", welcome(put(SUITE - 1, b"\x0a\x0a")), "wrong_suite", "welcome"),
    ("Welcome of suite 0", welcome(put(SUITE - 1, b"\0\0")), "wrong_suite", "welcome"),
    ("Welcome that says another suite", welcome(put(SUITE - 1, b"\0\3")), "crypto_refused", "welcome"),
    ("Welcome with a longer list of secrets", welcome(flip(SUITE + 2)), "truncated", "welcome"),
    ("Welcome with a bit of the reference turned", welcome(flip(REFERENCE)), "no_key_package", "welcome"),
    ("Welcome with a bit of the KEM output turned", welcome(flip(KEM)), "crypto_refused", "welcome"),
    ("Welcome with a bit of our secrets turned", welcome(flip(SEALED)), "crypto_refused", "welcome"),
    ("Welcome with its last bit turned", welcome(flip(-1)), "crypto_refused", "welcome"),
    (
        "commit in the Welcome's place",
        lambda here: replace(here.genuine, welcome=here.message),
        "wrong_message_type",
        "welcome",
    ),
    (
        "GroupInfo in the Welcome's place",
        lambda here: replace(here.genuine, welcome=here.group_info),
        "wrong_message_type",
        "welcome",
    ),
    (
        "KeyPackage in the Welcome's place",
        lambda here: replace(here.genuine, welcome=here.guest.public_key_package),
        "wrong_message_type",
        "welcome",
    ),
    ("Welcome for somebody else", by(welcome="root"), "no_key_package", "welcome"),
    (
        "Welcome for this device's last participation",
        lambda here: replace(here.genuine, guest=here.again),
        "no_key_package",
        "welcome",
    ),
    ("Welcome of a group of another suite", by(welcome="third_suite"), "no_key_package", "welcome"),
    ("Welcome and tree of another group", by(welcome="foreign", tree="foreign"), "wrong_epoch", "commit"),
    (
        "Welcome, tree and leaves of another group",
        by(welcome="foreign", tree="foreign", leaves="foreign"),
        "wrong_epoch",
        "commit",
    ),
    ("Welcome of another group with our tree", by(welcome="foreign"), "bad_tree", "welcome"),
    ("Welcome and tree of a rival commit", by(welcome="rival", tree="rival"), "wrong_epoch", "commit"),
    ("Welcome of a rival commit with our tree", by(welcome="rival"), "bad_tree", "welcome"),
    ("Welcome and tree replayed under a later epoch", by(expected="later"), "wrong_epoch", "commit"),
    (
        "Welcome replayed under a later epoch with its tree",
        by(expected="later", tree="later"),
        "bad_tree",
        "welcome",
    ),
    (
        "Welcome that asks for a pre-shared key",
        by(welcome="asking", tree="asking", expected="asking", leaves="asking"),
        "missing_psk",
        "welcome",
    ),
    (
        "Welcome with the GroupInfo of another",
        lambda here: replace(here.genuine, welcome=here.with_info_of(here.rival.welcome)),
        "crypto_refused",
        "welcome",
    ),
]

TREES: list[Case] = [
    ("no tree", tree(lambda value: None), "missing_tree", "welcome"),
    ("tree of no bytes", tree(cut(0)), "truncated", "tree"),
    ("tree cut in the middle", tree(cut(100)), "truncated", "tree"),
    ("tree without its last byte", tree(cut(-1)), "truncated", "tree"),
    ("tree with a byte more", tree(lambda value: value + b"\0"), "trailing_bytes", "tree"),
    ("tree with a bit of a key turned", tree(flip(20)), "bad_tree", "welcome"),
    ("tree with its last bit turned", tree(flip(-1)), "bad_tree", "welcome"),
    ("tree with two leaves swapped", with_swapped_leaves, "bad_tree", "welcome"),
    ("tree of the epoch before", by(tree="root"), "bad_tree", "welcome"),
    ("tree of the epoch after", by(tree="later"), "bad_tree", "welcome"),
    ("tree of a rival commit", by(tree="rival"), "bad_tree", "welcome"),
    ("tree of another group", by(tree="foreign"), "bad_tree", "welcome"),
    ("tree with two leaves in other places than the commits say", seats(swapped), "bad_tree", "tree"),
    ("tree with a leaf that no commit added", seats(lambda here, leaves: leaves.pop(LeafIndex(3))), "bad_tree", "tree"),
    (
        "tree without a leaf that a commit added",
        seats(lambda here, leaves: leaves.update({LeafIndex(4): here.stranger.leaf})),
        "bad_tree",
        "tree",
    ),
    (
        "tree with a leaf of another participation",
        seats(lambda here, leaves: leaves.update({LeafIndex(2): here.again.leaf})),
        "bad_tree",
        "tree",
    ),
]

CASES = WELCOMES + TREES


@pytest.mark.parametrize(("name", "make", "reason", "where"), CASES, ids=[case[0] for case in CASES])
def test_bad_welcome(name: str, make: Make, reason: str, where: str) -> None:
    here = scene()
    with pytest.raises(RemoteProtocolError) as caught:
        make(here).enter()
    assert (caught.value.reason, caught.value.where) == (reason, where)
    assert epoch_of(here.genuine.enter()) == here.genuine.expected  # the KeyPackage still serves


def test_the_table_s_names_are_its_own_and_its_sources_open() -> None:
    assert len({name for name, *_ in CASES}) == len(CASES) >= 50
    here = scene()
    for source in (here.genuine, here.root, here.rival, here.foreign, here.third_suite):
        assert epoch_of(source.enter()) == source.expected


def test_what_is_sealed_for_another_joiner_is_not_ours_to_judge() -> None:
    """Two readers of one Welcome need not agree whether it opens: a joiner opens its own secrets only."""
    here = scene()
    ours = here.genuine.welcome.index(mls.inspect_welcome(here.genuine.welcome).references[0])
    theirs = here.genuine.welcome.index(mls.inspect_welcome(here.genuine.welcome).references[1])
    assert (ours, theirs > SEALED) == (REFERENCE, True)
    spoilt = flip(theirs + SEALED - REFERENCE)(here.genuine.welcome)
    assert epoch_of(replace(here.genuine, welcome=spoilt).enter()) == here.genuine.expected
    with pytest.raises(RemoteProtocolError) as caught:
        replace(here.genuine, welcome=spoilt, guest=here.other).enter()
    assert caught.value.reason == "crypto_refused"


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["welcome", "tree"]), st.integers(0), st.integers(0, 7))
def test_a_turned_bit_is_refused_or_was_not_ours(field: str, place: int, bit: int) -> None:
    here = scene()
    twin = bytearray(getattr(here.genuine, field))
    twin[place % len(twin)] ^= 1 << bit
    try:
        group = here.genuine.showing(field, bytes(twin)).enter()
    except RemoteProtocolError:
        return
    assert field == "welcome"
    assert epoch_of(group) == here.genuine.expected


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["welcome", "tree"]), st.binary(max_size=300))
def test_whatever_the_bytes_the_error_is_a_remote_one(field: str, garbage: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        scene().genuine.showing(field, garbage).enter()
