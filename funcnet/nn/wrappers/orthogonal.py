"""A weight whose rows or columns are orthonormal."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, Key
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import at_least_float32
from funcnet.module import Buffer, Module, Parameter
from funcnet.module.specs import Spec, is_buffer, is_spec
from funcnet.nn.init.derived import FromDraw, drawn_with
from funcnet.nn.wrappers.register_parametrization import (
    no_parameter_message,
    register_parametrization,
    take_parameter,
)

__all__ = ["orthogonal"]

ModuleT = TypeVar("ModuleT", bound=Module)

MAPS = ("matrix_exp", "cayley", "householder")


def orthogonal(
    module: ModuleT,
    name: str = "weight",
    orthogonal_map: str | None = None,
    *,
    use_trivialization: bool = True,
) -> ModuleT:
    r"""Keep a matrix orthogonal (unitary where it is complex) while it is trained.

    Its columns are orthonormal where it has at least as many rows as columns, else its rows are. It is made of
    a matrix :math:`X` of the same shape by one of three maps, in 32 bits at least:

    .. math:: A = \mathrm{tril}(X) - \mathrm{tril}(X)^H, \qquad Q = \exp(A) \quad\text{or}\quad
              Q = (I - A/2)^{-1} (I + A/2) \quad\text{or}\quad Q = H_1 H_2 \cdots H_k

    where :math:`H_i` are the reflections whose vectors are the columns of :math:`X` below its diagonal.

    Args:
        module: the layer; it is changed and returned.
        name: the name of the parameter; more than two axes are a batch of matrices ``(..., m, n)``.
        orthogonal_map: ``"matrix_exp"``, ``"cayley"`` or ``"householder"``; None for the first where the matrix is
            square or complex, and for the last otherwise.
        use_trivialization: turn the matrix from where it starts, which is kept in a buffer: ``B Q`` in place of
            ``Q``. It then starts as the layer's own weight made orthogonal. Without, it does so with
            ``"householder"`` alone.

    Returns:
        The layer, with the parameter ``parametrizations.weight.original`` and, with ``use_trivialization``, the
        buffer ``parametrizations.weight.0.base``, ``(..., max(m, n), max(m, n))``.

    Raises:
        ValueError: no parameter of that name; one with fewer than two axes, or that waits for its shape; an unknown
            map; ``"householder"`` of complex numbers; ``use_trivialization`` of what is parametrized already.

    Example:
        >>> layer = nn.parametrizations.orthogonal(nn.Linear(20, 40))
        >>> weight = fn.bind(layer, *fn.functionalize(layer).init(jax.random.key(0))).weight
        >>> bool(jnp.abs(weight.T @ weight - jnp.eye(20)).max() < 1e-5)
        True

    Reference: Lezcano-Casado, Trivializations for Gradient-Based Optimization on Manifolds, 2019,
    https://arxiv.org/abs/1909.09501; ``torch.nn.utils.parametrizations.orthogonal``.
    """
    registered = vars(module).get("parametrizations", {}).get(name)
    spec = registered.original if registered is not None else vars(module).get(name)
    if not is_spec(spec):
        raise ValueError(no_parameter_message(module, name))
    kind = _checked_map(spec, name, orthogonal_map)
    if registered is not None:
        if use_trivialization:
            raise ValueError(
                f"{name} is parametrized already, so that there is no start to turn it from: write "
                "use_trivialization=False, or make it orthogonal first"
            )
        return register_parametrization(module, name, Orthogonal(kind))
    take_parameter(module, name)
    start, base = _starts(spec, kind, use_trivialization)
    setattr(module, name, start)
    return register_parametrization(module, name, Orthogonal(kind, base))


class Orthogonal(Module):
    """An orthogonal matrix made of any matrix of its shape."""

    def __init__(self, orthogonal_map: str, base: Any = None) -> None:
        self.orthogonal_map = orthogonal_map
        if base is not None:
            self.base = base

    def __call__(self, original: Array) -> Array:
        """Make the matrix."""
        x = original.astype(at_least_float32(original.dtype))
        wide = x.shape[-2] < x.shape[-1]
        q = _MADE[self.orthogonal_map](x.mT if wide else x)
        if "base" in vars(self):
            q = self.base.astype(q.dtype) @ q
        return (q.mT if wide else q).astype(original.dtype)


def _checked_map(spec: Spec, name: str, given: str | None) -> str:
    shape = spec.shape
    if len(shape) < 2:
        raise ValueError(
            f"orthogonal takes a matrix or a batch of matrices; {name} has the shape {shape}"
        )
    if not spec.complete:
        raise ValueError(
            f"{name} waits for its shape {shape}: declare the layer with all sizes before it is made orthogonal"
        )
    complex_numbers = jnp.issubdtype(spec.dtype, jnp.complexfloating)
    if given is None:
        given = "matrix_exp" if shape[-2] == shape[-1] or complex_numbers else "householder"
    check_choice("orthogonal_map", given, MAPS)
    if complex_numbers and given == "householder":
        raise ValueError(
            f"'householder' makes real matrices, and {name} is complex: choose 'matrix_exp' or 'cayley'"
        )
    return given


def _starts(spec: Spec, kind: str, trivialize: bool) -> tuple[Spec, Spec | None]:
    """Return the array that is trained, and the base that is kept."""
    declare: Any = Buffer if is_buffer(spec) else Parameter
    shape: Any = spec.shape
    if trivialize:
        n = max(shape[-2:])
        start: Any = declare(shape, _minus_identity, spec.dtype)
        base = Buffer((*shape[:-2], n, n), FromDraw(_completed, (), spec.init, shape), spec.dtype)
        return start, drawn_with(start, base)
    if kind == "householder":
        return declare(shape, FromDraw(_reflectors, (), spec.init, shape), spec.dtype), None
    return spec, None


# ---- the maps, of matrices that are not wide -----------------------------------------------------


def _of_skew(function: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Make a map of ``tril(X) - tril(X)ᴴ``, made square by zeros, whose first columns are taken."""

    def make(x: Array) -> Array:
        n, k = x.shape[-2:]
        lower = jnp.pad(jnp.tril(x), [(0, 0)] * (x.ndim - 1) + [(0, n - k)])
        return function(lower - lower.mT.conj())[..., :k]

    return make


