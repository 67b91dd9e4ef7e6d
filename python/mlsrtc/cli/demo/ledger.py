"""What every device of the demo was told, and the checks that decide its exit status. No I/O.

The ledger keeps no key: for each epoch and sender it keeps a SHA-256 of what a device holds, which is enough to
compare.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from mlsrtc.identifiers import EpochId, EventId, KeyIndex, MemberId
from mlsrtc.notices import (
    EpochChanged,
    EventRefused,
    MediaKeysChanged,
    MediaKeysRetired,
    Muted,
    Notice,
    SendKeySwitched,
)
from mlsrtc.wire.encoding import key_index


@dataclass(slots=True)
class Account:
    """What one device was told. `seat`: its place in the demo; a device that rejoins goes on in the same account."""

    seat: int
    name: str
    present: bool = False
    members: set[MemberId] = field(default_factory=set)  # every member_id this device had
    stood: set[EpochId] = field(default_factory=set)  # epochs it stood on, and whose keys it must hold
    held: dict[EpochId, dict[MemberId, bytes]] = field(default_factory=dict)  # fingerprints by sender
    installed: dict[KeyIndex, EpochId] = field(default_factory=dict)  # whose keys are at an index now
    epoch: EpochId | None = None
    muted: str = ""
    refused: dict[EventId, str] = field(default_factory=dict)  # events that did not hold, and the reasons it gave


@dataclass(slots=True)
class Epoch:
    """One epoch of the call, as the first device that reached it told it."""

    id: EpochId
    number: int
    committer: MemberId | None
    members: frozenset[MemberId]
    added: int
    removed: int
    at: float
    safety_code: str


@dataclass(frozen=True, slots=True)
class Intruder:
    """The stranger: its account, the participation it made up, and the events it sent."""

    seat: int
    member_id: MemberId
    events: frozenset[EventId]


class Ledger:
    """The accounts of all seats and the epochs they went through."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.epochs: dict[EpochId, Epoch] = {}
        self.agreed: dict[EpochId, frozenset[int]] = {}  # where the call came to rest, and who was in it
        self.intruder: Intruder | None = None
        self.failures: list[str] = []

    def open(self, seat: int, name: str) -> Account:
        """The account of a seat whose device begins anew."""
        account = self.accounts.setdefault(seat, Account(seat, name))
        account.epoch, account.installed = None, {}
        return account

    def tell(self, seat: int, notice: Notice, at: float) -> None:
        """Write down what a device was told at `at` (seconds)."""
        account = self.accounts[seat]
        match notice:
            case EpochChanged():
                account.epoch = notice.id
                if account.installed.get(key_index(notice.epoch, notice.id), notice.id) == notice.id:
                    account.stood.add(notice.id)
                # Else the index is still another epoch's: this one's keys wait, and may be passed by meanwhile.
                epoch = Epoch(
                    notice.id,
                    notice.epoch,
                    notice.committer,
                    frozenset(notice.members),
                    len(notice.added),
                    len(notice.removed),
                    at,
                    notice.safety_code,
                )
                known = self.epochs.setdefault(notice.id, epoch)
                if (known.members, known.safety_code) != (epoch.members, epoch.safety_code):
                    self.failures.append(f"{account.name} sees other members or another code in epoch {notice.epoch}")
            case MediaKeysChanged(id=bytes() as epoch_id, epoch=int() as number):
                keys = {key.member_id: hashlib.sha256(key.secret.expose()).digest() for key in notice.keys}
                account.held[epoch_id] = keys
                account.installed[key_index(number, epoch_id)] = epoch_id
            case MediaKeysRetired():
                account.installed.pop(notice.index, None)
            case SendKeySwitched():
                account.muted = ""
            case EventRefused():
                account.refused[notice.event_id] = notice.reason
            case Muted():
                account.muted = notice.reason
            case _:
                pass

    def standing(self) -> Counter[EpochId | None]:
        """How many present devices stand on each epoch."""
        return Counter(account.epoch for account in self.accounts.values() if account.present)

    def one_epoch(self) -> EpochId | None:
        """The epoch that every present device, and nobody else, is a member of, stands on and holds the keys of; None
        if there is none."""
        present = self._present()
        stands = {account.epoch for account in present}
        stand = stands.pop() if len(stands) == 1 else None
        if stand is None or any(stand not in account.held for account in present):
            return None
        members = self.epochs[stand].members
        own = [account.members & members for account in present]
        exact = len(members) == len(present) and all(len(ids) == 1 for ids in own)
        return stand if exact else None

    def agree(self, epoch_id: EpochId) -> None:
        """Everybody who is in the call now rests on this epoch."""
        self.agreed[epoch_id] = self.present()

    def present(self) -> frozenset[int]:
        """The seats of those who are in the call now."""
        return frozenset(account.seat for account in self._present())

    def have_refused(self, events: Iterable[EventId]) -> bool:
        """Whether every present device has refused each of these events."""
        wanted = frozenset(events)
        return all(wanted <= account.refused.keys() for account in self._present())

    def held(self, epoch_id: EpochId) -> bool:
        """Whether some device has the keys of an epoch."""
        return any(epoch_id in account.held for account in self.accounts.values())

    def fingerprint(self, epoch_id: EpochId) -> str:
        """Eight hexadecimal digits over every sender's key of an epoch, equal on all devices."""
        holders = [account.held[epoch_id] for account in self.accounts.values() if epoch_id in account.held]
        if not holders:
            return "-"
        digest = hashlib.sha256()
        for member, key in sorted(holders[0].items()):
            digest.update(member.encode() + key)
        return digest.hexdigest()[:8]

    def check(self) -> list[str]:
        """Everything that must hold at the end; an empty list if it does."""
        wrong = list(self.failures)
        for epoch in self.epochs.values():
            wrong += self._check_epoch(epoch)
        for account in self.accounts.values():
            for epoch_id in account.held:
                epoch_known = self.epochs.get(epoch_id)
                if epoch_known is None:
                    wrong.append(f"{account.name} holds keys of an epoch that nobody stood on")
                elif not account.members & epoch_known.members:
                    wrong.append(f"{account.name} holds keys of epoch {epoch_known.number}, of which it is no member")
        if self.one_epoch() is None:
            wrong.append("the devices in the call do not all stand on one epoch of theirs alone and hold its keys")
        return wrong + self._check_intruder()

    def _check_epoch(self, epoch: Epoch) -> list[str]:
        """Whoever stood on it, and everybody who was in the call when it rested there, holds the same whole set."""
        wrong = []
        rested = self.agreed.get(epoch.id, frozenset())
        due = [account for account in self.accounts.values() if epoch.id in account.stood or account.seat in rested]
        wrong += [f"{a.name} stood on epoch {epoch.number} without its keys" for a in due if epoch.id not in a.held]
        holders = [account for account in self.accounts.values() if epoch.id in account.held]
        for account in holders:
            held = account.held[epoch.id]
            if held.keys() != epoch.members:
                wrong.append(f"{account.name} has not exactly one key per sender in epoch {epoch.number}")
            if held != holders[0].held[epoch.id]:
                wrong.append(f"{account.name} and {holders[0].name} hold different keys in epoch {epoch.number}")
        return wrong

    def _check_intruder(self) -> list[str]:
        if self.intruder is None:
            return ["no stranger tried to get in"]
        wrong = []
        if self.accounts[self.intruder.seat].held:
            wrong.append("the stranger holds keys")
        wrong += [
            f"the stranger is a member of epoch {epoch.number}"
            for epoch in self.epochs.values()
            if self.intruder.member_id in epoch.members
        ]
        if not self.have_refused(self.intruder.events):
            wrong.append("not everybody in the call has refused all that the stranger sent")
        return wrong

    def _present(self) -> list[Account]:
        return [account for account in self.accounts.values() if account.present]
