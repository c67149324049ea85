"""Operations and bytes of summaries, met with counts by hand: sizes are drawn, formulas are written out."""

import importlib
import math
import pkgutil

import jax
import jax.numpy as jnp
import pytest

import funcnet as fn
from funcnet import nn
from funcnet.core.jax_internals.programs import trace
from funcnet.module.summaries.counting import count_program
from tests.nn import rows
from tests.parity.inputs import arrays
from tests.parity.ours import module_of


def counted(function, *shapes):
    return count_program(trace(function, *map(jnp.zeros, shapes))[0])


def operations(module, *specs, **keywords):
    """All operations of a call; everything in it could be counted."""
    summary = fn.summary(module, *specs, **keywords)
    assert summary.unknown == ()
    assert summary.open_loops == 0
    return summary.operations


# ---- layers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 1, 1), (32, 7, 5), (3, 784, 10)])
def test_linear(rows, inputs, outputs, bias):
    expected = rows * outputs * (2 * inputs + bias)
    assert operations(nn.Linear(inputs, outputs, bias=bias), (rows, inputs)) == expected


CONVOLUTIONS = [
    # axes, groups, kernel, stride, dilation, padding
    (1, 1, 3, 1, 1, 0),
    (1, 2, 5, 2, 1, 2),
    (2, 1, 3, 1, 1, 1),
    (2, 4, 3, 2, 1, 1),
    (2, 4, 3, 1, 2, 2),
    (2, 1, 1, 1, 1, 0),
    (2, 1, 7, 2, 1, 3),
    (3, 2, 2, 2, 1, 0),
]


