"""What an optimizer is given is declared once: ranges, terms not in use, the numbers of a step."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet.optim.settings import Numbers, Settings, bound, number, numbers, optional

RANGES = {
    "at least 0": (number, -0.1, 0.0),
    "in [0, 1)": (lambda x: number(x, below=1), 1.0, 0.999),
    "in [0, 1]": (lambda x: number(x, at_most=1), 1.1, 1.0),
    "at least 1": (lambda x: number(x, at_least=1), 0.9, 1.0),
    "at most 0": (lambda x: number(x, at_least=-math.inf, at_most=0), 0.1, -5.0),
    "finite and at least 0": (number, math.inf, 0.0),
    "at least 0 ": (bound, -0.1, math.inf),
    "in [0, 0.5)": (lambda x: numbers((0.1, x), 2, below=0.5), 0.5, 0.4),
}


@pytest.mark.parametrize("text", RANGES)
def test_plain_numbers_are_checked_and_arrays_are_not(text):
    declare, wrong, right = RANGES[text]
    with pytest.raises(ValueError) as error:
        Settings(x=declare(wrong))
    assert str(error.value) == f"x must be {text.strip()}; got {wrong!r}"
    with pytest.raises(ValueError, match="x must be"):
        Settings(x=declare(math.nan))
    with pytest.raises(ValueError, match="x must be"):
        Settings(x=declare(np.float32(wrong)))
    for fine in (right, jnp.array(wrong), lambda step: wrong):
        Settings(x=declare(fine))
    jax.jit(lambda x: Settings(x=declare(x)).init())(wrong)


def test_a_plain_zero_switches_a_term_off():
    settings = Settings(lr=number(0.0), off=optional(0), kept=optional(jnp.array(0.0)), none=None)
    state = settings.init()
    assert state.names == ("lr", "kept")
    h = settings.step_numbers(state, jnp.array(3))
    assert (h.off, h.none, float(h.kept), float(h.step)) == (None, None, 0.0, 3.0)
    assert "off" not in settings
    assert "kept" in settings


def test_numbers_of_a_step_have_one_dtype_and_say_what_there_is(x64):
    settings = Settings(lr=lambda step: 0.5**step, betas=numbers((0.5, 0.25), 2))
    state = settings.at(settings.init(), jnp.array(2))
    memory = {"d": jnp.array(7.0)}
    h = settings.step_numbers(state, jnp.array(3), jnp.float32, memory)
    assert [float(x) for x in (h.lr, *h.betas, h.memory.d)] == [0.25, 0.5, 0.25, 7.0]
    assert {x.dtype for x in (h.lr, *h.betas, h.memory.d, h.step)} == {jnp.dtype("float32")}
    with pytest.raises(AttributeError, match=r"no number 'momentum'.*there are: step.*lr, betas"):
        _ = h.momentum
    with pytest.raises(AttributeError, match="only read"):
        h.lr = 1.0
    assert isinstance(h.sums, Numbers)
