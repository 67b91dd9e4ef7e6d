"""One case of the working group's vectors, through the twins of `tests/mls`: what RFC 9420 computes, written a second
time to make rogue members. The door shows little of it; a rogue's messages that the door takes show that both agree.
Each function raises unless all that it names holds.
"""

from copy import deepcopy
from dataclasses import replace

import ratchet_tree
import schedule
from by_the_door import PROPOSALS, opened
from cipher_suites import SUITES, CipherSuite
from follower import Follower, Keys
from presentation import OPAQUE, U16, U32, Reader
from ratchet_tree import Tree
from rogue import Announced, Draft, Member, Person
from schedule import Secrets
from twins import (
    ADD,
    COMMIT,
    CONTENTS,
    EXTERNAL_PSK,
    PRIVATE_MESSAGE,
    PUBLIC_MESSAGE,
    RATCHET_TREE_NODES,
    REMOVE,
    Commit,
    FramedContent,
    GroupContext,
    GroupSecrets,
    HPKECiphertext,
    MLSMessage,
    ParentNode,
    PreSharedKeyID,
    Proposal,
    PublicMessage,
    UpdatePath,
    decode_tree,
)
from working_group import Case


class Given(Secrets):
    """An epoch of which some secrets are given."""

    def __init__(self, suite: CipherSuite, **secrets: bytes) -> None:
        self.suite, self.given = suite, secrets

    def of(self, label: str) -> bytes:
        return self.given[label.replace(" ", "_")]


def suite_of(case: Case) -> CipherSuite:
    return SUITES[case["cipher_suite"]]


def context_of(case: Case, epoch: int, tree_hash: bytes, confirmed_transcript_hash: bytes) -> GroupContext:
    return GroupContext(
        cipher_suite=case["cipher_suite"],
        group_id=opened(case, "group_id"),
        epoch=epoch,
        tree_hash=tree_hash,
        confirmed_transcript_hash=confirmed_transcript_hash,
    )


# -- functions and structures --------------------------------------------------------------------------------


def length(case: Case) -> None:
    assert Reader(opened(case, "vlbytes_header")).length() == case["length"]


def messages(case: Case) -> None:
    """Every structure, read and written again."""
    said = {name: bytes.fromhex(value) for name, value in case.items()}
    for name, kind in PROPOSALS.items():
        proposal = U16.write(kind) + said.pop(name)
        assert Proposal.decode(proposal).encode() == proposal
    tree, secrets, commit = (said.pop(name) for name in ("ratchet_tree", "group_secrets", "commit"))
    assert RATCHET_TREE_NODES.write(decode_tree(tree)) == tree
    assert GroupSecrets.decode(secrets).encode() == secrets
    assert Commit.decode(commit).encode() == commit
    for message in said.values():
        assert MLSMessage.decode(message).encode() == message


def labels(case: Case) -> None:
    """RefHash, ExpandWithLabel, DeriveSecret, DeriveTreeSecret and EncryptWithLabel (section 5)."""
    suite, given = suite_of(case), case["ref_hash"]
    assert suite.reference(given["label"], opened(given, "value")) == opened(given, "out")
    given = case["expand_with_label"]
    secret, context = opened(given, "secret"), opened(given, "context")
    assert suite.expand_with_label(secret, given["label"], context, given["length"]) == opened(given, "out")
    given = case["derive_secret"]
    assert suite.derive_secret(opened(given, "secret"), given["label"]) == opened(given, "out")
    given = case["derive_tree_secret"]
    secret, context = opened(given, "secret"), U32.write(given["generation"])
    assert suite.expand_with_label(secret, given["label"], context, given["length"]) == opened(given, "out")
    given = case["encrypt_with_label"]
    private, public = opened(given, "priv"), opened(given, "pub")
    assert suite.kem.public(private) == public
    label, context, plaintext = given["label"], opened(given, "context"), opened(given, "plaintext")
    sealed = HPKECiphertext(opened(given, "kem_output"), opened(given, "ciphertext"))
    assert suite.decrypt_with_label(private, label, context, sealed) == plaintext
    sealed = suite.encrypt_with_label(public, label, context, plaintext)
    assert suite.decrypt_with_label(private, label, context, sealed) == plaintext


