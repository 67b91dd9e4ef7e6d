"""Every clause of valid(c) is broken alone, by one forged and signed commit."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from calls import Call, Scene, devices, scene
from forging import (
    BY_REFERENCE,
    EXTERNAL_INIT,
    GROUP_CONTEXT_EXTENSIONS,
    ROOM,
    SLOT,
    Device,
    Forged,
    add,
    epoch_0,
    extension_list,
    forged_root,
    group_info_0,
    leaf_node,
    opaque,
    remove,
    said,
)
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import DeviceId, EpochId, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import Candidate, Proven, judge
from mlsrtc.wire import encoding
from mlsrtc.wire.binding import EXTENSION_TYPE, Binding


def test_what_the_forger_writes_is_valid_until_it_breaks_something() -> None:
    here = scene()
    for forged in (
        here.forged(),
        here.idle(),
        here.removal(),
        here.removal(data=said(2, left={here.third.member_id: here.third.left()})),
        here.external(here.guest),
        here.external(here.third.again(), proposals=[EXTERNAL_INIT, remove(2)], place=2),
    ):
        judged = judge(forged.candidate(), here.judged)
        assert judged.committed.parent == here.judged.committed.id
        assert judge(forged.candidate(), here.judged, proven(here)) == judged
    root = forged_root(here.guest, group_info_0(here.guest))
    assert judge(root, None).committed.author == here.guest.leaf


def proven(here: Scene) -> Proven:
    """As if the joins and leaves of everybody had been seen before."""
    everybody = (here.first, here.second, here.third, here.guest, here.stranger)
    leaves = {one.leaf.credential: replace(one.leaf, binding=one.binding.encode()) for one in everybody}
    return Proven(leaves, {(1, one.member_id): one.left() for one in everybody})


def other_signature(device: Device) -> Binding:
    """The device's binding of another leaf."""
    other = device.again()
    return replace(device.binding, signature=other.binding.signature)


def bound(device: Device, binding: Binding) -> dict[str, Any]:
    return {"extensions": [(EXTENSION_TYPE, binding.encode())]}


def in_other_room(device: Device) -> Device:
    return replace(device, room=RoomId("!other:example.org"))


def hinted(**changes: Any) -> Callable[[Scene], Candidate]:
    return lambda here: replace(here.forged().candidate(), **changes)


def forged(**changes: Any) -> Callable[[Scene], Candidate]:
    return lambda here: here.forged(**changes).candidate()


def spoiled_package(here: Scene, **changes: Any) -> Candidate:
    return here.forged(proposals=[add(here.guest, **changes)]).candidate()


Broken = tuple[str, Callable[[Scene], Candidate], str, str]

