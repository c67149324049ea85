"""`flex_attention` is PyTorch's: masks, their blocks, scores, outputs, and gradients of all that is learned."""

import itertools
import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.functional.attention.flex_cases import (
    ARRAYS,
    BATCH,
    BLOCK,
    HEADS,
    IDS,
    LENGTHS,
    MASKS,
    SCORES,
    drawn,
    mask_of,
    ours,
)
from tests.sampling import is_whole, sampled

torch = pytest.importorskip("torch")
flex = pytest.importorskip("torch.nn.attention.flex_attention")

FORMS = ("plain", "blocks", "counted")
GRID = list(itertools.product(MASKS, SCORES, LENGTHS, (HEADS, 2)))


def theirs(kind, score, lengths, arrays, learned):
    """Compute the formula by PyTorch, of functions that PyTorch maps, with its own derivatives."""
    query, key, value = arrays
    mask, _, _ = mask_of(kind, torch.from_numpy(IDS))
    group = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(group, 1) for x in (key, value))
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    sizes = [torch.arange(n) for n in (BATCH, HEADS, *lengths)]
    if SCORES[score] is not None:
        mapped = flex._vmap_for_bhqkv(lambda *at: SCORES[score](learned, *at), prefix=(0,))
        scores = mapped(scores, *sizes)
    if mask is not None:
        allowed = flex._vmap_for_bhqkv(mask, prefix=())(*sizes)
        scores = scores.masked_fill(~allowed, -math.inf)
    lse = scores.logsumexp(-1)
    weights = torch.exp(scores - lse.masked_fill(lse == -math.inf, 0)[..., None])
    return weights @ value, lse


