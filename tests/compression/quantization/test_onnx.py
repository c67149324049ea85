"""Quantized models in ONNX Runtime: the operators that a file has, its size, and equal outputs."""

from collections import Counter
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn
from funcnet.compression import NF4, Int4, Int8, calibrate, convert, fake_quantize, quantize
from funcnet.export.onnx.comparison import Comparison
from funcnet.export.preflight import flatten_open
from tests.compression.quantization.weight_cases import LAYERS, SCHEMES, model_and_input, sampled

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

CASES = [(layer, scheme, opset) for layer in LAYERS for scheme in SCHEMES for opset in (20, 21, 23)]


def pytest_generate_tests(metafunc):
    sampled(metafunc, ("layer", "scheme", "opset"), CASES, 41)


def written(tmp_path, model, *inputs, **keywords):
    """The report and the file of a model, which was run and compared before it was kept."""
    module, params, state = model
    path = tmp_path / "small.onnx"
    report = fn.export.onnx(path, fn.functionalize(module), params, state, *inputs, **keywords)
    assert report.checks
    return report, onnx.load(path)


def types_of(file):
    names = onnx.TensorProto.DataType
    return Counter(names.Name(each.data_type) for each in file.graph.initializer)


def test_a_quantized_layer_is_equal_in_onnx_runtime(tmp_path, layer, scheme, opset):
    module, params, state, x = model_and_input(layer)
    if layer == "bag":
        pytest.skip(
            "its file has the whole of a loop over bags; the table is that of the embedding"
        )
    if jnp.issubdtype(x.dtype, jnp.integer):
        x = np.asarray(x, np.int32)
    report, _ = written(
        tmp_path, quantize(module, params, state, SCHEMES[scheme]), x, opset=opset, examples=[(x,)]
    )
    assert report.error < 1e-5


MODEL = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(256, 96))

STORED = {
    "int8": (Int8(), 20, {"INT8": 2}, 3.4),
    "int8 in groups": (Int8(group=16), 21, {"INT8": 2}, 2.6),
    "int8 with zero points": (Int8(symmetric=False), 23, {"INT8": 4}, 3.4),
    "int4, an older opset": (Int4(group=None), 20, {"UINT8": 4}, 3.3),
    "int4": (Int4(group=32), 21, {"UINT4": 4}, 4.0),
    "int4 symmetric": (Int4(group=32, symmetric=True), 23, {"UINT4": 4}, 4.0),
    "nf4": (NF4(), 21, {"UINT4": 2}, 4.0),
}


@pytest.mark.parametrize("name", STORED)
def test_what_a_file_holds(tmp_path, name):
    scheme, opset, stored, smaller = STORED[name]
    params, state = fn.functionalize(MODEL).init(jax.random.key(0))
    x = fn.export.spec(("batch", 3, 4, 4))
    report, file = written(
        tmp_path, quantize(MODEL, params, state, scheme), x, opset=opset, tolerance=1e-5
    )
    assert stored.items() <= types_of(file).items()
    assert sum(4 * p.size for p in jax.tree.leaves(params)) / report.bytes > smaller
    if not isinstance(scheme, NF4):
        assert report.operators["DequantizeLinear"] == 2
        assert not report.operators.keys() & {"Cast", "Mul", "Sub"}


def test_activations_are_rounded_by_one_operator(tmp_path):
    scales = {"scale": jnp.asarray([0.1, 0.02, 0.3, 0.5]), "zero_point": jnp.asarray([1, -3, 0, 7])}

    def rounded(params, state, x):
        codes = F.quantize_linear(x, params["scale"], params["zero_point"], axis=1)
        tensor = F.quantize_linear(x, 0.05)
        unsigned = F.quantize_linear(x, 0.05, 130, signed=False)
        back = F.dequantize_linear(codes, params["scale"], params["zero_point"], axis=1)
        outputs = (codes, tensor, unsigned, back, F.dequantize_linear(unsigned, 0.05, 130))
        return outputs, state

    x = 10 * np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    report = fn.export.onnx(
        tmp_path / "a.onnx", rounded, scales, {}, fn.export.spec(("b", 4)), examples=[(x,)]
    )
    assert report.operators["QuantizeLinear"] == 3
    assert report.operators["DequantizeLinear"] == 2
    assert report.error == 0


