"""Each form of `flex_attention` under every transform, of every dtype, on meshes."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from funcnet import functional as F
from funcnet.core.dtypes import at_least_float32
from tests.functional.attention.flex_cases import SIZES, inputs, ours
from tests.sampling import is_whole, sampled

FORMS = ("plain", "blocks", "counted")
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
    compared = FORMS if is_whole(request.config) else ("plain", quick)
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
        run(jax.device_put(jnp.ones((2, 4, 16, 8)), PartitionSpec("data")), jnp.ones(4))
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
