"""Rows of all layers and functions: saved, loaded and equal, or refused by the preflight; all with ``--grid=full``."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet.core.errors import ExportError
from tests.export.artifact.structures import as_dicts
from tests.export.onnx.row_cases import all_cases, some_cases

SAMPLE = 12


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        full = metafunc.config.getoption("grid") == "full"
        metafunc.parametrize("case", all_cases() if full else some_cases(SAMPLE), ids=str)


# a row of these layers has its samples in 64 bits, as PyTorch takes them
@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")
@pytest.mark.filterwarnings("ignore:.*every call gives the same numbers")
def test_a_row_is_saved_and_loaded(case, tmp_path):
    call, params, state, leaves = case.make()
    specs = [fn.export.spec(a.shape, a.dtype, f"x{i}") for i, a in enumerate(leaves)]
    given = [jnp.asarray(a) for a in leaves]
    save = lambda: fn.export.save(
        tmp_path / "m.fnx", call, params, state, *specs, examples=tuple(given)
    )
    if any(each.stops for each in fn.export.preflight(call, params, state, *specs)):
        # factorizations are LAPACK's, which other runtimes have not; nothing else is refused
        with pytest.raises(ExportError, match="LAPACK"):
            save()
        assert not list(tmp_path.iterdir())
        return
    path = save()
    got = fn.export.load(path)(*given)
    expected = as_dicts(jax.jit(call)(params, state, *given)[0])
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        if not one.size:
            continue
        one, other = (np.asarray(each, np.complex128) for each in (one, other))
        # float32; both are compiled for themselves
        scale = np.abs(other[np.isfinite(other)]).max(initial=0.0)
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * scale)
