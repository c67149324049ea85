"""Optimizers that treat a matrix as a matrix: factored moments, orthogonalised steps."""

import math
from types import SimpleNamespace

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.optim.hyperparameters import Hyperparameter, check_numbers, check_tuple, in_use, used
from funcnet.optim.leaves import Move
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import from_rule, oriented

__all__ = ["adafactor", "muon", "orthogonalize"]


def adafactor(
    lr: Hyperparameter = 1e-2,
    beta2_decay: Hyperparameter = -0.8,
    eps: tuple[Hyperparameter | None, Hyperparameter] = (None, 1e-3),
    d: Hyperparameter = 1.0,
    weight_decay: Hyperparameter = 0.0,
    *,
    maximize: bool = False,
) -> GradientTransformation:
    r"""Adafactor: the second moment of a matrix from its row means and column means alone.

    .. math::
        \hat\beta_t &= 1 - t^\tau, \quad \rho_t = \min(\gamma, t^{-1/2}), \quad
        \alpha_t = \max(\epsilon_2, \mathrm{RMS}(p)) \, \rho_t \\
        R_t &= \hat\beta_t R_{t-1} + (1 - \hat\beta_t) \, \overline{g_t^2}^{\,\text{row}}, \quad
        C_t = \hat\beta_t C_{t-1} + (1 - \hat\beta_t) \, \overline{g_t^2}^{\,\text{col}}, \quad
        v_t = \frac{R_t C_t}{\max(\overline{R_t}, \epsilon_1)} \\
        u_t &= \frac{g_t}{\max(\sqrt{v_t}, \epsilon_1)}, \qquad
        p \leftarrow (1 - \gamma\lambda) p - \alpha_t \frac{u_t}{\max(1, \mathrm{RMS}(u_t) / d)}

    The last two axes are factored; a scalar or a vector keeps its whole second moment.

    Args:
        lr: γ, the largest relative step size.
        beta2_decay: τ, at most 0.
        eps: :math:`\epsilon_1` (``None``: the machine epsilon) and :math:`\epsilon_2`.
        d: the bound on the root mean square of a step.
        weight_decay: λ, decoupled.
        maximize: climb instead of descend.

    Returns:
        An optimizer with the slots ``row_var``, ``col_var`` and ``variance``.

    Raises:
        ValueError: a number out of its range.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer = optim.adafactor()
        >>> state = optimizer.init({"weight": jnp.ones((4, 3)), "bias": jnp.ones(3)})
        >>> state.slots["row_var"]["weight"].shape, state.slots["col_var"]["weight"].shape
        ((4, 1), (1, 3))

    Reference: Shazeer and Stern, "Adafactor", ICML 2018;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Adafactor.html
    """
    check_numbers(lr=lr, weight_decay=weight_decay)
    check_tuple("eps", eps, 2)
    if isinstance(beta2_decay, int | float) and beta2_decay > 0:
        raise ValueError(f"beta2_decay must be at most 0; got {beta2_decay!r}")
    if isinstance(d, int | float) and d < 1:
        raise ValueError(f"d must be at least 1; got {d!r}")
    decayed = in_use(weight_decay)

    def slots(p: Array) -> dict[str, Array]:
        if jnp.iscomplexobj(p):
            raise TypeError("adafactor does not take complex parameters")
        if p.ndim < 2:
            return {"variance": jnp.zeros_like(p)}
        return {
            "row_var": jnp.zeros((*p.shape[:-1], 1), p.dtype),
            "col_var": jnp.zeros((*p.shape[:-2], 1, p.shape[-1]), p.dtype),
        }

    def rms(x: Array) -> Array:
        return jnp.sqrt(jnp.sum(x * x) / max(x.size, 1))

    def rule(h: SimpleNamespace) -> Move:
        fresh = jnp.power(h.step, h.beta2_decay)
        rho = jnp.minimum(h.lr, 1 / jnp.sqrt(h.step))

        def second_moment(
            g: Array, slots: dict[str, Array], eps1: Array | float
        ) -> tuple[Array, dict[str, Array]]:
            square = g * g
            if g.ndim < 2:
                v = slots["variance"] + fresh * (square - slots["variance"])
                return v, {"variance": v}
            row, col = slots["row_var"], slots["col_var"]
            row = row + fresh * (square.mean(-1, keepdims=True) - row)
            col = col + fresh * (square.mean(-2, keepdims=True) - col)
            v = row * col / jnp.maximum(row.mean(-2, keepdims=True), eps1)
            return v, {"row_var": row, "col_var": col}

        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            if g.size == 0:
                return g, {}
            g = oriented(g, p, h, maximize, coupled=False)
            eps1 = float(jnp.finfo(g.dtype).eps) if eps[0] is None else h.eps1
            v, new = second_moment(g, slots, eps1)
            u = g / jnp.sqrt(jnp.maximum(v, eps1 * eps1))
            alpha = jnp.maximum(h.eps2, rms(p)) * rho
            update = -alpha * u / jnp.maximum(1, rms(u) / h.d)
            return (update - h.lr * h.weight_decay * p if decayed else update), new

        return move

    return from_rule(
        "adafactor",
        rule,
        slots,
        reads_params=True,
        shaped=True,
        hyper={
            "lr": lr,
            "beta2_decay": beta2_decay,
            "eps1": eps[0],
            "eps2": eps[1],
            "d": d,
            "weight_decay": used(weight_decay),
        },
    )


