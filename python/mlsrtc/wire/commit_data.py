"""What a commit says beside MLS: its `authenticated_data`, under the author's signature. Pure; knows no JSON.

``lp("mlsrtc commit 1") ‖ lp parent id ‖ u64 n ‖ list of (lp m ‖ lp signature) ‖ lp refused id ‖ lp why ‖ list of
(lp user ‖ lp device ‖ lp member id)``: docs/protocol.md, "Commit".
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.wire.encoding import (
    COMMIT_LABEL,
    HASH_SIZE,
    Reader,
    check_device_id,
    check_member_id,
    check_user_id,
    signing_tuple,
)

WHERE = "commit.authenticated_data"
REASONS = frozenset({"unopened", "bad_tree", "unknown_leaf", "still_here"})
"""Why a commit may be refused (docs/protocol.md, "Word")."""


@dataclass(frozen=True, slots=True)
class CommitData:
    """parent: the id of the epoch that it changes, None for a root, as in the event (docs/adr/0013). n counts the
    commits and words of its author from 1; `left` repeats the leaver's signature for those removed.
    """

    parent: EpochId | None
    n: int
    left: Mapping[MemberId, bytes] = field(default_factory=dict)
    refuse: tuple[EpochId, str] | None = None
    guests: tuple[tuple[str, str, str], ...] = ()
    """Participants without MLS for whose sake it is made, since they came or left: (user_id, device_id, their own
    member id), sorted.
    """

    def encode(self) -> bytes:
        """The authenticated_data of the commit."""
        refused, why = self.refuse or (None, None)
        return signing_tuple(
            COMMIT_LABEL,
            self.parent,
            self.n,
            [(m, s) for m, s in sorted(self.left.items())],
            refused,
            why,
            sorted(self.guests),
        )


def decode_commit_data(value: bytes, *, where: str = WHERE) -> CommitData:
    """Strict inverse of `CommitData.encode`: lists ascending and without repetition.

    Raises RemoteProtocolError: truncated, trailing_bytes, bad_text, unknown_version (another label),
    wrong_size (the parent), bad_count (n = 0), not_sorted, bad_member_id, bad_refusal, bad_user_id, bad_device_id.
    """
    reader = Reader(value, where)
    if reader.bytes() != COMMIT_LABEL.encode():
        raise RemoteProtocolError("unknown_version", where=where)
    parent = reader.bytes()
    if len(parent) not in (0, HASH_SIZE):
        raise RemoteProtocolError(
            "wrong_size", f"{len(parent)} bytes, not {HASH_SIZE} or none", where=f"{where}.parent"
        )
    n = reader.u64()
    if n == 0:
        raise RemoteProtocolError("bad_count", "n counts from 1", where=where)
    left = [(check_member_id(reader.text(), where=where), reader.bytes()) for _ in reader.count()]
    refuse = decode_refusal(reader.bytes(), reader.text(), where=where)
    guests = [
        (
            check_user_id(reader.text(), where=where),
            check_device_id(reader.text(), where=where),
            reader.text(),
        )
        for _ in reader.count()
    ]
    reader.end()
    ordered: tuple[list[Any], list[Any]] = [m for m, _ in left], list(guests)
    for names in ordered:
        if list(names) != sorted(set(names)):
            raise RemoteProtocolError("not_sorted", where=where)
    return CommitData(EpochId(parent) if parent else None, n, dict(left), refuse, tuple(guests))


def decode_refusal(id: bytes, why: str, *, where: str) -> tuple[EpochId, str] | None:
    """Both empty: nothing is refused. Else an epoch id and one of `REASONS`. Raises
    RemoteProtocolError("bad_refusal").
    """
    if not id and not why:
        return None
    if len(id) != HASH_SIZE or why not in REASONS:
        raise RemoteProtocolError("bad_refusal", where=where)
    return EpochId(id), why
