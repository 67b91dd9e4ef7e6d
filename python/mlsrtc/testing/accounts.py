"""The devices of one homeserver: who is logged in, their keys, their to-device queues, who waits for news."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mlsrtc.testing.room import DeviceName
from mlsrtc.wire.encoding import decode_base64
from mlsrtc.wire.incoming import DeviceKeys, ToDevice


@dataclass(slots=True)
class Mailbox:
    """The to-device queue of one device. What was handed over stays until the device asks for more."""

    waiting: list[ToDevice] = field(default_factory=list)
    handed_over: int = 0

    def page(self, limit: int) -> list[ToDevice]:
        """The next messages; asking acknowledges what the answer before brought."""
        del self.waiting[: self.handed_over]
        page = self.waiting[:limit]
        self.handed_over = len(page)
        return page


class Accounts:
    """`directory`: every user's part of keys/query, one for all servers, as they tell each other of changes.

    `forged`: answers that this server makes up, by user. `drained`: devices that have no one-time key left.
    """

    def __init__(self, directory: dict[str, dict[str, Any]]) -> None:
        self.directory = directory
        self.forged: dict[str, Mapping[str, Any]] = {}
        self.drained: set[DeviceName] = set()
        self.mailboxes: dict[DeviceName, Mailbox] = {}  # one for each device that is logged in
        self._waiting: dict[DeviceName, Callable[[], None]] = {}

    def log_in(self, device: DeviceName, keys: Mapping[str, Any] | None = None) -> None:
        """Makes a device. `keys`: all of its user's keys, in the form of `DeviceKeys`."""
        self.mailboxes.setdefault(device, Mailbox())
        if keys is not None:
            self.directory[device[0]] = dict(keys)

    def log_out(self, device: DeviceName) -> None:
        """Ends a device: its keys and queue go, it is told nothing more, its requests get 401."""
        self.mailboxes.pop(device, None)
        self._waiting.pop(device, None)
        keys = self.directory.get(device[0])
        if keys is not None:
            left = {name: value for name, value in keys["device_keys"][device[0]].items() if name != device[1]}
            self.directory[device[0]] = keys | {"device_keys": {device[0]: left}}

    def device_keys(self, user_id: str) -> DeviceKeys:
        """What keys/query says of one user."""
        unknown: dict[str, Any] = {"device_keys": {user_id: {}}}
        return DeviceKeys(user_id, self.forged.get(user_id) or self.directory.get(user_id) or unknown)

    def device_key(self, device: DeviceName) -> bytes | None:
        """The Ed25519 key that a device truly has, 32 bytes: what Olm authenticates, whatever a server says."""
        user, name = device
        keys = self.directory.get(user, {}).get("device_keys", {}).get(user, {}).get(name)
        return None if keys is None else decode_base64(keys["keys"][f"ed25519:{name}"])

    def post(self, user_id: str, device_id: str, message: ToDevice) -> None:
        """Puts a to-device event into the queue of one device, or of all of a user's devices (``*``)."""
        for name, mailbox in self.mailboxes.items():
            if name[0] == user_id and device_id in ("*", name[1]):
                mailbox.waiting.append(message)
                wake = self._waiting.get(name)
                if wake is not None:
                    wake()

    def wait_for_news(self, device: DeviceName, wake: Callable[[], None] | None) -> None:
        """Whom to wake when there is something new for a device: its long poll. None: nobody."""
        if wake is None:
            self._waiting.pop(device, None)
        else:
            self._waiting[device] = wake

    def wake_all(self) -> None:
        """There is something new in the room."""
        for wake in tuple(self._waiting.values()):
            wake()
