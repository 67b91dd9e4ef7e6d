"""Connections to further servers: made while members publish there, never two to one server, told when they fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("livekit.rtc", reason="the extra `test` installs LiveKit")

from livekit import rtc

from mlsrtc.adapters.focus import FocusError
from mlsrtc.adapters.livekit import MediaUnreached, further
from mlsrtc.adapters.livekit.further import Further

DUPLICATE = rtc.DisconnectReason.DUPLICATE_IDENTITY


class Link:
    """A connection. Its place is the room of the server, whatever the URL."""

    made: list["Link"]
    places: dict[str, str]  # by URL; what is not there is a place of its own

    def __init__(self, call: Any, seal: Any, *, sends: bool = True) -> None:
        self.sends, self.url, self.place = sends, "", ""
        self.over, self.reason = asyncio.Event(), None

    async def open(self, url: str, token: str) -> None:
        self.url, self.place = url, self.places.get(url, f"room at {url}")
        for other in self.made:
            if other.place == self.place:
                other.end(DUPLICATE)
        self.made.append(self)
        try:
            await asyncio.sleep(0.01)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self.over.set()

    def end(self, reason: Any) -> None:
        if not self.over.is_set():
            self.reason = reason
            self.over.set()


class World:
    """Where members publish, and what the services give."""

    def __init__(self) -> None:
        self.wanted: list[str] = []
        self.urls: dict[str, str] = {}
        self.shut: dict[str, Exception] = {}
        self.asked: list[str] = []
        self.told: list[Any] = []
        self.turn = asyncio.Event()
        self.session = SimpleNamespace(member_id="first")
        self.main: Any = Link(None, None)

    def further(self) -> list[str]:
        return self.wanted

    async def changed(self) -> None:
        await self.turn.wait()

    async def grant(self) -> Any:
        raise NotImplementedError

    async def grant_at(self, service: str) -> Any:
        self.asked.append(service)
        if service in self.shut:
            raise self.shut[service]
        return SimpleNamespace(url=self.urls.get(service, f"wss of {service}"), token="token")

    def tell(self, notice: Any) -> None:
        self.told.append(notice)

    def want(self, *services: str) -> None:
        self.wanted = list(services)
        self.turn.set()
        self.turn.clear()

    def standing(self) -> list[str]:
        return sorted(link.url for link in Link.made if not link.over.is_set() and not link.sends)


@asynccontextmanager
async def running(world: World) -> AsyncIterator[Further]:
    made = Further(world, None, world, lambda: world.main)  # type: ignore[arg-type]
    await world.main.open("wss of here", "token")
    task = asyncio.create_task(made.run())
    await asyncio.sleep(0.01)
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert not world.standing()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    Link.made, Link.places = [], {}
    monkeypatch.setattr(further, "Link", Link)
    monkeypatch.setattr(further, "SETTLING_SECONDS", 0.02)
    monkeypatch.setattr(further, "PAUSE", 0.02)
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.PAUSE", 0.02)
    monkeypatch.setattr("mlsrtc.adapters.livekit.trying.NEWS_SECONDS", 0.0)
    return World()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.005)


async def test_we_are_connected_wherever_somebody_publishes_and_no_longer_than_it_does(world: World) -> None:
    async with running(world):
        world.want("one", "two")
        await until(lambda: world.standing() == ["wss of one", "wss of two"])
        world.want("two")
        await until(lambda: world.standing() == ["wss of two"])
        world.want("two", "one")
        await until(lambda: world.standing() == ["wss of one", "wss of two"])
        assert world.asked == ["one", "two", "one"]
        assert not world.told


async def test_who_names_another_server_soon_is_followed_nowhere(world: World) -> None:
    async with running(world):
        world.want("one")
        world.want()
        await asyncio.sleep(0.1)
        assert not world.asked


async def test_a_lost_connection_is_made_again_and_one_that_is_not_to_be_is_told(world: World) -> None:
    async with running(world):
        world.want("one")
        await until(lambda: world.standing() == ["wss of one"])
        Link.made[-1].end(rtc.DisconnectReason.SERVER_SHUTDOWN)
        await until(lambda: world.asked == ["one", "one"] and world.standing() == ["wss of one"])
        assert not world.told
        Link.made[-1].end(rtc.DisconnectReason.PARTICIPANT_REMOVED)
        await until(lambda: bool(world.told))
        world.want("one")
        await asyncio.sleep(0.1)
        assert world.told == [MediaUnreached("one", "participant_removed")]
        assert world.asked == ["one", "one"]


async def test_why_we_do_not_get_there_is_told_and_it_is_tried_again(world: World) -> None:
    world.shut["one"] = FocusError("token_refused")
    async with running(world):
        world.want("one")
        await until(lambda: len(world.asked) > 2)
        assert world.told == [MediaUnreached("one", "token_refused")]
        del world.shut["one"]
        await until(lambda: world.standing() == ["wss of one"])


async def test_a_service_before_the_server_where_we_are_is_connected_by_no_second_time(world: World) -> None:
    world.urls["one"] = "wss of here/"
    async with running(world) as made:
        world.want("one")
        await until(lambda: world.asked == ["one"])
        world.want("one")
        await asyncio.sleep(0.1)
        assert (world.asked, len(Link.made)) == (["one"], 1)
        world.main = Link(None, None)
        await world.main.open("wss of elsewhere", "token")
        made.moved()
        world.want("one")
        await until(lambda: world.standing() == ["wss of here/"])


async def test_of_a_server_that_has_two_urls_our_place_is_taken_once_and_given_back(world: World) -> None:
    Link.places = {"wss of one": "room at wss of here"}
    async with running(world) as made:
        lost = world.main
        world.want("one")
        await lost.over.wait()
        assert lost.reason == DUPLICATE
        assert await made.took(lost), "it was us"
        for _ in range(2):
            world.main = Link(None, None)
            await world.main.open("wss of here", "token")
            made.moved()
            world.want("one")
            await asyncio.sleep(0.1)
        assert world.asked == ["one"]
        assert not world.main.over.is_set()
        assert not world.told


async def test_somebody_else_who_takes_our_place_is_not_us(world: World) -> None:
    async with running(world) as made:
        world.want("one")
        await until(lambda: world.standing() == ["wss of one"])
        world.main.end(DUPLICATE)
        assert not await made.took(world.main)


async def test_a_new_name_is_connected_anew(world: World) -> None:
    async with running(world) as made:
        world.want("one")
        await until(lambda: world.standing() == ["wss of one"])
        await asyncio.sleep(0.05)
        await made.renew()
        await until(lambda: world.asked == ["one", "one"] and world.standing() == ["wss of one"])
        assert not world.told


async def test_a_new_name_that_comes_while_we_connect_is_connected_anew_too(world: World) -> None:
    async with running(world) as made:
        world.want("one")
        await until(lambda: len(Link.made) == 2)
        world.session.member_id = "second"
        await made.renew()
        await until(lambda: world.asked == ["one", "one"] and world.standing() == ["wss of one"])
        assert Link.made[1].over.is_set()
