"""Delayed events (MSC4140) as Synapse keeps them: scheduled, restarted, cancelled, sent. Knows no room."""

from collections.abc import Callable
from dataclasses import dataclass

from mlsrtc.outbox import ScheduleLeave
from mlsrtc.testing.network import Network
from mlsrtc.testing.room import DeviceName
from mlsrtc.wire.incoming import RoomEvent

Fire = Callable[[DeviceName, ScheduleLeave], object]


@dataclass(slots=True)
class _Delayed:
    owner: DeviceName
    request: ScheduleLeave
    turn: int = 0  # grows with each restart, so that an older alarm finds itself outdated


class DelayedEvents:
    """The delayed events of one homeserver. `fire` sends one; whether it succeeds or not, it is then
    forgotten: Synapse does not try again what a rate limit or a power level refused."""

    def __init__(self, network: Network, fire: Fire) -> None:
        self._network = network
        self._fire = fire
        self._waiting: dict[str, _Delayed] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def schedule(self, delay_id: str, owner: DeviceName, request: ScheduleLeave) -> None:
        """Will send it after its delay."""
        self._waiting[delay_id] = _Delayed(owner, request)
        self._alarm(delay_id)

    def restart(self, delay_id: str) -> bool:
        """Starts the delay again. False if it was sent or cancelled."""
        delayed = self._waiting.get(delay_id)
        if delayed is None:
            return False
        delayed.turn += 1
        self._alarm(delay_id)
        return True

    def cancel(self, delay_id: str) -> bool:
        """Forgets it. False if it was sent or cancelled."""
        return self._waiting.pop(delay_id, None) is not None

    def state_changed(self, event: RoomEvent) -> None:
        """New state cancels what *other* users had scheduled under its key; what its sender had stays
        scheduled."""
        for delay_id, delayed in tuple(self._waiting.items()):
            request = delayed.request
            same_key = (request.type, request.state_key) == (event.type, event.state_key)
            if same_key and delayed.owner[0] != event.sender:
                del self._waiting[delay_id]

    def _alarm(self, delay_id: str) -> None:
        delayed = self._waiting[delay_id]
        turn = delayed.turn

        def ring() -> None:
            if self._waiting.get(delay_id) is delayed and delayed.turn == turn:
                del self._waiting[delay_id]
                self._fire(delayed.owner, delayed.request)

        self._network.after(delayed.request.delay_ms / 1000, ring)
