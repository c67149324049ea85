"""Convolution, pooling, padding and vision layers against PyTorch."""

import pytest

from tests.nn.rows import convolution, images, padding, pooling
from tests.parity import check, check_raises, rows

FAMILIES = (convolution, padding, pooling, images)


@pytest.mark.filterwarnings(
    "ignore:Using padding='same':UserWarning"
)  # PyTorch's note on its speed
@pytest.mark.parametrize("row", [row for family in FAMILIES for row in rows(family.ROWS)], ids=str)
def test_row(row):
    check(row)


@pytest.mark.parametrize("row", [row for family in FAMILIES for row in family.RAISES], ids=str)
def test_raises(row):
    check_raises(row)
