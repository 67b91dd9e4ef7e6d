"""Faults of other people's engines that histories meet and that are not ours to mend: each with its reason.

Whoever cannot go on by one of these is removed by the others, and counted. Everything else fails the history."""

from collections.abc import Callable
from dataclasses import dataclass

from evidence import (
    Case,
    has_a_path_beside_new_leaves,
    has_a_psk_of_an_earlier_proposal,
    has_leaves_of_before,
    is_greeted_with_a_bare_key,
    is_signed_for_its_own_leaf,
    lists_differ_on_a_path,
    was_proposed_who_is_in_the_group,
)
from peers import PeerError


@dataclass(frozen=True)
class Known:
    peer: str
    operation: str
    text: str
    """A part of what the engine says."""
    reason: str
    shown: Callable[[Case], bool] | None = None
    """Whether it is so in a case: the text alone explains nothing. None where nothing is explained."""
    seen_by: str = ""
    """The engine that says it, if that is not the one at fault."""

    @property
    def does(self) -> str:
        return f"{self.operation}, by {self.seen_by}" if self.seen_by else self.operation

    @property
    def is_explained(self) -> bool:
        return self.shown is not None

    def is_of(self, error: PeerError, case: Case) -> bool:
        says = (error.peer, error.operation) == (self.seen_by or self.peer, self.operation) and self.text in error.text
        return says and self.shown is not None and self.shown(case)


AGAIN = (
    "keeps what was proposed in earlier epochs when others have committed it, and has it in its next commit again; by "
    "RFC 9420 section 12.4 a commit is of the proposals of its own epoch"
)

KNOWN = (
    Known(
        "ts-mls",
        "join",
        "must list leaf node in its unmerged_leaves",
        "asks that nodes on a path have equal lists of unmerged leaves, where RFC 9420 section 12.4.3.1 asks that "
        "each between an unmerged leaf and the node that lists it lists it too",
        lists_differ_on_a_path,
    ),
    Known(
        "rfc9420",
        "join",
        "invalid parent_hash for leaf in Welcome tree",
        "asks that the parent hash of every leaf fit the nodes above it as they are now, though others have replaced "
        "or blanked some since its member committed; RFC 9420 section 7.9.2 asks that each parent node be fitted by "
        "one below it, and each was",
        has_leaves_of_before,
    ),
    Known(
        "rfc9420",
        "process",
        "UpdatePath LeafNode invalid: invalid signature",
        "takes whoever joins by an external commit for leaf 0, and verifies the signature of the new leaf for that "
        "place; RFC 9420 section 7.2 signs it for its own, and so it was signed",
        is_signed_for_its_own_leaf,
    ),
    Known(
        "rfc9420",
        "process",
        "UpdatePath node count does not match filtered direct path length",
        "leaves nodes out of a path whose copath child has only leaves that the same commit adds; RFC 9420 section 7.4 "
        "leaves out those with an empty resolution, and section 7.5 the new leaves only when it encrypts",
        has_a_path_beside_new_leaves,
    ),
    Known(
        "rfc9420",
        "commit",
        "Add proposal for a client already in the group",
        AGAIN,
        was_proposed_who_is_in_the_group,
    ),
    Known(
        "rfc9420",
        "join",
        "missing_psk",
        AGAIN,
        has_a_psk_of_an_earlier_proposal,
        seen_by="mlsrtc",
    ),
    Known(
        "rfc9420",
        "join",
        "GroupInfo(Malformed)",
        "the GroupInfo in its Welcome has the extension external_pub as the bare key; RFC 9420 section 12.4.3.2 has a "
        "length before it",
        is_greeted_with_a_bare_key,
        seen_by="OpenMLS",
    ),
)
