"""quantize: each kind of layer by each scheme computes with its nearest weights, whatever is done to the model."""

import itertools
import pickle
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn, optim
from funcnet.compression import NF4, Int4, Int8, dequantize, quantize, quantized
from tests.compression.quantization.weight_cases import (
    LAYERS,
    SCHEMES,
    model_and_input,
    same_trees,
    sampled,
)

PAIRS = list(itertools.product(LAYERS, SCHEMES))
CAST = ("repeat", "shared", "linear", "attention", "transposed")


def pytest_generate_tests(metafunc):
    step = 2 * (len(SCHEMES) + 1)  # every second layer, each with another scheme
    costly = metafunc.function is test_gradients_are_those_of_the_float_model
    sampled(metafunc, ("layer", "scheme"), PAIRS, 2 * step if costly else step)
    sampled(metafunc, ("cast",), [(layer,) for layer in CAST], 3)


@cache
def both(layer, scheme, dtype="float32"):
    """A quantized model and the same with floats, and an input."""
    module, params, state, x = model_and_input(layer, dtype=jnp.dtype(dtype))
    small = quantize(module, params, state, SCHEMES[scheme])
    return small, dequantize(*small), (module, params, state), x


def apply(model, x, **keywords):
    module, params, state = model
    return jax.jit(lambda p, x: fn.functionalize(module).apply(p, state, x, **keywords)[0])(
        params, x
    )


def test_it_computes_with_the_nearest_weights(layer, scheme):
    small, back, (module, params, state), x = both(layer, scheme)
    expected = apply(back, x)
    same_trees(apply(small, x), expected, rtol=1e-5, atol=1e-5)
    jax.tree.map(lambda a, b: (a.shape, a.dtype) == (b.shape, b.dtype), params, back[1])
    assert jax.tree.structure((params, state)) == jax.tree.structure(back[1:])
    assert type(back[0]) is type(module)
    assert isinstance(small[0], type(module))
    weights = {k: v for k, v in fn.state_dict(*back).items() if "weight" in k and v.ndim > 1}
    originals = fn.state_dict(module, params, state)
    for name, weight in weights.items():
        assert 0 < np.abs(np.asarray(weight) - originals[name]).max() < 0.9, name


def test_gradients_are_those_of_the_float_model(layer, scheme):
    small, back, _, x = both(layer, scheme)

    def gradients(model):
        module, params, state = model
        net = fn.functionalize(module)

        def loss(params, x):
            outputs = jax.tree.leaves(net.apply(params, state, x)[0])
            return sum((jnp.cos(out) ** 2).sum() for out in outputs)

        inputs = () if jnp.issubdtype(x.dtype, jnp.integer) else (1,)
        return jax.jit(jax.grad(loss, (0, *inputs)))(params, x)

    found, expected = gradients(small), gradients(back)
    kept = set(fn.state_dict(small[0], found[0], small[2]))
    full = fn.state_dict(back[0], expected[0], back[2])
    ours = fn.state_dict(small[0], found[0], small[2])
    for name in kept & set(full):
        np.testing.assert_allclose(ours[name], full[name], rtol=1e-4, atol=1e-4, err_msg=name)
    same_trees(found[1:], expected[1:], rtol=1e-4, atol=1e-4)


def test_names_and_trees(layer, scheme):
    small, _, (module, params, state), _ = both(layer, scheme)
    names, before = set(fn.state_dict(*small)), set(fn.state_dict(module, params, state))
    parts = set(SCHEMES[scheme].shapes((4, 4)))
    moved = {name for name in before if f"{name}.values" in names}
    assert moved
    assert names == (before - moved) | {f"{name}.{part}" for name in moved for part in parts}
    empty = fn.functionalize(quantized(module, SCHEMES[scheme]))
    likes = jax.eval_shape(empty.init, jax.random.key(0))
    arrays = jax.tree.map(lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), small[1:])
    assert likes == arrays


