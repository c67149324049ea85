"""Muon: momentum whose step is orthogonalised, and the iteration that does it."""

import math

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import at_least_float32
from funcnet.optim.factory import factory
from funcnet.optim.hyperparameters import Hyperparameter
from funcnet.optim.per_leaf import Move, Slots
from funcnet.optim.protocol import GradientTransformation
from funcnet.optim.rule import decoupled_decay, from_rule, refuse_complex
from funcnet.optim.settings import Numbers, Settings, number, optional

__all__ = ["muon", "orthogonalize"]


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
    wide = at_least_float32(x.dtype)
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


@factory
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
    hyper = Settings(lr=number(lr), weight_decay=optional(weight_decay), momentum=number(momentum))
    check_choice("adjust_lr_fn", adjust_lr_fn, (None, "original", "match_rms_adamw"))
    if not 0 <= ns_steps < 100:
        raise ValueError(f"ns_steps must be between 0 and 99; got {ns_steps}")

    def slots(p: Array) -> Slots:
        if p.ndim != 2:
            raise ValueError(
                f"muon takes matrices; got a parameter of shape {p.shape}. Give the others to "
                'another optimizer: optim.groups({"*.weight": optim.muon(), "*": optim.adamw()})'
            )
        refuse_complex("muon", p)
        return {"momentum_buffer": jnp.zeros_like(p)}

    def rule(h: Numbers) -> Move:
        shrink = decoupled_decay(h)

        def move(g: Array, p: Array, slots: Slots) -> tuple[Array, Slots]:
            if g.size == 0:
                return g, {}
            buffer = slots["momentum_buffer"]
            buffer = buffer + (1 - h.momentum) * (g - buffer)
            ahead = g + h.momentum * (buffer - g) if nesterov else buffer
            step = orthogonalize(ahead, ns_coefficients, ns_steps, eps, ns_dtype).astype(g.dtype)
            rows, columns = g.shape
            if adjust_lr_fn == "match_rms_adamw":
                ratio = 0.2 * math.sqrt(max(rows, columns))
            else:
                ratio = math.sqrt(max(1.0, rows / columns))
            return shrink(-h.lr * ratio * step, p), {"momentum_buffer": buffer}

        return move

    reads_params = "weight_decay" in hyper
    return from_rule("muon", rule, slots, hyper=hyper, reads_params=reads_params, shaped=True)
