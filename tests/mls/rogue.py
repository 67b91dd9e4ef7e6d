"""A client that knows RFC 9420 well enough to break it in one place.

`Person` has a signing key, `Member` is a person in one epoch with that epoch's secrets, joined by a Welcome for
a KeyPackage whose private keys it made itself. `commit`, `propose` and `greet` make messages in stages. At each
stage a *touch* may change what was made so far; every later stage follows from the changed values: what comes out
is signed, tagged and hashed over what it is, and wrong in what was touched alone.
"""

import os
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any

import twins
from cipher_suites import SUITES, CipherSuite, Hpke
from presentation import OPAQUE, U16, Reader
from ratchet_tree import Tree
from schedule import (
    EXTERNAL_INIT_LABEL,
    Secrets,
    confirmed_transcript_hash,
    interim_transcript_hash,
    psk_secret,
)
from twins import (
    Capabilities,
    Commit,
    Credential,
    FramedContent,
    GroupContext,
    GroupInfo,
    GroupSecrets,
    KeyPackage,
    LeafNode,
    Lifetime,
    PreSharedKeyID,
    PrivateMessage,
    Proposal,
    ProposalOrRef,
    PublicMessage,
    Sender,
    SenderData,
    UpdatePath,
    UpdatePathNode,
    Welcome,
)

Touch = Callable[[Any], object]
"""Changes the draft it is given."""


def change(path: str, new: Any) -> Touch:
    """A touch that sets one value: `path` is ``leaf.capabilities.credentials``, numbers are places in a list.
    A callable `new` makes the new value of the old one."""

    def touch(draft: Any) -> None:
        *ways, last = path.split(".")
        holder = draft
        for way in ways:
            holder = holder[int(way)] if way.isdecimal() else getattr(holder, way)
        if last.isdecimal():
            holder[int(last)] = new(holder[int(last)]) if callable(new) else new
        else:
            setattr(holder, last, new(getattr(holder, last)) if callable(new) else new)

    return touch


def flip(value: bytes) -> bytes:
    """The value with its last bit turned."""
    return value[:-1] + bytes([value[-1] ^ 1])


def key_package_reference(suite: CipherSuite, package: KeyPackage) -> bytes:
    """KeyPackageRef (section 5.2)."""
    return suite.reference("MLS 1.0 KeyPackage Reference", package.encode())


def proposal_reference(suite: CipherSuite, wire_format: int, message: PublicMessage) -> bytes:
    """ProposalRef, over the AuthenticatedContent (section 5.2)."""
    content = message.content.encode() + message.auth
    return suite.reference("MLS 1.0 Proposal Reference", U16.write(wire_format) + content)


def node_key(suite: CipherSuite, path_secret: bytes) -> bytes:
    """The private key of the node that a path secret is for (section 7.4)."""
    return suite.kem.derive(suite.derive_secret(path_secret, "node"))


def apply(
    listed: Iterable[tuple[Any, Proposal]], tree: Tree, context: GroupContext
) -> tuple[list[PreSharedKeyID], list[tuple[int, KeyPackage]]]:
    """Does to a tree and a context what proposals say, each with its sender's leaf index, in the order of section
    12.3; one that makes no sense is passed over. Returns the pre-shared keys, and who was added at which leaf."""
    by_type: dict[int, list[tuple[Any, Any]]] = {}
    for sender, proposal in listed:
        by_type.setdefault(proposal.type, []).append((sender, proposal.body))
    for _, extensions in by_type.get(twins.GROUP_CONTEXT_EXTENSIONS, []):
        context.extensions = extensions
    for sender, leaf in by_type.get(twins.UPDATE, []):
        tree.nodes[2 * sender] = leaf
        tree.blank_path(sender)
    for _, index in by_type.get(twins.REMOVE, []):
        if index in tree.members():
            tree.remove(index)
    added = [(tree.add(package.leaf_node), package) for _, package in by_type.get(twins.ADD, [])]
    return [psk for _, psk in by_type.get(twins.PSK, [])], added


