"""A checkpoint of a session's stages as records, and fresh stages restored from it.

Evidence is kept as it came, and judged anew by whoever restores it; the record `meta` holds what no event tells.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from mlsrtc import mls, saved
from mlsrtc.attendance import Attendance
from mlsrtc.committing import Committing
from mlsrtc.desk import Desk
from mlsrtc.epochs import Epochs, Held
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.footing import Footing
from mlsrtc.group import Participation
from mlsrtc.identifiers import EpochId
from mlsrtc.keying import Keying
from mlsrtc.knowledge import Knowledge
from mlsrtc.upkeep import Phase
from mlsrtc.wire.incoming import TOLD, Now
from mlsrtc.wire.membership import MembershipFormat


@dataclass(frozen=True, slots=True)
class Stages:
    """The stages of one session that a store keeps something of."""

    desk: Desk
    known: Knowledge
    attendance: Attendance
    footing: Footing
    committing: Committing
    keying: Keying


def changes(phase: Phase, stages: Stages) -> Mapping[str, bytes | None]:
    """What a checkpoint has to write, by key; None for a record to delete. Empty if nothing has changed."""
    desk, attendance, epochs = stages.desk, stages.attendance, stages.footing.epochs
    records = dict(desk.records)
    records |= {f"event/{event.event_id}": saved.dump_event(event) for event in stages.known.fresh}
    records |= dict(saved.drafted(desk.outbox.drafted()))
    if not (records or desk.notices or desk.touched):
        return {}
    presence = attendance.presence
    meta = saved.Meta(
        phase=phase.value,
        tag=desk.tag,
        numbers=desk.numbers,
        n=attendance.n,
        stand=epochs.stand,
        delay_id=attendance.delay_id,
        format=attendance.format.value,
        head=None if presence is None else presence.head,
        replaces=frozenset() if presence is None else presence.replaces,
        created_ts=0 if presence is None else presence.created_ts,
    )
    return records | {"meta": saved.dump_meta(meta)}


def restore(records: saved.Records, stages: Stages) -> Phase:
    """Set fresh stages to where the records say. Returns how far our part in the call is.

    The pinned master keys are there already: they count when evidence is judged anew. Raises StoreError.
    """
    desk, known, attendance = stages.desk, stages.known, stages.attendance
    meta = saved.load_meta(records)
    if meta is None:
        return Phase.LOBBY
    desk.tag, desk.numbers = meta.tag, meta.numbers
    desk.outbox.restore(saved.load_requests(records))
    # An earlier process may have sent under any of these: a nonce could repeat (rule section 3.7).
    stages.keying.table.closed = saved.load_begun(records)
    with saved.reading("meta"):
        attendance.format, phase = MembershipFormat(meta.format), Phase(meta.phase)
    _take_in_again(records, known, desk.now)
    participation = saved.load_participation(records)
    if participation is None or phase not in (Phase.INSIDE, Phase.LEAVING):
        return Phase.ENTERING if phase is Phase.ENTERING else Phase.LOBBY
    attendance.resume(desk, known, participation, meta)
    stages.committing.done = saved.load_committed(records)
    groups = dict(saved.load_groups(records))
    stages.footing.resume(_epochs(records, meta, groups, known, participation, desk.now), kept=set(groups))
    return phase


def _take_in_again(records: saved.Records, known: Knowledge, now: Now) -> None:
    for event in saved.load_events(records):
        known.events[event.event_id] = event
        take_in = known.told_event if event.event_id.startswith(TOLD) else known.room_event
        try:
            take_in(event, now)
        except RemoteProtocolError as error:
            known.archive.refuse(event, error)


def _epochs(
    records: saved.Records,
    meta: saved.Meta,
    groups: Mapping[EpochId, mls.Secret],
    known: Knowledge,
    participation: Participation,
    now: Now,
) -> Epochs:
    held = {}
    for identifier, state in groups.items():
        if identifier in known.archive.judged:
            with saved.reading(f"group/{identifier.hex()}"):
                group = participation.client.load_group(state)
            held[identifier] = Held(group, superseded=None if identifier == meta.stand else now.monotonic)
    return Epochs(
        known.policy,
        stand=meta.stand if meta.stand in held else None,
        held=held,
        drafts={draft.parent: draft for draft in saved.load_drafts(records, participation)},
        removed=saved.load_removed(records),
        key_package_used=-math.inf if participation.key_package is None else now.monotonic if held else None,
    )
