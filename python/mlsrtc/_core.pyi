# The binary's names and signatures. tests/test_mls_stub.py compares this page with the binary.
from collections.abc import Mapping, Sequence
from typing import Literal, final

@final
class Secret:
    def __new__(cls, value: bytes) -> Secret: ...
    def expose(self) -> bytes: ...
    def wipe(self) -> None: ...
    def __len__(self) -> int: ...
    def __bool__(self) -> bool: ...
    __hash__: None  # type: ignore[assignment]

@final
class SigningKey:
    @staticmethod
    def generate(suite: int = 1) -> SigningKey: ...
    @staticmethod
    def load(suite: int, secret: Secret) -> SigningKey: ...
    @property
    def public(self) -> bytes: ...
    @property
    def suite(self) -> int: ...
    def sign(self, message: bytes) -> bytes: ...
    def save(self) -> Secret: ...

def verify_signature(suite: int, public_key: bytes, message: bytes, signature: bytes) -> None: ...
def random_bytes(length: int) -> Secret: ...
def suites() -> tuple[int, ...]: ...
@final
class Successor:
    SAME_IDENTITY: Successor
    @staticmethod
    def first_fields(count: int) -> Successor: ...

@final
class Member:
    @property
    def leaf(self) -> int: ...
    @property
    def identity(self) -> bytes: ...
    @property
    def signature_key(self) -> bytes: ...
    @property
    def extensions(self) -> tuple[tuple[int, bytes], ...]: ...

@final
class KeyPackage:
    @staticmethod
    def load(data: Secret) -> KeyPackage: ...
    @staticmethod
    def from_keys(public: bytes, init_key: Secret, leaf_key: Secret) -> KeyPackage: ...
    def save(self) -> Secret: ...
    @property
    def public(self) -> bytes: ...
    @property
    def reference(self) -> bytes: ...
    @property
    def suite(self) -> int: ...
    @property
    def identity(self) -> bytes: ...
    @property
    def signature_key(self) -> bytes: ...

@final
class Client:
    def __new__(
        cls,
        identity: bytes,
        signing_key: SigningKey,
        *,
        leaf_extensions: Sequence[tuple[int, bytes]] = ...,
        extension_types: Sequence[int] = ...,
        successor: Successor | None = None,
    ) -> Client: ...
    @property
    def identity(self) -> bytes: ...
    @property
    def signing_key(self) -> SigningKey: ...
    @property
    def suite(self) -> int: ...
    def key_package(self, *, not_before: int | None = None, not_after: int | None = None) -> KeyPackage: ...
    def create_group(self, group_id: bytes, *, extensions: Sequence[tuple[int, bytes]] = ...) -> Group: ...
    def join(
        self,
        welcome: bytes,
        key_packages: KeyPackage | Sequence[KeyPackage],
        *,
        tree: bytes | None = None,
        psks: Mapping[bytes, Secret] | None = None,
    ) -> Group: ...
    def join_external(
        self,
        group_info: bytes,
        *,
        tree: bytes | None = None,
        remove: int | None = None,
        authenticated_data: bytes = ...,
    ) -> Commit: ...
    def load_group(self, state: Secret) -> Group: ...

@final
class Commit:
    @property
    def message(self) -> bytes: ...
    @property
    def welcome(self) -> bytes | None: ...
    @property
    def group_info(self) -> bytes: ...
    @property
    def tree(self) -> bytes: ...
    @property
    def group(self) -> Group: ...

@final
class Staged:
    @property
    def sender(self) -> int | None: ...
    @property
    def external(self) -> bool: ...
    @property
    def added(self) -> tuple[Member, ...]: ...
    @property
    def removed(self) -> tuple[Member, ...]: ...
    @property
    def updated(self) -> tuple[Member, ...]: ...
    @property
    def authenticated_data(self) -> bytes: ...
    @property
    def removes_us(self) -> bool: ...
    def apply(self) -> Group: ...

