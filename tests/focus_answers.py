"""Answers about a focus, of homeservers and token services: a good one, and those that make no sense, each with the
reason and the place that it is refused for. Data only.
"""

import copy
import json
from typing import Any

import pytest

jwt = pytest.importorskip("jwt", reason="the extra `livekit` installs it")

CLAIMS: dict[str, Any] = {
    "iss": "devkey",
    "sub": "@ada:localhost:DEVICE",
    "nbf": 1_700_000_000,
    "exp": 1_700_003_600,
    "video": {"roomJoin": True, "room": "alias", "canPublish": True, "canSubscribe": True},
}
OPENID = {"access_token": "openid", "token_type": "Bearer", "matrix_server_name": "localhost", "expires_in": 3600}
FAR_TOO_LONG = b" " * 70_000

Row = tuple[str, Any, str, str]


def signed(claims: Any) -> str:
    """A LiveKit token by somebody's key; what is no object is put into one of its own making."""
    if isinstance(claims, dict):
        return str(jwt.encode(claims, "k" * 32, algorithm="HS256"))
    head, _, signature = signed({}).split(".")
    return f"{head}.{jwt.utils.base64url_encode(json.dumps(claims).encode()).decode()}.{signature}"


def sold(claims: Any = None, **changes: Any) -> dict[str, Any]:
    """What a token service answers."""
    return {"url": "wss://sfu.one.example", "jwt": signed(CLAIMS if claims is None else claims), **changes}


def without(value: dict[str, Any], *way: str) -> dict[str, Any]:
    value = copy.deepcopy(value)
    place = value
    for name in way[:-1]:
        place = place[name]
    del place[way[-1]]
    return value


def said(**changes: Any) -> dict[str, Any]:
    return sold({**CLAIMS, **changes})


def granted(**changes: Any) -> dict[str, Any]:
    return said(video={**CLAIMS["video"], **changes})


DEEP = ".".join([signed({}).split(".")[0], jwt.utils.base64url_encode(b"[" * 5000).decode(), "AA"])

TOKENS: list[Row] = [
    ("no JSON", b"<html>", "bad_json", "/sfu/get"),
    ("nothing", b"", "bad_json", "/sfu/get"),
    ("70,000 bytes", FAR_TOO_LONG, "oversized", "/sfu/get"),
    ("a list", [], "wrong_type", "/sfu/get"),
    ("a redirect", (307, {}), "bad_status", "/sfu/get"),
    ("status 204", (204, {}), "bad_status", "/sfu/get"),
    ("no url", without(sold(), "url"), "missing_field", "/sfu/get.url"),
    ("url is a number", sold(url=1), "wrong_type", "/sfu/get.url"),
    ("url of 2,049 bytes", sold(url="wss://sfu.example/" + "a" * 2031), "oversized", "/sfu/get.url"),
    ("url without scheme", sold(url="sfu.one.example"), "bad_url", "/sfu/get.url"),
    ("url of another scheme", sold(url="file:///etc/passwd"), "bad_url", "/sfu/get.url"),
    ("url without host", sold(url="wss:///rtc"), "bad_url", "/sfu/get.url"),
    ("url with a user", sold(url="wss://ada@sfu.one.example"), "bad_url", "/sfu/get.url"),
    ("url with a query", sold(url="wss://sfu.one.example?a=b"), "bad_url", "/sfu/get.url"),
    ("url with a port that is none", sold(url="wss://sfu.one.example:99999"), "bad_url", "/sfu/get.url"),
    ("url with half an address", sold(url="wss://[::1"), "bad_url", "/sfu/get.url"),
    ("url with a line break", sold(url="wss://sfu.one.example/\r\nHost: x"), "bad_url", "/sfu/get.url"),
    ("url in the clear", sold(url="ws://sfu.one.example"), "insecure_url", "/sfu/get.url"),
    ("url in the clear by HTTP", sold(url="http://192.0.2.1:7880"), "insecure_url", "/sfu/get.url"),
    ("no jwt", without(sold(), "jwt"), "missing_field", "/sfu/get.jwt"),
    ("jwt is a number", sold(jwt=1), "wrong_type", "/sfu/get.jwt"),
    ("jwt of 16,385 bytes", sold(jwt="a" * 16385), "oversized", "/sfu/get.jwt"),
    ("jwt is no token", sold(jwt="abc"), "bad_token", "/sfu/get.jwt"),
    ("jwt of other letters", sold(jwt="ä.ö.ü"), "bad_token", "/sfu/get.jwt"),
    ("jwt without payload", sold(jwt=signed({}).split(".")[0] + "..AA"), "bad_token", "/sfu/get.jwt"),
    ("jwt of a list", sold([1]), "bad_token", "/sfu/get.jwt"),
    ("jwt of a bottomless list", sold(jwt=DEEP), "bad_token", "/sfu/get.jwt"),
    ("no exp", sold(without(CLAIMS, "exp")), "missing_field", "/sfu/get.jwt.exp"),
    ("exp is text", said(exp="soon"), "wrong_type", "/sfu/get.jwt.exp"),
    ("exp before nbf", said(exp=1_600_000_000), "expired", "/sfu/get.jwt.exp"),
    ("exp is past, without nbf", sold(without(CLAIMS, "nbf")), "expired", "/sfu/get.jwt.exp"),
    ("nbf is a truth value", said(nbf=True), "wrong_type", "/sfu/get.jwt.nbf"),
    ("no identity", sold(without(CLAIMS, "sub")), "missing_field", "/sfu/get.jwt.sub"),
    ("identity is a number", said(sub=1), "wrong_type", "/sfu/get.jwt.sub"),
    ("another's identity", said(sub="@eve:localhost:DEVICE"), "wrong_identity", "/sfu/get.jwt.sub"),
    ("no grants", sold(without(CLAIMS, "video")), "missing_field", "/sfu/get.jwt.video"),
    ("grants are a list", said(video=[]), "wrong_type", "/sfu/get.jwt.video"),
    ("joining is not granted", granted(roomJoin=False), "may_not_join", "/sfu/get.jwt.video.roomJoin"),
    ("joining is unsaid", said(video={"room": "alias"}), "may_not_join", "/sfu/get.jwt.video.roomJoin"),
    ("joining is text", granted(roomJoin="yes"), "wrong_type", "/sfu/get.jwt.video.roomJoin"),
    ("no room", sold(without(CLAIMS, "video", "room")), "missing_field", "/sfu/get.jwt.video.room"),
    ("publishing is a number", granted(canPublish=1), "wrong_type", "/sfu/get.jwt.video.canPublish"),
]  # fmt: skip