BROKEN: list[Broken] = [
    # the epoch and the group
    ("id", hinted(id=EpochId(bytes(32))), "wrong_id", "id"),
    ("epoch of the commit", forged(commit_epoch=1), "wrong_epoch", "commit.epoch"),
    ("epoch of the GroupInfo", forged(info_epoch=4), "wrong_epoch", "group_info.epoch"),
    ("epoch skipped", forged(commit_epoch=3, info_epoch=4), "wrong_epoch", "commit.epoch"),
    ("group of the commit", forged(group_id=bytes(32)), "wrong_group_id", "commit.group_id"),
    ("group of the GroupInfo", forged(info_group_id=bytes(32)), "wrong_group_id", "group_info.group_id"),
    ("suite", forged(info_suite=3), "wrong_suite", "group_info.cipher_suite"),
    (
        "extensions of the group",
        forged(context_extensions=extension_list([(0xF001, b"x")])),
        "wrong_extensions",
        "group_info.extensions",
    ),
    ("confirmation tag", forged(info_tag=bytes(32)), "wrong_confirmation_tag", "group_info.confirmation_tag"),
    (
        "transcript",
        forged(confirmed=bytes(32)),
        "wrong_transcript",
        "group_info.confirmed_transcript_hash",
    ),
    # hints of the event
    ("hint epoch", hinted(epoch=9), "wrong_epoch", "epoch"),
    ("hint root", hinted(root=EpochId(bytes(32))), "wrong_root", "root"),
    ("hint n", hinted(n=3), "wrong_count", "n"),
    ("hint left", hinted(left={MemberId("A" * 43): bytes(64)}), "wrong_left", "left"),
    ("group_info_0 in a child", hinted(group_info_0=b""), "unexpected_field", "group_info_0"),
    # who signed
    ("sender", hinted(sender=UserId("@second:example.org")), "wrong_sender", "sender"),
    ("author is no leaf", forged(index=7), "unknown_author", "commit.sender"),
    (
        "signed by another member",
        lambda here: here.forged(commit_key=here.third.signing_key).candidate(),
        "bad_signature",
        "commit.signature",
    ),
    (
        "signed by a stranger",
        lambda here: here.forged(commit_key=here.stranger.signing_key).candidate(),
        "bad_signature",
        "commit.signature",
    ),
    (
        "GroupInfo signed by another key",
        lambda here: here.forged(info_key=here.third.signing_key).candidate(),
        "bad_signature",
        "group_info.signature",
    ),
    ("GroupInfo by another leaf", forged(signer=1), "wrong_signer", "group_info.signer"),
    # what it proposes
    ("by reference", forged(proposals=[BY_REFERENCE]), "unexpected_proposal", "commit.proposals"),
    (
        "another proposal",
        forged(proposals=[GROUP_CONTEXT_EXTENSIONS], path=True),
        "unexpected_proposal",
        "commit.proposals",
    ),
    (
        "ExternalInit of a member",
        forged(proposals=[EXTERNAL_INIT], path=True),
        "unexpected_proposal",
        "commit.proposals",
    ),
    (
        "external without ExternalInit",
        lambda here: here.external(here.guest, proposals=[]).candidate(),
        "unexpected_proposal",
        "commit.proposals",
    ),
    (
        "external with two",
        lambda here: here.external(here.guest, proposals=[EXTERNAL_INIT] * 2).candidate(),
        "unexpected_proposal",
        "commit.proposals",
    ),
    (
        "external that adds",
        lambda here: here.external(here.guest, proposals=[EXTERNAL_INIT, add(here.stranger)]).candidate(),
        "unexpected_proposal",
        "commit.proposals",
    ),
    # the path
    (
        "removal without path",
        lambda here: here.removal(path=False).candidate(),
        "missing_path",
        "commit.path",
    ),
    ("nothing without path", forged(proposals=[]), "missing_path", "commit.path"),
    (
        "external without path",
        lambda here: here.external(here.guest, path=False).candidate(),
        "missing_path",
        "commit.path",
    ),
    (
        "path leaf with a new key",
        lambda here: here.forged(
            path=here.path_leaf(device=here.first.again(), identity=here.first.identity.encode())
        ).candidate(),
        "author_changed",
        "commit.path.leaf_node",
    ),
    (
        "path leaf with another credential",
        lambda here: here.forged(path=here.path_leaf(identity=here.second.identity.encode())).candidate(),
        "author_changed",
        "commit.path.leaf_node",
    ),
    (
        "path leaf without binding",
        lambda here: here.forged(path=here.path_leaf(extensions=[])).candidate(),
        "missing_binding",
        "commit.path.leaf_node.binding",
    ),
    (
        "path leaf with a spoiled binding",
        lambda here: here.forged(path=here.path_leaf(**bound(here.first, other_signature(here.first)))).candidate(),
        "bad_signature",
        "commit.path.leaf_node.binding",
    ),
    (
        "path leaf of another place",
        lambda here: here.forged(path=here.path_leaf(1)).candidate(),
        "bad_signature",
        "commit.path.leaf_node",
    ),
    (
        "path leaf made for a KeyPackage",
        lambda here: here.forged(path=leaf_node(here.first, "key_package")).candidate(),
        "wrong_leaf_source",
        "commit.path.leaf_node",
    ),
    (
        "path leaf with a key that nothing can be encrypted to",
        lambda here: here.forged(path=here.path_leaf(encryption_key=bytes(32))).candidate(),
        "bad_key",
        "commit.path.leaf_node.encryption_key",
    ),
    (
        "path node with a key that nothing can be encrypted to",
        forged(path=True, path_keys=[b"\2" * 32, bytes(32)]),
        "bad_key",
        "commit.path.nodes",
    ),
    # who is removed
    (
        "removes nobody's leaf",
        lambda here: here.removal(proposals=[remove(5)]).candidate(),
        "unknown_leaf",
        "commit.proposals.remove",
    ),
    (
        "removes twice",
        lambda here: here.removal(proposals=[remove(2), remove(2)]).candidate(),
        "unknown_leaf",
        "commit.proposals.remove",
    ),
    (
        "removes itself",
        lambda here: here.removal(proposals=[remove(0)]).candidate(),
        "removes_itself",
        "commit.proposals.remove",
    ),
    (
        "external removes another user",
        lambda here: here.external(here.guest, proposals=[EXTERNAL_INIT, remove(2)], place=2).candidate(),
        "foreign_removal",
        "commit.proposals.remove",
    ),
    (
        "external removes another device of its user",
        lambda here: here.external(
            replace(here.third.again(), device_id=DeviceId("TABLET")),
            proposals=[EXTERNAL_INIT, remove(2)],
            place=2,
        ).candidate(),
        "foreign_removal",
        "commit.proposals.remove",
    ),
    (
        "external removes its device's name under another device key",
        lambda here: here.external(
            replace(here.third.again(), device_key=Ed25519PrivateKey.generate()),
            proposals=[EXTERNAL_INIT, remove(2)],
            place=2,
        ).candidate(),
        "foreign_removal",
        "commit.proposals.remove",
    ),
    (
        "external removes two",
        lambda here: here.external(
            here.third.again(), proposals=[EXTERNAL_INIT, remove(2), remove(1)], place=1
        ).candidate(),
        "foreign_removal",
        "commit.proposals.remove",
    ),
    # who is added
    (
        "added member again",
        lambda here: here.forged(proposals=[add(here.third)]).candidate(),
        "added_again",
        "commit.proposals.add",
    ),
    (
        "added twice",
        lambda here: here.forged(proposals=[add(here.guest), add(here.guest)]).candidate(),
        "added_again",
        "commit.proposals.add",
    ),
    (
        "removed and added in one",
        lambda here: here.removal(proposals=[remove(2), add(here.third)]).candidate(),
        "added_again",
        "commit.proposals.add",
    ),
    (
        "external by a member",
        lambda here: here.external(here.third).candidate(),
        "added_again",
        "commit.proposals.add",
    ),
    (
        "external over its own leaf, same member_id",
        lambda here: here.external(here.third, proposals=[EXTERNAL_INIT, remove(2)], place=2).candidate(),
        "added_again",
        "commit.proposals.add",
    ),
    (
        "KeyPackage of another suite",
        lambda here: spoiled_package(here, suite=3),
        "wrong_suite",
        "commit.adds[0]",
    ),
    (
        "KeyPackage signed by another",
        lambda here: spoiled_package(here, package_key=here.stranger.signing_key),
        "bad_signature",
        "commit.adds[0]",
    ),
    (
        "KeyPackage with an init key that nothing can be encrypted to",
        lambda here: spoiled_package(here, init_key=b"\1" * 31),
        "bad_key",
        "commit.adds[0].init_key",
    ),
    (
        "added leaf with a key that nothing can be encrypted to",
        lambda here: spoiled_package(here, encryption_key=bytes(32)),
        "bad_key",
        "commit.adds[0].leaf_node.encryption_key",
    ),
    (
        "added leaf signed by another",
        lambda here: spoiled_package(
            here, leaf=leaf_node(here.guest, "key_package", signing_key=here.stranger.signing_key)
        ),
        "bad_signature",
        "commit.adds[0].leaf_node",
    ),
    (
        "added leaf made for an update",
        lambda here: spoiled_package(here, leaf=leaf_node(here.guest, "update")),
        "wrong_leaf_source",
        "commit.adds[0].leaf_node",
    ),
    (
        "no basic credential",
        lambda here: spoiled_package(here, credential=b"\0\2" + opaque(opaque(b"certificate"))),
        "bad_credential",
        "commit.adds[0].leaf_node.credential",
    ),
    (
        "credential that runs on",
        lambda here: spoiled_package(here, identity=here.guest.identity.encode() + b"x"),
        "trailing_bytes",
        "commit.adds[0].leaf_node.credential",
    ),
    (
        "no binding",
        lambda here: spoiled_package(here, extensions=[]),
        "missing_binding",
        "commit.adds[0].leaf_node.binding",
    ),
    (
        "binding too short",
        lambda here: spoiled_package(here, extensions=[(EXTENSION_TYPE, bytes(95))]),
        "bad_binding",
        "commit.adds[0].leaf_node.binding",
    ),
    (
        "binding signed for another leaf",
        lambda here: spoiled_package(here, **bound(here.guest, other_signature(here.guest))),
        "bad_signature",
        "commit.adds[0].leaf_node.binding",
    ),
    (
        "binding by another device key",
        lambda here: spoiled_package(here, **bound(here.guest, here.stranger.binding)),
        "wrong_member_id",
        "commit.adds[0].leaf_node.binding",
    ),
    (
        "binding of another room",
        lambda here: spoiled_package(here, **{"leaf": leaf_node(in_other_room(here.guest), "key_package")}),
        "wrong_member_id",
        "commit.adds[0].leaf_node.binding",
    ),
    (
        "member_id of another device",
        lambda here: spoiled_package(
            here,
            identity=replace(here.guest.identity, member_id=here.stranger.member_id).encode(),
        ),
        "wrong_member_id",
        "commit.adds[0].leaf_node.binding",
    ),
    (
        "user of another device",
        lambda here: spoiled_package(here, identity=replace(here.guest.identity, user_id=here.first.user_id).encode()),
        "wrong_member_id",
        "commit.adds[0].leaf_node.binding",
    ),
    # what the commit says beside MLS
    (
        "authenticated data of another version",
        lambda here: here.forged(authenticated_data=encoding.lp("mlsrtc commit 2")).candidate(),
        "unknown_version",
        "commit.authenticated_data",
    ),
    (
        "no authenticated data",
        lambda here: here.forged(authenticated_data=b"").candidate(),
        "truncated",
        "commit.authenticated_data",
    ),
    (
        "n beyond what JSON holds",
        lambda here: here.forged(data=said(2**53)).candidate(),
        "bad_count",
        "commit.authenticated_data",
    ),
    (
        "leave of somebody who stays",
        lambda here: here.forged(data=said(2, {here.third.member_id: here.third.left()})).candidate(),
        "left_not_removed",
        "commit.authenticated_data.left",
    ),
    (
        "leave that another signed",
        lambda here: here.removal(data=said(2, {here.third.member_id: here.second.left()})).candidate(),
        "bad_signature",
        "commit.authenticated_data.left",
    ),
    (
        "leave of another slot",
        lambda here: here.removal(
            data=said(
                2,
                {
                    here.third.member_id: here.third.signing_key.sign(
                        encoding.signing_tuple(encoding.LEFT_LABEL, ROOM, SlotId("m.call#OTHER"), here.third.member_id)
                    )
                },
            )
        ).candidate(),
        "bad_signature",
        "commit.authenticated_data.left",
    ),
    (
        "another parent",
        lambda here: here.forged(names=here.root.committed.id).candidate(),
        "wrong_parent",
        "commit.authenticated_data.parent",
    ),
    ("no parent", forged(names=None), "wrong_parent", "commit.authenticated_data.parent"),
    (
        "another parent, from outside",
        lambda here: here.external(here.guest, names=here.root.committed.id).candidate(),
        "wrong_parent",
        "commit.authenticated_data.parent",
    ),
    # rhythm
    (
        "nothing twice by one user",
        lambda here: here.idle(author=here.second, index=1).candidate(),
        "idle_twice",
        "commit",
    ),
]


