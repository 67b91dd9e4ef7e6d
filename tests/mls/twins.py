"""Mutable twins of RFC 9420's structures: every field can be changed and written again."""

# ruff: noqa: RUF009 (`tls` and `select` are `dataclasses.field` with a codec)

from dataclasses import dataclass
from typing import Any

from presentation import NOTHING, OPAQUE, U8, U16, U32, U64, Codec, Reader, Struct, many, optional, select, struct, tls

MLS10, SUITE_1, BASIC = 1, 1, 1
APPLICATION, PROPOSAL, COMMIT = 1, 2, 3
MEMBER, EXTERNAL, NEW_MEMBER_PROPOSAL, NEW_MEMBER_COMMIT = 1, 2, 3, 4
PUBLIC_MESSAGE, PRIVATE_MESSAGE, WELCOME, GROUP_INFO, KEY_PACKAGE = 1, 2, 3, 4, 5
ADD, UPDATE, REMOVE, PSK, REINIT, EXTERNAL_INIT, GROUP_CONTEXT_EXTENSIONS = 1, 2, 3, 4, 5, 6, 7
FROM_KEY_PACKAGE, FROM_UPDATE, FROM_COMMIT = 1, 2, 3
APPLICATION_ID, RATCHET_TREE, REQUIRED_CAPABILITIES, EXTERNAL_PUB, EXTERNAL_SENDERS = 1, 2, 3, 4, 5
BY_VALUE, BY_REFERENCE = 1, 2
LEAF, PARENT = 1, 2
EXTERNAL_PSK, RESUMPTION_PSK = 1, 2
USED_BY_APPLICATION, USED_BY_REINIT, USED_BY_BRANCH = 1, 2, 3


class Signed(Struct):
    """What ends with a signature of all that stands before it."""

    signature: bytes

    @property
    def unsigned(self) -> bytes:
        return self.encode()[: -len(OPAQUE.write(self.signature))]


@dataclass
class Extension(Struct):
    """Section 7.2."""

    type: int = tls(U16)
    data: bytes = tls(OPAQUE)


EXTENSIONS = many(struct(Extension))


@dataclass
class Credential(Struct):
    """Section 5.3: an identity (basic), or a chain of certificates (x509), or anything."""

    type: int = tls(U16)
    body: Any = select(lambda it: it.type, {2: many(OPAQUE)}, OPAQUE)


@dataclass
class Capabilities(Struct):
    """Section 7.2."""

    versions: list[int] = tls(many(U16), default_factory=lambda: [MLS10])
    cipher_suites: list[int] = tls(many(U16), default_factory=lambda: [SUITE_1])
    extensions: list[int] = tls(many(U16), default_factory=list)
    proposals: list[int] = tls(many(U16), default_factory=list)
    credentials: list[int] = tls(many(U16), default_factory=lambda: [BASIC])


@dataclass
class Lifetime(Struct):
    """Section 7.2, seconds since 1970."""

    not_before: int = tls(U64, default=0)
    not_after: int = tls(U64, default=2**64 - 1)


@dataclass
class LeafNode(Signed):
    """Section 7.2. `body` is a Lifetime, nothing, or the parent hash, by `source`."""

    encryption_key: bytes = tls(OPAQUE)
    signature_key: bytes = tls(OPAQUE)
    credential: Credential = tls(struct(Credential))
    capabilities: Capabilities = tls(struct(Capabilities), default_factory=Capabilities)
    source: int = tls(U8, default=FROM_KEY_PACKAGE)
    body: Any = select(
        lambda it: it.source, {FROM_KEY_PACKAGE: struct(Lifetime), FROM_UPDATE: NOTHING, FROM_COMMIT: OPAQUE}
    )
    extensions: list[Extension] = tls(EXTENSIONS, default_factory=list)
    signature: bytes = tls(OPAQUE, default=b"")

    def to_be_signed(self, group_id: bytes, leaf: int) -> bytes:
        """LeafNodeTBS: the place counts unless the leaf is a KeyPackage's."""
        place = b"" if self.source == FROM_KEY_PACKAGE else OPAQUE.write(group_id) + U32.write(leaf)
        return self.unsigned + place


@dataclass
class ParentNode(Struct):
    """Section 7.1."""

    encryption_key: bytes = tls(OPAQUE)
    parent_hash: bytes = tls(OPAQUE, default=b"")
    unmerged_leaves: list[int] = tls(many(U32), default_factory=list)


@dataclass
class Node(Struct):
    """Section 12.4.3.3."""

    type: int = tls(U8)
    body: Any = select(lambda it: it.type, {LEAF: struct(LeafNode), PARENT: struct(ParentNode)})


RATCHET_TREE_NODES = many(optional(struct(Node)))


