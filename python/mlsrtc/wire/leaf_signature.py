"""Signatures by leaf keys, in the suite's scheme (RFC 9420 section 5.1.2), over the tuples of
docs/protocol.md.

A leave is checked here rather than in `mlsrtc.trust`, because commits carry it too and `mlsrtc.judge` reads
those.
"""

from typing import Protocol

from mlsrtc import mls
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import MemberId, RoomId, SlotId
from mlsrtc.wire.encoding import LEFT_LABEL, signing_tuple


class LeafSigner(Protocol):
    """The signature key of our own leaf: a `mlsrtc.mls.SigningKey`, or what stands in for one in a test."""

    @property
    def suite(self) -> int:
        """The MLS suite whose scheme the key is of."""

    @property
    def public(self) -> bytes:
        """The public half, as it stands in the leaf."""

    def sign(self, message: bytes) -> bytes:
        """The signature over the message."""


def verify_leaf(suite: int, public_key: bytes, message: bytes, signature: bytes, *, where: str) -> None:
    """`mls.verify_signature`, with `where` in what it raises.

    Raises RemoteProtocolError: unsupported_suite, bad_signature.
    """
    try:
        mls.verify_signature(suite, public_key, message, signature)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(error.reason, error.detail, where=where, section=error.section) from None


def left_message(room: RoomId, slot: SlotId, member: MemberId) -> bytes:
    """What a leave signs: ("mlsrtc left 1", room, slot, m)."""
    return signing_tuple(LEFT_LABEL, room, slot, member)


def verify_left_signature(
    suite: int, room: RoomId, slot: SlotId, member: MemberId, *, leaf_key: bytes, signature: bytes, where: str
) -> None:
    """The leave of `member` by a leaf key that its m is already known to commit to.

    Raises RemoteProtocolError: unsupported_suite, bad_signature.
    """
    verify_leaf(suite, leaf_key, left_message(room, slot, member), signature, where=where)
