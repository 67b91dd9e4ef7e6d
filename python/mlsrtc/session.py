"""One call of one device, without I/O: Matrix events in, requests out, media keys told. Only this module wires stages.

Level-triggered: `receive` takes in what is evidence, `tick` asks again what follows from all of it: where is the head, do
we stand there, is it our turn, which keys may be used. So the order of events changes nothing, and a restart replays
evidence and not decisions. The clock is an argument; nothing leaves before the checkpoint that holds it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from typing import Any, Protocol

from mlsrtc import drafts, group, mls, recovery, saved, trust, turns
from mlsrtc.epochs import Closed, Epochs, Fetching, Held, Walked, place_in, tree_at
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.evidence import Leaf
from mlsrtc.identifiers import DeviceId, EpochId, EventId, LeafIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.judge import Judged
from mlsrtc.knowledge import Knowledge
from mlsrtc.media.gate import Blocked, may_begin
from mlsrtc.media.keys import derive, safety_code
from mlsrtc.media.table import Effect, Installed, KeyTable, Retired, Silenced, Stand, Switched
from mlsrtc.notices import (
    EpochChanged,
    EventRefused,
    HistoryNotVisible,
    Left,
    MediaKeysChanged,
    MediaKeysRetired,
    MembersChanged,
    Muted,
    NotAddable,
    Notice,
    Rejoining,
    RequestRefused,
    SendKeySwitched,
    Stranded,
)
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    Outbox,
    Outcome,
    QueryKeys,
    RateLimited,
    Refused,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendToDevice,
)
from mlsrtc.policy import Policy
from mlsrtc.presence import Presence
from mlsrtc.wire import encoding, names
from mlsrtc.wire.attachment import decrypt_attachment
from mlsrtc.wire.commit import encode_word
from mlsrtc.wire.commit_data import CommitData
from mlsrtc.wire.incoming import (
    Attachment,
    DeviceKeys,
    GapOpened,
    HistoryComplete,
    HistoryRefused,
    Incoming,
    Now,
    RoomEvent,
    ToDevice,
)
from mlsrtc.wire.membership import MembershipFormat
from mlsrtc.wire.to_device import Have, Need, decode_have, decode_have_file, decode_need, encode_have, encode_need

REJOIN_PAUSE = 0.5  # seconds between rejoins, doubled each time
REFRESH_PAUSE = 5.0  # seconds at least between two refreshes of a membership that somebody keeps erasing
REJOIN_QUIET = 60.0  # seconds after which a rejoin counts as the first again
DRAFTS_KEPT = 8  # our own commits that may still come back


class Device(Protocol):
    """The Matrix device that takes part: its names, its Ed25519 key (32 bytes) and its signature over ASCII text."""

    @property
    def user_id(self) -> str: ...
    @property
    def device_id(self) -> str: ...
    @property
    def device_key(self) -> bytes: ...
    @property
    def sign(self) -> Callable[[str], bytes]: ...


class Phase(Enum):
    """How far our own part in the call is."""

    LOBBY = "lobby"  # we watch
    ENTERING = "entering"  # join was asked for; the room's past or our own keys are not here yet
    INSIDE = "inside"  # our membership is on its way, or there
    LEAVING = "leaving"  # our leave is on its way
    OVER = "over"


@dataclass(frozen=True, slots=True)
class CallMember:
    """Somebody in the call. `keyed`: it has a leaf in the epoch we stand on. `reason`: why it gets no keys, or None."""

    member_id: MemberId
    user_id: UserId
    device_id: DeviceId
    keyed: bool
    reason: str | None = None


class Session:
    """One call of one device. The verbs are those of docs/design.md section 3; all of them are cheap to call again."""

    def __init__(
        self,
        device: Device,
        room_id: RoomId,
        slot_id: SlotId,
        *,
        policy: Policy | None = None,
        intent: str = "audio",
        sticky: bool = False,
        now: Now,
        records: saved.Records | None = None,
    ) -> None:
        """A session that watches the call, or goes on with the `records` of a store. Raises StoreError if it cannot."""
        self.device = device
        self.user_id, self.device_id = UserId(device.user_id), DeviceId(device.device_id)
        self.room_id, self.slot_id = room_id, slot_id
        self.policy = policy or Policy()
        self.known = Knowledge(room_id, slot_id, self.policy)
        self.epochs = Epochs(self.policy)
        self.table = KeyTable(self.policy)
        self.recovery = recovery.Recovery(self.policy)
        self._outbox = Outbox()
        self._intent = intent
        self._format = MembershipFormat.STICKY if sticky else MembershipFormat.STATE
        self._phase = Phase.LOBBY
        self._complete = False
        self._unreadable = False  # the homeserver does not let us read back
        self._presence: Presence | None = None
        self._joined_at: float | None = None  # when our own join came back; monotonic
        self._refresh_at: float | None = None
        self._refreshed_at = -math.inf
        self._n = 0  # our commits and words under this member_id
        self._numbers = 0  # makes request ids unique
        self._committed: set[EpochId | None] = set()
        self._delay_id: str | None = None
        self._restart_at: float | None = None
        self._scheduling: str | None = None  # the request that schedules our leave
        self._limited_until: float | None = None
        self._seen_head: tuple[EpochId | None, float] = (None, 0.0)  # the head, and since when
        self._timers: list[float] = []
        self._stirred = True
        self._now = now
        self._records: dict[str, bytes | None] = {}
        self._drafted: list[Notice] = []
        self._told: list[Notice] = []
        self._shown: frozenset[MemberId] = frozenset()
        self._stand_removes = False
        self._rejoins = 0
        self._rejoin_at = 0.0
        self._side: tuple[frozenset[UserId], float] = (frozenset(), 0.0)  # support of our branch, and since when
        self._have_files: dict[str, Have] = {}
        self._word_on: EpochId | None = None
        self._fetching: set[str] = set()
        self._hopeless_told = False
        self._refused_told: set[MemberId] = set()
        self._saved_groups: set[str] = set()
        self._session_tag = mls.random_bytes(6).expose().hex()
        self.safety_code: str | None = None
        if records:
            self._restore(records)
        self._draft(QueryKeys(self._request_id("keys"), (self.user_id,)))

    # -- verbs: in -----------------------------------------------------------------------------------------------------

    @property
    def ready(self) -> bool:
        """Whether enough is known to enter: the room's past was read and our own cross-signing keys are here."""
        return self._complete and self.known.knows_keys_of(self.user_id)

    def join(self, now: Now) -> None:
        """Enter the call, as soon as `ready`. Nothing if we are in it, as after a restart; a leave that is still on its
        way is overtaken by a new participation.

        Raises CannotSend if the room's power levels are known and do not let us, LocalProtocolError if the call is
        over.
        """
        if self._phase is Phase.OVER:
            raise LocalProtocolError("cannot join: the call is over for this session")
        if self._phase in (Phase.ENTERING, Phase.INSIDE):
            return
        for request in self._outbox.waiting():
            if ".leave." in request.id:
                # Sent late, it would overwrite the membership that we are about to write.
                self._outbox.withdraw(request.id)
                self._forget_record(f"request/{request.id}")
        if self._complete:
            self.known.check_power(self.user_id, self._membership_type, state=self._format is MembershipFormat.STATE)
        self._phase = Phase.ENTERING
        self._touch()
        self._stir(now)

    def leave(self, now: Now) -> None:
        """Leave the call: our membership is withdrawn with a signed leave. `Left` is told when the homeserver has it."""
        if self._phase in (Phase.LOBBY, Phase.ENTERING):
            self._end("left")
        elif self._phase is Phase.INSIDE and self._presence is not None:
            self._phase = Phase.LEAVING
            self._draft(self._presence.leave(self._request_id("leave")))
            self._cancel_delayed_leave()
            self._media_effects(self.table.clear())
        self._stir(now)

    def close(self, reason: str) -> None:
        """The transport is gone for good (logged out, closed): the call is over for us."""
        if self._phase is not Phase.OVER:
            self._end(reason)

    def receive(self, incoming: Incoming, now: Now) -> None:
        """Take in what came; `tick` is due at once and acts on it.

        Raises RemoteProtocolError if it does not hold: nothing is changed then.
        """
        match incoming:
            case RoomEvent():
                self.known.room_event(incoming, now)
            case ToDevice():
                self._to_device(incoming, now)
            case HistoryComplete():
                self._complete = True
            case GapOpened():
                self._complete = False
            case HistoryRefused():
                self._unreadable = self._complete = True
            case DeviceKeys():
                self.known.device_keys(incoming)
            case Attachment():
                self._attachment(incoming, now)
        self._stir(now)

    def tick(self, now: Now) -> None:
        """Do what follows from all that is known, and what is due."""
        self._settle(now)

    def next_timer(self) -> float | None:
        """When `tick` has something to do, in seconds of the monotonic clock."""
        if self._stirred:
            return self._now.monotonic
        timers = [*self._timers, self.table.next_timer(), self.epochs.next_timer(), self._outbox.next_timer()]
        return min((timer for timer in timers if timer is not None), default=None)

    # -- verbs: out ----------------------------------------------------------------------------------------------------

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        """Hand everything that changed to `save`; requests and notices are released only if it returns.

        `save` takes records by key, None for one to delete, and must write them all or none.
        """
        changes = dict(self._records)
        changes.pop("touched", None)
        changes |= {f"event/{event.event_id}": saved.dump_event(event) for event in self.known.fresh}
        changes |= {f"request/{request.id}": saved.dump_request(request) for request in self._outbox.drafted()}
        if changes or self._drafted or self._records:
            changes["meta"] = self._meta()
            save(changes)
        self._records.clear()
        self.known.fresh.clear()
        self._outbox.release()
        self._told += self._drafted
        self._drafted.clear()

    def outgoing(self) -> Sequence[Request]:
        """The released requests whose moment has come; each is handed out once per try.

        Before the room's past is read, and while a gap is open, nothing leaves that would go into the room.
        """
        ready = self._outbox.take(self._now.monotonic, into_room=self._complete)
        return ready

    def mark_sent(self, request_id: str, outcome: Outcome, now: Now) -> None:
        """What became of a request. An unknown id is ignored: the request was withdrawn meanwhile."""
        request = self._outbox.get(request_id)
        if request is not None:
            match outcome:
                case Accepted():
                    self._forget(request_id)
                    self._accepted(request, outcome, now)
                case RateLimited(retry_after_ms):
                    until = now.monotonic + retry_after_ms / 1000
                    self._outbox.postpone(request_id, until)
                    if isinstance(request, SendEvent) and request.type == names.COMMIT:
                        self._limited_until = until
                case Refused(status, errcode):
                    self._forget(request_id)
                    self._refused(request, status, errcode)
        self._stir(now)

    def notices(self) -> Sequence[Notice]:
        """What is to be told to the application, oldest first; each is given once."""
        told, self._told = self._told, []
        return told

    # -- what can be asked at any time ---------------------------------------------------------------------------------

    @property
    def phase(self) -> Phase:
        """How far our own part in the call is."""
        return self._phase

    @property
    def member_id(self) -> MemberId | None:
        """Our present participation."""
        return self._presence.participation.leaf.member_id if self._presence is not None else None

    @property
    def epoch_id(self) -> EpochId | None:
        """The epoch we stand on."""
        return self.epochs.stand

    @property
    def members(self) -> Mapping[MemberId, CallMember]:
        """Everybody in the call: device, whether it has a leaf in our epoch, and why it gets none."""
        keyed = {leaf.member_id for leaf in self._leaves().values()}
        view = self.known.look(self._now)
        return {
            member: CallMember(
                member, joined.leaf.user_id, joined.leaf.device_id, member in keyed, view.refused.get(member)
            )
            for member, joined in view.present.items()
        }

    def accept_master_key(self, user_id: UserId, key: bytes, now: Now, *, verified: bool = False) -> None:
        """The application says that `key` (Ed25519, 32 bytes) is the user's master key, instead of any pinned before."""
        self.known.accept_master_key(user_id, key, verified=verified)
        self._stir(now)

    # -- settling ------------------------------------------------------------------------------------------------------

    def _stir(self, now: Now) -> None:
        """Something changed: the next `tick` asks everything again."""
        self._now, self._stirred = now, True

    def _settle(self, now: Now) -> None:
        self._now, self._stirred = now, False
        self._timers = []
        if self._phase is Phase.OVER:
            return
        self.known.tick(now)
        self._at(self.known.next_timer(now))
        if (reason := self._expelled()) is not None:
            self._end(reason)
            return
        if self._phase is Phase.ENTERING and self.ready:
            self.known.check_power(self.user_id, self._membership_type, state=self._format is MembershipFormat.STATE)
            self._enter(now)
        if self._phase is Phase.INSIDE:
            self._keep_present(now)
        if self._phase is Phase.INSIDE and self._complete:
            self._find_stand(now)
            self._take_turn(now)
            self._recover(now)
        for forgotten in self.epochs.prune(now.monotonic):
            self._records[f"group/{forgotten.hex()}"] = None
        self._tell_what_changed(now)
        if self._phase is Phase.INSIDE:
            self._settle_media(now)

    def _expelled(self) -> str | None:
        member = self.known.roster.members.get(self.user_id)
        if self.known.tombstoned:
            return "room_closed"
        if member is None or member.present:
            return None
        return "banned" if member.membership == "ban" else "kicked" if member.by != self.user_id else "left_room"

    # -- our membership ------------------------------------------------------------------------------------------------

    @property
    def _membership_type(self) -> str:
        return names.STATE_MEMBER if self._format is MembershipFormat.STATE else names.STICKY_MEMBER

    def _enter(self, now: Now) -> None:
        """A fresh participation, in place of any that this device had."""
        participation = group.participate(
            self.room_id,
            self.slot_id,
            self.user_id,
            self.device_id,
            device_key=self.device.device_key,
            sign=self.device.sign,
            suite=self._suite(),
        )
        own = (self.user_id, self.device_id, self.device.device_key)
        replaces = {
            member
            for member, joined in self.known.roster.joins.items()
            if (joined.leaf.user_id, joined.leaf.device_id, joined.leaf.device_key) == own
        } - self.known.ordering.departed
        self._presence = Presence(
            room_id=self.room_id,
            slot_id=self.slot_id,
            participation=participation,
            sign=self.device.sign,
            format=self._format,
            encrypted=self.known.encrypted,
            intent=self._intent,
            chain=self.known.chain_of(self.user_id, self.device_id),
            head=self.known.ordering.head(),
            replaces=frozenset(replaces),
            created_ts=now.wall_ms,
        )
        self._phase = Phase.INSIDE
        self._joined_at, self._n = None, 0
        self._committed.clear()
        self._forget_epochs()
        self._records["participation"] = saved.dump_participation(participation)
        self._cancel_delayed_leave()
        self._schedule_leave()
        self._draft(self._presence.join(self._request_id("join"), now.wall_ms, self.policy))
        self._refresh_at = now.monotonic + self.policy.membership_refresh

    def _keep_present(self, now: Now) -> None:
        assert self._presence is not None
        member = self._presence.participation.leaf.member_id
        if member in self.known.ordering.departed:
            # A delayed leave fired while we lived, or our homeserver sent it: rule section 1.
            self._rejoin("left_seen", now)
            return
        if self._joined_at is None and member in self.known.roster.joins:
            self._joined_at = now.monotonic
        join = self.known.roster.joins.get(member)
        if join is not None and join.from_ts > now.wall_ms + self.policy.clock_skew * 1000:
            # Our clock was wrong when we joined: nobody counts us in before that moment comes.
            self._rejoin("clock", now)
            return
        if self._refresh_at is not None and self.known.is_away(member, now):
            # Somebody with the power overwrote it, or our clock was set: the others take us for gone.
            self._refresh_at = min(self._refresh_at, max(now.monotonic, self._refreshed_at + REFRESH_PAUSE))
        if self._refresh_at is not None and self._refresh_at <= now.monotonic and self.ready:
            self._refreshed_at = now.monotonic
            chain = self.known.chain_of(self.user_id, self.device_id)
            self._presence = replace(self._presence, chain=chain or self._presence.chain)
            self._draft(self._presence.join(self._request_id("join"), now.wall_ms, self.policy))
            self._refresh_at = now.monotonic + self.policy.membership_refresh
        if self._delay_id is not None and self._restart_at is not None and self._restart_at <= now.monotonic:
            self._draft(RestartLeave(self._request_id("restart"), self._delay_id))
            self._restart_at = now.monotonic + self.policy.delayed_leave_restart
        if self.ready:
            self._at(self._refresh_at)
        self._at(self._restart_at)

    def _schedule_leave(self) -> None:
        if self._scheduling is None and self._presence is not None:
            self._scheduling = self._request_id("delay")
            self._draft(self._presence.leave_later(self._scheduling, self.policy))

    def _cancel_delayed_leave(self) -> None:
        if self._delay_id is not None:
            self._draft(CancelLeave(self._request_id("cancel"), self._delay_id))
        if self._scheduling is not None:
            self._outbox.withdraw(self._scheduling)
            self._forget_record(f"request/{self._scheduling}")
        self._scheduling = self._delay_id = self._restart_at = None

    def _rejoin(self, reason: str, now: Now) -> None:
        """Enter again under a fresh member_id, at growing distances if once is not enough."""
        if not self.known.knows_keys_of(self.user_id):
            return  # Without our chain nobody would add us; the answer of keys/query brings us here again.
        if now.monotonic < self._rejoin_at:
            self._at(self._rejoin_at)
            return
        quiet = now.monotonic > self._rejoin_at + REJOIN_QUIET
        self._rejoins = 1 if quiet else self._rejoins + 1
        self._rejoin_at = now.monotonic + REJOIN_PAUSE * 2 ** min(self._rejoins, 6)
        self._tell(Rejoining(reason))
        self._enter(now)

    # -- where we stand ------------------------------------------------------------------------------------------------

    def _find_stand(self, now: Now) -> None:
        head = self.known.ordering.head()
        if head != self._seen_head[0]:
            self._seen_head = (head, now.monotonic)
        if head is None or head == self.epochs.stand or self._presence is None:
            return
        me = self._presence.participation.leaf.member_id
        path = self.known.ordering.head_path()
        stand = self.epochs.stand
        free = self.epochs.can_enter(path, self.known.archive, me, now.monotonic)
        commit = self.known.archive.judged[head].committed
        if stand is None or stand in path:
            if free:
                self._walk(path, now)
            elif stand is not None or me in self.known.archive.judged[head].ever:
                # We were a leaf of this path and are not any more, or cannot open what let us in.
                self._rejoin("removed" if not commit.holds(me) else "unopened", now)
        elif free:
            self._move_when(now, self._seen_head[1] + self.policy.settle, lambda: self._walk(path, now))
        else:
            self._leave_branch(stand, head, now)

    def _leave_branch(self, stand: EpochId, head: EpochId, now: Now) -> None:
        """The move is costly: nobody leaves a branch without having said that it stood there (rule section 3.3)."""
        fork = self.known.ordering.fork(stand, head)
        if fork.ours is None or fork.theirs is None:
            self._rejoin("elsewhere", now)
            return
        ours, theirs = self.known.ordering.support(fork.ours), self.known.ordering.support(fork.theirs)
        if ours != self._side[0]:
            self._side = (ours, now.monotonic)
        since = self._seen_head[1]
        lead = 1 + -(-len(theirs) // 2)
        leaves = self.known.archive.judged[stand].committed.leaves.values()
        ranked = turns.ranking(stand, [leaf.member_id for leaf in leaves])
        rank = ranked.index(self.member_id) if self.member_id in ranked else len(ranked)
        speak_at = since + self.policy.word_delay + self.policy.word_step * int(math.log2(rank + 1))
        silent = self.user_id in ours or len(ours) - len(theirs) >= lead
        if not silent and now.monotonic >= speak_at:
            self._say(stand, now)
        elif not silent:
            self._at(speak_at)
        quiet = max(self._side[1], speak_at) + self.policy.settle
        limit = since + self.policy.settle_costly_limit
        self._move_when(now, min(quiet, limit), lambda: self._rejoin("elsewhere", now))

    def _move_when(self, now: Now, at: float, act: Callable[[], None]) -> None:
        if at <= now.monotonic:
            act()
        else:
            self._at(at)

    def _walk(self, path: Sequence[EpochId], now: Now) -> None:
        assert self._presence is not None
        walk = self.epochs.walk(path, self.known.archive, self._presence.participation, now.monotonic)
        match walk:
            case Walked(steps):
                if steps or path[-1] != self._seen_head[0]:
                    self._arrived(steps, now)
            case Fetching(uris):
                for uri in uris:
                    self._fetch(uri)
            case Closed(_, reason):
                self._tell(Stranded(reason))
                self._rejoin(reason, now)

    def _arrived(self, steps: tuple[Judged, ...], now: Now) -> None:
        stand = self.epochs.stand
        current = self.epochs.group
        assert stand is not None and current is not None
        judged = self.known.archive.judged[stand]
        for identifier, held in self.epochs.held.items():
            key = f"group/{identifier.hex()}"
            if key not in self._saved_groups:
                self._saved_groups.add(key)
                self._records[key] = held.group.save().expose()
        self._drop_settled_drafts()
        self._stand_removes = any(step.committed.removed for step in steps)
        self.safety_code = safety_code(current, self.room_id, self.slot_id)
        self._tell(
            EpochChanged(
                stand,
                judged.committed.epoch,
                judged.committed.author.member_id,
                self.safety_code,
                tuple(sorted(leaf.member_id for leaf in judged.committed.leaves.values())),
                tuple(sorted(judged.committed.added)),
                tuple(sorted(judged.committed.removed)),
            )
        )
        self._touch()

    def _say(self, stand: EpochId, now: Now) -> None:
        assert self._presence is not None
        root = self.known.archive.judged[stand].committed.root
        root_event = self.known.archive.root_event(root)
        if root_event is None or self._word_on == stand:
            return
        self._word_on = stand
        self._n += 1
        participation = self._presence.participation
        word = trust.sign_word(
            self.room_id,
            self.slot_id,
            participation.leaf,
            participation.signing_key,
            root=root,
            root_event=root_event,
            n=self._n,
            id=stand,
        )
        self._draft(SendEvent(self._request_id("word"), names.WORD, encode_word(word)))

    # -- our turn ------------------------------------------------------------------------------------------------------

    def _take_turn(self, now: Now) -> None:
        if self._presence is None or self._joined_at is None or self._phase is not Phase.INSIDE:
            return
        head = self.known.ordering.head()
        self._withdraw_commits(head)
        scene = self._scene(head, now)
        turn = turns.next_turn(scene, self.policy)
        if turn is None or turn.parent in self._committed:
            self._await_opening(scene, now)
            return
        if turn.at > now.monotonic:
            self._at(turn.at)
            return
        try:
            made = self._make(turn, head, now)
        except RemoteProtocolError as error:
            # Somebody's KeyPackage passed our reader and not the engine: whoever it is is not added by us.
            self._tell(Stranded(f"commit failed: {error.reason}"))
            self.known.spoil(turn.need.adds)
            return
        if made is None:
            return
        draft, request = made
        self._n += 1
        self._committed.add(draft.parent)
        self.epochs.drafts[draft.parent] = draft
        self._records[f"draft/{draft.id.hex()}"] = saved.dump_draft(draft)
        self._draft(request)

    def _await_opening(self, scene: turns.Scene, now: Now) -> None:
        """Our epoch is closed to us and a commit of our own cannot change that: if nobody else's does, we rejoin (rule
        section 3.7)."""
        if scene.closed_since is not None and len(scene.tree & scene.roster) > 1:
            at = scene.closed_since + self.policy.external_commit_after
            self._move_when(now, at, lambda: self._rejoin("begun_before", now))

    def _scene(self, head: EpochId | None, now: Now) -> turns.Scene:
        assert self.member_id is not None
        assert self._joined_at is not None
        epoch = self.epochs.stand or head
        judged = self.known.archive.judged[epoch] if epoch is not None else None
        view = self.known.look(now)
        suite = judged.suite if judged is not None else self.policy.suite
        leaves = judged.committed.leaves if judged is not None else {}
        tree = frozenset(leaf.member_id for leaf in leaves.values())
        untrusted = self.known.untrusted(leaves) & self.known.roster.joins.keys()
        idle = judged.idle_user if judged is not None else None
        path = self.known.ordering.path(epoch) if epoch is not None else ()
        # In the root every key is fresh, whether it has a path or not.
        with_path = [step for step in path if step == path[0] or self.known.archive.judged[step].committed.has_path]
        return turns.Scene(
            me=self.member_id,
            epoch=epoch,
            tree=tree,
            past=judged.ever if judged is not None else frozenset(),
            roster=frozenset(view.present) - untrusted,
            gone=view.gone | untrusted,
            able=self.known.able(view),
            addable=self.known.addable(view, suite),
            since={**self.known.since, **self.known.gone_since, **dict.fromkeys(untrusted, self._seen_head[1])},
            joined=self._joined_at,
            starts=self.known.starts,
            last_commit=self.known.seen.get(path[-1]) if path else None,
            last_path=self.known.seen.get(with_path[-1]) if with_path else None,
            lapsed=self.known.lapses.lapsed(self.policy),
            idle=frozenset(leaf.member_id for leaf in leaves.values() if leaf.user_id == idle),
            contested=self.epochs.stand is not None and self.epochs.stand != head,
            limited_until=self._limited_until,
            closed_since=self._seen_head[1] if epoch in self.table.closed else None,
        )

    def _make(self, turn: turns.Turn, head: EpochId | None, now: Now) -> tuple[drafts.Draft, SendEvent] | None:
        assert self._presence is not None
        participation = self._presence.participation
        joins = self.known.roster.joins
        if turn.kind is turns.Kind.EXTERNAL:
            return self._make_external(participation, head)
        if turn.kind is turns.Kind.CREATE:
            base = participation.client.create_group(
                encoding.group_id(self.room_id, self.slot_id, participation.leaf.member_id)
            )
            place = drafts.Place(self.slot_id, None, None, None, self.policy.content_limit)
            remove: list[LeafIndex] = []
        else:
            assert self.epochs.group is not None
            assert turn.parent is not None
            base = self.epochs.group
            judged = self.known.archive.judged[turn.parent]
            root = judged.committed.root
            place = drafts.Place(
                self.slot_id, turn.parent, root, self.known.archive.root_event(root), self.policy.content_limit
            )
            found = [place_in(judged, member) for member in turn.need.removes]
            remove = [leaf for leaf in found if leaf is not None]
        left = drafts.left_of(self.known.left, turn.need.removes)
        return drafts.commit(
            base,
            place,
            CommitData(self._n + 1, left),
            add=[joins[member].key_package for member in turn.need.adds],
            remove=remove,
            path=turn.need.rekey,
        )

    def _make_external(
        self, participation: group.Participation, head: EpochId | None
    ) -> tuple[drafts.Draft, SendEvent] | None:
        if head is None:
            return None
        path = self.known.ordering.head_path()
        tree = tree_at(path, self.known.archive)
        if isinstance(tree, Fetching):
            for uri in tree.uris:
                self._fetch(uri)
            return None
        bodies = self.known.archive.bodies(head)
        if tree is None or not bodies:
            return None
        judged = self.known.archive.judged[head]
        own = participation.leaf
        old = next(
            (
                place
                for place, leaf in judged.committed.leaves.items()
                if (leaf.user_id, leaf.device_id, leaf.device_key) == (own.user_id, own.device_id, own.device_key)
            ),
            None,
        )
        root = judged.committed.root
        place = drafts.Place(
            self.slot_id, head, root, self.known.archive.root_event(root), self.policy.content_limit
        )
        data = CommitData(self._n + 1, {})
        return drafts.enter_from_outside(
            participation, bodies[0].parts.group_info, tree, place, data, replaces=old
        )

    def _withdraw_commits(self, head: EpochId | None) -> None:
        """A commit that waits for its rate limit and that the call has passed is not sent any more (rule section 3.5)."""
        for draft in self.epochs.drafts.values():
            if draft.parent not in (head, self.epochs.stand):
                for request in self._outbox.waiting():
                    if isinstance(request, SendEvent) and request.content.get("id") == encoding.encode_base64(draft.id):
                        self._outbox.withdraw(request.id)
                        self._forget_record(f"request/{request.id}")

    def _drop_settled_drafts(self) -> None:
        for parent, draft in list(self.epochs.drafts.items()):
            if draft.id in self.epochs.held or len(self.epochs.drafts) > DRAFTS_KEPT:
                del self.epochs.drafts[parent]
                self._forget_record(f"draft/{draft.id.hex()}")

    # -- media ---------------------------------------------------------------------------------------------------------

    def _settle_media(self, now: Now) -> None:
        stand, current = self.epochs.stand, self.epochs.group
        target = None
        if stand is not None and current is not None:
            judged = self.known.archive.judged[stand].committed
            target = Stand(
                stand,
                judged.epoch,
                self._stand_removes,
                self._gate(stand, now),
                partial(derive, current, stand, self.room_id, self.slot_id, judged.leaves),
            )
        in_use = self.table.in_use
        blocked = None if in_use is None else self._gate(in_use, now)
        self._media_effects(self.table.settle(now.monotonic, target, blocked))

    def _gate(self, epoch: EpochId, now: Now) -> Blocked | None:
        leaves = self.known.archive.judged[epoch].committed.leaves
        return may_begin(
            (leaf.member_id for leaf in leaves.values()),
            self.known.look(now).gone,
            self.epochs.removed,
            self.known.untrusted(leaves),
        )

    def _media_effects(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case Installed(keys):
                    self._tell(MediaKeysChanged(keys.id, keys.epoch, tuple(keys.keys.values())))
                case Switched(identifier, epoch, index):
                    self._touch()
                    self._tell(SendKeySwitched(identifier, epoch, index))
                case Retired(identifier, index):
                    self._tell(MediaKeysRetired(identifier, index))
                case Silenced(reason):
                    self._tell(Muted(reason))

    # -- asking and answering ------------------------------------------------------------------------------------------

    def _recover(self, now: Now) -> None:
        for uri in self.known.archive.wanted_files():
            self._fetch(uri)
        lacking: set[EpochId | None] = set(self.known.archive.missing_parents())
        if self._unreadable and self.known.ordering.head() is None and self._others(now):
            lacking.add(None)
        self.recovery.lacks(frozenset(lacking), now.monotonic)
        for question in self.recovery.due(now.monotonic):
            self._ask(question, now)
        if None in self.recovery.hopeless(now.monotonic) and not self._hopeless_told:
            self._hopeless_told = True
            self._tell(HistoryNotVisible())
        self._at(self.recovery.next_timer())

    def _others(self, now: Now) -> list[MemberId]:
        return [member for member in self.known.look(now).present if member != self.member_id]

    def _ask(self, question: recovery.Question, now: Now) -> None:
        assert self.member_id is not None
        member = recovery.whom_to_ask(self._others(now), self.member_id, question.asked)
        question.ask(now.monotonic, mls.random_bytes(1).expose()[0] / 255)
        if member is None:
            return
        leaf = self.known.roster.joins[member].leaf
        need = Need(self.room_id, self.slot_id, self.member_id, question.id)
        self._draft(
            SendToDevice(self._request_id("need"), names.NEED, leaf.user_id, leaf.device_id, encode_need(need))
        )

    def _to_device(self, event: ToDevice, now: Now) -> None:
        match event.type:
            case names.NEED:
                need = decode_need(event.content)
                if (need.room_id, need.slot_id) == (self.room_id, self.slot_id):
                    self._answer(UserId(event.sender), need, now)
            case names.HAVE:
                have = decode_have(event.content)
                if (have.room_id, have.slot_id) == (self.room_id, self.slot_id):
                    self._take_answer(have, now)
            case _:
                pass

    def _answer(self, sender: UserId, need: Need, now: Now) -> None:
        asker = self.known.roster.joins.get(need.member_id)
        if asker is None or asker.leaf.user_id != sender:
            raise RemoteProtocolError("unknown_asker", where="content.member_id")
        ordering = self.known.ordering
        path = ordering.head_path() if need.id is None else ordering.path(need.id)
        if self._phase is not Phase.INSIDE or not path or not self.recovery.may_answer(now.monotonic):
            return
        events = self.known.events_for(path)
        have = Have(self.room_id, self.slot_id, need.id, events)
        fitted = encode_have(have, limit=self.policy.content_limit, random_bytes=drafts.random_bytes)
        self._draft(
            SendToDevice(
                self._request_id("have"),
                names.HAVE,
                sender,
                asker.leaf.device_id,
                fitted.content,
                attachments=fitted.attachments,
            )
        )

    def _take_answer(self, have: Have, now: Now) -> None:
        if have.file is not None:
            self._have_files[have.file.url] = have
            self._fetch(have.file.url)
            return
        for event in have.events:
            try:
                self.known.room_event(event, now)
            except RemoteProtocolError as error:
                self.known.archive.refuse(event, error)

    def _attachment(self, attachment: Attachment, now: Now) -> None:
        have = self._have_files.pop(attachment.uri, None)
        if have is None:
            self.known.attachment(attachment.uri, attachment.data, now)
        elif have.file is not None and attachment.data is not None:
            self._take_answer(decode_have_file(have, decrypt_attachment(have.file, attachment.data)), now)

    def _fetch(self, uri: str) -> None:
        if uri not in self._fetching:
            self._fetching.add(uri)
            self._draft(FetchAttachment(self._request_id("fetch"), uri))

    # -- answers of the homeserver -------------------------------------------------------------------------------------

    def _accepted(self, request: Request, accepted: Accepted, now: Now) -> None:
        match request:
            case ScheduleLeave():
                if request.id != self._scheduling:
                    # It withdraws a membership that we have ended ourselves since.
                    if accepted.delay_id is not None:
                        self._draft(CancelLeave(self._request_id("cancel"), accepted.delay_id))
                    return
                self._scheduling = None
                self._delay_id = accepted.delay_id
                if self._delay_id is not None:
                    self._restart_at = now.monotonic + self.policy.delayed_leave_restart
                self._touch()
            case _ if self._phase is Phase.LEAVING and ".leave." in request.id:
                self._end("left")
            case _:
                pass

    def _refused(self, request: Request, status: int, errcode: str) -> None:
        match request:
            case ScheduleLeave():
                self._scheduling = None  # No MSC4140 here: a crash is only seen at the membership's expiry.
            case RestartLeave() | CancelLeave():
                if self._delay_id == request.delay_id:
                    # It fired or was cancelled by somebody's overwriting; our own leave shows which.
                    self._delay_id = self._restart_at = None
                    self._schedule_leave()
            case FetchAttachment(uri=uri):
                self._fetching.discard(uri)
            case _ if self._phase is Phase.LEAVING and ".leave." in request.id:
                self._end("left")
            case _:
                self._tell(RequestRefused(request.id, status, errcode))

    # -- telling -------------------------------------------------------------------------------------------------------

    def _tell(self, notice: Notice) -> None:
        self._drafted.append(notice)

    def _tell_what_changed(self, now: Now) -> None:
        for refusal in self.known.archive.refusals:
            error = refusal.error
            self._tell(
                EventRefused(EventId(refusal.event.event_id), UserId(refusal.event.sender), error.reason, error.where)
            )
        self.known.archive.refusals.clear()
        view = self.known.look(now)
        present = frozenset(view.present)
        if present != self._shown:
            self._tell(MembersChanged(tuple(sorted(present - self._shown)), tuple(sorted(self._shown - present))))
            self._shown = present
        for member in sorted(present & view.refused.keys() - self._refused_told):
            self._refused_told.add(member)
            leaf = self.known.roster.joins[member].leaf
            self._tell(NotAddable(leaf.user_id, leaf.device_id, view.refused[member]))

    def _end(self, reason: str) -> None:
        self._media_effects(self.table.clear())
        self._phase = Phase.OVER
        self._forget_epochs()
        for request in self._outbox.waiting():
            if not isinstance(request, CancelLeave):
                self._outbox.withdraw(request.id)
                self._forget_record(f"request/{request.id}")
        self._records["participation"] = None
        for event_id in self.known.events:
            self._forget_record(f"event/{event_id}")
        self.known.fresh.clear()
        self._tell(Left(reason))

    # -- records -------------------------------------------------------------------------------------------------------

    def _draft(self, request: Request) -> None:
        self._outbox.draft(request)

    def _request_id(self, kind: str) -> str:
        self._numbers += 1
        return f"mlsrtc.{kind}.{self._session_tag}.{self._numbers}"

    def _forget(self, request_id: str) -> None:
        self._outbox.settle(request_id)
        self._forget_record(f"request/{request_id}")

    def _forget_record(self, key: str) -> None:
        self._records[key] = None

    def _touch(self) -> None:
        """The next checkpoint writes `meta` even if nothing else changed."""
        self._records.setdefault("touched", None)

    def _at(self, timer: float | None) -> None:
        if timer is not None:
            self._timers.append(timer)

    def _suite(self) -> int:
        head = self.known.ordering.head()
        return self.known.archive.judged[head].suite if head is not None else self.policy.suite

    def _leaves(self) -> Mapping[LeafIndex, Leaf]:
        stand = self.epochs.stand
        return {} if stand is None else self.known.archive.judged[stand].committed.leaves

    def _forget_epochs(self) -> None:
        for identifier in self.epochs.held:
            self._forget_record(f"group/{identifier.hex()}")
        for draft in self.epochs.drafts.values():
            self._forget_record(f"draft/{draft.id.hex()}")
        self._saved_groups.clear()
        removed = self.epochs.removed
        self.epochs = Epochs(self.policy, removed=removed)

    def _meta(self) -> bytes:
        presence = self._presence
        return saved.dump_meta(
            {
                "phase": self._phase.value,
                "tag": self._session_tag,
                "numbers": self._numbers,
                "n": self._n,
                "stand": _hex(self.epochs.stand),
                "committed": [_hex(parent) for parent in self._committed],
                "removed": sorted(self.epochs.removed),
                "begun": sorted(epoch.hex() for epoch in self.table.begun),
                "delay_id": self._delay_id,
                "format": self._format.value,
                "head": None if presence is None else _hex(presence.head),
                "replaces": [] if presence is None else sorted(presence.replaces),
                "created_ts": 0 if presence is None else presence.created_ts,
                "pins": encoding.encode_base64(self.known.pins.encode()),
            }
        )

    def _restore(self, records: saved.Records) -> None:
        meta = saved.load_meta(records)
        if meta is None:
            return
        self.known.pins = trust.Pins.decode(encoding.decode_base64(meta["pins"]))
        self._session_tag, self._numbers, self._n = meta["tag"], meta["numbers"], meta["n"]
        self._format = MembershipFormat(meta["format"])
        participation = saved.load_participation(records)
        self._outbox.restore(saved.load_requests(records))
        # An earlier process may have sent under any of these: a nonce could repeat (rule section 3.7).
        self.table.closed = {_unhex(epoch) for epoch in meta["begun"]}
        phase = Phase(meta["phase"])
        for event in saved.load_events(records):
            self.known.events[event.event_id] = event
            try:
                self.known.room_event(event, self._now)
            except RemoteProtocolError as error:
                self.known.archive.refuse(event, error)
        if participation is None or phase not in (Phase.INSIDE, Phase.LEAVING):
            self._phase = Phase.ENTERING if phase is Phase.ENTERING else Phase.LOBBY
            return
        self._phase = phase
        self._presence = Presence(
            room_id=self.room_id,
            slot_id=self.slot_id,
            participation=participation,
            sign=self.device.sign,
            format=self._format,
            encrypted=self.known.encrypted,
            intent=self._intent,
            chain=self.known.chain_of(self.user_id, self.device_id),
            head=None if meta["head"] is None else _unhex(meta["head"]),
            replaces=frozenset(MemberId(member) for member in meta["replaces"]),
            created_ts=meta["created_ts"],
        )
        self._committed = {None if parent is None else _unhex(parent) for parent in meta["committed"]}
        self._delay_id = meta["delay_id"]
        self._scheduling = next((r.id for r in self._outbox.waiting() if isinstance(r, ScheduleLeave)), None)
        self._restart_at = self._refresh_at = self._now.monotonic
        self._restore_epochs(records, participation, meta)

    def _restore_epochs(
        self, records: saved.Records, participation: group.Participation, meta: Mapping[str, Any]
    ) -> None:
        stand = None if meta["stand"] is None else _unhex(meta["stand"])
        held: dict[EpochId, Held] = {}
        for key in records:
            kind, _, name = key.partition("/")
            if kind == "group" and (identifier := _unhex(name)) in self.known.archive.judged:
                restored = participation.client.load_group(mls.Secret(records[key]))
                held[identifier] = Held(restored, None if identifier == stand else self._now.monotonic)
        self._saved_groups = set(key for key in records if key.startswith("group/"))
        drafted = saved.load_drafts(records, participation)
        self.epochs = Epochs(
            self.policy,
            stand=stand if stand in held else None,
            held=held,
            drafts={draft.parent: draft for draft in drafted},
            removed={MemberId(member) for member in meta["removed"]},
            key_package_used=self._now.monotonic if held else None,
        )


def _hex(identifier: EpochId | None) -> str | None:
    return None if identifier is None else identifier.hex()


def _unhex(text: str) -> EpochId:
    return EpochId(bytes.fromhex(text))
