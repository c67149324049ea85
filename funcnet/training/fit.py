"""fit: the loop that most people would otherwise write by hand."""

import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from funcnet.checkpoint import Checkpointer
from funcnet.core.aliases import Array
from funcnet.core.checks import check_non_negative
from funcnet.module import Functional, Module
from funcnet.parallel.rules.table import Rules
from funcnet.training.interruption import Interruption
from funcnet.training.metrics.running_mean import RunningMean
from funcnet.training.objective import Objective, weight_of
from funcnet.training.on_mesh import Setup, cached, in_step, set_up
from funcnet.training.progress import Progress
from funcnet.training.resuming import FitPosition, Keeper
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState

__all__ = ["History", "evaluate", "fit"]


@dataclass
class History:
    """What a run reported.

    Attributes:
        records: one dict an epoch: ``epoch``, ``step``, ``seconds``, and each metric as ``train/loss``,
            ``eval/accuracy``, and so on.
        interrupted: whether Ctrl-C, or the end of a job of several processes, ended it.
    """

    records: list[dict[str, float]] = field(default_factory=list)
    interrupted: bool = False

    def series(self, name: str) -> list[float]:
        """Return one metric over the epochs, such as ``"eval/accuracy"``.

        Raises:
            KeyError: there is no such metric; the message lists them.
        """
        known = sorted({key for record in self.records for key in record})
        if name not in known:
            raise KeyError(f"no metric {name!r}; there are: {', '.join(known) or 'none yet'}")
        return [record[name] for record in self.records if name in record]


