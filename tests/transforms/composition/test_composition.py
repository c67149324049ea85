"""Every transform inside every other, to depth three, against closed-form answers.

For all pairs, and all triples, the innermost functions are added up with weights: a sum, traced once, that
the others are applied to. When one fails, the innermost are tried one by one and those at fault named.
The programs are traced and run operation by operation (`interpreter`); each transform alone, and triples
drawn at random, are compiled as well.
"""

import itertools
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import transforms as T
from tests.transforms.composition.interpreter import Interpreter
from tests.transforms.composition.rows import IDENTITY, ROWS, Polynomial, Row, plus, times
from tests.transforms.composition.table import OPERATORS, REASONS, Operator

# float32, up to six derivatives: some hundred roundings of the sum of all terms' sizes; a term that is
# wrong differs by a hundredth of that
TOLERANCE = 1e-4
VECTOR = ROWS[0]
KINDS = sorted({operator.kind for operator in OPERATORS.values()})


def linearizes_roots_under_vmap() -> bool:
    """Say whether this JAX linearises a pullback of `jax.lax.custom_root` under vmap: 0.11 lacks the rule.

    JAX 0.10 and 0.12 have it; jvp, vjp and grad of the same work in 0.11 as well.
    """

    def root(a):
        newton = lambda g, y: y - g(y) / 2
        return jax.lax.custom_root(
            lambda y: 2 * (y - a), 0 * a, newton, lambda g, y: y / g(jnp.ones_like(y))
        )

    pulled = lambda a: jax.vmap(jax.vjp(root, a)[1])(jnp.ones(1))[0]
    try:
        jax.linearize(pulled, 2.0)
    except NotImplementedError as error:
        if "VmapOf" not in str(error):
            raise
        return False
    return True


ROOTS_LINEARIZE = linearizes_roots_under_vmap()


def operators_of(row: Row) -> list[Operator]:
    return [o for o in OPERATORS.values() if not (o.real_only and row.is_complex)]


def is_possible(*chain: Operator) -> bool:
    """Say whether JAX defines a chain, outermost first: custom_gradient has no forward derivative."""
    inside_out = list(reversed(chain))
    for index, operator in enumerate(inside_out):
        if operator.name == "custom_gradient":
            derivatives = [outer.first for outer in inside_out[index + 1 :] if outer.first]
            if derivatives[:1] == ["forward"]:
                return False
    return True


@dataclass(frozen=True)
class Sum:
    """Operators' functions of a row, added up: the innermost of a composition."""

    row: Row
    operators: tuple[Operator, ...]

    def __post_init__(self):
        size = len(self.operators)
        weights = [(0.5 + 0.5 * index / size) * (-1) ** index / size for index in range(size)]
        functions = [operator.apply(self.row, self.row.function) for operator in self.operators]
        effect: Polynomial = {}
        for weight, operator in zip(weights, self.operators, strict=True):
            effect = plus(effect, operator.effect, weight)

        def summed(x):
            return sum(w * function(x) for w, function in zip(weights, functions, strict=True))

        object.__setattr__(self, "function", jax.jit(summed))
        object.__setattr__(self, "effect", effect)


def inner_sums(row: Row, operators: Iterable[Operator]) -> list[Sum]:
    """Return all as one sum, except for those of which JAX does not define every derivative."""
    groups: dict[str, list[Operator]] = {}
    for operator in operators:
        apart = operator.name == "custom_gradient" or (
            is_implicit(operator) and not ROOTS_LINEARIZE
        )
        groups.setdefault(operator.kind if apart else "", []).append(operator)
    return [Sum(row, tuple(some)) for some in groups.values()]


def is_implicit(operator: Operator) -> bool:
    return operator.kind == "implicit"


def is_right(row: Row, value: Any, effect: Polynomial) -> bool:
    answer, size = row.answer(row.make_tree(), effect)
    return bool(abs(value - answer) <= TOLERANCE * size)


def composed(row: Row, chain: Iterable[Operator], function: Any, effect: Polynomial) -> Any:
    """Return the function under the operators, outermost first, and their common effect."""
    for operator in reversed(list(chain)):
        function, effect = operator.apply(row, function), times(operator.effect, effect)
    return function, effect


