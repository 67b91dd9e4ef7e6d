"""The last line of defence: what nobody foresaw in what others sent costs that alone, and is logged as our fault."""

import logging
from types import TracebackType


class Logged:
    """Goes on after an error. The log says where it came up, and nothing of its text: that may repeat a key."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        place = RuntimeError(type(error).__name__).with_traceback(trace)
        self._logger.error("%s: nobody foresaw this", self._what, exc_info=place)
        return True
