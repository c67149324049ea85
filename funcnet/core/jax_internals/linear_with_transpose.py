"""Linear functions with a transpose of their own."""

from collections.abc import Callable, Sequence
from itertools import compress
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from funcnet.core.jax_internals.programs import trace

__all__ = ["linear_with_transpose"]


def linear_with_transpose(
    function: Callable[[Any, Any], Any],
    transpose: Callable[[Any, Any], Any],
    residuals: Any,
    operands: Any,
) -> Any:
    """Apply a linear function of some arrays, whose transpose is computed by another function.

    A ``jax.custom_jvp`` rule returns this as its tangent, to have a backward pass of its own that uses what the
    forward pass found. ``jax.custom_vjp`` would take forward mode and derivatives of derivatives away.

    Why: `jax.custom_derivatives.linear_call` has no rule for ``vmap``, and none for residuals that change.
    When it goes away: return ``function(residuals, operands)``; gradients then stay right, but cost more.

    Args:
        function: of the residuals and the operands, linear in the operands; it closes over no traced array.
        transpose: of the residuals and the cotangents of ``function``'s output: the operands' cotangents, in
            a tree like theirs. Second derivatives differentiate it: it may be a ``jax.custom_jvp``.
        residuals: a tree of arrays that both need.
        operands: a tree of arrays of floats.

    Returns:
        ``function(residuals, operands)``.
    """
    if jax.sharding.get_abstract_mesh().manual_axes:
        # in `shard_map` a cotangent varies over devices if anything does, and so must its operand: JAX then sums
        empty = [x.ravel()[:0].astype(jnp.float32) for x in jax.tree.leaves((residuals, operands))]
        nothing = jnp.concatenate(empty).sum()
        operands = jax.tree.map(lambda x: x + nothing.astype(x.dtype), operands)
    flat, tree = jax.tree.flatten((residuals, operands))
    program, outputs = trace(function, residuals, operands)
    types = tuple(variable.aval for variable in program.jaxpr.outvars)
    ends = _Ends(function, transpose, tree, jax.tree.structure(outputs))
    return jax.tree.unflatten(ends.outputs, _linear.bind(*flat, ends=ends, types=types))


class _Ends(NamedTuple):
    function: Callable[[Any, Any], Any]
    transpose: Callable[[Any, Any], Any]
    inputs: Any
    outputs: Any


def _linear_run(*flat: Any, ends: _Ends, types: Any) -> list[Any]:
    return jax.tree.leaves(ends.function(*ends.inputs.unflatten(flat)))


def _linear_jvp(primals: Sequence[Any], tangents: Sequence[Any], *, ends: _Ends, types: Any) -> Any:
    moves = [not isinstance(tangent, ad.Zero) for tangent in tangents]

    def run(*moving: Any) -> list[Any]:
        rest = iter(moving)
        flat = [next(rest) if m else x for m, x in zip(moves, primals, strict=True)]
        return _linear_run(*flat, ends=ends, types=types)

    moving, changes = (tuple(compress(xs, moves)) for xs in (primals, tangents))
    return _linear.bind(*primals, ends=ends, types=types), jax.jvp(run, moving, changes)[1]


def _linear_transpose(cotangents: Sequence[Any], *flat: Any, ends: _Ends, types: Any) -> list[Any]:
    residuals = ends.inputs.children()[0]
    known = residuals.unflatten(flat[: residuals.num_leaves])
    cotangents = ends.outputs.unflatten(map(ad.instantiate_zeros, cotangents))
    back = [None] * residuals.num_leaves + jax.tree.leaves(ends.transpose(known, cotangents))
    return [x if ad.is_undefined_primal(f) else None for x, f in zip(back, flat, strict=True)]


def _linear_batch(flat: Sequence[Any], axes: Sequence[Any], *, ends: _Ends, types: Any) -> Any:
    # every array gets the new axis: which of them have it need not be known to the transpose
    size = next(x.shape[axis] for x, axis in zip(flat, axes, strict=True) if axis is not None)
    full = [batching.bdim_at_front(x, axis, size) for x, axis in zip(flat, axes, strict=True)]
    both = jax.vmap(ends.function), jax.vmap(ends.transpose)
    outputs = jax.tree.leaves(linear_with_transpose(*both, *ends.inputs.unflatten(full)))
    return outputs, [0 for _ in outputs]


_linear = Primitive("linear")
_linear.multiple_results = True
_linear.def_impl(_linear_run)
_linear.def_abstract_eval(lambda *_, ends, types: list(types))
ad.primitive_jvps[_linear] = _linear_jvp
ad.primitive_transposes[_linear] = _linear_transpose
batching.primitive_batchers[_linear] = _linear_batch
mlir.register_lowering(_linear, mlir.lower_fun(_linear_run, multiple_results=True))
