"""Which form of attention serves: by hand, or by what was measured."""

import functools
import math
import typing
from typing import Literal

import jax
import jax.numpy as jnp

from funcnet.core.aliases import Array, DType
from funcnet.functional.attention.chunked import chunked_attention
from funcnet.functional.attention.fused import HOLE, FusedSettings, fused_attention
from funcnet.functional.attention.plain import (
    AttentionSettings,
    allowed_by,
    plain_attention,
    scores_shape,
)

__all__ = ["AttentionForm", "check_implementation", "choose", "fused_heads"]

AttentionForm = Literal["fused", "chunked", "plain"]

CHUNKED_FROM = {"causal": 1 << 22, "cpu": 1 << 28, "accelerator": 1 << 30}
"""Bytes of scores from which blocks of queries are the default: `python -m benchmarks.attention`.

On CPUs they are faster for causal attention early, as they leave out what lies ahead, and pay for their second
computation elsewhere as soon as the scores fill no cache. On accelerators, where that was not measured, they only save
memory.
"""

CAUSAL_LENGTH = 128
"""Queries from which causal attention on CPUs goes by blocks."""


def check_implementation(implementation: str | None) -> None:
    """Raise if there is no such form.

    Args:
        implementation: its name, or ``None``.

    Raises:
        ValueError: there is none.
    """
    names = typing.get_args(AttentionForm)
    if implementation is not None and implementation not in names:
        raise ValueError(f"implementation must be None or one of {names}; got {implementation!r}")


def choose(
    implementation: AttentionForm | None,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    settings: AttentionSettings,
    need_weights: bool,
) -> AttentionForm:
    """Choose a form for arrays that are checked already; raise if the one asked for cannot serve.

    Args:
        implementation: what the caller asks for.
        query: ``(*, Hq, L, E)``.
        key: ``(*, H, S, E)``.
        value: ``(*, H, S, Ev)``.
        attn_mask: for the scores, or ``None``.
        settings: what all forms are told.
        need_weights: the weights are wanted as well.
    """
    check_implementation(implementation)
    hinders = {
        "fused": _hinders_fused(query, key, value, attn_mask, settings, need_weights),
        "chunked": "it never holds the weights, which are wanted here" if need_weights else None,
        "plain": None,
    }
    if implementation is not None:
        if hinders[implementation] is not None:
            raise ValueError(f'implementation="{implementation}": {hinders[implementation]}')
        return implementation
    if hinders["fused"] is None and _is_exact(query, attn_mask):
        return "fused"
    return "chunked" if not need_weights and _by_blocks(query, key, settings) else "plain"


def _by_blocks(query: Array, key: Array, settings: AttentionSettings) -> bool:
    """Whether blocks of queries are faster, or what the scores take is too much."""
    if not _has_known_sizes(query, key):
        return False
    size, cpu = 4 * math.prod(scores_shape(query, key)), jax.default_backend() == "cpu"
    if cpu and settings.is_causal and settings.dropout_p == 0 and query.shape[-2] >= CAUSAL_LENGTH:
        return size >= CHUNKED_FROM["causal"]
    return size >= CHUNKED_FROM["cpu" if cpu else "accelerator"]


def _has_known_sizes(*arrays: Array) -> bool:
    """Whether no size is one of `jax.export`'s symbols, which no threshold can be compared with."""
    return all(isinstance(size, int) for array in arrays for size in array.shape)


def _is_exact(query: Array, attn_mask: Array | None) -> bool:
    """Whether the kernel reads the mask as it is: numbers in 32 bits would be rounded to 16."""
    return attn_mask is None or attn_mask.dtype in (jnp.bool_, query.dtype)


def _hinders_fused(
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
    settings: AttentionSettings,
    need_weights: bool,
) -> str | None:
    """Say why the kernel cannot serve, or return None."""
    capability, features = cuda_capability(), query.shape[-1]
    widest = 256 if capability >= (9, 0) else 128
    lengths = query.shape[-2], key.shape[-2]
    if capability < (8, 0):
        return "it needs an NVIDIA GPU of compute capability 8.0 or more, and there is none here"
    if not _has_known_sizes(query, key):
        return f"its sizes must be numbers; got {query.shape} and {key.shape}"
    if query.dtype not in HOLE:
        return f"it computes in float16 and bfloat16; got {query.dtype}"
    if need_weights:
        return "it never holds the weights, which are wanted here"
    if settings.dropout_p > 0:
        return f"it has no dropout of weights; got dropout_p={settings.dropout_p}"
    if isinstance(settings.scale, jax.Array):
        return "its scale must be a number, which has no gradient; got an array"
    if value.shape != key.shape:
        return f"keys and values must have one shape; got {key.shape} and {value.shape}"
    if features % 8 or not 0 < features <= widest:
        return f"a head must have a multiple of 8 features, at most {widest}; got {features}"
    if not all((*lengths, query.size)):
        return f"there must be something to attend to; got {query.shape} and {key.shape}"
    if settings.is_causal and lengths[0] != lengths[1]:
        return f"causal attention must be to as many keys as queries; got {lengths[1]} and {lengths[0]}"
    if any(length % 2 for length in lengths) and not _may_grow(attn_mask, settings):
        return f"both lengths must be even unless attention is causal; got {lengths[0]} and {lengths[1]}"
    return None


