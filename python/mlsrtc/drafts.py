"""Our own commits before they are anybody's: made, saved, sent, and applied only when they come back in sync.

Knows groups and judged commits; knows no roster and no clock. At most one commit per parent and member, ever.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mlsrtc import mls
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.group import Participation, epoch_of
from mlsrtc.identifiers import EpochId, EventId, LeafIndex, MemberId, SlotId
from mlsrtc.outbox import SendEvent
from mlsrtc.wire import encoding, names
from mlsrtc.wire.commit import CommitEvent, fit_commit
from mlsrtc.wire.commit_data import CommitData


@dataclass(frozen=True, slots=True)
class Draft:
    """One commit of ours and the group it leads to, on which nobody stands yet: its secrets, before it comes back."""

    id: EpochId
    parent: EpochId | None
    group: mls.Group


@dataclass(frozen=True, slots=True)
class Place:
    """Where a commit goes: the slot, its parent, and the event that shows the root (None: this is the root)."""

    slot_id: SlotId
    parent: EpochId | None
    root: EpochId | None
    root_event: EventId | None
    content_limit: int


def commit(
    group: mls.Group,
    place: Place,
    data: CommitData,
    *,
    add: Sequence[bytes],
    remove: Sequence[LeafIndex],
    path: bool,
) -> tuple[Draft, SendEvent]:
    """A commit on `group` that makes every change at once. `group` stays as it was.

    add: KeyPackages. remove: leaves. path: refresh our leaf even if nothing else asks for it (a removal always does).
    """
    _check_parent(place, data)
    group_info_0 = group.group_info(with_tree=True) if place.parent is None else None
    made = group.commit(add=list(add), remove=list(remove), path=path, authenticated_data=data.encode())
    return _draft(made, place, data, group_info_0, with_tree=bool(add))


def enter_from_outside(
    participation: Participation,
    group_info: bytes,
    tree: bytes,
    place: Place,
    data: CommitData,
    *,
    replaces: LeafIndex | None,
) -> tuple[Draft, SendEvent]:
    """An external commit (RFC 9420 section 12.4.3.2) on the epoch of `group_info`, removing our own old leaf if any.

    Raises RemoteProtocolError: what the engine found in the GroupInfo and its tree.
    """
    _check_parent(place, data)
    try:
        made = participation.client.join_external(
            group_info, tree=tree, remove=replaces, authenticated_data=data.encode()
        )
    except LocalProtocolError as error:
        if error.reason != "duplicate_leaf":
            raise
        # A second leaf of ours stands in the tree beside the one that we left there: somebody else has put it in.
        detail = "another leaf of ours is in the tree"
        raise RemoteProtocolError(error.reason, detail, where="tree", section=error.section) from error
    return _draft(made, place, data, None, with_tree=False)


def _check_parent(place: Place, data: CommitData) -> None:
    if data.parent != place.parent:
        raise LocalProtocolError("a commit says under its signature the parent that its event names")


def _draft(
    made: mls.Commit, place: Place, data: CommitData, group_info_0: bytes | None, *, with_tree: bool
) -> tuple[Draft, SendEvent]:
    identifier = epoch_of(made.group)
    event = CommitEvent(
        slot_id=place.slot_id,
        root=identifier if place.root is None else place.root,
        parent=place.parent,
        id=identifier,
        epoch=made.group.epoch,
        n=data.n,
        commit=made.message,
        group_info=made.group_info,
        left=dict(data.left),
        group_info_0=group_info_0,
        welcome=made.welcome,
        tree=made.tree if with_tree else None,
        relates_to=place.root_event,
    )
    fitted = fit_commit(event, limit=place.content_limit, random_bytes=random_bytes)
    request = SendEvent(request_id(made.message), names.COMMIT, fitted.content, attachments=fitted.attachments)
    return Draft(identifier, place.parent, made.group), request


def request_id(commit: bytes) -> str:
    """The transaction id of a commit: of its hash, so that the same bytes are the same transaction after a restart."""
    return "mlsrtc.commit." + encoding.encode_base64url(hashlib.sha256(commit).digest())[:22]


def random_bytes(length: int) -> bytes:
    """The provider's generator, for attachment keys."""
    return mls.random_bytes(length).expose()


def left_of(signatures: Mapping[MemberId, bytes], removed: Sequence[MemberId]) -> dict[MemberId, bytes]:
    """The leave signatures that a commit repeats, for those of `removed` that we have one of."""
    return {member: signatures[member] for member in removed if member in signatures}