def orthogonalize(
    matrix: Array,
    coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    steps: int = 5,
    eps: float = 1e-7,
    dtype: str = "bfloat16",
) -> Array:
    r"""Push all singular values of a matrix towards one: from *U S V* to nearly *U V*.

    A Newton-Schulz iteration of the quintic :math:`a x + b x^3 + c x^5` on the singular values,
    which uses matrix products alone:

    .. math:: X \leftarrow a X + (b A + c A^2) X, \qquad A = X X^\top

    Args:
        matrix: two axes or more; the last two are the matrix, those before are a batch.
        coefficients: *a*, *b*, *c*; the defaults rise steeply at zero and end within about 0.7 to
            1.2, near enough to one for a step of `muon`.
        steps: how many iterations.
        eps: the smallest Frobenius norm to divide by.
        dtype: of the products.

    Returns:
        An array of the matrix's shape, in ``dtype``.

    Example:
        >>> q = optim.orthogonalize(jnp.array([[3.0, 0.0], [0.0, 0.5]]), dtype="float32")
        >>> bool((jnp.abs(jnp.diag(q) - 1) < 0.35).all())
        True

    Reference: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024,
    https://kellerjordan.github.io/posts/muon/
    """
    a, b, c = coefficients
    x = matrix.astype(dtype)
    tall = matrix.shape[-2] > matrix.shape[-1]
    x = x.mT if tall else x
    wide = jnp.float32 if x.dtype.itemsize < 4 else x.dtype
    bits = jnp.finfo(x.dtype)

    def product(left: Array, right: Array) -> Array:
        return jnp.matmul(left, right, preferred_element_type=wide)

    def rounded(value: Array) -> Array:
        # A compiler may drop a conversion to fewer bits and back, but never this.
        return jax.lax.reduce_precision(value, bits.nexp, bits.nmant).astype(x.dtype)

    norm = jnp.sqrt(jnp.sum(jnp.square(x.astype(wide)), axis=(-2, -1), keepdims=True))
    x = rounded(x.astype(wide) / jnp.maximum(rounded(norm).astype(wide), eps))
    for _ in range(steps):
        gram = rounded(product(x, x.mT))
        poly = rounded(b * gram.astype(wide) + c * product(gram, gram))
        x = rounded(a * x.astype(wide) + product(poly, x))
    return x.mT if tall else x


