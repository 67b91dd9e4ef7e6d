"""The Olm door of a nio client: to-device events of any type, encrypted from one device to another. One per client.

What comes in is told with the device that Olm authenticates, or with the reason why it is not believed. What goes out
is encrypted to each device for itself, and sent once; what became of each is returned, and never repeated here.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import nio
from nio.crypto import OlmDevice

from mlsrtc.adapters.nio import olm_keys, olm_wedged
from mlsrtc.adapters.nio.http import Failed
from mlsrtc.adapters.nio.olm_guard import Guard, decrypt
from mlsrtc.adapters.nio.olm_payload import Payload, SenderDevice, check_sender, decode_payload
from mlsrtc.adapters.nio.olm_send import Fate, SendEncrypted, send
from mlsrtc.adapters.nio.unforeseen import Logged
from mlsrtc.errors import LocalProtocolError, RemoteProtocolError
from mlsrtc.outbox import RateLimited
from mlsrtc.wire.names import DUMMY

WAITING_KEPT = 256  # messages whose sender's device keys are asked for; more are refused, oldest first
RETRY_MIN = 0.1  # seconds between two tries, whatever the homeserver says
QUERY_TRIES = 3  # for the device keys of a sender, as long as the homeserver asks for patience

_NIOS_OWN = frozenset({"m.room_key", "m.forwarded_room_key", DUMMY})

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """An Olm-encrypted event, from a device that its user's homeserver knows and whose session it came by."""

    device: SenderDevice
    type: str
    content: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotOpened:
    """An Olm-encrypted event that could not be decrypted, or is not what it says.

    sender: the user that the homeserver says sent it. sender_key: the Curve25519 key in its envelope. type: of a
    payload that was for us; only then is the key proven.
    reason: ``malformed``, ``not_for_us``, ``bad_ciphertext``; ``cannot_decrypt`` (no session opens it: either side has
    lost one; a new session is made, and what was in the event is lost); those of `decode_payload` and `check_sender`;
    ``unknown_device`` (the sender has no device with this key), ``ambiguous_device`` (it has two),
    ``keys_unavailable`` (the homeserver could not say), ``flooded`` (too many wait for an answer).
    """

    sender: str
    sender_key: str
    reason: str
    type: str | None = None


