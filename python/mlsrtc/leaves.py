"""Whose a leaf is, and where leaves go in the tree. Pure; knows no commit, no key tree and no trust.

A leaf is somebody's by its binding alone (docs/protocol.md, "Binding"): every member checks every leaf with
`bound_leaf`, whether it stands in a commit, in a KeyPackage or in a tree.
"""

from collections.abc import Container, Iterable, Sized
from typing import Protocol

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import LeafIndex, RoomId, SlotId
from mlsrtc.wire import encoding
from mlsrtc.wire.binding import EXTENSION_TYPE, decode_binding, verify_binding

SECTION = "docs/protocol.md, Binding"


def bound_leaf(
    room: RoomId,
    slot: SlotId,
    *,
    identity: bytes | None,
    signature_key: bytes,
    extensions: Iterable[tuple[int, bytes]],
    where: str,
    known: Leaf | None = None,
) -> Leaf:
    """The leaf of a member or joiner, from its basic credential, its leaf key and its leaf extensions.

    known: one that was read before, in this room and slot. If this is the same, nothing is checked again.

    Raises RemoteProtocolError: bad_credential (not a basic one), the reasons of `encoding.decode_identity`,
    missing_binding, bad_binding, wrong_member_id, bad_signature.
    """
    if identity is None:
        raise RemoteProtocolError("bad_credential", where=f"{where}.credential", section=SECTION)
    bodies = [body for kind, body in extensions if kind == EXTENSION_TYPE]
    found = identity, signature_key, bodies
    if known is not None and found == (known.credential, known.signature_key, [known.binding]):
        return known
    named = encoding.decode_identity(identity, where=f"{where}.credential")
    where = f"{where}.binding"
    if len(bodies) != 1:
        raise RemoteProtocolError("missing_binding", where=where, section=SECTION)
    binding = decode_binding(bodies[0], where=where)
    verify_binding(room, slot, named, signature_key, binding, where=where)
    return Leaf(
        member_id=named.member_id,
        user_id=named.user_id,
        device_id=named.device_id,
        device_key=binding.device_key,
        signature_key=signature_key,
        binding=bodies[0],
    )


class _Taken(Container[LeafIndex], Sized, Protocol):
    """A set of leaf indexes, or a mapping from them."""


def free_index(taken: _Taken) -> LeafIndex:
    """Where the next leaf goes (RFC 9420 section 12.1.1): the leftmost blank, or a new leaf to the right.

    How wide the tree is after extension and truncation decides nothing here: the leftmost blank is the least
    index without a leaf.
    """
    return LeafIndex(next(index for index in range(len(taken) + 1) if LeafIndex(index) not in taken))
