"""Open lengths as JAX prints them, worked out as Python works them out."""

import random

import jax
import pytest

from funcnet.export.lengths import evaluate_length, fitting_length, symbols_of

COMBINED = (
    lambda a, b: a + b,
    lambda a, b: a - b,
    lambda a, b: a * b,
    lambda a, b: a // 2 + b,
    lambda a, b: (a + b) % 3,
    lambda a, b: 3 * a - 2 * b + 5,
    lambda a, b: a * a + b // 3,
)


@pytest.mark.parametrize("seed", range(40))
def test_expressions_as_jax_prints_them(seed):
    """The same random sums and products of symbols and of numbers."""
    rng = random.Random(seed)
    symbols = dict(zip("ab", jax.export.symbolic_shape("a, b"), strict=True))
    sizes = {"a": rng.randrange(1, 50), "b": rng.randrange(1, 50)}
    steps = [rng.choice(COMBINED) for _ in range(rng.randrange(1, 4))]

    def built(values):
        made = values["a"]
        for step in steps:
            made = step(made, values["b"])
        return made

    expression = str(built(symbols))
    assert evaluate_length(expression, sizes) == built(sizes), expression
    assert {*symbols_of([expression])} <= {"a", "b"}


@pytest.mark.parametrize(
    "text",
    ["", "1 +", "a b", "a.b", "a[0]", "f(a)", "__import__('os')", "max(a)", "a if a else a", "a/2", "'a'", "1.5",
     "9^9^9", "a^99", "floordiv(a, 0)", "(" * 400 + ")" * 400, "a+" * 600 + "a", "lambda: 1", "a\0", "True"],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match=r"is no length|no size is given"):
        evaluate_length(text, {"a": 3})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (lambda n, t: 7, 7),
        (lambda n, t: n, "n"),
        (lambda n, t: t, "t"),
        (lambda n, t: 2 * n - 1, "2*n - 1"),
        (lambda n, t: 3 * t + 4, "3*t + 4"),
        (lambda n, t: n * n, None),
        (lambda n, t: n + t, None),
    ],
)
def test_lengths_are_found_from_sizes(rule, expected):
    sizes = [{"n": n, "t": t} for n, t in ((1, 1), (2, 7), (5, 3), (9, 4))]
    assert fitting_length([(each, rule(**each)) for each in sizes]) == expected
