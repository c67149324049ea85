"""Every row of layers and functions, in evaluation: written as ONNX and equal in ONNX Runtime, or refused by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.errors import ExportError
from tests.export.onnx.row_cases import all_cases, export_case, some_cases

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# rows are written for 64 bits; what they hold of their own is narrowed here
pytestmark = [
    pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64"),
    pytest.mark.filterwarnings("ignore:(?s).*draws with a key"),  # some rows have one of their own
]

SAMPLE = 150

REFUSED: dict[str, str] = {}
"""Rows that cannot be written as ONNX, with words of the reason; a row that becomes possible has to be taken out."""


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        metafunc.parametrize("case", all_cases() if full else some_cases(SAMPLE), ids=str)


def test_a_row_is_equal_in_onnx_runtime(case, tmp_path):
    path = tmp_path / "row.onnx"
    if case.name in REFUSED:
        with pytest.raises(ExportError, match=REFUSED[case.name]):
            export_case(case, path)
        assert list(tmp_path.iterdir()) == []
        return
    report = export_case(case, path)
    assert report.checks
    assert [each.name for each in tmp_path.iterdir()] == ["row.onnx"]


def test_what_is_refused_is_a_row():
    assert REFUSED.keys() <= {case.name for case in all_cases()}


# ---- an open batch, and training -----------------------------------------------------------------

OPEN = {
    "linear": (lambda: nn.Linear(3, 4), ("batch", 3)),
    "convolution": (lambda: nn.Conv2d(2, 4, 3, padding=1), ("batch", 2, "height", 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 2, 3, 2, groups=2), ("batch", 4, 3, 3)),
    "pool": (lambda: nn.MaxPool2d(2), ("batch", 2, 6, 6)),
    "norms": (lambda: nn.Sequential(nn.LayerNorm(5), nn.RMSNorm(5)), ("batch", "time", 5)),
    "lstm": (lambda: nn.LSTM(3, 4, 2, bidirectional=True), ("time", "batch", 3)),
    "gru": (lambda: nn.GRU(3, 4, batch_first=True), ("batch", "time", 3)),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True),
        ("batch", "time", 8),
    ),
    "embedding": (lambda: nn.Embedding(5, 3), ("batch", "time")),
}


@pytest.mark.parametrize("name", OPEN)
def test_lengths_stay_open(name, tmp_path):
    make, shape = OPEN[name]
    net = fn.functionalize(make())
    params, state = net.init(jax.random.key(0))
    dtype = jnp.int32 if name == "embedding" else jnp.float32
    spec = fn.export.spec(shape, dtype)
    report = fn.export.onnx(tmp_path / "open.onnx", net, params, state, spec)
    names = {length for length in shape if isinstance(length, str)}
    assert [set(check.sizes) for check in report.checks] == [names] * 3
    assert [check.sizes["batch"] % 2 for check in report.checks].count(0) >= 1
    assert _open_lengths(tmp_path / "open.onnx") == names


def _open_lengths(path):
    import onnx

    (given,) = onnx.load(path).graph.input
    return {axis.dim_param for axis in given.type.tensor_type.shape.dim} - {""}


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(3), nn.Sequential(nn.BatchNorm1d(3), nn.ReLU())])
def test_statistics_of_a_training_step_come_out(layer, tmp_path):
    net = fn.functionalize(layer)
    params, state = net.init(jax.random.key(0))
    spec = fn.export.spec((4, 3))
    report = fn.export.onnx(
        tmp_path / "train.onnx", net, params, state, spec, returns_state=True, train=True
    )
    assert report.error < 1e-5
    import onnx

    names = [each.name for each in onnx.load(report.path).graph.output]
    assert names[0] == "output"
    assert any(name.endswith("running_mean") for name in names[1:])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["linear", "convolution", "norms", "lstm"])
def test_sixteen_bits(name, dtype, tmp_path):
    make, shape = OPEN[name]
    net = fn.functionalize(make())
    params, state = jax.tree.map(lambda x: x.astype(dtype), net.init(jax.random.key(0)))
    sizes = {"batch": 2, "height": 5, "time": 3}
    spec = fn.export.spec([sizes.get(n, n) for n in shape], dtype)
    report = fn.export.onnx(tmp_path / "short.onnx", net, params, state, spec)
    assert report.error < 1e-2
    import onnx

    stored = {each.name: each.data_type for each in onnx.load(report.path).graph.initializer}
    weights = [kind for name, kind in stored.items() if name.endswith("weight")]
    assert set(weights) <= {getattr(onnx.TensorProto, dtype.upper())}
    assert np.dtype(jnp.dtype(dtype)).itemsize == 2
