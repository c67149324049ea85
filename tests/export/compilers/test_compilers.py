"""SavedModels and LiteRT models compute what the function does, and nothing is written if they do not."""

import json
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import export, nn
from funcnet.core.errors import ExportError
from funcnet.export.compilers import processes
from funcnet.export.compilers.processes import run_task
from tests.export.cases import CASES
from tests.export.compilers.together import (
    OPEN,
    SAMPLE,
    SIZES,
    branches,
    installed,
    names,
    together,
)

LIMIT = 1e-5  # of float32, relative to the largest output

needs_tensorflow = pytest.mark.skipif(
    not installed("tensorflow"), reason='needs TensorFlow: pip install "funcnet[tensorflow]"'
)
needs_litert = pytest.mark.skipif(
    not installed("tensorflow", "ai_edge_litert"),
    reason='needs LiteRT: pip install "funcnet[litert]"',
)


def run_python(code, *arguments):
    """Run a user's script, without JAX and funcnet; it prints JSON."""
    command = [sys.executable, "-P", "-c", textwrap.dedent(code), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


# ---- TensorFlow ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(request, tmp_path_factory):
    """The models as one SavedModel."""
    folder = tmp_path_factory.mktemp("tensorflow") / "model"
    entries, params, state, examples = together(names(request))
    return export.tensorflow(folder, entries, params, state, examples=examples), entries


@needs_tensorflow
def test_a_saved_model_computes_what_the_function_does(saved):
    report, entries = saved
    assert {check.function for check in report.checks} == set(entries)
    assert {check.sizes["batch"] for check in report.checks} == {1, 2, 3, 32}
    assert report.error < LIMIT
    assert str(report.path) in str(report)


USE = """
    import json, sys
    import numpy as np
    import tensorflow as tf
    loaded = tf.saved_model.load(sys.argv[1])
    takes = loaded.signatures["call"].structured_input_signature[1]
    x = tf.constant(np.linspace(-1, 1, 6).reshape(2, 3).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(loaded.call(x)["output"] ** 2)
    trained = {name: v for name, v in loaded.weights.items() if v.trainable}
    of_weights, of_input = tape.gradient(loss, (trained, x))
    found = {
        "takes": {name: [str(spec.dtype.name), list(spec.shape)] for name, spec in takes.items()},
        "signatures": sorted(loaded.signatures),
        "weights": {name: [list(v.shape), v.trainable] for name, v in loaded.weights.items()},
        "loss": float(loss),
        "of_weights": {name: of_weights[name].numpy().tolist() for name in trained},
        "of_input": of_input.numpy().tolist(),
    }
    try:
        with tf.GradientTape() as outer, tf.GradientTape() as inner:
            outer.watch(x)
            inner.watch(x)
            once = inner.gradient(tf.reduce_sum(loaded.call(x)["output"] ** 2), x)
        outer.gradient(once, x)
    except LookupError as error:
        found["twice"] = str(error)
    loaded.weights["2.bias"].assign([5.0, 5.0])
    found["moved"] = loaded.signatures["serving_default"](x=x)["output"].numpy().tolist()
    print(json.dumps(found))
"""


@needs_tensorflow
def test_tensorflow_trains_on(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    net = fn.functionalize(model)
    params, state = net.init(jax.random.key(0))
    export.tensorflow(tmp_path / "net", net, params, state, OPEN, differentiable=True)
    found = run_python(USE, tmp_path / "net")

    x = jnp.linspace(-1, 1, 6).reshape(2, 3)
    loss = lambda params, x: (net.apply(params, state, x)[0] ** 2).sum()
    of_params, of_input = jax.grad(loss, (0, 1))(params, x)
    paths = {"0": "Linear", "1": "BatchNorm", "2": "Linear"}
    assert found["takes"] == {"x": ["float32", [None, 3]]}
    assert found["signatures"] == ["call", "serving_default"]
    trained = {name for name, (_, trainable) in found["weights"].items() if trainable}
    assert trained == {f"{place}.{kind}" for place in paths for kind in ("weight", "bias")}
    assert {"1.running_mean", "1.running_var"} < set(found["weights"]) - trained
    np.testing.assert_allclose(found["loss"], loss(params, x), rtol=LIMIT)
    np.testing.assert_allclose(found["of_input"], of_input, rtol=LIMIT, atol=1e-6)
    for name in trained:
        place, _, kind = name.partition(".")
        np.testing.assert_allclose(
            found["of_weights"][name], of_params[place][kind], rtol=LIMIT, atol=1e-6
        )
    assert "No gradient defined" in found["twice"]  # never zero in silence
    params["2"]["bias"] = jnp.full(2, 5.0)
    np.testing.assert_allclose(found["moved"], net.apply(params, state, x)[0], rtol=LIMIT)


@needs_tensorflow
def test_a_model_that_differs_is_not_written(tmp_path):
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "saved_model.pb").write_bytes(b"the old one")
    with pytest.raises(
        ExportError, match=r"SavedModel, call at batch = 2.* computes something else"
    ):
        export.tensorflow(tmp_path / "old", branches, {"scale": jnp.ones(3) * 2}, {}, OPEN)
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old" / "saved_model.pb").read_bytes() == b"the old one"


# ---- LiteRT --------------------------------------------------------------------------------------


def pytest_generate_tests(metafunc):
    """Some models in one file, or with ``--grid=full`` each in a file of its own, which its converter ends sooner."""
    if "chosen" in metafunc.fixturenames:
        whole = metafunc.config.getoption("grid") == "full"
        files = [(name,) for name in CASES] if whole else [SAMPLE]
        metafunc.parametrize("chosen", files, ids="+".join)


def sided(params, state, x):
    """Branch on the number of rows, which each of LiteRT's signatures knows."""
    return (x if x.shape[0] > 2 else -x), state


@needs_litert
def test_a_lite_model_computes_what_the_function_does(chosen, tmp_path):
    entries, params, state, examples = together(chosen)
    entries["sided"] = export.entry(sided, OPEN)
    path, sizes = tmp_path / "model.tflite", SIZES[::2] if chosen == SAMPLE else SIZES
    report = export.litert(path, entries, params, state, examples=examples, sizes=sizes)
    assert {check.function for check in report.checks} == {
        f"{name}_batch_{size['batch']}" for name in entries for size in sizes
    }
    assert report.error < LIMIT
    assert report.bytes == path.stat().st_size


@needs_litert
def test_weights_of_fewer_bits_are_measured(tmp_path):
    net = fn.functionalize(nn.Sequential(nn.Linear(64, 128), nn.GELU(), nn.Linear(128, 64)))
    params, state = net.init(jax.random.key(0))
    made = {
        weights: export.litert(
            tmp_path / "a.tflite",
            net,
            params,
            state,
            export.spec((2, 64), name="x"),
            weights=weights,
        )
        for weights in ("float16", "int8")
    }
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(params))
    assert whole > 1.5 * made["float16"].bytes > 1.5 * 1.5 * made["int8"].bytes
    assert LIMIT < made["float16"].error < 1e-3 < made["int8"].error < 0.1
    assert [check.function for check in made["int8"].checks] == ["call"]


