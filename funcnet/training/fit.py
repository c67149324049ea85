"""fit: the loop that most people would otherwise write by hand."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.checks import check_non_negative
from funcnet.training.interruption import Interruption
from funcnet.training.metrics import RunningMean
from funcnet.training.objective import Objective, batch_size
from funcnet.training.progress import Progress
from funcnet.training.steps import make_eval_step, make_train_step
from funcnet.training.train_state import TrainState

__all__ = ["History", "evaluate", "fit"]


@dataclass
class History:
    """What a run reported.

    Attributes:
        records: one dict an epoch: ``epoch``, ``step``, ``seconds``, and each metric as ``train/loss``,
            ``eval/accuracy``, and so on.
        interrupted: whether Ctrl-C ended it.
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
    objective: Objective, run: TrainState, batches: Iterable[Any], *, progress: bool = False
) -> dict[str, float]:
    """Return the means of an objective's metrics over all samples, in evaluation mode.

    Args:
        objective: see `Objective`.
        run: whose params and state are evaluated.
        batches: an iterable of pytrees; a smaller last batch weighs less.
        progress: whether to draw a bar.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.zeros((2, 4)), "y": jnp.array([0, 1])}]
        >>> sorted(fn.training.evaluate(objective, run, batches))
        ['loss']
    """
    return _Evaluation(objective).over(run, batches, "evaluating", progress)


class _Evaluation:
    """An evaluation step compiled once and used at every epoch."""

    def __init__(self, objective: Objective) -> None:
        self.plain = make_eval_step(objective)

        def accumulate(run: TrainState, mean: RunningMean, batch: Any) -> RunningMean:
            return mean.add(self.plain(run, batch), batch_size(batch))

        self.step = jax.jit(accumulate)
        self.known: set[Any] = set()

    def over(
        self, run: TrainState, batches: Iterable[Any], label: str, show: bool
    ) -> dict[str, float]:
        mean = None
        bar = Progress(batches, label, show=show)
        for batch in bar:
            if mean is None:
                mean = RunningMean.zeros(jax.eval_shape(self.plain, run, batch))
            mean = bar.call(self.step, run, mean, batch=batch, known=self.known)
        return mean.compute() if mean is not None else {}


class _Training:
    """A training step compiled once, and the state that it moves."""

    def __init__(self, objective: Objective, optimizer: Any, run: TrainState) -> None:
        self.plain = make_train_step(objective, optimizer)

        def accumulate(
            run: TrainState, mean: RunningMean, batch: Any
        ) -> tuple[TrainState, RunningMean]:
            run, metrics = self.plain(run, batch)
            return run, mean.add(metrics, batch_size(batch))

        self.step = jax.jit(accumulate, donate_argnums=(0, 1))
        self.run = jax.tree.map(jnp.copy, run)  # the steps donate it; the caller's stays whole
        self.known: set[Any] = set()
        self.names: Any = None

    def over(self, bar: Progress, interruption: Interruption) -> dict[str, float]:
        mean = None
        for batch in bar:
            if mean is None:
                self.names = self.names or jax.eval_shape(self.plain, self.run, batch)[1]
                mean = RunningMean.zeros(self.names)
            self.run, mean = bar.call(self.step, self.run, mean, batch=batch, known=self.known)
            bar.show(mean.compute)
            if interruption.requested:
                break
        if mean is None:
            raise ValueError("batches is empty: there is nothing to train on")
        return mean.compute()


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
) -> tuple[TrainState, History]:
    """Train for a number of epochs.

    The step is jitted and updates a copy of ``run`` in place; ``run`` itself stays as it was. Ctrl-C ends the
    run after the step under way and returns what has been reached.

    Args:
        objective: what to make small; see `Objective` and `supervised`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.
        run: from `TrainState.create`, or of an earlier run, to go on with.
        batches: iterated over once an epoch, such as a `funcnet.data.DataLoader`.
        epochs: how many to make.
        evaluation: batches to evaluate on after each epoch.
        progress: whether to draw a progress bar (needs tqdm).
        on_epoch: called with the state and the epoch's record after each epoch, to print or save.

    Returns:
        ``(run, history)``.

    Raises:
        ValueError: ``batches`` is empty, or an iterator that a second epoch would find exhausted.

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
    if epochs > 1 and isinstance(batches, Iterator):
        raise ValueError(
            f"batches is an iterator ({type(batches).__name__}) and would be empty after the first epoch: pass "
            "something that can be iterated over again, such as a DataLoader or a list"
        )
    training, evaluated, history = (
        _Training(objective, optimizer, run),
        _Evaluation(objective),
        History(),
    )
    with Interruption() as interruption:
        for epoch in range(1, epochs + 1):
            started = time.monotonic()
            bar = Progress(batches, f"epoch {epoch}/{epochs}", show=progress)
            record = {
                "train/" + name: mean for name, mean in training.over(bar, interruption).items()
            }
            if evaluation is not None and not interruption.requested:
                results = evaluated.over(training.run, evaluation, "evaluating", False)
                record |= {f"eval/{name}": value for name, value in results.items()}
            seconds = time.monotonic() - started
            history.records.append(
                {"epoch": epoch, "step": int(training.run.step), "seconds": seconds, **record}
            )
            if on_epoch is not None:
                # a copy: the next step donates the original
                on_epoch(jax.tree.map(jnp.copy, training.run), history.records[-1])
            if interruption.requested:
                history.interrupted = True
                break
    return training.run, history
