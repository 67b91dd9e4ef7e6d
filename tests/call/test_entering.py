"""What the caller gives is read before anything is sent, and a homeserver that does not let us in ends the entering."""

from typing import Any

import pytest

from mlsrtc import Left, LocalProtocolError, Policy, Session
from mlsrtc.identifiers import RoomId, SlotId
from mlsrtc.session import Phase
from mlsrtc.testing.identities import LabUser
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Now
from watching import Watch

DEVICE = LabUser("@anna:one.test", b"a" * 32).add_device("A")
GIVEN: list[tuple[str, Any]] = [
    *(("room_id", value) for value in ("hello", "", "!", "#alias:one.test", 5, None, "!" + "r" * 300)),
    *(("slot_id", value) for value in ("zzz", "", "a#", "#a", "m.call#" + "r" * 300, "a#\ud800", 5)),
    *(("intent", value) for value in ("x" * 70_000, "\ud800", 5)),
]


@pytest.mark.parametrize(("name", "value"), GIVEN)
def test_what_others_would_refuse_is_refused_where_it_is_given(name: str, value: Any) -> None:
    given = {"room_id": RoomId("!room:one.test"), "slot_id": SlotId("m.call#ROOM"), "intent": "audio", name: value}
    with pytest.raises(LocalProtocolError, match=f"^{name}: "):
        Session(DEVICE, given["room_id"], given["slot_id"], intent=given["intent"], now=Now(0.0, 0))


def test_a_room_that_we_are_not_in_ends_the_entering() -> None:
    watch = Watch(1)
    watch.party.start(0)
    watch.party.run(1)
    user = watch.party[0].matrix.user_id
    watch.world.server_of(user).rewrite = lambda event, viewer: () if event.type == names.ROOM_MEMBER else (event,)
    watch.world.kick(user)
    watch.party.join(0)
    watch.party.run(2)
    assert watch.ledgers[0].notices(Left) == [Left("join_refused", "403 M_FORBIDDEN")]
    assert watch.session(0).phase is Phase.OVER


def test_a_membership_that_is_refused_later_does_not_end_the_call() -> None:
    watch = Watch(2, policy=Policy(membership_refresh=5.0))
    watch.join_all()
    assert watch.session(1).entered
    member = watch.member(1)
    levels = {"events": {names.STATE_MEMBER: 50}, "users_default": 0, "users": {"@mod:one.test": 100}}
    watch.world.moderate(names.POWER_LEVELS, "", levels)
    watch.party.run(10)
    assert watch.ledgers[1].notices(Left) == []
    assert watch.session(1).phase is Phase.INSIDE
    assert watch.member(1) == member
