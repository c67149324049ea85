"""Shapes and masks of attention, and a stand-in for the fused kernel where there is no GPU."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import functional as F
from funcnet.core.dtypes import at_least_float32
from funcnet.functional.attention import fused, implementations

SHAPES = {
    "heads": ((2, 4, 10, 8), (2, 4, 10, 8)),
    "odd": ((2, 4, 7, 8), (2, 4, 7, 8)),
    "grouped": ((2, 4, 10, 8), (2, 2, 10, 8)),
    "one key head": ((2, 4, 6, 8), (2, 1, 10, 8)),
    "shared queries": ((1, 2, 10, 8), (2, 2, 6, 8)),
    "two axes": ((10, 8), (6, 8)),
    "three axes": ((3, 6, 8), (3, 10, 8)),
    "five axes": ((2, 2, 4, 6, 8), (2, 2, 2, 6, 8)),
}
MASKS = ("none", "causal", "booleans", "floats", "padding", "keys")
"""Booleans and floats have a query that may attend to nothing, and a key to which no query attends."""


def arrays_of(shape, dtype=np.float64, seed=0):
    """Draw query, key and value."""
    rng = np.random.default_rng(seed)
    queries, keys = SHAPES[shape] if isinstance(shape, str) else shape
    return tuple(jnp.asarray(rng.standard_normal(sizes), dtype) for sizes in (queries, keys, keys))


def mask_of(kind, query, key):
    """Return the options of a kind of mask."""
    if kind in ("none", "causal"):
        return {"is_causal": kind == "causal"}
    rng = np.random.default_rng(1)
    leading = np.broadcast_shapes(query.shape[:-3], key.shape[:-3])
    rows, columns = query.shape[-2], key.shape[-2]
    if kind == "keys":
        return {"attn_mask": jnp.asarray(rng.random(columns) < 0.7)}
    if kind == "padding":
        sizes = (*leading, 1, 1, columns) if query.ndim > 3 else (1, columns)
        return {"attn_mask": jnp.asarray(rng.random(sizes) < 0.7)}
    seen = rng.random((*leading, *query.shape[-3:-2], rows, columns)) < 0.6
    seen[..., 3, :], seen[..., 2] = False, False
    if kind == "booleans":
        return {"attn_mask": jnp.asarray(seen)}
    floats = np.where(seen[(0,) * (seen.ndim - 2)], rng.standard_normal((rows, columns)), -np.inf)
    return {"attn_mask": jnp.asarray(floats, query.dtype)}


def forms_for(mask, query, key):
    """Return the forms beside the plain one that serve: the kernel is asked for what it was seen to do."""
    lengths = query.shape[-2], key.shape[-2]
    fused = lengths[0] == lengths[1] if mask == "causal" else not (lengths[0] % 2 or lengths[1] % 2)
    return ("chunked", "fused") if fused else ("chunked",)


def attention(implementation, grouped, **options):
    """Return attention as a function of query, key and value."""

    def attend(query, key, value):
        return F.scaled_dot_product_attention(
            query, key, value, enable_gqa=grouped, implementation=implementation, **options
        )

    return attend


def is_grouped(query, key):
    return query.ndim > 2 and query.shape[-3] > key.shape[-3] > 0


def loss_of(attend):
    def loss(*arrays):
        output = attend(*arrays)
        return jnp.sum(jnp.sin(output.astype(at_least_float32(output.dtype))))

    return loss


def use_stand_in(monkeypatch):
    """Let the fused form run here: a kernel with a backward pass of its own, and no other rule, as cuDNN's."""

    def kernel(settings, *arrays):
        def formula(*arrays):
            return implementations._unfused(settings, *arrays)

        @jax.custom_vjp
        def attend(*arrays):
            return formula(*arrays)

        def forward(*arrays):
            output = formula(*arrays)
            return output, (arrays, jnp.zeros(0), 2 * output[..., 0], output)

        def backward(kept, cotangent):
            arrays, _, hint, output = kept
            right = jnp.where(hint == 2 * output[..., 0], 1, jnp.nan)[..., None]
            return jax.vjp(formula, *arrays)[1](cotangent * right.astype(cotangent.dtype))

        attend.defvjp(forward, backward)
        return attend(*arrays)

    monkeypatch.setattr(fused, "kernel", kernel)
    monkeypatch.setattr(fused, "PLATFORM", "cpu")
    monkeypatch.setattr(implementations, "cuda_capability", lambda: (9, 0))
    monkeypatch.setitem(fused.HOLE, jnp.dtype(jnp.float64), -(2.0**41))
