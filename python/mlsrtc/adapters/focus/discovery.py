"""Which focus: what memberships, our homeserver and its .well-known file announce (MSC4143, MSC4195). Asks no service.

Everybody meets at the focus of the oldest membership. Who is first, or finds none there, takes
its own: what its homeserver announces (`/rtc/transports`), else the file of its server's name.
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

import nio

from mlsrtc.adapters.focus import web
from mlsrtc.adapters.focus.errors import FocusError
from mlsrtc.adapters.nio import history
from mlsrtc.adapters.nio.http import Failed, ask, path
from mlsrtc.adapters.nio.sieve import Sieve
from mlsrtc.errors import RemoteProtocolError
from mlsrtc.outbox import RateLimited, Refused
from mlsrtc.wire.fields import Field
from mlsrtc.wire.foci import TRANSPORTS_LIMIT
from mlsrtc.wire.incoming import RoomEvent
from mlsrtc.wire.membership import MembershipFormat, RtcMembership, decode_membership, memberships_of
from mlsrtc.wire.names import FAMEDLY_MEMBER, MULTI_SFU, ROOM_MEMBER, STATE_MEMBER
from mlsrtc.wire.room import decode_room_member

LIVEKIT = "livekit"
WELL_KNOWN = "/.well-known/matrix/client"
WELL_KNOWN_FIELD = "org.matrix.msc4143.rtc_foci"


class Source(Enum):
    """Where a focus is announced."""

    MEMBERSHIP = "membership"
    HOMESERVER = "homeserver"
    WELL_KNOWN = "well_known"


@dataclass(frozen=True, slots=True)
class Focus:
    """A token service by its URL, without a slash at the end, and where it was announced. `alias`: the room of the SFU
    that a membership of Famedly's form names; None for that of the Matrix room."""

    service_url: str
    source: Source
    alias: str | None = None


def age(membership: RtcMembership) -> tuple[int, str, str]:
    """What memberships are sorted by, the oldest first. It stays the same when one is refreshed."""
    return membership.created_ts, membership.user_id, membership.key


def leading(
    memberships: Iterable[RtcMembership], now_ms: int, local: Iterable[Focus] = ()
) -> tuple[RtcMembership, Focus] | None:
    """The oldest of these memberships that names a focus we can use, and that focus: as `oldest_focus`."""
    return next(_usable(memberships, now_ms, local), None)


def further_foci(memberships: Iterable[RtcMembership], now_ms: int, local: Iterable[Focus] = ()) -> list[Focus]:
    """Where these members publish that do not all meet at the focus of the oldest: that of the oldest member first.

    Element Call sends to the focus of its own homeserver and says so (`multi_sfu`), and MSC4143's memberships name
    where their device publishes. now_ms, local: as in `oldest_focus`.
    """
    found = [focus for one, focus in _usable(memberships, now_ms, local) if _publishes_where_it_says(one)]
    return list(dict.fromkeys(found))


def _publishes_where_it_says(membership: RtcMembership) -> bool:
    return membership.format is MembershipFormat.STICKY or membership.focus_selection == MULTI_SFU


def _usable(
    memberships: Iterable[RtcMembership], now_ms: int, local: Iterable[Focus]
) -> Iterator[tuple[RtcMembership, Focus]]:
    """The memberships that name a focus we can use, the oldest first, each with the first one that it names."""
    known = {focus.service_url: focus for focus in local}
    standing = [one for one in memberships if one.expires_ts is None or one.expires_ts >= now_ms]
    for membership in sorted(standing, key=age):
        for url, alias in _services(membership):
            if url in known or not web.is_local(url):
                focus = known.get(url) or Focus(url, Source.MEMBERSHIP)
                yield membership, replace(focus, alias=alias)
                break


def oldest_focus(memberships: Iterable[RtcMembership], now_ms: int, local: Iterable[Focus] = ()) -> Focus | None:
    """The focus of the oldest of these memberships that names one we can use, or None.

    Matrix-js-sdk takes the first focus of the oldest membership. Members that send no media name none, and one whose
    URL does not hold leads nobody anywhere: both are passed over. So is one on this machine itself: whoever may write a
    membership would have us send a token to any port here. Only those of `local` are taken, which others have named.

    now_ms: our wall clock, milliseconds since the epoch; expired memberships do not count.
    """
    found = leading(memberships, now_ms, local)
    return None if found is None else found[1]


def name_this_machine(memberships: Iterable[RtcMembership]) -> bool:
    """Whether a service on this machine itself is named, which counts if our homeserver announces it as well."""
    return any(web.is_local(url) for membership in memberships for url, _ in _services(membership))


def _services(membership: RtcMembership) -> Iterator[tuple[str, str | None]]:
    """The LiveKit services of a membership whose URL holds, in its order. Each with its alias where it counts: Element
    Call writes one too, and goes by the name that the service makes of the Matrix room."""
    counts = membership.format is MembershipFormat.FAMEDLY
    for transport in membership.transports:
        if transport.type == LIVEKIT and transport.service_url is not None:
            with suppress(RemoteProtocolError):
                url = web.checked_url(Field(transport.service_url), "https", "http")
                yield url, transport.alias if counts else None


