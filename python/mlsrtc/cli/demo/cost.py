"""What the demo's call sent, and what the same changes would have cost with one Olm message per pair of devices.

The size of an Olm message is not a figure from somewhere: one key event of today's format is encrypted here by
vodozemac and measured as the homeserver would receive it.
"""

import json
from collections.abc import Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mlsrtc.adapters.transport import Channel, Transport
from mlsrtc.outbox import Outcome, RateLimited, Request, ScheduleLeave, SendEvent, SendState, SendToDevice
from mlsrtc.wire import names
from mlsrtc.wire.incoming import Incoming, RoomEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass(slots=True)
class Traffic:
    """What all devices of the demo sent, counted where it leaves: events and bytes of JSON content by event type."""

    events: dict[str, int] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    uploaded: int = 0  # bytes of attachments
    requests: int = 0
    rate_limited: int = 0

    def count(self, request: Request, outcome: Outcome) -> None:
        """One request and what became of it."""
        self.requests += 1
        if isinstance(outcome, RateLimited):
            self.rate_limited += 1
            return
        if isinstance(request, SendEvent | SendState | SendToDevice):
            size = len(json.dumps(request.content, separators=(",", ":")))
            self.events[request.type] = self.events.get(request.type, 0) + 1
            self.sizes[request.type] = self.sizes.get(request.type, 0) + size
        if isinstance(request, SendEvent):
            self.uploaded += sum(map(len, request.attachments.values()))

    @property
    def commits(self) -> int:
        """Commit events sent."""
        return self.events.get(names.COMMIT, 0)

    @property
    def words(self) -> int:
        """Word events sent."""
        return self.events.get(names.WORD, 0)

    @property
    def total_bytes(self) -> int:
        """Content and attachments of everything sent."""
        return sum(self.sizes.values()) + self.uploaded


class _CountedChannel:
    def __init__(self, channel: Channel, traffic: Traffic) -> None:
        self._channel = channel
        self._traffic = traffic

    @property
    def room_id(self) -> str:
        return self._channel.room_id

    async def receive(self, timeout: float | None = None) -> Sequence[Incoming]:
        return await self._channel.receive(timeout)

    def __aiter__(self) -> "AsyncIterator[Incoming]":
        return self._channel.__aiter__()

    async def send(self, request: Request) -> Outcome:
        outcome = await self._channel.send(request)
        if not isinstance(request, ScheduleLeave):
            self._traffic.count(request, outcome)
        return outcome

    async def state(self) -> Sequence[RoomEvent]:
        return await self._channel.state()


class CountedTransport:
    """A transport whose channels count what leaves."""

    def __init__(self, transport: Transport, traffic: Traffic) -> None:
        self._transport = transport
        self._traffic = traffic

    @property
    def user_id(self) -> str:
        """Our Matrix user."""
        return self._transport.user_id

    @property
    def device_id(self) -> str:
        """Our Matrix device."""
        return self._transport.device_id

    @asynccontextmanager
    async def subscribe(self, room_id: str, slot_id: str) -> "AsyncIterator[Channel]":
        """A counted channel."""
        async with self._transport.subscribe(room_id, slot_id) as channel:
            yield _CountedChannel(channel, self._traffic)


def olm_message_bytes(room_id: str, user_id: str, device_id: str) -> int:
    """The size of one key event of today's format for one recipient, Olm-encrypted in an established session."""
    import vodozemac

    ours, theirs = vodozemac.Account(), vodozemac.Account()
    theirs.generate_one_time_keys(1)
    one_time_key = next(iter(theirs.one_time_keys.values()))
    outbound = ours.create_outbound_session(theirs.curve25519_key, one_time_key)
    first = outbound.encrypt(b"first").to_pre_key()
    assert first is not None
    inbound, _ = theirs.create_inbound_session(ours.curve25519_key, first)
    outbound.decrypt(inbound.encrypt(b"answer"))
    payload: dict[str, Any] = {
        "type": "io.element.call.encryption_keys",
        "content": {
            "keys": {"index": 7, "key": "A" * 44},
            "member": {"id": f"{user_id}:{device_id}", "claimed_device_id": device_id},
            "room_id": room_id,
            "session": {"call_id": "", "application": "m.call", "scope": "m.room"},
            "sent_ts": 1_750_000_000_000,
        },
        "sender": user_id,
        "recipient": user_id,
        "keys": {"ed25519": "A" * 43},
        "recipient_keys": {"ed25519": "A" * 43},
    }
    kind, ciphertext = outbound.encrypt(json.dumps(payload).encode()).to_parts()
    content = {
        "algorithm": "m.olm.v1.curve25519-aes-sha2",
        "sender_key": "A" * 43,
        "ciphertext": {"A" * 43: {"type": kind, "body": _base64(ciphertext)}},
    }
    return len(json.dumps({user_id: {device_id: content}}, separators=(",", ":")))


def _base64(value: bytes) -> str:
    from mlsrtc.wire.encoding import encode_base64

    return encode_base64(value)
