"""Operations by layer: products against PyTorch's FlopCounterMode, and against formulas; backward passes; tables."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import functional as F
from funcnet import nn

KEY = jax.random.key(0)

ROWS = [
    ("linear", [(5, 3), (4, 3)], {}),
    ("linear", [(2, 5, 3), (4, 3), (4,)], {}),
    ("conv1d", [(2, 4, 9), (8, 4, 3)], {"dilation": 2}),
    ("conv2d", [(2, 4, 9, 9), (8, 4, 3, 3)], {}),
    ("conv2d", [(2, 4, 9, 8), (8, 4, 3, 2), (8,)], {"stride": 2, "padding": 1}),
    ("conv3d", [(1, 2, 5, 6, 7), (3, 2, 2, 3, 2)], {"stride": 2}),
    ("conv_transpose1d", [(2, 4, 5), (4, 8, 3)], {"stride": 3, "padding": 1}),
    ("conv_transpose2d", [(2, 4, 5, 5), (4, 8, 3, 3)], {}),
    ("conv_transpose2d", [(2, 4, 5, 4), (4, 8, 3, 3)], {"stride": 2}),
    ("scaled_dot_product_attention", [(2, 3, 16, 8), (2, 3, 12, 8), (2, 3, 12, 4)], {}),
]


def both(torch, name, xs, options):
    """PyTorch's counts of a call, and of a call with its backward pass."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    tensors = [torch.tensor(x, requires_grad=True) for x in xs]
    with sdpa_kernel(SDPBackend.MATH):
        with FlopCounterMode(display=False) as forward:
            output = getattr(torch.nn.functional, name)(*tensors, **options)
        with FlopCounterMode(display=False) as backward:
            output.square().sum().backward()
    return forward.get_total_flops(), backward.get_total_flops()


@pytest.mark.parametrize(("name", "shapes", "options"), ROWS)
def test_products_are_those_that_pytorch_counts(name, shapes, options):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    xs = [rng.normal(size=shape).astype("f4") for shape in shapes]

    def call(*xs):
        return jnp.sum(jnp.square(getattr(F, name)(*xs, **options)))

    forward, backward = both(torch, name, xs, options)
    assert fn.count_operations(call, *xs).products == forward
    whole = fn.count_operations(jax.grad(call, tuple(range(len(xs)))), *map(jnp.asarray, xs))
    assert whole.products == forward + backward


@pytest.mark.parametrize("groups", [2, 4])
@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
def test_groups_count_in_gradients_too(name, groups):
    shapes = {"conv2d": (8, 4 // groups, 3, 3), "conv_transpose2d": (4, 8 // groups, 3, 3)}
    x, weight = jnp.ones((2, 4, 7, 7)), jnp.ones(shapes[name])

    def call(x, weight):
        return getattr(F, name)(x, weight, groups=groups).sum()

    places = (5 if name == "conv2d" else 7) ** 2
    forward = 2 * 2 * places * 9 * 4 * 8 // groups
    assert fn.count_operations(call, x, weight).products == forward
    assert fn.count_operations(jax.grad(call, (0, 1)), x, weight).products == 3 * forward


def network(wrap=lambda block: nn.Repeat(block, 3)):
    return nn.Sequential(
        nn.Linear(6, 8), wrap(nn.Sequential(nn.Linear(8, 8), nn.Tanh())), nn.Linear(8, 4)
    )


def step_of(net):
    def step(params, state, x):
        loss, grads = fn.value_and_grad(lambda p: jnp.sum(net.apply(p, state, x)[0] ** 2))(params)
        return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), loss

    return step


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("jitted", [True, False])
def test_layers_of_a_training_step(jitted, named):
    net = fn.functionalize(network())
    params, state = net.init(KEY)
    step = jax.jit(step_of(net)) if jitted else step_of(net)
    count = fn.count_operations(step, params, state, jnp.ones((5, 6)), net=net if named else None)
    products = {row.path: row.products for row in count.rows if row.products}
    names = (
        ("0", "1.module.0", "2")
        if named
        else ("Sequential/0", "Sequential/1/Sequential/0", "Sequential/2")
    )
    # the first layer's input has no gradient
    expected = {
        names[0]: 2 * 2 * 5 * 6 * 8,
        names[1]: 3 * 3 * 2 * 5 * 8 * 8,
        names[2]: 3 * 2 * 5 * 8 * 4,
    }
    assert products == expected
    assert count.unknown == ()
    forward = 2 * 5 * (6 * 8 + 3 * 64 + 32)
    backward = {row.path: row.backward for row in count.rows}
    assert sum(products.values()) - forward <= sum(backward.values()) < count.operations - forward
    if named:
        assert count.within("1").products == expected[names[1]]


def test_what_is_computed_again_counts_again():
    plain, again = (
        fn.count_operations(step_of(net), *net.init(KEY), jnp.ones((5, 6)), net=net)
        for net in map(fn.functionalize, (network(lambda b: b), network(nn.Remat)))
    )
    assert again.products - plain.products in (0, 2 * 5 * 64)  # the product itself may be kept
    assert again.operations > plain.operations


def test_a_model_and_what_summary_says_are_the_same():
    module = network()
    net = fn.functionalize(module)
    count = fn.count_operations(
        net, *net.init(KEY), jax.ShapeDtypeStruct((5, 6), jnp.float32), train=True
    )
    summary = fn.summary(module, (5, 6), train=True)
    assert count.operations == summary.operations
    assert {row.path: row.operations for row in count.rows} == {
        row.path: row.operations for row in summary.rows if row.operations
    }
    text = str(count)
    assert "1.module.0 (Linear)" in text
    assert text.splitlines()[-1].endswith("in products")


def test_refused():
    with pytest.raises(TypeError, match="functionalize"):
        fn.count_operations(network(), {}, {}, jnp.ones((5, 6)))
    with pytest.raises(TypeError, match="takes a model or a function"):
        fn.count_operations(3)
    net = fn.functionalize(network())
    with pytest.raises(KeyError, match="does nothing in this count; there are: 0, "):
        fn.count_operations(net, *net.init(KEY), jnp.ones((5, 6))).within("head")
