"""What a commit is judged against: its parent's epoch, or for a root the epoch 0 that it carries."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn

from mlsrtc import _core
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import LeafIndex, MemberId, UserId
from mlsrtc.judge.values import Candidate, Judged
from mlsrtc.leaves import bound_leaf
from mlsrtc.wire import encoding


@dataclass(frozen=True, slots=True)
class Base:
    """What a commit is judged against: its parent's epoch, or epoch 0 for a root."""

    suite: int
    group_id: bytes
    epoch: int
    context: bytes
    extensions: bytes
    interim: bytes
    leaves: Mapping[LeafIndex, Leaf]
    ever: frozenset[MemberId]
    idle_user: UserId | None


def base_of(parent: Judged) -> Base:
    """The parent's epoch."""
    committed = parent.committed
    return Base(
        suite=parent.suite,
        group_id=committed.group_id,
        epoch=committed.epoch,
        context=parent.context,
        extensions=parent.context_extensions,
        interim=parent.interim_transcript_hash,
        leaves=committed.leaves,
        ever=parent.ever,
        idle_user=parent.idle_user,
    )


def genesis(candidate: Candidate) -> Base:
    """Epoch 0 of a root: one leaf, the creator's, whose member_id the group_id commits to."""
    where = "group_info_0"
    if candidate.group_info_0 is None:
        refuse("missing_field", where, "a root carries the GroupInfo of epoch 0")
    with at(where, "group_info"):
        info = _core.inspect_group_info(candidate.group_info_0)
    if info.epoch != 0:
        refuse("wrong_epoch", f"{where}.epoch")
    if info.confirmed_transcript_hash:
        refuse("wrong_transcript", f"{where}.confirmed_transcript_hash", "empty in epoch 0 (RFC 9420 section 11)")
    if info.signer != 0:
        refuse("wrong_signer", f"{where}.signer")
    if info.tree is None:
        refuse("missing_tree", where)
    with at(f"{where}.ratchet_tree", "ratchet_tree"):
        tree = _core.inspect_tree(info.tree)
    if tree.keys() != {0}:
        refuse("bad_tree", f"{where}.ratchet_tree", "not the tree of one leaf")
    with at(f"{where}.cipher_suite", "suite"):
        tree_hash = tree[0].tree_hash(info.suite, 0)
    if tree_hash != info.tree_hash:
        refuse("wrong_tree_hash", f"{where}.tree_hash")
    creator = leaf_of(candidate, tree[0], f"{where}.leaf_node")
    if info.group_id != encoding.group_id(candidate.room_id, candidate.slot_id, creator.member_id):
        refuse("wrong_group_id", f"{where}.group_id", "not this call's and this creator's")
    with at(f"{where}.leaf_node", "leaf_node"):
        tree[0].verify(info.suite)
    with at(where, "group_info"):
        info.verify(creator.signature_key)
    return Base(
        suite=info.suite,
        group_id=info.group_id,
        epoch=0,
        context=info.context,
        extensions=info.context_extensions,
        interim=_core.interim_transcript_hash(info.suite, b"", info.confirmation_tag),
        leaves={LeafIndex(0): creator},
        ever=frozenset({creator.member_id}),
        idle_user=None,
    )


def leaf_of(candidate: Candidate, facts: _core.LeafFacts, where: str, known: Leaf | None = None) -> Leaf:
    """The leaf by its binding to the candidate's room and slot; see `bound_leaf`."""
    return bound_leaf(
        candidate.room_id,
        candidate.slot_id,
        identity=facts.identity,
        signature_key=facts.signature_key,
        extensions=facts.extensions,
        where=where,
        known=known,
    )


def refuse(reason: str, where: str, detail: str = "") -> NoReturn:
    """Raises the RemoteProtocolError of a clause that does not hold."""
    raise RemoteProtocolError(reason, detail, where=where, section="docs/protocol.md, Valid commits")


@contextlib.contextmanager
def at(where: str, inner: str) -> Iterator[None]:
    """Names what was read as `inner` by its place in the event."""
    try:
        yield
    except RemoteProtocolError as error:
        place = where + error.where[len(inner) :] if inner and error.where.startswith(inner) else where
        raise RemoteProtocolError(error.reason, error.detail, where=place, section=error.section) from None