def evaluate(
    objective: Objective,
    run: TrainState,
    batches: Iterable[Any],
    *,
    progress: bool = False,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> dict[str, float]:
    """Return the means of an objective's metrics over all samples, in evaluation mode.

    Args:
        objective: see `Objective`.
        run: whose params and state are evaluated.
        batches: an iterable of pytrees; a smaller last batch weighs less.
        progress: whether to draw a bar; with several processes the first draws it.
        mesh: see `fit`.
        rules: likewise.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.zeros((2, 4)), "y": jnp.array([0, 1])}]
        >>> sorted(fn.training.evaluate(objective, run, batches))
        ['loss']
    """
    setup = set_up(objective, None, mesh, rules)
    run, batches = setup.place_run(run), setup.place_batches(batches)
    return _Evaluation(setup).over(run, batches, "evaluating", progress and _is_first())


@lru_cache(
    maxsize=16
)  # an epoch, an evaluation or a fit later, the same functions are not compiled again
def _eval_functions(objective: Objective) -> tuple[Any, Any, set[Any]]:
    plain = make_eval_step(objective)

    def accumulate(run: TrainState, mean: RunningMean, batch: Any) -> RunningMean:
        return mean.add(plain(run, batch), weight_of(objective, batch))

    return plain, jax.jit(accumulate), set()


@lru_cache(maxsize=16)
def _train_functions(objective: Objective, optimizer: Any) -> tuple[Any, Any, set[Any]]:
    plain = make_train_step(objective, optimizer)

    def accumulate(
        run: TrainState, mean: RunningMean, first_bad: Array, batch: Any
    ) -> tuple[TrainState, RunningMean, Array]:
        before = run.step
        run, metrics = plain(run, batch)
        bad = jnp.logical_not(
            jnp.isfinite(jnp.stack([*metrics.values()]).astype(jnp.float32))
        ).any()
        first_bad = jnp.where((first_bad < 0) & bad, before, first_bad)
        return run, mean.add(metrics, weight_of(objective, batch)), first_bad

    return plain, jax.jit(accumulate, donate_argnums=(0, 1)), set()


class _Evaluation:
    """An evaluation step compiled once and used at every epoch."""

    def __init__(self, setup: Setup) -> None:
        self.plain, self.step, self.known = cached(_eval_functions, setup.objective)
        self.place = setup.place_whole

    def over(
        self, run: TrainState, batches: Iterable[Any], label: str, show: bool
    ) -> dict[str, float]:
        mean = None
        bar = Progress(batches, label, show=show)
        for batch in bar:
            if mean is None:
                mean = self.place(RunningMean.zeros(jax.eval_shape(self.plain, run, batch)))
            mean = in_step(bar.call(self.step, run, mean, batch=batch, known=self.known))
        return mean.compute() if mean is not None else {}


class _Training:
    """A training step compiled once, and the state that it moves."""

    def __init__(self, setup: Setup, run: TrainState) -> None:
        self.plain, self.step, self.known = cached(
            _train_functions, setup.objective, setup.optimizer
        )
        self.place = setup.place_whole
        self.run = jax.tree.map(jnp.copy, run)  # the steps donate it; the caller's stays whole
        self.steps = int(run.step)
        self.names: Any = None
        self.warned = False

    def over(
        self,
        bar: Progress,
        place: FitPosition,
        interruption: Interruption,
        keeper: Keeper | None,
        started: float,
        skipped: int,
    ) -> None:
        """Train on what is left of an epoch, or until Ctrl-C; ``place`` moves along."""
        if place.trained:
            return
        for number, batch in enumerate(bar):
            if number < skipped:
                continue
            if keeper is not None and keeper.waiting is not None:
                place.seconds = time.monotonic() - started
                keeper.settle(self.run, place)
                if interruption.requested:
                    break
            self._step(bar, place, batch)
            interruption.agree(self.steps)
            if keeper is not None:
                keeper.after_step(self.steps, interruption.requested)
            elif interruption.requested:
                break
        else:
            place.trained = True
            if keeper is not None and interruption.requested:
                keeper.after_step(self.steps, True)
                keeper.settle(self.run, place)
        if place.mean is None:
            raise ValueError("batches is empty: there is nothing to train on")
        self._warn(int(place.first_bad))

    def _step(self, bar: Progress, place: FitPosition, batch: Any) -> None:
        mean = place.mean
        if mean is None:
            self.names = self.names or jax.eval_shape(self.plain, self.run, batch)[1]
            mean = RunningMean.zeros(self.names)
        mean, place.first_bad = self.place((mean, place.first_bad))
        self.run, mean, place.first_bad = bar.call(
            self.step, self.run, mean, place.first_bad, batch=batch, known=self.known
        )
        place.mean = in_step(mean)
        place.batches += 1
        self.steps += 1
        bar.show(mean.compute)

    def _warn(self, step: int) -> None:
        if step >= 0 and not self.warned:
            self.warned = True
            warnings.warn(
                f"a metric was not finite at step {step}, so means of this run may be nan from there on: lower the "
                "learning rate, clip (optim.clip_by_global_norm), skip such steps (optim.skip_nonfinite), or find "
                "the layer with fn.nan_guard",
                RuntimeWarning,
                stacklevel=4,
            )


def fit(
    objective: Objective,
    optimizer: Any,
    run: TrainState,
    batches: Iterable[Any],
    *,
    epochs: int,
    evaluation: Iterable[Any] | None = None,
    progress: bool = True,
    on_epoch: Callable[[TrainState, dict[str, float]], None] | None = None,
    checkpoint: Checkpointer | str | os.PathLike[str] | None = None,
    override: Mapping[str, Any] | None = None,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> tuple[TrainState, History]:
    """Train for a number of epochs.

    The step is jitted and updates a copy of ``run`` in place; ``run`` itself stays as it was. Ctrl-C ends the
    run after the step under way and returns what has been reached; so does SIGTERM, by which the process ends then.
    Another call with the same objective and optimizer compiles nothing again.

    With ``mesh=`` everything runs on many devices, and gives the numbers of one. The model and the optimizer are
    sharded as `parallel.shard` and `parallel.shard_optimizer` do it, the run is put where they belong, and batches go
    where `parallel.batch_sharding` says. Of several processes each loads its part
    (``DataLoader(..., shard=parallel.batch_sharding(mesh))``), the first draws bars and prints, and where one is
    interrupted all of them end after the same step.

    Args:
        objective: what to make small; see `Objective` and `supervised`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.
        run: from `TrainState.create`, or of an earlier run, to go on with.
        batches: iterated over once an epoch, such as a `funcnet.data.DataLoader`.
        epochs: how many to make.
        evaluation: batches to evaluate on after each epoch.
        progress: whether to show a bar (see `Progress`), and a line an epoch where there is no ``on_epoch``.
        on_epoch: called with the state and the epoch's record after each whole epoch, to print or save. An epoch
            that Ctrl-C cut short is in the history, with what it trained on, but not evaluated.
        checkpoint: a folder, or a `funcnet.checkpoint.Checkpointer`, to keep the run in: after each epoch, whenever
            the checkpointer's ``every`` says so, and at Ctrl-C or SIGTERM. The same call goes on from the latest one,
            however the run before ended, and gets the numbers that a run without an end would have got, bit for bit;
            ``epochs`` counts those of all calls. Without ``every`` what an epoch did is lost with a killed process.
        override: hyperparameters that win over those of the checkpoint, such as ``{"lr": 1e-4}``; see `resume`.
        mesh: devices to train on, from `parallel.mesh`; that of the model, if `parallel.shard` made it. Batches that
            the devices do not divide are filled with copies of rows that count neither for the loss nor for metrics,
            but for the batch's statistics in `nn.BatchNorm1d` and the like; ``drop_last=True`` leaves them out. An
            objective written by hand, which does not know such rows, gets whole batches or an error.
        rules: where parameters lie, see `parallel.shard`; without them whole on every device (data parallel). They
            need a model, so that an objective written by hand is given one sharded already, and a run of it.

    Returns:
        ``(run, history)``; on a mesh, the run's arrays stay there.

    Raises:
        ValueError: ``batches`` is empty, or it or ``evaluation`` is an iterator that a second epoch would find
            exhausted.
        TypeError: ``objective`` is a model or a loss instead of an objective, ``run`` is not a `TrainState`, or there
            are ``rules`` for an objective written by hand.

    Warns:
        RuntimeWarning: a metric was not finite; the message names the first such step.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 2))
        >>> optimizer = optim.sgd(0.5)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}]
        >>> run, history = fn.training.fit(objective, optimizer, run, batches, epochs=20, progress=False)
        >>> int(run.step), history.series("train/loss")[-1] < history.series("train/loss")[0]
        (20, True)
    """
    check_non_negative("epochs", epochs)
    _check_pieces(objective, optimizer, run)
    for name, source in (("batches", batches), ("evaluation", evaluation)):
        if epochs > 1 and isinstance(source, Iterator):
            raise ValueError(
                f"{name} is an iterator ({type(source).__name__}) and would be empty after the first epoch: pass "
                "something that can be iterated over again, such as a DataLoader or a list"
            )
    if override and checkpoint is None:
        raise ValueError("override changes what a checkpoint holds: pass checkpoint=, too")
    setup = set_up(objective, optimizer, mesh, rules)
    run = setup.place_run(run)
    batches, evaluation = setup.place_batches(batches), setup.place_batches(evaluation)
    progress = progress and _is_first()
    keeper = None if checkpoint is None else Keeper(checkpoint, batches, evaluation)
    with Interruption() as interruption, keeper or nullcontext():
        place = FitPosition()
        if keeper is not None:
            run, place = keeper.resume(run, override)
        training, evaluated = _Training(setup, run), _Evaluation(setup)
        history = History([*place.records])
        while place.epoch <= epochs and not history.interrupted:
            label = f"epoch {place.epoch}/{epochs}"
            started = time.monotonic() - place.seconds
            skipped = 0 if keeper is None else keeper.skipped(place)
            bar = Progress(batches, label, show=progress, done=place.batches - skipped)
            training.over(bar, place, interruption, keeper, started, skipped)
            means = place.mean.compute() if place.mean is not None else {}
            record: dict[str, float] = {f"train/{name}": value for name, value in means.items()}
            history.interrupted = interruption.requested
            if evaluation is not None and not history.interrupted:
                results = evaluated.over(training.run, evaluation, "evaluating", False)
                record |= {f"eval/{name}": value for name, value in results.items()}
            seconds = time.monotonic() - started
            record = {"epoch": place.epoch, "step": training.steps, "seconds": seconds, **record}
            history.records.append(record)
            if history.interrupted:
                break
            place = place.next_epoch(record)
            if keeper is not None:
                keeper.whole_epoch(training.run, place, record)
            if on_epoch is not None:
                # a copy: the next step donates the original
                on_epoch(jax.tree.map(jnp.copy, training.run), record)
            elif progress:
                shown = ", ".join(f"{k} {v:.4f}" for k, v in record.items() if "/" in k)
                print(f"{label}: {shown}  ({seconds:.1f} s)", flush=True)  # noqa: T201
    return training.run, history


def _is_first() -> bool:
    """Tell whether this process is the one that draws and prints."""
    return jax.process_index() == 0


def _check_pieces(objective: Any, optimizer: Any, run: Any) -> None:
    """Meet arguments in another order, or of another kind, where they are passed."""
    if isinstance(objective, Functional | Module):
        raise TypeError(
            "fit takes an objective first, which knows the loss: fit(training.supervised(net, F.cross_entropy), "
            f"optimizer, run, batches, epochs=...); got a {type(objective).__name__}"
        )
    if not hasattr(optimizer, "update") and not (
        isinstance(optimizer, tuple) and len(optimizer) == 2
    ):
        raise TypeError(
            f"fit takes an optimizer second, such as optim.adamw(1e-3); got {type(optimizer).__name__}"
        )
    if not isinstance(run, TrainState):
        raise TypeError(
            "fit takes run = training.TrainState.create(net, optimizer, jax.random.key(0)) third; got "
            f"{type(run).__name__}"
        )
