"""What a homeserver, or anybody in the room, can try without a device's key: a join and an external commit of its own.

Both are well-formed and signed by the leaf's own key; only the binding, which a Matrix device would have to sign, is
false.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from mlsrtc.adapters.driver import now
from mlsrtc.adapters.nio import device_for
from mlsrtc.drafts import Place, enter_from_outside
from mlsrtc.epochs import tree_at
from mlsrtc.group import participate
from mlsrtc.outbox import SendState
from mlsrtc.policy import Policy
from mlsrtc.presence import UNSENT
from mlsrtc.session import Session
from mlsrtc.wire import names
from mlsrtc.wire.block import JoinBlock
from mlsrtc.wire.commit_data import CommitData
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, encode_membership, state_key

if TYPE_CHECKING:
    from mlsrtc.cli.demo.scenario import Play, Seat

FORGED = bytes(64)
PATIENCE = 20.0  # seconds


async def intrude(play: "Play", seat: "Seat") -> str:
    """Send both, and wait until every present device has refused both. Returns the reasons they gave.

    Raises DemoFailed if somebody did not refuse them.
    """
    device = replace(device_for(seat.device.client), sign=lambda text: FORGED)
    policy = Policy()
    play.ledger.open(seat.number, seat.device.account.user_id.split(":")[0])
    async with seat.transport.subscribe(play.room_id, play.slot_id) as channel:
        watcher = Session(device, play.room_id, play.slot_id, policy=policy, now=now())
        while not watcher.ready:
            for incoming in await channel.receive(PATIENCE):
                watcher.receive(incoming, now())
            watcher.tick(now())
            watcher.checkpoint(lambda changes: None)
            for request in watcher.outgoing():
                await channel.send(request)
        made = participate(
            play.room_id,
            play.slot_id,
            watcher.user_id,
            watcher.device_id,
            device_key=device.device_key,
            sign=device.sign,
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
        await channel.send(SendState("stranger.join", names.STATE_MEMBER, key, encode_membership(membership)))

        path = watcher.known.ordering.head_path()
        archive = watcher.known.archive
        tree = tree_at(path, archive)
        assert isinstance(tree, bytes), "the demo's trees travel in the events"
        root = archive.judged[path[-1]].committed.root
        place = Place(play.slot_id, path[-1], root, archive.root_event(root), policy.content_limit)
        info = archive.bodies(path[-1])[0].parts.group_info
        _, request = enter_from_outside(made, info, tree, place, CommitData(path[-1], 1), replaces=None)
        await channel.send(request)

    def all_refused() -> bool:
        both = len(("join", "commit"))
        return all(len(account.refused) >= both for account in play.ledger.accounts.values() if account.present)

    await play.until("everybody has refused the stranger", all_refused, timeout=PATIENCE)
    return ", ".join(sorted({reason for account in play.ledger.accounts.values() for reason in account.refused}))
