"""A call of N devices on the hostile homeserver, in virtual time. For property tests, simulations and
applications.

Knows sessions only by `SessionLike` and asks nothing of what they hold: a test says with a function what
is to be compared.

    party = Party(make_session, devices=10, servers=2, random=Random(7))
    for device in party.devices:
        party.join(device.index, after=0.2 * device.index)
    party.run_until(lambda: party.agree(lambda device: device.session.epoch_id), timeout=30)
"""

from collections.abc import Callable, Hashable, Iterable, Iterator
from random import Random
from typing import TypeVar

from mlsrtc.adapters.store import MemoryStore, Store
from mlsrtc.testing.device import CrashPoint, PartyDevice, SessionFactory
from mlsrtc.testing.identities import LabUser
from mlsrtc.testing.limits import Limits
from mlsrtc.testing.network import Hostility, Latency, Network
from mlsrtc.testing.world import RoomSettings, World

T = TypeVar("T", bound=Hashable)

SERVERS = ("one.test", "two.test", "three.test", "four.test", "five.test")
STEP = 0.01  # seconds of virtual time between two looks at the condition of `run_until`


class NeverHappened(AssertionError):
    """What was waited for did not come to pass in time."""


class Party:
    """N devices in one room. Users are spread over the servers in turn, `devices_per_user` devices each.

    factory: makes a device's session. random: all chance of this run. store: makes a device's store, which
    outlives its process. network: as in `World`. Nothing happens until `run` or `run_until`.
    """

    def __init__(
        self,
        factory: SessionFactory,
        *,
        devices: int,
        random: Random,
        servers: int = 1,
        devices_per_user: int = 1,
        limits: Limits | None = None,
        latency: Latency | None = None,
        hostility: Hostility | None = None,
        room: RoomSettings | None = None,
        network: Network | None = None,
        store: Callable[[], Store] = MemoryStore,
    ) -> None:
        names = SERVERS[:servers]
        if len(names) < servers:
            raise ValueError(f"at most {len(SERVERS)} servers")
        self.world = World(
            random, servers=names, limits=limits, latency=latency, hostility=hostility, room=room, network=network
        )
        self.users: list[LabUser] = []
        self.devices: list[PartyDevice] = []
        seed = random.randbytes(32)
        for index in range(devices):
            number, turn = divmod(index, devices_per_user)
            if turn == 0:
                self.users.append(LabUser(f"@user{number:02}:{names[number % servers]}", seed))
            matrix = self.users[-1].add_device(f"DEVICE{index:02}")
            self.devices.append(PartyDevice(index, matrix, self.world, store(), factory))
        self._by_name = {device.matrix.name: device for device in self.devices}
        for device in self.devices:
            self.world.log_in(device.matrix.name, keys=device.matrix.user.keys())

    def __getitem__(self, index: int) -> PartyDevice:
        return self.devices[index]

    def __len__(self) -> int:
        return len(self.devices)

    # -- what the devices do --

    def start(self, index: int, *, after: float = 0.0) -> None:
        """Starts a device's process without joining the call (the lobby)."""
        self._later(after, self.devices[index].start)

    def join(self, index: int, *, after: float = 0.0) -> None:
        """Starts a device's process if it is down, and joins the call."""

        def act() -> None:
            self.devices[index].start()
            self.devices[index].join()

        self._later(after, act)

    def leave(self, index: int, *, after: float = 0.0) -> None:
        """Leaves the call; the process goes on and sends what it still has to."""
        self._later(after, self.devices[index].leave)

    def crash(self, index: int, at: CrashPoint = CrashPoint.NOW, *, after: float = 0.0) -> None:
        """Kills a device's process at once, or at its next seam of that kind."""
        self._later(after, lambda: self.devices[index].crash(at))

    def restart(self, index: int, *, resume: bool = False, after: float = 0.0) -> None:
        """Starts the process again with what its store holds; the session knows itself whether it was in
        the call."""
        self._later(after, lambda: self.devices[index].start(resume=resume))

    def log_out(self, index: int, *, after: float = 0.0) -> None:
        """Ends the device at its homeserver. Its process is not told otherwise than by 401."""
        name = self.devices[index].matrix.name
        self._later(after, lambda: self.world.log_out(name))

    # -- time --

    def run(self, seconds: float) -> None:
        """Lets virtual time pass, every device at work."""
        self._run_to(self.world.network.time + seconds)

    def run_until(self, condition: Callable[[], bool], *, timeout: float) -> float:
        """Lets time pass until the condition holds; returns the virtual seconds it took. Raises
        NeverHappened."""
        network = self.world.network
        start = network.time
        while not condition():
            if network.time >= start + timeout:
                raise NeverHappened(f"not in {timeout} s of virtual time: {condition}")
            self._run_to(min(start + timeout, max(network.time + STEP, network.next_moment() or 0.0)))
        return network.time - start

    def run_until_quiet(self, seconds: float, *, timeout: float) -> float:
        """Lets time pass until no device has sent anything for so long. Raises NeverHappened."""
        network = self.world.network
        return self.run_until(
            lambda: all(network.time - device.last_request >= seconds for device in self.running()),
            timeout=timeout,
        )

    # -- questions --

    def running(self) -> Iterator[PartyDevice]:
        """The devices whose process runs."""
        return (device for device in self.devices if device.running)

    def present(self) -> list[PartyDevice]:
        """The devices that run and whose application wants to be in the call."""
        return [device for device in self.devices if device.running and device.joined]

    def divided(
        self, view: Callable[[PartyDevice], T], *, among: Iterable[PartyDevice] | None = None
    ) -> dict[T, list[int]]:
        """Who sees what: each value of `view` with the indexes of the devices that have it."""
        found: dict[T, list[int]] = {}
        for device in self.present() if among is None else among:
            found.setdefault(view(device), []).append(device.index)
        return found

    def agree(self, view: Callable[[PartyDevice], T | None], *, among: Iterable[PartyDevice] | None = None) -> bool:
        """Whether all have the same value, and it is not None. Nobody agrees with nobody."""
        found = self.divided(view, among=among)
        return not found or (len(found) == 1 and None not in found)

    # -- inside --

    def _later(self, after: float, act: Callable[[], None]) -> None:
        self.world.network.after(after, act)

    def _run_to(self, moment: float) -> None:
        """Steps to a moment. Deliveries of one moment are pumped together, as one sync answer is."""
        network = self.world.network
        while (due := network.next_moment()) is not None and due <= moment:
            network.step()
            for connection in self.world.ready():
                device = self._by_name.get(connection.device)
                if device is not None and device.connection is connection:
                    device.pump()
        network.run_to(moment)