@final
class Group:
    @property
    def group_id(self) -> bytes: ...
    @property
    def epoch(self) -> int: ...
    @property
    def suite(self) -> int: ...
    @property
    def own_leaf(self) -> int: ...
    @property
    def context(self) -> bytes: ...
    @property
    def confirmation_tag(self) -> bytes: ...
    @property
    def tree_hash(self) -> bytes: ...
    @property
    def extensions(self) -> tuple[tuple[int, bytes], ...]: ...
    def epoch_authenticator(self) -> Secret: ...
    def members(self) -> list[Member]: ...
    def tree(self) -> bytes: ...
    def group_info(self, *, with_tree: bool = False) -> bytes: ...
    def export(self, label: str, context: bytes, length: int) -> Secret: ...
    def sender_keys(self, label: str, context: bytes, infos: Sequence[bytes]) -> list[Secret]: ...
    def commit(
        self,
        *,
        add: Sequence[bytes] = ...,
        remove: Sequence[int] = ...,
        path: bool = False,
        authenticated_data: bytes = ...,
        now: int | None = None,
    ) -> Commit: ...
    def stage(self, message: bytes, *, psks: Mapping[bytes, Secret] | None = None) -> Staged: ...
    def with_proposal(self, message: bytes) -> Group: ...
    def save(self) -> Secret: ...

@final
class Observer:
    @staticmethod
    def observe(group_info: bytes, tree: bytes | None = None, *, successor: Successor | None = None) -> Observer: ...
    def follow(self, message: bytes) -> Observer: ...
    @property
    def group_id(self) -> bytes: ...
    @property
    def epoch(self) -> int: ...
    @property
    def suite(self) -> int: ...
    @property
    def context(self) -> bytes: ...
    @property
    def tree_hash(self) -> bytes: ...
    def members(self) -> list[Member]: ...
    def tree(self) -> bytes: ...

# ---- reader: MLS messages from outside a group. Every refusal is a RemoteProtocolError. ----


@final
class LeafFacts:
    """What a LeafNode says (RFC 9420 section 7.2), alone or in its KeyPackage. Form only, until `verify`."""

    @property
    def identity(self) -> bytes | None:
        """Of a basic credential; None for every other kind."""

    @property
    def credential_type(self) -> int: ...
    @property
    def signature_key(self) -> bytes: ...
    @property
    def encryption_key(self) -> bytes: ...
    @property
    def extensions(self) -> tuple[tuple[int, bytes], ...]:
        """(type, body), no type twice."""

    @property
    def source(self) -> Literal["key_package", "update", "commit"]: ...
    @property
    def lifetime(self) -> tuple[int, int] | None:
        """not_before, not_after in seconds since the epoch, of source key_package."""

    @property
    def suite(self) -> int | None:
        """Of the KeyPackage it came in; None for a leaf that stood alone."""

    @property
    def init_key(self) -> bytes | None:
        """Of the KeyPackage it came in."""

    @property
    def reference(self) -> bytes | None:
        """KeyPackageRef of its KeyPackage (RFC 9420 section 5.2): how a Welcome names its joiner."""

    def verify(
        self, suite: int | None = None, group_id: bytes | None = None, leaf_index: int | None = None
    ) -> None:
        """Checks the signature of the leaf, and of the KeyPackage if it came in one.

        A leaf that stood alone needs `suite`, and if its source is update or commit also `group_id` and
        `leaf_index`, which it signs too. Raises RemoteProtocolError: bad_signature, wrong_leaf_source,
        repeated_key, unsupported_suite.
        """

    def tree_hash(self, suite: int, leaf_index: int) -> bytes:
        """The tree hash (RFC 9420 section 7.8) of a tree whose only node is this leaf."""