async def present_memberships(client: nio.AsyncClient, room_id: str, slot_id: str) -> list[RtcMembership]:
    """The state memberships of a slot that the room holds now, of users who are in the room, in no order.

    What does not hold is left out. Raises FocusError (homeserver_unavailable, homeserver_refused).
    """
    try:
        present = await history.state(client, room_id)
    except Failed as failed:
        raise refused_by_homeserver(failed.outcome, "the state of the room") from failed
    sieve = Sieve(client, room_id)
    events = [event for event in map(sieve.event, present) if event is not None]
    inside = {user for event in events if event.type == ROOM_MEMBER and (user := _joined(event)) is not None}
    found: list[RtcMembership] = []
    for event in events:
        if event.type in (STATE_MEMBER, FAMEDLY_MEMBER):
            try:
                decoded = decode_membership(event)
            except RemoteProtocolError:
                continue
            there = memberships_of(decoded)
            found += [one for one in there if one.slot_id == slot_id and one.user_id in inside]
    return found


async def own_focus(client: nio.AsyncClient, *, well_known: str | None = None) -> Focus:
    """The focus that our own homeserver announces.

    well_known: the URL below which `/.well-known/matrix/client` stands; None is ``https://`` and our server's name.

    Raises FocusError: no_focus, also if the homeserver says that it has none and the file's server cannot be reached;
    else homeserver_unavailable if one of the two places could not be asked and the other has none. Raises
    RemoteProtocolError if one of them is nonsense and the other has none: the reasons of `Field`, bad_json, bad_url,
    insecure_url.
    """
    base = (well_known or f"https://{_server_name(client)}").rstrip("/")
    trouble: list[FocusError | RemoteProtocolError] = []
    answered = False
    places: tuple[tuple[Source, Callable[[], Awaitable[Field | None]]], ...] = (
        (Source.HOMESERVER, lambda: _transports(client)),
        (Source.WELL_KNOWN, lambda: _well_known(client, base)),
    )
    for source, look in places:
        try:
            announced = await look()
            if announced is not None and (url := _first(announced)) is not None:
                return Focus(url, source)
            answered = answered or (announced is not None and source is Source.HOMESERVER)
        except (FocusError, RemoteProtocolError) as error:
            trouble.append(error)
    where = f"{client.homeserver} announces no LiveKit service"
    match trouble:
        case []:
            raise FocusError("no_focus", f"{where}, nor does {base}{WELL_KNOWN}")
        case [FocusError(__cause__=web.NoAnswer()) as unheard] if answered:
            raise FocusError("no_focus", f"{where}, and {unheard.detail}") from unheard
        case _:
            raise trouble[0]


async def find_focus(
    client: nio.AsyncClient, room_id: str, slot_id: str, now_ms: int, *, well_known: str | None = None
) -> Focus:
    """The focus of the call as it is now: of its oldest membership, else our own.

    now_ms: our wall clock, milliseconds since the epoch. well_known: as in `own_focus`.

    Raises what `present_memberships` and `own_focus` raise.
    """
    memberships = await present_memberships(client, room_id, slot_id)
    local: list[Focus] = []
    if name_this_machine(memberships):
        with suppress(FocusError, RemoteProtocolError):
            local.append(await own_focus(client, well_known=well_known))
    found = oldest_focus(memberships, now_ms, local)
    return await own_focus(client, well_known=well_known) if found is None else found


def _joined(event: RoomEvent) -> str | None:
    try:
        member = decode_room_member(event)
    except RemoteProtocolError:
        return None
    return member.user_id if member.membership == "join" else None


async def _transports(client: nio.AsyncClient) -> Field | None:
    """What the homeserver announces; None if it does not know the question."""
    target = path("client", "unstable", "org.matrix.msc4143", "rtc", "transports")
    reply = await ask(client, "GET", target)
    if reply.ok:
        return Field(reply.body, "transports")["rtc_transports"]
    if isinstance(outcome := reply.failure(), RateLimited):
        raise refused_by_homeserver(outcome, "its transports")
    return None


async def _well_known(client: nio.AsyncClient, base: str) -> Field:
    url = base + WELL_KNOWN
    try:
        answer = await web.request(client, "GET", url, redirects=True)
    except web.NoAnswer as error:
        raise FocusError("homeserver_unavailable", f"{url} cannot be reached ({error})") from error
    if answer.status == 429 or answer.status >= 500:
        detail = f"{url}: status {answer.status}"
        raise FocusError("homeserver_unavailable", detail, retry_after=answer.retry_after)
    if answer.status != 200:
        return Field(None, ".well-known")
    if not answer.whole or answer.body is None:
        raise RemoteProtocolError("bad_json" if answer.whole else "oversized", where=".well-known")
    return Field(answer.body, ".well-known")[WELL_KNOWN_FIELD]


def _first(announced: Field) -> str | None:
    """The first LiveKit service of a list. One that names only an SFU is for the endpoints of the homeserver itself
    (MSC4195 since July 2026), which none has yet: it is passed over."""
    if announced.absent:
        return None
    for item in announced.list(TRANSPORTS_LIMIT):
        if item["type"].text() == LIVEKIT and not (url := item["livekit_service_url"]).absent:
            return web.checked_url(url, "https", "http")
    return None


def _server_name(client: nio.AsyncClient) -> str:
    return str(client.user_id).partition(":")[2]


def refused_by_homeserver(outcome: RateLimited | Refused, what: str) -> FocusError:
    """What a homeserver that did not do what was asked means here."""
    if isinstance(outcome, RateLimited):
        return FocusError("homeserver_unavailable", what, retry_after=outcome.retry_after_ms / 1000)
    return FocusError("homeserver_refused", f"{what}: {outcome.status} {outcome.errcode}")
