"""What a homeserver refuses or holds back, and the bucket behind its 429. Values and arithmetic, nothing
else."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """The configuration of a homeserver. The defaults are Synapse's, where Synapse has one."""

    message_rate: float | None = 0.2  # rc_message.per_second, per user; None: no limit
    message_burst: int = 10  # rc_message.burst_count
    content_bytes: int = 64_000  # of event content; measured on Synapse: 60 KiB passes, 63 KiB is 413
    upload_bytes: int = 50 * 1024 * 1024  # max_upload_size
    timeline: int = 10  # events in one sync answer; more is `limited`
    page: int = 100  # events in one answer of /messages, after filtering
    sticky_page: int = 100  # sticky events in one sync answer (MSC4354)
    to_device_page: int = 100  # to-device events in one sync answer
    sticky: bool = True  # MSC4354; without it the parameter is ignored and the event is an ordinary one
    max_sticky_ms: int = 3_600_000  # MSC4354
    max_delay_ms: int | None = 86_400_000  # MSC4140, max_event_delay_duration; None: not offered

    @staticmethod
    def generous() -> "Limits":
        """No rate limit: for tests that are about something else."""
        return Limits(message_rate=None)


class Bucket:
    """One user's share of requests: `burst` at once, then `rate` per second (Synapse's
    api/ratelimiting.py)."""

    __slots__ = ("_burst", "_level", "_moment", "_rate")

    def __init__(self, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._level = 0.0
        self._moment = 0.0

    def take(self, moment: float) -> float:
        """Takes one if there is one. Returns 0, or the seconds until there is one; a refused try costs
        nothing."""
        self._level = max(0.0, self._level - (moment - self._moment) * self._rate)
        self._moment = moment
        missing = self._level + 1 - self._burst
        if missing > 1e-9:
            return missing / self._rate
        self._level += 1
        return 0.0
