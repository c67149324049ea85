"""What a beginner gives wrongly is said; what he may well give is taken."""

import os

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


@pytest.mark.parametrize(
    ("inputs", "settings", "error", "words"),
    [
        ([("batch", 3)], {}, TypeError, r"export.spec\(\('batch', 3\)\)"),
        ([fn.export.spec(("b", 3))], {"examples": [np.ones((2, 3))]}, ValueError, "sets of inputs"),
        ([fn.export.spec(("b", 3))], {"examples": [(np.ones(3),)]}, ValueError, "with 1 axes"),
    ],
)
def test_what_is_given_wrongly_is_said(inputs, settings, error, words, tmp_path):
    net = fn.functionalize(nn.Linear(3, 2))
    params, state = net.init(jax.random.key(0))
    with pytest.raises(error, match=words):
        fn.export.onnx(tmp_path / "m.onnx", net, params, state, *inputs, **settings)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_what_is_no_file_stays_what_it_is(tmp_path):
    net = fn.functionalize(nn.Linear(3, 2))
    params, state = net.init(jax.random.key(0))
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, error in ((pipe, FileExistsError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match="give the path of a file"):
            fn.export.onnx(path, net, params, state, fn.export.spec(("b", 3)))
    assert pipe.is_fifo()


def test_examples_of_numpy_are_narrowed(tmp_path):
    net = fn.functionalize(nn.Linear(3, 2))
    params, state = net.init(jax.random.key(0))
    spec = fn.export.spec(("b", 3))
    report = fn.export.onnx(
        tmp_path / "m.onnx", net, params, state, spec, examples=[(np.ones((2, 3)),)]
    )
    assert report.error is not None
    assert report.error <= 1e-5


def test_nodes_are_named_after_what_they_are(tmp_path):
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu")
    net = fn.functionalize(layer)
    params, state = net.init(jax.random.key(0))
    spec = fn.export.spec(("time", "batch", 8))
    report = fn.export.onnx(tmp_path / "m.onnx", net, params, state, spec, verify=False)
    nodes = onnx.load(report.path).graph.node
    assert {"Softmax", "LayerNormalization", "Gelu"} <= {node.op_type for node in nodes}
    for node in nodes:
        assert node.name.rpartition("/")[2].split("_")[0] == node.op_type


def test_what_needs_the_number_of_an_open_length_is_told_with_what_to_write(tmp_path):
    call = lambda params, state, x: (x * len(x), state)
    with pytest.raises(fn.errors.ExportError, match=r"x\.shape\[0\]"):
        fn.export.onnx(tmp_path / "a.onnx", call, {}, {}, fn.export.spec(("batch", 3)))


def test_a_key_that_is_the_same_in_every_call_is_warned_of(tmp_path):
    call = lambda params, state, x: (x + jax.random.uniform(jax.random.key(0), (3,)), state)
    with pytest.warns(UserWarning, match="key"):
        fn.export.onnx(tmp_path / "a.onnx", call, {}, {}, fn.export.spec(("batch", 3)))
