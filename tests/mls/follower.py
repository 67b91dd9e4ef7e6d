"""A member who sends nothing: it takes what others send, and checks what a member can.

The other half of the rogue, for groups whose messages are given. What does not hold raises.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import twins
from cipher_suites import CipherSuite, Hpke
from ratchet_tree import Tree
from rogue import Announced, Member, apply, node_key, proposal_reference
from schedule import (
    EXTERNAL_INIT_LABEL,
    Secrets,
    confirmed_transcript_hash,
    interim_transcript_hash,
    psk_secret,
)
from twins import Commit, MLSMessage, PreSharedKeyID, Proposal, PublicMessage, UpdatePath


@dataclass
class Keys:
    """The private keys that the member at a leaf has of nodes of the ratchet tree."""

    suite: CipherSuite
    leaf: int
    of_node: dict[int, bytes]

    def learn(self, tree: Tree, node: int, path_secret: bytes) -> None:
        """The key of a node, which must be the public one's."""
        self.of_node[node] = node_key(self.suite, path_secret)
        assert self.has(tree, node)

    def has(self, tree: Tree, node: int) -> bool:
        """Whether it is the key that the node has now."""
        return node in self.of_node and tree.keys([node]) == [self.suite.kem.public(self.of_node[node])]

    def above(self, tree: Tree, sender: int) -> list[int]:
        """The nodes of a sender's filtered direct path that are above this leaf too."""
        own = set(tree.path(2 * self.leaf))
        return [node for node, _ in tree.filtered(sender) if node in own]

    def climb(self, tree: Tree, sender: int, path_secret: bytes) -> bytes:
        """From the path secret of the lowest of these nodes the keys of all. Returns the commit secret (section
        7.4)."""
        for node in self.above(tree, sender):
            self.learn(tree, node, path_secret)
            path_secret = self.suite.derive_secret(path_secret, "path")
        return path_secret

    def receive(
        self, tree: Tree, sender: int, path: UpdatePath, context: bytes, new: frozenset[int] = frozenset()
    ) -> bytes:
        """The path secret that a path brings (section 7.6); the tree is the one with the path in it, `context` the
        encoded GroupContext that it was sealed with, and `new` are leaves that were added with it."""
        steps = tree.filtered(sender)
        assert [len(tree.resolution(copath, new)) for _, copath in steps] == [
            len(node.encrypted_path_secret) for node in path.nodes
        ]
        lowest = len(steps) - len(self.above(tree, sender))
        receivers = tree.resolution(steps[lowest][1], new)
        place = next(place for place, node in enumerate(receivers) if self.has(tree, node))
        sealed = path.nodes[lowest].encrypted_path_secret[place]
        return self.suite.decrypt_with_label(self.of_node[receivers[place]], "UpdatePathNode", context, sealed)


