"""Dropout layers: in training they draw a key and set elements to zero; otherwise they do nothing."""

from collections.abc import Callable
from typing import Any, ClassVar

from funcnet.core.aliases import Array
from funcnet.core.checks import check_probability
from funcnet.functional.dropout import (
    alpha_dropout,
    dropout,
    dropout1d,
    dropout2d,
    dropout3d,
    feature_alpha_dropout,
)
from funcnet.module import Module

__all__ = ["AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout"]


class _Dropout(Module):
    function: ClassVar[Callable[..., Array]]

    def __init_subclass__(cls, function: Callable[..., Array] | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if function is not None:
            cls.function = staticmethod(function)

    def __init__(self, p: float = 0.5) -> None:
        check_probability("p", p)
        self.p = p

    def __call__(self, input: Array) -> Array:
        """Silence a random part of the input in training; return it as it is otherwise."""
        key = self.next_key() if self.training and 0 < self.p < 1 else None
        return self.function(input, self.p, self.training, key=key)


class Dropout(_Dropout, function=dropout):
    """Zero each element with probability ``p`` in training and divide the others by ``1 - p``.

    ``y = x m / (1 - p)``, where ``m`` is 0 with probability ``p``, else 1.

    Args:
        p: probability of an element to be zeroed.

    Raises:
        ValueError: ``p`` is not a probability.

    Example:
        >>> model = fn.bind(nn.Dropout(0.5), {}, {}, train=True, key=jax.random.key(0))
        >>> sorted(set(model(jnp.ones(100)).tolist()))
        [0.0, 2.0]

    Reference: Srivastava et al., Dropout, 2014; `funcnet.functional.dropout`.
    """


class Dropout1d(_Dropout, function=dropout1d):
    """Zero whole channels of ``(N, C, L)`` or ``(C, L)`` with probability ``p`` in training.

    Args:
        p: probability of a channel to be zeroed.

    Raises:
        ValueError: ``p`` is not a probability.

    Example:
        >>> model = fn.bind(nn.Dropout1d(), {}, {}, train=True, key=jax.random.key(0))
        >>> float(model(jnp.ones((8, 16, 4))).std(-1).sum())
        0.0

    Reference: Tompson et al., 2014, https://arxiv.org/abs/1411.4280.
    """


class Dropout2d(_Dropout, function=dropout2d):
    """Zero whole channels of ``(N, C, H, W)`` with probability ``p`` in training.

    Args:
        p: probability of a channel to be zeroed.

    Raises:
        ValueError: ``p`` is not a probability.

    Example:
        >>> model = fn.bind(nn.Dropout2d(), {}, {}, train=True, key=jax.random.key(0))
        >>> float(model(jnp.ones((8, 16, 4, 4))).std((2, 3)).sum())
        0.0

    Reference: Tompson et al., 2014, https://arxiv.org/abs/1411.4280.
    """


class Dropout3d(_Dropout, function=dropout3d):
    """Zero whole channels of ``(N, C, D, H, W)`` or ``(C, D, H, W)`` in training.

    Args:
        p: probability of a channel to be zeroed.

    Raises:
        ValueError: ``p`` is not a probability.

    Example:
        >>> model = fn.bind(nn.Dropout3d(), {}, {}, train=True, key=jax.random.key(0))
        >>> float(model(jnp.ones((8, 16, 2, 2, 2))).std((2, 3, 4)).sum())
        0.0

    Reference: Tompson et al., 2014, https://arxiv.org/abs/1411.4280.
    """


class AlphaDropout(_Dropout, function=alpha_dropout):
    """Set elements to the value that SELU levels off at, in training.

    ``y = a (x m + s (1 - m)) + b``, where ``m`` is 0 with probability ``p``, else 1, and ``s`` is -1.7581;
    ``a = 1 / √((1 - p) (1 + p s²))`` and ``b = -a p s`` leave zero mean and unit variance as they are.

    Args:
        p: probability of an element to be silenced.

    Raises:
        ValueError: ``p`` is not a probability.

    Example:
        >>> model = fn.bind(nn.AlphaDropout(), {}, {}, train=True, key=jax.random.key(0))
        >>> len(set(model(jnp.ones(100)).tolist()))
        2

    Reference: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515.
    """


class FeatureAlphaDropout(_Dropout, function=feature_alpha_dropout):
    """Set whole channels to the value that SELU levels off at, in training.

    Zero mean and unit variance stay as they are.

    Args:
        p: probability of a channel to be silenced.

    Raises:
        ValueError: ``p`` is not a probability.

    Example:
        >>> model = fn.bind(nn.FeatureAlphaDropout(), {}, {}, train=True, key=jax.random.key(0))
        >>> float(model(jnp.ones((8, 16, 4))).std(-1).max()) < 1e-6
        True

    Reference: Klambauer et al., 2017, https://arxiv.org/abs/1706.02515.
    """
