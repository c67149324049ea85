"""Attention by the fused kernel of NVIDIA GPUs: no score is ever written to memory.

Inside, arrays are ``(batch, length, heads, features)``, as the kernel wants them. The kernel comes with a backward
pass and nothing else: forward mode, and derivatives of derivatives, are those of the unfused formula.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array
from funcnet.core.jax_internals.linear_with_transpose import linear_with_transpose
from funcnet.functional.explicit_meshes import spread_like

__all__ = ["HOLE", "FusedSettings", "fused_attention"]

PLATFORM = "cuda"
"""Where the kernel runs; elsewhere the same program computes the unfused formula."""

HOLE = {jnp.dtype(jnp.bfloat16): -(2.0**41), jnp.dtype(jnp.float16): -(2.0**15)}
"""What stands for minus infinity in a mask that is added to the scores: the kernel subtracts its largest score."""


class FusedSettings(NamedTuple):
    """What does not change from array to array."""

    is_causal: bool
    scale: float
    unfused: Callable[..., Array]
    """The formula, of the same arrays and settings: what takes a derivative that the kernel has not."""


def fused_attention(settings: FusedSettings, *arrays: Array) -> Array:
    """Attend by the kernel, with every rule of derivatives.

    Args:
        settings: what does not change.
        *arrays: query ``(B, L, N, E)``, key and value ``(B, S, K, E)``, in 16 bits; and the mask to add, if
            there is one, ``(1 or B, 1 or N, L, S)``, in the query's dtype and finite.

    Returns:
        Shape ``(B, L, N, E)``.
    """
    # in `shard_map` the kernel's backward pass gives each gradient the type of all: JAX has to sum them
    return _attend_fused(settings, *_varying_alike(arrays))[0]


def _varying_alike(arrays: Sequence[Array]) -> Sequence[Array]:
    if not jax.sharding.get_abstract_mesh().manual_axes:
        return arrays
    empty = [jax.lax.slice_in_dim(x.reshape(-1), 0, 0).astype(jnp.float32) for x in arrays]
    joined = jax.lax.concatenate(empty, 0)
    nothing = jax.lax.reduce(joined, np.float32(0), jax.lax.add, (0,))
    return [x + nothing.astype(x.dtype) for x in arrays]


def kernel(settings: FusedSettings, query: Array, key: Array, value: Array, *mask: Array) -> Array:
    """Call the kernel: it has a backward pass, and no other rule."""
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        *mask,
        scale=settings.scale,
        is_causal=settings.is_causal,
        implementation="cudnn",
    )


# ---- derivatives


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attend_fused(settings: FusedSettings, *arrays: Array) -> tuple[Array, list[Array]]:
    """Return the output, and what the kernel's backward pass needs besides."""
    return _forward(settings, arrays)


@_attend_fused.defjvp
def _attend_fused_jvp(
    settings: FusedSettings, primals: tuple[Array, ...], tangents: tuple[Array, ...]
) -> tuple[Any, Any]:
    output, hints = jax.tree.map(_named, _attend_fused(settings, *primals))
    residuals = primals, jax.lax.stop_gradient((output, hints))
    directions = functools.partial(_tangent, settings), functools.partial(_transpose, settings)
    tangent = linear_with_transpose(*directions, residuals, tangents)
    return (output, hints), (tangent, [jnp.zeros_like(hint) for hint in hints])


def _named(array: Array) -> Array:
    return checkpoint_name(array, "attention")


def _tangent(settings: FusedSettings, residuals: Any, tangents: tuple[Array, ...]) -> Array:
    unfused = functools.partial(settings.unfused, settings)
    return jax.jvp(unfused, residuals[0], tangents)[1]


def _transpose(settings: FusedSettings, residuals: Any, cotangent: Array) -> tuple[Array, ...]:
    arrays, (output, hints) = residuals
    return _pull_back(settings, arrays, output, hints, cotangent)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _pull_back(
    settings: FusedSettings, arrays: Any, output: Array, hints: Any, cotangent: Array
) -> tuple[Array, ...]:
    return _backward(settings, (*arrays, output, *hints, cotangent), len(arrays))


@_pull_back.defjvp
def _pull_back_jvp(settings: FusedSettings, primals: Any, tangents: Any) -> tuple[Any, Any]:
    """Differentiate the unfused backward pass: outputs and hints are kept values of the same arrays."""
    (arrays, *_, cotangent), (d_arrays, *_, d_cotangent) = primals, tangents

    def pull(arrays: Any, cotangent: Array) -> tuple[Array, ...]:
        return _unfused_gradients(settings, arrays, cotangent)

    _, change = jax.jvp(pull, (arrays, cotangent), (d_arrays, d_cotangent))
    return _pull_back(settings, *primals), change


def _unfused_gradients(
    settings: FusedSettings, arrays: Sequence[Array], cotangent: Array
) -> tuple[Array, ...]:
    return jax.vjp(functools.partial(settings.unfused, settings), *arrays)[1](cotangent)


# ---- both passes, by platform. A conditional with a derivative of its own would keep what each branch needs.


