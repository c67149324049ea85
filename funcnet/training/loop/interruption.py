"""Ctrl-C, and what ends a job, between two steps instead of within one; on all processes at the same step."""

import signal
import threading
import time
from collections.abc import Sequence
from functools import partial
from types import FrameType, TracebackType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet.parallel import alive
from funcnet.parallel.launch.steps import THIS_PROCESS, note_termination
from funcnet.training.loop.on_mesh import in_step

__all__ = ["INTERRUPTED", "STOPPED", "TIME_IS_OVER", "Agreement", "Interruption"]

TIME_IS_OVER, STOPPED, INTERRUPTED = 1, 2, 3
"""What a process may say: its seconds are over, an observer stopped it, a signal came; of several the last counts."""

_BETWEEN = 0.1
"""Seconds between two calls of `alive` where it need not be called at each step."""


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
        self.stopping = 0
        self._next_alive = 0.0

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

    def agree(self, step: int, wish: int = 0) -> None:
        """Tell the job that this process lives, and learn whether to stop; every process calls this at every step.

        Args:
            step: how many steps are made.
            wish: whether this process wants the run to end in order, `TIME_IS_OVER` or `STOPPED`; ``stopping`` is then
                what all agree on.
        """
        self.stepping = True
        self._hear(self.agreement.most(self._with_signals(wish)), self._job_ends(step))

    def _job_ends(self, step: int) -> bool:
        # a process alone that has the signals itself tells only how long its steps take, and not each of them
        if self.agreement.alone and THIS_PROCESS.member is None and self._previous:
            now = time.monotonic()
            if now < self._next_alive:
                return False
            self._next_alive = now + _BETWEEN
        return not alive(step)

    def agree_now(self, wish: int) -> None:
        """Agree between two steps, where all processes wait for each other anyway."""
        self._hear(self.agreement.most_now(self._with_signals(wish)), False)

    def _with_signals(self, wish: int) -> int:
        return INTERRUPTED if self.noted else wish

    def _hear(self, level: int, ends: bool) -> None:
        self.stopping = max(self.stopping, level, INTERRUPTED * ends)
        self.requested = self.requested or self.stopping == INTERRUPTED

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


class Agreement:
    """Tells every process at the same call the most that any process has said: 0 is nothing.

    What is asked at one call is answered at the next: the exchange runs on the devices behind the step before it, and
    a device that has a step ahead of it never waits for the host.

    Example:
        >>> from funcnet.training.loop.interruption import Agreement
        >>> agreement = Agreement()
        >>> agreement.most(0), agreement.most(2), agreement.most_now(1)
        (0, 2, 1)
    """

    def __init__(self) -> None:
        self.alone = jax.process_count() == 1
        self.asked: Any = None
        if not self.alone:
            self.exchange, self.answers = _exchange()

    def most(self, level: int) -> int:
        """Speak for this process; every process has to call this as often.

        Args:
            level: what this process says, from 0 to 3.

        Returns:
            Of one process alone, ``level``; of several, the most that any said at the call before this one.
        """
        if self.alone:
            return level
        before, self.asked = self.asked, in_step(self.exchange(self.answers[level]))
        return 0 if before is None else int(before)

    def most_now(self, level: int) -> int:
        """Speak for this process, and wait for what the others say at this call."""
        return level if self.alone else int(self.exchange(self.answers[level]))


def _exchange() -> tuple[Any, Sequence[jax.Array]]:
    """Return a function of an answer on every device, and the answers from 0 to 3."""
    mesh = jax.make_mesh((jax.device_count(),), ("all",), (AxisType.Auto,))
    spread, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("all",), ()))
    make = partial(jax.make_array_from_callback, (jax.device_count(),), spread)
    answers = [make(lambda index, level=level: np.array([level], np.int32)) for level in range(4)]
    return jax.jit(jnp.max, out_shardings=whole), answers
