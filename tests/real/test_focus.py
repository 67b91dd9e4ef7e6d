"""From what a real Synapse announces to a place in a real SFU, by the adapter."""

import asyncio
import time
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest
import pytest_asyncio
import sfu
from rooms import SLOT, announce, enter, make_room

from mlsrtc.adapters.focus import (
    Focus,
    FocusError,
    FocusTokens,
    Source,
    find_focus,
    own_focus,
    room_alias,
)
from mlsrtc.testing.devices import TestDevice, cross_signed_devices
from mlsrtc.testing.livekit import LiveKitServer
from mlsrtc.testing.synapse import Synapse
from mlsrtc.testing.token_service import TokenService

pytestmark = [pytest.mark.real, pytest.mark.media, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def pair(announcing: tuple[Synapse, TokenService]) -> AsyncIterator[list[TestDevice]]:
    async with cross_signed_devices(announcing[0], ["ada", "ben"]) as devices:
        yield devices


def now_ms() -> int:
    return time.time_ns() // 1_000_000


async def test_both_places_announce_it(announcing: tuple[Synapse, TokenService], pair: list[TestDevice]) -> None:
    synapse, service = announcing
    client = pair[0].client
    assert await own_focus(client) == Focus(service.url, Source.HOMESERVER)
    # Synapse without MSC4143 has no such endpoint; its file is asked then.
    async with Synapse(extra={"experimental_features": {}}) as bare, cross_signed_devices(bare, ["cem"]) as [cem]:
        found = await own_focus(cem.client, well_known=synapse.base_url)
        assert found == Focus(service.url, Source.WELL_KNOWN)
        with pytest.raises(FocusError, match="no_focus"):
            await own_focus(cem.client, well_known=bare.base_url)


async def test_the_oldest_membership_of_the_room_decides(
    announcing: tuple[Synapse, TokenService], pair: list[TestDevice]
) -> None:
    synapse, service = announcing
    ada, ben = pair
    room_id = await make_room(synapse, pair)
    assert (await find_focus(ada.client, room_id, SLOT, now_ms())).source is Source.HOMESERVER
    await announce(synapse, ben, room_id, "https://ben.example")
    await announce(synapse, ada, room_id, service.url)
    for device in pair:
        found = await find_focus(device.client, room_id, SLOT, now_ms())
        assert found == Focus("https://ben.example", Source.MEMBERSHIP)
    leave = f"/_matrix/client/v3/rooms/{quote(room_id)}/leave"
    await synapse.demand("POST", leave, token=ben.account.access_token, body={})
    assert (await find_focus(ada.client, room_id, SLOT, now_ms())).service_url == service.url


async def test_a_room_we_are_not_in_is_not_read(
    announcing: tuple[Synapse, TokenService], pair: list[TestDevice]
) -> None:
    room_id = await make_room(announcing[0], pair, join=1)
    with pytest.raises(FocusError, match="homeserver_refused: the state of the room: 403 M_FORBIDDEN"):
        await find_focus(pair[1].client, room_id, SLOT, now_ms())
    await enter(announcing[0], pair[1], room_id)
    assert (await find_focus(pair[1].client, room_id, SLOT, now_ms())).source is Source.HOMESERVER


@pytest.mark.parametrize("member_id", [None, "join1"], ids=["before Matrix 2.0", "Matrix 2.0"])
async def test_a_token_leads_into_the_room_under_our_identity(
    announcing: tuple[Synapse, TokenService], pair: list[TestDevice], member_id: str | None
) -> None:
    room_id = await make_room(announcing[0], pair)
    client = pair[0].client
    buyer = FocusTokens(client, lambda: find_focus(client, room_id, SLOT, now_ms()), room_id, SLOT, member_id=member_id)
    token = await buyer.grant()
    assert token.room == room_alias(room_id, SLOT)
    assert token.may_publish
    assert 3590 < token.ends_at - time.monotonic() <= 3600
    async with sfu.participant(token.url, token.token, {}, 1) as room:
        assert room.name == token.room
        assert room.local_participant.identity == token.identity == buyer.identity


async def test_a_token_is_renewed_before_it_ends(
    announcing: tuple[Synapse, TokenService], pair: list[TestDevice], monkeypatch: pytest.MonkeyPatch
) -> None:
    synapse, service = announcing
    room_id = await make_room(synapse, pair)
    monkeypatch.setattr(service, "lifetime", 2.0)
    buyer = FocusTokens(pair[0].client, await own_focus(pair[0].client), room_id, SLOT)
    first = await buyer.grant()
    await asyncio.sleep(1.7)
    second = await buyer.grant()
    assert second.ends_at > first.ends_at
    async with sfu.participant(second.url, second.token, {}, 1) as room:
        assert room.local_participant.identity == second.identity


async def test_a_logged_out_device_gets_no_token(announcing: tuple[Synapse, TokenService]) -> None:
    synapse, service = announcing
    async with cross_signed_devices(synapse, ["dan"]) as [dan]:
        await synapse.demand("POST", "/_matrix/client/v3/logout", token=dan.account.access_token, body={})
        with pytest.raises(FocusError, match="homeserver_refused: an OpenID token: 401 M_UNKNOWN_TOKEN"):
            await FocusTokens(dan.client, Focus(service.url, Source.HOMESERVER), "!r:localhost", SLOT).grant()


async def test_a_service_that_does_not_know_our_homeserver_refuses(
    livekit: LiveKitServer, pair: list[TestDevice]
) -> None:
    async with TokenService(livekit, {}) as service:
        with pytest.raises(FocusError, match=r"token_refused: .*/sfu/get: 401 M_UNAUTHORIZED"):
            await FocusTokens(pair[0].client, Focus(service.url, Source.HOMESERVER), "!r:localhost", SLOT).grant()


async def test_a_guest_of_the_service_may_only_receive(
    livekit: LiveKitServer, announcing: tuple[Synapse, TokenService], pair: list[TestDevice]
) -> None:
    async with TokenService(livekit, {"localhost": announcing[0].base_url}, full_access=()) as service:
        token = await FocusTokens(pair[0].client, Focus(service.url, Source.HOMESERVER), "!r:localhost", SLOT).grant()
        assert not token.may_publish
