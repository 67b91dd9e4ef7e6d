"""The reader behind `inspect`, on OpenMLS' messages and on mutilated ones. tests/vectors reads the working group's;
rust/core/tests/reader.rs does the same on real commits of mls-rs, bit by bit.
"""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forging import opaque
from mlsrtc import _core, mls
from mlsrtc.errors import RemoteProtocolError

TESTS = Path(__file__).parent
OPENMLS = [json.loads(path.read_text()) for path in sorted((TESTS / "vectors" / "openmls").glob("*.json"))]
STEPS = [
    pytest.param(vector["suite"], step, id=f"suite {vector['suite']}, {step['name']}")
    for vector in OPENMLS
    for step in vector["steps"]
]


def refusal(read: Any, *arguments: Any) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        read(*arguments)
    return caught.value


# -- lengths -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "reason"),
    [
        ("", "truncated"),
        ("40", "truncated"),
        ("800000", "truncated"),
        ("4000", "length_not_minimal"),
        ("403f", "length_not_minimal"),
        ("80003fff", "length_not_minimal"),
        ("c0", "length_reserved"),
        ("ffffffffffffffff", "length_reserved"),
        ("0000", "trailing_bytes"),
    ],
)
def test_a_length_has_one_form(header: str, reason: str) -> None:
    assert refusal(_core.vector_length, bytes.fromhex(header)).reason == reason


# -- OpenMLS -------------------------------------------------------------------------------------------------


def verifies(suite: int, step: dict[str, Any], commit: bytes) -> bool:
    """All that bytes and the parent's GroupInfo can say of a commit."""
    before = mls.inspect_group_info(bytes.fromhex(step["group_info_before"]))
    after = mls.inspect_group_info(bytes.fromhex(step["group_info"]))
    key = bytes.fromhex(step["signature_key"])
    interim = mls.interim_transcript_hash(suite, before.confirmed_transcript_hash, before.confirmation_tag)
    try:
        facts = mls.inspect_commit(commit)
        facts.verify(before.context, key)
    except RemoteProtocolError:
        return False
    confirmed, _ = facts.transcript(suite, interim)
    return (confirmed, facts.confirmation_tag) == (after.confirmed_transcript_hash, after.confirmation_tag)


@pytest.mark.parametrize(("suite", "step"), STEPS)
def test_messages_of_openmls_verify(suite: int, step: dict[str, Any]) -> None:
    commit = bytes.fromhex(step["commit"])
    assert verifies(suite, step, commit)
    facts, key = mls.inspect_commit(commit), bytes.fromhex(step["signature_key"])
    after = mls.inspect_group_info(bytes.fromhex(step["group_info"]))
    after.verify(key)
    assert (after.signer, after.epoch) == (step["signer"], facts.epoch + 1)
    assert facts.external == (step["name"] == "external commit")
    assert after.tree is not None
    leaves = mls.inspect_tree(after.tree)
    assert sorted(leaves) == [index for index, _ in step["leaves"]]
    assert leaves[step["signer"]].signature_key == key
    if facts.path_leaf is not None:
        facts.path_leaf.verify(suite, facts.group_id, step["signer"])
    packages = [mls.inspect_key_package(bytes.fromhex(text)) for text in step["added_key_packages"]]
    for package, added in zip(packages, facts.adds, strict=True):
        added.verify()
        assert added.reference == package.reference
    if step["welcome"] is not None:
        welcome = mls.inspect_welcome(bytes.fromhex(step["welcome"]))
        assert set(welcome.references) == {package.reference for package in packages}


@pytest.mark.parametrize(("suite", "step"), STEPS[:5])
def test_mutilated_messages_of_openmls_are_refused_or_verify_nothing(suite: int, step: dict[str, Any]) -> None:
    commit = bytes.fromhex(step["commit"])
    for size in range(len(commit)):
        assert refusal(mls.inspect_commit, commit[:size]).reason == "truncated"
    assert refusal(mls.inspect_commit, commit + b"\0").reason == "trailing_bytes"
    unchecked = 0 if step["name"] == "external commit" else 32  # the membership tag, which only members check
    for place in range(len(commit) - unchecked):
        twin = bytearray(commit)
        twin[place] ^= 1 << place % 8
        assert not verifies(suite, step, bytes(twin)), f"byte {place}"


# -- anything ------------------------------------------------------------------------------------------------

READERS = [
    mls.inspect_commit,
    mls.inspect_group_info,
    mls.inspect_key_package,
    mls.inspect_welcome,
    mls.inspect_tree,
]


@given(st.binary(max_size=300), st.sampled_from(READERS), st.integers(0, 5))
def test_whatever_the_bytes_they_are_read_or_refused(garbage: bytes, read: Any, wire_format: int) -> None:
    """With the head of a message before them, garbage gets past the first check."""
    for message in (garbage, struct.pack(">HH", 1, wire_format) + garbage):
        try:
            read(message)
        except RemoteProtocolError as refused:
            error = refused
        else:
            continue
        assert error.where
        assert error.reason


def test_a_message_larger_than_any_call_needs_is_not_read() -> None:
    error = refusal(mls.inspect_commit, bytes(16 * 1024 * 1024 + 1))
    assert (error.reason, error.where) == ("oversized", "commit")


def test_an_extension_may_not_be_repeated_nor_may_there_be_hundreds() -> None:
    def leaf_less_group_info(extensions: bytes) -> bytes:
        head = struct.pack(">HHHH", 1, 4, 1, 1) + opaque(b"g") + bytes(8) + opaque(b"") + opaque(b"")
        return head + opaque(extensions) + opaque(b"") + opaque(b"") + bytes(4) + opaque(b"")

    item = struct.pack(">H", 0xF001) + opaque(b"")
    assert mls.inspect_group_info(leaf_less_group_info(item)).context_extensions == opaque(item)
    error = refusal(mls.inspect_group_info, leaf_less_group_info(item * 2))
    assert (error.reason, error.where) == ("repeated_extension", "group_info.group_context.extensions")
    many = b"".join(struct.pack(">H", kind) + opaque(b"") for kind in range(257))
    assert refusal(mls.inspect_group_info, leaf_less_group_info(many)).reason == "oversized"


def test_facts_show_no_bytes_in_their_repr() -> None:
    step = OPENMLS[0]["steps"][0]
    facts = mls.inspect_commit(bytes.fromhex(step["commit"]))
    assert f"adds={len(facts.adds)} removes={len(facts.removes)}" in repr(facts)
    assert len(facts.adds) > 0
    for shown in (
        repr(facts),
        repr(facts.adds[0]),
        repr(mls.inspect_welcome(bytes.fromhex(step["welcome"]))),
    ):
        assert "[" not in shown
        assert len(shown) < 100
