"""Our turn, taken: what `turns` says is due becomes one commit, saved before it is sent, at most one per parent.

Knows the desk, what is known, and where we stand. The commit is applied when it comes back, not when it is made.
"""

from collections import ChainMap
from collections.abc import Set
from dataclasses import dataclass, field

from mlsrtc import drafts, saved, turns
from mlsrtc.attendance import Attendance
from mlsrtc.desk import Desk
from mlsrtc.drafts import Draft, Place
from mlsrtc.epochs import Epochs, Fetching, place_in, tree_at
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.exchange import Exchange
from mlsrtc.footing import Footing
from mlsrtc.group import Participation
from mlsrtc.identifiers import EpochId, LeafIndex, MemberId
from mlsrtc.knowledge import Knowledge
from mlsrtc.mixing import Mixing, Named
from mlsrtc.notices import Stranded
from mlsrtc.outbox import SendEvent
from mlsrtc.policy import Policy
from mlsrtc.standing import Situation
from mlsrtc.wire import encoding
from mlsrtc.wire.commit_data import CommitData

LEAVE_BYTES = 200  # of a commit event's content per member that it removes with its leave; 140 in suite 1


@dataclass(slots=True)
class Committing:
    """The commits of one participation. `done`: parents on which we have made one, ever."""

    policy: Policy
    done: set[EpochId | None] = field(default_factory=set)
    limited_until: float | None = None  # our homeserver takes nothing from us before; monotonic seconds
    _made: dict[EpochId, float] = field(default_factory=dict)  # when: our own that have not come back

    def settle(
        self,
        desk: Desk,
        known: Knowledge,
        attendance: Attendance,
        footing: Footing,
        exchange: Exchange,
        *,
        mixing: Mixing,
        closed: Set[EpochId],
    ) -> str | None:
        """Commit, if it is our turn and time. `footing`, `mixing`: settled before. `closed`: epochs we may not begin to
        send under.

        Returns why we must rejoin, if we must.
        """
        if attendance.joined_at is None:
            return None
        epochs, situation = footing.epochs, footing.situation
        assert situation is not None
        self._hear(known, attendance)
        self._withdraw_passed(desk, epochs, situation.head)
        visits = mixing.visits(known, epochs.stand, closed)
        scene = self._scene(desk, known, attendance, epochs, situation, closed, visits)
        turn = turns.next_turn(scene, self.policy)
        if turn is None or turn.parent in self.done:
            return self._await_opening(desk, scene)
        if turn.kind is turns.Kind.COMMIT and epochs.group is None:
            return None  # We are a leaf of the head, and the file with our Welcome is still on its way.
        if turn.at > desk.now.monotonic:
            desk.at(turn.at)
            return None
        if turn.kind is turns.Kind.CREATE and exchange.is_blind(known, attendance, turn.need.adds):
            return None
        try:
            made = self._make(desk, known, attendance, epochs, exchange, turn, visits.named)
        except RemoteProtocolError as error:
            desk.tell(Stranded(f"commit failed: {error.reason}"))
            self._blame(desk, known, attendance, epochs, turn)
            return None
        if made is not None:
            draft, request = made
            attendance.n += 1
            self._have_done(desk, draft.parent)
            epochs.drafts[draft.parent] = draft
            self._made[draft.id] = desk.now.monotonic
            desk.keep(f"draft/{draft.id.hex()}", saved.dump_draft(draft))
            desk.draft(request)
        return None

    def forget(self, desk: Desk) -> None:
        """Another participation has made no commit yet."""
        for parent in self.done:
            desk.drop(saved.committed_key(parent))
        self.done.clear()
        self._made.clear()

    # -- inside --------------------------------------------------------------------------------------------------------

    def _hear(self, known: Knowledge, attendance: Attendance) -> None:
        """How long our commits took to come back."""
        for identifier in self._made.keys() & known.seen.keys():
            seen = known.seen[identifier]
            attendance.echo = turns.Echo(seen - self._made.pop(identifier), seen)

    def _have_done(self, desk: Desk, parent: EpochId | None) -> None:
        self.done.add(parent)
        desk.keep(saved.committed_key(parent), saved.MARK)

    def _blame(self, desk: Desk, known: Knowledge, attendance: Attendance, epochs: Epochs, turn: turns.Turn) -> None:
        """The engine did not take what the readers had taken. Each joiner is tried beside those before it, and whoever
        does not fit is not added by us; if it is nobody's KeyPackage, this parent is left to the others."""
        assert attendance.presence is not None
        client = attendance.presence.participation.client
        base = epochs.group if turn.kind is turns.Kind.COMMIT and epochs.group else client.create_group(b"trial")
        fit: list[bytes] = []
        unfit: list[MemberId] = []
        for member in turn.need.adds if turn.kind is not turns.Kind.EXTERNAL else ():
            package = known.roster.joins[member].key_package
            try:
                base.commit(add=[*fit, package])
            except RemoteProtocolError:
                unfit.append(member)
            else:
                fit.append(package)
        known.spoil(unfit)
        if not unfit:
            self._have_done(desk, turn.parent)

    def _await_opening(self, desk: Desk, scene: turns.Scene) -> str | None:
        """Our epoch is closed to us and a commit of our own cannot change that: if nobody else's does, we rejoin (rule
        section 3.7)."""
        if scene.closed_since is None or len(scene.tree & scene.roster) < 2:
            return None
        at = scene.closed_since + self.policy.external_commit_after
        if at <= desk.now.monotonic:
            return "begun_before"
        desk.at(at)
        return None

    def _withdraw_passed(self, desk: Desk, epochs: Epochs, head: EpochId | None) -> None:
        """A commit that waits for its rate limit and that the call has passed is not sent (rule section 3.5)."""
        drafts = [draft.id for draft in epochs.drafts.values() if draft.parent not in (head, epochs.stand)]
        waiting = [request for request in desk.outbox.waiting() if isinstance(request, SendEvent)] if drafts else []
        passed = {encoding.encode_base64(draft): draft for draft in drafts} if waiting else {}
        for request in waiting:
            draft = passed.get(request.content.get("id", ""))
            if draft is not None and desk.withdraw(request.id):
                self._made.pop(draft, None)

    def _scene(
        self,
        desk: Desk,
        known: Knowledge,
        attendance: Attendance,
        epochs: Epochs,
        situation: Situation,
        closed: Set[EpochId],
        visits: turns.Visits,
    ) -> turns.Scene:
        assert attendance.member_id is not None
        assert attendance.joined_at is not None
        head, head_since = situation.head, situation.head_since
        epoch = epochs.stand or head
        judged = known.archive.judged[epoch] if epoch is not None else None
        view = known.look(desk.now)
        # Until disputes come, a leaf that our policy refuses is removed in turn, and so is one whose join nobody shows
        # us: a ghost (docs/adr/0006). So is one that an epoch we stood on had removed and that a fork brings back: we
        # may not begin to send where it is (rule section 3.6), and it returns under a fresh name.
        tree = judged.committed.members if judged is not None else frozenset()
        untrusted = known.untrusted(judged.committed) if judged is not None else frozenset()
        refused = untrusted & known.roster.joins.keys() | tree & epochs.removed
        unwanted = dict.fromkeys(refused, head_since)
        seen = head_since + self.policy.unseen_join
        if ghosts := known.unseen(tree):
            if seen <= desk.now.monotonic:
                unwanted |= dict.fromkeys(ghosts, seen)
            else:
                desk.at(seen)
        return turns.Scene(
            me=attendance.member_id,
            epoch=epoch,
            tree=tree,
            past=judged.ever if judged is not None else frozenset(),
            roster=view.members.difference(unwanted),
            gone=view.gone(tree).union(unwanted),
            able=view.able,
            addable=view.addable(judged.suite if judged is not None else self.policy.suite),
            since=ChainMap(unwanted, known.gone_since, known.since),
            joined=attendance.joined_at,
            starts=known.starts,
            last_commit=known.seen.get(epoch) if epoch is not None else None,
            last_path=known.seen.get(known.archive.refreshed(epoch)) if epoch is not None else None,
            lapsed=known.lapses.lapsed(self.policy),
            idle=judged.idle_members if judged is not None else frozenset(),
            contested=epochs.stand is not None and epochs.stand != head,
            limited_until=self.limited_until,
            awaited_since=known.awaited_since(epoch, desk.now),
            echo=attendance.echo.lately(desk.now.monotonic, self.policy),
            closed_since=head_since if epoch in closed else None,
            visits=visits,
        )

    def _make(
        self,
        desk: Desk,
        known: Knowledge,
        attendance: Attendance,
        epochs: Epochs,
        exchange: Exchange,
        turn: turns.Turn,
        guests: tuple[Named, ...],
    ) -> tuple[Draft, SendEvent] | None:
        assert attendance.presence is not None
        participation = attendance.presence.participation
        n = attendance.n + 1
        # A leave takes some 140 bytes that no attachment can hold: what does not fit is the next commit's.
        removes = turn.need.removes[: self.policy.content_limit // LEAVE_BYTES]
        match turn.kind:
            case turns.Kind.EXTERNAL:
                return self._from_outside(desk, known, participation, exchange, n)
            case turns.Kind.CREATE:
                creator = participation.leaf.member_id
                group_id = encoding.group_id(known.room_id, known.slot_id, creator)
                base = participation.client.create_group(group_id)
                remove: list[LeafIndex] = []
            case turns.Kind.COMMIT:
                assert epochs.group is not None
                assert turn.parent is not None
                base = epochs.group
                judged = known.archive.judged[turn.parent]
                found = [place_in(judged, member) for member in removes]
                remove = [leaf for leaf in found if leaf is not None]
        return drafts.commit(
            base,
            self._place(known, turn.parent),
            CommitData(turn.parent, n, drafts.left_of(known.left, removes), guests=guests if turn.need.guests else ()),
            add=[known.roster.joins[member].key_package for member in turn.need.adds],
            remove=remove,
            path=turn.need.rekey or turn.need.guests,
        )

    def _from_outside(
        self, desk: Desk, known: Knowledge, participation: Participation, exchange: Exchange, n: int
    ) -> tuple[Draft, SendEvent] | None:
        path = known.head_path(desk.now)
        tree = tree_at(path, known.archive)
        bodies = known.archive.bodies(path[-1])
        match tree:
            case Fetching(uris):
                for uri in uris:
                    exchange.fetch(desk, uri)
                return None
            case None:
                exchange.want_tree(path[-1])
                return None
        if not bodies:
            return None
        own = participation.leaf.device_identity
        leaves = known.archive.judged[path[-1]].committed.leaves
        old = [at for at, leaf in leaves.items() if leaf.device_identity == own]
        return drafts.enter_from_outside(
            participation,
            bodies[0].parts.group_info,
            tree,
            self._place(known, path[-1]),
            CommitData(path[-1], n),
            replaces=old[0] if old else None,
        )

    def _place(self, known: Knowledge, parent: EpochId | None) -> Place:
        if parent is None:
            return Place(known.slot_id, None, None, None, self.policy.content_limit)
        root = known.archive.judged[parent].committed.root
        return Place(known.slot_id, parent, root, known.archive.root_event(root), self.policy.content_limit)
