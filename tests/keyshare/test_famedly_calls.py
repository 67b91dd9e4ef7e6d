"""Calls with memberships of Famedly's form: written, renewed and withdrawn beside those of other devices, and read."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from sharing import Sharers

from mlsrtc.errors import CannotSend, LocalProtocolError
from mlsrtc.identifiers import DeviceId, RoomId, SlotId, UserId
from mlsrtc.keyshare.rotation import SMALL_RING
from mlsrtc.notices import Left, MembersChanged, Mixed, NotAddable, SendKeySwitched
from mlsrtc.outbox import SendState
from mlsrtc.policy import Policy
from mlsrtc.session import Session
from mlsrtc.testing import Limits, RoomSettings
from mlsrtc.wire import names
from mlsrtc.wire.famedly import GRACE_MS
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import MembershipFormat, Transport
from watching import Watch

FAMEDLY, STATE = MembershipFormat.FAMEDLY, MembershipFormat.STATE
Content = Mapping[str, Any]


def calling(devices: int, **settings: Any) -> Sharers:
    """So many devices in a call, by memberships of Famedly's form if nothing else is said."""
    sharers = Sharers(devices, **{"membership": FAMEDLY, **settings})
    for index in range(devices):
        sharers.party.join(index, after=0.5 * index)
    sharers.party.run_until(lambda: len(sharers.party.present()) == devices and sharers.hear_each_other(), timeout=30)
    return sharers


def entries(sharers: Sharers, index: int = 0, key: str | None = None) -> Sequence[dict[str, Any]]:
    """What stands in the event that holds this device's membership."""
    user = sharers.party[index].matrix.user_id
    event = sharers.world.server_of(user).room.current(names.FAMEDLY_MEMBER, key or user)
    assert event is not None
    found: list[dict[str, Any]] = event.content["memberships"]
    return found


def who(sharers: Sharers, index: int = 0, key: str | None = None) -> list[str]:
    return [entry["device_id"] for entry in entries(sharers, index, key) if isinstance(entry, dict)]


def write(sharers: Sharers, index: int, found: Sequence[Any]) -> None:
    """Another client of the user writes the event, as it thinks best."""
    device = sharers.party[index].matrix
    content = {"memberships": list(found)}
    sharers.world.act(device.name, SendState(f"written {content}", names.FAMEDLY_MEMBER, device.user_id, content))


def written(sharers: Sharers) -> int:
    """How often anybody has written such an event."""
    return sum(server.events[names.FAMEDLY_MEMBER] for server in sharers.world.servers.values())


def expiries(sharers: Sharers, index: int = 0) -> list[int]:
    return [entry["expires_ts"] for entry in entries(sharers, index)]


def test_each_device_of_a_user_has_its_entry_and_takes_out_no_other() -> None:
    sharers = calling(3, devices_per_user=3)
    assert who(sharers) == ["DEVICE00", "DEVICE01", "DEVICE02"]
    sharers.party.leave(1)
    sharers.party.run(5)
    assert who(sharers) == ["DEVICE00", "DEVICE02"]
    assert isinstance(sharers.party[1].notices[-1], Left)
    assert sharers.hear_each_other()
    sharers.party.join(1)
    sharers.party.run(5)
    assert who(sharers) == ["DEVICE00", "DEVICE02", "DEVICE01"]
    assert sharers.hear_each_other()


def test_what_other_clients_have_written_stays_as_it_is() -> None:
    strange = [{"device_id": "PHONE", "call_id": "", "expires_ts": 1, "unknown": [None]}, "nonsense", {"x": 1}]
    sharers = Sharers(1, membership=FAMEDLY)
    write(sharers, 0, strange)
    sharers.party.join(0)
    sharers.party.run(130)
    assert entries(sharers)[:3] == strange
    assert who_of(entries(sharers)[3:]) == ["DEVICE00"]
    sharers.party.leave(0)
    sharers.party.run(5)
    assert entries(sharers) == strange


def who_of(found: Sequence[Content]) -> list[str]:
    return [entry["device_id"] for entry in found]


def test_a_membership_is_renewed_every_two_minutes_and_six_minutes_before_it_ends() -> None:
    sharers = calling(2)
    begun = sharers.world.network.wall_ms
    seen = set()
    for _ in range(60):
        sharers.party.run(10)
        (expires,) = expiries(sharers)
        seen.add(expires)
        assert expires > sharers.world.network.wall_ms + 3.9 * 60_000, (
            "the SDK writes it again after two of six minutes"
        )
    assert min(seen) >= begun
    assert 5 <= len(seen) <= 7
    assert sharers.hear_each_other()
    assert all(len(sharers.told(index, SendKeySwitched)) == 1 for index in (0, 1)), (
        "a renewal is neither join nor leave"
    )


