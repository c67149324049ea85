"""Every layer of the tables goes to PyTorch and comes back, strictly and bit for bit, in both formats."""

import importlib
import pkgutil

import jax
import numpy as np
import pytest

import funcnet as fn
from funcnet import checkpoint
from funcnet.module.description import layout_of
from tests.nn import rows as tables
from tests.parity import ours
from tests.parity.table import Layer


def rows():
    """One row for each way to construct a layer that has arrays."""
    found = {}
    for table in pkgutil.iter_modules(tables.__path__):
        for row in importlib.import_module(f"{tables.__name__}.{table.name}").ROWS:
            if isinstance(row, Layer):
                key = (
                    row.name,
                    str(row.args),
                    str(row.kwargs),
                    row.note,
                    id(row.build) if row.build else 0,
                )
                found.setdefault(key, row)
    return [row for row in found.values() if layout_of(ours.module_of(row)).specs]


def theirs_of(row):
    import torch

    return (
        row.build(torch.nn) if row.build else getattr(torch.nn, row.name)(*row.args, **row.kwargs)
    )


@pytest.mark.filterwarnings("ignore::UserWarning")  # PyTorch's, of odd settings
@pytest.mark.parametrize("row", rows(), ids=str)
def test_to_pytorch_and_back(tmp_path, row):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_model, save_model

    module = ours.module_of(row)
    shapes = jax.eval_shape(fn.functionalize(module).init, jax.random.key(0))
    rng = np.random.default_rng(0)
    draw = lambda spec: (rng.standard_normal(spec.shape) * 9).astype(spec.dtype)
    params, state = jax.tree.map(draw, shapes)

    def check(path):
        back = checkpoint.load_weights(path, module)
        for before, after in zip(
            jax.tree.leaves((params, state)), jax.tree.leaves(back), strict=True
        ):
            assert (before.dtype, before.tobytes()) == (after.dtype, np.asarray(after).tobytes())

    path = checkpoint.save_weights(tmp_path / "a.safetensors", module, params, state)
    check(path)
    theirs = theirs_of(row)
    load_model(theirs, path, strict=True)
    save_model(theirs, tmp_path / "b.safetensors")
    check(tmp_path / "b.safetensors")

    path = checkpoint.save_weights(tmp_path / "a.pt", module, params, state)
    check(path)
    theirs = theirs_of(row)
    theirs.load_state_dict(torch.load(path, weights_only=True), strict=True)
    torch.save(theirs.state_dict(), tmp_path / "b.pt")
    check(tmp_path / "b.pt")
