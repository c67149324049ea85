"""Adam for gradients of which few rows are not zero."""

from typing import Any

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, PyTree
from funcnet.optim.adaptive.adam import bias_correction, moving_average
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.leaf_rule import (
    counted,
    is_gradient,
    jax_leaf,
    moves,
    require_shape,
    require_state,
)
from funcnet.optim.per_leaf import compute_dtype, init_slots
from funcnet.optim.protocol import GradientTransformation, ShapedTransformation, zeros_slot
from funcnet.optim.row_sparse import RowSparse
from funcnet.optim.rule import RuleState, refuse_complex
from funcnet.optim.settings import Numbers, Settings, number, numbers

__all__ = ["sparse_adam"]


@factory
def sparse_adam(
    lr: Hyperparameter = 1e-3,
    betas: tuple[Hyperparameter, Hyperparameter] = (0.9, 0.999),
    eps: Hyperparameter = 1e-8,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adam in which a row without a gradient neither moves nor forgets.

    The rows that a step touches follow `adam`'s formula, with ε added before the bias is corrected:

    .. math:: p_i \leftarrow p_i - \gamma \frac{\sqrt{1 - \beta_2^t}}{1 - \beta_1^t}
              \frac{m_i}{\sqrt{v_i} + \epsilon} \qquad \text{for the rows } i \text{ touched}

    A leaf's gradient is either a `RowSparse`, whose update is one too and costs time in proportion
    to the rows touched, or an ordinary array, of which the rows that are zero throughout count as
    untouched.

    Args:
        lr: the learning rate γ.
        betas: how slowly the two moments forget.
        eps: ε, added to the denominator.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``exp_avg`` and ``exp_avg_sq``.

    Raises:
        ValueError: a number out of its range.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer, table = optim.sparse_adam(0.1), jnp.ones((4, 2))
        >>> grads = optim.RowSparse(jnp.array([2, 2]), jnp.ones((2, 2)))
        >>> updates, state = optimizer.update(grads, optimizer.init(table), table)
        >>> table = optim.apply_updates(table, updates)
        >>> [round(float(x), 3) for x in table[:, 0]]
        [1.0, 1.0, 0.9, 1.0]

    Reference: https://docs.pytorch.org/docs/stable/generated/torch.optim.SparseAdam.html
    """
    settings = Settings(lr=number(lr), betas=numbers(betas, 2, below=1), eps=number(eps))

    def init(params: PyTree) -> RuleState:
        for p in jax.tree.leaves(params):
            refuse_complex("sparse_adam", p)
        slots = init_slots(zeros_slot("exp_avg", "exp_avg_sq"), params)
        return RuleState(jnp.zeros((), jnp.int32), settings.init(), slots, {})

    def moved(h: Numbers, g: Array, m: Array, v: Array) -> tuple[Array, Array, Array]:
        beta1, beta2 = h.betas
        g = -g if maximize else g
        m = moving_average(beta1)(m, g)
        v = moving_average(beta2)(v, g * g)
        rate = h.lr * jnp.sqrt(bias_correction(beta2, h.step)) / bias_correction(beta1, h.step)
        return -rate * m / (jnp.sqrt(v) + h.eps), m, v

    def rows_of(h: Numbers, g: RowSparse, m: Array, v: Array) -> tuple[Any, Array, Array]:
        wide = h.step.dtype
        # Rows that are named twice are added up in the wide dtype and not rounded before they are used.
        each = RowSparse(g.rows, g.values.astype(wide)).coalesced(m.shape[0])
        old = [slot.at[each.rows].get(mode="fill", fill_value=0) for slot in (m, v)]
        step, *new = moved(h, each.values, *(x.astype(wide) for x in old))
        m, v = (
            slot.at[each.rows].set(x.astype(slot.dtype), mode="drop")
            for slot, x in zip((m, v), new, strict=True)
        )
        return RowSparse(each.rows, step.astype(g.values.dtype)), m, v

    def dense(h: Numbers, g: Array, m: Array, v: Array) -> tuple[Any, Array, Array]:
        touched = jnp.any(g != 0, axis=tuple(range(1, g.ndim)), keepdims=True)
        wide = h.step.dtype
        step, *new = moved(h, g.astype(wide), m.astype(wide), v.astype(wide))
        m, v = (
            jnp.where(touched, x.astype(slot.dtype), slot)
            for slot, x in zip((m, v), new, strict=True)
        )
        return jnp.where(touched, step.astype(g.dtype), -0.0), m, v

    def update(
        grads: PyTree, state: RuleState, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, RuleState]:
        require_state("sparse_adam", state, RuleState)
        hyper = settings.at(state.hyper, state.step)
        count = counted(state.step)

        def one(g: Any, m: Any, v: Any) -> tuple[Any, Any, Any]:
            if m is None or not moves(g):
                return g, m, v
            g = g if isinstance(g, RowSparse) else jax_leaf(g)
            if not isinstance(g, RowSparse):
                require_shape("sparse_adam", g, m.shape)
            dtype = g.values.dtype if isinstance(g, RowSparse) else g.dtype
            h = settings.step_numbers(hyper, count, compute_dtype(dtype))
            return rows_of(h, g, m, v) if isinstance(g, RowSparse) else dense(h, g, m, v)

        leaves, treedef = jax.tree.flatten(grads, is_leaf=is_gradient)
        names = ("exp_avg", "exp_avg_sq")
        old = [treedef.flatten_up_to(state.slots[name]) for name in names]
        results = [one(*row) for row in zip(leaves, *old, strict=True)]
        updates, *new = (treedef.unflatten([r[i] for r in results]) for i in range(3))
        return updates, RuleState(count, hyper, dict(zip(names, new, strict=True)), {})

    return ShapedTransformation(init, update)
