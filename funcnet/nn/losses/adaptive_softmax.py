"""A softmax over many classes, in clusters of falling frequency, and its loss."""

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from funcnet.core.aliases import Array, ArrayLike, DType
from funcnet.core.dtypes import as_floats
from funcnet.functional.activations.softmax import log_softmax
from funcnet.functional.indices import check_indices
from funcnet.functional.losses.reductions import reduce_loss
from funcnet.module import Module
from funcnet.module.precision.policy import ComputesIn
from funcnet.nn.containers.module_list import ModuleList
from funcnet.nn.containers.sequential import Sequential
from funcnet.nn.linear import Linear

__all__ = ["AdaptiveLogSoftmaxOutput", "AdaptiveLogSoftmaxWithLoss"]


class AdaptiveLogSoftmaxOutput(NamedTuple):
    """What `AdaptiveLogSoftmaxWithLoss` returns.

    Attributes:
        output: log-probability of each target, ``(N,)`` or ``()``.
        loss: their negative mean.

    Example:
        >>> loss = nn.AdaptiveLogSoftmaxWithLoss(8, 20, cutoffs=[5, 10])
        >>> net = fn.functionalize(loss)
        >>> params, state = net.init(jax.random.key(0))
        >>> found, state = net.apply(params, state, jnp.ones((2, 8)), jnp.array([1, 12]))
        >>> found.output.shape, found.loss.shape
        ((2,), ())
    """

    output: Array
    loss: Array


class AdaptiveLogSoftmaxWithLoss(Module):
    """Softmax over many classes that scores a rare class through the cluster that holds it.

    ``log p(y) = log softmax(h)_y`` for a frequent class, ``log p(y) = log softmax(h)_i + log softmax(g_i)_y`` for one
    of cluster ``i``, where ``h`` are the scores of frequent classes and clusters, and ``g_i`` those within the cluster.

    Classes are sorted by falling frequency. The ``i``-th cluster of rare ones is projected to
    ``in_features / div_value^i`` features first.

    Args:
        in_features: features of the input.
        n_classes: number of classes.
        cutoffs: the first class of each cluster, rising, between 1 and ``n_classes - 1``.
        div_value: by what the features of each further cluster are divided.
        head_bias: whether the frequent classes have a bias.
        dtype: of the parameters.

    Raises:
        ValueError: cutoffs that are empty, out of order or out of range.

    Example:
        >>> net = fn.functionalize(nn.AdaptiveLogSoftmaxWithLoss(8, 20, [5, 10]))
        >>> params, state = net.init(jax.random.key(0))
        >>> (output, loss), _ = net.apply(params, state, jnp.ones((4, 8)), jnp.array([0, 4, 5, 19]))
        >>> output.shape, loss.shape
        ((4,), ())

    Reference: Grave et al. 2017, https://arxiv.org/abs/1609.04309
    """

    computes_in: ClassVar[ComputesIn] = "float32 result"

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        cutoffs: Sequence[int],
        div_value: float = 4.0,
        head_bias: bool = False,
        *,
        dtype: DType = jnp.float32,
    ) -> None:
        cutoffs = list(cutoffs)
        rising = all(a < b for a, b in zip([0, *cutoffs], [*cutoffs, n_classes], strict=True))
        if not cutoffs or not rising or any(int(c) != c for c in cutoffs):
            raise ValueError(
                f"cutoffs must be rising integers between 1 and {n_classes - 1}; got {cutoffs}"
            )
        self.in_features = in_features
        self.n_classes = n_classes
        self.cutoffs = [*cutoffs, n_classes]
        self.div_value = div_value
        self.head_bias = head_bias
        self.shortlist_size = cutoffs[0]
        self.n_clusters = len(cutoffs)
        self.head_size = self.shortlist_size + self.n_clusters
        self.head = Linear(in_features, self.head_size, bias=head_bias, dtype=dtype)
        self.tail = ModuleList(
            self._projection(place, stop - start, dtype)
            for place, (start, stop) in enumerate(self._clusters())
        )

    def _clusters(self) -> list[tuple[int, int]]:
        return list(zip(self.cutoffs, self.cutoffs[1:], strict=False))

    def _projection(self, place: int, classes: int, dtype: DType) -> Sequential:
        features = int(self.in_features // self.div_value ** (place + 1))
        return Sequential(
            Linear(self.in_features, features, bias=False, dtype=dtype),
            Linear(features, classes, bias=False, dtype=dtype),
        )

    def __call__(
        self, input: Array, target: Array, *, where: ArrayLike | None = None
    ) -> AdaptiveLogSoftmaxOutput:
        """Return the log-probability of each target and the mean loss.

        Args:
            input: ``(N, in_features)`` or ``(in_features,)``.
            target: class indices ``(N,)`` or ``()``.
            where: mask ``(N,)`` of the samples that the loss counts.

        Raises:
            ValueError: shapes that do not fit.
            IndexError: a target outside of ``0 … n_classes - 1``; inside ``jax.jit`` it costs NaN.
        """
        known, (input,) = target, as_floats("AdaptiveLogSoftmaxWithLoss", input=input)
        target = jnp.asarray(target)
        if target.ndim > 1 or input.shape[:-1] != target.shape or input.ndim == 0:
            raise ValueError(
                "input (N, in_features) goes with a target (N,), and (in_features,) with (); got "
                f"{input.shape} and {target.shape}"
            )
        check_indices("target", known, self.n_classes)
        if where is not None:  # so that NaN in a sample that does not count reaches no parameter
            counts = jnp.broadcast_to(jnp.asarray(where, bool), target.shape)
            input = jnp.where(counts[..., None], input, 0)
        head = log_softmax(self.head(input), -1)
        output = _take(head, target, target < self.shortlist_size)
        for place, (start, stop) in enumerate(self._clusters()):
            inside = (target >= start) & (target < stop)
            cluster = log_softmax(self.tail[place](input), -1)
            chance = head[..., self.shortlist_size + place] + _take(cluster, target - start, inside)
            output = jnp.where(inside, chance, output)
        inside = (target >= 0) & (target < self.n_classes)
        output = jnp.where(inside, output, jnp.full((), jnp.nan, output.dtype))
        return AdaptiveLogSoftmaxOutput(output, reduce_loss(-output, output.dtype, "mean", where))

    def log_prob(self, input: Array) -> Array:
        """Return the log-probabilities of all classes, ``(N, n_classes)``."""
        head = log_softmax(self.head(input), -1)
        parts = [head[..., : self.shortlist_size]]
        for place in range(self.n_clusters):
            cluster = log_softmax(self.tail[place](input), -1)
            chosen = self.shortlist_size + place
            parts.append(head[..., chosen : chosen + 1] + cluster)
        return jnp.concatenate(parts, axis=-1)

    def predict(self, input: Array) -> Array:
        """Return the most probable class of each sample, ``(N,)``."""
        return jnp.argmax(self.log_prob(input), axis=-1)


def _take(scores: Array, index: Array, inside: Array) -> Array:
    """Take one score of each row; anything where the index is not inside."""
    index = jnp.where(inside, index, jnp.zeros((), index.dtype))[..., None]
    return jnp.take_along_axis(scores, index, axis=-1, mode="clip")[..., 0]
