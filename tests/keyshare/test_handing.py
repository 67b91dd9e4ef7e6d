"""Keys that do not come, or do not open what is sent: whose clients can be asked is asked, within bounds."""

from dataclasses import dataclass, field

from mlsrtc.desk import Desk
from mlsrtc.handing import Handing, Ourselves
from mlsrtc.identifiers import DeviceId, KeyIndex, MemberId, RoomId, SlotId, UserId
from mlsrtc.keyshare.audience import Guest
from mlsrtc.mls import Secret
from mlsrtc.notices import KeyMissing
from mlsrtc.outbox import HandOver
from mlsrtc.policy import Policy
from mlsrtc.wire.incoming import Now, ToDevice
from mlsrtc.wire.key_event import IndexedKey, KeyEvent, KeyFormat, KeyRequest, encode_handed

ROOM, SLOT = RoomId("!room:one.test"), SlotId("m.call#ROOM")
ANNA = Guest(UserId("@anna:one.test"), DeviceId("A"), bytes(32), frozenset({MemberId("m1")}), "m1", KeyFormat.FAMEDLY)


@dataclass
class Watch:
    """One who is in a call with Anna, whose client can be asked."""

    guest: Guest = ANNA
    policy: Policy = field(default_factory=Policy)
    told: int = 0
    asked: int = 0

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
                self.asked += isinstance(request.event, KeyRequest)
                self.desk.forget(request.id)

    def receive(self, index: int) -> None:
        """A key of Anna's."""
        key = IndexedKey(KeyIndex(index), Secret(bytes([index]) * 32))
        event = KeyEvent(KeyFormat.ELEMENT, ROOM, SLOT, DeviceId("A"), MemberId("m1"), (key,), 1)
        event_type, content = encode_handed(event)
        self.handing.to_device(ToDevice(event_type, ANNA.user_id, content, "A", bytes(32)), self.desk.now)

    def mark(self, *, heard: bool) -> None:
        self.handing.mark_heard(MemberId("m1"), heard=heard)


def test_a_key_that_does_not_open_what_is_sent_is_asked_for_after_a_while_and_once() -> None:
    watch = Watch()
    watch.receive(1)
    watch.run(60)
    assert (watch.told, watch.asked) == (0, 0)
    watch.mark(heard=False)
    watch.run(watch.policy.key_wanted_after - 1)
    assert (watch.told, watch.asked) == (0, 0)
    watch.run(60)
    assert (watch.told, watch.asked) == (1, 1)


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
