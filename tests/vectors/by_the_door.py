"""One case of the working group's vectors, through the public door `mlsrtc.mls` and its reader. Each function raises
unless all that it names holds."""

import struct

from cipher_suites import ED25519, SUITES, labelled
from schedule import Secrets
from test_hpke import Reader, Welcomed, unseal
from working_group import Case

from forging import group_context, opaque
from mlsrtc import _core
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.mls import (
    Client,
    Group,
    KeyPackage,
    Limits,
    Secret,
    SigningKey,
    inspect_commit,
    inspect_group_info,
    inspect_key_package,
    inspect_tree,
    inspect_welcome,
    interim_transcript_hash,
    verify_signature,
)

PROPOSALS = {
    "add_proposal": 1,
    "update_proposal": 2,
    "remove_proposal": 3,
    "pre_shared_key_proposal": 4,
    "re_init_proposal": 5,
    "external_init_proposal": 6,
    "group_context_extensions_proposal": 7,
}


def opened(case: Case, name: str) -> bytes:
    return bytes.fromhex(case[name])


def secret(case: Case, name: str) -> Secret:
    return Secret(opened(case, name))


def signing_key(suite: int, private: bytes, public: bytes) -> SigningKey:
    """Ed25519 keeps the public half beside the seed (RFC 8032); the vectors give the seed."""
    return SigningKey.load(suite, Secret(private + public if SUITES[suite].signature is ED25519 else private))


def refusal(message: bytes) -> str:
    try:
        inspect_commit(message)
    except RemoteProtocolError as error:
        return error.reason
    return ""


# -- the door ------------------------------------------------------------------------------------------------


def passive_client(case: Case) -> None:
    psks = {opened(psk, "psk_id"): secret(psk, "psk") for psk in case["external_psks"]}
    group = _joined(case, psks)
    assert group.epoch_authenticator() == secret(case, "initial_epoch_authenticator")
    for epoch in case["epochs"]:
        for proposal in epoch["proposals"]:
            group = group.with_proposal(bytes.fromhex(proposal))
        group = group.stage(opened(epoch, "commit"), psks=psks).apply()
        assert group.epoch_authenticator() == secret(epoch, "epoch_authenticator")


def _joined(case: Case, psks: dict[bytes, Secret]) -> Group:
    suite = case["cipher_suite"]
    key_package = KeyPackage.from_keys(
        opened(case, "key_package"), secret(case, "init_priv"), secret(case, "encryption_priv")
    )
    key = signing_key(suite, opened(case, "signature_priv"), key_package.signature_key)
    client = Client(key_package.identity, key, limits=Limits(past_epochs=100))
    tree = opened(case, "ratchet_tree") if case["ratchet_tree"] else None
    return client.join(opened(case, "welcome"), key_package, tree=tree, psks=psks)


def sign_with_label(case: Case) -> None:
    """The door signs bytes as they stand, so that the label is put before them here."""
    suite, given = case["cipher_suite"], case["sign_with_label"]
    public, content = opened(given, "pub"), opened(given, "content")
    verify_signature(suite, public, labelled(given["label"], content), opened(given, "signature"))
    made = signing_key(suite, opened(given, "priv"), public).sign(labelled(given["label"], content))
    verify_signature(suite, public, labelled(given["label"], content), made)
    if SUITES[suite].signature.repeats:
        assert made == opened(given, "signature")


# -- the reader ----------------------------------------------------------------------------------------------


def length(case: Case) -> None:
    assert _core.vector_length(opened(case, "vlbytes_header")) == case["length"]


def transcript_hashes(case: Case) -> None:
    """The case is an AuthenticatedContent: an MLSMessage has the version before it and a membership tag behind it."""
    facts = inspect_commit(b"\0\1" + opened(case, "authenticated_content") + opaque(b""))
    suite, confirmed = case["cipher_suite"], opened(case, "confirmed_transcript_hash_after")
    interim = opened(case, "interim_transcript_hash_after")
    assert facts.transcript(suite, opened(case, "interim_transcript_hash_before")) == (confirmed, interim)
    assert interim_transcript_hash(suite, confirmed, facts.confirmation_tag) == interim
    assert SUITES[suite].mac(opened(case, "confirmation_key"), confirmed) == facts.confirmation_tag


def framed(commit: bytes) -> bytes:
    """A Commit as the content of a PublicMessage."""
    head = struct.pack(">HH", 1, 1) + opaque(b"group") + struct.pack(">QBI", 0, 1, 0) + opaque(b"")
    return head + b"\3" + commit + opaque(b"signature") + opaque(b"tag") + opaque(b"tag")