@dataclass(frozen=True)
class Person:
    """Who signs."""

    name: bytes
    key: bytes = field(default_factory=SUITES[1].signature.keys.generate)
    suite: CipherSuite = SUITES[1]

    @staticmethod
    def of(suite: CipherSuite, name: bytes) -> "Person":
        return Person(name, suite.signature.keys.generate(), suite)

    @property
    def public(self) -> bytes:
        return self.suite.signature.keys.public(self.key)

    def sign(self, label: str, content: bytes) -> bytes:
        return self.suite.sign_with_label(self.key, label, content)

    def leaf(self, encryption_key: bytes, **fields: Any) -> LeafNode:
        """A LeafNode for a KeyPackage, not signed."""
        capabilities = Capabilities(cipher_suites=[self.suite.number])
        made = LeafNode(encryption_key, self.public, Credential(twins.BASIC, self.name), capabilities, **fields)
        made.body = Lifetime()
        return made

    def sign_leaf(self, leaf: LeafNode, group_id: bytes = b"", index: int = 0) -> None:
        leaf.signature = self.sign("LeafNodeTBS", leaf.to_be_signed(group_id, index))

    def key_package(self, touch: Mapping[str, Touch] | None = None) -> "Announced":
        """Stages: leaf (not signed), signed leaf, package (not signed), signed package."""
        touch = touch or {}
        kem = self.suite.kem
        init_key, leaf_key = kem.generate(), kem.generate()
        package = KeyPackage(
            cipher_suite=self.suite.number,
            init_key=kem.public(init_key),
            leaf_node=self.leaf(kem.public(leaf_key)),
        )
        made = Announced(self, package, init_key, leaf_key)
        made.touched("leaf", touch)
        self.sign_leaf(made.leaf)
        made.touched("signed leaf", touch)
        made.touched("package", touch)
        made.package.signature = self.sign("KeyPackageTBS", made.package.unsigned)
        made.touched("signed package", touch)
        return made


class Touched:
    """What is made in stages."""

    def touched(self, stage: str, touch: Mapping[str, Touch]) -> None:
        if stage in touch:
            touch[stage](self)


@dataclass
class Announced(Touched):
    """A KeyPackage and its private keys."""

    person: Person
    package: KeyPackage
    init_key: bytes
    leaf_key: bytes

    @property
    def leaf(self) -> LeafNode:
        return self.package.leaf_node

    @property
    def add(self) -> Proposal:
        return Proposal(twins.ADD, self.package)

    @property
    def message(self) -> bytes:
        return twins.message(self.package)

    def given(self, welcome: bytes) -> GroupSecrets:
        """What a Welcome says to this one alone."""
        suite, found = self.person.suite, twins.MLSMessage.decode(welcome).body
        ours = key_package_reference(suite, self.package)
        sealed = next(one.encrypted_group_secrets for one in found.secrets if one.new_member == ours)
        return GroupSecrets.decode(
            suite.decrypt_with_label(self.init_key, "Welcome", found.encrypted_group_info, sealed)
        )

    def open(
        self, welcome: bytes, psks: Mapping[bytes, bytes] | None = None
    ) -> tuple[GroupSecrets, GroupInfo, Secrets]:
        """What a Welcome brings (section 12.4.3.1). Nothing is checked. `psks` are external, by their names."""
        suite, found = self.person.suite, twins.MLSMessage.decode(welcome).body
        given = self.given(welcome)
        psk = psk_secret(suite, [(one, (psks or {})[one.body]) for one in given.psks])
        half = Secrets(suite, given.joiner_secret, psk, b"")
        info = GroupInfo.decode(suite.aead.open(*half.welcome_key(), found.encrypted_group_info))
        return given, info, replace(half, context=info.group_context.encode())


