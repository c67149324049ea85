"""PyTorch's initial distributions as values: ``init(key, shape, dtype) -> array``.

Each factory returns a frozen `Distribution` that equals and hashes like every other one made with
the same arguments, so that `functionalize` can draw all parameters alike in one call.
Reference: https://docs.pytorch.org/docs/stable/nn.init.html
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, Shape
from funcnet.core.checks import check_choice, check_non_negative, check_positive, check_probability
from funcnet.nn.init import sampling
from funcnet.nn.init.sampling import calculate_fan_in_and_fan_out

__all__ = [
    "Distribution",
    "array",
    "calculate_fan_in_and_fan_out",
    "calculate_gain",
    "constant",
    "dirac",
    "eye",
    "kaiming_normal",
    "kaiming_uniform",
    "normal",
    "ones",
    "orthogonal",
    "sparse",
    "trunc_normal",
    "uniform",
    "uniform_fan_in",
    "xavier_normal",
    "xavier_uniform",
    "zero_row",
    "zeros",
]

FanMode = Literal["fan_in", "fan_out"]

_GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3.0,
    "relu": math.sqrt(2.0),
    "selu": 0.75,
}


@dataclass(frozen=True, repr=False)
class Distribution:
    """An initializer: a module-level sampling function and its settings, comparable by value.

    >>> nn.init.normal(0.0, 0.02) == nn.init.normal(std=0.02)
    True
    >>> nn.init.normal(0.0, 0.02)(jax.random.key(0), (2, 3), jnp.float32).shape
    (2, 3)
    """

    sample: Callable[..., Array]
    settings: tuple[Any, ...] = ()

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        """Draw an array of the given shape and dtype."""
        return self.sample(key, tuple(shape), jnp.dtype(dtype), *self.settings)

    def __repr__(self) -> str:
        """Show the factory's call."""
        return f"{self.sample.__name__}({', '.join(map(repr, self.settings))})"


# ---- gains and fans ------------------------------------------------------------------------------


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    r"""Return the factor that keeps the variance of activations through a nonlinearity.

    1 for linear and convolution layers and sigmoid, 5/3 for tanh, √2 for relu, 3/4 for selu and
    √(2 / (1 + slope²)) for leaky_relu.

    Args:
        nonlinearity: the function's name in `funcnet.functional`.
        param: the negative slope of ``leaky_relu`` (0.01 if none is given).

    Raises:
        ValueError: an unknown name, or a slope that is no number.

    >>> nn.init.calculate_gain("leaky_relu", 1.0)
    1.0
    """
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        if isinstance(slope, bool) or not isinstance(slope, int | float):
            raise ValueError(f"the negative slope must be a number; got {slope!r}")
        return math.sqrt(2.0 / (1.0 + slope**2))
    check_choice("nonlinearity", nonlinearity, (*_GAINS, "leaky_relu"))
    return _GAINS[nonlinearity]


# ---- plain distributions -------------------------------------------------------------------------


def uniform(a: float = 0.0, b: float = 1.0) -> Distribution:
    """Draw from the uniform distribution on ``[a, b)``.

    >>> nn.init.uniform(-1.0, 1.0)
    uniform(-1.0, 1.0)
    """
    if a > b:
        raise ValueError(f"the lower bound must not exceed the upper one; got a={a!r}, b={b!r}")
    return Distribution(sampling.uniform, (a, b))


def uniform_fan_in(fan_in: int) -> Distribution:
    """Draw from ``U(-1/√fan_in, 1/√fan_in)``: PyTorch's default for biases and recurrent weights.

    A fan of zero gives zeros.

    >>> nn.init.uniform_fan_in(4)
    uniform(-0.5, 0.5)
    """
    bound = 1.0 / math.sqrt(fan_in) if fan_in > 0 else 0.0
    return Distribution(sampling.uniform, (-bound, bound))


def normal(mean: float = 0.0, std: float = 1.0) -> Distribution:
    """Draw from the normal distribution with this mean and standard deviation.

    >>> nn.init.normal(0.0, 0.02)
    normal(0.0, 0.02)
    """
    check_non_negative("std", std)
    return Distribution(sampling.normal, (mean, std))


def trunc_normal(
    mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0
) -> Distribution:
    """Draw from the normal distribution conditioned on the interval ``[a, b]``.

    The bounds are absolute, as in PyTorch, and not multiples of ``std``. The draws follow the
    distribution exactly also when the mean lies far outside of the interval.

    >>> draws = nn.init.trunc_normal(std=0.02, a=-0.04, b=0.04)(jax.random.key(0), (100,))
    >>> bool((abs(draws) <= 0.04).all())
    True
    """
    check_positive("std", std)
    if a >= b:
        raise ValueError(f"the lower bound must be below the upper one; got a={a!r}, b={b!r}")
    return Distribution(sampling.trunc_normal, (mean, std, a, b))


def constant(val: float) -> Distribution:
    """Fill with one value.

    >>> nn.init.constant(0.25)(jax.random.key(0), (2,)).tolist()
    [0.25, 0.25]
    """
    return Distribution(sampling.constant, (val,))


def ones() -> Distribution:
    """Fill with ones.

    >>> nn.init.ones() == nn.init.constant(1)
    True
    """
    return constant(1)