def test_a_device_that_is_gone_without_a_word_is_locked_out_when_its_membership_ends() -> None:
    """On a homeserver without delayed events: the SDK counts an entry for six minutes past its expiry."""
    sharers = calling(3, limits=Limits(message_rate=None, max_delay_ms=None))
    (expires,) = expiries(sharers, 2)
    held = sharers.rings[2].sent_under()
    assert held
    before = sharers.rings[0].sent_under()
    sharers.party.crash(2)
    ends = (expires + GRACE_MS - sharers.world.network.wall_ms) / 1000
    sharers.party.run(ends - 1)
    assert sharers.rings[0].sent_under() == before
    sharers.party.run(4)
    assert sharers.rings[0].sent_under() != before
    assert len(sharers.session(0).members) == 1


def test_the_homeserver_withdraws_a_crashed_device_and_leaves_its_siblings_in() -> None:
    """Those who came after its leave was scheduled as well: it is scheduled anew whenever they change."""
    sharers = Sharers(4, membership=FAMEDLY, devices_per_user=3)
    for index in range(4):
        sharers.party.join(index, after=2.0 * index)
    sharers.party.run(15)
    sharers.party.leave(1)
    sharers.party.run(5)
    before = written(sharers)
    sharers.party.crash(0)
    sharers.party.run(25)
    assert who(sharers) == ["DEVICE02"]
    assert written(sharers) == before + 1, "DEVICE02 had not to write itself in again"
    assert len(sharers.session(3).members) == 1
    assert sharers.hear_each_other()


def test_whom_a_sibling_s_client_has_overwritten_writes_itself_in_again() -> None:
    """Two clients that read the event at the same time, and write it one after the other."""
    sharers = calling(2, devices_per_user=2)
    mine = [entry for entry in entries(sharers) if entry["device_id"] == "DEVICE01"]
    write(sharers, 1, mine)
    assert who(sharers) == ["DEVICE01"]
    sharers.party.run_until(lambda: sorted(who(sharers)) == ["DEVICE00", "DEVICE01"], timeout=3)
    sharers.party.run(5)
    assert sharers.hear_each_other()


def test_devices_of_one_user_that_join_at_the_same_time_are_all_in_the_end() -> None:
    """Each has read the event before another has written it, so that all but the last are written away at first."""
    sharers = Sharers(4, membership=FAMEDLY, devices_per_user=3)
    for index in range(4):
        sharers.party.join(index)
    sharers.party.run(0.2)
    assert len(who(sharers)) == 1
    sharers.party.run_until(lambda: sorted(who(sharers)) == ["DEVICE00", "DEVICE01", "DEVICE02"], timeout=20)
    sharers.party.run(5)
    assert sharers.hear_each_other()


def test_an_old_event_of_the_user_is_no_leave() -> None:
    sharers = calling(2, devices_per_user=2)
    sharers.party.run(60)
    assert all(len(sharers.told(index, SendKeySwitched)) == 1 for index in (0, 1))
    assert written(sharers) == 2, "each has written its membership once"


def test_in_a_room_of_msc3757_each_device_has_an_event_of_its_own() -> None:
    sharers = calling(2, devices_per_user=2, room=RoomSettings(version="org.matrix.msc3757.11"))
    user = sharers.party[0].matrix.user_id
    assert [who(sharers, key=f"{user}_DEVICE0{index}") for index in (0, 1)] == [["DEVICE00"], ["DEVICE01"]]
    assert sharers.hear_each_other()
    sharers.party.crash(1)
    sharers.party.run(25)
    assert who(sharers, key=f"{user}_DEVICE01") == []


def test_where_we_publish_media_is_said_and_until_then_what_the_others_say() -> None:
    sharers = calling(2)
    assert [entry["foci_active"] for entry in entries(sharers)] == [[]]
    focus = Transport("livekit", "https://focus.one.test", "!room:one.test")
    sharers.session(0).announce([focus], sharers.party[0].now)
    sharers.party[0].pump()
    sharers.party.run(2)
    place = {"type": "livekit", "livekit_service_url": focus.service_url, "livekit_alias": focus.alias}
    assert [entry["foci_active"] for entry in entries(sharers, 0)] == [[place]]
    sharers.party.leave(1)
    sharers.party.run(2)
    sharers.party.join(1)
    sharers.party.run(5)
    assert [entry["foci_active"] for entry in entries(sharers, 1)] == [[place]]