def sign_with_label(case: Case) -> None:
    suite, given = suite_of(case), case["sign_with_label"]
    private, public = opened(given, "priv"), opened(given, "pub")
    label, content = given["label"], opened(given, "content")
    assert suite.signature.keys.public(private) == public
    suite.verify_with_label(public, opened(given, "signature"), label, content)
    made = suite.sign_with_label(private, label, content)
    suite.verify_with_label(public, made, label, content)
    if suite.signature.repeats:
        assert made == opened(given, "signature")


# -- the key schedule and the secret tree --------------------------------------------------------------------

DERIVED = {
    "init": "init_secret",
    "sender data": "sender_data_secret",
    "encryption": "encryption_secret",
    "exporter": "exporter_secret",
    "authentication": "epoch_authenticator",
    "external": "external_secret",
    "confirm": "confirmation_key",
    "membership": "membership_key",
    "resumption": "resumption_psk",
}


def key_schedule(case: Case) -> None:
    suite, init = suite_of(case), opened(case, "initial_init_secret")
    for number, epoch in enumerate(case["epochs"]):
        context = context_of(case, number, opened(epoch, "tree_hash"), opened(epoch, "confirmed_transcript_hash"))
        assert context.encode() == opened(epoch, "group_context")
        secrets = Secrets.after(suite, init, opened(epoch, "commit_secret"), opened(epoch, "psk_secret"), context)
        assert secrets.joiner == opened(epoch, "joiner_secret")
        assert secrets.welcome() == opened(epoch, "welcome_secret")
        assert {label: secrets.of(label) for label in DERIVED} == {
            label: opened(epoch, name) for label, name in DERIVED.items()
        }
        assert suite.kem.public(secrets.external()) == opened(epoch, "external_pub")
        asked = epoch["exporter"]
        exported = secrets.export(asked["label"], opened(asked, "context"), asked["length"])
        assert exported == opened(asked, "secret")
        init = secrets.of("init")


def psk_secret(case: Case) -> None:
    psks = [
        (PreSharedKeyID(EXTERNAL_PSK, opened(psk, "psk_id"), opened(psk, "psk_nonce")), opened(psk, "psk"))
        for psk in case["psks"]
    ]
    assert schedule.psk_secret(suite_of(case), psks) == opened(case, "psk_secret")


def secret_tree(case: Case) -> None:
    sender_data = case["sender_data"]
    secrets = Given(
        suite_of(case),
        encryption=opened(case, "encryption_secret"),
        sender_data=opened(sender_data, "sender_data_secret"),
    )
    key = secrets.sender_data_key(opened(sender_data, "ciphertext"))
    assert key == (opened(sender_data, "key"), opened(sender_data, "nonce"))
    for leaf, generations in enumerate(case["leaves"]):
        for one in generations:
            for kind in ("handshake", "application"):
                made = secrets.ratchet_key(leaf, len(case["leaves"]), kind, one["generation"])
                assert made == (opened(one, f"{kind}_key"), opened(one, f"{kind}_nonce"))


# -- the ratchet tree ----------------------------------------------------------------------------------------


def tree_math(case: Case) -> None:
    tree = Tree([None] * case["n_nodes"], SUITES[1])
    assert (tree.leaves, tree.root) == (case["n_leaves"], case["root"])
    for node in range(case["n_nodes"]):
        children = ratchet_tree.children(node) if ratchet_tree.level(node) else (None, None)
        assert (case["left"][node], case["right"][node]) == children
        above = (None, None) if node == tree.root else (ratchet_tree.parent(node), tree.sibling(node))
        assert (case["parent"][node], case["sibling"][node]) == above


def valid_tree(case: Case) -> None:
    """The tree hash and the resolution of every node, the parent hash of every parent, the signature of every leaf."""
    tree = Tree.decode(suite_of(case), opened(case, "tree"))
    assert tree.encode() == opened(case, "tree")
    nodes = range(len(tree.nodes))
    assert [tree.tree_hash(node) for node in nodes] == [bytes.fromhex(value) for value in case["tree_hashes"]]
    assert [tree.resolution(node) for node in nodes] == case["resolutions"]
    assert all(tree.vouched(node) for node in nodes if isinstance(tree.nodes[node], ParentNode))
    for index in tree.members():
        _verify_leaf(case, tree, index)


