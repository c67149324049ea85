"""Evaluation: the means of an objective's metrics over all samples."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import jax
from jax.sharding import Mesh

from funcnet.parallel.rules.table import Rules
from funcnet.training.loop.on_mesh import Setup, cached, in_step, set_up
from funcnet.training.metrics.running_mean import RunningMean
from funcnet.training.objective import Objective, weight_of
from funcnet.training.progress import Progress
from funcnet.training.steps import make_eval_step
from funcnet.training.train_state import TrainState

__all__ = ["Evaluation", "evaluate", "is_first"]


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
    return Evaluation(setup).over(run, batches, "evaluating", progress and is_first())


@lru_cache(
    maxsize=16
)  # an epoch, an evaluation or a fit later, the same functions are not compiled again
def _eval_functions(objective: Objective) -> tuple[Any, Any, set[Any]]:
    plain = make_eval_step(objective)

    def accumulate(run: TrainState, mean: RunningMean, batch: Any) -> RunningMean:
        return mean.add(plain(run, batch), weight_of(objective, batch))

    return plain, jax.jit(accumulate), set()


class Evaluation:
    """An evaluation step compiled once and used at every epoch."""

    def __init__(self, setup: Setup) -> None:
        self.plain, self.step, self.known = cached(_eval_functions, setup.objective)
        self.place = setup.place_whole

    def over(
        self, run: TrainState, batches: Iterable[Any], label: str, show: bool
    ) -> dict[str, float]:
        """Return the means over batches, behind a bar."""
        mean = None
        bar = Progress(batches, label, show=show)
        for batch in bar:
            if mean is None:
                mean = self.place(RunningMean.zeros(jax.eval_shape(self.plain, run, batch)))
            mean = in_step(bar.call(self.step, run, mean, batch=batch, known=self.known))
        return mean.compute() if mean is not None else {}


def is_first() -> bool:
    """Tell whether this process is the one that draws and prints.

    Example:
        >>> from funcnet.training.loop.evaluation import is_first
        >>> is_first()
        True
    """
    return jax.process_index() == 0
