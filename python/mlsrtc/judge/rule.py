"""The clauses of valid(c), in the order of their cost.

Comparisons come first; then the signatures that prove the author (commit, GroupInfo, and if there is a path
its leaf and binding); then three per Add and one per leave.
"""

from collections.abc import Mapping
from types import MappingProxyType

from mlsrtc import _core
from mlsrtc.errors import LocalProtocolError
from mlsrtc.evidence import Committed, Leaf, Refusal
from mlsrtc.identifiers import LeafIndex, MemberId
from mlsrtc.judge.base import Base, at, base_of, genesis, leaf_of, refuse
from mlsrtc.judge.values import NOTHING_PROVEN, Candidate, Judged, Proven
from mlsrtc.leaves import free_index
from mlsrtc.wire import encoding
from mlsrtc.wire.commit_data import CommitData, decode_commit_data
from mlsrtc.wire.fields import INTEGER_LIMIT

PATH_LEAF = "commit.path.leaf_node"


def judge(candidate: Candidate, parent: Judged | None, proven: Proven = NOTHING_PROVEN) -> Judged:
    """Whether the commit is valid, from its bytes and its parent alone.

    parent: the verdict on `candidate.parent`, or None for a root. proven: saves work and changes no verdict.

    Raises LocalProtocolError if `parent` is not the commit that the candidate names, and RemoteProtocolError
    with the reason and the field of the first clause that does not hold (docs/protocol.md, "Valid commits").
    """
    named = None if parent is None else parent.committed.id
    if candidate.parent != named:
        raise LocalProtocolError("a commit is judged against the parent that it names")
    base = genesis(candidate) if parent is None else base_of(parent)
    commit = _core.inspect_commit(candidate.commit)
    info = _core.inspect_group_info(candidate.group_info)
    interim = _compare(candidate, parent, base, commit, info)
    data = _authenticated_data(candidate, commit)
    _check_proposals(commit)

    author_index, author = _author(candidate, base, commit)
    if author.user_id != candidate.sender:
        refuse("wrong_sender", "sender", "not the user in the author's credential")
    if info.signer != author_index:
        refuse("wrong_signer", "group_info.signer", "not the author's leaf")
    commit.verify(base.context, author.signature_key)
    info.verify(author.signature_key)
    if commit.path_leaf is not None:
        _check_path(candidate, base, commit.path_leaf, author_index, author)

    leaves = dict(base.leaves)
    removed = _remove(commit, author_index, author, leaves)
    _check_left(candidate, base.suite, data, removed, proven)
    joiners = _adds(candidate, base, commit, proven)
    if commit.external:
        joiners.append(author)
    ever = _add(leaves, joiners, base.ever)

    changes = bool(joiners or removed or data.guests)
    if commit.path_leaf is None and (removed or not joiners):
        refuse("missing_path", "commit.path", "a commit that removes, or adds nobody, has a path")
    if not changes and base.idle_user == author.user_id:
        refuse("idle_twice", "commit", "two commits in a row by one user that change nothing")
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
        guests=data.guests,
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
    )


# -- comparisons that cost no signature --------------------------------------------------------------------


def _compare(
    candidate: Candidate,
    parent: Judged | None,
    base: Base,
    commit: _core.CommitFacts,
    info: _core.GroupInfoFacts,
) -> bytes:
    """Commit, GroupInfo, parent and hints fit together. Gives the interim transcript hash of the child."""
    for name, facts, epoch in (("commit", commit, base.epoch), ("group_info", info, base.epoch + 1)):
        if facts.group_id != base.group_id:
            refuse("wrong_group_id", f"{name}.group_id", "not the parent's")
        if facts.epoch != epoch:
            refuse("wrong_epoch", f"{name}.epoch", f"{facts.epoch} instead of {epoch}")
    if info.suite != base.suite:
        refuse("wrong_suite", "group_info.cipher_suite", "not the parent's")
    if info.context_extensions != base.extensions:
        refuse("wrong_extensions", "group_info.extensions", "not the parent's")
    if info.confirmation_tag != commit.confirmation_tag:
        refuse("wrong_confirmation_tag", "group_info.confirmation_tag", "not the commit's")
    confirmed, interim = commit.transcript(base.suite, base.interim)
    if info.confirmed_transcript_hash != confirmed:
        refuse(
            "wrong_transcript",
            "group_info.confirmed_transcript_hash",
            "does not follow from parent and commit",
        )
    if candidate.id != encoding.epoch_id(info.context, info.confirmation_tag):
        refuse("wrong_id", "id", "not the hash of GroupContext and confirmation tag")
    if candidate.epoch != info.epoch:
        refuse("wrong_epoch", "epoch")
    if candidate.root != (candidate.id if parent is None else parent.committed.root):
        refuse("wrong_root", "root")
    if parent is not None and candidate.group_info_0 is not None:
        refuse("unexpected_field", "group_info_0", "only a root carries it")
    return interim


