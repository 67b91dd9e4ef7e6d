"""Which focus a call has, and its tokens: over a scripted homeserver and service, in a time that the test sets."""

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import canonicaljson
import pytest
from aiohttp import web
from scripted import Scripted, error

from focus_answers import CLAIMS, OPENID, sold
from mlsrtc.adapters.focus import (
    Focus,
    FocusError,
    FocusTokens,
    Source,
    find_focus,
    oldest_focus,
    own_focus,
    present_memberships,
    room_alias,
)
from mlsrtc.adapters.focus import (
    token as token_module,
)
from mlsrtc.adapters.focus.web import NoAnswer, request
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.identifiers import SlotId
from mlsrtc.wire.encoding import encode_base64
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, Stamp, Transport
from people import ANNA, NOW

ROOM, SLOT = "!call:localhost", "m.call#ROOM"
TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"
FILE = "/.well-known/matrix/client"
OPENID_PATH = "/_matrix/client/v3/user/@ada:localhost/openid/request_token"
STATE = f"/_matrix/client/v3/rooms/{ROOM}/state"


def answers(server: Scripted, by_path: Mapping[str, Any]) -> None:
    """Each path's answer: a response made by a call, or JSON. Every other path is not there."""

    def respond(method: str, path: str, query: dict[str, str]) -> web.Response:
        answer = by_path.get(path, lambda: error(404, "M_UNRECOGNIZED"))
        made: web.Response = answer() if callable(answer) else web.json_response(answer)
        return made

    server.answer = respond


def announced(*urls: str) -> list[dict[str, str]]:
    return [{"type": "livekit", "livekit_service_url": url} for url in urls]


# -- which focus -----------------------------------------------------------------------------------------------


def membership(age: int, *transports: Transport, **changes: Any) -> RtcMembership:
    plain = RtcMembership(
        format=MembershipFormat.STATE,
        user_id=ANNA.user,
        device_id=ANNA.device,
        slot_id=SlotId(SLOT),
        key="key",
        rtc_member_id="id",
        stamp=Stamp(NOW, f"${age}"),
        created_ts=NOW - age,
        expires_ts=NOW + 1000,
        transports=transports,
    )
    return replace(plain, **changes)


def at(url: str) -> Transport:
    return Transport("livekit", url)


def test_the_oldest_membership_decides() -> None:
    young, old = (
        membership(1, at("https://young.example")),
        membership(2, at("https://old.example"), at("https://b.example")),
    )
    for order in ([young, old], [old, young]):
        assert oldest_focus(order, NOW) == Focus("https://old.example", Source.MEMBERSHIP)


def test_of_two_of_the_same_age_one_decides_however_often_they_are_refreshed() -> None:
    one = membership(1, at("https://one.example"), key="a")
    other = membership(1, at("https://other.example"), key="b")
    for event_id in ("$a", "$b"):
        refreshed = replace(one, stamp=Stamp(NOW, event_id))
        for order in ([refreshed, other], [other, refreshed]):
            assert oldest_focus(order, NOW) == Focus("https://one.example", Source.MEMBERSHIP)


@pytest.mark.parametrize(
    "passed_over",
    [
        membership(9),
        membership(9, Transport("livekit")),
        membership(9, Transport("mesh", "https://mesh.example")),
        membership(9, at("http://in-the-clear.example")),
        membership(9, at("nonsense")),
        membership(9, at("https://gone.example"), expires_ts=NOW - 1),
        membership(9, at("http://127.0.0.1:6379/x")),
        membership(9, at("http://localhost:6379/x")),
        membership(9, at("https://[::1]:8443")),
    ],
    ids=[
        "no focus",
        "no url",
        "another type",
        "in the clear",
        "no url that holds",
        "expired",
        "this machine",
        "this machine by name",
        "this machine, encrypted",
    ],
)
def test_who_leads_nobody_anywhere_is_passed_over(passed_over: RtcMembership) -> None:
    rest = membership(1, at("https://focus.example/livekit/jwt/"))
    assert oldest_focus([passed_over, rest], NOW) == Focus("https://focus.example/livekit/jwt", Source.MEMBERSHIP)
    assert oldest_focus([passed_over], NOW) is None


