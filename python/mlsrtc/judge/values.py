"""What goes into the judge and what comes out. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from mlsrtc.evidence import Committed, Leaf
from mlsrtc.identifiers import EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire.commit import CommitEvent


@dataclass(frozen=True, slots=True)
class Candidate:
    """One commit event, every part of it fetched. What repeats the bytes (`root` to `left`) is compared."""

    room_id: RoomId
    sender: UserId  # of the Matrix event
    slot_id: SlotId
    root: EpochId
    parent: EpochId | None  # None: a root
    id: EpochId
    epoch: int  # of the child
    n: int
    left: Mapping[MemberId, bytes]
    commit: bytes  # MLSMessage(PublicMessage)
    group_info: bytes  # MLSMessage(GroupInfo) of the child epoch
    group_info_0: bytes | None = None  # a root only: MLSMessage(GroupInfo) of epoch 0 with its one-leaf tree

    @staticmethod
    def of(event: CommitEvent, commit: bytes, *, room_id: RoomId, sender: UserId) -> "Candidate":
        """The candidate of a decoded event whose `commit` was in it or was fetched."""
        return Candidate(
            room_id=room_id,
            sender=sender,
            slot_id=event.slot_id,
            root=event.root,
            parent=event.parent,
            id=event.id,
            epoch=event.epoch,
            n=event.n,
            left=event.left,
            commit=commit,
            group_info=event.group_info,
            group_info_0=event.group_info_0,
        )


@dataclass(frozen=True, slots=True)
class Proven:
    """Signatures of this room and slot that were checked before, where they stood in another event: a commit repeats
    them, and the answer would be the same. leaves: of joins, by credential. left: by suite and m.
    """

    leaves: Mapping[bytes, Leaf] = field(default_factory=dict)
    left: Mapping[tuple[int, MemberId], bytes] = field(default_factory=dict)


NOTHING_PROVEN = Proven()


@dataclass(frozen=True, slots=True)
class Judged:
    """A valid commit: what the head rule needs of it (`committed`), and what its children are judged by."""

    committed: Committed
    suite: int
    context: bytes  # TLS-encoded GroupContext after this commit
    confirmation_tag: bytes
    interim_transcript_hash: bytes
    context_extensions: bytes  # as received, with their length
    tree_hash: bytes
    external_pub: bytes | None  # as its GroupInfo says; who applies the commit compares it
    author_index: LeafIndex
    ever: frozenset[MemberId]  # everybody who was a leaf on the path from the root to here
    idle_user: UserId | None  # the author's user if this commit changes nothing

    @property
    def idle_members(self) -> frozenset[MemberId]:
        """The leaves of `idle_user`."""
        if self.idle_user is None:
            return frozenset()
        return frozenset(leaf.member_id for leaf in self.committed.leaves.values() if leaf.user_id == self.idle_user)
