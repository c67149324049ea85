"""Fake quantization of models: what it computes, what it trains, and that few bits then compute the same."""

import pickle
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression as C
from funcnet import functional as F
from funcnet import nn
from tests.compression.quantization.weight_cases import model_and_input
from tests.sampling import is_whole, sampled


def _convolutions():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3, stride=2, groups=2, padding=1, padding_mode="reflect", bias=False),
        nn.ConvTranspose2d(6, 4, 2),
        nn.Flatten(),
        nn.Linear(4 * 25, 5),
    )


def _stack():
    return nn.Sequential(nn.Linear(6, 8), nn.Repeat(nn.Linear(8, 8), 3), nn.ReLU(), nn.Linear(8, 4))


def _tied():
    first, second = nn.Linear(6, 6), nn.Linear(6, 6)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


def _words():
    return nn.Sequential(nn.Embedding(10, 8), nn.Linear(8, 4))


MODELS = {
    "convolutions": (_convolutions, (2, 3, 8, 8)),
    "stack": (_stack, (3, 6)),
    "tied": (_tied, (2, 5, 6)),
    "words": (_words, None),
}
WEIGHTS = {
    "int8": C.Int8(),
    "int8 groups": C.Int8(group=16, symmetric=False),
    "int4": C.Int4(group=16),
    "nf4": C.NF4(group=16),
    "floats": None,
}
INPUTS = {
    "int8": C.Activations(),
    "int6 symmetric": C.Activations(bits=6, symmetric=True),
    "floats": None,
}

SOME = (
    ("words", "int4", "floats"),
    ("tied", "nf4", "int6 symmetric"),
    ("words", "floats", "int8"),
    ("convolutions", "int8 groups", "floats"),
)
"""What is met in each run beside 8 bits throughout."""


@cache
def _model(name, dtype=jnp.float32):
    build, shape = MODELS[name]
    model = build()
    params, state = jax.jit(fn.functionalize(model).init)(jax.random.key(0))
    params = jax.tree.map(lambda a: a.astype(dtype), params)
    if shape is None:
        return model, params, state, jnp.arange(6).reshape(2, 3)
    return model, params, state, jax.random.normal(jax.random.key(1), shape, dtype)


@cache
def _faked(name, weights, inputs, dtype=jnp.float32):
    model, params, state, x = _model(name, dtype)
    made, params, state = C.fake_quantize(model, params, state, weights, inputs)
    if inputs is not None:
        state = C.calibrate(made, params, state, [x])
    return made, params, state, x


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("inputs", INPUTS)
def test_few_bits_compute_what_was_trained(model, weights, inputs, request):
    all_eight = (weights, inputs) == ("int8", "int8")
    sampled(request, all_eight or (model, weights, inputs) in SOME)
    full = is_whole(request.config)
    made, params, state, x = _faked(model, WEIGHTS[weights], INPUTS[inputs])
    expected = jax.jit(fn.functionalize(made).apply)(params, state, x)[0]
    for products in ("integer", "float") if full or model == "stack" else ("integer",):
        few = C.convert(made, params, state, products=products)
        output = jax.jit(fn.functionalize(few[0]).apply)(*few[1:], x)[0]
        # the same products in another order, in float32
        np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", MODELS)
def test_names_and_values_of_parameters_stay(model):
    before, params, state, _ = _model(model)
    made, new, kept = C.fake_quantize(before, params, state)
    assert jax.tree.structure(new) == jax.tree.structure(params)
    assert all(a is b for a, b in zip(jax.tree.leaves(new), jax.tree.leaves(params), strict=True))
    assert (
        {name.rpartition(".")[2] for name in fn.state_dict(made, {}, kept)} <= {"low", "high"}
        if not params
        else True
    )


@pytest.mark.parametrize("kind", ["float32", "bfloat16", "float16"])
def test_dtypes_stay(kind, request):
    sampled(request, kind != "float16")
    made, params, state, x = _faked("stack", C.Int8(), C.Activations(), jnp.dtype(kind))
    for model in ((made, params, state), C.convert(made, params, state)):
        output, _ = jax.eval_shape(fn.functionalize(model[0]).apply, *model[1:], x)
        assert output.dtype == kind


def test_gradients_pass_straight_to_the_weights_and_stop_where_a_range_ends():
    layer = nn.Linear(3, 2, bias=False)
    params = {"weight": jnp.asarray([[0.3, -0.7, 0.11], [0.02, 0.5, -0.5]])}
    made, params, state = C.fake_quantize(layer, params, {})
    state = {"input_range": {"low": jnp.float32(-1.0), "high": jnp.float32(1.0)}}
    x = jnp.asarray([[0.5, 2.0, -0.25]])
    net = fn.functionalize(made)

    def loss(params, x):
        return net.apply(params, state, x)[0].sum()

    by_weight, by_input = jax.jit(jax.grad(loss, (0, 1)))(params, x)
    rounded = jax.jit(net.apply)(params, state, jnp.eye(3))[0].T
    # what reaches the weight is the rounded input: 2.0 counts as 1.0, the end of the range
    steps = 2 / 255
    np.testing.assert_allclose(by_weight["weight"], [[0.5, 1.0, -0.25]] * 2, atol=steps)
    assert by_input[0, 1] == 0.0
    np.testing.assert_allclose(by_input[0, ::2], rounded.sum(0)[::2], atol=2 * steps)


