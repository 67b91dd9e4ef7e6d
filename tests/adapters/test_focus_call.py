"""Where a call meets as its memberships change: whom we follow, when we move, what we announce, which tokens we get."""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import canonicaljson
import pytest
from aiohttp import web
from scripted import Scripted, error
from test_focus import OPENID_PATH, ROOM, SLOT, TRANSPORTS, announced, at, bodies, membership

from focus_answers import CLAIMS, OPENID, sold
from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.focus import CallFocus, Focus, FocusError, Source
from mlsrtc.adapters.focus import call as call_module
from mlsrtc.adapters.nio import NioTransport
from mlsrtc.errors import LocalProtocolError
from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, Transport
from people import NOW

US, DEVICE = UserId("@ada:localhost"), DeviceId("DEVICE")


@dataclass
class FakeCall:
    """A call as far as its focus looks. `age` is our membership's; None: it is not there yet."""

    transport: Any
    sticky: bool = False
    age: int | None = 5
    others: list[RtcMembership] = field(default_factory=list)
    said: list[str | None] = field(default_factory=list)
    aliases: list[str | None] = field(default_factory=list)
    looks: int = 0
    session: Any = field(
        default_factory=lambda: SimpleNamespace(
            user_id=US, device_id=DEVICE, member_id="join1", room_id=ROOM, slot_id=SLOT
        )
    )

    @property
    def memberships(self) -> list[RtcMembership]:
        if self.age is None:
            return self.others
        transports = [at(url) for url in self.said[-1:] if url is not None]
        return [*self.others, membership(self.age, *transports, user_id=US, device_id=DEVICE, key="ours")]

    async def changed(self) -> None:
        self.looks += 1
        await asyncio.sleep(0 if self.looks < 10 else 60)

    def announce(self, transports: list[Transport]) -> None:
        [transport] = transports
        assert transport.type == "livekit"
        self.aliases.append(transport.alias)
        self.said.append(transport.service_url)


@dataclass
class Place:
    """A homeserver whose services all sell tokens: those under a name in `dead` do not."""

    server: Scripted
    call: FakeCall
    own: str | None = None  # what the homeserver announces, by its name
    dead: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=count)

    def url(self, name: str) -> str:
        return f"{self.server.client.homeserver}/{name}"

    def names(self, name: str, age: int) -> None:
        """Somebody else whose membership names this service."""
        self.call.others.append(membership(age, at(self.url(name)), key=f"{name}{age}"))

    def focus(self, *local: str) -> CallFocus:
        """Ours. local: what on this machine may be named."""
        known = [Focus(self.url(name), Source.WELL_KNOWN) for name in local]
        return CallFocus(cast(Call, self.call), well_known=self.server.client.homeserver, local=known)

    def asked(self) -> list[str]:
        """The services that were asked for a token, by name."""
        return [path.split("/")[1] for _, path, _, _ in self.server.asked if path.endswith(("/sfu/get", "/get_token"))]

    def answer(self, method: str, path: str, query: dict[str, str]) -> web.Response:
        if path == OPENID_PATH:
            return web.json_response(OPENID)
        if path == TRANSPORTS and self.own is not None:
            return web.json_response({"rtc_transports": announced(self.url(self.own))})
        name = path.split("/")[1]
        if path.endswith("/sfu/get") and name not in self.dead:
            return web.json_response(sold({**CLAIMS, "jti": str(next(self.numbers))}))
        return web.Response(status=503) if name in self.dead else error(404, "M_UNRECOGNIZED")


