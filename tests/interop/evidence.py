"""What a fault of another engine is known by: facts of the group at the moment when it was met, which are looked at by
code that is none of that engine's. Without them a fault is not explained, whatever the engine says of it.

The tree is that of a member of another engine, and is read and hashed by the twins of `tests/mls`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from cipher_suites import SUITES
from peers import Fields
from ratchet_tree import Tree, level
from twins import (
    ADD,
    BY_VALUE,
    FROM_COMMIT,
    PSK,
    RATCHET_TREE,
    Commit,
    GroupInfo,
    LeafNode,
    MLSMessage,
    ParentNode,
    Proposal,
    PublicMessage,
)

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.mls import inspect_commit, inspect_key_package

EXTERNAL_PUB = 4
"""The extension (RFC 9420 section 17.3)."""


@dataclass(frozen=True)
class Case:
    """A fault as it was met: at `message`, or at a commit that was to be made."""

    suite: int
    group_id: bytes
    group_info: Callable[[], bytes]
    """With the tree, from another member if there is one, of an engine that writes it as the standard has it if there
    is one."""
    author: str | None
    """The engine that made the commit at hand, or was to make it."""
    ask_author: Callable[..., Fields]
    message: bytes
    """The last handshake message."""
    added: Sequence[bytes]
    """The key packages that the commit at hand was asked to add."""
    proposed: Sequence[bytes]
    """The proposals of the epoch in which it is made."""
    earlier: Sequence[bytes]
    """Those that its author took in, or made, in epochs before."""

    def tree(self) -> Tree:
        return tree_of(self.group_info())


def own_leaf(case: Case) -> int:
    """Where the author of the commit is, once it is made."""
    leaf: int = case.ask_author("state", label="", context=b"")["leaf"]
    return leaf


def tree_of(group_info: bytes) -> Tree:
    """Read by the twins, for which external_pub may be anything."""
    info = MLSMessage.decode(group_info).body
    assert isinstance(info, GroupInfo)
    suite = SUITES[info.group_context.cipher_suite]
    return Tree.decode(suite, next(one.data for one in info.extensions if one.type == RATCHET_TREE))


def hash_above(leaf: LeafNode) -> bytes:
    """The parent hash that a leaf carries; empty if it has none."""
    return leaf.body if leaf.source == FROM_COMMIT else b""


def is_valid(tree: Tree) -> bool:
    """Each parent node is parent-hash valid, which is what section 12.4.3.1 asks of a newcomer to verify."""
    return all(tree.vouched(place) for place, node in enumerate(tree.nodes) if isinstance(node, ParentNode))


def hash_of_today(tree: Tree, leaf: int) -> bytes:
    """What the leaf's parent hash would be if its member had been the last to commit."""
    above, path = b"", [2 * leaf, *tree.path(2 * leaf)]
    for below, node in reversed(list(pairwise(path))):
        if isinstance(found := tree.nodes[node], ParentNode):
            kept, found.parent_hash = found.parent_hash, above
            above, found.parent_hash = tree.parent_hash(node, tree.sibling(below)), kept
    return above


def has_leaves_of_before(case: Case) -> bool:
    """The tree is valid, and has a leaf above which others have changed nodes since its member committed."""
    tree = case.tree()
    carried = {leaf: hash_above(tree.leaf(leaf)) for leaf in tree.members()}
    return is_valid(tree) and any(value and value != hash_of_today(tree, leaf) for leaf, value in carried.items())


def lists_differ_on_a_path(case: Case) -> bool:
    """Each node between an unmerged leaf and a node that lists it lists it too; and yet, on the path of one, nodes have
    unlike lists."""
    tree = case.tree()
    parents = ((place, node) for place, node in enumerate(tree.nodes) if isinstance(node, ParentNode))
    listing = {place: set(node.unmerged_leaves) for place, node in parents}
    differ = False
    for place, leaves in listing.items():
        for leaf in leaves:
            path = [node for node in tree.path(2 * leaf) if node in listing]
            if place not in path or any(leaf not in listing[node] for node in path if level(node) < level(place)):
                return False
            differ |= any(listing[node] != leaves for node in path)
    return differ


def is_signed_for_its_own_leaf(case: Case) -> bool:
    """An external commit whose leaf is signed for the place that it takes, as it has to be, and not for leaf 0."""
    facts = inspect_commit(case.message)

    def is_signed_for(leaf: int) -> bool:
        assert facts.path_leaf is not None
        try:
            facts.path_leaf.verify(case.suite, case.group_id, leaf)
        except RemoteProtocolError:
            return False
        return True

    return facts.external and is_signed_for(own_leaf(case)) and not is_signed_for(0)


def proposals_of(message: bytes) -> list[Proposal]:
    """What a PublicMessage proposes, or what a commit in one has by value."""
    body = MLSMessage.decode(message).body
    assert isinstance(body, PublicMessage)
    content = body.content.body
    if isinstance(content, Commit):
        return [one.body for one in content.proposals if one.type == BY_VALUE]
    return [content]


def of_kind(messages: Sequence[bytes], kind: int) -> list[Any]:
    found = (proposal for message in messages for proposal in proposals_of(message))
    return [proposal.body for proposal in found if proposal.type == kind]


def has_a_path_beside_new_leaves(case: Case) -> bool:
    """The commit has a node for each in the filtered direct path, and beside some of them there are only leaves that it
    adds itself."""
    tree = tree_of(case.ask_author("group_info", with_tree=True)["group_info"])
    keys = {package.leaf_node.signature_key for package in of_kind([*case.proposed, case.message], ADD)}
    new = frozenset(leaf for leaf in tree.members() if tree.leaf(leaf).signature_key in keys)
    path = tree.filtered(own_leaf(case))
    without_new = [node for node, other in path if tree.resolution(other, new)]
    return len(without_new) < len(path) == inspect_commit(case.message).path_nodes


def was_proposed_who_is_in_the_group(case: Case) -> bool:
    """Nobody whom the author was asked to add is in the group; but some are there whom it took in a proposal to add, in
    an earlier epoch."""
    tree = case.tree()
    keys = {tree.leaf(leaf).signature_key for leaf in tree.members()}
    added = {inspect_key_package(package).signature_key for package in case.added}
    before = {package.leaf_node.signature_key for package in of_kind(case.earlier, ADD)}
    return not added & keys and bool(before & keys)


def has_a_psk_of_an_earlier_proposal(case: Case) -> bool:
    """The commit has a PSK by value, which was proposed in an earlier epoch. Whoever was added needs it, and was not
    there then."""
    committed = [proposal.body.body for proposal in proposals_of(case.message) if proposal.type == PSK]
    return any(psk.body in committed for psk in of_kind(case.earlier, PSK))


def is_greeted_with_a_bare_key(case: Case) -> bool:
    """What the author gives out as external_pub is 32 bytes, a key of X25519 without its length."""
    if case.author != "rfc9420":
        return False
    info = MLSMessage.decode(case.ask_author("group_info", with_tree=True)["group_info"]).body
    assert isinstance(info, GroupInfo)
    return [len(one.data) for one in info.extensions if one.type == EXTERNAL_PUB] == [32]
