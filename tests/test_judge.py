"""`judge` on real commits, of this engine and another, and on mutilated ones."""

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calls import Call, devices, party, scene
from forging import TAG, Forged, add
from mlsrtc import mls
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.evidence import Refusal
from mlsrtc.identifiers import EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import Candidate, judge
from mlsrtc.wire.commit import CommitEvent, decode_commit, encode_commit

OPENMLS = sorted((Path(__file__).parent / "vectors" / "openmls").glob("*.json"))


# -- what holds ----------------------------------------------------------------------------------------------


def test_a_root_is_judged_from_its_own_epoch_0() -> None:
    first, second, third = devices("first second third")
    call = Call(first, [second, third])
    judged = call.judged
    assert judged is not None
    committed = judged.committed
    assert (committed.parent, committed.epoch, committed.n) == (None, 1, 1)
    assert committed.root == committed.id
    assert committed.author == first.leaf
    assert dict(committed.leaves) == {0: first.leaf, 1: second.leaf, 2: third.leaf}
    assert committed.added == {second.member_id, third.member_id}
    assert judged.ever == {first.member_id, second.member_id, third.member_id}
    assert (committed.external, committed.has_path, judged.idle_user) == (False, False, None)
    assert judged.external_pub is not None


def test_a_call_is_followed_through_every_kind_of_commit() -> None:
    first, second, third, fourth, fifth, sixth = devices("first second third fourth fifth sixth")
    call = Call(first, [second, third])
    idle = call.commit(second)
    assert (idle.idle_user, idle.committed.has_path) == (second.user_id, True)
    refuse = (EpochId(bytes(32)), "unopened")
    both = call.commit(first, [fourth, fifth], [third], n=2, refuse=refuse)
    assert both.committed.left == both.committed.removed == {third.member_id}
    assert both.committed.refuse == Refusal(*refuse)
    # The first joiner takes the leaf that the removal left blank (RFC 9420 section 12.1.1).
    assert dict(both.committed.leaves) == dict(enumerate(d.leaf for d in (first, second, fourth, fifth)))
    joined = call.join_external(sixth)
    assert joined.committed.external
    assert joined.committed.added == {sixth.member_id}
    assert joined.committed.leaves[joined.author_index] == sixth.leaf
    shrunk = call.commit(sixth, leavers=[fourth, fifth], n=2)
    assert len(shrunk.committed.leaves) == 3
    late = third.again()
    assert call.commit(first, [late], n=3).committed.leaves[LeafIndex(2)] == late.leaf
    assert third.member_id in call.candidates[2].left


def test_a_device_that_lost_its_state_rejoins_over_its_own_old_leaf() -> None:
    first, second, third = devices("first second third")
    call = Call(first, [second, third])
    fresh = second.again()
    judged = call.join_external(fresh, replaces=second)
    assert judged.committed.removed == {second.member_id}
    assert judged.committed.added == {fresh.member_id}
    assert judged.committed.leaves[LeafIndex(1)] == fresh.leaf
    assert second.member_id in judged.ever


def test_naming_somebody_without_mls_is_a_change() -> None:
    call = Call(*party())
    author = next(iter(call.devices.values()))
    for n in (2, 3, 4):
        guests = (("@phone:example.org", "PHONE", str(n)),)
        assert call.commit(author, n=n, guests=guests).idle_user is None
    assert call.judged is not None
    assert call.judged.committed.guests == (("@phone:example.org", "PHONE", "4"),)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1 << 16), st.integers(1, 3)), max_size=8))
def test_leaves_follow_from_bytes_by_the_index_rules(moves: list[tuple[int, int, int]]) -> None:
    """Whatever is added and removed in whatever order, the leaves are those of the member's own tree."""
    call, counted = Call(*party()), 1
    for kind, choice, many in moves:
        standing = [call.devices[name] for name in call.groups]
        author = standing[choice % len(standing)]
        others = [device for device in standing if device is not author]
        leavers = others[choice % 3 :: 2][:many] if kind and others else []
        joiners = devices(" ".join(f"guest{counted + step}" for step in range(many))) if kind < 2 else []
        counted += many
        if joiners or leavers:
            call.commit(author, joiners, leavers)


@pytest.mark.parametrize("path", OPENMLS, ids=lambda path: path.stem)
def test_calls_that_openmls_played_are_valid(path: Path) -> None:
    """Another engine and another hand's encodings (interop/openmls): ids, leaves and leavers agree."""
    vector, parent = json.loads(path.read_text()), None
    for place, step in enumerate(vector["steps"]):
        left = {MemberId(name): bytes.fromhex(signature) for name, signature in step["left"]}
        event = Candidate(
            room_id=RoomId(vector["room"]),
            sender=UserId(step["sender"]),
            slot_id=SlotId(vector["slot"]),
            root=EpochId(bytes.fromhex(vector["steps"][0]["id"])),
            parent=None if step["parent"] is None else EpochId(bytes.fromhex(step["parent"])),
            id=EpochId(bytes.fromhex(step["id"])),
            epoch=step["epoch"],
            n=step["n"],
            left=left,
            commit=bytes.fromhex(step["commit"]),
            group_info=bytes.fromhex(step["group_info"]),
            group_info_0=bytes.fromhex(step["group_info_before"]) if place == 0 else None,
        )
        parent = judge(event, parent)
        assert parent.suite == vector["suite"]
        assert parent.committed.left == set(left)
        assert parent.committed.added == set(step["added"])
        assert parent.committed.removed == set(step["removed"])
        assert [[index, leaf.member_id] for index, leaf in sorted(parent.committed.leaves.items())] == step["leaves"]
    assert place == 4