@dataclass(kw_only=True)
class KeyPackage(Signed):
    """Section 10."""

    version: int = tls(U16, default=MLS10)
    cipher_suite: int = tls(U16, default=SUITE_1)
    init_key: bytes = tls(OPAQUE)
    leaf_node: LeafNode = tls(struct(LeafNode))
    extensions: list[Extension] = tls(EXTENSIONS, default_factory=list)
    signature: bytes = tls(OPAQUE, default=b"")


@dataclass
class Resumption(Struct):
    """The middle of a PreSharedKeyID of type resumption."""

    usage: int = tls(U8)
    group_id: bytes = tls(OPAQUE)
    epoch: int = tls(U64)


@dataclass
class PreSharedKeyID(Struct):
    """Section 8.4."""

    type: int = tls(U8)
    body: Any = select(lambda it: it.type, {EXTERNAL_PSK: OPAQUE, RESUMPTION_PSK: struct(Resumption)})
    nonce: bytes = tls(OPAQUE, default=b"")


@dataclass(kw_only=True)
class ReInit(Struct):
    """Section 12.1.5."""

    group_id: bytes = tls(OPAQUE)
    version: int = tls(U16, default=MLS10)
    cipher_suite: int = tls(U16, default=SUITE_1)
    extensions: list[Extension] = tls(EXTENSIONS, default_factory=list)


@dataclass
class Proposal(Struct):
    """Section 12.1; a proposal of another type is opaque bytes, as the engine has it."""

    type: int = tls(U16)
    body: Any = select(
        lambda it: it.type,
        {
            ADD: struct(KeyPackage),
            UPDATE: struct(LeafNode),
            REMOVE: U32,
            PSK: struct(PreSharedKeyID),
            REINIT: struct(ReInit),
            EXTERNAL_INIT: OPAQUE,
            GROUP_CONTEXT_EXTENSIONS: EXTENSIONS,
        },
        OPAQUE,
    )


@dataclass
class ProposalOrRef(Struct):
    """Section 12.4."""

    type: int = tls(U8)
    body: Any = select(lambda it: it.type, {BY_VALUE: struct(Proposal), BY_REFERENCE: OPAQUE})


@dataclass
class HPKECiphertext(Struct):
    """Section 7.6."""

    kem_output: bytes = tls(OPAQUE)
    ciphertext: bytes = tls(OPAQUE)


@dataclass
class UpdatePathNode(Struct):
    """Section 7.6."""

    encryption_key: bytes = tls(OPAQUE)
    encrypted_path_secret: list[HPKECiphertext] = tls(many(struct(HPKECiphertext)), default_factory=list)


@dataclass
class UpdatePath(Struct):
    """Section 7.6."""

    leaf_node: LeafNode = tls(struct(LeafNode))
    nodes: list[UpdatePathNode] = tls(many(struct(UpdatePathNode)), default_factory=list)


@dataclass
class Commit(Struct):
    """Section 12.4."""

    proposals: list[ProposalOrRef] = tls(many(struct(ProposalOrRef)), default_factory=list)
    path: UpdatePath | None = tls(optional(struct(UpdatePath)), default=None)


@dataclass
class Sender(Struct):
    """Section 6."""

    type: int = tls(U8)
    index: Any = select(
        lambda it: it.type, {MEMBER: U32, EXTERNAL: U32, NEW_MEMBER_PROPOSAL: NOTHING, NEW_MEMBER_COMMIT: NOTHING}
    )


CONTENTS = {APPLICATION: OPAQUE, PROPOSAL: struct(Proposal), COMMIT: struct(Commit)}


@dataclass(kw_only=True)
class FramedContent(Struct):
    """Section 6."""

    group_id: bytes = tls(OPAQUE)
    epoch: int = tls(U64)
    sender: Sender = tls(struct(Sender))
    authenticated_data: bytes = tls(OPAQUE, default=b"")
    content_type: int = tls(U8)
    body: Any = select(lambda it: it.content_type, CONTENTS)

    def to_be_signed(self, wire_format: int, context: bytes) -> bytes:
        """FramedContentTBS (section 6.1); the GroupContext counts for members and for those who become one."""
        inside = self.sender.type in (MEMBER, NEW_MEMBER_COMMIT)
        return U16.write(MLS10) + U16.write(wire_format) + self.encode() + (context if inside else b"")


@dataclass
class PublicMessage(Struct):
    """Section 6.2, with the fields of its FramedContentAuthData."""

    content: FramedContent = tls(struct(FramedContent))
    signature: bytes = tls(OPAQUE, default=b"")
    confirmation_tag: Any = select(
        lambda it: it.content.content_type, {APPLICATION: NOTHING, PROPOSAL: NOTHING, COMMIT: OPAQUE}
    )
    membership_tag: Any = select(lambda it: it.content.sender.type == MEMBER, {True: OPAQUE, False: NOTHING})

    @property
    def auth(self) -> bytes:
        """FramedContentAuthData (section 6.1)."""
        tag = b"" if self.confirmation_tag is None else OPAQUE.write(self.confirmation_tag)
        return OPAQUE.write(self.signature) + tag

    def to_be_tagged(self, context: bytes) -> bytes:
        """AuthenticatedContentTBM."""
        return self.content.to_be_signed(PUBLIC_MESSAGE, context) + self.auth


