"""Every example of a docstring runs, and prints what it says."""

import doctest
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from tests.meta.source import modules

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def _namespace(module):
    names = {"jax": jax, "jnp": jnp, "np": np, "fn": fn, "nn": fn.nn, "F": fn.functional}
    return names | {"optim": fn.optim, "data": fn.data, "transforms": fn.transforms} | vars(module)


def _examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for module in modules():
        for test in finder.find(module, module.__name__, extraglobs=_namespace(module)):
            if test.examples:
                yield test


@pytest.mark.parametrize("example", list(_examples()), ids=lambda test: test.name)
def test_example(example, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # examples are written for a user's session, where promotion is JAX's default
    with jax.numpy_dtype_promotion("standard"):
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        results = runner.run(example, out=sys.stdout.write)
    assert results.failed == 0, capsys.readouterr().out