def test_what_others_have_named_on_this_machine_is_taken() -> None:
    ours = Focus("http://127.0.0.1:6080", Source.HOMESERVER)
    named = [membership(9, at("http://127.0.0.1:6379/x")), membership(1, at("http://127.0.0.1:6080/"))]
    assert oldest_focus(named, NOW, [ours]) == ours


def test_an_alias_counts_where_the_dart_sdk_has_written_it() -> None:
    place = Transport("livekit", "https://focus.example", "a room of the SFU")
    theirs = membership(9, place, format=MembershipFormat.FAMEDLY)
    assert oldest_focus([theirs], NOW) == Focus("https://focus.example", Source.MEMBERSHIP, "a room of the SFU")
    assert oldest_focus([membership(9, place)], NOW) == Focus("https://focus.example", Source.MEMBERSHIP)
    ours = Focus("https://focus.example", Source.HOMESERVER)
    assert oldest_focus([theirs], NOW, [ours]) == replace(ours, alias="a room of the SFU")


def event(kind: str, key: str, content: dict[str, Any], sender: str = "@ben:localhost") -> dict[str, Any]:
    return {"type": kind, "state_key": key, "sender": sender, "event_id": f"${key}", "origin_server_ts": NOW,
            "content": content}  # fmt: skip


def joined(user: str, membership: str = "join") -> dict[str, Any]:
    return event("m.room.member", user, {"membership": membership}, user)


def in_call(user: str, url: str, *, call_id: str = "", **more: Any) -> dict[str, Any]:
    content = {
        "application": "m.call",
        "call_id": call_id,
        "device_id": "DEV",
        "foci_preferred": announced(url),
        **more,
    }
    return event("org.matrix.msc3401.call.member", f"_{user}_DEV_m.call", content, user)


async def test_the_room_tells_who_is_in_the_call(scripted: Scripted) -> None:
    state = [
        joined("@ben:localhost"),
        in_call("@ben:localhost", "https://ben.example"),
        joined("@cem:localhost", "leave"),
        in_call("@cem:localhost", "https://left.example", created_ts=1),
        joined("@dan:localhost"),
        in_call("@dan:localhost", "https://other-call.example", call_id="x", created_ts=1),
        joined("@eve:localhost"),
        in_call("@eve:localhost", "https://spoilt.example", created_ts="1"),
        event("org.matrix.msc3401.call.member", "_@ben:localhost_OLD_m.call", {}),
        {"type": "org.matrix.msc3401.call.member"},
        "nonsense",
    ]
    answers(scripted, {STATE: state})
    [found] = await present_memberships(scripted.client, ROOM, SLOT)
    assert found.user_id == "@ben:localhost"
    assert await find_focus(scripted.client, ROOM, SLOT, NOW) == Focus("https://ben.example", Source.MEMBERSHIP)


async def test_without_one_in_the_call_it_is_our_own(scripted: Scripted) -> None:
    answers(
        scripted, {STATE: [joined("@ada:localhost")], TRANSPORTS: {"rtc_transports": announced("https://own.example")}}
    )
    assert await find_focus(scripted.client, ROOM, SLOT, NOW) == Focus("https://own.example", Source.HOMESERVER)


async def test_who_writes_a_membership_has_nobody_send_a_token_to_a_port_of_its_own_machine(
    scripted: Scripted,
) -> None:
    state = [joined("@ben:localhost"), in_call("@ben:localhost", "http://127.0.0.1:6379/x")]
    own = {TRANSPORTS: {"rtc_transports": announced("https://own.example")}}
    answers(scripted, {STATE: state, **own})
    assert await find_focus(scripted.client, ROOM, SLOT, NOW) == Focus("https://own.example", Source.HOMESERVER)
    own = {TRANSPORTS: {"rtc_transports": announced("http://127.0.0.1:6379/x")}}
    state += [joined("@cem:localhost"), in_call("@cem:localhost", "https://young.example", created_ts=NOW + 1)]
    answers(scripted, {STATE: state, **own})
    assert (await find_focus(scripted.client, ROOM, SLOT, NOW)).service_url == "http://127.0.0.1:6379/x"


