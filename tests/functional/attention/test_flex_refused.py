"""What `flex_attention` and block masks refuse, and what they say."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F

# ---- what is refused

Q = jnp.ones((2, 4, 16, 8))
MASK = F.create_block_mask(F.causal_mask, None, None, 16, 16, 8)


def flex(score_mod=None, block_mask=None, q=Q, k=Q, v=Q, **options):
    return F.flex_attention(q, k, v, score_mod, block_mask, **options)


REFUSED = {
    "four arguments": (lambda: flex(lambda b, h, q, k: q), TypeError, "called as score_mod"),
    "a mask as score": (lambda: flex(lambda s, b, h, q, k: q >= k), TypeError, "create_block_mask"),
    "no scalar": (lambda: flex(lambda s, b, h, q, k: s + jnp.ones(3)), TypeError, "a scalar"),
    "a pair": (lambda: flex(lambda s, b, h, q, k: (s, s)), TypeError, "a scalar"),
    "an if": (
        lambda: flex(lambda s, b, h, q, k: s if q > k else s * 2),
        jax.errors.ConcretizationTypeError,
        "Attempted boolean conversion",
    ),
    "not a function": (lambda: flex(3.0), TypeError, "must be a function"),
    "a function as mask": (
        lambda: flex(None, F.causal_mask),
        TypeError,
        "create_block_mask.causal_mask",
    ),
    "a word": (lambda: flex(None, "causal"), TypeError, "causal_mask"),
    "True": (lambda: flex(None, True), TypeError, "causal_mask"),
    "an array": (lambda: flex(None, jnp.ones((16, 16), bool)), TypeError, "attn_mask"),
    "other lengths": (
        lambda: flex(None, MASK, k=Q[:, :, :8], v=Q[:, :, :8]),
        ValueError,
        "here are 16 and 8",
    ),
    "other heads": (
        lambda: flex(None, F.create_block_mask(F.causal_mask, None, 3, 16, 16, 8)),
        ValueError,
        "3 heads",
    ),
    "five axes": (lambda: flex(q=Q[None], k=Q[None], v=Q[None]), ValueError, "or fewer"),
    "grouped": (lambda: flex(k=Q[:, :2], v=Q[:, :2]), ValueError, "enable_gqa=True"),
    "integers": (lambda: flex(q=jnp.ones((2, 4, 16, 8), int)), TypeError, "floating-point"),
    "an implementation": (lambda: flex(implementation="flash"), ValueError, "'blocks', 'plain'"),
    "both": (lambda: flex(return_lse=True, return_aux=F.AuxRequest()), ValueError, "alone"),
    "a dict": (lambda: flex(return_aux={"lse": True}), TypeError, "AuxRequest"),
    "floats": (
        lambda: F.create_block_mask(lambda b, h, q, k: jnp.sin(1.0), None, None, 4, 4),
        TypeError,
        "must return a boolean",
    ),
    "a score_mod": (
        lambda: F.create_block_mask(lambda s, b, h, q, k: s, None, None, 4, 4),
        TypeError,
        "called as mask_mod",
    ),
    "no queries": (
        lambda: F.create_block_mask(F.causal_mask, None, None, 0, 4),
        ValueError,
        "Q_LEN",
    ),
    "half lengths": (
        lambda: F.create_block_mask(F.causal_mask, None, None, 1.5, 4),
        TypeError,
        "Q_LEN",
    ),
    "three sizes": (
        lambda: F.create_block_mask(F.causal_mask, None, None, 4, 4, (1, 2, 3)),
        ValueError,
        "BLOCK_SIZE",
    ),
    "no masks": (lambda: F.and_masks(F.causal_mask, 3), TypeError, "must be a function"),
    "one list": (
        lambda: F.BlockMask.from_kv_blocks(
            jnp.ones((1, 1, 2)), jnp.ones((1, 1, 2, 2)), jnp.ones((1, 1, 2))
        ),
        ValueError,
        "or neither",
    ),
    "lists": (
        lambda: F.BlockMask.from_kv_blocks(jnp.ones(3), jnp.ones((2, 2))),
        ValueError,
        "indices",
    ),
    "lists of other lengths": (
        lambda: F.BlockMask.from_kv_blocks(
            jnp.ones(2), jnp.ones((2, 2)), seq_lengths=(9, 9), BLOCK_SIZE=4
        ),
        ValueError,
        "which lengths",
    ),
    "a window": (lambda: F.sliding_window_mask(-1), ValueError, "at least 0"),
    "a cap": (lambda: F.soft_cap_score(0.0), ValueError, "greater than zero"),
    "ids": (lambda: F.document_mask(jnp.ones(4)), TypeError, "must be integers"),
    "a prefix": (lambda: F.prefix_mask(1.5), TypeError, "whole number"),
    "heads of ALiBi": (lambda: flex(F.alibi_score(8)), ValueError, "8 heads, H; here are 4"),
    "heads of a table": (
        lambda: flex(F.relative_bias_score(jnp.ones((3, 5)))),
        ValueError,
        "3 heads, H; here are 4",
    ),
    "documents of others": (
        lambda: F.create_block_mask(
            F.and_masks(F.causal_mask, F.document_mask(jnp.zeros((2, 16), int))), None, None, 16, 16
        ),
        ValueError,
        "2 examples, B; here are 1",
    ),
    "shorter documents": (
        lambda: F.create_mask(F.document_mask(jnp.zeros((1, 12), int)), 2, None, 16, 16),
        ValueError,
        "12 queries; here are 16",
    ),
    "prefixes of others": (
        lambda: F.create_block_mask(F.prefix_mask(jnp.array([1, 2])), 3, None, 16, 16),
        ValueError,
        "2 examples, B; here are 3",
    ),
    "a table": (lambda: F.relative_bias_score(jnp.ones((2, 4))), ValueError, "odd number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    call, error, words = REFUSED[name]
    with pytest.raises(error, match=words):
        call()


def test_sizes_are_checked_each_time():
    mask = F.document_mask(jnp.zeros((2, 16), int))
    assert F.create_block_mask(mask, 2, None, 16, 16).shape == (2, 1, 16, 16)
    with pytest.raises(ValueError, match="2 examples, B"):
        F.create_block_mask(mask, None, None, 16, 16)


def test_an_array_of_numpy_is_explained():
    ids = np.zeros(16, int)
    with pytest.raises(jax.errors.TracerArrayConversionError) as caught:
        F.create_block_mask(lambda b, h, q, k: ids[q] == ids[k], None, None, 16, 16)
    assert "jnp.asarray" in "".join(caught.value.__notes__)


def test_an_if_is_explained():
    with pytest.raises(jax.errors.ConcretizationTypeError) as caught:
        flex(lambda s, b, h, q, k: s if q > k else s * 2)
    assert "jnp.where" in "".join(caught.value.__notes__)