def test_in_bfloat16_and_in_mixed_precision(cast):
    small, back, _, x = both(cast, "int8", "bfloat16")
    assert {a.dtype.name for a in jax.tree.leaves(back[1:])} == {"bfloat16"}
    same_trees(apply(small, x), apply(back, x), rtol=0.05, atol=0.1)
    small, back, _, x = both(cast, "int4")
    mixed = [fn.mixed_precision(fn.functionalize(model[0])) for model in (small, back)]
    results = [
        jax.jit(net.apply)(*model[1:], x)[0]
        for net, model in zip(mixed, (small, back), strict=True)
    ]
    same_trees(*results, rtol=0.03, atol=0.1)  # where a product is rounded may differ


def test_in_mixed_precision_weights_are_read_in_16_bits():
    small = quantize(*_linear())
    program = jax.make_jaxpr(fn.mixed_precision(fn.functionalize(small[0])).apply)(
        *small[1:], jnp.ones((3, 8))
    )
    products = [e for e in _equations(program.jaxpr) if e.primitive.name == "dot_general"]
    assert [v.aval.dtype.name for e in products for v in e.invars] == ["bfloat16", "bfloat16"]
    kept = fn.mixed_precision(fn.functionalize(small[0]), keep=nn.Linear).apply
    program = jax.make_jaxpr(kept)(*small[1:], jnp.ones((3, 8)))
    products = [e for e in _equations(program.jaxpr) if e.primitive.name == "dot_general"]
    assert [v.aval.dtype.name for e in products for v in e.invars] == ["float32", "float32"]


def _equations(jaxpr):
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            if hasattr(inner := getattr(value, "jaxpr", value), "eqns"):
                yield from _equations(inner)


def _linear(features=8, rows=6):
    module = nn.Linear(features, rows)
    return module, *fn.functionalize(module).init(jax.random.key(0))


# ---- what else is done with models ---------------------------------------------------------------


def test_a_description_starts_at_the_nearest_values():
    module, scheme = nn.Repeat(nn.Linear(4, 4), 2), Int4(group=2)
    net = fn.functionalize(quantized(module, scheme))
    params, state = jax.jit(net.init)(jax.random.key(0))
    weight = fn.bind(net.module, params, state).module.weight
    assert weight.shape == (2, 4, 4)
    assert not np.array_equal(weight[0], weight[1])
    assert 0.1 < np.abs(weight).max() <= 0.5 + 1e-6  # of U(-1/2, 1/2)
    again = jax.jit(jax.vmap(scheme.encode))(weight)
    np.testing.assert_allclose(again["scales"], state["module"]["weight"]["scales"], rtol=0.3)


@pytest.mark.parametrize("layer", ["linear", "shared"])
def test_pickled_saved_and_loaded(layer, tmp_path):
    small, _, (module, _, _), x = both(layer, "nf4 twice")
    expected = apply(small, x)
    again = pickle.loads(pickle.dumps(small))
    same_trees(apply(again, x), expected)
    bound = pickle.loads(pickle.dumps(fn.bind(*small)))
    same_trees(jax.jit(lambda x: bound(x))(x), expected, rtol=1e-6)
    fn.checkpoint.save_weights(tmp_path / "small.safetensors", *small)
    empty = quantized(module, SCHEMES["nf4 twice"])
    loaded = fn.checkpoint.load_weights(tmp_path / "small.safetensors", empty)
    same_trees(loaded, small[1:])
    if layer == "linear":
        same_trees(apply((empty, *loaded), x), expected)
    same_trees(fn.load_state_dict(empty, fn.state_dict(*small)), small[1:])


def test_a_tied_weight_is_quantized_once_and_stays_tied():
    (module, params, state), _, _, _ = both("shared", "int8")
    assert module.head.weight is module.table.weight
    assert list(state) == ["table"]
    assert "weight" not in params.get("head", {})
    bound = fn.bind(module, params, state)
    np.testing.assert_array_equal(bound.head.weight, bound.table.weight)
    original, *arrays = model_and_input("shared")[:3]
    with pytest.raises(ValueError, match=r"head.weight is tied to .* choose head as well"):
        quantize(original, *arrays, patterns="table")
    with pytest.raises(ValueError, match="choose table as well"):
        dequantize(module, params, state, "head")


