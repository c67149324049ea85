"""One driver for every layer and function that PyTorch also has.

A row names a class of ``torch.nn`` (or a function of ``torch.nn.functional``), its arguments and the
shapes of its inputs. The same arguments build both sides; ours takes PyTorch's weights by name.

    ROWS = [
        Layer("Linear", (3, 4), inputs=[(5, 3)]),
        Layer("Embedding", (10, 3), inputs=[ints((2, 5), 10)]),
        Layer("TransformerEncoder", build=lambda nn: nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2), 2),
              inputs=[(5, 2, 8)]),
        Function("relu", inputs=[(4, 3)]),
    ]
    RAISES = [Layer("Linear", (3, 4), inputs=[(5, 2)]).raises(ValueError, "3 features")]

    @pytest.mark.parametrize("row", rows(ROWS), ids=str)
    def test_row(row):
        check(row)

What a row tests, all of it jitted:

- with PyTorch, in float64: the names and shapes of a fresh ``init``; outputs and gradients of inputs and
  parameters, in evaluation and in three steps of training with the buffers they leave;
- with PyTorch or without: that its weights survive ``state_dict``; and on the first row of each name (and
  where a row asks for it) vmap over two examples, gradients against finite differences, and outputs and
  gradients in float32 and bfloat16 against the same numbers computed in float64.

Without PyTorch the weights are drawn here, and vmap is compared with one example after the other.
"""

from tests.parity.checks import check, check_raises
from tests.parity.inputs import bools, ints, uniform, values
from tests.parity.table import Function, Layer, Row, rows
from tests.parity.tolerance import close

__all__ = [
    "Function",
    "Layer",
    "Row",
    "bools",
    "check",
    "check_raises",
    "close",
    "ints",
    "rows",
    "uniform",
    "values",
]