def test_a_candidate_is_made_of_a_decoded_event() -> None:
    event = scene().call.candidates[0]
    assert event.group_info_0 is not None
    decoded = decode_commit(
        encode_commit(
            CommitEvent(
                slot_id=event.slot_id,
                root=event.root,
                parent=event.parent,
                id=event.id,
                epoch=event.epoch,
                n=event.n,
                commit=event.commit,
                group_info=event.group_info,
                left=event.left,
                group_info_0=event.group_info_0,
            )
        )
    )
    assert isinstance(decoded.commit, bytes)
    made = Candidate.of(decoded, decoded.commit, room_id=event.room_id, sender=event.sender)
    assert made == event
    assert judge(made, None) == scene().root


def test_a_verdict_cannot_be_changed() -> None:
    judged = scene().judged
    with pytest.raises(FrozenInstanceError):
        judged.suite = 2  # type: ignore[misc]
    with pytest.raises(TypeError):
        judged.committed.leaves[LeafIndex(9)] = judged.committed.author  # type: ignore[index]


def test_the_parent_must_be_the_one_that_is_named() -> None:
    here = scene()
    event = here.call.candidates[-1]
    with pytest.raises(LocalProtocolError):
        judge(event, here.judged)
    with pytest.raises(LocalProtocolError):
        judge(event, None)


# -- mutilated bytes -----------------------------------------------------------------------------------------


def test_every_truncation_of_every_part_is_refused() -> None:
    here = scene()
    event, root = here.call.candidates[1], here.call.candidates[0]
    for name in ("commit", "group_info"):
        for size in range(len(getattr(event, name))):
            with pytest.raises(RemoteProtocolError):
                judge(replace(event, **{name: getattr(event, name)[:size]}), here.root)
    assert root.group_info_0 is not None
    for size in range(len(root.group_info_0)):
        with pytest.raises(RemoteProtocolError):
            judge(replace(root, group_info_0=root.group_info_0[:size]), None)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(["commit", "group_info", "group_info_0"]),
    st.integers(0),
    st.integers(0, 7),
    st.booleans(),
)
def test_a_flipped_bit_is_refused_unless_only_members_can_check_it(
    name: str, place: int, bit: int, of_root: bool
) -> None:
    here = scene()
    event, parent = (
        (here.call.candidates[0], None) if of_root or name == "group_info_0" else (here.call.candidates[1], here.root)
    )
    twin = bytearray(getattr(event, name))
    # The membership tag is the end of a member's commit: 32 bytes that no outsider can check (RFC 9420 6.2).
    place %= len(twin) - (32 if name == "commit" else 0)
    twin[place] ^= 1 << bit
    with pytest.raises(RemoteProtocolError):
        judge(replace(event, **{name: bytes(twin)}), parent)


@given(st.binary(max_size=400), st.sampled_from(["commit", "group_info", "group_info_0"]))
def test_whatever_the_bytes_the_error_is_a_remote_one(garbage: bytes, name: str) -> None:
    event = scene().call.candidates[0]
    with pytest.raises(RemoteProtocolError):
        judge(replace(event, **{name: garbage}), None)


def test_a_twin_with_another_membership_tag_is_the_same_epoch() -> None:
    """Which is why what was found bad is kept by the hash of the whole commit, never by id."""
    here = scene()
    event = here.call.candidates[1]
    twin = replace(event, commit=event.commit[:-32] + bytes(32))
    assert judge(twin, here.root).committed == judge(event, here.root).committed


class WeakKey:
    """An Ed25519 key of small order: the neutral point, under which one signature holds for every message."""

    suite = 1
    public = bytes([1]) + bytes(31)

    def sign(self, message: bytes) -> bytes:
        return bytes([1]) + bytes(63)


def test_a_child_is_of_the_parent_that_it_names_whatever_else_its_signature_holds_for() -> None:
    """One commit under two GroupInfos has two ids and one transcript, and the signature of a child (over its
    parent's GroupContext, RFC 9420 section 6.1) need not tell them apart (docs/adr/0013)."""
    here = scene()
    weak = replace(here.guest, signing_key=cast(mls.SigningKey, WeakKey()))
    adding = here.forged(proposals=[add(weak)])
    one, two = (judge(replace(adding, tree_hash=bytes([n] * 32)).candidate(), here.judged) for n in (1, 2))
    assert one.committed.id != two.committed.id
    assert one.interim_transcript_hash == two.interim_transcript_hash
    child = Forged(weak, 3, one, path=True).candidate()
    assert judge(child, one).committed.parent == one.committed.id
    with pytest.raises(RemoteProtocolError) as caught:
        judge(replace(child, parent=two.committed.id), two)
    assert (caught.value.reason, caught.value.where) == ("wrong_parent", "commit.authenticated_data.parent")


def test_a_refused_commit_changes_nothing() -> None:
    here = scene()
    before = here.judged
    with pytest.raises(RemoteProtocolError):
        judge(here.forged(confirmed=TAG).candidate(), before)
    assert judge(here.forged().candidate(), before).committed.epoch == before.committed.epoch + 1


def test_a_replayed_root_belongs_to_its_own_call() -> None:
    here = scene()
    with pytest.raises(RemoteProtocolError) as caught:
        judge(replace(here.call.candidates[0], room_id=RoomId("!other:example.org")), None)
    assert caught.value.reason == "wrong_member_id"
