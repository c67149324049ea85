"""Every transform inside every other, to depth three, against closed-form answers."""

import itertools

import jax
import numpy as np
import pytest

from tests.transforms.table import OPERATORS, ROWS, composition

# float32 with up to six derivatives: a few hundred roundings of numbers of order one
TOLERANCE = {"rtol": 2e-4, "atol": 2e-5}

# At depth three, one of each kind: `grad`, `vhp`, `hessian` (`jacfwd` of `jacrev`) and the two forms of
# `vmap` and of Jacobians share their code with those that stay.
DEEP = (
    "value_and_grad",
    "jvp",
    "vjp",
    "linearize",
    "jacrev",
    "hvp",
    "vmap in chunks",
    "scan",
    "checkpoint",
    "jit",
)
VECTOR, NESTED, CUBIC, COMPLEX = ROWS


def operators_of(row):
    return [
        name for name, (_, _, complex_too) in OPERATORS.items() if complex_too or not row.is_complex
    ]


def check(row, names):
    """Compile all compositions into one program and compare each with its answer."""
    functions, answers = zip(*(composition(row, each) for each in names), strict=True)
    values = jax.jit(lambda tree: [function(tree) for function in functions])(row.make_tree())
    for each, value, answer in zip(names, values, answers, strict=True):
        np.testing.assert_allclose(value, answer, err_msg=" of ".join(each), **TOLERANCE)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
@pytest.mark.smoke
def test_each_transform(row):
    check(row, [(name,) for name in operators_of(row)])


@pytest.mark.parametrize("outer", OPERATORS)
@pytest.mark.parametrize("row", [NESTED, COMPLEX], ids=lambda row: row.name)
def test_pairs(row, outer):
    if outer not in operators_of(row):
        pytest.skip("defined for real functions only")
    check(row, [(outer, inner) for inner in operators_of(row)])


@pytest.mark.parametrize("outer", DEEP)
def test_triples(outer):
    check(VECTOR, [(outer, *inner) for inner in itertools.product(DEEP, DEEP)])


@pytest.mark.parametrize("name", OPERATORS)
def test_jax_transforms_go_around_and_inside(name):
    operator, effect, _ = OPERATORS[name]
    inside = operator(VECTOR, jax.checkpoint(jax.jit(VECTOR.function)))
    around = jax.vmap(jax.value_and_grad(jax.jit(inside)))
    tree = VECTOR.make_tree()
    values, gradients = jax.jit(around)(jax.numpy.stack([tree, tree]))
    orders = effect({(0, 0): 1.0})
    answer = VECTOR.closed_form(tree, orders)
    slope = VECTOR.closed_form(tree, {(k + 1, at): c for (k, at), c in orders.items()})
    np.testing.assert_allclose(values, [answer] * 2, **TOLERANCE)
    np.testing.assert_allclose(gradients @ np.full(3, 0.5), [slope] * 2, **TOLERANCE)
