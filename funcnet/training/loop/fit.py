"""fit: the loop that most people would otherwise write by hand."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import jax
from jax.sharding import Mesh

from funcnet.checkpoint import Checkpointer
from funcnet.module import Functional, Module
from funcnet.parallel.rules.table import Rules
from funcnet.training.errors import check_batches
from funcnet.training.loop.evaluation import is_first
from funcnet.training.loop.history import History
from funcnet.training.loop.interruption import Interruption
from funcnet.training.loop.length import Epochs, Length, check_length
from funcnet.training.loop.observer import Observer
from funcnet.training.loop.on_mesh import Setup, set_up
from funcnet.training.loop.resuming import FitPosition, Keeper
from funcnet.training.loop.running import Running
from funcnet.training.loop.watching import check_observers
from funcnet.training.loss_scaling import DynamicLossScale
from funcnet.training.named_metrics import NamedMetrics
from funcnet.training.objective import Objective
from funcnet.training.progress import known_length
from funcnet.training.train_state import TrainState

__all__ = ["fit"]


def fit(
    objective: Objective,
    optimizer: Any,
    run: TrainState,
    batches: Iterable[Any],
    *,
    epochs: int | None = None,
    steps: int | None = None,
    seconds: float | None = None,
    evaluation: Iterable[Any] | None = None,
    evaluate_every: int | Epochs | None = None,
    metrics: Mapping[str, Any] | Sequence[Any] | None = None,
    observers: Sequence[Observer] = (),
    loss_scale: DynamicLossScale | None = None,
    progress: bool = True,
    on_epoch: Callable[[TrainState, dict[str, float]], None] | None = None,
    checkpoint: Checkpointer | str | os.PathLike[str] | None = None,
    override: Mapping[str, Any] | None = None,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> tuple[TrainState, History]:
    """Train for a number of epochs, of steps, or of seconds, whichever is reached first.

    The step is jitted and updates a copy of ``run`` in place; ``run`` itself stays as it was. Ctrl-C ends the
    run after the step under way and returns what has been reached; so does SIGTERM, by which the process ends then.
    Another call with the same objective, optimizer and observers compiles nothing again.

    An error is raised as it is, with notes of epoch, step and the batch's shapes. What was trained until then is saved
    if there is a ``checkpoint`` (by a process alone), and `rescued` returns it.

    With ``mesh=`` everything runs on many devices, and gives the numbers of one. The model and the optimizer are
    sharded as `parallel.shard` and `parallel.shard_optimizer` do it, the run is put where they belong, and batches go
    where `parallel.batch_sharding` says. Of several processes each loads its part
    (``DataLoader(..., shard=parallel.batch_sharding(mesh))``) and calls its observers, the first draws bars and prints,
    and where one is interrupted, stopped by an observer, or out of seconds, all of them end after the same step.

    Args:
        objective: what to make small; see `Objective` and `supervised`.
        optimizer: a pair ``(init, update)`` from `funcnet.optim` or Optax.
        run: from `TrainState.create`, or of an earlier run, to go on with.
        batches: iterated over once an epoch, such as a `funcnet.data.DataLoader`. With ``steps`` or ``seconds`` they
            may go on for ever: their first epoch never ends then.
        epochs: how many to make at most; at least one of ``epochs``, ``steps`` and ``seconds`` is needed.
        steps: how many to make at most. They may end within an epoch.
        seconds: how long to train, evaluations and compilation included; the step under way is finished, and what
            follows a last step is done.
        evaluation: batches to evaluate on.
        evaluate_every: when: a number of steps, or of epochs as ``training.Epochs(2)``; without it after each epoch.
            The last step of a run is evaluated in any case, except after Ctrl-C, SIGTERM or an error.
        metrics: further metrics of outputs and targets, for training and evaluation; see `evaluate`.
        observers: a list of `Observer`, called at their turns in the order of the list. A checkpoint keeps their
            states: the first of a class goes on as the first of that class, and so on.
        loss_scale: for a model in float16, `dynamic_loss_scale`; `TrainState.create` is given the same.
        progress: whether to show a bar (see `Progress`), and where there is no ``on_epoch`` a line for each epoch, for
            each evaluation within one, and for the last step.
        on_epoch: called with the state and the epoch's record after each whole epoch, to print or save; `Observer`
            sees more. An epoch that Ctrl-C cut short is in the history, with what it trained on, but not evaluated.
        checkpoint: a folder, or a `funcnet.checkpoint.Checkpointer`, to keep the run in: after each epoch, whenever
            the checkpointer's ``every`` says so, at an error, and at Ctrl-C or SIGTERM. The same call goes on from the
            latest one, however the run before ended, and gets the numbers that a run without an end would have got,
            bit for bit; ``epochs``, ``steps`` and ``seconds`` count those of all calls. Without ``every`` what an
            epoch did is lost with a killed process.
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
        ValueError: there is no length, or a negative one; ``batches`` or ``evaluation`` is empty, or an iterator that
            another pass would find, or found, exhausted; ``evaluate_every`` without ``evaluation``; an observer that
            would never be called.
        TypeError: ``objective`` is a model or a loss instead of an objective, ``run`` is not a `TrainState`,
            ``batches`` is one batch or a dataset of single samples, something in ``observers`` is no `Observer`,
            there are ``metrics`` or ``rules`` for an objective written by hand.

    Warns:
        RuntimeWarning: a metric was not finite; the message names the first such step.
        UserWarning: a checkpoint keeps the state of other observers than these.

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
    length = check_length(epochs, steps, seconds, evaluate_every, evaluation)
    _check_pieces(objective, optimizer, run)
    _check_options(loss_scale, on_epoch)
    watching, named = check_observers(observers), NamedMetrics.of(metrics)
    _check_sources(batches, evaluation, length)
    if override and checkpoint is None:
        raise ValueError("override changes what a checkpoint holds: pass checkpoint=, too")
    setup = set_up(objective, optimizer, mesh, rules)
    run = setup.place_run(run)
    batches, evaluation = setup.place_batches(batches), setup.place_batches(evaluation)
    keeper = None if checkpoint is None else Keeper(checkpoint, batches, evaluation)
    settings = _settings(length, batches, evaluation is not None, watching, keeper, setup)
    with Interruption() as interruption, keeper or nullcontext():
        place = FitPosition(began=int(run.step))
        if keeper is not None:
            run, place = keeper.resume(run, override, place=place)
        return Running(
            setup, run, place, batches, evaluation, length, named, loss_scale, watching, settings,
            keeper, interruption, on_epoch, progress and is_first(),
        ).go()  # fmt: skip