def faults(interpreter: Interpreter, chain: tuple[Operator, ...], inner: Sum) -> list[str]:
    """Name the compositions of a chain with the sum's operators whose value is wrong."""
    row, tree = inner.row, inner.row.make_tree()

    has_root = any(map(is_implicit, (*chain, *inner.operators)))

    def is_fine(chain, function, effect):
        function, effect = composed(row, chain, function, effect)
        try:
            traced = jax.jit(function).trace(tree).jaxpr
        except NotImplementedError as error:
            if has_root and not ROOTS_LINEARIZE and "VmapOf" in str(error):
                return True  # this JAX has no such derivative
            raise
        (value,) = interpreter.run(traced, jax.tree.leaves(tree))
        return is_right(row, value, effect)

    if not is_possible(*chain, inner.operators[0]) or is_fine(chain, inner.function, inner.effect):
        return []
    each = [(*chain, operator) for operator in inner.operators]
    wrong = [names for names in each if not is_fine(names, row.function, IDENTITY)]
    return [" of ".join(map(str, names)) for names in wrong or [(*chain, "the sum of all")]]


def test_every_transform_is_in_the_table():
    tested = {name for operator in OPERATORS.values() for name in operator.transforms}
    assert tested.isdisjoint(REASONS)
    assert tested | set(REASONS) == set(T.__all__)


@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.smoke
def test_each_transform_compiled(row):
    operators, tree = operators_of(row), row.make_tree()
    functions = [operator.apply(row, row.function) for operator in operators]
    values = jax.jit(lambda tree: [function(tree) for function in functions])(tree)
    for operator, value in zip(operators, values, strict=True):
        assert is_right(row, value, operator.effect), operator


SIMILAR = {"sine of a vector", "cubic of a vector"}
"""Rows whose pairs take as long as those of the nested tree, and go the same ways."""


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_pairs(row, request):
    if str(row) in SIMILAR and request.config.getoption("--grid") != "full":
        pytest.skip("one of three that are alike: pytest tests/transforms --grid=full")
    operators, interpreter = operators_of(row), Interpreter()
    chains = [(outer,) for outer in operators]
    found = [
        fault
        for inner in inner_sums(row, operators)
        for chain in chains
        for fault in faults(interpreter, chain, inner)
    ]
    assert found == []


def triples(middle: Operator, outers: Iterable[Operator], inners: Iterable[Operator]) -> list[str]:
    interpreter = Interpreter()
    chains = [(outer, middle) for outer in outers if is_possible(outer, middle)]
    sums = inner_sums(VECTOR, inners)
    return [f for inner in sums for chain in chains for f in faults(interpreter, chain, inner)]


def drawn(seed: int) -> list[Operator]:
    """Draw one operator of each kind."""
    draw = random.Random(seed)
    return [draw.choice([o for o in OPERATORS.values() if o.kind == kind]) for kind in KINDS]


# two seeds that draw what is quick to trace; the outermost are drawn anew for each
@pytest.mark.parametrize("middle", drawn(261), ids=str)
def test_triples_of_kinds(middle):
    assert triples(middle, drawn(KINDS.index(middle.kind)), drawn(117)) == []


@pytest.mark.parametrize("middle", OPERATORS.values(), ids=str)
def test_triples(middle, request):
    if request.config.getoption("--grid") != "full":
        pytest.skip("all triples take a quarter of an hour: pytest tests/transforms --grid=full")
    assert triples(middle, OPERATORS.values(), OPERATORS.values()) == []


@pytest.mark.parametrize("seed", range(3))
def test_some_triples_compiled(seed):
    draw = random.Random(seed)
    row = draw.choice(ROWS)
    chains = list(itertools.product(operators_of(row), repeat=3))
    some = [chain for chain in draw.sample(chains, 12) if is_possible(*chain)]
    functions, effects = zip(*(composed(row, c, row.function, IDENTITY) for c in some), strict=True)
    values = jax.jit(lambda tree: [function(tree) for function in functions])(row.make_tree())
    for chain, value, effect in zip(some, values, effects, strict=True):
        assert is_right(row, value, effect), " of ".join(map(str, chain))


@pytest.mark.parametrize("name", ["jvp", "linearize", "jacfwd"])
def test_custom_gradient_has_no_forward_derivative(name):
    function = OPERATORS["custom_gradient"].apply(VECTOR, VECTOR.function)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jit(OPERATORS[name].apply(VECTOR, function))(VECTOR.make_tree())


@pytest.mark.parametrize("name", OPERATORS)
def test_jax_transforms_go_around_and_inside(name):
    operator, tree = OPERATORS[name], VECTOR.make_tree()
    inside = operator.apply(VECTOR, jax.checkpoint(jax.jit(VECTOR.function)))
    around = jax.vmap(jax.value_and_grad(jax.jit(inside)))
    traced = jax.jit(around).trace(np.stack([tree, tree])).jaxpr
    values, gradients = Interpreter().run(traced, [np.stack([tree, tree])])
    assert all(is_right(VECTOR, value, operator.effect) for value in values)
    slope = times({(1, 0): 1.0}, operator.effect)
    assert all(is_right(VECTOR, g @ VECTOR.direction(g), slope) for g in gradients)
