"""Checkpoints: when a run is saved."""

import os
from collections.abc import Mapping
from typing import Any

import jax

from funcnet.checkpoint import Checkpointer
from funcnet.core.checks import check_positive
from funcnet.core.files import as_path
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.observers.keep_best import begin_steps, refuse_shared_folder
from funcnet.training.observers.log import check_every

__all__ = ["Checkpoints"]


class Checkpoints(Observer):
    """Save the run every so many steps, epochs or seconds: one or several of these.

    It is for copies that `fit` does not go on from: each tenth epoch for an average of weights, say, or all of them to
    look at later. ``fit(checkpoint=...)`` saves on its own, in a folder of its own, what the same call needs to go
    on, the loader's position and the observers' states included; that needs no `Checkpoints`, and
    ``Checkpointer(..., every=)`` says how often.

    A step here is ``{"run": run}`` with the metrics of that step's record: ``training.resume(folder, run)`` reads it. A
    run that goes on removes later steps than that it goes on from, and comes by again. A run that begins at step 0
    moves the steps that it finds into a folder within, ``earlier-1``, ``earlier-2`` ...

    Args:
        folder: of its own; or a `funcnet.checkpoint.Checkpointer`, which says how many are kept and which is the best.
        every: a number of steps; its multiples are saved.
        epochs: a number of epochs, likewise.
        seconds: of training between two of them. Of several processes each has its own clock, so they take ``every``.
        keep: how many of the newest to keep; None keeps all. A Checkpointer has its own.

    Raises:
        ValueError: none of ``every``, ``epochs`` and ``seconds``; or raised by `fit`, its folder is that of ``fit``.
        RuntimeError: raised by `fit`, the folder could not be written.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=6, progress=False,
        ...     observers=[fn.training.Checkpoints("runs/copies", epochs=2)])
        >>> fn.checkpoint.Checkpointer("runs/copies").steps()
        [2, 4, 6]
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | Checkpointer,
        every: int | None = None,
        *,
        epochs: int | None = None,
        seconds: float | None = None,
        keep: int | None = None,
    ) -> None:
        if every is None and epochs is None and seconds is None:
            raise ValueError(
                "Checkpoints is told how often: every=1000 steps, epochs=1, or seconds=600"
            )
        self._steps = check_every("every", every)
        self._epochs = check_every("epochs", epochs)
        if seconds is not None:
            check_positive("seconds", seconds)
        self._seconds, self._keep, self._place = seconds, keep, folder
        self.every = 1 if seconds is not None else self._steps
        self._saved_at, self._saved_step = 0.0, -1
        self._checkpointer: Checkpointer | None = None

    def on_start(self, loop: Loop) -> None:
        """Open the folder."""
        if self._seconds is not None and jax.process_count() > 1:
            raise ValueError(
                "of several processes each has its own clock, and all have to save the same steps: "
                "Checkpoints(every=...) instead of seconds="
            )
        given = self._place
        folder = given.directory if isinstance(given, Checkpointer) else as_path(given)
        refuse_shared_folder(folder, loop, "Checkpoints")
        made = given if isinstance(given, Checkpointer) else Checkpointer(folder, keep=self._keep)
        begin_steps(made, loop)
        self._checkpointer = made
        if loop.began == 0:
            self._saved_at = 0.0
        self._saved_step = -1

    def on_step(self, loop: Loop) -> None:
        """Save if a multiple of the steps is reached, or the seconds are over."""
        by_step = self._steps is not None and loop.step % self._steps == 0
        by_time = self._seconds is not None and loop.seconds - self._saved_at >= self._seconds
        if by_step or by_time:
            self._save(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Save if a multiple of the epochs is reached."""
        if self._epochs is not None and loop.epoch % self._epochs == 0:
            self._save(loop)

    def _save(self, loop: Loop) -> None:
        self._saved_at = loop.seconds
        if loop.step == self._saved_step:
            return
        self._saved_step = loop.step
        found = {name: value for name, value in loop.record.items() if "/" in name}
        fresh = loop.record.get("step") == loop.step
        assert self._checkpointer is not None
        self._checkpointer.save(
            loop.step, {"run": loop.run}, metrics=(found if fresh else None) or None
        )

    def on_end(self, loop: Loop) -> None:
        """Wait until everything is on the disk."""
        if self._checkpointer is not None:
            self._checkpointer.wait()

    def state_dict(self) -> dict[str, Any]:
        """Return when it saved last."""
        return {"saved_at": self._saved_at}

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._saved_at = kept["saved_at"]
