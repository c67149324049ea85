"""Ctrl-C between two steps instead of within one, so that no finished step is lost."""

import signal
import threading
from types import FrameType, TracebackType

__all__ = ["Interruption"]


class Interruption:
    """Within it, a first Ctrl-C sets ``requested``; a second one raises ``KeyboardInterrupt`` as usual.

    Outside the main thread, where Python delivers no signals, it does nothing.

    Example:
        >>> from funcnet.training.interruption import Interruption
        >>> with Interruption() as interruption:
        ...     for batch in range(3):
        ...         if interruption.requested:
        ...             break
    """

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> "Interruption":
        """Take over Ctrl-C, if this is the main thread and nobody else has."""
        self._previous = None
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hand Ctrl-C back."""
        if self._previous is not None:
            signal.signal(signal.SIGINT, self._previous)