def test_the_weight_of_a_bound_stack_is_that_of_all_layers():
    small, back, _, _ = both("repeat", "int4")
    np.testing.assert_allclose(
        fn.bind(*small).module.weight, back[1]["module"]["weight"], rtol=1e-6
    )
    assert small[0].module.weight.shape == (4, 4)
    assert small[2]["module"]["weight"]["values"].shape == (3, 4, 2)


def test_vmap_over_models_and_inputs():
    module, params, state = _linear()
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), params)
    small = quantized(module)
    run = jax.jit(jax.vmap(lambda params: quantize(module, params, state)[1:]))
    few, kept = run(stacked)
    x = jax.random.normal(jax.random.key(1), (2, 5, 8))
    each = jax.jit(lambda p, s, x: fn.functionalize(small).apply(p, s, x)[0])
    found = jax.vmap(each)(few, kept, x)
    for number in range(2):
        one = quantize(module, jax.tree.map(lambda a, i=number: a[i], stacked), state)
        np.testing.assert_allclose(
            found[number],
            each(*one[1:], x[number]),
            rtol=1e-5,
            atol=1e-6,
        )


def test_a_frozen_table_and_a_given_weight():
    table = jax.random.normal(jax.random.key(0), (6, 4))
    frozen = nn.Embedding.from_pretrained(table)
    params, state = fn.functionalize(frozen).init(jax.random.key(0))
    small = quantize(frozen, params, state, Int4(group=2))
    assert (
        fn.functionalize(small[0]).init(jax.random.key(1))[1]["weight"]["values"].dtype == "uint8"
    )
    same_trees(fn.functionalize(small[0]).init(jax.random.key(1)), small[1:], rtol=1e-6)
    back = dequantize(*small)
    assert list(back[2]) == ["weight"]
    same_trees(fn.functionalize(back[0]).init(jax.random.key(2)), back[1:], rtol=1e-6)


def test_a_layer_of_ones_own_and_arrays_of_other_names():
    class Mixer(nn.Module):
        def __init__(self):
            self.left = fn.Parameter((4, 3), nn.init.normal())
            self.right = fn.Parameter((3, 4), nn.init.normal())

        def __call__(self, x):
            return x @ self.left @ self.right

    net = fn.functionalize(Mixer())
    params, state = net.init(jax.random.key(0))
    small = quantize(Mixer(), params, state, kinds=Mixer, arrays=["l*", "right"])
    assert set(small[2]) == {"left", "right"}
    assert small[1] == {}
    x = jnp.ones((2, 4))
    expected = net.apply(params, state, x)[0]
    np.testing.assert_allclose(apply(small, x), expected, atol=0.1)


def test_a_quantized_model_is_adapted_and_trained():
    module, params, state = _linear(16, 4)
    small, few, kept = quantize(module, params, state, NF4(group=8))
    adapted = nn.lora(small, "*", rank=2)
    net = fn.functionalize(adapted)
    fresh, left = jax.jit(net.init)(jax.random.key(1))
    assert set(left) == {"weight"}
    params = fresh | few
    x = jax.random.normal(jax.random.key(2), (32, 16))
    target = x[:, :4] * 2
    np.testing.assert_allclose(net.apply(params, kept, x)[0], apply((small, few, kept), x))
    optimizer = optim.adamw(3e-2)
    memory = optimizer.init(params)

    @jax.jit
    def step(params, memory):
        loss, grads = jax.value_and_grad(
            lambda p: ((net.apply(p, kept, x)[0] - target) ** 2).mean()
        )(params)
        updates, memory = optimizer.update(grads, memory, params)
        return optim.apply_updates(params, updates), memory, loss

    losses = []
    for _ in range(60):
        params, memory, loss = step(params, memory)
        losses.append(float(loss))
    assert losses[-1] < 0.6 * losses[0]
    same_trees(
        pickle.loads(pickle.dumps(net)).apply(params, kept, x)[0], net.apply(params, kept, x)[0]
    )
    with pytest.raises(ValueError, match="in few bits, which cannot hold the addition"):
        nn.merge_lora(adapted, params)
    with pytest.raises(ValueError, match=r"adapted by nn\.lora: merge_lora first"):
        quantize(adapted, params, kept)


