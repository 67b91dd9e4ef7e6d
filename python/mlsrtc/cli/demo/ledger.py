"""What every device of the demo was told, and the checks that decide its exit status. No I/O.

The ledger keeps no key: for each epoch and sender it keeps a SHA-256 of what a device holds, which is enough to
compare.
"""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.notices import EpochChanged, EventRefused, MediaKeysChanged, Muted, Notice, SendKeySwitched


@dataclass(slots=True)
class Held:
    """One device's keys of one epoch, as fingerprints by sender, and when it got them."""

    keys: dict[MemberId, bytes]
    at: float


@dataclass(slots=True)
class Account:
    """What one device was told. `seat`: its place in the demo; a device that rejoins goes on in the same account."""

    seat: int
    name: str
    present: bool = False
    members: set[MemberId] = field(default_factory=set)  # every member_id this device had
    held: dict[EpochId, Held] = field(default_factory=dict)
    epoch: EpochId | None = None
    safety_code: str = ""
    sending_under: EpochId | None = None
    muted: str = ""
    refused: list[str] = field(default_factory=list)  # reasons it gave for events that did not hold


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


class Ledger:
    """The accounts of all seats and the epochs they went through."""

    def __init__(self) -> None:
        self.accounts: dict[int, Account] = {}
        self.epochs: dict[EpochId, Epoch] = {}
        self.failures: list[str] = []
        self.notices: Counter[str] = Counter()

    def open(self, seat: int, name: str) -> Account:
        """The account of a seat."""
        return self.accounts.setdefault(seat, Account(seat, name))

    def tell(self, seat: int, notice: Notice, at: float) -> None:
        """Write down what a device was told at `at` (seconds)."""
        account = self.accounts[seat]
        self.notices[type(notice).__name__] += 1
        match notice:
            case EpochChanged():
                account.epoch, account.safety_code = notice.id, notice.safety_code
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
            case MediaKeysChanged():
                keys = {key.member_id: hashlib.sha256(key.secret.expose()).digest() for key in notice.keys}
                account.held[notice.id] = Held(keys, at)
            case SendKeySwitched():
                account.sending_under, account.muted = notice.id, ""
            case EventRefused():
                account.refused.append(notice.reason)
            case Muted():
                account.sending_under, account.muted = None, notice.reason
            case _:
                pass

    def standing(self) -> Counter[EpochId | None]:
        """How many present devices stand on each epoch."""
        return Counter(account.epoch for account in self.accounts.values() if account.present)

    def one_epoch(self) -> EpochId | None:
        """The epoch that every present device stands on and holds the keys of, if there is one."""
        present = [account for account in self.accounts.values() if account.present]
        if not present or any(account.epoch not in account.held for account in present):
            return None
        standing = self.standing()
        return next(iter(standing)) if len(standing) == 1 else None

    def held(self, epoch_id: EpochId) -> bool:
        """Whether some device has the keys of an epoch."""
        return any(epoch_id in account.held for account in self.accounts.values())

    def fingerprint(self, epoch_id: EpochId) -> str:
        """Eight hexadecimal digits over every sender's key of an epoch, equal on all devices."""
        holders = [account.held[epoch_id] for account in self.accounts.values() if epoch_id in account.held]
        if not holders:
            return "-"
        digest = hashlib.sha256()
        for member, key in sorted(holders[0].keys.items()):
            digest.update(member.encode() + key)
        return digest.hexdigest()[:8]

    def check(self, stranger: int | None) -> list[str]:
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
        if stranger is not None and self.accounts[stranger].held:
            wrong.append("the stranger holds keys")
        if self.one_epoch() is None:
            wrong.append("the devices in the call do not all stand on one epoch and hold its keys")
        return wrong

    def _check_epoch(self, epoch: Epoch) -> list[str]:
        wrong = []
        holders = [account for account in self.accounts.values() if epoch.id in account.held]
        for account in holders:
            held = account.held[epoch.id]
            if set(held.keys) != set(epoch.members):
                wrong.append(f"{account.name} has not exactly one key per sender in epoch {epoch.number}")
            if held.keys != holders[0].held[epoch.id].keys:
                wrong.append(f"{account.name} and {holders[0].name} hold different keys in epoch {epoch.number}")
        return wrong
