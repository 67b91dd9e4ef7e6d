"""Whether those who are out can still read: a copy of what a device held when it went is led through the whole call.

A device that leaves is told no key any more, and would be told none if it could derive them. So what it saved is kept
aside, as somebody would who leaves in bad faith, and tried on every commit that the call has made. No I/O.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from mlsrtc import mls, saved
from mlsrtc.adapters.store import MemoryStore
from mlsrtc.archive import Archive
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.group import follow
from mlsrtc.identifiers import EpochId, MemberId

REMOVED = "removed"  # the reason of a commit that takes our own leaf away


class CopyableStore(MemoryStore):
    """A store of one call that gives all its records, whatever their scope."""

    def __init__(self) -> None:
        super().__init__()
        self._names: set[str] = set()

    def save(self, changes: Mapping[str, Mapping[str, bytes | None]]) -> None:
        """See `Store.save`."""
        super().save(changes)
        self._names |= changes.keys()

    def records(self) -> dict[str, bytes]:
        """All that is in it now."""
        return {name: value for scope in self._names for name, value in self.load(scope).items()}


@dataclass(frozen=True, slots=True)
class Copy:
    """One participation and every group it held: those of the epochs it stood on, and of its own commits under way.

    admitted: whether it was in the call at all.
    """

    name: str
    member_id: MemberId
    groups: Mapping[EpochId, mls.Group]
    admitted: bool = True


def copy_of(name: str, records: saved.Records) -> Copy:
    """The state of a device that is in a call, from the records of its store."""
    participation = saved.load_participation(records)
    assert participation is not None, "a device that is in the call has one"
    groups = {epoch: participation.client.load_group(state) for epoch, state in saved.load_groups(records)}
    groups |= {draft.id: draft.group for draft in saved.load_drafts(records, participation)}
    return Copy(name, participation.leaf.member_id, groups)


def still_reads(copy: Copy, archive: Archive) -> list[str]:
    """What is wrong with a copy of who is out: an epoch that it reaches and is no member of, by any commit of the call
    from any group that it has or gets. Also if it was in, and no commit took its leaf away: then nothing was tried."""
    reached = dict(copy.groups)
    reasons: set[str] = set()
    for judged in sorted(archive.judged.values(), key=lambda judged: judged.committed.epoch):
        committed = judged.committed
        for group in () if committed.id in reached else tuple(reached.values()):
            for body in archive.bodies(committed.id):
                try:
                    reached[committed.id] = follow(group, body.commit, committed, external_pub=judged.external_pub)
                except (LocalProtocolError, RemoteProtocolError) as error:
                    reasons.add(error.reason)
    known = (archive.judged[epoch].committed for epoch in reached if epoch in archive.judged)
    wrong = [
        f"{copy.name} can follow the call to epoch {committed.epoch}, of which it is no member"
        for committed in known
        if not committed.holds(copy.member_id)
    ]
    if copy.admitted and REMOVED not in reasons:
        wrong.append(f"no commit took away the leaf that {copy.name} had when it went")
    return wrong