def muon(
    lr: Hyperparameter = 1e-3,
    weight_decay: Hyperparameter = 0.1,
    momentum: Hyperparameter = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = (3.4445, -4.775, 2.0315),
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
    *,
    ns_dtype: str = "bfloat16",
) -> GradientTransformation:
    r"""Muon: momentum whose step is orthogonalised, for the matrices of hidden layers.

    .. math::
        b_t &= \mu b_{t-1} + (1 - \mu) g_t, \qquad
        \tilde b_t = g_t + \mu (b_t - g_t) \text{ if Nesterov, else } b_t \\
        p &\leftarrow (1 - \gamma\lambda) p - \gamma \, r \, \mathrm{orthogonalize}(\tilde b_t)

    where *r* is :math:`\sqrt{\max(1, A/B)}` for an *A* × *B* matrix ("original") or
    :math:`0.2 \sqrt{\max(A, B)}` ("match_rms_adamw"). Give biases, embeddings and the head to
    another optimizer with `groups`.

    Args:
        lr: the learning rate γ.
        weight_decay: λ, decoupled.
        momentum: μ.
        nesterov: look ahead along the momentum.
        ns_coefficients: of the Newton-Schulz iteration, see `orthogonalize`.
        eps: the smallest norm to divide by.
        ns_steps: how many iterations.
        adjust_lr_fn: ``"original"`` (also ``None``) or ``"match_rms_adamw"``.
        ns_dtype: of the iteration's products. With bfloat16 each is rounded as in PyTorch; where
            sums are taken in another order, for matrices that are not small, its last bit may
            differ now and then. ``"float32"`` iterates nearly exactly.

    Returns:
        An optimizer with the slot ``momentum_buffer``.

    Raises:
        ValueError: a number out of its range, an unknown ``adjust_lr_fn``, a parameter that is not
            a matrix.
        TypeError: a parameter is complex.

    Example:
        >>> optimizer = optim.groups({"*.weight": optim.muon(0.02), "*": optim.adamw(3e-4)})
        >>> params = {"fc": {"weight": jnp.ones((4, 3)), "bias": jnp.ones(4)}}
        >>> state = optimizer.init(params)

    Reference: Jordan et al., https://kellerjordan.github.io/posts/muon/; Liu et al., "Muon is
    Scalable for LLM Training", 2025;
    https://docs.pytorch.org/docs/stable/generated/torch.optim.Muon.html
    """
    check_numbers(lr=lr, weight_decay=weight_decay, momentum=momentum)
    check_choice("adjust_lr_fn", adjust_lr_fn, (None, "original", "match_rms_adamw"))
    if not 0 <= ns_steps < 100:
        raise ValueError(f"ns_steps must be between 0 and 99; got {ns_steps}")
    decayed = in_use(weight_decay)

    def slots(p: Array) -> dict[str, Array]:
        if p.ndim != 2:
            raise ValueError(
                f"muon takes matrices; got a parameter of shape {p.shape}. Give the others to "
                'another optimizer: optim.groups({"*.weight": optim.muon(), "*": optim.adamw()})'
            )
        if jnp.iscomplexobj(p):
            raise TypeError("muon does not take complex parameters")
        return {"momentum_buffer": jnp.zeros_like(p)}

    def rule(h: SimpleNamespace) -> Move:
        def move(g: Array, p: Array, slots: dict[str, Array]) -> tuple[Array, dict[str, Array]]:
            buffer = slots["momentum_buffer"]
            buffer = buffer + (1 - h.momentum) * (g - buffer)
            ahead = g + h.momentum * (buffer - g) if nesterov else buffer
            step = orthogonalize(ahead, ns_coefficients, ns_steps, eps, ns_dtype).astype(g.dtype)
            rows, columns = g.shape
            if adjust_lr_fn == "match_rms_adamw":
                ratio = 0.2 * math.sqrt(max(rows, columns))
            else:
                ratio = math.sqrt(max(1.0, rows / columns))
            update = -h.lr * ratio * step
            update = update - h.lr * h.weight_decay * p if decayed else update
            return update, {"momentum_buffer": buffer}

        return move

    return from_rule(
        "muon",
        rule,
        slots,
        reads_params=decayed,
        shaped=True,
        hyper={"lr": lr, "weight_decay": used(weight_decay), "momentum": momentum},
    )
