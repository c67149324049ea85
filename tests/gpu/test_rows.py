"""Every row of every layer and function on an accelerator, in float64, against PyTorch on the CPU.

    JAX_PLATFORMS=cuda,cpu XLA_PYTHON_CLIENT_PREALLOCATE=false pytest tests/gpu -n 8

Finite differences and narrow dtypes are compared on the CPU, where a product of float32 has all its bits.
"""

import importlib
import zlib
from dataclasses import replace
from pathlib import Path

import jax
import pytest

from tests.parity import check, pytorch, rows

pytestmark = pytest.mark.gpu
torch = pytest.importorskip("torch")
if jax.default_backend() == "cpu":
    pytest.skip("needs an accelerator", allow_module_level=True)

TESTED_WITH = (2, 13)
"""An older PyTorch lacks some of what the rows name; there, what it refuses is skipped."""


def all_rows():
    """The rows of all families, in an order that puts each family everywhere: one worker has not all slow ones."""
    folder = Path(__file__).parents[1]
    found = []
    for room in ("nn", "functional"):
        for path in sorted((folder / room / "rows").glob("*.py")):
            family = importlib.import_module(f"tests.{room}.rows.{path.stem}")
            plain = [
                replace(row, dtypes=False, differences=False) for row in getattr(family, "ROWS", [])
            ]
            for number, row in enumerate(rows(plain)):
                inner, marks = (row.values[0], row.marks) if hasattr(row, "marks") else (row, ())
                found.append(pytest.param(inner, marks=marks, id=f"{path.stem}-{number}-{inner}"))
    return sorted(found, key=lambda param: zlib.crc32(param.id.encode()))


@pytest.mark.parametrize("row", all_rows())
def test_row(row, gpu_time):
    older = tuple(int(n) for n in torch.__version__.split(".")[:2]) < TESTED_WITH
    if older:
        try:
            pytorch.record(row, False, 1)
        except Exception as error:
            pytest.skip(f"PyTorch {torch.__version__} refuses: {type(error).__name__}")
        if "LPPool" in str(row) and "(inf," in str(row):
            pytest.skip(f"PyTorch {torch.__version__} has no norm of infinity in pooling")
    check(row)
