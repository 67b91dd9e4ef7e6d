"""Signatures by leaf keys, in the suite's scheme (RFC 9420 section 5.1.2), over the tuples of
docs/protocol.md.

A leave is checked here rather than in `mlsrtc.trust`, because commits carry it too and `mlsrtc.judge` reads
those.
"""

from collections.abc import Callable
from typing import Protocol, TypeAlias

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, HashAlgorithm

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import MemberId, RoomId, SlotId
from mlsrtc.wire.encoding import LEFT_LABEL, signing_tuple


class LeafSigner(Protocol):
    """The signature key of our own leaf; `mlsrtc.mls.SigningKey` is one."""

    @property
    def suite(self) -> int:
        """The MLS suite whose scheme the key is of."""

    @property
    def public(self) -> bytes:
        """The public half, as it stands in the leaf."""

    def sign(self, message: bytes) -> bytes:
        """The signature over the message."""


Verify: TypeAlias = Callable[[int, bytes, bytes, bytes], None]
"""(suite, public key, message, signature); raises RemoteProtocolError("bad_signature")."""

_CURVES: dict[int, tuple[ec.EllipticCurve, HashAlgorithm]] = {
    2: (ec.SECP256R1(), SHA256()),
    5: (ec.SECP521R1(), SHA512()),
    7: (ec.SECP384R1(), SHA384()),
}


def verify_signature(suite: int, public_key: bytes, message: bytes, signature: bytes) -> None:
    """The schemes of RFC 9420 section 17.1. Raises RemoteProtocolError: unknown_suite, bad_signature."""
    try:
        if suite in (1, 3):
            ed25519.Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
        elif suite in (4, 6):
            ed448.Ed448PublicKey.from_public_bytes(public_key).verify(signature, message)
        elif suite in _CURVES:
            curve, algorithm = _CURVES[suite]
            key = ec.EllipticCurvePublicKey.from_encoded_point(curve, public_key)
            key.verify(signature, message, ec.ECDSA(algorithm))
        else:
            raise RemoteProtocolError("unknown_suite", str(suite))
    except (InvalidSignature, UnsupportedAlgorithm, ValueError):
        raise RemoteProtocolError("bad_signature") from None


def verify_leaf(
    suite: int,
    public_key: bytes,
    message: bytes,
    signature: bytes,
    *,
    where: str,
    verify: Verify = verify_signature,
) -> None:
    """`verify`, with `where` in what it raises. Raises RemoteProtocolError: unknown_suite, bad_signature."""
    try:
        verify(suite, public_key, message, signature)
    except RemoteProtocolError as error:
        raise RemoteProtocolError(error.reason, error.detail, where=where, section=error.section) from None


def left_message(room: RoomId, slot: SlotId, member: MemberId) -> bytes:
    """What a leave signs: ("mlsrtc left 1", room, slot, m)."""
    return signing_tuple(LEFT_LABEL, room, slot, member)


def verify_left_signature(
    suite: int,
    room: RoomId,
    slot: SlotId,
    member: MemberId,
    *,
    leaf_key: bytes,
    signature: bytes,
    where: str,
    verify: Verify = verify_signature,
) -> None:
    """The leave of `member` by a leaf key that its m is already known to commit to.

    Raises RemoteProtocolError: unknown_suite, bad_signature.
    """
    verify_leaf(suite, leaf_key, left_message(room, slot, member), signature, where=where, verify=verify)
