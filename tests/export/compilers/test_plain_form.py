"""The plainer form of a function computes the same, and arrays and programs come through unchanged."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax

from funcnet.core.jax_internals.composites import calls_for_composites
from funcnet.core.jax_internals.portable import (
    lower_portably,
    portable_text,
    restored_call,
    to_portable,
)
from funcnet.core.jax_internals.programs import trace
from funcnet.export.compilers.child import read_arrays, write_arrays
from funcnet.export.compilers.plain_form import plain_form
from funcnet.export.compilers.staging import identifier
from funcnet.export.preflight.sites import located

X = jnp.linspace(0.1, 0.9, 12).reshape(4, 3)


def running(step, reverse=False):
    return lambda x: lax.scan(step, x[0], x, reverse=reverse)


def turn(carry, row):
    return jnp.tanh(carry * 0.5 + row), (carry, row.sum())


def nested(carry, row):
    inner, rows = lax.scan(turn, carry, jnp.stack([row, carry]))
    return inner, rows


def switched(x):
    return lax.platform_dependent(x, cpu=lambda x: x @ x.T, default=lambda x: jnp.dot(x, x.T))


FUNCTIONS = {
    "scan": running(turn),
    "reversed": running(turn, reverse=True),
    "nested": running(nested),
    "of no rows": lambda x: lax.scan(lambda c, _: (c + 1, None), x, None, length=3)[0],
    "of no turns": lambda x: lax.scan(turn, x[0], x[:0]),
    "while": lambda x: lax.while_loop(lambda s: s.sum() < 40, lambda s: s * 2 + x.mean(), x),
    "counted": lambda x: lax.fori_loop(0, 5, lambda i, s: s + x[i % 4].sum() * i, 0.0),
    "scan in a while": lambda x: lax.while_loop(
        lambda s: s.sum() < 9, lambda s: running(turn)(x + s)[0] + s + 1, x[0]
    ),
    "cond": lambda x: lax.cond(x[0, 0] > 0.05, lambda x: x * 2, lambda x: x - 1, x),
    "switch": lambda x: lax.switch(jnp.int32(2), [jnp.sin, jnp.cos, jnp.tanh], x),
    "platform": switched,
    "platform in a scan": lambda x: lax.scan(lambda c, r: (c, switched(x) * r.sum()), 0.0, x),
    "rules": lambda x: jax.nn.relu(jax.nn.logsumexp(x, axis=1)) + jax.nn.silu(x).sum(1),
    "jit and remat": jax.jit(jax.checkpoint(lambda x: jnp.sin(x) @ x.T)),
    "constants": lambda x: x + jnp.arange(3.0) + np.float32(2),
}


@pytest.mark.parametrize("turns", [64, 2])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_it_computes_the_same(name, turns):
    program, _ = trace(FUNCTIONS[name], X)
    made = jax.jit(plain_form(program, turns))(X)
    for got, expected in zip(made, jax.tree.leaves(jax.jit(FUNCTIONS[name])(X)), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize(("turns", "left"), [(64, 0), (4, 0), (3, 1)])
def test_loops_of_few_turns_are_written_out(turns, left):
    program, _ = trace(running(turn), X)
    plain, _ = trace(plain_form(program, turns), X)
    assert sum(site.operation.name == "scan" for site in located(plain, None)) == left


def test_no_call_and_no_switch_on_the_platform_is_left():
    for name in ("platform in a scan", "rules", "jit and remat"):
        program, _ = trace(FUNCTIONS[name], X)
        plain, _ = trace(plain_form(program), X)
        assert all(site.is_leaf for site in located(plain, None)), name


# ---- convolutions ------------------------------------------------------------------------------

SPACES = {1: (7,), 2: (6, 5), 3: (4, 3, 4)}
CONVOLUTIONS = [
    (axes, groups, gap, stride, dilation, padding)
    for axes in SPACES
    for groups in (1, 2)
    for gap in (1, 3)
    for stride in (1, 2)
    for dilation in (1, 2)
    for padding in ((1, 1), (2, 0))
]


def _sampled(rows, request):
    """Every seventh, so that each setting changes; all with ``--grid=full``."""
    return rows if request.config.getoption("--grid") == "full" else rows[::7]


def test_convolutions_in_plainer_forms_are_the_same(request, rng):
    rows = _sampled(CONVOLUTIONS, request)
    assert len(rows) >= 12
    for axes, groups, gap, stride, dilation, padding in rows:
        x = jnp.asarray(rng.standard_normal((2, 4, *SPACES[axes])), jnp.float32)
        kernel = jnp.asarray(rng.standard_normal((6, 4 // groups, *[2] * axes)), jnp.float32)

        def convolve(x, kernel):
            return lax.conv_general_dilated(
                x,
                kernel,
                [stride] * axes,
                [padding] * axes,
                lhs_dilation=[gap] * axes,
                rhs_dilation=[dilation] * axes,
                feature_group_count=groups,
            )

        program, _ = trace(convolve, x, kernel)
        (got,) = jax.jit(plain_form(program))(x, kernel)
        expected = jax.jit(convolve)(x, kernel)
        # sums of a few dozen products, in another order
        np.testing.assert_allclose(
            got, expected, rtol=1e-5, atol=1e-5, err_msg=f"{axes, groups, gap}"
        )


# ---- composites ----------------------------------------------------------------------------------

COMPOSITES = {
    "erf": lax.erf,
    "erfc": lax.erfc,
    "erf_inv": lax.erf_inv,
    "lgamma": lax.lgamma,
    "digamma": lax.digamma,
    "bessel": lax.bessel_i1e,
    "asin": jnp.arcsin,
    "acosh": lambda x: jnp.arccosh(x + 1),
    "sinh": jnp.sinh,
    "top_k": lambda x: lax.top_k(x, 2)[0],
    "zeta": lambda x: lax.zeta(x + 2, x),
    "in a scan": lambda x: lax.scan(lambda c, r: (lax.erf(c + r), c), x[0], x)[1],
}


@pytest.mark.parametrize("open_length", [False, True])
@pytest.mark.parametrize("name", COMPOSITES)
def test_a_program_without_composites_is_the_same(name, open_length):
    length = jax.export.symbolic_shape("n")[0] if open_length else 4
    given = [jax.ShapeDtypeStruct((length, 3), jnp.float32)]
    function = lambda x: [COMPOSITES[name](x)]
    program, _ = lower_portably(function, given, "cpu")
    plain = to_portable(calls_for_composites(portable_text(program)))
    assert "composite" not in portable_text(plain)
    run = restored_call(plain, given, jax.eval_shape(function, *given), "cpu")
    # XLA has an erf of its own, which differs from the composite's formula in the last place
    np.testing.assert_allclose(run(X)[0], jax.jit(COMPOSITES[name])(X), rtol=3e-7)


def test_a_composite_in_an_unknown_form_is_told():
    with pytest.raises(ValueError, match=r"written in a new way: %1 = stablehlo\.composite"):
        calls_for_composites('  %1 = stablehlo.composite "chlo.erf" by @erf (%0) : f32\n')


# ---- arrays --------------------------------------------------------------------------------------

DTYPES = ["bool", "int8", "uint8", "int32", "uint32", "int64", "float16", "bfloat16", "float32"]
DTYPES += ["float64", "complex64"]


def test_arrays_come_through_unchanged(tmp_path, rng):
    arrays = [
        rng.integers(0, 2, shape).astype(getattr(ml_dtypes, name, name))
        for name in DTYPES
        for shape in ((), (3,), (2, 0), (2, 3, 4))
    ]
    write_arrays(tmp_path / "some", arrays)
    for got, expected in zip(read_arrays(tmp_path / "some"), arrays, strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    ("name", "spelled"),
    [("x", "x"), ("cache.0.key", "cache_0_key"), ("0", "_0"), ("a b", "a_b")],
)
def test_names_become_arguments(name, spelled):
    assert identifier(name) == spelled
