"""Rules for operations on one number at a time: in each dtype, on every pair of awkward numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.export.operators.running import Case, failures, refusal
from tests.export.operators.values import (
    ALL,
    FLOATS,
    NUMBERS,
    SIGNED,
    WHOLE,
    awkward,
    pairs,
    singles,
)

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

HALVES = FLOATS[:3]
BITS = (*WHOLE, "bool")

TWO = {
    lax.add: NUMBERS,
    lax.sub: NUMBERS,
    lax.mul: NUMBERS,
    lax.div: NUMBERS,
    lax.rem: NUMBERS,
    lax.max: ALL,
    lax.min: ALL,
    lax.pow: FLOATS,
    lax.atan2: HALVES,
    lax.eq: ALL,
    lax.ne: ALL,
    lax.lt: ALL,
    lax.le: ALL,
    lax.gt: ALL,
    lax.ge: ALL,
    lax.bitwise_and: BITS,
    lax.bitwise_or: BITS,
    lax.bitwise_xor: BITS,
    lax.shift_left: WHOLE,
    lax.shift_right_logical: WHOLE,
    lax.shift_right_arithmetic: WHOLE,
}

EXACT = (lax.neg, lax.square)
ONE = {
    **dict.fromkeys(EXACT, NUMBERS),
    **dict.fromkeys((lax.abs, lax.sign), FLOATS + SIGNED),
    **dict.fromkeys((lax.population_count, lax.clz), WHOLE),
    lax.bitwise_not: BITS,
    **dict.fromkeys(
        (lax.is_finite, lax.ceil, lax.floor, lax.exp, lax.log, lax.sin, lax.cos), FLOATS
    ),
    **dict.fromkeys((lax.tanh, lax.sqrt, lax.rsqrt, lax.logistic, lax.log1p, lax.expm1), FLOATS),
    **dict.fromkeys((lax.cbrt, lax.exp2, lax.lgamma), FLOATS),
    **dict.fromkeys((lax.tan, lax.asin, lax.acos, lax.atan, lax.sinh, lax.cosh, lax.asinh), HALVES),
    **dict.fromkeys((lax.acosh, lax.atanh, lax.erf, lax.erfc, lax.erf_inv), HALVES),
}

ROUGH = {lax.lgamma: 1e-5}
"""XLA computes it in 32 bits, where terms cancel; the file computes it in 64."""

ROUGH_IN_16_BITS = {lax.exp2: 0.06, lax.lgamma: 0.01}
"""XLA computes them in 16 bits, and is off by that."""


def name_of(function):
    return function.__name__


def sampled(request, dtypes, number):
    """All dtypes, or in CI two, others for each operation: from both halves of the list."""
    if request.config.getoption("grid") == "full":
        return dtypes
    half = len(dtypes) // 2
    return (
        {dtypes[number % half or 0], dtypes[half + number % (len(dtypes) - half)]}
        if half
        else dtypes
    )


def ordered(chosen, dtypes):
    return [dtype for dtype in dtypes if dtype in chosen]


def cases_of(request, table, arrays_of):
    for number, (function, dtypes) in enumerate(table.items()):
        for dtype in ordered(sampled(request, dtypes, number), dtypes):
            rough = ROUGH_IN_16_BITS if jnp.dtype(dtype).itemsize == 2 else {}
            rough = {**ROUGH, **rough}
            least = 1.0 if function in ROUGH else None
            yield Case(
                f"{name_of(function)} {dtype}",
                function,
                arrays_of(dtype),
                rough.get(function, 2e-6),
                least,
            )


def test_digamma(x64):
    """At 0 and whole numbers below releases of JAX do not agree: NaN or an infinity."""
    cases = []
    for dtype in FLOATS:
        x = singles(dtype)
        wide = np.nan_to_num(x.astype(np.float64), nan=0.5)
        pole = (wide <= 0) & (wide == np.round(wide))
        rough = 0.02 if x.dtype.itemsize == 2 else 1e-5
        cases.append(Case(dtype, lax.digamma, (x[~pole],), rough, 1.0))
    assert not failures(cases)


def test_two_numbers(request, x64):
    assert not failures(cases_of(request, TWO, pairs))


def test_one_number(request, x64):
    assert not failures(cases_of(request, ONE, lambda dtype: (singles(dtype),)))


@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 7, -1, -2, -5])
def test_whole_powers(exponent, request, x64):
    dtypes = NUMBERS if exponent >= 0 else FLOATS
    cases = [
        Case(
            f"{exponent} {dtype}",
            lambda x: lax.integer_pow(x, exponent),
            (singles(dtype),),
            tolerance,
        )
        for dtype in ordered(sampled(request, dtypes, exponent % 5), dtypes)
        for tolerance in [0.05 if jnp.dtype(dtype).itemsize == 2 else 2e-6]
    ]
    assert not failures(cases)


def test_powers_with_whole_exponents(x64):
    cases = [
        Case(f"{a} {b}", lax.pow, pairs(a, other=b)) for a in FLOATS for b in ("int32", "uint8")
    ]
    assert not failures(cases)


def test_rounding(x64):
    cases = [
        Case(f"{dtype} {method}", lambda x, m=method: lax.round(x, m), (singles(dtype),))
        for dtype in FLOATS
        for method in lax.RoundingMethod
    ]
    assert not failures(cases)


def test_every_dtype_becomes_every_other(request, x64):
    targets = {dtype: sampled(request, ALL, number) for number, dtype in enumerate(ALL)}
    cases = [
        Case(f"{a} {b}", lambda x, b=b: lax.convert_element_type(x, b), (singles(a),))
        for a in ALL
        for b in ordered(targets[a], ALL)
    ]
    assert not failures(cases)


def bounded(numbers, dtype):
    with np.errstate(over="ignore"):
        return np.array(numbers, jnp.dtype(dtype))


def test_floats_outside_of_a_range_become_its_ends(x64):
    large = [
        3e9,
        -3e9,
        300.0,
        -129.0,
        1e20,
        -1e20,
        2.0**31,
        2.0**32,
        2.0**63,
        2.0**64,
        65536.5,
        65504.0,
    ]
    cases = [
        Case(f"{a} {b}", lambda x, b=b: x.astype(b), (bounded([*large, *awkward(a)], a),))
        for a in FLOATS
        for b in WHOLE
    ]
    assert not failures(cases)


def test_conversions_round_also_where_nothing_goes_out():
    """What is beyond float16 is infinite at once, and digits are lost at once."""
    x = np.array([1e6, 1.0001, 3.3, -7e4], np.float32)
    cases = [
        Case(
            f"{dtype}",
            lambda x, d=dtype: (jnp.isfinite(x.astype(d)), x.astype(d).astype(jnp.float32) > 1),
            (x,),
        )
        for dtype in ("float16", "bfloat16")
    ]
    assert not failures(cases)


def test_clamping(request, x64):
    cases = []
    for dtype in ordered(sampled(request, NUMBERS, 2), NUMBERS):
        low, high = pairs(dtype)
        cases.append(Case(f"{dtype} arrays", lax.clamp, (low, low[::-1].copy(), high)))
        few = jnp.asarray(2, dtype), jnp.asarray(5, dtype)
        cases.append(Case(f"{dtype} numbers", lax.clamp, (few[0], low, few[1])))
    assert not failures(cases)


def test_choices(request, x64):
    cases = []
    for dtype in ordered(sampled(request, ALL, 3), ALL):
        left, right = pairs(dtype)
        test = jnp.arange(len(left)) % 3 == 0
        which = jnp.arange(len(left), dtype=jnp.int32) % 3
        third = right[::-1].copy()
        cases.append(Case(f"{dtype} two", lax.select_n, (test, left, right)))
        cases.append(Case(f"{dtype} three", lax.select_n, (which, left, right, third)))
        cases.append(Case(f"{dtype} one test", lax.select_n, (jnp.array(True), left, right)))
    assert not failures(cases)


def test_a_zero_beside_makes_a_relu(x64):
    cases = [
        Case(f"{dtype} {side}", function, (singles(dtype),))
        for dtype in NUMBERS
        for side, function in {
            "right": lambda x: jnp.maximum(x, jnp.zeros((), x.dtype)),
            "left": lambda x: lax.max(jnp.zeros((), x.dtype), x),
        }.items()
    ]
    assert not failures(cases)


BITS_OF_FLOATS = (
    0x7F800000,
    0xFF800000,
    0x3F800000,
    0x00800000,
    0xC2000001,
    0x7F7FFFFF,
    0x3F7FFFFF,
)
"""Infinities, 1, the smallest normal number, one below 0, the largest, the one below 1."""


def test_bits_of_equal_width(x64):
    cases = [
        Case(f"{a} {b}", lambda x, b=b: lax.bitcast_convert_type(x, b), (singles(a),))
        for a in WHOLE
        for b in WHOLE
        if a[-2:] == b[-2:]
    ]
    bits = np.array(BITS_OF_FLOATS, np.uint32)
    floats = np.concatenate([bits.view(np.float32), singles("float32")])
    for dtype in ("uint32", "int32"):
        to_bits = lambda x, d=dtype: jnp.where(
            jnp.isnan(x), jnp.zeros((), d), lax.bitcast_convert_type(x, d)
        )
        to_float = lambda x: lax.bitcast_convert_type(x, jnp.float32)
        cases += [
            Case(f"of {dtype}", to_float, (bits.astype(dtype),)),
            Case(f"as {dtype}", to_bits, (floats,)),
        ]
    assert not failures(cases)


def test_rounding_to_fewer_digits():
    cases = [
        Case(f"{digits}", lambda x, d=digits: lax.reduce_precision(x, *d), (singles("float32"),))
        for digits in ((8, 7), (5, 10), (8, 23))
    ]
    assert not failures(cases)


def test_random_bits_are_those_of_jax(key):
    data = jax.random.key_data(key)

    def draw(numbers):
        key = jax.random.wrap_key_data(numbers)
        return (
            jax.random.bits(key, (5, 3)),
            jax.random.normal(key, (7,)),
            jax.random.uniform(key, (2,)),
        )

    assert not failures([Case("threefry", draw, (data,), 1e-5)])


@pytest.mark.parametrize(
    "function",
    [
        lambda x: lax.complex(x, x).real,
        lax.bessel_i0e,
        lambda x: lax.bitcast_convert_type(x, jnp.int16),
        lambda x: lax.reduce_precision(x, 4, 3),
        lambda x: lax.nextafter(x, x),
    ],
    ids=["complex", "bessel", "bits", "digits", "nextafter"],
)
def test_what_onnx_cannot_say_is_refused(function):
    assert refusal(function, jnp.ones(3)) is not None


def test_functions_without_a_kernel_are_refused_in_64_bits(x64):
    message = refusal(lax.tan, jnp.ones(3, jnp.float64))
    assert "float64" in message
    assert "float32" in message