@pytest.mark.parametrize(
    ("axes", "groups", "kernel", "stride", "dilation", "padding"), CONVOLUTIONS
)
def test_convolution(axes, groups, kernel, stride, dilation, padding):
    batch, inputs, outputs, size = 2, 4, 8, 12
    kind = getattr(nn, f"Conv{axes}d")
    layer = kind(inputs, outputs, kernel, stride, padding, dilation, groups)
    places = (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
    each = 2 * (inputs // groups) * kernel**axes + 1  # and the bias
    expected = batch * outputs * places**axes * each
    assert operations(layer, (batch, inputs, *(size,) * axes)) == expected


def test_a_depthwise_convolution_costs_its_own_channel_alone():
    layer = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
    assert operations(layer, (2, 16, 10, 10)) == 2 * 16 * 100 * 2 * 9


@pytest.mark.parametrize("axes", [1, 2, 3])
@pytest.mark.parametrize(
    ("groups", "kernel", "stride", "padding"), [(1, 4, 2, 1), (2, 3, 2, 0), (4, 2, 2, 0)]
)
def test_transposed_convolution(axes, groups, kernel, stride, padding):
    batch, inputs, outputs, size = 2, 8, 4, 5
    kind = getattr(nn, f"ConvTranspose{axes}d")
    layer = kind(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    # every input meets every weight of its group
    expected = batch * size**axes * inputs * 2 * (outputs // groups) * kernel**axes
    assert operations(layer, (batch, inputs, *(size,) * axes)) == expected


@pytest.mark.parametrize(("length", "others", "features", "heads"), [(5, 5, 8, 2), (4, 9, 12, 3)])
def test_attention(length, others, features, heads):
    batch, head = 2, features // heads
    layer = nn.MultiheadAttention(features, heads, batch_first=True)
    query, memory = (batch, length, features), (batch, others, features)
    found = operations(layer, query, memory, memory, need_weights=False)
    projections = 2 * batch * features * features * (2 * length + 2 * others)
    biases = batch * features * (2 * length + 2 * others)
    products = 2 * 2 * batch * heads * length * others * head
    scores = batch * heads * length * others
    # beside the products: scaling, and of each score the maximum, its subtraction, exp, sum and division
    rest = found - projections - biases - products
    assert 4 * scores <= rest <= 7 * scores + batch * heads * length * (head + 2)


def test_an_embedding_does_nothing_but_holds_what_it_returns():
    indices = jax.ShapeDtypeStruct((4, 6), jnp.int32)
    summary = fn.summary(nn.Embedding(100, 8), indices)
    assert (summary.operations, summary.activation_bytes) == (0, 4 * 6 * 8 * 4)


@pytest.mark.parametrize("kind", ["RNN", "LSTM", "GRU"])
@pytest.mark.parametrize("length", [1, 10])
@pytest.mark.parametrize("both_ways", [False, True])
def test_recurrent_layers_count_every_step(kind, length, both_ways):
    batch, inputs, hidden = 3, 4, 5
    gates = {"RNN": 1, "LSTM": 4, "GRU": 3}[kind]
    layer = getattr(nn, kind)(inputs, hidden, bidirectional=both_ways)
    found = operations(layer, (length, batch, inputs)) / (1 + both_ways)
    # of each unit: two biases and the sum of both products; a sigmoid is 0.5 * tanh(0.5 * x) + 0.5, four operations,
    # which an LSTM does to all four gates at once; the rest are the products, sums and tanh of the formulas
    of_unit = {"RNN": 3 + 1, "GRU": 3 + 3 + 2 + 2 * 4 + 6, "LSTM": 3 * 4 + 4 * 4 + 5}[kind]
    products = gates * 2 * (inputs + hidden)
    assert found == length * batch * hidden * (products + of_unit)


@pytest.mark.parametrize("features", [8, 32])
@pytest.mark.parametrize("rows", [(2,), (2, 3), (4, 3, 2)])
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.RMSNorm])
def test_norms_are_linear_in_what_they_norm(norm, rows, features):
    found = operations(norm(features), (*rows, features))
    each, rest = divmod(found, math.prod(rows))
    assert rest == 0
    # mean, difference, square, mean, product, scale, shift: no more than eleven for each number, no less than four
    assert 4 * features <= each <= 11 * features


def test_batch_norm_in_training_costs_more_than_in_evaluation():
    shape, layer = (4, 8, 6, 6), nn.BatchNorm2d(8)
    size = math.prod(shape)
    in_evaluation = operations(layer, shape)
    assert 2 * size <= in_evaluation <= 4 * size + 10 * 8
    assert operations(layer, shape, train=True) > in_evaluation + 2 * size


# ---- loops, stacks, choices ----------------------------------------------------------------------


@pytest.mark.parametrize("copies", [1, 3, 12])
@pytest.mark.parametrize("remat", [True, False, "costly"])
def test_a_stack_counts_as_often_as_it_repeats(copies, remat):
    block = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))
    stacked = fn.summary(nn.Repeat(block, copies, remat=remat), (2, 4))
    written_out = fn.summary(nn.Sequential(*[block_of() for _ in range(copies)]), (2, 4))
    assert stacked.operations == written_out.operations
    assert stacked.activation_bytes == written_out.activation_bytes


def block_of():
    return nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 4))


def test_the_layers_within_a_stack_are_told_apart():
    model = nn.Sequential(nn.Linear(4, 4), nn.Repeat(block_of(), 5), nn.Remat(block_of()))
    found = {row.path: row.operations for row in fn.summary(model, (2, 4)).rows if row.operations}
    up, down, between = 2 * 16 * 9, 2 * 4 * 33, 2 * 16
    assert found == {
        "0": 2 * 4 * 9,
        "1.module.0": 5 * up,
        "1.module.1": 5 * between,
        "1.module.2": 5 * down,
        "2.module.0": up,
        "2.module.1": between,
        "2.module.2": down,
    }


def test_xla_counts_the_body_of_a_loop_once():
    """Why operations are not XLA's own count: a loop's body is in it once, however often it turns."""

    def power(x):
        return jax.lax.scan(lambda y, _: (y @ x, None), x, length=10)[0]

    analysis = jax.jit(power).lower(jnp.zeros((16, 16))).cost_analysis()
    assert analysis["flops"] < 2 * 2 * 16**3
    assert counted(power, (16, 16)).total == 10 * 2 * 16**3


