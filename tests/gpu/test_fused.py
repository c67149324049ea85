"""Forms that are chosen for an accelerator, or behave differently there, against the plain ones in float64."""

import pytest

from tests.functional.losses.test_chunks import SETTINGS, check_derivatives

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("number", [0, 11, 22])
def test_a_loss_in_chunks_has_every_derivative(number, x64):
    check_derivatives(*SETTINGS[number])
