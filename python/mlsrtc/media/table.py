"""Which epochs' keys are installed and which one we send under: a table that is settled again after every change.

Receivers install at once and keep an old key for a grace period; the sender switches a little later and coalesces to
the newest epoch; an index that is still held makes a newer epoch wait; an epoch is begun once per process. The key of a
sender whom we refuse is held and not told, so that it can be told when we accept it. Every decision is returned as a
value, for the session to tell.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from mlsrtc.identifiers import EpochId, KeyIndex, MemberId
from mlsrtc.media.gate import Blocked, Doubts
from mlsrtc.media.keys import EpochKeys, MediaKey, Sender
from mlsrtc.policy import Policy
from mlsrtc.wire import encoding


@dataclass(frozen=True, slots=True)
class Installed:
    """Receive with exactly these keys of the epoch from now on. `withdrawn`: whose were installed until now."""

    id: EpochId
    epoch: int
    keys: tuple[MediaKey, ...]
    withdrawn: tuple[Sender, ...]
    flagged: frozenset[MemberId]


@dataclass(frozen=True, slots=True)
class Switched:
    """Send under this index from now on."""

    id: EpochId
    epoch: int
    index: KeyIndex


@dataclass(frozen=True, slots=True)
class Retired:
    """The keys at this index are wiped."""

    id: EpochId
    index: KeyIndex


@dataclass(frozen=True, slots=True)
class Silenced:
    """There is no epoch that we may send under."""

    reason: str


Effect: TypeAlias = Installed | Switched | Retired | Silenced

OURS_ALONE = frozenset({"removed", "refused"})
"""Why an epoch may not be begun by us, and may well be by others: what we stood on and whom we trust is our own. Who is
gone is so for everybody."""


@dataclass(frozen=True, slots=True)
class Stand:
    """The epoch a member stands on, as far as its media are concerned."""

    id: EpochId
    epoch: int
    removes: bool  # it removed somebody: switch sooner
    blocked: Blocked | None  # the send gate's word on beginning it
    derive: Callable[[], EpochKeys]


@dataclass(slots=True)
class _Row:
    keys: EpochKeys
    clean: bool
    told: Doubts | None = None  # by which of them are installed; None: none are yet
    superseded: float | None = None  # when the first later clean epoch was installed


@dataclass(slots=True)
class KeyTable:
    """The keys a member holds. `begun`: every epoch that this process has sent under. `closed`: those that an earlier
    process began, or this one, and that may not be begun again."""

    policy: Policy
    closed: set[EpochId] = field(default_factory=set)
    begun: set[EpochId] = field(default_factory=set)
    in_use: EpochId | None = None
    _rows: dict[EpochId, _Row] = field(default_factory=dict)
    _switch_at: float | None = None
    _barred_since: float | None = None  # since when somebody who left can read the epoch in use
    _behind_since: float | None = None  # since when the others may have gone on to an epoch that we may not begin
    _silent: str | None = None

    def installed(self) -> dict[EpochId, EpochKeys]:
        """The keys held now, by epoch."""
        return {epoch_id: row.keys for epoch_id, row in self._rows.items()}

    def may_send(self, epoch_id: EpochId) -> bool:
        """Whether an epoch is one that we send under, or would begin to."""
        row = self._rows.get(epoch_id)
        return row is not None and row.clean and epoch_id not in self.closed

    def standing(self) -> list[Effect]:
        """What brings who was told nothing so far to where things are: the keys that are installed, and the switch."""
        effects: list[Effect] = []
        for row in self._rows.values():
            if row.told is not None:
                effects += _tell(replace(row, told=None), row.told)
        if self.in_use is not None:
            keys = self._rows[self.in_use].keys
            effects.append(Switched(keys.id, keys.epoch, keys.index))
        return effects

    def settle(
        self,
        now: float,
        stand: Stand | None,
        in_use_blocked: Blocked | None,
        doubts: Doubts,
    ) -> list[Effect]:
        """Bring the table to what `stand` asks for. `in_use_blocked`: the gate's word on the epoch in use, today.
        `doubts`: about everybody with a leaf in an epoch that is held, or in that of `stand`."""
        effects: list[Effect] = []
        effects += self._retire(now)
        if stand is not None:
            self._install(now, stand)
        for row in self._rows.values():
            effects += _tell(row, doubts)
        effects += self._send(now, stand, in_use_blocked)
        return effects

    def next_timer(self) -> float | None:
        """When `settle` has something to do although nothing was received; monotonic seconds."""
        times = [
            row.superseded + self.policy.old_media_key_seconds
            for row in self._rows.values()
            if row.superseded is not None
        ]
        if self._switch_at is not None:
            times.append(self._switch_at)
        if (until := self._use_until) is not None:
            times.append(until)
        return min(times, default=None)

    @property
    def _use_until(self) -> float | None:
        """When the epoch in use has to be left although there is none to take its place; monotonic seconds."""
        times = []
        if self._barred_since is not None:
            times.append(self._barred_since + self.policy.leave_use_limit)
        if self._behind_since is not None:
            # Whoever has begun the next epoch wipes the keys of this one then: nobody would hear us.
            times.append(self._behind_since + self.policy.old_media_key_seconds)
        return min(times, default=None)

    def clear(self) -> list[Effect]:
        """Forget everything: the call is over for us."""
        effects: list[Effect] = []
        for epoch_id in list(self._rows):
            effects.append(self._drop(epoch_id))
        self.in_use = self._switch_at = self._barred_since = self._behind_since = None
        return effects

    def _retire(self, now: float) -> list[Effect]:
        grace = self.policy.old_media_key_seconds
        late = [
            epoch_id
            for epoch_id, row in self._rows.items()
            if row.superseded is not None and row.superseded + grace <= now
        ]
        if self.in_use in late:
            # We may not begin the epoch that took its place, and the others keep the old key no longer than we do.
            self.in_use = self._barred_since = self._behind_since = None
        return [self._drop(epoch_id) for epoch_id in late]

    def _drop(self, epoch_id: EpochId) -> Retired:
        row = self._rows.pop(epoch_id)
        if epoch_id in self.begun:
            # The counter of its nonces goes with the key object: it can never be begun again (promise 6).
            self.closed.add(epoch_id)
        row.keys.wipe()
        return Retired(epoch_id, row.keys.index)

    def _install(self, now: float, stand: Stand) -> None:
        row = self._rows.get(stand.id)
        if stand.blocked is None:
            # Also if it has to wait for an index: otherwise the epoch that holds it would hold it for ever.
            for epoch_id, other in self._rows.items():
                if epoch_id != stand.id and other.superseded is None:
                    other.superseded = now
        if row is None:
            index = encoding.key_index(stand.epoch, stand.id)
            if any(other.keys.index == index for other in self._rows.values()):
                return  # The index is still held by another epoch: this one waits until it is free.
            row = self._rows[stand.id] = _Row(stand.derive(), clean=stand.blocked is None)
        row.clean = stand.blocked is None
        row.superseded = None
        if self.in_use != stand.id and row.clean and self._switch_at is None and stand.id not in self.closed:
            delay = self.policy.switch_delay_remove if stand.removes else self.policy.switch_delay_add
            self._switch_at = self._soon(now, delay) if self.in_use is not None else now
        elif self.in_use != stand.id and stand.removes and self._switch_at is not None:
            self._switch_at = min(self._switch_at, now + self.policy.switch_delay_remove)

    def _soon(self, now: float, delay: float) -> float:
        """After the delay. While people go on leaving, each epoch is barred before its delay is over: so the delay does
        not begin anew with each of them, or whoever left first would listen until the last one has gone."""
        if self._barred_since is None:
            return now + delay
        limit = self._barred_since + self.policy.batch_limit + self.policy.switch_delay_remove
        return max(now, min(now + delay, limit))

    def _send(self, now: float, stand: Stand | None, in_use_blocked: Blocked | None) -> list[Effect]:
        ready = stand is not None and stand.id in self._rows and stand.blocked is None and stand.id not in self.closed
        if stand is not None and ready and self.in_use == stand.id:
            self._switch_at = self._barred_since = None
        elif stand is not None and ready and self._switch_at is not None and self._switch_at <= now:
            self.in_use = stand.id
            self.begun.add(stand.id)
            self._switch_at = self._barred_since = self._behind_since = self._silent = None
            return [Switched(stand.id, stand.epoch, self._rows[stand.id].keys.index)]
        if not ready:
            self._switch_at = None
        return self._bar(now, stand, in_use_blocked)

    def _bar(self, now: float, stand: Stand | None, in_use_blocked: Blocked | None) -> list[Effect]:
        if self.in_use is not None:
            self._barred_since = _since(self._barred_since, now, holds=in_use_blocked is not None)
            self._behind_since = _since(self._behind_since, now, holds=self._is_behind(stand))
            if (until := self._use_until) is None or now < until:
                return []
            self.in_use = self._barred_since = self._behind_since = None
        if self._switch_at is not None or stand is None:
            return []
        reason = stand.blocked.reason if stand.blocked else "begun_before" if stand.id in self.closed else "index_held"
        if reason == self._silent:
            return []
        self._silent = reason
        return [Silenced(reason)]

    def _is_behind(self, stand: Stand | None) -> bool:
        return (
            stand is not None
            and stand.id != self.in_use
            and stand.blocked is not None
            and stand.blocked.reason in OURS_ALONE
        )


def _tell(row: _Row, doubts: Doubts) -> list[Effect]:
    """What is to be told of an epoch whose keys are held: nothing, if the same of them were told before."""
    keys = row.keys.keys
    doubts = Doubts(frozenset(doubts.refused & keys.keys()), frozenset(doubts.flagged & keys.keys()))
    before, row.told = row.told, doubts
    if before == doubts:
        return []
    told = tuple(key for member, key in keys.items() if member not in doubts.refused)
    again = frozenset() if before is None else doubts.refused - before.refused
    withdrawn = tuple(key.sender for member, key in keys.items() if member in again)
    return [Installed(row.keys.id, row.keys.epoch, told, withdrawn, doubts.flagged)]


def _since(before: float | None, now: float, *, holds: bool) -> float | None:
    """Since when something has held without a break; None if it does not."""
    if not holds:
        return None
    return now if before is None else before
