"""What is tried again until it goes well: how long to wait, how loudly to log it, and when it is news."""

import logging
import random
import time

from mlsrtc.errors import MlsrtcError

LOGGER = logging.getLogger("mlsrtc")
PAUSE, PAUSE_DOUBLINGS = 1.0, 5  # seconds before the second try; it doubles so often
LONGEST_PAUSE = 600.0  # seconds; who is asked may be anybody's server, and can ask for no more
NEWS_SECONDS = 10.0  # between two notices


class Trying:
    """One thing that is tried until it goes well. what: that fails, in words. told: what was told as the reason."""

    def __init__(self, what: str, told: str = "") -> None:
        self._what = what
        self._tries = 0
        self._told = told
        self._told_at = time.monotonic()

    def failed(self, error: Exception) -> float:
        """Log that it has failed once more; seconds to wait.

        A warning is logged at the first failure and as often as their number has doubled, the others are information.
        What the error has as `retry_after` is waited for.
        """
        self._tries += 1
        pause: float = PAUSE * 2 ** min(self._tries - 1, PAUSE_DOUBLINGS) * random.uniform(0.5, 1.5)
        asked: float | None = getattr(error, "retry_after", None)
        if asked is not None:
            pause = max(pause, min(asked, LONGEST_PAUSE))
        level = logging.WARNING if self._tries & (self._tries - 1) == 0 else logging.INFO
        unforeseen = None if isinstance(error, MlsrtcError) else error
        LOGGER.log(level, "%s: %s; again in %.1f s", self._what, error, pause, exc_info=unforeseen)
        return pause

    def news(self, error: Exception) -> str | None:
        """The reason, if it is another one than was told and the last was told a while ago; it counts as told then."""
        reason = reason_of(error)
        now = time.monotonic()
        if reason == self._told or (self._told and now < self._told_at + NEWS_SECONDS):
            return None
        self._told, self._told_at = reason, now
        return reason


def reason_of(error: Exception) -> str:
    """The slug of an error of ours, or unforeseen."""
    reason: str = getattr(error, "reason", "") if isinstance(error, MlsrtcError) else ""
    return reason or "unforeseen"
