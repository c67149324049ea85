"""Softmax and its relatives: they turn scores along an axis into probabilities."""

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, DType, Key
from funcnet.core.dtypes import as_floats, at_least_float32, widened
from funcnet.core.keys import require_key
from funcnet.functional.residuals import keeping_input

__all__ = ["gumbel_softmax", "log_softmax", "softmax", "softmin"]


def _prepare(
    function: str, input: Array, dim: int | None, dtype: DType | None
) -> tuple[Array, int | tuple[()], DType]:
    if dtype is None:
        (input,) = as_floats(function, input=input)
    # Without an axis PyTorch takes the first of 0, 1 or 3 axes, and the second of all others.
    axis = (0 if input.ndim in (0, 1, 3) else 1) if dim is None else dim
    if input.ndim == 0:
        if axis not in (0, -1):
            raise ValueError(f"dim must be 0 or -1 for a scalar; got {axis}")
        axis = ()  # a lone score is the whole of its axis
    result = input.dtype if dtype is None else jnp.dtype(dtype)
    scores = input if input.dtype == result else input.astype(at_least_float32(result))
    return scores, axis, result


def _normalize(x: Array, axis: int | tuple[()], *, log: bool) -> Array:
    if at_least_float32(x.dtype) == x.dtype:
        return (jax.nn.log_softmax if log else jax.nn.softmax)(x, axis)  # they keep their result
    return _normalize_wider(x, axis=axis, log=log)


@keeping_input
def _normalize_wider(x: Array, *, axis: int | tuple[()], log: bool) -> Array:
    return _normalize(x, axis, log=log)


def softmax(input: Array, dim: int | None = None, *, dtype: DType | None = None) -> Array:
    """Turn scores into probabilities that add up to one: ``exp(x_i) / sum_j exp(x_j)``.

    Computed in float32 at least. Integers are taken with a ``dtype`` only, as in PyTorch.

    Args:
        input: array of scores, of any shape.
        dim: axis that adds up to one; best given. Left out, it is 0 for an input of 0, 1 or 3
            axes and 1 for others, as in PyTorch.
        dtype: dtype of the result, to which the input is cast first.

    Returns:
        An array of the same shape.

    Example:
        >>> F.softmax(jnp.zeros((2, 4)), dim=1)[0].tolist()
        [0.25, 0.25, 0.25, 0.25]

    Reference: Bridle, Probabilistic Interpretation of Feedforward Network Outputs, 1990.
    """
    scores, axis, result = _prepare("softmax", input, dim, dtype)
    return _normalize(scores, axis, log=False).astype(result)


def softmin(input: Array, dim: int | None = None, *, dtype: DType | None = None) -> Array:
    """Turn costs into probabilities: ``exp(-x_i) / sum_j exp(-x_j)``.

    Args:
        input: array of costs, of any shape.
        dim: axis that adds up to one; as in `softmax`.
        dtype: dtype of the result, to which the input is cast first.

    Returns:
        An array of the same shape.

    Example:
        >>> F.softmin(jnp.array([0.0, 1e9]), dim=0).tolist()
        [1.0, 0.0]

    Reference: ``torch.nn.functional.softmin``.
    """
    scores, axis, result = _prepare("softmin", input, dim, dtype)
    return _normalize(-scores, axis, log=False).astype(result)


def log_softmax(input: Array, dim: int | None = None, *, dtype: DType | None = None) -> Array:
    """Take the logarithm of a softmax, without underflow: ``x_i - log(sum_j exp(x_j))``.

    Computed in float32 at least.

    Args:
        input: array of scores, of any shape.
        dim: axis over which probabilities add up to one; as in `softmax`.
        dtype: dtype of the result, to which the input is cast first.

    Returns:
        An array of the same shape.

    Example:
        >>> F.log_softmax(jnp.array([0.0, -1000.0]), dim=0).tolist()
        [0.0, -1000.0]

    Reference: ``torch.nn.functional.log_softmax``.
    """
    scores, axis, result = _prepare("log_softmax", input, dim, dtype)
    return _normalize(scores, axis, log=True).astype(result)


def gumbel_softmax(
    logits: Array,
    tau: float = 1.0,
    hard: bool = False,
    eps: float = 1e-10,
    dim: int = -1,
    *,
    key: Key | None = None,
) -> Array:
    """Draw a relaxed one-hot sample: ``softmax((logits + g) / tau)`` with Gumbel noise ``g``.

    Args:
        logits: log-probabilities, up to a constant.
        tau: temperature; the sample tends to one-hot as it tends to zero.
        hard: return exactly one-hot samples whose gradient is that of the relaxed ones.
        eps: without effect, as in PyTorch.
        dim: axis of the categories.
        key: random key.

    Returns:
        An array of the same shape.

    Raises:
        TypeError: the logits are not floats.
        MissingKeyError: no key was given.

    Example:
        >>> F.gumbel_softmax(jnp.zeros((2, 3)), hard=True, key=jax.random.key(0)).sum(-1).tolist()
        [1.0, 1.0]

    Reference: Jang et al., Categorical Reparameterization, 2016, https://arxiv.org/abs/1611.01144.
    """
    del eps
    dtype, scores = widened("gumbel_softmax", logits=logits)
    key = require_key("gumbel_softmax", key, like=scores)
    noise = jax.random.gumbel(key, scores.shape, scores.dtype)
    soft = softmax((scores + noise) / tau, dim)
    if not hard:
        return soft.astype(dtype)
    one_hot = jax.nn.one_hot(soft.argmax(dim), scores.shape[dim], dtype=soft.dtype, axis=dim)
    # the soft sample is added only after it was taken from itself, so that zeros and ones stay exact
    return (one_hot + (soft - jax.lax.stop_gradient(soft))).astype(dtype)
