"""Each form of attention is the plain formula: values, derivatives of every kind, transforms, refusals."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, PartitionSpec

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from funcnet.functional.attention import chunked, implementations
from funcnet.functional.attention.plain import AttentionSettings
from tests.functional.attention.cases import (
    MASKS,
    SHAPES,
    arrays_of,
    attention,
    forms_for,
    is_grouped,
    loss_of,
    mask_of,
    use_stand_in,
)

FORMS = ("chunked", "fused")
GRID = list(itertools.product(SHAPES, MASKS))


@pytest.fixture
def forms(monkeypatch, x64):
    """Every form runs here; lengths are a loop over blocks, of which the last is shorter where they are odd."""
    use_stand_in(monkeypatch)
    monkeypatch.setattr(chunked, "rows_of_a_block", lambda scores: 2 if scores[-1] == 4 else 4)
    monkeypatch.setattr(chunked, "PREFIXES", 1)


def agree(run, forms=FORMS):
    """Compare what a form gives with what the plain one gives."""
    expected, *others = jax.jit(lambda: [run(form) for form in ("plain", *forms)])()
    for found in others:
        for ours, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            # float64: sums in another order, of second derivatives at most
            np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("shape", "mask"), GRID)
def test_value_and_gradient(forms, request, shape, mask):
    number = GRID.index((shape, mask))
    if request.config.getoption("--grid") != "full" and number // 6 % 6 != number % 6:
        pytest.skip("a sixth of the products; all with --grid=full")
    arrays = arrays_of(shape)
    options, grouped = mask_of(mask, *arrays[:2]), is_grouped(*arrays[:2])

    def run(form):
        attend = attention(form, grouped, **options)
        output, pull = jax.vjp(attend, *arrays)
        return output, pull(jnp.cos(output)), jax.jvp(attend, arrays, arrays_of(shape, seed=5))

    agree(run, forms_for(mask, *arrays[:2]))


def _directions(arrays):
    return tuple(jnp.cos(3 * array) for array in arrays)


def _forward_over_reverse(loss, *arrays):
    return jax.jvp(jax.grad(loss, (0, 1, 2)), arrays, _directions(arrays))


def _reverse_over_reverse(loss, *arrays):
    def along(*arrays):
        grads = jax.grad(loss, (0, 1, 2))(*arrays)
        return sum(map(jnp.vdot, grads, _directions(arrays)))

    return jax.grad(along, (0, 1, 2))(*arrays)


def _reverse_over_forward(loss, *arrays):
    def along(*arrays):
        return jax.jvp(loss, arrays, _directions(arrays))[1]

    return jax.grad(along, (0, 1, 2))(*arrays)


def _mapped(loss, query, key, value):
    queries, keys = jnp.stack([query, 2 * query]), jnp.stack([key, -key], -1)
    once = jax.vmap(jax.grad(loss, (0, 1, 2)), (0, None, None))(queries, key, value)
    return once, jax.vmap(jax.value_and_grad(loss), (None, -1, None))(query, keys, value)


def _mapped_second(loss, *arrays):
    def along(direction):
        return jax.jvp(jax.grad(loss), arrays, (direction, *_directions(arrays)[1:]))

    return jax.vmap(along)(jnp.stack([arrays[0], arrays[0] ** 2]))


def _gradient_of_mapped(loss, query, key, value):
    def both(query, key, value):
        return jax.vmap(loss, (0, None, None))(jnp.stack([query, 2 * query]), key, value).sum()

    return jax.grad(both, (0, 1, 2))(query, key, value)


def _kept(loss, *arrays):
    policy = jax.checkpoint_policies.save_only_these_names("attention")
    return jax.grad(jax.checkpoint(loss, policy=policy), (0, 1, 2))(*arrays)


def _recomputed_in_a_loop(loss, query, key, value):
    def turn(carry, factor):
        return carry + jax.checkpoint(loss)(query * factor, key, value), None

    def total(query):
        return jax.lax.scan(turn, 0.0, jnp.arange(3.0))[0] + loss(query, key, value)

    return jax.grad(total)(query)


def _spread(loss, *arrays):
    mesh = jax.make_mesh((2,), ("data",), (AxisType.Auto,))
    grads = jax.grad(loss, (0, 1, 2))
    spec, whole = PartitionSpec("data"), PartitionSpec()
    # the sum over devices of a gradient that each of them needs whole is JAX's
    return jax.shard_map(grads, mesh=mesh, in_specs=(spec, spec, spec), out_specs=spec)(
        *arrays
    ), jax.shard_map(grads, mesh=mesh, in_specs=(whole, spec, spec), out_specs=(whole, spec, spec))(
        arrays[0][:1], *arrays[1:]
    )


TRANSFORMS = {
    function.__name__.strip("_"): function
    for function in (
        _forward_over_reverse,
        _reverse_over_reverse,
        _reverse_over_forward,
        _mapped,
        _mapped_second,
        _gradient_of_mapped,
        _kept,
        _recomputed_in_a_loop,
        _spread,
    )
}
BY_BLOCKS = {"forward_over_reverse", "mapped", "kept"}
"""What blocks are tried with too: they are made of ordinary operations."""

PAIRS = [
    *itertools.product(TRANSFORMS, ["causal"]),
    ("mapped", "floats"),
    ("mapped_second", "floats"),
]


@pytest.mark.parametrize(("transform", "mask"), PAIRS)
def test_transform(forms, transform, mask):
    arrays = arrays_of(((2, 2, 4, 8), (2, 2, 4, 8)))
    options = mask_of(mask, *arrays[:2])
    some = FORMS if transform in BY_BLOCKS else ("fused",)

    def run(form):
        return TRANSFORMS[transform](loss_of(attention(form, False, **options)), *arrays)

    agree(run, some)


def test_a_mask_of_floats_has_a_gradient(forms):
    arrays = arrays_of("heads")
    mask = mask_of("floats", *arrays[:2])["attn_mask"]

    def run(form):
        def loss(mask):
            return loss_of(attention(form, False, attn_mask=mask))(*arrays)

        both = jax.vmap(jax.grad(loss))(jnp.stack([mask, 2 * mask]))
        return jax.grad(loss)(mask), both, jax.jvp(jax.grad(loss), (mask,), (jnp.ones_like(mask),))

    agree(run)


@pytest.mark.parametrize("form", FORMS)
def test_what_may_attend_to_nothing_is_zero(forms, form):
    arrays = arrays_of("heads")
    bad = [array.at[:, :, at].set(jnp.nan) for array, at in zip(arrays, (3, 2, 2), strict=True)]
    attend = attention(form, False, **mask_of("booleans", *arrays[:2]))
    output, pull = jax.vjp(attend, *bad)
    grads = pull(jnp.ones_like(output))
    assert jnp.isfinite(output).all()
    assert not np.asarray(output[:, :, 3]).any()
    for grad, at in zip(grads, (3, 2, 2), strict=True):
        assert jnp.isfinite(grad).all()
        assert not np.asarray(grad[:, :, at]).any()


def test_blocks_drop_at_the_rate_and_keep_the_mean(monkeypatch):
    monkeypatch.setattr(chunked, "rows_of_a_block", lambda scores: 16)
    query, key = jnp.zeros((4, 64, 8)), jnp.zeros((4, 100, 8))
    value = jnp.broadcast_to(jnp.eye(100), (4, 100, 100))
    drop = {"dropout_p": 0.25, "dropout_key": jax.random.key(3), "implementation": "chunked"}
    weights = F.scaled_dot_product_attention(query, key, value, **drop) * 100
    kept = np.asarray(weights > 0)
    np.testing.assert_allclose(weights[kept], 1 / 0.75, rtol=1e-5)  # float32
    # 25,600 draws: five standard deviations
    assert abs(kept.mean() - 0.75) < 5 * (0.75 * 0.25 / kept.size) ** 0.5
    blocks = kept.reshape(4, 4, 16, 100)
    assert not np.array_equal(blocks[:, 0], blocks[:, 1])
    with pytest.raises(fn.errors.MissingKeyError):
        F.scaled_dot_product_attention(query, key, value, **drop | {"dropout_key": None})


def _temporary(form, length, **options):
    arrays = [jax.ShapeDtypeStruct((1, 2, length, 16), jnp.float32)] * 3
    grads = jax.grad(loss_of(attention(form, False, **options)), (0, 1, 2))
    return jax.jit(grads).lower(*arrays).compile().memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("causal", [False, True])
def test_memory_of_blocks_grows_with_the_length(causal):
    short, long = (_temporary("chunked", n, is_causal=causal) for n in (2048, 8192))
    assert long < 6 * short
    assert long < _temporary("plain", 8192, is_causal=causal) / 8


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_gradients_of_many_blocks_are_summed_in_32_bits(monkeypatch, dtype):
    monkeypatch.setattr(chunked, "rows_of_a_block", lambda scores: 2)
    arrays = arrays_of(((2, 256, 8), (2, 4, 8)), dtype)
    grads = [
        jax.jit(jax.grad(loss_of(attention(form, False)), (0, 1, 2)))(*arrays)
        for form in ("plain", "chunked")
    ]
    for ours, theirs in zip(*grads, strict=True):
        assert ours.dtype == dtype
        # one rounding to 16 bits of the same sum
        np.testing.assert_allclose(ours.astype(np.float32), theirs.astype(np.float32), 2**-7, 1e-3)


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (lambda form: nn.GroupedQueryAttention(8, 4, 2, implementation=form), 1),
        (lambda form: nn.TransformerEncoderLayer(8, 2, 16, 0.0, implementation=form), 1),
        (lambda form: nn.TransformerDecoderLayer(8, 2, 16, 0.0, implementation=form), 2),
        (lambda form: nn.Transformer(8, 2, 1, 1, 16, 0.0, implementation=form), 2),
    ],
    ids=["grouped", "encoder", "decoder", "transformer"],
)
def test_layers_pass_it_on(monkeypatch, layer, inputs):
    nets = [fn.functionalize(layer(form)) for form in ("plain", "chunked")]
    params, state = nets[0].init(jax.random.key(0))
    x = [jax.random.normal(jax.random.key(n), (4, 3, 8)) for n in range(inputs)]
    seen = []
    wanted = implementations.choose
    monkeypatch.setattr(
        "funcnet.functional.attention.dot_product.choose",
        lambda form, *rest: seen.append(form) or wanted(form, *rest),
    )
    plain, chunks = (net.apply(params, state, *x)[0] for net in nets)
    assert set(seen) == {"plain", "chunked"}
    for ours, theirs in zip(jax.tree.leaves(chunks), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)  # float32


HALF = jnp.ones((2, 4, 6, 8), jnp.bfloat16)
MASK = jnp.ones((6, 6), bool)
REFUSED = {
    "a name that is none": ("flash", [HALF] * 3, {}, "must be None or one of"),
    "float32": ("fused", [HALF.astype(jnp.float32)] * 3, {}, "float16 and bfloat16; got float32"),
    "dropout": ("fused", [HALF] * 3, {"dropout_p": 0.5}, "no dropout of weights"),
    "a learned scale": ("fused", [HALF] * 3, {"scale": jnp.float32(0.5)}, "must be a number"),
    "wide heads": ("fused", [jnp.tile(HALF, 33)] * 3, {}, "at most 256; got 264"),
    "odd heads": ("fused", [HALF[..., :7]] * 3, {}, "multiple of 8 features"),
    "values of another size": ("fused", [HALF, HALF, HALF[..., :4]], {}, "must have one shape"),
    "nothing": ("fused", [HALF[:0]] * 3, {}, "something to attend to"),
    "odd lengths": ("fused", [HALF[:, :, :5], HALF, HALF], {}, "unless attention is causal; got 5"),
    "a mask of odd length": (
        "fused", [HALF[:, :, :5], HALF, HALF], {"attn_mask": MASK[:5]}, "must be even",
    ),
    "causal, more keys": (
        "fused", [HALF[:, :, :4], HALF, HALF], {"is_causal": True}, "as many keys as queries; got 6 and 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_form_that_cannot_serve_says_why(monkeypatch, name):
    form, arrays, options, message = REFUSED[name]
    monkeypatch.setattr(implementations, "cuda_capability", lambda: (9, 0))
    with pytest.raises(ValueError, match=message):
        F.scaled_dot_product_attention(*arrays, implementation=form, **options)
    if form == "fused":  # the default takes another
        drawn = {"dropout_key": jax.random.key(0)} if "dropout_p" in options else {}
        output = F.scaled_dot_product_attention(*arrays, **options, **drawn)
        assert output.shape == (*arrays[0].shape[:-1], arrays[2].shape[-1])


def test_weights_come_from_the_plain_form():
    x = jnp.ones((4, 3, 8))
    for form in ("chunked", "fused"):
        layer = nn.MultiheadAttention(8, 2, implementation=form)
        net = fn.functionalize(layer)
        params, state = net.init(jax.random.key(0))
        with pytest.raises(ValueError, match=r"weights, which are wanted|NVIDIA GPU"):
            net.apply(params, state, x, x, x)
    with pytest.raises(ValueError, match="must be None or one of"):
        nn.MultiheadAttention(8, 2, implementation="flash")


def test_defaults_by_what_was_measured(monkeypatch):
    def default(dtype=jnp.float32, length=16, mask=None, dropout=0.0, causal=False, weights=False):
        array = jax.ShapeDtypeStruct((2, 16, length, 64), dtype)
        settings = AttentionSettings(dropout, causal, 1.0)
        return implementations.choose(None, array, array, array, mask, settings, weights)

    half, long = jnp.bfloat16, 4096
    assert default() == default(half) == default(causal=True) == "plain"
    assert default(length=256) == default(length=256, causal=True, dropout=0.1) == "plain"
    assert default(length=256, causal=True) == "chunked"
    assert default(length=long) == default(half, long, dropout=0.1) == "chunked"
    assert default(length=long, weights=True) == "plain"
    monkeypatch.setattr(implementations, "cuda_capability", lambda: (8, 0))
    assert default() == "plain"
    assert default(half) == default(half, long) == "fused"
    assert default(half, dropout=0.1) == "plain"
    assert default(half, mask=jnp.ones((16, 16), bool)) == "fused"
    assert default(half, mask=jnp.ones((16, 16), half)) == "fused"
    # numbers of 32 bits would be rounded
    assert default(half, mask=jnp.ones((16, 16))) == "plain"
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert default(length=256, causal=True) == default(length=2048) == "plain"
    assert default(length=long) == "chunked"


@pytest.mark.parametrize("form", ["plain", "chunked"])
def test_dropout_on_a_mesh_with_explicit_axes(form):
    query, key = jnp.ones((2, 2, 70, 4)), jax.random.key(0)

    def drop(query, key):
        return F.scaled_dot_product_attention(
            query, query, query, dropout_p=0.5, dropout_key=key, implementation=form
        ).sum()

    expected = jax.jit(jax.grad(drop))(query, key)
    mesh = jax.make_mesh((1,), ("batch",), axis_types=(AxisType.Explicit,))
    with jax.set_mesh(mesh):
        spread = jax.sharding.reshard(query, PartitionSpec("batch"))
        slope = jax.jit(jax.grad(drop))(spread, key)
        assert jax.typeof(slope).sharding.spec[0] == "batch"
    np.testing.assert_allclose(
        slope, expected, atol=1e-5
    )  # float32: slopes are differences of sums