def _may_grow(attn_mask: Array | None, settings: AttentionSettings) -> bool:
    """Whether one more query and key at the end change nothing before them."""
    return attn_mask is None and settings.is_causal


@functools.cache
def cuda_capability() -> tuple[int, int]:
    """Return the compute capability of the first device; zeros if it is not an NVIDIA GPU.

    Asked while a function is traced, never while funcnet is imported: it starts JAX's backend.
    """
    device = jax.devices()[0]
    major, _, minor = str(getattr(device, "compute_capability", "")).partition(".")
    if device.platform != "gpu" or not (major.isdecimal() and minor.isdecimal()):
        return (0, 0)
    return int(major), int(minor)


# ---- the fused form of arrays whose heads come before their lengths


def fused_heads(
    settings: AttentionSettings,
    query: Array,
    key: Array,
    value: Array,
    attn_mask: Array | None,
) -> Array:
    """Attend by the kernel; arguments as of `plain_attention`.

    The kernel takes the length before the heads. Where heads were split from features just before, XLA cancels the
    two transpositions. A row that may attend to nothing, for which the kernel gives a mean, is made zero.
    """
    *leading, length, keys = scores_shape(query, key)
    batch, heads = tuple(leading[:-1]), leading[-1] if leading else 1
    q = _lengths_first(query, batch, heads)
    kv_heads = key.shape[-3] if key.ndim > 2 else 1
    k, v = (_lengths_first(x, batch, kv_heads) for x in (key, value))
    how = FusedSettings(settings.is_causal, settings.scale, _unfused)
    if length % 2 and _may_grow(attn_mask, settings):
        q, k, v = (jnp.pad(x, ((0, 0), (0, 1), (0, 0), (0, 0))) for x in (q, k, v))
        output = fused_attention(how, q, k, v)[:, :length]
    elif attn_mask is None:
        output = fused_attention(how, q, k, v)
    else:
        mask = _four_axes(attn_mask, tuple(leading))
        mask = jnp.broadcast_to(mask, (*mask.shape[:-2], length, keys))
        allowed = allowed_by(mask)
        output = fused_attention(how, q, k, v, _added(mask, allowed, query.dtype))
        something = jnp.swapaxes(allowed.any(-1), 1, 2)[..., None]
        output = jnp.where(something, output, jnp.zeros((), output.dtype))
    return jnp.swapaxes(output, 1, 2).reshape(*leading, length, value.shape[-1])


def _lengths_first(array: Array, batch: tuple[int, ...], heads: int) -> Array:
    """Turn ``(*, heads, length, features)`` into ``(batch, length, heads, features)``."""
    sizes = array.shape[-2:]
    array = jnp.broadcast_to(array, (*batch, heads, *sizes)).reshape(-1, heads, *sizes)
    return jnp.swapaxes(array, 1, 2)


def _four_axes(mask: Array, leading: tuple[int, ...]) -> Array:
    """Turn ``(*, L, S)`` into ``(1 or batch, 1 or heads, L, S)``."""
    mask = jnp.atleast_2d(mask)
    missing = len(leading) + 2 - mask.ndim
    mask = mask.reshape(*(1,) * (missing + (not leading)), *mask.shape)
    *examples, heads, length, keys = mask.shape
    if functools.reduce(int.__mul__, examples, 1) > 1:
        mask = jnp.broadcast_to(mask, (*leading[:-1], heads, length, keys))
    return mask.reshape(-1, heads, length, keys)


def _added(mask: Array, allowed: Array, dtype: DType) -> Array:
    """Turn a mask into one of finite numbers to add."""
    hole = HOLE[jnp.dtype(dtype)]
    if mask.dtype == jnp.bool_:
        numbers = jnp.zeros(mask.shape, dtype)
    else:
        numbers = jnp.maximum(mask, jnp.asarray(hole, mask.dtype)).astype(dtype)
    return jnp.where(allowed, numbers, jnp.asarray(hole, dtype))


def _unfused(settings: FusedSettings, q: Array, k: Array, v: Array, *mask: Array) -> Array:
    """Compute what the kernel does by a form that has every rule."""
    query, key, value = (jnp.swapaxes(x, 1, 2) for x in (q, k, v))
    how = AttentionSettings(0.0, settings.is_causal, settings.scale)
    added = mask[0] if mask else None
    if _by_blocks(query, key, how):
        output = chunked_attention(how, query, key, value, added, None)
    else:
        output = plain_attention(how, query, key, value, added, None)[0]
    return jnp.swapaxes(output, 1, 2)
