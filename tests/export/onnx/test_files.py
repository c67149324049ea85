"""What a file looks like, where its weights lie, what is refused, and that nothing wrong is left."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.errors import ExportError
from funcnet.core.jax_internals.operations import settings_of
from funcnet.export.onnx import exporting, model_file, runtime
from funcnet.export.onnx.eight_bits import quantize_array

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

MLP = nn.Sequential(nn.Linear(8, 40), nn.Tanh(), nn.Linear(40, 40), nn.Tanh(), nn.Linear(40, 3))


@pytest.fixture(scope="module")
def mlp():
    net = fn.functionalize(MLP)
    return net, *net.init(jax.random.key(0))


SPEC = fn.export.spec(("batch", 8), name="features")


def plain(function):
    return lambda params, state, *inputs: (function(*inputs), state)


def names_in(folder):
    return sorted(each.name for each in folder.iterdir())


def run(path, **inputs):
    return onnxruntime.InferenceSession(path).run(None, inputs)


# ---- names ---------------------------------------------------------------------------------------


def test_a_file_reads_like_the_model(mlp, tmp_path):
    net, params, state = mlp
    report = fn.export.onnx(tmp_path / "mlp.onnx", net, params, state, SPEC)
    graph = onnx.load(report.path).graph
    weights = {each.name for each in graph.initializer}
    assert weights >= {f"{layer}.{kind}" for layer in (0, 2, 4) for kind in ("weight", "bias")}
    assert [each.name for each in graph.input] == ["features"]
    assert [each.name for each in graph.output] == ["output"]
    scopes = [node.name.partition("/")[0] for node in graph.node]
    assert list(dict.fromkeys(scopes)) == ["0", "1", "2", "3", "4"]
    assert report.operators["Tanh"] == 2
    assert sum(report.operators.values()) == len(graph.node)


def test_layers_within_layers_have_whole_paths(tmp_path):
    net = fn.functionalize(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True))
    params, state = net.init(jax.random.key(0))
    report = fn.export.onnx(tmp_path / "a.onnx", net, params, state, fn.export.spec((2, 3, 8)))
    scopes = {node.name.rpartition("/")[0] for node in onnx.load(report.path).graph.node}
    assert scopes >= {"self_attn", "linear1", "norm2"}


def test_trees_of_outputs_and_what_is_an_input_or_a_constant(tmp_path):
    call = plain(lambda x, y: {"sum": x + y, "same": x, "again": x + y, "zeros": jnp.zeros(2)})
    specs = [fn.export.spec((2,), name="x"), fn.export.spec((2,), name="y")]
    report = fn.export.onnx(tmp_path / "a.onnx", call, {}, {}, *specs)
    outputs = [each.name for each in onnx.load(report.path).graph.output]
    x, y = np.float32([1, 2]), np.float32([3, 4])
    found = dict(zip(outputs, run(report.path, x=x, y=y), strict=True))
    assert found.keys() == {"sum", "same", "again", "zeros"}
    assert (found["sum"] == x + y).all()
    assert (found["again"] == x + y).all()
    assert (found["same"] == x).all()


def test_equal_constants_are_stored_once_and_dead_weights_are_not(tmp_path):
    table = np.arange(12, dtype=np.float32).reshape(3, 4)
    call = lambda params, state, x: (x @ table + jnp.sin(x @ table.copy()) + params["a"], state)
    params = {"a": jnp.ones(4), "unused": jnp.ones(100)}
    report = fn.export.onnx(tmp_path / "a.onnx", call, params, {}, fn.export.spec((2, 3)))
    stored = onnx.load(report.path).graph.initializer
    assert "unused" not in {each.name for each in stored}
    assert sum(each.dims == [3, 4] for each in stored) == 1


def test_an_operation_that_nobody_needs_is_no_obstacle(tmp_path):
    def call(params, state, x):
        return x + 1, {"factor": jax.lax.lgamma(x)}

    report = fn.export.onnx(tmp_path / "a.onnx", call, {}, {}, fn.export.spec((2, 2)))
    assert report.operators == {"Add": 1}


# ---- weights beside, and in 8 bits ---------------------------------------------------------------


def test_weights_beside(mlp, tmp_path):
    net, params, state = mlp
    path = tmp_path / "mlp.onnx"
    report = fn.export.onnx(path, net, params, state, SPEC, external=True)
    assert report.weights_path.parent == tmp_path
    assert names_in(tmp_path) == sorted(["mlp.onnx", report.weights_path.name])
    loaded = onnx.load(path, load_external_data=False)
    beside = {each.name for each in loaded.graph.initializer if each.external_data}
    assert beside == {"0.weight", "2.weight"}, "small arrays stay in the file"
    onnx.load_external_data_for_model(loaded, str(tmp_path))
    stored = {each.name: onnx.numpy_helper.to_array(each) for each in loaded.graph.initializer}
    assert (stored["2.weight"] == params["2"]["weight"]).all()
    x = np.ones((5, 8), np.float32)
    assert np.allclose(run(path, features=x)[0], net.apply(params, state, x)[0], atol=1e-5)


def test_other_weights_take_the_place_of_the_old(mlp, tmp_path):
    net, params, state = mlp
    path = tmp_path / "mlp.onnx"
    first = fn.export.onnx(path, net, params, state, SPEC, external=True)
    other = jax.tree.map(lambda a: a + 1, params)
    second = fn.export.onnx(path, net, other, state, SPEC, external=True)
    assert first.weights_path != second.weights_path
    assert names_in(tmp_path) == sorted(["mlp.onnx", second.weights_path.name])
    fn.export.onnx(path, net, params, state, SPEC)
    assert names_in(tmp_path) == ["mlp.onnx"]


def test_large_weights_lie_beside_unasked(mlp, tmp_path, monkeypatch):
    """As weights of 2 GB would; here the limit is 4 KB."""
    net, params, state = mlp
    monkeypatch.setattr(model_file, "_LARGEST", 4096)
    assert fn.export.onnx(tmp_path / "a.onnx", net, params, state, SPEC).weights_path
    monkeypatch.setattr(model_file, "_LARGEST", 1 << 20)
    assert not fn.export.onnx(tmp_path / "a.onnx", net, params, state, SPEC).weights_path


def test_eight_bits(mlp, tmp_path):
    net, params, state = mlp
    report = fn.export.onnx(tmp_path / "q.onnx", net, params, state, SPEC, weights="int8")
    assert report.quantized == ("0.weight", "2.weight")
    assert report.error < 1e-5
    assert 1e-4 < report.quantized_error < 0.05
    assert report.bytes < 0.6 * report.float_bytes
    assert "in 8 bits it differs by" in str(report)
    loaded = onnx.load(report.path).graph
    stored = {each.name: each for each in loaded.initializer}
    assert stored["2.weight.int8"].data_type == onnx.TensorProto.INT8
    assert stored["2.weight.scale"].dims == [40], "one scale for each output"


LAYERS = {
    "convolution": (lambda: nn.Conv2d(4, 8, 3), (2, 4, 6, 6), [8]),
    "grouped": (lambda: nn.Conv2d(8, 16, 3, groups=2), (2, 8, 6, 6), [16]),
    "embedding": (lambda: nn.Embedding(30, 16), (2, 5), [30]),
    "lstm": (lambda: nn.LSTM(8, 16), (3, 2, 8), [64]),
}


@pytest.mark.parametrize("name", LAYERS)
def test_eight_bits_of_layers(name, tmp_path):
    make, shape, scales = LAYERS[name]
    net = fn.functionalize(make())
    params, state = net.init(jax.random.key(0))
    spec = fn.export.spec(shape, jnp.int32 if name == "embedding" else jnp.float32)
    report = fn.export.onnx(tmp_path / "q.onnx", net, params, state, spec, weights="int8")
    assert report.quantized
    stored = {each.name: list(each.dims) for each in onnx.load(report.path).graph.initializer}
    for weight in report.quantized:
        assert stored[f"{weight}.scale"] == scales
    assert 0 < report.quantized_error < 0.02


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rounding_is_half_a_step_at_most(axis, rng):
    array = rng.standard_normal((3, 4, 5)).astype(np.float32)
    array[:, :, 0] = 0
    numbers, scale = quantize_array(array, axis)
    wide = np.expand_dims(scale, [i for i in range(3) if i != axis])
    assert numbers.dtype == np.int8
    assert (np.abs(numbers * wide - array) <= wide / 2 * 1.0001).all()


# ---- what is refused -----------------------------------------------------------------------------


def test_an_operation_without_a_rule_is_named_with_its_module_and_line(tmp_path):
    class Strange(fn.Module):
        def __call__(self, x):
            return jax.lax.reduce_xor(jax.lax.population_count(x.astype(jnp.int32)), [0])

    net = fn.functionalize(nn.Sequential(nn.Identity(), Strange()))
    rules = {"reduce_xor": None}
    known = exporting.known_rules()
    monkeyed = {kind: rule for kind, rule in known.items() if kind not in rules}
    with pytest.raises(ExportError, match=r"reduce_xor in module '1' \(.*test_files.py:\d+\)"):
        exporting.build_graph(
            fn.export.flat.flatten_entry(fn.export.entry(net, fn.export.spec((3,))), {}, {}),
            monkeyed,
        )
    assert names_in(tmp_path) == []


def test_a_wrong_rule_is_found_and_nothing_is_left(mlp, tmp_path):
    net, params, state = mlp
    wrong = {"tanh": lambda graph, operation, operands: [graph.node("Sigmoid", operands)]}
    path = tmp_path / "a.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ExportError, match="is not what the function computes"):
        fn.export.onnx(path, net, params, state, SPEC, rules=wrong)
    assert names_in(tmp_path) == ["a.onnx"]
    assert path.read_bytes() == b"old"


def test_a_rule_of_ones_own(tmp_path):
    def rule(graph, operation, operands):
        assert settings_of(operation) == {}
        return [graph.node("Neg", [graph.node("Neg", [graph.node("Tanh", operands)])])]

    call = plain(jnp.tanh)
    spec = fn.export.spec(("batch",))
    report = fn.export.onnx(tmp_path / "a.onnx", call, {}, {}, spec, rules={"tanh": rule})
    assert report.operators == {"Neg": 2, "Tanh": 1}


def test_a_rule_of_which_the_checker_disapproves(tmp_path):
    wrong = {"tanh": lambda graph, operation, operands: [graph.node("NoSuch", operands)]}
    with pytest.raises(ExportError, match="checker refuses"):
        fn.export.onnx(
            tmp_path / "a.onnx", plain(jnp.tanh), {}, {}, fn.export.spec((2,)), rules=wrong
        )
    assert names_in(tmp_path) == []


CRASHES = """
import os, signal, sys
sys.path.insert(0, {folder!r})
import child
request = child.read_message(sys.stdin.buffer)
if request["model"] == "wait":
    signal.pause()
