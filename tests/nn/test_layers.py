"""Linear, embedding, loss and recurrent layers against PyTorch."""

import pytest

from tests.nn.rows import embedding, linear, losses, recurrent
from tests.parity import check, check_raises, rows

FAMILIES = (linear, embedding, losses, recurrent)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides:UserWarning")  # PyTorch's, of kl_div
@pytest.mark.filterwarnings("ignore:.*zero-element tensors is a no-op:UserWarning")
@pytest.mark.parametrize("row", [row for family in FAMILIES for row in rows(family.ROWS)], ids=str)
def test_row(row):
    check(row)


@pytest.mark.parametrize("row", [row for family in FAMILIES for row in family.RAISES], ids=str)
def test_raises(row):
    check_raises(row)
