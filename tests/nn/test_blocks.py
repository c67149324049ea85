"""Activations, normalization, dropout and attention layers against PyTorch."""

import pytest

from tests.nn.rows import activations, attention, dropout, normalization, transformer
from tests.parity import check, check_raises, rows

FAMILIES = (activations, normalization, dropout, attention, transformer)

pytestmark = [
    pytest.mark.filterwarnings("ignore:enable_nested_tensor is True:UserWarning"),
    pytest.mark.filterwarnings("ignore:input's size at dim:UserWarning"),
]


@pytest.mark.parametrize("row", [row for family in FAMILIES for row in rows(family.ROWS)], ids=str)
def test_row(row):
    check(row)


@pytest.mark.parametrize("row", [row for family in FAMILIES for row in family.RAISES], ids=str)
def test_raises(row):
    check_raises(row)