@pytest.fixture
def place(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(call_module, "_now_ms", lambda: NOW)
    made = Place(scripted, FakeCall(NioTransport(scripted.client)))
    scripted.answer = made.answer
    return made


async def arrive(focus: CallFocus) -> None:
    await focus.grant()
    focus.arrived()


async def moves(focus: CallFocus) -> bool:
    """Whether the call has moved, on one of the next looks."""
    try:
        await asyncio.wait_for(focus.moved(), 0.05)
    except TimeoutError:
        return False
    return True


async def test_we_follow_the_oldest_membership_and_say_where_we_are_once_we_are_there(place: Place) -> None:
    place.own = "own"
    place.names("young", 1)
    place.names("old", 9)
    focus = place.focus("young", "old")
    await focus.grant()
    assert (place.asked(), place.call.said) == (["old"], [])
    focus.arrived()
    assert (place.call.said, place.call.aliases) == ([place.url("old")], [ROOM])


async def test_before_we_join_we_say_where_we_are_going(place: Place) -> None:
    place.own, place.call.age = "own", None
    await place.focus().foresee()
    place.names("old", 9)
    await place.focus("old").foresee()
    assert (place.call.said, place.asked()) == ([place.url("own"), place.url("old")], [])


async def test_what_we_foresaw_is_where_we_go_first_and_what_we_say_again(place: Place) -> None:
    place.own, place.call.age = "own", None
    focus = place.focus()
    await focus.foresee()
    place.call.age, place.own = 5, "other"
    place.names("own", 1)
    await arrive(focus)
    assert (place.call.said, place.asked()) == ([place.url("own")] * 2, ["own"])


async def test_where_nothing_can_be_foreseen_we_join_without_a_word(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.call.age = None
    await place.focus().foresee()
    place.own = "own"
    monkeypatch.setattr(call_module, "FORESIGHT_SECONDS", 0.0)
    await place.focus().foresee()
    assert place.call.said == []


async def test_where_the_dart_sdk_has_named_a_room_of_the_sfu_we_go_there_and_say_so(place: Place) -> None:
    at_alias = Transport("livekit", place.url("theirs"), "a room of the SFU")
    theirs = membership(9, at_alias, format=MembershipFormat.FAMEDLY, key="theirs")
    place.call.others.append(theirs)
    focus = place.focus("theirs")
    await arrive(focus)
    assert [body["room"] for body in bodies(place.server, "/theirs/sfu/get")] == ["a room of the SFU"]
    assert (place.call.said, place.call.aliases) == ([place.url("theirs")], ["a room of the SFU"])
    assert not await moves(focus)
    other = Transport("livekit", place.url("theirs"), "another")
    place.call.others[:] = [membership(9, other, format=MembershipFormat.FAMEDLY, key="theirs")]
    assert await moves(focus)


async def test_who_is_alone_goes_where_its_homeserver_says_now(place: Place) -> None:
    place.own = "one"
    focus = place.focus()
    await arrive(focus)
    place.own = "two"
    await arrive(focus)
    await arrive(place.focus())
    assert place.asked() == ["one", "two", "two"]
    assert place.call.said == [place.url(name) for name in place.asked()]


async def test_whom_the_others_follow_stays_unless_that_is_dead(place: Place) -> None:
    place.own = "one"
    focus = place.focus("one")
    await arrive(focus)
    place.names("one", 1)
    place.own = "two"
    await arrive(focus)
    assert place.asked() == ["one", "one"]
    place.dead.add("one")
    for _ in range(2):
        with pytest.raises(FocusError, match="service_unavailable"):
            await focus.grant()
        await focus.grant()
    assert place.asked()[2:] == ["one", "two"] * 2
    focus.arrived()
    assert place.call.said[-1] == place.url("two")


async def test_whom_the_others_follow_stays_also_if_its_homeserver_names_none(place: Place) -> None:
    place.names("old", 9)
    focus = place.focus("old")
    await arrive(focus)
    place.call.others.clear()
    place.names("old", 1)
    for _ in range(2):
        await focus.grant()
    assert place.asked() == ["old"] * 3
    place.call.others.clear()
    with pytest.raises(FocusError, match="no_focus"):
        await focus.grant()


async def test_each_token_is_a_new_one(place: Place) -> None:
    """Only the service makes a room that is gone, when it is asked."""
    place.own = "own"
    focus = place.focus()
    tokens = {(await focus.grant()).token for _ in range(3)}
    assert (len(tokens), place.asked()) == (3, ["own"] * 3)


async def test_of_two_who_have_begun_at_once_the_younger_one_moves(place: Place) -> None:
    place.own = "own"
    focus = place.focus("theirs")
    await arrive(focus)
    assert not await moves(focus)
    place.names("theirs", 4)
    assert not await moves(focus), "it is younger: it comes to us"
    place.names("theirs", 6)
    assert await moves(focus)
    assert place.call.said == [place.url("own")], "not before we are there"
    await arrive(focus)
    assert place.asked() == ["own", "theirs"]
    assert place.call.said[-1] == place.url("theirs")
    assert not await moves(focus)


@pytest.mark.parametrize(
    "which",
    [
        "names nothing",
        "is where we are",
        "is on this machine",
        "is there before ours",
        "is younger than ours, which names nothing yet",
    ],
)
async def test_nobody_moves_for_a_membership_that(place: Place, which: str) -> None:
    place.own = "own"
    focus = place.focus()
    await arrive(focus)
    match which:
        case "names nothing":
            place.call.others.append(membership(9))
        case "is where we are":
            place.names("own", 9)
        case "is on this machine":
            place.names("elsewhere", 9)
        case "is there before ours":
            place.call.age = None
            place.call.others.append(membership(9, at("https://other.example")))
        case "is younger than ours, which names nothing yet":
            place.call.said.clear()
            place.call.others.append(membership(1, at("https://other.example")))
    assert not await moves(focus)


async def test_we_look_again_only_when_something_has_changed(place: Place) -> None:
    place.own = "own"
    focus = place.focus("theirs")
    await arrive(focus)
    place.call.looks = 8
    waiting = asyncio.create_task(focus.moved())
    await asyncio.sleep(0.05)
    place.names("theirs", 6)
    await asyncio.sleep(0.05)
    assert not waiting.done()
    assert place.call.looks == 10
    waiting.cancel()


async def test_before_we_are_anywhere_there_is_nowhere_to_move_from(place: Place) -> None:
    place.call.others.append(membership(9, at("https://other.example")))
    assert not await moves(place.focus())


async def test_a_service_on_this_machine_is_asked_only_if_our_homeserver_names_it(place: Place) -> None:
    place.own = "own"
    place.names("any/port", 9)
    await place.focus().grant()
    assert place.asked() == ["own"]
    place.names("own", 8)
    place.call.others.append(membership(1, at("https://other.example")))
    await place.focus().grant()
    assert place.asked() == ["own"] * 2


async def test_every_participation_of_matrix_2_has_a_name_of_its_own(place: Place) -> None:
    place.own, place.call.sticky = "own", True
    focus = place.focus()
    sell = place.answer

    def sell_anew(method: str, path: str, query: dict[str, str]) -> web.Response:
        if not path.endswith("/get_token"):
            return sell(method, path, query)
        names = canonicaljson.encode_canonical_json([US, DEVICE, place.call.session.member_id])
        return web.json_response(sold({**CLAIMS, "sub": encode_base64(hashlib.sha256(names).digest())}))

    place.server.answer = sell_anew
    identities = set()
    for member_id in ("join1", "join2"):
        place.call.session.member_id = member_id
        identities.add((await focus.grant()).identity)
    assert [body["member"]["id"] for body in bodies(place.server, "/own/get_token")] == ["join1", "join2"]
    assert len(identities) == 2


@pytest.mark.parametrize("sticky", [False, True])
async def test_outside_of_the_call_there_is_no_token(place: Place, sticky: bool) -> None:
    place.own, place.call.sticky = "own", sticky
    place.call.session.member_id = None
    with pytest.raises(LocalProtocolError, match="we are not in the call"):
        await place.focus().grant()
    assert not place.server.asked


def test_a_call_on_another_transport_finds_no_focus_by_itself() -> None:
    with pytest.raises(LocalProtocolError, match="on matrix-nio"):
        CallFocus(cast(Call, FakeCall(object())))


async def test_who_sends_to_a_focus_of_its_own_is_heard_there(place: Place) -> None:
    place.own = "own"
    focus = place.focus("theirs", "another", "oldest's", "sticky")
    place.call.others += [
        membership(9, at(place.url("oldest's")), key="a"),
        membership(8, at(place.url("theirs")), focus_selection="multi_sfu", key="b"),
        membership(7, at(place.url("theirs")), at(place.url("another")), focus_selection="multi_sfu", key="c"),
        membership(6, at(place.url("another")), focus_selection="oldest_membership", key="d"),
        membership(4, at(place.url("oldest's")), focus_selection="multi_sfu", key="e"),
        membership(3, at(place.url("sticky")), format=MembershipFormat.STICKY, key="f"),
        membership(2, at(place.url("any/port")), at("https://far.example"), focus_selection="multi_sfu", key="g"),
        membership(1, focus_selection="multi_sfu", key="h"),
        membership(1, at("https://over.example"), focus_selection="multi_sfu", key="i", expires_ts=NOW - 1),
    ]
    assert focus.further() == []
    await arrive(focus)
    assert focus.further() == [place.url("theirs"), place.url("sticky"), "https://far.example"]
    grant = await focus.grant_at(place.url("theirs"))
    assert grant.token
    assert place.asked() == ["oldest's", "theirs"]
    assert place.call.said == [place.url("oldest's")], "we send nothing there"


async def test_nobody_has_us_connected_to_any_number_of_servers(place: Place) -> None:
    place.own = "own"
    focus = place.focus()
    await arrive(focus)
    for number in range(20):
        one = membership(number, at(f"https://s{number}.example"), focus_selection="multi_sfu", key=f"{number}")
        place.call.others.append(one)
    assert len(focus.further()) == call_module.FURTHER_LIMIT


@pytest.mark.parametrize("sticky", [False, True])
async def test_outside_of_the_call_there_is_no_further_token(place: Place, sticky: bool) -> None:
    place.call.session.member_id, place.call.sticky = None, sticky
    with pytest.raises(LocalProtocolError, match="we are not in the call"):
        await place.focus().grant_at("https://one.example")
    assert not place.server.asked
