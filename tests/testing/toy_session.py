"""The least that is a session: it says that it is in the call, counts who is, and pings.

All that a driver needs of `SessionLike` is real: drafted requests wait for the checkpoint, state comes back
out of the store.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlsrtc.errors import RemoteProtocolError
from mlsrtc.outbox import (
    Accepted,
    Outcome,
    RateLimited,
    Request,
    RestartLeave,
    ScheduleLeave,
    SendEvent,
    SendState,
)
from mlsrtc.testing import PartyDevice
from mlsrtc.wire.incoming import GapOpened, HistoryComplete, Incoming, Now, RoomEvent
from mlsrtc.wire.names import COMMIT, STATE_MEMBER

PING_EVERY = 5.0


class ToySession:
    """A device in the call has a membership and sends a `COMMIT` that says hello once."""

    def __init__(self, device: PartyDevice, saved: Mapping[str, bytes], now: Now) -> None:
        self.device = device
        state: dict[str, Any] = json.loads(
            saved.get("state", b'{"in_call": false, "outbox": [], "count": 0, "stamps": []}')
        )
        self.in_call: bool = state["in_call"]
        self.count: int = state["count"]
        self.drafted: dict[str, dict[str, object]] = dict(state["outbox"])
        self.released: dict[str, Request] = {}
        self.held: dict[str, float] = {}
        # A sync that is resumed does not tell again what was saved.
        self.stamps: dict[str, tuple[int, str, bool]] = {key: (ts, event, on) for key, ts, event, on in state["stamps"]}
        self.hellos: list[str] = []
        self.complete = False
        self.delay_id: str | None = None
        self.told: list[object] = []
        self.timer: float | None = None
        self.changed = bool(self.drafted)

    @property
    def members(self) -> set[str]:
        return {key for key, (_, _, present) in self.stamps.items() if present}

    @property
    def state_key(self) -> str:
        return f"_{self.device.matrix.user_id}_{self.device.matrix.device_id}_m.call"

    def _draft(self, **request: object) -> None:
        self.count += 1
        # A transaction id must be new after every restart, also after one that lost the last checkpoint.
        request["id"] = f"{self.device.matrix.device_id}-{self.count}"
        self.drafted[str(request["id"])] = request
        self.changed = True

    def join(self, now: Now) -> None:
        if self.in_call:
            return
        self.in_call = True
        content = {"device_id": self.device.matrix.device_id}
        self._draft(kind="leave", content={})
        self._draft(kind="state", content=content)
        self._draft(kind="hello", content={"hello": self.device.index, "commit": "AAAABBBBCCCC"})
        self.timer = now.monotonic + PING_EVERY

    def leave(self, now: Now) -> None:
        if not self.in_call:
            return
        self.in_call = False
        self._draft(kind="state", content={})

    def receive(self, incoming: Incoming, now: Now) -> None:
        match incoming:
            case RoomEvent(type="m.bad"):
                raise RemoteProtocolError("bad")
            case RoomEvent(type=kind, content=content, state_key=key, event_id=event_id, origin_server_ts=ts) if (
                kind == STATE_MEMBER and key is not None
            ):
                if (ts, event_id) < self.stamps.get(key, (0, ""))[:2]:
                    return  # Back-filled: the room's state has gone on since.
                self.stamps[key] = ts, event_id, bool(content)
                self.changed = True
            case RoomEvent(type=kind, event_id=event_id) if kind == COMMIT:
                if event_id not in self.hellos:
                    self.hellos.append(event_id)
            case HistoryComplete():
                self.complete = True
                self.told.append("complete")
            case GapOpened():
                self.complete = False

    def tick(self, now: Now) -> None:
        for request_id, until in tuple(self.held.items()):
            if until <= now.monotonic:
                del self.held[request_id]
        if self.timer is not None and self.timer <= now.monotonic:
            self.timer = now.monotonic + PING_EVERY
            self.told.append("ping")
            if self.delay_id is not None:
                self._draft(kind="restart", content={"delay_id": self.delay_id})

    def next_timer(self) -> float | None:
        return min((moment for moment in (self.timer, *self.held.values()) if moment is not None), default=None)

    def checkpoint(self, save: Callable[[Mapping[str, bytes | None]], None]) -> None:
        if not self.changed:
            return
        state = {"in_call": self.in_call, "count": self.count, "outbox": list(self.drafted.items())}
        state["stamps"] = [(key, *stamp) for key, stamp in self.stamps.items()]
        save({"state": json.dumps(state).encode()})
        self.changed = False
        self.released = {name: self._request(draft) for name, draft in self.drafted.items()}

    def _request(self, draft: Mapping[str, object]) -> Request:
        name, content = str(draft["id"]), draft["content"]
        assert isinstance(content, dict)
        match draft["kind"]:
            case "state":
                return SendState(name, STATE_MEMBER, self.state_key, content)
            case "leave":
                return ScheduleLeave(name, 8000, STATE_MEMBER, self.state_key, content)
            case "restart":
                return RestartLeave(name, content["delay_id"])
            case _:
                return SendEvent(name, COMMIT, content)

    def outgoing(self) -> Sequence[Request]:
        return [request for name, request in self.released.items() if name not in self.held]

    def mark_sent(self, request_id: str, outcome: Outcome, now: Now) -> None:
        match outcome:
            case RateLimited(retry_after_ms=wait):
                self.held[request_id] = now.monotonic + wait / 1000
            case _:
                self.told.append(outcome if not isinstance(outcome, Accepted) else "accepted")
                if isinstance(outcome, Accepted) and outcome.delay_id:
                    self.delay_id = outcome.delay_id
                self.released.pop(request_id, None)
                self.drafted.pop(request_id, None)
                self.changed = True

    def notices(self) -> Sequence[object]:
        told, self.told = self.told, []
        return told
