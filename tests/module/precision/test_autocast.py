"""Which dtype each layer returns under PyTorch's autocast, and in mixed precision: where they agree, and why not.

Both are given data of 16 bits, as within a model. What autocast computes in 16 bits returns 16, what is on its list of
32 bits returns 32, and anything else what it is given.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from tests.integration.mesh_rows import FAMILIES, is_array
from tests.module.precision.layers import Case
from tests.parity import Layer
from tests.parity import inputs as drawn

LOOKED_UP = "autocast looks up in the parameter of 32 bits; here it is rounded with all others"
COPIES = (
    "on autocast's list for CPUs alone, not on that for GPUs; here sums are in 32 bits, and rounded"
)
LOSS = "autocast's list names losses one by one and lacks this one; here all return 32 bits"

DIFFER = {
    "Embedding": LOOKED_UP,
    "EmbeddingBag": LOOKED_UP,
    **dict.fromkeys(["GaussianNLLLoss", "MultiLabelSoftMarginLoss", "TripletMarginWithDistanceLoss"], LOSS),
    **dict.fromkeys(["ReflectionPad1d", "ReflectionPad2d"], COPIES),
    **dict.fromkeys([f"ReplicationPad{n}d" for n in (1, 2, 3)], COPIES),
    **dict.fromkeys([f"{kind}3d" for kind in ("MaxPool", "AdaptiveMaxPool", "AvgPool")], COPIES),
    **dict.fromkeys(["AdaptiveAvgPool3d", "LPPool3d"], COPIES),
    **dict.fromkeys([f"MaxUnpool{n}d" for n in (1, 2, 3)], COPIES),
}  # fmt: skip
"""Where they differ by intention, and why."""

NOT_THERE = {
    "AdaptiveLogSoftmaxWithLoss", "Bilinear", "CTCLoss", "FractionalMaxPool2d", "FractionalMaxPool3d",
}  # fmt: skip
"""Layers that PyTorch cannot compute in 16 bits on CPUs."""


def _first_rows():
    found = {}
    for row in (row for family in FAMILIES for row in family.ROWS):
        if isinstance(row, Layer) and row.theirs is None and row.ours is None:
            found.setdefault(row.name, row)
    return [row for name, row in found.items() if name not in NOT_THERE]


def _narrow(leaf, dtype):
    return leaf.astype(dtype) if is_array(leaf) and leaf.dtype.kind == "f" else leaf


def _theirs(row):
    import torch

    module = (
        row.build(torch.nn) if row.build else getattr(torch.nn, row.name)(*row.args, **row.kwargs)
    )

    def tensor(leaf):
        if not isinstance(leaf, np.ndarray):
            return leaf
        made = torch.tensor(leaf)
        return made.bfloat16() if made.is_floating_point() else made

    args, kwargs = jax.tree.map(tensor, drawn.arrays(row, 0))
    with torch.autocast("cpu", torch.bfloat16):
        output = module(*args, **kwargs)
    while isinstance(output, list | tuple):
        output = output[0]
    return str(output.dtype).removeprefix("torch.")


def _ours(row):
    case = Case(row)
    net = fn.mixed_precision(case.net, outputs=None)
    args, kwargs = jax.tree.map(lambda leaf: _narrow(leaf, jnp.bfloat16), case.inputs)
    made, _ = jax.eval_shape(
        lambda params, state: net.apply(params, state, *args, key=jax.random.key(0), **kwargs),
        *case.arrays,
    )
    return jax.tree.leaves(made)[0].dtype.name


@pytest.mark.filterwarnings("ignore")  # PyTorch's, of what does not matter here
@pytest.mark.parametrize("row", _first_rows(), ids=lambda row: row.name)
def test_a_layer_returns_what_it_does_under_autocast(row):
    pytest.importorskip("torch")
    theirs, ours = _theirs(row), _ours(row)
    if row.name in DIFFER:
        assert ours != theirs, f"they agree: {row.name} needs no reason any more"
        assert ours == ("float32" if DIFFER[row.name] is LOSS else "bfloat16")
    else:
        assert ours == theirs


def test_every_difference_is_of_a_layer_that_is_met():
    assert DIFFER.keys() <= {row.name for row in _first_rows()}
