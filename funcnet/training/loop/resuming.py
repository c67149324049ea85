"""Runs that end and go on: what fit keeps beside the train state, and when it keeps it."""

import glob
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from funcnet.checkpoint import Checkpointer, Saved
from funcnet.optim import with_hyperparams
from funcnet.training.loop.tally import Tally
from funcnet.training.loop.watching import KeptObserver
from funcnet.training.train_state import TrainState

__all__ = ["FitPosition", "Keeper", "resume"]


@jax.tree_util.register_dataclass
@dataclass
class FitPosition:
    """Where a run of `fit` is, beside its train state.

    Attributes:
        epoch: the one under way, from 1.
        batches: how many of it are trained on.
        skip: how many of these the loader, put where it was, gives out again.
        trained: whether those were all; what is left of the epoch is its evaluation.
        began: the step that the first of the calls began at.
        seconds: spent on all calls so far.
        evaluated: the last step that was followed by an evaluation, or -1.
        tally: of the metrics so far.
        counted: the state of the metrics since the last record.
        measured: what each observer measured last.
        recorded: what the tally was at the last record, on the host.
        recorded_at: the seconds then.
        records: so far.
        observers: what `Watchers.state` gave.
    """

    epoch: int = 1
    batches: int = 0
    skip: int = 0
    trained: bool = False
    began: int = 0
    seconds: float = 0.0
    evaluated: int = -1
    tally: Tally | None = None
    counted: Any = None
    measured: list[Any] = field(default_factory=list)
    recorded: Tally | None = None
    recorded_at: float = 0.0
    records: list[dict[str, float]] = field(default_factory=list)
    observers: list[KeptObserver] = field(default_factory=list)

    def next_epoch(self) -> None:
        """Go on to the beginning of the next epoch."""
        self.epoch, self.batches, self.skip, self.trained = self.epoch + 1, 0, 0, False


def resume(
    checkpoint: Checkpointer | str | os.PathLike[str],
    run: TrainState,
    batches: Any = None,
    *,
    override: Mapping[str, Any] | None = None,
    strict: bool = True,
) -> TrainState:
    """Go on from the latest whole checkpoint of a folder, or begin if there is none.

    It reads what `fit` keeps, and what a loop written by hand saves under the names ``run`` and ``batches``:
    ``checkpointer.save(step, {"run": run, "batches": loader.state_dict()})``.

    Args:
        checkpoint: a `funcnet.checkpoint.Checkpointer`, or its folder.
        run: a new run, made as the saved one was: it says which arrays there are, of what kind, and on which
            devices they belong. It is returned as it is if the folder holds no checkpoint.
        batches: a loader, put where it was; its next ``iter`` gives the batch after the last one trained on.
        override: hyperparameters that win over the saved ones, such as ``{"lr": 1e-4}``.
        strict: whether every array must be in the checkpoint, and the other way round. If not, what fits is taken,
            and a warning lists what did not.

    Returns:
        The run.

    Raises:
        ValueError: the run given has made more steps than any checkpoint.
        KeyError: ``override`` names a hyperparameter that the optimizer has not.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 3)), optim.sgd(0.1)
        >>> digits = {"x": np.ones((8, 4), np.float32), "y": np.zeros(8, np.int32)}
        >>> loader = data.DataLoader(data.ArrayDataset(digits), batch_size=2)
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> step = jax.jit(fn.training.make_train_step(objective, optimizer))
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> with fn.checkpoint.Checkpointer("runs/linear") as checkpointer:
        ...     run = fn.training.resume(checkpointer, run, loader)  # begins
        ...     for batch in loader:
        ...         run, _ = step(run, batch)
        ...         checkpointer.save(int(run.step), {"run": run, "batches": loader.state_dict()})
        >>> int(fn.training.resume("runs/linear", run, loader, override={"lr": 0.01}).step)
        4
    """
    keeper = Keeper(checkpoint, batches)
    with keeper:
        return keeper.resume(run, override, strict)[0]