@dataclass
class Member:
    """A person at one epoch. Outside the group there are no secrets and no leaf."""

    person: Person
    context: GroupContext
    tree: Tree
    interim_transcript_hash: bytes
    secrets: Secrets | None = None
    index: int = -1
    external_pub: bytes = b""
    generation: int = 0

    @property
    def suite(self) -> CipherSuite:
        return self.person.suite

    @staticmethod
    def join(announced: Announced, welcome: bytes, tree: bytes) -> "Member":
        """By a Welcome that is genuine: nothing is checked."""
        _, info, secrets = announced.open(welcome)
        return Member.joined(announced, info, secrets, tree)

    @staticmethod
    def joined(announced: Announced, info: GroupInfo, secrets: Secrets, tree: bytes) -> "Member":
        """At the leaf that was announced."""
        member = Member.outside(announced.person, info, tree)
        member.secrets = secrets
        mine = announced.leaf.encode()
        member.index = next(index for index in member.tree.members() if member.tree.leaf(index).encode() == mine)
        return member

    @staticmethod
    def outside(person: Person, info: GroupInfo, tree: bytes) -> "Member":
        """Somebody who has a GroupInfo."""
        confirmed = info.group_context.confirmed_transcript_hash
        interim = interim_transcript_hash(person.suite, confirmed, info.confirmation_tag)
        external_pub = [OPAQUE.read(Reader(one.data)) for one in info.extensions if one.type == twins.EXTERNAL_PUB]
        return Member(
            person,
            info.group_context,
            Tree.decode(person.suite, tree),
            interim,
            external_pub=external_pub[0] if external_pub else b"",
        )

    # -- framing (section 6) -----------------------------------------------------------------------------

    def framed(self, content_type: int, body: Any, sender: Sender | None = None) -> FramedContent:
        return FramedContent(
            group_id=self.context.group_id,
            epoch=self.context.epoch,
            sender=sender or Sender(twins.MEMBER, self.index),
            content_type=content_type,
            body=body,
        )

    def sign(self, content: FramedContent, wire_format: int = twins.PUBLIC_MESSAGE) -> bytes:
        return self.person.sign("FramedContentTBS", content.to_be_signed(wire_format, self.context.encode()))

    def membership_tag(self, message: PublicMessage) -> bytes | None:
        """Section 6.2."""
        if message.content.sender.type != twins.MEMBER or self.secrets is None:
            return None
        return self.secrets.membership_tag(message, self.context.encode())

    def publish(self, content: FramedContent, touch: Mapping[str, Touch] | None = None) -> "Framed":
        """A PublicMessage of any content but a commit. Stages: content, signed, framed."""
        touch = touch or {}
        made = Framed(self, PublicMessage(content))
        made.touched("content", touch)
        made.message.signature = self.sign(content)
        made.touched("signed", touch)
        made.message.membership_tag = self.membership_tag(made.message)
        made.touched("framed", touch)
        return made

    def propose(self, proposal: Proposal, touch: Mapping[str, Touch] | None = None, **fields: Any) -> "Framed":
        return self.publish(self.framed(twins.PROPOSAL, proposal, **fields), touch)

    def encrypt(
        self, content: FramedContent, touch: Mapping[str, Touch] | None = None, confirmation_tag: bytes | None = None
    ) -> "Encrypted":
        """A PrivateMessage (section 6.3). Stages: content, signed, plain, encrypted."""
        touch = touch or {}
        made = Encrypted(self, content)
        made.touched("content", touch)
        made.signature = self.sign(content, twins.PRIVATE_MESSAGE)
        made.confirmation_tag = confirmation_tag
        made.touched("signed", touch)
        made.sender_data = SenderData(self.index, self.generation)
        self.generation += 1
        made.touched("plain", touch)
        self._encrypt(made)
        made.touched("encrypted", touch)
        return made

    def _encrypt(self, made: "Encrypted") -> None:
        assert self.secrets is not None
        content, sender_data, aead = made.content, made.sender_data, self.suite.aead
        auth = PublicMessage(content, made.signature, made.confirmation_tag).auth
        plain = twins.CONTENTS[content.content_type].write(content.body) + auth + made.padding
        kind = "application" if content.content_type == twins.APPLICATION else "handshake"
        place = min(sender_data.leaf_index, self.tree.leaves - 1)
        key, nonce = self.secrets.ratchet_key(place, self.tree.leaves, kind, made.generation_used(sender_data))
        sent = PrivateMessage(content.group_id, content.epoch, content.content_type, content.authenticated_data)
        additional = sent.place + OPAQUE.write(content.authenticated_data)
        sent.ciphertext = aead.seal(key, sender_data.guarded(nonce), plain, additional)
        key, nonce = self.secrets.sender_data_key(sent.ciphertext)
        sent.encrypted_sender_data = aead.seal(key, nonce, sender_data.encode(), sent.place)
        made.message = sent

    # -- commits (section 12.4) --------------------------------------------------------------------------

    def commit(
        self,
        proposals: Iterable[Proposal | ProposalOrRef] = (),
        *,
        path: bool = True,
        external: bool = False,
        private: bool = False,
        greet: bool = True,
        received: Iterable["Framed"] = (),
        psks: Mapping[bytes, bytes] | None = None,
        touch: Mapping[str, Touch] | None = None,
    ) -> "Draft":
        """A commit of these, and its Welcome. `received` are proposals that the commit names by reference.

        Stages: proposals, nodes, leaf (not signed), signed leaf, sealing, path, tree, content (not signed),
        signed, confirmed, framed (of a private commit plain and encrypted instead); then those of the Welcome."""
        draft = Draft(self, touch or {}, psks or {}, private=private, external=external)
        listed = [one if isinstance(one, ProposalOrRef) else ProposalOrRef(twins.BY_VALUE, one) for one in proposals]
        known = {one.reference: one for one in received}
        draft.commit = Commit(listed + [ProposalOrRef(twins.BY_REFERENCE, one) for one in known])
        if external:
            draft.initialise()
        draft.stage("proposals")
        draft.apply(known)
        if path:
            draft.make_path()
        draft.frame()
        if greet:
            draft.greet()
        return draft


