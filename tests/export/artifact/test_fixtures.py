"""Artifacts that were written on each JAX run for ever, on whichever is at hand."""

import jax
import numpy as np
import pytest

from funcnet import export
from tests.export.fixtures import write

FILES = sorted(write.FOLDER.glob("*.fnx"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_of_another_jax_computes_what_it_did(path):
    expected = np.load(path.with_suffix(".npz"))
    with jax.numpy_dtype_promotion("standard"):
        got = write.numbers(export.load(path))
    assert sorted(got) == sorted(expected.files)
    for name in got:
        one, other = got[name], expected[name]
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        # float32, compiled anew by each release
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=2e-5, err_msg=name)


def test_there_is_a_file_of_each_release():
    written = {export.load(path).manifest.written_by["jax"][:4] for path in FILES}
    assert {"0.10", "0.11", "0.12"} <= written
    assert all(path.stat().st_size < 200_000 for path in FILES)