def messages(case: Case) -> None:
    """Every structure but GroupSecrets, which the reader has no use for."""
    message = {name: bytes.fromhex(value) for name, value in case.items()}
    assert inspect_key_package(message["mls_key_package"]).source == "key_package"
    assert inspect_group_info(message["mls_group_info"]).group_id
    assert inspect_welcome(message["mls_welcome"]).suite
    assert inspect_tree(message["ratchet_tree"])
    assert inspect_commit(message["public_message_commit"]).confirmation_tag
    assert inspect_commit(framed(message["commit"])).group_id == b"group"
    for name, kind in PROPOSALS.items():
        proposal = b"\1" + struct.pack(">H", kind) + message[name]
        facts = inspect_commit(framed(opaque(proposal) + b"\0"))
        found = (len(facts.adds), len(facts.removes), facts.external_inits, facts.other_proposals)
        assert found == (kind == 1, kind == 3, kind == 6, () if kind in (1, 3, 6) else (kind,))
    assert refusal(message["public_message_proposal"]) == "not_a_commit"
    assert refusal(message["public_message_application"]) == "not_a_commit"
    assert refusal(message["private_message"]) == "wrong_message_type"


def welcome(case: Case) -> None:
    """`cryptography` opens the Welcome, whose key schedule the twins follow; the reader reads and verifies what was in
    it. Joining needs the private key of the leaf too, which the case does not give."""
    suite = case["cipher_suite"]
    key_package, found = inspect_key_package(opened(case, "key_package")), inspect_welcome(opened(case, "welcome"))
    key_package.verify()
    assert key_package.suite == found.suite == suite
    assert found.references == (key_package.reference,)

    sealed = Welcomed.read(opened(case, "welcome"))
    private = opened(case, "init_priv")
    group_secrets = Reader(unseal(suite, private, "Welcome", sealed.encrypted_group_info, sealed.secrets))
    joiner = group_secrets.opaque()
    assert group_secrets.rest.endswith(b"\0")  # no pre-shared keys
    twin = SUITES[suite]
    secrets = Secrets(twin, joiner, twin.zero, b"")
    opened_info = twin.aead.open(*secrets.welcome_key(), sealed.encrypted_group_info)

    group_info = inspect_group_info(struct.pack(">HH", 1, 4) + opened_info)
    group_info.verify(opened(case, "signer_pub"))
    secrets.context = group_info.context
    assert secrets.confirmation_tag(group_info.confirmed_transcript_hash) == group_info.confirmation_tag


def signed_commit(case: Case) -> None:
    """The commit in the clear: its signature, over the epoch's GroupContext."""
    context = group_context(
        suite=case["cipher_suite"],
        group_id=opened(case, "group_id"),
        epoch=case["epoch"],
        tree_hash=opened(case, "tree_hash"),
        confirmed=opened(case, "confirmed_transcript_hash"),
        extensions=opaque(b""),
    )
    inspect_commit(opened(case, "commit_pub")).verify(context, opened(case, "signature_pub"))


def leaves(case: Case) -> None:
    """The signature of every leaf of the tree, at its place in the group."""
    tree = case["tree"] if "tree" in case else case["ratchet_tree"]
    found = inspect_tree(bytes.fromhex(tree))
    assert found
    for index, leaf in found.items():
        place = {} if leaf.source == "key_package" else {"group_id": opened(case, "group_id"), "leaf_index": index}
        leaf.verify(case["cipher_suite"], **place)


def trees(case: Case) -> None:
    """The leaves of the trees before and after, and what the proposal did to them."""
    before, after = (inspect_tree(opened(case, name)) for name in ("tree_before", "tree_after"))
    facts = inspect_commit(framed(opaque(b"\1" + opened(case, "proposal")) + b"\0"))
    keys = {index: leaf.encryption_key for index, leaf in after.items()}
    expected = {index: leaf.encryption_key for index, leaf in before.items() if index not in facts.removes}
    if facts.adds:
        expected[min(set(range(len(expected) + 1)) - expected.keys())] = facts.adds[0].encryption_key
    elif not facts.removes:
        assert facts.other_proposals == (2,)
        assert keys.keys() == expected.keys()
        expected[case["proposal_sender"]] = keys[case["proposal_sender"]]
    assert keys == expected
