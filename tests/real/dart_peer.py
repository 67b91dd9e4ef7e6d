"""A peer that speaks the format of Famedly's matrix-dart-sdk: written anew, in Python, on matrix-nio's Olm.

It is **not** the SDK: there was no Dart to run that with. What it reads and writes, and when, is what the SDK's source
(lib/src/voip) says of a group call with a LiveKit backend: `CallMembership`, `FamedlyCallMemberEventsExtension`,
`GroupCallSession` and `LiveKitBackend`. It uses none of the codecs under test; what it has of this package is the door
that gets Olm payloads past matrix-nio, and the sync.
"""

import asyncio
import base64
import math
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from mlsrtc.adapters.nio import NioTransport
from mlsrtc.adapters.nio.channel import NioChannel
from mlsrtc.adapters.nio.olm_send import SendEncrypted
from mlsrtc.testing.devices import TestDevice
from mlsrtc.testing.synapse import Synapse
from mlsrtc.wire.incoming import RoomEvent, ToDevice

MEMBER = "com.famedly.call.member"
KEYS = f"{MEMBER}.encryption_keys"
REQUEST = f"{MEMBER}.encryption_keys_request"
BUMP_MS = 6 * 60_000  # expireTsBumpDuration
RING = 16  # keyRingSize; LiveKit's default, beyond which a frame is dropped

Participant = tuple[str, str]
"""CallParticipant: user and device."""