async def test_a_service_that_a_member_names_leads_nobody_to_its_own_machine(scripted: Scripted) -> None:
    answers(scripted, {OPENID_PATH: OPENID, "/sfu/get": sold(url="ws://127.0.0.1:6379")})
    for source, refused in ((Source.MEMBERSHIP, True), (Source.HOMESERVER, False), (Source.WELL_KNOWN, False)):
        buyer = FocusTokens(scripted.client, Focus(scripted.client.homeserver, source), ROOM, SLOT)
        if refused:
            with pytest.raises(RemoteProtocolError, match="local_url"):
                await buyer.grant()
        else:
            assert (await buyer.grant()).url == "ws://127.0.0.1:6379"


OWN: list[tuple[str, Any, Any, str, Source]] = [
    ("both", announced("https://a.example"), announced("https://b.example"), "https://a.example", Source.HOMESERVER),
    ("the file alone", None, announced("https://b.example"), "https://b.example", Source.WELL_KNOWN),
    ("an empty list", [], announced("https://b.example"), "https://b.example", Source.WELL_KNOWN),
    ("the SFU alone", [{"type": "livekit", "url": "wss://sfu.example"}], announced("https://b.example"),
     "https://b.example", Source.WELL_KNOWN),
    ("another type before", [{"type": "mesh"}, *announced("https://a.example/")], [],
     "https://a.example", Source.HOMESERVER),
    ("nonsense in the one", {}, announced("https://b.example"), "https://b.example", Source.WELL_KNOWN),
]  # fmt: skip


@pytest.mark.parametrize(("transports", "foci", "url", "source"), [pytest.param(*row[1:], id=row[0]) for row in OWN])
async def test_our_own_focus(scripted: Scripted, transports: Any, foci: Any, url: str, source: Source) -> None:
    file = {"m.homeserver": {"base_url": "x"}, "org.matrix.msc4143.rtc_foci": foci}
    answers(scripted, {FILE: file, **({} if transports is None else {TRANSPORTS: {"rtc_transports": transports}})})
    assert await own_focus(scripted.client, well_known=scripted.client.homeserver) == Focus(url, source)


def busy() -> web.Response:
    return web.Response(status=503, headers={"Retry-After": "7"})


NONE: list[tuple[str, Mapping[str, Any], str, float | None]] = [
    ("nobody announces one", {TRANSPORTS: {}, FILE: {}}, "no_focus", None),
    ("no such places", {}, "no_focus", None),
    ("no access", {TRANSPORTS: lambda: error(403, "M_FORBIDDEN")}, "no_focus", None),
    ("the homeserver is down", {TRANSPORTS: busy, FILE: {}}, "homeserver_unavailable", 7.0),
    ("the file is not served now", {TRANSPORTS: {}, FILE: busy}, "homeserver_unavailable", 7.0),
]


@pytest.mark.parametrize(("places", "reason", "after"), [pytest.param(*row[1:], id=row[0]) for row in NONE])
async def test_no_focus(scripted: Scripted, places: Mapping[str, Any], reason: str, after: float | None) -> None:
    answers(scripted, places)
    with pytest.raises(FocusError) as caught:
        await own_focus(scripted.client, well_known=scripted.client.homeserver)
    assert (caught.value.reason, caught.value.retry_after) == (reason, after)
    assert caught.value.temporary == (reason != "no_focus")


async def test_a_file_that_is_served_nowhere(scripted: Scripted) -> None:
    file = r"http://127\.0\.0\.1:9/\.well-known/matrix/client cannot be reached \(ClientConnectorError\)"
    answers(scripted, {})
    with pytest.raises(FocusError, match=f"^homeserver_unavailable: {file}$"):
        await own_focus(scripted.client, well_known="http://127.0.0.1:9")
    answers(scripted, {TRANSPORTS: {"rtc_transports": []}})
    where = f"{scripted.client.homeserver} announces no LiveKit service"
    with pytest.raises(FocusError, match=f"^no_focus: {where}, and {file}$") as caught:
        await own_focus(scripted.client, well_known="http://127.0.0.1:9")
    assert not caught.value.temporary


