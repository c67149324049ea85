"""Mixture of experts against a loop over tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logsumexp, softmax

import funcnet as fn
from funcnet import functional as F
from funcnet import nn


def loop(logits, top_k, capacity, normalize=True):
    """For each token the experts that compute it and their weights, place by place."""
    probabilities, free = softmax(logits, -1), np.full(logits.shape[-1], capacity)
    best = np.argsort(-probabilities, -1, kind="stable")[:, :top_k]
    kept = [{} for _ in logits]
    for rank in range(top_k):
        for token, experts in enumerate(best):
            chosen = experts[rank]
            if free[chosen] > 0:
                total = probabilities[token, experts].sum() if normalize else 1
                kept[token][chosen] = (
                    probabilities[token, chosen] / total,
                    capacity - free[chosen],
                )
                free[chosen] -= 1
    return kept, best


@pytest.mark.parametrize(
    ("top_k", "capacity", "normalize"), [(1, 3, True), (2, 4, True), (2, 2, False), (3, 9, False)]
)
def test_routing_is_a_loop_over_tokens(rng, top_k, capacity, normalize):
    logits = rng.standard_normal((2, 9, 4))
    with jax.enable_x64(True):
        routing = jax.jit(F.route_tokens, static_argnums=(1, 2), static_argnames="normalize")(
            logits, top_k, capacity, normalize=normalize
        )
    combine, dispatch = np.zeros((2, 9, 4, capacity)), np.zeros((2, 9, 4, capacity))
    lost, load = 0, np.zeros(4)
    for row in range(2):
        kept, best = loop(logits[row], top_k, capacity, normalize)
        for token, places in enumerate(kept):
            for expert, (weight, place) in places.items():
                combine[row, token, expert, place] = weight
                dispatch[row, token, expert, place] = 1
        lost += 9 * top_k - sum(map(len, kept))
        load += np.bincount(best.ravel(), minlength=4)
    np.testing.assert_array_equal(routing.dispatch, dispatch)
    np.testing.assert_allclose(routing.combine, combine, rtol=1e-12)  # float64, rounded a few times
    report, load = routing.report, load / (18 * top_k)
    np.testing.assert_allclose(report.load, load, rtol=1e-12)  # float64, rounded a few times
    # float64, rounded a few times
    np.testing.assert_allclose(report.dropped, lost / (18 * top_k), rtol=1e-12)
    mean = softmax(logits, -1).mean((0, 1))
    # float64, rounded a few times
    np.testing.assert_allclose(report.load_balancing_loss, 4 * (load * mean).sum(), rtol=1e-12)
    z = (logsumexp(logits, -1) ** 2).mean()
    np.testing.assert_allclose(report.z_loss, z, rtol=1e-12)  # float64, rounded a few times
    if capacity == 2:
        assert lost > 0


def test_the_balancing_loss_is_one_if_even_and_the_number_of_experts_if_not():
    report = jax.jit(lambda logits: F.route_tokens(logits, 1, 4).report)
    even = report(np.eye(4, dtype=np.float32) * 1e-3)
    # the logits differ by so much
    assert float(even.load_balancing_loss) == pytest.approx(1, abs=1e-3)
    one = report(np.tile(np.float32([50, 0, 0, 0]), (4, 1)))
    assert float(one.load_balancing_loss) == pytest.approx(4)  # e^-50 is zero beside 1 in float32


class Expert(nn.Module):
    def __init__(self, dtype=jnp.float32):
        self.up = nn.Linear(5, 6, dtype=dtype)
        self.down = nn.Linear(6, 3, dtype=dtype)

    def __call__(self, x):
        return self.down(jnp.tanh(self.up(x)))


def built(capacity_factor, dtype=jnp.float64):
    layer = nn.MixtureOfExperts(Expert(dtype), 5, 4, 2, capacity_factor, dtype=dtype)
    net, draw = fn.functionalize(layer), np.random.default_rng(1).standard_normal
    params, state = jax.eval_shape(net.init, jax.random.key(0))
    return net, jax.tree.map(lambda p: jnp.asarray(draw(p.shape), p.dtype), params), state


@pytest.mark.parametrize("capacity_factor", [None, 0.75])
def test_layer_is_a_sum_over_experts(rng, x64, capacity_factor):
    net, params, state = built(capacity_factor)
    x = rng.standard_normal((2, 8, 5))
    capacity = 8 if capacity_factor is None else 3
    gate = np.asarray(params["gate"]["weight"])
    plan = [loop(row @ gate.T, 2, capacity)[0] for row in x]
    assert (sum(len(p) for row in plan for p in row) == 32) == (capacity_factor is None)
    best = [loop(row @ gate.T, 2, 8)[1] for row in x]

    def ours(params, x):
        return net.apply(params, state, x)[0][0]

    # which experts compute each token, and over which its weights are normalised
    kept = np.array([[[float(e in p) for e in range(4)] for p in row] for row in plan])
    chosen = np.array([[np.isin(np.arange(4), c) for c in row] for row in best], float)

    def theirs(params, x):
        weights = jax.nn.softmax(x @ params["gate"]["weight"].T, -1)
        weights = weights * kept / (weights * chosen).sum(-1, keepdims=True)
        output = 0.0
        for e in range(4):
            own = jax.tree.map(lambda a: a[e], params["experts"]["module"])
            h = jnp.tanh(x @ own["up"]["weight"].T + own["up"]["bias"])
            y = h @ own["down"]["weight"].T + own["down"]["bias"]
            output = output + weights[..., e, None] * y
        return output

    def both(run):
        def loss(params, x):
            output = run(params, x)
            return (output**3).sum(), output

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, x)

    for a, b in zip(jax.tree.leaves(both(ours)), jax.tree.leaves(both(theirs)), strict=True):
        # the same sums of tens of terms in another order
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11)


def test_examples_of_a_batch_do_not_depend_on_each_other(rng):
    net, params, state = built(1.0, jnp.float32)
    x = rng.standard_normal((3, 6, 5), np.float32)
    run = lambda x: net.apply(params, state, x)[0]

    @jax.jit
    def every(x):
        return run(x), jax.vmap(run)(x), run(x[:0])

    (whole, report), (mapped, reports), (none, _) = every(x)
    np.testing.assert_allclose(whole, mapped, rtol=1e-5, atol=1e-6)  # float32
    # float32, rounded once or twice
    np.testing.assert_allclose(report.load, reports.load.mean(0), rtol=1e-6)
    assert none.shape == (0, 6, 3)


def test_sixteen_bits(rng):
    net, params, state = built(None, jnp.bfloat16)
    x = jnp.asarray(rng.standard_normal((6, 5)), jnp.bfloat16)
    output, report = jax.jit(net.apply)(params, state, x)[0]
    assert output.dtype == jnp.bfloat16
    assert report.z_loss.dtype == jnp.float32


def test_names_and_mistakes():
    layer = nn.MixtureOfExperts(Expert(), 5, 2)
    names = fn.state_dict(
        layer,
        built_tree := jax.tree.map(
            lambda s: np.zeros(s.shape),
            jax.eval_shape(fn.functionalize(layer).init, jax.random.key(0))[0],
        ),
    )
    assert sorted(names)[:2] == ["experts.0.down.bias", "experts.0.down.weight"]
    assert sum(name.startswith("experts.1.") for name in names) == 4
    assert names["gate.weight"].shape == (2, 5)
    with pytest.raises(ValueError, match="top_k must lie between 1 and num_experts=2; got 3"):
        nn.MixtureOfExperts(Expert(), 5, 2, top_k=3)
    with pytest.raises(ValueError, match=r"input must have shape \(\*, S, 5\)"):
        fn.functionalize(layer).apply(built_tree, {}, jnp.ones((3, 4)))
    with pytest.raises(ValueError, match="top_k must lie"):
        F.route_tokens(jnp.ones((3, 2)), 3, 1)
    with pytest.raises(ValueError, match="tokens, experts"):
        F.route_tokens(jnp.ones(3), 1, 1)
    with pytest.raises(ValueError, match="capacity_factor must be greater"):
        F.expert_capacity(4, 2, 1, 0.0)
