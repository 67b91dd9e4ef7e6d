"""Our media keys over time: derived where we stand, told as they are installed, sent under and retired.

Knows the desk, what is known and the epochs; the send gate says of which epochs we may make use, the table of `media`
when.
"""

from collections.abc import Iterable, Set
from dataclasses import dataclass, field
from functools import partial

from mlsrtc import saved
from mlsrtc.desk import Desk
from mlsrtc.epochs import Epochs
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.knowledge import Knowledge
from mlsrtc.media.gate import Blocked, Doubts, may_begin
from mlsrtc.media.keys import derive
from mlsrtc.media.table import Effect, Installed, KeyTable, Retired, Silenced, Stand, Switched
from mlsrtc.notices import KeyNotice, MediaKeysChanged, MediaKeysRetired, Muted, SendKeySwitched
from mlsrtc.policy import Policy


@dataclass(slots=True)
class Keying:
    """The keys of one session, in `table`."""

    policy: Policy
    table: KeyTable = field(init=False)

    def __post_init__(self) -> None:
        self.table = KeyTable(self.policy)

    def settle(
        self, desk: Desk, known: Knowledge, epochs: Epochs, *, removes: bool, spoilt: Set[EpochId] = frozenset()
    ) -> None:
        """Bring the keys to where we stand. `removes`: the last step there removed somebody. `spoilt`: epochs of which
        a participant without MLS has our key, and has left."""
        target, blocked, in_use = None, None, self.table.in_use
        if in_use is not None:
            blocked = _gate(desk, known, epochs, in_use, spoilt)
        if epochs.stand is not None and epochs.group is not None:
            commit = known.archive.judged[epochs.stand].committed
            keys = partial(derive, epochs.group, epochs.stand, known.room_id, known.slot_id, commit.leaves)
            gate = blocked if epochs.stand == in_use else _gate(desk, known, epochs, epochs.stand, spoilt)
            target = Stand(epochs.stand, commit.epoch, removes, gate, keys)
        held = frozenset(self.table.installed()).union(() if epochs.stand is None else (epochs.stand,))
        _tell(desk, self.table.settle(desk.now.monotonic, target, blocked, _doubts(known, held)))

    def standing(self) -> list[KeyNotice]:
        """The notices that tell the keys of this moment to who has heard none before."""
        return [_notice(effect) for effect in self.table.standing()]

    def stop(self, desk: Desk) -> None:
        """Forget every key: we are in the call no more."""
        _tell(desk, self.table.clear())


def _gate(desk: Desk, known: Knowledge, epochs: Epochs, epoch: EpochId, spoilt: Set[EpochId]) -> Blocked | None:
    if epoch in spoilt:
        return Blocked("gone", ())
    commit = known.archive.judged[epoch].committed
    gone = known.look(desk.now).gone(commit.members)
    return may_begin(commit.members, gone, epochs.removed, known.untrusted(commit))


def _doubts(known: Knowledge, epochs: Iterable[EpochId]) -> Doubts:
    refused: set[MemberId] = set()
    flagged: set[MemberId] = set()
    for epoch in epochs:
        commit = known.archive.judged[epoch].committed
        refused |= known.untrusted(commit)
        flagged |= known.flagged(commit.members)
    return Doubts(frozenset(refused), frozenset(flagged))


def _tell(desk: Desk, effects: Iterable[Effect]) -> None:
    for effect in effects:
        if isinstance(effect, Switched):
            desk.keep(saved.begun_key(effect.id), saved.MARK)
        desk.tell(_notice(effect))


def _notice(effect: Effect) -> KeyNotice:
    match effect:
        case Installed(identifier, epoch, keys, withdrawn, flagged):
            return MediaKeysChanged(identifier, epoch, keys, withdrawn, flagged)
        case Switched(identifier, epoch, index):
            return SendKeySwitched(identifier, epoch, index)
        case Retired(identifier, index):
            return MediaKeysRetired(identifier, index)
        case Silenced(reason):
            return Muted(reason)
