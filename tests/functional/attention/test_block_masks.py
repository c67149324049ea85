"""Block masks as values, and the masks and scores that are ready."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.functional.attention.flex_cases import IDS, inputs

# ---- block masks as values


def documents(ids):
    def mask(b, h, q_idx, kv_idx):
        return ids[b, q_idx] == ids[b, kv_idx]

    return mask


@pytest.mark.parametrize(
    "make",
    [
        documents,
        lambda ids: F.and_masks(F.causal_mask, F.document_mask(ids)),
        lambda ids: lambda b, h, q_idx, kv_idx, ids=ids: ids[b, q_idx] <= ids[b, kv_idx],
    ],
)
def test_a_block_mask_is_an_argument(make):
    """With the arrays of its function: one program serves them all."""
    query, key, value, _ = inputs("even", np.float32)
    traced = []

    @jax.jit
    def attend(query, mask):
        traced.append(mask)
        return F.flex_attention(query, key, value, None, mask)

    for shift in (0, 1):
        ids = jnp.asarray(np.roll(IDS[:, :32], shift * 11, 1))
        mask = F.create_block_mask(make(ids), 2, None, 32, 32, 16)
        plain = functools.partial(F.flex_attention, implementation="plain")
        expected = jax.jit(plain)(query, key, value, None, mask)
        np.testing.assert_allclose(attend(query, mask), expected, rtol=1e-5, atol=1e-6)  # float32
    assert len(traced) == 1
    assert "traced" not in repr(mask)
    mask, other = (
        F.create_block_mask(f, None, None, 32, 32, 16) for f in (F.causal_mask, F.noop_mask)
    )
    assert jax.tree.structure(mask) != jax.tree.structure(other)


def test_numbers_that_a_mask_closes_over_are_told_apart():
    structures = {
        jax.tree.structure(F.create_block_mask(F.sliding_window_mask(n), None, None, 32, 32, 16))
        for n in (3, 4, 3)
    }
    assert len(structures) == 2


def test_a_block_mask_made_inside_comes_out():
    mask = jax.jit(lambda ids: F.create_block_mask(documents(ids), 2, None, 32, 32, 16))(
        IDS[:, :32]
    )
    query, key, value, _ = inputs("even", np.float32)
    found = F.flex_attention(query, key, value, None, mask)
    plain = F.flex_attention(query, key, value, None, mask, implementation="plain")
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-6)  # float32


def test_examples_and_heads_of_a_block_mask():
    mask = F.create_block_mask(documents(jnp.asarray(IDS)), 2, None, 32, 32, 16)
    query, key, value, _ = inputs("even", np.float32)
    whole = F.flex_attention(query, key, value, None, mask)
    one = F.flex_attention(query[1:], key[1:], value[1:], None, mask[1])
    np.testing.assert_allclose(one, whole[1:], rtol=1e-5, atol=1e-6)  # float32
    assert mask[0, 0].shape == (1, 1, 32, 32)
    with pytest.raises(IndexError, match="by example and head only"):
        mask[0, 0, 0]


def test_blocks_that_are_not_listed_take_no_part():
    numbers, indices = jnp.array([[[1, 2]]]), jnp.array([[[[1, 0], [0, 1]]]])
    mask = F.BlockMask.from_kv_blocks(numbers, indices, BLOCK_SIZE=4)
    q = jnp.ones((1, 1, 8, 2))
    value = jnp.arange(8.0)[None, None, :, None]
    for form in ("plain", "blocks"):
        output = F.flex_attention(q, q, value, None, mask, implementation=form)
        np.testing.assert_allclose(output[0, 0, :, 0], [5.5] * 4 + [3.5] * 4, rtol=1e-6)  # float32
    assert mask.shape == (1, 1, 8, 8)
    assert mask.sparsity() == 25


def test_its_picture():
    mask = F.create_block_mask(F.sliding_window_mask(40), None, None, 128, 128, 16)
    lines = mask.to_string().splitlines()
    assert lines[1:3] == ["░░", "██░░"]
    assert len(lines) == 9
    assert len(mask.to_string(grid_size=4).splitlines()) == 5
    assert str(mask).startswith("BlockMask(shape=(1, 1, 128, 128), sparsity=")
    assert "mask_mod=sliding_window" in repr(mask)
    assert "to_string(limit" in F.create_block_mask(F.causal_mask, 3, 2, 16, 16, 16).to_string()


# ---- ready masks and scores


def test_ready_masks(x64):
    places = np.arange(12)
    q, k = places[:, None], places
    ids = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2, -1, -1, -1])
    expected = {
        "window": (F.sliding_window_mask(3), (k <= q) & (k >= q - 3)),
        "dilated": (F.dilated_mask(2, 3), (q - k >= 0) & (q - k <= 6) & ((q - k) % 3 == 0)),
        "prefix": (F.prefix_mask(4), (k <= q) | (k < 4)),
        "documents": (F.document_mask(ids), (ids[:, None] == ids) & (ids[:, None] >= 0)),
        "of keys": (
            F.document_mask(ids, ids[::-1]),
            (ids[:, None] == ids[::-1]) & (ids[:, None] >= 0),
        ),
    }
    for name, (mask, wanted) in expected.items():
        found = F.create_mask(mask, None, None, 12, 12)[0, 0]
        np.testing.assert_array_equal(found, wanted, err_msg=name)
    prefixes = F.create_mask(F.prefix_mask(jnp.array([1, 5])), 2, None, 6, 6)
    np.testing.assert_array_equal(prefixes[:, 0, 0].sum(-1), [1, 5])


@pytest.mark.parametrize("heads", [1, 6, 8])
def test_slopes_of_alibi(heads):
    """Of a power of two they are powers of one number; else those of the power below, and every second above."""
    scores = [
        F.alibi_score(heads)(jnp.array(0.0), 0, h, jnp.array(4), jnp.array(3)) for h in range(heads)
    ]
    wanted = {
        1: [2**-8],
        8: [2.0**-n for n in range(1, 9)],
        6: [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3],
    }[heads]
    np.testing.assert_allclose(-np.array(scores), wanted, rtol=1e-6)  # float32


def test_a_learned_bias_of_relative_positions(x64):
    table = jnp.asarray(np.random.default_rng(2).standard_normal((4, 21)))
    query, key, value, _ = inputs("even")
    mask = F.create_block_mask(F.causal_mask, None, None, 32, 32, 16)

    def output(table, form):
        score = F.relative_bias_score(table)
        return F.flex_attention(query, key, value, score, mask, implementation=form)

    def written_out(table):
        places = jnp.arange(32)
        bias = table[:, jnp.clip(places - places[:, None], -10, 10) + 10]
        bias = jnp.where(places <= places[:, None], bias, -jnp.inf)
        return F.scaled_dot_product_attention(query, key, value, bias)

    loss = lambda f: lambda table: jnp.sin(f(table)).sum()
    expected = jax.jit(jax.value_and_grad(loss(written_out)))(table)
    for form in ("plain", "blocks"):
        found = jax.jit(jax.value_and_grad(loss(functools.partial(output, form=form))))(table)
        for mine, other in zip(found, expected, strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-10)  # float64
    capped = F.flex_attention(query, key, value, F.soft_cap_score(1e-3))
    np.testing.assert_allclose(capped, value.mean(2, keepdims=True) + 0 * capped, atol=3e-3)
