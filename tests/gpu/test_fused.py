"""Forms that are chosen for an accelerator, or behave differently there, against the plain ones in float64."""

from functools import partial

import jax
import pytest

from tests.functional.losses.test_chunks import SETTINGS, derivatives, problem
from tests.parity import close

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("number", [0, 11, 22])
def test_a_loss_in_chunks_has_every_derivative(number, x64):
    plain, ours, arrays = problem(*SETTINGS[number])
    expected = jax.jit(partial(derivatives, plain))(arrays)
    found = jax.jit(partial(derivatives, ours))(arrays)
    for what in expected:
        for a, b in zip(*map(jax.tree.leaves, (found[what], expected[what])), strict=True):
            close(a, b, 1e-12, what)  # float64: sums in another order
