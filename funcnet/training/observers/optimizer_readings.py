"""What the optimizer does: its learning rates now, and how large gradients and updates are."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Params, PyTree
from funcnet.core.leaf_kinds import is_none
from funcnet.core.paths import join, leaves_with_paths, matches, select
from funcnet.optim import LossScaleState, RowSparse, global_norm, hyperparams
from funcnet.training.loop.observer import Loop, Observer
from funcnet.training.observers.log import check_every
from funcnet.training.train_state import TrainState

__all__ = ["GradientNorms", "LearningRate", "optimizer_numbers"]

_RATES = ("lr", "*.lr", "learning_rate", "*.learning_rate", "loss_scale")


class LearningRate(Observer):
    """Report the learning rate that the latest step used, of each group, as logs show it: ``lr``, ``head.*.lr``.

    It is read from the optimizer's state, so that it is right for schedules, for numbers set by hand
    (`optim.with_hyperparams`) and for any optimizer of `funcnet.optim` within chains, groups and wrappers, and for
    Optax's with ``optax.inject_hyperparams``. With a dynamic loss scale ``loss_scale`` is reported, too.

    Args:
        every: at multiples of how many steps.
        names: patterns of the hyperparameters to report; ``"*"`` is all, such as ``betas.0`` and ``weight_decay``.

    Raises:
        ValueError: raised by `fit`, the optimizer's state tells no such number.

    Example:
        >>> net, optimizer = fn.functionalize(nn.Linear(4, 2)), optim.sgd(lambda step: 0.4 - 0.1 * step)
        >>> run = fn.training.TrainState.create(net, optimizer, jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> run, history = fn.training.fit(
        ...     objective, optimizer, run, batches, epochs=1, progress=False,
        ...     observers=[fn.training.LearningRate(every=2), fn.training.JSONLog("a.jsonl", every=None)])
        >>> import json, pathlib
        >>> rows = [json.loads(line) for line in pathlib.Path("a.jsonl").read_text().splitlines()]
        >>> [round(row["lr"], 2) for row in rows]
        [0.3, 0.1]
    """

    def __init__(self, every: int = 50, names: str | Iterable[str] = _RATES) -> None:
        self.every = check_every("every", every)
        self.names = (names,) if isinstance(names, str) else tuple(names)

    def on_start(self, loop: Loop) -> None:
        """Meet an optimizer that tells nothing before the first step."""
        self._found(loop)

    def on_step(self, loop: Loop) -> None:
        """Report."""
        loop.report(jax.device_get(self._found(loop)))

    def _found(self, loop: Loop) -> dict[str, Any]:
        known = optimizer_numbers(loop.run.opt_state)
        found = {
            name: value
            for name, value in known.items()
            if any(matches(pattern, name) for pattern in self.names)
        }
        if not found:
            raise ValueError(
                f"the optimizer's state tells no {' or '.join(self.names)}; it has: {', '.join(known) or 'none'} "
                "(names= chooses among these). An optimizer of Optax tells its numbers inside "
                "optax.inject_hyperparams(optax.adam)(learning_rate=...)"
            )
        return found


def optimizer_numbers(opt_state: PyTree) -> dict[str, Any]:
    """Return the numbers in an optimizer's state by name: hyperparameters, those that Optax injects, a loss scale.

    Args:
        opt_state: of any optimizer.

    Example:
        >>> from funcnet.training.observers.optimizer_readings import optimizer_numbers
        >>> sorted(optimizer_numbers(optim.adam(1e-3).init({"w": jnp.ones(3)})))
        ['betas.0', 'betas.1', 'eps', 'lr']
    """
    found: dict[str, Any] = {}
    for name, value in hyperparams(opt_state).items():
        several = isinstance(value, tuple)
        parts = enumerate(value) if several else [("", value)]
        found |= {join(name, str(part)): number for part, number in parts}
    injected = leaves_with_paths(opt_state, is_leaf=_is_injected)
    nodes = [(path, node) for path, node in injected if _is_injected(node)]
    for path, node in nodes:
        for name, value in node.hyperparams.items():
            found[name if len(nodes) == 1 else join(path, name)] = value
    scaled = filter(_is_loss_scale, jax.tree.leaves(opt_state, is_leaf=_is_loss_scale))
    if (outer := next(scaled, None)) is not None:
        found["loss_scale"] = outer.scale
    return {name: value for name, value in found.items() if jnp.ndim(value) == 0}


def _is_injected(node: Any) -> bool:
    return isinstance(node, tuple) and isinstance(getattr(node, "hyperparams", None), Mapping)


def _is_loss_scale(node: Any) -> bool:
    return isinstance(node, LossScaleState)


class GradientNorms(Observer):
    """Measure how large the gradients are, layer by layer, and if asked for, the updates beside the weights.

    Logs then have ``gradient_norm/NAME`` for each layer, ``gradient_norm`` for all of them together, and with
    ``ratios`` also ``update_ratio/NAME``: the norm of the step that the parameters make, divided by the norm of the
    parameters, in healthy runs about 0.001. The norms are computed within the step, at multiples of ``every`` only.

    Args:
        every: at multiples of how many steps.
        layers: which parameters belong together: patterns of dotted paths, each a layer of that name; None: each module
            that has parameters.
        ratios: whether to measure updates, too.

    Raises:
        ValueError: raised by `fit`, a pattern matches no parameter.

    Example:
        >>> net = fn.functionalize(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)))
        >>> run = fn.training.TrainState.create(net, optim.sgd(0.5), jax.random.key(0))
        >>> objective = fn.training.supervised(net, F.cross_entropy, inputs="x", targets="y")
        >>> batches = [{"x": jnp.eye(4), "y": jnp.array([0, 1, 0, 1])}] * 4
        >>> run, history = fn.training.fit(
        ...     objective, optim.sgd(0.5), run, batches, epochs=1, progress=False,
        ...     observers=[fn.training.GradientNorms(every=2), fn.training.JSONLog("a.jsonl", every=2)])
        >>> import json, pathlib
        >>> row = json.loads(pathlib.Path("a.jsonl").read_text().splitlines()[0])
        >>> [name for name in row if "norm" in name]
        ['gradient_norm', 'gradient_norm/0', 'gradient_norm/2']
    """

    def __init__(
        self, every: int = 100, layers: str | Iterable[str] | None = None, *, ratios: bool = False
    ) -> None:
        self.every = check_every("every", every)
        names = (layers,) if isinstance(layers, str) else layers
        self._norms = _Norms(None if names is None else tuple(names), ratios)
        self.measure = self._norms  # not a method of this object, which the next fit would not know

    def on_start(self, loop: Loop) -> None:
        """Meet patterns that match nothing before the first step."""
        self._norms.groups([path for path, _ in leaves_with_paths(loop.run.params)])

    def measure(self, before: TrainState, grads: Params, updates: Params) -> dict[str, Array]:
        """Return the norms of a step."""
        return self._norms(before, grads, updates)

    def on_step(self, loop: Loop) -> None:
        """Report them."""
        own = ("gradient_norm", "update_ratio")
        loop.report({n: v for n, v in loop.metrics.items() if n.partition("/")[0] in own})


@dataclass(frozen=True)
class _Norms:
    """What `GradientNorms` measures, known again by its settings: another fit compiles nothing again."""

    layers: tuple[str, ...] | None
    ratios: bool

    def __call__(self, before: TrainState, grads: Params, updates: Params) -> dict[str, Array]:
        found = {"gradient_norm": global_norm(grads)}
        found |= {f"gradient_norm/{name}": norm for name, norm in self.of(grads).items()}
        if self.ratios:
            sizes, steps = self.of(before.params), self.of(updates)
            found |= {
                f"update_ratio/{name}": steps[name] / jnp.maximum(sizes[name], 1e-12)
                for name in steps
            }
        return found

    def of(self, tree: PyTree) -> dict[str, Array]:
        leaves = dict(leaves_with_paths(tree, is_leaf=_is_leaf))
        return {
            name: global_norm([leaves[path] for path in paths])
            for name, paths in self.groups([*leaves]).items()
        }

    def groups(self, paths: list[str]) -> dict[str, list[str]]:
        if self.layers is not None:
            return {
                pattern: sorted(select(pattern, paths), key=paths.index) for pattern in self.layers
            }
        found: dict[str, list[str]] = {}
        for path in paths:
            found.setdefault(path.rpartition(".")[0] or path, []).append(path)
        return found


def _is_leaf(node: Any) -> bool:
    return is_none(node) or isinstance(node, RowSparse)
