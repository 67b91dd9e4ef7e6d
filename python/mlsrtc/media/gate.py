"""The send gate (docs/protocol.md, What a member does): whom an epoch may still be read by before we begin to send; and
whom of it we listen to.

Finality of removal rests on this and not on the head: no fork, replay or partition makes an honest member begin to send
under an epoch that somebody who has left can read. Pure; also used where keys are shared without MLS.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass

from mlsrtc.identifiers import MemberId


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why we may not begin to send under an epoch."""

    reason: str  # a slug: gone, removed, refused
    members: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class Doubts:
    """What our trust policy says of leaves. `refused`: we listen to none of them. `flagged`: we do, and a stricter
    policy would not."""

    refused: frozenset[MemberId]
    flagged: frozenset[MemberId]


def may_begin(
    leaves: Iterable[MemberId], gone: Set[MemberId], removed: Set[MemberId], refused: Set[MemberId]
) -> Blocked | None:
    """Whether an epoch with these leaves may be begun; None if it may.

    gone: those known to have left, and those our own roster calls gone (kick, ban, expiry, revoked device).
    removed: those that an epoch we stood on had removed. refused: leaves that our trust policy does not accept.
    """
    present = frozenset(leaves)
    for reason, barred in (("gone", gone), ("removed", removed), ("refused", refused)):
        if hit := present & barred:
            return Blocked(reason, tuple(sorted(hit)))
    return None
