"""One case of the working group's vectors, through the twins of `tests/mls`: what RFC 9420 computes, written a second
time to make rogue members. The door shows none of it; a rogue's messages that the door takes show that both agree.
Suite 1 only. Each function raises unless all that it names holds.
"""

import ratchet_tree
import schedule
from by_the_door import opened
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from presentation import OPAQUE, U8, U16, U32, U64, Reader
from ratchet_tree import Tree
from schedule import Secrets
from twins import (
    ADD,
    COMMIT,
    CONTENTS,
    EXTERNAL_PSK,
    MEMBER,
    MLS10,
    PRIVATE_MESSAGE,
    PUBLIC_MESSAGE,
    REMOVE,
    FramedContent,
    GroupContext,
    HPKECiphertext,
    MLSMessage,
    PreSharedKeyID,
    Proposal,
    Sender,
    SenderData,
)
from working_group import Case


class Given(Secrets):
    """An epoch of which some secrets are given."""

    def __init__(self, **secrets: bytes) -> None:
        self.given = secrets

    def of(self, label: str) -> bytes:
        return self.given[label.replace(" ", "_")]


def labels(case: Case) -> None:
    """RefHash, ExpandWithLabel, DeriveSecret, DeriveTreeSecret, SignWithLabel and EncryptWithLabel (section 5)."""
    given = case["ref_hash"]
    assert schedule.digest(OPAQUE.write(given["label"].encode()) + OPAQUE.write(opened(given, "value"))) == opened(
        given, "out"
    )
    given = case["expand_with_label"]
    made = schedule.expand_with_label(
        opened(given, "secret"), given["label"], opened(given, "context"), given["length"]
    )
    assert made == opened(given, "out")
    given = case["derive_secret"]
    assert schedule.derive_secret(opened(given, "secret"), given["label"]) == opened(given, "out")
    given = case["derive_tree_secret"]
    made = schedule.expand_with_label(
        opened(given, "secret"), given["label"], U32.write(given["generation"]), given["length"]
    )
    assert made == opened(given, "out")
    given = case["sign_with_label"]
    key = Ed25519PrivateKey.from_private_bytes(opened(given, "priv"))
    assert schedule.sign_with_label(key, given["label"], opened(given, "content")) == opened(given, "signature")
    given = case["encrypt_with_label"]
    private = X25519PrivateKey.from_private_bytes(opened(given, "priv"))
    label, context, plaintext = given["label"], opened(given, "context"), opened(given, "plaintext")
    sealed = HPKECiphertext(opened(given, "kem_output"), opened(given, "ciphertext"))
    assert schedule.decrypt_with_label(private, label, context, sealed) == plaintext
    sealed = schedule.encrypt_with_label(opened(given, "pub"), label, context, plaintext)
    assert schedule.decrypt_with_label(private, label, context, sealed) == plaintext


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
    init = opened(case, "initial_init_secret")
    for number, epoch in enumerate(case["epochs"]):
        context = GroupContext(
            group_id=opened(case, "group_id"),
            epoch=number,
            tree_hash=opened(epoch, "tree_hash"),
            confirmed_transcript_hash=opened(epoch, "confirmed_transcript_hash"),
        )
        assert context.encode() == opened(epoch, "group_context")
        psk = opened(epoch, "psk_secret")
        secrets = Secrets.after(init, opened(epoch, "commit_secret"), psk, context)
        assert secrets.joiner == opened(epoch, "joiner_secret")
        welcome = schedule.derive_secret(schedule.extract(secrets.joiner, psk), "welcome")
        assert welcome == opened(epoch, "welcome_secret")
        assert {label: secrets.of(label) for label in DERIVED} == {
            label: opened(epoch, name) for label, name in DERIVED.items()
        }
        assert schedule.public(secrets.external()) == opened(epoch, "external_pub")
        asked = epoch["exporter"]
        exported = schedule.expand_with_label(
            schedule.derive_secret(secrets.of("exporter"), asked["label"]),
            "exported",
            schedule.digest(opened(asked, "context")),
            asked["length"],
        )
        assert exported == opened(asked, "secret")
        init = secrets.of("init")


def psk_secret(case: Case) -> None:
    psks = [
        (PreSharedKeyID(EXTERNAL_PSK, opened(psk, "psk_id"), opened(psk, "psk_nonce")), opened(psk, "psk"))
        for psk in case["psks"]
    ]
    assert schedule.psk_secret(psks) == opened(case, "psk_secret")


def secret_tree(case: Case) -> None:
    sender_data = case["sender_data"]
    secrets = Given(encryption=opened(case, "encryption_secret"), sender_data=opened(sender_data, "sender_data_secret"))
    key = secrets.sender_data_key(opened(sender_data, "ciphertext"))
    assert key == (opened(sender_data, "key"), opened(sender_data, "nonce"))
    for leaf, generations in enumerate(case["leaves"]):
        for one in generations:
            for kind in ("handshake", "application"):
                made = secrets.ratchet_key(leaf, len(case["leaves"]), kind, one["generation"])
                assert made == (opened(one, f"{kind}_key"), opened(one, f"{kind}_nonce"))


