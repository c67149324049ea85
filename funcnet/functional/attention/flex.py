"""Attention with scores changed by a function and masked by another, as `flex_attention` of PyTorch."""

import math
from typing import Any, Literal, NamedTuple, overload

import jax.numpy as jnp

from funcnet.core.aliases import Array
from funcnet.core.dtypes import as_floats
from funcnet.functional.attention.block_mask import BlockMask, create_block_mask, create_mask
from funcnet.functional.attention.by_blocks import flex_by_blocks
from funcnet.functional.attention.changed_scores import FlexOutput, FlexSettings, flex_plain
from funcnet.functional.attention.dot_product import check_heads
from funcnet.functional.attention.positions import ScoreMod, check_score

__all__ = ["AuxOutput", "AuxRequest", "flex_attention"]

FlexForm = Literal["blocks", "plain"]


class AuxRequest(NamedTuple):
    """What `flex_attention` returns besides its output.

    Args:
        lse: the logarithm of the sum of the exponentials of each query's scores.
        max_scores: the largest of each query's scores.

    Reference: ``torch.nn.attention.flex_attention.AuxRequest``.
    """

    lse: bool = False
    max_scores: bool = False


class AuxOutput(NamedTuple):
    """What was asked for by `AuxRequest`; None where it was not.

    Reference: ``torch.nn.attention.flex_attention.AuxOutput``.
    """

    lse: Array | None = None
    max_scores: Array | None = None


def flex_attention(
    query: Array,
    key: Array,
    value: Array,
    score_mod: ScoreMod | None = None,
    block_mask: BlockMask | None = None,
    scale: float | None = None,
    enable_gqa: bool = False,
    return_lse: bool = False,
    *,
    return_aux: AuxRequest | None = None,
    implementation: FlexForm | None = None,
) -> Any:
    """Attend with scores that a function changes, and by blocks that a mask leaves.

    Args:
        query: ``(B, Hq, L, E)``.

    Example:
        >>> q = k = v = jnp.ones((1, 2, 256, 8))
        >>> mask = F.create_block_mask(F.causal_mask, None, None, 256, 256)
        >>> F.flex_attention(q, k, v, F.soft_cap_score(30.0), mask).shape
        (1, 2, 256, 8)
    """
    query, key, value = as_floats("flex_attention", query=query, key=key, value=value)
    if score_mod is not None:
        check_score(score_mod)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    import jax
    from funcnet.core.dtypes import at_least_float32
    from funcnet.functional.attention.modifiers import noop_mask
    from funcnet.functional.attention.positions import opened
    number = jax.ShapeDtypeStruct((), at_least_float32(query.dtype))
    score, sa = (None, []) if score_mod is None else opened(score_mod, number)
    mask, ma = opened(noop_mask if block_mask is None else block_mask.mask_mod)
    settings = FlexSettings(score, sa, mask, ma, scale)
    if block_mask is None or implementation == "plain":
        found = flex_plain(settings, query, key, value, block_mask)
    else:
        found = flex_by_blocks(settings, query, key, value, block_mask)
    if return_lse:
        return found.output, found.lse
    return found.output
