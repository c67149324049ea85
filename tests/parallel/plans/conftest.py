"""The mesh that plans are read for."""

import pytest

from funcnet import parallel


@pytest.fixture
def mesh():
    return parallel.mesh(data=2, model=2)
