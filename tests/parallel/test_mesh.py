"""Meshes by names of axes."""

import jax
import pytest
from jax.sharding import AxisType

from funcnet import parallel


@pytest.mark.parametrize(
    ("axes", "shape"),
    [({"data": -1}, (4,)), ({"data": -1, "model": 2}, (2, 2)), ({"a": 1, "b": 4}, (1, 4))],
)
def test_sizes_are_filled_in(axes, shape):
    for explicit, kind in ((False, AxisType.Auto), (True, AxisType.Explicit)):
        mesh = parallel.mesh(explicit=explicit, **axes)
        assert mesh.axis_names == tuple(axes)
        assert mesh.devices.shape == shape
        assert set(mesh.axis_types) == {kind}


def test_fewer_devices():
    assert parallel.mesh(data=-1, devices=jax.devices()[:2]).devices.shape == (2,)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ({}, "needs an axis"),
        ({"data": 3}, "does not fit 4 devices"),
        ({"data": -1, "model": 3}, "does not fit"),
        ({"data": -1, "model": -1}, "only one"),
        ({"data": 0}, "does not fit"),
        ({"data": -2}, "does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(axes, message):
    with pytest.raises(ValueError, match=message):
        parallel.mesh(**axes)
