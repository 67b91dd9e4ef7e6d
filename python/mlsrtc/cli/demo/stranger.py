"""What a homeserver, or anybody in the room, can try without a device's key: a join and an external commit of its own.

Both are well-formed and signed by the leaf's own key; only the binding, which a Matrix device would have to sign, is
false. Before and after it reads in the room whatever anybody in it can read.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlsrtc.adapters.driver import now
from mlsrtc.adapters.nio import device_for
from mlsrtc.adapters.transport import Channel
from mlsrtc.cli.demo.ledger import Intruder
from mlsrtc.cli.demo.outsiders import Copy
from mlsrtc.drafts import Place, enter_from_outside
from mlsrtc.epochs import tree_at
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.group import participate
from mlsrtc.identifiers import EventId
from mlsrtc.outbox import Accepted, Request, SendState
from mlsrtc.policy import Policy
from mlsrtc.presence import UNSENT
from mlsrtc.session import Device, Session
from mlsrtc.wire import names
from mlsrtc.wire.block import JoinBlock
from mlsrtc.wire.commit_data import CommitData
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, encode_membership, state_key

if TYPE_CHECKING:
    from mlsrtc.cli.demo.scenario import Play, Seat

FORGED = bytes(64)
PATIENCE = 20.0  # seconds


@dataclass(frozen=True, slots=True)
class Watcher:
    """A device whose signature nobody can check, its session, which is in no call, and its channel."""

    device: Device
    session: Session
    channel: Channel

    async def send(self, request: Request) -> EventId:
        """Put it into the room. Returns the event's id."""
        outcome = await self.channel.send(request)
        assert isinstance(outcome, Accepted)
        assert outcome.event_id is not None
        return EventId(outcome.event_id)


@asynccontextmanager
async def watching(play: "Play", seat: "Seat") -> AsyncIterator[Watcher]:
    """The stranger reads along from now on; the ledger is told whatever its session tells it."""
    device = replace(device_for(seat.device.client), sign=lambda text: FORGED)
    play.ledger.open(seat.number, seat.name)
    async with seat.transport.subscribe(play.room_id, play.slot_id) as channel:
        session = Session(device, play.room_id, play.slot_id, now=now())
        watcher = Watcher(device, session, channel)
        reading = asyncio.create_task(_read(play, seat, watcher))
        try:
            await play.until("the stranger has read the room's past", lambda: session.ready, timeout=PATIENCE)
            yield watcher
            await play.until(
                "the stranger has read the call's last commit",
                lambda: session.known.head(now()) == play.ledger.one_epoch(),
                timeout=PATIENCE,
            )
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)


async def _read(play: "Play", seat: "Seat", watcher: Watcher) -> None:
    session = watcher.session
    while True:
        for incoming in await watcher.channel.receive(PATIENCE):
            try:
                session.receive(incoming, now())
            except RemoteProtocolError:
                pass  # Its own events do not hold for it either.
        session.tick(now())
        session.checkpoint(lambda changes: None)
        for request in session.outgoing():
            await watcher.channel.send(request)
        for notice in session.notices():
            play.tell(seat, notice)


async def intrude(play: "Play", seat: "Seat", watcher: Watcher) -> str:
    """Send both, and wait until every present device has refused both. Returns the reasons they gave.

    Raises DemoFailed if somebody did not refuse them.
    """
    policy = Policy()
    made = participate(
        play.room_id,
        play.slot_id,
        watcher.session.user_id,
        watcher.session.device_id,
        device_key=watcher.device.device_key,
        sign=watcher.device.sign,
        suite=policy.suite,
    )
    leaf, wall = made.leaf, now().wall_ms
    block = JoinBlock(
        suite=policy.suite,
        slot_id=play.slot_id,
        device_id=leaf.device_id,
        member_id=leaf.member_id,
        leaf_key=leaf.signature_key,
        binding=made.binding,
        key_package=made.public_key_package,
        replaces=(),
        head=None,
        from_ts=wall,
        until_ts=wall + 3_600_000,
        signature=FORGED,
    )
    key = state_key(leaf.user_id, leaf.device_id, play.slot_id)
    membership = RtcMembership(
        MembershipFormat.STATE,
        leaf.user_id,
        leaf.device_id,
        play.slot_id,
        key,
        f"{leaf.user_id}:{leaf.device_id}",
        UNSENT,
        wall,
        wall + 3_600_000,
        block=block,
    )
    join = SendState("stranger.join", names.STATE_MEMBER, key, encode_membership(membership))

    path = watcher.session.known.ordering.head_path()
    archive = watcher.session.known.archive
    tree = tree_at(path, archive)
    assert isinstance(tree, bytes), "the demo's trees travel in the events"
    root = archive.judged[path[-1]].committed.root
    place = Place(play.slot_id, path[-1], root, archive.root_event(root), policy.content_limit)
    info = archive.bodies(path[-1])[0].parts.group_info
    draft, commit = enter_from_outside(made, info, tree, place, CommitData(path[-1], 1), replaces=None)
    play.copies.append(Copy("the stranger", leaf.member_id, {draft.id: draft.group}, admitted=False))
    events = frozenset([await watcher.send(join), await watcher.send(commit)])
    play.ledger.intruder = Intruder(seat.number, leaf.member_id, events)

    await play.until("everybody has refused the stranger", lambda: play.ledger.have_refused(events), timeout=PATIENCE)
    reasons = (account.refused.get(event) for account in play.ledger.accounts.values() for event in events)
    return ", ".join(sorted({reason for reason in reasons if reason is not None}))
