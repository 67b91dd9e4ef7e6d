"""Where we stand and how we get to the head: what `standing` decides, done.

Knows epochs, ordering and the desk; knows no timer of its own: `standing` keeps the times in its situations.
"""

from dataclasses import dataclass, field

from mlsrtc import saved, standing, trust, turns
from mlsrtc.attendance import Attendance
from mlsrtc.desk import Desk
from mlsrtc.epochs import Closed, Epochs, Fetching, Walked
from mlsrtc.exchange import Exchange
from mlsrtc.identifiers import EpochId, RoomId, SlotId
from mlsrtc.judge import Judged
from mlsrtc.knowledge import Knowledge
from mlsrtc.media.keys import safety_code
from mlsrtc.notices import EpochChanged, Stranded
from mlsrtc.outbox import SendEvent
from mlsrtc.policy import Policy
from mlsrtc.standing import Move, Say, Situation, Trouble, Voice
from mlsrtc.wire import names
from mlsrtc.wire.commit import encode_word


@dataclass(slots=True)
class Footing:
    """Our stand. `removes`: the last step onto it removed somebody."""

    room_id: RoomId
    slot_id: SlotId
    policy: Policy
    epochs: Epochs = field(init=False)
    situation: Situation | None = None
    voice: Voice = field(default_factory=Voice)
    removes: bool = False
    safety_code: str | None = None
    kept: set[EpochId] = field(default_factory=set)  # groups that are in the store
    _trouble: tuple[EpochId, Trouble] | None = None  # with the way to this head
    _ranked: tuple[EpochId, str, int] | None = None  # our rank on an epoch; its leaves never change

    def __post_init__(self) -> None:
        self.epochs = Epochs(self.policy)

    def settle(self, desk: Desk, known: Knowledge, attendance: Attendance, exchange: Exchange) -> str | None:
        """Go where the head is, if it is time to, and say what must be said. Returns why we must rejoin, if we must."""
        situation = self._look(desk, known, attendance)
        decision = standing.decide(situation, self.policy, desk.now.monotonic)
        if decision.say is not Say.NOTHING:
            self._speak(desk, known, attendance)
            situation = self._look(desk, known, attendance)
            decision = standing.decide(situation, self.policy, desk.now.monotonic)
        desk.at(decision.again)
        match decision.move:
            case Move.JOIN | Move.APPLY | Move.SWITCH | Move.FOLLOW_MUTED:
                return self._walk(desk, known, attendance, exchange)
            case Move.REJOIN:
                return "unopened" if situation.trouble is Trouble.UNREADABLE else "elsewhere"
            case Move.STAY | Move.WAIT | Move.LOOK_PAST:
                return self._lost(desk, known, attendance)

    def forget(self, desk: Desk) -> None:
        """Another participation: nothing that the last one held is of use."""
        for identifier in self.kept:
            desk.drop(f"group/{identifier.hex()}")
        for draft in self.epochs.drafts.values():
            desk.drop(f"draft/{draft.id.hex()}")
        self.kept.clear()
        self.epochs = Epochs(self.policy, removed=self.epochs.removed)
        self.situation, self.voice, self._trouble, self.safety_code = None, Voice(), None, None

    def resume(self, epochs: Epochs, *, kept: set[EpochId]) -> None:
        """Go on where a process before us stood. `kept`: the groups that are in the store."""
        self.epochs, self.kept = epochs, kept
        if epochs.group is not None:
            self.safety_code = safety_code(epochs.group, self.room_id, self.slot_id)

    def prune(self, desk: Desk, known: Knowledge, attendance: Attendance) -> None:
        """Forget what is past its time: old states, commits of ours that the call has passed, and the private halves of
        our KeyPackage."""
        for identifier in self.epochs.prune(desk.now.monotonic):
            self.kept.discard(identifier)
            desk.drop(f"group/{identifier.hex()}")
        for draft in self.epochs.prune_drafts(known.head(desk.now), desk.now.monotonic):
            desk.drop(f"draft/{draft.id.hex()}")
        if (until := self.epochs.key_package_until) is not None and attendance.holds_key_package:
            if until <= desk.now.monotonic:
                attendance.forget_key_package(desk)
            else:
                desk.at(until)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _look(self, desk: Desk, known: Knowledge, attendance: Attendance) -> Situation:
        member = attendance.member_id
        assert member is not None
        ordering, stand = known.ordering, self.epochs.stand
        path = known.head_path(desk.now)
        states = frozenset(self.epochs.held) | {draft.id for draft in self.epochs.drafts.values()}
        invited = bool(path) and self.epochs.can_enter(path, known.archive, member, desk.now.monotonic)
        trouble = self._trouble[1] if self._trouble and path and self._trouble[0] == path[-1] else Trouble.NONE
        self.situation = standing.look(
            self.situation,
            ordering,
            path,
            me=member,
            user=attendance.user_id,
            mine=stand,
            states=states,
            invited=invited,
            trouble=trouble,
            voice=self.voice,
            rank=self._rank(known, stand, member),
            now=desk.now.monotonic,
        )
        return self.situation

    def _rank(self, known: Knowledge, stand: EpochId | None, member: str) -> int:
        if stand is None:
            return 0
        if self._ranked is None or self._ranked[:2] != (stand, member):
            ranked = turns.ranking(stand, known.archive.judged[stand].committed.members)
            rank = next((place for place, other in enumerate(ranked) if other == member), len(ranked))
            self._ranked = (stand, member, rank)
        return self._ranked[2]

    def _lost(self, desk: Desk, known: Knowledge, attendance: Attendance) -> str | None:
        """We stand nowhere and were on the head's path already: nobody can add us again, and no Welcome opens."""
        head, member = known.head(desk.now), attendance.member_id
        if self.epochs.stand is not None or head is None or member is None:
            return None
        judged = known.archive.judged[head]
        if member not in judged.ever or (self.situation and self.situation.where is standing.Where.INVITED):
            return None
        return "unopened" if judged.committed.holds(member) else "removed"

    def _walk(self, desk: Desk, known: Knowledge, attendance: Attendance, exchange: Exchange) -> str | None:
        assert attendance.presence is not None
        path = known.head_path(desk.now)
        participation = attendance.presence.participation
        match self.epochs.walk(path, known.archive, participation, desk.now.monotonic):
            case Walked(steps):
                self._arrived(desk, known, steps)
            case Fetching(uris):
                asked = [exchange.fetch(desk, uri) for uri in uris]
                if not all(asked):
                    desk.tell(Stranded("missing_attachment"))
                    return "missing_attachment"
            case Closed(_, reason):
                desk.tell(Stranded(reason))
                self._trouble = (path[-1], Trouble.UNREADABLE)
                return reason
        return None

    def _arrived(self, desk: Desk, known: Knowledge, steps: tuple[Judged, ...]) -> None:
        stand, current = self.epochs.stand, self.epochs.group
        assert stand is not None
        assert current is not None
        for identifier, held in self.epochs.held.items():
            if identifier not in self.kept:
                self.kept.add(identifier)
                desk.keep(f"group/{identifier.hex()}", held.group.save().expose())
        commit = known.archive.judged[stand].committed
        self.removes = any(step.committed.removed or step.committed.guests for step in steps)
        for member in (member for step in steps for member in step.committed.removed):
            desk.keep(saved.removed_key(member), saved.MARK)
        self.safety_code = safety_code(current, self.room_id, self.slot_id)
        desk.touch()
        desk.tell(
            EpochChanged(
                stand,
                commit.epoch,
                commit.author.member_id,
                self.safety_code,
                tuple(sorted(commit.members)),
                tuple(sorted(commit.added)),
                tuple(sorted(commit.removed)),
            )
        )

    def _speak(self, desk: Desk, known: Knowledge, attendance: Attendance) -> None:
        assert attendance.presence is not None
        stand = self.epochs.stand
        assert stand is not None
        root = known.archive.judged[stand].committed.root
        root_event = known.archive.root_event(root)
        assert root_event is not None, "who stands on a branch has seen its root"
        attendance.n += 1
        self.voice = Voice(stand, self.voice.refused)
        participation = attendance.presence.participation
        word = trust.sign_word(
            self.room_id,
            self.slot_id,
            participation.leaf,
            participation.signing_key,
            root=root,
            root_event=root_event,
            n=attendance.n,
            id=stand,
        )
        desk.draft(SendEvent(desk.new_id("word"), names.WORD, encode_word(word)))
