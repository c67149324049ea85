"""Labels of every kind, smoothed: equal to PyTorch's cross entropy, and to the mean over classes written out."""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.sampling import sampled

CLASSES = 5
SHAPES = {"one": (CLASSES,), "batch": (7, CLASSES), "places": (3, CLASSES, 2, 2)}
LOSSES = {
    "nll_loss": F.nll_loss,
    "nll_loss(weight)": partial(F.nll_loss, weight=jnp.array([0.5, 1.0, 2.0, 0.1, 1.5])),
    "cross_entropy": lambda x, y, **options: F.cross_entropy(x, y, **options),
    "cross_entropy(weight)": lambda x, y, **options: F.cross_entropy(
        x, y, jnp.array([0.5, 1.0, 2.0, 0.1, 1.5]), **options
    ),
}


def scores(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


def labels(shape, ignored):
    shape = shape[:-1] if len(shape) == 1 else (shape[0], *shape[2:])
    drawn = np.random.default_rng(0).integers(0, CLASSES, shape)
    if ignored and drawn.size > 1:
        drawn.flat[::3] = -100
    return jnp.asarray(drawn)


PRODUCTS = list(product(LOSSES, SHAPES, ["mean", "sum", "none"], [False, True]))


@pytest.mark.parametrize(
    "number", range(len(PRODUCTS)), ids=lambda n: "-".join(map(str, PRODUCTS[n]))
)
def test_it_is_the_smoothing_of_cross_entropy(number, request):
    sampled(request, number % 10 == 0)
    name, shape, reduction, ignored = PRODUCTS[number]
    x, y = scores(SHAPES[shape]), labels(SHAPES[shape], ignored)
    weight = jnp.array([0.5, 1.0, 2.0, 0.1, 1.5]) if "weight" in name else None
    smoothed = F.label_smoothing(LOSSES[name], 0.3)

    @jax.jit
    def both(x):
        logits = x if name.startswith("cross") else jax.nn.log_softmax(x, min(x.ndim - 1, 1))
        found = smoothed(logits, y, reduction=reduction)
        return found, F.cross_entropy(x, y, weight, reduction=reduction, label_smoothing=0.3)

    np.testing.assert_allclose(*both(x), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["indices", "one-hot", "one-hot integers", "probabilities"])
def test_cross_entropy_itself_and_labels_given_to_it(kind):
    torch = pytest.importorskip("torch")
    x, y = scores((7, CLASSES)), labels((7, CLASSES), False)
    rows = {"probabilities": jax.nn.softmax(scores((7, CLASSES), 1)), "indices": y}
    target = rows.get(kind, jax.nn.one_hot(y, CLASSES))
    given = torch.tensor(np.asarray(target, np.int64 if kind == "indices" else None))
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(np.asarray(x)), given, label_smoothing=0.3
    )
    if kind == "one-hot integers":
        target = target.astype(jnp.int32)
    found = F.label_smoothing(F.cross_entropy, 0.3)(x, target)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    by_hand = F.label_smoothing(lambda x, y: F.cross_entropy(x, y), 0.3, num_classes=CLASSES)
    np.testing.assert_allclose(by_hand(x, target), expected, rtol=1e-5)
    if kind != "one-hot integers":
        smooth = F.smooth_labels(target, CLASSES, 0.3)
        np.testing.assert_allclose(F.cross_entropy(x, smooth), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", list(SHAPES.values())[:2], ids=list(SHAPES)[:2])
def test_any_loss_is_its_mean_over_classes(shape):
    def odd(x, y):  # one that no formula of probabilities covers
        picked = jnp.take_along_axis(x, y[..., None], -1)
        return jnp.mean(jnp.sin(picked) + y[..., None].astype(x.dtype) ** 2)

    x, y = scores(shape), labels(shape, False)
    every = [odd(x, jnp.full_like(y, number)) for number in range(CLASSES)]
    expected = 0.7 * odd(x, y) + 0.3 * sum(every) / CLASSES
    np.testing.assert_allclose(F.label_smoothing(odd, 0.3)(x, y), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", [F.binary_cross_entropy_with_logits, F.mse_loss])
@pytest.mark.parametrize("dtype", ["bool", "int32", "float32"])
def test_answers_of_yes_or_no(loss, dtype):
    x, y = scores((4, 3)), jax.random.bernoulli(jax.random.key(1), 0.5, (4, 3))
    expected = loss(x, y.astype(jnp.float32) * 0.8 + 0.1)
    smoothed = F.label_smoothing(loss, 0.2, num_classes=2)
    np.testing.assert_allclose(smoothed(x, y.astype(dtype)), expected, rtol=1e-6)
    if dtype != "float32":
        assert smoothed(x.astype(jnp.bfloat16), y.astype(dtype)).dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_gradients_under_jit_and_dtypes(dtype):
    x, y = scores((7, CLASSES)).astype(dtype), labels((7, CLASSES), True)
    smoothed = F.label_smoothing(lambda x, y: F.cross_entropy(x, y), 0.3)
    loss, found = jax.jit(jax.value_and_grad(smoothed))(x, y)
    expected = jax.jit(jax.grad(lambda x: F.cross_entropy(x, y, label_smoothing=0.3)))(x)
    assert loss.dtype == dtype
    assert found.dtype == dtype
    tolerance = 8 * float(
        jnp.finfo(dtype).eps
    )  # gradients of six losses are added up in the input's dtype
    np.testing.assert_allclose(found.astype("f4"), expected.astype("f4"), atol=tolerance)


def test_no_smoothing_and_nothing_but_smoothing():
    y = jnp.array([[0, 2], [1, 4]])
    assert F.smooth_labels(y, CLASSES, 0.0).shape == (2, CLASSES, 2)
    np.testing.assert_array_equal(F.smooth_labels(y, CLASSES, 0.0).argmax(1), y)
    np.testing.assert_allclose(F.smooth_labels(y, CLASSES, 1.0), 1 / CLASSES)
    assert bool(jnp.isnan(jax.jit(lambda y: F.smooth_labels(y, 3, 0.1))(y)[1, :, 1]).all())


REFUSED = {
    "no function": (lambda: F.label_smoothing(jnp.ones(3), 0.1), TypeError, "F.smooth_labels"),
    "share": (lambda: F.label_smoothing(F.mse_loss, 1.1), ValueError, "smoothing"),
    "which classes": (
        lambda: F.label_smoothing(F.mse_loss, 0.1)(jnp.ones(3), jnp.ones(3)),
        ValueError,
        "num_classes=2",
    ),
    "other number": (
        lambda: F.label_smoothing(F.nll_loss, 0.1, num_classes=4)(
            jnp.ones((2, 3)), jnp.zeros(2, int)
        ),
        ValueError,
        "num_classes is 4",
    ),
    "ignored class": (
        lambda: F.label_smoothing(F.nll_loss, 0.1, ignore_index=0)(
            jnp.ones((2, 3)), jnp.zeros(2, int)
        ),
        ValueError,
        "negative number",
    ),
    "outside": (lambda: F.smooth_labels(jnp.array([3]), 3, 0.1), IndexError, "target must lie"),
}


@pytest.mark.parametrize(("call", "error", "text"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(call, error, text):
    with pytest.raises(error, match=text):
        call()
