"""Attention of every pair of lengths, none and unequal ones too, against the formula written in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from funcnet import functional as F
from funcnet.functional.attention import chunked

LENGTHS = ((0, 3), (3, 0), (1, 3), (5, 3), (3, 5))
HEADS = ((1, 1), (4, 2))


def by_hand(query, key, value, is_causal):
    repeats = query.shape[-3] // key.shape[-3]
    key, value = (np.repeat(x, repeats, -3) for x in (key, value))
    likeness = np.exp(np.einsum("hle,hse->hls", query, key) / np.sqrt(query.shape[-1]))
    if is_causal:
        likeness = np.tril(likeness)
    total = likeness.sum(-1, keepdims=True)
    return likeness / np.where(total == 0, 1, total) @ value


@pytest.mark.parametrize("form", ["plain", "chunked"])
@pytest.mark.parametrize("is_causal", [False, True])
@pytest.mark.parametrize("heads", HEADS)
def test_lengths(monkeypatch, x64, heads, is_causal, form):
    monkeypatch.setattr(chunked, "rows_of_a_block", lambda scores: 2)
    rng = np.random.default_rng(0)

    def run(query, key, value):
        def attend(*arrays):
            return F.scaled_dot_product_attention(
                *arrays, is_causal=is_causal, enable_gqa=True, implementation=form
            )

        output, pull = jax.vjp(attend, query, key, value)
        return output, pull(output)

    for queries, keys in LENGTHS:
        sizes = (heads[0], queries, 4), (heads[1], keys, 4), (heads[1], keys, 6)
        arrays = [rng.standard_normal(size) for size in sizes]
        output, slopes = jax.jit(run)(*arrays)
        expected = by_hand(*arrays, is_causal)
        assert output.shape == expected.shape, (queries, keys)
        # float64: sums in another order
        np.testing.assert_allclose(output, expected, rtol=1e-12, atol=1e-12)
        assert all(np.isfinite(slope).all() for slope in slopes), (queries, keys)


def test_causal_queries_beyond_the_last_key_tell_numbers_from_nan():
    ones = jnp.ones((5, 2))
    values = jnp.ones((3, 2)).at[1].set(jnp.nan)
    output = F.scaled_dot_product_attention(ones, ones[:3], values, is_causal=True)
    assert jnp.isnan(output).any(-1).tolist() == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("sizes", "is_causal"), [("b, 1, 4, 2", True), ("1, 1, n, 2", False), ("1, n, 2", True)]
)
def test_sizes_that_are_known_after_export(sizes, is_causal):
    def attend(x):
        return F.scaled_dot_product_attention(x, x, x, is_causal=is_causal)

    shape = export.symbolic_shape(sizes)
    x = jnp.ones([size if isinstance(size, int) else 3 for size in shape]).at[..., 0, :].set(2.0)
    exported = export.export(jax.jit(attend))(jax.ShapeDtypeStruct(shape, x.dtype))
    np.testing.assert_allclose(exported.call(x), attend(x), rtol=1e-6)  # float32
