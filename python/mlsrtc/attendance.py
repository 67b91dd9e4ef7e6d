"""Our part in a call with MLS: entering under a fresh member_id, and rejoining. The membership itself is `upkeep`'s.

Knows the desk and what is known of the call; knows no group. One participation follows another under a fresh member_id;
`n`, the count of its commits and words, is part of it.
"""

from dataclasses import dataclass, field, replace

from mlsrtc import saved
from mlsrtc.desk import Desk
from mlsrtc.evidence import DeviceIdentity
from mlsrtc.group import Participation, participate
from mlsrtc.identifiers import EpochId, MemberId
from mlsrtc.knowledge import Knowledge
from mlsrtc.notices import Rejoining
from mlsrtc.presence import Presence
from mlsrtc.turns import Echo
from mlsrtc.upkeep import Upkeep

REJOIN_PAUSE = 0.5  # seconds between rejoins, doubled each time
REJOIN_DOUBLINGS = 6
REJOIN_QUIET = 60.0  # seconds after which a rejoin counts as the first again


@dataclass(slots=True)
class Attendance(Upkeep[Presence]):
    """Our part in the room. Times are monotonic seconds."""

    n: int = 0  # commits and words of this participation
    joined_at: float | None = None  # when our own join came back
    echo: Echo = field(default_factory=Echo)  # of our last event that came back
    _entered_at: float | None = field(default=None, init=False)  # when our join was written
    _rejoins: int = field(default=0, init=False)
    _rejoin_at: float = field(default=0.0, init=False)

    @property
    def device_identity(self) -> DeviceIdentity:
        """Our Matrix device, as `Leaf.device_identity` says it."""
        return self.user_id, self.device_id, self.device.device_key

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation."""
        return None if self.presence is None else self.presence.participation.leaf.member_id

    @property
    def holds_key_package(self) -> bool:
        """Whether we hold the private halves of our KeyPackage."""
        return self.presence is not None and self.presence.participation.key_package is not None

    def forget_key_package(self, desk: Desk) -> None:
        """Delete the private halves of our KeyPackage, here and in the store (RFC 9420 section 16.8)."""
        assert self.presence is not None
        participation = replace(self.presence.participation, key_package=None)
        self.presence = replace(self.presence, participation=participation)
        desk.drop("key_package")

    def check_power(self, known: Knowledge) -> None:
        """Raises CannotSend if the room's power levels do not let us take part."""
        self.check_membership_power(known.room)
        known.room.check_commit_power(self.user_id)

    def enter(self, desk: Desk, known: Knowledge) -> None:
        """A fresh participation, in place of any that this device had."""
        participation = participate(
            known.room_id,
            known.slot_id,
            self.user_id,
            self.device_id,
            device_key=self.device.device_key,
            sign=self.device.sign,
            suite=known.suite(desk.now),
        )
        own = participation.leaf.device_identity
        replaces = {member for member, joined in known.roster.joins.items() if joined.leaf.device_identity == own}
        self.joined_at, self.n = None, 0
        self._entered_at = desk.now.monotonic
        desk.keep("participation", saved.dump_participation(participation))
        assert participation.key_package is not None
        desk.keep("key_package", participation.key_package.save().expose())
        presence = self._presence(
            known,
            participation,
            head=known.head(desk.now),
            replaces=frozenset(replaces - known.ordering.departed),
            created_ts=desk.now.wall_ms,
        )
        self.show(desk, presence)

    def settle(self, desk: Desk, known: Knowledge, *, ready: bool) -> str | None:
        """Do what is due for our membership. Returns why we must rejoin, if we must."""
        assert self.presence is not None
        member = self.presence.participation.leaf.member_id
        if member in known.ordering.departed:
            # A delayed leave fired while we lived, or our homeserver sent it: rule section 1.
            return "left_seen"
        join = known.roster.joins.get(member)
        if self.joined_at is None and join is not None:
            self.joined_at = desk.now.monotonic
            if self._entered_at is not None:
                self.echo = Echo(self.joined_at - self._entered_at, self.joined_at)
        if join is not None and known.is_early(join, desk.now):
            # Our clock was wrong when we joined: nobody counts us in before that moment comes.
            return "clock"
        if ready and (chain := known.keyring.chain_of(self.user_id, self.device_id)) not in (None, self.presence.chain):
            self.presence = replace(self.presence, chain=chain)
        self.keep_up(desk, ready=ready, away=known.is_away(member, desk.now))
        return None

    def rejoin(self, desk: Desk, known: Knowledge, reason: str) -> bool:
        """Enter again under a fresh member_id, at growing distances if once is not enough. False: not yet."""
        now = desk.now.monotonic
        if not known.keyring.knows_keys_of(self.user_id):
            return False  # Without our chain nobody would add us; the answer of keys/query brings us here again.
        if now < self._rejoin_at:
            desk.at(self._rejoin_at)
            return False
        quiet = now > self._rejoin_at + REJOIN_QUIET
        self._rejoins = 1 if quiet else self._rejoins + 1
        self._rejoin_at = now + REJOIN_PAUSE * 2 ** min(self._rejoins, REJOIN_DOUBLINGS)
        desk.tell(Rejoining(reason))
        self.enter(desk, known)
        return True

    def resume(self, desk: Desk, known: Knowledge, participation: Participation, meta: saved.Meta) -> None:
        """Go on with a participation out of the store."""
        self.n = meta.n
        presence = self._presence(
            known, participation, head=meta.head, replaces=meta.replaces, created_ts=meta.created_ts
        )
        self.go_on(desk, presence, meta.delay_id)

    def _presence(
        self,
        known: Knowledge,
        participation: Participation,
        *,
        head: EpochId | None,
        replaces: frozenset[MemberId],
        created_ts: int,
    ) -> Presence:
        leaf = participation.leaf
        return Presence(
            room_id=known.room_id,
            slot_id=known.slot_id,
            user_id=leaf.user_id,
            device_id=leaf.device_id,
            rtc_member_id=leaf.member_id,
            participation=participation,
            sign=self.device.sign,
            format=self.format,
            encrypted=known.room.encrypted,
            intent=self.intent,
            chain=known.keyring.chain_of(self.user_id, self.device_id),
            head=head,
            replaces=replaces,
            created_ts=created_ts,
            transports=self.transports,
        )
