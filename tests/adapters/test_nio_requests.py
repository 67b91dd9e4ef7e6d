"""Requests of a session over a scripted homeserver: what each answer means, and that none is repeated."""

import json
from typing import Any

import pytest
from aiohttp import web
from scripted import Scripted, error

from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.http import NESTING_KEPT, shallow
from mlsrtc.adapters.nio.olm import OlmDoor
from mlsrtc.errors import LocalProtocolError
from mlsrtc.outbox import (
    Accepted,
    CancelLeave,
    FetchAttachment,
    FetchRelations,
    QueryKeys,
    RateLimited,
    Refused,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
    SendToDevice,
)
from mlsrtc.wire.incoming import Attachment, DeviceKeys

ROOM = "!r/oom:localhost"


def _channel(scripted: Scripted, limit: int = 1000) -> NioChannel:
    return NioChannel(scripted.client, ROOM, "m.call#ROOM", olm=OlmDoor(scripted.client, print), attachment_limit=limit)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=1234), RateLimited(1234)),
        (
            lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=1234, headers={"Retry-After": "2"}),
            RateLimited(1234),
        ),
        (lambda: error(429, "M_LIMIT_EXCEEDED", headers={"Retry-After": "7"}), RateLimited(7000)),
        (lambda: error(429, "M_LIMIT_EXCEEDED", headers={"Retry-After": "-1"}), RateLimited(5000)),
        (lambda: error(429, "M_LIMIT_EXCEEDED", headers={"Retry-After": "9" * 50}), RateLimited(5000)),
        (lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=-1), RateLimited(5000)),
        (lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=True), RateLimited(5000)),
        (lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms="soon"), RateLimited(5000)),
        (lambda: web.Response(status=502, text="<html>"), RateLimited(1000)),
        (lambda: web.Response(status=503, headers={"Retry-After": "3"}), RateLimited(3000)),
        (lambda: error(403, "M_FORBIDDEN"), Refused(403, "M_FORBIDDEN")),
        (lambda: error(413, "M_TOO_LARGE"), Refused(413, "M_TOO_LARGE")),
        (lambda: web.Response(status=404, text="no json"), Refused(404, "M_UNKNOWN")),
        (lambda: web.json_response([1], status=400), Refused(400, "M_UNKNOWN")),
        (lambda: web.json_response({"errcode": 5}, status=400), Refused(400, "M_UNKNOWN")),
        (lambda: web.Response(status=400, body=b"[" * 100_000), Refused(400, "M_UNKNOWN")),
        (lambda: web.json_response({"event_id": "$e"}), Accepted(event_id="$e")),
        (lambda: web.json_response({"event_id": 5}), Accepted()),
    ],
)
async def test_each_answer_has_one_outcome_and_is_asked_for_once(scripted, answer, outcome) -> None:  # type: ignore[no-untyped-def]
    scripted.answer = lambda *_: answer()
    assert await _channel(scripted).send(SendEvent("t/1", "dev.mlsrtc.word", {"n": 1})) == outcome
    assert len(scripted.asked) == 1


async def test_segments_are_quoted(scripted: Scripted) -> None:
    await _channel(scripted).send(SendState("s", "a/b", "_@u:h_D#x?", {}))
    assert scripted.asked[0][1] == f"/_matrix/client/v3/rooms/{ROOM}/state/a/b/_@u:h_D#x?"


async def test_a_request_sent_again_after_429_does_not_upload_again(scripted: Scripted) -> None:
    answers = iter([error(429, "M_LIMIT_EXCEEDED", retry_after_ms=1), web.json_response({"event_id": "$e"})])

    def answer(method: str, path: str, query: dict[str, str]) -> web.Response:
        if path.endswith("/upload"):
            return web.json_response({"content_uri": "mxc://localhost/m"})
        return next(answers)

    scripted.answer = answer
    channel = _channel(scripted)
    request = SendEvent("c1", "dev.mlsrtc.commit", {"tree_file": {"v": "v2"}}, attachments={"tree_file": b"x"})
    assert await channel.send(request) == RateLimited(1)
    assert await channel.send(request) == Accepted(event_id="$e")
    assert [method for method, *_ in scripted.asked] == ["POST", "PUT", "PUT"]
    assert scripted.asked[0][3] == b"x"
    first, second = (json.loads(body) for _, _, _, body in scripted.asked[1:])
    assert first == second == {"tree_file": {"v": "v2", "url": "mxc://localhost/m"}}


STANDING = {"memberships": [{"device_id": "PHONE", "call_id": "", "x": [1]}, {"device_id": "D", "call_id": "", "n": 1}]}
OURS = {"device_id": "D", "call_id": "", "n": 2}


