"""The binding of a leaf to its Matrix device, checked from bytes alone (docs/protocol.md, "Binding"). No
JSON, no trust.

A leaf extension of type 0xF4D1 holds the device's Ed25519 key (32 bytes) and its signature (64 bytes) over
the text of ``("mlsrtc binding 1", room, slot, user, device, m, leaf key)``; and m itself commits to all of
these but the signature.
"""

from collections.abc import Callable
from dataclasses import dataclass

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.mls import verify_signature
from mlsrtc.wire.encoding import BINDING_LABEL, Identity, member_id, signing_text

EXTENSION_TYPE = 0xF4D1  # private use, RFC 9420 section 17.3
DEVICE_KEY_SIZE = 32
SIGNATURE_SIZE = 64
ED25519_SUITE = 1  # the MLS suite whose signature scheme is that of Matrix keys

Sign = Callable[[str], bytes]
"""A Matrix device's signer: ASCII text to a 64-byte Ed25519 signature."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The body of the leaf extension."""

    device_key: bytes
    signature: bytes

    def encode(self) -> bytes:
        """The extension's body, 96 bytes."""
        return self.device_key + self.signature


def decode_binding(body: bytes, *, where: str = "leaf.binding") -> Binding:
    """The extension's body read back. Raises RemoteProtocolError("bad_binding") if it is not 96 bytes."""
    if len(body) != DEVICE_KEY_SIZE + SIGNATURE_SIZE:
        raise RemoteProtocolError("bad_binding", f"{len(body)} bytes instead of 96", where=where)
    return Binding(body[:DEVICE_KEY_SIZE], body[DEVICE_KEY_SIZE:])


def bind(room: RoomId, slot: SlotId, identity: Identity, *, device_key: bytes, leaf_key: bytes, sign: Sign) -> Binding:
    """The binding of a leaf, signed by the device. Raises LocalProtocolError if `sign` gives no 64 bytes."""
    signature = sign(signing_text(BINDING_LABEL, room, slot, *_fields(identity), leaf_key))
    if len(device_key) != DEVICE_KEY_SIZE or len(signature) != SIGNATURE_SIZE:
        raise LocalProtocolError("a Matrix device key is 32 bytes and its signature 64")
    return Binding(device_key, signature)


def verify_binding(
    room: RoomId,
    slot: SlotId,
    identity: Identity,
    leaf_key: bytes,
    binding: Binding,
    *,
    where: str = "leaf.binding",
) -> None:
    """Checks that the leaf's member_id commits to device and leaf key, and that the device signed for it.

    Raises RemoteProtocolError: wrong_member_id, bad_signature.
    """
    expected = member_id(
        room, slot, identity.user_id, identity.device_id, device_key=binding.device_key, leaf_key=leaf_key
    )
    if identity.member_id != expected:
        raise RemoteProtocolError("wrong_member_id", where=where)
    text = signing_text(BINDING_LABEL, room, slot, *_fields(identity), leaf_key)
    verify_text(binding.device_key, text, binding.signature, where=where)


def verify_text(device_key: bytes, text: str, signature: bytes, *, where: str) -> None:
    """Ed25519 over ASCII text by a Matrix key (32 bytes). Raises RemoteProtocolError("bad_signature")."""
    verify_ed25519(device_key, text.encode(), signature, where=where)


def verify_ed25519(key: bytes, message: bytes, signature: bytes, *, where: str, section: str = "") -> None:
    """Ed25519 by a Matrix key (32 bytes). Raises RemoteProtocolError("bad_signature")."""
    try:
        verify_signature(ED25519_SUITE, key, message, signature)
    except RemoteProtocolError:
        raise RemoteProtocolError("bad_signature", where=where, section=section) from None


def _fields(identity: Identity) -> tuple[str, str, str]:
    return identity.user_id, identity.device_id, identity.member_id