def test_where_the_room_does_not_let_us_write_it_we_do_not_enter() -> None:
    power = {"events": {names.FAMEDLY_MEMBER: 50}}
    sharers = Sharers(1, membership=FAMEDLY, room=RoomSettings(power_levels=power))
    sharers.party.start(0)
    sharers.party.run(2)
    with pytest.raises(CannotSend) as caught:
        sharers.session(0).join(sharers.party[0].now)
    assert names.FAMEDLY_MEMBER in str(caught.value)


def test_a_call_with_mls_has_no_such_membership() -> None:
    sharers = Sharers(1)
    device = sharers.party[0]
    with pytest.raises(LocalProtocolError):
        Session(device.matrix, RoomId("!room:one.test"), SlotId("m.call#ROOM"), now=device.now, membership=FAMEDLY)


def test_each_device_is_handed_our_key_as_its_membership_says_and_all_hear_each_other() -> None:
    sharers = Sharers(4, membership=(FAMEDLY, STATE))
    posted: Counter[tuple[str, str]] = Counter()
    accounts = sharers.world.server_of(sharers.party[0].matrix.user_id).accounts
    post = accounts.post

    def noted(user_id: str, device_id: str, message: Any) -> None:
        posted[device_id, message.type] += 1
        post(user_id, device_id, message)

    accounts.post = noted  # type: ignore[method-assign]
    for index in range(4):
        sharers.party.join(index, after=0.5 * index)
    sharers.party.run_until(lambda: len(sharers.party.present()) == 4 and sharers.hear_each_other(), timeout=30)
    sharers.party.leave(1)
    sharers.party.run(10)
    assert sharers.hear_each_other()
    famedly = {device for device, kind in posted if kind == names.KEYS_FAMEDLY}
    element = {device for device, kind in posted if kind == names.KEYS_ELEMENT}
    assert famedly == {"DEVICE00", "DEVICE02"}
    assert element == {"DEVICE01", "DEVICE03"}


def test_whose_key_does_not_come_is_asked_by_an_event_of_its_own_and_answers() -> None:
    sharers = Sharers(2, membership=FAMEDLY, policy=Policy(key_resends=0))
    sharers.world.network.hostility.to_device_loss = 1.0
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(4)
    sharers.world.network.hostility.to_device_loss = 0.0
    sharers.party.run(4)
    assert sharers.world.sent()[names.REQUEST_FAMEDLY] == 2
    assert sharers.hear_each_other()


def test_no_key_has_an_index_that_the_dart_sdk_s_key_rings_have_no_place_for() -> None:
    sharers = Sharers(3, membership=(STATE, STATE, FAMEDLY))
    for index in (0, 1):
        sharers.party.join(index)
    sharers.party.run(15)
    for _ in range(SMALL_RING + 2):
        sharers.party.leave(1)
        sharers.party.run(3)
        sharers.party.join(1)
        sharers.party.run(3)
    beyond = sharers.rings[0].sending
    assert beyond is not None
    assert beyond > SMALL_RING
    sharers.party.join(2)
    sharers.party.run(5)
    assert sharers.hear_each_other()
    assert all(ring.sending is not None and ring.sending <= SMALL_RING for ring in sharers.rings)


# -- a homeserver that lies ------------------------------------------------------------------------------------------


def shown(sharers: Sharers, index: int, found: Sequence[Any], *, number: int = 1) -> RoomEvent:
    """The event of a user as its homeserver makes it up."""
    user = sharers.party[index].matrix.user_id
    now = sharers.world.network.wall_ms
    content = {"memberships": list(found)}
    return RoomEvent(names.FAMEDLY_MEMBER, user, f"$forged{number}", now, content, user)


def test_a_device_that_a_homeserver_makes_up_gets_no_key() -> None:
    sharers = calling(2, membership=(FAMEDLY, STATE))
    sharers.party.run(15)
    server = sharers.world.server_of(sharers.party[0].matrix.user_id)
    ghost = {**entries(sharers)[0], "device_id": "GHOST", "membershipID": "ghost"}
    server.inject(shown(sharers, 0, [*entries(sharers), ghost]))
    before = sharers.rings[1].sent_under()
    sharers.party.run(20)
    assert [(told.device_id, told.reason) for told in sharers.told(1, NotAddable)] == [("GHOST", "unknown_device")]
    assert sharers.rings[1].sent_under() == before
    assert sharers.hear_each_other()