def _authenticated_data(candidate: Candidate, commit: _core.CommitFacts) -> CommitData:
    data = decode_commit_data(commit.authenticated_data)
    if data.parent != candidate.parent:
        refuse("wrong_parent", "commit.authenticated_data.parent", "not the one that the event names")
    if data.n > INTEGER_LIMIT:
        refuse("bad_count", "commit.authenticated_data", "n does not fit into JSON")
    if data.n != candidate.n:
        refuse("wrong_count", "n", "not the commit's")
    if data.left != candidate.left:
        refuse("wrong_left", "left", "not the commit's")
    return data


def _check_proposals(commit: _core.CommitFacts) -> None:
    """Add and Remove by value; an external commit has one ExternalInit, a path and at most one Remove
    (RFC 9420 section 12.2)."""
    where = "commit.proposals"
    if commit.other_proposals:
        refuse("unexpected_proposal", where, f"types {commit.other_proposals}, 0 being a reference")
    if commit.external_inits != int(commit.external):
        refuse("unexpected_proposal", where, "one ExternalInit in an external commit, else none")
    if commit.external and commit.adds:
        refuse("unexpected_proposal", where, "an external commit adds nobody else")


# -- leaves ------------------------------------------------------------------------------------------------


def _author(candidate: Candidate, base: Base, commit: _core.CommitFacts) -> tuple[LeafIndex, Leaf]:
    """The leaf that must have signed, and its index after the commit."""
    if not commit.external:
        author = base.leaves.get(LeafIndex(commit.sender if commit.sender is not None else -1))
        if author is None:
            refuse("unknown_author", "commit.sender", "not a leaf of the parent")
        assert commit.sender is not None
        return LeafIndex(commit.sender), author
    if candidate.parent is None:
        refuse("root_by_joiner", "commit.sender", "the creator alone makes the first commit")
    if commit.path_leaf is None:
        refuse("missing_path", "commit.path", "an external commit brings its leaf in its path")
    blank = set(base.leaves) - set(commit.removes)
    return free_index(blank), leaf_of(candidate, commit.path_leaf, PATH_LEAF)


def _check_path(candidate: Candidate, base: Base, leaf: _core.LeafFacts, author_index: LeafIndex, author: Leaf) -> None:
    """The path's leaf is the author's: the same key, credential and bound device, at its own place."""
    if (leaf.identity, leaf.signature_key) != (author.credential, author.signature_key):
        refuse("author_changed", PATH_LEAF, "key or credential is not that of the author's leaf")
    if author_index in base.leaves:  # else the author was read from this very leaf
        leaf_of(candidate, leaf, PATH_LEAF, known=author)
    with at(PATH_LEAF, "leaf_node"):
        leaf.verify(base.suite, base.group_id, author_index)


def _remove(
    commit: _core.CommitFacts, author_index: LeafIndex, author: Leaf, leaves: dict[LeafIndex, Leaf]
) -> dict[MemberId, Leaf]:
    """Blanks the removed leaves (RFC 9420 section 12.1.3)."""
    where = "commit.proposals.remove"
    removed: dict[MemberId, Leaf] = {}
    for index in map(LeafIndex, commit.removes):
        leaf = leaves.pop(index, None)
        if leaf is None:
            refuse("unknown_leaf", where, f"no leaf at index {index}")
        if commit.external:
            if removed or leaf.device_identity != author.device_identity:
                refuse("foreign_removal", where, "a joiner removes the old leaf of its own device only")
        elif index == author_index:
            refuse("removes_itself", where, "nobody commits its own removal (RFC 9420 section 12.2)")
        removed[leaf.member_id] = leaf
    return removed


def _check_left(
    candidate: Candidate, suite: int, data: CommitData, removed: Mapping[MemberId, Leaf], proven: Proven
) -> None:
    """Each leave that the commit repeats is of somebody it removes, and signed by that leaf."""
    where = "commit.authenticated_data.left"
    for member_id, signature in data.left.items():
        leaf = removed.get(member_id)
        if leaf is None:
            refuse("left_not_removed", where)
        if proven.left.get((suite, member_id)) == signature:
            continue
        message = encoding.signing_tuple(encoding.LEFT_LABEL, candidate.room_id, candidate.slot_id, member_id)
        with at(where, ""):
            _core.verify_signature(suite, leaf.signature_key, message, signature)


def _adds(candidate: Candidate, base: Base, commit: _core.CommitFacts, proven: Proven) -> list[Leaf]:
    """The added leaves in the order of the commit, each with its binding, KeyPackage and leaf signature."""
    joiners = []
    for place, facts in enumerate(commit.adds):
        where = f"commit.adds[{place}]"
        if facts.suite != base.suite:
            refuse("wrong_suite", where)
        known = None if facts.identity is None else proven.leaves.get(facts.identity)
        joiners.append(leaf_of(candidate, facts, f"{where}.leaf_node", known))
        with at(where, "key_package"):
            facts.verify()
    return joiners


def _add(leaves: dict[LeafIndex, Leaf], joiners: list[Leaf], ever: frozenset[MemberId]) -> frozenset[MemberId]:
    """Gives each joiner its place, after the removals (RFC 9420 section 12.4.2)."""
    seen = set(ever)
    for leaf in joiners:
        if leaf.member_id in seen:
            refuse("added_again", "commit.proposals.add", "was a leaf on this path before")
        seen.add(leaf.member_id)
        leaves[free_index(leaves)] = leaf
    return frozenset(seen) if joiners else ever