def _check_sources(batches: Any, evaluation: Any, length: Length) -> None:
    """Meet what is no batches, and iterators that a second pass would find exhausted."""
    check_batches("batches", batches)
    if evaluation is not None:
        check_batches("evaluation", evaluation)
    more = length.epochs is not None and length.epochs > 1
    again = more or not isinstance(length.evaluate_every, Epochs)
    only_epochs = length.steps is None and length.seconds is None
    for name, source, passes in (
        ("batches", batches, more and only_epochs),
        ("evaluation", evaluation, again),
    ):
        if passes and isinstance(source, Iterator):
            raise ValueError(
                f"{name} is an iterator ({type(source).__name__}) and would be empty after the first pass: give "
                "something that can be iterated over again, such as a DataLoader or a list"
            )


def _settings(
    length: Length,
    batches: Any,
    evaluates: bool,
    observers: list[Observer],
    keeper: Keeper | None,
    setup: Setup,
) -> dict[str, Any]:
    """Write out what `fit` was given, for observers to show."""
    every = length.evaluate_every
    return {
        "epochs": length.epochs,
        "steps": length.steps,
        "seconds": length.seconds,
        "evaluate_every": every if isinstance(every, int) else f"{every.number} epochs",
        "evaluation": evaluates,
        "batches": known_length(batches),
        "observers": [type(one).__name__ for one in observers],
        "checkpoint": None if keeper is None else str(keeper.checkpointer.directory),
        "mesh": None if setup.mesh is None else str(dict(setup.mesh.shape)),
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "platform": jax.default_backend(),
    }


def _check_options(loss_scale: Any, on_epoch: Any) -> None:
    if loss_scale is not None and not isinstance(loss_scale, DynamicLossScale):
        raise TypeError(
            f"loss_scale is made by training.dynamic_loss_scale({loss_scale!r}), which TrainState.create is given, too"
        )
    if on_epoch is not None and not callable(on_epoch):
        raise TypeError(
            f"on_epoch is a function of the run and the epoch's record; got {on_epoch!r}"
        )


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