@final
class CommitFacts:
    """What a commit in a PublicMessage says (RFC 9420 sections 6 and 12.4). Form only, until `verify`."""

    @property
    def group_id(self) -> bytes: ...
    @property
    def epoch(self) -> int:
        """The epoch it was made in; it leads to the next."""

    @property
    def sender(self) -> int | None:
        """Leaf index; None for an external commit."""

    @property
    def external(self) -> bool: ...
    @property
    def authenticated_data(self) -> bytes: ...
    @property
    def adds(self) -> tuple[LeafFacts, ...]:
        """In the order of the commit, which is the order in which leaves are filled."""

    @property
    def removes(self) -> tuple[int, ...]: ...
    @property
    def external_inits(self) -> int:
        """How many ExternalInit proposals it holds."""

    @property
    def other_proposals(self) -> tuple[int, ...]:
        """Types of proposals other than Add, Remove and ExternalInit; one by reference counts as type 0."""

    @property
    def path_leaf(self) -> LeafFacts | None: ...
    @property
    def path_nodes(self) -> int | None:
        """How many nodes above the leaf the path refreshes."""

    @property
    def confirmation_tag(self) -> bytes: ...
    def verify(self, context: bytes, signature_key: bytes) -> None:
        """Checks the signature over the commit and the TLS-encoded GroupContext of the epoch it was made in
        (RFC 9420 section 6.1). Raises RemoteProtocolError: bad_signature, unsupported_suite."""

    def transcript(self, suite: int, interim: bytes) -> tuple[bytes, bytes]:
        """The confirmed and the interim transcript hash after this commit, from the interim hash before
        (RFC 9420 section 8.2)."""

@final
class GroupInfoFacts:
    """What a GroupInfo says (RFC 9420 section 12.4.3). Form only, until `verify`."""

    @property
    def context(self) -> bytes:
        """The TLS-encoded GroupContext, as received."""

    @property
    def suite(self) -> int: ...
    @property
    def group_id(self) -> bytes: ...
    @property
    def epoch(self) -> int: ...
    @property
    def tree_hash(self) -> bytes: ...
    @property
    def confirmed_transcript_hash(self) -> bytes: ...
    @property
    def context_extensions(self) -> bytes:
        """The list of the GroupContext as received, with its length."""

    @property
    def extensions(self) -> tuple[tuple[int, bytes], ...]:
        """Of the GroupInfo itself: (type, body)."""

    @property
    def confirmation_tag(self) -> bytes: ...
    @property
    def signer(self) -> int:
        """Leaf index."""

    @property
    def external_pub(self) -> bytes | None: ...
    @property
    def tree(self) -> bytes | None:
        """The ratchet_tree extension, if the tree travels inside; `inspect_tree` reads it."""

    def verify(self, signature_key: bytes) -> None:
        """Checks the signer's signature. Raises RemoteProtocolError: bad_signature, unsupported_suite."""

@final
class WelcomeFacts:
    """For whom a Welcome is (RFC 9420 section 12.4.3.1)."""

    @property
    def suite(self) -> int: ...
    @property
    def references(self) -> tuple[bytes, ...]:
        """KeyPackageRef of each joiner."""

def inspect_commit(message: bytes) -> CommitFacts:
    """Reads an MLSMessage with a commit as PublicMessage. Raises RemoteProtocolError with the reason
    (truncated, trailing_bytes, length_not_minimal, length_reserved, oversized, unknown_version,
    wrong_wire_format, not_a_commit, wrong_sender, unknown_value, repeated_extension) and the place in
    `where`."""

def inspect_group_info(message: bytes) -> GroupInfoFacts:
    """Reads an MLSMessage with a GroupInfo. Raises RemoteProtocolError as `inspect_commit`."""

def inspect_key_package(message: bytes) -> LeafFacts:
    """Reads an MLSMessage with a KeyPackage. Raises RemoteProtocolError as `inspect_commit`."""

def inspect_welcome(message: bytes) -> WelcomeFacts:
    """Reads an MLSMessage with a Welcome. Raises RemoteProtocolError as `inspect_commit`."""

def inspect_tree(tree: bytes) -> dict[int, LeafFacts]:
    """The leaves of a ratchet_tree extension by index (RFC 9420 section 12.4.3.3). Hashes are not checked.
    Raises RemoteProtocolError as `inspect_commit`, and bad_tree."""

def interim_transcript_hash(suite: int, confirmed: bytes, confirmation_tag: bytes) -> bytes:
    """RFC 9420 section 8.2, for the epoch whose confirmed transcript hash and confirmation tag these are. The
    confirmed hash of epoch 0 is empty. Raises RemoteProtocolError("unsupported_suite")."""

def vector_length(header: bytes) -> int:
    """The length that a vector's header holds (RFC 9420 section 2.1.2); nothing may follow the header."""
