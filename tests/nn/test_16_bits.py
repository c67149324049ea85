"""Gradients in 16 bits are as good as PyTorch's: for every parameter of every layer that has some.

Sums over a batch are what goes wrong first: each row's inputs are drawn many times and joined.
"""

import dataclasses
import importlib
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from tests.nn.rows import transformer
from tests.parity import Layer
from tests.parity import inputs as inputs_of
from tests.parity.ours import apply_of
from tests.sampling import sampled

FAMILIES = [
    "attention",
    "convolution",
    "embedding",
    "linear",
    "losses",
    "normalization",
    "recurrent",
    "transformer",
]
"""Those of `tests.nn.rows` whose layers have parameters; of the others, PReLU has."""

# Rows whose call is written in the row, not in funcnet.
ELSEWHERE = ("ParameterDict", "ParameterList")

DRAWS = 64
ALLOWED = 4.0
"""How many times PyTorch's own error is taken as equal to it: both are a few roundings."""


def _smooth(row):
    """Give a transformer an activation without a kink.

    An input of a ReLU that lies within a rounding of zero is on in one calculation and off in the other, and
    takes a whole sample's share out of the gradient: in PyTorch in another draw than here, and as often.
    """
    stacks = {
        "TransformerEncoder": transformer.encoders,
        "TransformerDecoder": transformer.decoders,
    }
    if row.name in stacks:
        return dataclasses.replace(row, build=stacks[row.name](2, activation="gelu"))
    return dataclasses.replace(row, kwargs=row.kwargs | {"activation": "gelu"})


def _layers():
    """The first row of each layer, by its name."""
    found = {}
    for family in (*FAMILIES, "activations"):
        module = importlib.import_module(f"tests.nn.rows.{family}")
        for row in module.ROWS:
            if isinstance(row, Layer) and (family in FAMILIES or row.name == "PReLU"):
                found.setdefault(row.name, _smooth(row) if family == "transformer" else row)
    return found


def _names():
    return [name for name in sorted(_layers()) if name not in ELSEWHERE]


def _joined(row):
    """The inputs of a row, drawn many times and joined along their first axis."""
    draws = [inputs_of.arrays(row, seed)[0] for seed in range(DRAWS)]

    def join(parts):
        if isinstance(parts[0], (list, tuple)):
            return type(parts[0])(join(part) for part in zip(*parts, strict=True))
        if isinstance(parts[0], np.ndarray) and parts[0].ndim:
            return np.concatenate(parts)
        return parts[0]

    return [join(parts) for parts in zip(*draws, strict=True)]


def _build(row, nn):
    return row.build(nn) if row.build else getattr(nn, row.name)(*row.args, **row.kwargs)


def _is_float(value):
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def _floats(function, tree):
    """Apply a function to the floating arrays of a tree."""
    return jax.tree.map(lambda x: function(x) if _is_float(x) else x, tree)


def _cotangent(shape, constant):
    return np.ones(tuple(shape)) if constant else inputs_of.weights(tuple(shape))


def _theirs(row, values, inputs, dtype, constant):
    import torch

    module = _build(row, torch.nn).double().eval()
    module.load_state_dict({key: torch.tensor(value) for key, value in values.items()})
    module = module.to(dtype)

    def tensor(x):
        made = torch.tensor(x)
        return made.to(dtype) if made.is_floating_point() else made

    inputs = jax.tree.map(lambda x: tensor(x) if isinstance(x, np.ndarray) else x, inputs)
    outputs = inputs_of.outputs_of((row.theirs(module) if row.theirs else module)(*inputs))
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    cotangents = [torch.tensor(_cotangent(o.shape, constant)).to(wide) for o in outputs]
    sum((o.to(wide) * c).sum() for o, c in zip(outputs, cotangents, strict=True)).backward()
    found = {
        key: p.grad for key, p in module.named_parameters() if p.grad is not None and p.numel()
    }
    return {key: grad.double().numpy() for key, grad in found.items()}


def _ours(row, values, inputs, dtype, constant):
    module = _build(row, fn.nn)
    params, state = fn.load_state_dict(module, values)
    cast = lambda tree: inputs_of.cast(tree, dtype)
    apply = apply_of(row, module, train=False)

    def loss(params):
        outputs, _ = apply(params, cast(state), cast(inputs), {})
        cotangents = [np.float32(_cotangent(o.shape, constant)) for o in outputs]
        pairs = zip(outputs, cotangents, strict=True)
        return sum(jnp.sum(o.astype(jnp.float32) * c) for o, c in pairs)

    grads = jax.jit(jax.grad(loss))(cast(params))
    named = fn.state_dict(module, grads)
    return {key: np.asarray(value, np.float64) for key, value in named.items()}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning")
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors is a no-op:UserWarning")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("constant", [False, True], ids=["drawn", "ones"])
@pytest.mark.parametrize("name", _names())
def test_gradients_of_parameters(name, constant, dtype, request):
    sampled(request, (constant + (dtype == "float16") + zlib.crc32(name.encode())) % 2 == 0)
    torch = pytest.importorskip("torch")
    row = _layers()[name]
    torch.manual_seed(zlib.crc32(name.encode()))
    module = _build(row, torch.nn).double()
    if not any(p.requires_grad for p in module.parameters()):
        pytest.skip("a layer without parameters")
    values = {key: value.detach().numpy() for key, value in module.state_dict().items()}
    inputs = _joined(row)
    if constant:
        inputs = _floats(np.ones_like, inputs)
    rounded = lambda x: np.asarray(jnp.asarray(x, dtype), np.float64)
    values, inputs = _floats(rounded, values), _floats(rounded, inputs)
    exact = _theirs(row, values, inputs, torch.float64, constant)
    try:
        theirs = _theirs(row, values, inputs, getattr(torch, dtype), constant)
    except (RuntimeError, NotImplementedError):
        theirs = exact  # not implemented in PyTorch: within the last place of the truth then
    ours = _ours(row, values, inputs, dtype, constant)
    last_place = float(jnp.finfo(dtype).eps)
    for key, right in exact.items():
        scale = max(np.abs(right).max(), 1e-30)
        error, equal = (np.abs(grads[key] - right).max() / scale for grads in (ours, theirs))
        assert error <= ALLOWED * equal + last_place, f"{key}: {error:.2%} off, PyTorch {equal:.2%}"
