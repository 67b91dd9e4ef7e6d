"""Connections to further servers, where members publish who do not come to ours: to receive there, never to send.

A further service may stand before a server that we are connected to. Its token lets us in at the place that we have
there, and the server sends away whoever was there. So no server is connected to twice, as far as URLs tell; where they
do not, the server's own name of the room does, and who was sent away comes back.
"""

import asyncio
from collections.abc import Callable

from livekit import rtc

from mlsrtc.adapters.driver import Call
from mlsrtc.adapters.livekit.granter import Spread
from mlsrtc.adapters.livekit.link import FINAL, Link, in_any_case
from mlsrtc.adapters.livekit.notices import MediaUnreached
from mlsrtc.adapters.livekit.seal import DataSeal
from mlsrtc.adapters.livekit.trying import Trying

SETTLING_SECONDS = 3.0  # before we connect: of two who begin at once one moves, and names another server then
PAUSE = 1.0  # seconds after a connection is lost


class Further:
    """The further connections of one call, while `run` goes on.

    main: the connection that we send on, or had last.
    """

    def __init__(self, call: Call, seal: DataSeal, granter: Spread, main: Callable[[], Link]) -> None:
        self._call = call
        self._seal = seal
        self._granter = granter
        self._main = main
        self._staying: dict[str, asyncio.Task[None]] = {}  # by service; done: it is not to be tried now
        self._going: set[asyncio.Task[None]] = set()
        self._links: set[Link] = set()
        self._opening: set[asyncio.Future[None]] = set()
        self._taken: dict[str, str] = {}  # by which service we took the place of our main connection, and in which room

    async def run(self) -> None:
        """Be connected wherever somebody publishes, for as long as it does. Cancel it to disconnect."""
        try:
            while True:
                wanted = self._granter.further()
                for service in self._staying.keys() - wanted:
                    self._staying.pop(service).cancel()
                for service in wanted:
                    if service not in self._staying:
                        self._staying[service] = self._start(service)
                await self._granter.changed()
        finally:
            for task in self._going:
                task.cancel()
            await asyncio.gather(*self._going, return_exceptions=True)

    def moved(self) -> None:
        """The main connection is another one: what was not to be tried beside the former one is tried again."""
        place = self._main().place
        self._staying = {
            service: task
            for service, task in self._staying.items()
            if not task.done() or self._taken.get(service) == place
        }

    async def renew(self) -> None:
        """We have another name: connect anew under it."""
        for link in tuple(self._links):
            await link.close()

    async def took(self, link: Link) -> bool:
        """Whether it was us, by a further service, who have taken the place of the main connection."""
        if self._opening:
            await asyncio.wait(tuple(self._opening))
        return link.place in self._taken.values()

    def _start(self, service: str) -> asyncio.Task[None]:
        task = asyncio.create_task(self._stay(service))
        self._going.add(task)
        task.add_done_callback(self._going.discard)
        return task

    async def _stay(self, service: str) -> None:
        await asyncio.sleep(SETTLING_SECONDS)
        trying = Trying(f"media of {service} cannot be received")
        while True:
            try:
                link = await self._open(service)
            except Exception as error:
                pause = trying.failed(error)
                if (reason := trying.news(error)) is not None:
                    self._call.tell(MediaUnreached(service, reason))
                await asyncio.sleep(pause)
                continue
            if link is None:
                return
            trying = Trying(f"media of {service} cannot be received")
            self._links.add(link)
            try:
                await link.over.wait()
            finally:
                self._links.discard(link)
                await in_any_case(link.close())
            if link.reason in FINAL:
                if link.place not in {other.place for other in (self._main(), *self._links)}:
                    self._call.tell(MediaUnreached(service, rtc.DisconnectReason.Name(link.reason).lower()))
                return
            await asyncio.sleep(PAUSE)

    async def _open(self, service: str) -> Link | None:
        """A connection there, under the name of our present participation; None if we are there already."""
        while True:
            member_id = self._call.session.member_id
            grant = await self._granter.grant_at(service)
            connected = {link.url.rstrip("/") for link in (self._main(), *self._links) if not link.over.is_set()}
            if grant.url.rstrip("/") in connected:
                return None
            opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._opening.add(opened)
            try:
                link = Link(self._call, self._seal, sends=False)
                await link.open(grant.url, grant.token)
                taken = bool(link.place) and link.place == self._main().place
                if not taken and member_id == self._call.session.member_id:
                    return link
                if taken:
                    self._taken[service] = link.place
                await in_any_case(link.close())
            finally:
                self._opening.discard(opened)
                opened.set_result(None)
            if taken:
                return None
