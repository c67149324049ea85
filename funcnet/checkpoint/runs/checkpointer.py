"""Checkpointer: the steps of a run in one directory, written in the background."""

import operator
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from funcnet.checkpoint.runs.background import Background
from funcnet.checkpoint.runs.directory import list_steps, step_folder, sweep_hidden
from funcnet.checkpoint.runs.metric import best_step
from funcnet.checkpoint.runs.pieces import share_of
from funcnet.checkpoint.runs.processes import common_token
from funcnet.checkpoint.runs.retention import Retention
from funcnet.checkpoint.runs.saved import Saved, damage_in, open_saved
from funcnet.checkpoint.runs.step_writer import StepWriter
from funcnet.checkpoint.trees.structure import take_apart
from funcnet.core.aliases import PyTree
from funcnet.core.checks import check_choice, check_count, check_non_negative, check_positive
from funcnet.core.files import as_path

__all__ = ["Checkpointer"]


class Checkpointer:
    """Save the steps of a run in one directory, and find them again.

    A step is a folder ``step-00001000`` with its arrays in safetensors files and all else in ``checkpoint.json``. It
    appears whole or not at all, whenever the process ends; what a crash left is swept when a Checkpointer is made.
    Files of others in the directory stay as they are.

    With several processes (``jax.distributed``) each makes a Checkpointer on a directory that all of them see, and
    calls `save` for the same steps: each writes the parts of arrays that lie on its devices. What is not a global
    array is taken from the first process.

    Args:
        directory: of the run; made if it is missing.
        keep: how many of the newest steps to keep, besides the best; None keeps all.
        every: `due` says yes at multiples of it; None: never.
        best: the name of the metric whose best step is kept too.
        mode: ``"max"`` or ``"min"``: which values are good. Without it ``"min"`` if the name of the metric tells of
            a loss, an error, a perplexity, a distance or a cost, else ``"max"``.
        asynchronous: whether `save` only copies the arrays to host memory, and a thread writes them.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> run = {"params": {"w": jnp.zeros(3)}, "step": 0}
        >>> with fn.checkpoint.Checkpointer("runs/b", keep=2, best="accuracy") as checkpointer:
        ...     for step in (10, 20, 30):
        ...         checkpointer.save(step, run, metrics={"accuracy": 1 / step})
        ...     saved, best = checkpointer.latest(), checkpointer.best()
        >>> saved.step, best.step, checkpointer.steps()
        (30, 10, [10, 20, 30])
        >>> run = saved.load(like=run)
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        keep: int | None = 3,
        every: int | None = None,
        best: str | None = None,
        mode: str | None = None,
        asynchronous: bool = True,
    ) -> None:
        for name, number in (("keep", keep), ("every", every)):
            if number is not None:
                check_count(name, number)
                check_positive(name, number)
        if mode is not None:
            check_choice("mode", mode, ("max", "min"))
        self.directory = as_path(directory).absolute()
        if self.directory.exists() and not self.directory.is_dir():
            raise NotADirectoryError(
                f"{directory} is a file; the steps of a run are kept in a folder of their own"
            )
        self.every, self.best_metric, self.mode = every, best, mode
        self.asynchronous = asynchronous
        self._background = Background()
        self._retention = Retention(self.directory, keep, best, mode)
        self._pid = os.getpid()
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process, self._processes = jax.process_index(), jax.process_count()
        if self._process == 0:
            sweep_hidden(self.directory)
        self._token, self._count = common_token(), 0

    def due(self, step: int) -> bool:
        """Say whether ``every`` asks for this step to be saved: its multiples, without step 0."""
        return self.every is not None and step > 0 and step % self.every == 0

    def save(
        self,
        step: int,
        tree: PyTree,
        *,
        metrics: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Save a step; one that was saved before is replaced.

        If asynchronous, it waits for the step before to be written, copies the arrays to host memory and returns.

        Args:
            step: the number of the step.
            tree: what to save: any tree that `checkpoint.save` takes, such as
                ``{"run": run, "loader": loader.state_dict()}``.
            metrics: numbers by name; ``best`` looks among them.
            metadata: whatever JSON can hold.

        Raises:
            TypeError: something in the tree, or in the metadata, cannot be saved; the message says where.
            ValueError: ``step`` is negative, or the metric that ``best`` names is not among ``metrics``.
            RuntimeError: this step, or if asynchronous the one before, could not be written. Earlier steps are
                whole, and nothing is left of this one.
        """
        if os.getpid() != self._pid:
            raise RuntimeError(
                "this Checkpointer was made before the process was forked: save in the process that made it"
            )
        self.wait()
        check_count("step", step)
        check_non_negative("step", step)
        step = operator.index(step)
        numbers = {name: float(value) for name, value in (metrics or {}).items()}
        if metrics and self.best_metric is not None and self.best_metric not in numbers:
            raise ValueError(
                f"best={self.best_metric!r} is not among the metrics of step {step}: {', '.join(numbers)}"
            )
        notes = _as_json(metadata or {})
        structure, arrays = take_apart(tree)
        share = share_of(arrays, self._process, copy=self.asynchronous)
        self._count += 1
        token = f"{self._token}-{self._count}"
        writer = StepWriter(
            self.directory,
            step,
            share,
            structure,
            numbers,
            notes,
            token,
            self._process,
            self._processes,
        )

        def write() -> None:
            writer.write()
            if self._process == 0:
                self._remove_old(step, numbers)

        if self.asynchronous:
            self._background.start(write)
        else:
            write()

    def _remove_old(self, step: int, metrics: dict[str, float]) -> None:
        try:
            self._retention.apply(step, metrics)
        except OSError as error:
            raise RuntimeError(
                f"step {step} was saved, but older steps in {self.directory} could not be removed: {error}"
            ) from error

    def wait(self) -> None:
        """Wait until everything is written.

        Raises:
            RuntimeError: the latest step could not be written; its cause is what the writer met.
        """
        self._background.wait()

    def close(self) -> None:
        """Wait until everything is written; see `wait`."""
        self.wait()

    def __enter__(self) -> "Checkpointer":
        """Close at the end of a ``with`` block."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait until everything is written."""
        self.close()

    def steps(self) -> list[int]:
        """List the steps in the directory, whole or not, in order."""
        self.wait()
        return list_steps(self.directory)

    def latest(self) -> Saved | None:
        """Find the newest step that is whole, as far as sizes, headers and descriptions tell.

        Returns:
            The step; None if there is none.

        Warns:
            UserWarning: a newer step is not whole; the message says why.
        """
        return next(filter(None, map(self._open, reversed(self.steps()))), None)

    def best(self) -> Saved | None:
        """Find the step of the best metric, the newest of equals; None if no step has it.

        Raises:
            ValueError: the Checkpointer was made without ``best=``.

        Warns:
            UserWarning: a step is not whole; the message says why.
        """
        if self.best_metric is None:
            raise ValueError('no metric is named: write Checkpointer(directory, best="accuracy")')
        found = [saved for step in self.steps() if (saved := self._open(step)) is not None]
        by_step = {saved.step: saved for saved in found}
        best = best_step(
            {step: saved.metrics for step, saved in by_step.items()}, self.best_metric, self.mode
        )
        return None if best is None else by_step[best]

    def restore(
        self,
        like: PyTree = None,
        *,
        step: int | None = None,
        select: str | Iterable[str] | None = None,
        strict: bool = True,
        classes: Iterable[type] = (),
        dtype: Any = None,
    ) -> tuple[PyTree, Saved] | None:
        """Read the newest step whose every number is as it was saved.

        Args:
            like: see `checkpoint.load`, as all arguments except ``step``.
            step: a step to read instead.
            select: which leaves to read.
            strict: whether everything has to fit the template.
            classes: that may be made again without a template.
            dtype: whether to cast.

        Returns:
            The tree, and the step that it is of; None if nothing is saved.

        Raises:
            ValueError: the step that was asked for is not whole or not there; or with several processes, numbers
                are damaged, because each of them would see its own part only.
            TreeMismatchError: it does not fit the template.

        Warns:
            UserWarning: a newer step is damaged; the message says why.

        Example:
            >>> with fn.checkpoint.Checkpointer("runs/c") as checkpointer:
            ...     checkpointer.save(5, {"w": jnp.ones(2)})
            ...     tree, saved = checkpointer.restore(like={"w": jnp.zeros(2)})
            >>> saved.step, tree["w"].tolist()
            (5, [1.0, 1.0])
        """
        options: dict[str, Any] = {
            "select": select,
            "strict": strict,
            "classes": classes,
            "dtype": dtype,
        }
        known = self.steps()
        if step is not None:
            if step not in known:
                raise ValueError(
                    f"step {step} is not in {self.directory}; there are: {known or 'none'}"
                )
            saved = open_saved(step_folder(self.directory, step))
            return saved.load(like, **options), saved
        for saved in filter(None, map(self._open, reversed(known))):
            try:
                return saved.load(like, **options), saved
            except ValueError:
                damage = damage_in(saved.path) if self._processes == 1 else None
                if damage is None:
                    raise
                _warn_of(saved.path, damage)
        return None

    def _open(self, step: int) -> Saved | None:
        path = step_folder(self.directory, step)
        try:
            return open_saved(path)
        except (ValueError, OSError) as error:
            if path.exists():  # else another process removed it meanwhile
                _warn_of(path, str(error))
            return None


def _warn_of(path: Path, problem: str) -> None:
    step = int(path.name.partition("-")[2])
    where = "" if str(path) in problem else f" (in {path})"
    warnings.warn(
        f"step {step} is not whole and is passed over: {problem}{where}", UserWarning, stacklevel=4
    )


def _as_json(value: Any, name: str = "metadata") -> Any:
    """Check that JSON gives back what it is given, and copy it."""
    if isinstance(value, Mapping) and all(type(key) is str for key in value):
        return {key: _as_json(item, f"{name}[{key!r}]") for key, item in value.items()}
    if type(value) is list:
        return [_as_json(item, f"{name}[{place}]") for place, item in enumerate(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    hint = (
        "keys of text"
        if isinstance(value, Mapping)
        else "numbers, text, booleans, None, lists and dicts"
    )
    raise TypeError(
        f"{name} is a {type(value).__name__} that JSON would not give back: write {hint}, and put arrays into the tree"
    )
