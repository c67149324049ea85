"""Draws that share a program: bit for bit those of a program for each array, whatever the shape."""

import logging
import math
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import funcnet as fn
from examples.models.resnet import resnet
from funcnet import nn
from funcnet.core.jax_internals.random_bits import ROW, key_of_bits
from funcnet.core.keys import fold_path, fold_words
from funcnet.module import initialize
from funcnet.module.initial_values import flat_draws
from funcnet.nn import init

KEY = jax.random.key(11)

STARTS = {
    "array": init.array(np.float32(0.3)),
    "constant": init.constant(0.1),
    "ones": init.ones(),
    "zeros": init.zeros(),
    "uniform": init.uniform(-0.37, 1.71),
    "uniform_fan_in": init.uniform_fan_in(13),
    "normal": init.normal(0.3, 0.77),
    "trunc_normal": init.trunc_normal(0.1, 0.02, 0.07, 0.2),
    "trunc_normal, one tail": init.trunc_normal(std=0.5, a=1.0, b=2.0),
    "xavier_uniform": init.xavier_uniform(1.3),
    "xavier_normal": init.xavier_normal(0.7),
    "kaiming_uniform": init.kaiming_uniform(math.sqrt(5)),
    "kaiming_normal": init.kaiming_normal(mode="fan_out", nonlinearity="relu"),
    "zero_row": init.zero_row(init.normal(0.0, 0.2), -1),
    "eye": init.eye(),
    "dirac": init.dirac(),
    "orthogonal": init.orthogonal(),
    "sparse": init.sparse(0.3),
}
NO_RECIPE = {"eye", "dirac", "orthogonal", "sparse"}
ARRAYS = [
    ((), jnp.float32),
    ((0, 4), jnp.float32),
    ((7, 3), jnp.float16),
    ((5, ROW + 1), jnp.float32),
]


def fits(name, shape):
    if name == "zero_row":
        return len(shape) == 2 and shape[0] > 0
    return len(shape) >= 2 or not name.startswith(("xavier", "kaiming"))


class Arrays(fn.Module):
    """One array of each shape and dtype for each initializer."""

    def __init__(self, names, arrays=ARRAYS):
        self.arrays = {
            f"{name} {len(shape)}": fn.Parameter(shape, STARTS[name], dtype)
            for name, (shape, dtype) in product(names, arrays)
            if fits(name, shape)
        }


def bits(array):
    return np.asarray(array).view(f"u{array.dtype.itemsize}") if array.size else np.asarray(array)


def check_same_bits(left, right):
    assert jax.tree.structure(left) == jax.tree.structure(right)
    for (path, a), b in zip(jax.tree.leaves_with_path(left), jax.tree.leaves(right), strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype), path
        np.testing.assert_array_equal(bits(a), bits(b), err_msg=jax.tree_util.keystr(path))


def init_by_kind(net, key, monkeypatch):
    """Draw with a program for each shape."""
    with monkeypatch.context() as patch:
        patch.setattr(initialize, "threefry_words", lambda key: None)
        return net.init(key)


def test_every_initializer_is_here():
    factories = {
        n for n in dir(init) if not n.startswith("calculate") and callable(getattr(init, n))
    }
    assert {name.partition(",")[0] for name in STARTS} == factories - {"Distribution"}


@pytest.mark.parametrize("name", STARTS)
def test_which_initializers_tell_a_recipe(name):
    start, shape = STARTS[name], (6, 4)
    assert (start.recipe(shape, jnp.dtype(jnp.float32)) is None) == (name in NO_RECIPE)


@pytest.mark.parametrize("name", [name for name in STARTS if name not in NO_RECIPE])
def test_values_are_those_of_a_program_for_each_array(name, monkeypatch):
    net = fn.functionalize(Arrays([name]))
    check_same_bits(net.init(KEY), init_by_kind(net, KEY, monkeypatch))


def test_any_scale_gives_the_same_bits(rng):
    # scales are arguments of the shared program and constants of the others: the compiler could fold those
    spreads = [float(spread) for spread in 10.0 ** rng.uniform(-4, 2, 3)]

    class Scaled(fn.Module):
        def __init__(self):
            self.normal = [fn.Parameter((999,), init.normal(0.0, s)) for s in spreads]
            self.shifted = [fn.Parameter((999,), init.normal(s, 0.1)) for s in spreads]
            self.uniform = [fn.Parameter((999,), init.uniform(-s, s)) for s in spreads]
            self.above = [fn.Parameter((999,), init.uniform(s, 3 * s)) for s in spreads]

    net = fn.functionalize(Scaled())
    check_same_bits(net.init(KEY), jax.jit(net.init)(KEY))


