"""Gradient penalty: how steep a critic is at each example, which is to be one, or zero."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key, PyTree
from funcnet.core.checks import check_choice, check_non_negative
from funcnet.core.dtypes import at_least_float32, widest
from funcnet.core.keys import require_key
from funcnet.core.leaf_kinds import is_trainable
from funcnet.transforms.derivatives.grad import grad

__all__ = ["gradient_penalty"]


def gradient_penalty(
    critic: Callable[[PyTree], Array],
    real: PyTree,
    fake: PyTree | None = None,
    *,
    key: Key | None = None,
    center: float = 1.0,
    one_sided: bool = False,
    reduction: str = "mean",
) -> Array:
    r"""Return how far the norm of a critic's gradient at each example is from what it should be.

    .. math:: \left(\lVert \nabla_x D(\hat x) \rVert_2 - c\right)^2, \qquad
        \hat x = \epsilon\, x_{\text{real}} + (1 - \epsilon)\, x_{\text{fake}},\quad \epsilon \sim U(0, 1)

    - WGAN-GP: ``gradient_penalty(critic, real, fake, key=key)``, times 10;
    - R1: ``gradient_penalty(critic, real, center=0)``, times half of its :math:`\gamma`; R2: the same of ``fake``;
    - zero-centred between both: ``gradient_penalty(critic, real, fake, key=key, center=0)``.

    The gradient is that of all scores' sum: of each example's own score, as long as the critic does not mix the
    examples of a batch (as batch norm does in training).

    Args:
        critic: ``critic(batch) -> scores``, one for each example, ``(N,)`` or ``(N, 1)``; such as
            ``lambda x: net.apply(params, state, x)[0]``, of the params that are trained.
        real: a batch, an array ``(N, *)`` or a tree of such arrays.
        fake: another one of its shapes; without it the gradient is taken at ``real`` itself.
        key: for the places between both.
        center: ``c``, the norm that costs nothing.
        one_sided: whether only norms above ``center`` cost anything.
        reduction: ``"mean"``, ``"sum"``, or ``"none"`` for one value an example.

    Returns:
        A scalar or ``(N,)``, which can be differentiated with respect to the critic's parameters.

    Raises:
        ValueError: the scores are not one an example, or both batches have not the same shapes.
        TypeError: there is no array of floats in the batch.
        MissingKeyError: ``fake`` is given without a key.

    Example:
        >>> critic = lambda x: (2.0 * x).sum(-1)
        >>> real, fake = jnp.ones((4, 1)), jnp.zeros((4, 1))
        >>> float(fn.gradient_penalty(critic, real, fake, key=jax.random.key(0)))
        1.0
        >>> fn.gradient_penalty(critic, real, center=0, reduction="none").tolist()
        [4.0, 4.0, 4.0, 4.0]

    Reference: Gulrajani et al., Improved Training of Wasserstein GANs, 2017, https://arxiv.org/abs/1704.00028;
        Mescheder et al., Which Training Methods for GANs do actually Converge?, 2018,
        https://arxiv.org/abs/1801.04406.
    """
    check_choice("reduction", reduction, ("mean", "sum", "none"))
    check_non_negative("center", center)
    rows = _rows(real)
    points = real if fake is None else _between(real, fake, rows, key)

    def total(points: PyTree) -> Array:
        scores = critic(points)
        if jnp.shape(scores) not in ((rows,), (rows, 1)):
            raise ValueError(
                f"the critic must return one score for each of the {rows} examples, ({rows},) or ({rows}, 1); got "
                f"shape {jnp.shape(scores)}"
            )
        return jnp.sum(scores, dtype=at_least_float32(scores.dtype))

    squares = _squared_norms(grad(total)(points))
    each = _excess(squares, center, one_sided) if center else squares
    if reduction == "none":
        return each
    return jnp.sum(each) if reduction == "sum" else jnp.mean(each)


def _rows(batch: PyTree) -> int:
    lengths = {
        leaf.shape[0] for leaf in jax.tree.leaves(batch) if is_trainable(leaf) and jnp.ndim(leaf)
    }
    if not lengths:
        raise TypeError(
            "gradient_penalty takes a batch of floats, (N, *): there is no gradient at others"
        )
    if len(lengths) > 1:
        raise ValueError(
            f"the arrays of a batch have first axes of different lengths: {sorted(lengths)}"
        )
    return lengths.pop()


def _between(real: PyTree, fake: PyTree, rows: int, key: Key | None) -> PyTree:
    first = jax.tree.leaves(real)[0]
    share = jax.random.uniform(
        require_key("gradient_penalty", key, like=first), (rows,), jnp.float32
    )

    def between(path: Any, a: Any, b: Any) -> Any:
        if jnp.shape(a) != jnp.shape(b):
            raise ValueError(
                f"real{jax.tree_util.keystr(path)} has shape {jnp.shape(a)} and fake has {jnp.shape(b)}: each real "
                "example is joined to a fake one"
            )
        if not is_trainable(a):
            return a
        part = share.reshape(-1, *(1 for _ in a.shape[1:])).astype(at_least_float32(a.dtype))
        return (part * a.astype(part.dtype) + (1 - part) * b.astype(part.dtype)).astype(a.dtype)

    return jax.tree_util.tree_map_with_path(between, real, fake)


def _squared_norms(gradient: PyTree) -> Array:
    leaves = [leaf for leaf in jax.tree.leaves(gradient) if is_trainable(leaf)]
    wide = at_least_float32(widest(*(leaf.dtype for leaf in leaves)))
    sums = [jnp.sum(jnp.square(leaf.astype(wide)), tuple(range(1, leaf.ndim))) for leaf in leaves]
    return jnp.sum(jnp.stack(sums), 0)


def _excess(squares: Array, center: float, one_sided: bool) -> Array:
    # a root has no slope at zero: there the norm counts as a constant, as PyTorch's does
    safe = jnp.where(squares > 0, squares, 1)
    excess = jnp.where(squares > 0, jnp.sqrt(safe), 0) - center
    return jnp.square(jnp.maximum(excess, 0) if one_sided else excess)