def test_without_loops_it_is_what_xla_counts():
    model = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4))
    net = fn.functionalize(model)
    params, state = net.init(jax.random.key(0))
    lowered = jax.jit(lambda x: net.apply(params, state, x)[0]).lower(jnp.zeros((3, 8)))
    assert operations(model, (3, 8)) == lowered.cost_analysis()["flops"]


def test_a_choice_counts_as_its_largest_branch():
    def choose(x):
        return jax.lax.cond(x[0, 0] > 0, lambda y: y @ y, lambda y: y + 1, x)

    assert counted(choose, (4, 4)).total == 2 * 4**3


def test_a_loop_of_unknown_length_is_told():
    class Halving(fn.Module):
        def __call__(self, x):
            return jax.lax.while_loop(lambda y: y.sum() > 1, lambda y: y / 2, x)

    summary = fn.summary(Halving(), (8,))
    assert summary.open_loops == 1
    assert summary.operations == 7 + 8  # the test, and one turn
    assert "one turn of each of 1 loops" in str(summary)


def test_what_cannot_be_counted_is_told():
    class Whitening(fn.Module):
        def __call__(self, x):
            return jnp.linalg.cholesky(x)

    summary = fn.summary(Whitening(), (3, 3))
    assert summary.unknown == ("cholesky",)
    assert str(summary).endswith("without cholesky")


def test_a_batch_by_vmap_counts_all_its_examples():
    layer = nn.Linear(4, 3)
    assert operations(nn.Vmap(layer, 5), (5, 2, 4)) == 5 * operations(layer, (2, 4))


# ---- activations ---------------------------------------------------------------------------------


def test_an_array_counts_where_it_was_returned_first():
    model = nn.Sequential(nn.Linear(4, 8), nn.Identity(), nn.Sequential(nn.Tanh()))
    found = [row.activation_bytes for row in fn.summary(model, (2, 4)).rows]
    assert found == [0, 2 * 8 * 4, 0, 0, 2 * 8 * 4]


def test_all_calls_of_a_layer_count():
    class Twice(fn.Module):
        def __init__(self):
            self.layer = nn.Linear(4, 4, bias=False)

        def __call__(self, x):
            return self.layer(self.layer(x))

    summary = fn.summary(Twice(), (2, 4))
    assert (summary.operations, summary.activation_bytes) == (2 * 2 * 2 * 16, 2 * 2 * 4 * 4)


def test_without_inputs_nothing_is_told_of_a_call():
    summary = fn.summary(nn.Linear(3, 2))
    assert (summary.operations, summary.activation_bytes) == (None, None)
    assert "operations" not in str(summary)


def test_mixed_precision_halves_activations_and_leaves_operations():
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    plain = fn.summary(model, (2, 4))
    mixed = fn.summary(fn.mixed_precision(fn.functionalize(model)), (2, 4))
    assert mixed.operations == plain.operations
    assert mixed.activation_bytes * 2 == plain.activation_bytes


# ---- every layer ---------------------------------------------------------------------------------


def families():
    return sorted(found.name for found in pkgutil.iter_modules(rows.__path__))


@pytest.mark.parametrize("family", families())
def test_every_layer_and_function_can_be_counted(family, x64):
    """One row of each name; nothing in any is unknown."""
    known = {}
    for row in getattr(importlib.import_module(f"tests.nn.rows.{family}"), "ROWS", ()):
        row = getattr(row, "values", (row,))[0]
        if not (row.error or row.ours):
            known.setdefault(row.name, row)
    for name, row in known.items():
        inputs, keywords = arrays(row, 0)[:2]
        summary = fn.summary(module_of(row), *inputs, **keywords)
        assert (summary.unknown, summary.open_loops) == ((), 0), name
        assert summary.activation_bytes > 0, name
