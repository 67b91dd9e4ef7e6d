"""The set E of docs/protocol.md ("Which branch"): what the head of a call follows from. Values only, no rule.

Each value was checked by itself before it was made: `trust` makes `Joined` and `Left`, `judge` makes `Committed`,
`trust` makes `Spoken`. What cannot be checked yet (an unknown parent, an unknown speaker) is not evidence yet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from mlsrtc.identifiers import DeviceId, EpochId, LeafIndex, MemberId, UserId
from mlsrtc.wire.encoding import Identity

DeviceIdentity = tuple[UserId, DeviceId, bytes]
"""A Matrix device: its user, its name and its Ed25519 key."""


@dataclass(frozen=True)
class Leaf:
    """One participation of one device, as its leaf, its join and its leave name it. `member_id` commits to the rest."""

    member_id: MemberId
    user_id: UserId
    device_id: DeviceId
    device_key: bytes  # Ed25519 of the Matrix device, 32 bytes
    signature_key: bytes  # the MLS leaf's, in the suite's scheme
    binding: bytes = field(default=b"", compare=False, repr=False)
    """The body of its leaf extension, if this was read from a join or a leaf node and its signature was checked."""

    @property
    def device_identity(self) -> DeviceIdentity:
        """Which Matrix device: user, device and its key, since a new login may take the name of an old one. Nobody
        replaces or removes as its own what is not of the same three (docs/protocol.md, "Which branch")."""
        return self.user_id, self.device_id, self.device_key

    @cached_property
    def identity(self) -> Identity:
        """What its credential says."""
        return Identity(self.user_id, self.device_id, self.member_id)

    @cached_property
    def credential(self) -> bytes:
        """The identity of its basic credential; every epoch asks for it again."""
        return self.identity.encode()


@dataclass(frozen=True, slots=True)
class Joined:
    """J(m): a join or its refresh, signed by the device key and with a leaf key that its member_id commits to."""

    leaf: Leaf
    suite: int
    key_package: bytes  # MLSMessage, as received
    replaces: frozenset[MemberId]
    head: EpochId | None
    from_ts: int  # milliseconds since the epoch, the device's wall clock
    until_ts: int


@dataclass(frozen=True, slots=True)
class Left:
    """L(m): a leave, signed by the leaf key of m. It is never undone."""

    member_id: MemberId
    signature: bytes


@dataclass(frozen=True, slots=True)
class Refusal:
    """`refuse` of a word or commit: a commit that its speaker will not follow, and why."""

    id: EpochId
    why: str  # unopened, bad_tree, unknown_leaf or still_here


@dataclass(frozen=True)
class Committed:
    """C: a commit that is valid by its bytes and its parent alone (rule of docs/protocol.md, valid)."""

    id: EpochId
    parent: EpochId | None
    root: EpochId
    epoch: int
    group_id: bytes
    author: Leaf
    n: int  # the author's count of commits and words, from 1
    leaves: Mapping[LeafIndex, Leaf]  # after this commit
    added: frozenset[MemberId]
    removed: frozenset[MemberId]
    left: frozenset[MemberId]  # those of `removed` whose L stands inside the commit, checked
    has_path: bool
    external: bool
    guests: tuple[tuple[str, str, str], ...] = ()  # without MLS, for whose sake it was made
    refuse: Refusal | None = None

    @cached_property
    def members(self) -> frozenset[MemberId]:
        """Who has a leaf in the tree after this commit."""
        return frozenset(leaf.member_id for leaf in self.leaves.values())

    def holds(self, member_id: MemberId) -> bool:
        """Whether member_id has a leaf in the tree after this commit."""
        return member_id in self.members


@dataclass(frozen=True, slots=True)
class Spoken:
    """W: a word, signed by the leaf key of its speaker: which epoch it stands on, and what it refuses."""

    member_id: MemberId
    user_id: UserId
    root: EpochId
    n: int
    id: EpochId
    refuse: Refusal | None = field(default=None)