OPENID_TOKENS: list[Row] = [
    ("OpenID answer is no JSON", b"<html>", "missing_field", "openid_token.access_token"),
    ("no OpenID token", without(OPENID, "access_token"), "missing_field", "openid_token.access_token"),
    ("OpenID token is a number", {**OPENID, "access_token": 1}, "wrong_type", "openid_token.access_token"),
    ("OpenID token without type", without(OPENID, "token_type"), "missing_field", "openid_token.token_type"),
    ("no server name", without(OPENID, "matrix_server_name"), "missing_field", "openid_token.matrix_server_name"),
    ("OpenID token ends some time", {**OPENID, "expires_in": "later"}, "wrong_type", "openid_token.expires_in"),
]


def foci(*items: Any) -> dict[str, Any]:
    return {"rtc_transports": list(items), "org.matrix.msc4143.rtc_foci": list(items)}


ANNOUNCED: list[Row] = [
    ("foci are an object", {"rtc_transports": {}}, "wrong_type", "transports.rtc_transports"),
    ("17 foci", foci(*[{"type": "x"}] * 17), "oversized", "transports.rtc_transports"),
    ("a focus is text", foci("livekit"), "wrong_type", "transports.rtc_transports[0]"),
    ("a focus without type", foci({}), "missing_field", "transports.rtc_transports[0].type"),
    (
        "a service is a number",
        foci({"type": "livekit", "livekit_service_url": 1}),
        "wrong_type",
        "transports.rtc_transports[0].livekit_service_url",
    ),
    (
        "a service without scheme",
        foci({"type": "x"}, {"type": "livekit", "livekit_service_url": "focus.one.example"}),
        "bad_url",
        "transports.rtc_transports[1].livekit_service_url",
    ),
    (
        "a service in the clear",
        foci({"type": "livekit", "livekit_service_url": "http://focus.one.example"}),
        "insecure_url",
        "transports.rtc_transports[0].livekit_service_url",
    ),
]
FILES: list[Row] = [
    (".well-known is no JSON", b"<html>", "bad_json", ".well-known"),
    (".well-known of 70,000 bytes", FAR_TOO_LONG, "oversized", ".well-known"),
    (".well-known is a list", [], "wrong_type", ".well-known"),
    (".well-known names foci that are text", {"org.matrix.msc4143.rtc_foci": "x"}, "wrong_type",
     ".well-known.org.matrix.msc4143.rtc_foci"),
]  # fmt: skip

CASES = [*ANNOUNCED, *FILES, *OPENID_TOKENS, *TOKENS]