def test_a_mark_that_was_mapped_is_written_out(tmp_path):
    module, params, state, x = model_and_input("vmap")
    report, _ = written(tmp_path, quantize(module, params, state), np.asarray(x))
    assert "DequantizeLinear" not in report.operators


def test_the_older_way_to_8_bits_is_still_there(tmp_path):
    params, state = fn.functionalize(MODEL).init(jax.random.key(0))
    x = fn.export.spec(("batch", 3, 4, 4))
    report, file = written(tmp_path, (MODEL, params, state), x, weights="int8")
    assert types_of(file)["INT8"] == 2
    small = quantize(MODEL, params, state, Int4(group=16), "0")
    report, file = written(tmp_path, small, x, weights="int8", opset=21)
    assert report.quantized == ("3.weight",)
    assert types_of(file)["UINT4"] == 2


# ---- rounding of what comes in -------------------------------------------------------------------


PIXELS = np.random.default_rng(0).integers(0, 256, (8, 1, 10, 10)).astype(np.float32) / 127.5 - 1


@cache
def converted():
    """A model that rounds what its layers are given; pixels about a half lie on the edges of steps."""
    model = nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(8 * 16, 32), nn.ReLU(), nn.Linear(32, 10)),
    )
    drawn = jax.jit(fn.functionalize(model).init)(jax.random.key(0))
    fake, params, state = fake_quantize(model, *drawn)
    return convert(fake, params, calibrate(fake, params, state, [PIXELS]), products="float")


@pytest.mark.parametrize("examples", [None, [(PIXELS,)]], ids=["drawn", "pixels"])
def test_a_converted_model_is_written_by_the_default_call(tmp_path, examples):
    spec = fn.export.spec(("b", 1, 10, 10))
    report, _ = written(tmp_path, converted(), spec, examples=examples)
    assert report.operators["QuantizeLinear"] == 3
    assert report.error < 1e-5


def on_edges(params, state, x):
    """Products that lie between two steps but for the last digits."""
    return F.dequantize_linear(F.quantize_linear(x @ params["weight"], 0.3), 0.3), state


def test_a_number_on_an_edge_may_go_either_way(tmp_path):
    rng = np.random.default_rng(0)
    weight = np.linalg.qr(rng.standard_normal((64, 64)))[0].astype(np.float32)
    steps = rng.integers(-100, 100, (16, 64)) + 0.5
    x = (0.3 * steps @ weight.T.astype(np.float64)).astype(np.float32)
    spec = fn.export.spec(("b", 64))
    arrays = {"weight": jnp.asarray(weight)}
    report = fn.export.onnx(tmp_path / "a.onnx", on_edges, arrays, {}, spec, examples=[(x,)])
    assert 0 < report.error < 1.01 / 99  # one step of those up to the largest
    with pytest.raises(fn.errors.ExportError, match="of the largest number, more than 1e-05"):
        fn.export.onnx(
            tmp_path / "a.onnx", on_edges, arrays, {}, spec, examples=[(x,)], tolerance=1e-5
        )


@pytest.mark.parametrize("off", [1e-4, 1e-2])
def test_what_is_wrong_is_found_though_it_is_rounded(off):
    """Outputs in which no number is on an edge are compared as closely as any."""
    weight = jnp.asarray(np.random.default_rng(0).standard_normal((8, 4)), jnp.float32)
    entry = lambda p, s, x: (on_edges(p, s, jnp.round(x * 0))[0] + x @ p["weight"], s)
    asked = fn.export.entry(entry, fn.export.spec((5, 8)))
    comparison = Comparison(flatten_open(asked, {"weight": weight}, {}))
    (expected,) = comparison.expected
    assert expected.difference(expected.outputs, None, rounds=True) == 0
    with pytest.raises(fn.errors.ExportError, match="not what the function computes"):
        expected.difference([each * (1 + off) for each in expected.outputs], None, rounds=True)
