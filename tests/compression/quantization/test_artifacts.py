"""Quantized models as StableHLO: the file holds the few bits, and computes the same."""

import jax
import numpy as np

import funcnet as fn
from funcnet import nn
from funcnet.compression import NF4, Int4, Int8, quantize
from tests.compression.quantization.weight_cases import sampled

SCHEMES = {"int4": Int4(group=32), "int8": Int8(), "nf4": NF4(double=True)}


def pytest_generate_tests(metafunc):
    sampled(metafunc, ("name",), [(name,) for name in SCHEMES], 3)


def test_an_artifact_holds_few_bits(tmp_path, name):
    scheme = SCHEMES[name]
    model = nn.Sequential(nn.Linear(128, 256), nn.Tanh(), nn.Linear(256, 64))
    net = fn.functionalize(model)
    params, state = net.init(jax.random.key(0))
    module, few, kept = quantize(model, params, state, scheme)
    small = fn.functionalize(module)
    x = np.random.default_rng(0).standard_normal((3, 128)).astype(np.float32)
    fn.export.save(tmp_path / "float.fnx", net, params, state, fn.export.spec(("b", 128)))
    path = tmp_path / "small.fnx"
    fn.export.save(path, small, few, kept, fn.export.spec(("b", 128)))
    loaded = fn.export.load(path)
    np.testing.assert_allclose(loaded(x), small.apply(few, kept, x)[0], rtol=1e-5, atol=1e-5)
    sizes = [(tmp_path / name).stat().st_size for name in ("float.fnx", "small.fnx")]
    assert sizes[0] / sizes[1] > (3 if isinstance(scheme, Int8) else 4)
