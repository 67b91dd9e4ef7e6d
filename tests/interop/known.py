"""Faults of other people's engines that histories meet and that are not ours to mend: each with its reason.

Whoever cannot go on by one of these is removed by the others, and counted. Everything else fails the history."""

from dataclasses import dataclass

from peers import PeerError


@dataclass(frozen=True)
class Known:
    peer: str
    operation: str
    text: str
    """A part of what the engine says."""
    reason: str

    def is_of(self, error: PeerError) -> bool:
        return (error.peer, error.operation) == (self.peer, self.operation) and self.text in error.text


KNOWN = (
    Known(
        "ts-mls",
        "join",
        "must list leaf node in its unmerged_leaves",
        "asks that nodes on a path have equal lists of unmerged leaves, where RFC 9420 section 12.4.3.1 asks that "
        "each between an unmerged leaf and the node that lists it lists it too",
    ),
    Known(
        "rfc9420",
        "process",
        "UpdatePath node count does not match filtered direct path length",
        "leaves nodes out of a path whose copath child has only leaves that the same commit adds; RFC 9420 section 7.4 "
        "leaves out those with an empty resolution, and section 7.5 the new leaves only when it encrypts",
    ),
    Known(
        "rfc9420",
        "commit",
        "Add proposal for a client already in the group",
        "a member that came by a Welcome takes whom it adds for one who is in the group already",
    ),
)
