"""Our keys on their way: tracked for each device, tried again at growing distances, within a budget."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.identifiers import DeviceId, KeyIndex, UserId
from mlsrtc.keyshare.delivery import Batch, Delivery
from mlsrtc.keyshare.rotation import Holder, OwnKey
from mlsrtc.mls import Secret
from mlsrtc.outbox import RateLimited
from mlsrtc.policy import Policy
from mlsrtc.recovery import Bucket
from mlsrtc.wire.key_event import KeyFormat


def device(number: int) -> DeviceIdentity:
    return UserId(f"@user{number}:one.test"), DeviceId(f"D{number}"), bytes([number % 256]) * 32


def holder(number: int) -> Holder:
    return (*device(number), "once")


def own(generation: int = 1) -> OwnKey:
    return OwnKey(generation, KeyIndex(generation), Secret(bytes([generation]) * 32), 0.0)


class Post:
    """A delivery and a homeserver that says what became of each request."""

    def __init__(
        self, policy: Policy | None = None, devices: Iterable[int] = range(1, 4), budget: Bucket | None = None
    ) -> None:
        self.delivery = Delivery(policy or Policy(), budget or Bucket())
        self.key = own()
        self.formats = {holder(number): KeyFormat.ELEMENT for number in devices}
        self.heard: set[DeviceIdentity] = set()
        self.sent: list[tuple[float, DeviceIdentity]] = []
        self.requests = 0

    def settle(self, now: float) -> list[str]:
        """Sends what is due; returns the ids."""
        ids = []
        for batch in self.delivery.settle(now, {self.key: self.formats}, self.heard):
            self.requests += 1
            ids.append(f"r{self.requests}")
            self.delivery.sending(batch, ids[-1])
            self.sent += [(now, one) for one in batch.devices]
        return ids

    def tries_of(self, number: int) -> list[float]:
        return [moment for moment, one in self.sent if one == device(number)]


def test_each_device_is_sent_the_key_once_in_one_request() -> None:
    post = Post()
    (request,) = post.settle(1.0)
    post.delivery.sent(request, {}, 1.1)
    for number in (1, 2, 3):
        post.heard.add(device(number))
    assert post.settle(500.0) == []
    assert len(post.sent) == 3


def test_nothing_is_sent_twice_while_it_is_on_its_way() -> None:
    post = Post()
    post.settle(1.0)
    assert post.settle(2.0) == []
    assert post.delivery.next_timer() is None


def test_a_request_holds_so_many_and_no_more() -> None:
    post = Post(Policy(key_messages_per_request=20), range(45))
    batches = post.delivery.settle(1.0, {post.key: post.formats}, ())
    assert [len(batch.devices) for batch in batches] == [20, 20, 5]


def test_each_form_has_a_request_of_its_own() -> None:
    post = Post()
    post.formats[holder(2)] = KeyFormat.MSC4143
    batches = post.delivery.settle(1.0, {post.key: post.formats}, ())
    assert {batch.format: len(batch.devices) for batch in batches} == {KeyFormat.ELEMENT: 2, KeyFormat.MSC4143: 1}


def test_who_was_never_heard_from_is_sent_the_key_once_more() -> None:
    post = Post(devices=[1, 2])
    (request,) = post.settle(0.0)
    post.delivery.sent(request, {}, 0.0)
    post.heard.add(device(1))
    post.settle(1.0)
    assert post.delivery.next_timer() == 8.0
    (again,) = post.settle(8.0)
    post.delivery.sent(again, {}, 8.0)
    assert post.tries_of(1) == [0.0]
    assert post.tries_of(2) == [0.0, 8.0]
    assert post.settle(1000.0) == []


def test_what_fails_is_tried_again_at_growing_distances_for_as_long_as_the_device_is_there() -> None:
    post = Post(devices=[1])
    now = 0.0
    for _ in range(12):
        (request,) = post.settle(now)
        post.delivery.sent(request, {device(1): "no_one_time_key"}, now)
        timer = post.delivery.next_timer()
        assert timer is not None
        now = timer
    bases = [2, 4, 8, 16, 32, 60, 60, 60, 60, 60, 60]
    for (before, later), base in zip(pairwise(post.tries_of(1)), bases, strict=True):
        assert before + base <= later <= before + 1.5 * base  # sums and no differences, which round otherwise


def test_a_trouble_is_told_once_and_again_when_it_is_another() -> None:
    post = Post(devices=[1])
    told = []
    for moment, reason in [(0.0, "unreachable"), (10.0, "unreachable"), (50.0, "no_one_time_key")]:
        (request,) = post.settle(moment)
        told += post.delivery.sent(request, {device(1): reason}, moment)
    assert [trouble.reason for trouble in told] == ["unreachable", "no_one_time_key"]


def test_one_device_that_fails_holds_up_no_other() -> None:
    post = Post()
    (request,) = post.settle(0.0)
    post.delivery.sent(request, {device(2): "unknown_device"}, 0.0)
    for number in (1, 3):
        post.heard.add(device(number))
    (again,) = post.settle(5.0)
    assert post.sent[3:] == [(5.0, device(2))]
    assert again


def test_the_homeservers_word_counts_more_than_our_pace() -> None:
    """The foot-gun of a retry: a homeserver that asks for patience is asked again by everybody at once."""
    post = Post(devices=[1])
    (request,) = post.settle(0.0)
    post.delivery.failed(request, RateLimited(120_000), 0.0)
    assert post.settle(60.0) == []
    assert post.delivery.next_timer() == 120.0
    assert len(post.settle(120.0)) == 1


@pytest.mark.parametrize("asks_for", [0, 1000])
def test_a_homeserver_that_is_down_is_tried_at_growing_distances_with_all_in_as_few_requests(asks_for: int) -> None:
    """The foot-gun of a retry: a homeserver that comes up is met by everybody who has tried each second meanwhile."""
    post = Post(devices=range(49))
    now = 0.0
    while now < 300:
        for request in post.settle(now):
            assert post.delivery.failed(request, RateLimited(asks_for), now) == []
        timer = post.delivery.next_timer()
        assert timer is not None
        now = timer
    for number in range(49):
        tries = post.tries_of(number)
        assert 7 <= len(tries) <= 9
        for (before, later), base in zip(pairwise(tries), [2, 4, 8, 16, 32, 60, 60, 60], strict=False):
            assert before + base <= later <= before + 1.5 * base + asks_for / 1000
    assert post.requests <= 3 * 9, "the 49 go in three requests each time"


@pytest.mark.parametrize("whole", [True, False])
def test_what_the_homeserver_asks_for_holds_for_every_key(whole: bool) -> None:
    post = Post(devices=range(40))
    first, second = post.settle(0.0)
    limited = RateLimited(60_000)
    if whole:
        post.delivery.failed(first, limited, 0.0)
    else:
        post.delivery.sent(first, {device(1): limited}, 0.0)
    post.delivery.sent(second, {}, 0.0)
    post.key = own(2)
    assert post.settle(0.5) == []
    assert post.delivery.next_timer() == 60.0
    assert len(post.settle(60.0)) == 2


def test_everything_comes_out_of_one_budget() -> None:
    post = Post(Policy(key_messages_per_minute=60), range(200))
    sent = 0
    for second in range(121):
        for request in post.settle(float(second)):
            post.delivery.sent(request, {}, float(second))
        sent = len({one for _, one in post.sent})
    assert sent == 60 + 120
    assert len(post.sent) <= 60 + 121


def test_the_calls_of_one_device_share_a_budget_of_which_the_lowest_number_counts() -> None:
    budget = Bucket()
    posts = [Post(Policy(key_messages_per_minute=number), range(40), budget) for number in (600, 60, 600)]
    for post in posts:
        for request in post.settle(0.0):
            post.delivery.failed(request, "unreachable", 0.0)
    assert [len(post.sent) for post in posts] == [40, 20, 0]
    assert [post.delivery.next_timer() == 1.0 for post in posts[1:]] == [True, True]


def test_what_the_homeserver_asks_for_in_one_call_holds_in_all() -> None:
    budget = Bucket()
    one, other = Post(budget=budget), Post(budget=budget)
    (request,) = one.settle(0.0)
    one.delivery.failed(request, RateLimited(60_000), 0.0)
    assert other.settle(59.0) == []
    assert len(other.settle(60.0)) == 1


def test_a_budget_that_is_spent_says_when_there_is_more() -> None:
    post = Post(Policy(key_messages_per_minute=60), range(61))
    post.settle(0.0)
    assert post.delivery.next_timer() == 1.0


def test_who_asks_is_answered_but_not_without_end() -> None:
    post = Post(Policy(key_requests_per_device=5), [1])
    (request,) = post.settle(0.0)
    post.delivery.sent(request, {}, 0.0)
    post.heard.add(device(1))
    answered = 0
    for _ in range(50):
        answered += post.delivery.asked(device(1), 1.0)
        for request in post.settle(1.0):
            post.delivery.sent(request, {}, 1.0)
    assert answered == 5
    assert len(post.sent) == 6


def test_who_is_not_to_have_our_key_asks_in_vain() -> None:
    post = Post(devices=[1])
    post.settle(0.0)
    assert not post.delivery.asked(device(2), 1.0)
    assert not post.delivery.asked((UserId("@user1:one.test"), DeviceId("D1"), bytes(32)), 1.0)


def test_who_has_left_is_sent_nothing_more() -> None:
    post = Post(devices=[1])
    (request,) = post.settle(0.0)
    post.delivery.sent(request, {device(1): "unreachable"}, 0.0)
    post.formats = {}
    assert post.settle(100.0) == []
    assert post.delivery.next_timer() is None


def test_who_has_a_newer_key_is_not_handed_an_older_one_after_it() -> None:
    delivery, older, newer = Delivery(Policy()), own(1), own(2)
    wanted = {key: {holder(1): KeyFormat.ELEMENT} for key in (older, newer)}
    first, second = delivery.settle(0.0, wanted, ())
    for batch, request in ((first, "older"), (second, "newer")):
        delivery.sending(batch, request)
    delivery.sent("older", {device(1): "unreachable"}, 0.0)
    delivery.sent("newer", {}, 0.0)
    batches = [batch for moment in (5.0, 10.0, 60.0) for batch in delivery.settle(moment, wanted, ())]
    assert {batch.generation for batch in batches} <= {2}


def test_a_new_key_goes_to_everybody_and_the_old_one_to_nobody() -> None:
    post = Post()
    post.settle(0.0)
    post.key = own(2)
    batches: list[Batch] = post.delivery.settle(1.0, {post.key: post.formats}, ())
    assert [(batch.index, len(batch.devices)) for batch in batches] == [(2, 3)]


class Ratchet(Post):
    """One that has handed a key to 1, is about to have handed it to 3, and could not reach 2; then 4 joins."""

    def __init__(self) -> None:
        super().__init__()
        del self.formats[holder(3)]
        (request,) = self.settle(0.0)
        self.delivery.sent(request, {device(2): "no_one_time_key"}, 0.0)
        self.formats |= {holder(3): KeyFormat.ELEMENT}
        (self.under_way,) = self.settle(1.0)
        self.heard.update(map(device, (1, 3)))
        self.key = replace(own(2), index=self.key.index, follows=1)
        self.formats = {holder(number): KeyFormat.ELEMENT for number in (1, 2, 3, 4)}

    def due(self, now: float) -> list[tuple[int, tuple[DeviceIdentity, ...]]]:
        """Of which generation whom is sent a key now."""
        batches = self.delivery.settle(now, {self.key: self.formats}, self.heard)
        return [(batch.generation, batch.devices) for batch in batches]


def test_a_ratcheted_key_goes_to_who_joins_and_to_whom_the_one_before_did_not_reach() -> None:
    ratchet = Ratchet()
    assert ratchet.due(1.5) == [(2, (device(4),))]
    ratchet.delivery.sent(ratchet.under_way, {}, 2.0)
    assert ratchet.due(60.0) == [(2, (device(2), device(4)))]


def test_what_was_under_way_and_fails_is_sent_as_the_ratcheted_key() -> None:
    ratchet = Ratchet()
    ratchet.delivery.sent(ratchet.under_way, {device(3): "unreachable"}, 2.0)
    assert (2, (device(2), device(3), device(4))) in ratchet.due(60.0)


def test_who_asks_after_a_ratchet_is_sent_the_ratcheted_key() -> None:
    ratchet = Ratchet()
    assert ratchet.delivery.asked(device(1), 1.5)
    assert ratchet.due(1.5) == [(2, (device(1), device(4)))]


@given(st.lists(st.tuples(st.sampled_from([0.0, 0.25, 2.0, 8.0, 64.0]), st.integers(0, 5)), max_size=15))
def test_where_nothing_has_changed_nothing_is_due(steps: list[tuple[float, int]]) -> None:
    """As whoever is asked to look through everything every time. A budget of two, so that it holds things up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mlsrtc.keyshare.delivery.jitter", lambda: 0.5)
        compare(steps)


def compare(steps: list[tuple[float, int]]) -> None:
    posts = Post(Policy(key_messages_per_minute=2)), Post(Policy(key_messages_per_minute=2))
    one, thorough = (post.delivery for post in posts)
    wanted = {posts[0].key: posts[0].formats}
    out: list[list[str]] = [[], []]
    now = 0.0
    for pause, what in steps:
        now += pause
        thorough._settled = None
        batches = [delivery.settle(now, wanted, posts[0].heard) for delivery in (one, thorough)]
        assert batches[0] == batches[1]
        for delivery, requests, found in zip((one, thorough), out, batches, strict=True):
            for batch in found:
                requests.append(f"r{now}-{len(requests)}")
                delivery.sending(batch, requests[-1])
            if what < 2 and requests:
                delivery.sent(requests.pop(), {device(1): RateLimited(500)} if what else {}, now)
            elif what == 2:
                delivery.renew(now, older_than=1.0)
            elif what == 3:
                delivery.asked(device(2), now)
        if what == 4:
            posts[0].heard.add(device(3))
        assert one.next_timer() == pytest.approx(thorough.next_timer())