@pytest.mark.parametrize("rows", [1, 3, flat_draws.MANY_ROWS])
def test_where_runs_end_does_not_matter(rows, monkeypatch):
    net = fn.functionalize(Arrays(["normal", "uniform"]))
    expected = net.init(KEY)
    monkeypatch.setattr(flat_draws, "FEW_ROWS", 0)
    monkeypatch.setattr(flat_draws, "MANY_ROWS", rows)
    check_same_bits(net.init(KEY), expected)


@pytest.mark.parametrize("depth", [1, 3])
def test_stacked_layers_have_the_values_of_a_list(depth, monkeypatch):
    stacked = fn.functionalize(nn.Repeat(nn.Linear(33, 33), depth))
    drawn = stacked.init(KEY)
    check_same_bits(drawn, init_by_kind(stacked, KEY, monkeypatch))
    check_same_bits(drawn, jax.jit(stacked.init)(KEY))


@pytest.mark.parametrize(
    "make_key",
    [
        jax.random.key,
        jax.random.PRNGKey,
        lambda seed: jax.random.key(seed, impl="rbg"),
        lambda seed: jax.random.split(jax.random.key(seed), 3)[1],
        lambda seed: jax.device_put(jax.random.key(seed), jax.devices()[-1]),
    ],
    ids=["typed", "raw", "rbg", "split", "committed"],
)
def test_keys_of_all_kinds(make_key, monkeypatch):
    net, key = fn.functionalize(nn.Linear(20, 30)), make_key(5)
    drawn, expected = net.init(key), init_by_kind(net, key, monkeypatch)
    check_same_bits(drawn, expected)
    for a, b in zip(jax.tree.leaves(drawn), jax.tree.leaves(expected), strict=True):
        assert (a.committed, a.devices()) == (b.committed, b.devices())


def test_the_former_order_of_bits_keeps_its_own_programs(monkeypatch):
    net = fn.functionalize(nn.Linear(20, 30))
    with jax.threefry_partitionable(False):
        former = net.init(KEY)
        check_same_bits(former, init_by_kind(net, KEY, monkeypatch))
    assert not np.array_equal(former[0]["weight"], net.init(KEY)[0]["weight"])


def test_a_known_key_inside_a_trace():
    net = fn.functionalize(nn.Linear(20, 30))
    check_same_bits(jax.jit(lambda: net.init(KEY))(), net.init(KEY))
    grads = jax.grad(lambda x: (net.init(KEY)[0]["weight"] * x).sum())(2.0)
    np.testing.assert_allclose(grads, net.init(KEY)[0]["weight"].sum(), rtol=1e-5)  # order of sums


def test_under_a_mesh_and_with_a_key_on_many_devices(monkeypatch):
    net = fn.functionalize(nn.Linear(20, 30))
    expected = net.init(KEY)
    mesh = Mesh(np.array(jax.devices()), ("data",))
    spread = jax.device_put(KEY, NamedSharding(mesh, PartitionSpec()))
    check_same_bits(net.init(spread), expected)
    assert net.init(spread)[0]["weight"].devices() == set(jax.devices())
    with jax.set_mesh(jax.make_mesh((len(jax.devices()),), ("data",))):
        check_same_bits(net.init(KEY), expected)


def test_wide_dtypes_have_programs_of_their_own(monkeypatch):
    with jax.enable_x64(True):
        arrays = [((7, 3), jnp.float64), ((7,), jnp.float32)]
        net = fn.functionalize(Arrays(["normal", "uniform", "constant"], arrays))
        drawn = net.init(KEY)
        check_same_bits(drawn, init_by_kind(net, KEY, monkeypatch))


def test_arrays_own_their_memory():
    values = np.arange(4096, dtype=np.float32)
    given = jnp.arange(3.0)

    class Given(fn.Module):
        def __init__(self):
            self.numpy = fn.Parameter((4096,), init.array(values))
            self.jax = fn.Parameter((3,), init.array(given))

    params, _ = fn.functionalize(Given()).init(KEY)
    values[:] = 0
    jax.jit(lambda tree: tree, donate_argnums=0)(params)
    assert given.tolist() == [0.0, 1.0, 2.0]
    params, _ = fn.functionalize(Given()).init(KEY)
    assert not np.asarray(params["numpy"]).any()


