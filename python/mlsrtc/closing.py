"""What a `with` statement closes at its end. Knows nothing of the rest."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self


class Closing(ABC):
    """Something that is closed, for which `with` gives itself and closes it at the end of the block. One that is
    closed already is refused there."""

    @abstractmethod
    def close(self) -> None:
        """Ends it. Closing twice does nothing."""

    @abstractmethod
    def _opened(self) -> object:
        """What is closed. Raises LocalProtocolError (``closed``) if it is."""

    def __enter__(self) -> Self:
        self._opened()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