async def test_a_file_may_be_elsewhere(scripted: Scripted) -> None:
    def moved() -> web.Response:
        return web.Response(status=302, headers={"Location": "/file"})

    answers(scripted, {FILE: moved, "/file": {"org.matrix.msc4143.rtc_foci": announced("https://b.example")}})
    found = await own_focus(scripted.client, well_known=scripted.client.homeserver)
    assert found.service_url == "https://b.example"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(busy, "homeserver_unavailable"), (lambda: error(403, "M_FORBIDDEN"), "homeserver_refused")],
)
async def test_a_room_that_is_not_read(scripted: Scripted, answer: Callable[[], web.Response], reason: str) -> None:
    answers(scripted, {STATE: answer})
    with pytest.raises(FocusError) as caught:
        await find_focus(scripted.client, ROOM, SLOT, NOW)
    assert caught.value.reason == reason


# -- tokens ----------------------------------------------------------------------------------------------------


def tokens(server: Scripted, **more: Any) -> FocusTokens:
    return FocusTokens(server.client, Focus(server.client.homeserver, Source.HOMESERVER), ROOM, SLOT, **more)


def bodies(server: Scripted, path: str) -> list[Any]:
    return [json.loads(body) for _, asked, _, body in server.asked if asked == path]


async def test_what_is_asked_before_matrix_2(scripted: Scripted) -> None:
    answers(scripted, {OPENID_PATH: {**OPENID, "more": 1}, "/sfu/get": sold()})
    token = await tokens(scripted).grant()
    assert bodies(scripted, "/sfu/get") == [{"room": ROOM, "openid_token": OPENID, "device_id": "DEVICE"}]
    assert token.identity == "@ada:localhost:DEVICE"
    assert token.may_publish


async def test_what_is_asked_for_where_a_membership_of_the_dart_sdk_leads(scripted: Scripted) -> None:
    """By the identity that its `CallParticipant.id` forms, and for the alias that its backend names."""
    answers(scripted, {OPENID_PATH: OPENID, "/sfu/get": sold()})
    focus = Focus(scripted.client.homeserver, Source.HOMESERVER, "its alias")
    for slot in (SLOT, "m.call#standup"):
        token = await FocusTokens(scripted.client, focus, ROOM, slot).grant()
        assert token.identity == "@ada:localhost:DEVICE"
    asked = {"room": "its alias", "openid_token": OPENID, "device_id": "DEVICE"}
    assert bodies(scripted, "/sfu/get") == [asked, asked]


async def test_what_is_asked_in_matrix_2(scripted: Scripted) -> None:
    names = canonicaljson.encode_canonical_json(["@ada:localhost", "DEVICE", "join1"])
    identity = encode_base64(hashlib.sha256(names).digest())
    video = {"roomJoin": True, "room": room_alias(ROOM, SLOT), "canPublish": False}
    answers(scripted, {OPENID_PATH: OPENID, "/get_token": sold({**CLAIMS, "sub": identity, "video": video})})
    buyer = tokens(scripted, member_id="join1")
    token = await buyer.grant()
    member = {"id": "join1", "claimed_user_id": "@ada:localhost", "claimed_device_id": "DEVICE"}
    asked = {"room_id": ROOM, "slot_id": SLOT, "openid_token": OPENID, "member": member}
    assert bodies(scripted, "/get_token") == [asked]
    assert token.identity == identity == buyer.identity
    assert token.room == "zsFaCDegWaSYKC48CZ52oqAXQ1FbMXhYzqE3dttzXFE"
    assert not token.may_publish


async def test_the_secrets_stand_in_no_repr(scripted: Scripted) -> None:
    answers(scripted, {OPENID_PATH: OPENID, "/sfu/get": sold()})
    buyer = tokens(scripted)
    token = await buyer.grant()
    assert token.token == sold()["jwt"]
    assert token.token not in repr(token) + repr(buyer)


