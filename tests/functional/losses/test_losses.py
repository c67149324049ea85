"""Losses, distances and tables as functions: against PyTorch, with masks, under transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from funcnet import functional as F
from tests.functional.rows import losses as rows_losses
from tests.parity import check, rows


@pytest.mark.parametrize("row", rows(rows_losses.ROWS), ids=str)
def test_row(row):
    check(row)


def _normal(*shape):
    return np.random.default_rng(3).normal(size=shape).astype(np.float32)


SIGNS = np.array([1.0, -1.0, 1.0, -1.0], np.float32)
INDEX = np.array([0, 2, 1, 2])
CHANCES = np.array([0.2, 0.9, 0.5, 0.7], np.float32)
LOG_PROBS = np.asarray(jax.nn.log_softmax(_normal(6, 4, 3)))

MASKED = {
    # name: (function of the differentiable input and the mask, input); N = 4 samples lead
    "mse": (lambda x, **k: F.mse_loss(x, SIGNS, **k), _normal(4)),
    "mse weighted": (lambda x, **k: F.mse_loss(x, SIGNS, weight=CHANCES, **k), _normal(4)),
    "l1": (lambda x, **k: F.l1_loss(x, SIGNS, **k), _normal(4)),
    "smooth l1": (lambda x, **k: F.smooth_l1_loss(x, SIGNS, **k), _normal(4)),
    "huber": (lambda x, **k: F.huber_loss(x, SIGNS, **k), _normal(4)),
    "kl": (lambda x, **k: F.kl_div(x, CHANCES, **k), _normal(4)),
    "poisson": (lambda x, **k: F.poisson_nll_loss(x, CHANCES * 5, full=True, **k), _normal(4)),
    "gaussian": (lambda x, **k: F.gaussian_nll_loss(x, SIGNS, CHANCES, **k), _normal(4)),
    "bce": (lambda x, **k: F.binary_cross_entropy(x, CHANCES[::-1], **k), CHANCES),
    "bce logits": (lambda x, **k: F.binary_cross_entropy_with_logits(x, CHANCES, **k), _normal(4)),
    "soft margin": (lambda x, **k: F.soft_margin_loss(x, SIGNS, **k), _normal(4)),
    "multilabel soft": (
        lambda x, **k: F.multilabel_soft_margin_loss(
            x, CHANCES[:, None] * np.ones((4, 3), np.float32), **k
        ),
        _normal(4, 3),
    ),
    "nll": (lambda x, **k: F.nll_loss(x, INDEX, **k), _normal(4, 3)),
    "nll weighted": (lambda x, **k: F.nll_loss(x, INDEX, CHANCES[:3], **k), _normal(4, 3)),
    "cross entropy": (lambda x, **k: F.cross_entropy(x, INDEX, **k), _normal(4, 3)),
    "cross entropy smooth": (
        lambda x, **k: F.cross_entropy(x, INDEX, CHANCES[:3], label_smoothing=0.1, **k),
        _normal(4, 3),
    ),
    "cross entropy chances": (
        lambda x, **k: F.cross_entropy(x, jax.nn.softmax(_normal(4, 3)), **k),
        _normal(4, 3),
    ),
    "linear cross entropy": (
        lambda x, **k: F.linear_cross_entropy(x, _normal(3, 2), INDEX, **k),
        _normal(4, 2),
    ),
    "ranking": (lambda x, **k: F.margin_ranking_loss(x, CHANCES, SIGNS, **k), _normal(4)),
    "hinge": (lambda x, **k: F.hinge_embedding_loss(x, SIGNS, **k), _normal(4)),
    "cosine": (
        lambda x, **k: F.cosine_embedding_loss(x, _normal(4, 3)[::-1], SIGNS, **k),
        _normal(4, 3),
    ),
    "triplet": (
        lambda x, **k: F.triplet_margin_loss(
            x, _normal(4, 3)[::-1], _normal(4, 3) + 1, swap=True, **k
        ),
        _normal(4, 3),
    ),
    "multi margin": (lambda x, **k: F.multi_margin_loss(x, INDEX, **k), _normal(4, 3)),
    "multilabel margin": (
        lambda x, **k: F.multilabel_margin_loss(x, np.array([[0, -1, 1]] * 4), **k),
        _normal(4, 3),
    ),
    "ctc": (
        lambda x, **k: F.ctc_loss(x.swapaxes(0, 1), INDEX[:, None] % 2 + 1, [6] * 4, [1] * 4, **k),
        LOG_PROBS.swapaxes(0, 1),
    ),
}


@pytest.mark.parametrize("name", MASKED)
def test_a_mask_leaves_samples_out(name):
    """The masked mean is the mean of the samples that count; the others have no gradient, even if NaN."""
    loss, x = MASKED[name]
    mask = np.array([True, False, True, True])
    broken = x.copy()
    broken[1] = np.nan

    @jax.jit
    def run(x, broken):
        each = loss(x, reduction="none")
        value, grad = jax.value_and_grad(lambda x: loss(x, where=mask))(broken)
        total = loss(broken, reduction="sum", where=mask)
        return each, loss(x), value, grad, total, loss(broken, reduction="none", where=mask)

    each, _, value, grad, total, masked = run(x, broken)
    # float32, rounded once or twice
    np.testing.assert_allclose(masked, np.where(mask, each, 0), rtol=1e-6)
    np.testing.assert_allclose(total, np.sum(masked), rtol=1e-5)  # float32: sums in another order
    weights = (
        CHANCES[:3][INDEX]
        if "weighted" in name or ("smooth" in name and "cross" in name)
        else np.ones(4)
    )
    weights = CHANCES if name == "mse weighted" else weights
    # float32: sums in another order
    np.testing.assert_allclose(value, np.sum(masked) / np.sum(weights[mask]), rtol=1e-5)
    assert np.isfinite(grad).all()
    assert (np.asarray(grad)[1] == 0).all()
    assert (np.asarray(grad)[[0, 2, 3]] != 0).any()


def test_all_true_mask_changes_nothing():
    x = _normal(4, 3)
    plain = jax.jit(jax.value_and_grad(lambda x: F.cross_entropy(x, INDEX, label_smoothing=0.1)))(x)
    masked = jax.jit(
        jax.value_and_grad(lambda x: F.cross_entropy(x, INDEX, label_smoothing=0.1, where=True))
    )(x)
    # float32, rounded once or twice
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), plain, masked)


def test_older_switches_mean_reductions():
    x, y = _normal(3), _normal(3)[::-1]
    both = lambda **kwargs: np.asarray(F.mse_loss(x, y, **kwargs))
    np.testing.assert_array_equal(both(size_average=False), both(reduction="sum"))
    np.testing.assert_array_equal(both(size_average=True), both(reduction="mean"))
    np.testing.assert_array_equal(both(reduce=False, reduction="sum"), both(reduction="none"))
    with pytest.raises(ValueError, match="reduction must be one of"):
        F.mse_loss(x, y, reduction="average")


def test_one_hot_finds_the_number_of_classes():
    assert F.one_hot(np.array([0, 2])).tolist() == [[1, 0, 0], [0, 0, 1]]
    with pytest.raises(ValueError, match="traced"):
        jax.jit(F.one_hot)(np.array([0, 2]))
    with pytest.raises(ValueError, match="empty"):
        F.one_hot(np.zeros(0, int))


OUTSIDE = [
    lambda i: F.cross_entropy(jnp.zeros((2, 3)), i),
    lambda i: F.nll_loss(jnp.zeros((2, 3)), i, weight=jnp.ones(3)),
    lambda i: F.multi_margin_loss(jnp.zeros((2, 3)), i),
    lambda i: F.embedding(i, jnp.ones((3, 2))).max(),
    lambda i: F.embedding_bag(i[None], jnp.ones((3, 2))).max(),
]


@pytest.mark.parametrize("function", OUTSIDE)
@pytest.mark.parametrize("index", [[0, 3], [-1, 0]])
def test_an_index_outside_raises_or_is_nan(function, index):
    index = jnp.array(index)
    with pytest.raises(IndexError, match="inside jax"):
        function(index)
    assert np.isnan(jax.jit(function)(index))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x: F.cross_entropy(x, INDEX),
        lambda x: F.binary_cross_entropy(jax.nn.sigmoid(x), jnp.full((4, 3), 0.3, x.dtype)),
        lambda x: F.embedding(INDEX % 4, x, 0, 1.0, scale_grad_by_freq=True).sum(),
        lambda x: F.ctc_loss(jax.nn.log_softmax(x)[:, None], jnp.array([[1]]), [4], [1]),
    ],
)
def test_every_order_and_direction(loss, x64):
    """Custom gradients go both ways: a product with the Hessian is the same forwards and backwards."""
    x, direction = np.float64(_normal(4, 3)), np.float64(_normal(4, 3)[::-1])

    @jax.jit
    def both(x):
        forward = jax.jvp(jax.grad(loss), (x,), (direction,))[1]
        backward = jax.grad(lambda x: jax.jvp(loss, (x,), (direction,))[1])(x)
        return forward, backward

    # float64: CTC's sums of exponentials lose a few digits
    np.testing.assert_allclose(*both(x), rtol=1e-9, atol=1e-9)


def test_max_norm_uses_scaled_rows_and_renorm_stores_them():
    torch = pytest.importorskip("torch")
    table, index = _normal(5, 3) * 3, np.array([0, 3, 3])
    theirs = torch.tensor(table)
    with torch.no_grad():
        rows = torch.nn.functional.embedding(
            torch.tensor(index), theirs, max_norm=1.0, norm_type=1.0
        )
    np.testing.assert_allclose(
        # float32, rounded once or twice
        F.embedding(index, jnp.asarray(table), None, 1.0, 1.0),
        rows,
        rtol=1e-6,
    )
    stored = F.embedding_renorm(jnp.asarray(table), jnp.asarray(index), 1.0, 1.0)
    np.testing.assert_allclose(stored, theirs, rtol=1e-6)  # float32, rounded once or twice


def test_frequencies_scale_the_gradient_of_bags_as_of_rows():
    """PyTorch's bags on CPU look the counts of other rows up; its plain rows do what both document."""
    torch = pytest.importorskip("torch")
    table, index = np.float64(_normal(5, 3)), np.array([[0, 3, 3], [4, 3, 0]])
    weight = torch.tensor(table, requires_grad=True)
    rows = torch.nn.functional.embedding(torch.tensor(index), weight, scale_grad_by_freq=True)
    (rows.sum(1) ** 2).sum().backward()

    def loss(table):
        return jnp.sum(F.embedding_bag(index, table, mode="sum", scale_grad_by_freq=True) ** 2)

    # the table enters as float32
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(table), weight.grad, rtol=1e-5)