class Keeper:
    """What `fit` does with a checkpointer.

    A checkpoint within an epoch is taken when the batch after it has come, because only then is it known that the
    epoch goes on: a loader that has given out its last batch already stands at the next epoch.

    Args:
        checkpoint: a checkpointer, or its folder.
        batches: trained on.
        evaluation: evaluated on.
    """

    def __init__(self, checkpoint: Any, batches: Any, evaluation: Any = None) -> None:
        self.owned = not isinstance(checkpoint, Checkpointer)
        self.checkpointer = Checkpointer(checkpoint) if self.owned else checkpoint
        self.sources = {"batches": batches, "evaluation": evaluation}
        self.waiting: dict[str, Any] | None = None
        self.origin: dict[str, Any] = {}
        self.passed = 0
        self.saved: tuple[int, int, bool] | None = None

    def __enter__(self) -> "Keeper":
        return self

    def __exit__(self, *error: object) -> None:
        """Wait until everything is on the disk."""
        if self.owned:
            self.checkpointer.close()
        else:
            self.checkpointer.wait()

    def resume(
        self,
        run: TrainState,
        override: Mapping[str, Any] | None = None,
        strict: bool = True,
        place: FitPosition | None = None,
    ) -> tuple[TrainState, FitPosition]:
        """Return the latest run and its place, or those that begin."""
        at = FitPosition() if place is None else place
        kept: dict[str, Any] = {}
        found = self.checkpointer.restore({"run": run}, select="run.*", strict=strict)
        if found is not None:
            tree, saved = found
            _check_ahead(saved, run)
            kept, run = _beside(saved, {"run", "place"}), tree["run"]
            if place is not None:
                at = _place(saved, place)
        if override:
            run = replace(run, opt_state=with_hyperparams(run.opt_state, override))
        self._put(kept)  # last: what fails leaves the loaders where they were
        return run, at

    def skipped(self, place: FitPosition) -> int:
        """Count the batches to pass over: those trained on, of a source that does not know its position."""
        return place.skip if _has_position(self.sources["batches"]) else place.batches

    def begin_epoch(self, place: FitPosition) -> None:
        """Note where the batches are before they are asked for, to be found again if one of them fails."""
        self.origin, self.passed = self._positions(), place.batches - place.skip

    def after_step(self, step: int, asked: bool) -> None:
        """Note where the batches are, if a checkpoint is due or asked for."""
        if asked or self.checkpointer.due(step):
            self.waiting = self._positions()

    def settle(self, run: TrainState, place: FitPosition) -> None:
        """Save what was noted."""
        place.skip = 0
        self._save(run, place, self.waiting or {})

    def whole_epoch(self, run: TrainState, place: FitPosition) -> None:
        """Save behind an epoch."""
        self._save(run, place, self._positions())

    def failed(self, run: TrainState, place: FitPosition) -> None:
        """Save what was trained before an error, unless that is done; the batches go on after the last step's."""
        if self.saved == (int(run.step), place.epoch, place.trained):
            return
        if place.trained:
            positions = self._positions()
        else:
            positions, place.skip = self.origin, place.batches - self.passed
        if "evaluation" in self.origin:
            positions = {**positions, "evaluation": self.origin["evaluation"]}
        self._save(run, place, positions)

    def evaluated(self) -> None:
        """Note where the evaluation's batches are after it."""
        self.origin = {**self.origin, **self._positions(["evaluation"])}

    def _save(self, run: TrainState, place: FitPosition, positions: Any) -> None:
        self.waiting = None
        step = int(run.step)
        record = place.records[-1] if place.records else {}
        metrics = self._metrics(record) if record.get("step") == step else None
        self.checkpointer.save(step, {"run": run, "place": place, **positions}, metrics=metrics)
        self.saved = (step, place.epoch, place.trained)

    def _metrics(self, record: Mapping[str, float]) -> dict[str, float] | None:
        """Return the numbers that checkpoints are compared by; None where the evaluation that gives them is to come."""
        metrics = {name: value for name, value in record.items() if "/" in name}
        wanted = self.checkpointer.best_metric
        if wanted is None or wanted in metrics:
            return metrics or None
        if f"eval/{wanted}" in metrics:
            return metrics | {wanted: metrics[f"eval/{wanted}"]}
        evaluated = any(name.startswith("eval/") for name in metrics)
        comes = self.sources["evaluation"] is not None and not evaluated
        return None if comes else metrics

    def _positions(self, names: Iterable[str] = ("batches", "evaluation")) -> dict[str, Any]:
        found = {name: _position(self.sources[name]) for name in names}
        return {name: position for name, position in found.items() if position is not None}

    def _put(self, kept: Mapping[str, Any]) -> None:
        for name, source in self.sources.items():
            if name in kept and hasattr(source, "load_state_dict"):
                source.load_state_dict(kept[name])


def _position(source: Any) -> Any:
    return source.state_dict() if _has_position(source) else None


def _has_position(source: Any) -> bool:
    """Tell whether a loader knows its position; one that sends ahead knows that of its source."""
    inner = getattr(source, "batches", None)
    return hasattr(source, "state_dict") and (inner is None or _has_position(inner))


def _beside(saved: Saved, without: set[str]) -> dict[str, Any]:
    """Read what stands in a checkpoint beside some names."""
    names = sorted({name.partition(".")[0] for name in saved.names} - without)
    return saved.load(select=[f"{glob.escape(name)}*" for name in names])  # with what is empty


def _place(saved: Saved, begun: FitPosition) -> FitPosition:
    """Read where a run of `fit` was; of a loop written by hand, it begins.

    Raises:
        ValueError: it cannot be read.
    """
    try:
        others = {name.partition(".")[0] for name in saved.names} - {"place"}
        place = _beside(saved, others).get("place", begun)
        if not isinstance(place, FitPosition):
            raise ValueError(f"place is a {type(place).__name__}")
    except ValueError as error:
        raise ValueError(
            f"where fit was cannot be read from {saved.path}, as if another version of funcnet had written it "
            f"({error}). The run itself can: run = training.resume({str(saved.path.parent)!r}, run), and go on from it "
            "with another folder, fit(..., checkpoint=...); epochs and steps count anew there"
        ) from error
    return place


def _check_ahead(saved: Saved, run: TrainState) -> None:
    if int(run.step) > saved.step:
        raise ValueError(
            f"the run has made {int(run.step)} steps, but the latest checkpoint in {saved.path.parent} is of step "
            f"{saved.step}: going on from there would lose what came after it. Pass a new run to go back, or another "
            "folder to go on"
        )
