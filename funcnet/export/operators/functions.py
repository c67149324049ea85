"""Exponentials, logarithms, angles, rounding, and the error and gamma functions, one number at a time."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from jax import lax

from funcnet.core.jax_internals.operations import settings_of
from funcnet.core.jax_internals.programs import Operation
from funcnet.export.onnx.graph import Graph, Value
from funcnet.export.operators.kernels import Rule, broadcasting, floating, refuse

__all__ = ["FUNCTIONS"]

_WITHOUT_FLOAT64 = {"Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Cosh", "Erf", "Sinh", "Tan"}
"""Operators for which ONNX Runtime has no kernel of float64."""


def _direct(op_type: str) -> Rule:
    """Make the rule of a function that is one operator."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        if op_type in _WITHOUT_FLOAT64 and operands[0].dtype == np.float64:
            raise refuse(operation, f"ONNX Runtime has no {op_type} of float64; use float32")
        return [floating(graph, op_type, operands)]

    return rule


class Formula:
    """Writes formulas in one dtype: float32, or float64 where digits would be lost."""

    def __init__(self, graph: Graph, dtype: np.dtype):
        self.graph, self.dtype = graph, dtype

    def number(self, value: Value | float) -> Value:
        """Turn a Python number into a constant; leave values."""
        return value if isinstance(value, Value) else self.graph.scalar(value, self.dtype)

    def __call__(self, op_type: str, *inputs: Value | float) -> Value:
        """Apply an operator to floats."""
        return self.graph.node(op_type, [self.number(each) for each in inputs], dtype=self.dtype)

    def test(self, op_type: str, *inputs: Value | float) -> Value:
        """Compare floats."""
        return self.graph.node(op_type, [self.number(each) for each in inputs], dtype=np.bool_)

    def choose(self, test: Value, yes: Value | float, no: Value | float) -> Value:
        """Take one of two."""
        return self.graph.node("Where", [test, *map(self.number, (yes, no))], dtype=self.dtype)

    def polynomial(self, value: Value, coefficients: Sequence[float]) -> Value:
        """Evaluate a polynomial; the highest power's coefficient comes first."""
        made = self("Mul", value, coefficients[0])
        for each in coefficients[1:-1]:
            made = self("Mul", self("Add", made, each), value)
        return self("Add", made, coefficients[-1])


