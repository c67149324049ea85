"""Initial distributions: by their tests and moments, by PyTorch's arithmetic, as values."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import funcnet as fn
from funcnet import nn
from funcnet.nn import init

KEY = jax.random.key(7)
SHAPE = (40, 25, 3)  # fan in 75, fan out 120
ROOT = math.sqrt


def _uniform(bound):
    return stats.uniform(-bound, 2 * bound)


CONTINUOUS = {
    "uniform": (init.uniform(-1.0, 3.0), stats.uniform(-1, 4)),
    "uniform_fan_in": (init.uniform_fan_in(16), _uniform(0.25)),
    "normal": (init.normal(1.0, 0.5), stats.norm(1, 0.5)),
    "trunc_normal": (init.trunc_normal(0.1, 2.0, -1.0, 3.0), stats.truncnorm(-0.55, 1.45, 0.1, 2)),
    "trunc_normal, right tail": (init.trunc_normal(0.0, 1.0, 5.0, 6.0), stats.truncnorm(5, 6)),
    "trunc_normal, left tail": (
        init.trunc_normal(3.0, 0.5, -2.0, 2.0),
        stats.truncnorm(-10, -2, 3, 0.5),
    ),
    "xavier_uniform": (init.xavier_uniform(2.0), _uniform(2 * ROOT(6 / 195))),
    "xavier_normal": (init.xavier_normal(), stats.norm(0, ROOT(2 / 195))),
    "kaiming_uniform": (init.kaiming_uniform(a=ROOT(5)), _uniform(1 / ROOT(75))),
    "kaiming_uniform, fan_out": (
        init.kaiming_uniform(mode="fan_out", nonlinearity="relu"),
        _uniform(ROOT(6 / 120)),
    ),
    "kaiming_normal": (init.kaiming_normal(nonlinearity="tanh"), stats.norm(0, 5 / 3 / ROOT(75))),
}


@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_follow_their_distribution(name):
    start, expected = CONTINUOUS[name]
    draws = np.asarray(jax.jit(lambda key: start(key, SHAPE, jnp.float32))(KEY), np.float64).ravel()
    assert (
        stats.kstest(draws, expected.cdf).pvalue > 1e-3
    )  # the seed is fixed: no test in 1,000 fails
    np.testing.assert_allclose(
        # four deviations of a mean
        draws.mean(),
        expected.mean(),
        atol=4 * expected.std() / ROOT(draws.size),
    )
    # four deviations or more of a deviation
    np.testing.assert_allclose(draws.std(), expected.std(), rtol=0.06)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sixteen_bits_are_drawn_in_full(dtype):
    draws = init.uniform()(KEY, (4000,), dtype)
    assert draws.dtype == dtype
    # straight from sixteen bits there are 128 numbers below one half; rounded ones are denser near zero
    assert len(np.unique(np.asarray(draws, np.float32))) > 600


def test_orthogonal():
    draw = jax.jit(
        lambda key: [init.orthogonal(2.0)(key, s, jnp.float32) for s in ((6, 4), (4, 2, 3), (5, 5))]
    )
    tall, wide, square = (np.asarray(m).reshape(m.shape[0], -1) for m in draw(KEY))
    # float32: sums in another order
    np.testing.assert_allclose(tall.T @ tall, 4 * np.eye(4), atol=1e-5)
    # float32: sums in another order
    np.testing.assert_allclose(wide @ wide.T, 4 * np.eye(4), atol=1e-5)
    # float32: sums in another order
    np.testing.assert_allclose(square @ square.T, 4 * np.eye(5), atol=1e-5)
    signs = jax.vmap(lambda key: jnp.linalg.det(init.orthogonal()(key, (3, 3))))(
        jax.random.split(KEY, 64)
    )
    assert 16 < int((signs > 0).sum()) < 48  # rotations and reflections alike


def test_sparse_clears_a_share_of_each_column():
    weight = np.asarray(init.sparse(0.3, std=2.0)(KEY, (10, 400)))
    assert ((weight == 0).sum(axis=0) == 3).all()
    # 2,800 draws: their deviation is known to 1.3 %
    np.testing.assert_allclose(weight[weight != 0].std(), 2.0, rtol=0.05)
    assert len(np.unique(weight == 0, axis=1).T) > 50


def test_fixed_values_equal_pytorch():
    torch = pytest.importorskip("torch")
    for shape, groups in [((4, 2, 3), 2), ((6, 3, 2, 5), 3), ((2, 4, 3, 2, 3), 1), ((5, 2, 1), 1)]:
        np.testing.assert_array_equal(
            init.dirac(groups)(KEY, shape), torch.nn.init.dirac_(torch.empty(shape), groups)
        )
    np.testing.assert_array_equal(init.eye()(KEY, (3, 5)), torch.nn.init.eye_(torch.empty(3, 5)))
    for name in (
        "linear",
        "conv2d",
        "conv_transpose3d",
        "sigmoid",
        "tanh",
        "relu",
        "leaky_relu",
        "selu",
    ):
        assert init.calculate_gain(name) == pytest.approx(
            torch.nn.init.calculate_gain(name),
            rel=1e-15,  # one bit
        )
    assert init.calculate_gain("leaky_relu", 0.3) == torch.nn.init.calculate_gain("leaky_relu", 0.3)


def test_values_that_are_equal_compare_equal_and_are_drawn_together():
    assert init.kaiming_uniform(a=ROOT(5)) == init.kaiming_uniform(ROOT(5), "fan_in")
    assert hash(init.zeros()) == hash(init.constant(0.0))
    assert init.normal() != init.normal(std=0.5)
    assert init.array(np.ones(2)) != init.array(np.ones(2))
    assert repr(init.trunc_normal()) == "trunc_normal(0.0, 1.0, -2.0, 2.0)"


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: init.uniform(1.0, 0.0),
        lambda: init.normal(0.0, -1.0),
        lambda: init.trunc_normal(std=0.0),
        lambda: init.trunc_normal(a=1.0, b=1.0),
        lambda: init.kaiming_normal(mode="fan_mean"),
        lambda: init.kaiming_normal(nonlinearity="gelu"),
        lambda: init.calculate_gain("leaky_relu", True),
        lambda: init.sparse(1.5),
        lambda: init.xavier_normal()(KEY, (3,)),
        lambda: init.eye()(KEY, (3,)),
        lambda: init.dirac()(KEY, (3, 3)),
        lambda: init.dirac(2)(KEY, (3, 3, 3)),
        lambda: init.orthogonal()(KEY, (3,)),
        lambda: init.sparse(0.5)(KEY, (3,)),
    ],
)
def test_arguments_are_checked(wrong):
    with pytest.raises(ValueError):
        wrong()


LAYERS = {
    "linear": (nn.Linear(16, 400), {"weight": 1 / 4, "bias": 1 / 4}),
    "bilinear": (nn.Bilinear(16, 8, 90), {"weight": 1 / 4, "bias": 1 / 4}),
    "lstm": (
        nn.LSTM(8, 64, bidirectional=True),
        {"weight_ih_l0_reverse": 1 / 8, "bias_hh_l0": 1 / 8},
    ),
    "gru cell": (nn.GRUCell(8, 64), {"weight_hh": 1 / 8, "bias_ih": 1 / 8}),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_start_as_pytorch_layers_do(name):
    layer, bounds = LAYERS[name]
    params, _ = fn.functionalize(layer).init(KEY)
    for part, bound in bounds.items():
        draws = np.asarray(params[part]).ravel()
        assert stats.kstest(draws, _uniform(bound).cdf).pvalue > 1e-3, part


def test_tables_start_normal_with_a_row_of_zeros():
    params, _ = fn.functionalize(nn.Embedding(200, 20, padding_idx=-1)).init(KEY)
    assert (params["weight"][-1] == 0).all()
    assert stats.kstest(np.asarray(params["weight"][:-1]).ravel(), stats.norm.cdf).pvalue > 1e-3


@pytest.mark.parametrize("dtype", [jnp.int8, jnp.int32, jnp.bool])
@pytest.mark.parametrize("start", [init.uniform(), init.normal(), init.orthogonal()])
def test_integers_are_not_drawn(start, dtype):
    with pytest.raises(TypeError, match="random numbers are drawn for floats"):
        start(KEY, (3, 3), dtype)
