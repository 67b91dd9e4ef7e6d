"""Any number of joins of one device, or of one user's devices: they cost the others a bounded amount of work, and keep
nobody else out. Work is counted in steps of the interpreter, not in seconds."""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any

import pytest
from test_lies import STEADY, Eve, forged_presence

from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.notices import NotAddable
from mlsrtc.outbox import SendState
from mlsrtc.policy import Policy, Trust
from mlsrtc.session import Session
from mlsrtc.testing.identities import LabDevice, LabUser
from mlsrtc.wire.chain import decode_chain
from mlsrtc.wire.fields import Field
from mlsrtc.wire.incoming import Now, RoomEvent
from watching import Watch

POLICY = Policy()


def join_of(watch: Watch, device: LabDevice, number: int) -> SendState:
    """A new participation of a cross-signed device, newer than those with a lesser number."""
    presence = forged_presence(watch, device, decode_chain(Field(device.chain())))
    request = presence.join(f"join{number}", watch.world.now.wall_ms + number, POLICY)
    assert isinstance(request, SendState)
    return request


def shown(watch: Watch, device: LabDevice, number: int) -> RoomEvent:
    """The event of such a join."""
    join, now_ms = join_of(watch, device, number), watch.world.now.wall_ms
    return RoomEvent(join.type, device.user_id, f"${device.device_id}{number}", now_ms, join.content, join.state_key)


def steps(act: Callable[[], object]) -> int:
    """How many steps of the interpreter something takes, in the calls that it makes too."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        act()
    finally:
        sys.settrace(before)
    return count


def taken_in(session: Session, event: RoomEvent, now: Now) -> None:
    session.receive(event, now)
    session.tick(now)
    session.checkpoint(lambda changes: None)


@pytest.mark.parametrize("devices", [1, 2000], ids=["of one device", "of as many devices"])
def test_two_thousand_joins_make_no_later_event_dearer(devices: int) -> None:
    watch = Watch(2, 1, latency=STEADY)
    watch.join_all()
    watch.party.run(5)
    second = watch.ranked()[1]
    session, now = watch.session(second), watch.party[second].now  # It commits nothing, since time stands still.
    eve, friend = Eve(watch).device, LabUser("@fay:one.test", b"f" * 32).add_device("FAY")
    crowd = [eve if devices == 1 else eve.user.add_device(f"EVE{number}") for number in range(2000)]
    costs: list[tuple[int, int]] = []
    for number, device in enumerate(crowd):
        event = shown(watch, device, number)
        if number not in (200, 1999):
            session.receive(event, now)
            continue
        taken_in(session, shown(watch, friend, number), now)  # What was received before is settled.
        other = shown(watch, friend, number + 1)
        costs.append((steps(partial(taken_in, session, event, now)), steps(partial(taken_in, session, other, now))))
    for few, many in zip(*costs, strict=True):
        assert many < 1.1 * few


def test_whoever_floods_the_call_keeps_nobody_out_and_takes_a_few_places() -> None:
    watch = Watch(3, 1, latency=STEADY)
    for index in (0, 1):
        watch.party.join(index)
    watch.until_agreed(2)
    eve = Eve(watch)
    for number in range(200):
        eve.act(join_of(watch, eve.device, number))
    watch.party.run(5)
    watch.party.join(2)
    watch.party.run(10)
    stand = watch.session(0).epoch_id
    assert stand is not None
    assert [watch.session(index).epoch_id for index in range(3)] == [stand] * 3
    leaves = watch.ledgers[0].epochs[stand].members
    assert {watch.member(index) for index in range(3)} <= set(leaves)
    assert len(leaves) == 3 + POLICY.joins_per_device
    for ledger in watch.ledgers:
        assert not ledger.muted
        assert ledger.notices(NotAddable) == [
            NotAddable(UserId(eve.device.user_id), DeviceId(eve.device.device_id), "crowded")
        ]
    watch.check()


@pytest.mark.parametrize("trust", [Trust.CROSS_SIGNED, Trust.ANY_DEVICE])
def test_a_member_that_floods_the_call_loses_its_own_leaf_and_mutes_nobody(trust: Trust) -> None:
    watch = Watch(3, 1, latency=STEADY, policy=Policy(trust=trust))
    watch.join_all()
    watch.party.run(5)
    insider, member = watch.party[1].matrix, watch.member(1)
    watch.kill(1)
    for number in range(20):
        watch.world.act(insider.name, join_of(watch, insider, number))
    watch.party.run(20)
    stand = watch.session(0).epoch_id
    assert stand is not None
    assert watch.session(2).epoch_id == stand
    leaves = watch.ledgers[0].epochs[stand].members
    assert member not in leaves
    assert len(leaves) == 2 + POLICY.joins_per_device
    assert watch.ledgers[0].sending == watch.ledgers[2].sending == stand
    watch.check()
