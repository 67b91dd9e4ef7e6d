"""Joins, leaves and words: makes them, and makes evidence of those that check. Pure (docs/protocol.md,
"Membership" and "Word").

A member_id commits to room, slot, user, device, device key and leaf key, and the user is the Matrix sender:
so nobody can speak or leave in another's name, and a statement replayed into another room or slot has another
member_id.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.evidence import Joined, Leaf, Left, Refusal, Spoken
from mlsrtc.identifiers import EpochId, EventId, MemberId, RoomId, SlotId, UserId
from mlsrtc.wire.binding import (
    EXTENSION_TYPE,
    SIGNATURE_SIZE,
    Binding,
    Sign,
    decode_binding,
    verify_binding,
    verify_text,
)
from mlsrtc.wire.block import JoinBlock, LeftBlock
from mlsrtc.wire.chain import DeviceChain
from mlsrtc.wire.commit import WordEvent
from mlsrtc.wire.encoding import JOIN_LABEL, WORD_LABEL, member_id, signing_text, signing_tuple
from mlsrtc.wire.leaf_signature import (
    LeafSigner,
    left_message,
    verify_leaf,
    verify_left_signature,
)

LIFETIME_LIMIT = 4 * 3600 * 1000
"""Milliseconds that `until` may be after `from`: a constant of the protocol, because the head depends on
it.
"""

BLOCK = "content.dev.mlsrtc.mls"


class LeafFacts(Protocol):
    """What a leaf node says of itself, as the core's `inspect` gives it."""

    @property
    def identity(self) -> bytes | None:
        """The basic credential."""

    @property
    def signature_key(self) -> bytes:
        """The leaf's signature key."""

    @property
    def extensions(self) -> Sequence[tuple[int, bytes]]:
        """Type and body of each leaf extension."""


# -- joins ---------------------------------------------------------------------------------------------------


def sign_join(
    room: RoomId,
    slot: SlotId,
    leaf: Leaf,
    *,
    suite: int,
    key_package: bytes,
    binding: Binding,
    sign: Sign,
    from_ts: int,
    until_ts: int,
    head: EpochId | None = None,
    replaces: frozenset[MemberId] = frozenset(),
    chain: DeviceChain | None = None,
) -> JoinBlock:
    """A join, or its refresh with a later `until`. Times are milliseconds since the epoch; `sign` is the
    Matrix device's.

    Raises LocalProtocolError if what is asked for would be refused by everybody.
    """
    block = JoinBlock(
        suite=suite,
        slot_id=slot,
        device_id=leaf.device_id,
        member_id=leaf.member_id,
        leaf_key=leaf.signature_key,
        binding=binding,
        key_package=key_package,
        replaces=tuple(sorted(replaces)),
        head=head,
        from_ts=from_ts,
        until_ts=until_ts,
        signature=bytes(SIGNATURE_SIZE),
        chain=chain,
    )
    signed = replace(block, signature=sign(_join_text(room, leaf.user_id, block)))
    try:
        verify_join(room, leaf.user_id, signed)
    except RemoteProtocolError as error:
        raise LocalProtocolError(f"this join would be refused: {error}") from None
    return signed


def verify_join(room: RoomId, sender: UserId, block: JoinBlock) -> Joined:
    """J(m), if the block is a join by `sender` in `room` and in the slot that it names.

    Raises RemoteProtocolError: bad_lifetime (`until` not after `from`, or more than 4 h after),
    replaces_itself, wrong_member_id, bad_signature (`where` tells the binding's from the join's).
    """
    if not block.from_ts < block.until_ts <= block.from_ts + LIFETIME_LIMIT:
        raise RemoteProtocolError("bad_lifetime", where=f"{BLOCK}.until")
    if block.member_id in block.replaces:
        raise RemoteProtocolError("replaces_itself", where=f"{BLOCK}.replaces")
    leaf = leaf_of_join(sender, block)
    verify_binding(room, block.slot_id, leaf.identity, leaf.signature_key, block.binding, where=f"{BLOCK}.binding")
    verify_text(leaf.device_key, _join_text(room, sender, block), block.signature, where=f"{BLOCK}.signature")
    return Joined(
        leaf=replace(leaf, binding=block.binding.encode()),
        suite=block.suite,
        key_package=block.key_package,
        replaces=frozenset(block.replaces),
        head=block.head,
        from_ts=block.from_ts,
        until_ts=block.until_ts,
    )


def leaf_of_join(sender: UserId, block: JoinBlock) -> Leaf:
    """Whom a join speaks of; nothing is checked."""
    return Leaf(block.member_id, sender, block.device_id, block.binding.device_key, block.leaf_key)


def _join_text(room: RoomId, user: UserId, block: JoinBlock) -> str:
    return signing_text(
        JOIN_LABEL,
        room,
        block.slot_id,
        user,
        block.device_id,
        block.member_id,
        block.leaf_key,
        hashlib.sha256(block.key_package).digest(),
        block.from_ts,
        block.until_ts,
        block.head,
        list(block.replaces),
    )