def _formula(write: Callable[..., Value], wide: bool = False, only_32: bool = False) -> Rule:
    """Make the rule of a function that is a formula, in at least 32 bits, or always in 64."""

    def rule(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
        own = operands[0].dtype
        if only_32 and own == np.float64:
            raise refuse(operation, "ONNX Runtime has no kernels for it in float64; use float32")
        via = np.dtype(np.float64 if wide or own == np.float64 else np.float32)
        made = write(Formula(graph, via), *(graph.cast(each, via) for each in operands))
        return [graph.cast(made, own)]

    return rule


def _logistic(f: Formula, x: Value) -> Value:
    """Not ONNX's Sigmoid: ONNX Runtime's is 0 below -18, whose logarithm then is infinite."""
    return f("Reciprocal", f("Add", f("Exp", f("Neg", x)), 1.0))


def _exp_minus_one(f: Formula, x: Value) -> Value:
    """``tanh(x / 2) * (exp(x) + 1)``: keeps its digits near 0."""
    return f("Mul", f("Tanh", f("Mul", x, 0.5)), f("Add", f("Exp", x), 1.0))


def _log_one_plus(f: Formula, x: Value) -> Value:
    """``log(u) * x / (u - 1)`` where ``u`` is ``1 + x`` as rounded: the quotient undoes the rounding."""
    rounded = f("Add", x, 1.0)
    ratio = f("Div", x, f("Sub", rounded, 1.0))
    tiny_or_infinite = f.graph.node(
        "Or", [f.test("Equal", rounded, 1.0), f.test("Equal", rounded, math.inf)], dtype=np.bool_
    )
    return f.choose(tiny_or_infinite, x, f("Mul", f("Log", rounded), ratio))


def _cube_root(f: Formula, x: Value) -> Value:
    return f("Mul", f("Sign", x), f("Pow", f("Abs", x), 1 / 3))


def _negative_sign(f: Formula, x: Value) -> Value:
    """Whether a number's sign is minus, that of -0.0 too."""
    below = f.test("Less", x, 0.0)
    return f.graph.node("Or", [below, f.test("Less", f("Reciprocal", x), 0.0)], dtype=np.bool_)


def _angle(f: Formula, y: Value, x: Value) -> Value:
    """Find the angle of a point: that of the first octant, mirrored to where the point lies."""
    high, wide = f("Abs", y), f("Abs", x)
    steep = f.test("Greater", high, wide)
    ratio = f("Div", f("Min", high, wide), f("Max", high, wide))
    ratio = f.choose(f.test("Equal", high, wide), 1.0, ratio)
    origin = f.test("Equal", f("Max", high, wide), 0.0)
    turned = f("Atan", f.choose(origin, 0.0, ratio))
    turned = f.choose(steep, f("Sub", math.pi / 2, turned), turned)
    turned = f.choose(_negative_sign(f, x), f("Sub", math.pi, turned), turned)
    return f.choose(_negative_sign(f, y), f("Neg", turned), turned)


# ---- rounding ------------------------------------------------------------------------------------


def _round(graph: Graph, operation: Operation, operands: list[Value]) -> list[Value]:
    """Halves go to the even neighbour, or away from 0, as asked."""
    if settings_of(operation)["rounding_method"] == lax.RoundingMethod.TO_NEAREST_EVEN:
        return [floating(graph, "Round", operands)]
    return list(_formula(_away_from_zero)(graph, operation, operands))


def _away_from_zero(f: Formula, x: Value) -> Value:
    size = f("Abs", x)
    low = f("Floor", size)
    up = f.test("GreaterOrEqual", f("Sub", size, low), 0.5)
    return f("Mul", f("Sign", x), f.choose(up, f("Add", low, 1.0), low))


# ---- error functions -----------------------------------------------------------------------------

_ERFC_MIDDLE = (
    2.326819970068386e-2,
    -1.387039388740657e-1,
    3.687424674597105e-1,
    -5.824733027278666e-1,
    6.210004621745983e-1,
    -4.944515323274145e-1,
    3.404879937665872e-1,
    -2.741127028184656e-1,
    5.638259427386472e-1,
)
_ERFC_FAR = (
    -1.047766399936249e1,
    1.297719955372516e1,
    -7.495518717768503,
    2.921019019210786,
    -1.015265279202700,
    4.218463358204948e-1,
    -2.820767439740514e-1,
    5.641895067754075e-1,
)
"""Polynomials in ``1 / x**2`` of the Cephes library (S. Moshier), for ``1 <= x < 2`` and beyond."""


def _erf_complement(f: Formula, x: Value) -> Value:
    """1 - erf(x), with all its digits where that is tiny."""
    near = f("Sub", 1.0, f("Erf", x))
    size = f("Max", f("Abs", x), 1.0)
    inverse = f("Reciprocal", size)
    square = f("Mul", inverse, inverse)
    factor = f.choose(
        f.test("Less", size, 2.0),
        f.polynomial(square, _ERFC_MIDDLE),
        f.polynomial(square, _ERFC_FAR),
    )
    tail = f("Mul", f("Mul", f("Exp", f("Neg", f("Mul", size, size))), inverse), factor)
    far = f.choose(f.test("Less", x, 0.0), f("Sub", 2.0, tail), tail)
    return f.choose(f.test("Greater", f("Abs", x), 1.0), far, near)


_INVERSE_NEAR = (
    2.81022636e-08,
    3.43273939e-07,
    -3.5233877e-06,
    -4.39150654e-06,
    0.00021858087,
    -0.00125372503,
    -0.00417768164,
    0.246640727,
    1.50140941,
)
_INVERSE_FAR = (
    -0.000200214257,
    0.000100950558,
    0.00134934322,
    -0.00367342844,
    0.00573950773,
    -0.0076224613,
    0.00943887047,
    1.00167406,
    2.83297682,
)
"""M. Giles, "Approximating the erfinv function", in single precision."""


def _erf_inverse(f: Formula, x: Value) -> Value:
    w = f("Neg", _log_one_plus(f, f("Neg", f("Mul", x, x))))
    near = f.polynomial(f("Sub", w, 2.5), _INVERSE_NEAR)
    far = f.polynomial(f("Sub", f("Sqrt", w), 3.0), _INVERSE_FAR)
    made = f("Mul", f.choose(f.test("Less", w, 5.0), near, far), x)
    return f.choose(f.test("Equal", f("Abs", x), 1.0), f("Mul", x, math.inf), made)


# ---- gamma functions -----------------------------------------------------------------------------

_LANCZOS = (
    0.99999999999980993,
    676.520368121885098567009190444019,
    -1259.13921672240287047156078755283,
    771.3234287776530788486528258894,
    -176.61502916214059906584551354,
    12.507343278686904814458936853,
    -0.13857109526572011689554707,
    9.984369578019570859563e-6,
    1.50563273514931155834e-7,
)
"""Lanczos' approximation with g = 7 and nine terms, good to 15 digits."""


def _log_gamma(f: Formula, x: Value) -> Value:
    """Lanczos' series where ``x >= 0.5``, Euler's reflection below."""
    reflected = f.test("Less", x, 0.5)
    z = f.choose(reflected, f("Neg", x), f("Sub", x, 1.0))
    series, _ = _lanczos(f, z)
    shifted = f("Add", z, 7.5)
    logarithm = f("Log", shifted)
    made = f("Sub", f("Mul", f("Add", z, 0.5), logarithm), shifted)
    made = f("Add", f("Add", made, 0.5 * math.log(2 * math.pi)), f("Log", series))
    size = f("Abs", x)
    part = f("Sub", size, f("Floor", size))
    part = f.choose(f.test("Greater", part, 0.5), f("Sub", 1.0, part), part)
    sine = f("Log", f("Sin", f("Mul", part, math.pi)))
    whole = f.choose(f.test("Equal", part, 0.0), math.inf, f("Sub", math.log(math.pi), sine))
    made = f.choose(reflected, f("Sub", whole, made), made)
    return f.choose(f.test("Equal", size, math.inf), math.inf, made)


def _lanczos(f: Formula, z: Value) -> tuple[Value, Value]:
    """Give the series and its derivative."""
    series, slope = f.number(_LANCZOS[0]), f.number(0.0)
    for place, coefficient in enumerate(_LANCZOS[1:], 1):
        below = f("Add", z, float(place))
        term = f("Div", coefficient, below)
        series = f("Add", series, term)
        slope = f("Sub", slope, f("Div", term, below))
    return series, slope


def _digamma(f: Formula, x: Value) -> Value:
    """Derive `_log_gamma` piece by piece; not a number at 0 and whole numbers below."""
    reflected = f.test("Less", x, 0.5)
    z = f.choose(reflected, f("Neg", x), f("Sub", x, 1.0))
    series, slope = _lanczos(f, z)
    shifted = f("Add", z, 7.5)
    made = f("Sub", f("Log", shifted), f("Div", 7.0, shifted))
    made = f("Add", made, f("Div", slope, series))
    part = f("Sub", x, f("Round", x))
    turned = f("Mul", part, math.pi)
    mirrored = f(
        "Sub",
        made,
        f("Mul", math.pi, f("Div", f("Sin", f("Add", turned, math.pi / 2)), f("Sin", turned))),
    )
    made = f.choose(reflected, mirrored, made)
    pole = f.graph.node(
        "And", [f.test("LessOrEqual", x, 0.0), f.test("Equal", part, 0.0)], dtype=np.bool_
    )
    return f.choose(pole, math.nan, made)


_ONE_OPERATOR = {
    "acos": "Acos",
    "acosh": "Acosh",
    "asin": "Asin",
    "asinh": "Asinh",
    "atan": "Atan",
    "atanh": "Atanh",
    "ceil": "Ceil",
    "cosh": "Cosh",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "log": "Log",
    "sin": "Sin",
    "sinh": "Sinh",
    "sqrt": "Sqrt",
    "tan": "Tan",
    "tanh": "Tanh",
}

_FORMULAS: dict[str, Rule] = {
    "atan2": _formula(_angle, only_32=True),
    "cbrt": _formula(_cube_root),
    "cos": _formula(lambda f, x: f("Cos", x)),
    "digamma": _formula(_digamma, wide=True),
    "erf_inv": _formula(_erf_inverse, only_32=True),
    "erfc": _formula(_erf_complement, only_32=True),
    "exp2": _formula(lambda f, x: f("Pow", 2.0, x)),
    "expm1": _formula(_exp_minus_one),
    "lgamma": _formula(_log_gamma, wide=True),
    "log1p": _formula(_log_one_plus),
    "log2": _formula(lambda f, x: f("Div", f("Log", x), math.log(2))),
    "logistic": _formula(_logistic),
    "rsqrt": _formula(lambda f, x: f("Reciprocal", f("Sqrt", x))),
}

FUNCTIONS: dict[str, Rule] = {
    name: broadcasting(rule)
    for name, rule in {
        **{name: _direct(op_type) for name, op_type in _ONE_OPERATOR.items()},
        **_FORMULAS,
        "round": _round,
    }.items()
}
"""Rules by kind of operation."""