@dataclass
class Framed(Touched):
    """A PublicMessage that is no commit."""

    author: Member
    message: PublicMessage

    @property
    def reference(self) -> bytes:
        """ProposalRef."""
        return proposal_reference(self.author.suite, twins.PUBLIC_MESSAGE, self.message)

    @property
    def bytes(self) -> bytes:
        return twins.message(self.message)


@dataclass
class Encrypted(Touched):
    """A PrivateMessage."""

    author: Member
    content: FramedContent
    signature: bytes = b""
    confirmation_tag: bytes | None = None
    padding: bytes = b""
    sender_data: SenderData = field(default_factory=lambda: SenderData(0, 0))
    key_of: int | None = None  # the generation whose key is used, if not the one that is told
    message: PrivateMessage | None = None

    def generation_used(self, sender_data: SenderData) -> int:
        return sender_data.generation if self.key_of is None else self.key_of

    @property
    def bytes(self) -> bytes:
        assert self.message is not None
        return twins.message(self.message)


@dataclass
class Draft(Touched):
    """A commit in the making, all its parts at hand."""

    member: Member
    touch: Mapping[str, Touch]
    psk_values: Mapping[bytes, bytes]
    private: bool = False
    external: bool = False
    commit: Commit = field(default_factory=Commit)
    init_secret: bytes = b""
    psks: list[PreSharedKeyID] = field(default_factory=list)
    added: list[tuple[int, KeyPackage]] = field(default_factory=list)
    path_secrets: list[bytes] = field(default_factory=list)
    path_keys: list[bytes] = field(default_factory=list)
    greeted: list[GroupSecrets] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.suite = self.member.suite
        self.leaf_key = self.suite.kem.generate()
        self.commit_secret = self.suite.zero
        self.tree = deepcopy(self.member.tree)
        self.context = deepcopy(self.member.context)
        self.context.epoch += 1
        self.index = self.member.index

    def stage(self, name: str) -> None:
        self.touched(name, self.touch)

    # -- the proposals (section 12.3) --------------------------------------------------------------------

    def initialise(self) -> None:
        """Section 8.3."""
        kem_output, hpke = Hpke.to(self.suite, self.member.external_pub, b"")
        self.init_secret = hpke.export(EXTERNAL_INIT_LABEL)
        self.commit.proposals.insert(0, ProposalOrRef(twins.BY_VALUE, Proposal(twins.EXTERNAL_INIT, kem_output)))

    def apply(self, received: Mapping[bytes, Framed]) -> None:
        """Applies what it can; a proposal that makes no sense is passed over."""
        if self.member.secrets is not None and not self.init_secret:
            self.init_secret = self.member.secrets.of("init")
        listed: list[tuple[int, Proposal]] = []
        for one in self.commit.proposals:
            if one.type == twins.BY_VALUE:
                listed.append((self.index, one.body))
            elif one.body in received:
                content = received[one.body].message.content
                listed.append((content.sender.index, content.body))
        self.psks, self.added = apply(listed, self.tree, self.context)

    # -- the path (sections 7.4 to 7.6) ------------------------------------------------------------------

    def key_of(self, path_secret: bytes) -> bytes:
        """The public key that follows from a path secret."""
        return self.suite.kem.public(node_key(self.suite, path_secret))

    def make_path(self) -> None:
        member, tree = self.member, self.tree
        if self.external:
            leaf = member.person.leaf(b"")
            self.index = tree.add(leaf)
        # A commit that removes its author has a path all the same.
        leaf = deepcopy(tree.nodes[2 * self.index] or member.tree.leaf(self.index))
        assert isinstance(leaf, LeafNode)
        tree.nodes[2 * self.index] = leaf
        steps = tree.filtered(self.index)
        secret = os.urandom(self.suite.size)
        for _ in steps:
            self.path_secrets.append(secret)
            self.path_keys.append(self.key_of(secret))
            secret = self.suite.derive_secret(secret, "path")
        self.commit_secret = secret
        self.stage("nodes")
        leaf.source, leaf.encryption_key = twins.FROM_COMMIT, self.suite.kem.public(self.leaf_key)
        leaf.body = tree.set_path(self.index, self.path_keys)
        self.leaf = leaf
        self.stage("leaf")
        member.person.sign_leaf(leaf, self.context.group_id, self.index)
        self.stage("signed leaf")
        self.context.tree_hash = tree.tree_hash()
        self.sealing = self.context.encode()
        self.stage("sealing")
        new = frozenset(index for index, _ in self.added)
        self.path = UpdatePath(leaf)
        for (node, copath), secret in zip(steps, self.path_secrets, strict=True):
            receivers = tree.keys(tree.resolution(copath, new))
            sealed = [self.suite.encrypt_with_label(key, "UpdatePathNode", self.sealing, secret) for key in receivers]
            self.path.nodes.append(UpdatePathNode(tree.parent_node(node).encryption_key, sealed))
        self.commit.path = self.path
        self.stage("path")

    # -- the message, the next epoch (section 12.4.1) ----------------------------------------------------

    def frame(self) -> None:
        member = self.member
        sender = Sender(twins.NEW_MEMBER_COMMIT) if self.external else None
        self.content = member.framed(twins.COMMIT, self.commit, sender)
        self.stage("tree")
        self.context.tree_hash = self.tree.tree_hash()
        self.stage("content")
        wire_format = twins.PRIVATE_MESSAGE if self.private else twins.PUBLIC_MESSAGE
        self.message = PublicMessage(self.content, member.sign(self.content, wire_format))
        self.stage("signed")
        self.context.confirmed_transcript_hash = confirmed_transcript_hash(
            self.suite, member.interim_transcript_hash, wire_format, self.message
        )
        psks = [(psk, self.psk_values.get(psk.body if isinstance(psk.body, bytes) else b"", b"")) for psk in self.psks]
        psk = psk_secret(self.suite, psks)
        self.secrets = Secrets.after(self.suite, self.init_secret, self.commit_secret, psk, self.context)
        self.message.confirmation_tag = self.secrets.confirmation_tag(self.context.confirmed_transcript_hash)
        self.stage("confirmed")
        if self.private:
            tag = self.message.confirmation_tag
            later = {name: touch for name, touch in self.touch.items() if name in ("plain", "encrypted")}
            later["signed"] = change("signature", self.message.signature)
            self.bytes = member.encrypt(self.content, later, tag).bytes
            return
        self.message.membership_tag = member.membership_tag(self.message)
        self.stage("framed")
        self.bytes = twins.message(self.message)

    @property
    def after(self) -> Member:
        """The member in the next epoch."""
        confirmed, tag = self.context.confirmed_transcript_hash, self.message.confirmation_tag
        interim = interim_transcript_hash(self.suite, confirmed, tag)
        return Member(self.member.person, self.context, self.tree, interim, self.secrets, self.index)

    # -- the Welcome (section 12.4.3) --------------------------------------------------------------------

    def greet(self) -> None:
        """Stages: info (not signed), signed info, secrets, welcome."""
        self.info = GroupInfo(self.context, [], self.message.confirmation_tag, max(self.index, 0))
        self.stage("info")
        self.info.signature = self.member.person.sign("GroupInfoTBS", self.info.unsigned)
        self.stage("signed info")
        sealed = self.suite.aead.seal(*self.secrets.welcome_key(), self.info.encode())
        self.welcome = Welcome(cipher_suite=self.suite.number, encrypted_group_info=sealed)
        self.greeted = [
            GroupSecrets(self.secrets.joiner, self.path_secret_for(index), list(self.psks)) for index, _ in self.added
        ]
        self.stage("secrets")
        for (_, package), secrets in zip(self.added, self.greeted, strict=True):
            context = self.welcome.encrypted_group_info
            sealed = self.suite.encrypt_with_label(package.init_key, "Welcome", context, secrets.encode())
            name = key_package_reference(self.suite, package)
            self.welcome.secrets.append(twins.EncryptedGroupSecrets(name, sealed))
        self.stage("welcome")

    def path_secret_for(self, index: int) -> bytes | None:
        """The path secret of the lowest node above both."""
        if not self.path_secrets:
            return None
        above = set(self.tree.path(2 * index))
        steps = self.tree.filtered(self.index)
        return next((secret for (node, _), secret in zip(steps, self.path_secrets, strict=True) if node in above), None)