@pytest.mark.parametrize(("name", "make", "reason", "where"), BROKEN, ids=[row[0] for row in BROKEN])
def test_each_clause_is_broken_alone(name: str, make: Callable[[Scene], Candidate], reason: str, where: str) -> None:
    for before in (Proven(), proven(scene())):
        with pytest.raises(RemoteProtocolError) as caught:
            judge(make(scene()), scene().judged, before)
        assert (caught.value.reason, caught.value.where) == (reason, where)


def test_nothing_twice_by_two_devices_of_one_user_is_nothing_twice() -> None:
    first, second = devices("first second")
    tablet = Device.new("tablet", user_id=first.user_id)
    call = Call(first, [second, tablet])
    call.commit(first, n=2)
    with pytest.raises(RemoteProtocolError, match="idle_twice"):
        call.commit(tablet)
    call.commit(second)
    call.commit(tablet)


def root_of(here: Scene, **changes: Any) -> Candidate:
    return forged_root(here.guest, group_info_0(here.guest, **changes))


def forged_root_by_joiner(here: Scene) -> Candidate:
    info_0 = group_info_0(here.guest)
    base = epoch_0(info_0, here.guest)
    forged = Forged(here.stranger, None, base, proposals=[EXTERNAL_INIT], path=True, place=1, names=None)
    made = forged.candidate()
    return replace(made, parent=None, root=made.id, group_info_0=info_0)


