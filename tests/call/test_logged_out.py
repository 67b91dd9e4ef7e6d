"""Devices that are logged out during a call, or were before it: keys/query is asked, and they get no keys any more."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from mlsrtc.inquiry import OWN_TRIES
from mlsrtc.keyring import LISTING_GRACE
from mlsrtc.notices import KeysUnreadable, Left, RequestRefused
from mlsrtc.outbox import Accepted, QueryKeys, RateLimited, Refused, Request
from mlsrtc.session import Phase
from mlsrtc.testing import Latency, Limits
from mlsrtc.testing.homeserver import Homeserver, Reply
from mlsrtc.testing.room import DeviceName
from mlsrtc.wire.incoming import DeviceKeys
from watching import Watch

STEADY = Latency(client=(0.03, 0.03))


def questions(watch: Watch, index: int) -> list[tuple[str, ...]]:
    """The users that a device's present session has asked about, by question."""
    handed_out = watch.sessions[index][-1].handed_out
    return [tuple(request.user_ids) for request in handed_out if isinstance(request, QueryKeys)]


def hidden(*, late: bool) -> Watch:
    """Two devices on two homeservers: the first one's knows nothing of the second device when that joins. late: it
    hears of it after the second has been keyed."""
    watch = Watch(2, latency=STEADY, servers=2)
    watch.party.join(0)
    watch.party.run(2)
    matrix = watch.party[1].matrix
    forged = watch.world.server_of(watch.party[0].matrix.user_id).accounts.forged
    forged[matrix.user_id] = matrix.user.keys() | {"device_keys": {matrix.user_id: {}}}
    watch.party.join(1)
    watch.until_agreed(2)
    if late:
        forged.clear()
        watch.world.log_in(matrix.name, keys=matrix.user.keys())
    return watch


def test_a_device_that_is_logged_out_is_removed_within_seconds() -> None:
    watch = Watch(3, latency=STEADY)
    watch.join_all()
    watch.party.run(5)
    revoked = watch.member(2)
    watch.kill(2)
    watch.party.log_out(2)
    took = watch.until_agreed(2, timeout=10)
    assert took < 3
    assert revoked not in watch.session(0).members
    watch.check()


def test_a_device_that_was_logged_out_before_it_joined_gets_no_lasting_place() -> None:
    watch = hidden(late=False)
    revoked = watch.member(1)
    watch.party.run(LISTING_GRACE - 1)
    assert revoked in watch.session(0).members
    watch.party.run(3)
    assert revoked not in watch.session(0).members
    stand = watch.session(0).epoch_id
    assert stand is not None
    assert revoked not in watch.ledgers[0].epochs[stand].members


def test_a_new_device_of_which_the_homeserver_hears_late_stays() -> None:
    watch = hidden(late=True)
    member = watch.member(1)
    watch.party.run(LISTING_GRACE * 3)
    assert watch.agreed(2)
    assert watch.member(1) == member
    watch.check()


def test_ten_joins_at_once_are_a_few_questions_and_never_two_at_a_time() -> None:
    watch = Watch(10, latency=STEADY)
    watch.join_all()
    watch.party.run(30)
    users = {device.matrix.user_id for device in watch.party.devices}
    for index in range(10):
        asked = questions(watch, index)
        own = watch.party[index].matrix.user_id
        assert asked[0] == (own,)
        assert len(asked) <= 4
        assert {user for several in asked for user in several} == users


def test_nothing_is_asked_in_a_quiet_call_nor_about_those_outside_it() -> None:
    watch = Watch(3, latency=STEADY)
    for index in (0, 1):
        watch.party.join(index)
    watch.until_agreed(2)
    watch.party.run(10)
    before = len(questions(watch, 0))
    watch.party.log_out(2)
    watch.party.run(600)
    assert len(questions(watch, 0)) == before


def answer_instead(monkeypatch: pytest.MonkeyPatch, reply: Any) -> None:
    """Every homeserver answers keys/query with what `reply` gives, or as ever if that is None."""
    handle = Homeserver.handle

    def other(server: Homeserver, device: DeviceName, request: Request) -> Reply:
        made = reply(server, request) if isinstance(request, QueryKeys) else None
        return made or handle(server, device, request)

    monkeypatch.setattr(Homeserver, "handle", other)


