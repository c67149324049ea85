"""Orthogonal weights against PyTorch's: values and gradients, every map, shape and dtype; how they start."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import funcnet as fn
from funcnet import nn
from tests.parity import Layer, check
from tests.sampling import sampled

LINEAR, TALL, WIDE, CONV = (
    ("Linear", (4, 4), (5, 4)),
    ("Linear", (3, 5), (2, 3)),
    ("Linear", (5, 3), (2, 5)),
    ("Conv2d", (2, 3, (3, 2)), (2, 2, 4, 4)),  # a batch of 3 times 2 matrices
)
MAPS = ("matrix_exp", "cayley", "householder")


def _row(layer, args, shape, **settings):
    def build(library):
        torch = library.__name__.startswith("torch")
        made = (library.utils if torch else library).parametrizations.orthogonal(
            getattr(library, layer)(*args), **settings
        )
        if torch:  # not at the start alone, where all maps are near the identity
            import torch as there

            with there.no_grad():
                own = made.parametrizations.weight.original
                eye = there.zeros_like(own)
                eye.diagonal(dim1=-2, dim2=-1).fill_(1)
                noise = there.randn(own.shape, generator=there.Generator().manual_seed(0)) * 0.3
                own += noise * (1 - eye)  # the diagonal holds signs for one of the maps
        return made

    shown = ",".join(f"{name}={value}" for name, value in settings.items())
    return Layer(
        f"{layer}{args}", build=build, inputs=[shape], note=f" {shown}", vmap=False, dtypes=False
    )


ROWS = [
    _row(*layer, orthogonal_map=kind, use_trivialization=trivial)
    for layer, kind, trivial in itertools.product((LINEAR, TALL, WIDE, CONV), MAPS, (True, False))
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_row(row, request):
    sampled(request, ROWS.index(row) in (3, 11))
    check(row)


def bound(layer, seed=0):
    return fn.bind(layer, *fn.functionalize(layer).init(jax.random.key(seed)))


def is_orthogonal(weight, tolerance=1e-5):
    weight = np.asarray(weight.astype(jnp.complex64 if jnp.iscomplexobj(weight) else jnp.float32))
    tall = weight if weight.shape[-2] >= weight.shape[-1] else np.swapaxes(weight, -2, -1)
    product = np.swapaxes(tall, -2, -1).conj() @ tall
    np.testing.assert_allclose(
        product, np.broadcast_to(np.eye(tall.shape[-1]), product.shape), atol=tolerance
    )


@pytest.mark.parametrize("kind", [None, *MAPS])
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (2, 3, 4), (1, 1), (4, 1)], ids=str)
def test_it_starts_as_the_weight_made_orthogonal_and_stays_so(kind, shape, request):
    sample = {"cayley": (3, 5)}
    sampled(request, sample.get(kind) == shape)

    class One(nn.Module):
        def __init__(self):
            self.weight = nn.Parameter(shape, nn.init.normal())

        def __call__(self):
            return self.weight

    layer = nn.parametrizations.orthogonal(One(), orthogonal_map=kind)
    net = fn.functionalize(layer)
    params, state = net.init(jax.random.key(0))
    start = net.apply(params, state)[0]
    is_orthogonal(start)
    grads = jax.jit(jax.grad(lambda p: (net.apply(p, state)[0] ** 3).sum()))(params)
    moved = jax.tree.map(lambda p, g: p - 0.1 * g, params, grads)
    is_orthogonal(net.apply(moved, state)[0])
    many = jax.jit(jax.vmap(lambda p: net.apply(p, state)[0]))(
        jax.tree.map(lambda x: jnp.stack([x, x]), moved)
    )
    np.testing.assert_allclose(many[1], net.apply(moved, state)[0], atol=1e-6)


@pytest.mark.parametrize("kind", ["matrix_exp", "cayley"])
def test_complex_weights_are_unitary(kind):
    torch = pytest.importorskip("torch")
    theirs = torch.nn.utils.parametrizations.orthogonal(
        torch.nn.Linear(3, 4, dtype=torch.complex64), orthogonal_map=kind
    )
    with torch.no_grad():
        theirs.parametrizations.weight.original += torch.randn(4, 3, dtype=torch.complex64)
    ours = nn.parametrizations.orthogonal(nn.Linear(3, 4, dtype=jnp.complex64), orthogonal_map=kind)
    arrays = fn.load_state_dict(
        ours, {k: v.detach().numpy() for k, v in theirs.state_dict().items()}
    )
    weight = fn.bind(ours, *arrays).weight
    is_orthogonal(weight)
    np.testing.assert_allclose(weight, theirs.weight.detach(), atol=2e-6)  # products of 4 by 4


@pytest.mark.parametrize("kind", MAPS)
def test_an_orthogonal_draw_is_kept_and_householder_starts_from_it_alone(kind):
    def layer(**options):
        made = nn.Linear(4, 4)
        made.weight = nn.Parameter((4, 4), nn.init.orthogonal())
        return nn.parametrizations.orthogonal(made, orthogonal_map=kind, **options)

    made = bound(layer())
    base = made.parametrizations["weight"]
    np.testing.assert_allclose(made.weight, vars(base)["0"].base, atol=1e-6)
    if kind == "householder":
        one, other = bound(layer()), bound(layer(use_trivialization=False))
        np.testing.assert_allclose(one.weight, other.weight, atol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_sixteen_bits(dtype):
    weight = bound(
        nn.parametrizations.orthogonal(nn.Linear(4, 4, dtype=dtype), orthogonal_map="cayley")
    ).weight
    assert weight.dtype == dtype
    is_orthogonal(weight, 0.03)


def test_after_another_parametrization_and_in_stacks(request):
    sampled(request)

    class Double(nn.Module):
        def __call__(self, x):
            return x * 2

    layer = nn.parametrizations.register_parametrization(nn.Linear(3, 3), "weight", Double())
    with pytest.raises(ValueError, match="parametrized already"):
        nn.parametrizations.orthogonal(layer)
    is_orthogonal(
        bound(
            nn.parametrizations.orthogonal(layer, orthogonal_map="cayley", use_trivialization=False)
        ).weight
    )
    stack = nn.Repeat(
        nn.parametrizations.orthogonal(nn.Linear(3, 3, bias=False), orthogonal_map="cayley"), 3
    )
    net = fn.functionalize(stack)
    x = jnp.ones((2, 3))
    out, _ = net.apply(*net.init(jax.random.key(0)), x)
    np.testing.assert_allclose(jnp.linalg.norm(out, axis=1), jnp.linalg.norm(x, axis=1), rtol=1e-5)


@pytest.mark.parametrize(
    ("layer", "options", "match"),
    [
        (nn.Linear(3, 3), {"name": "kernel"}, "no parameter 'kernel'"),
        (nn.Linear(3, 3), {"name": "bias"}, "takes a matrix"),
        (nn.Linear(3, 3), {"orthogonal_map": "exp"}, "matrix_exp"),
        (nn.Linear(3, 3, dtype=jnp.complex64), {"orthogonal_map": "householder"}, "is complex"),
        (nn.LazyLinear(3), {}, "waits for its shape"),
    ],
    ids=["name", "vector", "map", "complex", "lazy"],
)
def test_mistakes(layer, options, match):
    with pytest.raises(ValueError, match=match):
        nn.parametrizations.orthogonal(layer, **options)