@pytest.mark.parametrize(("mask", "score", "lengths", "kv_heads"), GRID)
def test_values_and_gradients(request, x64, mask, score, lengths, kv_heads):
    number = list(MASKS).index(mask)
    drawn_ = (
        list(SCORES)[number % 4],
        list(LENGTHS)[(3 * number + 1) % 4],
        (HEADS, 2)[number // 2 % 2],
    )
    sampled(request, (score, lengths, kv_heads) == drawn_)
    compared = FORMS if is_whole(request.config) else (FORMS[0], FORMS[1 + number % 2])
    lengths = LENGTHS[lengths]
    arrays = drawn(lengths, kv_heads=kv_heads)
    given = [torch.tensor(x, requires_grad=True) for x in arrays]
    learned = {name: torch.tensor(x, requires_grad=True) for name, x in ARRAYS.items()}
    output, lse = theirs(mask, score, lengths, given, learned)
    rows = torch.isfinite(lse)
    (output.sin().sum() + lse[rows].cos().sum()).backward()
    expected = [output, lse, *(x.grad for x in given)]
    expected += [torch.zeros_like(x) if x.grad is None else x.grad for x in learned.values()]

    def run(form):
        counted = form == "counted"
        attend = ours(mask, score, lengths, "blocks" if counted else form, counted)

        def loss(*arrays):
            output, aux = attend(*arrays)
            known = jnp.isfinite(aux.lse)
            lse = jnp.where(known, jnp.cos(jnp.where(known, aux.lse, 0)), 0)
            return jnp.sin(output).sum() + lse.sum(), (output, aux.lse)

        grads, found = jax.grad(loss, (0, 1, 2, 3), has_aux=True)(*map(jnp.asarray, arrays), learn)
        return *found, *grads[:3], *(grads[3][name] for name in ARRAYS)

    learn = jax.tree.map(jnp.asarray, ARRAYS)
    for found in jax.jit(lambda: [run(form) for form in compared])():
        for mine, other in zip(found, expected, strict=True):
            # float64: sums in another order
            np.testing.assert_allclose(mine, other.detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(
    "kind", [kind for kind in MASKS if kind not in ("none", "nothing for some")]
)
@pytest.mark.parametrize("lengths", ["even", "ragged", "more keys"])
def test_against_the_function_itself(request, kind, lengths):
    """PyTorch's own function, which has no gradient on CPUs."""
    sampled(request, (kind, lengths) in (("window", "more keys"), ("documents by both", "ragged")))
    lengths = LENGTHS[lengths]
    mask, batch, heads = mask_of(kind, torch.from_numpy(IDS))
    block_mask = flex.create_block_mask(mask, batch, heads, *lengths, "cpu", BLOCK)
    arrays = drawn(lengths, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not compiled, and what compiling warns of
        expected = flex.flex_attention(
            *map(torch.from_numpy, arrays),
            lambda score, b, h, q_idx, kv_idx: score - 0.1 * (q_idx - kv_idx),
            block_mask,
        )
    mine, batch, heads = mask_of(kind, jnp.asarray(IDS))
    mine = F.create_block_mask(mine, batch, heads, *lengths, BLOCK)

    @jax.jit
    def run(query, key, value):
        score = lambda score, b, h, q, k: score - 0.1 * (q - k).astype(score.dtype)
        return F.flex_attention(query, key, value, score, mine)

    found = run(*arrays)
    # float32, exponentials of two libraries
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("kind", [kind for kind in MASKS if kind != "none"])
@pytest.mark.parametrize("lengths", LENGTHS)
@pytest.mark.parametrize("size", [16, (8, 32)], ids=str)
@pytest.mark.parametrize("separate", [True, False])
def test_block_masks(request, kind, lengths, size, separate):
    """Numbers, lists, sparsity and the dense form, whether listed in or outside of a compiled function."""
    number = list(MASKS).index(kind)
    drawn_ = list(LENGTHS)[number % 4], (16, (8, 32))[number // 2 % 2], number % 3 != 0
    sampled(request, (lengths, size, separate) == drawn_)
    lengths = LENGTHS[lengths]
    mask, batch, heads = mask_of(kind, torch.from_numpy(IDS))
    expected = flex.create_block_mask(
        mask, batch, heads, *lengths, "cpu", size, separate_full_blocks=separate
    )
    mine, batch, heads = mask_of(kind, jnp.asarray(IDS))

    def make():
        return F.create_block_mask(
            mine, batch, heads, *lengths, size, separate_full_blocks=separate
        )

    for found in (make(), jax.jit(make)()):
        assert found.shape == expected.shape
        assert found.BLOCK_SIZE == expected.BLOCK_SIZE
        for name in ("kv_num_blocks", "kv_indices", "full_kv_num_blocks", "full_kv_indices"):
            ours_, theirs_ = getattr(found, name), getattr(expected, name)
            assert (ours_ is None) == (theirs_ is None), name
            if theirs_ is not None:
                np.testing.assert_array_equal(ours_, theirs_, err_msg=name)
        np.testing.assert_array_equal(found.to_dense(), expected.to_dense())
        assert found.sparsity() == pytest.approx(expected.sparsity())
        assert found.numel() == expected.numel()
    np.testing.assert_array_equal(
        F.create_mask(mine, batch, heads, *lengths),
        flex.create_mask(mask, batch, heads, *lengths, "cpu"),
    )


def test_masks_of_masks():
    mine = F.or_masks(F.and_masks(F.causal_mask, F.sliding_window_mask(9)), F.prefix_mask(5))
    expected = flex.or_masks(
        flex.and_masks(lambda b, h, q, k: q >= k, lambda b, h, q, k: q - k <= 9),
        lambda b, h, q, k: (q >= k) | (k < 5),
    )
    np.testing.assert_array_equal(
        F.create_mask(mine, 2, 3, 20, 30), flex.create_mask(expected, 2, 3, 20, 30, "cpu")
    )
    np.testing.assert_array_equal(
        F.create_mask(F.noop_mask, None, None, 3, 4),
        flex.create_mask(flex.noop_mask, None, None, 3, 4, "cpu"),
    )
    scores = flex.create_mask(
        lambda s, b, h, q, k: torch.where(q >= k, s, -math.inf), None, None, 3, 4, "cpu"
    )
    mine = F.create_mask(lambda s, b, h, q, k: jnp.where(q >= k, s, -jnp.inf), None, None, 3, 4)
    np.testing.assert_array_equal(mine, scores)
