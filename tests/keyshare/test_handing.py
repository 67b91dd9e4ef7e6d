"""Keys that do not come, or do not open what is sent: whose clients can be asked is asked, within bounds."""

from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from mlsrtc.desk import Desk
from mlsrtc.handing import Handing, Ourselves
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.keyshare.audience import Guest
from mlsrtc.mls import Secret
from mlsrtc.notices import KeyMissing
from mlsrtc.outbox import Accepted, HandOver, Outcome, RateLimited, Refused
from mlsrtc.policy import Policy
from mlsrtc.wire.incoming import Now, ToDevice
from mlsrtc.wire.key_event import IndexedKey, KeyEvent, KeyFormat, KeyRequest, encode_handed

ROOM, SLOT = RoomId("!room:one.test"), SlotId("m.call#ROOM")
ANNA = Guest(UserId("@anna:one.test"), DeviceId("A"), bytes(32), frozenset({MemberId("m1")}), "m1", KeyFormat.FAMEDLY)
DEVICE = (ANNA.user_id, ANNA.device_id, bytes(32))


@dataclass
class Watch:
    """One who is in a call with Anna, whose client can be asked."""

    guest: Guest = ANNA
    policy: Policy = field(default_factory=Policy)
    outcome: Outcome = field(default_factory=Accepted)  # of asking
    told: int = 0
    moments: list[float] = field(default_factory=list)  # when it was asked

    def __post_init__(self) -> None:
        ourselves = Ourselves(ROOM, SLOT, UserId("@ben:one.test"), DeviceId("B"), MemberId("m2"))
        self.handing = Handing(self.policy, ourselves)
        self.desk = Desk(Now(0.0, 0))

    def run(self, seconds: float) -> None:
        """Settle at every half of a second."""
        for _ in range(round(2 * seconds)):
            self.desk.now = Now(self.desk.now.monotonic + 0.5, self.desk.now.wall_ms + 500)
            self.handing.look([self.guest])
            self.handing.listen(self.desk)
            self.told += sum(isinstance(one, KeyMissing) for one in self.desk.notices)
            self.desk.notices.clear()
            self.desk.outbox.release()
            for request in self.desk.outbox.take(self.desk.now.monotonic, into_room=True):
                assert isinstance(request, HandOver)
                assert isinstance(request.event, KeyRequest)
                self.moments.append(self.desk.now.monotonic)
                self.handing.outcome(self.desk, request, self.outcome)

    @property
    def asked(self) -> int:
        """How often Anna was asked."""
        return len(self.moments)

    def receive(self, index: int) -> None:
        """A key of Anna's."""
        key = IndexedKey(KeyIndex(index), Secret(bytes([index]) * 32))
        event = KeyEvent(KeyFormat.ELEMENT, ROOM, SLOT, DeviceId("A"), MemberId("m1"), (key,), 1)
        event_type, content = encode_handed(event)
        self.handing.to_device(ToDevice(event_type, ANNA.user_id, content, "A", bytes(32)), self.desk.now)

    def mark(self, *, heard: bool) -> None:
        self.handing.mark_heard(MemberId("m1"), heard=heard)


def test_a_key_that_does_not_open_what_is_sent_is_told_once_and_asked_for_after_a_while() -> None:
    watch = Watch()
    watch.receive(1)
    watch.run(60)
    assert (watch.told, watch.asked) == (0, 0)
    watch.mark(heard=False)
    watch.run(watch.policy.key_wanted_after - 1)
    assert (watch.told, watch.asked) == (0, 0)
    watch.run(2)
    assert (watch.told, watch.asked) == (1, 1)
    watch.receive(2)
    watch.mark(heard=True)
    watch.run(600)
    assert (watch.told, watch.asked) == (1, 1)


def is_growing(moments: list[float]) -> bool:
    """Whether each was so far from the one before as what is tried again is; looked at twice a second."""
    bases = (2, 4, 8, 16, 32, *(60 for _ in moments))
    return all(
        before + base <= later <= before + 1.5 * base + 1
        for (before, later), base in zip(pairwise(moments), bases, strict=False)
    )


def test_who_does_not_answer_is_asked_again_at_growing_distances_and_not_without_end() -> None:
    """The request may be lost, and so may be what answers it."""
    watch = Watch()
    watch.run(3600)
    assert (watch.told, watch.asked) == (1, watch.policy.key_requests_per_device)
    assert is_growing(watch.moments)


@pytest.mark.parametrize(
    "outcome",
    [
        RateLimited(1000),
        Refused(500, "M_UNKNOWN"),
        Accepted(failures={DEVICE: "no_one_time_key"}),
        Accepted(failures={DEVICE: RateLimited(1000)}),
    ],
)
def test_a_request_that_has_not_got_out_is_made_again_until_it_has(outcome: Outcome) -> None:
    watch = Watch(outcome=outcome)
    watch.run(900)
    assert watch.asked > 2 * watch.policy.key_requests_per_device
    assert is_growing(watch.moments)
    watch.outcome = Accepted()
    watch.moments.clear()
    watch.run(3600)
    assert (watch.told, watch.asked) == (1, watch.policy.key_requests_per_device)


def test_who_is_to_be_asked_while_the_budget_is_spent_is_asked_when_there_is_more() -> None:
    watch = Watch(policy=Policy(key_messages_per_minute=1))
    watch.handing.budget.take(0.0)
    watch.run(59)
    assert (watch.told, watch.asked) == (1, 0)
    watch.run(2)
    assert watch.asked == 1


def test_nobody_is_asked_while_the_homeserver_asks_for_patience() -> None:
    watch = Watch(outcome=RateLimited(60_000))
    watch.run(64)
    assert watch.asked == 1
    watch.run(2)
    assert watch.asked == 2


def test_who_begins_and_ceases_to_be_heard_again_and_again_is_asked_within_the_budget() -> None:
    watch = Watch(policy=Policy(key_wanted_after=0.0))
    watch.receive(1)
    watch.run(1)
    for _ in range(60):
        watch.mark(heard=False)
        watch.run(0.5)
        watch.mark(heard=True)
        watch.run(0.5)
    assert watch.told == 60
    assert watch.policy.key_requests_per_device <= watch.asked <= 2 * watch.policy.key_requests_per_device


def test_whose_client_cannot_be_asked_is_told_only() -> None:
    guest = Guest(ANNA.user_id, ANNA.device_id, bytes(32), ANNA.member_ids, "m1", KeyFormat.ELEMENT)
    watch = Watch(guest)
    watch.receive(1)
    watch.run(1)
    watch.mark(heard=False)
    watch.run(60)
    assert (watch.told, watch.asked) == (1, 0)
