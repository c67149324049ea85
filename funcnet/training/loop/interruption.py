"""Ctrl-C, and what ends a job, between two steps instead of within one; on all processes at the same step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from funcnet.parallel import alive
from funcnet.parallel.launch.steps import note_termination
from funcnet.training.loop.agreement import Agreement

__all__ = ["Interruption"]


class Interruption:
    """Within it, a first Ctrl-C sets ``requested``; a second one raises ``KeyboardInterrupt`` as usual.

    So does SIGTERM, by which schedulers end a process; that process then ends by it, but at the end of the block.
    With several processes ``requested`` is what they agree on: each calls `agree` once a step, and where one was
    interrupted, or the job is to end, all of them learn so at the same step.

    Outside the main thread, where Python delivers no signals, it takes none over.

    Example:
        >>> from funcnet.training.loop.interruption import Interruption
        >>> with Interruption() as interruption:
        ...     for batch in range(3):
        ...         interruption.agree(batch)
        ...         if interruption.requested:
        ...             break
    """

    def __init__(self) -> None:
        self.agreement = Agreement()
        self.usual: dict[int, Any] = {signal.SIGINT: signal.default_int_handler}
        if self.agreement.alone:  # else it is JAX that notes SIGTERM, and `alive` that tells
            self.usual[signal.SIGTERM] = signal.SIG_DFL
        self.noted: set[int] = set()
        self.stepping = False
        self.requested = False

    def __enter__(self) -> "Interruption":
        """Take over the signals, if this is the main thread and nobody else has."""
        self._previous: dict[int, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number, usual in self.usual.items():
                # a loop written by hand, around this one or before it, hears of SIGTERM again at the end
                if signal.getsignal(number) in (usual, note_termination):
                    self._previous[number] = signal.signal(number, self._note)
        return self

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and number in self.noted:
            raise KeyboardInterrupt
        self.noted.add(number)
        self.requested = self.requested or self.agreement.alone

    def agree(self, step: int) -> None:
        """Tell the job that this process lives, and learn whether to stop; every process calls this at every step."""
        self.stepping = True
        ends = not alive(step)
        asked = self.agreement.any(bool(self.noted))
        self.requested = self.requested or ends or asked

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Hand the signals back, and let the job's watchdog rest."""
        if self.stepping:
            alive(None)
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        if signal.SIGTERM in self.noted:
            signal.raise_signal(signal.SIGTERM)
