"""What a member can do wrong: one attack for each MUST of RFC 9420 that a member can break."""

from dataclasses import replace
from typing import Any

import twins
from attacking import (
    BLANK,
    CUSTOM,
    EXTERNAL_INIT,
    NAMED,
    UNKNOWN,
    Attack,
    Attempt,
    Make,
    Sent,
    add,
    both,
    commit,
    extensions,
    fresh_key,
    longer,
    offered,
    proposed,
    psk,
    referred,
    reinit,
    remove,
    required,
    resealed,
    resumption,
    secretly,
    shown,
    spoken,
    update,
    welcomed,
)
from presentation import Raw
from rogue import Announced, Draft, Encrypted, Framed, Person, Touch, change, flip
from twins import Credential, Extension, Lifetime, ParentNode, ProposalOrRef, Sender
from world import ACCOMPLICE, KNOWN, ROGUE, World, strict

from mlsrtc.mls import Client, SigningKey

# -- touches and messages that one attack needs --------------------------------------------------------------


def wrapped(make: Make, head: bytes) -> Make:
    """The message under another head (version and wire format)."""

    def again(world: World, spoiled: bool) -> Attempt:
        attempt = make(world, False)
        assert isinstance(attempt, Sent)
        return replace(attempt, message=head + attempt.message[len(head) :]) if spoiled else attempt

    return again


def application(world: World, spoiled: bool) -> Attempt:
    framed = world.rogue.publish(world.rogue.framed(twins.APPLICATION, b"in the clear"))
    return Sent(framed.bytes) if spoiled else commit()(world, False)


def used_again(world: World, spoiled: bool) -> Attempt:
    """A private proposal and a private commit; one key for both if spoiled."""
    first = world.rogue.encrypt(world.rogue.framed(twins.PROPOSAL, remove(5)))
    touch = {"plain": change("sender_data.generation", 0)} if spoiled else {}
    return Sent(world.rogue.commit(private=True, touch=touch).bytes, before=[first.bytes])


def path_again(world: World, spoiled: bool) -> Attempt:
    """Two commits; the path of the second is the first's if spoiled, under a new leaf key."""
    first = world.rogue.commit()
    world.advanced(first)
    names = ("path_secrets", "path_keys", "commit_secret")
    same = both(*(change(name, getattr(first, name)) for name in names))
    return Sent(world.rogue.commit(touch={"nodes": same} if spoiled else {}).bytes)


def of_another_epoch(world: World, spoiled: bool) -> Attempt:
    """A proposal by reference that was made an epoch ago."""
    old = world.accomplice.propose(remove(5))
    if spoiled:
        world.advanced(world.rogue.commit())
        return Sent(world.rogue.commit(received=[old]).bytes)
    return Sent(world.rogue.commit(received=[old]).bytes, before=[old.bytes])


def outsider_refers(world: World, spoiled: bool) -> Attempt:
    framed = world.accomplice.propose(psk())
    received = [framed] if spoiled else []
    return Sent(world.outsider().commit(external=True, received=received, psks=NAMED).bytes, before=[framed.bytes])


def signed_by(person: Person) -> Any:
    def touch(draft: Any) -> None:
        draft.message.signature = replace(draft.member, person=person).sign(draft.message.content)

    return touch


def signed_in_secret(person: Person) -> Touch:
    def touch(draft: Encrypted) -> None:
        author = replace(draft.author, person=person)
        draft.signature = author.sign(draft.content, twins.PRIVATE_MESSAGE)

    return touch


def signed_as_private(draft: Draft) -> None:
    draft.message.signature = draft.member.sign(draft.content, twins.PRIVATE_MESSAGE)


def signed_elsewhere(draft: Draft) -> None:
    context = replace(draft.member.context, epoch=draft.member.context.epoch - 1)
    draft.message.signature = replace(draft.member, context=context).sign(draft.content)


def leaf_signed_for(group_id: bytes | None = None, index: int | None = None) -> Any:
    def touch(draft: Draft) -> None:
        place = draft.index if index is None else index
        draft.member.person.sign_leaf(draft.leaf, group_id or draft.context.group_id, place)

    return touch


def broken_chain(draft: Draft) -> None:
    """The root's secret does not follow from the one below it; its public key is the told secret's."""
    draft.path_secrets[-1] = bytes(32)
    draft.path_keys[-1] = draft.key_of(bytes(32))
    draft.commit_secret = draft.suite.derive_secret(bytes(32), "path")


def key_of_zero(draft: Any) -> None:
    draft.leaf.encryption_key = draft.member.tree.leaf(0).encryption_key


def own_key_again(draft: Any) -> None:
    draft.leaf.encryption_key = draft.member.tree.leaf(draft.member.index).encryption_key


def source(number: int) -> Any:
    bodies = {twins.FROM_KEY_PACKAGE: Lifetime(), twins.FROM_UPDATE: None, twins.FROM_COMMIT: bytes(32)}
    return both(change("leaf.source", number), change("leaf.body", bodies[number]))


def twice(listed: list[Extension]) -> list[Extension]:
    return [*listed, Extension(KNOWN, b"one"), Extension(KNOWN, b"two")]


def credential(number: int) -> Any:
    other = Credential(number, [b"a certificate"] if number == 2 else b"anything")
    return both(change("leaf.credential", other), change("leaf.capabilities.credentials", [1, number]))


def parent(node: int, **fields: Any) -> Any:
    """A touch of a parent node in the tree that a newcomer is told."""

    def touch(draft: Draft) -> None:
        for name, new in fields.items():
            change(name, new)(draft.tree.parent_node(node))

    return touch


def foreign_parent(draft: Draft) -> None:
    """A node above leaves 4 and 5, with a key that only the rogue has."""
    draft.tree.nodes[9] = ParentNode(fresh_key())


def leaf_in_tree(index: int, **fields: Any) -> Any:
    def touch(draft: Draft) -> None:
        for name, new in fields.items():
            change(name, new)(draft.tree.leaf(index))

    return touch


