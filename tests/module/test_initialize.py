"""Initial values: from paths, drawn together, abstract, sharded, learned from an example."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import funcnet as fn
from funcnet.core import errors
from funcnet.core.keys import fold_path
from tests.module.models import Dense, Nest, built, normal, zeros


class Stack(fn.Module):
    def __init__(self, depth, extra=False):
        if extra:
            self.extra = Dense(4, 4)
        self.layers = [Dense(4, 4) for _ in range(depth)]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


@pytest.mark.parametrize("make_key", [jax.random.key, jax.random.PRNGKey])
def test_values_come_from_the_path_alone(make_key):
    key = make_key(7)
    params, _ = fn.functionalize(Stack(3)).init(key)
    more, _ = fn.functionalize(Stack(5, extra=True)).init(key)
    alone = normal(fold_path(key, "layers.1.weight"), (4, 4), jnp.float32)
    # the last bit may differ: XLA fuses the scale into the draw
    np.testing.assert_allclose(params["layers"]["1"]["weight"], alone, rtol=3e-7)
    np.testing.assert_array_equal(params["layers"]["1"]["weight"], more["layers"]["1"]["weight"])
    values = [np.asarray(layer["weight"]) for layer in more["layers"].values()]
    assert all(not np.array_equal(a, b) for i, a in enumerate(values) for b in values[:i])


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_other_generators_do_not_depend_on_neighbours_either(implementation):
    key = jax.random.key(7, impl=implementation)
    params, _ = fn.functionalize(Stack(2)).init(key)
    more, _ = fn.functionalize(Stack(3)).init(key)
    np.testing.assert_array_equal(params["layers"]["1"]["weight"], more["layers"]["1"]["weight"])


def test_shapes_without_memory():
    huge = fn.functionalize(Dense(1 << 20, 1 << 20))
    params, _ = jax.eval_shape(huge.init, jax.random.key(0))
    assert params["weight"].shape == (1 << 20, 1 << 20)


def test_created_sharded():
    net = fn.functionalize(Stack(2))
    mesh = Mesh(np.array(jax.devices()), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    params, _ = jax.jit(net.init, out_shardings=sharding)(jax.random.key(0))
    weight = params["layers"]["0"]["weight"]
    assert weight.sharding == sharding
    assert weight.addressable_shards[0].data.shape == (1, 4)
    np.testing.assert_array_equal(weight, net.init(jax.random.key(0))[0]["layers"]["0"]["weight"])


def test_arrays_inside_shard_map_may_be_parts_of_the_declared_ones():
    net, params, state = built(Dense(4, 4))
    mesh = Mesh(np.array(jax.devices()), ("model",))
    split = PartitionSpec("model")
    spec = {"weight": split, "bias": split}
    run = jax.shard_map(
        lambda p, x: net.apply(p, state, x)[0],
        mesh=mesh,
        in_specs=(spec, PartitionSpec()),
        out_specs=split,
    )
    np.testing.assert_allclose(
        # float32: sums in another order
        run(params, jnp.ones(4)),
        net.apply(params, state, jnp.ones(4))[0],
        rtol=1e-5,
    )


def test_equal_parameters_are_drawn_in_one_operation():
    def random_operations(depth):
        jaxpr = jax.make_jaxpr(fn.functionalize(Stack(depth)).init)(jax.random.key(0))
        return str(jaxpr).count("random_bits")

    assert random_operations(12) == random_operations(2) == 1


def test_dtypes_and_integer_shapes():
    class Mixed(fn.Module):
        def __init__(self):
            self.half = fn.Parameter(3, normal, jnp.bfloat16)
            self.count = fn.Buffer((), zeros, "int32")
            self.empty = fn.Parameter((0, 4), zeros)

    _, params, state = built(Mixed())
    assert params["half"].dtype == jnp.bfloat16
    assert state["count"].dtype == jnp.int32
    assert params["empty"].shape == (0, 4)


class LazyDense(fn.Module):
    def __init__(self, outputs):
        self.outputs = outputs
        self.weight = fn.Parameter((outputs, None), normal)
        self.bias = fn.Parameter((outputs,), zeros)

    def infer_shapes(self, x):
        return {"weight": (self.outputs, x.shape[-1])}

    def __call__(self, x):
        return x @ self.weight.T + self.bias


class LazyStack(fn.Module):
    def __init__(self):
        self.layers = [LazyDense(5), LazyDense(2)]
        self.unused = None

    def __call__(self, x, scale=1.0):
        return self.layers[1](self.layers[0](x)) * scale


@pytest.mark.parametrize("example", [jnp.ones((3, 7)), jax.ShapeDtypeStruct((3, 7), jnp.float32)])
def test_shapes_learned_from_an_example(example):
    net = fn.functionalize(LazyStack())
    params, state = net.init(jax.random.key(0), example, scale=2.0)
    assert params["layers"]["0"]["weight"].shape == (5, 7)
    assert params["layers"]["1"]["weight"].shape == (2, 5)
    assert net.apply(params, state, jnp.ones((3, 7)))[0].shape == (3, 2)
    shapes, _ = jax.eval_shape(net.init, jax.random.key(0), example)
    assert shapes["layers"]["0"]["weight"].shape == (5, 7)


def test_more_than_the_shape_may_be_learned():
    class Ranged(LazyDense):
        def infer_shapes(self, x):
            bias = fn.Parameter((self.outputs,), jax.nn.initializers.constant(x.shape[-1]))
            return {**super().infer_shapes(x), "bias": bias}

    params, _ = fn.functionalize(Ranged(2)).init(jax.random.key(0), jnp.ones((3, 7)))
    assert params["bias"].tolist() == [7.0, 7.0]


def test_shapes_that_cannot_be_learned():
    with pytest.raises(errors.ModuleDefinitionError, match=r"layers\.0\.weight.*example"):
        fn.functionalize(LazyStack()).init(jax.random.key(0))

    class Never(LazyStack):
        def __call__(self, x):
            return x

    with pytest.raises(errors.ModuleDefinitionError, match="never reached"):
        fn.functionalize(Never()).init(jax.random.key(0), jnp.ones(3))


def test_nest_is_initialised_in_attribute_order():
    assert list(built(Nest())[1]) == ["heads", "layers"] or list(built(Nest())[1]) == [
        "layers",
        "heads",
    ]


TRACED = []


def counted(stddev):
    def init(key, shape, dtype):
        TRACED.append(stddev)
        return stddev * jax.random.normal(key, shape, dtype)

    return init


def captures(value):
    return lambda key, shape, dtype: jnp.full(shape, value[0], dtype)


class Layer(fn.Module):
    def __init__(self, init):
        self.weight = fn.Parameter((3, 4), init)


class Layers(fn.Module):
    def __init__(self):
        self.same = [Layer(counted(0.5)) for _ in range(4)]
        self.others = [Layer(counted(0.25)), Layer(partial(counted(0.5)))]
        self.unknown = [Layer(captures([i])) for i in range(2)]


def test_initializers_of_the_same_code_and_values_share_a_program():
    TRACED.clear()
    _, params, _ = built(Layers())
    assert TRACED == [0.5, 0.25, 0.5]
    same = [params["same"][str(i)]["weight"] for i in range(4)]
    assert len({float(layer[0, 0]) for layer in same}) == 4
    # what captured a list may be anything, and is drawn by itself
    assert [float(params["unknown"][str(i)]["weight"][0, 0]) for i in range(2)] == [0.0, 1.0]