def tree_math(case: Case) -> None:
    tree = Tree([None] * case["n_nodes"])
    assert (tree.leaves, tree.root) == (case["n_leaves"], case["root"])
    for node in range(case["n_nodes"]):
        children = ratchet_tree.children(node) if ratchet_tree.level(node) else (None, None)
        assert (case["left"][node], case["right"][node]) == children
        above = (None, None) if node == tree.root else (ratchet_tree.parent(node), tree.sibling(node))
        assert (case["parent"][node], case["sibling"][node]) == above


def tree_hashes(case: Case) -> None:
    """The tree hash and the resolution of every node."""
    tree = Tree.decode(opened(case, "tree"))
    assert tree.encode() == opened(case, "tree")
    nodes = range(len(tree.nodes))
    assert [tree.tree_hash(node) for node in nodes] == [bytes.fromhex(value) for value in case["tree_hashes"]]
    assert [tree.resolution(node) for node in nodes] == case["resolutions"]


def tree_operation(case: Case) -> None:
    tree, proposal = Tree.decode(opened(case, "tree_before")), Proposal.decode(opened(case, "proposal"))
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


def protected_messages(case: Case) -> None:
    """The handshake in the clear, with its membership tag, and all three kinds of content encrypted; each from the
    member at leaf 1 of 2, whose signature is verified."""
    context = GroupContext(
        group_id=opened(case, "group_id"),
        epoch=case["epoch"],
        tree_hash=opened(case, "tree_hash"),
        confirmed_transcript_hash=opened(case, "confirmed_transcript_hash"),
    )
    key = Ed25519PublicKey.from_public_bytes(opened(case, "signature_pub"))
    for kind in ("proposal", "commit"):
        found = MLSMessage.decode(opened(case, f"{kind}_pub"))
        assert found.wire_format == PUBLIC_MESSAGE
        content, tag = found.body.content, found.body.confirmation_tag
        assert CONTENTS[content.content_type].write(content.body) == opened(case, kind)
        signed = _to_be_signed(PUBLIC_MESSAGE, content, context)
        key.verify(found.body.signature, schedule_labelled("FramedContentTBS", signed))
        authenticated = signed + OPAQUE.write(found.body.signature) + (OPAQUE.write(tag) if kind == "commit" else b"")
        assert schedule.mac(opened(case, "membership_key"), authenticated) == found.body.membership_tag
    for kind in ("proposal", "commit", "application"):
        content, signature = _decrypted(case, opened(case, f"{kind}_priv"))
        body = opened(case, kind) if kind != "application" else OPAQUE.write(opened(case, kind))
        assert CONTENTS[content.content_type].write(content.body) == body
        key.verify(signature, schedule_labelled("FramedContentTBS", _to_be_signed(PRIVATE_MESSAGE, content, context)))


def schedule_labelled(label: str, content: bytes) -> bytes:
    """SignContent (section 5.1.2)."""
    return OPAQUE.write(b"MLS 1.0 " + label.encode()) + OPAQUE.write(content)


def _to_be_signed(wire_format: int, content: FramedContent, context: GroupContext) -> bytes:
    """FramedContentTBS of a member (section 6.1)."""
    return U16.write(MLS10) + U16.write(wire_format) + content.encode() + context.encode()


def _decrypted(case: Case, message: bytes) -> tuple[FramedContent, bytes]:
    """Section 6.3: the content, and its signature."""
    found = MLSMessage.decode(message).body
    secrets = Given(encryption=opened(case, "encryption_secret"), sender_data=opened(case, "sender_data_secret"))
    head = OPAQUE.write(found.group_id) + U64.write(found.epoch) + U8.write(found.content_type)
    key, nonce = secrets.sender_data_key(found.ciphertext)
    sender = SenderData.decode(AESGCM(key).decrypt(nonce, found.encrypted_sender_data, head))
    kind = "application" if found.content_type not in (2, COMMIT) else "handshake"
    key, nonce = secrets.ratchet_key(sender.leaf_index, 2, kind, sender.generation)
    nonce = bytes(a ^ b for a, b in zip(nonce, sender.reuse_guard.ljust(len(nonce), b"\0"), strict=True))
    reader = Reader(AESGCM(key).decrypt(nonce, found.ciphertext, head + OPAQUE.write(found.authenticated_data)))
    body = CONTENTS[found.content_type].read(reader)
    signature = OPAQUE.read(reader)
    if found.content_type == COMMIT:
        OPAQUE.read(reader)  # the confirmation tag
    assert not any(reader.take(reader.rest))  # the padding
    content = FramedContent(
        group_id=found.group_id,
        epoch=found.epoch,
        sender=Sender(MEMBER, sender.leaf_index),
        authenticated_data=found.authenticated_data,
        content_type=found.content_type,
        body=body,
    )
    return content, signature