@dataclass
class PrivateMessage(Struct):
    """Section 6.3."""

    group_id: bytes = tls(OPAQUE)
    epoch: int = tls(U64)
    content_type: int = tls(U8)
    authenticated_data: bytes = tls(OPAQUE)
    encrypted_sender_data: bytes = tls(OPAQUE, default=b"")
    ciphertext: bytes = tls(OPAQUE, default=b"")

    @property
    def place(self) -> bytes:
        """SenderDataAAD (section 6.3.2)."""
        return OPAQUE.write(self.group_id) + U64.write(self.epoch) + U8.write(self.content_type)


@dataclass
class SenderData(Struct):
    """Section 6.3.2."""

    leaf_index: int = tls(U32)
    generation: int = tls(U32)
    reuse_guard: bytes = tls(Codec(bytes, lambda reader: reader.take(4)), default=bytes(4))

    def guarded(self, nonce: bytes) -> bytes:
        """Section 6.3.1."""
        return bytes(a ^ b for a, b in zip(self.reuse_guard, nonce[:4], strict=True)) + nonce[4:]


@dataclass(kw_only=True)
class GroupContext(Struct):
    """Section 8.1."""

    version: int = tls(U16, default=MLS10)
    cipher_suite: int = tls(U16, default=SUITE_1)
    group_id: bytes = tls(OPAQUE)
    epoch: int = tls(U64)
    tree_hash: bytes = tls(OPAQUE)
    confirmed_transcript_hash: bytes = tls(OPAQUE)
    extensions: list[Extension] = tls(EXTENSIONS, default_factory=list)


@dataclass
class GroupInfo(Signed):
    """Section 12.4.3."""

    group_context: GroupContext = tls(struct(GroupContext))
    extensions: list[Extension] = tls(EXTENSIONS, default_factory=list)
    confirmation_tag: bytes = tls(OPAQUE, default=b"")
    signer: int = tls(U32, default=0)
    signature: bytes = tls(OPAQUE, default=b"")


@dataclass
class GroupSecrets(Struct):
    """Section 12.4.3.1. PathSecret is a structure of one field, so it is written as that field."""

    joiner_secret: bytes = tls(OPAQUE)
    path_secret: bytes | None = tls(optional(OPAQUE), default=None)
    psks: list[PreSharedKeyID] = tls(many(struct(PreSharedKeyID)), default_factory=list)


@dataclass
class EncryptedGroupSecrets(Struct):
    """Section 12.4.3.1."""

    new_member: bytes = tls(OPAQUE)
    encrypted_group_secrets: HPKECiphertext = tls(struct(HPKECiphertext))


@dataclass(kw_only=True)
class Welcome(Struct):
    """Section 12.4.3.1."""

    cipher_suite: int = tls(U16, default=SUITE_1)
    secrets: list[EncryptedGroupSecrets] = tls(many(struct(EncryptedGroupSecrets)), default_factory=list)
    encrypted_group_info: bytes = tls(OPAQUE, default=b"")


@dataclass
class RequiredCapabilities(Struct):
    """Section 11.1."""

    extensions: list[int] = tls(many(U16), default_factory=list)
    proposals: list[int] = tls(many(U16), default_factory=list)
    credentials: list[int] = tls(many(U16), default_factory=list)


@dataclass
class ExternalSender(Struct):
    """Section 12.1.8.1."""

    signature_key: bytes = tls(OPAQUE)
    credential: Credential = tls(struct(Credential))


@dataclass(kw_only=True)
class MLSMessage(Struct):
    """Section 6."""

    version: int = tls(U16, default=MLS10)
    wire_format: int = tls(U16)
    body: Any = select(
        lambda it: it.wire_format,
        {
            PUBLIC_MESSAGE: struct(PublicMessage),
            PRIVATE_MESSAGE: struct(PrivateMessage),
            WELCOME: struct(Welcome),
            GROUP_INFO: struct(GroupInfo),
            KEY_PACKAGE: struct(KeyPackage),
        },
    )


def message(body: PublicMessage | PrivateMessage | Welcome | GroupInfo | KeyPackage) -> bytes:
    """The MLSMessage that carries `body`."""
    formats = {
        PublicMessage: PUBLIC_MESSAGE,
        PrivateMessage: PRIVATE_MESSAGE,
        Welcome: WELCOME,
        GroupInfo: GROUP_INFO,
        KeyPackage: KEY_PACKAGE,
    }
    return MLSMessage(wire_format=formats[type(body)], body=body).encode()


def decode_tree(data: bytes) -> list[Node | None]:
    """The ratchet_tree vector."""
    nodes: list[Node | None] = RATCHET_TREE_NODES.read(Reader(data))
    return nodes
