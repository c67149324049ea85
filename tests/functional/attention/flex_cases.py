"""Functions of positions for the tests of `flex_attention`: each written once, for this library and for PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import functional as F

LENGTHS = {"even": (32, 32), "ragged": (40, 40), "more keys": (20, 44), "more queries": (44, 20)}
BATCH, HEADS, FEATURES, BLOCK = 2, 4, 8, 16

RNG = np.random.default_rng(0)
IDS = np.sort(RNG.integers(0, 4, (BATCH, 70)), -1).astype(np.int32)
TABLE = RNG.standard_normal((HEADS, 141))
SLOPES = 2.0 ** -np.arange(1, HEADS + 1)


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def window(b, h, q_idx, kv_idx):
    return abs(q_idx - kv_idx) <= 9


def nothing_for_some(b, h, q_idx, kv_idx):
    return (q_idx % 3 != 1) & (kv_idx < q_idx + 5) & (q_idx != kv_idx)


def by_head(b, h, q_idx, kv_idx):
    return (q_idx - kv_idx <= 8 * h) & (q_idx >= kv_idx)


def documents(ids):
    def mask(b, h, q_idx, kv_idx):
        return (ids[b, q_idx] == ids[b, kv_idx]) & (q_idx >= kv_idx)

    return mask


MASKS = {
    # the mask, and whether its blocks are listed for each example and head
    "none": (None, None, None),
    "causal": (causal, None, None),
    "window": (window, None, None),
    "nothing for some": (nothing_for_some, None, None),
    "by head": (by_head, None, HEADS),
    "documents": (documents, BATCH, None),
    "documents by both": (documents, BATCH, HEADS),
}


def mask_of(kind, ids):
    """Return a mask over arrays of either library."""
    mask, batch, heads = MASKS[kind]
    return (mask(ids) if mask is documents else mask), batch, heads


def alibi(arrays, score, b, h, q_idx, kv_idx):
    return score - arrays["slopes"][h] * (q_idx - kv_idx)


def table(arrays, score, b, h, q_idx, kv_idx):
    return score + arrays["table"][h, q_idx - kv_idx + 70]


def capped(arrays, score, b, h, q_idx, kv_idx):
    squashed = score / (1 + score * score) ** 0.5
    return squashed * arrays["slopes"][0] - 0.25 * b


SCORES = {"none": None, "alibi": alibi, "table": table, "capped": capped}

ARRAYS = {"slopes": SLOPES, "table": TABLE}


def drawn(lengths, dtype=np.float64, kv_heads=HEADS, seed=1):
    """Draw query, key and value."""
    rng = np.random.default_rng(seed)
    shapes = [(BATCH, HEADS, lengths[0])] + 2 * [(BATCH, kv_heads, lengths[1])]
    return tuple(rng.standard_normal((*shape, FEATURES)).astype(dtype) for shape in shapes)


def ours(kind, score, lengths, implementation, counted=False, **options):
    """Return attention as a function of query, key, value and the arrays of the score function."""
    traced = jnp.asarray(IDS)

    def block_mask():
        mask, batch, heads = mask_of(kind, traced)
        if mask is None:
            return None
        return F.create_block_mask(mask, batch, heads, *lengths, BLOCK)

    known = None if counted else block_mask()

    def attend(query, key, value, arrays):
        changed = SCORES[score]

        def score_mod(*at):
            with jax.numpy_dtype_promotion("standard"):  # as in a user's session
                return changed(arrays, *at)

        mask = block_mask() if counted else known
        return F.flex_attention(
            query,
            key,
            value,
            None if changed is None else score_mod,
            mask,
            enable_gqa=query.shape[1] != key.shape[1],
            implementation=implementation,
            return_aux=F.AuxRequest(lse=True, max_scores=True),
            **options,
        )

    return attend


SIZES = LENGTHS | {"short": (24, 24)}


def inputs(lengths="ragged", dtype=None, kv_heads=4):
    arrays = drawn(SIZES[lengths], kv_heads=kv_heads)
    dtype = jnp.zeros(0).dtype if dtype is None else dtype
    return *(jnp.asarray(x, dtype) for x in arrays), jax.tree.map(jnp.asarray, ARRAYS)
