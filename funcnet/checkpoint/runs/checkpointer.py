"""Checkpointer: the steps of a run in one directory, written in the background."""

import json
import math
import operator
import os
import re
import shutil
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import jax

from funcnet.checkpoint.files.safetensors_file import write_safetensors
from funcnet.checkpoint.runs.background import Background
from funcnet.checkpoint.runs.directory import (
    commit_step,
    held,
    hidden_folder,
    list_steps,
    remove_step,
    step_folder,
    sweep_hidden,
)
from funcnet.checkpoint.runs.manifest import Manifest, data_file, file_note
from funcnet.checkpoint.runs.pieces import Share, pieces_of_files, share_of
from funcnet.checkpoint.runs.processes import (
    common_token,
    report_failure,
    wait_for,
    wait_for_files,
)
from funcnet.checkpoint.runs.saved import Saved, damage_in, open_saved
from funcnet.checkpoint.trees.structure import take_apart
from funcnet.core.aliases import PyTree
from funcnet.core.checks import check_choice, check_positive
from funcnet.core.files import sync_folder

__all__ = ["Checkpointer"]

_TO_MINIMIZE = re.compile(r"loss|err|perplexity|nll|mse|mae|rmse|distance|cost", re.IGNORECASE)
"""Metrics of which less is better, by their names."""


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
                check_positive(name, operator.index(number))
        if mode is not None:
            check_choice("mode", mode, ("max", "min"))
        self.directory = Path(directory).absolute()
        self.keep, self.every, self.best_metric = keep, every, best
        self.mode = mode or ("min" if best and _TO_MINIMIZE.search(best) else "max")
        self.asynchronous = asynchronous
        self._background = Background()
        self._metrics: dict[int, dict[str, float]] = {}
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
        step = operator.index(step)
        if step < 0:
            raise ValueError(f"step must not be negative; got {step}")
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

        def write() -> None:
            try:
                self._write(step, share, structure, numbers, notes, token)
            except Exception as error:
                raise RuntimeError(
                    f"step {step} could not be saved in {self.directory}: {type(error).__name__}: {error}. Earlier "
                    "steps are whole"
                ) from error

        if self.asynchronous:
            self._background.start(write)
        else:
            write()

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
        best = self._best_of({step: saved.metrics for step, saved in by_step.items()})
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
                _warn_of(saved.step, damage)
        return None

    def _open(self, step: int) -> Saved | None:
        path = step_folder(self.directory, step)
        try:
            return open_saved(path)
        except (ValueError, OSError) as error:
            if path.exists():  # else another process removed it meanwhile
                _warn_of(step, f"{path}: {error}")
            return None

    def _best_of(self, metrics: Mapping[int, Mapping[str, float]]) -> int | None:
        sign, name = (1 if self.mode == "max" else -1), self.best_metric or ""
        values = {
            step: sign * numbers[name]
            for step, numbers in metrics.items()
            if not math.isnan(numbers.get(name, math.nan))
        }
        return max(values, key=lambda step: (values[step], step), default=None)

    def _write(
        self,
        step: int,
        share: Share,
        structure: Any,
        metrics: dict[str, float],
        metadata: dict[str, Any],
        token: str,
    ) -> None:
        folder = hidden_folder(self.directory, "writing", step, token)
        name = data_file(self._process, self._processes)
        if self._process != 0:
            self._write_part(folder, name, share, step, token)
            return
        names = [data_file(process, self._processes) for process in range(self._processes)]
        with held(self.directory):
            folder.mkdir()
            try:
                write_safetensors(folder / name, share.arrays, share.metadata)
                wait_for_files(folder, names)
                files = {one: file_note(folder / one) for one in names}
                pieces = pieces_of_files(folder, names)
                Manifest(step, metrics, metadata, files, pieces, structure, token).write(folder)
                sync_folder(folder)
                commit_step(self.directory, folder, step)
            except BaseException:
                shutil.rmtree(folder, ignore_errors=True)
                raise
            self._metrics[step] = metrics
            self._remove_old(step)

    def _write_part(self, folder: Path, name: str, share: Share, step: int, token: str) -> None:
        """Write this process's file, and wait for the first process to take it."""
        wait_for(folder.exists, "the first process to begin")
        try:
            write_safetensors(folder / name, share.arrays, share.metadata)
        except BaseException as error:
            report_failure(folder, self._process, error)
            raise
        wait_for(lambda: not folder.exists(), "the first process to end")
        if Manifest.read(step_folder(self.directory, step)).token != token:
            raise RuntimeError("the first process could not write it")

    def _remove_old(self, newest: int) -> None:
        """Remove whole steps that are neither among the newest nor the best; what is not whole stays to be seen."""
        if self.keep is None:
            return
        for step in list_steps(self.directory):
            if step not in self._metrics:
                try:
                    self._metrics[step] = Manifest.read(step_folder(self.directory, step)).metrics
                except (ValueError, OSError):
                    continue
        present = set(list_steps(self.directory))
        self._metrics = {step: m for step, m in self._metrics.items() if step in present}
        kept = {*sorted(self._metrics)[-self.keep :], newest}
        best = self._best_of(self._metrics)
        for step in sorted(self._metrics.keys() - kept - {best}):
            remove_step(self.directory, step)
            del self._metrics[step]


def _warn_of(step: int, problem: str) -> None:
    warnings.warn(
        f"step {step} is not whole, so an earlier step is used: {problem}",
        UserWarning,
        stacklevel=4,
    )


def _as_json(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(metadata)))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"metadata holds what JSON cannot ({error}): write text, numbers, booleans, None, lists and dicts, and put "
            "arrays into the tree"
        ) from None
