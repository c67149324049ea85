"""KeepBest: the run as it was when a metric was best."""

import os
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.checkpoint import Checkpointer
from funcnet.checkpoint.runs.directory import remove_step, step_folder
from funcnet.core.files import as_path
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.observers.append_file import free_folder
from funcnet.training.observers.early_stop import Monitor
from funcnet.training.train_state import TrainState

__all__ = ["KeepBest", "begin_steps", "refuse_shared_folder"]


class KeepBest(Observer):
    """Keep the run as it was when a metric was best: ``run`` afterwards.

    Without a folder it is kept in memory, beside the run under way. With one it is on disk, in the form of
    `funcnet.checkpoint.Checkpointer`: there it outlives the process, and `training.resume` reads it, too. A run with
    ``fit(checkpoint=...)``, which may go on in another process, needs a folder, another one than that of ``fit``;
    what it has kept then goes on with the run.

    Args:
        monitor: the metric, as records have it: ``"eval/loss"``, ``"eval/accuracy"``.
        folder: of its own, such as ``"runs/a/best"``; None: in memory. A run that begins at step 0
            moves what it finds there into a folder within, ``earlier-1``, ``earlier-2`` ...
        mode: ``"min"`` or ``"max"``: which values are good; without it ``"min"`` for what is named like a loss, an
            error, a perplexity, a distance or a cost.
        min_delta: by how much a value has to beat the best one.

    Attributes:
        best: the best value so far; None before the first.
        best_step: the step that it is of.

    Raises:
        KeyError: raised by `fit`, no record has such a metric.
        ValueError: raised by `fit`, it has ``checkpoint=`` and this has no folder, or both have the same.
        RuntimeError: raised by `fit`, the folder could not be written.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> best = fn.training.KeepBest("eval/loss")
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=5, evaluation=batches, observers=[best],
        ...     progress=False)
        >>> run = best.run
        >>> int(run.step), best.best == min(history.series("eval/loss"))
        (5, True)
    """

    def __init__(
        self,
        monitor: str = "eval/loss",
        folder: str | os.PathLike[str] | None = None,
        *,
        mode: str | None = None,
        min_delta: float = 0.0,
    ) -> None:
        self.monitor = Monitor(monitor, mode, min_delta)
        self.folder = None if folder is None else as_path(folder)
        self._checkpointer: Checkpointer | None = None
        self._like: TrainState | None = None
        self._forget()

    def _forget(self) -> None:
        self.best: float | None = None
        self.best_step, self.monitor.seen = 0, -1
        self._kept: TrainState | None = None
        # the best steps that the newest checkpoints of fit know: what goes on from them needs those
        self._known: deque[int] = deque(maxlen=3)

    @property
    def run(self) -> TrainState:
        """The run as it was at `best_step`; of a folder, read from there.

        Raises:
            RuntimeError: nothing was kept, or it is no longer there.
        """
        if self.best is None:
            raise RuntimeError(
                f"there is no best run yet: no record of a fit with this observer had a {self.monitor.name} that is "
                "a number"
            )
        if self._checkpointer is None:
            assert self._kept is not None
            return jax.tree.map(jnp.copy, self._kept)
        try:
            found = self._checkpointer.restore(
                {"run": self._like}, step=self.best_step, select="run.*"
            )
        except ValueError as error:
            raise RuntimeError(
                f"the best run, of step {self.best_step}, is no longer in {self.folder}: {error}"
            ) from error
        assert found is not None
        return found[0]["run"]

    def on_start(self, loop: Loop) -> None:
        """Begin anew, unless the run goes on."""
        self.monitor.check_evaluated(loop, "KeepBest")
        self._like = jax.tree.map(_shape_of, loop.run)
        if loop.began == 0:
            self._forget()
        if self.folder is None:
            _refuse_memory(loop)
            return
        refuse_shared_folder(self.folder, loop, "KeepBest")
        self._checkpointer = Checkpointer(self.folder, keep=None)
        begin_steps(self._checkpointer, loop)
        if self.best is None and loop.began:  # no checkpoint of fit tells which was the best
            saved = self._checkpointer.latest()
            if saved is not None and self.monitor.name in saved.metrics:
                self.best, self.best_step = saved.metrics[self.monitor.name], saved.step

    def on_evaluation(self, loop: Loop) -> None:
        """Look at the evaluation."""
        self._look(loop)

    def on_epoch(self, loop: Loop) -> None:
        """Look at the epoch."""
        self._look(loop)

    def _look(self, loop: Loop) -> None:
        value = self.monitor.new_value(loop, "KeepBest")
        if value is None or not self.monitor.better(value, self.best):
            return
        if self._checkpointer is None:
            self._kept = jax.tree.map(jnp.copy, loop.run)  # the next step gives the original up
        else:
            metrics = {name: number for name, number in loop.record.items() if "/" in name}
            self._checkpointer.save(loop.step, {"run": loop.run}, metrics=metrics)
            needed = {self.best_step, *self._known}  # the new one is not whole yet
            steps = self._checkpointer.steps()
            self._remove([step for step in steps if step not in needed | {loop.step}], loop)
        self.best, self.best_step = value, loop.step

    def _remove(self, steps: list[int], loop: Loop) -> None:
        assert self._checkpointer is not None
        for step in steps if loop.first else []:
            remove_step(self._checkpointer.directory, step)

    def on_end(self, loop: Loop) -> None:
        """Wait until it is on the disk."""
        if self._checkpointer is not None:
            self._checkpointer.close()
            if loop.error is None and self.best is not None:
                needed = {self.best_step, *self._known}
                steps = self._checkpointer.steps()
                self._remove([step for step in steps if step not in needed], loop)

    def state_dict(self) -> dict[str, Any]:
        """Return which is the best."""
        if self.best is not None:
            self._known.append(self.best_step)
        found = {"best": self.best, "best_step": self.best_step, "known": [*self._known]}
        return found | {"seen": self.monitor.seen}

    def load_state_dict(self, kept: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.best, self.best_step = kept["best"], kept["best_step"]
        self._known, self.monitor.seen = deque(kept["known"], maxlen=3), kept["seen"]


def begin_steps(checkpointer: Checkpointer, loop: Loop) -> None:
    """Have a folder hold nothing of later steps than that a run goes on from, nor of another run."""
    steps = [step for step in checkpointer.steps() if step > loop.began or not loop.began]
    if not loop.first or not steps:
        return
    directory = checkpointer.directory
    aside = None if loop.began else free_folder(directory)
    for step in steps:
        if aside is None:
            remove_step(directory, step)
        else:
            step_folder(directory, step).rename(step_folder(aside, step))


def refuse_shared_folder(folder: Path, loop: Loop, owner: str) -> None:
    """Complain of a folder in which `fit` keeps its checkpoints.

    Raises:
        ValueError: it is the same.
    """
    kept = loop.settings.get("checkpoint")
    if kept is not None and os.path.realpath(kept) == os.path.realpath(folder):
        raise ValueError(
            f"{owner} and fit(checkpoint=) would both save to {folder}, and each remove the other's: give {owner} a "
            f"folder of its own, such as {str(Path(folder) / owner.lower())!r}"
        )


def _refuse_memory(loop: Loop) -> None:
    kept = loop.settings.get("checkpoint")
    if kept is not None:
        raise ValueError(
            "fit(checkpoint=...) may go on in another process, where what KeepBest has in memory is lost: give it a "
            f"folder of its own, such as KeepBest(..., folder={str(Path(kept) / 'best')!r})"
        )


def _shape_of(leaf: Any) -> Any:
    if not isinstance(leaf, jax.Array):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)