def duplicate_in_tree(draft: Draft) -> None:
    """The accomplice's leaf with the rogue's signature key, rightly signed."""
    leaf = draft.tree.leaf(3)
    leaf.signature_key = ROGUE.public
    ROGUE.sign_leaf(leaf)


def own_leaf_elsewhere(draft: Draft) -> None:
    """Somebody else sits where the newcomer was put."""
    draft.tree.nodes[2 * BLANK] = Person(b"another").key_package().leaf


def trailing_blank(draft: Draft) -> bytes:
    nodes = twins.decode_tree(draft.tree.encode())
    return twins.RATCHET_TREE_NODES.write([*nodes, None])


def other_tree(draft: Draft) -> bytes:
    return draft.member.tree.encode()


def ignorant() -> Client:
    return Client(b"ignorant", SigningKey.generate())


def update_instead(draft: Framed) -> None:
    draft.message.content.body = update()(strict())


def key_of_a_leaf(draft: Draft) -> None:
    """The path's lowest key, whose secret only the accomplice is sent."""
    draft.path_keys[0] = draft.tree.leaf(0).encryption_key


def once_more(draft: Draft) -> None:
    """The last ciphertext for the root's secret again: in the place of a new leaf, if there is one."""
    draft.path.nodes[-1].encrypted_path_secret.append(draft.path.nodes[-1].encrypted_path_secret[-1])


def pathless(world: World, spoiled: bool) -> Attempt:
    return Sent(world.outsider().commit(external=True, path=not spoiled).bytes)


def one_key(draft: Announced) -> None:
    draft.package.init_key = draft.leaf.encryption_key


def senders(credential_type: int) -> tuple[int, bytes]:
    """external_senders with one sender."""
    sender = twins.ExternalSender(ROGUE.public, Credential(credential_type, b"a sender"))
    return twins.EXTERNAL_SENDERS, twins.OPAQUE.write(sender.encode())


def named(key: bytes) -> tuple[int, bytes]:
    """external_senders with one sender of this key."""
    sender = twins.ExternalSender(key, Credential(twins.BASIC, b"a sender"))
    return twins.EXTERNAL_SENDERS, twins.OPAQUE.write(sender.encode())


def lasting(seconds: int) -> Touch:
    return change("leaf.body", Lifetime(0, seconds))


NO_POINT = (2).to_bytes(32, "little")
"""No point of edwards25519 has this y (RFC 8032 section 5.1.3): the x² that it asks for is no square."""
REQUIRES = required(extensions=[KNOWN])
KEY = Person(b"").key
TWINS = (Person(b"one twin", KEY), Person(b"the other", KEY))
NOT_COMPARED = "the engine does not compare them with the group's; it uses the group's all the same"
OWN_CIPHERTEXT = "the engine counts no ciphertexts: a receiver looks at its own, and refuses if it is not there"
NO_KNOWN = change("leaf.capabilities.extensions", [])
NEW_MEMBER = Sender(twins.NEW_MEMBER_PROPOSAL)
OUTSIDE = Sender(twins.EXTERNAL, 0)
TWO_PSKS = (psk(b"named"), psk(b"second"))
TWO_VALUES = {b"named": b"value", b"second": b"another"}

NO_PLACES = (
    "the standard says where an extension stands and not that who finds it elsewhere refuses; ours refuse to make it"
)
REQUIRES_NOTHING = Extension(twins.REQUIRED_CAPABILITIES, twins.RequiredCapabilities().encode())
NAMES_NOBODY = Extension(twins.EXTERNAL_SENDERS, twins.OPAQUE.write(b""))
NAME = Extension(twins.APPLICATION_ID, twins.OPAQUE.write(b"name"))
NOT_LISTED = (
    "the engine wants the type in the leaf's capabilities (section 7.3), where section 7.2 forbids to list it; it "
    "refuses a leaf that does list it too"
)

