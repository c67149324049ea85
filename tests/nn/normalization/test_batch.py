"""What batch norm has beyond PyTorch's rows: meshes, channels last, lazy sizes, hard numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import funcnet as fn
from funcnet import functional as F
from funcnet import nn


def _shard_map(function, mesh, in_specs, out_specs):
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs))


def test_synchronized_over_a_mesh_equals_the_whole_batch(rng, x64):
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:4]), ("data",))
    x = jnp.asarray(rng.standard_normal((8, 3, 5)) * 3 + 7)
    whole = fn.functionalize(nn.BatchNorm1d(3, dtype=jnp.float64))
    parts = fn.functionalize(nn.SyncBatchNorm(3, axis_name="data", dtype=jnp.float64))
    params, state = whole.init(jax.random.key(0))

    def loss(apply, params, x):
        output, new = apply(params, state, x, train=True)
        return (output**3).sum(), new

    def synchronized(params, x):
        (value, new), grads = jax.value_and_grad(
            lambda p, x: loss(parts.apply, p, x), argnums=(0, 1), has_aux=True
        )(params, x)
        return jax.lax.psum(value, "data"), new, grads

    @jax.jit
    def together(params, x):
        (value, new), grads = jax.value_and_grad(
            lambda p, x: loss(whole.apply, p, x), argnums=(0, 1), has_aux=True
        )(params, x)
        return value, new, grads

    specs = (P(), P("data"))
    value, new, grads = _shard_map(synchronized, mesh, specs, (P(), P(), specs))(params, x)
    expected = together(params, x)
    jax.tree.map(
        # float64: means of means
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-10),
        (value, new, grads),
        expected,
    )


def test_converted_models_keep_their_parameters():
    model = nn.Sequential(
        nn.Linear(3, 4), nn.BatchNorm1d(4, eps=1e-3), nn.Sequential(nn.BatchNorm1d(4))
    )
    before = jax.eval_shape(fn.functionalize(model).init, jax.random.key(0))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model, "data")
    assert converted is model
    assert [type(m).__name__ for m in (model[1], model[2][0])] == ["SyncBatchNorm"] * 2
    assert (model[1].eps, model[1].axis_name) == (1e-3, "data")
    assert jax.eval_shape(fn.functionalize(model).init, jax.random.key(0)) == before
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm2d(4), "data")
    assert isinstance(alone, nn.SyncBatchNorm)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_channels_last_is_the_same_on_another_axis(dims, rng):
    x = jnp.asarray(rng.standard_normal((3, 4, *range(2, 2 + dims))), jnp.float32)
    first = fn.functionalize(getattr(nn, f"BatchNorm{dims}d")(4))
    last = fn.functionalize(getattr(nn, f"BatchNorm{dims}d")(4, channels_last=True))
    params, state = first.init(jax.random.key(0))

    @jax.jit
    def both(x):
        a, new_a = first.apply(params, state, x, train=True)
        b, new_b = last.apply(params, state, jnp.moveaxis(x, 1, -1), train=True)
        return (a, new_a), (jnp.moveaxis(b, -1, 1), new_b)

    # float32: sums in another order
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), *both(x))


@pytest.mark.parametrize(("mean", "scale"), [(0.0, 1.0), (1e4, 1.0), (-1e3, 1e-1), (1e-3, 1e-6)])
def test_one_pass_variance_does_not_cancel(mean, scale, rng):
    x = (rng.standard_normal((64, 5, 7)) * scale + mean).astype(np.float32)
    _, _, var = jax.jit(lambda x: F.batch_norm_update(x, jnp.zeros(5), jnp.ones(5), momentum=1.0))(
        x
    )
    exact = x.astype(np.float64).var((0, 2), ddof=1)
    np.testing.assert_allclose(var, exact, rtol=1e-4)  # without a shift 1e4 would leave no digit


def test_an_outlying_first_example_costs_few_digits(rng):
    x = rng.standard_normal((64, 1)).astype(np.float32)
    x[0] = 1e4  # the shift is then far from the mean, but so is the deviation
    _, _, var = F.batch_norm_update(jnp.asarray(x), jnp.zeros(1), jnp.ones(1), momentum=1.0)
    # 1e4 squared beside a variance of 1.5e6 costs two of 7 digits
    np.testing.assert_allclose(var, x.astype(np.float64).var(0, ddof=1), rtol=1e-4)


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("examples", [4, 64, 50_000])
def test_one_example_far_from_all_others_costs_no_digits(place, examples, rng):
    x = rng.standard_normal((examples, 3)).astype(np.float32)
    x[place] = 1e6
    _, mean, var = F.batch_norm_update(jnp.asarray(x), jnp.zeros(3), jnp.ones(3), momentum=1.0)
    np.testing.assert_allclose(var, x.astype(np.float64).var(0, ddof=1), rtol=1e-5)
    np.testing.assert_allclose(mean, x.astype(np.float64).mean(0), rtol=1e-5)


@pytest.mark.parametrize(
    "norm",
    [
        lambda x: F.layer_norm(x, 5000),
        lambda x: F.group_norm(x[:, None], 1)[:, 0],
        lambda x: F.instance_norm(x[None])[0],
        lambda x: F.batch_norm(x.T, None, None, training=True).T,
    ],
)
@pytest.mark.parametrize("offset", [1e5, -1e4])
def test_an_offset_costs_no_digits(norm, offset, rng):
    """A mean of float32 alone would be off by a hundredth of the deviation."""
    x = (rng.standard_normal((3, 5000)) + offset).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(1, keepdims=True)) / np.sqrt(exact.var(1, keepdims=True) + 1e-5)
    np.testing.assert_allclose(jax.jit(norm)(x), exact, atol=1e-5)


def test_equal_numbers_are_standardized_to_zero():
    for value in (1.0, 0.1, 1e10, -3e7):
        x = jnp.full((4, 8, 5), value)
        for output in (
            F.layer_norm(x, 5),
            F.group_norm(x, 2),
            F.instance_norm(x),
            F.batch_norm(x, None, None, training=True),
        ):
            assert (output == 0).all()


def test_running_statistics_have_32_bits_whatever_the_parameters_have():
    """In bfloat16 an average with a momentum of 0.001 would never move."""
    net = fn.functionalize(nn.BatchNorm1d(2, momentum=1e-3, dtype=jnp.bfloat16))
    params, state = net.init(jax.random.key(0))
    assert params["weight"].dtype == jnp.bfloat16
    step = jax.jit(lambda state, x: net.apply(params, state, x, train=True)[1])
    x = jnp.asarray([[99.0, -1], [101, 1]], jnp.bfloat16)
    for _ in range(100):
        state = step(state, x)
    assert state["running_mean"].dtype == state["running_var"].dtype == jnp.float32
    np.testing.assert_allclose(state["running_mean"][0], 100 * (1 - 0.999**100), rtol=1e-4)


def test_an_input_without_channels_and_elements_comes_back():
    assert F.batch_norm(jnp.zeros(0), None, None, training=True).shape == (0,)
    with pytest.raises(ValueError, match=r"\(N, C, ...\)"):
        F.batch_norm(jnp.zeros(3), None, None, training=True)


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("kind", ["Batch", "Instance"])
def test_lazy_layers_learn_their_channels(kind, dims):
    x = jnp.ones((2, 3, *[4] * dims))
    lazy = fn.functionalize(
        getattr(nn, f"Lazy{kind}Norm{dims}d")(affine=True, track_running_stats=True)
    )
    plain = getattr(nn, f"{kind}Norm{dims}d")(3, affine=True, track_running_stats=True)
    expected = jax.eval_shape(fn.functionalize(plain).init, jax.random.key(0))
    shapes = jax.eval_shape(lambda key: lazy.init(key, x), jax.random.key(0))
    assert shapes == expected
    params, state = lazy.init(jax.random.key(0), x)
    assert lazy.apply(params, state, x, train=True)[0].shape == x.shape


def test_statistics_of_16_bits_are_taken_in_32(rng):
    x = jnp.asarray(rng.standard_normal((512, 2)) + 8, jnp.bfloat16)
    output, mean, var = F.batch_norm_update(x, jnp.zeros(2), jnp.ones(2), momentum=1.0)
    assert output.dtype == jnp.bfloat16
    wide = np.asarray(x, np.float64)
    # 512 terms in float32; in bfloat16 it would be 1e-2
    np.testing.assert_allclose(mean, wide.mean(0), rtol=1e-5)
    np.testing.assert_allclose(var, wide.var(0, ddof=1), rtol=1e-4)  # the same, squared


@pytest.mark.parametrize("shape", [(0, 3, 4), (2, 3, 0), (0, 3, 0)])
@pytest.mark.parametrize("update", [F.batch_norm_update, F.instance_norm_update])
def test_an_empty_batch_leaves_the_running_statistics_as_they_are(update, shape):
    """One empty batch, and PyTorch's instance norm remembers NaN for ever."""
    output, mean, var = update(jnp.ones(shape), jnp.full(3, 2.0), jnp.full(3, 5.0))
    assert output.shape == shape
    np.testing.assert_array_equal((mean, var), ([2.0] * 3, [5.0] * 3))