Told: TypeAlias = Opened | NotOpened
"""What an Olm-encrypted to-device event came to."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """Whose device is not known yet. payload None: it could not be decrypted, and its session is to be made anew."""

    sender: str
    sender_key: str
    payload: Payload | None = field(repr=False)


class OlmDoor:
    """tell: gets what comes in, from the sync loop or a task; it must not raise. per_put: messages in one request."""

    def __init__(self, client: nio.AsyncClient, tell: Callable[[Told], None], *, per_put: int = 20) -> None:
        self._client = client
        self._tell = tell
        self._per_put = per_put
        self._guard: Guard | None = None
        self._waiting: list[_Waiting] = []
        self._wedged: list[OlmDevice] = []
        self._lacks_fallback_key = False
        self._errands: asyncio.Task[None] | None = None
        self._claiming = asyncio.Lock()

    def open(self) -> None:
        """Listen; nothing if the client has no device keys. Raises LocalProtocolError if there is a door already."""
        if self._client.olm is not None:
            guard = Guard(self._client, self._take, self._malformed)
            guard.open()
            self._guard = guard

    async def close(self) -> None:
        """Listen no more. What waits for the keys of its sender's device is dropped."""
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        if self._errands is not None:
            self._errands.cancel()
            await asyncio.gather(self._errands, return_exceptions=True)
        self._waiting.clear()
        self._wedged.clear()

    async def send(self, request: SendEncrypted) -> Mapping[olm_keys.Recipient, Fate]:
        """Encrypt and send, once. What became of it for each device.

        Raises LocalProtocolError if the client was made without end-to-end encryption. A bad network raises nothing.
        """
        if self._client.olm is None:
            raise LocalProtocolError("what is Olm-encrypted needs a nio client with end-to-end encryption")
        return await send(self._client, request, per_put=self._per_put, claiming=self._claiming)

    async def learn(self, users: Collection[str]) -> None:
        """Let nio know the devices of these users, as far as their homeservers answer."""
        await self._ask(users)

    def devices_changed(self, user_ids: tuple[str, ...]) -> None:
        """`device_lists` of a sync: nio looks at the members of encrypted rooms only, and a call may be in another."""
        olm = self._client.olm
        if olm is not None:
            olm.add_changed_users({user for user in user_ids if user in olm.tracked_users})

    def fallback_keys(self, unused: object) -> None:
        """`device_unused_fallback_key_types` of a sync; absent where the homeserver does not know them."""
        olm = self._client.olm
        if olm is not None and olm.account.shared and isinstance(unused, list) and olm_keys.ONE_TIME_KEY not in unused:
            self._lacks_fallback_key = True
            self._start()

    # ---- what comes in ----

    def _take(self, event: nio.OlmEvent) -> Any:
        olm = self._client.olm
        payload: Payload | None = None
        try:
            plaintext = decrypt(olm, event)
            key = olm.account.identity_keys["ed25519"]
            payload = decode_payload(plaintext, sender=event.sender, recipient=olm.user_id, recipient_key=key)
        except RemoteProtocolError as error:
            self._refuse(event.sender, event.sender_key, error.reason)
            if error.reason != "cannot_decrypt":
                return None
        waiting = _Waiting(event.sender, event.sender_key, payload)
        known = bool(self._matching(waiting))
        # A dummy is told as well, if it is of a device that we may have written to.
        for_nio_alone = _NIOS_OWN - {DUMMY} if known else _NIOS_OWN
        if payload is not None and payload.type in for_nio_alone and payload.signing_key is not None:
            return self._hand_to_nio(waiting, payload.raw)
        if known:
            return self._go_on(waiting)
        self._waiting.append(waiting)
        if len(self._waiting) > WAITING_KEPT:
            self._give_up(self._waiting.pop(0), "flooded")
        self._start()
        return None

    def _malformed(self, source: Mapping[str, Any]) -> None:
        sender, content = source.get("sender"), source.get("content")
        key = content.get("sender_key") if isinstance(content, dict) else None
        self._refuse(str(sender), key if isinstance(key, str) else "", "malformed")

    def _refuse(self, sender: str, sender_key: str, reason: str, type: str | None = None) -> None:
        logger.info("an Olm event of %s is not taken: %s", sender, reason)
        self._tell(NotOpened(sender, sender_key, reason, type))

    def _hand_to_nio(self, waiting: _Waiting, raw: Mapping[str, Any]) -> Any:
        try:
            return self._client.olm._handle_olm_event(waiting.sender, waiting.sender_key, dict(raw))
        except Exception:
            # nio raises whatever it comes upon in a key that is none.
            self._refuse(waiting.sender, waiting.sender_key, "malformed", str(raw["type"]))
            return None

    def _matching(self, waiting: _Waiting) -> list[SenderDevice]:
        """The sender's devices with the key of the session."""
        return [
            SenderDevice(device.user_id, device.device_id, device.ed25519, device.curve25519)
            for device in olm_keys.known_devices(self._client.olm, waiting.sender)
            if device.curve25519 == waiting.sender_key
        ]

    def _go_on(self, waiting: _Waiting, unknown: str = "unknown_device") -> Any:
        """What is to be known of the sender's devices is known: believe the message, or say why not."""
        with Logged(logger, f"an Olm event of {waiting.sender} is not taken"):
            return self._judge(waiting, unknown)
        self._give_up(waiting, "malformed")
        return None

    def _judge(self, waiting: _Waiting, unknown: str) -> Any:
        matching, payload = self._matching(waiting), waiting.payload
        if payload is None:
            device = olm_wedged.mark(self._client.olm, waiting.sender, waiting.sender_key)
            if device is not None:
                self._wedged.append(device)
                self._start()
        elif not matching:
            self._give_up(waiting, unknown)
        elif len(matching) > 1:
            # Any device can publish another one's key as its own; who of them holds it nobody can tell.
            self._give_up(waiting, "ambiguous_device")
        else:
            return self._believe(waiting, payload, matching[0])
        return None

    def _believe(self, waiting: _Waiting, payload: Payload, device: SenderDevice) -> Any:
        try:
            check_sender(payload, device)
        except RemoteProtocolError as error:
            self._give_up(waiting, error.reason)
            return None
        if payload.type == DUMMY:
            self._tell(Opened(device, payload.type, payload.content))
        if payload.type in _NIOS_OWN:
            # nio asks for what some SDKs leave out.
            left_out = {"keys": {"ed25519": device.ed25519}, "sender_device": device.device_id}
            return self._hand_to_nio(waiting, {**left_out, **payload.raw})
        self._tell(Opened(device, payload.type, payload.content))
        return None

    def _give_up(self, waiting: _Waiting, reason: str) -> None:
        if waiting.payload is not None:  # else it was told before
            self._refuse(waiting.sender, waiting.sender_key, reason, waiting.payload.type)

    # ---- errands: asking for keys, mending sessions, giving out a key ----

    def _start(self) -> None:
        if self._errands is None or self._errands.done():
            self._errands = asyncio.create_task(self._run_errands(), name="mlsrtc olm")

    async def _run_errands(self) -> None:
        while self._waiting or self._wedged or self._lacks_fallback_key:
            with Logged(logger, "an errand for Olm failed"):
                try:
                    await self._run_errand()
                except Failed as failed:
                    logger.info("no new fallback key: %s", failed.outcome)

    async def _run_errand(self) -> None:
        if self._wedged:
            async with self._claiming:
                await olm_wedged.mend(self._client, self._wedged.pop(0))
            return
        if not self._waiting:
            try:
                await olm_keys.upload_fallback_key(self._client)
            finally:
                self._lacks_fallback_key = False  # the next sync says whether it still does
            return
        waiting, self._waiting = self._waiting, []
        users: Collection[str] = {one.sender for one in waiting}
        unanswered = users
        with Logged(logger, "the device keys of who has sent something are not asked for"):
            unanswered = await self._ask(users)
        for one in waiting:
            self._go_on(one, "keys_unavailable" if one.sender in unanswered else "unknown_device")

    async def _ask(self, users: Collection[str]) -> Collection[str]:
        """Ask for the devices of these users. Returns those that were not answered for."""
        for _ in range(QUERY_TRIES):
            try:
                return await olm_keys.query(self._client, users)
            except Failed as failed:
                if not isinstance(failed.outcome, RateLimited):
                    break
                await asyncio.sleep(max(failed.outcome.retry_after_ms / 1000, RETRY_MIN))
        return users
