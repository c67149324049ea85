"""Convolution, pooling, padding and vision layers against PyTorch."""

import pytest

from tests.nn import rows_convolution, rows_padding, rows_pooling, rows_vision
from tests.parity import check, check_raises, rows

FAMILIES = (rows_convolution, rows_padding, rows_pooling, rows_vision)


@pytest.mark.filterwarnings(
    "ignore:Using padding='same':UserWarning"
)  # PyTorch's note on its speed
@pytest.mark.parametrize("row", [row for family in FAMILIES for row in rows(family.ROWS)], ids=str)
def test_row(row):
    check(row)


@pytest.mark.parametrize("row", [row for family in FAMILIES for row in family.RAISES], ids=str)
def test_raises(row):
    check_raises(row)
