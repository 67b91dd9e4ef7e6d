"""Our keys as room events: one for all, again for who has come since, within a pause and a budget."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from test_delivery import device, holder, own

from mlsrtc.evidence import DeviceIdentity
from mlsrtc.keyshare.posting import Posting
from mlsrtc.keyshare.rotation import Holder, OwnKey
from mlsrtc.outbox import RateLimited
from mlsrtc.policy import KeyTransport, Policy
from mlsrtc.wire.key_event import KeyFormat

ROOM = Policy(key_transport=KeyTransport.ROOM)


class Board:
    """A posting and a homeserver that says what became of each event."""

    def __init__(self, policy: Policy = ROOM, *numbers: int) -> None:
        self.posting = Posting(policy)
        self.wanted: dict[OwnKey, set[Holder]] = {own(): set(map(holder, numbers or (1, 2, 3)))}
        self.heard: set[DeviceIdentity] = set()
        self.posted: list[tuple[float, int]] = []  # when, and which generation
        self.requests = 0

    def settle(self, now: float) -> list[str]:
        """Posts what is due; returns the ids."""
        ids = []
        wanted = {key: dict.fromkeys(holders, KeyFormat.ELEMENT) for key, holders in self.wanted.items()}
        for batch in self.posting.settle(now, wanted, self.heard):
            self.requests += 1
            ids.append(f"r{self.requests}")
            self.posting.sending(batch, ids[-1])
            self.posted.append((now, batch.generation))
        return ids

    def post(self, now: float) -> None:
        """Posts what is due; the homeserver takes it."""
        for request in self.settle(now):
            self.posting.sent(request, {}, now)

    def hear_all(self) -> None:
        self.heard = {one[:3] for holders in self.wanted.values() for one in holders}


def test_one_event_is_for_all_and_names_who_has_to_read_it() -> None:
    board = Board()
    board.hear_all()
    (batch,) = board.posting.settle(0.0, {own(): dict.fromkeys(map(holder, (1, 2)), KeyFormat.FAMEDLY)}, ())
    assert batch.devices == (device(1), device(2))
    board.post(0.0)
    board.post(500.0)
    assert board.posted == [(0.0, 1)]
    assert board.posting.next_timer() is None


def test_where_nobody_is_there_nothing_is_posted() -> None:
    board = Board()
    board.wanted = {own(): set()}
    assert board.settle(0.0) == []
    assert board.posting.next_timer() is None


def test_nothing_is_posted_while_it_is_on_its_way() -> None:
    board = Board()
    board.settle(0.0)
    board.wanted[next(iter(board.wanted))].add(holder(4))
    assert board.settle(1.0) == []
    assert board.posting.next_timer() is None


def test_who_comes_waits_for_the_pause_with_all_others_who_come_meanwhile() -> None:
    board = Board()
    board.hear_all()
    board.post(0.0)
    (holders,) = board.wanted.values()
    for number, moment in ((4, 0.5), (5, 1.0), (6, 2.0)):
        holders.add(holder(number))
        board.hear_all()
        assert board.settle(moment) == []
    assert board.posting.next_timer() == ROOM.key_post_pause
    board.post(ROOM.key_post_pause)
    assert len(board.posted) == 2
    assert board.posting.next_timer() is None


def test_who_comes_while_it_is_on_its_way_is_not_taken_to_have_it() -> None:
    board = Board()
    (request,) = board.settle(0.0)
    (holders,) = board.wanted.values()
    holders.add(holder(4))
    board.posting.sent(request, {}, 0.1)
    board.hear_all()
    board.settle(0.2)
    assert board.posting.next_timer() == 0.1 + ROOM.key_post_pause


def test_a_new_key_does_not_wait_for_the_pause_of_the_one_before() -> None:
    board = Board()
    board.hear_all()
    board.post(0.0)
    board.wanted[own(2)] = set(map(holder, (1, 2)))
    board.post(0.4)
    assert board.posted == [(0.0, 1), (0.4, 2)]


def test_who_has_a_newer_key_is_not_handed_an_older_one_after_it() -> None:
    board = Board()
    board.wanted = {own(1): set(), own(2): {holder(1)}}
    board.hear_all()
    board.post(0.0)
    next(iter(board.wanted.values())).add(holder(1))
    board.post(1.0)
    assert board.posted == [(0.0, 2)]


def test_it_is_posted_once_more_for_who_was_never_heard_from() -> None:
    board = Board()
    board.heard = {device(1), device(2)}
    board.post(0.0)
    assert board.settle(1.0) == []
    assert board.posting.next_timer() == ROOM.key_resend_after
    board.post(ROOM.key_resend_after)
    board.post(500.0)
    assert len(board.posted) == 2


def test_who_cannot_read_it_is_told_once_and_posted_to_again_at_growing_distances() -> None:
    board, now, told = Board(), 0.0, []
    board.hear_all()
    for _ in range(6):
        (request,) = board.settle(now)
        told += board.posting.sent(request, {device(2): "no_one_time_key"}, now)
        timer = board.posting.next_timer()
        assert timer is not None
        now = timer
    assert [(trouble.device, trouble.reason) for trouble in told] == [(device(2), "no_one_time_key")]
    moments = [moment for moment, _ in board.posted]
    for (before, later), least in zip(pairwise(moments), (3, 4, 8, 16, 32), strict=True):
        assert before + least <= later <= before + 1.5 * least  # sums and no differences, which round otherwise
    board.post(now)
    assert board.posting.next_timer() is None


def test_what_the_homeserver_refuses_is_told_and_tried_again() -> None:
    board = Board()
    (request,) = board.settle(0.0)
    told = board.posting.failed(request, "refused", 0.0)
    assert {trouble.reason for trouble in told} == {"refused"}
    timer = board.posting.next_timer()
    assert timer is not None
    assert 2 <= timer <= 3
    (request,) = board.settle(timer)
    assert board.posting.failed(request, "refused", timer) == []


def test_the_homeservers_word_counts_more_than_our_pace() -> None:
    board = Board()
    (request,) = board.settle(0.0)
    assert board.posting.failed(request, RateLimited(7000), 0.0) == []
    assert board.posting.next_timer() == 7.0


def test_a_homeserver_that_is_down_is_posted_to_at_growing_distances() -> None:
    board, now = Board(), 0.0
    while now < 300:
        for request in board.settle(now):
            assert board.posting.failed(request, RateLimited(1000), now) == []
        timer = board.posting.next_timer()
        assert timer is not None
        now = timer
    moments = [moment for moment, _ in board.posted]
    assert len(moments) >= 7
    for (before, later), base in zip(pairwise(moments), (2, 4, 8, 16, 32, 60, 60, 60), strict=False):
        assert before + base <= later <= before + 1.5 * base


def test_what_the_homeserver_asks_for_holds_for_the_next_key_too() -> None:
    board = Board()
    (request,) = board.settle(0.0)
    board.posting.failed(request, RateLimited(60_000), 0.0)
    board.wanted[own(2)] = {holder(1)}
    assert board.settle(0.5) == []
    assert board.posting.next_timer() == 60.0
    board.post(60.0)
    assert (60.0, 2) in board.posted


def test_also_where_it_speaks_of_the_megolm_session_of_one_device() -> None:
    board = Board()
    board.hear_all()
    (request,) = board.settle(0.0)
    assert board.posting.sent(request, {device(1): RateLimited(9000)}, 0.0) == []
    assert board.posting.next_timer() == 9.0


def test_who_asks_is_posted_the_key_again_and_not_too_often() -> None:
    board = Board(Policy(key_transport=KeyTransport.ROOM, key_requests_per_device=2))
    board.hear_all()
    board.post(0.0)
    assert [board.posting.asked(device(1), 10.0) for _ in range(3)] == [True, True, False]
    assert not board.posting.asked(device(9), 10.0)
    board.post(10.0)
    assert len(board.posted) == 2


def test_everything_comes_out_of_one_budget() -> None:
    board = Board(Policy(key_transport=KeyTransport.ROOM, key_messages_per_minute=1))
    board.hear_all()
    board.post(0.0)
    board.wanted[own(2)] = {holder(1)}
    board.post(1.0)
    assert len(board.posted) == 1
    assert board.posting.next_timer() == 60.0


@given(
    st.lists(
        st.tuples(
            st.floats(0, 3), st.sampled_from(["come", "go", "rotate", "limit", "miss", "take"]), st.integers(1, 9)
        ),
        max_size=60,
    )
)
def test_in_the_end_everybody_was_posted_to_and_never_twice_within_the_pause(
    steps: list[tuple[float, str, int]],
) -> None:
    board, now, generation = Board(), 0.0, 1
    taken: dict[int, list[float]] = {}
    for pause, step, number in steps:
        now += pause
        newest = max(board.wanted, key=lambda key: key.generation)
        if step == "come":
            board.wanted[newest].add(holder(number))
        elif step == "go":
            board.wanted[newest].discard(holder(number))
        elif step == "rotate":
            generation += 1
            board.wanted = {newest: board.wanted[newest], own(generation): set(board.wanted[newest])}
        for request in board.settle(now):
            (of,) = (key for key, letter in board.posting._letters.items() if letter.request == request)
            if step == "limit":
                board.posting.failed(request, RateLimited(1000), now)
            else:
                board.posting.sent(request, {device(number): "no_one_time_key"} if step == "miss" else {}, now)
                taken.setdefault(of, []).append(now)
    board.hear_all()
    board.post(now)
    while (timer := board.posting.next_timer()) is not None:
        now = max(now, timer)
        board.post(now)
    newest = max(board.wanted, key=lambda key: key.generation)
    assert not board.wanted[newest] or board.wanted[newest] <= board.posting._letters[newest.generation].reached
    for moments in taken.values():
        assert all(later >= before + ROOM.key_post_pause for before, later in pairwise(moments))