print("dividing", file=sys.stderr, flush=True)
os.kill(os.getpid(), signal.SIGFPE)
"""
"""What ONNX Runtime once did: it divided by 0, and the processor stopped it."""


@pytest.fixture
def crashing(tmp_path):
    program = tmp_path / "crashes.py"
    program.write_text(CRASHES.format(folder=str(Path(runtime.__file__).parent)))
    started = runtime.Runtime(str(program))
    yield started
    started.stop()


def test_a_crash_of_the_runtime_is_an_error_each_time(crashing):
    for _ in range(2):
        with pytest.raises(
            ExportError, match="was killed by SIGFPE when it ran the file: dividing"
        ):
            crashing.run(Path("model.onnx"), [{}])


def test_a_file_that_does_not_end_is_an_error(crashing):
    with pytest.raises(ExportError, match="killed by SIGKILL"):
        crashing.run(Path("wait"), [{}], seconds=0.5)


def test_after_a_crash_nothing_is_left_and_the_next_file_works(
    mlp, tmp_path_factory, crashing, monkeypatch
):
    net, params, state = mlp
    folder = tmp_path_factory.mktemp("crash")
    with monkeypatch.context() as patched:
        patched.setattr(runtime, "_OURS", crashing)
        with pytest.raises(ExportError, match="SIGFPE"):
            fn.export.onnx(folder / "a.onnx", net, params, state, SPEC)
    assert names_in(folder) == []
    assert fn.export.onnx(folder / "a.onnx", net, params, state, SPEC).error < 1e-5


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"opset": 9}, ValueError, "opset is one of 20, 21"),
        ({"weights": "int4"}, ValueError, '"float32" or "int8"'),
    ],
)
def test_settings_are_checked(mlp, tmp_path, settings, error, message):
    net, params, state = mlp
    with pytest.raises(error, match=re.escape(message)):
        fn.export.onnx(tmp_path / "a.onnx", net, params, state, SPEC, **settings)


def test_names_that_clash(tmp_path):
    call = lambda params, state, x: (x + params["x"], state)
    with pytest.raises(ValueError, match="an input and a weight are both called x"):
        fn.export.onnx(
            tmp_path / "a.onnx", call, {"x": jnp.ones(2)}, {}, fn.export.spec((2,), name="x")
        )


def test_several_functions_need_several_files(mlp, tmp_path):
    net, params, state = mlp
    one = fn.export.entry(net, SPEC)
    with pytest.raises(ExportError, match="holds one function, got a, b"):
        fn.export.onnx(tmp_path / "a.onnx", {"a": one, "b": one}, params, state)
    assert fn.export.onnx(tmp_path / "a.onnx", {"a": one}, params, state).error < 1e-5
    assert fn.export.onnx(tmp_path / "a.onnx", one, params, state).error < 1e-5


@pytest.mark.parametrize("opset", [20, 21, 22, 23])
def test_versions_of_operators(mlp, tmp_path, opset):
    net, params, state = mlp
    report = fn.export.onnx(tmp_path / "a.onnx", net, params, state, SPEC, opset=opset)
    loaded = onnx.load(report.path)
    assert loaded.opset_import[0].version == report.opset == opset
    assert loaded.ir_version == model_file.IR_VERSIONS[opset]


def test_examples_and_preprocessing(mlp, tmp_path):
    net, params, state = mlp
    report = fn.export.onnx(
        tmp_path / "a.onnx",
        net,
        params,
        state,
        fn.export.spec(("batch", 8), jnp.uint8, "pixels"),
        preprocess=lambda pixels: pixels.astype(jnp.float32) / 255,
        examples=[(np.full((n, 8), 7, np.uint8),) for n in (1, 4)],
    )
    assert len(report.checks) == 2
    assert [each.name for each in onnx.load(report.path).graph.input] == ["pixels"]


def test_inputs_of_64_bits_are_taken(tmp_path):
    """Tokens are int64 elsewhere; JAX has 32 bits unless it is told otherwise."""
    table = nn.Embedding(5, 3)
    net = fn.functionalize(table)
    params, state = net.init(jax.random.key(0))
    spec = fn.export.spec(("batch",), np.int64, "tokens")
    report = fn.export.onnx(tmp_path / "a.onnx", net, params, state, spec)
    (rows,) = run(report.path, tokens=np.array([4, 0], np.int64))
    assert np.array_equal(rows, params["weight"][np.array([4, 0])])


def test_what_a_function_refuses_is_told(tmp_path):
    def call(params, state, x):
        if isinstance(x.shape[0], int) and x.shape[0] < 2:
            raise ValueError("at least two rows")
        return x - x.mean(0), state

    report = fn.export.onnx(tmp_path / "a.onnx", call, {}, {}, fn.export.spec(("batch", 3)))
    assert [check.sizes["batch"] for check in report.checks] == [2, 3]
    assert "batch = 1: ValueError: at least two rows" in report.refused[0]
    assert "not compared at batch = 1" in str(report)


def test_nothing_is_compared_if_nothing_is_asked(mlp, tmp_path):
    net, params, state = mlp
    report = fn.export.onnx(tmp_path / "a.onnx", net, params, state, SPEC, verify=False)
    assert report.error is None
    assert report.checks == ()