def test_an_event_that_does_not_hold_changes_nothing_and_the_next_one_counts() -> None:
    sharers = calling(3, membership=(FAMEDLY, STATE))
    server = sharers.world.server_of(sharers.party[0].matrix.user_id)
    for number, spoilt in enumerate(([{}] * 300, {"a": 1}, 7, "x")):
        event = shown(sharers, 0, [], number=number)
        server.inject(replace(event, content={"memberships": spoilt}))
    sharers.party.run(3)
    refused = [(error.reason, error.where) for error in sharers.party[1].refused]
    place = "content.memberships"
    assert refused == [("oversized", place), ("wrong_type", place), ("wrong_type", place), ("wrong_type", place)]
    assert len(sharers.session(1).members) == 2
    assert sharers.hear_each_other()
    sharers.party.leave(0)
    sharers.party.run(5)
    assert len(sharers.session(1).members) == 1


def test_a_leave_is_seen_whatever_else_stands_in_the_event() -> None:
    sharers = calling(2, membership=(FAMEDLY, STATE))
    sharers.party.run(15)
    held = sharers.rings[1].sent_under()
    write(sharers, 0, [*entries(sharers), {"device_id": "PHONE"}, "nonsense"])
    sharers.party.run(3)
    assert sharers.hear_each_other()
    sharers.party.leave(0)
    sharers.party.run(5)
    assert len(sharers.session(1).members) == 0
    assert sharers.rings[1].sent_under() != held


@pytest.mark.parametrize("content", [{"memberships": ["x"]}, {"memberships": 7}, {}], ids=str)
def test_what_somebody_has_overwritten_is_back_when_its_owner_has_seen_it(content: Any) -> None:
    """As a moderator may in rooms with MSC3757, whatever stands in it; here each in the name of the other."""
    sharers = calling(2)
    for index in (0, 1):
        other = sharers.party[1 - index].matrix.user_id
        event = replace(shown(sharers, index, [], number=index), content=content, state_key=other)
        sharers.world.server_of(other).inject(event)
    sharers.party.run(3)
    assert all(told.left for index in (0, 1) for told in sharers.told(index, MembersChanged)[1:2])
    sharers.party.run(10)
    assert sharers.hear_each_other()
    assert [who(sharers, index) for index in (0, 1)] == [["DEVICE00"], ["DEVICE01"]]


def test_any_number_of_entries_costs_keys_for_so_many_devices_at_most() -> None:
    sharers = calling(2, membership=(FAMEDLY, STATE))
    accounts = sharers.world.server_of(sharers.party[0].matrix.user_id).accounts
    user = sharers.party.users[0]
    for number in range(40):
        device = user.add_device(f"MORE{number:02}")
        sharers.world.log_in(device.name, keys=user.keys())
    assert accounts.mailboxes
    crowd = [
        {**entries(sharers)[0], "device_id": f"MORE{number:02}", "membershipID": f"{number}"} for number in range(40)
    ]
    sharers.world.server_of(user.user_id).inject(shown(sharers, 0, [*crowd, *entries(sharers)]))
    sharers.party.run(5)
    assert len(sharers.session(1).members) == sharers.policy.devices_per_user


@pytest.mark.parametrize("mixed", [False, True])
def test_a_call_with_mls_tells_who_gets_no_key(mixed: bool) -> None:
    """They do not see its members, and an epoch's index may be beyond their key rings."""
    watch = Watch(2, policy=Policy(mixed=mixed), room=RoomSettings(encrypted=True))
    watch.join_all()
    user = "@moderator:one.test"
    now = watch.world.network.wall_ms
    entry = {"call_id": "", "device_id": "PHONE", "expires_ts": now, "foci_active": [{"type": "mesh"}]}
    watch.world.moderate(names.FAMEDLY_MEMBER, user, {"memberships": [entry]})
    watch.party.run(2)
    assert watch.ledgers[0].notices(NotAddable) == [NotAddable(UserId(user), DeviceId("PHONE"), "no_mls")]
    assert watch.ledgers[0].notices(Mixed) == []
    assert "PHONE" in [one.device_id for one in watch.session(0).memberships]
    watch.world.moderate(names.FAMEDLY_MEMBER, user, {"memberships": []})
    watch.party.run(2)
    assert "PHONE" not in [one.device_id for one in watch.session(0).memberships]
