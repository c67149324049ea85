"""Units that cannot go are left alone or refused, with the reason."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import compression, nn
from tests.compression.pruning.test_shrink import ROWS, start


class Residual(fn.Module):
    def __init__(self):
        self.first, self.second, self.last = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 2)

    def __call__(self, x):
        h = self.first(x)
        return self.last(h + jnp.tanh(self.second(jnp.tanh(h))))


class Doubled(Residual):
    """Takes its own sum of units, which fits whatever their number is."""

    def __call__(self, x):
        h = jnp.tanh(self.first(x))
        return self.last(jnp.tanh(self.second(h))) + h.mean(-1, keepdims=True)


def test_residual_sums_are_found_by_the_example():
    for model, message in (
        (Residual(), "cannot be called"),
        (Doubled(), "computes something else"),
    ):
        params, state = start(model)
        groups = {"first": "second"}
        with pytest.raises(ValueError, match=f"{message}.*(.|\n)*residual sum"):
            compression.shrink(model, params, state, 0.5, groups=groups, verify=ROWS)
        with pytest.raises(ValueError, match="no layer is known"):
            compression.shrink(model, params, state, 0.5, verify=ROWS)


def test_chains_stop_at_what_mixes_channels():
    """Layers through which units cannot be followed are left alone."""
    tied = nn.Linear(6, 6)
    for chain in (
        nn.Sequential(nn.Linear(6, 8), nn.Softmax(-1), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 8), nn.GLU(), nn.Linear(4, 3)),
        nn.Sequential(nn.Linear(6, 8), jnp.tanh, nn.Linear(8, 3)),
        nn.Sequential(nn.Linear(6, 8), nn.MaxPool1d(2), nn.Linear(4, 3)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.Conv2d(8, 3, 1)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1, groups=8)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Linear(8, 8)),
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.MaxPool1d(3, 5), nn.Linear(56, 3)),
        nn.Sequential(
            nn.Conv2d(3, 4, 3, channels_last=True),
            nn.BatchNorm2d(4),
            nn.Conv2d(4, 4, 1, channels_last=True),
        ),
        nn.Sequential(tied, nn.ReLU(), tied),
        nn.Sequential(nn.Linear(6, 8)),
    ):
        with pytest.raises(ValueError, match="no layer is known"):
            compression.unit_masks(
                chain, jax.eval_shape(fn.functionalize(chain).init, jax.random.key(0))[0], 0.5
            )


REFUSED = {
    "grouped": (
        lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)),
        {"0": "1"}, "1 has groups=2: channels of one group cannot go alone",
    ),
    "adapted": (
        lambda: nn.lora(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "0"), {"0": "1"}, "nn.merge_lora",
    ),
    "no such layer": (lambda: nn.Sequential(nn.Linear(3, 4)), {"0": "1"}, "no layer '1' or '1'; there are: 0"),
    "no such maker": (lambda: nn.Sequential(nn.Linear(3, 4)), {"1": "0"}, "'1' matches no linear layer"),
    "no taker": (lambda: nn.Sequential(nn.Linear(3, 4), nn.ReLU()), {"0": "1"}, "1 is a ReLU"),
    "another size": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(6, 2)), {"0": "1"}, "takes in 6 values"),
    "twice": (lambda: nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), {"0": ["1", "1"]}, "twice along one axis"),
}  # fmt: skip


@pytest.mark.parametrize("name", list(REFUSED))
def test_groups_that_cannot_be_cut_are_refused(name):
    make, groups, message = REFUSED[name]
    model = make()
    arrays = jax.eval_shape(fn.functionalize(model).init, jax.random.key(0))
    with pytest.raises(ValueError, match=message):
        compression.shrink(model, *arrays, 0.5, groups=groups)


def test_masks_that_take_nothing_out_are_refused():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    params, state = start(model)
    with pytest.raises(ValueError, match=r"nothing can go\. Units lie in: 0"):
        compression.shrink(model, params, state, compression.magnitude_masks(params, 0.1))
    with pytest.raises(ValueError, match="matches no path; there are: 0"):
        compression.shrink(model, params, state, 0.5, patterns="2")


def test_what_functionalize_returned_serves_too():
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    net = fn.functionalize(model)
    params, state = start(model)
    rows = compression.structured_masks(net, params, 0.5, patterns="0")
    small = compression.shrink(net, params, state, compression.whole_units(net, params, rows))
    assert small.module[0].out_features == 4
    jax.tree.map(
        np.testing.assert_array_equal,
        compression.magnitude_masks(params, 0.5, module=net),
        compression.magnitude_masks(params, 0.5),
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.lora(nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2)), "*"), "0, 1 are adapted by nn.lora"),
        (lambda: nn.lora(nn.MultiheadAttention(8, 4), "out_proj"), "out_proj are adapted by nn.lora"),
        (lambda: nn.lora(nn.GroupedQueryAttention(8, 4, 2), "q_proj"), "q_proj are adapted by nn.lora"),
        (lambda: parametrized(nn.MultiheadAttention(8, 4), "out_proj"), "quantized or parametrized"),
        (lambda: parametrized(nn.GroupedQueryAttention(8, 4, 2), "k_proj"), "quantized or parametrized"),
        (lambda: nn.parametrizations.weight_norm(nn.MultiheadAttention(8, 4), "in_proj_weight"), "parametrized"),
    ],
)  # fmt: skip
def test_units_of_what_is_adapted_or_parametrized_do_not_go(make, message):
    model = make()
    params, _ = jax.eval_shape(fn.functionalize(model).init, jax.random.key(0))
    with pytest.raises(ValueError, match=message):
        compression.unit_masks(model, params, 1)


def parametrized(layer, name):
    nn.parametrizations.weight_norm(getattr(layer, name))
    return layer


def test_an_adapted_weight_is_not_masked():
    model = nn.lora(nn.Sequential(nn.Linear(3, 4)), "*")
    params, _ = jax.eval_shape(fn.functionalize(model).init, jax.random.key(0))
    with pytest.raises(ValueError, match=r"0 is adapted by nn\.lora"):
        compression.structured_masks(model, params, 0.5, patterns="*")
