"""Bytes of a commit and its judged parent -> facts about it: valid(c) of docs/protocol.md, "Valid". Pure.

Knows no tree, no secret, no clock, no roster and no trust: a verdict can never change when more is seen. What
only a member can tell (does it open, is the tree right, is the device trusted) is no matter of this module. A
parent that is not known yet is the caller's to wait for.

Comparisons come first; then the signatures that prove the author (commit, GroupInfo, and if there is a path
its leaf and binding); then three per Add and one per leave (docs/protocol.md, "Work").
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from mlsrtc import _core
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.evidence import Committed, Leaf, Refusal
from mlsrtc.identifiers import EpochId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.leaves import bound_leaf, free_index
from mlsrtc.wire import encoding
from mlsrtc.wire.commit import CommitEvent
from mlsrtc.wire.commit_data import CommitData, decode_commit_data
from mlsrtc.wire.fields import INTEGER_LIMIT

PATH_LEAF = "commit.path.leaf_node"


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
    gone: tuple[tuple[str, str, str], ...]  # participants without MLS that it names as gone


@dataclass(frozen=True, slots=True)
class _Base:
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


def judge(candidate: Candidate, parent: Judged | None) -> Judged:
    """Whether the commit is valid, from its bytes and its parent alone.

    parent: the verdict on `candidate.parent`, or None for a root.

    Raises LocalProtocolError if `parent` is not the commit that the candidate names, and RemoteProtocolError
    with the reason and the field of the first clause that does not hold (docs/protocol.md, "Valid").
    """
    named = None if parent is None else parent.committed.id
    if candidate.parent != named:
        raise LocalProtocolError("a commit is judged against the parent that it names")
    base = _genesis(candidate) if parent is None else _base(parent)
    commit = _core.inspect_commit(candidate.commit)
    info = _core.inspect_group_info(candidate.group_info)
    interim = _compare(candidate, parent, base, commit, info)
    data = _authenticated_data(candidate, commit)
    _check_proposals(commit)

    author_index, author = _author(candidate, base, commit)
    if author.user_id != candidate.sender:
        _refuse("wrong_sender", "sender", "not the user in the author's credential")
    if info.signer != author_index:
        _refuse("wrong_signer", "group_info.signer", "not the author's leaf")
    commit.verify(base.context, author.signature_key)
    info.verify(author.signature_key)
    if commit.path_leaf is not None:
        _check_path(candidate, base, commit.path_leaf, author_index, author)

    leaves = dict(base.leaves)
    removed = _remove(commit, author_index, author, leaves)
    _check_left(candidate, base.suite, data, removed)
    joiners = _adds(candidate, base, commit)
    if commit.external:
        joiners.append(author)
    ever = _add(leaves, joiners, base.ever)

    changes = bool(joiners or removed or data.gone)
    if commit.path_leaf is None and (removed or not joiners):
        _refuse("missing_path", "commit.path", "a commit that removes, or adds nobody, has a path")
    if not changes and base.idle_user == author.user_id:
        _refuse("idle_twice", "commit", "two commits in a row by one user that change nothing")
    committed = Committed(
        id=candidate.id,
        parent=candidate.parent,
        root=candidate.root,
        epoch=info.epoch,
        group_id=base.group_id,
        author=author,
        n=data.n,
        leaves=MappingProxyType(leaves),
        added=frozenset(leaf.member_id for leaf in joiners),
        removed=frozenset(removed),
        left=frozenset(data.left),
        has_path=commit.path_leaf is not None,
        external=commit.external,
        refuse=None if data.refuse is None else Refusal(*data.refuse),
    )
    return Judged(
        committed=committed,
        suite=base.suite,
        context=info.context,
        confirmation_tag=info.confirmation_tag,
        interim_transcript_hash=interim,
        context_extensions=info.context_extensions,
        tree_hash=info.tree_hash,
        external_pub=info.external_pub,
        author_index=author_index,
        ever=ever,
        idle_user=None if changes else author.user_id,
        gone=data.gone,
    )


# -- what the commit is judged against ---------------------------------------------------------------------


def _base(parent: Judged) -> _Base:
    committed = parent.committed
    return _Base(
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


def _genesis(candidate: Candidate) -> _Base:
    """Epoch 0 of a root: one leaf, the creator's, whose member_id the group_id commits to."""
    where = "group_info_0"
    if candidate.group_info_0 is None:
        _refuse("missing_field", where, "a root carries the GroupInfo of epoch 0")
    with _at(where, "group_info"):
        info = _core.inspect_group_info(candidate.group_info_0)
    if info.epoch != 0:
        _refuse("wrong_epoch", f"{where}.epoch")
    if info.confirmed_transcript_hash:
        _refuse(
            "wrong_transcript", f"{where}.confirmed_transcript_hash", "empty in epoch 0 (RFC 9420 section 11)"
        )
    if info.signer != 0:
        _refuse("wrong_signer", f"{where}.signer")
    if info.tree is None:
        _refuse("missing_tree", where)
    with _at(f"{where}.ratchet_tree", "ratchet_tree"):
        tree = _core.inspect_tree(info.tree)
    if tree.keys() != {0}:
        _refuse("bad_tree", f"{where}.ratchet_tree", "not the tree of one leaf")
    with _at(f"{where}.cipher_suite", "suite"):
        tree_hash = tree[0].tree_hash(info.suite, 0)
    if tree_hash != info.tree_hash:
        _refuse("wrong_tree_hash", f"{where}.tree_hash")
    creator = _leaf(candidate, tree[0], f"{where}.leaf_node")
    if info.group_id != encoding.group_id(candidate.room_id, candidate.slot_id, creator.member_id):
        _refuse("wrong_group_id", f"{where}.group_id", "not this call's and this creator's")
    with _at(f"{where}.leaf_node", "leaf_node"):
        tree[0].verify(info.suite)
    with _at(where, "group_info"):
        info.verify(creator.signature_key)
    return _Base(
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


# -- comparisons that cost no signature --------------------------------------------------------------------


def _compare(
    candidate: Candidate,
    parent: Judged | None,
    base: _Base,
    commit: _core.CommitFacts,
    info: _core.GroupInfoFacts,
) -> bytes:
    """Commit, GroupInfo, parent and hints fit together. Gives the interim transcript hash of the child."""
    for name, facts, epoch in (("commit", commit, base.epoch), ("group_info", info, base.epoch + 1)):
        if facts.group_id != base.group_id:
            _refuse("wrong_group_id", f"{name}.group_id", "not the parent's")
        if facts.epoch != epoch:
            _refuse("wrong_epoch", f"{name}.epoch", f"{facts.epoch} instead of {epoch}")
    if info.suite != base.suite:
        _refuse("wrong_suite", "group_info.cipher_suite", "not the parent's")
    if info.context_extensions != base.extensions:
        _refuse("wrong_extensions", "group_info.extensions", "not the parent's")
    if info.confirmation_tag != commit.confirmation_tag:
        _refuse("wrong_confirmation_tag", "group_info.confirmation_tag", "not the commit's")
    confirmed, interim = commit.transcript(base.suite, base.interim)
    if info.confirmed_transcript_hash != confirmed:
        _refuse(
            "wrong_transcript",
            "group_info.confirmed_transcript_hash",
            "does not follow from parent and commit",
        )
    if candidate.id != encoding.epoch_id(info.context, info.confirmation_tag):
        _refuse("wrong_id", "id", "not the hash of GroupContext and confirmation tag")
    if candidate.epoch != info.epoch:
        _refuse("wrong_epoch", "epoch")
    if candidate.root != (candidate.id if parent is None else parent.committed.root):
        _refuse("wrong_root", "root")
    if parent is not None and candidate.group_info_0 is not None:
        _refuse("unexpected_field", "group_info_0", "only a root carries it")
    return interim


def _authenticated_data(candidate: Candidate, commit: _core.CommitFacts) -> CommitData:
    data = decode_commit_data(commit.authenticated_data)
    if data.n > INTEGER_LIMIT:
        _refuse("bad_count", "commit.authenticated_data", "n does not fit into JSON")
    if data.n != candidate.n:
        _refuse("wrong_count", "n", "not the commit's")
    if data.left != candidate.left:
        _refuse("wrong_left", "left", "not the commit's")
    return data


def _check_proposals(commit: _core.CommitFacts) -> None:
    """Add and Remove by value; an external commit has one ExternalInit, a path and at most one Remove
    (RFC 9420 section 12.2)."""
    where = "commit.proposals"
    if commit.other_proposals:
        _refuse("unexpected_proposal", where, f"types {commit.other_proposals}, 0 being a reference")
    if commit.external_inits != int(commit.external):
        _refuse("unexpected_proposal", where, "one ExternalInit in an external commit, else none")
    if commit.external and commit.adds:
        _refuse("unexpected_proposal", where, "an external commit adds nobody else")


# -- leaves ------------------------------------------------------------------------------------------------


def _author(candidate: Candidate, base: _Base, commit: _core.CommitFacts) -> tuple[LeafIndex, Leaf]:
    """The leaf that must have signed, and its index after the commit."""
    if not commit.external:
        author = base.leaves.get(LeafIndex(commit.sender if commit.sender is not None else -1))
        if author is None:
            _refuse("unknown_author", "commit.sender", "not a leaf of the parent")
        assert commit.sender is not None
        return LeafIndex(commit.sender), author
    if candidate.parent is None:
        _refuse("root_by_joiner", "commit.sender", "the creator alone makes the first commit")
    if commit.path_leaf is None:
        _refuse("missing_path", "commit.path", "an external commit brings its leaf in its path")
    blank = set(base.leaves) - set(commit.removes)
    return free_index(blank), _leaf(candidate, commit.path_leaf, PATH_LEAF)


def _check_path(
    candidate: Candidate, base: _Base, leaf: _core.LeafFacts, author_index: LeafIndex, author: Leaf
) -> None:
    """The path's leaf is the author's: the same key, credential and bound device, at its own place."""
    identity = encoding.Identity(author.user_id, author.device_id, author.member_id)
    if (leaf.identity, leaf.signature_key) != (identity.encode(), author.signature_key):
        _refuse("author_changed", PATH_LEAF, "key or credential is not that of the author's leaf")
    if author_index in base.leaves:  # else the author was read from this very leaf
        _leaf(candidate, leaf, PATH_LEAF)
    with _at(PATH_LEAF, "leaf_node"):
        leaf.verify(base.suite, base.group_id, author_index)


def _leaf(candidate: Candidate, facts: _core.LeafFacts, where: str) -> Leaf:
    return bound_leaf(
        candidate.room_id,
        candidate.slot_id,
        identity=facts.identity,
        signature_key=facts.signature_key,
        extensions=facts.extensions,
        where=where,
    )


def _remove(
    commit: _core.CommitFacts, author_index: LeafIndex, author: Leaf, leaves: dict[LeafIndex, Leaf]
) -> dict[MemberId, Leaf]:
    """Blanks the removed leaves (RFC 9420 section 12.1.3)."""
    where = "commit.proposals.remove"
    removed: dict[MemberId, Leaf] = {}
    for index in map(LeafIndex, commit.removes):
        leaf = leaves.pop(index, None)
        if leaf is None:
            _refuse("unknown_leaf", where, f"no leaf at index {index}")
        if commit.external:
            device = (leaf.user_id, leaf.device_id, leaf.device_key)
            if removed or device != (author.user_id, author.device_id, author.device_key):
                _refuse("foreign_removal", where, "a joiner removes the old leaf of its own device only")
        elif index == author_index:
            _refuse("removes_itself", where, "nobody commits its own removal (RFC 9420 section 12.2)")
        removed[leaf.member_id] = leaf
    return removed


def _check_left(candidate: Candidate, suite: int, data: CommitData, removed: Mapping[MemberId, Leaf]) -> None:
    """Each leave that the commit repeats is of somebody it removes, and signed by that leaf."""
    where = "commit.authenticated_data.left"
    for member_id, signature in data.left.items():
        leaf = removed.get(member_id)
        if leaf is None:
            _refuse("left_not_removed", where)
        message = encoding.signing_tuple(encoding.LEFT_LABEL, candidate.room_id, candidate.slot_id, member_id)
        with _at(where, ""):
            _core.verify_signature(suite, leaf.signature_key, message, signature)


def _adds(candidate: Candidate, base: _Base, commit: _core.CommitFacts) -> list[Leaf]:
    """The added leaves in the order of the commit, each with its binding, KeyPackage and leaf signature."""
    joiners = []
    for place, facts in enumerate(commit.adds):
        where = f"commit.adds[{place}]"
        if facts.suite != base.suite:
            _refuse("wrong_suite", where)
        joiners.append(_leaf(candidate, facts, f"{where}.leaf_node"))
        with _at(where, "key_package"):
            facts.verify()
    return joiners


def _add(
    leaves: dict[LeafIndex, Leaf], joiners: list[Leaf], ever: frozenset[MemberId]
) -> frozenset[MemberId]:
    """Gives each joiner its place, after the removals (RFC 9420 section 12.4.2)."""
    seen = set(ever)
    for leaf in joiners:
        if leaf.member_id in seen:
            _refuse("added_again", "commit.proposals.add", "was a leaf on this path before")
        seen.add(leaf.member_id)
        leaves[free_index(leaves)] = leaf
    return frozenset(seen) if joiners else ever


# -- refusals ----------------------------------------------------------------------------------------------


def _refuse(reason: str, where: str, detail: str = "") -> NoReturn:
    raise RemoteProtocolError(reason, detail, where=where, section="docs/protocol.md, Valid")


@contextlib.contextmanager
def _at(where: str, inner: str) -> Iterator[None]:
    """Names what was read as `inner` by its place in the event."""
    try:
        yield
    except RemoteProtocolError as error:
        place = where + error.where[len(inner) :] if inner and error.where.startswith(inner) else where
        raise RemoteProtocolError(error.reason, error.detail, where=place, section=error.section) from None
