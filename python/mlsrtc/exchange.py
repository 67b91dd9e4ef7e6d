"""What members ask each other and the media repository for: missing events, the head path, attachments.

Knows the desk and what is known; decides by `recovery` how often. Answers check themselves: nothing in one is
believed for who sent it.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from mlsrtc import drafts, mls, recovery
from mlsrtc.attendance import Attendance
from mlsrtc.desk import Desk
from mlsrtc.epochs import check_tree, tree_at
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.identifiers import EpochId, EventId, MemberId, UserId
from mlsrtc.knowledge import Knowledge
from mlsrtc.notices import HistoryNotVisible
from mlsrtc.outbox import FetchAttachment, FetchRelations, SendToDevice
from mlsrtc.policy import Policy
from mlsrtc.wire import names
from mlsrtc.wire.attachment import decrypt_attachment
from mlsrtc.wire.commit import decode_commit
from mlsrtc.wire.incoming import Attachment, Now, RoomEvent, ToDevice
from mlsrtc.wire.to_device import Have, Need, decode_have, decode_have_file, decode_need, encode_have, encode_need

ROOTS_READ = 16  # roots whose relations are fetched in one call
FETCH_TRIES = 4  # of one attachment: a download may be damaged, and a hostile server may damage every one


@dataclass(slots=True)
class Exchange:
    """The questions of one session, asked and answered. `unreadable`: the homeserver does not let us read back: what
    members show us is all that we know."""

    policy: Policy
    unreadable: bool = False
    _recovery: recovery.Recovery = field(init=False)
    _tree_of: EpochId | None = None  # the epoch whose tree we need and cannot work out, in this settling
    _fetching: set[str] = field(default_factory=set)
    _tries: Counter[str] = field(default_factory=Counter)
    _answers: dict[str, Have] = field(default_factory=dict)  # whose file is being fetched, by its address
    _asked: Counter[tuple[EpochId | None, UserId]] = field(default_factory=Counter)  # answers that are awaited
    _read: set[EventId] = field(default_factory=set)  # roots whose relations were fetched
    _hopeless: bool = False  # nobody told us of any head
    _hidden: bool = False  # it was told that something is hidden from us, and it still is

    def __post_init__(self) -> None:
        self._recovery = recovery.Recovery(self.policy)

    def settle(self, desk: Desk, known: Knowledge, attendance: Attendance) -> str | None:
        """Ask for what is missing, when it is time to. Returns why we must rejoin, if we must."""
        now = desk.now.monotonic
        for uri in known.wanted_files():
            self.fetch(desk, uri)
        others = known.look(desk.now).members.difference((attendance.member_id,))
        if not self.unreadable:
            self._read_back(desk, known)
        missing: dict[EpochId | None, int] = {}
        if parents := known.archive.missing_parents():
            # Of all who joined at any time: so the count only grows, and an outsider adds nothing to it.
            waiting = known.archive.waited_for({user for user, _ in known.roster.joined_devices})
            missing |= {epoch: waiting[epoch] for epoch in parents}
        if self.unreadable and known.ordering.head() is None and _was_before(known, attendance, others):
            missing[None] = sum(missing.values())
        tree, self._tree_of = self._tree_of, None  # Whoever still wants it says so again.
        if tree is not None and tree not in known.archive.trees:
            missing[tree] = 0
        self._recovery.lacks(missing, now)
        for question in self._recovery.due(now):
            self._ask(desk, known, attendance, question, others, tree=tree)
        self._tell_hidden(desk, {key for key, evidence in missing.items() if key is None or evidence})
        desk.at(self._recovery.next_timer(now))
        # Whom nobody adds and nobody gives the tree may be unknown to them: a new join is seen anew.
        return "missing_tree" if tree is not None and tree in self._recovery.given_up(now) else None

    def _tell_hidden(self, desk: Desk, hidden: set[EpochId | None]) -> None:
        """A call, or what members of it build on, is not shown to us: told once, until it is."""
        unanswered = hidden & self._recovery.waited(desk.now.monotonic, self.policy.history_timeout)
        if unanswered and not self._hidden:
            desk.tell(HistoryNotVisible())
        self._hidden = bool(hidden) and (self._hidden or bool(unanswered))
        self._hopeless = self._hopeless or None in unanswered

    def _read_back(self, desk: Desk, known: Knowledge) -> None:
        """What is missing is asked of the room, where nobody can claim another sender; of few roots, because anybody
        may name any."""
        for event_id in sorted(known.archive.roots_of_waiting() - self._read):
            if len(self._read) >= ROOTS_READ:
                return
            self._read.add(event_id)
            desk.draft(FetchRelations(desk.new_id("relations"), event_id))

    def is_blind(self, known: Knowledge, attendance: Attendance, others: Iterable[MemberId]) -> bool:
        """Whether there may be a call that we cannot see: then we create none beside it. For ever if a commit of
        somebody in it shows that there is one, else until nobody has answered for so long that it is told."""
        if not self.unreadable or known.ordering.head() is not None:
            return False
        if known.archive.named_by({known.roster.joins[member].leaf.user_id for member in others}):
            return True
        return _was_before(known, attendance, others) and not self._hopeless

    def want_tree(self, epoch_id: EpochId) -> None:
        """Ask a member for the tree of an epoch."""
        self._tree_of = epoch_id

    def fetch(self, desk: Desk, uri: str) -> bool:
        """Download an attachment, if that is not going on. False if it has been tried often enough: it is not there."""
        if uri in self._fetching:
            return True
        if self._tries[uri] >= FETCH_TRIES:
            return False
        self._tries[uri] += 1
        self._fetching.add(uri)
        desk.draft(FetchAttachment(desk.new_id("fetch"), uri))
        return True

    def fetch_failed(self, uri: str) -> None:
        """The download was refused: it may be asked for again."""
        self._fetching.discard(uri)
        self._answers.pop(uri, None)

    def attachment(self, known: Knowledge, attachment: Attachment, now: Now) -> None:
        """Take in a download. Raises RemoteProtocolError if it is an answer that does not hold."""
        self._fetching.discard(attachment.uri)
        have = self._answers.get(attachment.uri)
        if have is None:
            known.attachment(attachment.uri, attachment.data, now)
        elif have.file is not None and attachment.data is not None:
            answer = decode_have_file(have, decrypt_attachment(have.file, attachment.data))
            del self._answers[attachment.uri]
            self._take_answer(known, answer, now)
        else:
            del self._answers[attachment.uri]

    def to_device(
        self, desk: Desk, known: Knowledge, attendance: Attendance, event: ToDevice, now: Now, *, inside: bool
    ) -> None:
        """A question or an answer. Raises RemoteProtocolError if it does not hold."""
        match event.type:
            case names.NEED:
                need = decode_need(event.content)
                if (need.room_id, need.slot_id) == (known.room_id, known.slot_id):
                    self._answer(desk, known, UserId(event.sender), need, now, inside=inside)
            case names.HAVE:
                have = decode_have(event.content)
                if (have.room_id, have.slot_id) != (known.room_id, known.slot_id):
                    return
                question = have.id, UserId(event.sender)
                if not self._asked[question] or not self._recovery.has_asked(have.id):
                    return  # Nobody asked for it.
                self._asked[question] -= 1
                if have.file is not None:
                    self._answers[have.file.url] = have
                    self.fetch(desk, have.file.url)
                else:
                    self._take_answer(known, have, now)
            case _:
                pass

    def _ask(
        self,
        desk: Desk,
        known: Knowledge,
        attendance: Attendance,
        question: recovery.Question,
        others: Collection[MemberId],
        *,
        tree: EpochId | None,
    ) -> None:
        assert attendance.member_id is not None
        member = recovery.whom_to_ask(others, attendance.member_id, question.asked)
        question.ask(desk.now.monotonic, mls.random_bytes(1).expose()[0] / 255)
        if member is None:
            return
        leaf = known.roster.joins[member].leaf
        self._asked[question.id, leaf.user_id] += 1
        wants_tree = question.id is not None and question.id == tree
        need = encode_need(Need(known.room_id, known.slot_id, attendance.member_id, question.id, tree=wants_tree))
        desk.draft(SendToDevice(desk.new_id("need"), names.NEED, leaf.user_id, leaf.device_id, need))

    def _answer(self, desk: Desk, known: Knowledge, sender: UserId, need: Need, now: Now, *, inside: bool) -> None:
        asker = known.roster.joins.get(need.member_id)
        if asker is None or asker.leaf.user_id != sender:
            raise RemoteProtocolError("unknown_asker", where="content.member_id")
        path = known.head_path(now) if need.id is None else known.ordering.path(need.id)
        if not inside or not path or not self._recovery.may_answer(sender, now.monotonic):
            return
        if need.tree:
            tree = tree_at(path, known.archive)
            if not isinstance(tree, bytes):
                return
            have = Have(known.room_id, known.slot_id, need.id, tree=tree)
        else:
            have = Have(known.room_id, known.slot_id, need.id, known.events_for(path))
        fitted = encode_have(have, limit=self.policy.content_limit, random_bytes=drafts.random_bytes)
        request_id, device = desk.new_id("have"), asker.leaf.device_id
        desk.draft(SendToDevice(request_id, names.HAVE, sender, device, fitted.content, attachments=fitted.attachments))

    def _take_answer(self, known: Knowledge, have: Have, now: Now) -> None:
        if have.tree is not None and have.id is not None:
            # A false one would stand in the way of the true one.
            check_tree(have.tree, have.id, known.archive)
            known.archive.add_tree(have.id, have.tree)
        take_in = known.told_event if self.unreadable else known.told_commit
        for event in have.events if self.unreadable else _path_to(have.id, have.events):
            try:
                take_in(event, now)
            except RemoteProtocolError as error:
                known.archive.refuse(event, error)


def _path_to(end: EpochId | None, events: Iterable[RoomEvent]) -> list[RoomEvent]:
    """Those of the events that are commits on the way to `end`, parents first: what whoever lacks it takes in, and
    nothing that somebody adds for us alone."""
    commits: dict[EpochId | None, list[tuple[EpochId | None, RoomEvent]]] = {}
    for event in events:
        if event.type == names.COMMIT:
            with suppress(RemoteProtocolError):  # It leads nowhere.
                parts = decode_commit(event.content)
                commits.setdefault(parts.id, []).append((parts.parent, event))
    path: list[RoomEvent] = []
    while found := commits.pop(end, None):  # Once each: anybody can make commits that name each other in a ring.
        path += [event for _, event in found]
        end = found[0][0]
    return path[::-1]


def _was_before(known: Knowledge, attendance: Attendance, others: Iterable[MemberId]) -> bool:
    """Whether somebody joined before us, and so can be in a call whose beginning we have not seen."""
    ours = known.starts.get(attendance.member_id) if attendance.member_id is not None else None
    return any(ours is None or known.starts[member] < ours for member in others)