# fmt: off
ATTACKS = (
    # -- 2 Presentation language ----------------------------------------------------------------------------
    Attack("2.1.1", "an optional's first byte is 0 or 1", "the path's is 2", "unknown_value",
           commit(add(), path=False, touch={"content": change("commit.path", Raw(b"\2"))}), told="2.1"),
    Attack("2.1.2", "a length takes as few bytes as it can", "that of the proposals takes two", "length_not_minimal",
           commit(remove(5), touch={"content": change("commit.proposals", longer)}, victims=(0, 1, 4, 7))),
    Attack("2.1.2", "a length does not start with bits 11", "that of the authenticated data does", "length_reserved",
           commit(touch={"content": change("content.authenticated_data", Raw(b"\xc0\0\0\0\0\0\0\0"))})),
    # -- 5 Cryptographic objects ----------------------------------------------------------------------------
    Attack("5.3.1", "a new credential is validated", "an Add's is of an unknown type", "bad_credential",
           commit(add(leaf=credential(99)), lawful=[add()], path=False)),
    Attack("5.3.1", "a new credential is validated", "an Add's is a chain of X.509 certificates that are none",
           "bad_credential",
           commit(add(leaf=credential(2)), lawful=[add()], path=False)),
    Attack("5.3.1", "a new credential is validated", "a path's leaf has one of an unknown type", "bad_credential",
           commit(touch={"leaf": credential(99)})),
    Attack("5.3.1", "a replaced credential has a valid successor", "a path's leaf takes another name", "bad_successor",
           commit(touch={"leaf": change("leaf.credential.body", b"five")})),
    Attack("5.3.1", "a replaced credential has a valid successor", "an Update takes another name", "bad_successor",
           referred(update(leaf=change("leaf.credential.body", b"five")), lawful=[update()])),
    Attack("5.3.1", "the credentials of external senders are validated", "one is of an unknown type", "bad_credential",
           commit(extensions(senders(99)), lawful=[extensions(senders(twins.BASIC))])),
    # -- 6 Message framing ----------------------------------------------------------------------------------
    Attack("6", "the version is mls10", "2", "unsupported_version",
           wrapped(commit(), b"\0\2")),
    Attack("6", "application data is encrypted", "it comes as a PublicMessage", "bad_private_message",
           application),
    Attack("6", "a message is for the group it names", "another group's id", "wrong_group",
           commit(touch={"content": change("content.group_id", b"another")})),
    Attack("6.1", "the signature is verified", "a bit of it is turned", "bad_signature",
           commit(touch={"signed": change("message.signature", flip)})),
    Attack("6.1", "the sender signs with its leaf's key", "another member's key signs", "bad_signature",
           commit(touch={"signed": signed_by(ACCOMPLICE)})),
    Attack("6.1", "the signature covers the wire format", "it is made for a PrivateMessage", "bad_signature",
           commit(touch={"signed": signed_as_private})),
    Attack("6.1", "the signature covers the GroupContext", "it is made over the epoch before", "bad_signature",
           commit(touch={"signed": signed_elsewhere})),
    Attack("6.1", "a member's signature is verified with the key at its leaf", "the message names another's leaf",
           "bad_signature",
           proposed(remove(5), {"content": change("message.content.sender.index", 0)})),
    Attack("6.1", "the sender is a member", "the sender's leaf is blank", "unknown_leaf",
           proposed(remove(5), {"content": change("message.content.sender.index", BLANK)})),
    Attack("6.1", "the sender is a member", "the sender's leaf lies beyond the tree", "unknown_leaf",
           proposed(remove(5), {"content": change("message.content.sender.index", 99)})),
    Attack("6.1", "an external sender sends proposals only", "it commits", "bad_sender",
           commit(touch={"content": change("content.sender", OUTSIDE)}), strict),
    Attack("6.1", "new_member_commit sends commits only", "it proposes", "bad_sender",
           proposed(remove(5), {"content": change("message.content.sender", Sender(twins.NEW_MEMBER_COMMIT))})),
    Attack("6.1", "new_member_proposal sends proposals only", "it commits", "bad_sender",
           commit(touch={"content": change("content.sender", NEW_MEMBER)})),
    Attack("6.1", "new_member_proposal proposes an Add", "it proposes a Remove", "bad_sender",
           proposed(remove(5), {"content": change("message.content.sender", NEW_MEMBER)})),
    Attack("6.1", "the confirmation tag is verified", "a bit of it is turned", "bad_confirmation_tag",
           commit(touch={"confirmed": change("message.confirmation_tag", flip)})),
    Attack("6.2", "the membership tag is verified", "a bit of it is turned", "bad_membership_tag",
           commit(touch={"framed": change("message.membership_tag", flip)})),
    Attack("6.2", "the membership tag is verified", "it is empty", "bad_membership_tag",
           commit(touch={"framed": change("message.membership_tag", b"")})),
    Attack("6.2", "the membership tag of a proposal is verified", "a bit of it is turned", "bad_membership_tag",
           proposed(remove(5), {"framed": change("message.membership_tag", flip)})),
    Attack("6.3.1", "padding is zero bytes", "one is not", "malformed",
           secretly(remove(5), {"plain": change("padding", b"\0\1")})),
    Attack("6.3.1", "the content's signature is verified", "a bit of it is turned", "bad_signature",
           secretly(remove(5), {"signed": change("signature", flip)})),
    Attack("6.3.1", "the header is authenticated", "the authenticated data in it is another", "crypto_refused",
           secretly(remove(5), {"encrypted": change("message.authenticated_data", b"other")})),
    Attack("6.3.2", "the sender's leaf is not blank", "it is", "unknown_leaf",
           secretly(remove(5), {"plain": change("sender_data.leaf_index", BLANK)})),
    Attack("6.3.2", "the sender's leaf is not blank", "it lies beyond the tree", "bad_private_message",
           secretly(remove(5), {"plain": change("sender_data.leaf_index", 99)})),
    Attack("6.3.1", "an application message's padding is zero bytes", "one is not", "malformed",
           spoken({"plain": change("padding", b"\0\1")})),
    Attack("6.3.1", "an application message's signature is verified", "another key signs", "bad_signature",
           spoken({"signed": signed_in_secret(ACCOMPLICE)})),
    # -- 7 Ratchet tree -------------------------------------------------------------------------------------
    Attack("7.1", "unmerged leaves are sorted", "the root's are not", "bad_tree",
           welcomed({"tree": parent(7, unmerged_leaves=lambda old: old[::-1])}, path=False), told="7.9.2"),
    Attack("7.2", "capabilities list no default extension type", "a path's leaf lists external_pub",
           "bad_capabilities",
           commit(touch={"leaf": change("leaf.capabilities.extensions", [KNOWN, 4])})),
    Attack("7.2", "capabilities list no default proposal type", "a path's leaf lists remove", "bad_capabilities",
           commit(touch={"leaf": change("leaf.capabilities.proposals", [3])})),
    Attack("7.2", "a leaf's extensions are in its capabilities", "a path's leaf has another", "bad_capabilities",
           commit(touch={"leaf": change("leaf.extensions", [Extension(UNKNOWN, b"")])})),
    Attack("7.2", "a leaf's credential type is in its capabilities", "a path's leaf lists another", "bad_credential",
           commit(touch={"leaf": change("leaf.capabilities.credentials", [99])}), told="7.3"),
    Attack("7.2", "capabilities list the version in use", "a path's leaf lists another", "bad_capabilities",
           commit(touch={"leaf": change("leaf.capabilities.versions", [2])}), taken=NOT_COMPARED),
    Attack("7.2", "capabilities list the cipher suite in use", "a path's leaf lists another", "bad_capabilities",
           commit(touch={"leaf": change("leaf.capabilities.cipher_suites", [2])}), taken=NOT_COMPARED),
    Attack("7.2", "a leaf's signature covers its content", "a bit of it is turned", "bad_signature",
           commit(touch={"signed leaf": change("leaf.signature", flip)})),
    Attack("7.2", "a leaf's signature covers the group", "it is made for another", "bad_signature",
           commit(touch={"signed leaf": leaf_signed_for(group_id=b"another")})),
    Attack("7.2", "a leaf's signature covers its place", "it is made for another", "bad_signature",
           commit(touch={"signed leaf": leaf_signed_for(index=0)})),
    Attack("7.2", "a leaf's encryption key is a key of the suite", "a path's leaf has one of 31 bytes", "bad_key",
           commit(touch={"leaf": change("leaf.encryption_key", bytes(31))})),
    Attack("7.2", "a leaf's encryption key is a key of the suite", "a path's leaf has one of small order", "bad_key",
           commit(touch={"leaf": change("leaf.encryption_key", bytes(32))})),
    Attack("7.2", "a leaf's encryption key is a key of the suite", "a proposed Update's is of small order", "bad_key",
           proposed(update(leaf=change("leaf.encryption_key", bytes(32))), {}, lawful=update(), by="accomplice")),
    Attack("7.2", "a LeafNode whose lifetime is too long is refused", "it lasts for ever", "bad_lifetime",
           commit(add(leaf=lasting(2**64 - 1)), lawful=[add(leaf=lasting(10))], path=False),
           taken="the engine has no such limit; in a call the signed membership has one"),
    Attack("7.3", "a leaf supports what the group requires", "a path's leaf does not", "bad_capabilities",
           commit(touch={"leaf": NO_KNOWN}), strict),
    Attack("7.3", "a leaf supports what the group requires", "an Add's does not", "bad_capabilities",
           commit(add(leaf=NO_KNOWN), lawful=[add()], path=False), strict),
    Attack("7.3", "a leaf supports what the group requires", "an Update's does not", "bad_capabilities",
           referred(update(leaf=NO_KNOWN), lawful=[update()]), strict),
    Attack("7.3", "who adds a KeyPackage verifies its lifetime", "it has expired", "bad_lifetime",
           offered({"leaf": change("leaf.body", Lifetime(0, 1_000))}, now=2_000)),
    Attack("7.3", "who adds a KeyPackage verifies its lifetime", "it is not valid yet", "bad_lifetime",
           offered({"leaf": change("leaf.body", Lifetime(3_000, 4_000))}, now=2_000)),
    Attack("7.3", "a path's leaf is of source commit", "update", "bad_key_package",
           commit(touch={"leaf": source(twins.FROM_UPDATE)})),
    Attack("7.3", "a path's leaf is of source commit", "key_package", "bad_key_package",
           commit(touch={"leaf": source(twins.FROM_KEY_PACKAGE)})),
    Attack("7.3", "an Update's leaf is of source update", "commit", "bad_key_package",
           referred(update(leaf=source(twins.FROM_COMMIT)), lawful=[update()])),
    Attack("7.3", "an Update's leaf is of source update", "key_package", "bad_key_package",
           referred(update(leaf=source(twins.FROM_KEY_PACKAGE)), lawful=[update()])),
    Attack("7.3", "an Update brings a new encryption key", "the old one", "repeated_key",
           referred(update(leaf=own_key_again), lawful=[update()])),
    Attack("7.3", "an Update's leaf is signed", "a bit of the signature is turned", "bad_signature",
           referred(update(signed_leaf=change("leaf.signature", flip)), lawful=[update()])),
    Attack("7.3", "signature keys are unique", "an Add brings the rogue's own again", "duplicate_leaf",
           commit(add(Person(b"double", ROGUE.key)), lawful=[add()], path=False)),
    Attack("7.3", "encryption keys are unique", "a path's leaf has another member's", "duplicate_leaf",
           commit(touch={"leaf": key_of_zero})),
    Attack("7.3", "encryption keys are unique", "an Update has another member's", "duplicate_leaf",
           referred(update(leaf=key_of_zero), lawful=[update()])),
    Attack("7.5", "derived keys are those of the path", "the path has another key", "bad_path",
           commit(touch={"nodes": change("path_keys.1", fresh_key())}, victims=(0, 1))),
    Attack("7.5", "each path secret follows from the one below", "the root's does not", "bad_path",
           commit(touch={"nodes": broken_chain}, victims=(0, 1))),
    Attack("7.5", "a path secret opens", "one receiver's is of another secret", "bad_path",
           commit(touch={"path": lambda it: resealed(it, 1, lambda _: bytes(32))}, victims=(0, 1))),
    Attack("7.6", "there is one ciphertext for each receiver", "the receiver's is missing", "bad_path",
           commit(touch={"path": lambda it: it.path.nodes[2].encrypted_path_secret.pop()}, victims=(4,))),
    Attack("7.6", "there is one ciphertext for each receiver", "another receiver's is missing", "bad_path",
           commit(touch={"path": lambda it: it.path.nodes[2].encrypted_path_secret.pop()}, victims=(0, 1, 5, 7)),
           taken=OWN_CIPHERTEXT),
    Attack("7.6", "there is one ciphertext for each receiver", "one is there twice", "bad_path",
           commit(touch={"path": once_more}), taken=OWN_CIPHERTEXT),
    Attack("7.6", "nothing is encrypted to new leaves", "the new leaf has a ciphertext", "bad_path",
           commit(add(), touch={"path": once_more}), taken=OWN_CIPHERTEXT),
    Attack("7.6", "ciphertexts are bound to the provisional GroupContext", "they are bound to the old one",
           "crypto_refused",
           commit(touch={"sealing": lambda it: change("sealing", it.member.context.encode())(it)})),
    Attack("7.6", "a path has a node for each of the filtered direct path", "the root's is missing", "bad_tree",
           commit(touch={"path": lambda it: it.path.nodes.pop()}), told="7.9.2"),
    Attack("7.6", "a path has a node for each of the filtered direct path", "there is one more", "bad_path",
           commit(touch={"path": lambda it: it.path.nodes.append(twins.UpdatePathNode(fresh_key()))})),
    Attack("7.9.2", "the parent hash of a path's leaf is recomputed", "it is another", "bad_tree",
           commit(touch={"leaf": change("leaf.body", flip)})),
    Attack("7.9.2", "a newcomer finds each parent node parent-hash valid", "a parent has another key", "bad_tree",
           welcomed({"tree": parent(3, encryption_key=fresh_key())})),
    Attack("7.9.2", "a newcomer finds each parent node parent-hash valid", "a parent has another parent hash",
           "bad_tree",
           welcomed({"tree": parent(3, parent_hash=flip)})),
    Attack("7.9.2", "a newcomer finds each parent node parent-hash valid", "a parent is there that nobody set",
           "bad_tree",
           welcomed({"tree": foreign_parent})),
    Attack("7.1", "a parent's key is a key of the suite", "a path's lowest, which only the accomplice derives, is not",
           "bad_key", commit(touch={"nodes": change("path_keys.0", bytes(32))})),
    # -- 8 Key schedule -------------------------------------------------------------------------------------
    Attack("8.4", "a Welcome names the PSKs in the commit's order", "in another", "crypto_refused",
           welcomed({"secrets": lambda it: it.greeted[0].psks.reverse()}, *TWO_PSKS, psks=TWO_VALUES),
           told="12.4.3.1"),
    Attack("8.4", "a PSK's nonce has the length of the hash", "31 bytes", "bad_psk",
           commit(psk(nonce=bytes(31)), lawful=[psk()], psks=NAMED, path=False), told="12.1.4"),
    # -- 9 Secret tree --------------------------------------------------------------------------------------
    Attack("9.1", "no key encrypts two messages", "a commit is encrypted with a proposal's", "message_key_gone",
           used_again),
    Attack("9.1", "no key encrypts two messages", "a second application message is encrypted with the first's",
           "message_key_gone", spoken({"plain": change("sender_data.generation", 0)}, second=True)),
    # -- 10 Key packages ------------------------------------------------------------------------------------
    Attack("10", "the init key is a key of the suite", "31 bytes", "bad_key",
           offered({"package": change("package.init_key", bytes(31))})),
    Attack("10", "the init key is a key of the suite", "it is of small order", "bad_key",
           offered({"package": change("package.init_key", bytes(32))})),
    Attack("10", "the leaf's keys are keys of the suite", "an encryption key of 31 bytes", "bad_key",
           offered({"leaf": change("leaf.encryption_key", bytes(31))})),
    Attack("10", "the leaf's keys are keys of the suite", "an encryption key of small order", "bad_key",
           offered({"leaf": change("leaf.encryption_key", bytes(32))})),
    Attack("10", "the leaf's keys are keys of the suite", "an Add's encryption key of 31 bytes", "bad_key",
           commit(add(leaf=change("leaf.encryption_key", bytes(31))), lawful=[add()], path=False)),
    Attack("10", "the leaf's keys are keys of the suite", "an Add's encryption key of small order", "bad_key",
           commit(add(leaf=change("leaf.encryption_key", bytes(32))), lawful=[add()], path=False)),
    Attack("10", "the leaf's keys are keys of the suite", "a proposed Add's encryption key of small order", "bad_key",
           proposed(add(leaf=change("leaf.encryption_key", bytes(32))), {}, lawful=add())),
    Attack("10", "the leaf's keys are keys of the suite", "a signature key of 31 bytes", "bad_signature",
           offered({"leaf": change("leaf.signature_key", bytes(31))}), told="10.1"),
    Attack("10", "a KeyPackage's signature is valid", "a bit of it is turned", "bad_signature",
           offered({"signed package": change("package.signature", flip)}), told="10.1"),
    Attack("10", "its version is that of the MLSMessage", "2", "unsupported_version",
           offered({"package": change("package.version", 2)}), told="10.1"),
    Attack("10", "its leaf is of source key_package", "update", "bad_key_package",
           offered({"leaf": source(twins.FROM_UPDATE)}), told="7.3"),
    Attack("10", "its leaf is of source key_package", "commit", "bad_key_package",
           offered({"leaf": source(twins.FROM_COMMIT)}), told="7.3"),
    Attack("10", "its extensions are in its capabilities", "a leaf's is not", "bad_capabilities",
           offered({"leaf": change("leaf.extensions", [Extension(UNKNOWN, b"")])}), told="7.3"),
    Attack("10.1", "its suite is the group's", "an Add's is another", "wrong_suite",
           commit(add(package=change("package.cipher_suite", 2)), lawful=[add()], path=False)),
    Attack("10.1", "its version is the group's", "an Add's is 2", "unsupported_version",
           commit(add(package=change("package.version", 2)), lawful=[add()], path=False)),
    Attack("10.1", "an Add's KeyPackage is signed", "a bit of the signature is turned", "bad_signature",
           commit(add(signed_package=change("package.signature", flip)), lawful=[add()], path=False)),
    Attack("10.1", "an Add's leaf is valid", "a bit of its signature is turned", "bad_signature",
           commit(add(signed_leaf=change("leaf.signature", flip)), lawful=[add()], path=False)),
    Attack("10.1", "an Add's leaf is of source key_package", "commit", "bad_key_package",
           commit(add(leaf=source(twins.FROM_COMMIT)), lawful=[add()], path=False), told="7.3"),
    Attack("10.1", "the init key is not the leaf's key", "it is", "bad_key_package",
           commit(add(package=one_key), lawful=[add()], path=False)),
    # -- 11 Group creation ----------------------------------------------------------------------------------
    Attack("11.1", "all members support what a new extension requires", "nobody does", "bad_capabilities",
           commit(extensions(required(extensions=[UNKNOWN])), lawful=[extensions(REQUIRES)])),
    Attack("11.2", "a reinit PSK serves a reinitialisation", "a commit uses one", "bad_psk",
           commit(resumption(twins.USED_BY_REINIT), lawful=[psk()], psks=NAMED, path=False), told="12.1.4"),
    Attack("11.3", "a branch PSK serves a branch", "a commit uses one", "bad_psk",
           commit(resumption(twins.USED_BY_BRANCH), lawful=[psk()], psks=NAMED, path=False), told="12.1.4"),
    # -- 12 Group evolution ---------------------------------------------------------------------------------
    Attack("12.1", "a proposal is of the current epoch", "of the next", "wrong_epoch",
           proposed(remove(5), {"content": change("message.content.epoch", 9)})),
    Attack("12.1", "a proposal's signature is verified", "a bit of it is turned", "bad_signature",
           proposed(remove(5), {"signed": change("message.signature", flip)})),
    Attack("12.1.3", "a Remove names a member", "a blank leaf", "unknown_leaf",
           commit(remove(BLANK), lawful=[])),
    Attack("12.1.3", "a Remove names a member", "a leaf beyond the tree", "unknown_leaf",
           commit(remove(99), lawful=[])),
    Attack("12.1.5", "a ReInit does not lower the version", "to 0", "bad_proposal",
           commit(reinit(version=0), lawful=[])),
    Attack("12.1.6", "ExternalInit is for external commits", "a member's commit has it", "bad_sender",
           commit(EXTERNAL_INIT, lawful=[]), told="12.2"),
    Attack("12.1.6", "ExternalInit is for external commits", "a member proposes it", "bad_sender",
           proposed(remove(5), {"content": change("message.content.body", EXTERNAL_INIT)})),
    Attack("12.1.7", "all support what GroupContextExtensions requires, the added too", "an added member does not",
           "bad_capabilities",
           commit(extensions(REQUIRES), add(leaf=NO_KNOWN), lawful=[extensions(REQUIRES), add()])),
    Attack("12.1.8", "the group names who may propose from outside", "it names nobody", "bad_sender",
           proposed(remove(5), {"content": change("message.content.sender", OUTSIDE)})),
    Attack("12.1.8", "the group names who may propose from outside", "it names no second", "bad_sender",
           proposed(remove(5), {"content": change("message.content.sender.index", 1)}, sender=OUTSIDE),
           strict),
    Attack("12.1.8", "an external sender proposes no Update", "it does", "bad_sender",
           proposed(remove(5), {"content": update_instead}, sender=OUTSIDE), strict),
    Attack("12.1.8", "an external sender proposes no ExternalInit", "it does", "bad_sender",
           proposed(remove(5), {"content": change("message.content.body", EXTERNAL_INIT)}, sender=OUTSIDE), strict),
    Attack("12.1.8", "an external sender's Update is not committed", "it is", "bad_sender",
           referred(update(), lawful=[remove(5)], by="rogue", sender=OUTSIDE), strict),
    Attack("12.1.8", "an external sender's ExternalInit is not committed", "it is", "bad_sender",
           referred(EXTERNAL_INIT, lawful=[remove(5)], by="rogue", sender=OUTSIDE), strict),
    Attack("12.2", "no Update of the committer", "the rogue's own", "bad_proposal",
           referred(update(ROGUE), lawful=[remove(5)], by="rogue")),
    Attack("12.1.8.1", "an external sender's key is a key of the suite", "it has two bytes", "bad_key",
           commit(extensions(named(b"no")), lawful=[extensions(named(ROGUE.public))])),
    Attack("12.1.8.1", "an external sender's key is a key of the suite", "it has two bytes (join)", "bad_key",
           welcomed({}, extensions(named(b"no")), lawful=[extensions(named(ROGUE.public))])),
    Attack("12.1.8.1", "an external sender's key is a key of the suite", "it has two bytes (external)", "bad_key",
           shown({"info": change("info.group_context.extensions", [Extension(*named(b"no"))])})),
    Attack("12.2", "no Update by value", "one", "bad_sender",
           commit(update(), lawful=[])),
    Attack("12.2", "no Remove of the committer", "one", "bad_proposal",
           commit(remove(2), lawful=[remove(5)], victims=(0, 1, 4, 7))),
    Attack("12.2", "one Update or Remove for a leaf", "two Removes", "unknown_leaf",
           commit(remove(5), remove(5), lawful=[remove(5)])),
    Attack("12.2", "one Update or Remove for a leaf", "an Update and a Remove", "unknown_leaf",
           referred(update(), remove(3), lawful=[update()])),
    Attack("12.2", "one Add for a client", "two with one signature key", "duplicate_leaf",
           commit(add(TWINS[0]), add(TWINS[1]), lawful=[add(TWINS[0])], path=False),
           told="7.3"),
    Attack("12.2", "one Add for a client", "two under one identity", "duplicate_leaf",
           commit(add(), add(), lawful=[add()], path=False), told="7.3"),
    Attack("12.2", "no Add of a member", "one of the same identity", "duplicate_leaf",
           commit(add("five"), lawful=[add()], path=False), told="7.3"),
    Attack("12.2", "one PreSharedKey for a PSK", "two", "bad_psk",
           commit(psk(), psk(), lawful=[psk()], psks=NAMED, path=False)),
    Attack("12.2", "one GroupContextExtensions", "two", "bad_proposal",
           commit(extensions(), extensions(), lawful=[extensions()])),
    Attack("12.2", "a ReInit stands alone", "a PSK stands beside it", "bad_proposal",
           commit(reinit(), psk(), lawful=[psk()], psks=NAMED, path=False)),
    Attack("12.3", "new extensions count for the other proposals", "an Add does not support a new one",
           "bad_capabilities",
           commit(extensions((KNOWN, b"new")), add(leaf=NO_KNOWN), lawful=[extensions((KNOWN, b"new")), add()]),
           told="13.4"),
    Attack("12.4", "an empty commit has a path", "none", "missing_path",
           commit(path=False, lawful=[add()])),
    Attack("12.4", "a commit with a Remove has a path", "none", "missing_path",
           commit(remove(5), path=False, lawful=[add()], victims=(0, 1, 4, 7))),
    Attack("12.4", "a commit with GroupContextExtensions has a path", "none", "missing_path",
           commit(extensions(), path=False, lawful=[add()])),
    Attack("12.4", "a commit with an Update has a path", "none", "missing_path",
           referred(update(), path=False, lawful=[add()])),
    Attack("12.4", "a reference names a proposal that was sent", "nothing", "unknown_proposal",
           commit(ProposalOrRef(twins.BY_REFERENCE, bytes(32)), lawful=[])),
    Attack("12.4", "a reference names a proposal of the epoch", "of the epoch before", "unknown_proposal",
           of_another_epoch),
    Attack("12.4.2", "a commit is of the current epoch", "of the next", "wrong_epoch",
           commit(touch={"content": change("content.epoch", 9)})),
    Attack("12.4.2", "a commit is of the current epoch", "of the last", "wrong_epoch",
           commit(touch={"content": change("content.epoch", 7)})),
    Attack("12.4.2", "a path's leaf brings a new encryption key", "the old one", "bad_path",
           commit(touch={"leaf": own_key_again})),
    Attack("12.4.2", "a path's keys are new to the tree", "those of the author's last path", "repeated_key",
           path_again),
    Attack("12.4.2", "a path's keys are new to the tree", "one is a leaf's, which only the accomplice derives",
           "repeated_key",
           commit(touch={"nodes": key_of_a_leaf})),
    Attack("12.4.2", "all PSKs are at hand", "one is not", "missing_psk",
           commit(psk(b"unheard of"), lawful=[psk()], psks=NAMED, path=False), asks=True),
    Attack("12.4.3", "a GroupInfo's signature is verified", "a bit of it is turned", "bad_signature",
           welcomed({"signed info": change("info.signature", flip)})),
    Attack("12.4.3", "a GroupInfo is signed by the leaf it names", "it names another's", "bad_signature",
           welcomed({"info": change("info.signer", 0)})),
    Attack("12.4.3", "a GroupInfo is signed by the leaf it names", "it names a blank leaf", "bad_tree",
           welcomed({"info": change("info.signer", BLANK)}, remove(1))),
    Attack("12.4.3", "a GroupInfo is signed by the leaf it names", "it names a leaf beyond the tree", "bad_tree",
           welcomed({"info": change("info.signer", 99)})),
    Attack("12.4.3", "a GroupInfo's signature is verified (external)", "a bit of it is turned", "bad_signature",
           shown({"signed info": change("info.signature", flip)})),
    Attack("12.4.3.1", "a Welcome names a KeyPackage of ours", "another", "no_key_package",
           welcomed({"welcome": change("welcome.secrets.0.new_member", flip)})),
    Attack("12.4.3.1", "a Welcome's suite is the KeyPackage's", "2", "crypto_refused",
           welcomed({"welcome": change("welcome.cipher_suite", 2)})),
    Attack("12.4.3.1", "the GroupInfo's suite is the KeyPackage's", "2", "bad_signature",
           welcomed({"info": change("info.group_context", lambda old: replace(old, cipher_suite=2))}), told="12.4.3"),
    Attack("12.4.3.1", "all PSKs are at hand", "one is not", "missing_psk",
           welcomed({}, psk(b"unheard of"), lawful=[]), asks=True),
    Attack("12.4.3.1", "the confirmation tag is verified", "a bit of it is turned", "bad_confirmation_tag",
           welcomed({"info": change("info.confirmation_tag", flip)})),
    Attack("12.4.3.1", "the tree has the tree hash", "it is the last epoch's", "bad_tree",
           welcomed(tree=other_tree), told="12.4.3.3"),
    Attack("12.4.3.1", "each leaf of the tree is valid", "one's signature has a bit turned", "bad_signature",
           welcomed({"nodes": leaf_in_tree(3, signature=flip)}), told="7.3"),
    Attack("12.4.3.1", "each leaf of the tree is valid", "two have one signature key", "duplicate_leaf",
           welcomed({"nodes": duplicate_in_tree}), told="7.3"),
    Attack("12.4.3.1", "unmerged leaves are not blank", "one is", "bad_tree",
           welcomed({"tree": parent(11, unmerged_leaves=lambda old: [*old, BLANK])}, remove(1)), told="7.9.2"),
    Attack("12.4.3.1", "unmerged leaves lie below their parent", "one does not", "bad_tree",
           welcomed({"nodes": parent(11, unmerged_leaves=lambda old: [0, *old])})),
    Attack("12.4.3.1", "the parents between list an unmerged leaf too", "one does not", "bad_tree",
           welcomed({"tree": parent(11, unmerged_leaves=lambda old: old[1:])}, path=False), told="7.9.2"),
    Attack("12.4.3.1", "a parent's key is in no other node", "it is a leaf's", "repeated_key",
           welcomed({"nodes": key_of_a_leaf})),
    Attack("12.4.3.1", "the KeyPackage's leaf is in the tree", "another is in its place", "no_key_package",
           welcomed({"nodes": own_leaf_elsewhere})),
    Attack("12.4.3.1", "path secrets give the tree's keys", "another secret", "bad_path",
           welcomed({"secrets": change("greeted.0.path_secret", bytes(32))})),
    Attack("12.4.3.2", "an external commit has a path", "none", "missing_path",
           pathless, told="12.4"),
    Attack("12.4.3.2", "an external commit has one ExternalInit", "none", "bad_external_commit",
           commit(by="outsider", touch={"proposals": lambda it: it.commit.proposals.pop(0)})),
    Attack("12.4.3.2", "an external commit has one ExternalInit", "two", "bad_external_commit",
           commit(EXTERNAL_INIT, lawful=[], by="outsider")),
    Attack("12.4.3.2", "an external commit adds nobody", "somebody", "bad_external_commit",
           commit(add(), lawful=[], by="outsider")),
    Attack("12.4.3.2", "an external commit changes no extensions", "it does", "bad_external_commit",
           commit(extensions(), lawful=[], by="outsider")),
    Attack("12.4.3.2", "an external commit removes one at most", "two", "bad_external_commit",
           commit(remove(5), remove(7), lawful=[], by="outsider", victims=(0, 1, 4))),
    Attack("12.4.3.2", "an external commit removes its author's old self", "somebody else", "bad_successor",
           commit(remove(5), lawful=[], by="outsider", victims=(0, 1, 4, 7))),
    Attack("12.4.3.2", "an external commit names nothing by reference", "a PSK", "bad_external_commit",
           outsider_refers),
    Attack("12.4.3.2", "the path's leaf signs an external commit", "another key", "bad_signature",
           commit(by="outsider", touch={"signed": signed_by(ROGUE)})),
    Attack("8.3", "the external init secret comes from the KEM output", "it is of 31 bytes", "crypto_refused",
           commit(by="outsider", touch={"proposals": change("commit.proposals.0.body.body", bytes(31))})),
    Attack("12.4.3.3", "a tree ends with a node that is not blank", "a blank one", "bad_tree",
           welcomed(tree=trailing_blank)),
    Attack("12.4.3.3", "the tree has the tree hash (external)", "it is the last epoch's", "bad_tree",
           shown({}, tree=other_tree)),
    # -- 13 Extensibility -----------------------------------------------------------------------------------
    Attack("13.2", "everybody supports a proposal's type", "nobody", "bad_proposal",
           commit(CUSTOM, lawful=[])),
    Attack("13.4", "no list has two extensions of a type", "a leaf's has", "repeated_extension",
           commit(touch={"leaf": change("leaf.extensions", twice)})),
    Attack("13.4", "no list has two extensions of a type", "the GroupContext's has", "repeated_extension",
           commit(extensions((KNOWN, b"1"), (KNOWN, b"2")), lawful=[extensions((KNOWN, b"1"))])),
    Attack("13.4", "no list has two extensions of a type", "a KeyPackage's has", "repeated_extension",
           offered({"package": change("package.extensions", twice)})),
    Attack("13.4", "no list has two extensions of a type", "a GroupInfo's has", "repeated_extension",
           welcomed({"info": change("info.extensions", twice)})),
    Attack("13.4", "a new member supports the group's extensions", "an Add's does not", "bad_capabilities",
           commit(add(leaf=NO_KNOWN), lawful=[add()], path=False), strict, told="7.3"),
    Attack("13.4", "members support the group's extensions", "a new one that nobody does", "bad_capabilities",
           commit(extensions((UNKNOWN, b"")), lawful=[extensions((KNOWN, b""))])),
    Attack("13.4", "a newcomer supports the group's extensions", "it does not", "bad_capabilities",
           welcomed(None, extensions((KNOWN, b"new")), joiner=ignorant)),
    # -- 15 Application messages ----------------------------------------------------------------------------
    Attack("15.3", "a generation is not too far ahead", "it is the last one there is", "too_far_ahead",
           spoken({"plain": both(change("sender_data.generation", 2**32 - 1), change("key_of", 0))})),
    # -- 17 IANA considerations -----------------------------------------------------------------------------
    Attack("17.3", "required_capabilities stand in a GroupContext", "a path's leaf has them", "bad_capabilities",
           commit(touch={"leaf": change("leaf.extensions", [REQUIRES_NOTHING])}), told="7.3"),
    Attack("17.3", "external_senders stand in a GroupContext", "an Add's leaf has them", "bad_capabilities",
           commit(add(leaf=change("leaf.extensions", [NAMES_NOBODY])), lawful=[add()], path=False), told="7.3"),
    Attack("17.3", "required_capabilities stand in a GroupContext", "a KeyPackage has them", "misplaced_extension",
           offered({"package": change("package.extensions", [REQUIRES_NOTHING])}), taken=NO_PLACES),
    Attack("17.3", "ratchet_tree stands in a GroupInfo", "a new GroupContext has it", "misplaced_extension",
           commit(extensions((twins.RATCHET_TREE, b"")), lawful=[extensions()]), taken=NO_PLACES),
    Attack("17.3", "external_pub stands in a GroupInfo", "a new GroupContext has it", "misplaced_extension",
           commit(extensions((twins.EXTERNAL_PUB, b"")), lawful=[extensions()]), taken=NO_PLACES),
    Attack("12.1.8.1", "an external sender's key is a key of the suite", "it is no point of the curve", "bad_key",
           commit(extensions(named(NO_POINT)), lawful=[extensions(named(ROGUE.public))]),
           taken="AWS-LC looks at an Ed25519 key's length alone until a signature is verified under it; none is that "
           "verifies, so that nobody proposes by it"),
)

LAWFUL = (
    Attack("5.3.3", "a leaf may have an application_id", "a path's leaf has one", "bad_capabilities",
           commit(touch={"leaf": change("leaf.extensions", [NAME])}), told="7.3", refused=NOT_LISTED),
    Attack("5.3.3", "a leaf may have an application_id", "an Add's leaf has one", "bad_capabilities",
           commit(add(leaf=change("leaf.extensions", [NAME])), lawful=[add()], path=False), told="7.3",
           refused=NOT_LISTED),
    Attack("5.3.3", "a leaf may have an application_id", "a KeyPackage's leaf has one", "bad_capabilities",
           offered({"leaf": change("leaf.extensions", [NAME])}), told="7.3", refused=NOT_LISTED),
    Attack("5.3.3", "a leaf may have an application_id", "a member's has one where somebody joins", "bad_capabilities",
           welcomed({"leaf": change("leaf.extensions", [NAME])}), told="7.3", refused=NOT_LISTED),
)
# fmt: on
