"""The GPU's benchmark, as far as it goes without one: its rows are calls of both libraries, its table is right."""

import jax
import pytest

from benchmarks import gpu, gpu_functions, gpu_sides
from funcnet import functional as F


@pytest.mark.parametrize("name", gpu_functions.CALLS)
def test_both_sides_of_a_row_give_the_same_shape(name):
    torch = pytest.importorskip("torch")
    call = gpu_functions.CALLS[name]
    floats = [jax.ShapeDtypeStruct(shape, call.dtype) for shape in call.shapes]
    ints = [jax.ShapeDtypeStruct(call.ints[0], "int32")] if call.ints else []
    ours = jax.eval_shape(lambda *arrays: call.run(F, *arrays), *floats, *ints)
    tensors = [
        torch.empty(x.shape, dtype=getattr(torch, call.dtype), device="meta") for x in floats
    ]
    tensors += [torch.empty(x.shape, dtype=torch.int64, device="meta") for x in ints]
    theirs = (call.theirs or call.run)(torch.nn.functional, *tensors)
    assert ours.shape == tuple(theirs.shape)
    assert str(ours.dtype) in (str(theirs.dtype).removeprefix("torch."), "float32", call.dtype)


def test_a_worker_times_what_it_compiled(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_sides, "TURNS", 1)
    monkeypatch.setattr(gpu_sides, "TURN_SECONDS", 0.0)
    gpu.work([("deep", "funcnet, packed"), ("deep", "nobody")], str(tmp_path / "lock"), 1e12, True)
    told = capsys.readouterr().out
    assert '"ms": ' in told
    assert '"skipped": "KeyError' in told


def test_the_table_divides_by_the_best_of_torch(tmp_path):
    report = gpu.Report(tmp_path, ["layer_norm"], tiny=False)
    report.add({"here": {"jax": "1", "device": "Some Card"}})
    for side, ms in (("funcnet", 1.0), ("torch", 4.0), ("torch.compile", 2.0)):
        report.add({"row": "layer_norm", "side": side, "ms": ms, "gib": 0.5})
    table = (tmp_path / "gpu-some-card.md").read_text()
    assert "| layer norm 16384x1024 | funcnet | 1.000 | 0.50 | 0.50 |" in table
    assert "| layer norm 16384x1024 | torch | 4.000 | 0.50 | 2.00 |" in table