def test_chunks_keep_all_logits_from_existing():
    """The jaxpr of the chunked loss and its gradient holds no array of samples by classes."""
    x, w = jnp.zeros((64, 4)), jnp.zeros((100, 4))
    options = F.LinearCrossEntropyOptions(batch_chunk_size=8)
    loss = lambda x, w, **k: F.linear_cross_entropy(x, w, jnp.zeros(64, int), **k)
    whole = str(jax.make_jaxpr(jax.grad(loss, (0, 1)))(x, w))
    chunked = str(jax.make_jaxpr(jax.grad(lambda x, w: loss(x, w, options=options), (0, 1)))(x, w))
    assert "[64,100]" in whole
    assert "[64,100]" not in chunked
    assert "[8,8,100]" not in chunked


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 3.0, -1.0, float("inf"), -float("inf")])
def test_what_is_not_a_number_has_no_norm(p):
    x = jnp.array([[1.0, jnp.nan]])
    assert jnp.isnan(F.pairwise_distance(x, jnp.zeros((1, 2)), p)).all()
    assert jnp.isnan(F.normalize(x, p)).all()


def test_integers_are_refused_where_errors_are_meant():
    """The difference of the unsigned numbers 1 and 2 would be 255."""
    one, two = jnp.array([1], jnp.uint8), jnp.array([2], jnp.uint8)
    with pytest.raises(
        TypeError, match=r"input has dtype uint8: write input.astype\(jnp.float32\)"
    ):
        F.l1_loss(one, two)
