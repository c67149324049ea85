"""Evaluation: the means of an objective's metrics over all samples."""

import textwrap
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from funcnet.core.aliases import PyTree
from funcnet.parallel.rules.table import Rules
from funcnet.training.errors import check_batches, check_run, nothing_to_evaluate_on
from funcnet.training.loop.on_mesh import Setup, cached, in_step, set_up
from funcnet.training.loop.tally import CountedEvaluation
from funcnet.training.named_metrics import NamedMetrics
from funcnet.training.objective import Objective
from funcnet.training.progress import Progress
from funcnet.training.train_state import TrainState

__all__ = ["Evaluation", "evaluate", "is_first", "table", "test", "values_of"]


def evaluate(
    objective: Objective,
    run: TrainState,
    batches: Iterable[Any],
    *,
    metrics: Mapping[str, Any] | Sequence[Any] | None = None,
    progress: bool = False,
    mesh: Mesh | None = None,
    rules: Rules | None = None,
) -> dict[str, Any]:
    """Return the means of an objective's metrics over all samples, in evaluation mode, and further metrics.

    Each batch weighs by what its means stand for (see `supervised`), so that the result is that of all samples at
    once: however they are cut into batches, padded, or spread over devices.

    Args:
        objective: see `Objective`.
        run: whose params and state are evaluated.
        batches: an iterable of pytrees.
        metrics: names to metrics, or a list of metrics, which are then named after their classes (``f_beta``) and
            functions. A metric is an object of `funcnet.training.metrics`, which adds up over batches, or a function
            ``(outputs, targets) -> scalar`` as in `supervised`, which made the objective.
        progress: whether to draw a bar; with several processes the first draws it.
        mesh: see `fit`.
        rules: likewise.

    Returns:
        Floats by name, and an array where a metric has a value for each class or pair of classes; the parts of a
        metric that is a dict are named ``"name/part"``.

    Raises:
        TypeError: ``metrics`` for an objective written by hand, something that is no metric, parameters in place of
            a run, or one batch in place of several.
        ValueError: there is no batch, outputs or targets do not fit a metric's settings, or a name is there twice.

    Warns:
        RuntimeWarning: a metric is ``nan``; the message says why.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.zeros((2, 4)), "y": jnp.array([0, 1])}]
        >>> sorted(fn.training.evaluate(objective, run, batches, metrics=[fn.training.metrics.FBeta(3)]))
        ['f_beta', 'loss']
    """
    check_run(run)
    check_batches("batches", batches)
    setup, source = set_up(objective, None, mesh, rules), batches
    run, batches = setup.place_run(run), setup.place_batches(batches)
    evaluation = Evaluation(setup, NamedMetrics.of(metrics))
    results = evaluation.over(run, batches, "evaluating", progress and is_first())
    if results is None:
        raise ValueError(nothing_to_evaluate_on(source, "batches"))
    return results


def test(
    objective: Objective,
    run: TrainState,
    batches: Iterable[Any],
    *,
    metrics: Mapping[str, Any] | Sequence[Any] | None = None,  # noqa: PT028
    progress: bool = False,  # noqa: PT028
    mesh: Mesh | None = None,  # noqa: PT028
    rules: Rules | None = None,  # noqa: PT028
) -> dict[str, Any]:
    """Evaluate, and print the result as a table; of several processes the first prints.

    Args:
        objective: see `evaluate`, as for all that follows.
        run: whose params and state are evaluated.
        batches: an iterable of pytrees.
        metrics: names to metrics, or a list of metrics.
        progress: whether to draw a bar.
        mesh: see `fit`.
        rules: likewise.

    Returns:
        What `evaluate` returns.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.1), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.mse_loss, inputs="x", targets="y")
        >>> outputs = net.apply(run.params, run.state, jnp.zeros((2, 4)))[0]
        >>> batches = [{"x": jnp.zeros((2, 4)), "y": outputs}]
        >>> results = fn.training.test(objective, run, batches, metrics=[fn.training.metrics.MAE()])
        loss  0.0000
        mae   0.0000
    """
    options: Any = {"metrics": metrics, "progress": progress, "mesh": mesh, "rules": rules}
    results = evaluate(objective, run, batches, **options)
    if is_first():
        print(table(results), flush=True)  # noqa: T201
    return results


def table(results: Mapping[str, Any]) -> str:
    """Write results as lines of names and values, arrays below their names.

    Example:
        >>> from funcnet.training.loop.evaluation import table
        >>> print(table({"loss": 0.25, "confusion": np.eye(2, dtype=int)}))
        loss       0.2500
        confusion
          [[1 0]
           [0 1]]
    """
    width = max((len(name) for name in results), default=0)
    return "\n".join(_line(name, value, width) for name, value in results.items())


def _line(name: str, value: Any, width: int) -> str:
    if np.ndim(value):
        return f"{name}\n{textwrap.indent(np.array2string(value, precision=4), '  ')}"
    return f"{name:{width}}  {value:.4f}"


@lru_cache(
    maxsize=16
)  # an epoch, an evaluation or a fit later, the same functions are not compiled again
def _eval_functions(
    objective: Objective, metrics: NamedMetrics, whole: NamedSharding | None
) -> tuple[CountedEvaluation, Any, Any, set[Any]]:
    step = CountedEvaluation(objective, metrics, whole)
    return step, jax.jit(step, donate_argnums=(1, 2)), jax.jit(metrics.init), set()


class Evaluation:
    """An evaluation step compiled once and used at every epoch."""

    def __init__(self, setup: Setup, metrics: NamedMetrics | None = None) -> None:
        self.metrics = metrics or NamedMetrics()
        made = cached(_eval_functions, setup.objective, self.metrics, setup.whole)
        self.plain, self.step, self.init, self.known = made
        self.place = setup.place_whole

    def over(
        self, run: TrainState, batches: Iterable[Any], label: str, show: bool
    ) -> dict[str, Any] | None:
        """Return the means over batches and the metrics' values, behind a bar; None if there is no batch.

        Warns:
            RuntimeWarning: a metric's value is ``nan``, and why.
        """
        totals: Any = None
        bar = Progress(batches, label, show=show)
        for batch in bar:
            if totals is None:
                totals = self.place((self.plain.start(run, batch), self.init()))
            totals = in_step(bar.call(self.step, run, *totals, batch=batch, known=self.known))
        if totals is None:
            return None
        return totals[0].read().means() | values_of(self.metrics, totals[1])


def values_of(metrics: NamedMetrics, state: PyTree) -> dict[str, Any]:
    """Read metrics' values, and warn why one is ``nan``.

    Example:
        >>> from funcnet.training.loop.evaluation import values_of
        >>> from funcnet.training.named_metrics import NamedMetrics
        >>> metrics = NamedMetrics.of({"acc": fn.training.metrics.Accuracy()})
        >>> counted = metrics.objects[0][1].update(metrics.init()["acc"], jnp.eye(2), jnp.arange(2))
        >>> values_of(metrics, {"acc": counted})
        {'acc': 1.0}
    """
    values = metrics.read(state)
    if any(np.isnan(value).any() for value in values.values()):
        for text in metrics.problems(state):
            warnings.warn(text, RuntimeWarning, stacklevel=4)
    return values


def is_first() -> bool:
    """Tell whether this process is the one that draws and prints.

    Example:
        >>> from funcnet.training.loop.evaluation import is_first
        >>> is_first()
        True
    """
    return jax.process_index() == 0
