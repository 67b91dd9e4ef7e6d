"""A real state machine in the comparison: its own sessions, on the homeserver in memory and the served network.

To put one in, give a `Machine`: how its sessions are made, and what their notices say about keys. Everything else is
done here: devices come and go as the trace says, what they send and get is counted where it passes, and the processor
time of their verbs is measured.
"""

import gc
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from mlsrtc.adapters.store import MemoryStore
from mlsrtc.outbox import Accepted, HandOver, Outcome, Request, SendEvent, SendState, SendToDevice
from mlsrtc.simulate.constants import Constant
from mlsrtc.simulate.hall import HALL
from mlsrtc.simulate.network import NetworkModel, ServedNetwork
from mlsrtc.simulate.primitives import Primitives
from mlsrtc.simulate.record import Record
from mlsrtc.simulate.trace import Stay, Trace
from mlsrtc.testing.device import PartyDevice, SessionLike
from mlsrtc.testing.limits import Limits
from mlsrtc.testing.party import Party
from mlsrtc.testing.world import RoomSettings
from mlsrtc.wire.incoming import Incoming, Now, RoomEvent, ToDevice
from mlsrtc.wire.names import STATE_MEMBER, STICKY_MEMBER

FLUSH = 10.0  # seconds that a device's process goes on after its leave
MEMBERSHIPS = (STATE_MEMBER, STICKY_MEMBER)


@dataclass(slots=True)
class Book:
    """What a machine writes into for one device. `stays`: whose stay a participation is, by whatever name the machine
    has for it; shared by all devices."""

    record: Record
    network: ServedNetwork
    stay: int
    stays: dict[Any, int]
    devices: dict[tuple[str, str], "Book"]
    ends: float = 0.0

    @property
    def now(self) -> float:
        """Seconds of the trace."""
        return self.network.time

    def past(self, user_id: str, device_id: str) -> int | None:
        """The stay of a device, if it is over."""
        book = self.devices.get((user_id, device_id))
        return book.stay if book is not None and 0 <= book.ends <= self.now else None


class Machine(Protocol):
    """A state machine with the verbs of `SessionLike`."""

    def session(self, device: PartyDevice, records: Mapping[str, bytes], now: Now) -> SessionLike:
        """The session of a device whose process starts."""

    def told(self, session: SessionLike, notice: Any, book: Book) -> None:
        """What a notice says about keys, written into the book."""

    def got(self, incoming: Incoming, book: Book) -> None:
        """What it takes to check something that came, written into the book."""

    def sent(self, request: Request, book: Book) -> None:
        """What it took to make something that was sent, and who can open it, written into the book."""


@dataclass(frozen=True, slots=True)
class Real:
    """A scheme whose own state machine runs."""

    name: str
    title: str
    note: str
    constants: Mapping[str, Constant]
    machine: Callable[[], Machine]
    encrypted: bool = False  # the room
    real: bool = True

    def play(
        self, trace: Trace, model: NetworkModel, primitives: Primitives, seed: int, marks: Sequence[float] = ()
    ) -> Record:
        """As `Scheme.play`. One collection of garbage would go through all sessions here, and through one in a process
        of its own: there is none while they play."""
        run = _Run(self, trace, model, Random(f"{self.name} {seed}"), primitives.size("olm element_call"))
        collects = gc.isenabled()
        gc.disable()
        try:
            return run.play(marks)
        finally:
            if collects:
                gc.enable()


class _Counted:
    """A session between its device and the machine; forwards every verb and looks at what passes."""

    def __init__(self, run: "_Run", inner: SessionLike, device: PartyDevice) -> None:
        self._run, self._inner, self._device = run, inner, device
        self._sent: dict[str, Request] = {}

    @property
    def _book(self) -> Book:
        return self._run.books[self._device.index]

    def join(self, now: Now) -> None:
        self._timed(lambda: self._inner.join(now))

    def leave(self, now: Now) -> None:
        self._timed(lambda: self._inner.leave(now))

    def receive(self, incoming: Incoming, now: Now) -> None:
        record = self._run.record
        if isinstance(incoming, RoomEvent | ToDevice):
            record.count("bytes_down", self._run.size(incoming))
        self._run.machine.got(incoming, self._book)
        self._timed(lambda: self._inner.receive(incoming, now))

    def tick(self, now: Now) -> None:
        self._timed(lambda: self._inner.tick(now))

    def next_timer(self) -> float | None:
        return self._inner.next_timer()

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        self._timed(lambda: self._inner.checkpoint(save))

    def outgoing(self) -> Sequence[Request]:
        requests = self._inner.outgoing()
        for request in requests:
            self._sent[request.id] = request
        return requests

    def mark_sent(self, request_id: str, outcome: Outcome, now: Now) -> None:
        request = self._sent.pop(request_id, None)
        if request is not None and isinstance(outcome, Accepted):
            self._run.count(request)
            self._run.machine.sent(request, self._book)
        self._timed(lambda: self._inner.mark_sent(request_id, outcome, now))

    def notices(self) -> Sequence[Any]:
        told = self._inner.notices()
        for notice in told:
            self._run.machine.told(self._inner, notice, self._book)
        return told

    def _timed(self, act: Callable[[], None]) -> None:
        began = time.process_time()
        try:
            act()
        finally:
            record = self._run.record
            record.session_seconds = (record.session_seconds or 0.0) + time.process_time() - began