REFUSED: list[tuple[str, Mapping[str, Any], str, str, float | None]] = [
    ("no OpenID token", {OPENID_PATH: lambda: error(403, "M_FORBIDDEN")}, "homeserver_refused",
     "an OpenID token: 403 M_FORBIDDEN", None),
    ("logged out", {OPENID_PATH: lambda: error(401, "M_UNKNOWN_TOKEN")}, "homeserver_refused",
     "an OpenID token: 401 M_UNKNOWN_TOKEN", None),
    ("the homeserver is down", {OPENID_PATH: busy}, "homeserver_unavailable", "an OpenID token", 7.0),
    ("too often", {OPENID_PATH: lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=500)}, "homeserver_unavailable",
     "an OpenID token", 0.5),
    ("the service refuses", {"/sfu/get": lambda: error(401, "M_UNAUTHORIZED")}, "token_refused",
     "{url}/sfu/get: 401 M_UNAUTHORIZED", None),
    ("the service refuses without a word", {"/sfu/get": lambda: web.Response(status=403, text="no")}, "token_refused",
     "{url}/sfu/get: 403", None),
    ("the service refuses with a number", {"/sfu/get": lambda: error(400, 5)}, "token_refused",
     "{url}/sfu/get: 400", None),
    ("the service refuses with an escape", {"/sfu/get": lambda: error(401, "M_\x1b[2J\n")}, "token_refused",
     "{url}/sfu/get: 401", None),
    ("there is no such endpoint", {}, "not_offered", "{url}/sfu/get", None),
    ("the endpoint is another", {"/sfu/get": lambda: web.Response(status=405)}, "not_offered", "{url}/sfu/get", None),
    ("the service has broken down", {"/sfu/get": lambda: error(500, "M_UNKNOWN")}, "service_unavailable",
     "{url}/sfu/get: status 500", None),
    ("the service is busy", {"/sfu/get": busy}, "service_unavailable", "{url}/sfu/get: status 503", 7.0),
    ("the service is asked too often", {"/sfu/get": lambda: web.Response(status=429)}, "service_unavailable",
     "{url}/sfu/get: status 429", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("places", "reason", "detail", "after"), [pytest.param(*row[1:], id=row[0]) for row in REFUSED]
)
async def test_no_token(
    scripted: Scripted, places: Mapping[str, Any], reason: str, detail: str, after: float | None
) -> None:
    answers(scripted, {OPENID_PATH: OPENID, **places})
    with pytest.raises(FocusError) as caught:
        await tokens(scripted).grant()
    assert caught.value.reason == reason
    assert caught.value.detail == detail.format(url=scripted.client.homeserver)
    assert caught.value.retry_after == after
    # Nothing is asked twice.
    assert len(scripted.asked) == len(set(scripted.paths()))


async def test_a_service_that_is_not_there(scripted: Scripted) -> None:
    answers(scripted, {OPENID_PATH: OPENID})
    buyer = FocusTokens(scripted.client, Focus("http://127.0.0.1:9", Source.MEMBERSHIP), ROOM, SLOT)
    with pytest.raises(FocusError, match=r"service_unavailable: http://127\.0\.0\.1:9/sfu/get: Client"):
        await buyer.grant()


async def test_a_service_that_never_answers(scripted: Scripted) -> None:
    answers(scripted, {OPENID_PATH: OPENID})

    async def keep_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(keep_silent, "127.0.0.1", 0) as server:
        focus = Focus(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", Source.MEMBERSHIP)
        with pytest.raises(FocusError, match=r"service_unavailable: .*: TimeoutError"):
            await FocusTokens(scripted.client, focus, ROOM, SLOT, timeout=0.2).grant()


async def test_what_is_asked_elsewhere_goes_by_the_clients_own_proxy(scripted: Scripted) -> None:
    asked: list[bytes] = []

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(refuse, "127.0.0.1", 0) as proxy:
        scripted.client.proxy = f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}"
        with pytest.raises(NoAnswer, match="ProxyError"):
            await request(scripted.client, "GET", "http://focus.example/x")
    assert asked == [b"CONNECT focus.example:80 HTTP/1.1\r\n"]


async def test_a_homeserver_that_is_not_there(scripted: Scripted) -> None:
    scripted.client.homeserver = "http://127.0.0.1:9"
    with pytest.raises(FocusError, match="homeserver_unavailable"):
        await tokens(scripted).grant()


async def test_what_the_caller_may_not_ask(scripted: Scripted) -> None:
    focus = Focus("https://focus.example", Source.MEMBERSHIP)
    with pytest.raises(LocalProtocolError, match="knows the slot"):
        FocusTokens(scripted.client, focus, ROOM, "m.call#other")
    FocusTokens(scripted.client, focus, ROOM, "m.call#other", member_id="m")
    scripted.client.access_token = ""
    with pytest.raises(LocalProtocolError, match="not logged in"):
        FocusTokens(scripted.client, focus, ROOM, SLOT)


