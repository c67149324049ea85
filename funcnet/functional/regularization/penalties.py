"""Penalties of weights by their singular values: keep the largest small, or all near one."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import widened
from funcnet.functional.explicit_meshes import let_xla_place

__all__ = ["orthogonal_penalty", "spectral_penalty"]


def spectral_penalty(weight: Array) -> Array:
    r"""Return the square of a weight's largest singular value.

    .. math:: \sigma_{\max}(W)^2

    A kernel of a convolution is a matrix with a row for each of its outputs, ``(O, I · kernel)``.

    Args:
        weight: ``(out, in, *)``.

    Returns:
        A scalar.

    Raises:
        ValueError: the weight is no matrix: a bias, or a scale.
        TypeError: it holds integers or booleans.

    Example:
        >>> round(float(F.spectral_penalty(jnp.diag(jnp.array([1.0, -3.0])))), 4)
        9.0

    Reference: Yoshida and Miyato, Spectral Norm Regularization, 2017, https://arxiv.org/abs/1705.10941.
    """
    dtype, wide = _checked("spectral_penalty", weight)
    return let_xla_place(_largest_square, wide, kept=0).astype(dtype)


def orthogonal_penalty(weight: Array, kind: str = "soft") -> Array:
    r"""Return how far a weight's rows, or columns if these are fewer, are from being orthonormal.

    With the smaller of both Gram matrices :math:`G = W W^\top` or :math:`W^\top W`:

    - ``"soft"``: :math:`\lVert G - I \rVert_F^2`, the sum of :math:`(\sigma_i^2 - 1)^2` over singular values;
    - ``"double"``: the same of both Gram matrices, added up. The larger one differs by a constant alone, the number
      of rows or columns that are too many: the gradient is twice that of ``"soft"``;
    - ``"coherence"``: the largest sum of a row of :math:`\lvert G - I \rvert`;
    - ``"restricted"``: the spectral norm of :math:`G - I`, the largest :math:`\lvert \sigma_i^2 - 1 \rvert`
      (SRIP). The largest eigenvalue is found exactly, not by a few steps from a random vector.

    A kernel of a convolution is a matrix with a row for each of its outputs, ``(O, I · kernel)``.

    Args:
        weight: ``(out, in, *)``.
        kind: which penalty.

    Returns:
        A scalar.

    Raises:
        ValueError: the weight is no matrix: a bias, or a scale; or ``kind`` is another word.
        TypeError: it holds integers or booleans.

    Example:
        >>> weight = jnp.array([[2.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> [float(F.orthogonal_penalty(weight, kind)) for kind in ("soft", "double", "coherence", "restricted")]
        [9.0, 19.0, 3.0, 3.0]

    Reference: Bansal, Chen and Wang, Can We Gain More from Orthogonality Regularizations, 2018,
        https://arxiv.org/abs/1810.09102.
    """
    check_choice("kind", kind, _PENALTIES)
    dtype, wide = _checked("orthogonal_penalty", weight)
    return let_xla_place(_PENALTIES[kind], wide, kept=0).astype(dtype)


def _checked(function: str, weight: Array) -> tuple[np.dtype, Array]:
    dtype, wide = widened(function, weight=weight)
    if wide.ndim < 2:
        raise ValueError(
            f"{function} takes a matrix or a kernel, (out, in, *); got shape {wide.shape}, as biases and scales have"
        )
    return dtype, wide


def _gram(weight: Array) -> Array:
    matrix = weight.reshape(weight.shape[0], -1)
    small = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    return jnp.matmul(small, small.T, precision=jax.lax.Precision.HIGHEST)


def _excess(weight: Array) -> Array:
    gram = _gram(weight)
    return gram - jnp.eye(len(gram), dtype=gram.dtype)


def _largest_square(weight: Array) -> Array:
    return jnp.linalg.eigvalsh(_gram(weight))[-1]


def _soft(weight: Array) -> Array:
    return jnp.sum(jnp.square(_excess(weight)))


def _double(weight: Array) -> Array:
    rows, columns = weight.shape[0], weight[0].size
    return 2 * _soft(weight) + abs(rows - columns)


def _coherence(weight: Array) -> Array:
    return jnp.max(jnp.sum(jnp.abs(_excess(weight)), 1))


def _restricted(weight: Array) -> Array:
    values = jnp.linalg.eigvalsh(_excess(weight))
    return jnp.maximum(-values[0], values[-1])


_PENALTIES = {"soft": _soft, "double": _double, "coherence": _coherence, "restricted": _restricted}