def test_a_server_that_is_down_keeps_nobody_else_from_being_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(4, latency=STEADY, servers=2)
    down = watch.party[1].matrix.user_id.partition(":")[2]

    def unreached(server: Homeserver, request: QueryKeys) -> Reply | None:
        reached = [user for user in request.user_ids if user.endswith(server.name) or not user.endswith(down)]
        outcome = Accepted() if len(reached) == len(request.user_ids) else RateLimited(5000)
        return Reply(outcome, tuple(map(server.accounts.device_keys, reached)))

    answer_instead(monkeypatch, unreached)
    watch.party.join(0)
    watch.party.join(1)
    watch.until_agreed(2)
    watch.party.run(20)
    watch.party.join(2)
    watch.until_agreed(3)
    watch.party.run(10)
    watch.kill(2)
    watch.party.log_out(2)
    watch.party.run(8)
    assert len(watch.session(0).members) == 2


def test_who_is_refused_its_own_keys_is_told_before_it_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_instead(monkeypatch, lambda server, request: Reply(Refused(403, "M_FORBIDDEN")))
    watch = Watch(1, latency=STEADY, limits=Limits.generous())
    watch.party.join(0)
    watch.party.run(2)
    assert watch.session(0).phase is Phase.OVER
    assert [notice.reason for notice in watch.ledgers[0].notices(Left)] == ["keys_refused"]


def unreadable(times: int) -> Callable[[Homeserver, QueryKeys], Reply | None]:
    """So many answers about the first device's user in which its master key has no usage; then genuine ones."""
    left = [times]

    def reply(server: Homeserver, request: QueryKeys) -> Reply | None:
        user = "@user00:one.test"
        if request.user_ids != (user,) or left[0] == 0:
            return None
        left[0] -= 1
        answer = dict(server.accounts.device_keys(user).response)
        answer["master_keys"] = {user: {**answer["master_keys"][user], "usage": []}}
        return Reply(Accepted(), (DeviceKeys(user, answer),))

    return reply


def asked_at(watch: Watch, index: int, seconds: float) -> list[float]:
    """When a device asks about its own user, second by second, for so long."""
    own, moments, before = watch.party[index].matrix.user_id, list[float](), 0
    for second in range(round(seconds * 10)):
        watch.party.run(0.1)
        count = questions(watch, index).count((own,))
        moments += [second / 10] * (count - before)
        before = count
    return moments


def test_who_cannot_read_its_own_keys_is_told_what_is_wrong_asks_again_and_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answer_instead(monkeypatch, unreadable(100))
    watch = Watch(1, latency=STEADY)
    watch.party.join(0)
    moments = asked_at(watch, 0, 60)
    assert len(moments) == OWN_TRIES
    assert [round(later - earlier) for earlier, later in pairwise(moments)] == [1, 2, 4]
    assert watch.session(0).phase is Phase.OVER
    told = [notice for _, notice in watch.ledgers[0].told]
    place = f"keys_query.master_keys.{watch.party[0].matrix.user_id}.usage"
    assert told == [KeysUnreadable("wrong_usage", place), Left("keys_unreadable", f"{place}: wrong_usage")]


def test_who_can_read_its_own_keys_at_last_enters(monkeypatch: pytest.MonkeyPatch) -> None:
    answer_instead(monkeypatch, unreadable(OWN_TRIES - 1))
    watch = Watch(2, latency=STEADY)
    watch.party.join(0)
    watch.party.run(10)
    assert watch.session(0).phase is Phase.INSIDE
    watch.party.join(1)
    watch.until_agreed(2)
    assert len(watch.ledgers[0].notices(KeysUnreadable)) == 1


def test_who_is_in_the_call_and_cannot_read_its_own_keys_stays_and_asks_about_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(3, latency=STEADY)
    watch.join_all()
    watch.party.crash(0)
    answer_instead(monkeypatch, unreadable(15))
    watch.party.restart(0, after=1)
    watch.party.run(2)
    assert len([at for at in asked_at(watch, 0, 250) if at > 100]) <= 3, "once a minute in the end"
    assert watch.agreed(3)
    watch.party.log_out(2)
    watch.kill(2)
    watch.until_agreed(2, timeout=10)
    assert watch.session(0).phase is Phase.INSIDE
    watch.party.run(600)
    assert watch.session(0).ready
    watch.check()


def test_who_is_in_the_call_and_is_refused_stays_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(2, latency=STEADY)
    watch.join_all()
    answer_instead(monkeypatch, lambda server, request: Reply(Refused(403, "M_FORBIDDEN")))
    watch.party.crash(1)
    watch.party.restart(1, after=1)
    watch.party.run(30)
    assert watch.agreed(2)
    assert watch.ledgers[1].notices(RequestRefused)
    assert len(questions(watch, 1)) == 1
    watch.check()