def zeros() -> Distribution:
    """Fill with zeros.

    >>> nn.init.zeros() == nn.init.constant(0)
    True
    """
    return constant(0)


# ---- scaled by the fans --------------------------------------------------------------------------


def xavier_uniform(gain: float = 1.0) -> Distribution:
    """Draw from ``U(-a, a)`` with ``a = gain · √(6 / (fan_in + fan_out))`` (Glorot, Bengio 2010).

    >>> draws = nn.init.xavier_uniform()(jax.random.key(0), (2, 4))
    >>> bool((abs(draws) <= 1.0).all())
    True
    """
    return Distribution(sampling.xavier_uniform, (gain,))


def xavier_normal(gain: float = 1.0) -> Distribution:
    """Draw from ``N(0, s²)`` with ``s = gain · √(2 / (fan_in + fan_out))`` (Glorot, Bengio 2010).

    >>> nn.init.xavier_normal()(jax.random.key(0), (2, 4)).shape
    (2, 4)
    """
    return Distribution(sampling.xavier_normal, (gain,))


def kaiming_uniform(
    a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Distribution:
    """Draw from ``U(-b, b)`` with ``b = gain · √(3 / fan)`` (He et al. 2015).

    Args:
        a: the negative slope of the rectifier that follows (for ``leaky_relu``).
        mode: ``"fan_in"`` keeps the variance in the forward pass, ``"fan_out"`` in the backward.
        nonlinearity: a name that `calculate_gain` knows.

    >>> draws = nn.init.kaiming_uniform(nonlinearity="relu")(jax.random.key(0), (2, 6))
    >>> bool((abs(draws) <= 1.0).all())
    True
    """
    check_choice("mode", mode.lower(), ("fan_in", "fan_out"))
    return Distribution(sampling.kaiming_uniform, (calculate_gain(nonlinearity, a), mode.lower()))


def kaiming_normal(
    a: float = 0.0, mode: FanMode = "fan_in", nonlinearity: str = "leaky_relu"
) -> Distribution:
    """Draw from ``N(0, s²)`` with ``s = gain / √fan`` (He et al. 2015).

    The arguments are those of `kaiming_uniform`.

    >>> nn.init.kaiming_normal(mode="fan_out")(jax.random.key(0), (2, 6)).shape
    (2, 6)
    """
    check_choice("mode", mode.lower(), ("fan_in", "fan_out"))
    return Distribution(sampling.kaiming_normal, (calculate_gain(nonlinearity, a), mode.lower()))


# ---- structured matrices -------------------------------------------------------------------------


def eye() -> Distribution:
    """Fill a matrix with the identity, as far as it goes.

    >>> nn.init.eye()(jax.random.key(0), (2, 3)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    return Distribution(sampling.eye)


def dirac(groups: int = 1) -> Distribution:
    """Fill a convolution weight so that each group passes its channels through unchanged.

    >>> nn.init.dirac()(jax.random.key(0), (1, 1, 3)).tolist()
    [[[0.0, 1.0, 0.0]]]
    """
    check_positive("groups", groups)
    return Distribution(sampling.dirac, (groups,))


def orthogonal(gain: float = 1.0) -> Distribution:
    """Draw a (semi-)orthogonal matrix, uniformly, times a gain; later axes count as columns.

    Reference: Saxe et al. 2013, https://arxiv.org/abs/1312.6120.

    >>> q = nn.init.orthogonal()(jax.random.key(0), (3, 3))
    >>> bool(jnp.allclose(q @ q.T, jnp.eye(3), atol=1e-5))
    True
    """
    return Distribution(sampling.orthogonal, (gain,))


def sparse(sparsity: float, std: float = 0.01) -> Distribution:
    """Draw a normal matrix in which a fraction of each column is zero (Martens 2010).

    >>> w = nn.init.sparse(0.5)(jax.random.key(0), (4, 3))
    >>> (w == 0).sum(axis=0).tolist()
    [2, 2, 2]
    """
    check_probability("sparsity", sparsity)
    check_non_negative("std", std)
    return Distribution(sampling.sparse, (sparsity, std))


@dataclass(frozen=True, eq=False)
class _Given:
    """An initializer that returns one array; equal only to itself."""

    value: Any

    def __call__(self, key: Key, shape: Shape, dtype: Any = jnp.float32) -> Array:
        return jnp.broadcast_to(jnp.asarray(self.value, dtype), tuple(shape))

    def __repr__(self) -> str:
        return f"array({jnp.shape(self.value)})"


def array(value: Any) -> Callable[..., Array]:
    """Start from values that are already there: pretrained weights, class weights.

    >>> nn.init.array(np.arange(3.0))(jax.random.key(0), (3,)).tolist()
    [0.0, 1.0, 2.0]
    """
    return _Given(value)


def zero_row(base: Callable[..., Array], index: int) -> Distribution:
    """Draw from another initializer and set one row to zero: an embedding's padding vector.

    >>> nn.init.zero_row(nn.init.ones(), 1)(jax.random.key(0), (3, 1)).tolist()
    [[1.0], [0.0], [1.0]]
    """
    return Distribution(sampling.zero_row, (base, index))
