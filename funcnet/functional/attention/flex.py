"""Attention whose scores are changed by one function and masked by another."""

import functools
import math
from typing import Any, Literal, NamedTuple, cast, get_args, overload

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from funcnet.core.aliases import Array
from funcnet.core.checks import check_choice
from funcnet.core.dtypes import as_floats, at_least_float32, is_float
from funcnet.functional.attention.block_mask import BLOCK, BlockMask
from funcnet.functional.attention.by_blocks import flex_by_blocks
from funcnet.functional.attention.dot_product import check_heads
from funcnet.functional.attention.modifiers import noop_mask
from funcnet.functional.attention.plain import FlexOutput, attend_to
from funcnet.functional.attention.positions import (
    FlexSettings,
    Positions,
    ScoreMod,
    changed_scores,
    check_score,
    opened,
    over_positions,
)
from funcnet.functional.explicit_meshes import let_xla_place

__all__ = ["AuxOutput", "AuxRequest", "flex_attention"]

FlexForm = Literal["blocks", "plain"]

BLOCKS_FROM = 1 << 28
"""Bytes of scores from which attention goes by blocks without a block mask too, to save memory."""


class AuxRequest(NamedTuple):
    """What `flex_attention` returns besides its output.

    Args:
        lse: the logarithm of the sum of the exponentials of each query's scores; minus infinity where there are none.
        max_scores: the largest of each query's scores; it has no gradient.

    Example:
        >>> q = jnp.ones((1, 1, 4, 8))
        >>> output, aux = F.flex_attention(q, q, q, return_aux=F.AuxRequest(lse=True))
        >>> aux.lse.shape
        (1, 1, 4)

    Reference: ``torch.nn.attention.flex_attention.AuxRequest``.
    """

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for by `AuxRequest`, each ``(B, Hq, L)``; None where it was not asked for.

    Example:
        >>> q = jnp.ones((1, 2, 4, 8))
        >>> output, aux = F.flex_attention(q, q, q, return_aux=F.AuxRequest(lse=True))
        >>> aux.lse.shape, aux.max_scores
        ((1, 2, 4), None)

    Reference: ``torch.nn.attention.flex_attention.AuxOutput``.
    """

    lse: Array | None = None
    max_scores: Array | None = None


@overload
def flex_attention(
    query: Array,
    key: Array,
    value: Array,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | Array | None = None,
    enable_gqa: bool = False,
    return_lse: Literal[False] = False,
    *,
    return_aux: None = None,
    implementation: FlexForm | None = None,
) -> Array: ...


@overload
def flex_attention(
    query: Array,
    key: Array,
    value: Array,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | Array | None = None,
    enable_gqa: bool = False,
    return_lse: Literal[False] = False,
    *,
    return_aux: AuxRequest,
    implementation: FlexForm | None = None,
) -> tuple[Array, AuxOutput]: ...


@overload
def flex_attention(
    query: Array,
    key: Array,
    value: Array,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | Array | None = None,
    enable_gqa: bool = False,
    *,
    return_lse: Literal[True],
    implementation: FlexForm | None = None,
) -> tuple[Array, Array]: ...


def flex_attention(
    query: Array,
    key: Array,
    value: Array,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | Array | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    *,
    return_aux: AuxRequest | None = None,
    implementation: FlexForm | None = None,
) -> Any:
    """Attend, with scores that a function changes and a mask whose empty blocks are never computed.

    ``softmax(score_mod(query keyᵀ * scale)) value`` over the keys that the block mask leaves. Both functions are
    written for one query and one key, with ``jnp``; arrays from around them may be indexed, and get gradients, for
    which a score's derivative has to be finite where the mask forbids too. A query that may attend to nothing
    yields zeros. Scores and sums are in float32 at least.

    Args:
        query: ``(B, Hq, L, E)``; floats, as key and value; without examples ``(Hq, L, E)``, or heads ``(L, E)``.
        key: ``(B, H, S, E)``.
        value: ``(B, H, S, Ev)``.
        score_mod: ``score_mod(score, b, h, q_idx, kv_idx)``: what a score becomes; ``h`` counts heads of queries.
        block_mask: of `create_block_mask`, for these lengths; its own B and H may be 1.
        scale: factor of the scores, ``1 / sqrt(E)`` by default.
        enable_gqa: let ``Hq / H`` neighbouring query heads share one head of keys and values.
        return_lse: return the logarithm of the sum of the scores' exponentials too; as by ``return_aux``.
        return_aux: what else to return.
        implementation: which form computes it; by default what was measured to be the fastest.

            - ``"plain"``: the formula, with all scores in memory. The default without a block mask, up to 256 MiB
              of scores; and where the arrays that ``score_mod`` learns are about as large as the scores.
            - ``"blocks"``: a block of queries after another, each with the blocks of keys that it may attend to,
              computed again for the gradient: memory grows with ``L + S``. Where the block mask is known
              while the program is compiled, it is compiled for it; where it is not, blocks are counted as it runs.

    Returns:
        An array of shape ``(B, Hq, L, Ev)``; with ``return_lse`` a pair with the logarithms ``(B, Hq, L)``, with
        ``return_aux`` a pair with an `AuxOutput`.

    Raises:
        ValueError: shapes that do not fit, or a block mask of other lengths.
        TypeError: functions of other arguments or results, or something else than a block mask.

    Example:
        >>> q = k = v = jnp.ones((2, 4, 256, 8))
        >>> mask = F.create_block_mask(F.causal_mask, None, None, 256, 256)
        >>> slopes = jnp.array([0.5, 0.25, 0.125, 0.0625])
        >>> def alibi(score, b, h, q_idx, kv_idx):
        ...     return score - slopes[h] * (q_idx - kv_idx)
        >>> F.flex_attention(q, k, v, alibi, mask).shape
        (2, 4, 256, 8)

    Reference: ``torch.nn.attention.flex_attention.flex_attention``; Dong et al., Flex Attention, 2024,
    https://arxiv.org/abs/2412.05496.
    """
    query, key, value = as_floats("flex_attention", query=query, key=key, value=value)
    _check_shapes(query, key, value, enable_gqa)
    _check_block_mask(block_mask, query, key)
    _check_requests(return_lse, return_aux)
    if score_mod is not None:
        check_score(score_mod, _sizes(query, key))
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1]) if query.shape[-1] else 1.0
    settings = _settings(query, score_mod, block_mask, scale)
    alone = 4 - query.ndim
    query, key, value = (x[(None,) * alone] for x in (query, key, value))
    form = _choose(implementation, settings, query, key, block_mask)
    found = _placed(form, settings, query, key, value, block_mask)
    output, lse, largest = (checkpoint_name(x[(0,) * alone], "attention") for x in found)
    if return_aux is not None:
        return output, AuxOutput(
            lse if return_aux.lse else None, largest if return_aux.max_scores else None
        )
    return (output, lse) if return_lse else output


def _sizes(query: Array, key: Array) -> tuple[int, int, int, int]:
    batch, heads = (1, 1, *query.shape[:-2])[-2:]
    return batch, heads, query.shape[-2], key.shape[-2]


def _settings(
    query: Array, score_mod: ScoreMod | None, block_mask: BlockMask | None, scale: Any
) -> FlexSettings:
    score, score_arrays = None, []
    if score_mod is not None:
        number = jax.ShapeDtypeStruct((), at_least_float32(query.dtype))
        score, score_arrays = opened(score_mod, number)
    mask, mask_arrays = opened(noop_mask if block_mask is None else block_mask.mask_mod)
    return FlexSettings(score, score_arrays, mask, mask_arrays, scale)


def _choose(
    implementation: FlexForm | None,
    settings: FlexSettings,
    query: Array,
    key: Array,
    block_mask: BlockMask | None,
) -> FlexForm:
    """Choose a form by what was measured: `python -m benchmarks.flex_attention`."""
    if implementation is not None:
        check_choice("implementation", implementation, get_args(FlexForm))
        return implementation
    scores = math.prod((*query.shape[:3], key.shape[2]))
    if block_mask is None:
        return "blocks" if 4 * scores >= BLOCKS_FROM else "plain"
    # the gradient of a learned array is added to for each row of blocks
    learned = sum(x.size for x in settings.score_arrays if is_float(x))
    rows = block_mask.kv_num_blocks.shape[-1]
    return "plain" if learned * rows > scores else "blocks"


def _placed(
    form: FlexForm,
    settings: FlexSettings,
    query: Array,
    key: Array,
    value: Array,
    block_mask: BlockMask | None,
) -> FlexOutput:
    """Compute a form, with all that is traced as an argument: XLA places it on a mesh with explicit axes."""
    if block_mask is None and form == "blocks":
        block_mask = _every_block(query, key)
    known = block_mask is None or isinstance(block_mask.block_kinds()[0], np.ndarray)
    arrays = (
        settings.score_arrays,
        settings.mask_arrays,
        settings.scale,
        None if known else block_mask,
    )
    leaves, tree = jax.tree.flatten(((query, key, value), arrays))

    def whole(*leaves: Array) -> FlexOutput:
        (q, k, v), (scores, masks, scale, counted) = jax.tree.unflatten(tree, leaves)
        how = settings._replace(score_arrays=scores, mask_arrays=masks, scale=scale)
        mask = block_mask if known else counted
        attend = flex_plain if form == "plain" else flex_by_blocks
        return attend(how, q, k, v, cast(Any, mask))

    return let_xla_place(whole, *leaves, kept=2)


def flex_plain(
    settings: FlexSettings, query: Array, key: Array, value: Array, block_mask: BlockMask | None
) -> FlexOutput:
    """Attend with all scores in memory.

    Args:
        settings: what does not change.
        query: ``(B, Hq, L, E)``.
        key: ``(1 or B, H, S, E)``.
        value: ``(1 or B, H, S, Ev)``.
        block_mask: of these lengths.
    """
    dtype, wide = value.dtype, at_least_float32(value.dtype)
    sizes = *query.shape[:3], key.shape[2]
    batch, heads, rows, columns = (jnp.arange(size, dtype=jnp.int32) for size in sizes)
    at = Positions(batch, heads, rows[None, None], columns[None, None])
    allowed = None if block_mask is None else _allowed(settings, block_mask, at)
    query = query.astype(wide) * jnp.asarray(settings.scale, wide)
    scores = changed_scores(settings, query, key.astype(wide), at, allowed)
    found = attend_to(scores, value.astype(wide))
    return found._replace(output=found.output.astype(dtype))


def _allowed(settings: FlexSettings, block_mask: BlockMask, at: Positions) -> Array:
    mask = functools.partial(settings.mask, settings.mask_arrays)
    kinds = [jnp.asarray(x) for x in block_mask.block_kinds()]
    for axis, places in ((-2, at.query), (-1, at.key)):
        kinds = [jnp.repeat(x, block_mask.BLOCK_SIZE[axis], axis) for x in kinds]
        kinds = [jax.lax.slice_in_dim(x, 0, places.shape[-1], axis=axis) for x in kinds]
    partial, full = kinds
    return over_positions(mask, at) & partial | full


def _every_block(query: Array, key: Array) -> BlockMask:
    """Return the block mask that leaves all."""
    lengths = query.shape[2], key.shape[2]
    rows, columns = (-(-length // BLOCK) for length in lengths)
    none, every = np.zeros((1, 1, rows), np.int32), np.full((1, 1, rows), columns, np.int32)
    lists = np.broadcast_to(np.arange(columns, dtype=np.int32), (1, 1, rows, columns))
    known: Any = none, lists, every, lists  # NumPy's: no array is made while a function is traced
    numbers, indices, full_numbers, full_indices = known
    return BlockMask(lengths, numbers, indices, full_numbers, full_indices)


# ---- what the user gave


def _check_shapes(query: Array, key: Array, value: Array, enable_gqa: bool) -> None:
    check_heads(query, key, value, enable_gqa)
    if not query.ndim == key.ndim == value.ndim <= 4:
        raise ValueError(
            "query, key and value must have as many axes as each other, (batch, heads, length, features) or "
            f"fewer; got {query.shape}, {key.shape} and {value.shape}"
        )
    if query.ndim == 4 and not len(key) == len(value) and {len(key), len(value)} - {1, len(query)}:
        raise ValueError(
            f"key and value must have the query's examples, or one; got {query.shape}, {key.shape} and {value.shape}"
        )


def _check_block_mask(block_mask: Any, query: Array, key: Array) -> None:
    if block_mask is None:
        return
    lengths = query.shape[-2], key.shape[-2]
    if not isinstance(block_mask, BlockMask):
        raise TypeError(f"block_mask must be a BlockMask; got {_what_else(block_mask, lengths)}")
    if block_mask.seq_lengths != lengths:
        raise ValueError(
            f"block_mask was made for {block_mask.seq_lengths[0]} queries and {block_mask.seq_lengths[1]} keys; "
            f"here are {lengths[0]} and {lengths[1]}: write "
            f"create_block_mask(mask_mod, B, H, {lengths[0]}, {lengths[1]})"
        )
    sizes = _sizes(query, key)[:2]
    given = (1, 1, *block_mask.shape[:-2])[-2:]
    if len(block_mask.shape) > 4 or any(
        n not in (1, size) for n, size in zip(given, sizes, strict=True)
    ):
        raise ValueError(
            f"block_mask was made for {given[0]} examples and {given[1]} heads; query {query.shape} has "
            f"{sizes[0]} and {sizes[1]} (1, or None, serves all)"
        )


def _what_else(given: Any, lengths: tuple[int, int]) -> str:
    make = f"create_block_mask(mask_mod, None, None, {lengths[0]}, {lengths[1]})"
    if callable(given):
        return f"a function: write block_mask={make.replace('mask_mod', getattr(given, '__name__', 'mask_mod'))}"
    if isinstance(given, str):
        return f'"{given}": write {make}, of a function such as causal_mask'
    if isinstance(given, bool):
        return f"{given}: write {make}, with causal_mask for a causal one"
    if hasattr(given, "shape"):
        return (
            f"an array of shape {given.shape}: give it to scaled_dot_product_attention as attn_mask, or write "
            "lambda b, h, q_idx, kv_idx: mask[b, h, q_idx, kv_idx] for create_block_mask"
        )
    return repr(given)


def _check_requests(return_lse: Any, return_aux: Any) -> None:
    if return_aux is not None and not isinstance(return_aux, AuxRequest):
        raise TypeError(
            f"return_aux must be AuxRequest(lse=..., max_scores=...); got {return_aux!r}"
        )
    if return_lse and return_aux is not None:
        raise ValueError("give return_aux=AuxRequest(lse=True) alone, without return_lse=True")