def _verify_leaf(case: Case, tree: Tree, index: int) -> None:
    leaf = tree.leaf(index)
    signed = leaf.to_be_signed(opened(case, "group_id"), index)
    tree.suite.verify_with_label(leaf.signature_key, leaf.signature, "LeafNodeTBS", signed)


def tree_operation(case: Case) -> None:
    tree, proposal = Tree.decode(suite_of(case), opened(case, "tree_before")), Proposal.decode(opened(case, "proposal"))
    if "tree_hash_before" in case:
        assert tree.tree_hash() == opened(case, "tree_hash_before")
    if proposal.type == ADD:
        tree.add(proposal.body.leaf_node)
    elif proposal.type == REMOVE:
        tree.remove(proposal.body)
    else:
        tree.nodes[2 * case["proposal_sender"]] = proposal.body
        tree.blank_path(case["proposal_sender"])
    assert tree.encode() == opened(case, "tree_after")
    if "tree_hash_after" in case:
        assert tree.tree_hash() == opened(case, "tree_hash_after")


def tree_kem(case: Case) -> None:
    """The private keys, the paths that are given, as all others receive them, and paths that the rogue makes."""
    suite = suite_of(case)
    tree = Tree.decode(suite, opened(case, "ratchet_tree"))
    members, signers = {}, {}
    for given in case["leaves_private"]:
        index = given["index"]
        _verify_leaf(case, tree, index)
        signers[index] = Person(b"", opened(given, "signature_priv"), suite)
        assert signers[index].public == tree.leaf(index).signature_key
        members[index] = keys = Keys(suite, index, {2 * index: opened(given, "encryption_priv")})
        assert keys.has(tree, 2 * index)
        for one in given["path_secrets"]:
            keys.learn(tree, one["node"], opened(one, "path_secret"))
    before = context_of(case, case["epoch"] - 1, b"", opened(case, "confirmed_transcript_hash"))
    for given in case["update_paths"]:
        sender, path = given["sender"], UpdatePath.decode(opened(given, "update_path"))
        others = {index: keys for index, keys in members.items() if index != sender}
        after, received = _received(case, tree, others, sender, path)
        assert after.tree_hash() == opened(given, "tree_hash_after")
        assert received == {
            index: (bytes.fromhex(given["path_secrets"][index]), opened(given, "commit_secret")) for index in others
        }
        draft = Draft(Member(signers[sender], before, tree, b"", index=sender), {}, {})
        draft.make_path()
        after, received = _received(case, tree, others, sender, draft.path)
        assert after.encode() == draft.tree.encode()
        lowest = {index: draft.path_secret_for(index) for index in others}
        assert received == {index: (lowest[index], draft.commit_secret) for index in others}


def _received(
    case: Case, tree: Tree, members: dict[int, Keys], sender: int, path: UpdatePath
) -> tuple[Tree, dict[int, tuple[bytes, bytes]]]:
    """The tree with a path in it, and which path secret and commit secret each receives."""
    after, received = replace(tree, nodes=[*tree.nodes]), {}
    after.merge(sender, path)
    _verify_leaf(case, after, sender)
    context = context_of(case, case["epoch"], after.tree_hash(), opened(case, "confirmed_transcript_hash")).encode()
    for index, keys in members.items():
        path_secret = keys.receive(after, sender, path, context)
        received[index] = path_secret, deepcopy(keys).climb(after, sender, path_secret)
    return after, received


# -- messages ------------------------------------------------------------------------------------------------


