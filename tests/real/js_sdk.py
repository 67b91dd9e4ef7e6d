"""matrix-js-sdk as a participant of a call, in a process of Node (interop/matrix-js-sdk/peer.mjs)."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count
from types import TracebackType
from typing import Any, Literal, Self

from engines import Missing, installed_by_npm
from node_peer import NodePeer
from rooms import make_room

from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Account, Synapse
from wanting import wanting

FOLDER = "matrix-js-sdk"
ROOM_KEYS = "matrix-js-sdk-37"
"""The last one that hands its keys out as room events."""

PATIENCE = 30.0  # seconds for one answer, and for what is waited for
LOOK = 0.05  # seconds between two looks
CRASHED_AFTER = 60_000  # ms; the SDK's own 8 s are too few for a busy machine
FOCUS = "https://sfu.one.example"

_numbers = count()

Membership = Literal["state", "sticky"]


@dataclass(frozen=True)
class HeldKey:
    """A key that was told to the media. `identity` is the participant in LiveKit."""

    user_id: str
    device_id: str
    member_id: str
    identity: str
    index: int
    key: bytes


@dataclass(frozen=True)
class Received:
    """A key event as it came: all that was in the Olm message, and the device that Olm authenticated, None where the
    event was not encrypted."""

    message: dict[str, Any]
    device_id: str | None

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = self.message["content"]
        return content


@dataclass(frozen=True)
class Member:
    """A membership that counts. `event` is decrypted."""

    user_id: str
    device_id: str
    member_id: str
    identity: str
    event: dict[str, Any]


class JsSdk(NodePeer):
    """A client, logged in as one device and in a room, while the block is open. Raises `Missing` where Node is.

    told: the keys that were told to the media, own ones too, in their order. received: key events, as they came.
    members: the newest memberships. warnings: what the SDK logged as a warning or an error.
    """

    def __init__(self, server: Synapse, account: Account, room_id: str, folder: str = FOLDER) -> None:
        super().__init__(PATIENCE)
        self._folder = folder
        self.account = account
        self.told: list[HeldKey] = []
        self.received: list[Received] = []
        self.members: list[Member] = []
        self.warnings: list[str] = []
        self.version = ""
        self._server, self._room_id = server, room_id

    async def __aenter__(self) -> Self:
        self.version = (await self.start("node", installed_by_npm(self._folder) / "peer.mjs"))["version"]
        try:
            await self.ask(
                "start",
                homeserver=self._server.base_url,
                user_id=self.account.user_id,
                device_id=self.account.device_id,
                access_token=self.account.access_token,
                room_id=self._room_id,
            )
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def join(self, membership: Membership, **options: Any) -> str:
        """Join the call; the member id. options: of the SDK's JoinSessionConfig. Returns before it is done."""
        options = {"callIntent": "video", "delayedLeaveEventDelayMs": CRASHED_AFTER} | options
        answer = await self.ask("join", membership=membership, livekit_service_url=FOCUS, options=options)
        member_id: str = answer["member_id"]
        return member_id

    async def leave(self) -> None:
        """Leave the call, and wait until that is done."""
        await self.ask("leave")

    async def keys(self) -> list[HeldKey]:
        """The keys that it holds now, of all participants."""
        return [_key(key) for key in (await self.ask("keys"))["keys"]]

    def newest(self, of: "JsSdk | TestDevice") -> HeldKey | None:
        """The key of a participant that this one was told last; of its own, the one that it encrypts under."""
        keys = [key for key in self.told if key.user_id == of.account.user_id]
        return keys[-1] if keys else None

    def hear(self, said: dict[str, Any]) -> bool:
        if "event" not in said:
            return False
        match said.pop("event"):
            case "key":
                self.told.append(_key(said))
            case "received":
                self.received.append(Received(**said))
            case "memberships":
                self.members[:] = [Member(**member) for member in said["members"]]
            case "warning":
                self.warnings.append(said["text"])
        return True


@asynccontextmanager
async def calling(
    server: Synapse, owner: TestDevice, *names: str, others: Sequence[TestDevice] = (), folder: str = FOLDER
) -> AsyncIterator[tuple[str, list[JsSdk]]]:
    """A new encrypted room with the owner and these others, and new users in it, each with a client of the SDK. Skips
    the test where Node is not."""
    try:
        installed_by_npm(folder)
    except Missing as missing:
        wanting(str(missing))
    room_id = await make_room(server, [owner, *others], encrypted=True)
    number = next(_numbers)
    accounts = [await server.register(f"{name}_sdk{number}") for name in names]
    async with AsyncExitStack() as stack:
        peers = [JsSdk(server, account, room_id, folder) for account in accounts]
        async with asyncio.TaskGroup() as group:
            for peer in peers:
                group.create_task(stack.enter_async_context(peer))
        yield room_id, peers


async def until(seen: Callable[[], object], *peers: JsSdk) -> None:
    """Wait for what is to be seen of these peers."""
    try:
        async with asyncio.timeout(PATIENCE):
            while True:
                if seen():
                    return
                await asyncio.sleep(LOOK)
    except TimeoutError:
        heard = [[(key.user_id, key.index) for key in peer.told] + peer.warnings[-5:] for peer in peers]
        raise AssertionError(f"waited {PATIENCE:g} s in vain; was told {heard}") from None


def _key(said: dict[str, Any]) -> HeldKey:
    return HeldKey(**said | {"key": base64.b64decode(said["key"])})
