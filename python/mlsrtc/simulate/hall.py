"""The hall in which the models of schemes play a trace: devices, one room, to-device queues, on the served network.

The hall moves memberships, messages and time, counts what moves, and writes down who gets which key. What a device does
about it is its `Peer`'s. A device whose stay is over is taken to get what is still sent to it.
"""

from collections.abc import Callable, Sequence
from random import Random

from mlsrtc.simulate.constants import Constant, assumed
from mlsrtc.simulate.network import NetworkModel, ServedNetwork
from mlsrtc.simulate.peer import SERVER, Gone, Joined, Peer, RoomNews, Said
from mlsrtc.simulate.primitives import Primitives
from mlsrtc.simulate.record import Record
from mlsrtc.simulate.trace import Trace
from mlsrtc.testing.network import Work
from mlsrtc.testing.party import SERVERS

HALL: dict[str, Constant] = {
    "lobby": assumed(3.0, "s", "between opening the call and Join; only who shares keys before it is touched"),
    "withdrawn, least": Constant(14.0, "s", "Element Call: the delayed leave of 18 s is restarted every 4 s"),
    "withdrawn, most": Constant(18.0, "s", "Element Call: the delayed leave of 18 s is restarted every 4 s"),
}


class _Seat:
    """The hall's side of one device: where its sync stands and what waits for it."""

    __slots__ = ("mailbox", "peer", "polling", "position", "server")

    def __init__(self, peer: Peer, server: str, position: int) -> None:
        self.peer = peer
        self.server = server
        self.position = position
        self.mailbox: list[tuple[int, object, int]] = []
        self.polling = False  # a sync answer is on its way