@pytest.mark.parametrize(
    ("request_of", "delay"),
    [
        (lambda content: SendState("s", "m", "@u:h", content, ("D", "")), {}),
        (
            lambda content: ScheduleLeave("s", 18_000, "m", "@u:h", content, entry=("D", "")),
            {"org.matrix.msc4140.delay": "18000"},
        ),
    ],
    ids=["sent", "scheduled"],
)
async def test_of_an_event_with_entries_of_other_devices_only_ours_is_replaced(  # type: ignore[no-untyped-def]
    scripted: Scripted, request_of, delay: dict[str, str]
) -> None:
    scripted.answer = lambda method, *_: web.json_response(STANDING if method == "GET" else {"event_id": "$e"})
    request = request_of({"memberships": [OURS]})
    assert await _channel(scripted).send(request) == Accepted(event_id="$e")
    path = f"/_matrix/client/v3/rooms/{ROOM}/state/m/@u:h"
    assert scripted.paths() == [f"GET {path}", f"PUT {path}"]
    assert [query for _, _, query, _ in scripted.asked] == [{}, delay]
    assert json.loads(scripted.asked[1][3]) == {"memberships": [STANDING["memberships"][0], OURS]}


async def test_where_there_is_no_event_yet_our_entry_is_the_first(scripted: Scripted) -> None:
    scripted.answer = lambda method, *_: error(404, "M_NOT_FOUND") if method == "GET" else web.json_response({})
    request = SendState("s", "m", "@u:h", {"memberships": [OURS]}, ("D", ""))
    assert await _channel(scripted).send(request) == Accepted()
    assert json.loads(scripted.asked[1][3]) == {"memberships": [OURS]}


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (lambda: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=5), RateLimited(5)),
        (lambda: web.Response(status=502), RateLimited(1000)),
        (lambda: error(403, "M_FORBIDDEN"), Refused(403, "M_FORBIDDEN")),
    ],
)
async def test_what_cannot_be_read_is_not_overwritten(scripted, answer, outcome) -> None:  # type: ignore[no-untyped-def]
    scripted.answer = lambda *_: answer()
    request = SendState("s", "m", "@u:h", {"memberships": [OURS]}, ("D", ""))
    assert await _channel(scripted).send(request) == outcome
    assert len(scripted.asked) == 1


async def test_an_answer_to_a_device_brings_its_file(scripted: Scripted) -> None:
    scripted.answer = lambda method, path, query: web.json_response({"content_uri": "mxc://localhost/m"})
    request = SendToDevice("h1", "dev.mlsrtc.have", "@b:localhost", "PHONE", {"file": {}}, attachments={"file": b"x"})
    assert await _channel(scripted).send(request) == Accepted()
    assert [method for method, *_ in scripted.asked] == ["POST", "PUT"]
    sent = json.loads(scripted.asked[1][3])
    assert sent == {"messages": {"@b:localhost": {"PHONE": {"file": {"url": "mxc://localhost/m"}}}}}


async def test_a_failed_upload_sends_no_event(scripted: Scripted) -> None:
    scripted.answer = lambda *_: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=5)
    request = SendEvent("c1", "dev.mlsrtc.commit", {"tree_file": {}}, attachments={"tree_file": b"x"})
    assert await _channel(scripted).send(request) == RateLimited(5)
    assert scripted.paths() == ["POST /_matrix/media/v3/upload"]


async def test_an_upload_without_an_address_is_no_success(scripted: Scripted) -> None:
    scripted.answer = lambda *_: web.json_response({"content_uri": "https://localhost/x"})
    request = SendEvent("c1", "dev.mlsrtc.commit", {"tree_file": {}}, attachments={"tree_file": b"x"})
    assert isinstance(await _channel(scripted).send(request), RateLimited)
    assert len(scripted.asked) == 1


async def test_an_attachment_without_its_place_is_the_callers_fault(scripted: Scripted) -> None:
    with pytest.raises(LocalProtocolError, match="tree_file"):
        await _channel(scripted).send(SendEvent("c", "t", {}, attachments={"tree_file": b"x"}))


async def test_encrypting_for_a_room_not_yet_synced_waits(scripted: Scripted) -> None:
    outcome = await _channel(scripted).send(SendEvent("s", "m.rtc.member", {}, encrypt=True))
    assert isinstance(outcome, RateLimited)
    assert scripted.asked == []


async def test_delayed_leaves_by_both_forms_of_msc4140(scripted: Scripted) -> None:
    base = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"

    def older(method: str, path: str, query: dict[str, str]) -> web.Response:
        return error(404, "M_UNRECOGNIZED") if path.count("/") > base.count("/") + 1 else web.json_response({})

    channel = _channel(scripted)
    scripted.answer = older
    assert await channel.send(RestartLeave("r", "d1")) == Accepted()
    assert scripted.paths() == [f"POST {base}/d1/restart", f"POST {base}/d1"]
    assert json.loads(scripted.asked[1][3]) == {"action": "restart"}
    scripted.asked.clear()
    scripted.answer = lambda *_: web.json_response({})
    assert await channel.send(CancelLeave("c", "d1")) == Accepted()
    assert scripted.paths() == [f"POST {base}/d1/cancel"]