# ---- both ----------------------------------------------------------------------------------------


SQUARE = export.spec((3, 3))


def drawn(params, state, x):
    return x + jax.random.normal(jax.random.key(0), x.shape), state


def counted(params, state, x):
    return x * len(x), state


def test_warnings_and_open_lengths_are_told_by_exporters(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(processes.subprocess, "run", None)
    with (
        pytest.warns(UserWarning, match="call: warning: .*same numbers") as caught,
        pytest.raises(TypeError, match="NoneType"),
    ):
        export.tensorflow(tmp_path / "model", drawn, {}, {}, SQUARE)
    assert caught[0].filename == __file__
    with pytest.raises(ExportError, match=r"(?s)lengths left open.*write x\.shape\[0\] for len"):
        export.tensorflow(tmp_path / "model", counted, {}, {}, OPEN)


def factored(params, state, x):
    return jnp.linalg.qr(x)[0], state


ROUTES = {"tensorflow": export.tensorflow, "litert": export.litert}


@pytest.mark.parametrize("route", ROUTES)
def test_what_cannot_be_exported_is_refused_before_a_process_starts(route, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(processes.subprocess, "run", None)
    with pytest.raises(ExportError, match=f"cannot be exported to {route}") as caught:
        ROUTES[route](tmp_path / "model", factored, {}, {}, export.spec((3, 3)))
    assert "test_compilers.py" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("route", ROUTES)
def test_a_package_that_is_missing_is_named(route, tmp_path, monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        ImportError, match=rf"needs .*tensorflow: pip install \"funcnet\[{route}\]\""
    ):
        ROUTES[route](tmp_path / "model", factored, {}, {}, export.spec((3, 3)))


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name)
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FileExistsError, match="holds no SavedModel"):
        export.tensorflow(tmp_path, factored, {}, {}, export.spec((3, 3)))
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_inputs_of_one_name_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name)
    add = lambda params, state, a, b: (a + b, state)
    specs = export.spec((2,), name="a.b"), export.spec((2,), name="a_b")
    with pytest.raises(ValueError, match="two arrays are called a_b"):
        export.tensorflow(tmp_path / "model", add, {}, {}, *specs)


def test_sizes_that_do_not_fit_are_told(tmp_path, monkeypatch):
    monkeypatch.setattr(processes.importlib.util, "find_spec", lambda name: name)
    net = fn.functionalize(nn.Identity())
    with pytest.raises(ValueError, match="batch"):
        export.litert(tmp_path / "a.tflite", net, {}, {}, OPEN, sizes=[{"time": 3}])
    with pytest.raises(ValueError, match="sizes is empty"):
        export.litert(tmp_path / "a.tflite", net, {}, {}, OPEN, sizes=[])
    with pytest.raises(ValueError, match="two signatures are called call_batch_3"):
        export.litert(tmp_path / "a.tflite", net, {}, {}, OPEN, sizes=[{"batch": 3}] * 2)
    with pytest.raises(ValueError, match="no input has an open length"):
        export.litert(tmp_path / "a.tflite", net, {}, {}, SQUARE, sizes=[{"batch": 3}])
    with pytest.raises(ValueError, match="'float32', 'float16' or 'int8', got 'int4'"):
        export.litert(tmp_path / "a.tflite", net, {}, {}, OPEN, weights="int4")  # pyright: ignore


def test_what_went_wrong_in_a_process_is_told(tmp_path):
    with pytest.raises(ExportError, match=r"(?s)running it failed:.*KeyError: 'no task'"):
        run_task("no task", tmp_path, "running it")
    with pytest.raises(ExportError, match=r"running it took longer than 0\.01 seconds"):
        run_task("run_lite", tmp_path, "running it", seconds=0.01)


def test_a_process_that_dies_is_told(tmp_path, monkeypatch):
    script = tmp_path / "child.py"
    script.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGFPE)")
    monkeypatch.setattr(processes.child, "__file__", str(script))
    with pytest.raises(ExportError, match="running it was ended by signal 8"):
        run_task("run_lite", tmp_path, "running it")