def _cayley(a: Array) -> Array:
    identity = jnp.eye(a.shape[-1], dtype=a.dtype)
    return jnp.linalg.solve(identity - a / 2, identity + a / 2)


def _householder(x: Array) -> Array:
    """Multiply reflections by the compact form of their product, ``I - V T Vᵀ``."""
    n, k = x.shape[-2:]
    identity = jnp.eye(n, k, dtype=x.dtype)
    v = jnp.tril(x, -1) + identity
    products = v.mT @ v
    inverse_of_t = jnp.triu(products, 1) + jnp.eye(k, dtype=x.dtype) * (products / 2)
    q = identity - v @ jax.scipy.linalg.solve_triangular(inverse_of_t, v.mT @ identity)
    signs = jax.lax.stop_gradient(jnp.trunc(jnp.diagonal(x, axis1=-2, axis2=-1)))
    return q * signs[..., None, :]


_MADE = {
    "matrix_exp": _of_skew(jax.scipy.linalg.expm),
    "cayley": _of_skew(_cayley),
    "householder": _householder,
}


# ---- where they start ----------------------------------------------------------------------------


def _minus_identity(key: Key, shape: tuple[int, ...], dtype: Any) -> Array:
    """Make what each map turns into an identity, also the reflections, whose signs are the diagonal."""
    del key
    return jnp.broadcast_to(-jnp.eye(*shape[-2:], dtype=dtype), shape)


def _completed(key: Key, drawn: Array) -> Array:
    """Make a square orthogonal matrix whose first columns are those of a draw, made orthogonal."""
    q = drawn.astype(at_least_float32(drawn.dtype))
    q = q.mT if q.shape[-2] < q.shape[-1] else q
    n, k = q.shape[-2:]
    rest = jax.random.normal(jax.random.fold_in(key, 1), (*q.shape[:-2], n, n - k), q.dtype)
    full = jnp.concatenate([q, rest], -1)
    made, r = jnp.linalg.qr(full)
    made = made * jnp.sign(jnp.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    far = jnp.abs(full.mT.conj() @ full - jnp.eye(n, dtype=q.dtype)).max()
    return jnp.where(far < 10 * n * jnp.finfo(q.dtype).eps, full, made).astype(drawn.dtype)


def _reflectors(key: Key, drawn: Array) -> Array:
    """Make the matrix whose reflections are a draw, made orthogonal."""
    del key
    q = drawn.astype(at_least_float32(drawn.dtype))
    wide = q.shape[-2] < q.shape[-1]
    packed, tau = jnp.linalg.qr(q.mT if wide else q, mode="raw")
    a = packed.mT
    diagonal = jnp.diagonal(a, axis1=-2, axis2=-1)
    signs = jnp.where(tau == 0, -1, 1).astype(a.dtype) * jnp.sign(
        diagonal
    )  # tau 0 reflects nothing
    identity = jnp.eye(*a.shape[-2:], dtype=a.dtype)
    a = a * (1 - identity) + identity * signs[..., None, :]
    return (a.mT if wide else a).astype(drawn.dtype)