def protected_messages(case: Case) -> None:
    """The handshake in the clear, with its membership tag, and all three kinds of content encrypted; each from the
    member at leaf 1 of 2, whose signature is verified, and who says the same again."""
    suite = suite_of(case)
    secrets = Given(
        suite,
        membership=opened(case, "membership_key"),
        encryption=opened(case, "encryption_secret"),
        sender_data=opened(case, "sender_data_secret"),
    )
    context = context_of(case, case["epoch"], opened(case, "tree_hash"), opened(case, "confirmed_transcript_hash"))
    person = Person(b"", opened(case, "signature_priv"), suite)
    member = Member(person, context, Tree([None] * 3, suite), b"", secrets, index=1)
    assert person.public == opened(case, "signature_pub")

    def said(message: bytes) -> PublicMessage:
        found = MLSMessage.decode(message)
        body = secrets.decrypt(found.body, 2) if found.wire_format == PRIVATE_MESSAGE else found.body
        signed = body.content.to_be_signed(found.wire_format, context.encode())
        suite.verify_with_label(person.public, body.signature, "FramedContentTBS", signed)
        if found.wire_format == PUBLIC_MESSAGE:
            assert body.membership_tag == secrets.membership_tag(body, context.encode())
        return body

    proposal, commit = opened(case, "proposal"), opened(case, "commit")
    for name, body in (
        ("proposal_pub", proposal),
        ("proposal_priv", proposal),
        ("commit_pub", commit),
        ("commit_priv", commit),
        ("application_priv", OPAQUE.write(opened(case, "application"))),
    ):
        found = said(opened(case, name))
        assert CONTENTS[found.content.content_type].write(found.content.body) == body
        again = said(member.encrypt(found.content, confirmation_tag=found.confirmation_tag).bytes)
        assert (again.content, again.confirmation_tag) == (found.content, found.confirmation_tag)


def transcript_hashes(case: Case) -> None:
    """The case is an AuthenticatedContent (section 6)."""
    suite, reader = suite_of(case), Reader(opened(case, "authenticated_content"))
    wire_format, content = U16.read(reader), FramedContent.read(reader)
    assert content.content_type == COMMIT
    commit = PublicMessage(content, OPAQUE.read(reader), OPAQUE.read(reader))
    assert not reader.rest
    before, after = opened(case, "interim_transcript_hash_before"), opened(case, "confirmed_transcript_hash_after")
    assert schedule.confirmed_transcript_hash(suite, before, wire_format, commit) == after
    assert suite.mac(opened(case, "confirmation_key"), after) == commit.confirmation_tag
    interim = schedule.interim_transcript_hash(suite, after, commit.confirmation_tag)
    assert interim == opened(case, "interim_transcript_hash_after")


# -- joining and following -----------------------------------------------------------------------------------


def _announced(case: Case, signature_key: bytes = b"", leaf_key: bytes = b"") -> Announced:
    suite, package = suite_of(case), MLSMessage.decode(opened(case, "key_package")).body
    assert suite.kem.public(opened(case, "init_priv")) == package.init_key
    suite.verify_with_label(package.leaf_node.signature_key, package.signature, "KeyPackageTBS", package.unsigned)
    return Announced(Person(b"", signature_key, suite), package, opened(case, "init_priv"), leaf_key)


def welcome(case: Case) -> None:
    """Joining needs the private key of the leaf too, which the case does not give."""
    suite = suite_of(case)
    given, info, secrets = _announced(case).open(opened(case, "welcome"))
    assert given.psks == []
    suite.verify_with_label(opened(case, "signer_pub"), info.signature, "GroupInfoTBS", info.unsigned)
    assert secrets.confirmation_tag(info.group_context.confirmed_transcript_hash) == info.confirmation_tag


def passive_client(case: Case) -> None:
    announced = _announced(case, opened(case, "signature_priv"), opened(case, "encryption_priv"))
    assert announced.person.public == announced.leaf.signature_key
    tree = opened(case, "ratchet_tree") if case["ratchet_tree"] else None
    psks = {opened(psk, "psk_id"): opened(psk, "psk") for psk in case["external_psks"]}
    member = Follower.join(announced, opened(case, "welcome"), tree, psks)
    assert member.secrets.of("authentication") == opened(case, "initial_epoch_authenticator")
    for epoch in case["epochs"]:
        for proposal in epoch["proposals"]:
            member.remember(bytes.fromhex(proposal))
        member.follow(opened(epoch, "commit"))
        assert member.secrets.of("authentication") == opened(epoch, "epoch_authenticator")
