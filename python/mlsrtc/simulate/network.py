"""The network that every scheme gets: links, and homeservers that take time for what they do.

A homeserver is one worker: it does one thing after another, each for as long as was measured on Synapse. So a burst
queues, and a sync that waits brings all that has come meanwhile. The same object carries the models and the real state
machines.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random

from mlsrtc.simulate.constants import Constant, assumed
from mlsrtc.testing.network import Action, Latency, Network, Work

CALL_PAGE = "measured on Synapse, docs/results/call.md: "
ROTATION = (
    "measured on Synapse (SQLite, two cores): when all of 50, 100, 200 devices send a key to each, it takes 0.48, 1.5, "
    "6.65 s; this is the line through 50 and 200, and 17 % above 100"
)

NETWORK: dict[str, Constant] = {
    "link, least": assumed(0.015, "s, one way", "a device's way to its homeserver; a round trip of 30 to 90 ms"),
    "link, most": assumed(0.045, "s, one way", "a device's way to its homeserver; a round trip of 30 to 90 ms"),
    "event": Constant(0.056, "s", CALL_PAGE + "the trip of a plain event at 2 devices, without the two syncs"),
    "state event": Constant(0.062, "s", "measured on Synapse: a state event reaches one local client in 66 ms"),
    "sync, event": Constant(0.0027, "s", CALL_PAGE + "a plain event reaches 2 devices in 62 ms and 50 in 192 ms"),
    "sync, state": Constant(
        0.0041, "s", CALL_PAGE + "a state event reaches the median of 50 in 272 ms, a plain one in 177 ms"
    ),
    "to-device request": Constant(0.00094, "s", ROTATION + "; half of what a device costs"),
    "to-device message": Constant(0.000158, "s", ROTATION),
    "sync, to-device": Constant(0.00094, "s", ROTATION + "; half of what a device costs"),
    "to-device, waiting": Constant(0.019, "s", "measured on Synapse: one message takes 21 ms to a local client"),
    "other request": assumed(
        0.0011, "s", "a request that the server only notes: as one with a single to-device message"
    ),
    "federation": Constant(0.055, "s, one way", "measured on Synapse: to-device 76 ms to a federated client, 21 local"),
    "federated event": Constant(
        0.127, "s", "measured on Synapse: 248 ms to a federated client, less 66 ms local and 55 ms of the way"
    ),
    "sync page": Constant(100, "messages", "Synapse: to-device messages in one sync answer"),
}


@dataclass(frozen=True, slots=True)
class NetworkModel:
    """The figures of `NETWORK`, which a run may have otherwise. `homeservers`: people are spread over them in turn."""

    homeservers: int = 1
    link: tuple[float, float] = (NETWORK["link, least"].value, NETWORK["link, most"].value)
    changed: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, name: str) -> float:
        return self.changed.get(name, NETWORK[name].value)


class ServedNetwork(Network):
    """A network whose homeservers work. Everything follows from `random`."""

    def __init__(self, random: Random, model: NetworkModel) -> None:
        hop = model["federation"]
        super().__init__(random, latency=Latency(client=model.link, federation=(hop, hop)))
        self.model = model
        self.busy: dict[str, float] = {}  # seconds that each homeserver has worked
        self._free: dict[str, float] = {}
        self._work = {
            Work.EVENT: model["event"],
            Work.STATE: model["state event"],
            Work.FEDERATED: model["federated event"],
            Work.TO_DEVICE: model["to-device request"],
            Work.OTHER: model["other request"],
            Work.SYNC_EVENT: model["sync, event"],
            Work.SYNC_STATE: model["sync, state"],
            Work.SYNC_TO_DEVICE: model["sync, to-device"],
        }
        self._message, self._waiting = model["to-device message"], model["to-device, waiting"]

    @property
    def worked(self) -> float:
        """Seconds that all homeservers have worked."""
        return sum(self.busy.values())

    def serve(self, server: str, work: Work, messages: int, action: Action) -> None:
        """Does `action` when the homeserver has done this work, after what it was asked before."""
        seconds, wait = self._work[work], 0.0
        if work is Work.TO_DEVICE:
            seconds += messages * self._message
            wait = self._waiting
        done = max(self.time, self._free.get(server, 0.0)) + seconds
        self._free[server] = done
        self.busy[server] = self.busy.get(server, 0.0) + seconds
        self.at(done + wait, action)
