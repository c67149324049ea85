"""Steps: each tells the job that this process is alive, and asks whether to go on."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType

import jax

from funcnet.core.jax_internals.preemption import reached_stop
from funcnet.parallel.launch.member import Member

__all__ = ["THIS_PROCESS", "alive", "note_termination"]


@dataclass
class JobPlace:
    """What `alive` moves: a process has one, as it has one place in a job."""

    member: Member | None = None
    started: bool = False
    ended: bool = False
    terminated: bool = False
    seen: float = 0.0
    longest: float = 0.0
    reached: Callable[[int], bool] | None = None


THIS_PROCESS = JobPlace()

_LOOP_OVER = 60.0
"""Seconds without a call of `alive` after which the loop of a process alone may be over."""


def alive(step: int | None) -> bool:
    """Tell the job that this process begins a step, and ask whether to go on.

    It costs less than a microsecond and waits for no device. `funcnet.training.fit` calls it; so should a loop
    written by hand, in every process, at every step::

        for step, batch in enumerate(batches):
            if not parallel.alive(step):
                checkpointer.save(step, run)
                checkpointer.close()
                sys.exit(os.EX_TEMPFAIL)  # 75: not done, start again
            run = train_step(run, batch)

    SIGTERM to any of the processes, which SLURM and Kubernetes send before they end a job, and Ctrl-C in the
    launcher, let all processes stop at the same step, so that they save together. A process alone is ended as usual
    by a second SIGTERM, and by the first one when its loop is over: no call for a minute, and for ten times as long
    as between any two before.

    Args:
        step: the step that begins; None if no step is expected for a while, so that the watchdog rests.

    Returns:
        Whether to go on. Once it is False, it stays so.

    Example:
        >>> fn.parallel.alive(0)
        True
    """
    member = THIS_PROCESS.member
    if THIS_PROCESS.reached is None:
        _first_call(member)
    now = time.monotonic()
    if member is not None:
        member.seen = now
        member.step = step
        if member.stop:
            THIS_PROCESS.ended = True
    elif THIS_PROCESS.seen:
        THIS_PROCESS.longest = max(THIS_PROCESS.longest, now - THIS_PROCESS.seen)
    THIS_PROCESS.seen = now
    if step is not None and not THIS_PROCESS.ended:
        THIS_PROCESS.ended = THIS_PROCESS.terminated or _asked_to_stop(step)
    if member is not None:
        member.stopped = THIS_PROCESS.ended
    return not THIS_PROCESS.ended


def _asked_to_stop(step: int) -> bool:
    return THIS_PROCESS.reached is not None and THIS_PROCESS.reached(step)


def _first_call(member: Member | None) -> None:
    """Choose how to learn that the job should stop: JAX's agreement, or for a process alone the signal itself."""
    if member is not None:
        member.first_step()
    # JAX's own handler is one that Python does not see
    elif not jax.distributed.is_initialized():
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
            return  # `fit` takes the signal itself; the next call, of a loop by hand, asks again
        signal.signal(signal.SIGTERM, note_termination)
    THIS_PROCESS.reached = reached_stop


def note_termination(number: int, frame: FrameType | None) -> None:
    """Note the first request; what ends a loop that is over, and a second one, end the program."""
    quiet = time.monotonic() - THIS_PROCESS.seen
    over = quiet > max(_LOOP_OVER, 10 * THIS_PROCESS.longest)
    if over or THIS_PROCESS.terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.raise_signal(signal.SIGTERM)
    THIS_PROCESS.terminated = True