def test_a_step_of_training_equals_pytorch():
    """A weight and an input, each rounded by its scale: PyTorch's functions around its linear map."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    weight, x = (rng.normal(size=(n, 8)).astype(np.float32) for n in (5, 4))
    made, params, state = C.fake_quantize(
        nn.Linear(8, 5, bias=False), {"weight": jnp.asarray(weight)}, {}
    )
    net = fn.functionalize(made)

    def loss(params, state):
        output, state = net.apply(params, state, jnp.asarray(x), train=True)
        return jnp.sin(output).sum(), (output, state)

    grads, (output, state) = jax.jit(jax.grad(loss, has_aux=True))(params, state)
    observer = torch.ao.quantization.MovingAverageMinMaxObserver(
        dtype=torch.qint8, quant_min=-128, quant_max=127
    )
    given = observer(torch.from_numpy(x))
    scale, zero = observer.calculate_qparams()
    held = torch.from_numpy(weight).requires_grad_()
    scales = held.detach().abs().amax(1) / 127
    few_input = torch.fake_quantize_per_tensor_affine(given, scale, zero.int(), -128, 127)
    few = torch.fake_quantize_per_channel_affine(held, scales, torch.zeros(5).int(), 0, -127, 127)
    theirs = torch.nn.functional.linear(few_input, few)
    theirs.sin().sum().backward()
    # sums of eight float32
    np.testing.assert_allclose(output, theirs.detach().numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(grads["weight"], held.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_training_moves_the_ranges_as_pytorch_does():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    made, params, state = C.fake_quantize(*_linear(), activations=C.Activations(momentum=0.3))
    observer = torch.ao.quantization.MovingAverageMinMaxObserver(averaging_constant=0.3)
    net = fn.functionalize(made)
    for _ in range(3):
        x = rng.normal(size=(4, 3)).astype(np.float32)
        _, state = net.apply(params, state, jnp.asarray(x), train=True)
        observer(torch.from_numpy(x))
    ours = [state["input_range"][name] for name in ("low", "high")]
    # two operations in float32, in another order
    np.testing.assert_allclose(ours, [observer.min_val, observer.max_val], rtol=1e-6)
    _, after = net.apply(params, state, jnp.full((2, 3), 99.0))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), state, after))


def _linear():
    layer = nn.Linear(3, 2)
    return layer, *fn.functionalize(layer).init(jax.random.key(0))


def test_until_a_range_is_known_everything_passes():
    layer, params, state = _linear()
    made, new, kept = C.fake_quantize(layer, params, state, weights=None)
    x = jnp.asarray([[0.1, 1e9, -3.0]])
    exact = fn.functionalize(layer).apply(params, state, x)[0]
    np.testing.assert_array_equal(fn.functionalize(made).apply(new, kept, x)[0], exact)


@pytest.mark.parametrize(("model", "dynamic"), [("convolutions", "row"), ("stack", "tensor")])
def test_dynamic_int8_is_near(model, dynamic):
    whole = _model(model)
    few = (
        C.quantize_dynamic(*whole[:3], dynamic=dynamic)
        if model == "stack"
        else C.quantize_dynamic(*whole[:3], ["0", "2", "5"], dynamic=dynamic)
    )
    before = _output(*whole)
    after = jax.jit(fn.functionalize(few[0]).apply)(*few[1:], whole[3])[0]
    assert np.abs(after - before).max() < 0.02 * np.abs(before).max()
    assert few[2]["0"]["weight"]["values"].dtype == jnp.int8


def _output(module, params, state, x):
    return jax.jit(fn.functionalize(module).apply)(params, state, x)[0]


def test_a_model_of_integers_is_a_model_as_any_other(tmp_path):
    made, params, state, x = _faked("stack", C.Int8(), C.Activations())
    module, few, kept = C.convert(made, params, state)
    expected = _output(module, few, kept, x)
    file = fn.checkpoint.save_weights(tmp_path / "few.safetensors", module, few, kept)
    loaded = fn.checkpoint.load_weights(file, module)
    np.testing.assert_array_equal(_output(pickle.loads(pickle.dumps(module)), *loaded, x), expected)
    again = _output(pickle.loads(pickle.dumps(made)), params, state, x)
    np.testing.assert_array_equal(again, _output(made, params, state, x))
    output = _output(*C.dequantize(module, few, kept), x)
    np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)  # float32 sums


def test_gradients_reach_biases_of_a_model_of_integers():
    made, params, state, x = _faked("stack", C.Int8(), C.Activations())
    module, few, kept = C.convert(made, params, state)
    grads = jax.jit(jax.grad(lambda p: _output(module, p, kept, x).sum()))(few)
    assert all(bool(jnp.any(leaf != 0)) for leaf in jax.tree.leaves(grads))


def test_a_float8_model_trains_as_its_floats_do():
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    params, state = fn.functionalize(model).init(jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (8, 6))
    nets = [fn.functionalize(m) for m in (model, C.float8(model), C.float8(model, "0"))]

    def loss(params, net):
        return F.mse_loss(net.apply(params, state, x)[0], jnp.ones((8, 2)))

    exact, *few = [jax.jit(jax.value_and_grad(partial(loss, net=net)))(params) for net in nets]
    for value, grads in few:
        assert abs(value - exact[0]) < 0.05 * exact[0]
        for a, b in zip(jax.tree.leaves(grads), jax.tree.leaves(exact[1]), strict=True):
            # e5m2 keeps two bits behind the first
            assert np.linalg.norm(a - b) < 0.15 * np.linalg.norm(b)
    assert type(pickle.loads(pickle.dumps(nets[1].module))[0]) is type(nets[1].module[0])


class Plain(nn.Linear):
    """A layer that computes as its base does."""


class Own(nn.Linear):
    """A layer with a call of its own."""

    def __call__(self, input):
        return 2 * super().__call__(input)


def test_layers_of_ones_own_class_are_pickled():
    layer, params, state = _linear()
    own = Plain(3, 2)
    fake = C.fake_quantize(own, params, state, weights=None)
    known = C.calibrate(*fake, [jnp.ones((2, 3))])
    x = jnp.asarray([[0.1, 0.5, -0.3]])
    for made in (
        C.quantize_dynamic(own, params, state),
        C.convert(*C.fake_quantize(own, params, state)[:2], known),
        C.convert(*fake[:2], known),
        C.quantize_dynamic(layer, params, state),
        C.fake_quantize(C.float8(own), params, state),
        C.quantize(C.float8(own), params, state),
        (C.float8(C.quantize(own, params, state)[0]), *C.quantize(own, params, state)[1:]),
    ):
        again = pickle.loads(pickle.dumps(made[0]))
        assert type(again) is type(made[0])
        assert isinstance(again, type(own if isinstance(made[0], Plain) else layer))
        np.testing.assert_array_equal(_output(again, *made[1:], x), _output(*made, x))


def test_dynamic_is_told_where_the_scale_is_found_when_the_input_comes():
    fake = C.fake_quantize(*_linear())
    known = C.calibrate(*fake, [jnp.ones((2, 3))])
    assert "dynamic" not in repr(C.convert(*fake[:2], known)[0])
    assert "dynamic='row'" in repr(C.quantize_dynamic(*_linear())[0])


def _adapted_while_it_trains():
    return nn.lora(C.fake_quantize(*_linear())[0], "*", rank=1)


def _of_an_adapted_layer():
    layer = nn.lora(_linear()[0], "*", rank=1)
    return C.quantize_dynamic(layer, *fn.functionalize(layer).init(jax.random.key(0)))


def _of_a_table_that_is_shared():
    return C.quantize_dynamic(*model_and_input("shared")[:3])


def _without_range():
    return C.convert(*C.fake_quantize(*_linear()))


REFUSED = {
    "no layer": (lambda: C.fake_quantize(nn.ReLU(), {}, {}), "matches no"),
    "twice": (lambda: C.fake_quantize(*C.fake_quantize(*_linear())), "trains for few bits already"),
    "after quantize": (lambda: C.fake_quantize(*C.quantize(*_linear())), "quantized already"),
    "no range": (_without_range, "is not known: train the model"),
    "convert floats": (lambda: C.convert(*_linear()), "compression.fake_quantize returned"),
    "products": (lambda: C.convert(*_linear(), products="int"), "products must be one of"),
    "own call": (
        lambda: C.quantize_dynamic(Own(3, 2), *_linear()[1:]),
        "call of its own, Own.__call__",
    ),
    "own call, float8": (lambda: C.float8(Own(3, 2)), "call of its own, Own.__call__"),
    "dynamic": (lambda: C.quantize_dynamic(*_linear(), dynamic="rows"), "dynamic must be one of"),
    "dynamic twice": (
        lambda: C.quantize_dynamic(*C.quantize_dynamic(*_linear())),
        "quantized already",
    ),
    "bits": (lambda: C.Activations(bits=9), "bits must be one of"),
    "adapted while it trains": (_adapted_while_it_trains, "changes its weight as it is read"),
    "quantize what trains": (
        lambda: C.quantize(*C.fake_quantize(*_linear())),
        "compression.convert makes",
    ),
    "adapted": (_of_an_adapted_layer, "adapted by nn.lora: merge_lora first"),
    "table": (_of_a_table_that_is_shared, "leave that layer out by patterns"),
}


def test_a_functional_is_met_with_what_to_write():
    layer, params, state = _linear()
    for change in (C.quantize_dynamic, C.fake_quantize, C.convert):
        with pytest.raises(TypeError, match=r"write net\.module"):
            change(fn.functionalize(layer), params, state)


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_met_with_a_sentence(case):
    call, words = REFUSED[case]
    with pytest.raises(ValueError, match=words):
        call()