class _Run:
    """One run of a machine."""

    def __init__(self, scheme: Real, trace: Trace, model: NetworkModel, random: Random, olm_bytes: int) -> None:
        self.machine, self.trace = scheme.machine(), trace
        self._olm_bytes = olm_bytes
        self.record = Record(session_seconds=0.0)
        self.network = ServedNetwork(random, model)
        stays: dict[Any, int] = {}
        people = 1 + max(stay.person for stay in trace.stays)
        devices: dict[tuple[str, str], Book] = {}
        self.books = {person: Book(self.record, self.network, -1, stays, devices) for person in range(people)}
        self._sizes: dict[str, int] = {}
        # Where nobody drops out, no homeserver watches over devices (MSC4140): every scheme would pay the same for it.
        drops = any(stay.drops for stay in trace.stays)
        limits = Limits(message_rate=None, max_delay_ms=Limits().max_delay_ms if drops else None)
        self.party = Party(
            self._session,
            devices=people,
            random=random,
            servers=model.homeservers,
            limits=limits,
            network=self.network,
            room=RoomSettings(encrypted=scheme.encrypted),
        )
        devices.update({device.matrix.name: self.books[device.index] for device in self.party.devices})

    def _session(self, device: PartyDevice, records: Mapping[str, bytes], now: Now) -> SessionLike:
        return _Counted(self, self.machine.session(device, records, now), device)

    def play(self, marks: Sequence[float]) -> Record:
        """Plays the trace to its end."""
        for moment in marks:
            self.network.at(moment, lambda: self.record.mark(self.network.worked))
        before: dict[int, Stay] = {}
        for number, stay in enumerate(self.trace.stays):
            self._plan(number, stay, before.get(stay.person))
            before[stay.person] = stay
        self.party.run(self.trace.seconds - self.network.time)
        self.record.homeserver_seconds = self.network.worked
        return self.record

    def _plan(self, number: int, stay: Stay, last: Stay | None) -> None:
        person, party, at = stay.person, self.party, self.network.at
        device = party[person]
        lobby = max(0.0, stay.begins - HALL["lobby"].value)
        if last is None or (not last.drops and lobby > last.ends + FLUSH):
            at(lobby, device.start)

        def quit() -> None:
            """The process ends that has left; another call of the application begins with an empty store."""
            if device.left:
                device.crash()
                device.left, device.store = False, MemoryStore()

        def join() -> None:
            quit()
            self.books[person].stay, self.books[person].ends = number, -1.0 if stay.stays else stay.ends
            device.start()
            device.join()

        at(max(0.0, stay.begins), join)
        if stay.stays:
            return
        if stay.drops:
            at(stay.ends, device.crash)
            return
        at(stay.ends, device.leave)

        at(stay.ends + FLUSH, quit)

    # -- counting --

    def count(self, request: Request) -> None:
        """A request that was accepted."""
        record = self.record
        if isinstance(request, HandOver):
            record.count("to_device", len(request.devices))
            record.count("bytes_up", len(request.devices) * self._olm_bytes)
        if not isinstance(request, SendEvent | SendState | SendToDevice):
            return
        record.count("to_device" if isinstance(request, SendToDevice) else "room_events")
        if isinstance(request, SendState | SendEvent) and request.type in MEMBERSHIPS:
            record.count("memberships")
        size = _json_size(request.content)
        if not isinstance(request, SendState):
            size += sum(map(len, request.attachments.values()))
        record.count("bytes_up", size)

    def size(self, incoming: RoomEvent | ToDevice) -> int:
        """Bytes of content that came."""
        if isinstance(incoming, ToDevice):
            return _json_size(incoming.content) if incoming.sender_device is None else self._olm_bytes
        size = self._sizes.get(incoming.event_id)
        if size is None:
            size = self._sizes[incoming.event_id] = _json_size(incoming.content)
        return size


def _json_size(content: Any) -> int:
    return len(json.dumps(content, separators=(",", ":"), default=dict))
