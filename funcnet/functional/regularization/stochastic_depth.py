"""Stochastic depth: leave out what a residual branch adds, for a whole batch or for single samples."""

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_choice
from funcnet.functional.dropout import silenced

__all__ = ["stochastic_depth"]


def stochastic_depth(
    input: Array, p: float, mode: str, training: bool = True, *, key: Key | None = None
) -> Array:
    """Zero a residual branch with probability ``p``, and divide it by ``1 - p`` where it stays.

    It is meant for ``x + F.stochastic_depth(branch(x), ...)``: the block is skipped where the branch is zero.

    Args:
        input: what the branch computed, ``(N, *)``.
        p: probability of the branch to be zeroed.
        mode: ``"batch"`` decides once for the whole batch, ``"row"`` for each row of the first axis.
        training: without it the input is returned as it is.
        key: random key; needed in training for ``p > 0``.

    Returns:
        An array of the same shape and dtype.

    Raises:
        ValueError: ``p`` is not a probability, ``mode`` is another word, or there are no rows in mode ``"row"``.
        TypeError: the input holds integers or booleans.
        MissingKeyError: a key was needed and not given.

    Example:
        >>> rows = F.stochastic_depth(jnp.ones((4, 3)), 0.5, "row", key=jax.random.key(1))
        >>> rows.std(1).sum().tolist(), set(rows[:, 0].tolist()) <= {0.0, 2.0}
        (0.0, True)

    Reference: Huang et al., Deep Networks with Stochastic Depth, 2016, https://arxiv.org/abs/1603.09382;
        ``torchvision.ops.stochastic_depth``.
    """
    check_choice("mode", mode, ("batch", "row"))
    shape = _of_batch if mode == "batch" else _of_rows
    return silenced("stochastic_depth", input, shape, p, training, key)


def _of_batch(input: Array) -> tuple[int, ...]:
    return (1,) * input.ndim


def _of_rows(input: Array) -> tuple[int, ...]:
    if not input.ndim:
        raise ValueError('mode="row" needs an axis of rows, (N, *); got a scalar')
    return (input.shape[0],) + (1,) * (input.ndim - 1)
