"""Every row of every layer in mixed precision: values, gradients, dtypes, and each kind of transform."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from tests.integration.mesh_rows import is_array, is_float, is_full, names, some_kinds
from tests.module.precision.layers import COMPUTE, cases, rounded

ALL = cases()

IN_THE_ROW = {"CTCLoss"}
"""Layers whose rows compute themselves, before the layer does."""

WIDE_ONLY = {
    "cos", "cumsum", "digamma", "div", "erf", "exp", "expm1", "integer_pow", "lgamma", "log", "log1p", "logistic",
    "pow", "reduce_sum", "rsqrt", "sin", "sqrt", "tanh",
}  # fmt: skip
"""Operations that are in 32 bits everywhere. A product or a sum of two numbers is not among them."""


def pytest_generate_tests(metafunc):
    """Take the first row of one layer of each kind, and one of both dtypes; with ``--grid=full`` all rows and both."""
    if "case" not in metafunc.fixturenames:
        return
    full = is_full(metafunc.config)
    chosen = names() if full or "traced" in metafunc.fixturenames else some_kinds(metafunc.config)
    found = [[case for case in ALL if case.row.name == name] for name in chosen]
    rows = [case for several in found for case in (several if full else several[:1])]
    metafunc.parametrize("case", rows, ids=lambda case: str(case.row))
    if "compute" in metafunc.fixturenames and full:
        metafunc.parametrize("compute", COMPUTE)


@pytest.fixture
def compute(case):
    """One of both dtypes, which one the name says."""
    return COMPUTE[len(case.row.name) % 2]


@pytest.fixture
def traced():
    """Ask for all layers: what is traced and not compiled is quick."""


def _dtypes(tree):
    return [
        (leaf.shape, leaf.dtype.name) for leaf in jax.tree.leaves(tree) if hasattr(leaf, "dtype")
    ]


def _wide(tree):
    return [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def _furthest(some, others):
    pairs = zip(_wide(some), _wide(others), strict=True)
    return max((np.nan_to_num(np.abs(a - b)).max(initial=0.0) for a, b in pairs), default=0.0)


def _largest(tree):
    return max((np.abs(x[np.isfinite(x)]).max(initial=0.0) for x in _wide(tree)), default=0.0)


@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_values_gradients_and_state(case, compute, train):
    """What 16 bits change is what rounding the numbers that are given changes, and a few roundings more."""
    net16 = fn.mixed_precision(case.net, compute)
    params, state = case.arrays
    floats, others, _ = case.parts
    wide = jax.jit(lambda *given: case.graded(case.net, *given, train))
    narrow = jax.jit(lambda *given: case.graded(net16, *given, train))
    right = wide(params, state, floats, others)
    near = wide(rounded(params, compute), state, rounded(floats, compute), others)
    ours = narrow(params, state, floats, others)
    assert _dtypes(ours) == _dtypes(right)
    for what, a, b, c in zip(("outputs", "state", "gradients"), ours, right, near, strict=True):
        for one, other in zip(_wide(a), _wide(b), strict=True):
            np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other), what)
        allowed = 4 * _furthest(b, c) + 2 * float(jnp.finfo(compute).eps) * _largest(b)
        assert _furthest(a, b) <= allowed, what


def test_transforms(case, compute):
    """A scan over steps, a vmap over examples, and the gradient of a gradient, in one program each."""
    net16 = fn.mixed_precision(case.net, compute)
    params, state = case.arrays
    floats, others, _ = case.parts
    alone = lambda state, floats: case.call(net16, params, state, floats, others, train=True)
    twice = jax.tree.map(lambda x: jnp.stack([x, x]), floats)
    output, left = jax.jit(alone)(state, floats)
    flat = lambda tree: [leaf for leaf in jax.tree.leaves(tree) if is_array(leaf)]

    def step(state, floats):
        output, left = alone(state, floats)
        return left, flat(output)

    after, steps = jax.jit(lambda s, x: jax.lax.scan(step, s, x, 2))(state, twice)
    assert _dtypes(after) == _dtypes(left)
    rows = jax.jit(jax.vmap(lambda floats: flat(alone(state, floats)[0]), axis_size=2))(twice)
    scale = 4 * float(jnp.finfo(compute).eps)
    for one, several, mapped in zip(flat(output), steps, rows, strict=True):
        for made in (several[0], mapped[0], mapped[1]):
            assert made.dtype == one.dtype
            atol = scale * _largest([one]) if is_float(one) else 0
            np.testing.assert_allclose(made, one, atol=atol, rtol=0)


@pytest.mark.parametrize("outputs", [None, *COMPUTE, "float32"], ids=str)
def test_outputs_are_as_asked(case, outputs, traced):
    plain = lambda net: jax.eval_shape(
        lambda *given: case.call(net, *given), *case.arrays, *case.parts[:2]
    )
    right, state = plain(case.net)
    ours, left = plain(fn.mixed_precision(case.net, outputs=outputs))
    assert _dtypes(left) == _dtypes(state)
    for (shape, dtype), found in zip(_dtypes(right), _dtypes(ours), strict=True):
        if outputs is None and dtype == "float32":
            assert found[0] == shape
            assert found[1] in {"bfloat16", "float32"}
        else:
            assert found == (shape, outputs if dtype == "float32" else dtype)


def test_sums_exponentials_and_quotients_are_in_32_bits(case, traced):
    if case.row.name in IN_THE_ROW:
        pytest.skip("its row computes a logarithm itself")
    net16 = fn.mixed_precision(case.net)
    given = (*case.arrays, *case.parts[:2])
    for train in (False, True):
        made = jax.make_jaxpr(lambda *given, train=train: case.graded(net16, *given, train))(*given)
        narrow = {
            one.primitive.name
            for one in equations(made.jaxpr)
            if any(getattr(var.aval, "dtype", None) == jnp.bfloat16 for var in one.outvars)
            and not _adds_nothing(one)
        }
        assert not narrow & WIDE_ONLY


def _adds_nothing(one):
    """Say whether a sum is over axes of one number: a reshape."""
    before, after = one.invars[0].aval.shape if one.invars else (), one.outvars[0].aval.shape
    return one.primitive.name == "reduce_sum" and np.prod(before) == np.prod(after)


def equations(jaxpr):
    """All operations of a traced function, those of inner ones too."""
    inner = lambda value: hasattr(value, "eqns") or hasattr(value, "jaxpr")
    for one in jaxpr.eqns:
        yield one
        for value in jax.tree.leaves(list(one.params.values()), is_leaf=inner):
            value = getattr(value, "jaxpr", value)
            if hasattr(value, "eqns"):
                yield from equations(value)


def test_gradients_of_gradients_are_finite(case, compute):
    if not case.row.gradients:
        pytest.skip("it has none")
    params, state = case.arrays
    floats, others, _ = case.parts

    def curvature(net):
        def slope(wanted):
            grads = case.graded(net, wanted[0], state, wanted[1], others, False)[2]
            return sum((jnp.sum(jnp.sin(g)) for g in jax.tree.leaves(grads)), start=jnp.zeros(()))

        return jax.jit(jax.grad(slope))((params, floats))

    right, ours = curvature(case.net), curvature(fn.mixed_precision(case.net, compute))
    assert _dtypes(ours) == _dtypes(right)
    for one, other in zip(_wide(ours), _wide(right), strict=True):
        np.testing.assert_array_equal(np.isfinite(one), np.isfinite(other))