@pytest.mark.parametrize("size", [1, 5])
def test_keys_are_folded_without_a_program(size):
    words = np.random.default_rng(0).integers(0, 2**32, (size, 2), np.uint32)
    folded = flat_draws.folded_words(np.asarray(jax.random.key_data(KEY)), words)
    expected = [jax.random.key_data(fold_words(KEY, pair)) for pair in words]
    np.testing.assert_array_equal(folded, expected)


def test_places_beyond_32_bits():
    owner = np.repeat([0, 1], [2**22 + 2, 2])  # the first array has more than 2**32 numbers
    starts = flat_draws.row_starts(owner)
    assert starts[[0, 1, -4, -3, -2, -1]].tolist() == [
        [0, 0],
        [0, ROW],
        [1, 0],
        [1, ROW],
        [0, 0],
        [0, ROW],
    ]


def test_a_key_of_bits_is_drawn_once():
    key = key_of_bits(jax.random.bits(KEY, (ROW,)))
    with pytest.raises(NotImplementedError, match="only 1024 numbers"):
        jax.random.normal(key, (3,))
    with pytest.raises(NotImplementedError, match="no key is made"):
        jax.random.split(key)


def test_a_deep_model_needs_a_program_for_each_distribution(caplog):
    with jax.log_compiles(), caplog.at_level(logging.WARNING):
        params, _ = fn.functionalize(resnet(50)).init(KEY)
    programs = [r for r in caplog.messages if r.startswith("Finished XLA compilation")]
    assert len(programs) <= 2, programs
    assert len(jax.tree.leaves(params)) == 161


def test_the_values_of_a_seed_stay():
    params, _ = fn.functionalize(nn.Linear(3, 2)).init(jax.random.key(0))
    np.testing.assert_allclose(
        params["weight"], WEIGHT, rtol=1e-6
    )  # the last bit of a product and a sum
    key = fold_path(jax.random.key(0), "weight")
    np.testing.assert_allclose(
        # the same bits, scaled by another program
        params["weight"],
        jax.random.uniform(key, (2, 3), minval=-1 / math.sqrt(3), maxval=1 / math.sqrt(3)),
        rtol=1e-6,
    )


WEIGHT = [
    [0.03419843316078186, -0.035556912422180176, 0.2866070568561554],
    [-0.5443329811096191, -0.315044105052948, -0.5671064257621765],
]


@pytest.mark.parametrize(
    ("start", "shape", "dtype"),
    [
        (init.zero_row(init.zero_row(init.ones(), 0), 1), (3, 2), jnp.float32),
        (init.zero_row(init.zero_row(init.normal(), 0), 1), (3, 2), jnp.float32),
        (init.normal(0.0, 0.0), (40,), jnp.float32),
        (init.normal(0.0, 1e-38), (40,), jnp.bfloat16),
        (init.xavier_normal(0.0), (8, 5), jnp.float32),
        # halfway between two float16 but for a little that float32 does not hold
        (init.constant(1 + 2**-11 + 2**-40), (2,), jnp.float16),
    ],
)
def test_edges_of_recipes_have_the_same_bits(start, shape, dtype, monkeypatch):
    class One(fn.Module):
        def __init__(self):
            self.w = fn.Parameter(shape, start, dtype)

    init_one = fn.functionalize(One()).init
    found = np.asarray(init_one(KEY)[0]["w"])
    monkeypatch.setattr(initialize, "threefry_words", lambda key: None)
    assert found.tobytes() == np.asarray(init_one(KEY)[0]["w"]).tobytes()


def test_each_of_several_rows_is_cleared():
    class One(fn.Module):
        def __init__(self):
            self.w = fn.Parameter((3, 2), init.zero_row(init.zero_row(init.normal(), 0), 1))

    w = fn.functionalize(One()).init(KEY)[0]["w"]
    assert (np.asarray(w != 0).any(1) == [False, False, True]).all()


def test_an_array_for_a_stack_is_no_array_for_its_layers():
    class One(fn.Module):
        def __init__(self):
            self.w = fn.Parameter((3,), init.array(np.ones((2, 3))))

        def __call__(self, x):
            return x + self.w

    with pytest.raises(ValueError, match="broadcast"):
        fn.functionalize(nn.Repeat(One(), 2)).init(KEY)