# -- renewal ---------------------------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Any:
    clock = SimpleNamespace(at=1000.0)
    clock.monotonic = lambda: clock.at
    clock.time = lambda: clock.at
    monkeypatch.setattr(token_module, "time", clock)
    return clock


def numbered(server: Scripted, **more: Any) -> None:
    """Each token is another one, valid for 3,600 seconds by a clock of its own."""
    sent = iter(range(100))

    def sell() -> web.Response:
        return web.json_response(sold({**CLAIMS, "jti": str(next(sent))}))

    answers(server, {OPENID_PATH: OPENID, "/sfu/get": sell, **more})


async def test_a_token_serves_until_a_fifth_of_its_life_is_left(scripted: Scripted, clock: Any) -> None:
    numbered(scripted)
    buyer = tokens(scripted)
    first = await buyer.grant()
    assert first.ends_at == 1000 + 3600
    clock.at = 1000 + 2879
    assert await buyer.grant() is first
    clock.at = 1000 + 2880
    second = await buyer.grant()
    assert second.token != first.token
    assert second.ends_at == 1000 + 2880 + 3600


async def test_who_ask_at_once_share_a_token(scripted: Scripted, clock: Any) -> None:
    numbered(scripted)
    buyer = tokens(scripted)
    assert len({token.token for token in await asyncio.gather(*(buyer.grant() for _ in range(5)))}) == 1
    assert scripted.paths().count("POST /sfu/get") == 1


async def test_a_token_that_is_not_renewed_serves_to_its_end(
    scripted: Scripted, clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    numbered(scripted)
    buyer = tokens(scripted)
    first = await buyer.grant()
    numbered(scripted, **{"/sfu/get": busy})
    clock.at = 1000 + 3599
    with caplog.at_level(logging.WARNING):
        assert await buyer.grant() is first
    assert "service_unavailable" in caplog.text
    assert first.token not in caplog.text
    clock.at = 1000 + 3600
    with pytest.raises(FocusError, match="service_unavailable"):
        await buyer.grant()
    numbered(scripted)
    assert await buyer.grant() is not first


async def test_who_is_let_in_no_more_is_told_at_once(scripted: Scripted, clock: Any) -> None:
    numbered(scripted)
    buyer = tokens(scripted)
    await buyer.grant()
    numbered(scripted, **{"/sfu/get": lambda: error(401, "M_UNAUTHORIZED")})
    clock.at = 1000 + 3000
    with pytest.raises(FocusError, match="token_refused"):
        await buyer.grant()


async def test_a_call_that_is_somewhere_else_now_has_another_token(scripted: Scripted, clock: Any) -> None:
    numbered(scripted)
    answers_of_both = scripted.answer
    scripted.answer = lambda method, path, query: answers_of_both(method, path.removeprefix("/other"), query)
    places = [Focus(scripted.client.homeserver, Source.HOMESERVER)]

    async def present() -> Focus:
        return places[-1]

    buyer = FocusTokens(scripted.client, present, ROOM, SLOT)
    first = await buyer.grant()
    assert await buyer.grant() is first
    places.append(Focus(f"{scripted.client.homeserver}/other", Source.MEMBERSHIP))
    assert (await buyer.grant()).token != first.token
    assert scripted.paths().count("POST /other/sfu/get") == 1


async def test_where_it_is_not_known_where_the_call_is_the_last_token_serves(scripted: Scripted, clock: Any) -> None:
    numbered(scripted)
    trouble: list[str] = []

    async def present() -> Focus:
        if trouble:
            raise FocusError(trouble[-1])
        return Focus(scripted.client.homeserver, Source.HOMESERVER)

    buyer = FocusTokens(scripted.client, present, ROOM, SLOT)
    first = await buyer.grant()
    trouble.append("homeserver_unavailable")
    assert await buyer.grant() is first
    trouble.append("no_focus")
    with pytest.raises(FocusError, match="no_focus"):
        await buyer.grant()
