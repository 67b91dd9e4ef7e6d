"""Element Call itself, in pages of one headless Chromium: interop/element-call/peer.mjs drives them."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from browser import chromium, needed
from engines import installed_by_npm
from node_peer import NodePeer

from mlsrtc.identifiers import DeviceId, UserId
from mlsrtc.media.keys import livekit_identity
from mlsrtc.testing.synapse import Account

PATIENCE = 150.0  # seconds for one answer; Element Call is three megabytes of JavaScript and a Rust crypto library
SHOWN_SOON = 60.0  # seconds until a page that has joined shows the others
WAIT = 0.5  # seconds between two looks


@dataclass(frozen=True)
class Member:
    """A participant as a page knows it from its membership; `identity` is what the SFU calls it."""

    user_id: str
    device_id: str
    member_id: str
    identity: str


@dataclass(frozen=True)
class Tile:
    """What a page shows of a participant: the words on the tile, whether it has a picture (`shown`), the SFU's name of
    its track, the size in pixels, and how many frames were decoded. `own`: it is the page's own camera."""

    text: str
    shown: bool
    own: bool
    track: str | None
    width: int
    height: int
    frames: int


@dataclass(frozen=True)
class Received:
    """What came of one track: packets, frames decoded (of video), the loudness now, 0 to 1, and the energy so far."""

    kind: str
    packets: int
    frames: int
    level: float
    energy: float


@dataclass(frozen=True)
class Shown:
    """What a page knows and shows. keys: by LiveKit identity, the indexes of the keys that it was given, oldest first.
    media: by the SFU's name of the track."""

    members: list[Member]
    keys: Mapping[str, list[int]]
    tiles: list[Tile]
    media: Mapping[str, Received]

    @property
    def others(self) -> list[Tile]:
        """The tiles with a picture of somebody else."""
        return [tile for tile in self.tiles if tile.shown and not tile.own]


class ElementCall(NodePeer):
    """The browser, while the block is open. Skips the test where this machine cannot have it."""

    def __init__(self) -> None:
        super().__init__(PATIENCE)
        self.version = self.browser = ""
        self._windows: dict[str, Window] = {}

    async def __aenter__(self) -> Self:
        with needed():
            command: list[str | Path] = ["node", installed_by_npm("element-call") / "peer.mjs", chromium()]
        hello = await self.start(*command)
        self.version, self.browser = hello["version"], hello["browser"]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    def window(self, account: Account) -> "Window":
        """A place for a user's page. The device must be new: Element Call makes its keys."""
        window = self._windows[account.user_id] = Window(self, account)
        return window

    def hear(self, said: dict[str, Any]) -> bool:
        if "log" not in said:
            return False
        page, level, text = said["log"]
        self._windows[page].said.append((level, text))
        return True


class Window:
    """One user's page. `said`: what it has warned of, as level and text, oldest first."""

    def __init__(self, call: ElementCall, account: Account) -> None:
        self.account = account
        self.said: list[tuple[str, str]] = []
        self._call = call

    @property
    def user_id(self) -> str:
        """Its Matrix user."""
        return self.account.user_id

    @property
    def identity(self) -> str:
        """What the SFU calls it."""
        return livekit_identity(UserId(self.account.user_id), DeviceId(self.account.device_id))

    async def open(self, homeserver: str, room_id: str, password: str | None = None) -> None:
        """Log in and show the lobby of the room's call. homeserver: its URL. password: that of a link."""
        await self._ask(
            "open",
            homeserver=homeserver,
            room_id=room_id,
            user_id=self.account.user_id,
            device_id=self.account.device_id,
            access_token=self.account.access_token,
            password=password,
        )

    async def join(self) -> None:
        """Press the lobby's button. Others see us somewhat later than the page shows the call."""
        await self._ask("join")

    async def enter(self, homeserver: str, room_id: str, password: str | None = None) -> None:
        """Both."""
        await self.open(homeserver, room_id, password)
        await self.join()

    async def shown(self) -> Shown:
        state = await self._ask("state")
        return Shown(
            [Member(**member) for member in state["members"]],
            state["keys"],
            [Tile(**tile) for tile in state["tiles"]],
            {track: Received(**received) for track, received in state["media"].items()},
        )

    async def screenshot(self, path: Path) -> None:
        """Write what the page looks like into a PNG."""
        await self._ask("screenshot", path=str(path))

    async def leave(self) -> None:
        """Hang up."""
        await self._ask("leave")

    async def close(self) -> None:
        """Close the window, which says no farewell."""
        await self._ask("close")

    async def _ask(self, op: str, **fields: Any) -> dict[str, Any]:
        return await self._call.ask(op, page=self.account.user_id, **fields)


async def until(window: Window, holds: Callable[[Shown], bool], patience: float = SHOWN_SOON) -> Shown:
    """What a page shows, as soon as something holds of it."""
    now: Shown | None = None
    try:
        async with asyncio.timeout(patience):
            while True:
                now = await window.shown()
                if holds(now):
                    return now
                await asyncio.sleep(WAIT)
    except TimeoutError:
        raise AssertionError(f"waited {patience:g} s in vain; shown: {now}; said: {window.said[-20:]}") from None
