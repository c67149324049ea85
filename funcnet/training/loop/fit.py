"""fit: the loop that most people would otherwise write by hand."""

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from funcnet.checkpoint import Checkpointer
from funcnet.core.checks import check_non_negative
from funcnet.module import Functional, Module
from funcnet.parallel.rules.table import Rules
from funcnet.training.loop.evaluation import Evaluation, is_first
from funcnet.training.loop.history import History
from funcnet.training.loop.interruption import Interruption
from funcnet.training.loop.on_mesh import set_up
from funcnet.training.loop.progress import Progress
from funcnet.training.loop.resuming import FitPosition, Keeper
from funcnet.training.loop.training import Training
from funcnet.training.objective import Objective
from funcnet.training.train_state import TrainState

__all__ = ["fit"]


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
    progress = progress and is_first()
    keeper = None if checkpoint is None else Keeper(checkpoint, batches, evaluation)
    with Interruption() as interruption, keeper or nullcontext():
        place = FitPosition()
        if keeper is not None:
            run, place = keeper.resume(run, override)
        training, evaluated = Training(setup, run), Evaluation(setup)
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