def verify_key_package(room: RoomId, slot: SlotId, joined: Joined, facts: LeafFacts) -> None:
    """That the leaf inside the join's KeyPackage is the join's: same credential, leaf key and device key, and
    bound.

    Whoever adds checks it, since a commit that adds another leaf is invalid. `facts`: of the KeyPackage's
    leaf. Raises RemoteProtocolError: wrong_credential, wrong_leaf_key, no_binding, wrong_device_key, and as
    `verify_binding`.
    """
    where = f"{BLOCK}.key_package"
    leaf = joined.leaf
    if facts.identity != leaf.credential:
        raise RemoteProtocolError("wrong_credential", where=where)
    if facts.signature_key != leaf.signature_key:
        raise RemoteProtocolError("wrong_leaf_key", where=where)
    bodies = [body for kind, body in facts.extensions if kind == EXTENSION_TYPE]
    if len(bodies) != 1:
        raise RemoteProtocolError("no_binding", where=where)
    binding = decode_binding(bodies[0], where=where)
    if binding.device_key != leaf.device_key:
        raise RemoteProtocolError("wrong_device_key", where=where)
    if bodies[0] != leaf.binding:
        verify_binding(room, slot, leaf.identity, leaf.signature_key, binding, where=where)


# -- leaves --------------------------------------------------------------------------------------------------


def sign_left(room: RoomId, slot: SlotId, leaf: Leaf, signer: LeafSigner) -> LeftBlock:
    """The leave of our own leaf: for the leave event, for the delayed one, and for the commit that removes
    us.
    """
    if signer.public != leaf.signature_key:
        raise LocalProtocolError("this signing key is not the leaf's")
    return LeftBlock(
        suite=signer.suite,
        slot_id=slot,
        device_id=leaf.device_id,
        member_id=leaf.member_id,
        device_key=leaf.device_key,
        leaf_key=leaf.signature_key,
        signature=signer.sign(left_message(room, slot, leaf.member_id)),
    )


def verify_left(room: RoomId, sender: UserId, block: LeftBlock) -> Left:
    """L(m), if the block is the leave of a member_id of `sender`. It needs no join: m is computed from the
    block.

    Raises RemoteProtocolError: wrong_member_id, unsupported_suite, bad_signature.
    """
    leaf = leaf_of_left(sender, block)
    expected = member_id(
        room,
        block.slot_id,
        sender,
        leaf.device_id,
        device_key=leaf.device_key,
        leaf_key=leaf.signature_key,
    )
    if expected != leaf.member_id:
        raise RemoteProtocolError("wrong_member_id", where=f"{BLOCK}.left.member_id")
    verify_left_signature(
        block.suite,
        room,
        block.slot_id,
        leaf.member_id,
        leaf_key=leaf.signature_key,
        signature=block.signature,
        where=f"{BLOCK}.left.signature",
    )
    return Left(leaf.member_id, block.signature)


def leaf_of_left(sender: UserId, block: LeftBlock) -> Leaf:
    """Whom a leave speaks of; nothing is checked."""
    return Leaf(block.member_id, sender, block.device_id, block.device_key, block.leaf_key)


# -- words ---------------------------------------------------------------------------------------------------


def sign_word(
    room: RoomId,
    slot: SlotId,
    leaf: Leaf,
    signer: LeafSigner,
    *,
    root: EpochId,
    root_event: EventId,
    n: int,
    id: EpochId,
    refuse: Refusal | None = None,
) -> WordEvent:
    """A word of our own leaf: it stands on `id`. `n` counts our commits and words from 1; `root_event` holds
    the root.
    """
    if signer.public != leaf.signature_key:
        raise LocalProtocolError("this signing key is not the leaf's")
    refused = None if refuse is None else (refuse.id, refuse.why)
    message = _word_message(room, slot, leaf.member_id, root=root, n=n, id=id, refuse=refused)
    return WordEvent(slot, root, leaf.member_id, n, id, signer.sign(message), root_event, refused)


def verify_word(room: RoomId, sender: UserId, word: WordEvent, leaf: Leaf, suite: int) -> Spoken:
    """W, if `leaf` (of a join, or of a tree: the one that the word's member_id names) said it. `suite` is the
    root's.

    Raises RemoteProtocolError: wrong_member_id (another leaf), wrong_user (the sender is not the leaf's
    user), unsupported_suite, bad_signature.
    """
    if word.member_id != leaf.member_id:
        raise RemoteProtocolError("wrong_member_id", where="content.member_id")
    if sender != leaf.user_id:
        raise RemoteProtocolError("wrong_user", where="sender")
    message = _word_message(
        room, word.slot_id, word.member_id, root=word.root, n=word.n, id=word.id, refuse=word.refuse
    )
    verify_leaf(suite, leaf.signature_key, message, word.signature, where="content.sig")
    refuse = None if word.refuse is None else Refusal(*word.refuse)
    return Spoken(word.member_id, sender, word.root, word.n, word.id, refuse)


def _word_message(
    room: RoomId,
    slot: SlotId,
    member: MemberId,
    *,
    root: EpochId,
    n: int,
    id: EpochId,
    refuse: tuple[EpochId, str] | None,
) -> bytes:
    refused, why = refuse or (None, None)
    return signing_tuple(WORD_LABEL, room, slot, root, member, n, id, refused, why)
