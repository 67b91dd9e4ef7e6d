"""Parties of real sessions, and what each device was told: epochs, keys by fingerprint, switches, mutes.

The sessions are driven through their verbs only. A `Watched` session forwards every verb and looks at what passes: keys
are fingerprinted when they are told, since they are wiped later. A `Ledger` outlives the process of its device, as what
an application was told does.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, TypeVar

from anew import differences
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId, MemberId, RoomId, SlotId
from mlsrtc.notices import (
    EpochChanged,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    MembersChanged,
    Muted,
    Notice,
    SendKeySwitched,
)
from mlsrtc.outbox import Outcome, Request, SendEvent
from mlsrtc.policy import Policy, Trust
from mlsrtc.session import Phase, Session
from mlsrtc.testing import LabDevice, Limits, Party, PartyDevice
from mlsrtc.testing.identities import SigningIdentity
from mlsrtc.trust import Trusted
from mlsrtc.turns import ranking
from mlsrtc.wire import names
from mlsrtc.wire.incoming import GapOpened, HistoryComplete, Incoming, Now, RoomEvent
from mlsrtc.wire.membership import MembershipFormat

SLOT = SlotId("m.call#ROOM")

COMPARED_EVERY = 5  # ticks: what is kept from one to the next is compared with the same worked out anew

N = TypeVar("N", bound=Notice)


@dataclass(frozen=True)
class Switch:
    """When a device began to send under an epoch, in which of its lives. `barred`: whose leave it had seen by then, and
    whom an epoch that it stood on had removed."""

    life: int
    moment: float
    id: EpochId
    epoch: int
    index: int
    barred: frozenset[MemberId]


@dataclass
class Ledger:
    """What one device was told over all its lives."""

    told: list[tuple[float, Notice]] = field(default_factory=list)
    epochs: dict[EpochId, EpochChanged] = field(default_factory=dict)
    keys: dict[EpochId, dict[MemberId, str]] = field(default_factory=dict)  # fingerprints, by sender, of all ever told
    sink: dict[EpochId, set[MemberId]] = field(default_factory=dict)  # whose keys are installed, now
    indexes: dict[EpochId, int] = field(default_factory=dict)
    held: dict[int, EpochId] = field(default_factory=dict)  # by key index, now
    switches: list[Switch] = field(default_factory=list)
    sending: EpochId | None = None
    leaves_seen: set[MemberId] = field(default_factory=set)
    removed: set[MemberId] = field(default_factory=set)  # by epochs that it stood on since it joined
    identities: set[MemberId] = field(default_factory=set)  # who this device itself has been
    faults: list[str] = field(default_factory=list)  # promises that were broken while it was watched

    def notices(self, kind: type[N]) -> list[N]:
        """Everything of one kind that was told, oldest first."""
        return [notice for _, notice in self.told if isinstance(notice, kind)]

    @property
    def muted(self) -> bool:
        """Whether the device has nothing that it may send under."""
        return self.sending is None

    def begins(self, life: int) -> None:
        """A process starts: what the last one held is gone, and what it had not saved it does not know."""
        self.held.clear()
        self.sink.clear()
        self.sending = None

    def tell(self, notice: Notice, moment: float, life: int, me: MemberId | None) -> None:
        """Write one notice down, and hold it against promises 4 and 7."""
        self.told.append((moment, notice))
        match notice:
            case EpochChanged():
                self.epochs[notice.id] = notice
                self.removed |= set(notice.removed)
                if me is not None and me not in notice.members:
                    self.faults.append(f"stands on epoch {notice.epoch} without being a leaf of it")
            case MediaKeysChanged():
                prints = {key.member_id: fingerprint(key.secret.expose()) for key in notice.keys}
                index = {int(key.index) for key in notice.keys}.pop()
                told = self.keys.setdefault(notice.id, {})
                if any(told.setdefault(sender, print) != print for sender, print in prints.items()):
                    self.faults.append(f"epoch {notice.epoch} has had other keys before")
                if self.held.get(index, notice.id) != notice.id:
                    self.faults.append(f"index {index} names a second epoch while it is held")
                if me is not None and me not in prints and notice.id not in self.sink:
                    self.faults.append(f"holds keys of epoch {notice.epoch}, which it is no leaf of")
                if {sender.member_id for sender in notice.withdrawn} != self.sink.get(notice.id, set()) - set(prints):
                    self.faults.append(f"of epoch {notice.epoch} other keys are withdrawn than were told before")
                self.indexes[notice.id] = index
                self.held[index] = notice.id
                self.sink[notice.id] = set(prints)
            case MediaKeysRetired(id, index):
                if self.held.pop(int(index), None) != id:
                    self.faults.append(f"index {index} was retired and had not been held")
                self.sink.pop(id, None)
            case SendKeySwitched(id, epoch, index):
                if self.held.get(int(index)) != id:
                    self.faults.append(f"sends under epoch {epoch} without holding its keys")
                self.sending = id
                self.switches.append(
                    Switch(life, moment, id, epoch, int(index), frozenset(self.leaves_seen | self.removed))
                )
            case Muted():
                self.sending = None
            case Left():
                self.sending = None
                self.removed.clear()
            case _:
                pass


class Watched:
    """A session under watch. All verbs go to `inner`, which a test may ask directly."""

    def __init__(self, inner: Session, device: PartyDevice, ledger: Ledger) -> None:
        self.inner, self.device, self.ledger = inner, device, ledger
        self.handed_out: list[Request] = []
        self.gap = True  # the past is not read, or a gap is open
        self._unsaved: set[MemberId] = set()
        self._ticks = 0
        ledger.begins(device.lives)

    def join(self, now: Now) -> None:
        self.inner.join(now)

    def leave(self, now: Now) -> None:
        self.inner.leave(now)

    def receive(self, incoming: Incoming, now: Now) -> None:
        self.inner.receive(incoming, now)
        match incoming:
            case RoomEvent():
                self._unsaved |= leaves_in(incoming)
            case GapOpened():
                self.gap = True
            case HistoryComplete():
                self.gap = False
            case _:
                pass

    def tick(self, now: Now) -> None:
        self.inner.tick(now)
        self._ticks += 1
        if self._ticks % COMPARED_EVERY == 0 and self.inner.phase is not Phase.OVER:
            self.ledger.faults += differences(self.inner, now)

    def next_timer(self) -> float | None:
        return self.inner.next_timer()

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        self.inner.checkpoint(save)
        self.ledger.leaves_seen |= self._unsaved
        self._unsaved.clear()

    def outgoing(self) -> Sequence[Request]:
        requests = self.inner.outgoing()
        if self.gap and any(isinstance(one, SendEvent) and one.type in (names.COMMIT, names.WORD) for one in requests):
            self.ledger.faults.append("commits or speaks inside a gap")
        self.handed_out += requests
        return requests

    def mark_sent(self, request_id: str, outcome: Outcome, now: Now) -> None:
        self.inner.mark_sent(request_id, outcome, now)

    def notices(self) -> Sequence[Notice]:
        told = self.inner.notices()
        if self.inner.member_id is not None:
            self.ledger.identities.add(self.inner.member_id)
        for notice in told:
            if self.gap and isinstance(notice, EpochChanged):
                self.ledger.faults.append("asks for the head inside a gap")
            self.ledger.tell(notice, self.device.world.network.time, self.device.lives, self.inner.member_id)
        if self.inner.phase is Phase.INSIDE:
            self._check_sink()
        return told

    def _check_sink(self) -> None:
        """Promise 9, for who listens: of every epoch the keys of our own leaf and of those that we trust are installed,
        and no others."""
        inner, device_key = self.inner, self.device.matrix.device_key
        verdicts = inner.known.keyring.verdicts(inner.known.roster)
        heard = {member for member, verdict in verdicts.items() if isinstance(verdict, Trusted)}
        own = {member for member, join in inner.known.roster.joins.items() if join.leaf.device_key == device_key}
        own |= set() if inner.member_id is None else {inner.member_id}
        for id, senders in self.ledger.sink.items():
            members = set(self.ledger.epochs[id].members)
            unheard_of = members - verdicts.keys() if inner.policy.trust is Trust.ANY_DEVICE else set()
            crowded_out = members & inner.known.roster.open.keys() - inner.known.roster.seated.keys() - own
            if senders != members & (heard | unheard_of | own) - crowded_out:
                self.ledger.faults.append(
                    f"of epoch {self.ledger.epochs[id].epoch} other keys than those are installed"
                )


class Watch:
    """A party of real sessions with a ledger for each device."""

    def __init__(
        self,
        devices: int,
        seed: int = 1,
        *,
        policy: Policy | None = None,
        policies: Mapping[int, Policy] | None = None,
        sticky: bool = False,
        watched: "type[Watched] | None" = None,
        limits: Limits | None = None,
        **settings: Any,
    ) -> None:
        self.policy = policy or Policy()
        self.policies = dict(policies or {})
        self.sticky = sticky
        self.watched = watched or Watched
        self.ledgers = [Ledger() for _ in range(devices)]
        self.sessions: list[list[Watched]] = [[] for _ in range(devices)]
        self.party = Party(
            self._make, devices=devices, random=Random(seed), limits=limits or Limits.generous(), **settings
        )
        self.world = self.party.world

    def _make(self, device: PartyDevice, records: Mapping[str, bytes], now: Now) -> Watched:
        session = Session(
            device.matrix,
            RoomId(device.world.room_id),
            SLOT,
            policy=self.policies.get(device.index, self.policy),
            membership=MembershipFormat.STICKY if self.sticky else MembershipFormat.STATE,
            now=now,
            records=records,
        )
        watched = self.watched(session, device, self.ledgers[device.index])
        self.sessions[device.index].append(watched)
        return watched

    # -- what becomes of users and devices --

    def disguise(self, index: int, matrix: LabDevice) -> None:
        """Gives a device whose process is down other keys or another signature than the party gave it, and tells its
        homeserver."""
        assert not self.party[index].running
        self.party[index].matrix = matrix
        self.world.log_in(matrix.name, keys=matrix.user.keys())

    def kill(self, index: int) -> None:
        """Ends a device's process at once."""
        self.party[index].crash()

    def impostor(self, index: int) -> None:
        """Somebody takes part in a device's name without its key: every signature of the device is false."""
        matrix = self.party[index].matrix
        self.disguise(index, replace(matrix, _signing=SigningIdentity(b"somebody else", "device")))

    def not_cross_signed(self, index: int) -> None:
        """A device that its user has not signed: its homeserver may have invented it."""
        matrix = self.party[index].matrix
        self.disguise(index, matrix.user.add_device(matrix.device_id, cross_signed=False))

    def resets(self, index: int) -> None:
        """A device's user has lost its cross-signing keys and made new ones."""
        matrix = self.party[index].matrix
        matrix.user.reset()
        self.disguise(index, matrix.user.devices[matrix.device_id])

    def ranked(self) -> list[int]:
        """The devices on the present epoch by their rank as its committers."""
        watcher = next(device for device in self.party.present() if self.session(device.index).epoch_id)
        members = {self.member(device.index): device.index for device in self.party.present()}
        return [members[member] for member in ranking(self.session(watcher.index).epoch_id, members)]

    # -- shorthands --

    def session(self, index: int) -> Session:
        """The session of a device whose process runs."""
        watched = self.party[index].session
        assert isinstance(watched, Watched)
        return watched.inner

    def member(self, index: int) -> MemberId:
        """Who a device is in the call at present."""
        member = self.session(index).member_id
        assert member is not None
        return member

    def join_all(self, *, within: float = 1.0) -> None:
        """Every device starts and joins, spread over `within` seconds; returns when all stand on one epoch."""
        count = len(self.party)
        for index in range(count):
            self.party.join(index, after=within * index / count)
        self.until_agreed(count)

    def join_without(self, index: int) -> None:
        """Every device but one joins, whose user is not in the room; returns when they stand on one epoch."""
        self.world.kick(self.party[index].matrix.user_id)
        others = [other for other in range(len(self.party)) if other != index]
        for after, other in enumerate(others):
            self.party.join(other, after=after)
        self.until_agreed(len(others))

    def until_agreed(self, members: int, *, timeout: float = 30.0) -> float:
        """Lets time pass until all present devices send under one epoch of so many members."""
        return self.party.run_until(lambda: self.agreed(members), timeout=timeout)

    def agreed(self, members: int) -> bool:
        """Whether all present devices stand on one epoch of so many members, and send under it."""
        present = self.party.present()
        if len(present) != members:
            return False
        stands = {self.session(device.index).epoch_id for device in present}
        if len(stands) != 1 or (stand := stands.pop()) is None:
            return False
        ledgers = [self.ledgers[device.index] for device in present]
        told = next(ledger.epochs[stand] for ledger in ledgers)
        if set(told.members) != {self.member(device.index) for device in present}:
            return False
        return all(ledger.sending == stand for ledger in ledgers)

    # -- the promises --

    def check(self) -> None:
        """Promises 1, 4 and 7 and a part of 6, on everything that was told so far."""
        self.check_agreement()
        self.check_finality()
        self.check_begun_once()
        faults = [(index, fault) for index, ledger in enumerate(self.ledgers) for fault in ledger.faults]
        assert faults == []

    def check_agreement(self) -> None:
        """Promise 1: one epoch id, one safety code, one tree, one key for every sender whom several hear."""
        codes: dict[EpochId, tuple[Any, ...]] = {}
        keys: dict[EpochId, dict[MemberId, str]] = {}
        for ledger in self.ledgers:
            for notice in ledger.epochs.values():
                told = (notice.epoch, notice.safety_code, notice.members, notice.committer)
                assert codes.setdefault(notice.id, told) == told
            for id, prints in ledger.keys.items():
                assert set(prints) <= set(ledger.epochs[id].members)
                held = keys.setdefault(id, {})
                assert all(held.setdefault(sender, print) == print for sender, print in prints.items())
        secrets = [print for prints in keys.values() for print in prints.values()]
        assert len(secrets) == len(set(secrets)), "two senders or epochs share a key"

    def check_finality(self) -> None:
        """Promise 4: nobody began to send under an epoch with a leaf whose leave it had seen, and everybody holds
        keys only of epochs that it is a leaf of."""
        for index, ledger in enumerate(self.ledgers):
            for switch in ledger.switches:
                heard = switch.barred & set(ledger.epochs[switch.id].members)
                assert not heard, f"device {index} began epoch {switch.epoch}, which {heard} can read"
            for id in ledger.keys:
                assert ledger.identities & set(ledger.epochs[id].members)

    def check_begun_once(self) -> None:
        """Promise 6: an epoch that one life has sent under is never begun by another."""
        for ledger in self.ledgers:
            lives: dict[EpochId, int] = {}
            for switch in ledger.switches:
                assert lives.setdefault(switch.id, switch.life) == switch.life


def fingerprint(secret: bytes) -> str:
    """What tells one key from another and gives none away in a failed assertion."""
    return hashlib.sha256(b"fingerprint" + secret).hexdigest()[:16]


def leaves_in(event: RoomEvent) -> set[MemberId]:
    """The member_id whose leave a membership carries. One inside a commit is told as a removal, if that counts."""
    block = event.content.get(names.BLOCK)
    if isinstance(block, Mapping) and isinstance(left := block.get("left"), Mapping):
        return {MemberId(left["member_id"])}
    return set()


def refusals(party: Party) -> list[RemoteProtocolError]:
    """What the sessions of a party raised about their input."""
    return [error for device in party.devices for error in device.refused]


__all__ = ["SLOT", "Ledger", "MembersChanged", "Switch", "Watch", "Watched", "fingerprint", "leaves_in", "refusals"]
