"""Objectives: the function of params and a batch that training makes small."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Params, State
from funcnet.module import Functional

__all__ = ["Objective", "accuracy", "supervised"]

Metrics = dict[str, Array]


class Objective(Protocol):
    """``objective(params, state, batch, key, train) -> (loss, (metrics, state))``.

    ``loss`` is a scalar mean over the batch, ``metrics`` a flat dict of such means to report, ``state`` the
    model's new buffers. `supervised` makes one; a function written by hand will do as well.
    """

    def __call__(
        self, params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Metrics, State]]:
        """Compute the loss, the metrics and the new buffers."""
        ...


def supervised(
    net: Functional,
    loss: Callable[[Any, Any], Array],
    *,
    inputs: str | Callable[[Any], Any] = "image",
    targets: str | Callable[[Any], Any] = "label",
    metrics: Mapping[str, Callable[[Any, Any], Array]] | None = None,
) -> Objective:
    """Make the objective of a model that predicts targets from inputs.

    Args:
        net: from `funcnet.functionalize`.
        loss: ``loss(outputs, targets) -> scalar``, such as ``F.cross_entropy``.
        inputs: the key of a batch's inputs, or a function from a batch to them (to scale images, say).
        targets: likewise for the targets.
        metrics: names to functions ``metric(outputs, targets) -> scalar``.

    Returns:
        An `Objective`.

    Example:
        >>> net = fn.functionalize(nn.Linear(4, 3))
        >>> params, state = net.init(jax.random.key(0))
        >>> objective = fn.training.supervised(
        ...     net, F.cross_entropy, inputs="x", targets="y", metrics={"accuracy": fn.training.accuracy})
        >>> batch = {"x": jnp.ones((2, 4)), "y": jnp.array([0, 1])}
        >>> loss, (metrics, state) = objective(params, state, batch, None, False)
        >>> sorted(metrics)
        ['accuracy', 'loss']
    """
    take_inputs = _getter("inputs", inputs)
    take_targets = _getter("targets", targets)

    def objective(
        params: Params, state: State, batch: Any, key: Key | None, train: bool
    ) -> tuple[Array, tuple[Metrics, State]]:
        outputs, state = net.apply(params, state, take_inputs(batch), key=key, train=train)
        wanted = take_targets(batch)
        value = loss(outputs, wanted)
        if value.ndim:
            raise ValueError(
                f"the loss must be a scalar, the mean over the batch; got shape {value.shape}: use reduction='mean'"
            )
        reported = {"loss": value}
        for name, metric in (metrics or {}).items():
            reported[name] = metric(outputs, wanted)
        return value, (reported, state)

    return objective


def accuracy(logits: Array, targets: Array) -> Array:
    """Return the share of rows whose largest logit is the target's.

    Args:
        logits: ``(N, C)``, any floats.
        targets: ``(N,)``, class indices.

    Example:
        >>> float(fn.training.accuracy(jnp.array([[2.0, 1.0], [0.0, 1.0]]), jnp.array([0, 0])))
        0.5
    """
    return jnp.mean((jnp.argmax(logits, axis=-1) == targets).astype(jnp.float32))


def _getter(name: str, source: str | Callable[[Any], Any]) -> Callable[[Any], Any]:
    if callable(source):
        return source

    def take(batch: Any) -> Any:
        try:
            return batch[source]
        except (KeyError, TypeError) as error:
            entries = sorted(batch) if isinstance(batch, Mapping) else type(batch).__name__
            raise KeyError(
                f"a batch has no entry {source!r}: it has {entries}; pass {name}= a key, or a function of the batch"
            ) from error

    return take


def batch_size(batch: Any) -> int:
    """Return the number of samples of a batch: the length of its arrays' first axis."""
    leaves = [leaf for leaf in jax.tree.leaves(batch) if getattr(leaf, "ndim", 0)]
    return leaves[0].shape[0] if leaves else 1