@dataclass
class DartPeer:
    """One device in a group call of a room. The SDK's pace is 4 s (leave), 8 s (join) and 4 s (use): here it is
    quicker, so that a test need not wait. `silent`: it hands out no key unless it is asked."""

    synapse: Synapse
    device: TestDevice
    room_id: str
    call_id: str = ""
    leave_delay: float = 0.5
    join_delay: float = 2.0
    use_delay: float = 0.5
    session_id: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(16)).decode())
    keys: dict[Participant, dict[int, bytes]] = field(default_factory=dict)
    participants: set[Participant] = field(default_factory=set)
    entered: bool = False
    silent: bool = False
    index: int = 0  # that it sends under
    latest: int = 0
    received: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    events: dict[str, RoomEvent] = field(default_factory=dict)  # the state of its type, by state key
    _transport: NioTransport = field(init=False)
    _counter: int = 0
    _made_at: float = -math.inf
    _rotation: asyncio.Task[None] | None = None
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def me(self) -> Participant:
        return self.device.account.user_id, self.device.account.device_id

    @property
    def key(self) -> bytes:
        """What it sends under."""
        return self.keys[self.me][self.index]

    # -- GroupCallSession ----------------------------------------------------------------------------------------------

    async def enter(self) -> None:
        """`fetchOrCreateGroupCall`, which hands the key out before (`preShareKey`), and `enter`: the member event."""
        await self.look()
        await self._make_key(delayed=False)
        await self.send_member_event()
        self.entered = True
        await self.look()

    async def leave(self) -> None:
        """`leave`: out of the member event; its own keys are forgotten, those of the others kept."""
        self.entered = False
        if self._rotation is not None:
            self._rotation.cancel()
        standing = await self._standing()
        await self._put([one for one in standing if (one["call_id"], one["device_id"]) != (self.call_id, self.me[1])])
        self.keys.pop(self.me, None)
        self.index = self.latest = 0
        self._made_at = -math.inf

    async def send_member_event(self) -> None:
        """`updateFamedlyCallMemberStateEvent`: the entries of the user's other devices as the SDK reads them."""
        others = [one for one in await self._standing() if one["device_id"] != self.me[1]]
        backend = {"type": "livekit", "livekit_service_url": "https://focus.test", "livekit_alias": self.room_id}
        ours = {
            "call_id": self.call_id,
            "application": "m.call",
            "scope": "m.room",
            "foci_active": [backend],
            "device_id": self.me[1],
            "event_id": None,
            "expires_ts": _now_ms() + BUMP_MS,
            "expires": 7_200_000,
            "membershipID": self.session_id,
        }
        await self._put([*others, ours])

    async def look(self) -> None:
        """`onMemberStateChanged`: who joined and who left since the last time."""
        now = {
            (user, one["device_id"])
            for user, one in self.memberships()
            if (one["call_id"], one["application"], one["scope"]) == (self.call_id, "m.call", "m.room")
            and one["expires_ts"] >= _now_ms() - BUMP_MS
        }
        joined, left = now - self.participants - {self.me}, self.participants - now - {self.me}
        self.participants = now
        if self.entered and joined:
            await self._make_key(delayed=True)
        if self.entered and left:
            for gone in left:
                self.keys.pop(gone, None)
            if self._rotation is not None:
                self._rotation.cancel()
            self._rotation = self._start(self._rotate())

    def memberships(self) -> list[tuple[str, dict[str, Any]]]:
        """Of all state events of the type: sender, and each entry that the SDK takes."""
        return [
            (event.sender, one)
            for event in self.events.values()
            for one in event.content.get("memberships") or []
            if _is_valid(one)
        ]

    # -- LiveKitBackend ------------------------------------------------------------------------------------------------

    async def request_key(self, of: Participant) -> None:
        """`requestEncrytionKey` (its spelling)."""
        await self._to_devices([of], REQUEST, self._call())

    async def _make_key(self, *, delayed: bool, skip_debounce: bool = False) -> None:
        """`_makeNewSenderKey`: the last key again, if it is young."""
        if not skip_debounce and time.monotonic() < self._made_at + self.join_delay:
            await self._send_key(self.latest)
            return
        index, self._counter = self._counter % RING, self._counter + 1
        self.keys.setdefault(self.me, {})[index] = secrets.token_bytes(32)
        self.latest, self._made_at = index, time.monotonic()
        await self._send_key(index)
        if delayed:
            self._start(self._use(index))
        else:
            self.index = index

    async def _use(self, index: int) -> None:
        await asyncio.sleep(self.use_delay)
        self.index = index

    async def _rotate(self) -> None:
        await asyncio.sleep(self.leave_delay)
        await self._make_key(delayed=True, skip_debounce=True)

    async def _send_key(self, index: int, to: list[Participant] | None = None) -> None:
        if index not in self.keys.get(self.me, {}):
            await self._make_key(delayed=False, skip_debounce=True)
            return
        text = base64.b64encode(self.keys[self.me][index]).decode()
        content = {"keys": [{"index": index, "key": text}], "call_id": self.call_id, **self._call()}
        if to is None:
            to = [] if self.silent else [one for one in self.participants if one != self.me]
        await self._to_devices(to, KEYS, content)

    async def _on_keys(self, sender: Participant, content: Mapping[str, Any]) -> None:
        """`onCallEncryption`."""
        for key in content["keys"]:
            assert isinstance(key["index"], int)
            assert 0 <= key["index"] < RING, "no place in the key ring"
            self.keys.setdefault(sender, {})[key["index"]] = base64.b64decode(key["key"], validate=True)

    async def _on_request(self, sender: Participant, content: Mapping[str, Any]) -> None:
        """`onCallEncryptionKeyRequest`: who has a membership under its user's state key is answered."""
        event = self.events.get(sender[0])
        entries = [one for one in (event.content.get("memberships") or [] if event else []) if _is_valid(one)]
        if any((one["call_id"], one["device_id"]) == (self.call_id, sender[1]) for one in entries):
            await self._send_key(self.latest, [sender])

    def _call(self) -> dict[str, Any]:
        return {"conf_id": self.call_id, "device_id": self.me[1], "room_id": self.room_id}

    # -- the homeserver ------------------------------------------------------------------------------------------------

    async def _to_devices(self, to: list[Participant], kind: str, content: dict[str, Any]) -> None:
        if to:
            request = SendEncrypted(secrets.token_hex(8), kind, dict.fromkeys(to, content))
            await self._transport._olm.send(request)

    async def _standing(self) -> list[dict[str, Any]]:
        """`getCallMembershipsForUser`, from the server: the SDK reads what its sync has brought."""
        reply = await self.synapse.request("GET", self._path(), token=self.device.account.access_token)
        found = reply.body.get("memberships", []) if reply.status == 200 else []
        # What the SDK writes of another's entry is what it has read of it.
        known = ("call_id", "application", "scope", "device_id", "expires_ts", "membershipID", "foci_active")
        return [{name: one.get(name) for name in known} | {"expires": 7_200_000} for one in found if _is_valid(one)]

    async def _put(self, memberships: list[dict[str, Any]]) -> None:
        body = {"memberships": memberships}
        await self.synapse.demand("PUT", self._path(), token=self.device.account.access_token, body=body)

    def _path(self) -> str:
        return f"/_matrix/client/v3/rooms/{quote(self.room_id)}/state/{MEMBER}/{quote(self.me[0], safe='')}"

    async def _watch(self, channel: NioChannel) -> None:
        while True:
            changed = False
            for value in await channel.receive():
                if isinstance(value, RoomEvent) and value.type == MEMBER:
                    self.events[str(value.state_key)] = value
                    changed = True
                elif isinstance(value, ToDevice) and value.type in (KEYS, REQUEST):
                    await self._take(value)
            if changed:
                await self.look()

    async def _take(self, event: ToDevice) -> None:
        if event.content["conf_id"] != self.call_id:
            return
        # The SDK goes by what the event claims; an honest sender claims what Olm says.
        assert event.sender_device is not None, "in the clear"
        assert event.content["device_id"] == event.sender_device, "another device than it claims"
        sender = event.sender, event.sender_device
        self.received.append((event.type, event.content))
        await (self._on_keys if event.type == KEYS else self._on_request)(sender, event.content)

    def _start(self, job: Any) -> asyncio.Task[Any]:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        return task

    @asynccontextmanager
    async def running(self) -> AsyncIterator["DartPeer"]:
        """While this is open it hears. Raises what went wrong in it."""
        async with (
            NioTransport(self.device.client) as self._transport,
            self._transport.subscribe(self.room_id, f"m.call#{self.call_id or 'ROOM'}") as channel,
        ):
            self._start(self._watch(channel))
            try:
                yield self
            finally:
                failed = [task for task in self._tasks if task.done() and not task.cancelled() and task.exception()]
                for task in self._tasks:
                    task.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.gather(*self._tasks, return_exceptions=True)
                for task in failed:
                    raise task.exception() or AssertionError


def _is_valid(one: Any) -> bool:
    """Whether the SDK takes an entry."""
    if not isinstance(one, dict):
        return False
    foci = one.get("foci_active")
    if not (isinstance(one.get("call_id"), str) and isinstance(one.get("device_id"), str)):
        return False
    if not (isinstance(one.get("expires_ts"), int) and isinstance(foci, list) and foci):
        return False
    backend = foci[0]
    names = ("livekit_service_url", "livekit_alias") if backend.get("type") == "livekit" else ()
    return backend.get("type") in ("livekit", "mesh") and all(isinstance(backend.get(name), str) for name in names)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
