"""What losses refuse, what masks keep out, what they say at hard numbers, and what they know in a trace."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

LOG_P = jax.nn.log_softmax(
    jnp.asarray(np.random.default_rng(0).normal(size=(4, 2, 3)), jnp.float32)
)
LABELS = np.array([[1], [2]])

PAIRS = {
    "mse_loss": F.mse_loss,
    "l1_loss": F.l1_loss,
    "smooth_l1_loss": F.smooth_l1_loss,
    "huber_loss": F.huber_loss,
    "kl_div": F.kl_div,
    "poisson_nll_loss": F.poisson_nll_loss,
    "gaussian_nll_loss": lambda x, y, **k: F.gaussian_nll_loss(x, y, 1.0, **k),
    "binary_cross_entropy": F.binary_cross_entropy,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
    "hinge_embedding_loss": F.hinge_embedding_loss,
    "soft_margin_loss": F.soft_margin_loss,
    "multilabel_soft_margin_loss": F.multilabel_soft_margin_loss,
    "margin_ranking_loss": lambda x, y, **k: F.margin_ranking_loss(x, x, y, **k),
}


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize(("x", "y"), [((3, 1), (3,)), ((3,), (3, 1)), ((3, 4), (4,)), ((), (3,))])
def test_shapes_that_would_spread_over_each_other_are_refused(name, x, y):
    with pytest.raises(ValueError) as caught:
        PAIRS[name](jnp.full(x, 0.5), jnp.full(y, 0.5))
    message = str(caught.value)
    assert name in message
    assert f"has shape {x}" in message
    assert f"target has shape {y}" in message
    assert "write target.reshape(" in message or "write jnp.broadcast_to(target, " in message


@pytest.mark.parametrize("name", [name for name in PAIRS if "multilabel" not in name])
def test_one_number_is_a_target_for_all(name):
    x = jnp.array([[0.2, 0.9], [0.4, 0.5]])
    alone = PAIRS[name](x, 1.0, reduction="none")
    spread = PAIRS[name](x, jnp.ones((2, 2)), reduction="none")
    np.testing.assert_allclose(alone, spread, rtol=1e-6)


@pytest.mark.parametrize("name", PAIRS)
def test_a_mask_makes_no_loss_larger(name):
    x = jnp.full((3, 4), 0.5)
    with pytest.raises(ValueError, match=r"where has shape .* does not broadcast to"):
        PAIRS[name](x, x, where=jnp.ones((4, 1, 1), bool))


def test_a_weight_makes_no_loss_larger():
    x = jnp.full(3, 0.5)
    for loss in (F.binary_cross_entropy, F.binary_cross_entropy_with_logits):
        with pytest.raises(
            ValueError, match=r"weight of binary_cross_entropy.* has shape \(3, 1\)"
        ):
            loss(x, x, jnp.ones((3, 1)))


@pytest.mark.parametrize(
    "loss",
    [
        lambda x, y, w, **k: F.mse_loss(x, y, weight=w, **k),
        lambda x, y, w, **k: F.l1_loss(x, y, weight=w, **k),
        lambda x, y, w, **k: F.huber_loss(x, y, weight=w, **k),
        lambda x, y, w, **k: F.binary_cross_entropy(x, y, w, **k),
        lambda x, y, w, **k: F.binary_cross_entropy_with_logits(x, y, w, pos_weight=w, **k),
        lambda x, y, w, **k: F.gaussian_nll_loss(x, y, w, **k),
        lambda x, y, w, **k: F.margin_ranking_loss(x, w, y, **k),
    ],
)
@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_nothing_behind_a_mask_reaches_a_gradient(loss, broken):
    """Neither inputs, nor targets, nor weights."""
    arrays = [
        jnp.array([0.5, broken, 0.25]),
        jnp.array([0.1, broken, 0.9]),
        jnp.array([2.0, broken, 1]),
    ]
    where = jnp.array([True, False, True])
    grads = jax.jit(jax.grad(lambda arrays: loss(*arrays, where=where)))(arrays)
    kept = jax.grad(lambda arrays: loss(*arrays))([array[::2] for array in arrays])
    for grad, expected in zip(grads, kept, strict=True):
        assert grad[1] == 0
        np.testing.assert_allclose(grad[::2], expected, rtol=1e-5)


def test_samples_of_the_ignored_class_reach_no_gradient():
    x = jnp.array([[0.5, 1.0], [jnp.nan, jnp.nan], [2.0, jnp.inf]])
    target = jnp.array([1, -100, -100])
    for loss in (
        lambda x: F.cross_entropy(x, target),
        lambda x: F.cross_entropy(x, target, jnp.ones(2), label_smoothing=0.1),
        lambda x: F.nll_loss(x, target, jnp.ones(2)),
    ):
        grad = jax.grad(loss)(x)
        assert (grad[1:] == 0).all()
        np.testing.assert_allclose(grad[:1], jax.grad(loss)(x.at[1:].set(0))[:1])
    weight = jax.grad(lambda w: F.linear_cross_entropy(x, w, target))(jnp.ones((3, 2)))
    assert jnp.isfinite(weight).all()


def test_a_masked_sample_reaches_no_parameter_of_the_adaptive_softmax():
    net = fn.functionalize(nn.AdaptiveLogSoftmaxWithLoss(4, 8, [2]))
    params, state = net.init(jax.random.key(0))
    x = jnp.ones((2, 4)).at[1].set(jnp.nan)
    loss = lambda params: (
        net.apply(params, state, x, jnp.array([0, 5]), where=[True, False])[0].loss
    )
    assert all(jnp.isfinite(grad).all() for grad in jax.tree.leaves(jax.grad(loss)(params)))


def test_what_ctc_does_not_count_reaches_no_gradient():
    loss = lambda x: F.ctc_loss(x, LABELS, (2, 4), (1, 1), reduction="sum")
    clean = jax.jit(jax.grad(loss))(LOG_P)
    np.testing.assert_allclose(jax.jit(jax.grad(loss))(LOG_P.at[2:, 0].set(jnp.nan)), clean)
    assert (clean[2:, 0] == 0).all()


@pytest.mark.parametrize("c", [0.0, 1e4, 1e6, 1e7, -1e7])
def test_logits_far_from_zero_lose_no_digits(c):
    x = jnp.array([[c, c - 1, c - 2]])
    right = 0.40760596444  # log(1 + 1/e + 1/e²)
    np.testing.assert_allclose(F.cross_entropy(x, jnp.array([0])), right, rtol=1e-6)
    chances = jnp.array([[1.0, 0, 0]])
    np.testing.assert_allclose(F.cross_entropy(x, chances), right, rtol=1e-6)
    even = F.cross_entropy(x, jnp.array([0]), label_smoothing=0.3)
    np.testing.assert_allclose(even, 0.7 * right + 0.3 * (right + 1), rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_cosine_embedding_loss_of_equal_small_and_zero_vectors(dtype):
    x = jnp.array([[100.0, 50, 25]], dtype)
    assert F.cosine_embedding_loss(x, x, jnp.array([1])) == 0
    small = jnp.array([[1e-3, 2e-3, 3e-3]], dtype)
    np.testing.assert_allclose(F.cosine_embedding_loss(small, small, jnp.array([1])), 0, atol=1e-6)
    grad = jax.grad(lambda x: F.cosine_embedding_loss(x, x[::-1], jnp.array([1])).astype("float32"))
    assert F.cosine_embedding_loss(0 * x, 0 * x, jnp.array([1])) == 1
    assert jnp.isfinite(grad(0 * x)).all()


@pytest.mark.parametrize("loss", [F.smooth_l1_loss, F.huber_loss, F.l1_loss])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_slope_at_infinity_is_that_of_the_line(loss, sign):
    assert jax.grad(lambda x: loss(x, 0.0))(jnp.array(sign * jnp.inf)) == sign


def test_complex_errors_are_magnitudes():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=(3, 4, 2)) @ [1, 1j]).astype(np.complex64)[..., None].swapaxes(1, 2)
    theirs = torch.nn.functional
    for ours, reference in (
        (F.l1_loss(a, b), theirs.l1_loss(torch.tensor(a), torch.tensor(b))),
        (F.pairwise_distance(a, b), theirs.pairwise_distance(torch.tensor(a), torch.tensor(b))),
        (
            F.triplet_margin_loss(a, b, c),
            theirs.triplet_margin_loss(*map(torch.tensor, (a, b, c))),
        ),
    ):
        assert ours.dtype == jnp.float32
        np.testing.assert_allclose(ours, reference, rtol=1e-5)


def test_probabilities_and_variances_are_checked_where_they_are_known():
    half, two = jnp.array([0.5]), jnp.array([2.0])
    for pair in ((two, half), (half, two), (half, -half)):
        with pytest.raises(ValueError, match="takes probabilities, from 0 to 1"):
            F.binary_cross_entropy(*pair)
        assert jnp.isnan(jax.jit(F.binary_cross_entropy)(*pair)) or pair[0] is half
    assert F.binary_cross_entropy(jnp.array([0.5, 2.0]), half[0], where=[True, False]) > 0
    with pytest.raises(ValueError, match="var must not be negative"):
        F.gaussian_nll_loss(half, half, -half)


@pytest.mark.parametrize(
    ("steps", "sizes", "labels", "error"),
    [
        ((5, 4), (1, 1), LABELS, "input_lengths must lie in"),
        ((-1, 4), (1, 1), LABELS, "input_lengths must lie in"),
        ((4, 4), (1, 2), LABELS, "target_lengths must lie in"),
        ((4, 4), (-1, 1), LABELS, "target_lengths must lie in"),
        ((4, 4), (1, 1), LABELS + 1, "targets must lie in"),
        ((4, 4), (1, 1), LABELS - 2, "targets must lie in"),
        ((4, 4), (1, 1), np.array([1, 2, 2]), "targets must join the 2 labels"),
    ],
)
def test_lengths_and_labels_of_ctc(steps, sizes, labels, error):
    """They are refused where they are known, in a trace too, and cost NaN where they are not."""
    with pytest.raises((ValueError, IndexError), match=error):
        F.ctc_loss(LOG_P, labels, steps, sizes)
    with pytest.raises((ValueError, IndexError), match=error):
        jax.jit(lambda x: F.ctc_loss(x, labels, steps, sizes))(LOG_P)
    if "join" not in error:
        traced = jax.jit(lambda *given: F.ctc_loss(LOG_P, *given, reduction="none"))
        wrong = np.isnan(traced(jnp.asarray(labels), jnp.asarray(steps), jnp.asarray(sizes)))
        assert wrong.any()
        assert wrong.all() or "lengths" in error or (labels == 3).any() or (labels < 0).any()


def test_labels_behind_the_end_of_a_target_do_not_count():
    labels = np.array([[1, 99], [2, -7]])
    plain = F.ctc_loss(LOG_P, LABELS, (4, 4), (1, 1))
    assert F.ctc_loss(LOG_P, labels, (4, 4), (1, 1)) == plain


@pytest.mark.parametrize("labels", [LABELS, LABELS.ravel()], ids=["padded", "joined"])
def test_ctc_knows_lengths_that_a_trace_closes_over(labels):
    steps, sizes = jnp.array([4, 3]), jnp.array([1, 1])
    plain = F.ctc_loss(LOG_P, labels, steps, sizes)
    call = lambda x: F.ctc_loss(x, labels, steps, sizes)
    np.testing.assert_allclose(jax.jit(call)(LOG_P), plain, rtol=1e-6)
    scanned = jax.lax.scan(lambda carry, x: (carry, call(x)), 0, LOG_P[None])[1]
    np.testing.assert_allclose(scanned, [plain], rtol=1e-6)
    one = str(jax.make_jaxpr(call)(LOG_P))
    assert "[2,3]" in one  # a label and the blanks around it: no longer than the longest target


def test_targets_of_numpy_are_checked_inside_a_trace():
    with pytest.raises(IndexError, match="target must lie in"):
        jax.jit(lambda x: F.cross_entropy(x, np.array([7, 0])))(jnp.ones((2, 3)))


SINGLE = [
    ((), ()),
    ((), (1,)),
    ((1,), ()),
    ((3,), ()),
    ((3,), (1,)),
    ((0, 3), (0,)),
    ((2, 3), (2,)),
]


@pytest.mark.parametrize(("x", "y"), SINGLE)
def test_multi_margin_takes_the_shapes_of_pytorch(x, y):
    torch = pytest.importorskip("torch")
    scores, target = np.random.default_rng(0).random(x).astype(np.float32), np.zeros(y, int)
    ours = F.multi_margin_loss(jnp.asarray(scores), jnp.asarray(target), reduction="none")
    theirs = torch.nn.functional.multi_margin_loss(
        torch.tensor(scores), torch.tensor(target), reduction="none"
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


@pytest.mark.parametrize(
    ("x", "y"), [((), ()), ((), (1,)), ((1,), ()), ((3,), (3,)), ((0, 3), (0, 3)), ((2, 3), (2, 3))]
)
def test_multilabel_margin_takes_the_shapes_of_pytorch(x, y):
    torch = pytest.importorskip("torch")
    scores, target = np.random.default_rng(0).random(x).astype(np.float32), np.zeros(y, int)
    ours = F.multilabel_margin_loss(jnp.asarray(scores), jnp.asarray(target), reduction="none")
    theirs = torch.nn.functional.multilabel_margin_loss(
        torch.tensor(scores), torch.tensor(target), reduction="none"
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_margins_refuse_what_pytorch_refuses():
    for x, y in [((2, 0), (2,)), ((0,), ()), ((2, 1, 3), (2,)), ((3,), (3,))]:
        with pytest.raises(ValueError, match="multi_margin_loss takes scores"):
            F.multi_margin_loss(jnp.ones(x), jnp.zeros(y, int))
    for x, y in [((2, 0), (2, 0)), ((3,), ()), ((1, 3), (3,)), ((3,), (1, 3))]:
        with pytest.raises(ValueError, match="of one shape"):
            F.multilabel_margin_loss(jnp.ones(x), jnp.zeros(y, int))
    with pytest.raises(TypeError, match="write multilabel_soft_margin_loss"):
        F.multilabel_margin_loss(jnp.ones((2, 3)), jnp.ones((2, 3)))
    assert jnp.isnan(jax.jit(F.multilabel_margin_loss)(jnp.ones(3), jnp.array([7, -1, 0])))


def test_vectors_without_axes_and_without_elements():
    two, three = jnp.array(2.0), jnp.array(-3.0)
    assert F.cosine_similarity(two, three, dim=0) == F.cosine_similarity(two, three, dim=-1) == -1
    assert F.cosine_similarity(jnp.ones(0), jnp.ones(0), dim=0) == 0
    assert F.pairwise_distance(jnp.ones((2, 0)), jnp.ones((2, 0))).tolist() == [0, 0]
    np.testing.assert_allclose(F.pairwise_distance(two, three, keepdim=True), 5, rtol=1e-6)
    assert F.normalize(three, dim=0) == -1
    assert F.normalize(jnp.ones((2, 0))).shape == (2, 0)
    np.testing.assert_allclose(F.normalize(jnp.ones((2, 2)), dim=()), np.full((2, 2), 0.5))
    for function in (F.cosine_similarity, F.pairwise_distance):
        with pytest.raises(ValueError, match=r"x1 has shape \(2, 3\) and x2 \(2, 4\)"):
            function(jnp.ones((2, 3)), jnp.ones((2, 4)))
