"""Small questions to JAX's compilation and tracing that have no documented name."""

import math
from typing import Any

from jax.extend.core import get_opaque_trace_state, primitives

__all__ = ["is_costly", "makes_or_moves", "reset_compilation_cache", "trace_state"]

_COSTLY = {
    primitives.cholesky_p,
    primitives.conv_general_dilated_p,
    primitives.eig_p,
    primitives.eigh_p,
    primitives.fft_p,
    primitives.lu_p,
    primitives.qr_p,
    primitives.svd_p,
    primitives.triangular_solve_p,
}

_LAYOUT = {
    primitives.reshape_p,
    primitives.slice_p,
    primitives.squeeze_p,
    primitives.transpose_p,
}


def trace_state() -> Any:
    """Return a token of the trace that is running now; two are equal if it is the same trace.

    Why: a bound module must refuse a write from inside a ``vmap``, ``scan`` or ``cond`` that was opened
    within its call, and JAX has no documented way to ask. When it goes away: return a constant; such
    writes then end in JAX's own error about a leaked tracer, which does not name the attribute.
    """
    return get_opaque_trace_state(convention="flax")


def reset_compilation_cache() -> None:
    """Make JAX read its settings of the compilation cache again.

    Why: a process that has compiled something before the cache was switched on remembers that there was
    none. When it goes away: drop the call, and have `compilation_cache` raise once JAX has compiled.
    """
    from jax.experimental.compilation_cache import compilation_cache

    compilation_cache.reset_cache()


def is_costly(primitive: Any, *operands: Any, **params: Any) -> bool:
    """Say whether a result should be kept for the backward pass rather than computed again.

    So are convolutions, factorizations, kernels of other libraries, what `checkpoint_name` marks, and
    products of matrices. A product along batch axes is kept if it is no larger than the larger factor:
    attention's scores grow with the square of the length and are not kept; its output is.

    Why: JAX's own policies know products alone. When an operation is renamed, it is renamed here.

    Args:
        primitive: the operation.
        *operands: the types of its operands.
        **params: its parameters.

    Returns:
        What a policy of `jax.checkpoint` returns.

    Example:
        >>> from funcnet.core.jax_internals.compilation import is_costly
        >>> keeps = jax.checkpoint(lambda x, w: jnp.sin(jnp.sin(x @ w)), policy=is_costly)
        >>> x, w = jnp.ones((5, 3)), jnp.ones((3, 7))
        >>> sorted(leaf.shape for leaf in jax.tree.leaves(jax.vjp(keeps, x, w)[1]))
        [(3, 7), (5, 3), (5, 7)]
    """
    if primitive is primitives.dot_general_p:
        (_, _), (batch, _) = params["dimension_numbers"]
        return not batch or _no_larger_than_a_factor(*operands, **params)
    return primitive in _COSTLY or primitive is primitives.name_p or primitive.name == "ffi_call"


def makes_or_moves(shapes: frozenset[tuple[int, ...]], primitive: Any, *operands: Any) -> bool:
    """Say whether an operation gathers an array of one of some shapes, or only lays out or casts values.

    Why: a policy of `jax.checkpoint` is told the operation and its types alone, and a gathered weight must not be
    kept under another layout or dtype either. When an operation is renamed, it is renamed here.

    Args:
        shapes: of gathered weights.
        primitive: the operation.
        *operands: the types of its operands.

    Example:
        >>> from funcnet.core.jax_internals.compilation import makes_or_moves
        >>> keeps = jax.checkpoint(
        ...     lambda x, w: jnp.sin(x @ w.T), policy=lambda *a, **k: not makes_or_moves(frozenset(), *a)
        ... )
        >>> x, w = jnp.ones((5, 3)), jnp.ones((7, 3))
        >>> sorted(leaf.shape for leaf in jax.tree.leaves(jax.vjp(keeps, x, w)[1]))
        [(5, 3), (5, 7), (7, 3)]
    """
    if primitive in _LAYOUT:
        return True
    casts = primitive in (primitives.convert_element_type_p, primitives.sharding_constraint_p)
    return casts and operands[0].shape in shapes


def _no_larger_than_a_factor(a: Any, b: Any, *, dimension_numbers: Any, **params: Any) -> bool:
    (summed, _), (batch, _) = dimension_numbers
    shared = math.prod(a.shape[axis] for axis in batch)
    length = math.prod(a.shape[axis] for axis in summed)
    result = a.size * b.size // max(shared * length * length, 1)
    return result <= max(a.size, b.size)
