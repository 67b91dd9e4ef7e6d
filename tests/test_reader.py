"""The reader behind `inspect`, on the working group's vectors, on OpenMLS' messages, and on mutilated ones.

The working group's vectors are read from MLSRTC_VECTORS, or from where they lie beside a checkout.
rust/core/tests/reader.rs does the same on real commits of mls-rs, bit by bit.
"""

import json
import os
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
VECTORS = Path(os.environ.get("MLSRTC_VECTORS") or TESTS.parent.parent / "shared" / "vectors" / "mlswg")
OPENMLS = [json.loads(path.read_text()) for path in sorted((TESTS / "vectors" / "openmls").glob("*.json"))]
STEPS = [
    pytest.param(vector["suite"], step, id=f"suite {vector['suite']}, {step['name']}")
    for vector in OPENMLS
    for step in vector["steps"]
]


def working_group(name: str) -> list[dict[str, Any]]:
    path = VECTORS / name
    if not path.exists():
        pytest.skip(f"the working group's {name} is not here: set MLSRTC_VECTORS to its folder")
    vectors: list[dict[str, Any]] = json.loads(path.read_text())
    return vectors


def refusal(read: Any, *arguments: Any) -> RemoteProtocolError:
    with pytest.raises(RemoteProtocolError) as caught:
        read(*arguments)
    return caught.value


# -- the working group's vectors -----------------------------------------------------------------------------


def test_deserialization() -> None:
    vectors = working_group("deserialization.json")
    for vector in vectors:
        assert _core.vector_length(bytes.fromhex(vector["vlbytes_header"])) == vector["length"]
    assert len(vectors) == 14


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


def test_transcript_hashes() -> None:
    """All seven suites are read; those that the crypto provider knows are computed."""
    computed = set()
    for vector in working_group("transcript-hashes.json"):
        content = {name: bytes.fromhex(value) for name, value in vector.items() if isinstance(value, str)}
        # The vector is an AuthenticatedContent: an MLSMessage has the version before it and a tag behind it.
        facts = mls.inspect_commit(b"\0\1" + content["authenticated_content"] + opaque(b""))
        suite, before = vector["cipher_suite"], content["interim_transcript_hash_before"]
        if suite not in mls.suites():
            assert refusal(facts.transcript, suite, before).reason == "unsupported_suite"
            continue
        assert facts.transcript(suite, before) == (
            content["confirmed_transcript_hash_after"],
            content["interim_transcript_hash_after"],
        )
        confirmed = content["confirmed_transcript_hash_after"]
        assert (
            mls.interim_transcript_hash(suite, confirmed, facts.confirmation_tag)
            == content["interim_transcript_hash_after"]
        )
        computed.add(suite)
    assert {1, 2, 3} <= computed


def framed(commit: bytes) -> bytes:
    """A Commit as the content of a PublicMessage."""
    head = struct.pack(">HH", 1, 1) + opaque(b"group") + struct.pack(">QBI", 0, 1, 0) + opaque(b"")
    return head + b"\3" + commit + opaque(b"signature") + opaque(b"tag") + opaque(b"tag")


PROPOSALS = {
    "add_proposal": 1,
    "update_proposal": 2,
    "remove_proposal": 3,
    "pre_shared_key_proposal": 4,
    "re_init_proposal": 5,
    "external_init_proposal": 6,
    "group_context_extensions_proposal": 7,
}


def test_messages() -> None:
    vectors = working_group("messages.json")
    for vector in vectors:
        message = {name: bytes.fromhex(value) for name, value in vector.items()}
        leaf = mls.inspect_key_package(message["mls_key_package"])
        assert leaf.source == "key_package"
        assert mls.inspect_group_info(message["mls_group_info"]).group_id
        assert mls.inspect_welcome(message["mls_welcome"]).suite
        assert mls.inspect_tree(message["ratchet_tree"])
        assert mls.inspect_commit(message["public_message_commit"]).confirmation_tag
        assert mls.inspect_commit(framed(message["commit"])).group_id == b"group"
        for name, kind in PROPOSALS.items():
            proposal = b"\1" + struct.pack(">H", kind) + message[name]
            facts = mls.inspect_commit(framed(opaque(proposal) + b"\0"))
            assert (len(facts.adds), len(facts.removes), facts.external_inits, facts.other_proposals) == (
                kind == 1,
                kind == 3,
                kind == 6,
                () if kind in (1, 3, 6) else (kind,),
            )
        assert refusal(mls.inspect_commit, message["public_message_proposal"]).reason == "not_a_commit"
        assert refusal(mls.inspect_commit, message["public_message_application"]).reason == "not_a_commit"
        assert refusal(mls.inspect_commit, message["private_message"]).reason == "wrong_wire_format"
    assert len(vectors) == 300


def test_welcome() -> None:
    for vector in working_group("welcome.json"):
        package = mls.inspect_key_package(bytes.fromhex(vector["key_package"]))
        welcome = mls.inspect_welcome(bytes.fromhex(vector["welcome"]))
        assert (package.suite, welcome.suite) == (vector["cipher_suite"],) * 2
        if welcome.suite in mls.suites():
            package.verify()
            assert package.reference in welcome.references


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
    for shown in (
        repr(facts),
        repr(facts.adds[0]),
        repr(mls.inspect_welcome(bytes.fromhex(step["welcome"]))),
    ):
        assert "[" not in shown
        assert len(shown) < 100