def test_captured_and_counted():
    (module, params, state), _, _, x = both("linear", "int8")
    net = fn.functionalize(nn.Sequential(module, nn.ReLU()))
    params, state = {"0": params}, {"0": state}
    (_, outputs), _ = fn.capture(net, "0").apply(params, state, x)
    np.testing.assert_allclose(outputs["0"], apply((module, params["0"], state["0"]), x), rtol=1e-6)
    table = fn.summary(net, x)
    rows = {row.path: row for row in table.rows}
    assert rows["0.weight"].bytes == 5 * 6 + 5 * 4
    assert rows["0"].bytes == 5 * 4


def test_a_mesh(request):
    from funcnet import parallel

    mesh = jax.make_mesh((4,), ("model",), axis_types=(jax.sharding.AxisType.Auto,))
    module, params, state = _linear(8, 12)
    small, few, kept = quantize(module, params, state)
    rules = {"weight.values": ("model", None), "weight.scales": ("model",), "bias": ("model",)}
    net = parallel.shard(fn.functionalize(small), mesh, rules)
    drawn, left = net.init(jax.random.key(0))
    assert {p.data.shape for p in left["weight"]["values"].addressable_shards} == {(3, 8)}
    assert {p.data.shape for p in left["weight"]["scales"].addressable_shards} == {(3,)}
    x = jax.random.normal(jax.random.key(1), (4, 8))
    few, kept = jax.tree.map(
        lambda a, like: jax.device_put(a, like.sharding), (few, kept), (drawn, left)
    )
    found, after = jax.jit(net.apply)(few, kept, x)
    np.testing.assert_allclose(found, apply((small, few, kept), x), rtol=1e-5, atol=1e-6)
    assert after["weight"]["values"].sharding.is_equivalent_to(kept["weight"]["values"].sharding, 2)


# ---- mistakes ------------------------------------------------------------------------------------

MODEL = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.BatchNorm1d(3))

MISTAKES = {
    "a class": (lambda m, p, s: quantize(m, p, s, Int8), TypeError, r"write Int8\(\)"),
    "a word": (lambda m, p, s: quantize(m, p, s, "int8"), TypeError, r"must be Int8\(\)"),
    "no such layer": (
        lambda m, p, s: quantize(m, p, s, patterns="1"),
        ValueError,
        "'1' matches no Linear.*there are: 0",
    ),
    "a functional": (
        lambda m, p, s: quantize(fn.functionalize(m), p, s),
        TypeError,
        "write net.module",
    ),
    "twice": (
        lambda m, p, s: quantize(*quantize(m, p, s)),
        ValueError,
        "0 is quantized already: dequantize it first",
    ),
    "floats already": (dequantize, ValueError, "takes what compression.quantize returned"),
    "an array": (
        lambda m, p, s: quantize(m, p, s, patterns="*.weight"),
        ValueError,
        "Patterns name layers, not their arrays",
    ),
    "classes for patterns": (
        lambda m, p, s: quantize(m, p, s, patterns={nn.Linear}),
        TypeError,
        "globs on the dotted paths.*got Linear",
    ),
    "other arrays": (
        lambda m, p, s: quantize(m, {"0": {}}, s),
        fn.errors.ParameterTreeError,
        "missing: 0.weight",
    ),
    "not finite": (
        lambda m, p, s: quantize(m, jax.tree.map(lambda a: a / 0, p), s),
        ValueError,
        "0.weight holds NaN or infinities",
    ),
    "too large": (
        lambda m, p, s: quantize(
            m, jax.tree.map(lambda a: a * 1e30, p), s, Int8(scale_dtype="float16")
        ),
        ValueError,
        "0.weight holds numbers whose scales exceed",
    ),
    "lazy": (
        lambda m, p, s: quantized(nn.LazyLinear(3)),
        ValueError,
        r"weight waits for its shape \(3, None\)",
    ),
    "parametrized": (
        lambda m, p, s: quantized(nn.parametrizations.weight_norm(nn.Linear(3, 3))),
        ValueError,
        "computed by a parametrization",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    call, error, words = MISTAKES[name]
    params, state = fn.functionalize(MODEL).init(jax.random.key(0))
    with pytest.raises(error, match=words):
        call(MODEL, params, state)
