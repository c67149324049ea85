"""Whatever makes a model smaller or other, times kinds of models, times what is done with a model.

CI takes a few triples of each rewriting, each use and each kind of model; ``--grid=full`` takes all.
"""

import functools

import jax.numpy as jnp
import pytest

import funcnet as fn
from tests.compression.models import EXAMPLES
from tests.compression.rewritings import REWRITINGS
from tests.compression.uses import USES, Made, equal


@functools.cache
def given(example):
    """Draw an example's arrays and call it."""
    kind = EXAMPLES[example]
    module = kind.make()
    params, state = kind.arrays(module)
    x = kind.input()
    return module, params, state, x, fn.functionalize(module).apply(params, state, x)[0]


@functools.cache
def rewritten(rewriting, example):
    """Rewrite an example, and call what comes out."""
    module, params, state, x, _ = given(example)
    made, params, state, *_ = REWRITINGS[rewriting].make(module, params, state, x)
    return made, params, state, fn.functionalize(made).apply(params, state, x)[0]


def made_of(rewriting, example, folder):
    module, params, state, output = rewritten(rewriting, example)
    near = REWRITINGS[rewriting].near
    return Made(module, params, state, given(example)[3], output, folder, near)


def taken(rewriting):
    return [name for name in EXAMPLES if name not in REWRITINGS[rewriting].refuses]


def products(full):
    """Yield each triple, or a few of each rewriting, use and kind of model."""
    for i, rewriting in enumerate(REWRITINGS):
        kinds = taken(rewriting)
        for j, use in enumerate(USES):
            for k, example in enumerate(kinds):
                if full or ((i + j) % 8 == 0 and (i + j // 8) % len(kinds) == k):
                    yield pytest.param(rewriting, example, use, id=f"{rewriting}-{example}-{use}")


def outputs(full):
    """Yield each pair, or those that are refused and a few others."""
    for i, rewriting in enumerate(REWRITINGS):
        for k, example in enumerate(EXAMPLES):
            if full or example not in taken(rewriting) or (i + k) % 8 == 0:
                yield pytest.param(rewriting, example, id=f"{rewriting}-{example}")


def pytest_generate_tests(metafunc):
    full = metafunc.config.getoption("grid") == "full"
    if "use" in metafunc.fixturenames:
        metafunc.parametrize(("rewriting", "example", "use"), list(products(full)))
    else:
        metafunc.parametrize(("rewriting", "example"), list(outputs(full)))


def test_a_rewritten_model_is_a_model(tmp_path, rewriting, example, use):
    USES[use](made_of(rewriting, example, tmp_path))


def test_outputs_are_like_those_of_the_model(rewriting, example):
    words = REWRITINGS[rewriting].refuses.get(example)
    if words is not None:
        with pytest.raises((ValueError, TypeError), match=words):
            rewritten(rewriting, example)
        return
    before, after = given(example), rewritten(rewriting, example)[-1]
    assert after.shape == before[-1].shape
    assert after.dtype == before[-1].dtype
    bound = REWRITINGS[rewriting].like
    if bound is not None:
        error = jnp.abs(after - before[-1]).max() / jnp.abs(before[-1]).max()
        assert error <= bound, float(error)
    # what was given is as it was
    equal(before[1:3], EXAMPLES[example].arrays(before[0]))