@dataclass
class Follower:
    """The member, at one epoch; `psks` are external, by their names."""

    member: Member
    keys: Keys
    psks: Mapping[bytes, bytes]
    proposals: dict[bytes, tuple[Any, Proposal]] = field(default_factory=dict)
    past: dict[int, Secrets] = field(default_factory=dict)

    @property
    def secrets(self) -> Secrets:
        assert self.member.secrets is not None
        return self.member.secrets

    @staticmethod
    def join(
        announced: Announced, welcome: bytes, tree: bytes | None = None, psks: Mapping[bytes, bytes] | None = None
    ) -> "Follower":
        """By a Welcome; without `tree`, the tree is in it."""
        given, info, secrets = announced.open(welcome, psks)
        if tree is None:
            (tree,) = [one.data for one in info.extensions if one.type == twins.RATCHET_TREE]
        member = Member.joined(announced, info, secrets, tree)
        suite, confirmed = member.suite, info.group_context.confirmed_transcript_hash
        assert member.tree.tree_hash() == info.group_context.tree_hash
        assert secrets.confirmation_tag(confirmed) == info.confirmation_tag
        signer = member.tree.leaf(info.signer).signature_key
        suite.verify_with_label(signer, info.signature, "GroupInfoTBS", info.unsigned)
        keys = Keys(suite, member.index, {2 * member.index: announced.leaf_key})
        assert keys.has(member.tree, 2 * member.index)
        if given.path_secret is not None:
            keys.climb(member.tree, info.signer, given.path_secret)
        return Follower(member, keys, psks or {})

    # -- messages (section 6) ----------------------------------------------------------------------------

    def _read(self, message: bytes) -> tuple[int, PublicMessage]:
        """The wire format, and what is said, by a member or by somebody who enters with this commit."""
        found, context = MLSMessage.decode(message), self.member.context
        said = found.body
        if found.wire_format == twins.PRIVATE_MESSAGE:
            said = self.secrets.decrypt(said, self.member.tree.leaves)
        elif said.content.sender.type == twins.MEMBER:
            assert said.membership_tag == self.secrets.membership_tag(said, context.encode())
        assert (said.content.group_id, said.content.epoch) == (context.group_id, context.epoch)
        signed, sender = said.content.to_be_signed(found.wire_format, context.encode()), said.content.sender
        leaf = self.member.tree.leaf(sender.index) if sender.type == twins.MEMBER else said.content.body.path.leaf_node
        self.member.suite.verify_with_label(leaf.signature_key, said.signature, "FramedContentTBS", signed)
        return found.wire_format, said

    def hear(self, message: bytes) -> bytes:
        """What an application message says."""
        _, said = self._read(message)
        return said.content.body

    def remember(self, message: bytes) -> None:
        """A proposal."""
        wire_format, said = self._read(message)
        reference = proposal_reference(self.member.suite, wire_format, said)
        self.proposals[reference] = (said.content.sender.index, said.content.body)

    # -- commits (section 12.4.2) ------------------------------------------------------------------------

    def _psk(self, psk: PreSharedKeyID) -> bytes:
        if psk.type == twins.EXTERNAL_PSK:
            return self.psks[psk.body]
        assert psk.body.group_id == self.member.context.group_id
        return self.past[psk.body.epoch].of("resumption")

    def _init_secret(self, listed: list[tuple[Any, Proposal]]) -> bytes:
        """The epoch's own, or what an external commit brings (section 8.3)."""
        for _, proposal in listed:
            if proposal.type == twins.EXTERNAL_INIT:
                hpke = Hpke.at(self.member.suite, self.secrets.external(), proposal.body, b"")
                return hpke.export(EXTERNAL_INIT_LABEL)
        return self.secrets.of("init")

    def follow(self, message: bytes) -> None:
        """Applies a commit."""
        member, suite = self.member, self.member.suite
        wire_format, said = self._read(message)
        commit: Commit = said.content.body
        author = said.content.sender.index
        listed = [
            (author, one.body) if one.type == twins.BY_VALUE else self.proposals[one.body] for one in commit.proposals
        ]
        tree, context = deepcopy(member.tree), deepcopy(member.context)
        context.epoch += 1
        self.past[member.context.epoch] = self.secrets
        psks, added = apply(listed, tree, context)
        commit_secret = suite.zero
        if commit.path is not None:
            leaf = commit.path.leaf_node
            if author is None:
                author = tree.add(leaf)
            signed = leaf.to_be_signed(context.group_id, author)
            suite.verify_with_label(leaf.signature_key, leaf.signature, "LeafNodeTBS", signed)
            tree.merge(author, commit.path)
            context.tree_hash = tree.tree_hash()
            new = frozenset(index for index, _ in added)
            path_secret = self.keys.receive(tree, author, commit.path, context.encode(), new)
            commit_secret = self.keys.climb(tree, author, path_secret)
        context.tree_hash = tree.tree_hash()
        confirmed = confirmed_transcript_hash(suite, member.interim_transcript_hash, wire_format, said)
        context.confirmed_transcript_hash = confirmed
        psk = psk_secret(suite, [(one, self._psk(one)) for one in psks])
        secrets = Secrets.after(suite, self._init_secret(listed), commit_secret, psk, context)
        assert secrets.confirmation_tag(confirmed) == said.confirmation_tag
        interim = interim_transcript_hash(suite, confirmed, said.confirmation_tag)
        self.member = Member(member.person, context, tree, interim, secrets, member.index)
        self.proposals = {}