def _forward(settings: FusedSettings, arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
    hints = jax.eval_shape(lambda *arrays: _parts(settings, arrays).hints, *arrays)

    def fused(*arrays: Array) -> tuple[Array, list[Array]]:
        parts = _parts(settings, arrays)
        return parts.output, parts.hints

    def unfused(*arrays: Array) -> tuple[Array, list[Array]]:
        unknown = [spread_like(jnp.zeros(hint.shape, hint.dtype), arrays[0]) for hint in hints]
        return settings.unfused(settings, *arrays), unknown

    def alone(*arrays: Array) -> tuple[Array, list[Array]]:
        return jax.lax.platform_dependent(*arrays, **{PLATFORM: fused}, default=unfused)

    def many(arrays: Sequence[Array]) -> tuple[Array, list[Array]]:
        return _forward(settings, arrays)

    return _mapped_along_batch(alone, many, mask=len(arrays) > 3)(*arrays)


def _backward(settings: FusedSettings, arrays: Sequence[Array], count: int) -> tuple[Array, ...]:
    def fused(*arrays: Array) -> tuple[Array, ...]:
        inputs, (output, *hints, cotangent) = arrays[:count], arrays[count:]
        return _parts_from(settings, inputs, output, hints)(cotangent)

    def unfused(*arrays: Array) -> tuple[Array, ...]:
        return _unfused_gradients(settings, arrays[:count], arrays[-1])

    def alone(*arrays: Array) -> tuple[Array, ...]:
        return jax.lax.platform_dependent(*arrays, **{PLATFORM: fused}, default=unfused)

    def many(arrays: Sequence[Array]) -> tuple[Array, ...]:
        return _backward(settings, arrays, count)

    return _mapped_along_batch(alone, many, mask=count > 3, gradients=True)(*arrays)


class _Parts(NamedTuple):
    """The kernel's output and its pullback, taken apart: a tree of which some leaves are known anyway."""

    output: Array
    leaves: list[Array]
    tree: Any
    sources: list[int | None]
    """Which of the inputs and the output a leaf is."""

    @property
    def hints(self) -> list[Array]:
        pairs = zip(self.leaves, self.sources, strict=True)
        return [leaf for leaf, source in pairs if source is None and leaf.size]


def _parts(settings: FusedSettings, arrays: Sequence[Array]) -> _Parts:
    output, pull = jax.vjp(functools.partial(kernel, settings), *arrays)
    leaves, tree = jax.tree.flatten(pull)
    known = [*arrays, output]
    sources = [next((n for n, x in enumerate(known) if x is leaf), None) for leaf in leaves]
    return _Parts(output, leaves, tree, sources)


def _parts_from(
    settings: FusedSettings, arrays: Sequence[Array], output: Array, hints: Sequence[Array]
) -> Callable[[Array], tuple[Array, ...]]:
    """Put the pullback together again: its tree depends on shapes alone."""
    found: list[tuple[_Parts, list[Any]]] = []

    def probe(*arrays: Array) -> Array:
        parts = _parts(settings, arrays)
        found.append((parts, [jax.ShapeDtypeStruct(x.shape, x.dtype) for x in parts.leaves]))
        return parts.output

    jax.eval_shape(probe, *arrays)
    ((parts, shapes),) = found
    known, rest = [*arrays, output], iter(hints)

    def leaf(shape: Any, source: int | None) -> Array:
        if source is not None:
            return known[source]
        return next(rest) if shape.size else jnp.zeros(shape.shape, shape.dtype)

    return parts.tree.unflatten(map(leaf, shapes, parts.sources))


# ---- vmap: the new axis joins the batch


def _mapped_along_batch(
    alone: Callable[..., Any],
    many: Callable[[Sequence[Array]], Any],
    mask: bool,
    gradients: bool = False,
) -> Callable[..., Any]:
    """Give a function of arrays with a leading batch a rule for vmap; the kernel's own takes few cases."""
    mapped = jax.custom_batching.custom_vmap(alone)

    @mapped.def_vmap
    def rule(size: int, batched: Sequence[bool], *arrays: Array) -> tuple[Any, Any]:
        full = [
            x if has else jnp.broadcast_to(x, (size, *x.shape))
            for x, has in zip(arrays, batched, strict=True)
        ]
        batch = full[0].shape[1]
        shared = mask and full[3].shape[1] < batch  # one mask for all examples
        if shared:
            full[3] = jnp.broadcast_to(full[3], (size, batch, *full[3].shape[2:]))

        def joined(x: Array) -> Array:
            return x.reshape(size * batch, *x.shape[2:]) if x.shape[1:2] == (batch,) else x[0]

        def parted(x: Array) -> Array:
            if x.shape[:1] == (size * batch,):
                return x.reshape(size, batch, *x.shape[1:])
            return jnp.broadcast_to(x, (size, *x.shape))

        outputs = jax.tree.map(parted, many([joined(x) for x in full]))
        if gradients and shared:
            *most, last = outputs
            outputs = (*most, last.sum(1, keepdims=True))
        return outputs, jax.tree.map(lambda _: True, outputs)

    return mapped