class Hall:
    """One run of a model. `make`: the peer of one stay."""

    def __init__(
        self,
        trace: Trace,
        model: NetworkModel,
        primitives: Primitives,
        random: Random,
        make: Callable[["Hall", int], Peer],
    ) -> None:
        self.trace = trace
        self.primitives = primitives
        self.network = ServedNetwork(random, model)
        self.random = random
        self.record = Record()
        self.on_room: Callable[[RoomNews], None] = lambda news: None  # what a server that takes part sees first
        self._make = make
        self._names = SERVERS[: model.homeservers]
        self._logs: dict[str, list[RoomNews]] = {name: [] for name in self._names}
        self._memberships: dict[str, dict[int, None]] = {name: {} for name in self._names}
        self._page = int(model["sync page"])
        self._membership_bytes = primitives.size("membership")
        self.seats: dict[int, _Seat] = {}
        self._listening: dict[str, dict[int, _Seat]] = {name: {} for name in self._names}

    # -- the whole run --

    def play(self, marks: Sequence[float] = ()) -> Record:
        """Plays the trace to its end."""
        for moment in marks:
            self.network.at(moment, lambda: self.record.mark(self.network.worked))
        settled = [number for number, stay in enumerate(self.trace.stays) if stay.begins < 0]
        for number in settled:
            self._seat(number)
        for members in self._memberships.values():
            members.update(dict.fromkeys(settled))
        for number in settled:
            peer = self.seats[number].peer
            peer.others = {other for other in settled if other != number}
            peer.settled()
        before: dict[int, int] = {}
        for number, stay in enumerate(self.trace.stays):
            if number not in self.seats:
                last = before.get(stay.person)
                self.network.at(max(0.0, stay.begins - HALL["lobby"].value), lambda number=number: self._lobby(number))  # type: ignore[misc]
                self.network.at(stay.begins, lambda number=number, last=last: self._join(number, last))  # type: ignore[misc]
            if not stay.stays:
                end = self._drop if stay.drops else self._leave
                self.network.at(stay.ends, lambda number=number, end=end: end(number))  # type: ignore[misc]
            before[stay.person] = number
        self.network.run_to(self.trace.seconds)
        self.record.homeserver_seconds = self.network.worked
        return self.record

    # -- what peers ask for --

    @property
    def now(self) -> float:
        """Seconds of the trace."""
        return self.network.time

    def to_device(
        self,
        sender: int,
        recipients: Sequence[int],
        what: object,
        size: int,
        *,
        key: bool = False,
        batch: int | None = None,
    ) -> None:
        """Sends a message of this size to each of these devices. `key`: it is a key, named by `what`. `batch`: at most
        so many in one request, and the next one after the answer."""
        if recipients:
            self.record.count("to_device", len(recipients))
            self.record.count("bytes_up", len(recipients) * size)
            self._send_batch(sender, recipients, (what, size, key), batch or len(recipients))

    def _send_batch(
        self, sender: int, recipients: Sequence[int], message: tuple[object, int, bool], batch: int
    ) -> None:
        now, rest = recipients[:batch], recipients[batch:]
        server, network = self.seats[sender].server, self.network

        def act() -> None:
            self._post(server, sender, now, *message)
            if rest:
                network.after(network.draw(network.latency.client), answered)

        def answered() -> None:
            self._send_batch(sender, rest, message, batch)

        self._up(server, Work.TO_DEVICE, len(now), act)

    def say(self, sender: int, what: object, size: int) -> None:
        """Sends a room event."""
        self.record.count("room_events")
        self.record.count("bytes_up", size)
        server = self.seats[sender].server
        self._up(server, Work.EVENT, 0, lambda: self._publish(server, Said(sender, what, size)))

    def ask(self, sender: int, act: Callable[[], None], size: int) -> None:
        """Sends a request to the server that takes part in the scheme, the first one: `act` is its arrival there."""
        self.record.count("requests")
        self.record.count("bytes_up", size)
        home, first = self.seats[sender].server, self._names[0]
        if home == first:
            self._up(home, Work.OTHER, 1, act)
        else:
            self._up(home, Work.OTHER, 1, lambda: self.network.carry(home, first, act))

    def announce(self, what: object, size: int, *, work: Work = Work.EVENT) -> None:
        """The server that takes part tells all something, in the room."""
        self.record.count("room_events")
        server = self._names[0]
        self.network.serve(server, work, 0, lambda: self._publish(server, Said(SERVER, what, size)))

    def reply(self, recipient: int, what: object, size: int) -> None:
        """The server that takes part tells one device something."""
        self._post(self._names[0], SERVER, [recipient], what, size, False)

    # -- comings and goings --

    def _seat(self, number: int) -> _Seat:
        stays = self.trace.stays
        person = stays[number].person
        server = self._names[person % len(self._names)]
        peer = self._make(self, number)
        # An earlier stay of the same device is none of the others.
        peer.others = {stay for stay in self._memberships[server] if stays[stay].person != person}
        seat = self.seats[number] = _Seat(peer, server, len(self._logs[server]))
        self._listening[server][number] = seat
        return seat

    def _lobby(self, number: int) -> None:
        self._seat(number).peer.lobby()

    def _join(self, number: int, last: int | None) -> None:
        seat = self.seats[number]
        seat.peer.join()
        # The state of the device that dropped out and is back is overwritten: that is its end, and the beginning.
        returns = last is not None and self.trace.stays[last].drops

        def act() -> None:
            if returns and last in self._memberships[seat.server]:
                self._publish(seat.server, Gone(last, number))
            else:
                self._publish(seat.server, Joined(number))

        self._member(seat.server, act)

    def _leave(self, number: int) -> None:
        seat = self.seats[number]
        seat.peer.leave()
        self._close(number)
        self._member(seat.server, lambda: self._publish(seat.server, Gone(number)))

    def _drop(self, number: int) -> None:
        seat = self.seats[number]
        self._close(number)
        wait = self.network.draw((HALL["withdrawn, least"].value, HALL["withdrawn, most"].value))

        def withdraw() -> None:
            if number in self._memberships[seat.server]:
                self._publish(seat.server, Gone(number))

        self.network.after(wait, lambda: self.network.serve(seat.server, Work.STATE, 0, withdraw))

    def _close(self, number: int) -> None:
        seat = self.seats[number]
        seat.peer.over = True
        del self._listening[seat.server][number]

    def _member(self, server: str, act: Callable[[], None]) -> None:
        self.record.count("room_events")
        self.record.count("memberships")
        self.record.count("bytes_up", self._membership_bytes)
        self._up(server, Work.STATE, 0, act)

    # -- the homeservers --

    def _up(self, server: str, work: Work, messages: int, act: Callable[[], None]) -> None:
        network = self.network
        network.after(network.draw(network.latency.client), lambda: network.serve(server, work, messages, act))

    def _publish(self, server: str, news: RoomNews) -> None:
        self._take_in(server, news)
        for other in self._names:
            if other != server:
                self._federate(server, other, news)

    def _federate(self, server: str, other: str, news: RoomNews) -> None:
        network = self.network

        def arrive() -> None:
            network.serve(other, Work.FEDERATED, 0, lambda: self._take_in(other, news))

        network.carry(server, other, arrive)

    def _take_in(self, server: str, news: RoomNews) -> None:
        members = self._memberships[server]
        match news:
            case Joined(stay):
                members[stay] = None
            case Gone(stay, next_stay):
                members.pop(stay, None)
                if next_stay is not None:
                    members[next_stay] = None
        if server == self._names[0]:
            self.on_room(news)
        self._logs[server].append(news)
        work = Work.SYNC_EVENT if isinstance(news, Said) else Work.SYNC_STATE
        for seat in self._listening[server].values():
            self._news(seat, work)

    def _post(self, server: str, sender: int, recipients: Sequence[int], what: object, size: int, key: bool) -> None:
        seats, here = self.seats, []
        elsewhere: dict[str, list[int]] = {}
        for recipient in recipients:
            home = seats[recipient].server
            if home == server:
                here.append(recipient)
            else:
                elsewhere.setdefault(home, []).append(recipient)
        self._deliver(here, sender, what, size, key)
        for other, some in elsewhere.items():
            self.network.carry(server, other, lambda some=some: self._deliver(some, sender, what, size, key))  # type: ignore[misc]

    def _deliver(self, recipients: Sequence[int], sender: int, what: object, size: int, key: bool) -> None:
        seats, message = self.seats, (sender, what, size)
        for recipient in recipients:
            seat = seats[recipient]
            if seat.peer.over:
                if key:  # It is gone, and the key is under way to it: it is taken to have it.
                    self.record.holds(recipient, what, self.network.time)
                continue
            seat.mailbox.append(message)
            if not seat.polling:
                self._news(seat, Work.SYNC_TO_DEVICE)

    def _news(self, seat: _Seat, work: Work) -> None:
        if seat.polling:
            return
        seat.polling = True
        network = self.network

        def answer() -> None:
            network.after(network.draw(network.latency.client), lambda: self._sync(seat))

        network.serve(seat.server, work, 0, answer)

    def _sync(self, seat: _Seat) -> None:
        seat.polling = False
        peer, record = seat.peer, self.record
        if peer.over:
            return
        log, me, now = self._logs[seat.server], peer.me, self.network.time
        news, seat.position = log[seat.position :], len(log)
        page = seat.mailbox[: self._page]
        del seat.mailbox[: self._page]
        if seat.mailbox:
            self._news(seat, Work.SYNC_TO_DEVICE)
        if page:
            held = record.held
            for _, what, _ in page:
                if type(what) is tuple:  # A key's name: see `key_name`.
                    held[what].setdefault(me, now)
            record.counts["bytes_down"] += sum(size for _, _, size in page)
        joined, left = self._memberships_of(peer, news)
        if joined or left:
            peer.changed(joined, left)
        for item in news:
            if isinstance(item, Said):
                record.counts["bytes_down"] += item.size
                peer.said(item.sender, item.what)
            else:
                record.counts["bytes_down"] += self._membership_bytes
        if page:
            peer.received([(sender, what) for sender, what, _ in page])

    def _memberships_of(self, peer: Peer, news: Sequence[RoomNews]) -> tuple[list[int], list[int]]:
        joined, left = [], []
        for item in news:
            match item:
                case Joined(stay):
                    if stay != peer.me and stay not in peer.others:
                        joined.append(stay)
                case Gone(stay, next_stay):
                    if stay in joined:
                        joined.remove(stay)
                    elif stay in peer.others:
                        left.append(stay)
                    if next_stay is not None and next_stay != peer.me:
                        joined.append(next_stay)
        peer.others.update(joined)
        peer.others.difference_update(left)
        return joined, left
