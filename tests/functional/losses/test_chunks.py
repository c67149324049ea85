"""The linear cross entropy in chunks is the one of all logits at once, under every transform."""

import itertools
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.parity import close
from tests.parity.tolerance import RELATIVE_BF16

SAMPLES, FEATURES, CLASSES, ROWS = 11, 3, 5, 4
"""Two chunks of four rows, and three rows that remain."""

SETTINGS = list(
    itertools.product(("mean", "sum"), (0.0, 0.1), (False, True), (False, True), (False, True))
)
"""Reduction, label smoothing, probabilities, a mask, one more axis of classes."""


def problem(reduction, smoothing, probabilities, masked, extra):
    """Both forms as functions of the same float arrays, and these arrays."""
    rng = np.random.default_rng(0)
    more = (2,) if extra else ()
    labels = rng.integers(0, CLASSES, (SAMPLES, *more))
    labels[3] = -100
    chances = jax.nn.softmax(jnp.asarray(rng.normal(size=(SAMPLES, CLASSES, *more))), 1)
    keywords = {"reduction": reduction, "label_smoothing": smoothing}
    if masked:
        keywords["where"] = rng.random((SAMPLES, *more)) < 0.7
    shapes = ((SAMPLES, FEATURES), (CLASSES, *more, FEATURES), (CLASSES, *more))
    arrays = [jnp.asarray(rng.normal(size=shape)) for shape in shapes]
    arrays.append(jnp.asarray(rng.uniform(0.5, 1.5, CLASSES)))
    if probabilities:
        arrays.append(chances)

    def plain(x, w, b, factor, target=labels):
        return F.cross_entropy(jnp.tensordot(x, w, (-1, -1)) + b, target, factor, **keywords)

    def ours(x, w, b, factor, target=labels, rows=ROWS):
        options = F.LinearCrossEntropyOptions(batch_chunk_size=rows)
        return F.linear_cross_entropy(
            x, w, target, linear_bias=b, weight=factor, options=options, **keywords
        )

    return plain, ours, tuple(arrays)


def derivatives(function, arrays):
    """Value, gradients, forward mode, and both kinds of hessian-vector products."""
    rng = np.random.default_rng(1)
    direction = tuple(jnp.asarray(rng.normal(size=x.shape)) for x in arrays)
    gradients = jax.grad(function, tuple(range(len(arrays))))

    def slope(*arrays):
        return sum(jnp.vdot(g, d) for g, d in zip(gradients(*arrays), direction, strict=True))

    return {
        "value": function(*arrays),
        "gradients": gradients(*arrays),
        "forward mode": jax.jvp(function, arrays, direction)[1],
        "forward over reverse": jax.jvp(gradients, arrays, direction)[1],
        "reverse over reverse": jax.grad(slope, tuple(range(len(arrays))))(*arrays),
        "the weight alone": jax.grad(function, 1)(*arrays),
    }


def check_derivatives(*settings):
    """Compare chunks with all logits at once, in every derivative."""
    plain, ours, arrays = problem(*settings)
    expected = jax.jit(partial(derivatives, plain))(arrays)
    found = jax.jit(partial(derivatives, ours))(arrays)
    for what in expected:
        for a, b in zip(*map(jax.tree.leaves, (found[what], expected[what])), strict=True):
            close(a, b, 1e-12, what)  # float64: sums in another order


@pytest.mark.parametrize("number", range(len(SETTINGS)))
def test_every_derivative_is_that_of_all_logits(number, x64, request):
    if number % 11 and request.config.getoption("--grid") != "full":
        pytest.skip("one of eleven, unless --grid=full")
    check_derivatives(*SETTINGS[number])


def test_a_batch_of_calls_is_each_call(x64):
    _, ours, arrays = problem("mean", 0.1, False, True, False)
    others = tuple(x[::-1] for x in arrays)
    run = jax.value_and_grad(ours, (0, 1, 2))
    both = jax.jit(jax.vmap(run))(*jax.tree.map(lambda *x: jnp.stack(x), arrays, others))
    for n, call in enumerate((arrays, others)):
        alone = jax.tree.leaves(jax.jit(run)(*call))
        for a, b in zip(jax.tree.leaves(both), alone, strict=True):
            close(a[n], b, 1e-12, f"call {n}")  # float64: sums in another order


def test_narrow_logits_give_what_narrow_logits_give():
    """With sums in bfloat16 it is the cross entropy of a bfloat16 product, as autocast computes."""
    rng = np.random.default_rng(0)
    x, w = (jnp.asarray(rng.normal(size=s), jnp.bfloat16) for s in ((12, 8), (20, 8)))
    labels = rng.integers(0, 20, 12)
    options = F.LinearCrossEntropyOptions(batch_chunk_size=4, acc_dtype=jnp.bfloat16)

    def plain(x, w):
        return F.cross_entropy((x @ w.T).astype(jnp.float32), labels)

    def ours(x, w):
        return F.linear_cross_entropy(x, w, labels, options=options)

    expected = jax.jit(jax.value_and_grad(plain, (0, 1)))(x, w)
    found = jax.jit(jax.value_and_grad(ours, (0, 1)))(x, w)
    for a, b in zip(*map(jax.tree.leaves, (found, expected)), strict=True):
        close(a, b, RELATIVE_BF16, "narrow logits")


@pytest.mark.parametrize(("wanted", "products"), [((), 1), ((0,), 2), ((1,), 2), ((0, 1, 2), 3)])
def test_no_product_is_computed_twice_or_for_nothing(wanted, products, x64):
    """One product for the logits, and one for each gradient of a factor that is asked for."""
    _, ours, arrays = problem("mean", 0.0, False, False, False)
    arrays = tuple(x[: 2 * ROWS] if len(x) == SAMPLES else x for x in arrays)
    labels = np.zeros(2 * ROWS, int)
    run = lambda *arrays: ours(*arrays, labels)
    program = jax.make_jaxpr(jax.value_and_grad(run, wanted) if wanted else run)(*arrays)
    assert str(program).count("dot_general[") == products


def test_sums_over_chunks_have_32_bits():
    """A sum in bfloat16 stops growing after 256 ones; here 64 chunks add to each gradient."""
    x, w = jnp.ones((1024, 2), jnp.bfloat16), jnp.zeros((2, 2), jnp.bfloat16)
    options = F.LinearCrossEntropyOptions(batch_chunk_size=2)
    loss = partial(F.linear_cross_entropy, reduction="sum", options=options)
    slopes = jax.jit(jax.grad(lambda w: loss(x, w, jnp.zeros(1024, int))))(w)
    np.testing.assert_array_equal(slopes, [[-512, -512], [512, 512]])


def test_a_large_batch_of_many_classes_is_cut_by_default():
    options = F.LinearCrossEntropyOptions()
    assert options.rows(8192, 768, 50304) == 1024
    assert options.rows(2**20, 768, 10) == 2**20
    assert options.rows(2**15, 768, 50304) == 4096
    assert options.rows(3000, 768, 50304) == 1000
    narrow = F.LinearCrossEntropyOptions(acc_dtype=jnp.bfloat16)
    assert narrow.rows(8192, 768, 50304) == 2048