BROKEN_ROOTS: list[Broken] = [
    (
        "no group_info_0",
        lambda here: replace(root_of(here), group_info_0=None),
        "missing_field",
        "group_info_0",
    ),
    (
        "group_info_0 cut short",
        lambda here: replace(root_of(here), group_info_0=group_info_0(here.guest)[:-1]),
        "truncated",
        "group_info_0.signature",
    ),
    ("later epoch", lambda here: root_of(here, epoch=3), "wrong_epoch", "group_info_0.epoch"),
    (
        "transcript in epoch 0",
        lambda here: root_of(here, confirmed=bytes(32)),
        "wrong_transcript",
        "group_info_0.confirmed_transcript_hash",
    ),
    ("another signer", lambda here: root_of(here, signer=1), "wrong_signer", "group_info_0.signer"),
    ("no tree", lambda here: root_of(here, extensions=[]), "missing_tree", "group_info_0"),
    (
        "two leaves",
        lambda here: root_of(
            here,
            tree=opaque(
                b"\1\1"
                + leaf_node(here.guest, "key_package")
                + b"\0"
                + b"\1\1"
                + leaf_node(here.stranger, "key_package")
            ),
        ),
        "bad_tree",
        "group_info_0.ratchet_tree",
    ),
    (
        "tree hash",
        lambda here: root_of(here, leaf_hash=bytes(32)),
        "wrong_tree_hash",
        "group_info_0.tree_hash",
    ),
    (
        "group_id of another creator",
        lambda here: root_of(here, group_id=encoding.group_id(ROOM, SLOT, here.first.member_id)),
        "wrong_group_id",
        "group_info_0.group_id",
    ),
    (
        "group_id of another slot",
        lambda here: root_of(here, group_id=encoding.group_id(ROOM, SlotId("m.call#OTHER"), here.guest.member_id)),
        "wrong_group_id",
        "group_info_0.group_id",
    ),
    (
        "signed by another",
        lambda here: root_of(here, key=here.stranger.signing_key),
        "bad_signature",
        "group_info_0.signature",
    ),
    (
        "leaf signed by another",
        lambda here: root_of(here, leaf=leaf_node(here.guest, "key_package", signing_key=here.stranger.signing_key)),
        "bad_signature",
        "group_info_0.leaf_node",
    ),
    (
        "leaf without binding",
        lambda here: root_of(here, leaf=leaf_node(here.guest, "key_package", extensions=[])),
        "missing_binding",
        "group_info_0.leaf_node.binding",
    ),
    (
        "suite that nobody knows",
        lambda here: replace(root_of(here), group_info_0=group_info_0(here.guest, suite=0x0A0A)),
        "unsupported_suite",
        "group_info_0.cipher_suite",
    ),
    (
        "made by a joiner",
        forged_root_by_joiner,
        "root_by_joiner",
        "commit.sender",
    ),
    (
        "root of something else",
        lambda here: replace(root_of(here), root=EpochId(bytes(32))),
        "wrong_root",
        "root",
    ),
]


@pytest.mark.parametrize(("name", "make", "reason", "where"), BROKEN_ROOTS, ids=[row[0] for row in BROKEN_ROOTS])
def test_each_clause_of_a_root_is_broken_alone(
    name: str, make: Callable[[Scene], Candidate], reason: str, where: str
) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        judge(make(scene()), None)
    assert (caught.value.reason, caught.value.where) == (reason, where)
