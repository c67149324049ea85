"""Each form of `flex_attention` under every transform; what is captured; what is refused."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet import functional as F
from funcnet.core.dtypes import at_least_float32
from tests.functional.attention.flex_cases import (
    ARRAYS,
    IDS,
    LENGTHS,
    drawn,
    is_whole,
    ours,
    sampled,
)

FORMS = ("plain", "blocks", "counted")
SIZES = LENGTHS | {"short": (24, 24)}
DTYPES = (jnp.float32, jnp.float16, jnp.bfloat16)


def attend_by(form, kind="causal", score="table", lengths="ragged"):
    counted = form == "counted"
    lengths = SIZES[lengths]
    return ours(kind, score, lengths, "blocks" if counted else form, counted)


def loss_of(form, **options):
    attend = attend_by(form, **options)

    def loss(*arrays):
        output, aux = attend(*arrays)
        output = output.astype(at_least_float32(output.dtype))
        return jnp.sin(output).sum() + jnp.cos(jnp.maximum(aux.lse, -9)).sum()

    return loss


def inputs(lengths="ragged", dtype=None, kv_heads=4):
    arrays = drawn(SIZES[lengths], kv_heads=kv_heads)
    dtype = jnp.zeros(0).dtype if dtype is None else dtype
    return *(jnp.asarray(x, dtype) for x in arrays), jax.tree.map(jnp.asarray, ARRAYS)


def agree(run, forms=FORMS, **tolerance):
    expected, *others = jax.jit(lambda: [run(form) for form in forms])()
    for found in others:
        for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            # float64: sums in another order, of second derivatives at most
            np.testing.assert_allclose(mine, other, **tolerance or {"rtol": 1e-9, "atol": 1e-10})


def _directions(arrays):
    return jax.tree.map(lambda x: jnp.cos(3 * x), arrays)


def _forward(loss, arrays):
    return jax.jvp(loss, arrays, _directions(arrays))


def _forward_over_reverse(loss, arrays):
    return jax.jvp(jax.grad(loss, (0, 1, 2, 3)), arrays, _directions(arrays))


def _reverse_over_reverse(loss, arrays):
    def along(*arrays):
        grads = jax.grad(loss, (0, 1, 2, 3))(*arrays)
        pairs = zip(jax.tree.leaves(grads), jax.tree.leaves(_directions(arrays)), strict=True)
        return sum(itertools.starmap(jnp.vdot, pairs))

    return jax.grad(along, (0, 1, 2, 3))(*arrays)


def _mapped(loss, arrays):
    query, key, value, learned = arrays
    queries, tables = (
        jnp.stack([query, 2 * query]),
        jax.tree.map(lambda x: jnp.stack([x, -x]), learned),
    )
    once = jax.vmap(jax.grad(loss, (0, 1, 3)), (0, None, None, None))(queries, key, value, learned)
    return once, jax.vmap(jax.grad(loss, (0, 3)), (None, None, None, 0))(query, key, value, tables)


def _in_a_loop(loss, arrays):
    def turn(carry, factor):
        query, *rest = arrays
        return carry + jax.checkpoint(loss)(query * factor * carry, *rest), None

    return jax.grad(lambda start: jax.lax.scan(turn, start, jnp.arange(3.0))[0])(1.0)


TRANSFORMS = {
    f.__name__: f
    for f in (_forward, _forward_over_reverse, _reverse_over_reverse, _mapped, _in_a_loop)
}


QUICK_TRANSFORMS = {
    ("_forward_over_reverse", "documents"): "counted",
    ("_mapped", "causal"): "blocks",
    ("_in_a_loop", "causal"): "counted",
}


@pytest.mark.parametrize("kind", ["causal", "documents"])
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_transforms(request, x64, transform, kind):
    quick = QUICK_TRANSFORMS.get((transform, kind))
    sampled(request, quick)
    arrays = inputs("short")
    compared = FORMS if is_whole(request) else ("plain", quick)
    run = lambda form: TRANSFORMS[transform](loss_of(form, kind=kind, lengths="short"), arrays)
    agree(run, compared)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
def test_dtypes(request, form, dtype):
    """Computed in 32 bits and rounded once: as from the same numbers in 32 bits."""
    sampled(request, (form, dtype) in (("plain", jnp.bfloat16), ("blocks", jnp.float16)))
    options = {"score": "alibi", "lengths": "short"}
    *arrays, learned = inputs("short", dtype, kv_heads=2)
    attend, plain = (attend_by(f, **options) for f in (form, "plain"))

    @jax.jit
    def run(*arrays):
        grads = jax.grad(loss_of(form, **options), (0, 1, 2, 3))(*arrays)
        *arrays, learned = arrays
        wide = plain(*(x.astype(jnp.float32) for x in arrays), learned)
        return attend(*arrays, learned), wide, grads

    (output, aux), (expected, wide), grads = run(*arrays, learned)
    assert (output.dtype, aux.lse.dtype, aux.max_scores.dtype) == (dtype, jnp.float32, jnp.float32)
    # one rounding of the result; float32: sums in another order
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(output.astype(jnp.float32), expected, rtol=2 * eps, atol=2e-6)
    np.testing.assert_allclose(aux.lse, wide.lse, rtol=1e-5)
    np.testing.assert_allclose(aux.max_scores, wide.max_scores, rtol=1e-5, atol=1e-6)
    assert jax.tree.map(lambda x: x.dtype, grads) == jax.tree.map(
        lambda x: x.dtype, (*arrays, learned)
    )
    assert all(bool(jnp.isfinite(x.astype(jnp.float32)).all()) for x in jax.tree.leaves(grads))


@pytest.mark.parametrize("form", FORMS)
def test_queries_that_attend_to_nothing_yield_zeros(form):
    arrays = inputs("even")
    attend = attend_by(form, "nothing for some", "alibi", "even")

    def total(*arrays):
        found = attend(*arrays)
        return found[0].sum(), found

    grads, (output, aux) = jax.jit(jax.grad(total, (0, 1, 2, 3), has_aux=True))(*arrays)
    # query 0 attends to keys 1 to 4, each third from 1 to nothing
    np.testing.assert_array_equal(output[:, :, 1::3], 0)
    np.testing.assert_array_equal(aux.lse[:, :, 1::3], -jnp.inf)
    np.testing.assert_array_equal(aux.max_scores[:, :, 1::3], -jnp.inf)
    assert all(bool(jnp.isfinite(x).all()) for x in jax.tree.leaves(grads))
    np.testing.assert_array_equal(grads[0][:, :, 1::3], 0)


@pytest.mark.parametrize("form", ["plain", "blocks"])
def test_a_score_need_not_be_finite_where_the_mask_forbids(form):
    *arrays, _ = inputs("short", np.float32)
    mask = F.create_block_mask(F.causal_mask, None, None, 24, 24, 16)

    def score_mod(score, b, h, q_idx, kv_idx):
        return score * jnp.log((q_idx - kv_idx + 1).astype(jnp.float32))

    def loss(*arrays):
        return F.flex_attention(*arrays, score_mod, mask, implementation=form).sum()

    grads = jax.jit(jax.grad(loss, (0, 1, 2)))(*arrays)
    assert all(bool(jnp.isfinite(x).all()) for x in grads)


@pytest.mark.parametrize("form", ["plain", "blocks"])
@pytest.mark.parametrize("axis", ["examples", "features"])
def test_nothing_to_attend_with(form, axis):
    mask = F.create_block_mask(F.causal_mask, None, None, 24, 24, 16)
    x = jnp.ones((0, 2, 24, 4) if axis == "examples" else (1, 2, 24, 0))
    loss = lambda x: F.flex_attention(x, x, x, None, mask, implementation=form).sum()
    assert jax.grad(loss)(x).shape == x.shape


@pytest.mark.parametrize("form", ["plain", "blocks"])
def test_an_array_reached_by_an_attribute(form):
    """It is what the attribute holds in this call, not what it held in one before."""
    *arrays, learned = inputs("short", np.float32)
    mask = F.create_block_mask(F.causal_mask, None, None, 24, 24, 16)

    class Holder:
        def __call__(self, score, b, h, q_idx, kv_idx):
            return score - self.slopes[h] * (q_idx - kv_idx).astype(score.dtype)

    holder = Holder()

    def loss(slopes, closed_over):
        def score_mod(score, b, h, q_idx, kv_idx):
            return score - slopes[h] * (q_idx - kv_idx).astype(score.dtype)

        holder.slopes = slopes
        score_mod = score_mod if closed_over else holder
        output = F.flex_attention(*arrays, score_mod, mask, implementation=form)
        return jnp.sin(output).sum()

    slopes = learned["slopes"]
    jax.jit(loss, static_argnums=1)(slopes, False)
    found, expected = (jax.jit(jax.grad(loss), static_argnums=1)(slopes, x) for x in (False, True))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)  # float32


def test_an_attribute_on_a_mesh_is_explained():
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Explicit,))

    class Holder:
        def __call__(self, score, b, h, q_idx, kv_idx):
            return score - self.slopes[h]

    holder = Holder()

    @jax.jit
    def run(query, slopes):
        holder.slopes = slopes
        return F.flex_attention(query, query, query, holder)

    with jax.set_mesh(mesh), pytest.raises(ValueError, match="mesh") as caught:
        run(jax.device_put(Q, PartitionSpec("data")), jnp.ones(4))
    assert "table = self.table" in "".join(caught.value.__notes__)


@pytest.mark.parametrize("form", ["plain", "blocks"])
def test_fewer_axes(form):
    query, key, value, _ = inputs(dtype=np.float32)
    mask = F.create_block_mask(F.causal_mask, None, None, 40, 40, 16)
    attend = functools.partial(F.flex_attention, block_mask=mask, implementation=form)
    attend = jax.jit(attend, static_argnames="return_lse")
    whole, lse = attend(query, key, value, return_lse=True)
    for at in ((0,), (0, 1)):
        output, few = attend(query[at], key[at], value[at], return_lse=True)
        np.testing.assert_allclose(output, whole[at], rtol=1e-5, atol=1e-6)  # float32
        np.testing.assert_allclose(few, lse[at], rtol=1e-5)


def test_one_example_of_keys_serves_all():
    query, key, value, _ = inputs(dtype=np.float32)
    mask = F.create_block_mask(F.causal_mask, None, None, 40, 40, 16)

    @functools.partial(jax.jit, static_argnums=2)
    def run(k, v, form):
        return F.flex_attention(query, k, v, None, mask, implementation=form)

    for form in ("plain", "blocks"):
        few = run(key[:1], value[:1], form)
        whole = run(*(jnp.repeat(x[:1], 2, 0) for x in (key, value)), form)
        np.testing.assert_allclose(few, whole, rtol=1e-5, atol=1e-6)  # float32


QUICK_MESHES = (
    ("blocks", AxisType.Explicit, "causal"),
    ("counted", AxisType.Auto, "documents by both"),
)


@pytest.mark.parametrize("kind", ["causal", "documents by both"])
@pytest.mark.parametrize("axis", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_a_mesh_over_examples_and_heads(request, form, axis, kind):
    sampled(request, (form, axis, kind) in QUICK_MESHES)
    mesh = jax.make_mesh((2, 2), ("data", "model"), (axis, axis))
    *arrays, learned = inputs("even", np.float32)
    loss = loss_of(form, kind=kind, score="alibi", lengths="even")
    expected = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*arrays, learned)
    with jax.set_mesh(mesh):
        place = NamedSharding(mesh, PartitionSpec("data", "model"))
        whole = NamedSharding(mesh, PartitionSpec())
        placed = [jax.device_put(x, place) for x in arrays]
        learned = jax.device_put(learned, whole)
        found = jax.jit(jax.value_and_grad(loss, (0, 1, 2, 3)))(*placed, learned)
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        # float32: sums over devices
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("form", FORMS)
def test_inside_of_shard_map(request, form):
    sampled(request, form == "counted")
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    *arrays, learned = inputs("even", np.float32)
    loss = loss_of(form, score="alibi", lengths="even")
    spec, whole = PartitionSpec("data"), PartitionSpec()

    def part(*arrays):
        value, grads = jax.value_and_grad(lambda *x: loss(*x), (0, 1, 2))(*arrays, learned)
        return jax.lax.psum(value, "data"), grads

    places = (spec,) * 3
    found = jax.jit(jax.shard_map(part, mesh=mesh, in_specs=places, out_specs=(whole, places)))(
        *arrays
    )
    expected = jax.jit(jax.value_and_grad(lambda *x: loss(*x, learned), (0, 1, 2)))(*arrays)
    for mine, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)  # float32


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