async def test_a_scheduled_leave_is_a_state_or_a_sticky_event(scripted: Scripted) -> None:
    scripted.answer = lambda *_: web.json_response({"delay_id": "d"})
    channel = _channel(scripted)
    assert await channel.send(ScheduleLeave("l", 18_000, "t", "k", {})) == Accepted(delay_id="d")
    assert await channel.send(ScheduleLeave("l", 18_000, "t", None, {}, sticky_ms=5)) == Accepted(delay_id="d")
    state, sticky = scripted.asked
    assert state[1].endswith("/state/t/k")
    assert state[2] == {"org.matrix.msc4140.delay": "18000"}
    assert sticky[1].endswith("/send/t/l")
    assert sticky[2]["org.matrix.msc4354.sticky_duration_ms"] == "5"


@pytest.mark.parametrize(("size", "there"), [(1000, True), (1001, False)])
async def test_a_download_is_counted_and_its_announced_length_not_trusted(
    scripted: Scripted, size: int, there: bool
) -> None:
    scripted.answer = lambda *_: web.Response(body=b"x" * size, content_type="application/octet-stream")
    channel = _channel(scripted)
    assert await channel.send(FetchAttachment("a", "mxc://localhost/m")) == Accepted()
    [got] = await channel.receive(0)
    assert got == Attachment("mxc://localhost/m", b"x" * size if there else None)
    assert scripted.paths() == ["GET /_matrix/client/v1/media/download/localhost/m"]


async def test_a_download_that_is_limited_is_told_so_and_brings_nothing(scripted: Scripted) -> None:
    scripted.answer = lambda *_: error(429, "M_LIMIT_EXCEEDED", retry_after_ms=9)
    channel = _channel(scripted)
    assert await channel.send(FetchAttachment("a", "mxc://localhost/m")) == RateLimited(9)
    assert await channel.receive(0) == ()


@pytest.mark.parametrize(
    "request_", [FetchAttachment("a", "mxc://localhost/\ud800"), FetchRelations("r", "$\ud800")], ids=["file", "event"]
)
async def test_what_another_member_names_by_no_text_is_not_there(
    scripted: Scripted, request_: FetchAttachment | FetchRelations
) -> None:
    scripted.answer = lambda *_: error(404, "M_NOT_FOUND")
    outcome = await _channel(scripted).send(request_)
    assert outcome in (Accepted(), Refused(404, "M_NOT_FOUND"))


async def test_users_of_a_server_that_does_not_answer_are_asked_again(scripted: Scripted) -> None:
    answer = {"device_keys": {"@b:here": {"D": {"k": 1}}}, "failures": {"away": {}}, "master_keys": {}}
    scripted.answer = lambda *_: web.json_response(answer)
    channel = _channel(scripted)
    outcome = await channel.send(QueryKeys("q", ("@b:here", "@c:away", "@d:here")))
    assert isinstance(outcome, RateLimited)
    assert list(await channel.receive(0)) == [
        DeviceKeys("@b:here", {"device_keys": {"@b:here": {"D": {"k": 1}}}}),
        DeviceKeys("@d:here", {"device_keys": {"@d:here": {}}}),
    ]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({}, {}),
        ({"device_keys": [], "failures": 5}, {"device_keys": []}),
        (
            {"device_keys": {}, "master_keys": "x", "self_signing_keys": {}},
            {"device_keys": {"@b:here": {}}, "master_keys": "x"},
        ),
    ],
)
async def test_an_answer_about_keys_of_another_form_is_handed_over_to_be_refused(
    scripted: Scripted, answer: dict[str, Any], told: dict[str, Any]
) -> None:
    """Otherwise it would say that the user has no devices, and all of them are logged out."""
    scripted.answer = lambda *_: web.json_response(answer)
    channel = _channel(scripted)
    assert await channel.send(QueryKeys("q", ("@b:here",))) == Accepted()
    assert list(await channel.receive(0)) == [DeviceKeys("@b:here", told)]


@pytest.mark.parametrize("depth", [1, NESTING_KEPT - 1, NESTING_KEPT, 50_000])
def test_of_what_nests_too_deep_the_rest_is_kept(depth: int) -> None:
    deep = "[" * (depth - 1) + '{"a": "]"}' + "]" * (depth - 1)
    text = '["[{\\"\\\\", ' + deep + ", " + deep + ', {"b": 1}]'
    first, *values, last = json.loads(shallow(text))
    assert (first, last) == ('[{"\\', {"b": 1})
    assert len(values) == 2
    assert ("a" in json.dumps(values[0])) is (depth < NESTING_KEPT)
