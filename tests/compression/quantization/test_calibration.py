"""Ranges found by looking at batches: PyTorch's observers, percentiles, the least error; stacks and repeated calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression as C
from funcnet import functional as F
from funcnet import nn


def _model(model=None, **how):
    model = nn.Linear(3, 2) if model is None else model
    return C.fake_quantize(model, *fn.functionalize(model).init(jax.random.key(0)), **how)


def _batches(rng, count=3, shape=(40, 3)):
    return [jnp.asarray(rng.normal(size=shape) + 0.3, jnp.float32) for _ in range(count)]


def _ends(state):
    return [float(state["input_range"][name]) for name in ("low", "high")]


@pytest.mark.parametrize("method", ["minmax", "moving"])
@pytest.mark.parametrize("symmetric", [False, True])
def test_ranges_and_scales_equal_pytorchs_observers(method, symmetric, rng):
    torch = pytest.importorskip("torch")
    q = torch.ao.quantization
    kind = q.MinMaxObserver if method == "minmax" else q.MovingAverageMinMaxObserver
    schemes = (torch.per_tensor_affine, torch.per_tensor_symmetric)
    ends = (-127, 127) if symmetric else (-128, 127)
    how = {"quant_min": ends[0], "quant_max": ends[1]}
    observer = kind(dtype=torch.qint8, qscheme=schemes[symmetric], **how)
    batches = _batches(rng)
    for batch in batches:
        observer(torch.from_numpy(np.array(batch)))
    made, params, state = _model(activations=C.Activations(symmetric=symmetric))
    state = C.calibrate(made, params, state, batches, method)
    # a moving average is two operations in float32
    np.testing.assert_allclose(_ends(state), [observer.min_val, observer.max_val], rtol=1e-6)
    rounding = C.convert(made, params, state)[2]["input_rounding"]
    scale, zero = observer.calculate_qparams()
    np.testing.assert_allclose(rounding["scale"], scale.item(), rtol=1e-6)
    assert int(rounding["zero_point"]) == int(zero)


@pytest.mark.parametrize("axis", [0, 1])
def test_scales_of_channels_equal_pytorchs_observer(axis, rng):
    torch = pytest.importorskip("torch")
    weight = rng.normal(size=(4, 6)).astype(np.float32)
    observer = torch.ao.quantization.PerChannelMinMaxObserver(
        axis, torch.qint8, torch.per_channel_symmetric, quant_min=-127, quant_max=127
    )
    observer(torch.from_numpy(weight))
    scales = C.Int8(axis=axis).encode(jnp.asarray(weight))["scales"]
    np.testing.assert_allclose(scales, observer.calculate_qparams()[0], rtol=1e-6)


def test_a_percentile_leaves_out_what_is_rare(rng):
    x = rng.uniform(-1, 1, 100_000).astype(np.float32).reshape(-1, 2)
    x[0] = (-50.0, 80.0)
    made, params, state = _model(nn.Linear(2, 2))
    for percentile in (100.0, 99.9):
        state = C.calibrate(
            made, params, state, [jnp.asarray(x)], "percentile", percentile=percentile
        )
        exact = np.quantile(x, [1 - percentile / 100, percentile / 100])
        # a bin of the histogram is 130 / 2048 wide
        np.testing.assert_allclose(_ends(state), exact, atol=0.07)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_least_error_is_that_of_the_best_range(symmetric, rng):
    x = rng.normal(size=(5000, 4)).astype(np.float32)
    x[0, 0] = 40.0
    made, params, state = _model(
        nn.Linear(4, 2), activations=C.Activations(bits=4, symmetric=symmetric)
    )
    ends = (-7, 7) if symmetric else (-8, 7)

    def error(low, high):
        scale, zero = F.scale_and_zero_point(low, high, bits=4, symmetric=symmetric)
        few = F.fake_quantize_per_tensor_affine(jnp.asarray(x), scale, zero, *ends)
        return float(jnp.mean((few - x) ** 2))

    whole, found = (
        _ends(C.calibrate(made, params, state, [jnp.asarray(x)], method))
        for method in ("minmax", "mse")
    )
    assert error(*found) < 0.5 * error(*whole)
    others = [error(whole[0] * part, whole[1] * part) for part in np.linspace(0.05, 1, 39)]
    assert error(*found) < 1.02 * min(others)  # found in a histogram, which is a little coarse


@pytest.mark.parametrize("method", ["minmax", "mse"])
def test_each_layer_of_a_stack_has_a_range_of_its_own(method, rng):
    stack = nn.Repeat(nn.Linear(4, 4), 3)
    plain = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    params, state = fn.functionalize(stack).init(jax.random.key(0))
    loaded = fn.load_state_dict(plain, fn.state_dict(stack, params, state))
    batches = _batches(rng, shape=(20, 4))
    found = []
    for model, trees in ((stack, (params, state)), (plain, loaded)):
        made, *trees = C.fake_quantize(model, *trees)
        kept = C.calibrate(
            fn.functionalize(made), *trees, iter(batches) if method == "minmax" else batches, method
        )
        found.append(fn.state_dict(made, trees[0], kept))
    assert found[0].keys() == found[1].keys()
    for name, array in found[0].items():
        # the histogram has 2048 bins, and a number on the border of two may fall on either side
        np.testing.assert_allclose(array, found[1][name], rtol=1e-2 if "range" in name else 0)


def test_a_stack_is_calibrated_as_it_is_and_as_a_functional(rng):
    made, params, state = _model(nn.Repeat(nn.Linear(3, 3), 2))
    batches = _batches(rng, count=1)
    found = [C.calibrate(m, params, state, batches) for m in (made, fn.functionalize(made))]
    assert found[0]["module"]["input_range"]["low"].shape == (2,)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), *found))


def test_a_layer_that_is_called_twice_sees_both():
    class Twice(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

        def __call__(self, x, y):
            return self.layer(x) + self.layer(y)

    made, params, state = _model(Twice())
    ones = jnp.ones((1, 2))
    state = C.calibrate(made, params, state, [(ones, -3 * ones)])
    assert _ends(state["layer"]) == [-3.0, 1.0]
    again = C.calibrate(made, params, state, [{"x": ones}], inputs=lambda b: (b["x"], 5 * b["x"]))
    assert _ends(again["layer"]) == [1.0, 5.0]


REFUSED = {
    "method": (ValueError, "method must be one of", lambda m: C.calibrate(*m, [], "max")),
    "no batches": (ValueError, "no numbers came to", lambda m: C.calibrate(*m, [])),
    "nan": (ValueError, "was given NaN", lambda m: C.calibrate(*m, [jnp.full((1, 3), jnp.nan)])),
    "infinite": (
        ValueError,
        "infinite number",
        lambda m: C.calibrate(*m, [jnp.full((1, 3), jnp.inf)]),
    ),
    "once": (TypeError, "reads the batches twice", lambda m: C.calibrate(*m, iter([]), "mse")),
    "percentile": (
        ValueError,
        "at most 100",
        lambda m: C.calibrate(*m, [], "percentile", percentile=101),
    ),
    "a dict": (
        TypeError,
        r'inputs=lambda batch: batch\["x"\]',
        lambda m: C.calibrate(*m, [{"x": jnp.ones((1, 3))}]),
    ),
    "floats": (ValueError, "model with ranges", lambda m: C.calibrate(nn.ReLU(), {}, {}, [])),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_met_with_a_sentence(case):
    error, words, call = REFUSED[case]
    with pytest.raises(error, match=words):
        call(_model())
